//! `No-Vary-Search`: field lines, and after an empty line queries, one on each line. Equivalent queries have one normal
//! form, and no others have it.
#![no_main]

use http::{HeaderName, HeaderValue};
use larder::semantics::no_vary_search::{SearchVariance, no_vary_search};
use larder_fuzz::{halves, lines, values};
use libfuzzer_sys::fuzz_target;

const FIELD: HeaderName = HeaderName::from_static("no-vary-search");

fuzz_target!(|data: &[u8]| {
    let (field, queries) = halves(data);
    let mut headers = values(&FIELD, field);
    let said = no_vary_search(&headers);
    // The last of duplicate keys counts, and an error breaks all of it.
    headers.append(FIELD, HeaderValue::from_static("key-order=?0"));
    assert!(no_vary_search(&headers).is_none_or(|said| said.key_order_matters()));
    headers.append(FIELD, HeaderValue::from_static("key-order, "));
    assert_eq!(no_vary_search(&headers), None);

    let variance = said.clone().unwrap_or_default();
    assert!(said.is_none_or(|said| said != SearchVariance::default()), "the default is as good as nothing");
    let queries: Vec<&str> = lines(queries).filter_map(|line| std::str::from_utf8(line).ok()).take(6).collect();
    for query in &queries {
        let normal = variance.normal_query(Some(query));
        assert_eq!(variance.normal_query(normal.as_deref()), normal, "the normal form of a normal form is itself");
        if variance == SearchVariance::default() {
            assert_eq!(normal.as_deref(), Some(*query));
            continue;
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"*-._%=&".contains(&byte);
        assert!(normal.as_deref().is_none_or(|normal| !normal.is_empty() && normal.bytes().all(plain)));
        // Another parameter counts if it counts.
        let more = variance.normal_query(Some(&format!("{query}&other-of-this-target=1")));
        assert_eq!(more != normal, variance.counts(b"other-of-this-target"));
        // Empty sequences do not.
        assert_eq!(variance.normal_query(Some(&format!("&{query}&&"))), normal);
        for other in &queries {
            if let (Some(one), Some(two)) = (counted(&variance, query), counted(&variance, other)) {
                assert_eq!(variance.normal_query(Some(other)) == normal, one == two, "{query} {other}");
            }
        }
    }
});

/// What is left of a query without escapes, as pairs.
fn counted<'q>(variance: &SearchVariance, query: &'q str) -> Option<Vec<(&'q str, &'q str)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut kept: Vec<_> = pairs.filter(|(name, _)| variance.counts(name.as_bytes())).collect();
    if !variance.key_order_matters() {
        kept.sort_by_key(|(name, _)| *name);
    }
    (!query.contains(['%', '+'])).then_some(kept)
}

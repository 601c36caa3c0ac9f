//! Targeted fields: an error anywhere makes the field absent, a prohibition is never lost, and one field governs.
#![no_main]

use http::{HeaderName, HeaderValue, header::CACHE_CONTROL};
use larder::semantics::{
    cache_control::{MAX_DELTA, ResponseDirectives},
    targeted::{governing, targeted},
};
use larder_fuzz::values;
use libfuzzer_sys::fuzz_target;

const FIELD: HeaderName = HeaderName::from_static("cdn-cache-control");

fuzz_target!(|data: &[u8]| {
    let mut headers = values(&FIELD, data);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=1, private"));
    let read = targeted(&headers, &FIELD);
    let governed = governing(&headers, &[FIELD]);
    assert_eq!(governed.targeted, read.is_some());
    assert_eq!(governed.directives, read.unwrap_or_else(|| ResponseDirectives::parse(&headers)));
    assert!(!governing(&headers, &[]).targeted);
    if let Some(read) = read {
        for lifetime in [read.max_age, read.s_maxage, read.stale_while_revalidate, read.stale_if_error] {
            assert!(lifetime.is_none_or(|lifetime| lifetime <= MAX_DELTA));
        }
    }

    let with = |line: &'static str| {
        let mut headers = headers.clone();
        headers.append(FIELD, HeaderValue::from_static(line));
        targeted(&headers, &FIELD)
    };
    // What a further line cannot mend stays broken; a fine field stays fine.
    let more = with("no-store=?0, x=(1 \"a\";b);c, max-age=5");
    if let Some(read) = read {
        let max_age =
            Some(read.max_age.map_or(5, |lifetime| lifetime.as_secs().min(5))).map(std::time::Duration::from_secs);
        let mut expected = read;
        (expected.no_store, expected.max_age) = (true, max_age);
        assert_eq!(more, Some(expected));
        assert_eq!(with("public=?1").map(|more| more.public), Some(true));
        assert_eq!(with("public=?0").map(|more| more.public), Some(false));
    }
    // A field that ends well cannot be followed by an error.
    if read.is_some() {
        assert_eq!(with("no-store,"), None);
        assert_eq!(with("No-Store"), None);
    }
});

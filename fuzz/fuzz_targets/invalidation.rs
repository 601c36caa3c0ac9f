//! References: only the origin's own, resolved and sorted, and none that a request could not name.
#![no_main]

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{CONTENT_LOCATION, LOCATION},
};
use larder::semantics::{
    invalidation::{path_and_query, same_origin_targets},
    target::Target,
};
use larder_fuzz::{fields, lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(Ok(uri)) = lines(data).next().map(Uri::try_from) else { return };
    let headers = fields(data);
    let Ok(base) = Target::of(&uri, &headers, None) else { return };
    let own = path_and_query(&base);
    let targets = same_origin_targets(&base, &headers);
    assert!(targets.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(targets.len() <= headers.get_all(LOCATION).iter().chain(headers.get_all(CONTENT_LOCATION)).count());
    for target in &targets {
        assert!(target.starts_with('/') && target.len() <= 8 * 1024 && *target != own);
        let parsed: Uri = target.parse().expect("a request could have this target");
        let path = parsed.path();
        // Anything that begins with two slashes would, sent back, name another host.
        if !path.starts_with("//") && target.is_ascii() {
            let same = HeaderMap::from_iter([(LOCATION, target.parse().expect("a field value"))]);
            let fixed = !path.split('/').any(|segment| segment == "." || segment == "..");
            // Fields are read only if they are ASCII; the base's own path need not be.
            if fixed && target.is_ascii() {
                assert_eq!(same_origin_targets(&base, &same), [target.clone()], "resolving again");
            }
        }
    }
    // Another host's reference is never followed; our own always is.
    for other in ["//other.invalid/x-of-this-target", "http://other.invalid/x-of-this-target", "//u@a/x-of-this-target"]
    {
        let foreign = HeaderMap::from_iter([(LOCATION, other.parse().expect("a field value"))]);
        let ours = base.authority.is_some_and(|own| own.to_ascii_lowercase().starts_with("other.invalid"));
        assert!(ours || same_origin_targets(&base, &foreign).is_empty());
    }
    // Whatever follows the name of another host, it is another origin.
    let neighbour = |own: &str| own.to_ascii_lowercase().starts_with("other.invalid");
    if !base.authority.is_some_and(neighbour) {
        for (line, prefix) in
            lines(data).zip(["//other.invalid", "http://other.invalid", "HTTPS://other.invalid"].into_iter().cycle())
        {
            let Ok(value) = HeaderValue::from_bytes(&[prefix.as_bytes(), line].concat()) else { continue };
            let foreign = HeaderMap::from_iter([(LOCATION, value)]);
            assert_eq!(same_origin_targets(&base, &foreign), [""; 0]);
        }
    }
    let ours =
        HeaderMap::from_iter([(CONTENT_LOCATION, "/x-of/../x-of-this-target#f".parse().expect("a field value"))]);
    assert!(own == "/x-of-this-target" || same_origin_targets(&base, &ours) == ["/x-of-this-target"]);
});

//! `Accept-Language`: each line of the input is a field line.
#![no_main]

use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
use larder::semantics::language::preferred;
use larder_fuzz::values;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let request = values(&ACCEPT_LANGUAGE, input);
    let spoken = ["en", "de", "de-CH", "zh-Hant-TW"].map(str::to_owned);
    assert_eq!(preferred(&request, &[]), None);
    let found = preferred(&request, &spoken).expect("there is always a first");
    assert!(spoken.iter().any(|language| language == found));
    if found != spoken[0] {
        // Asked for by name, or by one that is more special.
        let text: Vec<u8> = request.get_all(ACCEPT_LANGUAGE).iter().flat_map(|line| line.as_bytes()).copied().collect();
        let wanted = found.as_bytes();
        assert!(text.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted)));
    }
    // What is sent on in its place means the same.
    let narrowed = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_str(found).expect("a language"))]);
    assert_eq!(preferred(&narrowed, &spoken), Some(found));
    assert_eq!(preferred(&narrowed, &[found.to_owned()]), Some(found));
});

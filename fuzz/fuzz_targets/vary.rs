//! Vary and what it selects by: names are sorted, values tell requests apart, codings have a normal form.
#![no_main]

use http::{
    HeaderMap, HeaderValue,
    header::{ACCEPT_ENCODING, VARY},
};
use larder::semantics::{
    content_coding::normal,
    language::preferred,
    vary::{VaryRefusal, nominated, write_selecting_values},
};
use larder_fuzz::{fields, halves};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (first, second) = halves(data);
    let (mut response, mut other) = (fields(first), fields(second));
    let request = response.clone();

    if let Some(codings) = normal(&request) {
        assert!(codings.bits() < 64);
        let value = codings.to_header_value();
        let again = normal(&HeaderMap::from_iter([(ACCEPT_ENCODING, value.clone())])).expect("the field is there");
        assert_eq!(again, codings, "{value:?}");
        assert_eq!(again.to_header_value(), value);
        assert_eq!(codings.accepts("gzip"), codings.accepts("X-GZIP"));
        let mut refusing = request.clone();
        refusing.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip;q=0, identity;q=0.0"));
        let refusing = normal(&refusing).expect("the field is there");
        assert!(!refusing.accepts("gzip") && !refusing.accepts("identity"));
        assert_eq!(refusing.accepts("br"), codings.accepts("br"));
    } else {
        assert!(!request.contains_key(ACCEPT_ENCODING));
    }

    let spoken = ["en", "de", "de-AT", "zh-Hant-TW"].map(str::to_owned);
    let language = preferred(&request, &spoken).expect("one of them");
    assert!(spoken.iter().any(|spoken| spoken == language));
    assert_eq!(preferred(&request, &[]), None);
    assert_eq!(preferred(&request, &spoken[2..3]), Some("de-AT"));

    let names = match nominated(&response) {
        Ok(names) => names,
        Err(refusal) => {
            // Nothing that is added makes it good.
            response.append(VARY, HeaderValue::from_static("accept"));
            let still = nominated(&response).expect_err("it was refused");
            assert!(still == refusal || still == VaryRefusal::TooLarge);
            response.append(VARY, HeaderValue::from_static("a, *"));
            assert_eq!(nominated(&response), Err(VaryRefusal::Star));
            return;
        }
    };
    assert!(names.len() <= 32 && names.windows(2).all(|pair| pair[0].as_str() < pair[1].as_str()));
    let again = names.iter().map(|name| (VARY, HeaderValue::from(name.clone()))).collect();
    assert_eq!(nominated(&again).as_ref(), Ok(&names));

    let written = |request: &HeaderMap| {
        let mut out = Vec::new();
        write_selecting_values(&names, request, &mut out);
        out
    };
    assert!(written(&request).len() >= names.len());
    // The same bytes exactly if every field matches, line by line.
    let matches = names.iter().all(|name| {
        if *name == ACCEPT_ENCODING {
            return normal(&request) == normal(&other);
        }
        let values = |headers: &HeaderMap| -> Vec<Vec<u8>> {
            headers.get_all(name).iter().map(|line| line.as_bytes().trim_ascii().to_vec()).collect()
        };
        values(&request) == values(&other)
    });
    assert_eq!(written(&request) == written(&other), matches);
    // What is not named does not count; what is does.
    let same = written(&other);
    other.append("x-not-in-any-seed", HeaderValue::from_static("1"));
    let named = names.iter().any(|name| name == "x-not-in-any-seed");
    assert_eq!(written(&other) != same, named);
});

//! Entity tags: the comparisons are what RFC 9110 §8.8.3.2 says of them, and white space does not count.
#![no_main]

use http::{HeaderMap, HeaderValue, header::ETAG};
use larder::semantics::validator::{
    EntityTag, demands_origin, etag, has_conditionals, has_validator, last_modified, strip_conditionals,
};
use larder_fuzz::{NOW, fields, lines};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let tags: Vec<(&[u8], EntityTag<'_>)> =
        lines(data).filter_map(|line| Some((line, EntityTag::parse(line)?))).take(8).collect();
    for (line, tag) in &tags {
        let text: Vec<u8> = line.iter().copied().skip_while(|byte| matches!(byte, b' ' | b'\t')).collect();
        assert_eq!(tag.is_weak(), text.starts_with(b"W/"));
        assert!(tag.weak_eq(tag) && tag.strong_eq(tag) != tag.is_weak());
        let padded = [b"\t ", *line, b" "].concat();
        assert!(EntityTag::parse(&padded).is_some_and(|padded| padded.weak_eq(tag)));
        assert!(EntityTag::parse(&[*line, b"x"].concat()).is_none());
        assert!(EntityTag::parse(&[*line, b",", *line].concat()).is_none());
        // The weak form of a strong tag.
        if !tag.is_weak() {
            let weak = [b"W/", text.as_slice()].concat();
            let weak = EntityTag::parse(&weak).expect("W/ before a strong tag");
            assert!(weak.is_weak() && weak.weak_eq(tag) && !weak.strong_eq(tag) && !tag.strong_eq(&weak));
        }
        for (_, other) in &tags {
            assert_eq!(tag.weak_eq(other), other.weak_eq(tag));
            assert_eq!(tag.strong_eq(other), other.strong_eq(tag));
            assert_eq!(tag.strong_eq(other), tag.weak_eq(other) && !tag.is_weak() && !other.is_weak());
        }
        // A response with this tag, once and twice, and then with another beside it.
        let Ok(value) = HeaderValue::from_bytes(line) else { continue };
        let mut headers = HeaderMap::from_iter([(ETAG, value.clone()), (ETAG, value)]);
        assert!(has_validator(&headers) && etag(&headers).is_some_and(|read| read.weak_eq(tag)));
        headers.append(ETAG, HeaderValue::from_static("\"of nobody else\""));
        assert!(etag(&headers).is_none_or(|read| read.weak_eq(tag)));
    }

    let mut headers = fields(data);
    assert_eq!(has_validator(&headers), etag(&headers).is_some() || last_modified(&headers, NOW).is_some());
    assert!(has_conditionals(&headers) || !demands_origin(&headers));
    let before = headers.len();
    let conditional = has_conditionals(&headers);
    strip_conditionals(&mut headers);
    assert!(!has_conditionals(&headers) && (headers.len() < before) == conditional);
});

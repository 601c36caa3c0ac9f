//! Validators: entity tags and modification dates (RFC 9110 §8.8).
//!
//! ```text
//! ETag       = [ %s"W/" ] DQUOTE *etagc DQUOTE
//! etagc      = %x21 / %x23-7E / obs-text
//! ```
//!
//! A validator that is malformed, or stated twice in different ways, is absent: nothing is proved by it.

use super::date::{Timestamp, parse_http_date};
use http::{
    HeaderMap, HeaderName,
    header::{ETAG, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, LAST_MODIFIED},
};
use std::time::Duration;

/// An entity tag (RFC 9110 §8.8.3). There are two ways to compare, so there is no `==`.
///
/// ```
/// use larder::semantics::validator::EntityTag;
///
/// let stored = EntityTag::parse(b"\"v1\"").expect("a tag");
/// let given = EntityTag::parse(b"W/\"v1\"").expect("a tag");
/// assert!(stored.weak_eq(&given)); // enough for a 304
/// assert!(!stored.strong_eq(&given)); // not for a part of it
/// assert!(EntityTag::parse(b"v1").is_none());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct EntityTag<'a> {
    weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// An entity tag and nothing else but white space around it (RFC 9110 §8.8.3).
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let (tag, rest) = Self::split_first(trim_ows(value))?;
        rest.is_empty().then_some(tag)
    }

    /// Whether the tag is marked weak (RFC 9110 §8.8.1).
    pub const fn is_weak(&self) -> bool {
        self.weak
    }

    /// The strong comparison: neither is weak and the opaque parts are the same bytes (RFC 9110 §8.8.3.2).
    pub fn strong_eq(&self, other: &EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// The weak comparison: the opaque parts are the same bytes (RFC 9110 §8.8.3.2).
    pub fn weak_eq(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    fn split_first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (weak, quoted) = match bytes.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, bytes),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let (opaque, rest) = inside.split_at(inside.iter().position(|byte| !is_etagc(*byte))?);
        Some((Self { weak, opaque }, rest.strip_prefix(b"\"")?))
    }
}

/// The entity tag of a response (RFC 9110 §8.8.3), if it states one.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use larder::semantics::validator::etag;
///
/// let mut head = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("W/\"v1\""))]);
/// assert!(etag(&head).is_some_and(|tag| tag.is_weak()));
/// head.append(ETAG, HeaderValue::from_static("\"v2\""));
/// assert!(etag(&head).is_none());
/// ```
pub fn etag(headers: &HeaderMap) -> Option<EntityTag<'_>> {
    EntityTag::parse(agreed(headers, &ETAG)?)
}

/// When the representation was last modified (RFC 9110 §8.8.2), if the response states it.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::LAST_MODIFIED};
/// use larder::semantics::{date::Timestamp, validator::last_modified};
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let date = HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT");
/// let head = HeaderMap::from_iter([(LAST_MODIFIED, date)]);
/// assert_eq!(last_modified(&head, now), Some(Timestamp::from_unix_secs(784_111_777)));
/// ```
pub fn last_modified(headers: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    parse_http_date(agreed(headers, &LAST_MODIFIED)?, now)
}

/// Whether a modification date is a strong validator: the response was made at least one second later, so a second
/// change within the same second would have shown (RFC 9110 §8.8.2.2).
///
/// ```
/// use larder::semantics::{date::Timestamp, validator::is_strong_date};
/// use std::time::Duration;
///
/// let modified = Timestamp::from_unix_secs(784_111_777);
/// assert!(is_strong_date(modified, modified.saturating_add(Duration::from_secs(1))));
/// assert!(!is_strong_date(modified, modified));
/// ```
pub fn is_strong_date(last_modified: Timestamp, date: Timestamp) -> bool {
    date.since(last_modified) >= Duration::from_secs(1)
}

/// Whether a response can be validated: it has an entity tag or a modification date (RFC 9111 §4.3.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use larder::semantics::validator::has_validator;
///
/// let head = |etag| HeaderMap::from_iter([(ETAG, HeaderValue::from_static(etag))]);
/// assert!(has_validator(&head("\"v1\"")));
/// assert!(!has_validator(&head("v1"))); // without quotes it is no tag
/// ```
pub fn has_validator(headers: &HeaderMap) -> bool {
    etag(headers).is_some() || last_modified(headers, ANY_NOW).is_some()
}

/// Whether a request has a precondition of RFC 9110 §13.1.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{IF_NONE_MATCH, RANGE}};
/// use larder::semantics::validator::has_conditionals;
///
/// assert!(has_conditionals(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("*"))])));
/// assert!(!has_conditionals(&HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-9"))])));
/// ```
pub fn has_conditionals(request: &HeaderMap) -> bool {
    CONDITIONALS.iter().any(|name| request.contains_key(name))
}

/// Removes the preconditions of RFC 9110 §13.1 from a request.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{ACCEPT, IF_NONE_MATCH}};
/// use larder::semantics::validator::strip_conditionals;
///
/// let mut request = HeaderMap::from_iter([
///     (ACCEPT, HeaderValue::from_static("text/html")),
///     (IF_NONE_MATCH, HeaderValue::from_static("\"v1\"")),
/// ]);
/// strip_conditionals(&mut request);
/// assert_eq!(request.keys().collect::<Vec<_>>(), [ACCEPT]);
/// ```
pub fn strip_conditionals(request: &mut HeaderMap) {
    for name in &CONDITIONALS {
        request.remove(name);
    }
}

/// Whether a request has a precondition that only an origin server may evaluate (RFC 9111 §4.3.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{IF_MATCH, IF_NONE_MATCH}};
/// use larder::semantics::validator::demands_origin;
///
/// let request = |name| HeaderMap::from_iter([(name, HeaderValue::from_static("\"v1\""))]);
/// assert!(demands_origin(&request(IF_MATCH)));
/// assert!(!demands_origin(&request(IF_NONE_MATCH)));
/// ```
pub fn demands_origin(request: &HeaderMap) -> bool {
    request.contains_key(IF_MATCH) || request.contains_key(IF_UNMODIFIED_SINCE)
}

/// The entity tags of one field line that is a list (RFC 9110 §5.6.1). What is no entity tag is passed over, up to the
/// next comma.
pub(super) fn entity_tags(line: &[u8]) -> impl Iterator<Item = EntityTag<'_>> {
    let mut rest = trim_ows(line);
    std::iter::from_fn(move || {
        loop {
            let element = rest.iter().position(|byte| !is_ows(*byte) && *byte != b',')?;
            rest = rest.split_at(element).1;
            if let Some((tag, after)) = EntityTag::split_first(rest) {
                let after = trim_ows(after);
                if after.is_empty() || after.starts_with(b",") {
                    rest = after;
                    return Some(tag);
                }
            }
            rest = rest.split_at(rest.iter().position(|byte| *byte == b',')?).1;
        }
    })
}

/// Without the optional white space around it (RFC 9110 §5.6.3).
pub(super) fn trim_ows(mut value: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = value
        && is_ows(*first)
    {
        value = rest;
    }
    while let [rest @ .., last] = value
        && is_ows(*last)
    {
        value = rest;
    }
    value
}

/// What all lines of a field say alike. A sender must not repeat a field that is no list, but one that says the same
/// thing twice has said it (RFC 9110 §5.3).
pub(super) fn agreed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?;
    lines.all(|line| line == first).then_some(first.as_bytes())
}

const fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn is_etagc(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x7E | 0x80..)
}

const CONDITIONALS: [HeaderName; 5] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE];

/// Only the two-digit years of the obsolete date format need a moment to be read by, and for whether there is a date
/// at all any moment of our time will do.
const ANY_NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    fn headers(fields: &[(HeaderName, &[u8])]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap())).fold(
            HeaderMap::new(),
            |mut headers, (name, value)| {
                headers.append(name, value);
                headers
            },
        )
    }

    #[test]
    fn entity_tags_are_read_by_the_grammar() {
        let valid: [(&[u8], bool, &[u8]); 8] = [
            (b"\"xyzzy\"", false, b"xyzzy"),
            (b"W/\"xyzzy\"", true, b"xyzzy"),
            (b"\"\"", false, b""),
            (b" \t\"a\"\t ", false, b"a"),
            (b"\"a,b\"", false, b"a,b"),
            (b"\"a\\\"", false, b"a\\"),
            (b"\"\x80\xff\"", false, b"\x80\xff"),
            (b"\"W/\"", false, b"W/"),
        ];
        for (value, weak, opaque) in valid {
            let tag = EntityTag::parse(value).unwrap();
            assert_eq!((tag.is_weak(), tag.opaque), (weak, opaque), "{value:?}");
        }
        let malformed: [&[u8]; 15] = [
            b"",
            b"*",
            b"xyzzy",
            b"\"",
            b"\"a",
            b"a\"",
            b"w/\"a\"",
            b"W\"a\"",
            b"W/a",
            b"W/ \"a\"",
            b"\"a b\"",
            b"\"a\"b",
            b"\"a\"\"",
            b"\"a\", \"b\"",
            b"\"a\x7f\"",
        ];
        for value in malformed {
            assert!(EntityTag::parse(value).is_none(), "{value:?}");
        }
    }

    /// RFC 9110 §8.8.3.2, table 3.
    #[test]
    fn comparison() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let [a, b] = [a, b].map(|tag| EntityTag::parse(tag.as_bytes()).unwrap());
            assert_eq!((a.strong_eq(&b), a.weak_eq(&b)), (strong, weak));
            assert_eq!((b.strong_eq(&a), b.weak_eq(&a)), (strong, weak));
        }
    }

    #[test]
    fn a_contradiction_is_no_validator() {
        let tag = |values: &[&[u8]]| {
            let fields: Vec<_> = values.iter().map(|value| (ETAG, *value)).collect();
            etag(&headers(&fields)).map(|tag| tag.opaque.to_vec())
        };
        assert_eq!(tag(&[]), None);
        assert_eq!(tag(&[b"\"a\""]), Some(b"a".to_vec()));
        assert_eq!(tag(&[b"\"a\"", b"\"a\""]), Some(b"a".to_vec()));
        assert_eq!(tag(&[b"\"a\"", b"\"b\""]), None);
        assert_eq!(tag(&[b"\"a\"", b"W/\"a\""]), None);
        assert_eq!(tag(&[b"a"]), None);

        let date = b"Tue, 15 Nov 1994 12:45:26 GMT";
        let other = b"Tue, 15 Nov 1994 12:45:27 GMT";
        let one = headers(&[(LAST_MODIFIED, date)]);
        assert_eq!(last_modified(&one, NOW).map(Timestamp::as_unix_secs), Some(784_903_526));
        assert_eq!(last_modified(&headers(&[(LAST_MODIFIED, date), (LAST_MODIFIED, other)]), NOW), None);
        assert_eq!(last_modified(&headers(&[(LAST_MODIFIED, b"yesterday")]), NOW), None);
    }

    #[test]
    fn what_can_be_validated() {
        for (name, value, expected) in [
            (ETAG, "\"a\"", true),
            (ETAG, "W/\"a\"", true),
            (ETAG, "a", false),
            (LAST_MODIFIED, "Tue, 15 Nov 1994 12:45:26 GMT", true),
            (LAST_MODIFIED, "Tuesday, 15-Nov-94 12:45:26 GMT", true),
            (LAST_MODIFIED, "0", false),
            (http::header::DATE, "Tue, 15 Nov 1994 12:45:26 GMT", false),
        ] {
            assert_eq!(has_validator(&headers(&[(name, value.as_bytes())])), expected, "{value}");
        }
    }

    #[test]
    fn a_date_is_strong_from_one_second_on() {
        let at = Timestamp::from_unix_millis;
        assert!(is_strong_date(at(5_000), at(6_000)));
        assert!(!is_strong_date(at(5_000), at(5_999)));
        assert!(!is_strong_date(at(5_000), at(5_000)));
        assert!(!is_strong_date(at(6_000), at(5_000)));
        assert!(is_strong_date(at(0), at(u64::MAX)));
        assert!(!is_strong_date(at(u64::MAX), at(u64::MAX)));
    }

    #[test]
    fn preconditions_are_found_and_removed() {
        assert!(!has_conditionals(&HeaderMap::new()));
        for name in CONDITIONALS {
            let mut request = headers(&[(name.clone(), b"a"), (name.clone(), b"b"), (http::header::HOST, b"h")]);
            assert!(has_conditionals(&request));
            assert_eq!(demands_origin(&request), name == IF_MATCH || name == IF_UNMODIFIED_SINCE, "{name}");
            strip_conditionals(&mut request);
            assert!(!has_conditionals(&request) && !demands_origin(&request));
            assert_eq!(request.len(), 1);
        }
    }

    #[test]
    fn lists_skip_what_is_no_entity_tag() {
        for (line, expected) in [
            ("", vec![]),
            (" , ,", vec![]),
            ("\"a\"", vec!["a"]),
            ("\"a\",W/\"b\" , \"c\"", vec!["a", "b", "c"]),
            (",\"a\",,\t\"b\",", vec!["a", "b"]),
            ("\"a,b\", \"c\"", vec!["a,b", "c"]),
            ("junk, \"a\"", vec!["a"]),
            ("*, \"a\"", vec!["a"]),
            ("\"a\"junk, \"b\"", vec!["b"]),
            ("\"a\" \"b\", \"c\"", vec!["c"]),
            ("\"a b\", \"c\"", vec!["c"]),
            ("w/\"a\", W/\"b\"", vec!["b"]),
            ("\"a\", \"b", vec!["a"]),
        ] {
            let tags: Vec<_> =
                entity_tags(line.as_bytes()).map(|tag| std::str::from_utf8(tag.opaque).unwrap()).collect();
            assert_eq!(tags, expected, "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_parser_is_total_and_exact(value in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(tag) = EntityTag::parse(&value) {
                let written = [if tag.weak { b"W/\"".as_slice() } else { b"\"" }, tag.opaque, b"\""].concat();
                prop_assert_eq!(written.as_slice(), trim_ows(&value));
            }
        }

        #[test]
        fn what_is_written_is_read(weak: bool, opaque in prop::collection::vec(any::<u8>(), 0..20)) {
            let written = [if weak { b"W/\"".as_slice() } else { b"\"" }, &opaque, b"\""].concat();
            let tag = EntityTag::parse(&written);
            prop_assert_eq!(tag.is_some(), opaque.iter().all(|byte| is_etagc(*byte)));
            if let Some(tag) = tag {
                prop_assert_eq!((tag.weak, tag.opaque), (weak, opaque.as_slice()));
                prop_assert!(tag.weak_eq(&tag) && tag.strong_eq(&tag) != weak);
            }
        }

        #[test]
        fn lists_are_total(line in "[\"W/ab,* \t]{0,40}") {
            prop_assert!(entity_tags(line.as_bytes()).count() <= line.len() / 2);
        }
    }
}

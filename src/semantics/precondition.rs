//! Whether a client's preconditions hold (RFC 9110 §13).
//!
//! [`evaluate`] is steps 1 to 4 of §13.2.2, [`if_range_allows`] is the condition of step 5; whether a `Range` applies is
//! [`range::evaluate`](super::range::evaluate). A server evaluates preconditions only where the answer without them
//! would be a 2xx or 412 (§13.2.1).

use super::{
    date::{Timestamp, parse_http_date},
    validator::{EntityTag, agreed, entity_tags, etag, is_strong_date, last_modified, trim_ows},
};
use http::{
    HeaderMap, HeaderName, Method,
    header::{DATE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE},
};

/// What the preconditions of a request ask for (RFC 9110 §13.2.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, StatusCode, header::{ETAG, IF_NONE_MATCH}};
/// use larder::semantics::{date::Timestamp, precondition::{Precondition, evaluate}};
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"v1\", \"v2\""))]);
/// let stored = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v2\""))]);
/// let status = match evaluate(&Method::GET, &request, &stored, now) {
///     Precondition::Proceed => StatusCode::OK,
///     Precondition::NotModified => StatusCode::NOT_MODIFIED,
///     Precondition::Failed => StatusCode::PRECONDITION_FAILED,
/// };
/// assert_eq!(status, StatusCode::NOT_MODIFIED);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "the request is answered as it says"]
pub enum Precondition {
    /// They hold, or there are none: the request is answered as if it had none.
    Proceed,
    /// The client has the selected representation: 304 (Not Modified).
    NotModified,
    /// The representation is not as the client assumed: 412 (Precondition Failed).
    Failed,
}

/// Evaluates the preconditions of a request against `current`, the head of the selected representation, which exists.
///
/// `If-Match` and `If-Unmodified-Since` are for an origin server; a cache that is none passes such requests on
/// ([`demands_origin`](super::validator::demands_origin)). What cannot be read matches no entity tag; as a date it is
/// ignored, and so are two dates (RFC 9110 §13.1).
///
/// | step | field | false if | then |
/// |---|---|---|---|
/// | 1 | `If-Match` | no tag matches strongly | 412 |
/// | 2 | `If-Unmodified-Since`, without `If-Match` | modified later | 412 |
/// | 3 | `If-None-Match` | a tag matches weakly | 304 to GET and HEAD, else 412 |
/// | 4 | `If-Modified-Since`, GET and HEAD, without `If-None-Match` | not modified later | 304 |
///
/// ```
/// use http::{HeaderMap, HeaderValue, Method, header::{ETAG, IF_MATCH}};
/// use larder::semantics::{date::Timestamp, precondition::{Precondition, evaluate}};
///
/// // Someone else has saved since the client read version 1.
/// let request = HeaderMap::from_iter([(IF_MATCH, HeaderValue::from_static("\"v1\""))]);
/// let current = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v2\""))]);
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// assert_eq!(evaluate(&Method::PUT, &request, &current, now), Precondition::Failed);
/// assert_eq!(evaluate(&Method::PUT, &HeaderMap::new(), &current, now), Precondition::Proceed);
/// ```
pub fn evaluate(method: &Method, request: &HeaderMap, current: &HeaderMap, now: Timestamp) -> Precondition {
    // §13.2.1: these select no representation.
    if matches!(*method, Method::CONNECT | Method::OPTIONS | Method::TRACE) {
        return Precondition::Proceed;
    }
    let reads = *method == Method::GET || *method == Method::HEAD;

    if request.contains_key(IF_MATCH) {
        if !lists(request, &IF_MATCH, current, EntityTag::strong_eq) {
            return Precondition::Failed;
        }
    } else if let Some(given) = sole_date(request, &IF_UNMODIFIED_SINCE, now)
        && last_modified(current, now).is_some_and(|modified| modified > given)
    {
        return Precondition::Failed;
    }

    if request.contains_key(IF_NONE_MATCH) {
        match lists(request, &IF_NONE_MATCH, current, EntityTag::weak_eq) {
            true if reads => Precondition::NotModified,
            true => Precondition::Failed,
            false => Precondition::Proceed,
        }
    } else if reads
        && let Some(given) = sole_date(request, &IF_MODIFIED_SINCE, now)
        // RFC 9111 §4.3.2: a stored response that does not say when it was modified is judged by its Date.
        && last_modified(current, now).or_else(|| date(current, now)).is_some_and(|modified| modified <= given)
    {
        Precondition::NotModified
    } else {
        Precondition::Proceed
    }
}

/// Whether `If-Range` lets the `Range` of a request apply to the representation with the head `current` (RFC 9110
/// §13.1.5). Without the field it does.
///
/// An entity tag must match strongly. A date must be the modification date exactly, and the response must be at least
/// one second younger, or two changes in one second could hide behind it (§8.8.2.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{ETAG, IF_RANGE}};
/// use larder::semantics::{date::Timestamp, precondition::if_range_allows};
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let request = HeaderMap::from_iter([(IF_RANGE, HeaderValue::from_static("\"v1\""))]);
/// let stored = |etag| HeaderMap::from_iter([(ETAG, HeaderValue::from_static(etag))]);
/// assert!(if_range_allows(&request, &stored("\"v1\""), now));
/// assert!(!if_range_allows(&request, &stored("\"v2\""), now));
/// assert!(!if_range_allows(&request, &stored("W/\"v1\""), now));
/// ```
pub fn if_range_allows(request: &HeaderMap, current: &HeaderMap, now: Timestamp) -> bool {
    if !request.contains_key(IF_RANGE) {
        return true;
    }
    let Some(value) = sole(request, &IF_RANGE) else { return false };
    // No date has a double quote among its first three characters.
    if value.iter().take(3).any(|byte| *byte == b'"') {
        EntityTag::parse(value).zip(etag(current)).is_some_and(|(given, current)| given.strong_eq(&current))
    } else {
        match (parse_http_date(value, now), last_modified(current, now), date(current, now)) {
            (Some(given), Some(modified), Some(date)) => given == modified && is_strong_date(modified, date),
            _ => false,
        }
    }
}

/// Whether the field is `*`, or lists a tag that equals the current one.
fn lists<'a>(
    request: &'a HeaderMap,
    name: &HeaderName,
    current: &'a HeaderMap,
    equal: fn(&EntityTag<'a>, &EntityTag<'a>) -> bool,
) -> bool {
    sole(request, name) == Some(b"*")
        || etag(current).is_some_and(|current| {
            let mut lines = request.get_all(name).iter();
            lines.any(|line| entity_tags(line.as_bytes()).any(|given| equal(&given, &current)))
        })
}

/// The only line of a request's field. Two lines are a list, and a list is neither a date nor `*`.
fn sole<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = request.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) => Some(trim_ows(line.as_bytes())),
        _ => None,
    }
}

fn sole_date(request: &HeaderMap, name: &HeaderName, now: Timestamp) -> Option<Timestamp> {
    parse_http_date(sole(request, name)?, now)
}

fn date(current: &HeaderMap, now: Timestamp) -> Option<Timestamp> {
    parse_http_date(agreed(current, &DATE)?, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Precondition::{Failed, NotModified, Proceed};
    use http::{
        HeaderValue,
        header::{ETAG, LAST_MODIFIED},
    };
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
    const EARLY: &str = "Tue, 15 Nov 1994 12:45:25 GMT";
    const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";
    const LATE: &str = "Tue, 15 Nov 1994 12:45:27 GMT";
    const OBSOLETE: &str = "Tuesday, 15-Nov-94 12:45:26 GMT";

    fn headers<'a>(fields: impl IntoIterator<Item = (HeaderName, &'a str)>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn current() -> HeaderMap {
        headers([(ETAG, "\"a\""), (LAST_MODIFIED, MODIFIED)])
    }

    fn ask<const N: usize>(method: &Method, request: [(HeaderName, &str); N]) -> Precondition {
        evaluate(method, &headers(request), &current(), NOW)
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Holds {
        Absent,
        True,
        False,
    }

    /// RFC 9110 §13.2.2: every combination of the four fields, each absent, true or false.
    #[test]
    fn precedence() {
        use Holds::{Absent, False, True};
        let all = [Absent, True, False];
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::POST, Method::DELETE] {
            let reads = method == Method::GET || method == Method::HEAD;
            for (i, step) in (0..81).map(|i| (i, [i % 3, i / 3 % 3, i / 9 % 3, i / 27 % 3])) {
                let [matches, unmodified, none_match, modified] = step.map(|index| all[index]);
                let mut request = HeaderMap::new();
                for (name, holds, yes, no) in [
                    (IF_MATCH, matches, "\"a\"", "\"b\""),
                    (IF_UNMODIFIED_SINCE, unmodified, MODIFIED, EARLY),
                    (IF_NONE_MATCH, none_match, "\"b\"", "\"a\""),
                    (IF_MODIFIED_SINCE, modified, EARLY, MODIFIED),
                ] {
                    if holds != Absent {
                        request.append(name, HeaderValue::from_static(if holds == True { yes } else { no }));
                    }
                }
                // The steps as the standard words them.
                let expected = if matches == False || (matches == Absent && unmodified == False) {
                    Failed
                } else if none_match == False {
                    if reads { NotModified } else { Failed }
                } else if none_match == Absent && reads && modified == False {
                    NotModified
                } else {
                    Proceed
                };
                assert_eq!(evaluate(&method, &request, &current(), NOW), expected, "{method} {i} {request:?}");
            }
        }
    }

    #[test]
    fn methods_that_select_nothing_ignore_preconditions() {
        for method in [Method::OPTIONS, Method::TRACE, Method::CONNECT] {
            assert_eq!(ask(&method, [(IF_MATCH, "\"b\""), (IF_NONE_MATCH, "\"a\"")]), Proceed);
        }
    }

    #[test]
    fn entity_tag_conditions() {
        for (value, none_match, matches) in [
            ("\"a\"", NotModified, Proceed),
            ("W/\"a\"", NotModified, Failed),
            ("\"b\", \"a\"", NotModified, Proceed),
            ("*", NotModified, Proceed),
            (" * ", NotModified, Proceed),
            ("junk, \"a\"", NotModified, Proceed),
            ("\"b\"", Proceed, Failed),
            ("\"A\"", Proceed, Failed),
            ("junk", Proceed, Failed),
            ("a", Proceed, Failed),
            ("", Proceed, Failed),
            ("*, *", Proceed, Failed),
            ("*, \"b\"", Proceed, Failed),
        ] {
            assert_eq!(ask(&Method::GET, [(IF_NONE_MATCH, value)]), none_match, "{value}");
            assert_eq!(ask(&Method::GET, [(IF_MATCH, value)]), matches, "{value}");
            // However it reads, the tag stands in for the date.
            assert_eq!(
                ask(&Method::GET, [(IF_NONE_MATCH, value), (IF_MODIFIED_SINCE, MODIFIED)]),
                none_match,
                "{value}"
            );
            assert_eq!(ask(&Method::PUT, [(IF_MATCH, value), (IF_UNMODIFIED_SINCE, LATE)]), matches, "{value}");
        }
        assert_eq!(ask(&Method::GET, [(IF_NONE_MATCH, "\"b\""), (IF_NONE_MATCH, "W/\"a\"")]), NotModified);
        assert_eq!(ask(&Method::GET, [(IF_NONE_MATCH, "*"), (IF_NONE_MATCH, "*")]), Proceed);
        assert_eq!(ask(&Method::PUT, [(IF_NONE_MATCH, "*")]), Failed);
    }

    #[test]
    fn weak_and_missing_tags_of_the_response() {
        for (field, none_match, matches) in
            [(Some("W/\"a\""), NotModified, Failed), (Some("a"), Proceed, Failed), (None, Proceed, Failed)]
        {
            let current = headers(field.map(|value| (ETAG, value)));
            let none = headers([(IF_NONE_MATCH, "\"a\"")]);
            assert_eq!(evaluate(&Method::GET, &none, &current, NOW), none_match, "{field:?}");
            let some = headers([(IF_MATCH, "\"a\"")]);
            assert_eq!(evaluate(&Method::GET, &some, &current, NOW), matches, "{field:?}");
            // The representation exists, tag or no tag.
            assert_eq!(evaluate(&Method::GET, &headers([(IF_MATCH, "*")]), &current, NOW), Proceed);
            assert_eq!(evaluate(&Method::GET, &headers([(IF_NONE_MATCH, "*")]), &current, NOW), NotModified);
        }
    }

    #[test]
    fn date_conditions() {
        let two = format!("{LATE}, {LATE}");
        for (value, modified, unmodified) in [
            (EARLY, Proceed, Failed),
            (MODIFIED, NotModified, Proceed),
            (OBSOLETE, NotModified, Proceed),
            (LATE, NotModified, Proceed),
            ("", Proceed, Proceed),
            ("0", Proceed, Proceed),
            (&two, Proceed, Proceed),
        ] {
            assert_eq!(ask(&Method::GET, [(IF_MODIFIED_SINCE, value)]), modified, "{value}");
            assert_eq!(ask(&Method::PUT, [(IF_UNMODIFIED_SINCE, value)]), unmodified, "{value}");
        }
        assert_eq!(ask(&Method::GET, [(IF_MODIFIED_SINCE, LATE), (IF_MODIFIED_SINCE, LATE)]), Proceed);
        assert_eq!(ask(&Method::PUT, [(IF_UNMODIFIED_SINCE, EARLY), (IF_UNMODIFIED_SINCE, EARLY)]), Proceed);
        assert_eq!(ask(&Method::PUT, [(IF_MODIFIED_SINCE, LATE)]), Proceed);
    }

    #[test]
    fn without_last_modified_the_date_counts_for_if_modified_since_only() {
        let dated = headers([(DATE, MODIFIED)]);
        let since = |value| evaluate(&Method::GET, &headers([(IF_MODIFIED_SINCE, value)]), &dated, NOW);
        assert_eq!((since(EARLY), since(MODIFIED), since(LATE)), (Proceed, NotModified, NotModified));
        let unmodified = headers([(IF_UNMODIFIED_SINCE, EARLY)]);
        assert_eq!(evaluate(&Method::PUT, &unmodified, &dated, NOW), Proceed);
        let modified = headers([(IF_MODIFIED_SINCE, LATE)]);
        assert_eq!(evaluate(&Method::GET, &modified, &HeaderMap::new(), NOW), Proceed);
    }

    #[test]
    fn if_range() {
        let strong = headers([(ETAG, "\"a\""), (LAST_MODIFIED, MODIFIED), (DATE, LATE)]);
        let weak = headers([(ETAG, "W/\"a\""), (LAST_MODIFIED, MODIFIED), (DATE, MODIFIED)]);
        for (value, with_strong, with_weak) in [
            ("\"a\"", true, false),
            ("W/\"a\"", false, false),
            ("\"b\"", false, false),
            ("\"a\", \"b\"", false, false),
            ("\"a", false, false),
            ("*", false, false),
            ("", false, false),
            ("a", false, false),
            (MODIFIED, true, false),
            (OBSOLETE, true, false),
            (EARLY, false, false),
            (LATE, false, false),
        ] {
            let request = headers([(IF_RANGE, value)]);
            assert_eq!(if_range_allows(&request, &strong, NOW), with_strong, "{value}");
            assert_eq!(if_range_allows(&request, &weak, NOW), with_weak, "{value}");
            assert!(!if_range_allows(&request, &HeaderMap::new(), NOW));
        }
        assert!(if_range_allows(&HeaderMap::new(), &strong, NOW));
        assert!(!if_range_allows(&headers([(IF_RANGE, "\"a\""), (IF_RANGE, "\"a\"")]), &strong, NOW));
        let undated = headers([(LAST_MODIFIED, MODIFIED)]);
        assert!(!if_range_allows(&headers([(IF_RANGE, MODIFIED)]), &undated, NOW));
    }

    fn value() -> impl Strategy<Value = HeaderValue> {
        let known = prop::sample::select(vec!["*", "\"a\"", "W/\"a\"", "\"b\", \"a\"", EARLY, MODIFIED, LATE, ""]);
        let junk = prop::collection::vec(prop_oneof![0x20u8..=0x7E, 0x80u8..=0xFF], 0..30);
        prop_oneof![
            known.prop_map(HeaderValue::from_static),
            junk.prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()),
        ]
    }

    fn head(names: Vec<HeaderName>) -> impl Strategy<Value = HeaderMap> {
        prop::collection::vec((prop::sample::select(names), value()), 0..6).prop_map(|fields| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(name, value);
            }
            headers
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn evaluation_is_total(
            method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::PUT]),
            request in head(vec![IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE]),
            current in head(vec![ETAG, LAST_MODIFIED, DATE]),
        ) {
            let answer = evaluate(&method, &request, &current, NOW);
            if answer == NotModified {
                prop_assert!(method != Method::PUT);
                prop_assert!(request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE));
            }
            if answer == Failed && method != Method::PUT {
                prop_assert!(request.contains_key(IF_MATCH) || request.contains_key(IF_UNMODIFIED_SINCE));
            }
            if if_range_allows(&request, &current, NOW) && request.contains_key(IF_RANGE) {
                let strong_tag = etag(&current).is_some_and(|tag| !tag.is_weak());
                prop_assert!(strong_tag || last_modified(&current, NOW).is_some());
            }
        }
    }
}

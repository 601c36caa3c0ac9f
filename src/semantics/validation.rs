//! Asking whether a stored response still holds, and taking in the answer (RFC 9111 §4.3).

use super::{
    date::{Timestamp, http_date},
    fields::{CONTENT_DIGEST, CONTENT_MD5, strip_connection_fields, takes_back_meaning},
    validator::{self, EntityTag},
};
use http::{
    HeaderMap,
    header::{
        AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH,
        LAST_MODIFIED, SET_COOKIE,
    },
};

/// What an answer to a validation says about the stored response.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ETAG};
/// use larder::semantics::{date::Timestamp, validation::{Freshened, freshen}};
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let stored = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v1\""))]);
/// let answer = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v2\""))]);
/// let head = match freshen(&stored, &answer, now) {
///     Freshened::Head(head) => Some(head),
///     Freshened::Mismatch | _ => None, // ask again, without conditions
/// };
/// assert_eq!(head, None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the stored head is as it was"]
pub enum Freshened {
    /// It holds; this is its head from now on.
    Head(HeaderMap),
    /// The answer speaks of another representation: the stored one is not to be used for it.
    Mismatch,
}

/// Turns a request into one that asks whether the stored response still holds (§4.3.1): the client's own conditions
/// make way for the stored validators.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{ETAG, IF_NONE_MATCH}};
/// use larder::semantics::validation::make_conditional;
///
/// let stored = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v2\""))]);
/// let mut request = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static("\"v1\""))]);
/// make_conditional(&mut request, &stored);
/// assert_eq!(request[IF_NONE_MATCH], "\"v2\"");
/// ```
pub fn make_conditional(request: &mut HeaderMap, stored: &HeaderMap) {
    validator::strip_conditionals(request);
    if let Some(etag) = stored.get(ETAG).filter(|value| EntityTag::parse(value.as_bytes()).is_some()) {
        request.insert(IF_NONE_MATCH, etag.clone());
    }
    if let Some(modified) = stored.get(LAST_MODIFIED) {
        request.insert(IF_MODIFIED_SINCE, modified.clone());
    }
}

/// The stored head, freshened by a 304 that arrived at `received` (§4.3.4, §3.2).
///
/// Every field of the answer replaces the stored one, but for those that describe the stored bytes or the exchange:
/// `Content-Length`, `Content-Encoding`, `Content-Range`, `Content-Digest`, `Content-MD5`, `Set-Cookie` and the fields of
/// the connection.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, DATE}};
/// use larder::semantics::{date::Timestamp, validation::{Freshened, freshen}};
///
/// let stored = HeaderMap::from_iter([(AGE, HeaderValue::from(30)), (CONTENT_LENGTH, HeaderValue::from(4711))]);
/// let answer = HeaderMap::from_iter([
///     (CACHE_CONTROL, HeaderValue::from_static("max-age=60")),
///     (CONTENT_LENGTH, HeaderValue::from(0)),
/// ]);
/// let Freshened::Head(head) = freshen(&stored, &answer, Timestamp::default()) else { panic!("it is another") };
/// assert!(head[CACHE_CONTROL] == "max-age=60" && head[CONTENT_LENGTH] == "4711");
/// assert!(head.contains_key(DATE) && !head.contains_key(AGE));
/// ```
pub fn freshen(stored: &HeaderMap, answer: &HeaderMap, received: Timestamp) -> Freshened {
    if !same_representation(stored, answer) || takes_back_meaning(answer, &[]) {
        return Freshened::Mismatch;
    }
    let mut news = answer.clone();
    strip_connection_fields(&mut news);
    for name in [CONTENT_LENGTH, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_DIGEST, CONTENT_MD5, SET_COOKIE] {
        news.remove(name);
    }
    // A response without a date gets that of its arrival (RFC 9110 §6.6.1); the stored age is that of another answer.
    news.entry(DATE).or_insert_with(|| http_date(received));
    let mut head = stored.clone();
    head.remove(AGE);
    for name in news.keys() {
        head.remove(name);
    }
    for (name, value) in &news {
        head.append(name, value.clone());
    }
    Freshened::Head(head)
}

/// Whether the answer to a HEAD request describes the stored response to GET (§4.3.5): each validator that it has
/// is the stored one, and so is its length.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{CONTENT_LENGTH, ETAG}};
/// use larder::semantics::validation::head_agrees;
///
/// let stored = HeaderMap::from_iter([(ETAG, HeaderValue::from_static("\"v1\""))]);
/// let mut answer = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(4711))]);
/// assert!(head_agrees(&stored, &answer, 4711));
/// answer.insert(ETAG, HeaderValue::from_static("\"v2\""));
/// assert!(!head_agrees(&stored, &answer, 4711));
/// ```
pub fn head_agrees(stored: &HeaderMap, answer: &HeaderMap, stored_length: u64) -> bool {
    let agrees = |name| answer.get(&name).is_none_or(|received| stored.get(&name) == Some(received));
    let length = answer.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    agrees(ETAG) && agrees(LAST_MODIFIED) && length.is_none_or(|length: u64| length == stored_length)
}

/// Whether a 304 is about the stored representation: its entity tag decides, strong tags by strong comparison, so
/// that a strong one where none is stored speaks of another (§4.3.4); without one on both sides the modification date;
/// without that too, the answer to our own question is believed.
fn same_representation(stored: &HeaderMap, answer: &HeaderMap) -> bool {
    match (validator::etag(stored), answer.contains_key(ETAG), validator::etag(answer)) {
        (Some(stored), true, Some(answer)) if answer.is_weak() => return stored.weak_eq(&answer),
        (Some(stored), true, Some(answer)) => return stored.strong_eq(&answer),
        (Some(_), true, None) => return false,
        (None, true, Some(answer)) if !answer.is_weak() => return false,
        _ => {}
    }
    match (stored.get(LAST_MODIFIED), answer.get(LAST_MODIFIED)) {
        (Some(stored), Some(answer)) => stored == answer,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn head(stored: &[(&'static str, &str)], answer: &[(&'static str, &str)]) -> Option<HeaderMap> {
        match freshen(&headers(stored), &headers(answer), NOW) {
            Freshened::Head(head) => Some(head),
            Freshened::Mismatch => None,
        }
    }

    #[test]
    fn the_stored_validators_replace_the_clients_conditions() {
        let mut request = headers(&[("if-none-match", "\"client\""), ("if-range", "\"client\""), ("accept", "*/*")]);
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        make_conditional(&mut request, &headers(&[("etag", "\"a\""), ("last-modified", modified)]));
        assert_eq!(request, headers(&[("accept", "*/*"), ("if-none-match", "\"a\""), ("if-modified-since", modified)]));
    }

    #[test]
    fn a_304_updates_all_but_what_describes_the_bytes() {
        let stored = [
            ("etag", "\"a\""),
            ("content-length", "1000"),
            ("age", "7"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("x-a", "old"),
            ("x-a", "older"),
            ("x-kept", "1"),
            ("content-digest", "sha-256=:c3RvcmVk:"),
            ("content-md5", "c3RvcmVk"),
            ("repr-digest", "sha-256=:c3RvcmVk:"),
        ];
        let answer = [
            ("etag", "\"a\""),
            ("content-length", "0"),
            ("set-cookie", "sid=B"),
            ("connection", "x-hop"),
            ("x-hop", "1"),
            ("x-a", "new"),
            ("content-digest", "sha-256=:bm9uZQ==:"),
            ("content-md5", "bm9uZQ=="),
            ("repr-digest", "sha-256=:c3RpbGw=:"),
            ("cache-control", "max-age=600"),
        ];
        let head = head(&stored, &answer).unwrap();
        assert_eq!(head["content-length"], "1000");
        assert_eq!(head.get_all("x-a").iter().collect::<Vec<_>>(), ["new"]);
        assert_eq!(head["x-kept"], "1");
        assert_eq!(head["cache-control"], "max-age=600");
        assert!(head["content-digest"] == "sha-256=:c3RvcmVk:" && head["content-md5"] == "c3RvcmVk");
        assert_eq!(head["repr-digest"], "sha-256=:c3RpbGw=:");
        assert_eq!(head["date"], http_date(NOW));
        for absent in ["set-cookie", "x-hop", "connection", "age"] {
            assert!(!head.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn another_validator_is_another_representation() {
        let modified = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (stored, answer, same) in [
            (vec![("etag", "\"a\"")], vec![("etag", "\"b\"")], false),
            (vec![("etag", "W/\"a\"")], vec![("etag", "W/\"a\"")], true),
            (vec![("etag", "\"a\"")], vec![("etag", "W/\"a\"")], true),
            (vec![("etag", "W/\"a\"")], vec![("etag", "\"a\"")], false),
            (vec![("etag", "\"a\"")], vec![("etag", "garbage")], false),
            (vec![("etag", "\"a\"")], vec![], true),
            (vec![("last-modified", modified)], vec![("last-modified", modified)], true),
            (vec![("last-modified", modified)], vec![("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT")], false),
            (vec![("last-modified", modified)], vec![("etag", "W/\"b\"")], true),
            (vec![("last-modified", modified)], vec![("etag", "\"b\"")], false),
            (vec![("last-modified", modified)], vec![("etag", "\"b\""), ("last-modified", modified)], false),
            (vec![("last-modified", modified)], vec![("etag", "garbage")], true),
            (vec![], vec![("etag", "\"b\"")], false),
        ] {
            assert_eq!(head(&stored, &answer).is_some(), same, "{stored:?} {answer:?}");
        }
    }

    #[test]
    fn a_head_answer_must_agree() {
        let stored = headers(&[("etag", "\"a\"")]);
        assert!(head_agrees(&stored, &headers(&[("content-length", "5")]), 5));
        assert!(!head_agrees(&stored, &headers(&[("content-length", "6")]), 5));
        assert!(!head_agrees(&stored, &headers(&[("etag", "\"b\"")]), 5));
        assert!(head_agrees(&stored, &headers(&[("etag", "\"a\"")]), 5));
        assert!(!head_agrees(&stored, &headers(&[("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]), 5));
        assert!(!head_agrees(&headers(&[]), &headers(&[("etag", "\"a\"")]), 5));
        assert!(head_agrees(&stored, &headers(&[]), 5));
    }
}

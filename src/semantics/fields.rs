//! Fields that belong to one connection and are neither stored nor replayed (RFC 9110 §7.6.1, RFC 9111 §3.1).

use http::{
    HeaderMap, HeaderName,
    header::{AGE, CACHE_CONTROL, CONNECTION, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY},
};

/// The fields that a `Connection` field names, as far as they are field names.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CONNECTION};
/// use larder::semantics::fields::connection_nominated;
///
/// let head = HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close, X-Trace, no name"))]);
/// assert!(connection_nominated(&head).eq(["close", "x-trace"]));
/// ```
pub fn connection_nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|element| HeaderName::from_bytes(element.trim_ascii()).ok())
}

/// Removes what a stored response must not keep: `Connection` and what it names, and the fields that each connection
/// has of its own.
///
/// ```
/// use http::{HeaderMap, HeaderName, HeaderValue, header::{CONNECTION, ETAG}};
/// use larder::semantics::fields::strip_connection_fields;
///
/// let mut head = HeaderMap::from_iter([
///     (CONNECTION, HeaderValue::from_static("keep-alive, x-trace")),
///     (HeaderName::from_static("keep-alive"), HeaderValue::from_static("timeout=5")),
///     (HeaderName::from_static("x-trace"), HeaderValue::from_static("17")),
///     (ETAG, HeaderValue::from_static("\"v1\"")),
/// ]);
/// strip_connection_fields(&mut head);
/// assert_eq!(head.keys().collect::<Vec<_>>(), [ETAG]);
/// ```
pub fn strip_connection_fields(headers: &mut HeaderMap) {
    strip_connection_fields_but(headers, |_| false);
}

/// Removes fields that are seldom there, whose names `http` does not know: to look such a one up costs more than to compare it
/// with each.
#[inline]
pub(crate) fn remove_rare(headers: &mut HeaderMap, names: &[HeaderName]) {
    if headers.keys().any(|name| names.contains(name)) {
        for name in names {
            headers.remove(name);
        }
    }
}

/// The same, but for those of the named fields that are to be kept.
pub(crate) fn strip_connection_fields_but(headers: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    // Mostly there is none of them.
    if !headers.keys().any(|name| CONNECTION_FIELDS.contains(&name.as_str())) {
        return;
    }
    let named: Vec<_> = connection_nominated(headers).filter(|name| !keep(name)).collect();
    named.iter().for_each(|name| drop(headers.remove(name)));
    CONNECTION_FIELDS.iter().for_each(|name| drop(headers.remove(*name)));
}

/// The digest of the content of one message (RFC 9530 §2), not of the representation.
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");

/// What came before it (RFC 2616 §14.15).
pub(crate) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");

/// The digest of the whole representation (RFC 9530 §3).
pub(crate) const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// Whether a name in `Connection` is one that speaks of the connection itself.
pub(crate) fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "close"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// Takes the fields for which the closure says yes out of what `Connection` names.
pub(crate) fn withdraw_nominations(headers: &mut HeaderMap, withdrawn: impl Fn(&HeaderName) -> bool) {
    if !connection_nominated(headers).any(|name| withdrawn(&name)) {
        return;
    }
    let kept: Vec<_> = connection_nominated(headers).filter(|name| !withdrawn(name)).collect();
    headers.remove(CONNECTION);
    for name in kept {
        headers.append(CONNECTION, name.into());
    }
}

/// Whether `Connection` names a field that a cache goes by, beside those that speak to it alone. Such a field is not to be
/// passed on (RFC 9110 §7.6.1), and not to be forgotten either.
pub(crate) fn takes_back_meaning(headers: &HeaderMap, targets: &[HeaderName]) -> bool {
    headers.contains_key(CONNECTION)
        && connection_nominated(headers).any(|name| {
            name.as_str().starts_with("content-")
                || targets.contains(&name)
                || [AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY].contains(&name)
        })
}

/// `Connection`, and what is of one connection whether or not that names it.
const CONNECTION_FIELDS: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn what_connection_names_goes_and_the_rest_stays() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-Secret, close"),
            ("connection", "bad name, x-other"),
            ("x-secret", "1"),
            ("x-other", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authentication-info", "x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("etag", "\"a\""),
            ("content-type", "text/plain"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        strip_connection_fields(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-type", "etag"]);
    }

    fn named(connection: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONNECTION, HeaderValue::from_str(connection).unwrap())])
    }

    #[test]
    fn a_nomination_is_withdrawn_and_others_stay() {
        let mut headers = named("x-a, close, Cache-Control");
        withdraw_nominations(&mut headers, |name| !is_of_the_connection(name));
        assert!(connection_nominated(&headers).eq(["close"]));
        let mut headers = named("x-a");
        withdraw_nominations(&mut headers, |name| name == "x-a");
        assert!(!headers.contains_key(CONNECTION));
    }

    #[test]
    fn what_a_cache_goes_by_is_not_the_connection_s() {
        let targets = [HeaderName::from_static("cdn-cache-control")];
        for name in ["content-type", "cdn-cache-control", "Vary", "x-a, age"] {
            assert!(takes_back_meaning(&named(name), &targets), "{name}");
        }
        for name in ["close", "x-a", "surrogate-control", ""] {
            assert!(!takes_back_meaning(&named(name), &targets), "{name}");
        }
    }
}

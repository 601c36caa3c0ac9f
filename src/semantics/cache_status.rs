//! The `Cache-Status` field (RFC 9211): how a cache handled a request.
//!
//! ```text
//! Cache-Status: larder; hit; ttl=30
//! Cache-Status: larder; fwd=uri-miss; stored
//! ```
//!
//! The value is a List of Structured Fields (RFC 9651 §3.1), one member for each cache, the last nearest to the client.

use super::structured::{Parser, Value, is_token_char, joined_lines};
use http::{HeaderMap, HeaderValue, header::CACHE_STATUS};
use std::fmt::{self, Write};

/// What one cache did, to be written (RFC 9211 §2).
///
/// `hit` and `fwd` exclude each other (§2.1), so with `hit` no `fwd` is written; and `fwd-status`, `stored` and
/// `collapsed` mean something beside `fwd` only (§2.3, §2.5, §2.6) and are written only there.
///
/// ```
/// use larder::semantics::cache_status::{CacheStatus, Forward};
///
/// let mut status = CacheStatus::new("edge");
/// status.fwd = Some(Forward::UriMiss);
/// status.stored = true;
/// assert_eq!(status.to_header_value(), "edge; fwd=uri-miss; stored");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CacheStatus<'a> {
    /// The cache. Written as a Token if it is one, else as a String.
    pub name: &'a str,
    /// The request was satisfied by the cache (§2.1).
    pub hit: bool,
    /// Why the request went forward (§2.2).
    pub fwd: Option<Forward>,
    /// The status code of the forwarded request, if another was sent on (§2.3).
    pub fwd_status: Option<u16>,
    /// Remaining freshness lifetime in seconds, negative when stale (§2.4).
    pub ttl: Option<i64>,
    /// The response was stored (§2.5).
    pub stored: bool,
    /// The request shared the answer to another one (§2.6).
    pub collapsed: bool,
    /// The cache key (§2.7). What is not printable ASCII is percent-encoded.
    pub key: Option<&'a str>,
    /// Anything else worth knowing (§2.8). What is not printable ASCII is percent-encoded.
    pub detail: Option<&'a str>,
}

impl<'a> CacheStatus<'a> {
    /// The cache of this name, of which nothing is said yet.
    pub const fn new(name: &'a str) -> Self {
        Self {
            name,
            hit: false,
            fwd: None,
            fwd_status: None,
            ttl: None,
            stored: false,
            collapsed: false,
            key: None,
            detail: None,
        }
    }

    /// The value as a field line of its own.
    pub fn to_header_value(&self) -> HeaderValue {
        // Only printable ASCII is written, so the fallback is never taken.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

impl fmt::Display for CacheStatus<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_token(self.name) {
            f.write_str(self.name)?;
        } else {
            write_string(self.name, f)?;
        }
        let fwd = self.fwd.filter(|_| !self.hit);
        if self.hit {
            f.write_str("; hit")?;
        }
        if let Some(fwd) = fwd {
            write!(f, "; fwd={fwd}")?;
            if let Some(status) = self.fwd_status {
                write!(f, "; fwd-status={status}")?;
            }
        }
        if let Some(ttl) = self.ttl {
            write!(f, "; ttl={}", ttl.clamp(-MAX_INTEGER, MAX_INTEGER))?;
        }
        if fwd.is_some() && self.stored {
            f.write_str("; stored")?;
        }
        if fwd.is_some() && self.collapsed {
            f.write_str("; collapsed")?;
        }
        for (name, text) in [("key", self.key), ("detail", self.detail)] {
            if let Some(text) = text {
                write!(f, "; {name}=")?;
                write_string(text, f)?;
            }
        }
        Ok(())
    }
}

/// Why a request went forward, from most to least specific (RFC 9211 §2.2).
///
/// ```
/// use larder::semantics::cache_status::Forward;
///
/// let why = |stored_for_uri: bool, selected: bool| match (stored_for_uri, selected) {
///     (false, _) => Forward::UriMiss,
///     (true, false) => Forward::VaryMiss,
///     (true, true) => Forward::Stale,
/// };
/// assert_eq!(why(true, false).to_string(), "vary-miss");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forward {
    /// The cache was configured not to handle the request.
    Bypass,
    /// The method requires it.
    Method,
    /// Nothing was stored for the URI.
    UriMiss,
    /// Something was stored for the URI, but nothing that the request's fields select.
    VaryMiss,
    /// Nothing stored could be used; why is not told apart.
    Miss,
    /// A fresh response was selected, but the request did not allow its use.
    Request,
    /// The selected response was stale.
    Stale,
    /// The selected response was partial and not enough.
    Partial,
}

impl Forward {
    /// The word in the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Miss => "miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one cache did, as read from a response (RFC 9211 §2). A parameter that has another type than there is absent.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_STATUS};
/// use larder::semantics::cache_status::member;
///
/// let says = HeaderValue::from_static("larder; fwd=stale; fwd-status=304; ttl=60");
/// let larder = member(&HeaderMap::from_iter([(CACHE_STATUS, says)]), "larder").expect("it has said so");
/// assert!(!larder.hit && larder.fwd.as_deref() == Some("stale"));
/// assert_eq!((larder.fwd_status, larder.ttl), (Some(304), Some(60))); // it still holds
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Member {
    /// The request was satisfied by the cache (§2.1).
    pub hit: bool,
    /// Why the request went forward (§2.2).
    pub fwd: Option<String>,
    /// The status code of the forwarded request (§2.3).
    pub fwd_status: Option<u16>,
    /// Remaining freshness lifetime in seconds (§2.4).
    pub ttl: Option<i64>,
    /// The response was stored (§2.5).
    pub stored: bool,
    /// The request shared the answer to another one (§2.6).
    pub collapsed: bool,
    /// The cache key (§2.7).
    pub key: Option<String>,
    /// Anything else (§2.8).
    pub detail: Option<String>,
}

/// The last member of the cache `name` over all `Cache-Status` lines. `None` also if the field is malformed anywhere.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_STATUS};
/// use larder::semantics::cache_status::member;
///
/// let says = HeaderValue::from_static("larder; hit; ttl=30, \"edge one\"; fwd=uri-miss; stored");
/// let head = HeaderMap::from_iter([(CACHE_STATUS, says)]);
/// assert!(member(&head, "larder").is_some_and(|larder| larder.hit));
/// assert!(member(&head, "edge one").is_some_and(|edge| edge.stored));
/// assert_eq!(member(&head, "other"), None);
/// ```
pub fn member(headers: &HeaderMap, name: &str) -> Option<Member> {
    let text = joined_lines(headers, &CACHE_STATUS)?;
    let members = Parser::of(&text).list()?;
    let (_, parameters) = members.into_iter().rfind(|(cache, _)| match cache {
        Value::String(cache) => cache == name,
        Value::Token(cache) => *cache == name,
        _ => false,
    })?;
    let mut member = Member::default();
    for (parameter, value) in parameters {
        // The last of duplicate parameters counts (RFC 9651 §4.2.3.2).
        match parameter {
            "hit" => member.hit = value == Value::Boolean(true),
            "fwd" => member.fwd = token(&value),
            "fwd-status" => member.fwd_status = integer(&value).and_then(|status| status.try_into().ok()),
            "ttl" => member.ttl = integer(&value),
            "stored" => member.stored = value == Value::Boolean(true),
            "collapsed" => member.collapsed = value == Value::Boolean(true),
            "key" => member.key = string(value),
            "detail" => member.detail = token(&value).or_else(|| string(value)),
            _ => {}
        }
    }
    Some(member)
}

fn token(value: &Value<'_>) -> Option<String> {
    match value {
        Value::Token(text) => Some((*text).to_owned()),
        _ => None,
    }
}

fn string(value: Value<'_>) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn integer(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}

/// A Token (RFC 9651 §3.3.4).
fn is_token(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '*') && text.bytes().all(is_token_char)
}

/// A String (RFC 9651 §4.1.6), which holds printable ASCII only.
fn write_string(text: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => write!(out, "\\{}", char::from(byte))?,
            b' '..=b'~' => out.write_char(char::from(byte))?,
            _ => write!(out, "%{byte:02X}")?,
        }
    }
    out.write_char('"')
}

/// The greatest Integer (RFC 9651 §3.3.1).
const MAX_INTEGER: i64 = 999_999_999_999_999;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (CACHE_STATUS, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    const LARDER: CacheStatus<'_> = CacheStatus::new("larder");

    #[test]
    fn writes_the_examples_of_the_rfc() {
        let written = |status: CacheStatus<'_>| status.to_string();
        assert_eq!(written(CacheStatus { hit: true, ..LARDER }), "larder; hit");
        assert_eq!(written(CacheStatus { hit: true, ttl: Some(30), ..LARDER }), "larder; hit; ttl=30");
        assert_eq!(written(CacheStatus { hit: true, ttl: Some(-412), ..LARDER }), "larder; hit; ttl=-412");
        let stale = CacheStatus { fwd: Some(Forward::Stale), fwd_status: Some(304), ..LARDER };
        assert_eq!(written(stale), "larder; fwd=stale; fwd-status=304");
        let miss = CacheStatus { fwd: Some(Forward::UriMiss), stored: true, collapsed: true, ..LARDER };
        assert_eq!(written(miss), "larder; fwd=uri-miss; stored; collapsed");
        assert_eq!(written(CacheStatus { name: "CDN Company Here", hit: true, ..LARDER }), "\"CDN Company Here\"; hit");
        assert_eq!(written(CacheStatus::default()), "\"\"");
    }

    #[test]
    fn writes_no_fwd_beside_hit() {
        let both = CacheStatus { hit: true, fwd: Some(Forward::Miss), fwd_status: Some(200), stored: true, ..LARDER };
        assert_eq!(both.to_string(), "larder; hit");
        assert_eq!(CacheStatus { stored: true, collapsed: true, ..LARDER }.to_string(), "larder");
    }

    #[test]
    fn strings_are_escaped_and_encoded() {
        let status = CacheStatus { key: Some("GET \"/caf\u{e9}\"\\\r\n"), detail: Some("not-stored"), ..LARDER };
        let expected = r#"larder; key="GET \"/caf%C3%A9\"\\%0D%0A"; detail="not-stored""#;
        assert_eq!(status.to_header_value(), expected);
    }

    #[test]
    fn the_ttl_stays_an_integer() {
        let ttl = |ttl| CacheStatus { hit: true, ttl: Some(ttl), ..LARDER }.to_string();
        assert_eq!(ttl(i64::MAX), "larder; hit; ttl=999999999999999");
        assert_eq!(ttl(i64::MIN), "larder; hit; ttl=-999999999999999");
    }

    #[test]
    fn reads_the_last_member_of_the_name() {
        let headers = response(&[
            "larder; hit; ttl=1, \"CDN Company Here\"; hit; ttl=545",
            "larder; fwd=uri-miss; fwd-status=200; collapsed; stored;ttl=-3; key=\"a\\\"b\"; detail=MEMORY; other=1.5",
            "Browser; fwd=uri-miss; collapsed=?0, (larder); hit",
        ]);
        let expected = Member {
            hit: false,
            fwd: Some("uri-miss".into()),
            fwd_status: Some(200),
            ttl: Some(-3),
            stored: true,
            collapsed: true,
            key: Some("a\"b".into()),
            detail: Some("MEMORY".into()),
        };
        assert_eq!(member(&headers, "larder"), Some(expected));
        assert_eq!(
            member(&headers, "CDN Company Here").map(|member| (member.hit, member.ttl)),
            Some((true, Some(545)))
        );
        assert_eq!(member(&headers, "Browser").map(|member| member.collapsed), Some(false));
        assert_eq!(member(&headers, "browser"), None);
        assert_eq!(member(&HeaderMap::new(), "larder"), None);
    }

    #[test]
    fn odd_parameters_are_absent_and_malformed_fields_nothing() {
        let headers =
            response(&["larder; hit=1; fwd=\"miss\"; ttl=1.5; stored=yes; key=token; detail=7; fwd-status=70000"]);
        assert_eq!(member(&headers, "larder"), Some(Member::default()));
        for line in [
            "larder; Hit",
            "larder, ",
            "larder; hit; ttl=",
            "larder hit",
            "larder; key=\"open",
            "larder;hit,\u{e9}",
            "",
        ] {
            assert_eq!(member(&response(&[line]), "larder"), None, "{line}");
        }
    }

    fn forward() -> impl Strategy<Value = Forward> {
        use Forward::*;
        prop::sample::select(vec![Bypass, Method, UriMiss, VaryMiss, Miss, Request, Stale, Partial])
    }

    /// Any byte that `http` takes in a field value, but for the tab.
    fn value_byte() -> impl Strategy<Value = u8> {
        prop_oneof![32..=126_u8, 128..=255_u8]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn what_is_written_is_read(
            name in "[ -~]{0,8}",
            hit in any::<bool>(),
            fwd in prop::option::of(forward()),
            fwd_status in prop::option::of(any::<u16>()),
            ttl in prop::option::of(-MAX_INTEGER..=MAX_INTEGER),
            (stored, collapsed) in any::<(bool, bool)>(),
            key in prop::option::of("[ -~]{0,12}"),
            detail in prop::option::of("[ -~]{0,12}"),
        ) {
            let (key, detail) = (key.as_deref(), detail.as_deref());
            let status = CacheStatus { name: &name, hit, fwd, fwd_status, ttl, stored, collapsed, key, detail };
            let headers = [(CACHE_STATUS, status.to_header_value())].into_iter().collect();
            let forwarded = fwd.is_some() && !hit;
            let expected = Member {
                hit,
                fwd: fwd.filter(|_| forwarded).map(|fwd| fwd.to_string()),
                fwd_status: fwd_status.filter(|_| forwarded),
                ttl,
                stored: stored && forwarded,
                collapsed: collapsed && forwarded,
                key: key.map(Into::into),
                detail: detail.map(Into::into),
            };
            prop_assert_eq!(member(&headers, &name), Some(expected));
        }

        #[test]
        fn any_text_is_written_as_a_valid_member(
            name in any::<String>(),
            key in any::<String>(),
            detail in any::<String>(),
        ) {
            let status = CacheStatus { name: &name, key: Some(&key), detail: Some(&detail), ..LARDER };
            let value = status.to_header_value();
            prop_assert_eq!(&value, &status.to_string());
            let members = Parser::of(value.as_bytes()).list();
            prop_assert_eq!(members.map(|members| members.len()), Some(1));
        }

        #[test]
        fn any_value_is_read(line in prop::collection::vec(value_byte(), 0..60)) {
            let headers = [(CACHE_STATUS, HeaderValue::from_bytes(&line).unwrap())].into_iter().collect();
            let _ = member(&headers, "larder");
        }
    }
}

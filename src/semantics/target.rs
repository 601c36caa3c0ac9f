//! The target URI of a request, as the client meant it (RFC 9110 §7.1).
//!
//! Who is being asked decides what may be answered, so anything that two readers could understand differently is
//! [`Ambiguous`] and never guessed: two `Host` fields, user information, an absolute target that disagrees with `Host`.

use http::{HeaderMap, HeaderValue, Uri, header::HOST, uri::Scheme};
use std::fmt;

/// A target URI, borrowed from the request. `==` compares what was sent; hosts of other spellings are the same to
/// [`same_authority`].
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri, header::HOST, uri::Scheme};
/// use larder::semantics::target::{Ambiguous, Target};
///
/// let uri = Uri::from_static("/products?page=2");
/// let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("Shop.example:443"))]);
/// let target = Target::of(&uri, &headers, Some(&Scheme::HTTPS))?;
/// assert_eq!((target.path, target.query), ("/products", Some("page=2")));
/// assert_eq!(target.normal_authority(), Some("Shop.example"));
/// # Ok::<(), Ambiguous>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target<'a> {
    /// `http` or `https` in lower case, or another scheme as sent. HTTP/1.1 requests in origin form do not say, so it
    /// may be unknown.
    pub scheme: Option<&'a str>,
    /// Host and port as sent, without user information; absent in HTTP/1.0 requests without `Host`, which differs from an
    /// empty one.
    pub authority: Option<&'a str>,
    /// The path as sent, percent-encoding untouched.
    pub path: &'a str,
    /// The query as sent, without the question mark. `Some("")` (a bare `?`) differs from `None`.
    pub query: Option<&'a str>,
}

/// The `Host` fields of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hosts<'a> {
    /// There is none.
    None,
    /// There is one, as there should be.
    One(&'a HeaderValue),
    /// There are more than one.
    Several,
}

impl<'a> Hosts<'a> {
    /// Those of these fields.
    pub(crate) fn of(headers: &'a HeaderMap) -> Self {
        headers.get_all(HOST).iter().fold(Self::None, Self::and)
    }

    /// With another one.
    #[must_use]
    pub(crate) fn and(self, host: &'a HeaderValue) -> Self {
        match self {
            Self::None => Self::One(host),
            Self::One(_) | Self::Several => Self::Several,
        }
    }
}

/// What of a request says which resource it means.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// The request target.
    pub(crate) uri: &'a Uri,
    /// The `Host` fields.
    pub(crate) hosts: Hosts<'a>,
    /// What the connection tells, used when the request target has none.
    pub(crate) scheme: Option<&'a Scheme>,
}

impl<'a> Asked<'a> {
    /// `http` or `https` in lower case, or another scheme as sent.
    #[inline]
    pub(crate) fn scheme(&self) -> Option<&'a str> {
        self.uri.scheme().or(self.scheme).map(|scheme| lower_case(scheme.as_str()))
    }

    /// Who is asked, if only one is named.
    #[inline]
    pub(crate) fn only_authority(&self) -> Option<&'a [u8]> {
        match (self.uri.authority(), self.hosts) {
            (None, Hosts::One(host)) => Some(host.as_bytes()),
            (Some(named), Hosts::None) => Some(named.as_str().as_bytes()),
            _ => None,
        }
    }
}

/// Why it is not clear which resource a request means.
///
/// ```
/// use http::{HeaderMap, HeaderValue, Uri, header::HOST};
/// use larder::semantics::target::{Ambiguous, Target};
///
/// let uri = Uri::from_static("http://shop.example/cart");
/// let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("bank.example"))]);
/// let verdict = Target::of(&uri, &headers, None);
/// assert_eq!(verdict, Err(Ambiguous::HostMismatch));
/// assert_eq!(verdict.unwrap_err().to_string(), "host-mismatch");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ambiguous {
    /// The target URI names another host than the `Host` field (RFC 9112 §3.2.2).
    HostMismatch,
    /// More than one `Host` field line (RFC 9112 §3.2).
    HostRepeated,
    /// A `Host` field or an authority that is no host and port: no `uri-host [ ":" port ]` (RFC 9110 §7.2), or a port
    /// with leading zeros, which some readers drop (§4.3.1) and others compare.
    HostMalformed,
    /// The authority holds user information (RFC 9110 §4.2.4).
    UserInfo,
}

impl<'a> Target<'a> {
    /// The target URI of a request with this request target and these fields. `scheme` is what the connection tells,
    /// used when the request target has none.
    ///
    /// # Errors
    ///
    /// If it is not clear which resource is meant.
    pub fn of(uri: &'a Uri, headers: &'a HeaderMap, scheme: Option<&'a Scheme>) -> Result<Self, Ambiguous> {
        Self::at(Asked { uri, hosts: Hosts::of(headers), scheme })
    }

    /// The same, where the `Host` fields have been looked for.
    pub(crate) fn at(asked: Asked<'a>) -> Result<Self, Ambiguous> {
        let (uri, scheme) = (asked.uri, asked.scheme());
        let host = match asked.hosts {
            Hosts::Several => return Err(Ambiguous::HostRepeated),
            // All that a host is made of is ASCII.
            Hosts::One(host) => Some(std::str::from_utf8(host.as_bytes()).map_err(|_| Ambiguous::HostMalformed)?),
            Hosts::None => None,
        };
        let named = uri.authority().map(http::uri::Authority::as_str);
        for authority in [named, host].into_iter().flatten() {
            // An empty Host says that the target has no authority (RFC 9112 §3.2).
            if !authority.is_empty() && !is_host_and_port(authority) {
                return Err(if authority.contains('@') { Ambiguous::UserInfo } else { Ambiguous::HostMalformed });
            }
        }
        let authority = match (named, host) {
            (Some(named), Some(host)) if !same_authority(named, host, scheme) => return Err(Ambiguous::HostMismatch),
            (named, host) => named.or(host),
        };
        Ok(Self { scheme, authority, path: uri.path(), query: uri.query() })
    }

    /// The authority without the default port of the scheme (RFC 9110 §4.2.3), letters as sent.
    pub fn normal_authority(&self) -> Option<&'a str> {
        self.authority.map(|authority| match host_and_port(authority, self.scheme) {
            (host, None) => host,
            _ => authority,
        })
    }
}

impl Ambiguous {
    /// The reason as one word, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostMismatch => "host-mismatch",
            Self::HostRepeated => "host-repeated",
            Self::HostMalformed => "host-malformed",
            Self::UserInfo => "user-info",
        }
    }
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Ambiguous {}

/// Whether two spellings name one authority (RFC 9110 §4.3.1): letters without case, ports without leading zeros, the
/// scheme's default port left out.
///
/// ```
/// use larder::semantics::target::same_authority;
///
/// assert!(same_authority("Shop.example:443", "shop.example", Some("https")));
/// assert!(!same_authority("shop.example:443", "shop.example", Some("http")));
/// ```
pub fn same_authority(a: &str, b: &str, scheme: Option<&str>) -> bool {
    let (a_host, a_port) = host_and_port(a, scheme);
    let (b_host, b_port) = host_and_port(b, scheme);
    a_host.eq_ignore_ascii_case(b_host) && a_port == b_port
}

/// The host, and the port unless it is empty or the scheme's default.
#[inline]
fn host_and_port<'a>(authority: &'a str, scheme: Option<&str>) -> (&'a str, Option<&'a str>) {
    if authority.as_bytes().last().is_some_and(u8::is_ascii_alphabetic) {
        return (authority, None);
    }
    // The port follows the last byte that is no digit. If that is no colon, a colon is one of an IPv6 address.
    let end = authority.bytes().rposition(|byte| !byte.is_ascii_digit());
    let (host, port) = match end.and_then(|end| authority.split_at_checked(end)) {
        Some((host, port)) if port.starts_with(':') => (host, &port[1..]),
        _ => return (authority, None),
    };
    let significant = match port.trim_start_matches('0') {
        "" if !port.is_empty() => "0",
        significant => significant,
    };
    let default = match scheme {
        Some("http") => "80",
        Some("https") => "443",
        _ => "",
    };
    (host, Some(significant).filter(|port| !port.is_empty() && *port != default))
}

/// Host and port as they are compared: in lower case, without a port that says nothing. `None` if they are sent like that.
pub(crate) fn normal_host(authority: &str, scheme: Option<&Scheme>) -> Option<String> {
    let normal = match host_and_port(authority, scheme.map(|scheme| lower_case(scheme.as_str()))) {
        (host, None) => host,
        _ => authority,
    };
    let is_normal = normal.len() == authority.len() && !normal.bytes().any(|byte| byte.is_ascii_uppercase());
    (!is_normal).then(|| normal.to_ascii_lowercase())
}

/// `uri-host [ ":" port ]` by RFC 3986 §3.2.2: no white space, no path, no second host behind a comma, and colons
/// elsewhere only in brackets.
fn is_host_and_port(authority: &str) -> bool {
    // Most have no colon.
    if authority.bytes().all(|byte| byte != b':' && HOST_BYTES[usize::from(byte)]) {
        return !authority.is_empty();
    }
    let (host, rest) = match authority.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some(literal) => literal,
        None => authority.split_at(authority.bytes().position(|byte| byte == b':').unwrap_or(authority.len())),
    };
    // A colon can be left in the host only by brackets.
    let host_is_valid = !host.is_empty() && host.bytes().all(|byte| HOST_BYTES[usize::from(byte)]);
    let port_is_valid = match rest.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()) && (!port.starts_with('0') || port == "0"),
        None => rest.is_empty(),
    };
    host_is_valid && port_is_valid
}

/// A scheme is compared without case (RFC 9110 §4.2.3), and `http` keeps the case of some.
fn lower_case(scheme: &str) -> &str {
    ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)).unwrap_or(scheme)
}

/// A byte of a host in lower case, if a host of such bytes alone says what it is: without port, and without brackets.
/// Else zero.
pub(crate) const PLAIN_HOST: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        // The index is below 256.
        let letter = byte as u8;
        if HOST_BYTES[byte] && letter != b':' {
            table[byte] = letter.to_ascii_lowercase();
        }
        byte += 1;
    }
    table
};

/// What a host, or an address in brackets, is made of.
const HOST_BYTES: [bool; 256] = {
    let others = b"-._~%!$&'()*+;=:";
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte.is_ascii() {
        table[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let mut place = 0;
    while place < others.len() {
        table[others[place] as usize] = true;
        place += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hosts(hosts: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        headers
    }

    fn authority(uri: &str, host: &[&str]) -> Result<Option<String>, Ambiguous> {
        let (uri, headers) = (uri.parse().unwrap(), hosts(host));
        Target::of(&uri, &headers, None).map(|target| target.authority.map(str::to_owned))
    }

    #[test]
    fn the_parts_are_as_sent() {
        let (uri, headers) = ("/A%2f/./b?x=%20&".parse().unwrap(), hosts(&["Example.com:8080"]));
        let target = Target::of(&uri, &headers, Some(&Scheme::HTTPS)).unwrap();
        assert_eq!(
            target,
            Target {
                scheme: Some("https"),
                authority: Some("Example.com:8080"),
                path: "/A%2f/./b",
                query: Some("x=%20&")
            }
        );
        assert_eq!(target.normal_authority(), Some("Example.com:8080"));
        for (uri, path, query) in [
            ("/", "/", None),
            ("/?", "/", Some("")),
            ("http://a", "/", None),
            ("http://a?b", "/", Some("b")),
            ("*", "*", None),
            ("a:1", "", None),
        ] {
            let (uri, headers) = (uri.parse().unwrap(), HeaderMap::new());
            let target = Target::of(&uri, &headers, None).unwrap();
            assert_eq!((target.path, target.query), (path, query), "{uri}");
        }
    }

    #[test]
    fn the_scheme_is_the_target_s_before_the_connection_s() {
        let headers = HeaderMap::new();
        let scheme = |uri: &str, connection: Option<&str>| {
            let (uri, connection) = (uri.parse().unwrap(), connection.map(|text| text.parse().unwrap()));
            Target::of(&uri, &headers, connection.as_ref()).unwrap().scheme.map(str::to_owned)
        };
        assert_eq!(scheme("/", None), None);
        assert_eq!(scheme("/", Some("https")).as_deref(), Some("https"));
        assert_eq!(scheme("/", Some("HTTPS")).as_deref(), Some("https"));
        assert_eq!(scheme("HTTP://a/", Some("https")).as_deref(), Some("http"));
        assert_eq!(scheme("Coap://a/", None).as_deref(), Some("Coap"));
    }

    #[test]
    fn host_and_authority_agree_or_it_is_ambiguous() {
        for (uri, host, expected) in [
            ("/", &[][..], Ok(None)),
            ("/", &[""], Ok(Some(""))),
            ("/", &["a"], Ok(Some("a"))),
            ("/", &["a:"], Ok(Some("a:"))),
            ("/", &["a", "a"], Err(Ambiguous::HostRepeated)),
            ("/", &["u@a"], Err(Ambiguous::UserInfo)),
            ("http://a/", &[], Ok(Some("a"))),
            ("http://a/", &["A"], Ok(Some("a"))),
            ("http://a/", &["a:80"], Ok(Some("a"))),
            ("http://a:80/", &["a:"], Ok(Some("a:80"))),
            ("https://a/", &["a:443"], Ok(Some("a"))),
            ("https://a/", &["a:80"], Err(Ambiguous::HostMismatch)),
            ("http://a/", &["b"], Err(Ambiguous::HostMismatch)),
            ("http://a/", &["a."], Err(Ambiguous::HostMismatch)),
            ("http://a/", &[""], Err(Ambiguous::HostMismatch)),
            ("http://a:81/", &["a"], Err(Ambiguous::HostMismatch)),
            ("http://[::80]/", &["[::]"], Err(Ambiguous::HostMismatch)),
            ("http://[::1]:80/", &["[::1]"], Ok(Some("[::1]:80"))),
            ("http://u@a/", &[], Err(Ambiguous::UserInfo)),
            ("http://u:p@a/", &["a"], Err(Ambiguous::UserInfo)),
            ("http://a:b/", &["a:b"], Err(Ambiguous::HostMalformed)),
            ("http://a,b/", &[], Err(Ambiguous::HostMalformed)),
        ] {
            assert_eq!(
                authority(uri, host),
                expected.map(|text: Option<&str>| text.map(str::to_owned)),
                "{uri} {host:?}"
            );
        }
    }

    #[test]
    fn malformed_hosts() {
        for host in ["a", "a.b-c_d~e", "1.2.3.4:5", "[::1]", "[::1]:8080", "[v1.a:b]", "a:0", "%41", "a!$&'()*+;=b"] {
            assert_eq!(authority("/", &[host]), Ok(Some(host.to_owned())), "{host}");
        }
        for host in [
            " a", "a b", "a,b", "a/b", "a?b", "a#b", "a\\b", "a:b", "a:80:80", "a:80a", "a:080", "a:00", ":80", ":",
            "::1", "[]", "[::1", "::1]", "[::1]a", "[::1]:a", "a[::1]", "[[::1]]", "[a/b]", "a\u{e9}", "a\"b",
        ] {
            assert_eq!(authority("/", &[host]), Err(Ambiguous::HostMalformed), "{host}");
        }
    }

    #[test]
    fn default_ports() {
        for (authority, http, https, unknown) in [
            ("a", "a", "a", "a"),
            ("a:", "a", "a", "a"),
            ("a:80", "a", "a:80", "a:80"),
            ("a:443", "a:443", "a", "a:443"),
            ("a:8080", "a:8080", "a:8080", "a:8080"),
            ("a80", "a80", "a80", "a80"),
            ("[::80]", "[::80]", "[::80]", "[::80]"),
            ("[::1]:80", "[::1]", "[::1]:80", "[::1]:80"),
        ] {
            let normal = [Some("http"), Some("https"), None].map(|scheme| {
                Target { scheme, authority: Some(authority), path: "/", query: None }.normal_authority().unwrap()
            });
            assert_eq!(normal, [http, https, unknown]);
        }
    }

    #[test]
    fn spellings_of_an_authority() {
        for (a, b, scheme, expected) in [
            ("a", "A:80", Some("http"), true),
            ("a", "a:080", Some("http"), true),
            ("a:08080", "a:8080", None, true),
            ("a:", "a", None, true),
            ("a:0", "a", None, false),
            ("a:00", "a:0", None, true),
            ("a:80", "a", None, false),
            ("a:80", "a", Some("https"), false),
            ("a:80", "a", Some("ftp"), false),
            ("[::1]", "[::1]:443", Some("https"), true),
            ("[::1]", "[::]", None, false),
            ("", "a", None, false),
        ] {
            assert_eq!(same_authority(a, b, scheme), expected, "{a} {b}");
            assert_eq!(same_authority(b, a, scheme), expected, "{a} {b}");
        }
    }

    #[test]
    fn only_one_that_is_named_once_is_sure() {
        for (uri, host, expected) in [
            ("/", &["a:1"][..], Some("a:1")),
            ("http://a:1/", &[], Some("a:1")),
            ("http://a/", &["a"], None),
            ("/", &["a", "a"], None),
            ("/", &[], None),
        ] {
            let (uri, headers) = (uri.parse().unwrap(), hosts(host));
            let asked = Asked { uri: &uri, hosts: Hosts::of(&headers), scheme: None };
            assert_eq!(asked.only_authority(), expected.map(str::as_bytes), "{uri} {host:?}");
        }
    }

    #[test]
    fn what_is_not_clear_has_a_word() {
        assert_eq!(Ambiguous::UserInfo.to_string(), "user-info");
        assert_eq!(Ambiguous::HostMalformed.to_string(), Ambiguous::HostMalformed.as_str());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn total_and_unambiguous(
            uri in "(https?://[a:1\\[\\]@,]{1,8})?/",
            host in prop::collection::vec("[a:10\\[\\]@, ]{0,8}", 0..3),
        ) {
            let Ok(uri) = uri.parse::<Uri>() else { return Ok(()) };
            let lines: Vec<_> = host.iter().map(String::as_str).collect();
            let headers = hosts(&lines);
            let Ok(target) = Target::of(&uri, &headers, None) else { return Ok(()) };
            prop_assert!(lines.len() <= 1);
            if let Some(normal) = target.normal_authority() {
                prop_assert!(normal.is_empty() || is_host_and_port(normal) && !normal.ends_with(':'));
                // What Host says and what the target says is one and the same.
                let named = uri.authority().map(http::uri::Authority::as_str);
                for named in named.into_iter().chain(lines) {
                    prop_assert!(same_authority(named, normal, target.scheme));
                }
            }
        }
    }
}

//! What a change makes wrong (RFC 9111 §4.4).

use super::target::{Target, same_authority};
use http::{
    HeaderMap, Method, StatusCode,
    header::{CONTENT_LOCATION, LOCATION},
    uri::PathAndQuery,
};
use std::borrow::Cow;

/// Whether a method promises to change nothing (RFC 9110 §9.2.1; QUERY: RFC 10008). Methods are told apart by case, and
/// of an unknown one nothing is promised.
///
/// ```
/// use http::Method;
/// use larder::semantics::invalidation::is_safe;
///
/// assert!(is_safe(&Method::GET));
/// assert!(!is_safe(&Method::DELETE) && !is_safe(&"get".parse()?));
/// # Ok::<(), http::method::InvalidMethod>(())
/// ```
pub fn is_safe(method: &Method) -> bool {
    matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY")
}

/// Whether a final response to this method invalidates what is stored for its target: the method is unsafe and the
/// status no error, that is 2xx or 3xx (RFC 9111 §4.4).
///
/// ```
/// use http::{Method, StatusCode};
/// use larder::semantics::invalidation::invalidates;
///
/// assert!(invalidates(&Method::POST, StatusCode::SEE_OTHER));
/// assert!(!invalidates(&Method::POST, StatusCode::CONFLICT)); // nothing has changed
/// assert!(!invalidates(&Method::GET, StatusCode::OK));
/// ```
pub fn invalidates(method: &Method, status: StatusCode) -> bool {
    !is_safe(method) && (status.is_success() || status.is_redirection())
}

/// What else a response to an unsafe method invalidates (RFC 9111 §4.4): the paths and queries that its `Location` and
/// `Content-Location` lines refer to, sorted, each once, without the target's own.
///
/// References to another origin are left out, or anyone could empty another's cache; so is what cannot be read or is
/// longer than 8 KiB. The scheme of `base` may be unknown, then http and https both match; without an authority only
/// references that name none do.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{CONTENT_LOCATION, LOCATION}};
/// use larder::semantics::{invalidation::same_origin_targets, target::Target};
///
/// let posted = Target { scheme: Some("https"), authority: Some("shop.example"), path: "/products", query: None };
/// let answer = HeaderMap::from_iter([
///     (LOCATION, HeaderValue::from_static("products/17#price")),
///     (CONTENT_LOCATION, HeaderValue::from_static("https://other.example/products")),
/// ]);
/// assert_eq!(same_origin_targets(&posted, &answer), ["/products/17"]);
/// ```
pub fn same_origin_targets(base: &Target<'_>, headers: &HeaderMap) -> Vec<String> {
    let own = path_and_query(base);
    let lines = headers.get_all(LOCATION).iter().chain(headers.get_all(CONTENT_LOCATION));
    let mut targets: Vec<_> = lines
        .filter_map(|line| Reference::parse(line.to_str().ok()?.trim_matches([' ', '\t']))?.resolve(base))
        .filter(|target| *target != own)
        .collect();
    targets.sort_unstable();
    targets.dedup();
    targets
}

/// The path and query of a target as one text. An empty path is `/` (RFC 9110 §4.2.3).
///
/// ```
/// use larder::semantics::{invalidation::path_and_query, target::Target};
///
/// // https://shop.example?page=2
/// let target = Target { scheme: Some("https"), authority: Some("shop.example"), path: "", query: Some("page=2") };
/// assert_eq!(path_and_query(&target), "/?page=2");
/// ```
pub fn path_and_query<'a>(target: &Target<'a>) -> Cow<'a, str> {
    let path = if target.path.is_empty() { "/" } else { target.path };
    match target.query {
        Some(query) => Cow::Owned(format!("{path}?{query}")),
        None => Cow::Borrowed(path),
    }
}

/// The components of a URI reference but the fragment, which belongs to the client (RFC 3986 §4.1, appendix B).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let rest = text.split_once('#').map_or(text, |(rest, _)| rest);
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        // A relative path must not have a colon in its first segment (§4.2), so what stands before one is a scheme.
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, rest)) if !scheme.contains('/') => (Some(scheme), rest),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Some(Self { scheme, authority, path, query })
    }

    /// The path and query of what is meant, if it has the origin of `base` (RFC 3986 §5.2.2).
    fn resolve(self, base: &Target<'_>) -> Option<String> {
        let scheme = match self.scheme {
            Some(scheme) => Some(shared_scheme(scheme, base.scheme)?),
            None => base.scheme,
        };
        match (self.authority, base.authority) {
            // User information hides who is meant (RFC 9110 §4.2.4), and a host is never empty (§4.2.1). As the base
            // has neither, equality rules out both.
            (Some(authority), Some(own)) if same_authority(authority, own, scheme) => {}
            // A scheme without an authority, `http:path`, was once a relative reference and is malformed now.
            (None, _) if self.scheme.is_none() => {}
            _ => return None,
        }
        let (path, query) = if self.authority.is_some() || self.path.starts_with('/') {
            (remove_dot_segments(self.path), self.query)
        } else if self.path.is_empty() {
            (base.path.to_owned(), self.query.or(base.query))
        } else {
            let folder = base.path.rfind('/').map_or("", |slash| &base.path[..slash]);
            (remove_dot_segments(&format!("{folder}/{}", self.path)), self.query)
        };
        let target = path_and_query(&Target { path: &path, query, ..*base }).into_owned();
        // What can be no request target is stored nowhere.
        let possible = target.starts_with('/') && target.len() <= MAX_TARGET;
        (possible && PathAndQuery::try_from(target.as_str()).is_ok()).then_some(target)
    }
}

/// The scheme of a reference, if the base has it or may have it.
fn shared_scheme<'a>(scheme: &str, base: Option<&'a str>) -> Option<&'a str> {
    match base {
        Some(base) => scheme.eq_ignore_ascii_case(base).then_some(base),
        None => ["http", "https"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)),
    }
}

/// Resolves `.` and `..` in an absolute path (RFC 3986 §5.2.4). `..` does not lead out of the root.
fn remove_dot_segments(path: &str) -> String {
    let mut kept = Vec::new();
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            _ => kept.push(segment),
        }
        // A dot segment at the end leaves the slash before it.
        if segments.peek().is_none() && matches!(segment, "." | "..") {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// The longest path and query that is looked up: what key text is limited to.
const MAX_TARGET: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const BASE: Target<'static> =
        Target { scheme: Some("http"), authority: Some("a"), path: "/b/c/d;p", query: Some("q") };

    fn headers<'a>(fields: impl IntoIterator<Item = (HeaderName, &'a str)>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn refer(base: &Target<'_>, reference: &str) -> Option<String> {
        let targets = same_origin_targets(base, &headers([(LOCATION, reference)]));
        assert!(targets.len() <= 1);
        targets.into_iter().next()
    }

    #[test]
    fn safe_methods() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
            assert!(is_safe(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "get", "Query", "GETS"] {
            assert!(!is_safe(&Method::from_bytes(method.as_bytes()).unwrap()), "{method}");
        }
    }

    #[test]
    fn unsafe_success_invalidates() {
        for (status, expected) in [
            (100, false),
            (199, false),
            (200, true),
            (204, true),
            (303, true),
            (399, true),
            (400, false),
            (500, false),
            (999, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(invalidates(&Method::POST, status), expected, "{status}");
            assert_eq!(invalidates(&Method::from_bytes(b"PURGE").unwrap(), status), expected, "{status}");
            assert!(!invalidates(&Method::GET, status));
        }
    }

    /// RFC 3986 §5.4, with the fragment left out.
    #[test]
    fn references_resolve_as_in_the_standard() {
        for (reference, expected) in [
            ("g", "/b/c/g"),
            ("./g", "/b/c/g"),
            ("g/", "/b/c/g/"),
            ("/g", "/g"),
            ("?y", "/b/c/d;p?y"),
            ("g?y", "/b/c/g?y"),
            ("g#s", "/b/c/g"),
            ("g?y#s", "/b/c/g?y"),
            (";x", "/b/c/;x"),
            ("g;x", "/b/c/g;x"),
            ("g;x?y#s", "/b/c/g;x?y"),
            (".", "/b/c/"),
            ("./", "/b/c/"),
            ("..", "/b/"),
            ("../", "/b/"),
            ("../g", "/b/g"),
            ("../..", "/"),
            ("../../", "/"),
            ("../../g", "/g"),
            ("../../../g", "/g"),
            ("../../../../g", "/g"),
            ("/./g", "/g"),
            ("/../g", "/g"),
            ("g.", "/b/c/g."),
            (".g", "/b/c/.g"),
            ("g..", "/b/c/g.."),
            ("..g", "/b/c/..g"),
            ("./../g", "/b/g"),
            ("./g/.", "/b/c/g/"),
            ("g/./h", "/b/c/g/h"),
            ("g/../h", "/b/c/h"),
            ("g;x=1/./y", "/b/c/g;x=1/y"),
            ("g;x=1/../y", "/b/c/y"),
            ("g?y/./x", "/b/c/g?y/./x"),
            ("g?y/../x", "/b/c/g?y/../x"),
            ("g#s/../x", "/b/c/g"),
            // Ours.
            ("g?", "/b/c/g?"),
            ("g?http://b/", "/b/c/g?http://b/"),
            ("./x:y", "/b/c/x:y"),
            ("x/y:z", "/b/c/x/y:z"),
            ("/a,b", "/a,b"),
            (" /g\t", "/g"),
            ("/%2e%2e/g", "/%2e%2e/g"),
        ] {
            assert_eq!(refer(&BASE, reference).as_deref(), Some(expected), "{reference}");
        }
        // The target itself, another scheme, and a scheme without an authority.
        for reference in ["", "#s", "?q", "d;p?q", "../c/d;p?q#s", "g:h", "http:g", "http:/g", "mailto:x@a"] {
            assert_eq!(refer(&BASE, reference), None, "{reference}");
        }
    }

    #[test]
    fn origins() {
        let http = Target { scheme: Some("http"), authority: Some("Example.com:80"), path: "/own", query: None };
        let https = Target { scheme: Some("https"), authority: Some("example.com"), ..http };
        let unknown = Target { scheme: None, authority: Some("example.com"), ..http };
        let nowhere = Target { scheme: None, authority: None, ..http };
        let port = Target { scheme: None, authority: Some("example.com:8080"), ..http };
        for (reference, matches) in [
            ("/x", [true; 5]),
            ("x", [true; 5]),
            ("//example.com/x", [true, true, true, false, false]),
            ("//EXAMPLE.COM:/x", [true, true, true, false, false]),
            ("http://example.com/x", [true, false, true, false, false]),
            ("HTTP://EXAMPLE.com:80/x", [true, false, true, false, false]),
            ("http://example.com:0080/x", [true, false, true, false, false]),
            ("https://example.com/x", [false, true, true, false, false]),
            ("https://example.com:443/x", [false, true, true, false, false]),
            ("https://example.com:80/x", [false; 5]),
            ("http://example.com:443/x", [false; 5]),
            ("http://example.com:8080/x", [false, false, false, false, true]),
            ("ftp://example.com/x", [false; 5]),
            ("http://example.com.evil.net/x", [false; 5]),
            ("http://evil.net/x", [false; 5]),
            ("//evil.net/x", [false; 5]),
            ("http://user@example.com/x", [false; 5]),
            ("http://example.com@evil.net/x", [false; 5]),
            ("http:///x", [false; 5]),
            ("///x", [false; 5]),
            ("//:80/x", [false; 5]),
        ] {
            let found = [http, https, unknown, nowhere, port].map(|base| refer(&base, reference));
            assert_eq!(found, matches.map(|matches| matches.then(|| "/x".to_owned())), "{reference}");
        }
        assert_eq!(refer(&http, "http://example.com").as_deref(), Some("/"));
        assert_eq!(refer(&http, "//example.com?y#s").as_deref(), Some("/?y"));
        assert_eq!(refer(&http, "//example.com//x/..//y").as_deref(), Some("///y"));
        assert_eq!(refer(&http, "http://example.com:80/own"), None);
    }

    #[test]
    fn malformed_references_are_left_out() {
        for reference in ["/a b", "/<x>", "1a:b", ":x", "http//:x:y z", "/gr\u{f6}\u{df}e", "/a\tb"] {
            assert_eq!(refer(&BASE, reference), None, "{reference}");
        }
    }

    #[test]
    fn length_is_bounded() {
        let path = |length: usize| format!("/{}", "x".repeat(length - 1));
        assert_eq!(refer(&BASE, &path(MAX_TARGET)), Some(path(MAX_TARGET)));
        assert_eq!(refer(&BASE, &path(MAX_TARGET + 1)), None);
        assert_eq!(refer(&BASE, &format!("/g#{}", "x".repeat(MAX_TARGET))).as_deref(), Some("/g"));
    }

    #[test]
    fn all_lines_of_both_fields() {
        let fields = headers([
            (LOCATION, "/b"),
            (LOCATION, "http://evil.net/c"),
            (LOCATION, "a"),
            (CONTENT_LOCATION, "http://a/b"),
            (CONTENT_LOCATION, "/c?d"),
            (CONTENT_LOCATION, "/b/c/d;p?q"),
        ]);
        assert_eq!(same_origin_targets(&BASE, &fields), ["/b", "/b/c/a", "/c?d"]);
        assert!(same_origin_targets(&BASE, &HeaderMap::new()).is_empty());
    }

    #[test]
    fn paths_and_queries() {
        for (path, query, expected) in [
            ("/a", None, "/a"),
            ("/a", Some(""), "/a?"),
            ("/a", Some("b"), "/a?b"),
            ("", None, "/"),
            ("", Some("b"), "/?b"),
        ] {
            assert_eq!(path_and_query(&Target { path, query, ..BASE }), expected);
        }
    }

    #[test]
    fn targets_without_a_hierarchy() {
        for path in ["*", ""] {
            let base = Target { path, query: None, ..BASE };
            assert_eq!(refer(&base, "g").as_deref(), Some("/g"));
            assert_eq!(refer(&base, ""), None);
        }
        assert_eq!(refer(&Target { path: "*", ..BASE }, "?g"), None);
    }

    /// The algorithm of RFC 3986 §5.2.4, word for word.
    fn remove_dot_segments_by_the_letter(path: &str) -> String {
        let (mut input, mut output) = (path.to_owned(), String::new());
        while !input.is_empty() {
            if input.starts_with("../") || input.starts_with("./") {
                input = input.split_once('/').unwrap().1.to_owned();
            } else if input.starts_with("/./") || input == "/." {
                input = format!("/{}", input.get(3..).unwrap_or_default());
            } else if input.starts_with("/../") || input == "/.." {
                input = format!("/{}", input.get(4..).unwrap_or_default());
                output.truncate(output.rfind('/').unwrap_or(0));
            } else if input == "." || input == ".." {
                input.clear();
            } else {
                let end = input[1..].find('/').map_or(input.len(), |slash| slash + 1);
                output.push_str(&input[..end]);
                input = input[end..].to_owned();
            }
        }
        output
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn dot_segments_go_for_good(path in "/([./a]|/\\.|/\\.\\.|\\PC){0,20}") {
            let removed = remove_dot_segments(&path);
            prop_assert_eq!(&removed, &remove_dot_segments_by_the_letter(&path));
            prop_assert_eq!(&remove_dot_segments(&removed), &removed);
            prop_assert!(removed.starts_with('/') && removed.len() <= path.len());
            prop_assert!(removed.split('/').all(|segment| segment != "." && segment != ".."));
        }

        #[test]
        fn references_are_total(
            reference in prop_oneof![
                "[a:/?#.@ ]{0,20}",
                "\\PC{0,20}",
                "(http|https|ftp)?(:)?(//)?(a|b)?(:80|:443)?[./?#g]{0,9}",
            ],
            path in "[*/.a]{0,9}",
            query in prop::option::of("[a=]{0,4}"),
            scheme in prop::option::of("https?"),
            authority in prop::option::of("[ab](:80|:443)?"),
        ) {
            let base = Target {
                scheme: scheme.as_deref(),
                authority: authority.as_deref(),
                path: &path,
                query: query.as_deref(),
            };
            if let Some(found) = refer(&base, &reference) {
                prop_assert!(found.starts_with('/') && !found.contains('#'));
                prop_assert!(found.parse::<PathAndQuery>().is_ok());
                prop_assert!(*found != path_and_query(&base));
                // Meant absolutely, it is the same.
                if found.starts_with("//") {
                    return Ok(());
                }
                let resolved = found.split_once('?').map_or(found.as_str(), |(path, _)| path);
                if remove_dot_segments(resolved) == resolved {
                    prop_assert_eq!(refer(&base, &found), Some(found.clone()));
                }
            }
        }
    }
}

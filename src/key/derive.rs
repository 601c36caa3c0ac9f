//! From a request to the parts of its key.

use super::{KeyBuf, Part};
use crate::semantics::target::Target;
use http::{HeaderMap, HeaderName, Uri, uri::PathAndQuery};
use smallvec::SmallVec;
use std::borrow::Cow;

/// What of a request a policy puts into the key, beside the target URI.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRules {
    pub(crate) query: QueryRule,
    pub(crate) sort_query: bool,
    pub(crate) headers: Vec<HeaderName>,
}

/// Which query parameters count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum QueryRule {
    #[default]
    All,
    None,
    Only(Vec<String>),
    Except(Vec<String>),
}

impl KeyRules {
    /// These rules as text, where they are not the defaults. Part of the key: policies with other rules never share.
    pub(crate) fn shape(&self) -> Option<String> {
        let mut shape = Vec::new();
        match &self.query {
            QueryRule::All => {}
            QueryRule::None => shape.push("query=none".to_owned()),
            QueryRule::Only(names) => shape.push(format!("query={names:?}")),
            QueryRule::Except(names) => shape.push(format!("query-except={names:?}")),
        }
        if self.sort_query {
            shape.push("sorted".to_owned());
        }
        if !self.headers.is_empty() {
            let names: Vec<_> = self.headers.iter().map(HeaderName::as_str).collect();
            shape.push(format!("headers={names:?}"));
        }
        (!shape.is_empty()).then(|| shape.join(","))
    }

    /// Writes the target URI and the named fields. `forwarded` tells that there are fields of [`is_forwarding`].
    pub(crate) fn write(&self, key: &mut KeyBuf, target: &Target<'_>, headers: &HeaderMap, forwarded: bool) {
        if let Some(scheme) = target.scheme {
            key.part(Part::Scheme, scheme.as_bytes());
        }
        if let Some(authority) = target.normal_authority() {
            key.part_lowercase(Part::Authority, authority);
        }
        key.part(Part::Path, target.path.as_bytes());
        if let Some(query) = target.query.and_then(|query| self.keyed_query(query)) {
            key.part(Part::Query, query.as_bytes());
        }
        for name in &self.headers {
            write_lines(key, Part::Header, name, headers);
        }
        if forwarded {
            write_forwarded(key, headers);
        }
    }

    /// The query as it stands in the key; `None` if nothing of it counts.
    pub(crate) fn keyed_query<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let kept = self.kept_query(query)?;
        Some(if self.sort_query { Cow::Owned(sorted(&kept)) } else { kept })
    }

    /// The query with the parameters that count, in the order of the client.
    fn kept_query<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let counts = |pair: &&str| match &self.query {
            QueryRule::Only(names) => names.iter().any(|name| name == parameter_name(pair)),
            QueryRule::Except(names) => names.iter().all(|name| name != parameter_name(pair)),
            QueryRule::All | QueryRule::None => true,
        };
        match &self.query {
            QueryRule::All => Some(Cow::Borrowed(query)),
            QueryRule::None => None,
            _ => {
                let kept: SmallVec<[&str; 8]> = query.split('&').filter(counts).collect();
                (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
            }
        }
    }

    /// Path and query as a resource is named in invalidations: parameters that count, sorted, whatever the order in
    /// which a client sent them.
    pub(crate) fn resource_query(&self, query: Option<&str>) -> Option<String> {
        query.and_then(|query| self.kept_query(query)).map(|query| sorted(&query))
    }
}

/// The target without the parameters that do not count, if there were any: what the handler is to see, so that an
/// unkeyed parameter cannot shape a stored response.
pub(crate) fn keyed_uri(uri: &Uri, rules: &KeyRules) -> Option<Uri> {
    let query = uri.query()?;
    let kept = rules.kept_query(query);
    if kept.as_deref() == Some(query) {
        return None;
    }
    let target = match kept {
        Some(kept) => format!("{}?{kept}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// Pairs sorted by name. Equal names stay in the order of the client, which may mean something.
pub(crate) fn sorted(query: &str) -> String {
    let mut pairs: SmallVec<[&str; 8]> = query.split('&').collect();
    pairs.sort_by_key(|pair| parameter_name(pair));
    pairs.join("&")
}

fn parameter_name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Whether a field tells the handler of another host, scheme or path than the target URI: what a proxy in front sets,
/// and what anybody else can send.
pub(crate) fn is_forwarding(name: &str) -> bool {
    match name {
        "forwarded" | "x-host" | "x-original-host" | "x-http-host-override" | "x-url-scheme" | "front-end-https" => {
            true
        }
        "x-forwarded-for" | "x-forwarded-by" => false,
        _ => name.starts_with("x-forwarded-"),
    }
}

fn write_forwarded(key: &mut KeyBuf, headers: &HeaderMap) {
    // A header map has no order between names of its own: sort, so that equal requests have equal keys.
    let mut names: SmallVec<[&HeaderName; 4]> = headers.keys().filter(|name| is_forwarding(name.as_str())).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        if name == http::header::FORWARDED {
            let values: Vec<_> =
                headers.get_all(name).iter().flat_map(|line| forwarded_origin(line.as_bytes())).collect();
            key.part_named(Part::Forwarded, name.as_str(), values.iter().map(Vec::as_slice));
        } else {
            write_lines(key, Part::Forwarded, name, headers);
        }
    }
}

fn write_lines(key: &mut KeyBuf, part: Part, name: &HeaderName, headers: &HeaderMap) {
    let mut lines = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).peekable();
    if lines.peek().is_some() {
        key.part_named(part, name.as_str(), lines);
    }
}

/// Of each element of `Forwarded` (RFC 7239) what it says of host and scheme. The client's address would give each
/// client its own copy.
fn forwarded_origin(line: &[u8]) -> Vec<Vec<u8>> {
    split_unquoted(line, b',')
        .map(|element| {
            let pairs = split_unquoted(element, b';').map(<[u8]>::trim_ascii);
            let origin = pairs.filter(|pair| {
                let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
                !name.eq_ignore_ascii_case(b"for") && !name.eq_ignore_ascii_case(b"by")
            });
            origin.collect::<Vec<_>>().join(&b';')
        })
        .collect()
}

/// Splits at a separator that does not stand in a quoted string.
fn split_unquoted(value: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value.split(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => return !quoted && *byte == separator,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn keyed(rules: &KeyRules, query: &str) -> Option<String> {
        rules.keyed_query(query).map(Cow::into_owned)
    }

    #[test]
    fn query_rules() {
        let all = KeyRules::default();
        assert_eq!(keyed(&all, "b=1&a=2").as_deref(), Some("b=1&a=2"));
        let sorted = KeyRules { sort_query: true, ..KeyRules::default() };
        assert_eq!(keyed(&sorted, "b=1&a=2&b=0").as_deref(), Some("a=2&b=1&b=0"));
        let only = KeyRules { query: QueryRule::Only(names(&["a"])), ..KeyRules::default() };
        assert_eq!(keyed(&only, "b=1&a=2&a=").as_deref(), Some("a=2&a="));
        assert_eq!(keyed(&only, "b=1"), None);
        let except = KeyRules { query: QueryRule::Except(names(&["utm"])), ..KeyRules::default() };
        assert_eq!(keyed(&except, "utm=1&a&utm").as_deref(), Some("a"));
        let none = KeyRules { query: QueryRule::None, ..KeyRules::default() };
        assert_eq!(keyed(&none, "a=1"), None);
    }

    #[test]
    fn what_is_not_keyed_is_not_seen() {
        let only = KeyRules { query: QueryRule::Only(names(&["a"])), ..KeyRules::default() };
        let seen = |uri: &str| keyed_uri(&uri.parse().unwrap(), &only).map(|uri| uri.to_string());
        assert_eq!(seen("/x?b=1&a=2").as_deref(), Some("/x?a=2"));
        assert_eq!(seen("http://h/x?b=1").as_deref(), Some("http://h/x"));
        assert_eq!(seen("/x?a=2"), None);
        assert_eq!(seen("/x"), None);
    }

    #[test]
    fn forwarded_counts_without_the_addresses() {
        let origin = |value: &str| {
            forwarded_origin(value.as_bytes()).into_iter().map(|v| String::from_utf8(v).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(origin("for=1.2.3.4;host=a;proto=https, For=\"[::1]:1,2\";by=x"), ["host=a;proto=https", ""]);
        assert_eq!(origin("host=\"a;b\\\",c\";for=x"), ["host=\"a;b\\\",c\""]);
    }

    #[test]
    fn keys_do_not_depend_on_the_order_of_other_fields() {
        let key = |order: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for name in order {
                headers.append(*name, HeaderValue::from_static("v"));
            }
            let mut key = KeyBuf::default();
            write_forwarded(&mut key, &headers);
            key.as_bytes().to_vec()
        };
        assert_eq!(key(&["x-forwarded-host", "x-forwarded-proto"]), key(&["x-forwarded-proto", "x-forwarded-host"]));
    }
}

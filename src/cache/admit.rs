//! Which requests look into the cache, and under which key.

use crate::{
    identity::{Identity, IdentityUnknown, Sharing},
    key::{KeyBuf, Part, is_forwarding, write_lines},
    outcome::Bypass,
    policy::{Cookies, RequestIs, Rules},
    semantics::{date::Timestamp, invalidation, target::Target},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
    request::Parts,
    uri::Scheme,
};
use percent_encoding::percent_decode_str;
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What to do with a request.
#[expect(clippy::large_enum_variant, reason = "the key is on the stack so that a hit allocates nothing for it")]
#[derive(Debug)]
pub(crate) enum Admission {
    /// Look it up under this key.
    Lookup(KeyBuf, Facts),
    /// Read its content, which is part of the key, then see [`admit_with_content`].
    Read(Facts),
    /// Leave it to the inner service. If it succeeds, the change invalidates.
    Bypass(Bypass, Option<Box<Change>>),
}

/// What the request's body tells.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyFacts {
    /// There is certainly no content.
    pub(crate) empty: bool,
    /// The content can be read and given back.
    pub(crate) readable: bool,
}

/// What the fields of a request tell, found in one pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(u32);

/// The target of a request that changes something, kept until it has succeeded.
#[derive(Debug)]
pub(crate) struct Change {
    scheme: Option<String>,
    authority: Option<String>,
    path: String,
    query: Option<String>,
}

impl Facts {
    pub(crate) const CREDENTIALS: Self = Self(1);
    const COOKIE: Self = Self(1 << 1);
    pub(crate) const RANGE: Self = Self(1 << 2);
    /// `If-None-Match` or `If-Modified-Since`.
    pub(crate) const CONDITIONAL: Self = Self(1 << 3);
    /// `If-Match` or `If-Unmodified-Since`.
    const DEMANDS_ORIGIN: Self = Self(1 << 4);
    pub(crate) const CACHE_CONTROL: Self = Self(1 << 5);
    const CONTENT: Self = Self(1 << 6);
    const UPGRADE: Self = Self(1 << 7);
    const METHOD_OVERRIDE: Self = Self(1 << 8);
    const FORWARDED: Self = Self(1 << 9);
    const REWRITTEN_URL: Self = Self(1 << 10);
    pub(crate) const ACCEPT_ENCODING: Self = Self(1 << 11);

    /// What is stored for the request is served to one user only.
    pub(crate) const ONE_USER: Self = Self(1 << 12);

    /// The policy wants another answer, whatever is stored.
    pub(crate) const REFETCH: Self = Self(1 << 13);

    /// What the identity adds: where it is part of the key, credentials say nothing more.
    fn shared_by(self, sharing: Sharing) -> Self {
        match sharing {
            Sharing::Everyone => self,
            Sharing::Group => Self(self.0 & !Self::CREDENTIALS.0),
            Sharing::OneUser => Self(self.0 & !Self::CREDENTIALS.0 | Self::ONE_USER.0),
        }
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn of(headers: &HeaderMap) -> Self {
        let mut facts = 0;
        for (name, value) in headers {
            facts |= Self::of_field(name.as_str(), value.as_bytes()).0;
        }
        Self(facts)
    }

    /// By length first: most fields of a request are none of these.
    fn of_field(name: &str, value: &[u8]) -> Self {
        const NONE: Facts = Facts(0);
        match (name.len(), name) {
            (5, "range") => Self::RANGE,
            (6, "cookie") => Self::COOKIE,
            (7, "upgrade") => Self::UPGRADE,
            (8, "if-match") => Self::DEMANDS_ORIGIN,
            (13, "if-none-match") | (17, "if-modified-since") => Self::CONDITIONAL,
            (13, "authorization") | (19, "proxy-authorization") => Self::CREDENTIALS,
            (13, "cache-control") => Self::CACHE_CONTROL,
            (13, "x-rewrite-url") | (14, "x-original-url") => Self::REWRITTEN_URL,
            (13, "x-http-method") | (17, "x-method-override") | (22, "x-http-method-override") => Self::METHOD_OVERRIDE,
            (14, "content-length") if value != b"0" => Self::CONTENT,
            (15, "accept-encoding") => Self::ACCEPT_ENCODING,
            (17, "transfer-encoding") => Self::CONTENT,
            (19, "if-unmodified-since") => Self::DEMANDS_ORIGIN,
            _ if matches!(name.as_bytes(), [b'x' | b'f', ..]) && is_forwarding(name) => Self::FORWARDED,
            _ => NONE,
        }
    }
}

/// The verdict on a request, before anything is looked up.
pub(crate) fn admit(rules: &Rules, parts: &Parts, body: BodyFacts, now: Timestamp) -> Admission {
    let mut facts = Facts::of(&parts.headers);
    if facts.has(Facts::METHOD_OVERRIDE) || parts.uri.query().is_some_and(names_a_method) {
        return Admission::Bypass(Bypass::MethodOverride, Some(Box::new(Change::of(rules, parts))));
    }
    let cacheable = (rules.get && parts.method == Method::GET) || (rules.head && parts.method == Method::HEAD);
    if !cacheable {
        if rules.content_methods.contains(&parts.method) && (!rules.grpc || is_grpc(&parts.headers)) {
            // What bypasses whatever its content is passes unread.
            return match admit_with_content(rules, parts, &[], facts, now) {
                Err(reason) => Admission::Bypass(reason, None),
                Ok(_) if body.readable => Admission::Read(facts),
                Ok(_) => Admission::Bypass(Bypass::Content, None),
            };
        }
        let change = !invalidation::is_safe(&parts.method);
        return Admission::Bypass(Bypass::Method, change.then(|| Box::new(Change::of(rules, parts))));
    }
    if rules.credential_headers.iter().any(|name| parts.headers.contains_key(name)) {
        facts.0 |= Facts::CREDENTIALS.0;
    }
    if facts.has(Facts::CONTENT) || !body.empty {
        return Admission::Bypass(Bypass::Content, None);
    }
    match key(rules, parts, None, &mut facts, now) {
        Ok(key) => Admission::Lookup(key, facts),
        Err(reason) => Admission::Bypass(reason, None),
    }
}

fn key(
    rules: &Rules,
    parts: &Parts,
    content: Option<&[u8]>,
    facts: &mut Facts,
    now: Timestamp,
) -> Result<KeyBuf, Bypass> {
    if facts.has(Facts::UPGRADE) {
        return Err(Bypass::Upgrade);
    }
    if facts.has(Facts::REWRITTEN_URL) {
        return Err(Bypass::RewrittenUrl);
    }
    if facts.has(Facts::DEMANDS_ORIGIN) {
        return Err(Bypass::Precondition);
    }
    if says(rules.bypass_if.as_ref(), parts)? {
        return Err(Bypass::Policy);
    }
    if says(rules.refetch_if.as_ref(), parts)? {
        facts.0 |= Facts::REFETCH.0;
    }
    let uri = target_uri(rules, parts)?;
    let target = Target::of(&uri, &parts.headers, scheme(parts)).map_err(Bypass::Ambiguous)?;
    let mut key = KeyBuf::starting_with(&rules.unit_prefix);
    let sharing = share(rules, parts, *facts, &mut key)?;
    *facts = facts.shared_by(sharing);
    key.encoded(&rules.policy_prefix);
    match content {
        None => key.part(Part::Method, b"GET"),
        Some(content) => write_content(&mut key, parts, content),
    }
    rules.key.write(&mut key, &target, parts, facts.has(Facts::FORWARDED), now)?;
    if key.as_bytes().len() > rules.max_key {
        return Err(Bypass::KeyTooLong);
    }
    Ok(key)
}

/// The verdict on a request whose content was read: its key.
pub(crate) fn admit_with_content(
    rules: &Rules,
    parts: &Parts,
    content: &[u8],
    mut facts: Facts,
    now: Timestamp,
) -> Result<(KeyBuf, Facts), Bypass> {
    if rules.credential_headers.iter().any(|name| parts.headers.contains_key(name)) {
        facts.0 |= Facts::CREDENTIALS.0;
    }
    key(rules, parts, Some(content), &mut facts, now).map(|key| (key, facts))
}

/// Method, type, coding and digest of the content.
fn write_content(key: &mut KeyBuf, parts: &Parts, content: &[u8]) {
    key.part(Part::Method, parts.method.as_str().as_bytes());
    key.part(Part::Body, blake3::hash(content).as_bytes());
    for name in [CONTENT_TYPE, CONTENT_ENCODING, HeaderName::from_static("grpc-encoding")] {
        write_lines(key, Part::Header, &name, &parts.headers);
    }
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    kind.and_then(|kind| kind.strip_prefix(b"application/grpc")).is_some_and(|rest| !rest.starts_with(b"-web"))
}

/// What a predicate of the policy says.
pub(crate) fn says(predicate: Option<&RequestIs>, parts: &Parts) -> Result<bool, Bypass> {
    match predicate {
        Some(predicate) => catch_unwind(AssertUnwindSafe(|| predicate(parts))).map_err(|_| Bypass::CallbackPanicked),
        None => Ok(false),
    }
}

/// Writes whose response it is, and tells who shares it.
fn share(rules: &Rules, parts: &Parts, facts: Facts, key: &mut KeyBuf) -> Result<Sharing, Bypass> {
    if let Some(IdentityUnknown(reason)) = parts.extensions.get() {
        return Err(*reason);
    }
    let sharing = rules.scope.write(parts.extensions.get::<Identity>(), key)?;
    // An established identity stands for the cookie that it was made of.
    if sharing == Sharing::Everyone && facts.has(Facts::COOKIE) && rules.cookies == Cookies::Bypass {
        return Err(Bypass::Cookie);
    }
    Ok(sharing)
}

/// The target as the client sent it: what the policy says, what axum remembers of it, or the request's own.
pub(crate) fn target_uri<'a>(rules: &Rules, parts: &'a Parts) -> Result<Cow<'a, Uri>, Bypass> {
    if let Some(uri) = &rules.uri {
        let uri = catch_unwind(AssertUnwindSafe(|| uri(parts))).map_err(|_| Bypass::CallbackPanicked)?;
        return Ok(Cow::Owned(uri));
    }
    Ok(Cow::Borrowed(client_uri(parts)))
}

/// The target as the client sent it, as far as the framework tells.
pub(crate) fn client_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

/// The scheme of the connection, where the server has put it into the extensions.
pub(crate) fn scheme(parts: &Parts) -> Option<&Scheme> {
    parts.extensions.get::<Scheme>()
}

/// Whether a query has the parameter `_method`, by which some frameworks let a form choose another method.
fn names_a_method(query: &str) -> bool {
    (query.contains("_method") || query.contains('%'))
        && query.split('&').any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            percent_decode_str(name).eq(b"_method".iter().copied())
        })
}

impl Change {
    /// What a request is about to change. Where it is not clear which host is meant, every one is.
    pub(crate) fn of(rules: &Rules, parts: &Parts) -> Self {
        let uri = target_uri(rules, parts).unwrap_or_else(|_| Cow::Borrowed(client_uri(parts)));
        let target = Target::of(&uri, &parts.headers, scheme(parts));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        match target {
            Ok(target) => Self {
                scheme: owned(target.scheme),
                authority: owned(target.normal_authority()),
                path: target.path.to_owned(),
                query: owned(target.query),
            },
            Err(_) => Self { scheme: None, authority: None, path: uri.path().to_owned(), query: owned(uri.query()) },
        }
    }

    pub(crate) fn target(&self) -> Target<'_> {
        Target {
            scheme: self.scheme.as_deref(),
            authority: self.authority.as_deref(),
            path: &self.path,
            query: self.query.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_told_by_name() {
        for (name, fact) in [
            ("range", Facts::RANGE),
            ("cookie", Facts::COOKIE),
            ("upgrade", Facts::UPGRADE),
            ("if-match", Facts::DEMANDS_ORIGIN),
            ("if-unmodified-since", Facts::DEMANDS_ORIGIN),
            ("if-none-match", Facts::CONDITIONAL),
            ("if-modified-since", Facts::CONDITIONAL),
            ("authorization", Facts::CREDENTIALS),
            ("proxy-authorization", Facts::CREDENTIALS),
            ("cache-control", Facts::CACHE_CONTROL),
            ("x-original-url", Facts::REWRITTEN_URL),
            ("x-rewrite-url", Facts::REWRITTEN_URL),
            ("x-http-method", Facts::METHOD_OVERRIDE),
            ("x-method-override", Facts::METHOD_OVERRIDE),
            ("x-http-method-override", Facts::METHOD_OVERRIDE),
            ("content-length", Facts::CONTENT),
            ("transfer-encoding", Facts::CONTENT),
            ("accept-encoding", Facts::ACCEPT_ENCODING),
            ("forwarded", Facts::FORWARDED),
            ("x-forwarded-host", Facts::FORWARDED),
            ("x-forwarded-proto", Facts::FORWARDED),
            ("x-forwarded-scheme", Facts::FORWARDED),
            ("x-forwarded-prefix", Facts::FORWARDED),
            ("x-forwarded-port", Facts::FORWARDED),
            ("front-end-https", Facts::FORWARDED),
            ("x-forwarded-for", Facts(0)),
            ("accept", Facts(0)),
            ("host", Facts(0)),
        ] {
            assert_eq!(Facts::of_field(name, b"1"), fact, "{name}");
        }
        assert_eq!(Facts::of_field("content-length", b"0"), Facts(0));
    }

    #[test]
    fn a_method_in_the_query_is_found() {
        assert!(names_a_method("a=1&_method=DELETE") && names_a_method("_method") && names_a_method("%5fmetho%64=x"));
        assert!(!names_a_method("x_method=1") && !names_a_method("a=_method"));
    }
}

//! Which requests look into the cache, and under which key.

use super::change::Change;
use crate::{
    credentials::{is_api_key, says_nobody},
    identity::{Identity, IdentityUnknown, Sharing},
    key::{KeyBuf, Part, is_forwarding, write_lines},
    outcome::Bypass,
    policy::{Cookies, RequestIs, Rules},
    semantics::{
        date::Timestamp,
        invalidation,
        target::{Asked, Hosts},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING,
        CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
        ORIGIN, PROXY_AUTHORIZATION, RANGE, REFERER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
    },
    request::Parts,
    uri::Scheme,
};
use percent_encoding::percent_decode_str;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What to do with a request.
#[derive(Debug)]
pub(crate) enum Admission {
    /// Look it up under the key.
    Lookup(Facts),
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

impl Facts {
    pub(crate) const CREDENTIALS: Self = Self(1);
    const COOKIE: Self = Self(1 << 1);
    /// A field of [`is_api_key`].
    const API_KEY: Self = Self(1 << 15);
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

    /// A `Content-Length`, which may be zero.
    const LENGTH: Self = Self(1 << 14);

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

    /// With the credentials that no standard knows. An API key that is part of the key tells its owners apart.
    #[inline]
    fn with_credentials(self, rules: &Rules, headers: &HeaderMap) -> Self {
        let listed = rules.credential_headers.iter().any(|name| headers.contains_key(name));
        let has = listed || self.has(Self::API_KEY) && has_api_key(rules, headers);
        if has { self.with(Self::CREDENTIALS) } else { self }
    }

    /// Those that hold of a refresh made for such a request.
    pub(crate) const fn of_refresh(self) -> Self {
        Self(self.0 & (Self::CREDENTIALS.0 | Self::ONE_USER.0))
    }

    pub(crate) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// With the `Host` fields, which are on the way.
    #[inline]
    fn of(headers: &HeaderMap) -> (Self, Hosts<'_>) {
        let mut facts = 0;
        let mut hosts = Hosts::None;
        for (name, value) in headers {
            if name == HOST {
                hosts = hosts.and(value);
            } else {
                facts |= Self::of_field(name).0;
            }
        }
        if Self(facts).has(Self::LENGTH) && headers.get_all(CONTENT_LENGTH).iter().any(|value| value != "0") {
            facts |= Self::CONTENT.0;
        }
        (Self(facts), hosts)
    }

    /// What `http` knows is told by number, and what nearly each request has is named first: it says nothing.
    #[inline]
    fn of_field(name: &HeaderName) -> Self {
        match *name {
            ACCEPT | ACCEPT_LANGUAGE | CONNECTION | ORIGIN | REFERER | USER_AGENT => Self(0),
            ACCEPT_ENCODING => Self::ACCEPT_ENCODING,
            AUTHORIZATION | PROXY_AUTHORIZATION => Self::CREDENTIALS,
            CACHE_CONTROL => Self::CACHE_CONTROL,
            CONTENT_LENGTH => Self::LENGTH,
            COOKIE => Self::COOKIE,
            IF_MATCH | IF_UNMODIFIED_SINCE => Self::DEMANDS_ORIGIN,
            IF_NONE_MATCH | IF_MODIFIED_SINCE => Self::CONDITIONAL,
            RANGE => Self::RANGE,
            TRANSFER_ENCODING => Self::CONTENT,
            UPGRADE => Self::UPGRADE,
            _ => Self::of_other(name),
        }
    }

    /// All others. Those that count begin with one of six letters.
    #[inline]
    fn of_other(name: &HeaderName) -> Self {
        let text = name.as_str();
        match text.as_bytes().first() {
            Some(b'a' | b'c' | b'f' | b'p' | b'r' | b'x') => Self::of_rare(text),
            _ => Self(0),
        }
    }

    #[inline(never)]
    fn of_rare(name: &str) -> Self {
        match name {
            "x-rewrite-url" | "x-rewrite-uri" | "x-original-url" => Self::REWRITTEN_URL,
            "x-http-method" | "x-method-override" | "x-http-method-override" => Self::METHOD_OVERRIDE,
            _ if is_forwarding(name) => Self::FORWARDED,
            _ if is_api_key(name) => Self::API_KEY,
            _ => Self(0),
        }
    }
}

/// Whether one of these fields says who asks, and is not part of the key.
fn has_api_key(rules: &Rules, headers: &HeaderMap) -> bool {
    let counts = |name: &HeaderName| Facts::of_field(name).has(Facts::API_KEY) && !rules.key.names(name);
    headers.iter().any(|(name, value)| counts(name) && !says_nobody(name, value))
}

/// The verdict on a request, before anything is looked up. `key` is one that [`Rules::begin_key`] began.
#[inline]
fn admit(rules: &Rules, parts: &Parts, body: BodyFacts, now: &dyn Fn() -> Timestamp, key: &mut KeyBuf) -> Admission {
    let (mut facts, hosts) = Facts::of(&parts.headers);
    if facts.has(Facts::METHOD_OVERRIDE) || parts.uri.query().is_some_and(names_a_method) {
        return Admission::Bypass(Bypass::MethodOverride, Some(Box::new(Change::of(rules, parts))));
    }
    let cacheable = (rules.get && parts.method == Method::GET) || (rules.head && parts.method == Method::HEAD);
    if !cacheable {
        if rules.content_methods.contains(&parts.method) && (!rules.grpc || is_grpc(&parts.headers)) {
            // What bypasses whatever its content is passes unread.
            return match admit_with_content(rules, parts, &[], facts, now()) {
                Err(reason) => Admission::Bypass(reason, None),
                Ok(_) if body.readable => Admission::Read(facts),
                Ok(_) => Admission::Bypass(Bypass::Content, None),
            };
        }
        let change = !invalidation::is_safe(&parts.method);
        return Admission::Bypass(Bypass::Method, change.then(|| Box::new(Change::of(rules, parts))));
    }
    facts = facts.with_credentials(rules, &parts.headers);
    if facts.has(Facts::CONTENT) || !body.empty {
        return Admission::Bypass(Bypass::Content, None);
    }
    match write_key(rules, parts, None, &mut facts, hosts, now, key) {
        Ok(()) => Admission::Lookup(facts),
        Err(reason) => Admission::Bypass(reason, None),
    }
}

/// The same, where something said before that a request is not to be looked up.
#[inline]
pub(crate) fn admit_or_pass(
    rules: &Rules,
    passing: Option<Bypass>,
    parts: &Parts,
    body: BodyFacts,
    now: &dyn Fn() -> Timestamp,
    key: &mut KeyBuf,
) -> Admission {
    match (admit(rules, parts, body, now, key), passing) {
        (Admission::Bypass(_, change), Some(reason)) => Admission::Bypass(reason, change),
        (_, Some(reason)) => Admission::Bypass(reason, None),
        (admission, None) => admission,
    }
}

/// `now` is asked for only where the day is part of the key.
#[inline]
fn write_key(
    rules: &Rules,
    parts: &Parts,
    content: Option<&[u8]>,
    facts: &mut Facts,
    hosts: Hosts<'_>,
    now: &dyn Fn() -> Timestamp,
    key: &mut KeyBuf,
) -> Result<(), Bypass> {
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
    let mut place = None;
    let uri = target_uri(rules, parts, &mut place)?;
    let identity = parts.extensions.get::<Identity>();
    let plain = content.is_none() && !rules.scope.writes(identity);
    debug_assert!(!plain || rules.begins(key), "what all keys begin with is written first");
    if !plain {
        key.clear();
        key.encoded(&rules.unit_prefix);
    }
    *facts = facts.shared_by(share(rules, parts, identity, *facts, key)?);
    if !plain {
        key.encoded(&rules.policy_prefix);
        match content {
            None => key.part(Part::Method, b"GET"),
            Some(content) => write_content(key, parts, content),
        }
    }
    let asked = Asked { uri, hosts, scheme: scheme(parts) };
    rules.key.write(key, asked, parts, facts.has(Facts::FORWARDED), now)?;
    if key.as_bytes().len() > rules.max_key {
        return Err(Bypass::KeyTooLong);
    }
    Ok(())
}

/// The verdict on a request whose content was read: its key.
pub(crate) fn admit_with_content(
    rules: &Rules,
    parts: &Parts,
    content: &[u8],
    mut facts: Facts,
    now: Timestamp,
) -> Result<(KeyBuf, Facts), Bypass> {
    facts = facts.with_credentials(rules, &parts.headers);
    let mut key = KeyBuf::default();
    let hosts = Hosts::of(&parts.headers);
    write_key(rules, parts, Some(content), &mut facts, hosts, &|| now, &mut key).map(|()| (key, facts))
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
#[inline]
pub(crate) fn says(predicate: Option<&RequestIs>, parts: &Parts) -> Result<bool, Bypass> {
    match predicate {
        Some(predicate) => catch_unwind(AssertUnwindSafe(|| predicate(parts))).map_err(|_| Bypass::CallbackPanicked),
        None => Ok(false),
    }
}

/// Writes whose response it is, and tells who shares it.
#[inline]
fn share(
    rules: &Rules,
    parts: &Parts,
    identity: Option<&Identity>,
    facts: Facts,
    key: &mut KeyBuf,
) -> Result<Sharing, Bypass> {
    if let Some(IdentityUnknown(reason)) = parts.extensions.get() {
        return Err(*reason);
    }
    let sharing = rules.scope.write(identity, key)?;
    // An established identity stands for the cookie that it was made of.
    if sharing == Sharing::Everyone && facts.has(Facts::COOKIE) && rules.cookies == Cookies::Bypass {
        return Err(Bypass::Cookie);
    }
    Ok(sharing)
}

/// The target as the client sent it: what the policy says, what axum remembers of it, or the request's own.
/// `place` is for one that the policy makes.
#[inline]
pub(crate) fn target_uri<'a>(rules: &Rules, parts: &'a Parts, place: &'a mut Option<Uri>) -> Result<&'a Uri, Bypass> {
    if let Some(uri) = &rules.uri {
        let uri = catch_unwind(AssertUnwindSafe(|| uri(parts))).map_err(|_| Bypass::CallbackPanicked)?;
        return Ok(place.insert(uri));
    }
    Ok(client_uri(parts))
}

/// The target as the client sent it, as far as the framework tells.
#[inline]
pub(crate) fn client_uri(parts: &Parts) -> &Uri {
    #[cfg(feature = "axum")]
    if let Some(original) = parts.extensions.get::<axum::extract::OriginalUri>() {
        return &original.0;
    }
    &parts.uri
}

/// The scheme of the connection, where the server has put it into the extensions.
#[inline]
pub(crate) fn scheme(parts: &Parts) -> Option<&Scheme> {
    parts.extensions.get::<Scheme>()
}

/// Whether a request may be meant as one of another method than it has.
pub(crate) fn overrides_method(headers: &HeaderMap, uri: &Uri) -> bool {
    Facts::of(headers).0.has(Facts::METHOD_OVERRIDE) || uri.query().is_some_and(names_a_method)
}

/// Whether a query has the parameter `_method`, by which some frameworks let a form choose another method.
#[inline]
fn names_a_method(query: &str) -> bool {
    // Most queries are shorter, or have none of these.
    query.len() >= "_method".len()
        && query.bytes().any(|byte| matches!(byte, b'_' | b'%'))
        && query.split('&').any(|pair| {
            let name = pair.split('=').next().unwrap_or_default();
            percent_decode_str(name).eq(b"_method".iter().copied())
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::API_KEYS;

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
            ("api-key", Facts::API_KEY),
            ("x-access-token", Facts::API_KEY),
            ("x-api-key", Facts::API_KEY),
            ("x-auth-token", Facts::API_KEY),
            ("cache-control", Facts::CACHE_CONTROL),
            ("x-original-url", Facts::REWRITTEN_URL),
            ("x-rewrite-url", Facts::REWRITTEN_URL),
            ("x-http-method", Facts::METHOD_OVERRIDE),
            ("x-method-override", Facts::METHOD_OVERRIDE),
            ("x-http-method-override", Facts::METHOD_OVERRIDE),
            ("content-length", Facts::LENGTH),
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
            ("x-scheme", Facts::FORWARDED),
            ("x-original-uri", Facts::FORWARDED),
            ("cf-visitor", Facts::FORWARDED),
            ("cloudfront-forwarded-proto", Facts::FORWARDED),
            ("x-forwarded-user", Facts::FORWARDED),
            ("x-rewrite-uri", Facts::REWRITTEN_URL),
            ("cf-access-jwt-assertion", Facts::API_KEY),
            ("client-cert", Facts::API_KEY),
            ("private-token", Facts::API_KEY),
            ("remote-user", Facts::API_KEY),
            ("cf-ray", Facts(0)),
            ("priority", Facts(0)),
            ("x-real-ip", Facts(0)),
            ("x-request-id", Facts(0)),
            ("x-requested-with", Facts(0)),
            ("accept", Facts(0)),
            ("host", Facts(0)),
        ] {
            assert_eq!(Facts::of_field(&HeaderName::from_static(name)), fact, "{name}");
        }
        for name in API_KEYS {
            let fact = Facts::of_field(&HeaderName::from_static(name));
            assert_eq!(
                fact,
                if name.starts_with("x-forwarded-") { Facts::FORWARDED } else { Facts::API_KEY },
                "{name}"
            );
        }
        for (values, content) in [(&["0"][..], false), (&["0", "0"], false), (&["1"], true), (&["0", "1"], true)] {
            let lines = values.iter().map(|value| (CONTENT_LENGTH, HeaderValue::from_static(value)));
            assert_eq!(Facts::of(&lines.collect()).0.has(Facts::CONTENT), content, "{values:?}");
        }
    }

    #[test]
    fn a_method_in_the_query_is_found() {
        assert!(names_a_method("a=1&_method=DELETE") && names_a_method("_method") && names_a_method("%5fmetho%64=x"));
        assert!(!names_a_method("x_method=1") && !names_a_method("a=_method"));
    }
}

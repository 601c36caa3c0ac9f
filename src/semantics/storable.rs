//! May a response be stored (RFC 9111 §3)?
//!
//! A response is stored if all of the following hold, tried in this order; the first that fails is the [`Refusal`].
//!
//! 1. Its status is final, and does not answer one request (206, 304, 406, 412, 416; 428, 429, 431 and 511 by RFC 6585);
//!    with `must-understand`, it is one that this crate implements.
//! 2. Every directive that governs it can be read, and none is `no-store`, or, in a cache that several users share,
//!    `private`.
//! 3. It has no `Set-Cookie`, unless the rules say to strip or to keep it.
//! 4. If the request had credentials, `public`, `s-maxage` or `must-revalidate` allow sharing (§3.5).
//! 5. `Connection` takes back nothing that a cache goes by, and it is no event stream, which has no end to wait for.
//! 6. Its `Vary` can be read, and has no star.
//! 7. Freshness is asked for: by the response, by the policy, or, where allowed, by heuristic.
//! 8. It is of use later: it has a lifetime left, or a validator, or may be served stale.

#[cfg(test)]
mod tests;

use super::{
    cache_control::ResponseDirectives,
    date::Timestamp,
    fields,
    freshness::{self, LifetimeSource},
    targeted::{Governing, governing},
    validator,
    vary::{VaryRefusal, add_unsaid, nominated},
};
use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONTENT_TYPE, SET_COOKIE},
};
use std::{fmt, time::Duration};

/// What the operator says about storing, as far as the standard leaves it open.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// use std::time::Duration;
///
/// let mut rules = StoreRules::default();
/// rules.default_lifetime = Some(Duration::from_secs(60));
/// rules.status_lifetimes = vec![(StatusCode::NOT_FOUND, Duration::from_secs(5))];
/// let lifetime = |status| {
///     let now = Timestamp::from_unix_secs(1_800_000_000);
///     let verdict = storable(StoreRequest::default(), status, &HeaderMap::new(), &rules, now, Duration::ZERO);
///     verdict.map(|stored| stored.lifetime.as_secs())
/// };
/// assert_eq!((lifetime(StatusCode::OK), lifetime(StatusCode::NOT_FOUND)), (Ok(60), Ok(5)));
/// assert_eq!(lifetime(StatusCode::CREATED), Err(Refusal::NoLifetime));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRules {
    /// The lifetime of a response that states none, for the statuses of [`StoreRules::default_statuses`].
    pub default_lifetime: Option<Duration>,
    /// Statuses that get the default lifetime, beside those of [`is_storable_by_default`].
    pub default_statuses: Vec<StatusCode>,
    /// Lifetimes of single statuses; they come before the default lifetime.
    pub status_lifetimes: Vec<(StatusCode, Duration)>,
    /// The policy's lifetimes come before those that the response states. Never before its prohibitions.
    pub override_response: bool,
    /// A tenth of the time since `Last-Modified`, at most a day, where nobody states a lifetime (RFC 9111 §4.2.2).
    pub heuristic: bool,
    /// Targeted fields that replace `Cache-Control`, the most specific first (RFC 9213 §2.2).
    pub targets: Vec<HeaderName>,
    /// What to do with a response that sets a cookie.
    pub set_cookie: SetCookie,
    /// Used until then without asking, after it has gone stale (RFC 5861 §3), where the response does not say.
    pub stale_while_revalidate: Duration,
    /// Used until then if the inner service fails (RFC 5861 §4), where the response does not say.
    pub stale_if_error: Duration,
}

/// What to do with a response that sets a cookie.
///
/// ```
/// use larder::semantics::storable::{Refusal, SetCookie, StoreRequest, StoreRules, storable};
/// # use http::{HeaderMap, HeaderValue, StatusCode, header};
/// # use larder::semantics::date::Timestamp;
/// # let mut head = HeaderMap::from_iter([(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"))]);
/// # head.insert(header::SET_COOKIE, HeaderValue::from_static("seen=1"));
/// # let (now, age) = (Timestamp::from_unix_secs(1_800_000_000), std::time::Duration::ZERO);
///
/// let mut rules = StoreRules::default();
/// let verdict = storable(StoreRequest::default(), StatusCode::OK, &head, &rules, now, age);
/// assert_eq!(verdict, Err(Refusal::SetCookie));
/// rules.set_cookie = SetCookie::Strip;
/// assert!(storable(StoreRequest::default(), StatusCode::OK, &head, &rules, now, age).is_ok());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetCookie {
    /// The response is not stored.
    #[default]
    Refuse,
    /// It is stored without the field.
    Strip,
    /// It is stored with the field, as RFC 9111 §7.3 allows, so everyone gets the same cookie.
    Keep,
}

/// What of the request matters for storing the response.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// # let (now, age) = (Timestamp::from_unix_secs(1_800_000_000), std::time::Duration::ZERO);
///
/// let mut request = StoreRequest::default();
/// request.credentials = true;
/// let refusal = |says| {
///     let head = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     storable(request, StatusCode::OK, &head, &StoreRules::default(), now, age).err()
/// };
/// assert_eq!(refusal("max-age=60"), Some(Refusal::Credentials));
/// assert_eq!(refusal("max-age=60, public"), None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoreRequest {
    /// It carried credentials (`Authorization` and what the policy lists), and the cache is shared between users.
    pub credentials: bool,
    /// It said `no-store`, and the policy honours what requests say.
    pub no_store: bool,
    /// What is stored for it is served to the same user only: `private` allows that (RFC 9111 §5.2.2.7).
    pub one_user: bool,
}

/// A response that may be stored, and for how long.
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::{CACHE_CONTROL, VARY}};
/// use larder::semantics::storable::{Refusal, StoreRequest, StoreRules, storable};
/// # use larder::semantics::date::Timestamp;
/// # let (now, age) = (Timestamp::from_unix_secs(1_800_000_000), std::time::Duration::ZERO);
///
/// let head = HeaderMap::from_iter([
///     (CACHE_CONTROL, HeaderValue::from_static("max-age=60, stale-if-error=600")),
///     (VARY, HeaderValue::from_static("Accept-Language")),
/// ]);
/// let stored = storable(StoreRequest::default(), StatusCode::OK, &head, &StoreRules::default(), now, age)?;
/// assert_eq!((stored.lifetime.as_secs(), stored.stale_if_error.as_secs()), (60, 600));
/// assert_eq!(stored.nominated, ["accept-language"]);
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Storable {
    /// The freshness lifetime.
    pub lifetime: Duration,
    /// Who stated it.
    pub source: LifetimeSource,
    /// The directives that govern the response.
    pub directives: ResponseDirectives,
    /// The request fields that selected it (`Vary`), sorted. `accept-encoding` is among them for every coded response, and
    /// `origin` for every one that `Access-Control-Allow-Origin` gives to one origin.
    pub nominated: Vec<HeaderName>,
    /// How long it may be used stale while it is refreshed.
    pub stale_while_revalidate: Duration,
    /// How long it may be used stale if the inner service fails.
    pub stale_if_error: Duration,
}

/// Why a response is not stored.
///
/// ```
/// use larder::semantics::storable::{Refusal, Storable};
/// # use larder::semantics::storable::{StoreRequest, StoreRules, storable};
/// # use http::{HeaderMap, StatusCode};
/// # use larder::semantics::date::Timestamp;
/// # let (now, age, rules) = (Timestamp::default(), std::time::Duration::ZERO, StoreRules::default());
/// # let verdict = storable(StoreRequest::default(), StatusCode::OK, &HeaderMap::new(), &rules, now, age);
///
/// /// What is worth a line in the log: not what the handler wants to be so.
/// fn surprise(verdict: &Result<Storable, Refusal>) -> Option<String> {
///     match verdict {
///         Ok(_) | Err(Refusal::NoStore | Refusal::Private) => None,
///         Err(refusal) => Some(format!("not stored: {refusal}")),
///     }
/// }
/// assert_eq!(surprise(&verdict).as_deref(), Some("not stored: no-lifetime"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// 1xx, 206 or 304: no complete response (RFC 9111 §3). 406, 412 or 416: the answer to one request's own wishes. 428,
    /// 429, 431 or 511: never to be stored (RFC 6585).
    Status,
    /// `must-understand` with a status that this crate does not implement (§5.2.2.3).
    MustUnderstand,
    /// `no-store` (§5.2.2.5).
    NoStore,
    /// The request said `no-store`, and the policy honours it (§5.2.1.5).
    RequestNoStore,
    /// A directive that cannot be read might have forbidden it.
    MalformedDirectives,
    /// `private` in a cache that several users share (§5.2.2.7).
    Private,
    /// `Set-Cookie`: it is meant for one client.
    SetCookie,
    /// The request had credentials and the response does not allow sharing (§3.5).
    Credentials,
    /// `Connection` names a field that a cache goes by, such as `Vary`: the next 304 could not be understood.
    Connection,
    /// `text/event-stream`.
    EventStream,
    /// `Vary` forbids it, see the reason.
    Vary(VaryRefusal),
    /// Nobody states a lifetime for a response with this status.
    NoLifetime,
    /// Stale on arrival, without a validator and without leave to serve it stale.
    Useless,
}

/// The verdict on a response that has just arrived. `age` is its [`freshness::initial_age`].
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::CACHE_CONTROL};
/// use larder::semantics::{date::Timestamp, storable::{Refusal, StoreRequest, StoreRules, storable}};
/// use std::time::Duration;
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let verdict = |says| {
///     let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     storable(StoreRequest::default(), StatusCode::OK, &headers, &StoreRules::default(), now, Duration::ZERO)
/// };
/// assert_eq!(verdict("max-age=60").map(|it| it.lifetime), Ok(Duration::from_secs(60)));
/// assert_eq!(verdict("max-age=60, private").map(|it| it.lifetime), Err(Refusal::Private));
/// ```
///
/// # Errors
///
/// If it may not be stored: the first rule of [this module](self) that it breaks.
pub fn storable(
    request: StoreRequest,
    status: StatusCode,
    headers: &HeaderMap,
    rules: &StoreRules,
    received: Timestamp,
    age: Duration,
) -> Result<Storable, Refusal> {
    if status.is_informational() || answers_one_request(status) {
        return Err(Refusal::Status);
    }
    let governing = governing(headers, &rules.targets);
    let directives = governing.directives;
    // §5.2.2.3: where a cache understands the status, must-understand lets it ignore no-store.
    if directives.must_understand && !is_understood(status) {
        return Err(Refusal::MustUnderstand);
    }
    if directives.no_store && !directives.must_understand {
        return Err(Refusal::NoStore);
    }
    if request.no_store {
        return Err(Refusal::RequestNoStore);
    }
    if directives.malformed {
        return Err(Refusal::MalformedDirectives);
    }
    if directives.private && !request.one_user {
        return Err(Refusal::Private);
    }
    if rules.set_cookie == SetCookie::Refuse && headers.contains_key(SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if request.credentials && !allows_credentials(&directives) {
        return Err(Refusal::Credentials);
    }
    if fields::takes_back_meaning(headers, &rules.targets) {
        return Err(Refusal::Connection);
    }
    if is_event_stream(headers) {
        return Err(Refusal::EventStream);
    }
    let mut nominated = nominated(headers).map_err(Refusal::Vary)?;
    add_unsaid(&mut nominated, headers);
    let (lifetime, source) = lifetime(status, &governing, headers, rules, received).ok_or(Refusal::NoLifetime)?;
    let stale = !never_stale(&directives);
    let allowed = |stated: Option<Duration>, policy: Duration| match stated {
        _ if !stale => Duration::ZERO,
        Some(stated) if !rules.override_response => stated,
        Some(stated) if policy.is_zero() => stated,
        _ => policy,
    };
    let storable = Storable {
        lifetime,
        source,
        directives,
        nominated,
        stale_while_revalidate: allowed(directives.stale_while_revalidate, rules.stale_while_revalidate),
        stale_if_error: allowed(directives.stale_if_error, rules.stale_if_error),
    };
    if storable.is_useful(headers, age) { Ok(storable) } else { Err(Refusal::Useless) }
}

/// Statuses that a policy's default lifetime covers. The others describe one request or a passing trouble.
///
/// ```
/// use http::StatusCode;
/// use larder::semantics::storable::is_storable_by_default;
///
/// assert!(is_storable_by_default(StatusCode::OK));
/// assert!(!is_storable_by_default(StatusCode::FORBIDDEN));
/// ```
pub fn is_storable_by_default(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 410)
}

/// Whether the response explicitly allows to be used for other requests although its own, or theirs, have credentials
/// (RFC 9111 §3.5).
///
/// ```
/// use larder::semantics::{cache_control::ResponseDirectives, storable::allows_credentials};
///
/// let says = |line: &'static str| ResponseDirectives::from_lines([line.as_bytes()]);
/// assert!(allows_credentials(&says("max-age=60, public")));
/// assert!(!allows_credentials(&says("max-age=60")));
/// ```
pub fn allows_credentials(directives: &ResponseDirectives) -> bool {
    directives.public || directives.s_maxage.is_some() || directives.must_revalidate
}

/// The same, by the fields of the response: the directives of whichever field governs it.
pub(crate) fn is_for_all(headers: &HeaderMap, targets: &[HeaderName]) -> bool {
    allows_credentials(&governing(headers, targets).directives)
}

/// Whether the response must not be used stale, whatever anybody else allows (RFC 9111 §4.2.4).
///
/// ```
/// use larder::semantics::{cache_control::ResponseDirectives, storable::never_stale};
///
/// let says = |line: &'static str| ResponseDirectives::from_lines([line.as_bytes()]);
/// assert!(never_stale(&says("max-age=60, must-revalidate")));
/// assert!(!never_stale(&says("max-age=60, stale-if-error=600")));
/// ```
pub fn never_stale(directives: &ResponseDirectives) -> bool {
    directives.must_revalidate || directives.proxy_revalidate || directives.s_maxage.is_some() || directives.no_cache
}

/// Whether a status answers one request only: its condition, its range, its negotiation, or how much its client asks. No
/// other has a use for it, whatever it says of its freshness; RFC 6585 forbids to store 428, 429, 431 and 511.
///
/// ```
/// use http::StatusCode;
/// use larder::semantics::storable::answers_one_request;
///
/// assert!(answers_one_request(StatusCode::PARTIAL_CONTENT));
/// assert!(!answers_one_request(StatusCode::NOT_FOUND));
/// ```
pub fn answers_one_request(status: StatusCode) -> bool {
    matches!(status.as_u16(), 206 | 304 | 406 | 412 | 416 | 428 | 429 | 431 | 511)
}

/// Whether a failure with this status leaves a stored response alone that may still be used: the server is in trouble, or
/// did not like the request, and neither says anything of the resource.
///
/// ```
/// use http::StatusCode;
/// use larder::semantics::storable::is_passing_trouble;
///
/// assert!(is_passing_trouble(StatusCode::SERVICE_UNAVAILABLE));
/// assert!(is_passing_trouble(StatusCode::BAD_REQUEST)); // the next request may be a better one
/// assert!(!is_passing_trouble(StatusCode::GONE)); // it takes the place of what was stored
/// ```
pub fn is_passing_trouble(status: StatusCode) -> bool {
    let of_the_request =
        matches!(status.as_u16(), 400 | 407 | 408 | 411 | 413 | 414 | 415 | 417 | 421 | 425 | 426 | 428 | 429 | 431);
    status.is_server_error() || of_the_request
}

/// Statuses whose caching behaviour this crate implements, for `must-understand`.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 201
            | 202
            | 203
            | 204
            | 300
            | 301
            | 302
            | 303
            | 307
            | 308
            | 400
            | 403
            | 404
            | 405
            | 410
            | 414
            | 500
            | 501
            | 502
            | 503
            | 504
    )
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    const NAME: &[u8] = b"text/event-stream";
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        let value = value.as_bytes().trim_ascii_start();
        value.get(..NAME.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAME))
    })
}

fn lifetime(
    status: StatusCode,
    governing: &Governing,
    headers: &HeaderMap,
    rules: &StoreRules,
    received: Timestamp,
) -> Option<(Duration, LifetimeSource)> {
    let directives = &governing.directives;
    let stated = freshness::explicit_lifetime(governing, headers, received);
    // `no-cache` alone asks to be stored and validated each time (§5.2.2.4).
    let stated = stated.or_else(|| {
        let validated = directives.no_cache && freshness::is_heuristically_cacheable(status);
        validated.then_some((Duration::ZERO, LifetimeSource::MaxAge))
    });
    let policy = || {
        let own = rules.status_lifetimes.iter().find(|(of, _)| *of == status).map(|(_, lifetime)| *lifetime);
        let covered = is_storable_by_default(status) || rules.default_statuses.contains(&status);
        let lifetime = own.or_else(|| rules.default_lifetime.filter(|_| covered));
        lifetime.map(|lifetime| (lifetime, LifetimeSource::Policy))
    };
    let chosen = if rules.override_response { policy().or(stated) } else { stated.or_else(policy) };
    chosen.or_else(|| {
        let heuristic = || freshness::heuristic_lifetime(status, directives, headers, received);
        let lifetime = rules.heuristic.then(heuristic).flatten()?;
        Some((lifetime, LifetimeSource::Heuristic))
    })
}

impl Storable {
    fn is_useful(&self, headers: &HeaderMap, age: Duration) -> bool {
        let validatable = validator::has_validator(headers);
        if self.directives.no_cache {
            return validatable;
        }
        let usable = self.lifetime.saturating_add(self.stale_while_revalidate.max(self.stale_if_error));
        validatable || usable > age
    }
}

impl Refusal {
    /// Every refusal.
    pub const ALL: &'static [Self] = &[
        Self::Status,
        Self::MustUnderstand,
        Self::NoStore,
        Self::RequestNoStore,
        Self::MalformedDirectives,
        Self::Private,
        Self::SetCookie,
        Self::Credentials,
        Self::Connection,
        Self::EventStream,
        Self::Vary(VaryRefusal::Star),
        Self::Vary(VaryRefusal::Malformed),
        Self::Vary(VaryRefusal::TooLarge),
        Self::NoLifetime,
        Self::Useless,
    ];

    /// The reason as one word, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::MustUnderstand => "must-understand",
            Self::NoStore => "no-store",
            Self::RequestNoStore => "request-no-store",
            Self::MalformedDirectives => "malformed-directives",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Credentials => "credentials",
            Self::Connection => "connection",
            Self::EventStream => "event-stream",
            Self::Vary(reason) => reason.as_str(),
            Self::NoLifetime => "no-lifetime",
            Self::Useless => "useless",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for Refusal {}

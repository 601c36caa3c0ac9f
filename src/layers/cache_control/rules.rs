use super::media_range::MediaRange;
use crate::{
    CacheControl,
    clock::Clock,
    credentials::{STANDARD, is_api_key, says_nobody},
    identity::{Identity, IdentityEstablished, IdentityUnknown},
    semantics::{
        cache_control::ResponseDirectives,
        cache_control_writer::{CDN_CACHE_CONTROL, ForCaches, SURROGATE_CONTROL},
        date::{http_date, parse_http_date},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, DATE, EXPIRES, SET_COOKIE, VARY},
};

/// The statuses that a [`CacheControl`] is for.
///
/// ```
/// # use larder::{CacheControl, CacheControlLayer, Statuses};
/// # use std::time::Duration;
/// use http::StatusCode;
///
/// let layer = CacheControlLayer::new(CacheControl::private(Duration::from_secs(60)))
///     .for_status(Statuses::Redirection, CacheControl::no_cache())
///     .for_status(StatusCode::PERMANENT_REDIRECT, CacheControl::static_data()); // goes before its class
/// assert_eq!(Statuses::from(StatusCode::GONE), Statuses::Only(StatusCode::GONE));
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Statuses {
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// This one.
    Only(StatusCode),
}

impl Statuses {
    /// The class of a status.
    fn class_of(status: StatusCode) -> Option<Self> {
        Some(match status.as_u16() / 100 {
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            5 => Self::ServerError,
            _ => return None,
        })
    }
}

impl From<StatusCode> for Statuses {
    fn from(status: StatusCode) -> Self {
        Self::Only(status)
    }
}

/// What a layer was told.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    own: Value,
    /// The latest first.
    pub(super) statuses: Vec<(Statuses, Value)>,
    /// The latest first.
    pub(super) types: Vec<(MediaRange, Value)>,
    pub(super) vary: Vec<HeaderName>,
    pub(super) expires: Option<Clock>,
    pub(super) cdn: Option<Value>,
    pub(super) surrogate: Option<Value>,
    pub(super) overwrite: bool,
    pub(super) credentials: Vec<HeaderName>,
}

/// A value and its two spellings.
#[derive(Clone, Debug)]
pub(super) struct Value {
    control: CacheControl,
    full: HeaderValue,
    for_one: HeaderValue,
}

/// What of a request counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Its answer may be used again.
    reads: bool,
    credentials: bool,
}

impl Rules {
    pub(super) fn new(own: CacheControl) -> Self {
        Self {
            own: Value::new(own),
            statuses: Vec::new(),
            types: Vec::new(),
            vary: Vec::new(),
            expires: None,
            cdn: None,
            surrogate: None,
            overwrite: false,
            credentials: STANDARD.to_vec(),
        }
    }

    pub(super) fn asked<B>(&self, request: &Request<B>) -> Asked {
        let (method, extensions) = (request.method(), request.extensions());
        Asked {
            reads: *method == Method::GET || *method == Method::HEAD || method.as_str() == "QUERY",
            credentials: request.headers().iter().any(|(name, value)| {
                self.credentials.contains(name) || is_api_key(name.as_str()) && !says_nobody(name, value)
            }) || extensions.get::<Identity>().is_some()
                || extensions.get::<IdentityUnknown>().is_some(),
        }
    }

    pub(super) fn apply<B>(&self, asked: Asked, response: &mut Response<B>) {
        let status = response.status();
        if status.is_informational() {
            return;
        }
        add_vary(response.headers_mut(), &self.vary);
        let Some(value) = self.choose(asked, status, response.headers()) else { return };
        let headers = response.headers();
        let said = headers.contains_key(CACHE_CONTROL) || headers.contains_key(EXPIRES);
        if said && !self.overwrite {
            return;
        }
        let for_one = asked.credentials
            || is_error(status)
            || headers.contains_key(SET_COOKIE)
            || response.extensions().get::<IdentityEstablished>().is_some()
            || (said && forbids_sharing(headers));
        // Those that speak to CDNs go with the layer's own value.
        let with_targets = std::ptr::eq(value, &self.own) && !is_error(status) && asked.reads;

        let mut for_caches = response.extensions_mut().remove::<ForCaches>().unwrap_or_default();
        let headers = response.headers_mut();
        for_caches.write_control(headers, value.control, value.line(for_one));
        let expires = self.expires.as_ref().map(|clock| expires(value.control, for_one, headers, clock));
        if expires.is_some() || headers.contains_key(EXPIRES) {
            for_caches.write(headers, EXPIRES, expires);
        }
        for (name, target) in [(CDN_CACHE_CONTROL, &self.cdn), (SURROGATE_CONTROL, &self.surrogate)] {
            if let Some(target) = target.as_ref().filter(|_| with_targets)
                && (!for_one || target.control.is_private() || target.control.forbids_storing())
                && (self.overwrite || !headers.contains_key(&name))
            {
                for_caches.write(headers, name, Some(target.full.clone()));
            }
        }
        response.extensions_mut().insert(for_caches);
    }

    /// The value for a response, if there is one.
    fn choose(&self, asked: Asked, status: StatusCode, headers: &HeaderMap) -> Option<&Value> {
        let by_status =
            |of: Statuses| self.statuses.iter().find(|(statuses, _)| *statuses == of).map(|(_, value)| value);
        // They stand for the 200 that they are a part of, or keep alive.
        let stands_for_ok = matches!(status, StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
        let meant = if stands_for_ok { StatusCode::OK } else { status };
        let exact = by_status(status.into()).or_else(|| by_status(meant.into()));
        let chosen = exact.or_else(|| {
            let untold = status == StatusCode::NOT_MODIFIED && !headers.contains_key(CONTENT_TYPE);
            if untold && !self.types.is_empty() {
                return None;
            }
            let by_type = || self.by_type(headers).filter(|_| meant.is_success());
            let own = || (!is_error(status) || !self.own.control.grants_reuse()).then_some(&self.own);
            by_type().or_else(|| by_status(Statuses::class_of(meant)?)).or_else(own)
        });
        chosen.filter(|value| asked.reads || !value.control.grants_reuse())
    }

    fn by_type(&self, headers: &HeaderMap) -> Option<&Value> {
        let find = |exact| self.types.iter().find(|(range, _)| range.is_exact() == exact && range.matches(headers));
        find(true).or_else(|| find(false)).map(|(_, value)| value)
    }
}

impl Value {
    pub(super) fn new(control: CacheControl) -> Self {
        Self { control, full: control.to_header_value(), for_one: control.for_one().to_header_value() }
    }

    fn line(&self, for_one: bool) -> HeaderValue {
        if for_one { self.for_one.clone() } else { self.full.clone() }
    }
}

fn is_error(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// Whether a handler has said that others must not get its response, or something that cannot be read.
fn forbids_sharing(headers: &HeaderMap) -> bool {
    let said = ResponseDirectives::parse(headers);
    said.private || said.no_store || said.malformed
}

/// Without `Date`, the moment is now. With one, the lifetime begins there, as that of `max-age` does.
fn expires(control: CacheControl, for_one: bool, headers: &HeaderMap, clock: &Clock) -> HeaderValue {
    clock.adjust();
    let now = clock.now();
    let date = headers.get(DATE).and_then(|date| parse_http_date(date.as_bytes(), now)).unwrap_or(now);
    let control = if for_one { control.for_one() } else { control };
    http_date(date.saturating_add(control.lifetime_for_all()))
}

/// Adds the names that are not there yet. `Vary: *` says more than any name.
fn add_vary(headers: &mut HeaderMap, names: &[HeaderName]) {
    let lists = |headers: &HeaderMap, name: &str| {
        let mut elements = headers.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
        elements.any(|element| element.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    };
    if names.is_empty() || lists(headers, "*") {
        return;
    }
    for name in names {
        if !lists(headers, name.as_str()) {
            headers.append(VARY, HeaderValue::from(name.clone()));
        }
    }
}

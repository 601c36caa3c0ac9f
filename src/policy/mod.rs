//! What an operator says about a route: the only configuration of a layer.

mod check;
mod effective;
mod preset;
mod rules;
mod table;

pub use check::PolicyError;
pub(crate) use check::check_word;
pub use effective::Effective;
pub use preset::Preset;
pub(crate) use rules::{Rules, Unit};
pub(crate) use table::Chosen;
pub use table::PolicyTable;

use crate::{
    identity::{Identity, Scope, TENANT, USER},
    key::{CustomPart, KeyRules, QueryRule, UtcOffset},
    semantics::{
        cache_control_writer::CacheControl,
        storable::{SetCookie, StoreRules},
    },
};
use http::{HeaderName, Method, StatusCode, Uri, request::Parts};
use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// What an operator says about a route: lifetimes, key parts, limits.
///
/// ```
/// use larder::Policy;
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let products = Policy::named("products")
///     .fresh_for(10 * minute)
///     .stale_while_revalidate(2 * minute)
///     .stale_if_error(60 * minute)
///     .query_only(["page", "sort"]);
/// # let _ = products;
/// ```
///
/// A policy starts with where lifetimes come from: [`fresh_for`](Policy::fresh_for), [`from_response`](Policy::from_response)
/// or [`rfc9111`](Policy::rfc9111), alone or after [`named`](Policy::named). What the response itself says comes first,
/// unless [`override_response`](Policy::override_response) is set; its prohibitions always hold.
///
/// A handler can say of one answer how it is to be stored, by putting a policy into the extensions of its response: its
/// lifetimes, limits and predicates then take the place of the layer's. What tells requests apart stays the layer's.
///
/// A policy that contradicts itself is refused when it meets a cache, in [`CacheLayer::try_new`](crate::CacheLayer::try_new).
#[derive(Clone)]
#[must_use = "a policy does nothing until a layer has it"]
pub struct Policy {
    name: Option<Cow<'static, str>>,
    version: Option<Cow<'static, str>>,
    store: StoreRules,
    key: KeyRules,
    methods: Vec<Method>,
    only_invalidates: bool,
    max_body: Option<usize>,
    max_key: usize,
    content_methods: Vec<Method>,
    grpc: bool,
    max_content: usize,
    max_variants: usize,
    cookies: Cookies,
    credential_headers: Vec<HeaderName>,
    share_with_credentials: bool,
    scope: Scope,
    request_directives: RequestDirectives,
    keep: Option<Duration>,
    surrogate: bool,
    uri: Option<UriOf>,
    bypass_if: Option<RequestIs>,
    refetch_if: Option<RequestIs>,
    refuse_if: Option<ResponseIs>,
    fresh_until: Option<MomentOf>,
    ignored_vary: Vec<HeaderName>,
    sealed: bool,
    allowed_headers: Vec<HeaderName>,
    observe_only: bool,
    browser: Option<CacheControl>,
    /// Where it stands among the predicates of a table. Part of the key of a policy without a name: two closures look the
    /// same from outside.
    place: Option<usize>,
    faults: Vec<PolicyError>,
}

/// What the `Cache-Control` of a request does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestDirectives {
    /// Nothing: otherwise any client could make every request a miss.
    #[default]
    Ignore,
    /// What RFC 9111 §5.2.1 says.
    Honor,
}

/// What a `Cookie` in the request does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Cookies {
    /// The request bypasses the cache: the cookie may say who asks.
    #[default]
    Bypass,
    /// Nothing.
    Ignore,
}

pub(crate) type UriOf = Arc<dyn Fn(&Parts) -> Uri + Send + Sync>;
pub(crate) type RequestIs = Arc<dyn Fn(&Parts) -> bool + Send + Sync>;
pub(crate) type ResponseIs = Arc<dyn Fn(&Parts, &http::response::Parts) -> bool + Send + Sync>;
pub(crate) type MomentOf = Arc<dyn Fn(SystemTime) -> SystemTime + Send + Sync>;

/// A policy with a name, about to say where its lifetimes come from. Made by [`Policy::named`].
#[derive(Clone, Debug)]
#[must_use = "a name alone is no policy"]
pub struct NamedPolicy(Cow<'static, str>);

impl NamedPolicy {
    /// As [`Policy::fresh_for`].
    pub fn fresh_for(self, lifetime: Duration) -> Policy {
        Policy { name: Some(self.0), ..Policy::fresh_for(lifetime) }
    }

    /// As [`Policy::preset`], under this name instead of the preset's.
    pub fn preset(self, preset: Preset) -> Policy {
        self.fresh_for(preset.lifetime())
    }

    /// As [`Policy::from_response`].
    pub fn from_response(self) -> Policy {
        Policy { name: Some(self.0), ..Policy::from_response() }
    }

    /// As [`Policy::rfc9111`].
    pub fn rfc9111(self) -> Policy {
        Policy { name: Some(self.0), ..Policy::rfc9111() }
    }
}

/// Where lifetimes come from.
impl Policy {
    /// Responses that state no lifetime of their own are fresh for this long, if their status describes the resource:
    /// 200, 203, 204, 300, 301, 308, 404, 410, and those of [`statuses`](Policy::statuses).
    pub fn fresh_for(lifetime: Duration) -> Self {
        Self::from_response().lifetime(lifetime)
    }

    /// A policy of the name and lifetime of a kind of data.
    ///
    /// ```
    /// use larder::{Policy, Preset};
    /// let policy = Policy::preset(Preset::Dashboard).per_user();      // named `dashboard`, 10 minutes
    /// # let _ = policy;
    /// ```
    pub fn preset(preset: Preset) -> Self {
        Self::named(preset.as_str()).preset(preset)
    }

    /// Only responses that state a lifetime themselves (`max-age`, `s-maxage`, `Expires`) are stored.
    pub fn from_response() -> Self {
        Self {
            name: None,
            version: None,
            store: StoreRules::default(),
            key: KeyRules::default(),
            methods: vec![Method::GET, Method::HEAD],
            only_invalidates: false,
            max_body: None,
            max_key: 8 * 1024,
            content_methods: Vec::new(),
            grpc: false,
            max_content: 64 * 1024,
            max_variants: 32,
            cookies: Cookies::default(),
            credential_headers: Vec::new(),
            share_with_credentials: false,
            scope: Scope::default(),
            request_directives: RequestDirectives::default(),
            keep: None,
            surrogate: false,
            uri: None,
            bypass_if: None,
            refetch_if: None,
            refuse_if: None,
            fresh_until: None,
            ignored_vary: Vec::new(),
            sealed: false,
            allowed_headers: Vec::new(),
            observe_only: false,
            browser: None,
            place: None,
            faults: Vec::new(),
        }
    }

    /// A shared cache as RFC 9111 has it, for proxies: lifetimes from the response or by heuristic, request directives
    /// honoured, cookies no credential, a stored `Set-Cookie` replayed (§7.3).
    ///
    /// For an application's own routes start with one of the others: the RFC trusts every response to say whom it is for.
    pub fn rfc9111() -> Self {
        let policy = Self::from_response().heuristic().request_directives(RequestDirectives::Honor).ignore_cookies();
        let store = StoreRules { set_cookie: SetCookie::Keep, ..policy.store };
        Self { store, share_with_credentials: true, ..policy }
    }

    /// A policy of this name. The name is part of the keys, of [`Stats`](crate::Stats) and of selectors; two layers that
    /// are to share entries have the same one.
    pub fn named(name: impl Into<Cow<'static, str>>) -> NamedPolicy {
        NamedPolicy(name.into())
    }

    /// Another default lifetime.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.store.default_lifetime = Some(lifetime);
        self
    }

    /// The default lifetime of one status; zero: only with a lifetime of its own.
    pub fn status_lifetime(mut self, status: StatusCode, lifetime: Duration) -> Self {
        self.store.status_lifetimes.retain(|(of, _)| *of != status);
        self.store.status_lifetimes.push((status, lifetime));
        self
    }

    /// Statuses that get the default lifetime too.
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.store.default_statuses.extend(statuses);
        self
    }

    /// The policy's lifetimes come before what the response states. Its prohibitions hold all the same.
    pub fn override_response(mut self) -> Self {
        self.store.override_response = true;
        self
    }

    /// Responses without any lifetime are fresh for a tenth of the time since `Last-Modified` (RFC 9111 §4.2.2).
    pub fn heuristic(mut self) -> Self {
        self.store.heuristic = true;
        self
    }

    /// After its lifetime a response is served this long while one request refreshes it in the background (RFC 5861 §3).
    /// What the response states (`stale-while-revalidate`) comes first. Default: not at all.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.store.stale_while_revalidate = window;
        self
    }

    /// After its lifetime a response is served this long if the inner service fails or answers 5xx (RFC 5861 §4). What
    /// the response states (`stale-if-error`) comes first. Default: not at all.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.store.stale_if_error = window;
        self
    }

    /// How long a response that can no longer be served is kept, so that it can be validated. Default: one hour if it
    /// has a validator, else not at all.
    pub fn keep(mut self, span: Duration) -> Self {
        self.keep = Some(span);
        self
    }

    /// Nothing is fresh later than the moment that the closure gives for the moment of storing: the end of the day, the
    /// next publication. A moment that has passed means: not stored.
    pub fn fresh_until(mut self, until: impl Fn(SystemTime) -> SystemTime + Send + Sync + 'static) -> Self {
        self.fresh_until = Some(Arc::new(until));
        self
    }

    /// What clients are told of responses that are stored, whatever the handler said to the cache: the lifetime in a
    /// browser apart from that in the server. It counts from when the client gets the response, hit or miss. What is not
    /// stored keeps what the handler said.
    ///
    /// An invalidation does not reach into browsers: what must change at once is `private` and short, or `no-cache`.
    ///
    /// ```
    /// # use larder::{CacheControl, Policy};
    /// # use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// let prices = Policy::fresh_for(10 * minute).browser(CacheControl::private(minute));
    /// # let _ = prices;
    /// ```
    pub fn browser(mut self, control: CacheControl) -> Self {
        self.browser = Some(control);
        self
    }

    /// What the `Cache-Control` of requests does. Default: nothing.
    pub fn request_directives(mut self, directives: RequestDirectives) -> Self {
        self.request_directives = directives;
        self
    }

    /// This cache is the surrogate that `Surrogate-Control` speaks to: the field is obeyed, and goes no further.
    pub fn surrogate(mut self) -> Self {
        self.surrogate = true;
        self
    }
}

/// Who shares. A policy that says nothing keys on the whole [`Identity`] of an identified request; requests without one
/// share. Where a scope is named and the request lacks it, the request bypasses the cache (`identity-missing`).
///
/// The tenant is part of every scope but [`shared`](Policy::shared), if the identity has one.
impl Policy {
    /// Everyone shares, whoever asks. The rules for cookies and credentials hold.
    pub fn shared(mut self) -> Self {
        self.scope = Scope::Shared;
        self
    }

    /// The users of a tenant share.
    pub fn per_tenant(self) -> Self {
        self.per([TENANT])
    }

    /// Each user, within the tenant, has their own.
    pub fn per_user(self) -> Self {
        self.per([USER])
    }

    /// Those who have the same values of these attributes share, within their tenant.
    pub fn per<N: Into<Cow<'static, str>>>(mut self, attributes: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<_> = attributes.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        self.scope = Scope::Attributes(names);
        self
    }

    /// Those for whom the closure says the same share, within their tenant: users with the same entitlements, for
    /// example. `None` bypasses.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let menu = Policy::fresh_for(Duration::from_secs(600)).per_context(|identity| {
    ///     let permissions: Vec<_> = identity.values("permission").collect();
    ///     (!permissions.is_empty()).then(|| permissions.join("\n"))
    /// });
    /// # let _ = menu;
    /// ```
    pub fn per_context(mut self, context: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static) -> Self {
        self.scope = Scope::Context(Arc::new(context));
        self
    }
}

/// Exceptions. A panic in one of these closures costs that request the cache, nothing else.
impl Policy {
    /// Requests for which the closure says yes neither read nor fill.
    pub fn bypass_if(mut self, request: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.bypass_if = Some(Arc::new(request));
        self
    }

    /// Requests for which the closure says yes do not read, and what answers them is stored anew.
    pub fn refetch_if(mut self, request: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.refetch_if = Some(Arc::new(request));
        self
    }

    /// Responses for which the closure says yes are not stored.
    pub fn refuse_storage_if(
        mut self,
        response: impl Fn(&Parts, &http::response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.refuse_if = Some(Arc::new(response));
        self
    }

    /// Nothing is stored or served from the cache. What would have been a hit is counted, in
    /// [`Stats::would_hits`](crate::Stats::would_hits): a way to try a policy before trusting it.
    pub fn observe_only(mut self) -> Self {
        self.observe_only = true;
        self
    }
}

/// What the handler sees.
impl Policy {
    /// The handler sees only the request fields that are part of the key, and those of
    /// [`allow_headers`](Policy::allow_headers), and only the part of the [`Identity`] that is: what is not keyed cannot
    /// shape a stored response. Recommended wherever responses are shared.
    ///
    /// Always visible: `Host`, `Accept-Encoding` in its normal form, ranges and conditions, `Traceparent`, `Tracestate`.
    /// Other things in the extensions of the request stay there.
    pub fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// Request fields that a handler sees although the request is [`sealed`](Policy::sealed). What it answers must not
    /// depend on them, unless it names them in `Vary`.
    pub fn allow_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.allowed_headers = self.header_names("allow_headers", names);
        self
    }

    fn visible_headers(&self) -> Vec<HeaderName> {
        let mut visible: Vec<_> = ALWAYS_VISIBLE.into_iter().map(HeaderName::from_static).collect();
        visible.extend(self.allowed_headers.iter().chain(&self.key.headers).cloned());
        if !self.key.cookies.is_empty() {
            visible.push(http::header::COOKIE);
        }
        if !self.key.languages.is_empty() {
            visible.push(http::header::ACCEPT_LANGUAGE);
        }
        visible
    }
}

/// What may be shared.
impl Policy {
    /// Requests with cookies are treated like those without: nothing that the handler answers depends on a cookie.
    pub fn ignore_cookies(mut self) -> Self {
        self.cookies = Cookies::Ignore;
        self
    }

    /// Responses that set a cookie are stored without it. Default: they are not stored.
    pub fn strip_set_cookie(mut self) -> Self {
        self.store.set_cookie = SetCookie::Strip;
        self
    }

    /// Further request fields that say who asks, such as `x-api-key`: they count as `Authorization` does.
    pub fn credential_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.credential_headers = self.header_names("credential_headers", names);
        self
    }
}

/// What tells responses apart.
impl Policy {
    /// The version of what the route answers: another one starts empty.
    pub fn version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The methods that are cached, of GET and HEAD. Default: both. HEAD is answered from stored responses to GET.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Requests with these methods are cached, and their content is part of the key: its bytes, its type and its coding.
    /// For methods that ask and change nothing, as the operator knows: QUERY, or a POST that searches.
    ///
    /// The layer needs [`rebuild_body`](crate::CacheLayer::rebuild_body). Longer content than
    /// [`max_content`](Policy::max_content) bypasses; the inner service gets every byte either way.
    pub fn key_body(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.content_methods = methods.into_iter().collect();
        self
    }

    /// Unary gRPC calls are cached: their message is part of the key, and only answers with `grpc-status: 0` are stored,
    /// trailers included. For calls that ask and change nothing.
    ///
    /// The layer needs [`rebuild_body`](crate::CacheLayer::rebuild_body). Not for routes with calls that stream messages
    /// to the server: those are read to their end before anybody answers.
    pub fn grpc(mut self) -> Self {
        self.grpc = true;
        self
    }

    /// Only these query parameters count. The others are no part of the key, and the handler does not see them.
    pub fn query_only<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.query("query_only", QueryRule::Only(names))
    }

    /// All query parameters count but these, which the handler does not see.
    pub fn query_except<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.query("query_except", QueryRule::Except(names))
    }

    /// The query does not count, and the handler does not see it.
    pub fn ignore_query(self) -> Self {
        self.query("ignore_query", QueryRule::None)
    }

    /// The order of query parameters does not count. Values of one name stay in their order.
    pub fn sort_query(mut self) -> Self {
        self.key.sort_query = true;
        self
    }

    /// These request fields are part of the key, all lines in order.
    pub fn key_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.key.headers = self.header_names("key_headers", names);
        self.key.headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        self.key.headers.dedup();
        self
    }

    /// This query parameter has one of these values, or the request bypasses.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let trends = Policy::fresh_for(Duration::from_secs(900)).query_values("days", ["7", "30", "90", "365"]);
    /// # let _ = trends;
    /// ```
    pub fn query_values<V: Into<String>>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let name = name.into();
        self.key.query_values.retain(|(of, _)| *of != name);
        self.key.query_values.push((name, values.into_iter().map(Into::into).collect()));
        self
    }

    /// These cookies are part of the key, and the only ones that the handler sees. A request with others does not
    /// bypass.
    pub fn key_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.key.cookies = names.into_iter().map(Into::into).collect();
        if self.key.cookies.is_empty() {
            let fault = "key_cookies([]) names no cookie: leave it out, or use ignore_cookies()";
            self.faults.push(PolicyError::new(fault));
        }
        self.cookies = Cookies::Ignore;
        self
    }

    /// The best of these languages for the client's `Accept-Language` is part of the key, and is what the handler sees
    /// there. The first is for clients that want none of them.
    pub fn key_language<L: Into<String>>(mut self, spoken: impl IntoIterator<Item = L>) -> Self {
        self.key.languages = spoken.into_iter().map(Into::into).collect();
        self
    }

    /// The content codings that the client accepts are part of the key, in their normal form. Needed only for handlers
    /// that compress and do not say `Vary: Accept-Encoding`; coded responses are kept apart anyway.
    pub fn key_encoding(mut self) -> Self {
        self.key.codings = true;
        self
    }

    /// The day is part of the key, by the calendar of this zone: what was stored yesterday is not served today.
    pub fn key_date(mut self, zone: UtcOffset) -> Self {
        self.key.date = Some(zone);
        self
    }

    /// What the closure makes of the request is part of the key, under this name; `None` differs from everything else.
    ///
    /// A panic in the closure costs that request the cache, nothing else.
    pub fn key_part(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key.custom.push(CustomPart { name: name.into(), value: Arc::new(value) });
        self
    }

    /// These fields in the `Vary` of responses do not count: the operator knows that the response does not depend on
    /// them. Fields that say who asks cannot be ignored.
    pub fn ignore_vary<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.ignored_vary = self.header_names("ignore_vary", names);
        self
    }

    /// The target URI as the client sent it, for frameworks that rewrite it before this layer sees it. With the feature
    /// `axum`, paths inside `Router::nest` are known without this.
    ///
    /// A panic in the closure costs that request the cache, nothing else.
    pub fn uri(mut self, uri: impl Fn(&Parts) -> Uri + Send + Sync + 'static) -> Self {
        self.uri = Some(Arc::new(uri));
        self
    }
}

/// Limits.
impl Policy {
    /// Longer bodies are passed on and not stored. Default: 8 MiB, or what the memory tier can hold if that is less.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = Some(bytes);
        self
    }

    /// Requests with a longer key bypass. Default: 8 KiB.
    pub fn max_key(mut self, bytes: usize) -> Self {
        self.max_key = bytes;
        self
    }

    /// Longer content is not read to make a key of it: the request bypasses. Default: 64 KiB.
    pub fn max_content(mut self, bytes: usize) -> Self {
        self.max_content = bytes;
        self
    }

    /// So many variants (`Vary`) of one resource are kept; a further one takes the place of the oldest. Default: 32.
    pub fn max_variants(mut self, variants: usize) -> Self {
        self.max_variants = variants;
        self
    }

    /// A policy that reads and fills nothing.
    pub(crate) fn invalidating() -> Self {
        Self { only_invalidates: true, ..Self::from_response() }
    }

    /// The name, if it has one.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn query(mut self, method: &'static str, rule: QueryRule) -> Self {
        if self.key.query != QueryRule::All && self.key.query != rule {
            self.faults.push(PolicyError::new(format!(
                "{method} on a policy that already says which query parameters count: use one of query_only, \
                 query_except and ignore_query"
            )));
        }
        self.key.query = rule;
        self
    }

    fn header_names<N>(&mut self, method: &'static str, names: impl IntoIterator<Item = N>) -> Vec<HeaderName>
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        let mut parsed = Vec::new();
        for name in names {
            match name.clone().try_into() {
                Ok(name) => parsed.push(name),
                Err(_) => {
                    let fault = format!("{method}: `{name}` is no field name: use letters, digits and hyphens");
                    self.faults.push(PolicyError::new(fault));
                }
            }
        }
        parsed
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("store", &self.store)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What a handler sees of a sealed request: what is keyed by nature, what asks for a part or a check of the same response,
/// and what tracing needs.
const ALWAYS_VISIBLE: [&str; 10] = [
    "host",
    "accept-encoding",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "if-match",
    "if-unmodified-since",
    "traceparent",
    "tracestate",
];

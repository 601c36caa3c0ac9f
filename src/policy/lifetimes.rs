//! What a policy says of lifetimes, and where it begins.

use super::{Cookies, FillRules, NamedPolicy, Policy, Preset, RefreshRules, RequestDirectives};
use crate::{
    identity::Scope,
    invalidation::Tags,
    key::KeyRules,
    semantics::{
        cache_control_writer::CacheControl,
        storable::{SetCookie, StoreRules},
    },
};
use http::{Method, StatusCode};
use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Where lifetimes come from.
impl Policy {
    /// Responses that state no lifetime of their own are fresh for this long, if their status describes the resource:
    /// 200, 203, 204, 300, 301, 308, 404, 410, and those of [`statuses`](Policy::statuses).
    ///
    /// ```
    /// use larder::Policy;
    /// use std::time::Duration;
    ///
    /// let lists = Policy::fresh_for(Duration::from_secs(60)); // and longer or shorter where the handler says `max-age`
    /// # let _ = lists;
    /// ```
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
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # let cache = Cache::in_memory(1 << 20);
    /// // The handlers decide, by `Cache-Control`.
    /// let layer = CacheLayer::new(&cache, Policy::from_response());
    /// # let _ = layer;
    /// ```
    pub fn from_response() -> Self {
        Self {
            name: None,
            version: None,
            store: StoreRules::default(),
            fill: FillRules::default(),
            refresh: RefreshRules::default(),
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
            tags: Tags::default(),
            tag_with: None,
            tag_header: None,
            depends_on: Vec::new(),
            fresh_until: None,
            ignored_vary: Vec::new(),
            sealed: false,
            allowed_headers: Vec::new(),
            observe_only: false,
            memory_only: false,
            memory_ttl: None,
            verify: None,
            verify_ignored: Vec::new(),
            browser: None,
            objective: None,
            place: None,
            faults: Vec::new(),
        }
    }

    /// A shared cache as RFC 9111 has it, for proxies: lifetimes from the response or by heuristic, request directives
    /// honoured, cookies no credential, a stored `Set-Cookie` replayed (§7.3). Only API keys count for more than the RFC
    /// says: [`credential_headers`](Policy::credential_headers).
    ///
    /// For an application's own routes start with one of the others: the RFC trusts every response to say whom it is for.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # let cache = Cache::in_memory(1 << 20);
    /// // In front of an origin that is not ours.
    /// let proxy = CacheLayer::new(&cache, Policy::rfc9111());
    /// # let _ = proxy;
    /// ```
    pub fn rfc9111() -> Self {
        let policy = Self::from_response().heuristic().request_directives(RequestDirectives::Honor).ignore_cookies();
        let store = StoreRules { set_cookie: SetCookie::Keep, ..policy.store };
        Self { store, share_with_credentials: true, ..policy }
    }

    /// A policy of this name. The name is part of the keys, of [`Stats`](crate::Stats) and of selectors; two layers that
    /// are to share entries have the same one.
    ///
    /// ```
    /// # use larder::{Policy, Selector};
    /// # use std::time::Duration;
    /// let reports = Policy::named("reports").fresh_for(Duration::from_secs(900)).per_tenant();
    /// let all_of_them = Selector::policy("reports");
    /// # let _ = (reports, all_of_them);
    /// ```
    pub fn named(name: impl Into<Cow<'static, str>>) -> NamedPolicy {
        NamedPolicy(name.into())
    }

    /// Another default lifetime.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.store.default_lifetime = Some(lifetime);
        self
    }

    /// The default lifetime of one status; zero: only with a lifetime of its own.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// use http::StatusCode;
    ///
    /// // That something is not there is soon asked again.
    /// let products = Policy::fresh_for(Duration::from_secs(3600)).status_lifetime(StatusCode::NOT_FOUND, Duration::from_secs(10));
    /// # let _ = products;
    /// ```
    pub fn status_lifetime(mut self, status: StatusCode, lifetime: Duration) -> Self {
        self.store.status_lifetimes.retain(|(of, _)| *of != status);
        self.store.status_lifetimes.push((status, lifetime));
        self
    }

    /// Statuses that get the default lifetime too.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// use http::StatusCode;
    ///
    /// // That a resource has moved for now is known for a minute too.
    /// let links = Policy::fresh_for(Duration::from_secs(60)).statuses([StatusCode::FOUND, StatusCode::TEMPORARY_REDIRECT]);
    /// # let _ = links;
    /// ```
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.store.default_statuses.extend(statuses);
        self
    }

    /// The policy's lifetimes come before what the response states. Its prohibitions hold all the same.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // A handler that cannot be changed says `max-age=0`.
    /// let legacy = Policy::fresh_for(Duration::from_secs(60)).override_response();
    /// // `no-store`, `private` and `Set-Cookie` are obeyed all the same.
    /// # let _ = legacy;
    /// ```
    pub fn override_response(mut self) -> Self {
        self.store.override_response = true;
        self
    }

    /// Responses without any lifetime are fresh for a tenth of the time since `Last-Modified`, at most a day (RFC 9111 §4.2.2).
    pub fn heuristic(mut self) -> Self {
        self.store.heuristic = true;
        self
    }

    /// After its lifetime a response is served this long while one request refreshes it in the background (RFC 5861 §3).
    /// What the response states (`stale-while-revalidate`) comes first. Default: not at all.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// // Fresh for ten minutes; for two more nobody waits; for an hour better than an error page.
    /// let dashboards = Policy::fresh_for(10 * minute).stale_while_revalidate(2 * minute).stale_if_error(60 * minute);
    /// # let _ = dashboards;
    /// ```
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
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// // What has expired is asked for with `If-None-Match` for a day: 304 costs no body.
    /// let documents = Policy::fresh_for(minute).keep(24 * 60 * minute);
    /// # let _ = documents;
    /// ```
    pub fn keep(mut self, span: Duration) -> Self {
        self.keep = Some(span);
        self
    }

    /// Nothing is fresh later than the moment that the closure gives for the moment of storing: the end of the day, the
    /// next publication. A moment that has passed means: not stored.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// use larder::{UtcOffset, daily_at};
    ///
    /// // Prices are set at 6:00, in a zone an hour ahead of UTC: what was stored before is not served after.
    /// let prices = Policy::fresh_for(Duration::from_secs(24 * 3600)).fresh_until(daily_at(6, 0, UtcOffset::hours(1)));
    /// # let _ = prices;
    /// ```
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

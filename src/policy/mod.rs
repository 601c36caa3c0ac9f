//! What an operator says about a route: the only configuration of a layer. Here it is said and checked; nothing here looks
//! at a stored response.

// First, as in the documentation of `Policy`.
mod lifetimes;

mod check;
mod due;
mod effective;
mod fills;
mod keys;
mod objective;
mod preset;
mod rules;
mod sharing;
mod table;
mod tagging;
mod verifying;

pub use check::PolicyError;
pub(crate) use check::check_word;
pub(crate) use due::{is_due, part_of, refresh_from};
pub use effective::Effective;
pub(crate) use fills::{FillRules, RefreshRules};
pub use objective::Objective;
pub(crate) use objective::SLOW;
pub use preset::Preset;
pub(crate) use rules::{Rules, Unit};
pub use table::PolicyTable;
pub(crate) use table::{Chosen, Pick, Spot};

use crate::{
    identity::Scope,
    invalidation::Tags,
    key::KeyRules,
    semantics::{cache_control_writer::CacheControl, storable::StoreRules},
};
use http::{HeaderName, Method, Uri, request::Parts};
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
/// lifetimes, limits, predicates and what it says of refreshing then take the place of the layer's. What tells requests
/// apart, and how a response is waited for, stay the layer's.
///
/// A policy that contradicts itself is refused when it meets a cache, in [`CacheLayer::try_new`](crate::CacheLayer::try_new).
#[derive(Clone)]
#[must_use = "a policy does nothing until a layer has it"]
pub struct Policy {
    name: Option<Cow<'static, str>>,
    version: Option<Cow<'static, str>>,
    store: StoreRules,
    fill: FillRules,
    refresh: RefreshRules,
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
    tags: Tags,
    tag_with: Option<TagsOf>,
    tag_header: Option<HeaderName>,
    depends_on: Vec<Cow<'static, str>>,
    fresh_until: Option<MomentOf>,
    ignored_vary: Vec<HeaderName>,
    sealed: bool,
    allowed_headers: Vec<HeaderName>,
    observe_only: bool,
    memory_only: bool,
    memory_ttl: Option<Duration>,
    verify: Option<f64>,
    verify_ignored: Vec<HeaderName>,
    browser: Option<CacheControl>,
    objective: Option<Objective>,
    /// Where it stands among the predicates of a table. Part of the key of a policy without a name: two closures look the
    /// same from outside.
    place: Option<usize>,
    faults: Vec<PolicyError>,
}

/// What the `Cache-Control` of a request does.
///
/// ```
/// # use larder::{Policy, RequestDirectives};
/// # use std::time::Duration;
/// // Behind a gateway that only lets operators send `no-cache`.
/// let policy = Policy::fresh_for(Duration::from_secs(60)).request_directives(RequestDirectives::Honor);
/// assert_eq!(RequestDirectives::default(), RequestDirectives::Ignore);
/// # let _ = policy;
/// ```
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
pub(crate) type TagsOf = Arc<dyn Fn(&Parts, &http::response::Parts) -> Tags + Send + Sync>;
pub(crate) type MomentOf = Arc<dyn Fn(SystemTime) -> SystemTime + Send + Sync>;

/// A policy with a name, about to say where its lifetimes come from. Made by [`Policy::named`].
///
/// ```
/// # use larder::{Policy, Preset};
/// # use std::time::Duration;
/// let lists = Policy::named("lists").fresh_for(Duration::from_secs(60));
/// let reports = Policy::named("reports").preset(Preset::Analytics);
/// assert_eq!((lists.name(), reports.name()), (Some("lists"), Some("reports")));
/// ```
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

/// Exceptions. A panic in one of these closures costs that request the cache, nothing else.
impl Policy {
    /// Requests for which the closure says yes neither read nor fill.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let policy = Policy::fresh_for(Duration::from_secs(60))
    ///     .bypass_if(|request| request.headers.contains_key("x-preview"))
    ///     .refuse_storage_if(|_request, response| response.headers.contains_key("x-partial"));
    /// # let _ = policy;
    /// ```
    pub fn bypass_if(mut self, request: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.bypass_if = Some(Arc::new(request));
        self
    }

    /// Requests for which the closure says yes do not read, and what answers them is stored anew.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // What editors send to see their changes, and everybody sees them then.
    /// let pages = Policy::fresh_for(Duration::from_secs(600))
    ///     .refetch_if(|request| request.headers.contains_key("x-publish"));
    /// # let _ = pages;
    /// ```
    pub fn refetch_if(mut self, request: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        self.refetch_if = Some(Arc::new(request));
        self
    }

    /// Responses for which the closure says yes are not stored.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // A page that was made while a service was away says so.
    /// let pages = Policy::fresh_for(Duration::from_secs(600))
    ///     .refuse_storage_if(|_request, response| response.headers.contains_key("x-partial"));
    /// # let _ = pages;
    /// ```
    pub fn refuse_storage_if(
        mut self,
        response: impl Fn(&Parts, &http::response::Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.refuse_if = Some(Arc::new(response));
        self
    }

    /// Nothing is stored or served from the cache. What would have been a hit is counted, in
    /// [`Stats::would_hits`](crate::Stats::would_hits): a way to try a policy before trusting it.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60)).observe_only());
    /// // A day later:
    /// println!("{} would have been hits", cache.stats().would_hits);
    /// # let _ = layer;
    /// ```
    pub fn observe_only(mut self) -> Self {
        self.observe_only = true;
        self
    }
}

/// Where it is kept.
impl Policy {
    /// What is stored stays in this process: the stores behind the memory tier are neither read nor written. For what must not
    /// leave it.
    pub fn memory_only(mut self) -> Self {
        self.memory_only = true;
        self
    }

    /// How long a response is served from memory, where there are stores behind, before it is looked for there again: another
    /// process may have a newer one. If there is none it is good for as long again. Default: as long as it is fresh.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // Fresh for an hour; whether another process has stored a newer one in Redis is looked for each minute.
    /// let lists = Policy::fresh_for(Duration::from_secs(3600)).memory_ttl(Duration::from_secs(60));
    /// # let _ = lists;
    /// ```
    pub fn memory_ttl(mut self, lifetime: Duration) -> Self {
        self.memory_ttl = Some(lifetime);
        self
    }
}

/// Limits.
impl Policy {
    /// Longer bodies are passed on and not stored. Default: 8 MiB, or what the memory tier can hold if that is less.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # let cache = Cache::in_memory(4 << 20);
    /// let exports = Policy::from_response().max_body(16 << 20);
    /// let error = CacheLayer::try_new(&cache, exports).unwrap_err(); // bytes: more than this cache can hold
    /// assert!(error.to_string().starts_with("max_body(16777216): "));
    /// ```
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

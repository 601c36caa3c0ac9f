use super::{CacheService, NoRebuild, Rebuild, RequestBody};
use crate::{
    cache::{Cache, Explains, bypass_is_worth_noting, client_uri},
    outcome::Bypass,
    policy::{Chosen, Policy, PolicyError, PolicyTable, Rules},
};
use http::request::Parts;
use http_body::Body;
use std::{
    fmt,
    sync::{Arc, Once},
};
use tower_layer::Layer;

/// Stores responses of the inner service and serves them, as a [`Policy`] says.
///
/// ```
/// use axum::{Router, routing::get};
/// use larder::{Cache, CacheLayer, Policy};
/// use std::time::Duration;
///
/// let cache = Cache::in_memory(256 << 20);
/// let app: Router = Router::new()
///     .route("/products/{id}", get(|| async { "a product" }))
///     .layer(CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60))));
/// ```
///
/// A response is stored if it may be (see [`storable`](crate::semantics::storable)) and is served while it is fresh,
/// with its `Age` and a `Cache-Status`. A request with `Cookie` neither reads nor fills, and one with `Authorization`
/// only what says `public`, `s-maxage` or `must-revalidate`: what one user gets is not for another, unless the response
/// or the policy says so.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CacheLayer<R = NoRebuild> {
    pub(super) choice: Arc<Chosen<Arc<Shared>>>,
    rebuild: R,
    /// Whether request bodies can be read.
    pub(super) reads: bool,
}

/// What all requests under one policy of a layer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) rules: Arc<Rules>,
    /// The path that a table has the policy for.
    route: Option<String>,
    warned: Once,
}

impl Shared {
    /// A request passes by the cache.
    pub(super) fn count_bypass(&self, parts: &Parts, reason: Bypass) {
        let before = self.rules.tally.bypass(reason);
        if bypass_is_worth_noting(reason) {
            self.cache.note_uncached(&self.rules.tally, || self.route_of(parts), reason.as_str(), before);
        }
    }

    /// What the requests of one kind have in common: the path of the table or of the router, else that of the request.
    pub(super) fn route_of<'a>(&'a self, parts: &'a Parts) -> &'a str {
        if let Some(route) = &self.route {
            return route;
        }
        #[cfg(feature = "axum")]
        if let Some(matched) = parts.extensions.get::<axum::extract::MatchedPath>() {
            return matched.as_str();
        }
        client_uri(parts).path()
    }

    /// Once for each layer: it is the same for all its requests.
    pub(super) fn warn_of_order(&self) {
        self.warned.call_once(|| {
            tracing::warn!(
                target: "larder::store",
                "identity-after-cache: an IdentityLayer stands inside of this CacheLayer, so nothing is stored; put it outside"
            );
        });
    }
}

impl CacheLayer {
    /// A layer over this cache with this policy, or this [`PolicyTable`].
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy, PolicyTable};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// let minute = Policy::fresh_for(Duration::from_secs(60));
    /// let one = CacheLayer::new(&cache, minute.clone());
    /// let table = PolicyTable::new().route("/api/{*rest}", minute).otherwise(Policy::from_response());
    /// let many = CacheLayer::new(&cache, table);
    /// # let _ = (one, many);
    /// ```
    ///
    /// # Panics
    ///
    /// If the policy contradicts itself or the cache, as axum's `route` panics on a bad path. [`CacheLayer::try_new`]
    /// returns the error instead.
    pub fn new(cache: &Cache, policy: impl Into<PolicyTable>) -> Self {
        match Self::try_new(cache, policy) {
            Ok(layer) => layer,
            Err(error) => panic!("{error}"),
        }
    }

    /// A layer for routes that only change things: it stores nothing, and successful unsafe requests through it
    /// invalidate their target in this cache (RFC 9111 §4.4), as they do through every other layer.
    ///
    /// ```
    /// use axum::{Router, routing::put};
    /// use larder::{Cache, CacheLayer};
    ///
    /// let cache = Cache::in_memory(1 << 20);
    /// let app: Router =
    ///     Router::new().route("/products/{id}", put(|| async { "saved" })).layer(CacheLayer::invalidating(&cache));
    /// # let _ = app;
    /// ```
    pub fn invalidating(cache: &Cache) -> Self {
        Self::new(cache, Policy::invalidating())
    }

    /// A layer over this cache with this policy, or this [`PolicyTable`].
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// let error = CacheLayer::try_new(&cache, Policy::fresh_for(Duration::from_secs(60)).max_variants(0)).unwrap_err();
    /// assert_eq!(error.to_string(), "max_variants(0): between 1 and 1024 are possible");
    /// ```
    ///
    /// # Errors
    ///
    /// If the policy contradicts itself or the cache.
    pub fn try_new(cache: &Cache, policy: impl Into<PolicyTable>) -> Result<Self, PolicyError> {
        let choice = policy.into().compile(|route, policy| {
            let rules = Rules::new(policy, cache.unit())?;
            let rules = cache.open_page(policy, route, rules);
            cache.learn(&rules.key.query);
            for warning in policy.warnings() {
                tracing::warn!(target: "larder::policy", "{warning}");
            }
            Ok(Arc::new(Shared { cache: cache.clone(), rules, route: route.map(str::to_owned), warned: Once::new() }))
        })?;
        let choice = Arc::new(choice);
        let known: Arc<dyn Explains> = Arc::clone(&choice) as _;
        cache.meet(Arc::downgrade(&known));
        Ok(Self { choice, rebuild: NoRebuild::default(), reads: false })
    }

    /// How request bodies are made of content that was read for the key, as [`Policy::key_body`] and [`Policy::grpc`] ask
    /// for. Without this such requests bypass. Mostly the `new` of the application's body type:
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use http::Method;
    /// # use std::time::Duration;
    /// let cache = Cache::in_memory(1 << 20);
    /// let policy = Policy::fresh_for(Duration::from_secs(60)).key_body([Method::POST]);
    /// let layer = CacheLayer::new(&cache, policy).rebuild_body(axum::body::Body::new);
    /// # let _ = layer;
    /// ```
    pub fn rebuild_body<B: Body>(self, rebuild: fn(RequestBody<B>) -> B) -> CacheLayer<Rebuild<B>> {
        CacheLayer { choice: self.choice, rebuild: Rebuild::by(rebuild), reads: true }
    }
}

impl<S, R: Clone> Layer<S> for CacheLayer<R> {
    type Service = CacheService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheService::new(inner, Arc::clone(&self.choice), self.rebuild.clone())
    }
}

impl<R> fmt::Debug for CacheLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheLayer").finish_non_exhaustive()
    }
}

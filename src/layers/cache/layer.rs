use super::{CacheService, NoRebuild, Rebuild, RequestBody};
use crate::{
    cache::Cache,
    policy::{Chosen, Policy, PolicyError, PolicyTable, Rules},
};
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
    choice: Arc<Chosen<Arc<Shared>>>,
    rebuild: R,
}

/// What all requests under one policy of a layer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cache: Cache,
    pub(super) rules: Arc<Rules>,
    warned: Once,
}

impl Shared {
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
    pub fn invalidating(cache: &Cache) -> Self {
        Self::new(cache, Policy::invalidating())
    }

    /// A layer over this cache with this policy, or this [`PolicyTable`].
    ///
    /// # Errors
    ///
    /// If the policy contradicts itself or the cache.
    pub fn try_new(cache: &Cache, policy: impl Into<PolicyTable>) -> Result<Self, PolicyError> {
        let choice = policy.into().compile(|policy| {
            let rules = Arc::new(Rules::new(policy, cache.unit())?);
            cache.learn(&rules.key.query);
            for warning in policy.warnings() {
                tracing::warn!(target: "larder::policy", "{warning}");
            }
            Ok(Arc::new(Shared { cache: cache.clone(), rules, warned: Once::new() }))
        })?;
        Ok(Self { choice: Arc::new(choice), rebuild: NoRebuild::default() })
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
        CacheLayer { choice: self.choice, rebuild: Rebuild::by(rebuild) }
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

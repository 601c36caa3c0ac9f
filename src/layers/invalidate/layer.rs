use super::future::{InvalidateFuture, Telling};
use crate::{
    cache::{Cache, overrides_method},
    identity::{Identity, TENANT},
    semantics::invalidation::is_safe,
};
use http::Request;
use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Tells the cache that something has changed when an unsafe request (POST, PUT, PATCH, DELETE..) succeeds, as
/// [`Cache::changed`] does: what depends on these names is invalid before the client has its answer. The tenant is that of
/// the request's [`Identity`]; without one, everyone's is invalid.
///
/// ```
/// use larder::{Cache, InvalidateLayer};
///
/// let cache = Cache::in_memory(1 << 20);
/// let layer = InvalidateLayer::changed(&cache, ["People", "Asset"]);
/// # let _ = layer;
/// ```
///
/// A request that fails, or whose client goes away, may have changed something all the same: it is told too. An answer of
/// 4xx or 5xx says that nothing has changed.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct InvalidateLayer {
    cache: Cache,
    names: Arc<[Cow<'static, str>]>,
}

/// Tells a cache what requests have changed. Made by [`InvalidateLayer`].
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{Cache, InvalidateLayer, InvalidateService, Value};
/// # use std::{convert::Infallible, time::Duration};
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let service = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
/// # let cache = Cache::in_memory(1 << 20);
/// static HEADS: Value<u32> = Value::named("heads").fresh_for(Duration::from_secs(600)).shared().depends_on(&["People"]);
///
/// cache.value(&HEADS).put(17);
/// let mut people: InvalidateService<_> = InvalidateLayer::changed(&cache, ["People"]).layer(service);
/// people.ready().await?.call(Request::post("/people").body(Body::empty())?).await?;
/// assert!(cache.value(&HEADS).peek().is_none());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct InvalidateService<S> {
    inner: S,
    cache: Cache,
    names: Arc<[Cow<'static, str>]>,
}

impl InvalidateLayer {
    /// Successful unsafe requests change what has these names.
    pub fn changed<N: Into<Cow<'static, str>>>(cache: &Cache, names: impl IntoIterator<Item = N>) -> Self {
        Self { cache: cache.clone(), names: names.into_iter().map(Into::into).collect() }
    }
}

impl<S> Layer<S> for InvalidateLayer {
    type Service = InvalidateService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        InvalidateService { inner, cache: self.cache.clone(), names: Arc::clone(&self.names) }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for InvalidateService<S>
where
    S: Service<Request<ReqBody>, Response = http::Response<ResBody>>,
{
    type Response = http::Response<ResBody>;
    type Error = S::Error;
    type Future = InvalidateFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let overridden = overrides_method(request.headers(), request.uri());
        let telling = (overridden || !is_safe(request.method())).then(|| {
            let identity = request.extensions().get::<Identity>();
            let tenant = identity.and_then(|identity| identity.get(TENANT));
            Telling::of(&self.cache, &self.names, tenant)
        });
        InvalidateFuture::new(self.inner.call(request), telling)
    }
}

impl fmt::Debug for InvalidateLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidateLayer").field("names", &self.names).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for InvalidateService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidateService")
            .field("inner", &self.inner)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

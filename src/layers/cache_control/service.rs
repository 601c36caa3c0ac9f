use super::{CacheControlFuture, rules::Rules};
use http::{Request, Response};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Sets `Cache-Control`. Made by [`CacheControlLayer`](super::CacheControlLayer).
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{CacheControl, CacheControlLayer, CacheControlService};
/// # use std::{convert::Infallible, time::Duration};
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let service = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
/// let layer = CacheControlLayer::new(CacheControl::private(Duration::from_secs(60)));
/// let mut told: CacheControlService<_> = layer.layer(service);
/// let response = told.ready().await?.call(Request::new(Body::empty())).await?;
/// assert_eq!(response.headers()["cache-control"], "max-age=60, private");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CacheControlService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> CacheControlService<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CacheControlService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CacheControlFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let asked = self.rules.asked(&request);
        CacheControlFuture::new(self.inner.call(request), asked, Arc::clone(&self.rules))
    }
}

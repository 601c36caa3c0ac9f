use super::{ETagBody, ETagFuture, question::Question, rules::Rules};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Gives responses an entity tag. Made by [`ETagLayer`](super::ETagLayer).
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{ETagLayer, ETagService};
/// # use std::convert::Infallible;
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let service = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) });
/// let mut tagged: ETagService<_> = ETagLayer::new().layer(service);
/// let first = tagged.ready().await?.call(Request::new(Body::empty())).await?;
/// let again = Request::get("/").header("if-none-match", &first.headers()["etag"]).body(Body::empty())?;
/// assert_eq!(tagged.ready().await?.call(again).await?.status(), 304);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ETagService<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> ETagService<S> {
    pub(super) fn new(inner: S, rules: Arc<Rules>) -> Self {
        Self { inner, rules }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ETagService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Response = Response<ETagBody<ResBody>>;
    type Error = S::Error;
    type Future = ETagFuture<S::Future, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let question = Question::of(&request);
        ETagFuture::new(self.inner.call(request), question, Arc::clone(&self.rules))
    }
}

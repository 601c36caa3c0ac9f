use super::{CacheControlFuture, rules::Rules};
use http::{Request, Response};
use std::{
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Sets `Cache-Control`. Made by [`CacheControlLayer`](super::CacheControlLayer).
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

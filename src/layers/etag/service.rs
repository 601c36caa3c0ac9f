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

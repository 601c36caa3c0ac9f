use super::rules::{Asked, Rules};
use http::Response;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

pin_project! {
    /// The answer of a [`CacheControlService`](super::CacheControlService), to come.
    ///
    /// The example of [`CacheControlService`](super::CacheControlService) awaits one.
    pub struct CacheControlFuture<F> {
        #[pin]
        inner: F,
        asked: Asked,
        rules: Arc<Rules>,
    }
}

impl<F> CacheControlFuture<F> {
    pub(super) fn new(inner: F, asked: Asked, rules: Arc<Rules>) -> Self {
        Self { inner, asked, rules }
    }
}

impl<F, B, E> Future for CacheControlFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx))?;
        this.rules.apply(*this.asked, &mut response);
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for CacheControlFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheControlFuture").finish_non_exhaustive()
    }
}

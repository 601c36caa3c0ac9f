use crate::request_stats::RequestStats;
use http::Response;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::task::futures::TaskLocalFuture;

pin_project! {
    /// The answer of a [`StatsService`](super::StatsService), to come.
    ///
    /// The example of [`StatsService`](super::StatsService) awaits one.
    pub struct StatsFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // Nothing is told.
        Passing { #[pin] inner: F },
        // What happens is counted, and told in the end.
        Counting { #[pin] inner: TaskLocalFuture<RequestStats, F>, stats: RequestStats },
    }
}

impl<F: Future> StatsFuture<F> {
    pub(super) fn passing(inner: F) -> Self {
        Self { state: State::Passing { inner } }
    }

    pub(super) fn counting(inner: F, stats: RequestStats) -> Self {
        Self { state: State::Counting { inner: stats.clone().scope(inner), stats } }
    }
}

impl<F, B, E> Future for StatsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Passing { inner } => inner.poll(cx),
            StateProj::Counting { inner, stats } => {
                let mut response = ready!(inner.poll(cx))?;
                stats.write(response.headers_mut());
                Poll::Ready(Ok(response))
            }
        }
    }
}

impl<F> fmt::Debug for StatsFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsFuture").finish_non_exhaustive()
    }
}

use crate::cache::{Cache, Changes};
use http::Response;
use pin_project_lite::pin_project;
use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};
use tracing::Span;

pin_project! {
    /// The answer of an [`InvalidateService`](super::InvalidateService), to come.
    ///
    /// The example of [`InvalidateService`](super::InvalidateService) awaits one.
    pub struct InvalidateFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        // The inner service is answering.
        Asking { #[pin] future: F, telling: Option<Telling> },
        // The cache is being told what has changed.
        Telling { told: Told, response: Option<Response<B>> },
    }
}

/// What is told when a request has succeeded, or when it is not known whether it has.
pub(super) struct Telling {
    cache: Cache,
    changes: Option<Changes>,
}

impl Telling {
    pub(super) fn of(cache: &Cache, names: &[Cow<'static, str>], tenant: Option<&str>) -> Self {
        let mut changes = cache.changes();
        for name in names {
            let change = changes.changed(name.clone());
            if let Some(tenant) = tenant {
                change.tenant(tenant);
            }
        }
        Self { cache: cache.clone(), changes: Some(changes) }
    }

    fn tell(mut self) -> Option<Told> {
        let changes = self.changes.take()?;
        Some(Told { cache: self.cache.clone(), telling: Some(Box::pin(commit(self.cache.clone(), changes))) })
    }
}

/// A change being told. If the client goes away meanwhile, it is told in the background.
struct Told {
    cache: Cache,
    telling: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Told {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(telling) = &mut self.telling {
            ready!(telling.as_mut().poll(cx));
            self.telling = None;
        }
        Poll::Ready(())
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(telling) = self.telling.take() {
            self.cache.background().spawn(Span::current(), telling);
        }
    }
}

async fn commit(cache: Cache, changes: Changes) {
    if let Err(error) = changes.commit().await {
        cache.warn_of(&error);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        let Some(changes) = self.changes.take() else { return };
        let mut telling = Box::pin(commit(self.cache.clone(), changes));
        // Mostly there is nothing to wait for.
        if telling.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            self.cache.background().spawn(Span::current(), telling);
        }
    }
}

impl<F, B> InvalidateFuture<F, B> {
    pub(super) fn new(future: F, telling: Option<Telling>) -> Self {
        Self { state: State::Asking { future, telling } }
    }
}

impl<F, B, E> Future for InvalidateFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Asking { future, telling } => {
                    let response = ready!(future.poll(cx))?;
                    let Some(mut telling) = telling.take() else { return Poll::Ready(Ok(response)) };
                    if !response.status().is_success() && !response.status().is_redirection() {
                        telling.changes = None;
                        return Poll::Ready(Ok(response));
                    }
                    let Some(told) = telling.tell() else { return Poll::Ready(Ok(response)) };
                    state.set(State::Telling { told, response: Some(response) });
                }
                StateProj::Telling { told, response } => {
                    ready!(told.poll(cx));
                    return Poll::Ready(Ok(response.take().expect("polled after completion")));
                }
            }
        }
    }
}

impl<F, B> fmt::Debug for InvalidateFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvalidateFuture").finish_non_exhaustive()
    }
}

use super::{
    layer::Deriving,
    service::{PANICKED, establish},
};
use crate::identity::IdentityEstablished;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// The answer of an [`IdentityService`](super::IdentityService), to come.
    ///
    /// The example of [`IdentityService`](super::IdentityService) awaits one.
    pub struct IdentityFuture<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, ReqBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // The application is finding out who asks.
        Deriving { deriving: Deriving, inner: S, request: Option<Request<ReqBody>> },
        // The inner service is answering.
        Calling { #[pin] future: S::Future, established: Option<IdentityEstablished> },
    }
}

impl<S: Service<Request<ReqBody>>, ReqBody> IdentityFuture<S, ReqBody> {
    pub(super) fn calling(future: S::Future, established: IdentityEstablished) -> Self {
        Self { state: State::Calling { future, established: Some(established) } }
    }

    pub(super) fn deriving(deriving: Deriving, inner: S, request: Request<ReqBody>) -> Self {
        Self { state: State::Deriving { deriving, inner, request: Some(request) } }
    }
}

impl<S, ReqBody, ResBody> Future for IdentityFuture<S, ReqBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResBody>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Deriving { deriving, inner, request } => {
                    let derived = match catch_unwind(AssertUnwindSafe(|| deriving.as_mut().poll(cx))) {
                        Ok(poll) => Ok(ready!(poll)),
                        Err(_) => Err(PANICKED),
                    };
                    let mut request = request.take().expect("polled after completion");
                    let established = Some(establish(&mut request, derived));
                    let future = inner.call(request);
                    state.set(State::Calling { future, established });
                }
                StateProj::Calling { future, established } => {
                    let mut response = ready!(future.poll(cx))?;
                    response.extensions_mut().insert(established.take().expect("polled after completion"));
                    return Poll::Ready(Ok(response));
                }
            }
        }
    }
}

impl<S: Service<Request<ReqBody>>, ReqBody> fmt::Debug for IdentityFuture<S, ReqBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityFuture").finish_non_exhaustive()
    }
}

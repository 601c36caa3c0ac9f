use super::{ResponseBody, exchange::Answering, layer::Shared};
use crate::{
    cache::{Change, Facts, Forwarded, strip_own_fields, whole},
    entry::Entry,
    invalidation::Invalidates,
    outcome::NotStored,
    policy::Policy,
    semantics::{
        cache_control_writer::ForCaches,
        cache_status::Forward,
        date::Timestamp,
        storable::{StoreRequest, storable},
    },
};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    borrow::Cow,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tower_service::Service;

pin_project! {
    /// The answer of a [`CacheService`](super::CacheService), to come.
    ///
    /// The example of [`CacheService`](super::CacheService) awaits two.
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        #[pin]
        state: State<S, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // The stored response as it is: made when it is wanted, because to move it about costs as much as to make it.
        Hit { entry: Option<Arc<Entry>>, now: Timestamp },
        // Answered already.
        Ready { response: Option<Response<ResponseBody<ResBody>>> },
        // The cache takes no part.
        Pass { #[pin] asked: Asked<S, Request<ReqBody>>, aside: Option<Aside> },
        // The answer may be stored, or a stored one validated.
        Exchange { exchange: Answering<ResBody, S::Error> },
    }
}

pin_project! {
    // One call of a service, once it is ready: `tower::ServiceExt::oneshot`.
    #[project = AskedProj]
    pub(super) enum Asked<S, R>
    where
        S: Service<R>,
    {
        Waiting { service: S, request: Option<R> },
        Called { #[pin] future: S::Future },
    }
}

/// What to do when the answer to a request comes that the cache took no part in.
pub(super) struct Aside {
    pub(super) shared: Arc<Shared>,
    pub(super) forward: Forward,
    pub(super) reason: &'static str,
    pub(super) change: Option<Box<Change>>,
    pub(super) watch: Option<Watch>,
}

/// A resource that gave nothing that could be stored, to be watched for a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    /// What it is remembered by.
    pub(super) key: u64,
    pub(super) facts: Facts,
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    pub(super) fn hit(entry: Arc<Entry>, now: Timestamp) -> Self {
        Self { state: State::Hit { entry: Some(entry), now } }
    }

    pub(super) fn ready(response: Response<ResponseBody<ResBody>>) -> Self {
        Self { state: State::Ready { response: Some(response) } }
    }

    pub(super) fn pass(inner: S, request: Request<ReqBody>, aside: Option<Aside>) -> Self {
        Self { state: State::Pass { asked: ask(inner, request), aside } }
    }

    pub(super) fn exchange(exchange: Answering<ResBody, S::Error>) -> Self {
        Self { state: State::Exchange { exchange } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body<Data = Bytes>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Hit { entry, now } => {
                let entry = entry.take().expect("polled after completion");
                Poll::Ready(Ok(whole(&entry, *now, ResponseBody::stored)))
            }
            StateProj::Ready { response } => Poll::Ready(Ok(response.take().expect("polled after completion"))),
            StateProj::Pass { asked, aside } => {
                let mut response = ready!(asked.poll(cx))?;
                if let Some(aside) = aside.take() {
                    aside.finish(&mut response);
                }
                Poll::Ready(Ok(response.map(ResponseBody::inner)))
            }
            StateProj::Exchange { exchange } => exchange.as_mut().poll(cx),
        }
    }
}

impl Aside {
    /// For what is known to give nothing that can be stored.
    pub(super) fn watch(shared: &Arc<Shared>, forward: Forward, why: NotStored, watch: Watch) -> Self {
        Self { shared: Arc::clone(shared), forward, reason: why.as_str(), change: None, watch: Some(watch) }
    }

    fn finish<B>(mut self, response: &mut Response<B>) {
        let change = self.change.take();
        let Shared { cache, rules, .. } = &*self.shared;
        let status = response.status();
        if let Some(change) = change.filter(|_| status.is_success() || status.is_redirection()) {
            // It stays: caches further out hear it too.
            cache.invalidate_changed(&change, response.headers(), response.extensions().get::<Invalidates>());
        }
        if let Some(watch) = self.watch {
            watch.see(&self.shared, response);
            response.extensions_mut().remove::<Policy>();
        }
        strip_own_fields(response.headers_mut(), rules);
        let note = Forwarded { status: Some(status), detail: Some(self.reason), ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, false);
    }
}

impl Watch {
    /// An answer that could be stored has come: the next request fills the cache again.
    fn see<B>(self, shared: &Shared, response: &Response<B>) {
        let Shared { cache, rules, .. } = shared;
        let now = cache.now();
        let facts = self.facts;
        let asked = StoreRequest {
            credentials: facts.has(Facts::CREDENTIALS),
            no_store: false,
            one_user: facts.has(Facts::ONE_USER),
        };
        let for_caches = response.extensions().get::<ForCaches>();
        let headers = for_caches.map_or(Cow::Borrowed(response.headers()), |counts| counts.head(response.headers()));
        let verdict = storable(asked, response.status(), &headers, &rules.store, now, Duration::ZERO);
        if verdict.is_ok() || response.extensions().get::<Policy>().is_some() {
            cache.uncacheable().forget(self.key);
        }
    }
}

/// A change that was asked for and never answered, because the service failed or the client went away, may have been
/// made all the same.
impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(change) = self.change.take() {
            self.shared.cache.invalidate_changed(&change, &HeaderMap::new(), None);
        }
    }
}

/// Calls the service as soon as it is ready.
pub(super) fn ask<S: Service<R>, R>(service: S, request: R) -> Asked<S, R> {
    Asked::Waiting { service, request: Some(request) }
}

impl<S: Service<R>, R> Future for Asked<S, R> {
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project() {
                AskedProj::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let future = service.call(request.take().expect("polled after completion"));
                    self.set(Asked::Called { future });
                }
                AskedProj::Called { future } => return future.poll(cx),
            }
        }
    }
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Hit { .. } | State::Ready { .. } => "ready",
            State::Pass { .. } => "pass",
            State::Exchange { .. } => "exchange",
        };
        f.debug_tuple("ResponseFuture").field(&state).finish()
    }
}

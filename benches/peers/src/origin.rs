//! What is behind every cache here.

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use std::{
    convert::Infallible,
    fmt,
    future::{Future, Ready, ready},
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::SystemTime,
};
use tower_service::Service;

/// A service that builds its response each time, and counts how often. As the handlers of axum it does so when its
/// future is polled, not when it is called.
///
/// The response has six fields: with the two that Larder adds (`Age`, `Cache-Status`) there are eight. Half of the
/// values are static and half are not, as with most handlers.
pub(crate) struct Origin<B = Full<Bytes>> {
    calls: Arc<Calls>,
    template: Bytes,
    date: Bytes,
    body: PhantomData<fn() -> B>,
}

/// How often an origin has built a response.
#[derive(Debug, Default)]
pub(crate) struct Calls(AtomicU64);

impl Calls {
    pub(crate) fn made(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl<B: From<Bytes>> Origin<B> {
    /// That answers with so many bytes.
    pub(crate) fn new(length: usize) -> Self {
        // What is dated long ago is stale.
        let date = httpdate::fmt_http_date(SystemTime::now()).into();
        Self { calls: Arc::default(), template: Bytes::from(vec![b'x'; length]), date, body: PhantomData }
    }

    pub(crate) fn calls(&self) -> Arc<Calls> {
        Arc::clone(&self.calls)
    }

    /// Builds a response, for a target that may be stored or not.
    pub(crate) fn respond(&self, cache_control: &'static str) -> Response<B> {
        self.calls.0.fetch_add(1, Relaxed);
        let mut response = Response::new(B::from(Bytes::copy_from_slice(&self.template)));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(ETAG, dynamic(b"\"5d8c72a5edda8d6a\""));
        headers.insert(DATE, dynamic(&self.date));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(self.template.len()));
        response
    }
}

/// A value with bytes of its own.
fn dynamic(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).expect("a field value")
}

impl<R, B: From<Bytes>> Service<Request<R>> for Origin<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Answer<B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Answer<B> {
        let cache_control = if request.uri().path().starts_with(UNSTORABLE) { "no-store" } else { "max-age=3600" };
        Answer { origin: self.clone(), cache_control }
    }
}

/// The response, once it is polled.
pub(crate) struct Answer<B> {
    origin: Origin<B>,
    cache_control: &'static str,
}

impl<B: From<Bytes>> Future for Answer<B> {
    type Output = Result<Response<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(self.origin.respond(self.cache_control)))
    }
}

impl<B> Clone for Origin<B> {
    fn clone(&self) -> Self {
        let (template, date) = (self.template.clone(), self.date.clone());
        Self { calls: Arc::clone(&self.calls), template, date, body: PhantomData }
    }
}

impl<B> fmt::Debug for Origin<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// A service that clones a ready response: the floor of any hit.
#[derive(Clone, Debug)]
pub(crate) struct Prebuilt(Arc<Response<Full<Bytes>>>);

impl Prebuilt {
    pub(crate) fn new(response: Response<Full<Bytes>>) -> Self {
        Self(Arc::new(response))
    }
}

impl<R> Service<R> for Prebuilt {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Ok(Response::clone(&self.0)))
    }
}

/// Targets below this one are answered with `no-store`.
pub(crate) const UNSTORABLE: &str = "/account/";

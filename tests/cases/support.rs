//! A scripted inner service that counts its calls, and an application around them.

pub(crate) use crate::script::Script;

use crate::crowd::{Busy, Door};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request};
use http_body::Frame;
use http_body_util::BodyExt;
use larder::{
    Cache, CacheBuilder, CacheLayer, CacheService, Policy, ResponseBody, ResponseFuture, Selector, Stats,
    test_util::{self, ManualClock},
};
use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt};

pub(crate) type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The inner service answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Down;

/// What the inner service is to answer.
pub(crate) struct Reply {
    response: Result<Response<Script>, Down>,
    later: Option<Later<()>>,
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Bytes>) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let script = if body.is_empty() { Script::new() } else { Script::new().data(body) };
        Self { response: Ok(Response::builder().status(status).body(script).unwrap()), later: None }
    }

    pub(crate) fn down() -> Self {
        Self { response: Err(Down), later: None }
    }

    /// Adds a field line.
    pub(crate) fn with(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value) = field(name, value.as_ref());
        self.change(|response| {
            response.headers_mut().append(name, value);
        })
    }

    pub(crate) fn cc(self, directives: impl AsRef<[u8]>) -> Self {
        self.with("cache-control", directives)
    }

    pub(crate) fn body(self, body: Script) -> Self {
        self.change(|response| *response.body_mut() = body)
    }

    /// The answer comes once this was notified.
    pub(crate) fn gate(mut self, gate: &Arc<Notify>) -> Self {
        let gate = Arc::clone(gate);
        self.later = Some(Box::pin(async move { gate.notified().await }));
        self
    }

    /// It panics after this time.
    pub(crate) fn panics_after(span: Duration) -> Self {
        let later = Box::pin(async move {
            tokio::time::sleep(span).await;
            panic!("the service panics, as it should in this test");
        });
        Self { later: Some(later), ..Self::down() }
    }

    /// The answer comes after this time.
    pub(crate) fn after(mut self, span: Duration) -> Self {
        self.later = Some(Box::pin(async move { tokio::time::sleep(span).await }));
        self
    }

    fn change(mut self, change: impl FnOnce(&mut Response<Script>)) -> Self {
        if let Ok(response) = &mut self.response {
            change(response);
        }
        self
    }
}

/// A request as the inner service got it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Counted from 1.
    pub(crate) number: usize,
}

impl Call {
    /// The first line of a field, empty where there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).map_or(String::new(), |value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }
}

/// The wrapped service. It insists on having been asked whether it is ready, on the same instance.
pub(crate) struct Inner {
    desk: Arc<Desk>,
    ready: bool,
    door: Option<Arc<Door>>,
}

struct Desk {
    answer: Box<dyn Fn(&Call) -> Reply + Send + Sync>,
    calls: AtomicUsize,
    busy: Arc<Busy>,
    seen: Mutex<Vec<Call>>,
}

impl Inner {
    /// Answers each call by this function.
    pub(crate) fn by(answer: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> Self {
        let desk =
            Desk { answer: Box::new(answer), calls: AtomicUsize::new(0), busy: Arc::default(), seen: Mutex::default() };
        Self { desk: Arc::new(desk), ready: false, door: None }
    }

    /// The same behind a door: it tells whether the service is ready.
    pub(crate) fn behind(self, door: &Arc<Door>) -> Self {
        Self { door: Some(Arc::clone(door)), ..self }
    }

    /// The calls that it works on now, and the most that it ever did at once.
    pub(crate) fn busy(&self) -> &Busy {
        &self.desk.busy
    }

    pub(crate) fn calls(&self) -> usize {
        self.desk.calls.load(Ordering::SeqCst)
    }

    /// The requests it has read to their end.
    pub(crate) fn seen(&self) -> Vec<Call> {
        self.desk.seen.lock().unwrap().clone()
    }

    pub(crate) fn last(&self) -> Call {
        self.seen().pop().expect("it was called")
    }
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self { desk: Arc::clone(&self.desk), ready: false, door: self.door.clone() }
    }
}

impl Service<Request<Script>> for Inner {
    type Response = Response<Script>;
    type Error = Down;
    type Future = Later<Result<Response<Script>, Down>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Down>> {
        if let Some(door) = &self.door {
            ready!(door.poll(cx))?;
        }
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Script>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been asked whether it is ready");
        let number = self.desk.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(door) = &self.door {
            door.call();
        }
        let desk = Arc::clone(&self.desk);
        let busy = desk.busy.enter();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_or(Bytes::new(), http_body_util::Collected::to_bytes);
            let request::Parts { method, uri, headers, .. } = parts;
            let call = Call { method, uri, headers, body, number };
            let reply = (desk.answer)(&call);
            desk.seen.lock().unwrap().push(call);
            if let Some(later) = reply.later {
                later.await;
            }
            drop(busy);
            reply.response
        })
    }
}

/// The inner service behind the layer, with a cache of its own and a manual clock.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    pub(crate) inner: Inner,
    service: CacheService<Inner>,
}

impl App {
    pub(crate) fn new(policy: Policy, inner: Inner) -> Self {
        // Small, because many tests make thousands.
        Self::with(Cache::builder().memory(4 << 20), policy, inner)
    }

    /// With a cache as described.
    pub(crate) fn with(builder: CacheBuilder, policy: Policy, inner: Inner) -> Self {
        let (cache, clock) = crate::behind::cache_with(builder).unwrap();
        let service = CacheLayer::new(&cache, policy).layer(inner.clone());
        Self { cache, clock, inner, service }
    }

    /// The same cache and inner service behind a layer with another policy.
    pub(crate) fn beside(&self, policy: Policy) -> Self {
        Self { service: CacheLayer::new(&self.cache, policy).layer(self.inner.clone()), ..self.clone() }
    }

    /// The future of an answer, not polled yet.
    pub(crate) fn call(&self, request: Request<Script>) -> ResponseFuture<Inner, Script, Script> {
        self.service.clone().call(request)
    }

    /// The head of the answer, its body unread.
    pub(crate) async fn head(&self, request: Request<Script>) -> Result<Response<ResponseBody<Script>>, Down> {
        crate::behind::request(&self.cache).await;
        self.service.clone().oneshot(request).await
    }

    /// The answer, read to its end, or the inner service's error.
    pub(crate) async fn ask(&self, request: Request<Script>) -> Result<Got, Down> {
        Ok(Got::read(self.head(request).await?).await)
    }

    pub(crate) async fn send(&self, request: request::Builder) -> Got {
        self.ask(plain(request)).await.expect("an answer")
    }

    pub(crate) async fn get(&self, uri: &str) -> Got {
        self.send(Request::get(uri)).await
    }

    pub(crate) fn calls(&self) -> usize {
        self.inner.calls()
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    pub(crate) fn stats(&self) -> Stats {
        self.cache.stats()
    }

    pub(crate) async fn purge(&self, uri: &str) {
        self.cache.invalidate(Selector::resource(uri)).await.unwrap();
    }

    /// How often a response was not stored for this reason.
    pub(crate) fn not_stored(&self, reason: &str) -> u64 {
        self.stats().not_stored.get(reason).copied().unwrap_or(0)
    }

    pub(crate) fn bypassed(&self, reason: &str) -> u64 {
        self.stats().bypasses.get(reason).copied().unwrap_or(0)
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    /// The body broke off.
    pub(crate) broken: bool,
}

impl Got {
    pub(crate) async fn read(response: Response<ResponseBody<Script>>) -> Self {
        let (head, body) = response.into_parts();
        let mut got =
            Self { status: head.status, headers: head.headers, body: Bytes::new(), trailers: None, broken: false };
        let mut body = pin!(body);
        let mut data = Vec::new();
        while let Some(frame) = body.as_mut().frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(bytes)) => data.extend_from_slice(&bytes),
                Ok(Err(other)) => got.trailers = other.into_trailers().ok(),
                Err(_) => got.broken = true,
            }
        }
        got.body = data.into();
        got
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// All lines of a field, joined.
    pub(crate) fn header(&self, name: &str) -> String {
        let lines = self.headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
        lines.collect::<Vec<_>>().join(", ")
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// What the cache did with the request, in one word.
    pub(crate) fn outcome(&self) -> &'static str {
        test_util::outcome(&self.headers)
    }

    /// The text anywhere in the answer.
    pub(crate) fn shows(&self, text: &str) -> bool {
        format!("{:?} {:?} {}", self.headers, self.trailers, String::from_utf8_lossy(&self.body)).contains(text)
    }
}

/// A request without content.
pub(crate) fn plain(request: request::Builder) -> Request<Script> {
    request.body(Script::new()).unwrap()
}

pub(crate) fn head(uri: &str) -> request::Builder {
    Request::head(uri)
}

pub(crate) fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

/// A value of any bytes that `http` takes.
pub(crate) fn value(bytes: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(bytes.as_ref()).unwrap()
}

fn field(name: &str, bytes: &[u8]) -> (HeaderName, HeaderValue) {
    (name.parse().unwrap(), value(bytes))
}

/// Lets the other tasks run until this holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to this: {what}");
}

/// Lets the other tasks do all they can.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A small random number generator: the same seed gives the same run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// So many random cases, and no file of those that failed: they become tests of their own.
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..proptest::test_runner::Config::default() }
}

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

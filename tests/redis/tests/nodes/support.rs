//! Nodes of one application: each has a cache of its own, and a service behind it that counts its calls.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, request};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use larder::{
    Cache, CacheBuilder, CacheLayer, CacheStatusHeader, LogCounts, Policy, Redis, ResponseBody, Selector, StoreCounts,
    test_util::{self, ManualClock},
};
use larder_redis_tests::until;
use std::{
    convert::Infallible,
    future::ready,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Reply = Response<Body>;
pub(crate) type Later = Pin<Box<dyn Future<Output = Reply> + Send>>;
type App = BoxCloneSyncService<Request<Full<Bytes>>, Response<ResponseBody<Body>>, Infallible>;

/// What the service of a node answers.
pub(crate) type Answer = Arc<dyn Fn(Request<Full<Bytes>>, usize) -> Later + Send + Sync>;

/// Calls of all services, so that no two answers are alike.
static CALLS: AtomicUsize = AtomicUsize::new(1);

/// A node. Its clones are the same.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) cache: Cache,
    answer: Answer,
    calls: Arc<AtomicUsize>,
    clock: Option<ManualClock>,
    app: App,
}

/// A node that is to be.
#[derive(Clone)]
pub(crate) struct Setup {
    redis: Redis,
    policy: Policy,
    builder: CacheBuilder,
    answer: Answer,
    timed: bool,
}

impl Setup {
    /// The service answers with the path and the number of the call.
    pub(crate) fn new(url: impl AsRef<str>, policy: Policy) -> Self {
        Self::over(patient(url), policy)
    }

    pub(crate) fn over(redis: Redis, policy: Policy) -> Self {
        let builder = Cache::builder().cache_status(CacheStatusHeader::Debug);
        Self { redis, policy, builder, answer: replies(|_, call| reply(call)), timed: false }
    }

    /// Its clock goes when it is told to. It takes itself for connected however long that is.
    pub(crate) fn timed(self) -> Self {
        Self { timed: true, ..self }.builder(|builder| builder.isolation(DAY.saturating_mul(1000)))
    }

    pub(crate) fn builder(self, change: impl FnOnce(CacheBuilder) -> CacheBuilder) -> Self {
        Self { builder: change(self.builder), ..self }
    }

    pub(crate) fn policy(self, change: impl FnOnce(Policy) -> Policy) -> Self {
        Self { policy: change(self.policy), ..self }
    }

    pub(crate) fn redis(self, change: impl FnOnce(Redis) -> Redis) -> Self {
        Self { redis: change(self.redis), ..self }
    }

    /// The service answers so; the number of the call is never the same twice.
    pub(crate) fn replies(
        self,
        answer: impl Fn(&Request<Full<Bytes>>, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self { answer: replies(answer), ..self }
    }

    pub(crate) fn answer(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    /// A node that has read the log.
    pub(crate) async fn start(&self) -> Node {
        let node = self.absent();
        assert!(node.cache.ready(Duration::from_secs(20)).await, "the log was not read: {:?}", node.cache.stats());
        node
    }

    pub(crate) async fn two(&self) -> (Node, Node) {
        (self.start().await, self.start().await)
    }

    /// A node that has not asked anything yet.
    pub(crate) fn absent(&self) -> Node {
        // Clones share their connections, and nodes do not.
        let builder = self.builder.clone().redis(self.redis.clone().connections(2));
        let (cache, clock) = match self.timed {
            true => test_util::cache_with(builder).map(|(cache, clock)| (cache, Some(clock))).unwrap(),
            false => (builder.build().unwrap(), None),
        };
        Node::of(cache, clock, self.policy.clone(), Arc::clone(&self.answer))
    }
}

impl Node {
    /// A node that has read the log.
    pub(crate) async fn new(url: impl AsRef<str>, policy: Policy) -> Self {
        Setup::new(url, policy).start().await
    }

    fn of(cache: Cache, clock: Option<ManualClock>, policy: Policy, answer: Answer) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let (counted, answered) = (Arc::clone(&calls), Arc::clone(&answer));
        let service = service_fn(move |request: Request<Full<Bytes>>| {
            counted.fetch_add(1, SeqCst);
            let later = answered(request, CALLS.fetch_add(1, SeqCst));
            async move { Ok::<_, Infallible>(later.await) }
        });
        let app = CacheLayer::new(&cache, policy).layer(service);
        Self { cache, answer, calls, clock, app: BoxCloneSyncService::new(app) }
    }

    /// The same cache behind a layer with another policy.
    pub(crate) fn beside(&self, policy: Policy) -> Self {
        Self::of(self.cache.clone(), self.clock.clone(), policy, Arc::clone(&self.answer))
    }

    /// The text of the answer.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(Request::get(path)).await.body
    }

    pub(crate) async fn send(&self, request: request::Builder) -> Got {
        let request = request.header("host", "shop").body(Full::default()).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap();
        let trailers = body.trailers().cloned();
        let body = String::from_utf8(body.to_bytes().to_vec()).unwrap();
        Got { status: parts.status, headers: parts.headers, body, trailers }
    }

    /// Asks for something new, and waits until it is in Redis.
    pub(crate) async fn store(&self, path: &str) -> String {
        let text = self.get(path).await;
        self.written().await;
        text
    }

    /// Until everything is written that was stored.
    pub(crate) async fn written(&self) {
        until("writes are done", async || self.cache.stats().writes_waiting == 0).await;
    }

    /// Has something new in its memory, in Redis, and in the memory of another node.
    pub(crate) async fn share(&self, other: &Self, path: &str) -> String {
        let mut text = String::new();
        until("what one stores the other finds", async || {
            let read = other.log().read;
            if self.cache.invalidate(Selector::resource(path)).await.is_err() {
                return false;
            }
            let start = now();
            while other.log().read == read && now() - start < secs(1) {
                tokio::task::yield_now().await;
            }
            text = self.store(path).await;
            other.get(path).await == text
        })
        .await;
        text
    }

    /// Until it no longer serves this.
    pub(crate) async fn forgets(&self, path: &str, text: &str) -> String {
        let mut other = String::new();
        until("another answer", async || {
            other = self.get(path).await;
            other != text
        })
        .await;
        other
    }

    /// Until as many records of the log are read.
    pub(crate) async fn reads(&self, records: u64) {
        until("records of the log", async || self.log().read >= records).await;
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(crate) fn log(&self) -> LogCounts {
        self.cache.stats().log.unwrap()
    }

    pub(crate) fn tier(&self) -> StoreCounts {
        self.cache.stats().stores["redis"].clone()
    }

    pub(crate) fn reason(&self, reason: &str) -> u64 {
        self.tier().reasons.get(reason).copied().unwrap_or(0)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.as_ref().unwrap().advance(by);
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Got {
    pub(crate) fn outcome(&self) -> &'static str {
        test_util::outcome(&self.headers)
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A Redis with a budget that a loaded machine can keep.
pub(crate) fn patient(url: impl AsRef<str>) -> Redis {
    Redis::open(url).unwrap().budget(Duration::from_secs(2))
}

pub(crate) fn replies(answer: impl Fn(&Request<Full<Bytes>>, usize) -> Reply + Send + Sync + 'static) -> Answer {
    Arc::new(move |request, call| Box::pin(ready(answer(&request, call))))
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

/// An answer that is the number of its call.
pub(crate) fn reply(call: usize) -> Reply {
    Response::new(full(format!("answer {call}")))
}

/// The same with fields.
pub(crate) fn reply_with(call: usize, fields: &[(&'static str, &str)]) -> Reply {
    let mut reply = reply(call);
    for (name, value) in fields {
        reply.headers_mut().append(*name, value.parse().unwrap());
    }
    reply
}

pub(crate) fn status(status: u16) -> Reply {
    let mut reply = Response::new(full(""));
    *reply.status_mut() = StatusCode::from_u16(status).unwrap();
    reply
}

/// The first part of the path is a tag, so `/x` has the tag `x`.
pub(crate) fn tagged() -> Policy {
    Policy::fresh_for(HOUR).tag_with(|request, _| [request.uri.path().replace('/', "")])
}

/// What a request carries.
pub(crate) fn header<'a>(request: &'a Request<Full<Bytes>>, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[expect(clippy::disallowed_methods, reason = "how long something takes is what these tests are about")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

//! Hours of requests through a real cache in seconds: its clock is set by hand, and tokio's goes on when all wait.

use bytes::{BufMut, Bytes, BytesMut};
use http::{
    Request, Response, StatusCode, Uri,
    header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH},
};
use http_body_util::Full;
use larder::{
    Cache, CacheLayer, Policy, Stats,
    test_util::{self, ManualClock},
};
use larder_benches::{
    random::{Random, Zipf},
    requests::{NoBody, Requests},
};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};
use tower_layer::Layer;
use tower_service::Service;

/// What is asked for, and how often. A handler takes 50 to 500 ms, always the same for the same resource.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) resources: u32,
    /// Of the popularity of resources (Zipf).
    pub(crate) exponent: f64,
    /// Requests in a second.
    pub(crate) rate: f64,
    pub(crate) length: Duration,
    /// The time at the beginning of which nothing is counted.
    pub(crate) warm_up: Duration,
    /// All resources are asked for in the first second.
    pub(crate) warm_start: bool,
    /// The shortest and longest time between changes that a resource has on average.
    pub(crate) changes: Option<(Duration, Duration)>,
    /// Responses have an `ETag`, and are validated by it.
    pub(crate) tags: bool,
    /// The part of the requests that is for what nobody asks for again.
    pub(crate) once: f64,
    /// Bytes of a body.
    pub(crate) body: usize,
    pub(crate) memory: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    seconds: f64,
    tally: Tally,
    pub(crate) stats: Stats,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    requests: u64,
    stale: u64,
    waited: u64,
    /// Requests, and those of them that were given what had changed since: for the third of the resources that changes the
    /// most, for the next, and for that which changes the least.
    thirds: [[u64; 2]; 3],
    /// Milliseconds since the handler was asked, of all.
    ages: u64,
    /// Requests to the handler in each second from the beginning on.
    origin: Vec<u64>,
}

impl Report {
    /// Requests to the handler in a second.
    pub(crate) fn origin_rate(&self) -> f64 {
        self.origin().iter().sum::<u64>() as f64 / self.seconds
    }

    /// The most requests to the handler in one second.
    pub(crate) fn origin_peak(&self) -> u64 {
        self.origin().iter().copied().max().unwrap_or_default()
    }

    /// The part of the requests that was served stale.
    pub(crate) fn stale(&self) -> f64 {
        self.part(self.tally.stale)
    }

    /// The part of the requests that waited for the handler, asked by themselves or by others.
    pub(crate) fn waited(&self) -> f64 {
        self.part(self.tally.waited)
    }

    /// The part of the requests that got what had changed since.
    pub(crate) fn outdated(&self) -> f64 {
        self.part(self.tally.thirds.iter().map(|[_, outdated]| outdated).sum())
    }

    /// The same for the resources that change the most, for the next, and for those that change the least.
    pub(crate) fn outdated_thirds(&self) -> [f64; 3] {
        self.tally.thirds.map(|[requests, outdated]| outdated as f64 / requests as f64)
    }

    /// Seconds since the handler was asked, on average.
    pub(crate) fn mean_age(&self) -> f64 {
        self.part(self.tally.ages) / 1e3
    }

    fn part(&self, count: u64) -> f64 {
        count as f64 / self.tally.requests as f64
    }

    fn origin(&self) -> &[u64] {
        let counted = self.tally.origin.len().saturating_sub(self.seconds as usize);
        &self.tally.origin[counted..]
    }
}

/// Runs the plan with a policy.
pub(crate) fn simulate(plan: &Plan, policy: Policy) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a current-thread runtime").block_on(async {
        let (cache, clock) = test_util::cache_with(Cache::builder().memory(plan.memory)).expect("a cache");
        let world = Arc::new(World::new(plan, clock));
        let service = CacheLayer::new(&cache, policy).layer(Origin(Arc::clone(&world)));
        ask(plan, &world, service).await;
        // Those who still wait at the end are not worth waiting for.
        let tally = lock(&world.tally).clone();
        Report { seconds: (plan.length - plan.warm_up).as_secs_f64(), tally, stats: cache.stats() }
    })
}

async fn ask<S>(plan: &Plan, world: &Arc<World>, mut service: S)
where
    S: Service<Request<NoBody>, Error = Infallible, Response: Answer, Future: Send + 'static>,
{
    let (popularity, requests) = (Zipf::new(plan.resources, plan.exponent), Requests::bare());
    let mut random = Random::seeded(1);
    let mut one = |number: usize| {
        let asked = world.now();
        let uri: Uri = format!("/resources/{number}").parse().expect("a path");
        let mut answering = Box::pin(service.call(requests.get(uri)));
        match answering.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(response)) => world.count(number, asked, false, response.fields()),
            Poll::Pending => {
                let world = Arc::clone(world);
                tokio::spawn(async move {
                    let Ok(response) = answering.await;
                    world.count(number, asked, true, response.fields());
                });
            }
        }
    };
    if plan.warm_start {
        (0..plan.resources as usize).for_each(&mut one);
    }
    let (mut at, mut others) = (0.0, 0..);
    loop {
        at += random.exponential(1.0 / plan.rate);
        if at >= plan.length.as_secs_f64() {
            return;
        }
        sleep_until(world.began + Duration::from_millis((at * 1e3) as u64)).await;
        let once = random.part() < plan.once;
        one(if once { plan.resources as usize + others.next().unwrap_or(0) } else { popularity.draw(&mut random) });
    }
}

/// A response, as far as it counts here.
trait Answer {
    fn fields(&self) -> &HeaderMap;
}

impl<B> Answer for Response<B> {
    fn fields(&self) -> &HeaderMap {
        self.headers()
    }
}

/// The time, the resources and the count.
struct World {
    began: Instant,
    clock: ManualClock,
    takes: Vec<Duration>,
    /// When each resource changes, and in which third it is.
    changes: Vec<(Vec<u64>, usize)>,
    body: usize,
    tags: bool,
    counted_from: u64,
    tally: Mutex<Tally>,
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "tokio's clock is paused")]
    fn new(plan: &Plan, clock: ManualClock) -> Self {
        let mut random = Random::seeded(2);
        let takes = (0..plan.resources).map(|_| Duration::from_millis(50 + random.below(451))).collect();
        let end = plan.length.as_secs_f64();
        let changes = (0..plan.resources).map(|_| {
            let Some((shortest, longest)) = plan.changes else { return (Vec::new(), 0) };
            let part = random.part();
            let mean = shortest.as_secs_f64() * longest.div_duration_f64(shortest).powf(part);
            let mut next = |at: &f64| Some(at + random.exponential(mean)).filter(|at| *at < end);
            let all = std::iter::successors(next(&0.0), next).map(|at| (at * 1e3) as u64);
            (all.collect(), (part * 3.0) as usize)
        });
        let origin = vec![0; plan.length.as_secs() as usize];
        Self {
            began: Instant::now(),
            clock,
            takes,
            changes: changes.collect(),
            body: plan.body,
            tags: plan.tags,
            counted_from: plan.warm_up.as_millis() as u64,
            tally: Mutex::new(Tally { origin, ..Tally::default() }),
        }
    }

    /// Milliseconds since the beginning. Sets the clock of the cache by that of tokio.
    #[expect(clippy::disallowed_methods, reason = "tokio's clock is paused")]
    fn now(&self) -> u64 {
        let now = self.began.elapsed();
        self.clock.advance((EPOCH + now).saturating_sub(Duration::from_millis(self.clock.now().as_unix_millis())));
        now.as_millis() as u64
    }

    /// How often a resource has changed. What is asked for once does not.
    fn version(&self, number: usize, now: u64) -> u64 {
        self.changes.get(number).map_or(0, |(changes, _)| changes.partition_point(|change| *change <= now) as u64)
    }

    fn count(&self, number: usize, asked: u64, waited: bool, response: &HeaderMap) {
        let now = self.now();
        if asked < self.counted_from {
            return;
        }
        let field = |name| response.get(name).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let (made, version) = (field(MADE).expect("a moment"), field(VERSION).expect("a version"));
        let mut tally = lock(&self.tally);
        tally.requests += 1;
        tally.stale += u64::from(test_util::outcome(response) == "stale");
        tally.waited += u64::from(waited);
        tally.ages += now - made;
        let third = self.changes.get(number).map_or(0, |(_, third)| *third);
        let [requests, outdated] = &mut tally.thirds[third];
        *requests += 1;
        *outdated += u64::from(version < self.version(number, now));
    }
}

/// The application.
#[derive(Clone)]
struct Origin(Arc<World>);

impl Service<Request<NoBody>> for Origin {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<NoBody>) -> Self::Future {
        let world = Arc::clone(&self.0);
        Box::pin(async move {
            let number: usize =
                request.uri().path().rsplit('/').next().and_then(|text| text.parse().ok()).expect("one");
            let made = world.now();
            let version = world.version(number, made);
            if let Some(count) = lock(&world.tally).origin.get_mut((made / 1_000) as usize) {
                *count += 1;
            }
            sleep(world.takes[number % world.takes.len()]).await;
            world.now();
            let tag = HeaderValue::from_str(&format!("\"{version}\"")).expect("a tag");
            let mut response = Response::new(Full::default());
            if request.headers().get(IF_NONE_MATCH) == Some(&tag) {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
            } else {
                *response.body_mut() = Full::new(body(&world, version));
            }
            let headers = response.headers_mut();
            if world.tags {
                headers.insert(ETAG, tag);
            }
            headers.insert(MADE, made.into());
            headers.insert(VERSION, version.into());
            Ok(response)
        })
    }
}

fn body(world: &World, version: u64) -> Bytes {
    let mut body = BytesMut::with_capacity(world.body);
    body.put_u64(version);
    body.put_bytes(b'x', world.body - body.len());
    body.freeze()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const MADE: HeaderName = HeaderName::from_static("x-made");
const VERSION: HeaderName = HeaderName::from_static("x-version");

/// What the clock of a cache for tests shows first.
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

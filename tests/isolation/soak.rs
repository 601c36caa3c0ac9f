//! Many users at once, everything going on at once: whatever a response says, it says it of the one who asked.
//!
//! Each handler writes into body and fields whose answer it is, for which target, in which language, and how many changes
//! had been made when it began. Each client compares that with what it asked, and with the changes that had been
//! invalidated before it asked.
//!
//! A failure prints its seed. `LARDER_SOAK_SEED=<seed>` repeats that run, `LARDER_SOAK=long` makes it of a million requests.

use crate::keys::futures_stream;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use larder::{Cache, CacheLayer, Identity, IdentityLayer, Policy, PolicyTable, Selector, test_util};
use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    hash::{DefaultHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

/// Requests in the two tests together: a quarter of them in threads that race.
const NORMAL: usize = 200_000;
const LONG: usize = 1_000_000;
const TENANTS: u64 = 3;
const USERS: u64 = 200;
const PATHS: u64 = 50;
const TASKS: u64 = 64;

#[tokio::test(start_paused = true)]
async fn o_16_nobody_gets_what_belongs_to_another() {
    let ran = soak(seed(), requests() / 4 * 3, Waiting::Sleeps).await;
    let stats = ran.world.cache.stats();
    // All of it has been going on.
    assert!(stats.hits > stats.misses / 4 && stats.stale > 0 && stats.revalidated > 0, "{stats:?}");
    assert!(stats.refreshes > 0 && stats.failed_refreshes > 0 && stats.invalidations > 0, "{stats:?}");
    for reason in ["invalidated", "body-failed", "private", "set-cookie", "no-store", "credentials"] {
        assert!(stats.not_stored.contains_key(reason), "{reason}: {stats:?}");
    }
    assert!(stats.collapsed > 0 && stats.handed_over > 0, "{stats:?}");
    for reason in ["identity-missing", "cookie", "method"] {
        assert!(stats.bypasses.contains_key(reason), "{reason}: {stats:?}");
    }
}

/// The threads take turns as they like, so the seed repeats what is asked, and not when.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn o_16_nor_when_threads_race() {
    soak(seed(), requests() / 4, Waiting::Yields).await;
}

#[test]
fn o_16_a_seed_repeats_its_run() {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let ran = runtime.block_on(soak(7, 4_000, Waiting::Sleeps));
        (ran.trace, ran.world.cache.stats().hits, ran.world.changes.load(SeqCst))
    };
    assert_eq!(run(), run());
}

fn seed() -> u64 {
    let given = std::env::var("LARDER_SOAK_SEED").ok().map(|seed| seed.parse().unwrap());
    given.unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 0))
}

fn requests() -> usize {
    if std::env::var("LARDER_SOAK").is_ok_and(|length| length == "long") { LONG } else { NORMAL }
}

struct Ran {
    world: Arc<World>,
    /// What came of each request, in order.
    trace: u64,
}

/// How the handler lets time pass.
#[derive(Clone, Copy)]
enum Waiting {
    /// By the runtime's clock, which stands unless all wait.
    Sleeps,
    Yields,
}

struct World {
    cache: Cache,
    clock: test_util::ManualClock,
    waiting: Waiting,
    /// So many changes have been made to the data.
    changes: AtomicU64,
    /// The newest change of each thing: what a handler knows.
    made: Newest,
    /// The newest change of each thing that the cache was told of: what a client may rely on.
    confirmed: Newest,
    handler: Mutex<Rng>,
    left: AtomicUsize,
    trace: Mutex<DefaultHasher>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum About {
    Everything,
    Tenant(u64),
    User(u64),
    UserOf(u64, u64),
    Role(u64),
    Resource(Target),
    ResourceOf(Target, u64),
}

#[derive(Debug, Default)]
struct Newest(Mutex<HashMap<About, u64>>);

impl Newest {
    fn add(&self, about: About, change: u64) {
        let mut newest = self.0.lock().unwrap();
        let newest = newest.entry(about).or_default();
        *newest = change.max(*newest);
    }

    /// The newest change that concerns this answer.
    fn concerning(&self, target: Target, who: Option<Who>) -> u64 {
        let kind = target.kind();
        let mut abouts = vec![About::Everything, About::Resource(target)];
        if let Some(Who { tenant, user }) = who.filter(|_| kind != 6) {
            abouts.extend([About::Tenant(tenant), About::ResourceOf(target, tenant)]);
            if matches!(kind, 0 | 1 | 2 | 7) {
                abouts.extend([About::User(user), About::UserOf(tenant, user)]);
            }
            if matches!(kind, 0 | 4 | 7) {
                abouts.push(About::Role(user % 4));
            }
        }
        let newest = self.0.lock().unwrap();
        abouts.iter().filter_map(|about| newest.get(about).copied()).max().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Target {
    path: u64,
    page: u64,
}

impl Target {
    fn kind(self) -> u64 {
        self.path % KINDS
    }

    fn of(uri: &http::Uri) -> Self {
        let path = uri.path().rsplit('/').next().unwrap().parse().unwrap();
        Self { path, page: uri.query().unwrap().strip_prefix("page=").unwrap().parse().unwrap() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/{}?page={}", self.kind(), self.path, self.page)
    }
}

/// Who is logged in; put there by the authentication.
#[derive(Clone, Copy, Debug)]
struct Who {
    tenant: u64,
    user: u64,
}

impl From<&Who> for Identity {
    fn from(who: &Who) -> Self {
        Self::new().with_tenant(who.tenant).with_user(who.user).with("role", who.user % 4).with("plan", who.user % 3)
    }
}

/// How the answers on a path depend on who asks. A path says its own.
const KINDS: u64 = 8;

fn policies() -> PolicyTable {
    let secs = Duration::from_secs;
    let policy = |name: &'static str| Policy::named(name).fresh_for(secs(5));
    let kinds = [
        policy("whole").stale_while_revalidate(secs(3)).stale_if_error(secs(20)),
        policy("user").per_user().stale_while_revalidate(secs(10)),
        policy("sealed-user").per_user().stale_if_error(secs(30)).sealed().allow_headers(["accept-language"]),
        policy("tenant").per_tenant().stale_while_revalidate(secs(5)).sealed().allow_headers(["accept-language"]),
        policy("role").per(["role"]).stale_while_revalidate(secs(5)).stale_if_error(secs(5)),
        policy("context").per_context(|who| Some(format!("{}+{}", who.get("role")?, who.get("plan")?))),
        policy("shared").shared().stale_while_revalidate(secs(5)),
        Policy::named("stated").from_response().strip_set_cookie().stale_if_error(secs(5)),
    ];
    let routes = kinds.into_iter().enumerate();
    routes.fold(PolicyTable::new(), |table, (kind, policy)| table.route(format!("/{kind}/{{id}}"), policy))
}

/// To whom an answer belongs, by what the handler sees of the one who asks.
fn owner(kind: u64, identity: Option<&Identity>) -> String {
    let get = |name| identity.and_then(|identity| identity.get(name)).unwrap_or("nobody");
    match kind {
        3 => get("tenant").to_owned(),
        4 => format!("{}/role-{}", get("tenant"), get("role")),
        5 => format!("{}/context-{}+{}", get("tenant"), get("role"), get("plan")),
        6 => "everyone".to_owned(),
        _ => format!("{}/{}", get("tenant"), get("user")),
    }
}

#[derive(Debug)]
struct Broken;

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Broken>;

fn app(world: &Arc<World>) -> App {
    let handler = {
        let world = world.clone();
        service_fn(move |request| handle(world.clone(), request))
    };
    // The session store takes its time. `Who` stands for what it finds.
    let identity = IdentityLayer::from_async_fn(|parts| {
        let who = parts.extensions.get::<Who>().copied();
        async move {
            tokio::task::yield_now().await;
            who.as_ref().map(Identity::from)
        }
    });
    let cached = CacheLayer::new(&world.cache, policies()).layer(handler);
    BoxCloneSyncService::new(identity.layer(cached).map_response(|response| response.map(Body::new)))
}

async fn handle(world: Arc<World>, request: Request<Body>) -> Result<Response<Body>, Broken> {
    let (target, who) = (Target::of(request.uri()), request.extensions().get().copied());
    if request.method() == Method::POST {
        world.change(About::Resource(target));
    }
    let change = world.made.concerning(target, who);
    let mut rng = world.roll();
    world.pause(&mut rng).await;
    match rng.below(2000) {
        0 => resume_unwind(Box::new("as told")),
        1..40 => return Err(Broken),
        _ => {}
    }
    let owner = owner(target.kind(), request.extensions().get());
    // Sometimes in the client's language, and then it says so.
    let language = rng.one_in(3).then(|| text(request.headers(), "accept-language"));
    let language = language.as_deref().unwrap_or("-");
    let told = format!("{owner} {target} {language} {change}");
    let etag = format!("\"{}\"", told.replace(' ', "|"));
    let mut response = Response::builder().header("x-told", &told).header("x-owner", &owner).header("etag", &etag);
    if language != "-" {
        response = response.header("vary", "accept-language");
    }
    let seconds = 1 + rng.below(10);
    response = match rng.below(12) {
        0..5 => response,
        5 | 6 => response.header("cache-control", format!("max-age={seconds}")),
        7 => response.header("cache-control", format!("max-age={seconds}, stale-while-revalidate=4, stale-if-error=9")),
        8 => response.header("cache-control", format!("private, max-age={seconds}")),
        9 => response.header("cache-control", "no-cache"),
        10 => response.header("cache-control", format!("public, max-age={seconds}")),
        _ => response.header("cache-control", "no-store"),
    };
    if rng.one_in(20) {
        response = response.header("set-cookie", format!("sid={owner}"));
    }
    let asks = request.headers().get_all("if-none-match").iter().any(|tag| tag == etag.as_str());
    let (status, body) = match rng.below(50) {
        _ if asks => (StatusCode::NOT_MODIFIED, Body::empty()),
        0 | 1 => (StatusCode::INTERNAL_SERVER_ERROR, Body::from(told)),
        2 => (StatusCode::SERVICE_UNAVAILABLE, Body::empty()),
        3 => (StatusCode::NOT_FOUND, Body::from(told)),
        4..20 => (StatusCode::OK, in_pieces(&world, &mut rng, &told)),
        _ => (StatusCode::OK, Body::from(told)),
    };
    Ok(response.status(status).body(body).unwrap())
}

/// The text in a few frames, some late, and sometimes not to its end.
fn in_pieces(world: &Arc<World>, rng: &mut Rng, told: &str) -> Body {
    let fails = rng.one_in(20);
    let mut pieces: Vec<Result<Frame<Bytes>, std::io::Error>> =
        told.as_bytes().chunks(12).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    if fails {
        pieces.truncate(2);
        pieces.push(Err(std::io::Error::other("as told")));
    }
    let (world, mut rng, mut pieces) = (world.clone(), Rng(rng.next()), pieces.into_iter());
    let mut pause: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    Body::new(StreamBody::new(futures_stream(move |cx| {
        if rng.one_in(3) && pause.is_none() {
            let (world, mut rng) = (world.clone(), Rng(rng.next()));
            pause = Some(Box::pin(async move { world.pause(&mut rng).await }));
        }
        if let Some(waiting) = &mut pause {
            std::task::ready!(waiting.as_mut().poll(cx));
            pause = None;
        }
        Poll::Ready(pieces.next())
    })))
}

#[expect(clippy::print_stdout, reason = "shown when the test fails, to repeat it")]
async fn soak(seed: u64, requests: usize, waiting: Waiting) -> Ran {
    println!("LARDER_SOAK_SEED={seed}, {requests} requests");
    let (cache, clock) = crate::behind::cache_with(Cache::builder().memory(1 << 30)).unwrap();
    let world = Arc::new(World {
        cache,
        clock,
        waiting,
        changes: AtomicU64::new(0),
        made: Newest::default(),
        confirmed: Newest::default(),
        handler: Mutex::new(Rng(seed)),
        left: AtomicUsize::new(requests),
        trace: Mutex::default(),
    });
    let app = app(&world);
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (world, app) = (world.clone(), app.clone());
            let mut rng = Rng(seed ^ (task + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            tokio::spawn(async move {
                while world.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
                    world.step(&app, &mut rng).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let trace = world.trace.lock().unwrap().finish();
    Ran { world, trace }
}

impl World {
    fn roll(&self) -> Rng {
        Rng(self.handler.lock().unwrap().next())
    }

    async fn pause(&self, rng: &mut Rng) {
        match self.waiting {
            Waiting::Sleeps => tokio::time::sleep(Duration::from_millis(rng.below(21))).await,
            Waiting::Yields => {
                for _ in 0..rng.below(8) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// One request, or now and then something else.
    async fn step(&self, app: &App, rng: &mut Rng) {
        if rng.one_in(8) {
            self.clock.advance(Duration::from_millis(rng.below(100)));
        }
        if rng.one_in(100) {
            self.invalidate(rng).await;
        }
        // A few ask often, so that there are hits, and races for one key.
        let often = rng.one_in(2);
        let mut one_of = |few: u64, all: u64| if often { rng.below(few) } else { rng.below(all) };
        let who = Who { user: one_of(6, USERS), tenant: one_of(2, TENANTS) };
        let path = one_of(8, PATHS);
        let who = (!rng.one_in(12)).then_some(who);
        let target = Target { path, page: rng.below(2) };
        let language = if rng.one_in(2) { "en" } else { "de" };
        let method = match rng.below(100) {
            0 => Method::POST,
            1..5 => Method::HEAD,
            _ => Method::GET,
        };
        let mut request =
            Request::builder().method(&method).uri(target.to_string()).header("accept-language", language);
        match rng.below(20) {
            0 => request = request.header("range", "bytes=0-9"),
            1 => request = request.header("if-none-match", "\"another\""),
            2..6 => request = request.header("cookie", "sid=1"),
            6..10 => request = request.header("authorization", "Bearer 1"),
            _ => {}
        }
        if let Some(who) = who {
            request = request.extension(who);
        }
        let asked = Asked { who, target, language, floor: self.confirmed.concerning(target, who) };
        let answer = caught(app.clone().oneshot(request.body(Body::empty()).unwrap()));
        // Some clients go away, at any point where they wait.
        let patience = if rng.one_in(12) { rng.below(4) } else { u64::MAX };
        let body_patience = if rng.one_in(20) { rng.below(4) } else { u64::MAX };
        let outcome = match patient(patience, answer).await {
            None => "gone",
            Some(Err(Failure::Panic)) => "panic",
            Some(Err(Failure::Error)) => "error",
            Some(Ok(response)) => {
                let outcome = test_util::outcome(response.headers());
                asked.check_head(&response);
                let (status, told) = (response.status(), text(response.headers(), "x-told"));
                if let Some(Ok(body)) = patient(body_patience, response.into_body().collect()).await {
                    asked.check_body(status, &method, &body.to_bytes());
                }
                if method == Method::POST && status.is_success() {
                    // Its target was invalidated before it was answered.
                    self.confirmed.add(About::Resource(target), change_of(&told));
                }
                outcome
            }
        };
        (outcome, target).hash(&mut *self.trace.lock().unwrap());
    }

    /// Something changes, and then the cache is told.
    async fn invalidate(&self, rng: &mut Rng) {
        let tenant = rng.below(TENANTS);
        let user = if rng.one_in(2) { rng.below(6) } else { rng.below(USERS) };
        let target = Target { path: rng.below(PATHS), page: rng.below(2) };
        let (about, selector) = match rng.below(24) {
            0 => (About::Everything, Selector::everything()),
            1 | 2 => (About::Tenant(tenant), Selector::tenant(tenant)),
            3..7 => (About::User(user), Selector::user(user)),
            7..13 => (About::UserOf(tenant, user), Selector::user(user).within(tenant)),
            13..15 => (About::Role(user % 4), Selector::attribute("role", user % 4)),
            15..20 => (About::Resource(target), Selector::resource(target.to_string())),
            _ => (About::ResourceOf(target, tenant), Selector::resource(target.to_string()).within(tenant)),
        };
        let change = self.change(about);
        self.cache.invalidate(selector).await.unwrap();
        self.confirmed.add(about, change);
    }

    fn change(&self, about: About) -> u64 {
        let change = self.changes.fetch_add(1, SeqCst) + 1;
        self.made.add(about, change);
        change
    }
}

/// What a client knows when its answer comes.
#[derive(Debug)]
struct Asked {
    who: Option<Who>,
    target: Target,
    language: &'static str,
    floor: u64,
}

impl Asked {
    fn owner(&self) -> String {
        owner(self.target.kind(), self.who.as_ref().map(Identity::from).as_ref())
    }

    fn check_head<B>(&self, response: &Response<B>) {
        let headers = response.headers();
        assert_eq!(text(headers, "x-owner"), self.owner(), "{self:?} {headers:?}");
        self.check_told(&text(headers, "x-told"));
        for cookie in headers.get_all("set-cookie") {
            assert_eq!(cookie, format!("sid={}", self.owner()).as_str(), "{self:?}");
            assert_ne!(test_util::outcome(headers), "hit", "{self:?} {headers:?}");
        }
        let varies = headers.contains_key("vary");
        assert_eq!(varies, !text(headers, "x-told").contains(" - "), "{self:?} {headers:?}");
    }

    fn check_body(&self, status: StatusCode, method: &Method, body: &[u8]) {
        match status {
            StatusCode::OK if *method != Method::HEAD => self.check_told(std::str::from_utf8(body).unwrap()),
            StatusCode::PARTIAL_CONTENT => {
                let told = format!("{} {}", self.owner(), self.target);
                assert!(told.as_bytes().starts_with(body), "{self:?} {body:?}");
            }
            _ => {}
        }
    }

    fn check_told(&self, told: &str) {
        let words: Vec<&str> = told.split(' ').collect();
        let [owner, target, language, _] = words[..] else { panic!("{self:?} {told:?}") };
        assert_eq!((owner, target), (&*self.owner(), &*self.target.to_string()), "{self:?}");
        assert!(language == "-" || language == self.language, "{self:?} {told:?}");
        assert!(change_of(told) >= self.floor, "invalidated before it was asked: {self:?} {told:?}");
    }
}

fn change_of(told: &str) -> u64 {
    told.rsplit(' ').next().unwrap().parse().unwrap()
}

fn text(headers: &HeaderMap, name: &str) -> String {
    headers.get(name).map(HeaderValue::to_str).unwrap_or(Ok("-")).unwrap().to_owned()
}

enum Failure {
    Error,
    Panic,
}

/// Takes a panic for a failure, as a server does.
async fn caught<T>(future: impl Future<Output = Result<T, Broken>>) -> Result<T, Failure> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map_err(|Broken| Failure::Error),
        Err(_) => Poll::Ready(Err(Failure::Panic)),
    })
    .await
}

/// Drops a future that is still not ready after so many times.
async fn patient<T>(patience: u64, future: impl Future<Output = T>) -> Option<T> {
    let (mut future, mut left) = (pin!(future), patience);
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

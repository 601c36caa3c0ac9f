//! What a cache knows of the time before it was started: the history of a week, and what was asked for most.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::{Body, Bytes};
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{
    Cache, CacheBuilder, CacheLayer, Cursor, HistorySpan, Identity, IdentityLayer, KeyRing, Page, Policy, PolicyTable,
    Store, StoreError, StoreFuture, StoreKey, StoreStats, UtcOffset, WarmReport, WarmSource, Warmer, assert_hit,
    test_util::{self, ManualClock},
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

const MINUTE: Duration = Duration::from_secs(60);
const HISTORY: &str = "larder:larder:history";
const HOTTEST: &str = "larder:larder:hottest";

/// A store in this process, which may be away, or silent.
#[derive(Clone, Debug, Default)]
struct Shelf(Arc<(Mutex<BTreeMap<StoreKey, Bytes>>, AtomicU8)>);

const HERE: u8 = 0;
const AWAY: u8 = 1;
const SILENT: u8 = 2;

impl Shelf {
    fn result<T: 'static>(&self, result: impl FnOnce(&mut BTreeMap<StoreKey, Bytes>) -> T) -> StoreFuture<'static, T> {
        match self.0.1.load(SeqCst) {
            HERE => StoreFuture::ready(Ok(result(&mut self.0.0.lock().unwrap()))),
            AWAY => StoreFuture::ready(Err(StoreError::Unreachable)),
            _ => StoreFuture::boxed(std::future::pending()),
        }
    }

    fn at(&self, key: &str) -> Option<Bytes> {
        self.0.0.lock().unwrap().get(&StoreKey::new(key).unwrap()).cloned()
    }

    fn lay(&self, key: &str, bytes: impl Into<Bytes>) {
        self.0.0.lock().unwrap().insert(StoreKey::new(key).unwrap(), bytes.into());
    }

    fn is_now(&self, how: u8) {
        self.0.1.store(how, SeqCst);
    }

    /// Whether it has this text anywhere beside the responses.
    fn tells(&self, text: &str) -> bool {
        let has = |bytes: &Bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        [HISTORY, HOTTEST].iter().any(|key| has(&self.at(key).unwrap()))
    }
}

impl Store for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        self.result(|map| keys.iter().map(|key| map.get(key).cloned()).collect())
    }

    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        assert!(!key.as_str().contains(":h") || ttl == 8 * 24 * 60 * MINUTE, "{key:?} {ttl:?}");
        self.result(|map| drop(map.insert(key, value)))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        self.result(|map| keys.iter().for_each(|key| drop(map.remove(key))))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<Cursor>, _: usize) -> StoreFuture<'a, Page> {
        self.result(|_| Page::default())
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        self.result(|_| StoreStats::default())
    }
}

/// A cache with an application behind it.
struct Site {
    cache: Cache,
    clock: ManualClock,
    app: BoxCloneService<Request<Body>, Response<Body>, Infallible>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    fn of(builder: CacheBuilder, policy: impl Into<PolicyTable>) -> Self {
        let (cache, clock) = test_util::cache_with(builder).unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let told = asked.clone();
        let handler = service_fn(move |request: Request<Body>| {
            let who = request.extensions().get::<Identity>().and_then(Identity::tenant).unwrap_or("");
            let field = |name: &str| request.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
            let line = format!("{who}{}{}{}", field("host"), request.uri(), field("accept-language"));
            told.lock().unwrap().push(line);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from("page"))))
        });
        let who = IdentityLayer::from_fn(|parts| {
            let tenant = parts.headers.get("x-tenant")?;
            Some(Identity::new().with_tenant(tenant.to_str().unwrap()))
        });
        let app = who.layer(CacheLayer::new(&cache, policy).layer(handler)).map_response(|r| r.map(Body::new));
        Self { cache, clock, app: BoxCloneService::new(app), asked }
    }

    /// One over this store.
    fn over(shelf: &Shelf) -> Self {
        Self::of(Cache::builder().store(shelf.clone()), Policy::fresh_for(60 * MINUTE))
    }

    async fn send(&self, request: http::request::Builder) -> Response<()> {
        let (head, body) = self.app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().into_parts();
        body.collect().await.unwrap();
        Response::from_parts(head, ())
    }

    /// A miss, and so many hits.
    async fn visit(&self, path: &str, hits: usize) {
        for _ in 0..=hits {
            self.send(Request::get(path).header("host", "shop.example")).await;
        }
    }

    async fn warm(&self, source: WarmSource) -> (WarmReport, Vec<String>) {
        self.asked.lock().unwrap().clear();
        let report = Warmer::new().concurrency(1).category("hottest", 0, source).run(self.app.clone()).await;
        (report, std::mem::take(&mut *self.asked.lock().unwrap()))
    }

    /// What it knows to be the hottest.
    async fn hottest(&self, most: usize) -> Vec<String> {
        let source = WarmSource::hottest(&self.cache, most);
        let plan = Warmer::new().category("hottest", 0, source).dry_run().await;
        plan.into_iter().map(|item| item.target.or(item.mistake).unwrap()).collect()
    }

    /// Lets this time pass, with the tasks in the background.
    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        tokio::time::sleep(Duration::from_secs(25)).await;
    }

    fn week(&self) -> u64 {
        self.cache.history(HistorySpan::Week).iter().map(|sample| sample.hits).sum()
    }

    fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.cache.stats().stores["shelf"].reasons.clone()
    }

    async fn end(self) {
        self.cache.shutdown(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_restarted_cache_knows_what_was_asked_for_most() {
    let shelf = Shelf::default();
    let policy = || Policy::fresh_for(60 * MINUTE).per_tenant();
    let policy = || PolicyTable::new().route("/mine", policy()).otherwise(Policy::fresh_for(60 * MINUTE));
    let site = Site::of(Cache::builder().store(shelf.clone()), policy());
    site.visit("/some?x=1", 3).await;
    site.visit("/often", 9).await;
    site.visit("/once", 0).await;
    site.visit("/rarely", 1).await;
    for _ in 0..6 {
        site.send(Request::get("/mine").header("x-tenant", "7")).await;
    }
    assert_eq!(site.cache.history(HistorySpan::Week).len(), 0, "the first step has not ended");
    site.end().await;

    let site = Site::of(Cache::builder().store(shelf), policy());
    let (report, asked) = site.warm(WarmSource::hottest(&site.cache, 3)).await;
    assert_eq!(report.total().warmed, 3, "{report}");
    assert_eq!(asked, ["shop.example/often", "7/mine", "shop.example/some?x=1"]);
    assert_hit!(site.send(Request::get("/often").header("host", "SHOP.example")).await);
    assert_hit!(site.send(Request::get("/mine").header("x-tenant", "7")).await);
    assert_eq!(site.week(), 9 + 3 + 1 + 5);
    let sample = &site.cache.history(HistorySpan::Week)[0];
    assert_eq!((sample.misses, sample.stored), (5, 5));
    assert!(site.cache.history(HistorySpan::Day).is_empty());

    let (report, asked) = site.warm(WarmSource::hottest_by_hour(&site.cache, 9, UtcOffset::hours(2))).await;
    assert_eq!((report.total().warmed, report.total().skipped, asked.len()), (1, 3, 1), "{report}");
    site.clock.advance(12 * 60 * MINUTE);
    let (report, _) = site.warm(WarmSource::hottest_by_hour(&site.cache, 9, UtcOffset::hours(2))).await;
    assert_eq!(report.total().asked, 0, "nothing is known of the night");
}

#[tokio::test(start_paused = true)]
async fn all_processes_of_a_namespace_tell_one_history() {
    let shelf = Shelf::default();
    let (a, b) = (Site::over(&shelf), Site::over(&shelf));
    a.visit("/a", 5).await;
    b.visit("/a", 2).await;
    b.visit("/b", 6).await;
    a.pass(10 * MINUTE).await;
    assert!(shelf.at(HISTORY).is_some() && shelf.at(HOTTEST).is_some(), "written without an end");
    b.pass(10 * MINUTE).await;
    assert_eq!(b.hottest(9).await, ["/a", "/b"]);
    assert_eq!((a.week(), b.week()), (5, 13), "a has not read it since");
    a.pass(10 * MINUTE).await;
    assert_eq!((a.week(), b.week()), (13, 13));
    assert_eq!(a.hottest(9).await, ["/a", "/b"]);
    // Written again and again, it stays what it is.
    for _ in 0..5 {
        a.pass(10 * MINUTE).await;
        b.pass(10 * MINUTE).await;
    }
    assert_eq!((a.week(), b.week()), (13, 13));
    // What is lost in the store is put there again by those who know of it.
    b.visit("/c", 1).await;
    b.end().await;
    a.pass(10 * MINUTE).await;
    shelf.lay(HISTORY, "");
    shelf.lay(HOTTEST, "");
    a.end().await;
    let c = Site::over(&shelf);
    assert_eq!(c.hottest(9).await, ["/a", "/b", "/c"]);
    assert_eq!(c.week(), 14);
    c.pass(8 * 24 * 60 * MINUTE).await;
    assert_eq!((c.week(), c.hottest(9).await.len()), (0, 0), "a week has passed");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_tried_again() {
    let shelf = Shelf::default();
    let site = Site::over(&shelf);
    site.visit("/a", 5).await;
    site.end().await;
    shelf.is_now(AWAY);
    let site = Site::over(&shelf);
    assert_eq!(site.hottest(9).await, ["what was asked for most cannot be read: unreachable"]);
    site.visit("/b", 7).await;
    site.pass(Duration::ZERO).await;
    assert_eq!((site.week(), site.hottest(9).await), (0, vec!["/b".to_owned()]));
    shelf.is_now(HERE);
    site.pass(Duration::ZERO).await;
    assert_eq!((site.week(), site.hottest(9).await), (5, vec!["/b".to_owned(), "/a".to_owned()]));
    shelf.is_now(AWAY);
    site.pass(10 * MINUTE).await;
    site.visit("/b", 0).await;
    shelf.is_now(HERE);
    site.pass(Duration::ZERO).await;
    assert_eq!(Site::over(&shelf).hottest(1).await, ["/b"], "written once it was back");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_says_nothing_holds_nobody_up() {
    let shelf = Shelf::default();
    let site = Site::of(Cache::builder().store(shelf.clone()), Policy::fresh_for(60 * MINUTE));
    site.visit("/a", 5).await;
    shelf.is_now(SILENT);
    for _ in 0..10 {
        site.pass(10 * MINUTE).await;
    }
    assert_eq!(site.cache.history(HistorySpan::Day).len(), 10, "readings are taken");
    assert!(site.reasons()["timeout"] > 3);
    assert!(tokio::time::timeout(MINUTE, site.end()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn where_all_is_encrypted_this_is_too() {
    let ring = |name: &str, key: u8| KeyRing::new(name, [key; 32]).unwrap();
    let site = |shelf: &Shelf, ring: Option<KeyRing>| {
        let builder = Cache::builder().store(shelf.clone());
        let builder = ring.into_iter().fold(builder, CacheBuilder::encrypt);
        Site::of(builder, Policy::fresh_for(60 * MINUTE).per_tenant())
    };
    let visit = async |site: &Site| {
        for _ in 0..3 {
            site.send(Request::get("/private-page").header("x-tenant", "tenant-of-mine")).await;
        }
    };
    let (plain, sealed) = (Shelf::default(), Shelf::default());
    for (shelf, ring) in [(&plain, None), (&sealed, Some(ring("new", 7)))] {
        let site = site(shelf, ring);
        visit(&site).await;
        site.end().await;
    }
    for text in ["private-page", "tenant-of-mine"] {
        assert_eq!((plain.tells(text), sealed.tells(text)), (true, false), "{text}");
    }
    assert_eq!(site(&sealed, Some(ring("new", 7))).hottest(9).await, ["/private-page"]);
    let other = site(&sealed, Some(ring("other", 8)));
    assert!(other.hottest(9).await.is_empty());
    assert_eq!(other.reasons(), BTreeMap::from([("sealed", 2)]));
    let swapped = site(&sealed, Some(ring("new", 7)));
    let (history, hottest) = (sealed.at(HISTORY).unwrap(), sealed.at(HOTTEST).unwrap());
    sealed.lay(HISTORY, hottest);
    sealed.lay(HOTTEST, history);
    assert!(swapped.hottest(9).await.is_empty());
    // What nobody has sealed is nobody's.
    let unsealed = site(&plain, Some(ring("new", 7)));
    assert!(unsealed.hottest(9).await.is_empty());
    assert_eq!(unsealed.reasons(), BTreeMap::from([("unsealed", 2)]));
}

#[tokio::test(start_paused = true)]
async fn damage_is_counted_and_written_over() {
    let shelf = Shelf::default();
    let site = Site::over(&shelf);
    site.visit("/a", 5).await;
    site.end().await;
    let mut damaged = shelf.at(HOTTEST).unwrap().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    shelf.lay(HOTTEST, damaged);
    shelf.lay(HISTORY, "nonsense");
    let site = Site::over(&shelf);
    site.visit("/b", 5).await;
    assert_eq!(site.hottest(9).await, ["/b"]);
    assert_eq!(site.reasons(), BTreeMap::from([("checksum", 1), ("foreign", 1)]));
    site.end().await;
    let site = Site::over(&shelf);
    assert_eq!(site.hottest(9).await, ["/b"]);
    assert_eq!((site.week(), site.reasons()), (5, BTreeMap::new()));
}

#[tokio::test(start_paused = true)]
async fn what_is_for_memory_alone_does_not_leave_it() {
    let shelf = Shelf::default();
    let site = Site::of(Cache::builder().store(shelf.clone()), Policy::fresh_for(60 * MINUTE).memory_only());
    site.visit("/secret", 5).await;
    assert_eq!(site.hottest(9).await, ["/secret"]);
    site.end().await;
    assert!(shelf.at(HOTTEST).is_some() && !shelf.tells("secret"));
    assert!(Site::over(&shelf).hottest(9).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_warmer_is_not_interested_in_what_it_asks_for() {
    let site = Site::of(Cache::builder(), Policy::fresh_for(60 * MINUTE));
    site.visit("/a", 2).await;
    site.visit("/b", 1).await;
    for _ in 0..9 {
        let (report, _) = site.warm(WarmSource::hottest(&site.cache, 1)).await;
        assert_eq!(report.total().skipped, 1, "/a");
    }
    site.visit("/b", 1).await;
    assert_eq!(site.hottest(9).await, ["/b", "/a"], "3 and 2");
    // Each refill begins anew, and what was before is not forgotten; each day halves it.
    site.clock.advance(90 * MINUTE);
    site.visit("/a", 4).await;
    assert_eq!(site.hottest(9).await, ["/a", "/b"]);
    site.clock.advance(3 * 24 * 60 * MINUTE);
    site.visit("/c", 1).await;
    assert_eq!(site.hottest(1).await, ["/c"]);
}

#[tokio::test(start_paused = true)]
async fn only_what_a_key_tells_is_asked_for_again() {
    let policy = Policy::fresh_for(60 * MINUTE).query_except(["utm"]);
    let table = PolicyTable::new()
        .route("/spoken", policy.clone().key_language(["en", "de"]))
        .route("/styled", policy.clone().key_headers(["x-style"]))
        .route("/dated", policy.clone().key_date(UtcOffset::UTC))
        .otherwise(policy);
    let site = Site::of(Cache::builder(), table);
    for _ in 0..3 {
        for (path, field, value) in [
            ("/spoken", "accept-language", "de-AT"),
            ("/styled", "x-style", "dark"),
            ("/dated", "x-any", "1"),
            ("/queried?a=1&utm=x", "x-any", "1"),
            ("/queried?token=abc", "x-any", "1"),
            ("http://shop.example/absolute", "x-any", "1"),
        ] {
            site.send(Request::get(path).header(field, value)).await;
        }
    }
    site.clock.advance(61 * MINUTE);
    let (_, mut asked) = site.warm(WarmSource::hottest(&site.cache, 9)).await;
    asked.sort();
    assert_eq!(asked, ["/dated", "/queried?a=1", "/spokende", "shop.example/absolute"]);
    assert_hit!(site.send(Request::get("/spoken").header("accept-language", "de-CH")).await);
    assert_hit!(site.send(Request::get("http://shop.example/absolute")).await);
}

//! Warming: what a warmer asks for, what it leaves alone, and what it tells of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::{Body, Bytes};
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use larder::{
    Cache, CacheLayer, Identity, IdentityLayer, Policy, StatsLayer, UtcOffset, Value, WarmReport, WarmRequest,
    WarmSource, WarmedCategory, Warmer, assert_hit, assert_miss, test_util,
};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneService};

const MINUTE: Duration = Duration::from_secs(60);

type App = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// What was asked for, in order.
#[derive(Clone, Default)]
struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A body that comes in two frames and does not tell its length.
struct Streamed(u8);

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0 += 1;
        match self.0 {
            1 | 4 => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"half"))))),
            5 => Poll::Ready(None),
            _ => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// A handler behind a cache: it takes a second, and paths say what goes wrong.
fn app(cache: &Cache, policy: Policy, asked: &Asked) -> App {
    let asked = asked.clone();
    let handler = service_fn(move |request: Request<Body>| {
        let asked = asked.clone();
        async move {
            let who = request.extensions().get::<Identity>().and_then(Identity::tenant).unwrap_or("").to_owned();
            let path = request.uri().path_and_query().unwrap().to_string();
            asked.0.lock().unwrap().push(format!("{who}{path}"));
            tokio::time::sleep(Duration::from_secs(1)).await;
            let mut response = Response::new(Body::from("whole"));
            match request.uri().path() {
                "/panics" => panic!("as told"),
                "/fails" => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
                "/missing" => *response.status_mut() = StatusCode::NOT_FOUND,
                "/private" => drop(response.headers_mut().insert("cache-control", "no-store".parse().unwrap())),
                "/streamed" => *response.body_mut() = Body::new(Streamed(0)),
                "/endless" => std::future::pending().await,
                _ => {}
            }
            Ok::<_, Infallible>(response)
        }
    });
    let cached = CacheLayer::new(cache, policy).layer(handler).map_response(|response| response.map(Body::new));
    BoxCloneService::new(cached)
}

fn lists(paths: &[&str]) -> Vec<WarmRequest> {
    paths.iter().map(|path| WarmRequest::get(*path)).collect()
}

async fn get(app: &App, path: &str) -> Response<()> {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    body.collect().await.unwrap();
    Response::from_parts(head, ())
}

/// Asked, warmed, skipped, not stored, failed.
fn counts(of: &WarmedCategory) -> [u64; 5] {
    [of.asked, of.warmed, of.skipped, of.not_stored, of.failed]
}

fn total(report: &WarmReport) -> [u64; 5] {
    assert!(report.finished);
    counts(&report.total())
}

#[tokio::test(start_paused = true)]
async fn what_is_warmed_is_hit() {
    let (cache, _) = test_util::cache();
    let asked = Asked::default();
    let app = app(&cache, Policy::fresh_for(10 * MINUTE), &asked);
    let warmer = Warmer::new()
        .concurrency(1)
        .category("late", 1, lists(&["/c"]))
        .category("first", 10, lists(&["/a", "/streamed"]))
        .category("late", 1, WarmRequest::templates("/d?x={x}", [("x", &["1", "2"])]));
    let plan: Vec<_> = warmer.dry_run().await.into_iter().map(|plan| (plan.category, plan.target.unwrap())).collect();
    assert_eq!(plan.len(), 5);
    assert_eq!(plan[4], ("late".to_owned(), "/d?x=2".to_owned()));
    assert!(asked.take().is_empty());

    let report = warmer.run(app.clone()).await;
    assert_eq!(total(&report), [5, 5, 0, 0, 0], "{report}");
    assert_eq!(asked.take(), ["/a", "/streamed", "/c", "/d?x=1", "/d?x=2"]);
    assert_eq!(report.categories[0].name, "first");
    assert_eq!(report.category("late").unwrap().took, Duration::from_secs(3));
    assert_eq!(report.took, Duration::from_secs(5));
    for path in ["/a", "/streamed", "/c", "/d?x=1", "/d?x=2"] {
        assert_hit!(get(&app, path).await);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_young_is_skipped_unless_forced() {
    let (cache, clock) = test_util::cache();
    let asked = Asked::default();
    let policy = Policy::fresh_for(10 * MINUTE).stale_while_revalidate(10 * MINUTE).soft_timeout(MINUTE / 100);
    let app = app(&cache, policy, &asked);
    let warmer = Warmer::new().category("all", 0, lists(&["/a"]));
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 1, 0, 0, 0]);
    clock.advance(4 * MINUTE);
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 0, 1, 0, 0]);
    assert_eq!(total(&warmer.clone().force(true).run(app.clone()).await), [1, 1, 0, 0, 0]);
    assert_eq!(asked.take().len(), 2);
    clock.advance(4 * MINUTE);
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 0, 1, 0, 0], "its lifetime began anew");
    clock.advance(MINUTE);
    // While it is made anew, it is served.
    let (report, hit) = tokio::join!(warmer.run(app.clone()), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        get(&app, "/a").await
    });
    assert_eq!(total(&report), [1, 1, 0, 0, 0]);
    assert_hit!(hit);
    clock.advance(15 * MINUTE);
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 1, 0, 0, 0], "stale, and not served stale to a warmer");
    assert_eq!(asked.take().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_forced_request_that_fails_ends_nothing() {
    let (cache, _) = test_util::cache();
    let healthy = Arc::new(AtomicUsize::new(1));
    let service = healthy.clone();
    let handler = service_fn(move |_: Request<Body>| {
        let mut response = Response::new(Body::from("good"));
        if service.load(SeqCst) == 0 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let policy = Policy::fresh_for(10 * MINUTE).stale_if_error(MINUTE);
    let app = BoxCloneService::new(CacheLayer::new(&cache, policy).layer(handler).map_response(|r| r.map(Body::new)));
    let warmer = Warmer::new().category("all", 0, lists(&["/a"])).force(true);
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 1, 0, 0, 0]);
    healthy.store(0, SeqCst);
    assert_eq!(total(&warmer.run(app.clone()).await), [1, 0, 0, 0, 1]);
    assert_hit!(get(&app, "/a").await);
}

#[tokio::test(start_paused = true)]
async fn failures_stop_nothing() {
    let (cache, _) = test_util::cache();
    let asked = Asked::default();
    let app = app(&cache, Policy::fresh_for(MINUTE), &asked);
    let paths = ["/panics", "/fails", "/missing", "/private", "/endless", "no path", "/good"];
    let warmer = Warmer::new()
        .category("pages", 3, lists(&paths))
        .category("trouble", 2, WarmSource::producer(|| async { Err::<Vec<_>, _>("no database") }))
        .category(
            "trouble",
            2,
            WarmSource::batches(|_| -> std::future::Ready<Result<_, Infallible>> { panic!("as told") }),
        )
        .category(
            "last",
            1,
            WarmSource::batches(|number| async move {
                Ok::<_, Infallible>(if number < 3 { lists(&["/x", "/y"]) } else { vec![] })
            }),
        )
        .on_progress(|_| panic!("as told"))
        .timeout(Duration::from_secs(5));
    let report = warmer.run(app.clone()).await;
    assert!(report.finished);
    let pages = report.category("pages").unwrap();
    assert_eq!(counts(pages), [7, 1, 0, 1, 5], "{report}");
    assert!(pages.failures.contains(&"/fails: 500 Internal Server Error".to_owned()), "{report}");
    let trouble = report.category("trouble").unwrap();
    assert_eq!(counts(trouble), [2, 0, 0, 0, 2]);
    assert_eq!(trouble.failures, ["its source: no database", "its source: it panicked"]);
    let last = report.category("last").unwrap();
    assert_eq!((last.asked, last.failed), (6, 0));
    let report = warmer.only(["last", "none"]).run(app).await;
    assert_eq!(report.categories.len(), 2);
    assert_eq!(counts(report.category("last").unwrap()), [6, 0, 6, 0, 0]);
    assert_eq!(report.category("none").unwrap().failures, ["there is no such category"]);
}

#[tokio::test(start_paused = true)]
async fn each_is_warmed_for_its_identity() {
    let (cache, _) = test_util::cache();
    let asked = Asked::default();
    let who = IdentityLayer::from_fn(|parts| {
        let tenant = parts.headers.get("x-tenant").map_or("nobody", |value| value.to_str().unwrap());
        Some(Identity::new().with_tenant(tenant))
    });
    let inside = app(&cache, Policy::fresh_for(MINUTE).per_tenant(), &asked);
    let layered = StatsLayer::on().layer(who.layer(inside));
    let tenants = ["1", "2"].map(|tenant| Identity::new().with_tenant(tenant));
    let source = WarmSource::from(lists(&["/a"])).for_each_identity(tenants);
    let warmer = Warmer::new().category("all", 0, source).concurrency(1);
    assert_eq!(warmer.dry_run().await[1].identity.as_ref().unwrap().tenant(), Some("2"));
    assert_eq!(total(&warmer.run(layered.clone()).await), [2, 2, 0, 0, 0]);
    assert_eq!(total(&warmer.run(layered.clone()).await), [2, 0, 2, 0, 0]);
    assert_eq!(asked.take(), ["1/a", "2/a"]);
    for (tenant, outcome) in [("1", "hit"), ("2", "hit"), ("3", "miss")] {
        let mut request = Request::get("/a").header("x-tenant", tenant).body(Body::empty()).unwrap();
        // What a client's own middleware leaves is no warmer's.
        request.extensions_mut().insert(Identity::new().with_tenant("1"));
        let response = layered.clone().oneshot(request).await.unwrap();
        assert_eq!(test_util::outcome(response.headers()), outcome, "{tenant}");
    }
}

#[tokio::test(start_paused = true)]
async fn host_and_preparation_reach_the_key() {
    let (cache, _) = test_util::cache();
    let app = app(&cache, Policy::fresh_for(MINUTE), &Asked::default());
    let prepare = |parts: &mut http::request::Parts| match parts.uri.path() {
        "/panics" => panic!("as told"),
        _ => drop(parts.extensions.insert(http::uri::Scheme::HTTPS)),
    };
    let sitemap = "<urlset><url><loc>https://www.shop.example/b</loc></url></urlset>";
    let warmer = Warmer::new()
        .host("shop.example")
        .prepare(prepare)
        .category("all", 0, lists(&["/a", "/panics"]))
        .category("all", 0, WarmRequest::sitemap(sitemap).unwrap());
    assert_eq!(total(&warmer.run(app.clone()).await), [3, 2, 0, 0, 1]);
    let of = |host: &str, path: &str| {
        let mut request = Request::get(path).header("host", host).body(Body::empty()).unwrap();
        request.extensions_mut().insert(http::uri::Scheme::HTTPS);
        app.clone().oneshot(request)
    };
    assert_hit!(of("shop.example", "/a").await.unwrap());
    assert_hit!(of("www.shop.example", "/b").await.unwrap());
    assert_miss!(of("other.example", "/a").await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_load_is_limited() {
    let (cache, _) = test_util::cache();
    let app = app(&cache, Policy::fresh_for(MINUTE), &Asked::default());
    let pages = || WarmRequest::templates("/{a}", [("a", &["1", "2", "3", "4", "5", "6", "7", "8"])]);
    let warmer = Warmer::new().category("all", 0, pages());
    let report = warmer.clone().concurrency(2).run(app.clone()).await;
    assert_eq!(report.took, Duration::from_secs(4));
    let report = warmer.clone().force(true).rate(0.5).run(app.clone()).await;
    assert_eq!(report.took, Duration::from_secs(15));
    let report = warmer.clone().rate(0.5).run(app.clone()).await;
    assert_eq!(report.total().skipped, 8);
    assert!(report.took < Duration::from_secs(8), "what is skipped costs no turn: {report}");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = seen.clone();
    let warming = warmer
        .force(true)
        .deadline(Duration::from_millis(1500))
        .on_progress(move |report| told.lock().unwrap().push(report.total().warmed))
        .run(app);
    let progress = warming.progress();
    let report = warming.await;
    assert!(!report.finished);
    assert_eq!(counts(&report.total()), [8, 4, 0, 0, 4], "{report}");
    assert_eq!(*seen.lock().unwrap(), [1, 2, 3, 4]);
    assert_eq!(progress.report(), report);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_ends() {
    let (cache, _) = test_util::cache();
    let asked = Asked::default();
    let app = app(&cache, Policy::fresh_for(MINUTE), &asked);
    let warmer = Warmer::new().category("all", 0, lists(&["/1", "/2", "/3", "/4", "/5", "/6"]));
    let warming = warmer.run(app.clone());
    assert!(tokio::time::timeout(Duration::from_millis(500), warming).await.is_err());
    tokio::time::sleep(MINUTE).await;
    assert_eq!(asked.take().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn values_are_warmed() {
    static RATE: LazyLock<Value<usize>> = LazyLock::new(|| Value::named("rate").fresh_for(10 * MINUTE).shared());
    let (cache, clock) = test_util::cache();
    let loads = Arc::new(AtomicUsize::new(0));
    let warmer = {
        let (cache, loads) = (cache.clone(), loads.clone());
        let rate = move || {
            let (cache, loads) = (cache.clone(), loads.clone());
            async move {
                let load = move || async move { Ok::<_, Infallible>(loads.fetch_add(1, SeqCst)) };
                cache.value(&RATE).get_or_load(load).await
            }
        };
        Warmer::new().values("rates", 1, rate).values("broken", 0, || async { Err::<(), _>("no rates today") })
    };
    let idle = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let only = warmer.clone().only(["rates"]);
    for (advance, force, expected) in [
        (0, false, [1, 1, 0, 0, 0]),
        (4, false, [1, 0, 1, 0, 0]),
        (0, true, [1, 1, 0, 0, 0]),
        (4, false, [1, 0, 1, 0, 0]),
        (2, false, [1, 1, 0, 0, 0]),
    ] {
        clock.advance(advance * MINUTE);
        assert_eq!(total(&only.clone().force(force).run(idle).await), expected, "{advance} {force}");
    }
    assert_eq!(loads.load(SeqCst), 3);
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&2));
    let report = warmer.run(idle).await;
    assert_eq!(report.category("broken").unwrap().failures, ["a value: no rates today"]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_runs_until_it_is_stopped() {
    let (cache, clock) = test_util::cache();
    let asked = Asked::default();
    let app = app(&cache, Policy::fresh_for(MINUTE), &asked);
    let warmer = Warmer::new().category("all", 0, lists(&["/a"]));
    let schedule = warmer.every(MINUTE, app.clone(), &cache);
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(asked.take().is_empty() && schedule.last().is_none());
    for _ in 0..3 {
        tokio::time::sleep(MINUTE).await;
        clock.advance(MINUTE);
        assert_eq!(asked.take(), ["/a"]);
        assert_eq!(schedule.last().unwrap().total().warmed, 1);
    }
    schedule.stop();
    tokio::time::sleep(10 * MINUTE).await;
    assert!(asked.take().is_empty());

    drop(warmer.every(MINUTE, app, &cache));
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(asked.take(), ["/a"], "it goes on without its handle");
    let ended = tokio::time::timeout(MINUTE, cache.shutdown(MINUTE)).await.unwrap();
    assert_eq!(ended.aborted, 0);
    tokio::time::sleep(10 * MINUTE).await;
    assert!(asked.take().is_empty());
}

#[tokio::test(start_paused = true)]
async fn runs_are_held_to_quiet_times() {
    let (cache, clock) = test_util::cache();
    let asked = Asked::default();
    let app = app(&cache, Policy::fresh_for(10 * MINUTE), &asked);
    let hour = u8::try_from(clock.now().as_unix_secs() / 3600 % 24).unwrap();
    let night =
        Warmer::new().category("all", 0, lists(&["/a"])).between((hour + 2) % 24, (hour + 4) % 24, UtcOffset::UTC);
    let schedule = night.every(MINUTE, app.clone(), &cache);
    tokio::time::sleep(10 * MINUTE).await;
    assert!(asked.take().is_empty());
    clock.advance(120 * MINUTE);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(asked.take(), ["/a"]);
    schedule.stop();

    let calm = Warmer::new().category("all", 0, lists(&["/b"])).when_below(1.0);
    let schedule = calm.every(MINUTE, app.clone(), &cache);
    for _ in 0..300 {
        get(&app, "/a").await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(asked.take().is_empty(), "two in a second");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(asked.take(), ["/b"]);
    schedule.stop();
}

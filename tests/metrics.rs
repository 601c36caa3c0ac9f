//! What was counted, in total and by policy, value, tenant and time; and who hears of it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::{Router, body::Body, routing::get};
use http::{Request, Response, StatusCode};
use larder::{
    Cache, CacheLayer, Caches, Event, HistorySpan, Identity, Observe, Outcome, Policy, PolicyKind, PolicyTable,
    Selector, Value, prometheus, test_util,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{Service, ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

async fn ask(app: &mut Router, path: &str, tenant: Option<&str>) -> StatusCode {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    if let Some(tenant) = tenant {
        request.extensions_mut().insert(Identity::new().with_tenant(tenant));
    }
    let response = app.call(request).await.unwrap();
    let status = response.status();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    status
}

fn app(cache: &Cache, policy: impl Into<PolicyTable>) -> Router {
    Router::new()
        .route("/x/{id}", get(|| async { "x" }))
        .route("/cart", get(|| async { ([("set-cookie", "a=b")], "cart") }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(200)).await;
                "slow"
            }),
        )
        .layer(CacheLayer::new(cache, policy))
}

#[tokio::test(start_paused = true)]
async fn each_policy_and_tenant_has_its_own() {
    let (cache, clock) = test_util::cache();
    let table = PolicyTable::new()
        .route("/x/{id}", Policy::named("things").fresh_for(MINUTE).per_tenant().tags(["thing"]))
        .otherwise(Policy::named("rest").fresh_for(MINUTE));
    let mut app = app(&cache, table);
    for tenant in ["1", "1", "1", "2"] {
        ask(&mut app, "/x/17", Some(tenant)).await;
    }
    ask(&mut app, "/cart", None).await;
    ask(&mut app, "/x/17", None).await;
    clock.advance(Duration::from_secs(12));
    let metrics = cache.metrics();

    let things = metrics.policies.iter().find(|policy| policy.name == "things").unwrap();
    assert_eq!((things.total.hits, things.total.misses, things.total.stored), (2, 2, 2));
    assert_eq!(things.total.bypass_reasons.get("identity-missing"), Some(&1));
    assert_eq!((things.kind, things.route.as_deref()), (PolicyKind::Response, Some("/x/{id}")));
    assert_eq!((things.entries, things.windows.minute.hits), (2, 2));
    assert!((things.total.lookup_hit_ratio() - 0.5).abs() < 1e-9 && (things.total.hit_ratio() - 0.4).abs() < 1e-9);
    let rest = metrics.policies.iter().find(|policy| policy.name == "rest").unwrap();
    assert_eq!(rest.total.not_stored_reasons.get("set-cookie"), Some(&1));

    let tenants: Vec<_> = metrics
        .tenants
        .iter()
        .map(|tenant| (&*tenant.name, tenant.total.hits, tenant.total.misses, tenant.entries))
        .collect();
    assert_eq!(tenants, [("1", 2, 1, 1), ("2", 0, 1, 1)]);
    assert_eq!((metrics.tags[0].name.as_str(), metrics.tags[0].entries), ("thing", 2));
    assert_eq!((metrics.patterns[0].name.as_str(), metrics.patterns[0].entries), ("/x/*", 2));
    let uncached: Vec<_> =
        metrics.uncacheable.iter().map(|row| (&*row.route, &*row.policy, row.reason, row.count)).collect();
    assert!(uncached.contains(&("/cart", "rest", "set-cookie", 1)), "{uncached:?}");
    assert!(uncached.contains(&("/x/{id}", "things", "identity-missing", 1)), "{uncached:?}");
    assert_eq!((metrics.total.hits, metrics.total.requests()), (cache.stats().hits, 6));

    clock.advance(2 * MINUTE);
    tokio::time::advance(Duration::from_secs(3)).await;
    let metrics = cache.metrics();
    assert_eq!((metrics.windows.minute.requests(), metrics.windows.five_minutes.requests()), (0, 6));
    assert_eq!(metrics.policies.iter().map(|policy| policy.entries).sum::<u64>(), 0, "what has expired is not held");
}

#[tokio::test(start_paused = true)]
async fn time_is_taken_and_saved() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("slow").fresh_for(MINUTE).objective(0.9, Duration::from_millis(500)));
    for _ in 0..130 {
        ask(&mut app, "/slow", None).await;
    }
    let metrics = cache.metrics();
    let slow = &metrics.policies[0];
    assert_eq!((slow.total.fill_time.count, slow.total.hits), (1, 129));
    let p50 = slow.total.fill_time.p50.unwrap().as_secs_f64();
    assert!((0.17..0.23).contains(&p50), "{p50}");
    assert!((2..=3).contains(&slow.total.hit_time.count), "{:?}", slow.total.hit_time);
    assert_eq!(slow.met, Some(true));
    // The test's clock stands still while the handler sleeps: what is saved is counted by that clock.
    assert_eq!(slow.total.saved_bytes / 4, 64 + 16 * 5);
}

#[tokio::test(start_paused = true)]
async fn an_objective_that_is_missed_is_told() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("slow").fresh_for(MINUTE).objective(0.1, Duration::from_millis(100)));
    assert_eq!(cache.metrics().policies[0].met, None);
    for _ in 0..15 {
        ask(&mut app, "/slow", None).await;
        cache.invalidate(Selector::everything()).await.unwrap();
        ask(&mut app, "/x/1", None).await;
    }
    assert_eq!(cache.metrics().policies[0].met, Some(false), "half of the answers are slow");
    assert_eq!(cache.metrics().invalidated, [("everything".to_owned(), 15)]);
}

#[tokio::test(start_paused = true)]
async fn values_count_too() {
    static RATE: Value<u32> = Value::named("rate").fresh_for(MINUTE).per_tenant();
    let (cache, _) = test_util::cache();
    let tenant = Identity::new().with_tenant("7");
    for _ in 0..3 {
        let rate = cache.value(&RATE).for_identity(&tenant).get_or_load(|| async { Ok::<_, ()>(7) }).await.unwrap();
        assert_eq!(*rate, 7);
    }
    cache.value(&RATE).for_identity(&tenant).get().await.unwrap();
    assert_eq!(cache.value(&RATE).for_identity(&Identity::new().with_tenant("8")).get().await, None);
    let metrics = cache.metrics();
    let rate = &metrics.policies[0];
    assert_eq!((&*rate.name, rate.kind, rate.entries), ("rate", PolicyKind::Value, 1));
    assert_eq!((rate.total.hits, rate.total.misses, rate.total.stored, rate.total.fill_time.count), (3, 2, 1, 1));
    let tenants: Vec<_> = metrics.tenants.iter().map(|one| (&*one.name, one.total.hits, one.total.misses)).collect();
    assert_eq!(tenants, [("7", 3, 1), ("8", 0, 1)]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_unused_or_is_invalidated_is_counted() {
    let (cache, clock) = test_util::cache();
    let mut app = app(&cache, Policy::named("x").fresh_for(MINUTE));
    ask(&mut app, "/x/1", None).await;
    ask(&mut app, "/x/2", None).await;
    ask(&mut app, "/x/2", None).await;
    cache.invalidate(Selector::resource("/x/1")).await.unwrap();
    ask(&mut app, "/x/1", None).await;
    let of = |cache: &Cache| {
        let total = cache.metrics().total;
        (total.invalidated, total.unused)
    };
    assert_eq!(of(&cache), (1, 0));
    clock.advance(2 * MINUTE);
    cache.clear();
    assert_eq!(of(&cache), (1, 1), "/x/1 was made anew and used by nobody");
}

#[tokio::test(start_paused = true)]
async fn history_is_in_steps() {
    let (cache, clock) = test_util::cache();
    let mut app = app(&cache, Policy::named("x").fresh_for(60 * MINUTE));
    for _ in 0..12 {
        ask(&mut app, "/x/1", None).await;
        ask(&mut app, "/x/1", None).await;
        clock.advance(Duration::from_secs(10));
        cache.history(HistorySpan::Hour);
    }
    let samples = cache.history(HistorySpan::Hour);
    let hits: Vec<_> = samples.iter().map(|sample| sample.hits).collect();
    assert_eq!(hits, [1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]);
    assert_eq!((samples[0].misses, samples[0].stored, samples[0].used_bytes > 0), (1, 1, true));
    let minutes: Vec<_> = cache.history(HistorySpan::Day).iter().map(|sample| sample.hits).collect();
    assert_eq!(minutes, [11, 12]);
    assert_eq!(cache.history(HistorySpan::Week), []);
}

/// Readings are taken while nobody looks.
#[tokio::test(start_paused = true)]
async fn history_goes_by_itself() {
    let cache = Cache::in_memory(1 << 20);
    let mut app = app(&cache, Policy::fresh_for(MINUTE));
    ask(&mut app, "/x/1", None).await;
    // The system's clock does not stand still, but ten seconds do not pass: one reading, nothing else.
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert!(cache.history(HistorySpan::Hour).len() <= 1);
    assert_eq!(cache.metrics().policies[0].name, "policy-1");
}

#[tokio::test(start_paused = true)]
async fn a_policy_is_that_of_the_newest_layer() {
    let cache = Cache::in_memory(1 << 20);
    let policy = |ratio: f64| Policy::named("x").fresh_for(MINUTE).objective(ratio, MINUTE);
    let wanted = || cache.metrics().policies[0].objective.unwrap().lookup_hit_ratio;
    let table = PolicyTable::new().route("/new", policy(0.7));
    let old = CacheLayer::new(&cache, policy(0.5));
    assert_eq!(wanted(), 0.5);
    let new = CacheLayer::new(&cache, table);
    assert_eq!((wanted(), cache.metrics().policies[0].route.as_deref()), (0.7, Some("/new")));
    assert_eq!(cache.metrics().policies.len(), 1, "they are counted together");
    // The one that is left is in force again.
    drop(new);
    assert_eq!((wanted(), cache.metrics().policies[0].route.as_deref()), (0.5, None));
    drop(old);
    assert_eq!(wanted(), 0.7, "what is known of the newest one stays");
    let (again, (parts, ())) = (CacheLayer::new(&cache, policy(0.9)), Request::get("/").body(()).unwrap().into_parts());
    assert_eq!(wanted(), 0.9);
    assert!(cache.explain_under("x", &parts).is_some());
    drop(again);
    assert!(cache.explain_under("x", &parts).is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_too_many_to_be_told_apart_is_one_row() {
    let cache = Cache::in_memory(1 << 20);
    let policy = |name: String| Policy::named(name).fresh_for(MINUTE);
    let layers: Vec<_> = (0..1024).map(|number| CacheLayer::new(&cache, policy(number.to_string()))).collect();
    for (name, path) in [("one-more", "/x/1"), ("another", "/x/2"), ("others", "/x/3")] {
        let mut app = app(&cache, policy(name.to_owned()));
        ask(&mut app, path, None).await;
        ask(&mut app, path, None).await;
    }
    let metrics = cache.metrics();
    let others = metrics.policies.last().unwrap();
    assert_eq!((metrics.policies.len(), &*others.name, others.route.as_deref()), (1025, "(others)", None));
    assert_eq!((others.total.misses, others.total.hits, others.entries), (3, 3, 3));
    assert_eq!((metrics.total.requests(), metrics.windows.minute.requests()), (6, 6));
    let text = prometheus([&cache]);
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("(others)") && line.contains("outcome=\"hit\"")).collect();
    let expected = "http_cache_requests_total{cache=\"default\",policy=\"(others)\",outcome=\"hit\",reason=\"\"} 3";
    assert_eq!(lines, [expected]);
    drop(layers);
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Observe for Heard {
    fn observe(&self, event: &Event<'_>) {
        let text = match event {
            Event::Request { cache, policy, outcome, reason } => {
                assert_ne!(*outcome, Outcome::Stale, "somebody has to panic");
                format!("{cache} {policy} {outcome} {}", reason.map_or("", |reason| reason.as_str()))
            }
            Event::Fill { policy, .. } => format!("fill {policy}"),
            Event::Stored { policy, .. } => format!("stored {policy}"),
            Event::NotStored { policy, reason, .. } => format!("not stored {policy} {reason}"),
            Event::Invalidated { .. } => "invalidated".to_owned(),
            _ => return,
        };
        self.0.lock().unwrap().push(text.trim_end().to_owned());
    }
}

#[tokio::test(start_paused = true)]
async fn observers_hear_of_everything_and_may_panic() {
    let heard = Heard::default();
    let caches = Caches::builder().cache("api", Cache::builder().observe(heard.clone())).build().unwrap();
    let policy = Policy::named("x").fresh_for(Duration::from_secs(1)).stale_while_revalidate(MINUTE);
    let mut app = app(&caches["api"], policy);
    ask(&mut app, "/x/1", None).await;
    ask(&mut app, "/x/1", None).await;
    ask(&mut app, "/cart", None).await;
    caches["api"].invalidate(Selector::everything().soft()).await.unwrap();
    assert_eq!(ask(&mut app, "/x/1", None).await, StatusCode::OK, "a panic costs nobody anything");
    let heard = heard.0.lock().unwrap().clone();
    let expected = [
        "fill x",
        "api x miss",
        "stored x",
        "api x hit",
        "fill x",
        "api x miss",
        "not stored x set-cookie",
        "invalidated",
    ];
    assert_eq!(heard[..expected.len()], expected);
}

#[tokio::test(start_paused = true)]
async fn prometheus_reads_it() {
    let caches = Caches::builder().cache("api", Cache::builder()).cache("page", Cache::builder()).build().unwrap();
    let policy = Policy::named("x").fresh_for(MINUTE).per_tenant().objective(0.5, MINUTE);
    let mut app = app(&caches["api"], policy);
    for _ in 0..3 {
        ask(&mut app, "/x/secret-path", Some("secret-tenant")).await;
    }
    ask(&mut app, "/x/1", None).await;
    let text = prometheus(caches.iter().map(|(_, cache)| cache));
    for line in [
        "# TYPE http_cache_requests_total counter",
        "http_cache_requests_total{cache=\"api\",policy=\"x\",outcome=\"hit\",reason=\"\"} 2",
        "http_cache_requests_total{cache=\"api\",policy=\"x\",outcome=\"bypass\",reason=\"identity-missing\"} 1",
        "http_cache_fill_seconds_count{cache=\"api\",policy=\"x\"} 1",
        "http_cache_fill_seconds_bucket{cache=\"api\",policy=\"x\",le=\"+Inf\"} 1",
        "http_cache_objective_lookup_hit_ratio{cache=\"api\",policy=\"x\"} 0.5",
        "http_cache_memory_limit_bytes{cache=\"page\"} 67108864",
        "http_cache_entries{cache=\"api\",policy=\"x\"} 1",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(!text.contains("secret"), "neither keys nor tenants are labels");
    // One block for each name, and every line belongs to the block it stands in.
    let mut name = "";
    let mut seen = std::collections::HashSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            name = rest.split(' ').next().unwrap();
            assert!(seen.insert(name), "{name} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(name), "{line} under {name}");
        }
    }
}

/// Prometheus refuses a text in which two lines have the same name and labels.
#[tokio::test(start_paused = true)]
async fn no_series_is_told_twice() {
    static NAMESAKE: Value<u32> = Value::named("x").fresh_for(MINUTE);
    let (one, other) = (Cache::in_memory(1 << 20), Cache::in_memory(1 << 20));
    let mut app = app(&one, Policy::named("x").fresh_for(MINUTE));
    ask(&mut app, "/x/1", None).await;
    one.value(&NAMESAKE).put(7);
    let text = prometheus([&one, &other]);
    let mut seen = std::collections::HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        assert!(seen.insert(series), "{series} twice");
    }
    for line in [
        "http_cache_entries{cache=\"default\",policy=\"x\"} 1",
        "http_cache_entries{cache=\"default\",policy=\"x (value)\"} 1",
        "http_cache_memory_limit_bytes{cache=\"default-2\"} 1048576",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
}

/// A service on its own, without axum's router: the path is the route.
#[tokio::test(start_paused = true)]
async fn routes_are_bounded_and_cut() {
    let (cache, _) = test_util::cache();
    let inner = service_fn(|_: Request<Body>| async {
        let mut response = Response::new(Body::from("x"));
        response.headers_mut().insert("set-cookie", "a=b".parse().unwrap());
        Ok::<_, std::convert::Infallible>(response)
    });
    let mut service = tower::Layer::layer(&CacheLayer::new(&cache, Policy::fresh_for(MINUTE)), inner);
    for id in 0..500 {
        let long = "é".repeat(300);
        let request = Request::get(format!("/{id}/{}", percent(&long))).body(Body::empty()).unwrap();
        service.ready().await.unwrap().call(request).await.unwrap();
    }
    let uncached = cache.metrics().uncacheable;
    assert_eq!(uncached.len(), 64);
    assert!(uncached.iter().all(|row| row.route.len() <= 200 && row.reason == "set-cookie"));
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// What the guide, the dashboard and the alerts name is there, and what is there is in the guide.
#[test]
fn the_guide_the_dashboard_and_the_alerts_know_the_same_series() {
    let read = |path: &str| std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let named = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        let series = words.filter(|word| word.starts_with("http_cache_"));
        let plain = |word: &str| {
            ["_bucket", "_count", "_sum"]
                .iter()
                .fold(word.to_owned(), |word, end| word.strip_suffix(end).map_or(word.clone(), str::to_owned))
        };
        series.map(plain).collect()
    };
    let source = named(&read("src/cache/export/mod.rs"));
    let guide = named(&read("docs/monitoring.md"));
    assert_eq!(source, guide);
    for path in ["docs/grafana/larder.json", "docs/grafana/alerts.yaml"] {
        let used = named(&read(path));
        assert!(used.len() > 5 && used.is_subset(&source), "{path}: {:?}", used.difference(&source));
    }
    let alerts = read("docs/grafana/alerts.yaml");
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(read("docs/monitoring.md").contains(&format!("| `{alert}` |")), "{alert} is not in the guide");
    }
    let _: serde_json::Value = serde_json::from_str(&read("docs/grafana/larder.json")).unwrap();
}

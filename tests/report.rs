//! What the counters say to an operator.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::{Router, body::Body, extract::Path, routing::get};
use http::Request;
use larder::{Advice, AdviceKind, Cache, CacheLayer, Identity, Policy, PolicyTable, Reporter, Selector, test_util};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tower::Service;

const MINUTE: Duration = Duration::from_secs(60);

fn app(cache: &Cache, policy: impl Into<PolicyTable>) -> Router {
    Router::new()
        .route("/same/{id}", get(|| async { "the same for all" }))
        .route(
            "/own/{id}",
            get(|Path(id): Path<String>, request: Request<Body>| async move {
                format!("{id} of {:?}", request.extensions().get::<Identity>().and_then(Identity::user))
            }),
        )
        .route("/cart", get(|| async { ([("set-cookie", "a=b")], "cart") }))
        .route("/slow/{id}", get(|| async { tokio::time::sleep(Duration::from_millis(300)).await }))
        .layer(CacheLayer::new(cache, policy))
}

async fn ask(app: &mut Router, path: &str, user: Option<u64>) {
    let mut request = Request::get(path).body(Body::empty()).unwrap();
    if let Some(user) = user {
        request.extensions_mut().insert(Identity::new().with_tenant(1).with_user(user));
    }
    let response = app.call(request).await.unwrap();
    axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
}

fn of(advice: &[Advice], kind: AdviceKind) -> Option<&Advice> {
    advice.iter().find(|advice| advice.kind == kind)
}

#[tokio::test(start_paused = true)]
async fn what_is_never_stored_is_told_with_what_helps() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("shop").fresh_for(MINUTE));
    for _ in 0..10 {
        ask(&mut app, "/cart", None).await;
    }
    assert_eq!(cache.advice(), [], "too little to tell");
    for _ in 0..90 {
        ask(&mut app, "/cart", None).await;
    }
    let advice = cache.advice();
    let never = of(&advice, AdviceKind::NeverCacheable).unwrap();
    assert_eq!((&*never.policy, never.route.as_deref()), ("shop", Some("/cart")));
    assert!(never.text.contains("set-cookie") && never.change.as_deref().unwrap().contains("strip_set_cookie"));
    assert!(never.kind.is_warning() && never.to_string().starts_with("shop (never-cacheable): /cart was not cached"));
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_more_than_read_is_told_with_the_name() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("shop").fresh_for(MINUTE).tags(["stock"]));
    for _ in 0..80 {
        ask(&mut app, "/same/1", None).await;
        cache.invalidate(Selector::tag("stock")).await.unwrap();
    }
    let advice = cache.advice();
    let told = of(&advice, AdviceKind::InvalidatedMoreThanRead).unwrap();
    assert!(told.text.contains("tag stock (80 times)"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_the_same_for_all_could_be_shared() {
    let (cache, _) = test_util::cache();
    let table = PolicyTable::new()
        .route("/same/{id}", Policy::named("same").fresh_for(MINUTE))
        .route("/own/{id}", Policy::named("own").fresh_for(MINUTE))
        .otherwise(Policy::named("said").fresh_for(MINUTE).per_user());
    let mut app = app(&cache, table);
    for user in 0..60 {
        for path in ["/same/1", "/own/1", "/slow/1"] {
            ask(&mut app, path, Some(user)).await;
        }
    }
    let advice = cache.advice();
    let wider: Vec<_> =
        advice.iter().filter(|advice| advice.kind == AdviceKind::WiderScope).map(|advice| &*advice.policy).collect();
    assert_eq!(wider, ["same"], "one differs by user, and one says itself that it is per user: {advice:?}");
}

#[tokio::test(start_paused = true)]
async fn users_are_no_variants() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("own").fresh_for(MINUTE).per_user());
    for user in 0..60 {
        ask(&mut app, "/own/1", Some(user)).await;
    }
    assert_eq!(of(&cache.advice(), AdviceKind::VariantExplosion), None);
    let own = &cache.metrics().policies[0];
    assert_eq!((own.entries, own.resources), (60, 60));
}

#[tokio::test(start_paused = true)]
async fn hits_that_were_found_wrong_come_first() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("leak").fresh_for(MINUTE).shared().verify(1.0));
    for user in 0..3 {
        ask(&mut app, "/own/1", Some(user)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let advice = cache.advice();
    assert_eq!((advice[0].kind, &*advice[0].policy), (AdviceKind::WrongAnswers, "leak"), "{advice:?}");
    assert!(advice[0].text.contains("2 of the last hits") && advice[0].text.contains("user"), "{}", advice[0]);
}

#[tokio::test(start_paused = true)]
async fn what_goes_unused_or_expires_too_soon_is_told() {
    let (cache, _) = test_util::cache();
    let mut app = app(&cache, Policy::named("shop").fresh_for(MINUTE));
    for id in 0..60 {
        ask(&mut app, &format!("/same/{id}"), None).await;
    }
    cache.clear();
    let advice = cache.advice();
    assert!(
        of(&advice, AdviceKind::TtlTooLong).unwrap().text.contains("of 60 stored in the last hour 60"),
        "{advice:?}"
    );

    let (cache, clock) = test_util::cache();
    let mut app = self::app(&cache, Policy::named("brief").fresh_for(Duration::from_secs(1)));
    for _ in 0..60 {
        ask(&mut app, "/same/1", None).await;
        ask(&mut app, "/same/1", None).await;
        clock.advance(Duration::from_secs(2));
    }
    let advice = cache.advice();
    assert!(of(&advice, AdviceKind::TtlTooShort).unwrap().text.contains("made about 60 times"), "{advice:?}");
}

#[tokio::test(start_paused = true)]
async fn a_report_compares_with_the_one_before() {
    let (cache, clock) = test_util::cache();
    let mut app = app(&cache, Policy::named("shop").fresh_for(60 * MINUTE).per_tenant());
    assert!(cache.last_report().is_none());
    for _ in 0..100 {
        ask(&mut app, "/same/1", Some(1)).await;
    }
    let first = cache.report();
    assert_eq!((first.counts.hits, first.counts.misses, first.regressions.len()), (99, 1, 0));
    assert_eq!((&*first.coverage[0].tenant, first.coverage[0].entries), ("1", 1));
    for id in 0..60 {
        ask(&mut app, &format!("/slow/{id}"), Some(1)).await;
    }
    clock.advance(Duration::from_secs(3600));
    let second = cache.report();
    assert_eq!((second.counts.hits, second.counts.misses), (0, 60), "since the first one");
    assert_eq!(second.at.duration_since(second.since).unwrap(), Duration::from_secs(3600));
    let texts: Vec<_> = second.regressions.iter().map(|one| &*one.text).collect();
    assert!(texts.iter().any(|text| text.starts_with("lookup hit ratio fell from 99 % to 0 %")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("fills take 3")), "{texts:?}");
    assert_eq!(second.bottlenecks[0].0, "shop");
    let text = second.to_string();
    let first_line = "cache default, the last 1.0 h: 60 requests, 0 bypassed, hit ratio 0 %, lookup hit ratio 0 %\n";
    assert!(text.starts_with(first_line), "{text}");
    assert!(second.bottlenecks[0].1.starts_with("60 fills took"), "{text}");
    assert!(Arc::ptr_eq(&cache.last_report().unwrap(), &second));
}

#[tokio::test(start_paused = true)]
async fn a_period_is_told_in_a_unit_that_fits() {
    let (cache, clock) = test_util::cache();
    let mut app = app(&cache, Policy::named("shop").fresh_for(MINUTE));
    ask(&mut app, "/same/1", None).await;
    for (seconds, told) in [
        (0, "the last 0 s: 1 request, 0 bypassed"),
        (59, "the last 59 s: 0 requests"),
        (60, "the last 1 min: 0 requests"),
        (3599, "the last 59 min: 0 requests"),
        (3600, "the last 1.0 h: 0 requests"),
        (6 * 3600, "the last 6.0 h: 0 requests"),
    ] {
        clock.advance(Duration::from_secs(seconds));
        let text = cache.report().to_string();
        assert!(text.starts_with(&format!("cache default, {told}")), "{text}");
    }
}

/// What is missed is told, and what is met is not.
#[tokio::test(start_paused = true)]
async fn an_objective_that_is_missed_is_told_plainly() {
    let missed = async |objective: (f64, Duration)| {
        let (cache, _) = test_util::cache();
        let mut app = app(&cache, Policy::named("shop").fresh_for(60 * MINUTE).objective(objective.0, objective.1));
        for id in 0..10 {
            for _ in 0..2 {
                ask(&mut app, &format!("/slow/{id}"), None).await;
            }
        }
        of(&cache.advice(), AdviceKind::ObjectiveMissed).map(|advice| advice.text.clone())
    };
    let ratio = "in the last five minutes the lookup hit ratio was 50 %, and 80 % is wanted";
    let slow = "50 % of lookups took longer than 100.0ms, and 5 % may";
    assert_eq!(missed((0.8, MINUTE)).await.as_deref(), Some(ratio));
    assert_eq!(missed((0.5, Duration::from_millis(100))).await, Some(format!("in the last five minutes {slow}")));
    assert_eq!(missed((0.8, Duration::from_millis(100))).await, Some(format!("{ratio}; {slow}")));
    assert_eq!(missed((0.5, MINUTE)).await, None);
}

#[tokio::test(start_paused = true)]
async fn reports_end_with_their_cache() {
    let cache = Cache::in_memory(1 << 20);
    let (held, told) = (Arc::new(()), Arc::new(AtomicU64::new(0)));
    let (guard, count) = (Arc::clone(&held), Arc::clone(&told));
    let tell = move |_: &larder::Report| {
        let _ = &guard;
        count.fetch_add(1, Ordering::Relaxed);
    };
    let reporting = Reporter::new(&cache).every(MINUTE).tell(tell).start().unwrap();
    tokio::time::sleep(MINUTE + Duration::from_secs(1)).await;
    assert_eq!((told.load(Ordering::Relaxed), Arc::strong_count(&held)), (1, 2));
    drop(cache);
    // Long before the next one is due.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(Arc::strong_count(&held), 1, "the task is gone, with all that it held");
    reporting.stop();
}

#[tokio::test(start_paused = true)]
async fn reports_come_again_and_again_until_they_are_stopped() {
    let cache = Cache::in_memory(1 << 20);
    let (told, last) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(String::new())));
    let (count, text) = (Arc::clone(&told), Arc::clone(&last));
    assert!(Reporter::new(&cache).every(Duration::from_millis(5)).start().is_err());
    let reporting = Reporter::new(&cache)
        .every(MINUTE)
        .tell(move |report| {
            count.fetch_add(1, Ordering::Relaxed);
            *text.lock().unwrap() = report.cache.clone();
        })
        .start()
        .unwrap();
    tokio::time::sleep(3 * MINUTE + Duration::from_secs(1)).await;
    assert_eq!((told.load(Ordering::Relaxed), &**last.lock().unwrap()), (3, "default"));
    reporting.stop();
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!(told.load(Ordering::Relaxed), 3);

    // By default every six hours; the cache that is gone is not kept.
    drop(Reporter::new(&cache).start().unwrap());
    tokio::time::sleep(7 * 60 * MINUTE).await;
    assert!(cache.last_report().is_some());
    cache.shutdown(Duration::ZERO).await;
}

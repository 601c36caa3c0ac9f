//! The layer together with others: tower-http's outside and inside of it, and itself twice.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use axum::{Router, extract::Path, routing::get};
use http::StatusCode;
use larder::{Cache, CacheLayer, Policy};
use larder_attach::{Answer, Calls, Client, Wire, serve};
use std::{future::pending, sync::Arc, time::Duration};
use tokio::sync::Notify;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower_http::{compression::CompressionLayer, timeout::TimeoutLayer, trace::TraceLayer};

#[tokio::test]
async fn trace_outside() {
    let calls = Calls::default();
    let app = app(&calls).layer(layer(&cache())).layer(TraceLayer::new_for_http());
    assert_second_is_a_hit(app, &calls).await;
}

#[tokio::test]
async fn trace_inside() {
    let calls = Calls::default();
    let app = app(&calls).layer(TraceLayer::new_for_http()).layer(layer(&cache()));
    assert_second_is_a_hit(app, &calls).await;
}

#[tokio::test]
async fn timeout_outside() {
    let (calls, cache) = (Calls::default(), cache());
    let app = app(&calls).layer(layer(&cache)).layer(timeout(HOUR));
    assert_second_is_a_hit(app, &calls).await;

    // What has timed out is not in the way of the next one.
    let app = self::app(&calls).layer(layer(&cache)).layer(timeout(MOMENT));
    let mut client = Client::http1(serve(app).await).await;
    for _ in 0..2 {
        let late = client.get("/hang").await;
        assert_eq!((late.status, late.cache_status()), (StatusCode::GATEWAY_TIMEOUT, vec![]));
    }
}

#[tokio::test]
async fn timeout_inside() {
    let (calls, cache) = (Calls::default(), cache());
    let app = app(&calls).layer(timeout(HOUR)).layer(layer(&cache));
    assert_second_is_a_hit(app, &calls).await;

    let app = self::app(&calls).layer(timeout(MOMENT)).layer(layer(&cache));
    let mut client = Client::http1(serve(app).await).await;
    for _ in 0..2 {
        let late = client.get("/hang").await;
        assert_eq!((late.status, late.cache_status()), (StatusCode::GATEWAY_TIMEOUT, vec!["larder; fwd=miss"]));
    }
    assert_eq!(cache.stats().stored, 1);
}

/// One stored response serves those who want it compressed and those who do not.
#[tokio::test]
async fn compression_outside() {
    let (calls, cache) = (Calls::default(), cache());
    let app = app(&calls).layer(layer(&cache)).layer(CompressionLayer::new());
    let mut client = Client::http1(serve(app).await).await;

    let first = client.get_with("/long", GZIP).await;
    first.assert_stored();
    assert_gzip(&first);
    let second = client.get_with("/long", GZIP).await;
    second.assert_hit();
    assert_gzip(&second);
    assert!(second.body == first.body);
    let plain = client.get("/long").await;
    plain.assert_hit();
    assert_eq!((plain.text(), plain.field("content-encoding")), (&*long(), None));
    assert_eq!((calls.count(), cache.stats().resources), (1, 1));
}

/// Each form is stored for those who accept it.
#[tokio::test]
async fn compression_inside() {
    let (calls, cache) = (Calls::default(), cache());
    let app = app(&calls).layer(CompressionLayer::new()).layer(layer(&cache));
    let mut client = Client::http1(serve(app).await).await;

    let first = client.get_with("/long", GZIP).await;
    first.assert_stored();
    assert_gzip(&first);
    let second = client.get_with("/long", GZIP).await;
    second.assert_hit();
    assert_gzip(&second);
    assert!(second.body == first.body);
    assert_eq!(second.field("content-length"), Some(&*first.body.len().to_string()));
    // As browsers say it.
    client.get_with("/long", &[("accept-encoding", "gzip, deflate, br, zstd")]).await;

    client.get("/long").await.assert_stored();
    let plain = client.get("/long").await;
    plain.assert_hit();
    assert_eq!(plain.text(), long());
    client.get_with("/long", GZIP).await.assert_hit();
}

#[tokio::test]
async fn concurrency_limit_over_all_routes() {
    let calls = Calls::default();
    let app = app(&calls).layer(GlobalConcurrencyLimitLayer::new(1)).layer(layer(&cache()));
    let address = serve(app).await;
    let mut client = Client::http1(address).await;
    client.get("/x").await.assert_stored();
    let hanging = tokio::spawn(async move { Client::http1(address).await.get("/hang").await });
    larder_attach::until(|| calls.count() == 2).await;
    client.get("/x").await.assert_hit();
    assert!(!hanging.is_finished());
    hanging.abort();
}

/// Those who wait for another's fill take no permit of the limit inside, and wait for none: with one permit, and a leader
/// who goes away, all others are answered by one call.
#[tokio::test]
async fn waiters_take_no_permit() {
    let (calls, cache, gate) = (Calls::default(), cache(), Arc::new(Notify::new()));
    let answer = {
        let (calls, gate) = (calls.clone(), Arc::clone(&gate));
        get(move || {
            let text = format!("call {}", calls.next());
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                text
            }
        })
    };
    let app = Router::new().route("/x", answer).layer(GlobalConcurrencyLimitLayer::new(1)).layer(layer(&cache));
    let address = serve(app).await;
    let mut leading = Wire::connect(address).await;
    leading.write(format!("GET /x HTTP/1.1\r\nhost: {address}\r\n\r\n")).await;
    larder_attach::until(|| calls.count() == 1).await;
    let waiting: Vec<_> =
        (0..20).map(|_| tokio::spawn(async move { Client::http1(address).await.get("/x").await })).collect();
    drop(leading);
    larder_attach::until(|| cache.stats().background == 1).await;
    gate.notify_one();
    for waiting in waiting {
        assert_eq!(larder_attach::within(waiting).await.unwrap().text(), "call 1");
    }
    let stats = cache.stats();
    assert_eq!((calls.count(), stats.hits + stats.collapsed, stats.fills), (1, 20, 0), "{stats:?}");
}

/// The inner one sees that the outer one is at work: one stored response, one word on it.
#[tokio::test]
async fn twice_with_one_cache() {
    let (calls, cache) = (Calls::default(), cache());
    let app = app(&calls).layer(layer(&cache)).layer(layer(&cache));
    assert_second_is_a_hit(app, &calls).await;
    let stats = cache.stats();
    assert_eq!((stats.resources, stats.stored, stats.misses, stats.hits), (1, 1, 1, 1), "{stats:?}");
}

/// Both store, and each says what it did (RFC 9211: the one nearest to the user comes last).
#[tokio::test]
async fn twice_with_two_caches() {
    let (calls, inner, outer) = (Calls::default(), cache(), cache());
    let app = app(&calls).layer(layer(&inner)).layer(layer(&outer));
    let mut client = Client::http1(serve(app).await).await;

    let stored = "larder; fwd=miss; stored";
    assert_eq!(client.get("/x").await.cache_status(), [stored, stored]);
    let second = client.get("/x").await;
    assert_eq!(second.cache_status(), [stored, "larder; hit"]);
    assert!(second.field("age").is_some());
    assert_eq!((inner.stats().stored, outer.stats().stored), (1, 1));
    // With the outer one empty, the inner one answers.
    outer.clear();
    assert_eq!(client.get("/x").await.cache_status(), ["larder; hit", stored]);
    assert_eq!(client.get("/x").await.cache_status(), ["larder; hit", "larder; hit"]);
    assert_eq!(calls.count(), 1);
}

async fn assert_second_is_a_hit(app: Router, calls: &Calls) {
    let mut client = Client::http1(serve(app).await).await;
    client.get("/x").await.assert_stored();
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!((second.text(), calls.count()), ("call 1", 1));
}

#[track_caller]
fn assert_gzip(answer: &Answer) {
    assert_eq!(answer.field("content-encoding"), Some("gzip"), "{answer:?}");
    assert_eq!(answer.field("vary"), Some("accept-encoding"), "{answer:?}");
    assert!(answer.body.starts_with(&[0x1f, 0x8b]) && answer.body.len() < long().len());
}

/// `/x` counts its calls, `/hang` never answers, `/long` is worth compressing.
fn app(calls: &Calls) -> Router {
    let calls = calls.clone();
    let answer = get(move |Path(name): Path<String>| {
        let text = format!("call {}", calls.next());
        async move {
            match name.as_str() {
                "hang" => pending().await,
                "long" => long(),
                _ => text,
            }
        }
    });
    Router::new().route("/{name}", answer)
}

fn long() -> String {
    "a line that comes again\n".repeat(1000)
}

fn cache() -> Cache {
    Cache::in_memory(8 << 20)
}

fn layer(cache: &Cache) -> CacheLayer {
    CacheLayer::new(cache, Policy::fresh_for(HOUR))
}

fn timeout(after: Duration) -> TimeoutLayer {
    TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, after)
}

const GZIP: &[(&str, &str)] = &[("accept-encoding", "gzip")];
const HOUR: Duration = Duration::from_secs(3600);
/// Only waited for where nothing would come without it.
const MOMENT: Duration = Duration::from_millis(20);

//! Where the service is mounted: in a nest, under layers, with a prefix or without; health; the page.

use super::*;
use axum::Router;
use larder::{StatsLayer, Store, StoreError, StoreFuture, StoreKey, StoreStats};
use serde_json::json;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

async fn ask(app: &Router, request: Request<Body>) -> Told {
    told(app.clone().oneshot(request).await.unwrap()).await
}

fn look(path: &str) -> Request<Body> {
    request(&Method::GET, path, FULL, &[], "")
}

#[tokio::test]
async fn it_is_found_wherever_it_is() {
    let cache = Cache::in_memory(1 << 20);
    let admin = || admin::router([&cache], Token::new(FULL));
    let nested = Router::new().nest_service("/admin/cache", admin());
    let deep = Router::new().nest("/api/v1", Router::new().nest_service("/admin/cache", admin().at("/admin/cache")));
    let routed = Router::new()
        .route_service("/admin/cache", admin().at("/admin/cache/"))
        .route_service("/admin/cache/{*rest}", admin());
    let fallback = Router::new().fallback_service(admin());
    for (app, prefix) in
        [(nested, "admin/cache"), (deep, "api/v1/admin/cache"), (routed, "admin/cache"), (fallback, "any/where")]
    {
        assert_eq!(
            ask(&app, look(&format!("{prefix}/api/status"))).await.ok()["caches"][0]["health"],
            "healthy",
            "{prefix}"
        );
        assert_eq!(ask(&app, look(&format!("{prefix}/health"))).await.ok()["status"], "healthy", "{prefix}");
        let body = json!({ "selector": { "everything": true } }).to_string();
        assert_eq!(ask(&app, action(&format!("{prefix}/api/manage/invalidate"), FULL, &body)).await.status, 200);
        assert_eq!(ask(&app, look(&format!("{prefix}/api/nothing"))).await.status, 404, "{prefix}");
    }
    let nested = Router::new().nest_service("/admin/cache", admin());
    for path in ["admin/cache", "admin/cache/"] {
        assert!(ask(&nested, look(path)).await.text.starts_with("<!doctype html>"), "{path}");
    }
    let told = send(&admin().at("/admin/cache"), look("admin/cache")).await;
    assert!(told.text.starts_with("<!doctype html>"));
    assert_eq!(send(&admin().at("/admin/cache"), look("else/api/status")).await.status, 404);
}

#[tokio::test]
async fn o_44_no_cache_keeps_anything_of_it() {
    let (cache, _clock) = test_util::cache();
    let admin = admin::router([&cache], tokens());
    // The worst place: under a layer that would keep anything, for everybody.
    let greedy = Policy::fresh_for(MINUTE).shared().override_response().statuses([
        StatusCode::UNAUTHORIZED,
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
    ]);
    let app = Router::new()
        .nest_service("/admin/cache", admin)
        .layer(CacheLayer::new(&cache, greedy))
        .layer(IdentityLayer::from_fn(|_| Some(Identity::new().with_tenant(1))))
        .layer(StatsLayer::on());
    for path in ["", "/", "/health", "/api/status", "/api/explore", "/api/nothing"] {
        for token in [FULL, READ, "", FULL] {
            let path = format!("admin/cache{path}");
            let told = ask(&app, request(&Method::GET, &path, token, &[], "")).await;
            assert_ne!(test_util::outcome(&told.headers), "hit", "{path}");
            assert_eq!(told.headers["cache-control"], "no-store");
            let expected = match (path.contains("/api/"), token) {
                (true, "") => 401,
                (true, _) if path.ends_with("nothing") => 404,
                _ => 200,
            };
            assert_eq!(told.status, expected, "{path} {token}");
            if path.ends_with("status") && token == READ {
                assert_eq!(told.ok()["access"]["name"], "monitoring");
            }
        }
    }
    assert_eq!((cache.stats().resources, cache.stats().stored), (0, 0));
    // Nor do those who ask at once get one another's.
    let asks =
        [FULL, READ, TENANT].map(|token| ask(&app, request(&Method::GET, "admin/cache/api/status", token, &[], "")));
    let [full, read, tenant] = asks;
    let (full, read, tenant) = tokio::join!(full, read, tenant);
    let names = [full, read, tenant].map(|told| told.ok()["access"]["name"].clone());
    assert_eq!(names, ["token", "monitoring", "of one"]);
}

#[tokio::test]
async fn the_page_may_run_what_is_its_own() {
    let cache = Cache::in_memory(1 << 20);
    let admin = admin::router([&cache], Token::new(FULL));
    let mut nonces = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let told = send(&admin, request(&Method::GET, "", "", &[], "")).await;
        assert_eq!(
            (told.status.as_u16(), &told.headers["content-type"]),
            (200, &"text/html; charset=utf-8".parse().unwrap())
        );
        let policy = told.headers["content-security-policy"].to_str().unwrap().to_owned();
        let nonce = policy.split("script-src 'nonce-").nth(1).unwrap().split('\'').next().unwrap().to_owned();
        assert_eq!(told.text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
        for said in [
            "default-src 'none'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(said), "{policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        for left in ["{nonce}", "{style}", "{script}"] {
            assert!(!told.text.contains(left), "{left}");
        }
        assert!(told.text.trim_end().ends_with("</html>") && told.text.contains("api/status"));
        nonces.insert(nonce);
    }
    assert_eq!(nonces.len(), 3);
}

/// A store that is there, or not.
#[derive(Debug)]
struct Shaky(Arc<AtomicBool>);

impl Store for Shaky {
    fn name(&self) -> &str {
        "shaky"
    }

    fn get<'a>(&'a self, _: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<bytes::Bytes>>> {
        StoreFuture::ready(Err(StoreError::Unreachable))
    }

    fn put(&self, _: StoreKey, _: bytes::Bytes, _: Duration) -> StoreFuture<'_, ()> {
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, _: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<larder::Cursor>, _: usize) -> StoreFuture<'a, larder::Page> {
        StoreFuture::ready(Ok(larder::Page::default()))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }

    fn last_stats(&self) -> Option<StoreStats> {
        let mut stats = StoreStats::default();
        (stats.bytes, stats.limit, stats.evicted) = (Some(7), Some(100), Some(3));
        Some(stats)
    }

    fn is_available(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn health_tells_everybody_and_says_nothing_else() {
    let up = Arc::new(AtomicBool::new(true));
    let cache = Cache::builder().store(Shaky(Arc::clone(&up))).build().unwrap();
    let (well, admin) = (Cache::in_memory(1 << 20), admin::router([&cache], Token::new(FULL)));
    let app = Router::new()
        .route_service("/health", admin::health([&well, &cache]))
        .route_service("/well", admin::health(&well))
        .nest_service("/admin/cache", admin);
    let public = |path: &str| request(&Method::GET, path, "", &[], "");
    let healthy = json!({ "status": "healthy", "message": "Cache is working properly" });
    for path in ["health", "health?strict", "admin/cache/health", "well"] {
        assert_eq!(ask(&app, public(path)).await.ok(), healthy, "{path}");
    }
    up.store(false, Ordering::Relaxed);
    for (path, status) in [
        ("health", 200),
        ("health?strict", 503),
        ("health?strict=1", 503),
        ("admin/cache/health", 200),
        ("admin/cache/health?strict", 503),
    ] {
        let told = ask(&app, public(path)).await;
        assert_eq!((told.status.as_u16(), &told.json()["status"]), (status, &json!("degraded")), "{path}");
        members(&told.json(), &["status", "message"]);
        assert!(!told.text.contains("shaky"), "{}", told.text);
        let head = ask(&app, request(&Method::HEAD, path, "", &[], "")).await;
        assert_eq!((head.status.as_u16(), head.text.as_str()), (status, ""));
    }
    assert_eq!(ask(&app, public("well?strict")).await.ok(), healthy);
    assert_eq!(ask(&app, request(&Method::POST, "health", "", &MEANT, "{}")).await.status, 405);
    // Those who may know learn more.
    let told = ask(&app, look("admin/cache/api/status")).await.ok();
    let status = &told["caches"][0];
    assert_eq!(
        (&status["health"], &status["problems"]),
        (&json!("degraded"), &json!(["the store `shaky` does not answer"]))
    );
    members(
        &status["stores"][0],
        &[
            "name",
            "up",
            "hits",
            "misses",
            "writes",
            "dropped",
            "reasons",
            "used_bytes",
            "limit_bytes",
            "evicted",
            "latency",
        ],
    );
    assert_eq!((&status["stores"][0]["up"], &status["stores"][0]["used_bytes"]), (&json!(false), &json!(7)));
}

#[tokio::test]
async fn bodies_of_every_kind_are_read() {
    let cache = Cache::in_memory(1 << 20);
    let admin = admin::router([&cache], Token::new(FULL));
    let body = json!({ "selector": { "everything": true } }).to_string();
    let (head, _) = action("api/manage/invalidate", FULL, "").into_parts();
    let full = http_body_util::Full::new(bytes::Bytes::from(body.clone()));
    assert_eq!(admin.clone().oneshot(Request::from_parts(head.clone(), full)).await.unwrap().status(), 200);
    for (pieces, status) in [
        (vec![Ok(body.clone())], 200),
        (body.bytes().map(|byte| Ok(char::from(byte).to_string())).collect(), 200),
        (vec![Ok(body.clone()), Err("broken")], 400),
        (vec![Ok(" ".repeat(40_000)), Ok(" ".repeat(40_000)), Err("never read")], 413),
        (vec![], 400),
    ] {
        let pieces = Pieces(std::cell::RefCell::new(pieces.into()), std::marker::PhantomPinned);
        let told = told(admin.clone().oneshot(Request::from_parts(head.clone(), pieces)).await.unwrap()).await;
        assert_eq!(told.status, status, "{}", told.text);
    }
}

/// One that is neither `Sync` nor `Unpin`, comes in pieces, and fails.
struct Pieces(std::cell::RefCell<std::collections::VecDeque<Result<String, &'static str>>>, std::marker::PhantomPinned);

impl http_body::Body for Pieces {
    type Data = std::io::Cursor<String>;
    type Error = &'static str;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        let next = self.0.borrow_mut().pop_front();
        std::task::Poll::Ready(next.map(|piece| piece.map(|piece| http_body::Frame::data(std::io::Cursor::new(piece)))))
    }
}

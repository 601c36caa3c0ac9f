//! A share of the memory tier for each tenant, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{Cache, CacheBuilder, CacheLayer, CacheService, Identity, Policy, Selector, test_util};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};

const MINUTE: Duration = Duration::from_secs(60);
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// Answers with as many bytes as the last part of the path says.
#[derive(Clone)]
struct Bytes;

impl Service<Request<Body>> for Bytes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let bytes = request.uri().path().rsplit('/').next().unwrap().parse().unwrap();
        std::future::ready(Ok(Response::new(Body::from(vec![b'x'; bytes]))))
    }
}

type App = CacheService<Bytes>;

fn app(cache: &Cache, policy: Policy) -> App {
    CacheLayer::new(cache, policy).layer(Bytes)
}

fn cache(memory: usize, share: usize) -> (Cache, test_util::ManualClock) {
    test_util::cache_with(Cache::builder().memory(memory).tenant_share(share)).unwrap()
}

/// What became of a request of this tenant for a resource of so many bytes.
async fn ask(app: &App, tenant: &str, resource: usize, bytes: usize) -> &'static str {
    let mut request = Request::get(format!("/{resource}/{bytes}")).body(Body::empty()).unwrap();
    request.extensions_mut().insert(Identity::new().with_tenant(tenant).with_user(resource % 3));
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), bytes);
    test_util::outcome(&head.headers)
}

/// How many of the first resources of a tenant are hits. The others are stored again.
async fn hits(app: &App, tenant: &str, resources: usize, bytes: usize) -> usize {
    let mut hits = 0;
    for resource in 0..resources {
        hits += usize::from(ask(app, tenant, resource, bytes).await == "hit");
    }
    hits
}

#[tokio::test]
async fn a_flood_of_one_tenant_leaves_the_hot_set_of_another() {
    let (cache, _) = cache(16 * MIB, 4 * MIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
    // With head and key about 1 MiB.
    let hot = 512;
    assert_eq!(hits(&app, "a", hot, KIB).await, 0);
    let before = cache.stats().bytes;
    assert!((MIB as u64 * 9 / 10..2 * MIB as u64).contains(&before), "{before}");
    for resource in 0..30_000 {
        assert_eq!(ask(&app, "b", resource, KIB).await, "miss");
    }
    assert_eq!(hits(&app, "a", hot, KIB).await, hot);
    let stats = cache.stats();
    assert!(stats.bytes > 15 * MIB as u64 && stats.bytes <= 16 * MIB as u64, "{stats:?}");
    assert_eq!(stats.stored, stats.evictions + stats.resources, "{stats:?}");
    assert!(stats.not_stored.is_empty(), "{stats:?}");
}

/// Nor does one that asks for everything often, and so pushes out all that is not protected.
#[tokio::test]
async fn it_takes_a_share_to_withstand_hits() {
    let mut left = Vec::new();
    for builder in [Cache::builder(), Cache::builder().tenant_share(MIB)] {
        let (cache, _) = test_util::cache_with(builder.memory(4 * MIB)).unwrap();
        let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
        hits(&app, "a", 256, KIB).await;
        for resource in 0..5_000 {
            for _ in 0..3 {
                ask(&app, "b", resource, KIB).await;
            }
        }
        left.push(hits(&app, "a", 256, KIB).await);
    }
    assert!(left[0] < 64 && left[1] == 256, "{left:?}");
}

#[tokio::test]
async fn one_alone_has_all_and_gives_back_what_another_has_a_right_to() {
    let (cache, _) = cache(4 * MIB, MIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
    hits(&app, "b", 4_000, KIB).await;
    let stats = cache.stats();
    assert!(stats.bytes > 4 * MIB as u64 / 100 * 98, "{stats:?}");
    // Not much less than its share.
    let hot = 375;
    assert_eq!(hits(&app, "a", hot, KIB).await, 0);
    hits(&app, "b", 5_000, KIB).await;
    assert_eq!(hits(&app, "a", hot, KIB).await, hot);
    // What b has used often stays with it as far as there is room.
    let left = hits(&app, "b", 1_000, KIB).await;
    assert!(cache.stats().bytes <= 4 * MIB as u64 && left < 1_000, "{left}");
}

#[tokio::test]
async fn requests_without_a_tenant_are_those_of_one_tenant() {
    let (cache, _) = cache(4 * MIB, MIB);
    let shared = app(&cache, Policy::fresh_for(MINUTE).shared());
    let tenants = app(&cache, Policy::fresh_for(MINUTE));
    // Whoever asks: it has no tenant in its key.
    assert_eq!(hits(&shared, "a", 200, KIB).await, 0);
    assert_eq!(hits(&shared, "b", 200, KIB).await, 200);
    hits(&tenants, "a", 4_000, KIB).await;
    assert_eq!(hits(&shared, "c", 200, KIB).await, 200);
    // And the other way round.
    assert_eq!(hits(&tenants, "d", 200, KIB).await, 0);
    hits(&shared, "a", 4_000, KIB).await;
    assert_eq!(hits(&tenants, "d", 200, KIB).await, 200);
}

#[tokio::test]
async fn ten_thousand_tenants_come_and_go() {
    let (cache, clock) = cache(16 * MIB, MIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
    for tenant in 0..10_000 {
        let tenant = tenant.to_string();
        assert_eq!(ask(&app, &tenant, 0, 100).await, "miss");
        assert_eq!(ask(&app, &tenant, 0, 100).await, "hit", "{tenant}");
    }
    let stats = cache.stats();
    assert!(stats.bytes <= 16 * MIB as u64 && stats.resources > 3_000, "{stats:?}");
    assert_eq!(stats.stored, stats.evictions + stats.resources, "{stats:?}");
    clock.advance(MINUTE);
    // All is stale now: one tenant can have it all.
    hits(&app, "x", 9_000, KIB).await;
    cache.clear();
    let stats = cache.stats();
    assert_eq!((stats.bytes, stats.resources), (0, 0));
    assert_eq!(hits(&app, "x", 100, KIB).await, 0);
    assert_eq!(hits(&app, "x", 100, KIB).await, 100);
}

#[tokio::test]
async fn what_is_larger_than_the_share_is_stored_while_there_is_room() {
    let (cache, _) = cache(8 * MIB, 128 * KIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant().max_body(5 * MIB));
    assert_eq!(ask(&app, "a", 0, 5 * MIB).await, "miss");
    assert_eq!(ask(&app, "a", 0, 5 * MIB).await, "hit");
    assert_eq!(ask(&app, "b", 0, 5 * MIB).await, "miss");
    assert_eq!(ask(&app, "b", 0, 5 * MIB).await, "miss");
    assert_eq!(cache.stats().not_stored.get("no-room"), Some(&2));
    assert_eq!(ask(&app, "a", 0, 5 * MIB).await, "hit");
    assert_eq!(hits(&app, "b", 40, KIB).await, 0);
    assert_eq!(hits(&app, "b", 40, KIB).await, 40);
}

#[tokio::test]
async fn an_invalidation_finds_every_tenant() {
    let (cache, _) = cache(MIB, 128 * KIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
    for tenant in ["a", "b"] {
        hits(&app, tenant, 10, 10).await;
    }
    cache.invalidate(Selector::tenant("a")).await.unwrap();
    assert_eq!((hits(&app, "a", 10, 10).await, hits(&app, "b", 10, 10).await), (0, 10));
    assert!(cache.contains("/3/10"));
    cache.invalidate(Selector::resource("/3/10")).await.unwrap();
    assert!(!cache.contains("/3/10"));
    assert_eq!((hits(&app, "a", 10, 10).await, hits(&app, "b", 10, 10).await), (9, 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_threads_come_to_an_end_within_the_memory_tier() {
    let (cache, _) = cache(4 * MIB, 512 * KIB);
    let app = app(&cache, Policy::fresh_for(MINUTE).per_tenant());
    hits(&app, "hot", 100, KIB).await;
    let done = Arc::new(AtomicBool::new(false));
    let bounded = {
        let (cache, done) = (cache.clone(), Arc::clone(&done));
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert!(cache.stats().bytes <= 4 * MIB as u64);
                std::thread::yield_now();
            }
        })
    };
    let tasks = (0..8).map(|task| {
        let app = app.clone();
        tokio::spawn(async move {
            for round in 0..3_000 {
                let tenant = if task == 0 { "hot".to_owned() } else { (round * task % 5).to_string() };
                let resource = if task == 0 { round % 100 } else { round };
                let bytes = if task > 0 && round % 100 == 0 { 200 * KIB } else { KIB };
                let outcome = ask(&app, &tenant, resource, bytes).await;
                assert!(task > 0 || outcome == "hit", "{outcome}");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    bounded.join().unwrap();
    cache.clear();
    assert_eq!((cache.stats().bytes, cache.stats().resources), (0, 0));
}

#[test]
fn shares_that_cannot_be_meant_are_named() {
    let of = |builder: CacheBuilder| builder.build().unwrap_err().to_string();
    let builder = || Cache::builder().memory(MIB);
    let range = "between 64 KiB and the size of the memory tier, 1048576 bytes, are possible";
    for bytes in [0, 1, 64 * KIB - 1, MIB + 1, usize::MAX] {
        assert_eq!(of(builder().tenant_share(bytes)), format!("tenant_share({bytes}): {range}"));
    }
    let both = of(builder().tenant_share(MIB).memory_entries(5));
    assert!(both.starts_with("tenant_share(1048576) and memory_entries(5): "), "{both}");
    assert!(builder().tenant_share(MIB).build().is_ok() && builder().tenant_share(64 * KIB).build().is_ok());
}

#[cfg(feature = "toml")]
#[test]
fn a_file_says_it_too() {
    use larder::Config;
    let text = "[caches.api]\nmemory = '8 MiB'\ntenant_share = '1 MiB'\n";
    let config = Config::from_toml(text).unwrap();
    assert!(format!("{:?}", config.caches()["api"]).contains("1048576"));
    let error = |text: &str| Config::from_toml(text).map(|_| ()).unwrap_err().to_string();
    let large = error(&text.replace("8 MiB", "512 KiB"));
    assert!(large.starts_with("line 2: caches.api.memory = '512 KiB': tenant_share(1048576): "), "{large}");
    let both = error(&format!("{text}memory_entries = 10\n"));
    assert!(both.starts_with("line 3: caches.api.tenant_share = '1 MiB': tenant_share(1048576) and "), "{both}");
    let wrong = error(&text.replace("'1 MiB'", "'1 MB'"));
    assert!(wrong.starts_with("line 3: caches.api.tenant_share = '1 MB': a size is a number of bytes"), "{wrong}");
}

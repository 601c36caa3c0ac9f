//! What an answer has ended is not taken from a store again, and what was made last is stored before a process ends.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod shelf;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{
    Cache, CacheLayer, CacheService, Policy,
    test_util::{self, ManualClock},
};
use shelf::Shelf;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

type Body = Full<Bytes>;

struct App {
    cache: Cache,
    clock: ManualClock,
    shelf: Shelf,
    calls: Arc<AtomicUsize>,
    app: CacheService<BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>>,
}

impl App {
    /// Each answer has the number of the call and the tag that the request wants; with `x-slow` it waits for the gate.
    fn new(policy: Policy, gate: &Arc<Semaphore>) -> Self {
        let shelf = Shelf::default();
        let (cache, clock) = test_util::cache_with(Cache::builder().store(shelf.clone())).unwrap();
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::clone(gate));
        let counted = Arc::clone(&calls);
        let service = service_fn(move |request: Request<Body>| {
            let (call, gate) = (counted.fetch_add(1, SeqCst) + 1, Arc::clone(&gate));
            async move {
                let said = |name: &str| request.headers().get(name).cloned();
                if said("x-slow").is_some() {
                    gate.acquire().await.unwrap().forget();
                }
                let mut response = Response::new(Full::from(call.to_string()));
                for (name, value) in [("etag", said("x-tag")), ("cache-control", said("x-control"))] {
                    response.headers_mut().extend(value.map(|value| (http::HeaderName::from_static(name), value)));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let app = CacheLayer::new(&cache, policy).layer(BoxCloneSyncService::new(service));
        Self { cache, clock, shelf, calls, app }
    }

    async fn send(&self, request: http::request::Builder) -> String {
        let response = self.app.clone().oneshot(request.body(Body::default()).unwrap()).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    async fn settled(&self) {
        for _ in 0..10_000 {
            let stats = self.cache.stats();
            if stats.writes_waiting == 0 && stats.background == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("it does not end: {:?}", self.cache.stats());
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn shut() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

fn get() -> http::request::Builder {
    Request::get("/x").header("x-tag", "\"a\"")
}

/// A `HEAD` whose answer has another tag ends what is stored: at once, and also where the store cannot remove it.
#[tokio::test]
async fn what_a_head_request_has_ended_is_not_found_in_a_store() {
    for stuck in [false, true] {
        let app = App::new(Policy::rfc9111().stale_if_error(HOUR), &shut());
        let control = |request: http::request::Builder, value| request.header("x-control", value);
        assert_eq!(app.send(control(get(), "max-age=60, stale-if-error=3600")).await, "1");
        app.settled().await;
        app.shelf.stuck.store(stuck, SeqCst);
        let head = Request::head("/x").header("x-tag", "\"b\"").header("cache-control", "no-cache");
        app.send(control(head, "max-age=60")).await;
        app.clock.advance(Duration::from_secs(1));
        // Before anything could be removed.
        assert_eq!(app.send(control(get(), "max-age=60")).await, "3", "stuck: {stuck}");
        assert_eq!(app.cache.stats().stores["shelf"].reasons["ended"], 1);
        app.settled().await;
        app.cache.clear();
        assert_eq!(app.send(get()).await, "3", "what was stored since is found: {stuck}");
        assert_eq!(app.calls.load(SeqCst), 3);
    }
}

/// A refresh that brings what is not stored ends what is.
#[tokio::test]
async fn what_a_refresh_has_ended_is_not_found_in_a_store() {
    let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR).remember_uncacheable(Duration::ZERO);
    let app = App::new(policy, &shut());
    assert_eq!(app.send(get()).await, "1");
    app.settled().await;
    app.shelf.stuck.store(true, SeqCst);
    app.clock.advance(2 * MINUTE);
    assert_eq!(app.send(get().header("x-control", "no-store")).await, "1", "stale, and refreshed");
    app.settled().await;
    assert_eq!(app.calls.load(SeqCst), 2);
    assert_eq!(app.send(get().header("x-control", "no-store")).await, "3");
}

/// What is made while a cache is shut down is in the store when that is over.
#[tokio::test(start_paused = true)]
async fn what_was_made_last_is_stored() {
    let gate = shut();
    let app = App::new(Policy::fresh_for(MINUTE), &gate);
    let leaving = tokio::spawn({
        let app = app.app.clone();
        async move { app.oneshot(get().header("x-slow", "yes").body(Body::default()).unwrap()).await }
    });
    while app.calls.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    leaving.abort();
    assert!(leaving.await.is_err());
    let cache = app.cache.clone();
    let shutdown = tokio::spawn(async move { cache.shutdown(Duration::from_secs(8)).await });
    tokio::time::sleep(Duration::from_secs(5)).await;
    gate.add_permits(1);
    assert_eq!(shutdown.await.unwrap().aborted, 0);
    assert_eq!(app.shelf.kept.lock().unwrap().keys().filter(|key| key.as_str().contains(":1:")).count(), 1);
}

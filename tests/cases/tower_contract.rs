//! TOWER: the readiness contract (O-45).

use crate::support::{App, Down, HOUR, Inner, MINUTE, Reply, Script, head, plain, settle, until};
use http::{Request, Response};
use larder::{Cache, CacheLayer, Policy, assert_hit, assert_stale, test_util};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tower::{Layer, Service, ServiceExt};

type Request_ = Request<Script>;

/// As tower's `ConcurrencyLimit`: takes a permit when asked whether it is ready, and keeps it until it is called or
/// dropped; the call gives it back when it is done.
struct Limited<S> {
    inner: S,
    permits: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    waiting: Option<crate::support::Later<OwnedSemaphorePermit>>,
}

impl<S> Limited<S> {
    fn new(inner: S, permits: &Arc<Semaphore>) -> Self {
        Self { inner, permits: Arc::clone(permits), permit: None, waiting: None }
    }
}

impl<S: Clone> Clone for Limited<S> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), &self.permits)
    }
}

impl<S> Service<Request_> for Limited<S>
where
    S: Service<Request_, Response = Response<Script>, Error = Down>,
    S::Future: Send + 'static,
{
    type Response = Response<Script>;
    type Error = Down;
    type Future = crate::support::Later<Result<Response<Script>, Down>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Down>> {
        if self.permit.is_none() {
            let permits = &self.permits;
            let waiting = self.waiting.get_or_insert_with(|| {
                let permits = Arc::clone(permits);
                Box::pin(async move { permits.acquire_owned().await.unwrap() })
            });
            let permit = std::task::ready!(waiting.as_mut().poll(cx));
            self.permit = Some(permit);
            self.waiting = None;
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request_) -> Self::Future {
        let permit = self.permit.take().expect("called without a permit");
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            drop(permit);
            answer
        })
    }
}

fn stored(
    inner: Inner,
    permits: &Arc<Semaphore>,
) -> (Cache, test_util::ManualClock, larder::CacheService<Limited<Inner>>) {
    let (cache, clock) = crate::behind::cache();
    let policy = Policy::from_response().stale_while_revalidate(HOUR);
    let service = CacheLayer::new(&cache, policy).layer(Limited::new(inner, permits));
    (cache, clock, service)
}

#[tokio::test]
async fn o_45_hits_are_served_while_the_service_is_saturated() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let inner = Inner::by(move |call| {
        let reply = Reply::ok("x").cc("max-age=60");
        if call.uri.path() == "/slow" { reply.gate(&held) } else { reply }
    });
    let permits = Arc::new(Semaphore::new(2));
    let (_cache, clock, service) = stored(inner.clone(), &permits);
    let ask = |request: http::request::Builder| service.clone().oneshot(plain(request));
    ask(Request::get("/x")).await.unwrap().into_body();
    crate::support::Got::read(ask(Request::get("/x")).await.unwrap()).await;
    let slow: Vec<_> = (0..3).map(|n| tokio::spawn(ask(Request::get(format!("/slow?{n}"))))).collect();
    until("saturation", || permits.available_permits() == 0 && inner.calls() == 3).await;
    for request in [Request::get("/x"), head("/x"), Request::get("/x").header("range", "bytes=0-0")] {
        assert_hit!(ask(request).await.unwrap());
    }
    clock.advance(MINUTE);
    assert_stale!(ask(Request::get("/x")).await.unwrap());
    settle().await;
    assert_eq!(inner.calls(), 3, "the refresh waits for its permit, nobody else does");
    for _ in 0..3 {
        gate.notify_one();
        settle().await;
    }
    for slow in slow {
        slow.await.unwrap().unwrap();
    }
    until("the refresh", || inner.calls() == 5).await;
    settle().await;
    assert_eq!(permits.available_permits(), 2, "nothing keeps a permit");
}

/// Asked whether it is ready, again and again, it takes nothing; a hit leaves nothing reserved behind, and neither does a
/// future that is dropped before it was polled, or while it waits.
#[tokio::test]
async fn o_45_no_permit_is_left_behind() {
    let permits = Arc::new(Semaphore::new(2));
    let (_cache, _clock, service) = stored(Inner::by(|_| Reply::ok("x").cc("max-age=60")), &permits);
    let mut service = service;
    for request in [
        Request::get("/x"),
        Request::get("/x"),
        Request::post("/y"),
        head("/z"),
        Request::get("/x").header("upgrade", "h2c"),
    ] {
        for _ in 0..5 {
            poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
            assert_eq!(permits.available_permits(), 2);
        }
        let answer = service.call(plain(request)).await.unwrap();
        assert_eq!(permits.available_permits(), 2);
        crate::support::Got::read(answer).await;
    }
    let all = Arc::clone(&permits).acquire_many_owned(2).await.unwrap();
    for request in [Request::get("/n"), Request::post("/n")] {
        drop(service.call(plain(Request::get("/n"))));
        let mut waiting = pin!(service.call(plain(request)));
        assert!(waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    drop(all);
    assert_eq!(permits.available_permits(), 2);
    assert_hit!(service.call(plain(Request::get("/x"))).await.unwrap());
}

/// What passes by the cache waits until the service is ready, as all others do.
#[tokio::test]
async fn o_45_what_passes_by_waits_for_readiness() {
    let permits = Arc::new(Semaphore::new(1));
    let inner = Inner::by(|_| Reply::ok("x"));
    let (_cache, _clock, service) = stored(inner.clone(), &permits);
    let taken = Arc::clone(&permits).acquire_owned().await.unwrap();
    let waiting = tokio::spawn(service.oneshot(plain(Request::post("/x"))));
    settle().await;
    assert_eq!((inner.calls(), waiting.is_finished()), (0, false));
    drop(taken);
    waiting.await.unwrap().unwrap();
    assert_eq!((inner.calls(), permits.available_permits()), (1, 1));
}

/// A service that is not ready is an error of the service, on every path that asks it, and costs no hit.
#[tokio::test]
async fn o_45_a_service_that_fails_to_be_ready() {
    #[derive(Clone)]
    struct Fragile(Inner, Arc<AtomicBool>);
    impl Service<Request_> for Fragile {
        type Response = Response<Script>;
        type Error = Down;
        type Future = <Inner as Service<Request_>>::Future;
        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Down>> {
            if self.1.load(SeqCst) { Poll::Ready(Err(Down)) } else { self.0.poll_ready(cx) }
        }
        fn call(&mut self, request: Request_) -> Self::Future {
            self.0.call(request)
        }
    }
    let broken = Arc::new(AtomicBool::new(false));
    let (cache, clock) = crate::behind::cache();
    let inner = Fragile(Inner::by(|_| Reply::ok("x").cc("max-age=60")), Arc::clone(&broken));
    let service = CacheLayer::new(&cache, Policy::from_response().stale_if_error(HOUR)).layer(inner);
    let ask = |request: http::request::Builder| service.clone().oneshot(plain(request));
    crate::support::Got::read(ask(Request::get("/x")).await.unwrap()).await;
    broken.store(true, SeqCst);
    assert_hit!(ask(Request::get("/x")).await.unwrap());
    assert!(ask(Request::get("/y")).await.is_err() && ask(head("/y")).await.is_err());
    assert!(ask(Request::options("/x")).await.is_err());
    clock.advance(MINUTE);
    assert_stale!(ask(Request::get("/x")).await.unwrap());
    broken.store(false, SeqCst);
    assert!(ask(Request::get("/y")).await.is_ok());
}

/// Every path calls an instance that was asked, the same one: the scripted service insists on it. Through tower's own
/// `Buffer`-like clones, where each clone has to be asked anew.
#[tokio::test]
async fn o_45_no_call_without_readiness() {
    let inner = Inner::by(|call| match call.uri.path() {
        "/mismatch" if call.has("if-none-match") => Reply::status(304, "").with("etag", "\"other\""),
        "/valid" if call.has("if-none-match") => Reply::status(304, "").with("etag", "\"e\""),
        _ => Reply::ok("x").cc("max-age=60").with("etag", "\"e\""),
    });
    let app = App::new(Policy::from_response(), inner);
    let refreshing = app.beside(Policy::named("r").from_response().stale_while_revalidate(HOUR));
    for path in ["/x", "/mismatch", "/valid"] {
        for app in [&app, &refreshing] {
            app.get(path).await;
            app.advance(61);
            app.send(head(path)).await;
            app.get(path).await;
            settle().await;
            app.send(Request::post(path)).await;
            app.get(path).await;
            app.send(Request::get(path).header("cookie", "a")).await;
        }
    }
    assert!(app.calls() > 20);
}

/// A service that panics costs its own request and nothing else.
#[tokio::test]
async fn o_45_a_panic_costs_one_request() {
    let count = Arc::new(AtomicUsize::new(0));
    let panics = Arc::clone(&count);
    let inner = Inner::by(move |_| {
        assert!(panics.fetch_add(1, SeqCst) != 0, "the handler panics, as it should in this test");
        Reply::ok("x").cc("max-age=60")
    });
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    let asked = tokio::spawn({
        let app = app.clone();
        async move { app.get("/x").await }
    });
    assert!(asked.await.unwrap_err().is_panic());
    assert_eq!(app.get("/x").await.text(), "x");
    assert_hit!(app.get("/x").await);
}

/// Those who wait for another's fill take no permit, and wait for none; a leader that leaves before it had one leaves the
/// fill to those who wait.
#[tokio::test(start_paused = true)]
async fn o_45_waiters_take_no_permit() {
    let inner = Inner::by(|call| Reply::ok(call.number.to_string()).cc("max-age=60").after(MINUTE / 600));
    let permits = Arc::new(Semaphore::new(2));
    let (cache, _clock, service) = stored(inner.clone(), &permits);
    let ask = |path: &str| tokio::spawn(service.clone().oneshot(plain(Request::get(path.to_owned()))));
    let crowd: Vec<_> = (0..50).map(|_| ask("/x")).collect();
    settle().await;
    assert_eq!((permits.available_permits(), inner.calls()), (1, 1));
    let other = ask("/y");
    settle().await;
    assert_eq!((permits.available_permits(), inner.calls()), (0, 2), "the other permit is not for waiters");
    // Saturated: more leaders wait for a permit, and theirs wait for them.
    let late: Vec<_> = (0..20).map(|n| ask(if n % 2 == 0 { "/a" } else { "/b" })).collect();
    settle().await;
    late[0].abort();
    settle().await;
    assert_eq!((inner.calls(), cache.stats().fills, cache.stats().background), (2, 4, 1));
    for (n, asking) in crowd.into_iter().chain([other]).chain(late).enumerate() {
        match asking.await {
            Ok(answer) => drop(crate::support::Got::read(answer.unwrap()).await),
            Err(_) => assert_eq!(n, 51, "the one who left"),
        }
    }
    assert_eq!((inner.calls(), permits.available_permits()), (4, 2));
    let stats = cache.stats();
    assert_eq!((stats.fills, stats.background, stats.misses, stats.collapsed), (0, 0, 4, 49 + 18), "{stats:?}");
    assert_eq!(inner.busy().most(), 2);
}

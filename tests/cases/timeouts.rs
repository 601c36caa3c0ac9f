//! Time: soft and hard timeouts, what runs in the background, and the end of it.

use crate::{
    crowd::{Crowd, Door, Stopwatch, Way, at_rest, collapsed, counted, ms, pass},
    support::{App, Call, HOUR, Inner, MINUTE, Reply, Script, plain, settle, until},
};
use http::Request;
use http_body_util::BodyExt;
use larder::{Cache, Policy, assert_hit, assert_stale};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tracing::{Instrument, Metadata, Subscriber, span};
use tracing_core::span::Current;

/// The first answer goes stale after a minute; the others are made by this function.
fn app(policy: Policy, then: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> App {
    let inner = Inner::by(move |call| if call.number == 1 { Reply::ok("old").cc("max-age=60") } else { then(call) });
    App::new(policy, inner)
}

fn new_after(millis: u64) -> impl Fn(&Call) -> Reply {
    move |call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(millis))
}

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_the_stale_response_is_served() {
    for validator in [false, true] {
        let app = app(Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(100)), new_after(1000));
        app.get("/x").await;
        app.advance(61);
        let watch = Stopwatch::start();
        let request = |n: usize| match n % 3 {
            0 => Request::get("/x"),
            1 => Request::get("/x").header("range", "bytes=0-0"),
            _ => Request::get("/x").header("if-none-match", if validator { "\"e\"" } else { "\"f\"" }),
        };
        let got = Crowd::of(&app, 30, request).await.all().await;
        assert_eq!(watch.millis(), 100);
        for (n, got) in got.iter().enumerate() {
            assert_eq!(got.text(), if n % 3 == 1 { "o" } else { "old" });
            assert!(got.header("cache-status").contains("fwd=stale") && got.header("cache-status").contains("timeout"));
            assert_eq!(got.header("age"), "61");
        }
        let stats = app.stats();
        assert_eq!((stats.stale, stats.timeouts, stats.background, app.calls()), (30, 30, 1, 2));
        // Who comes meanwhile waits as long again, for the same fill.
        let got = Crowd::get(&app, 10, "/x").await.all().await;
        assert!(got.iter().all(|got| got.text() == "old") && app.calls() == 2);
        pass(1000).await;
        let hit = app.get("/x").await;
        assert_hit!(hit);
        assert_eq!(hit.text(), "v2");
        at_rest(&app, 42);
    }
}

/// It is for those who have something to fall back on, and for fills that take that long.
#[tokio::test(start_paused = true)]
async fn where_the_soft_timeout_does_nothing() {
    let soft = Policy::from_response().soft_timeout(ms(100));
    for (policy, millis, took) in [
        (soft.clone().stale_if_error(HOUR), 50, 50),
        (soft.clone(), 1000, 1000),
        (soft.clone().stale_if_error(Duration::from_secs(1)), 1000, 1000),
    ] {
        let app = app(policy, new_after(millis));
        app.get("/x").await;
        app.advance(62);
        let watch = Stopwatch::start();
        let got = Crowd::get(&app, 20, "/x").await.all().await;
        assert!(got.iter().all(|got| got.text() == "v2"));
        assert_eq!((watch.millis(), app.calls(), app.stats().timeouts), (took, 2, 0));
        at_rest(&app, 21);
    }
    // Nor where what was stored is invalidated while they wait.
    let app = app(soft.stale_if_error(HOUR), new_after(1000));
    app.get("/x").await;
    app.advance(61);
    let crowd = Crowd::get(&app, 5, "/x").await;
    app.purge("/x").await;
    assert!(crowd.all().await.iter().all(|got| got.text() == "v2"));
    at_rest(&app, 6);
}

#[tokio::test(start_paused = true)]
async fn after_the_hard_timeout_there_is_504() {
    for waits in [5000, 700] {
        let inner = Inner::by(|call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(2500)));
        let app = App::new(Policy::from_response().hard_timeout(ms(1000)).wait_limit(ms(waits)), inner);
        let watch = Stopwatch::start();
        let crowd = Crowd::get(&app, 20, "/x").await;
        pass(300).await;
        let later = Crowd::get(&app, 20, "/x").await;
        assert!(crowd.all().await.iter().all(|got| got.status == 504 && got.body.is_empty() && !collapsed(got)));
        assert_eq!(watch.millis(), 1000);
        let late = later.all().await;
        assert!(late.iter().all(|got| got.status == 504 && got.header("cache-status").contains("timeout")));
        assert_eq!(watch.millis(), 1300);
        // The fill goes on, is stored, and each request was counted once.
        pass(3000).await;
        assert_hit!(app.get("/x").await);
        let stats = app.stats();
        assert_eq!((stats.timeouts, stats.misses, stats.hits), (40, 40, 1), "{stats:?}");
        assert!(app.calls() <= 2);
        at_rest(&app, 41);
    }
}

#[tokio::test(start_paused = true)]
async fn stale_before_504() {
    let policy = Policy::from_response().stale_if_error(HOUR).hard_timeout(ms(1000));
    for soft in [false, true] {
        let policy = policy.clone();
        let app = app(if soft { policy.soft_timeout(ms(100)) } else { policy }, new_after(5000));
        app.get("/x").await;
        app.advance(61);
        let watch = Stopwatch::start();
        assert!(Crowd::get(&app, 10, "/x").await.all().await.iter().all(|got| got.text() == "old"));
        assert_eq!(watch.millis(), if soft { 100 } else { 1000 });
        // What is invalidated is not served, whatever the time.
        let crowd = Crowd::get(&app, 10, "/x").await;
        app.purge("/x").await;
        assert!(crowd.all().await.iter().all(|got| got.status == 504));
        assert_eq!(watch.millis(), if soft { 1100 } else { 2000 });
        pass(10_000).await;
        at_rest(&app, 21);
    }
}

/// An answer in time, one that fails in time, and one whose body is slow: none of that is a timeout.
#[tokio::test(start_paused = true)]
async fn answers_in_time() {
    let policy = Policy::from_response().hard_timeout(ms(1000));
    let slow_body = || Reply::ok("").cc("max-age=60").body(Script::new().data("a").pause(ms(9000)).data("b").exact(2));
    let app = App::new(policy.clone(), Inner::by(move |_| slow_body().after(ms(900))));
    let got = Crowd::get(&app, 10, "/x").await.all().await;
    assert!(got.iter().all(|got| got.text() == "ab"));
    assert_eq!((app.calls(), app.stats().timeouts), (1, 0));
    let app = App::new(policy, Inner::by(|_| Reply::down().after(ms(400))));
    let results = Crowd::get(&app, 10, "/x").await.results().await;
    assert!(results.iter().all(Result::is_err));
    assert_eq!(app.stats().timeouts, 0);
}

/// A fill that ends when nobody waits for it ends with the last timeout.
#[tokio::test(start_paused = true)]
async fn a_timeout_and_nobody_left() {
    let inner = Inner::by(|_| Reply::ok("x").cc("max-age=60").after(ms(10_000)));
    let app = App::new(Policy::from_response().hard_timeout(ms(1000)).abandon_on_cancel(), inner);
    let first = Crowd::get(&app, 1, "/x").await;
    pass(500).await;
    let second = Crowd::get(&app, 1, "/x").await;
    assert_eq!(first.all().await[0].status, 504);
    assert_eq!(app.inner.busy().now(), 1, "the second still waits");
    assert_eq!(second.all().await[0].status, 504);
    settle().await;
    assert_eq!(app.inner.busy().now(), 0);
    at_rest(&app, 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_in_the_background_than_the_limit() {
    for limit in [0, 3, 100] {
        let inner = Inner::by(|_| Reply::ok("x").cc("max-age=60").after(ms(1000)));
        let app = App::with(Cache::builder().background_limit(limit), Policy::from_response(), inner);
        let crowd = Crowd::of(&app, 20, |n| Request::get(format!("/{n}"))).await;
        assert_eq!(app.calls(), 20);
        for n in 0..20 {
            crowd.leaves(n);
        }
        settle().await;
        assert_eq!((app.stats().background, app.inner.busy().now()), (limit.min(20) as u64, limit.min(20)));
        pass(1010).await;
        let stats = app.stats();
        assert_eq!((stats.stored, stats.background, stats.fills), (limit.min(20) as u64, 0, 0));
        // Those who wait for one that found no place ask for themselves.
        let crowd = Crowd::get(&app, 10, "/other").await;
        crowd.leaves(0);
        assert_eq!(crowd.survivors().await.len(), 9);
        assert_eq!(app.calls() - 20, if limit == 0 { 1 + 9 } else { 1 });
        assert_hit!(app.get("/other").await);
    }
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_then_breaks_off() {
    for (deadline, aborted, stored) in [(500, 2, 1), (1500, 1, 2), (60_000, 0, 3), (0, 3, 0)] {
        let inner = Inner::by(|call| {
            let millis = match call.uri.path() {
                "/1" => 400,
                "/2" => 1400,
                _ => 2400,
            };
            Reply::ok("x").cc("max-age=60").after(ms(millis))
        });
        let app = App::new(Policy::from_response(), inner);
        let crowd = Crowd::of(&app, 3, |n| Request::get(format!("/{}", n + 1))).await;
        for n in 0..3 {
            crowd.leaves(n);
        }
        settle().await;
        let watch = Stopwatch::start();
        let (one, two) = tokio::join!(app.cache.shutdown(ms(deadline)), app.cache.shutdown(ms(deadline)));
        assert_eq!((one.aborted.max(two.aborted), app.stats().stored), (aborted, stored), "{deadline}");
        assert!(watch.millis() <= u128::from(deadline.min(2400)), "{}", watch.millis());
        assert_eq!((app.stats().background, app.stats().fills, app.inner.busy().now()), (0, 0, 0));
        assert_eq!(app.cache.shutdown(ms(1000)).await.aborted, 0, "it is down already");
        assert_eq!(watch.millis(), u128::from(deadline.min(2400)));
    }
}

/// After it nothing begins in the background, and requests are answered as before; those who waited for what was broken
/// off ask for themselves.
#[tokio::test(start_paused = true)]
async fn requests_after_a_shutdown() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60, stale-while-revalidate=60");
        if call.number == 1 { reply.after(ms(10_000)) } else { reply.after(ms(100)) }
    });
    let app = App::new(Policy::from_response(), inner);
    let crowd = Crowd::get(&app, 10, "/x").await;
    crowd.leaves(0);
    settle().await;
    let down = tokio::spawn({
        let cache = app.cache.clone();
        async move { cache.shutdown(ms(1000)).await }
    });
    pass(500).await;
    // It takes on nothing more, while it waits for what it has.
    let other = Crowd::get(&app, 1, "/other").await;
    other.leaves(0);
    settle().await;
    assert_eq!((app.stats().background, app.inner.busy().now()), (1, 1));
    assert_eq!(down.await.unwrap().aborted, 1);
    assert_eq!(crowd.survivors().await.len(), 9);
    assert_hit!(app.get("/x").await);
    // No refresh: the stale response is served in its window, then the service is asked.
    let calls = app.calls();
    app.advance(61);
    assert_stale!(app.get("/x").await);
    settle().await;
    assert_eq!((app.calls(), app.stats().background), (calls, 0));
    app.advance(120);
    let got = Crowd::get(&app, 20, "/x").await.all().await;
    assert!(got.iter().all(|got| got.text() == format!("v{}", calls + 1)), "requests are collapsed as before");
    assert_eq!((app.stats().fills, app.stats().background, app.inner.busy().now()), (0, 0, 0));
}

/// A shutdown in the middle of a body that two read: the one who is still here gets all of it.
#[tokio::test(start_paused = true)]
async fn a_shutdown_spares_those_who_read() {
    for declared in [false, true] {
        let inner = Inner::by(move |_| {
            let body = (0..10).fold(Script::new(), |body, n| body.data(n.to_string()).pause(ms(100)));
            Reply::ok("").cc("max-age=60").body(if declared { body.exact(10) } else { body })
        });
        let app = App::new(Policy::from_response(), inner);
        let mut first = app.head(plain(Request::get("/x"))).await.unwrap();
        first.body_mut().frame().await.unwrap().unwrap();
        let crowd = Crowd::get(&app, 3, "/x").await;
        drop(first);
        settle().await;
        app.cache.shutdown(Duration::ZERO).await;
        assert!(crowd.all().await.iter().all(|got| got.text() == "0123456789" && !got.broken), "{declared}");
        assert_hit!(app.get("/x").await);
        assert_eq!((app.stats().fills, app.stats().background), (0, 0));
    }
}

/// Knows no more of spans than which one is entered, on one thread.
#[derive(Clone, Default)]
struct Spans(Arc<Entered>);

#[derive(Default)]
struct Entered {
    last: AtomicU64,
    stack: Mutex<Vec<u64>>,
    known: Mutex<Vec<&'static Metadata<'static>>>,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span()
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.0.known.lock().unwrap().push(attributes.metadata());
        span::Id::from_u64(self.0.last.fetch_add(1, SeqCst) + 1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, id: &span::Id) {
        self.0.stack.lock().unwrap().push(id.into_u64());
    }
    fn exit(&self, id: &span::Id) {
        assert_eq!(self.0.stack.lock().unwrap().pop(), Some(id.into_u64()));
    }
    fn current_span(&self) -> Current {
        match self.0.stack.lock().unwrap().last() {
            Some(id) => {
                let metadata = self.0.known.lock().unwrap()[usize::try_from(*id).unwrap() - 1];
                Current::new(span::Id::from_u64(*id), metadata)
            }
            None => Current::none(),
        }
    }
}

/// What the handler logs belongs to the request that has made it run, also when that one has gone.
#[tokio::test(start_paused = true)]
async fn the_span_of_the_request_is_kept() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(spans.clone());
    let seen: Arc<Mutex<Vec<Option<u64>>>> = Arc::default();
    let now = |seen: &Arc<Mutex<Vec<Option<u64>>>>| {
        let here = tracing::Span::current().id().map(|id| id.into_u64());
        seen.lock().unwrap().push(here);
    };
    let (notes, door) = (Arc::clone(&seen), Door::new(Way::Open));
    let inner = Inner::by(move |call| {
        now(&notes);
        let (body, later) = (Arc::clone(&notes), call.number % 2 == 1);
        let text = Script::new().data("a").pause(ms(100)).lazy(move || {
            now(&body);
            "b".into()
        });
        let reply = Reply::ok("").cc("max-age=60, stale-while-revalidate=600").body(text);
        if later { reply.after(ms(100)) } else { reply }
    });
    let app = App::new(Policy::from_response(), inner.behind(&door));
    for at in ["nowhere", "door", "work", "head", "refresh"] {
        let uri = format!("/{at}");
        if at == "refresh" {
            app.get(&uri).await;
            seen.lock().unwrap().clear();
            app.advance(61);
        }
        if at == "door" {
            door.turn(Way::Shut);
        }
        let span = tracing::info_span!("request");
        let id = span.id().map(|id| id.into_u64());
        let asking = tokio::spawn({
            let (app, uri) = (app.clone(), uri.clone());
            async move {
                let response = app.head(plain(Request::get(uri))).await.unwrap();
                if at != "head" {
                    response.into_body().collect().await.unwrap();
                }
            }
            .instrument(span)
        });
        // One that waits, in a span of its own.
        settle().await;
        let waiting = tokio::spawn({
            let (app, uri) = (app.clone(), uri.clone());
            async move { app.get(&uri).await }.instrument(tracing::info_span!("waits"))
        });
        settle().await;
        if ["door", "work"].contains(&at) {
            asking.abort();
            settle().await;
            waiting.abort();
        }
        door.turn(Way::Open);
        pass(500).await;
        let mut seen = seen.lock().unwrap();
        // Where several read a body, whoever is there asks for more; the handler itself is the first one's.
        assert!(id.is_some() && seen[0] == id, "{at}: {seen:?}");
        assert!(at == "nowhere" || at == "head" || seen.iter().all(|seen| *seen == id), "{at}: {seen:?}, not {id:?}");
        seen.clear();
    }
    assert_eq!(spans.0.stack.lock().unwrap().len(), 0);
}

/// A client that leaves after a timeout of its own, and one that is answered by ours, at the same moment.
#[tokio::test(start_paused = true)]
async fn timeouts_that_meet() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let inner = Inner::by(move |call| {
        let reply = Reply::ok(call.number.to_string()).cc("max-age=60");
        if call.number == 1 { reply.gate(&held) } else { reply }
    });
    let policy = Policy::from_response().hard_timeout(ms(1000)).wait_limit(ms(1000));
    let app = App::with(Cache::builder().background_timeout(ms(1000)), policy, inner);
    let crowd = Crowd::get(&app, 20, "/x").await;
    pass(1000).await;
    crowd.leaves(3);
    gate.notify_one();
    let results = crowd.survivors().await;
    assert!(results.iter().all(|got| [200, 504].contains(&got.as_ref().unwrap().status.as_u16())));
    pass(2000).await;
    until("the end", || app.stats().fills == 0 && app.stats().background == 0).await;
    assert!(counted(&app.stats()) <= 20);
    assert_eq!(app.get("/x").await.status, 200);
}

#[tokio::test(start_paused = true)]
async fn the_hard_timeout_holds_for_what_is_known_to_be_uncacheable() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok("x").cc("private");
        if call.number > 10 { reply.after(ms(10_000)) } else { reply }
    });
    let app = App::new(Policy::from_response().hard_timeout(ms(1000)), inner);
    for _ in 0..10 {
        app.get("/x").await;
    }
    assert_eq!(app.get("/x").await.status, 504);
}

#[tokio::test(start_paused = true)]
async fn no_place_in_the_background_is_no_failure_of_the_service() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        if call.uri.path() == "/slow" { reply.after(ms(1000)) } else { reply }
    });
    let policy = Policy::from_response().stale_while_revalidate(MINUTE);
    let app = App::with(Cache::builder().background_limit(1), policy, inner);
    app.get("/x").await;
    app.get("/slow").await;
    app.advance(61);
    app.get("/slow").await;
    app.get("/x").await;
    pass(2000).await;
    assert_stale!(app.get("/x").await);
    pass(10).await;
    assert_hit!(app.get("/x").await);
    assert_eq!(app.stats().failed_refreshes, 0);
}

/// The fill that a soft timeout answers in place of goes on, also where nobody may wait for it.
#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_a_fill_that_nobody_can_join_goes_on() {
    let policy = Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(100)).wait_limit(Duration::ZERO);
    let app = app(policy, new_after(500));
    app.get("/x").await;
    app.advance(61);
    assert_eq!(app.get("/x").await.text(), "old");
    pass(1000).await;
    assert_hit!(app.get("/x").await);
    at_rest(&app, 3);
}

#[tokio::test(start_paused = true)]
async fn after_the_soft_timeout_a_fill_that_waits_for_the_service_goes_on() {
    let door = Door::new(Way::Open);
    let inner = Inner::by(|call| Reply::ok(format!("v{}", call.number)).cc("max-age=60"));
    let policy = Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(100));
    let app = App::new(policy, inner.behind(&door));
    app.get("/x").await;
    app.advance(61);
    door.turn(Way::Shut);
    assert_eq!(app.get("/x").await.text(), "v1");
    pass(1000).await;
    door.turn(Way::Open);
    pass(1000).await;
    assert_hit!(app.get("/x").await);
}

//! COALESCE: the one who asked fails (O-19).

use crate::{
    crowd::{Crowd, Door, Stopwatch, Way, at_rest, counted, ms, pass},
    support::{App, Down, Got, HOUR, Inner, MINUTE, Reply, Script, plain, settle},
};
use http::Request;
use larder::{Cache, Policy, assert_hit};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

/// How the service fails, each time after 100 ms, but for those who fail at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Down,
    NeverReady,
    Status(u16),
    /// 503 that says that it may be stored.
    Cacheable503,
    PanicWhenAsked,
    PanicWhenCalled,
    Panic,
    /// After a part of the body.
    Broken,
    BrokenAtOnce,
    /// It ends early.
    Short,
    BodyPanic,
}

const FAILURES: [Failure; 12] = [
    Failure::Down,
    Failure::NeverReady,
    Failure::Status(500),
    Failure::Status(503),
    Failure::Cacheable503,
    Failure::PanicWhenAsked,
    Failure::PanicWhenCalled,
    Failure::Panic,
    Failure::Broken,
    Failure::BrokenAtOnce,
    Failure::Short,
    Failure::BodyPanic,
];

impl Failure {
    fn way(self) -> Way {
        match self {
            Self::NeverReady => Way::Broken,
            Self::PanicWhenAsked => Way::PanicsWhenAsked,
            Self::PanicWhenCalled => Way::PanicsWhenCalled,
            _ => Way::Open,
        }
    }

    fn reply(self) -> Reply {
        let begun = Script::new().data("par").pause(ms(10));
        let ok = |body| Reply::ok("").body(body).after(ms(90));
        match self {
            Self::Status(status) => Reply::status(status, "trouble").after(ms(100)),
            Self::Cacheable503 => Reply::status(503, "trouble").cc("max-age=60").after(ms(100)),
            Self::Panic => Reply::panics_after(ms(100)),
            Self::Broken => ok(begun.data("t").fail()),
            Self::BrokenAtOnce => ok(Script::new().fail()),
            Self::Short => ok(begun).with("content-length", "9"),
            Self::BodyPanic => ok(begun.panics()),
            _ => Reply::down().after(ms(100)),
        }
    }
}

/// Fails as long as it is told to.
fn failing(policy: Policy, failure: Failure) -> (App, impl Fn(bool)) {
    let (door, fails) = (Door::new(failure.way()), Arc::new(AtomicBool::new(true)));
    let failing = Arc::clone(&fails);
    let inner =
        Inner::by(move |_| if failing.load(SeqCst) { failure.reply() } else { Reply::ok("good").after(ms(100)) });
    let app = App::new(policy, inner.behind(&door));
    let turn = move |on| {
        fails.store(on, SeqCst);
        door.turn(if on { failure.way() } else { Way::Open });
    };
    (app, turn)
}

fn is_success(result: &Result<Got, Down>, failure: Failure) -> bool {
    // What is short of its declared length is known for that by the client, as the service's own would be.
    result.as_ref().is_ok_and(|got| got.status == 200 && !got.broken && failure != Failure::Short)
}

/// The service fails for all; then it heals.
#[tokio::test(start_paused = true)]
async fn o_19_leader_fails_with_an_error() {
    for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111().lifetime(MINUTE)] {
        for failure in FAILURES {
            let (app, fails) = failing(policy.clone(), failure);
            for round in 0..2 {
                let watch = Stopwatch::start();
                let results = Crowd::get(&app, 51, "/x").await.survivors().await;
                assert!(watch.millis() <= 200, "{failure:?}: {} ms", watch.millis());
                assert!(!results.iter().any(|result| is_success(result, failure)), "{failure:?} {round}");
                assert!(results.iter().flatten().all(|got| got.status != 200 || got.body.len() < 9));
                settle().await;
                let stats = app.stats();
                assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0), "{failure:?}");
                let panics = format!("{failure:?}").contains("Panic");
                assert!(panics || counted(&stats) == 51 * (round + 1), "each is counted once: {failure:?} {stats:?}");
            }
            if failure != Failure::Cacheable503 {
                assert!(!app.cache.contains("/x"), "{failure:?}");
            }
            app.advance(61);
            fails(false);
            let before = app.calls();
            let healed = app.get("/x").await;
            assert_eq!((healed.status.as_u16(), healed.text(), app.calls()), (200, "good", before + 1), "{failure:?}");
            assert_hit!(app.get("/x").await);
            app.purge("/x").await;
            let got = Crowd::get(&app, 50, "/x").await.all().await;
            assert!(got.iter().all(|got| got.text() == "good") && app.calls() == before + 2, "{failure:?}");
        }
    }
}

/// One flight fails, then it is healed: those who waited ask again at once, side by side.
#[tokio::test(start_paused = true)]
async fn o_19_those_who_waited_succeed() {
    // What may be stored is an answer like others.
    for failure in FAILURES.into_iter().filter(|failure| *failure != Failure::Cacheable503) {
        let (app, fails) = failing(Policy::fresh_for(MINUTE), failure);
        let at_once = matches!(failure, Failure::NeverReady | Failure::PanicWhenAsked | Failure::PanicWhenCalled);
        let watch = Stopwatch::start();
        let crowd = if at_once {
            // Nobody has the time to wait for it.
            assert!(Crowd::get(&app, 1, "/x").await.survivors().await.iter().all(Result::is_err));
            fails(false);
            Crowd::get(&app, 50, "/x").await
        } else {
            let crowd = Crowd::get(&app, 51, "/x").await;
            fails(false);
            crowd
        };
        let results = crowd.survivors().await;
        assert!(watch.millis() <= 200, "{failure:?}: {} ms", watch.millis());
        let good = results.iter().flatten().filter(|got| got.status == 200 && got.text() == "good" && !got.broken);
        // Who has read a part already, since the length was declared, hears that it broke off.
        let broken = results.iter().flatten().filter(|got| got.broken && got.text() == "par").count();
        assert_eq!((good.count(), broken), if failure == Failure::Short { (0, 50) } else { (50, 0) }, "{failure:?}");
        settle().await;
        assert_eq!((app.stats().fills, app.stats().background), (0, 0), "{failure:?}");
        assert_eq!(app.get("/x").await.text(), "good");
        assert_eq!(app.cache.stats().not_stored.get("invalidated"), None);
    }
}

/// Half of them are still stuck in a failing flight while others come.
#[tokio::test(start_paused = true)]
async fn o_19_who_comes_after_the_failure_does_not_wait_for_it() {
    let inner = Inner::by(|call| match call.number {
        1 => Reply::down().after(ms(100)),
        _ => Reply::ok(format!("v{}", call.number)).after(ms(100)),
    });
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    let watch = Stopwatch::start();
    let first = Crowd::get(&app, 10, "/x").await;
    pass(105).await;
    let second = Crowd::get(&app, 10, "/x").await;
    let failed = first.results().await.iter().filter(|result| result.is_err()).count();
    assert_eq!(failed, 1);
    second.all().await;
    assert!(watch.millis() <= 210, "{}", watch.millis());
    // Nine attempts of those who waited, one of those who came after.
    assert_eq!(app.calls(), 1 + 9 + 1);
}

/// What is stored may stand in, and then one attempt is enough for all: with and without a validator.
#[tokio::test(start_paused = true)]
async fn o_19_waiters_get_the_stale_response() {
    for failure in [Failure::Down, Failure::Status(503), Failure::NeverReady] {
        for validator in [false, true] {
            let (door, fails) = (Door::new(Way::Open), Arc::new(AtomicUsize::new(0)));
            let failing = Arc::clone(&fails);
            let inner = Inner::by(move |_| {
                if failing.load(SeqCst) == 1 {
                    return failure.reply();
                }
                let reply = Reply::ok("old").cc("max-age=60").after(ms(100));
                if validator { reply.with("etag", "\"e\"") } else { reply }
            });
            let app = App::new(Policy::from_response().stale_if_error(HOUR), inner.behind(&door));
            app.get("/x").await;
            app.advance(61);
            fails.store(1, SeqCst);
            door.turn(failure.way());
            for round in 0..3 {
                let watch = Stopwatch::start();
                let got = Crowd::get(&app, 100, "/x").await.all().await;
                assert!(got.iter().all(|got| got.text() == "old" && got.outcome() == "stale"), "{failure:?}");
                assert!(watch.millis() <= if round == 0 { 110 } else { 10 }, "it is left alone: {}", watch.millis());
                assert_eq!(app.calls(), if failure == Failure::NeverReady { 1 } else { 2 });
            }
            at_rest(&app, 301);
        }
    }
}

#[test]
fn a_closure_of_the_policy_may_look_at_the_cache() {
    let (done, finished) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let cache: Arc<Mutex<Option<Cache>>> = Arc::default();
            let seen = Arc::clone(&cache);
            let uri = move |parts: &http::request::Parts| {
                drop(seen.lock().unwrap().as_ref().map(Cache::stats));
                parts.uri.clone()
            };
            let inner = Inner::by(|_| Reply::ok("x").cc("max-age=60").after(ms(100)));
            let app = App::new(Policy::from_response().uri(uri), inner);
            *cache.lock().unwrap() = Some(app.cache.clone());
            let first = Crowd::get(&app, 1, "/x").await;
            // The log has moved on since the flight began: what it is about is made again, under the lock.
            app.purge("/other").await;
            let second = Crowd::get(&app, 1, "/x").await;
            first.all().await;
            second.all().await;
        });
        done.send(()).unwrap();
    });
    assert!(finished.recv_timeout(Duration::from_secs(20)).is_ok(), "it hangs");
}

#[tokio::test(start_paused = true)]
async fn errors_are_counted_alike() {
    let inner = Inner::by(|call| if call.number <= 10 { Reply::ok("x").cc("private") } else { Reply::down() });
    let app = App::new(Policy::from_response(), inner);
    for _ in 0..10 {
        app.get("/short").await;
    }
    let before = counted(&app.stats());
    assert!(app.ask(plain(Request::get("/short"))).await.is_err());
    let short = counted(&app.stats()) - before;
    assert!(app.ask(plain(Request::get("/long"))).await.is_err());
    let long = counted(&app.stats()) - before - short;
    assert_eq!(short, long);
}

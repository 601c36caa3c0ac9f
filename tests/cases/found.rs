//! What was once found wrong with fills that are shared.

use crate::{
    crowd::{Crowd, Door, Stopwatch, Way, counted, ms, pass},
    support::{App, HOUR, Inner, MINUTE, Reply, Script, plain, settle},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{Cache, Policy, ResponseBody, assert_hit, assert_stale};
use std::{
    future::poll_fn,
    sync::{Arc, Mutex, mpsc},
    task::Poll,
    time::Duration,
};
use tokio::{runtime::Runtime, sync::Notify};

fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

/// More patient than `until`: the threads of a busy machine take their time.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to this: {what}");
}

#[test]
fn o_24_a_body_over_the_limit_loses_no_frame() {
    threads().block_on(async {
        for round in 0..2000 {
            let whole = |number: usize| (0..40).map(move |n| format!("{number:03} {n:03},"));
            let inner = Inner::by(move |call| {
                let body = whole(call.number).fold(Script::new(), Script::data);
                Reply::ok("").cc("max-age=60").body(body)
            });
            let app = App::new(Policy::fresh_for(MINUTE).max_body(200), inner);
            for got in Crowd::get(&app, 4, "/x").await.all().await {
                let number = got.text()[..3].parse().unwrap();
                assert!(!got.broken);
                assert_eq!(got.text(), whole(number).collect::<String>(), "round {round}");
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn o_22_a_hung_fill_does_not_keep_its_key_for_the_hard_timeout() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        reply.after(if call.number == 1 { Duration::from_secs(100_000) } else { ms(50) })
    });
    let app = App::new(Policy::from_response().hard_timeout(ms(2000)), inner);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(app.get("/x").await.status.as_u16());
        pass(1000).await;
    }
    assert_eq!(statuses[19], 200, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn o_22_a_hung_fill_does_not_keep_its_key_stale_for_the_soft_timeout() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        reply.after(if call.number == 2 { Duration::from_secs(100_000) } else { ms(50) })
    });
    let app = App::new(Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(300)), inner);
    app.get("/x").await;
    app.advance(61);
    for _ in 0..20 {
        app.get("/x").await;
        pass(1000).await;
    }
    assert_hit!(app.get("/x").await);
}

#[tokio::test(start_paused = true)]
async fn o_18_abandoned_at_the_head() {
    for declared in [false, true] {
        let inner = Inner::by(move |_| {
            let body = Script::new().data("one ").pause(ms(10)).data("two");
            Reply::ok("").cc("max-age=60").body(if declared { body.exact(7) } else { body }).after(ms(100))
        });
        let app = App::new(Policy::from_response().abandon_on_cancel(), inner);
        let mut leading = Box::pin(app.call(plain(Request::get("/x"))));
        assert!(poll_fn(|cx| Poll::Ready(leading.as_mut().poll(cx).is_pending())).await);
        let crowd = Crowd::get(&app, 100, "/x").await;
        drop(leading.await.unwrap());
        assert!(crowd.all().await.iter().all(|got| got.text() == "one two"));
        assert!(app.calls() <= 2, "{} calls, declared: {declared}", app.calls());
    }
}

/// The most memory that this process has had, in MiB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn o_24_downloads_of_unknown_length_take_the_memory_of_one() {
    static CHUNK: [u8; 64 * 1024] = [7; 64 * 1024];
    let inner = Inner::by(|_| {
        let body = (0..160).fold(Script::new(), |body, _| body.data(Bytes::from_static(&CHUNK)).pause(ms(1)));
        Reply::ok("").cc("max-age=60").body(body)
    });
    let app = App::with(Cache::builder(), Policy::from_response(), inner);
    let before = peak();
    let reading: Vec<_> = (0..51)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                let mut body = app.head(plain(Request::get("/x"))).await.unwrap().into_body();
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            })
        })
        .collect();
    for reading in reading {
        reading.await.unwrap();
    }
    let grown = peak() - before;
    assert!(grown < 100, "{grown} MiB for 51 requests, where a body of up to 8 MiB is stored");
}

#[tokio::test(start_paused = true)]
async fn o_24_what_nobody_can_join_ends_with_its_client() {
    let inner = Inner::by(|_| {
        let body = (0..600).fold(Script::new(), |body, _| body.data("line\n").pause(ms(1000)));
        Reply::ok("").cc("max-age=60").body(body)
    });
    let app = App::new(Policy::from_response().wait_limit(ms(100)), inner);
    let mut reading = Vec::new();
    for _ in 0..20 {
        let app = app.clone();
        reading.push(tokio::spawn(async move { app.head(plain(Request::get("/x"))).await.unwrap() }));
    }
    pass(300).await;
    let mut streams: Vec<Response<ResponseBody<Script>>> = Vec::new();
    for reading in reading {
        streams.push(reading.await.unwrap());
    }
    drop(streams);
    settle().await;
    // The two that have led may run on.
    let background = app.stats().background;
    assert!(background <= 2, "{background} streams are read in the background, of one resource");
}

#[tokio::test(start_paused = true)]
async fn o_24_later_requests_do_not_wait_for_an_endless_body() {
    let inner = Inner::by(|_| {
        let body = (0..600).fold(Script::new(), |body, n| body.data(format!("line {n}\n")).pause(ms(1000)));
        Reply::ok("").cc("max-age=60").with("content-type", "application/x-ndjson").body(body)
    });
    let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
    let mut streams = Vec::new();
    let mut took = Vec::new();
    for _ in 0..10 {
        let watch = Stopwatch::start();
        streams.push(app.head(plain(Request::get("/x"))).await.unwrap());
        took.push(watch.millis());
        pass(3000).await;
    }
    assert!(took[5..].iter().all(|took| *took < 1000), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn o_22_a_fill_that_lost_its_flight_is_not_stored() {
    for newer in ["no-store", "private", "max-age=10"] {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc("max-age=600").gate(&held),
            _ => Reply::ok("new").cc(newer),
        });
        let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
        let crowd = Crowd::get(&app, 2, "/x").await;
        pass(1500).await;
        app.advance(20);
        gate.notify_one();
        assert_eq!(crowd.all().await[1].text(), "new");
        assert_eq!(app.get("/x").await.text(), "new", "{newer}");
    }
}

#[test]
fn o_41_one_attempt_when_a_refresh_fails_that_others_wait_for() {
    threads().block_on(async {
        for round in 0..500 {
            let gate = Arc::new(Notify::new());
            let held = Arc::clone(&gate);
            let inner = Inner::by(move |call| match call.number {
                1 => Reply::ok("old").cc("max-age=60, stale-while-revalidate=60, stale-if-error=6000"),
                2 => Reply::down().gate(&held),
                _ => Reply::down(),
            });
            let app = App::new(Policy::from_response(), inner);
            app.get("/x").await;
            app.advance(61);
            app.get("/x").await;
            until("a refresh", || app.calls() == 2).await;
            app.advance(60);
            let crowd = Crowd::get(&app, 20, "/x").await;
            gate.notify_one();
            assert!(crowd.all().await.iter().all(|got| got.text() == "old"));
            assert_eq!(app.calls(), 2, "round {round}: one attempt in each back-off");
        }
    });
}

#[tokio::test(start_paused = true)]
async fn o_41_bodies_that_break_off_are_failures_too() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok("old").cc("max-age=60");
        if call.number == 1 { reply } else { reply.body(Script::new().data("n").pause(ms(10)).fail()) }
    });
    let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
    app.get("/x").await;
    app.advance(61);
    for _ in 0..3 {
        Crowd::get(&app, 20, "/x").await.all().await;
    }
    assert!(app.calls() <= 3, "{} calls", app.calls());
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
async fn after_the_soft_timeout_the_fill_goes_on() {
    for what in ["not ready", "no flight"] {
        let door = Door::new(Way::Open);
        let inner = Inner::by(|call| {
            let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
            if call.number == 1 { reply } else { reply.after(ms(500)) }
        });
        let policy = Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(100));
        let policy = if what == "no flight" { policy.wait_limit(Duration::ZERO) } else { policy };
        let app = App::new(policy, inner.behind(&door));
        app.get("/x").await;
        app.advance(61);
        if what == "not ready" {
            door.turn(Way::Shut);
        }
        assert_eq!(app.get("/x").await.text(), "v1");
        pass(1000).await;
        door.turn(Way::Open);
        pass(1000).await;
        assert_hit!(app.get("/x").await);
    }
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
async fn o_20_nobody_waits_for_what_is_validated_each_time() {
    for directives in ["no-cache", "max-age=0"] {
        for validated in [false, true] {
            let inner = Inner::by(move |call| {
                let known = validated && call.has("if-none-match");
                let reply = if known { Reply::status(304, "") } else { Reply::ok("x") };
                reply.cc(directives).with("etag", "\"e\"").after(ms(100))
            });
            let app = App::new(Policy::from_response(), inner);
            let mut took = Vec::new();
            for _ in 0..3 {
                let watch = Stopwatch::start();
                Crowd::get(&app, 20, "/x").await.all().await;
                took.push(watch.millis());
            }
            assert!(took[1..].iter().all(|took| *took <= 110), "{directives}, {validated}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn o_20_what_is_refused_to_requests_with_credentials_is_remembered_for_them() {
    type Kind = (&'static str, fn() -> Reply);
    let kinds: [Kind; 5] = [
        ("max-age", || Reply::ok("x").cc("max-age=60")),
        ("vary *", || Reply::ok("x").cc("max-age=60").with("vary", "*")),
        ("403", || Reply::status(403, "x")),
        ("event stream", || Reply::ok("x").cc("max-age=60").with("content-type", "text/event-stream")),
        ("nothing said", || Reply::ok("x")),
    ];
    for (what, reply) in kinds {
        let app = App::new(Policy::from_response(), Inner::by(move |_| reply().after(ms(100))));
        let mut took = Vec::new();
        for _ in 0..3 {
            let watch = Stopwatch::start();
            let request = |n: usize| Request::get("/x").header("authorization", format!("Bearer {n}"));
            Crowd::of(&app, 20, request).await.all().await;
            took.push(watch.millis());
        }
        assert!(took[1..].iter().all(|took| *took <= 110), "{what}: {took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_for_a_place_looks_again() {
    let inner = Inner::by(|call| match call.number {
        1 => Reply::down().after(ms(100)),
        _ => Reply::ok("x").cc("max-age=60").after(ms(100)),
    });
    let app = App::with(Cache::builder().fill_limit(1), Policy::from_response(), inner);
    let watch = Stopwatch::start();
    let results = Crowd::get(&app, 100, "/x").await.results().await;
    let refused = results.iter().flatten().filter(|got| got.status == 503).count();
    assert!(app.calls() <= 3 && refused == 0, "{} calls, {refused} refused, {} ms", app.calls(), watch.millis());
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

#[tokio::test(start_paused = true)]
async fn one_call_for_all_where_a_body_outlives_its_freshness() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let inner = Inner::by(move |call| {
        let reply = Reply::ok("ab").cc("max-age=60").after(ms(100));
        if call.number == 1 { reply.body(Script::new().data("a").wait(&held).data("b").exact(2)) } else { reply }
    });
    let app = App::new(Policy::from_response(), inner);
    let first = Crowd::get(&app, 1, "/x").await;
    pass(200).await;
    app.advance(61);
    Crowd::get(&app, 20, "/x").await.all().await;
    gate.notify_one();
    first.all().await;
    assert_eq!(app.calls(), 2);
}

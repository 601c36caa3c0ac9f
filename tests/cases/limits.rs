//! RES: so many fills at once (fill limit), so many keys (O-40), and failure for all of them (O-41).

use crate::{
    crowd::{Crowd, Door, Stopwatch, Way, at_rest, ms, pass, patiently, threads},
    support::{App, HOUR, Inner, MINUTE, Random, Reply, Script, plain, settle, until},
};
use http::Request;
use larder::{Cache, Policy, assert_hit, assert_stale};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::Notify;

fn limited(fills: usize, policy: Policy, inner: Inner) -> App {
    App::with(Cache::builder().memory(4 << 20).fill_limit(fills), policy, inner)
}

fn numbered(millis: u64) -> Inner {
    Inner::by(move |call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(millis)))
}

/// After a mass purge the service is asked for no more than the limit at a time, and all are answered.
#[tokio::test(start_paused = true)]
async fn no_more_fills_at_once_than_the_limit() {
    let app = limited(3, Policy::from_response(), numbered(100));
    let watch = Stopwatch::start();
    let crowd = Crowd::of(&app, 200, |n| Request::get(format!("/{}", n % 20))).await;
    assert!(crowd.all().await.iter().all(|got| got.status == 200));
    assert_eq!((app.inner.busy().most(), app.calls(), app.stats().collapsed), (3, 20, 180));
    assert!(watch.millis() <= 710, "{}", watch.millis());
    assert_eq!(app.stats().fills_limited, 17, "waiters take no place");
    at_rest(&app, 200);
    // HEAD, conditional requests and parts ask too.
    let odd = |n: usize| match n % 3 {
        0 => Request::head(format!("/odd/{n}")),
        1 => Request::get(format!("/odd/{n}")).header("if-none-match", "\"e\""),
        _ => Request::get(format!("/odd/{n}")).header("range", "bytes=0-0"),
    };
    app.inner.busy().forget();
    Crowd::of(&app, 12, odd).await.all().await;
    assert_eq!(app.inner.busy().most(), 3);
    // A hit needs no place.
    let slow = Crowd::of(&app, 20, |n| Request::get(format!("/slow/{n}"))).await;
    assert_hit!(app.get("/1").await);
    slow.all().await;
    at_rest(&app, 233);
}

/// A fill counts until its head is there: slow bodies do not hold up the others.
#[tokio::test(start_paused = true)]
async fn slow_bodies_take_no_place() {
    let never = Arc::new(Notify::new());
    let inner =
        Inner::by(move |_| Reply::ok("").cc("max-age=60").body(Script::new().data("a").wait(&never)).after(ms(10)));
    let app = limited(1, Policy::from_response(), inner);
    let mut held = Vec::new();
    for n in 0..20 {
        held.push(app.head(plain(Request::get(format!("/{n}")))).await.unwrap());
    }
    assert_eq!(app.stats().fills, 20);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_a_stale_response_is_served() {
    let stale = Policy::from_response().stale_if_error(HOUR);
    let app = limited(
        1,
        stale,
        Inner::by(|call| {
            let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
            if call.uri.path() == "/hold" { reply.after(ms(1000)) } else { reply }
        }),
    );
    for n in 0..10 {
        app.get(&format!("/{n}")).await;
    }
    app.advance(61);
    let hold = Crowd::get(&app, 1, "/hold").await;
    let watch = Stopwatch::start();
    let got = Crowd::of(&app, 50, |n| Request::get(format!("/{}", n % 10))).await.all().await;
    assert!(got.iter().all(|got| got.header("cache-status").contains("fill-limit") && got.header("age") == "61"));
    assert_eq!((watch.millis(), app.calls()), (0, 11));
    assert_eq!(app.stats().stale, 50);
    hold.all().await;
    // It is no failure: as soon as there is a place, the service is asked.
    assert_eq!(app.get("/1").await.text(), "v12");
    at_rest(&app, 62);
}

#[tokio::test(start_paused = true)]
async fn over_the_limit_others_wait_and_then_503() {
    let app = limited(1, Policy::from_response().wait_limit(ms(2000)), numbered(1500));
    let hold = Crowd::get(&app, 1, "/hold").await;
    let watch = Stopwatch::start();
    let first = Crowd::get(&app, 1, "/first").await;
    pass(1).await;
    let second = Crowd::get(&app, 10, "/second").await;
    let got = second.all().await;
    assert_eq!(watch.millis(), 2001, "the first took its place at 1500 and keeps it until 3000");
    for got in got {
        assert_eq!((got.status.as_u16(), got.header("retry-after"), got.body.len()), (503, "1".to_owned(), 0));
        assert!(got.header("cache-status").contains("fill-limit"));
    }
    assert_eq!((first.all().await[0].status.as_u16(), watch.millis()), (200, 3000));
    hold.all().await;
    assert!(!app.cache.contains("/second"), "503 is not stored");
    assert_eq!(app.get("/second").await.status, 200);
    at_rest(&app, 1 + 1 + 10 + 1);
}

/// Whatever becomes of a fill, its place is free afterwards.
#[tokio::test(start_paused = true)]
async fn no_place_is_lost() {
    let door = Door::new(Way::Open);
    let inner = Inner::by(|call| match call.uri.path() {
        "/down" => Reply::down().after(ms(10)),
        "/500" => Reply::status(500, "").after(ms(10)),
        "/panic" => Reply::panics_after(ms(10)),
        "/body-panic" => Reply::ok("").cc("max-age=60").body(Script::new().panics()),
        "/broken" => Reply::ok("").cc("max-age=60").body(Script::new().data("a").fail()),
        "/private" => Reply::ok("x").cc("private").after(ms(10)),
        "/slow" => Reply::ok("x").cc("max-age=60").after(ms(1000)),
        _ => Reply::ok("x").cc("max-age=60").with("etag", "\"e\"").after(ms(10)),
    });
    for policy in [Policy::from_response(), Policy::from_response().hard_timeout(ms(200)).abandon_on_cancel()] {
        let app = limited(2, policy.wait_limit(ms(500)), inner.clone().behind(&door));
        for round in 0..5 {
            for path in ["/down", "/500", "/panic", "/body-panic", "/broken", "/private", "/slow", "/good"] {
                let crowd = Crowd::get(&app, 5, path).await;
                if round % 2 == 0 {
                    pass(5).await;
                    (0..5).for_each(|n| crowd.leaves(n));
                }
                drop(crowd.survivors().await);
            }
            for way in [Way::Broken, Way::PanicsWhenAsked, Way::PanicsWhenCalled, Way::Shut] {
                door.turn(way);
                let crowd = Crowd::get(&app, 3, &format!("/door/{round}")).await;
                if way == Way::Shut {
                    (0..3).for_each(|n| crowd.leaves(n));
                }
                drop(crowd.survivors().await);
                door.turn(Way::Open);
            }
            app.advance(61);
        }
        pass(5000).await;
        let stats = app.stats();
        assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0), "{stats:?}");
        app.inner.busy().forget();
        let watch = Stopwatch::start();
        Crowd::of(&app, 4, |n| Request::get(format!("/after/{n}"))).await.all().await;
        assert_eq!((app.inner.busy().most(), watch.millis()), (2, 20), "both places are there");
    }
}

/// What is known to give nothing that can be stored is no fill.
#[tokio::test(start_paused = true)]
async fn the_uncacheable_is_exempt() {
    let inner = Inner::by(|_| Reply::ok("x").cc("private").after(ms(100)));
    let app = limited(1, Policy::from_response(), inner);
    // Those who waited know already when they ask.
    let watch = Stopwatch::start();
    Crowd::get(&app, 20, "/x").await.all().await;
    assert_eq!((watch.millis(), app.inner.busy().most()), (200, 19));
    Crowd::get(&app, 20, "/x").await.all().await;
    assert_eq!((watch.millis(), app.inner.busy().most()), (300, 20));
    assert_eq!(app.stats().fills_limited, 0);
    // And bypasses.
    Crowd::of(&app, 20, |_| Request::get("/y").header("cookie", "a=1")).await.all().await;
    assert_eq!(watch.millis(), 400);
    at_rest(&app, 60);
}

/// Refreshes take places too, wait for none, and are tried again.
#[tokio::test(start_paused = true)]
async fn refreshes_under_the_limit() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60, stale-while-revalidate=60");
        if call.number > 10 { reply.after(ms(100)) } else { reply }
    });
    let app = limited(2, Policy::from_response(), inner);
    for n in 0..10 {
        app.get(&format!("/{n}")).await;
    }
    app.advance(61);
    let mut rounds = 0;
    while app.stats().refreshes < 10 {
        for n in 0..10 {
            assert!(["stale", "hit"].contains(&app.get(&format!("/{n}")).await.outcome()));
        }
        pass(110).await;
        rounds += 1;
    }
    assert_eq!((rounds, app.inner.busy().most(), app.stats().failed_refreshes), (5, 2, 0));
    at_rest(&app, 10 + 50);
}

/// Many keys that come once each, and a hundred that come often: nothing grows but what is stored, and that is bounded.
#[tokio::test(start_paused = true)]
async fn o_40_unique_key_flood() {
    let body = vec![b'x'; 10 * 1024];
    let inner = Inner::by(move |call| {
        let reply = Reply::ok(body.clone()).cc("max-age=600");
        if call.number % 7 == 0 { reply.after(ms(1)) } else { reply }
    });
    let app = limited(64, Policy::from_response(), inner);
    let cap = 4 << 20;
    let mut random = Random::seeded(40);
    let (mut hot, mut unique) = (0, 0);
    let mut asked = 0;
    for round in 0..200 {
        let picks: Vec<_> = (0..50)
            .map(|_| {
                if random.below(5) == 0 {
                    format!("/hot/{}", random.below(100))
                } else {
                    format!("/p?cb={}", random.below(u64::MAX))
                }
            })
            .collect();
        hot += picks.iter().filter(|uri| uri.starts_with("/hot")).count();
        unique += picks.iter().filter(|uri| uri.starts_with("/p")).count();
        let crowd = Crowd::of(&app, 50, |n| Request::get(&picks[n])).await;
        asked += 50;
        if round % 10 == 0 {
            (0..5).for_each(|n| crowd.leaves(n));
        }
        crowd.survivors().await;
        let stats = app.stats();
        assert!(stats.bytes <= cap, "{} bytes", stats.bytes);
        assert!(stats.fills <= 50 && stats.background <= 5);
    }
    until("the end", || app.stats().fills == 0 && app.stats().background == 0).await;
    pass(10).await;
    let stats = app.stats();
    assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0));
    assert!(stats.evictions > 1000 && stats.misses >= unique as u64 / 2, "{stats:?}");
    assert!(stats.hits * 100 >= hot as u64 * 70, "{} hits of {hot}, {asked} requests", stats.hits);
}

/// Those keys that nothing can be stored of, or that are asked for once, are remembered within bounds too.
#[tokio::test(start_paused = true)]
async fn o_40_a_flood_of_what_is_not_stored() {
    let inner = Inner::by(|call| Reply::ok("x").cc(if call.number % 2 == 0 { "private" } else { "max-age=60" }));
    let app = App::new(Policy::from_response().min_uses(2), inner);
    for round in 0..100 {
        Crowd::of(&app, 100, |n| Request::get(format!("/{round}/{n}"))).await.all().await;
    }
    assert_eq!((app.stats().resources, app.stats().stored), (0, 0));
    at_rest(&app, 10_000);
}

/// All entries expire in one second, the service fails, many ask at once: one attempt for each key in each back-off.
#[tokio::test(start_paused = true)]
async fn o_41_failure_amplification() {
    for status in [0, 500, 503] {
        for validator in [false, true] {
            for swr in [false, true] {
                let failing = Arc::new(AtomicBool::new(false));
                let attempts: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
                let (fails, tried) = (Arc::clone(&failing), Arc::clone(&attempts));
                let inner = Inner::by(move |call| {
                    if fails.load(SeqCst) {
                        *tried.lock().unwrap().entry(call.uri.to_string()).or_default() += 1;
                        let reply = if status == 0 { Reply::down() } else { Reply::status(status, "") };
                        return reply.after(ms(50));
                    }
                    let reply = Reply::ok("good").cc("max-age=60").after(ms(50));
                    if validator { reply.with("etag", "\"e\"") } else { reply }
                });
                let policy = Policy::from_response().stale_if_error(HOUR);
                let app = App::new(if swr { policy.stale_while_revalidate(MINUTE / 6) } else { policy }, inner);
                let request = |n: usize| Request::get(format!("/{}", n % 20));
                Crowd::of(&app, 20, request).await.all().await;
                failing.store(true, SeqCst);
                app.advance(60);
                for second in 0..60 {
                    // Each client tries three times.
                    for _ in 0..3 {
                        for got in Crowd::of(&app, 40, request).await.all().await {
                            assert_stale!(got);
                            assert_eq!(got.text(), "good");
                        }
                    }
                    app.advance(1);
                    let most = 1 + second / 30;
                    let worst = attempts.lock().unwrap().values().copied().max().unwrap();
                    assert!(worst <= most, "{worst} attempts in {second} s, {status} {validator} {swr}");
                }
                failing.store(false, SeqCst);
                app.advance(30);
                Crowd::of(&app, 20, request).await.all().await;
                pass(100).await;
                let calls = app.calls();
                assert!(Crowd::of(&app, 100, request).await.all().await.iter().all(|got| got.outcome() == "hit"));
                assert_eq!(app.calls(), calls, "back to normal");
                at_rest(&app, 20 + 60 * 120 + 20 + 100);
            }
        }
    }
}

/// The same on four threads, where those who wait are woken while the failure is still being dealt with.
#[test]
fn o_41_failure_amplification_on_threads() {
    threads().block_on(async {
        for round in 0..300 {
            let count = Arc::new(AtomicUsize::new(0));
            let failures = Arc::clone(&count);
            let inner = Inner::by(move |call| match call.number {
                1 => Reply::ok("old").cc("max-age=60"),
                _ => {
                    failures.fetch_add(1, SeqCst);
                    Reply::down().after(ms(0))
                }
            });
            let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
            app.get("/x").await;
            app.advance(61);
            let got = Crowd::get(&app, 50, "/x").await.all().await;
            assert!(got.iter().all(|got| got.text() == "old"));
            assert_eq!(count.load(SeqCst), 1, "{round}");
            settle().await;
        }
    });
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
            patiently("a refresh", || app.calls() == 2).await;
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

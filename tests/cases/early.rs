//! FRESH: refreshing before the lifetime is over, lifetimes that are not all the same, and refreshes that others wait for
//! (O-28 with waiters).

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, collapsed, ms, pass},
    support::{App, Call, HOUR, Inner, MINUTE, Reply, head, plain, settle},
};
use http::Request;
use larder::{Policy, assert_hit, assert_miss, assert_stale};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The first answer comes at once and lives for a minute; the others take 100 ms.
fn numbered() -> Inner {
    Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        if call.number == 1 { reply } else { reply.after(ms(100)) }
    })
}

#[tokio::test(start_paused = true)]
async fn an_eager_refresh_comes_at_its_part_of_the_lifetime() {
    let app = App::new(Policy::from_response().eager_refresh(0.8), numbered());
    app.get("/x").await;
    app.advance(47);
    assert_hit!(app.get("/x").await);
    pass(200).await;
    assert_eq!(app.calls(), 1, "not before");
    app.advance(1);
    let request = |n: usize| match n % 4 {
        0 => head("/x"),
        1 => Request::get("/x").header("range", "bytes=0-0"),
        _ => Request::get("/x"),
    };
    let watch = Stopwatch::start();
    let got = Crowd::of(&app, 100, request).await.all().await;
    assert!(watch.millis() == 0 && got.iter().all(|got| got.outcome() == "hit" && got.header("age") == "48"));
    assert_eq!(app.calls(), 2, "one for all");
    assert!(!app.inner.seen().iter().any(|call| call.has("range") || call.method == "HEAD"));
    pass(200).await;
    let got = app.get("/x").await;
    assert_hit!(got);
    assert_eq!((got.text(), got.header("age"), app.stats().refreshes), ("v2", "0".to_owned(), 1));
    at_rest(&app, 1 + 1 + 100 + 1);
}

/// It fails: the copy is as good as before, and the service is left alone for a while.
#[tokio::test(start_paused = true)]
async fn an_eager_refresh_that_fails() {
    let inner = Inner::by(|call| if call.number == 1 { Reply::ok("v1").cc("max-age=600") } else { Reply::down() });
    let app = App::new(Policy::from_response().eager_refresh(0.5), inner);
    app.get("/x").await;
    app.advance(300);
    for second in 0..60 {
        assert!(Crowd::get(&app, 20, "/x").await.all().await.iter().all(|got| got.outcome() == "hit"));
        settle().await;
        assert_eq!(app.calls(), 2 + second / 30);
        app.advance(1);
    }
    at_rest(&app, 1 + 1200);
}

/// The end of the lifetime comes while it is under way: who asks waits for it.
#[tokio::test(start_paused = true)]
async fn who_comes_too_late_for_the_fresh_copy_joins_the_eager_refresh() {
    let app = App::new(Policy::from_response().eager_refresh(0.5), numbered());
    app.get("/x").await;
    app.advance(40);
    assert_hit!(app.get("/x").await);
    pass(50).await;
    app.advance(30);
    let got = Crowd::get(&app, 50, "/x").await.all().await;
    assert!(got.iter().all(|got| got.text() == "v2" && collapsed(got)));
    assert_eq!(app.calls(), 2);
    at_rest(&app, 52);
}

/// XFetch: never for what costs nothing, nearly always for what costs much.
#[tokio::test(start_paused = true)]
async fn xfetch_goes_by_what_the_last_fill_took() {
    for (took, beta, at, refreshes) in [(0, 100.0, 59, false), (30, 10.0, 50, true), (1, 0.001, 30, false)] {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let app = App::new(
            Policy::from_response().xfetch(beta),
            Inner::by(move |call| {
                let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
                if call.number == 1 { reply.gate(&held) } else { reply }
            }),
        );
        let filling = Crowd::get(&app, 1, "/x").await;
        app.advance(took);
        gate.notify_one();
        filling.all().await;
        app.advance(at);
        for _ in 0..200 {
            assert_hit!(app.get("/x").await);
            settle().await;
        }
        assert_eq!(app.calls() > 1, refreshes, "{took} {beta} {at}");
        assert!(app.calls() <= 2, "what is refreshed took no time at all");
    }
}

#[tokio::test(start_paused = true)]
async fn jitter_spreads_the_end_of_lifetimes() {
    let inner = Inner::by(|_| Reply::ok("x").cc("max-age=1000"));
    let uris: Vec<_> = (0..200).map(|n| format!("/{n}")).collect();
    let mut ends = Vec::new();
    let app = App::new(Policy::rfc9111().jitter(0.2), inner);
    for uri in &uris {
        app.get(uri).await;
    }
    app.advance(799);
    for _ in 0..202 {
        let mut hits = 0;
        for uri in &uris {
            hits +=
                usize::from(app.send(Request::get(uri).header("cache-control", "only-if-cached")).await.status == 200);
        }
        ends.push(hits);
        app.advance(1);
    }
    assert_eq!((ends[0], ends[201]), (200, 0), "none ends before four fifths of it, none lives longer");
    assert!((60..=140).contains(&ends[100]), "{} of 200 at half of the spread", ends[100]);
    assert!(ends.windows(2).all(|pair| pair[0] >= pair[1] && pair[0] - pair[1] < 20), "never many at once");
    assert_eq!(app.get("/0").await.header("cache-control"), "max-age=1000", "clients are told what was said");
}

/// Half as long again each time that nothing has changed, half as long each time that something has.
#[tokio::test(start_paused = true)]
async fn adaptive_lifetimes_follow_the_changes() {
    let bounds = || Policy::fresh_for(secs(60)).adaptive_lifetime(secs(20)..=secs(180));
    let text = Arc::new(AtomicUsize::new(0));
    for validator in [false, true] {
        text.store(0, SeqCst);
        let now = Arc::clone(&text);
        let inner = Inner::by(move |call| {
            let tag = format!("\"{}\"", now.load(SeqCst));
            let reply =
                if call.header("if-none-match") == tag { Reply::status(304, "") } else { Reply::ok(tag.clone()) };
            if validator { reply.with("etag", tag) } else { reply }
        });
        let app = App::new(bounds(), inner);
        app.get("/x").await;
        let lives = async |seconds: f64| {
            let lifetime = Duration::from_secs_f64(seconds);
            app.clock.advance(lifetime - ms(1));
            assert_eq!(app.get("/x").await.outcome(), "hit", "{seconds} {validator}");
            app.clock.advance(ms(1));
            let outcome = app.get("/x").await.outcome();
            assert!(["miss", "revalidated"].contains(&outcome), "{seconds} {validator}: {outcome}");
        };
        for seconds in [60.0, 90.0, 135.0, 180.0] {
            lives(seconds).await;
        }
        // Each change is found at the end of the lifetime before.
        let after =
            [(180.0, true), (90.0, true), (45.0, true), (22.5, true), (20.0, true), (20.0, false), (30.0, false)];
        for (before, changed) in after {
            text.fetch_add(usize::from(changed), SeqCst);
            lives(before).await;
        }
        lives(45.0).await;
    }
    // What a response states stays as it was stated.
    let app = App::new(bounds(), Inner::by(|_| Reply::ok("x").cc("max-age=30")));
    for _ in 0..3 {
        assert_miss!(app.get("/x").await);
        app.advance(29);
        assert_hit!(app.get("/x").await);
        app.advance(1);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_for_once_is_not_stored() {
    let app = App::new(Policy::from_response().min_uses(3), numbered());
    for (outcome, stored) in [("miss", false), ("miss", false), ("miss", true), ("hit", true)] {
        assert_eq!(app.get("/x").await.outcome(), outcome);
        assert_eq!(app.cache.contains("/x"), stored);
    }
    assert_eq!(app.not_stored("too-few-uses"), 2);
    // Those who wait are uses too: it is stored for them, and shared.
    let got = Crowd::get(&app, 50, "/y").await.all().await;
    assert_eq!(got.iter().filter(|got| collapsed(got)).count(), 49);
    // Not enough of them: each has an answer of its own, and none is wrong.
    let crowd = Crowd::get(&app, 2, "/z").await.all().await;
    assert!(crowd.iter().all(|got| got.status == 200 && !collapsed(got)));
    assert!(app.cache.contains("/y") && !app.cache.contains("/z"));
    assert_miss!(app.get("/z").await);
    assert_hit!(app.get("/z").await);
    at_rest(&app, 4 + 50 + 2 + 2);
}

/// The first answer goes stale after a minute; the others are made by this function.
fn stale(policy: Policy, then: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> App {
    let inner = Inner::by(move |call| if call.number == 1 { Reply::ok("old").cc("max-age=60") } else { then(call) });
    App::new(policy, inner)
}

/// 500 requests a second in the window, the first client gone: one call, of 300 ms.
#[tokio::test(start_paused = true)]
async fn o_28_five_hundred_a_second() {
    let then = |call: &Call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(300));
    let app = stale(Policy::from_response().stale_while_revalidate(MINUTE), then);
    app.get("/x").await;
    app.advance(61);
    let first = tokio::spawn({
        let app = app.clone();
        async move { app.head(plain(Request::get("/x"))).await.map(drop) }
    });
    settle().await;
    first.abort();
    let watch = Stopwatch::start();
    let mut crowds = Vec::new();
    for _ in 0..500 {
        crowds.push(Crowd::get(&app, 1, "/x").await);
        pass(2).await;
    }
    let mut texts = Vec::new();
    for crowd in crowds {
        texts.push(crowd.all().await[0].text().to_owned());
    }
    assert!(watch.millis() <= 1010, "nobody waits");
    let old = texts.iter().take_while(|text| *text == "old").count();
    assert!((145..=151).contains(&old) && texts[old..].iter().all(|text| text == "v2"), "{old} before the refresh");
    assert_eq!((app.calls(), app.stats().refreshes, app.stats().failed_refreshes), (2, 1, 0));
    at_rest(&app, 502);
}

/// After the window nobody is served stale: those who ask wait for the refresh that is under way, with or without a
/// validator, of this variant and no other.
#[tokio::test(start_paused = true)]
async fn o_28_after_the_window_requests_join_the_refresh() {
    for validator in [false, true] {
        for fails in [false, true] {
            let inner = Inner::by(move |call| {
                let reply = match call.number {
                    2 if fails => Reply::down(),
                    2 if call.has("if-none-match") => Reply::status(304, ""),
                    number => Reply::ok(format!("v{number}")),
                };
                let reply = reply.cc("max-age=60, stale-while-revalidate=60").with("vary", "accept-language");
                let reply = if validator { reply.with("etag", "\"e\"") } else { reply };
                if call.number == 1 { reply } else { reply.after(ms(300)) }
            });
            let app = App::new(Policy::from_response(), inner);
            let get = |language: &'static str| Request::get("/x").header("accept-language", language);
            app.send(get("fr")).await;
            app.advance(61);
            assert_stale!(app.send(get("fr").header("range", "bytes=0-0")).await);
            app.advance(60);
            let watch = Stopwatch::start();
            let crowd = Crowd::of(&app, 50, |_| get("fr")).await;
            assert_eq!(app.calls(), 2);
            let other = Crowd::of(&app, 1, |_| get("en")).await;
            assert_eq!((app.calls(), crowd.waiting()), (3, 50));
            let got = crowd.all().await;
            if fails {
                // Each asks for itself.
                assert!(got.iter().all(|got| got.text().starts_with('v') && got.text() != "v1"));
                assert!(watch.millis() <= 610, "{}", watch.millis());
            } else {
                let text = if validator { "v1" } else { "v2" };
                assert!(got.iter().all(|got| got.text() == text && collapsed(got)), "{validator}");
                assert_eq!((watch.millis(), app.calls()), (300, 3));
            }
            other.all().await;
            at_rest(&app, 53);
        }
    }
}

/// While those who ask wait for the refresh, the resource is invalidated: who comes then does not.
#[tokio::test(start_paused = true)]
async fn o_28_a_refresh_that_is_overtaken_by_a_purge() {
    let then = |call: &Call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(300));
    let app = stale(Policy::from_response().stale_while_revalidate(MINUTE).stale_if_error(HOUR), then);
    app.get("/x").await;
    app.advance(61);
    assert_stale!(app.get("/x").await);
    app.advance(60);
    let before = Crowd::get(&app, 10, "/x").await;
    app.purge("/x").await;
    let after = Crowd::get(&app, 10, "/x").await;
    assert!(before.all().await.iter().all(|got| got.text() == "v2"));
    assert!(after.all().await.iter().all(|got| got.text() == "v3"));
    assert_eq!((app.calls(), app.not_stored("invalidated")), (3, 1));
    assert_hit!(app.get("/x").await);
    at_rest(&app, 23);
}

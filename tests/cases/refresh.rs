//! FRESH: stale-while-revalidate (O-28).

use crate::support::{App, Call, HOUR, Inner, MINUTE, Reply, Script, head, plain, settle, until};
use http::Request;
use larder::{Policy, assert_hit, assert_miss, assert_stale};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::Notify;

fn policy() -> Policy {
    Policy::from_response().stale_while_revalidate(HOUR)
}

/// The first answer goes stale after a minute; the others are made by this function.
fn app(policy: Policy, then: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> App {
    App::new(
        policy,
        Inner::by(move |call| if call.number == 1 { Reply::ok("old").cc("max-age=60") } else { then(call) }),
    )
}

#[tokio::test]
async fn o_28_one_refresh_at_a_time() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let app = app(policy(), move |call| Reply::ok(format!("new {}", call.number)).cc("max-age=60").gate(&held));
    app.get("/x").await;
    app.advance(61);
    // The first client goes away without reading anything.
    drop(app.head(plain(Request::get("/x"))).await.unwrap());
    let asking: Vec<_> = (0..500)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move { app.get("/x").await })
        })
        .collect();
    for asked in asking {
        let got = asked.await.unwrap();
        assert_stale!(got);
        assert_eq!(got.text(), "old");
    }
    assert_eq!(app.calls(), 2);
    gate.notify_one();
    until("the refresh", || app.stats().refreshes == 1).await;
    let got = app.get("/x").await;
    assert_hit!(got);
    assert_eq!((got.text(), app.calls(), app.stats().failed_refreshes), ("new 2", 2, 0));
    // And again, in the next window.
    app.advance(61);
    assert_stale!(app.get("/x").await);
    until("another refresh", || app.calls() == 3).await;
}

/// Refreshes of different resources and variants do not wait for one another.
#[tokio::test]
async fn o_28_one_refresh_for_each_key_and_variant() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let first = Arc::new(AtomicUsize::new(0));
    let inner = Inner::by(move |_| {
        let reply = Reply::ok("x").cc("max-age=60").with("vary", "accept-language");
        if first.fetch_add(1, SeqCst) < 4 { reply } else { reply.gate(&held) }
    });
    let app = App::new(policy(), inner);
    let asked = || {
        [("/x", "fr"), ("/x", "en"), ("/y", "fr"), ("/y?a=1", "fr")]
            .map(|(uri, lang)| Request::get(uri).header("accept-language", lang))
    };
    for request in asked() {
        assert_miss!(app.send(request).await);
    }
    app.advance(61);
    for round in 0..2 {
        for request in asked() {
            assert_stale!(app.send(request).await);
        }
        settle().await;
        assert_eq!(app.calls(), 8, "{round}");
    }
    for _ in 0..4 {
        gate.notify_one();
        settle().await;
    }
    for request in asked() {
        assert_hit!(app.send(request).await);
    }
}

#[tokio::test]
async fn o_28_it_carries_nothing_of_the_client_but_the_key() {
    for validator in [false, true] {
        for method in ["GET", "HEAD"] {
            let policy = policy().ignore_cookies().key_headers(["x-tenant"]).query_only(["a"]).surrogate();
            let inner = Inner::by(move |call| {
                let reply = Reply::ok(call.number.to_string()).cc("public, max-age=60").with("vary", "accept-language");
                if validator { reply.with("etag", "\"stored\"") } else { reply }
            });
            let app = App::new(policy, inner);
            let keyed = || {
                Request::get("/x?a=1&evil=2")
                    .header("host", "a.example")
                    .header("x-tenant", "A")
                    .header("x-forwarded-proto", "https")
                    .header("accept-language", "fr")
                    .header("accept-encoding", "br;q=0.5, weird")
            };
            app.send(keyed()).await;
            let filled = app.inner.last();
            app.advance(61);
            let stale = keyed()
                .method(method)
                .header("range", "bytes=0-0")
                .header("if-range", "\"stored\"")
                .header("if-none-match", "\"client\"")
                .header("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT")
                .header("content-length", "0")
                .header("connection", "x-hop, keep-alive")
                .header("connection", "X-Hop-Too")
                .header("x-hop", "1")
                .header("x-hop-too", "1")
                .header("keep-alive", "1")
                .header("te", "trailers")
                .header("proxy-connection", "keep-alive");
            assert_stale!(app.send(stale).await);
            until("a refresh", || app.stats().refreshes == 1).await;
            let call = app.inner.last();
            assert_eq!((call.method.as_str(), &call.uri, call.body.len()), ("GET", &filled.uri, 0));
            for gone in [
                "range",
                "if-range",
                "if-modified-since",
                "content-length",
                "connection",
                "x-hop",
                "x-hop-too",
                "keep-alive",
                "te",
                "proxy-connection",
            ] {
                assert!(!call.has(gone), "{gone}");
            }
            assert_eq!(call.header("if-none-match"), if validator { "\"stored\"" } else { "" });
            for kept in ["host", "x-tenant", "x-forwarded-proto", "accept-language", "accept-encoding"] {
                assert_eq!(call.header(kept), filled.header(kept), "{kept}");
            }
            let got = app.send(keyed()).await;
            assert_hit!(got);
            assert_eq!(got.text(), "2");
        }
    }
}

#[tokio::test]
async fn o_28_failure_keeps_the_entry_until_the_window_ends() {
    type Failure = (&'static str, fn() -> Reply);
    let failures: [Failure; 7] = [
        ("down", Reply::down),
        ("500", || Reply::status(500, "")),
        ("503 that says it is fresh", || Reply::status(503, "").cc("max-age=600")),
        ("429", || Reply::status(429, "")),
        ("broken", || Reply::ok("").cc("max-age=60").body(Script::new().data("n").fail())),
        ("wrong length", || Reply::ok("new").cc("max-age=60").with("content-length", "99")),
        ("panic", || panic!("the handler panics, as it should in this test")),
    ];
    for (what, failure) in failures {
        let app = app(Policy::from_response().stale_while_revalidate(MINUTE * 10), move |_| failure());
        app.get("/x").await;
        app.advance(61);
        for round in 1..=5 {
            for _ in 0..3 {
                let got = app.get("/x").await;
                assert_stale!(got);
                assert_eq!((got.status.as_u16(), got.text()), (200, "old"), "{what}");
                settle().await;
            }
            assert_eq!(app.stats().failed_refreshes, round, "{what}: one attempt in each while that it is left alone");
            assert_eq!(app.calls() as u64, 1 + round, "{what}");
            app.advance(30);
        }
        app.advance(10 * 60 - 150);
        let asked = tokio::spawn({
            let app = app.clone();
            async move { app.ask(plain(Request::get("/x"))).await.ok().map(|got| got.body) }
        });
        let asked = asked.await.ok().flatten();
        assert_ne!(asked, Some("old".into()), "{what}: the window has ended");
    }
}

/// A refresh that finds the resource no longer to be shared, or gone, ends what is stored.
#[tokio::test]
async fn o_28_a_refresh_may_end_the_entry() {
    let endings: [fn() -> Reply; 6] = [
        || Reply::ok("mine").cc("private"),
        || Reply::ok("mine").cc("no-store"),
        || Reply::ok("mine").cc("max-age=60").with("set-cookie", "sid=1"),
        || Reply::status(404, "gone").cc("no-store"),
        || Reply::ok("mine").cc("max-age=60").with("vary", "*"),
        || Reply::status(403, "no"),
    ];
    for ending in endings {
        let app = app(policy(), move |_| ending());
        app.get("/x").await;
        app.advance(61);
        assert_stale!(app.get("/x").await);
        until("a refresh", || app.stats().refreshes == 1).await;
        let got = app.get("/x").await;
        assert_miss!(got);
        assert_ne!(got.text(), "old");
        assert_eq!(app.stats().failed_refreshes, 0);
    }
}

/// While a refresh runs the window may end, and then nobody is served stale.
#[tokio::test(start_paused = true)]
async fn o_28_a_slow_refresh_does_not_stretch_the_window() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let app = app(Policy::from_response().stale_while_revalidate(MINUTE), move |call| {
        let reply = Reply::ok(format!("new {}", call.number)).cc("max-age=60");
        if call.number == 2 { reply.gate(&held) } else { reply }
    });
    app.get("/x").await;
    app.advance(61);
    assert_stale!(app.get("/x").await);
    until("a refresh", || app.calls() == 2).await;
    app.advance(60);
    let got = app.get("/x").await;
    assert_miss!(got);
    assert_eq!(got.text(), "new 3");
    // The refresh that began earlier does not displace what came later.
    gate.notify_one();
    until("the end of the refresh", || app.stats().refreshes == 1).await;
    let got = app.get("/x").await;
    assert_hit!(got);
    assert_eq!((got.text(), app.not_stored("superseded")), ("new 3", 1));
}

/// What a stale answer looks like on every path, and that each asks for one refresh.
#[tokio::test]
async fn o_28_stale_answers_on_every_path() {
    for request in [
        || Request::get("/x"),
        || head("/x"),
        || Request::get("/x").header("range", "bytes=0-1"),
        || Request::get("/x").header("if-none-match", "\"e\""),
        || Request::get("/x").header("range", "bytes=99-"),
    ] {
        let inner = Inner::by(|call| Reply::ok(format!("body {}", call.number)).cc("max-age=60").with("etag", "\"e\""));
        let app = App::new(policy(), inner);
        app.get("/x").await;
        app.advance(61);
        let got = app.send(request()).await;
        assert_stale!(got);
        assert_eq!(got.header("age"), "61");
        until("a refresh", || app.stats().refreshes == 1).await;
        assert_eq!(app.get("/x").await.text(), "body 2");
    }
}

/// Without a runtime to refresh on, or with the service gone for good, a stale answer is all the same an answer.
#[tokio::test]
async fn o_28_the_window_of_the_response_comes_first() {
    for (stated, at, outcome) in [
        ("max-age=60, stale-while-revalidate=10", 69, "stale"),
        ("max-age=60, stale-while-revalidate=10", 70, "miss"),
        ("max-age=60, stale-while-revalidate=0", 60, "miss"),
        ("max-age=60, stale-while-revalidate=99999999999999999999", 1_000_000, "stale"),
        ("max-age=60, stale-while-revalidate=x", 0, "miss"),
    ] {
        let app = App::new(policy(), Inner::by(move |_| Reply::ok("x").cc(stated)));
        app.get("/x").await;
        app.advance(at);
        assert_eq!(app.get("/x").await.outcome(), outcome, "{stated} at {at}");
        settle().await;
    }
}

//! The behaviours that <https://cache-tests.fyi> asks of a shared cache, with `Policy::rfc9111()`: what requests say.

use crate::support::{App, HOUR, Inner, Reply, head, plain};
use http::Request;
use larder::{Policy, assert_hit, assert_miss};

fn app(directives: &'static str) -> App {
    let inner = Inner::by(move |call| Reply::ok(call.number.to_string()).cc(directives).with("date", "junk"));
    App::new(Policy::rfc9111(), inner)
}

/// What comes of a request with these directives, so long after the response was stored with those.
async fn outcome(stored: &'static str, after: u64, asking: &str) -> &'static str {
    let app = app(stored);
    app.get("/x").await;
    app.advance(after);
    let got = app.send(Request::get("/x").header("cache-control", asking)).await;
    assert!(got.status == 504 || got.text() == if got.outcome() == "miss" { "2" } else { "1" });
    if got.status == 504 { "504" } else { got.outcome() }
}

#[tokio::test]
async fn rfc9111_request_directives() {
    for (stored, after, asking, expected) in [
        ("max-age=3600", 1, "", "hit"),
        ("max-age=3600", 1, "max-age=0", "miss"),
        ("max-age=3600", 100, "max-age=99", "miss"),
        ("max-age=3600", 100, "max-age=100", "hit"),
        ("max-age=3600", 100, "max-age=200", "hit"),
        ("max-age=3600", 100, "MAX-AGE=\"99\"", "miss"),
        ("max-age=3600", 100, "max-age=junk", "miss"),
        ("max-age=3600", 100, "max-age=200, max-age=5", "miss"),
        ("max-age=3600", 100, "max-age=99999999999999999999", "hit"),
        ("max-age=100", 101, "max-age=200", "miss"),
        ("max-age=3600", 1, "no-cache", "miss"),
        ("max-age=3600", 1, "No-Cache", "miss"),
        ("max-age=3600", 1, "no-cache=x", "miss"),
        ("max-age=3600", 1, "x-no-cache", "hit"),
        ("max-age=3600", 1, "foo=\"no-cache\"", "hit"),
        ("max-age=3600", 1, "no-store", "hit"),
        ("max-age=3600", 1, "only-if-cached", "hit"),
        ("max-age=100", 101, "only-if-cached", "504"),
        ("max-age=3600", 1, "only-if-cached, no-cache", "504"),
        ("max-age=100", 10, "min-fresh=90", "hit"),
        ("max-age=100", 11, "min-fresh=90", "miss"),
        ("max-age=100", 11, "min-fresh=junk", "miss"),
        ("max-age=100", 0, "min-fresh=101", "miss"),
        ("max-age=100", 99, "min-fresh=0", "hit"),
        ("max-age=100", 110, "max-stale", "stale"),
        ("max-age=100", 110, "max-stale=10", "stale"),
        ("max-age=100", 111, "max-stale=10", "miss"),
        ("max-age=100", 110, "max-stale=junk", "miss"),
        ("max-age=100", 110, "max-stale=\"10\"", "stale"),
        ("max-age=100", 110, "max-stale=99, max-stale=5", "miss"),
        ("max-age=100", 110, "max-stale, max-age=105", "stale"),
        ("max-age=100", 110, "max-stale=10, max-age=50", "miss"),
        ("max-age=100", 50, "max-stale=100, max-age=10", "hit"),
        ("max-age=100, must-revalidate", 110, "max-stale", "miss"),
        ("max-age=100, proxy-revalidate", 110, "max-stale=1000", "miss"),
        ("s-maxage=100", 110, "max-stale=1000", "miss"),
        ("max-age=100", 110, "max-stale, only-if-cached", "stale"),
        ("max-age=100", 110, "stale-if-error=1000", "miss"),
    ] {
        assert_eq!(outcome(stored, after, asking).await, expected, "{stored}, {after} s later: {asking}");
    }
}

/// What nothing is stored for is no reason to go forward with `only-if-cached`.
#[tokio::test]
async fn rfc9111_only_if_cached_without_anything() {
    let app = app("max-age=60");
    for request in [Request::get("/x"), head("/x")] {
        let got = app.send(request.header("cache-control", "only-if-cached")).await;
        assert_eq!((got.status.as_u16(), got.body.len()), (504, 0));
    }
    assert_eq!(app.calls(), 0);
    app.get("/x").await;
    assert_hit!(app.send(head("/x").header("cache-control", "only-if-cached")).await);
}

/// A request's `no-store` keeps its response out, and takes nothing away.
#[tokio::test]
async fn rfc9111_request_no_store() {
    let app = app("max-age=60");
    let ask = || Request::get("/x").header("cache-control", "no-store");
    for _ in 0..2 {
        assert_miss!(app.send(ask()).await);
    }
    assert_eq!(app.not_stored("request-no-store"), 2);
    assert_miss!(app.get("/x").await);
    assert_hit!(app.send(ask()).await);
    assert_hit!(app.get("/x").await);
}

/// `Pragma` is deprecated; a cache need not honour it, and this one does not (RFC 9111 §5.4).
#[tokio::test]
async fn rfc9111_pragma_is_ignored() {
    let app = app("max-age=60");
    app.get("/x").await;
    assert_hit!(app.send(Request::get("/x").header("pragma", "no-cache")).await);
    assert_hit!(app.send(Request::get("/x").header("pragma", "no-cache").header("cache-control", "max-age=9")).await);
    assert_miss!(app.send(Request::get("/x").header("pragma", "x").header("cache-control", "no-cache")).await);
}

/// A forced reload brings the new response for everyone.
#[tokio::test]
async fn rfc9111_a_reload_replaces() {
    let app = app("max-age=3600");
    app.get("/x").await;
    for (asking, number) in [("no-cache", "2"), ("max-age=0", "3"), ("max-age=0, no-cache", "4")] {
        app.advance(1);
        assert_eq!(app.send(Request::get("/x").header("cache-control", asking)).await.text(), number);
        let got = app.get("/x").await;
        assert_hit!(got);
        assert_eq!((got.text(), got.header("age").as_str()), (number, "0"));
    }
}

/// `Cache-Status` says that a fresh response was not good enough for the request (RFC 9211 §2.2).
#[tokio::test]
async fn rfc9111_a_reload_is_said_to_be_by_request() {
    let app = app("max-age=3600");
    app.get("/x").await;
    for asking in ["no-cache", "min-fresh=9999"] {
        let got = app.send(Request::get("/x").header("cache-control", asking)).await;
        let said = larder::semantics::cache_status::member(got.headers(), "larder").unwrap();
        assert_eq!(said.fwd.as_deref(), Some("request"), "{asking}");
    }
    app.advance(3600);
    let got = app.send(Request::get("/x").header("cache-control", "no-cache")).await;
    let said = larder::semantics::cache_status::member(got.headers(), "larder").unwrap();
    assert!(matches!(said.fwd.as_deref(), Some("request" | "stale")));
}

#[tokio::test]
async fn rfc9111_stale_if_error() {
    for (stored, asking, status, after, served) in [
        ("max-age=100, stale-if-error=60", "", 503, 159, true),
        ("max-age=100, stale-if-error=60", "", 503, 160, false),
        ("max-age=100, stale-if-error=60", "", 500, 110, true),
        ("max-age=100, stale-if-error=60", "", 504, 110, true),
        ("max-age=100, stale-if-error=60", "", 0, 110, true),
        ("max-age=100, stale-if-error=60", "", 404, 110, false),
        ("max-age=100, stale-if-error=60", "", 429, 110, false),
        ("max-age=100", "", 503, 110, false),
        ("max-age=100", "", 0, 110, false),
        ("max-age=100", "stale-if-error=60", 503, 110, true),
        ("max-age=100", "stale-if-error=60", 503, 161, false),
        ("max-age=100, must-revalidate, stale-if-error=60", "", 503, 110, false),
        ("max-age=100, no-cache, stale-if-error=60", "", 0, 10, false),
        ("s-maxage=100, stale-if-error=60", "", 0, 110, false),
        ("max-age=100, stale-if-error=junk", "", 0, 0, false),
    ] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc(stored).with("etag", "\"e\""),
            _ if status == 0 => Reply::down(),
            _ => Reply::status(status, "trouble"),
        });
        let app = App::new(Policy::rfc9111(), inner);
        app.get("/x").await;
        app.advance(after);
        let got = app.ask(plain(Request::get("/x").header("cache-control", asking))).await;
        let old = got.is_ok_and(|got| got.text() == "old" && got.outcome() == "stale");
        assert_eq!(old, served, "{stored}, {status} after {after} s, {asking}");
    }
}

#[tokio::test]
async fn rfc9111_stale_while_revalidate() {
    for (stored, after, expected) in [
        ("max-age=100, stale-while-revalidate=60", 99, "hit"),
        ("max-age=100, stale-while-revalidate=60", 100, "stale"),
        ("max-age=100, stale-while-revalidate=60", 159, "stale"),
        ("max-age=100, stale-while-revalidate=60", 160, "miss"),
        ("max-age=100, stale-while-revalidate=60, must-revalidate", 110, "miss"),
        ("max-age=100, stale-while-revalidate=0", 100, "miss"),
        ("max-age=0, stale-while-revalidate=60", 1, "stale"),
    ] {
        assert_eq!(outcome(stored, after, "").await, expected, "{stored} after {after} s");
        crate::support::settle().await;
    }
    // What the request demands comes first.
    for asking in ["no-cache", "max-age=5", "max-stale=5", "min-fresh=1"] {
        assert_eq!(outcome("max-age=100, stale-while-revalidate=60", 120, asking).await, "miss", "{asking}");
    }
}

#[tokio::test]
async fn rfc9111_stale_with_windows_of_the_policy() {
    let inner = Inner::by(|call| if call.number == 1 { Reply::ok("old").cc("max-age=100") } else { Reply::down() });
    let app = App::new(Policy::rfc9111().stale_if_error(HOUR), inner);
    app.get("/x").await;
    app.advance(3000);
    assert_eq!(app.get("/x").await.outcome(), "stale");
    app.advance(700);
    assert!(app.ask(plain(Request::get("/x"))).await.is_err());
}

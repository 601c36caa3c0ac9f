//! STORE: which statuses are kept (O-04).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, head, plain};
use http::{Request, StatusCode};
use larder::{Policy, assert_hit, assert_miss, assert_stale};

const NEVER_BY_DEFAULT: [u16; 40] = [
    101, 201, 202, 205, 206, 207, 226, 299, 302, 303, 304, 307, 399, 400, 401, 402, 403, 405, 406, 407, 408, 409, 412,
    413, 414, 415, 416, 418, 421, 425, 426, 428, 429, 431, 451, 499, 500, 503, 511, 599,
];

#[tokio::test]
async fn o_04_statuses_not_covered_by_the_default_lifetime() {
    for status in NEVER_BY_DEFAULT {
        for policy in [Policy::fresh_for(MINUTE), Policy::fresh_for(MINUTE).override_response()] {
            let inner = Inner::by(move |_| Reply::status(status, "x").with("etag", "\"e\""));
            let app = App::new(policy, inner);
            for calls in [1, 2] {
                let got = app.get("/x").await;
                assert_eq!((got.status.as_u16(), got.outcome(), app.calls()), (status, "miss", calls), "{status}");
            }
            assert!(!app.cache.contains("/x"), "{status}");
        }
    }
    for status in [200, 203, 204, 300, 301, 308, 404, 410] {
        let app = App::new(Policy::fresh_for(MINUTE), Inner::by(move |_| Reply::status(status, "")));
        app.get("/x").await;
        let got = app.get("/x").await;
        assert_hit!(got);
        assert_eq!(got.status.as_u16(), status);
    }
}

/// With explicit freshness any final status but 206, 304, those that answer a condition, a range or a negotiation of one
/// client, and those that RFC 6585 forbids to store; with `must-understand` none that we do not implement.
#[tokio::test]
async fn o_04_explicit_freshness() {
    for status in NEVER_BY_DEFAULT {
        let stored = |line: &'static str| async move {
            let app = App::new(Policy::from_response(), Inner::by(move |_| Reply::status(status, "").cc(line)));
            app.get("/x").await;
            app.get("/x").await;
            app.calls() == 1
        };
        let never = matches!(status, 101 | 206 | 304 | 406 | 412 | 416 | 428 | 429 | 431 | 511);
        assert_eq!(stored("max-age=60").await, !never, "{status}");
        assert_eq!(stored("public, s-maxage=60").await, !never, "{status}");
        if matches!(status, 299 | 399 | 418 | 499 | 599 | 206 | 304 | 101) {
            assert!(!stored("max-age=60, must-understand").await, "{status}");
            assert!(!stored("max-age=60, must-understand, no-store").await, "{status}");
        }
    }
}

#[tokio::test]
async fn o_04_must_understand_lifts_no_store_where_we_do() {
    for (status, line, hit) in [
        (200, "max-age=60, must-understand, no-store", true),
        (404, "must-understand, max-age=60", true),
        (200, "max-age=60, no-store", false),
        (299, "max-age=60, no-store, must-understand", false),
        (200, "max-age=60, must-understand, no-store, private", false),
        (200, "max-age=60, ext=\"must-understand\", no-store", false),
    ] {
        let app = App::new(Policy::from_response(), Inner::by(move |_| Reply::status(status, "").cc(line)));
        app.get("/x").await;
        assert_eq!(app.get("/x").await.outcome() == "hit", hit, "{status} {line}");
    }
}

/// What the server or the request has to blame itself for, not the resource.
const TROUBLE: [u16; 20] =
    [400, 407, 408, 411, 413, 414, 415, 417, 421, 425, 426, 428, 429, 431, 500, 502, 503, 504, 511, 599];

/// An error that says it is fresh is not put in the place of something that is still of use.
#[tokio::test]
async fn o_04_trouble_displaces_nothing_that_is_usable_stale() {
    for status in TROUBLE {
        for lines in [None, Some("max-age=600"), Some("no-store"), Some("public, s-maxage=600"), Some("private")] {
            let inner = Inner::by(move |call| match (call.number, lines) {
                (1, _) => Reply::ok("good").cc("max-age=60"),
                (2, Some(lines)) => Reply::status(status, "bad").cc(lines),
                (2, None) => Reply::status(status, "bad"),
                _ => Reply::down(),
            });
            let app = App::new(Policy::fresh_for(MINUTE).stale_if_error(HOUR), inner);
            app.get("/x").await;
            app.advance(61);
            let second = app.get("/x").await;
            assert_eq!(second.status.is_success(), status >= 500, "{status}: a server error is covered up");
            app.advance(31);
            let third = app.get("/x").await;
            assert_stale!(third);
            assert_eq!(third.text(), "good", "{status} {lines:?}");
        }
    }
}

/// The same while it is only usable as long as it is refreshed: the refresh finds trouble that says it is fresh.
#[tokio::test]
async fn o_04_trouble_displaces_nothing_within_stale_while_revalidate() {
    for status in TROUBLE {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("good").cc("max-age=60"),
            _ => Reply::status(status, "bad").cc("max-age=600"),
        });
        let app = App::new(Policy::from_response().stale_while_revalidate(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        assert_stale!(app.get("/x").await);
        crate::support::until("a refresh", || app.stats().refreshes == 1).await;
        assert_eq!(app.calls(), 2);
        let got = app.get("/x").await;
        assert_eq!((got.status.as_u16(), got.text()), (200, "good"), "{status}");
    }
}

/// The same while it is fresh: a client had it validated, and there was trouble.
#[tokio::test]
async fn o_04_trouble_displaces_nothing_that_is_fresh() {
    for fresh in ["max-age=600", "s-maxage=600", "max-age=600, must-revalidate"] {
        for status in TROUBLE {
            let inner = Inner::by(move |call| match call.number {
                1 => Reply::ok("good").cc(fresh),
                _ => Reply::status(status, "bad").cc("max-age=6000"),
            });
            let app = App::new(Policy::rfc9111(), inner);
            app.get("/x").await;
            app.send(Request::get("/x").header("cache-control", "no-cache")).await;
            assert_eq!(app.calls(), 2);
            let got = app.get("/x").await;
            assert_eq!((got.outcome(), got.text()), ("hit", "good"), "{status} {fresh}");
        }
    }
}

/// A header that the service refuses (CPDoS) costs the one who sent it an error, and nobody else anything: what is stored
/// stays, and where nothing is, the next answer is kept.
#[tokio::test]
async fn o_04_a_refused_request_is_no_news_of_the_resource() {
    for status in TROUBLE {
        for says in ["", "no-store", "max-age=600"] {
            let inner = Inner::by(move |call| {
                if call.has("x-oversized") { Reply::status(status, "bad").cc(says) } else { Reply::ok("good") }
            });
            let app = App::new(Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR).stale_if_error(HOUR), inner);
            let attack = || Request::get("/x").header("x-oversized", "1");
            app.get("/x").await;
            app.advance(61);
            assert_eq!(app.send(attack()).await.text(), "good");
            crate::support::until("a refresh", || app.stats().refreshes == 1).await;
            assert_eq!(app.calls(), 2);
            assert_eq!(app.get("/x").await.text(), "good", "{status} {says}");
            if says != "max-age=600" {
                app.send(Request::get("/y").header("x-oversized", "1")).await;
                assert_eq!(app.get("/y").await.text(), "good", "{status} {says}");
                assert_hit!(app.get("/y").await);
            }
        }
    }
}

/// Other refusals speak of the resource: they end what is stored.
#[tokio::test]
async fn o_04_other_refusals_end_the_stored_one() {
    for status in [401, 402, 403, 404, 405, 409, 410, 418, 422, 451] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc("max-age=60"),
            2 => Reply::status(status, "new").cc("no-store"),
            _ => Reply::down(),
        });
        let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        assert_eq!(app.get("/x").await.text(), "new");
        app.advance(31);
        assert!(app.ask(plain(Request::get("/x"))).await.is_err(), "{status}");
    }
}

/// A final answer that is no passing trouble ends the stored one.
#[tokio::test]
async fn o_04_other_answers_end_the_stored_one() {
    for (status, lines) in [(404, ""), (410, "no-store"), (200, "no-store"), (200, "private"), (301, "max-age=1")] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc("max-age=60").with("etag", "\"e\""),
            2 => Reply::status(status, "new").cc(lines),
            _ => Reply::down(),
        });
        let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        assert_eq!(app.get("/x").await.text(), "new");
        app.advance(31);
        let third = app.ask(plain(Request::get("/x"))).await;
        assert!(third.is_err() || third.is_ok_and(|got| got.text() == "new"), "{status} {lines}");
    }
}

/// A 304 nobody asked for, and a 206 to a request for the whole, go to the client and nowhere else.
#[tokio::test]
async fn o_04_unsolicited_304_and_206_pass() {
    for (status, name, content) in [(304, "etag", "\"e\""), (206, "content-range", "bytes 0-1/9")] {
        let inner = Inner::by(move |call| match call.number {
            2 => Reply::status(status, "").cc("max-age=600").with(name, content),
            _ => Reply::ok("whole").cc("max-age=60"),
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        assert_eq!(app.get("/x").await.text(), "whole");
        app.advance(61);
        let got = app.get("/x").await;
        assert_eq!(got.status.as_u16(), status);
        assert_eq!(app.not_stored("status"), 1);
        let third = app.get("/x").await;
        assert_eq!((third.status, third.text()), (StatusCode::OK, "whole"));
        assert_miss!(third);
        assert_hit!(app.get("/x").await);
    }
}

/// HEAD never fills, and what it is told by HEAD is no content for GET.
#[tokio::test]
async fn o_04_head_never_fills() {
    let inner = Inner::by(|call| Reply::ok(if call.method == "HEAD" { "" } else { "body" }).cc("max-age=60"));
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    app.send(head("/x")).await;
    let got = app.get("/x").await;
    assert_miss!(got);
    assert_eq!(got.text(), "body");
    assert_hit!(app.get("/x").await);
    let got = app.send(head("/x")).await;
    assert_hit!(got);
    assert_eq!((got.text(), got.header("content-length").as_str()), ("", "4"));
}

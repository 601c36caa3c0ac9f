//! FRESH: what a 304 may change (O-27).

use crate::support::{App, Call, HOUR, Inner, MINUTE, Reply, head};
use http::Request;
use larder::{Policy, assert_hit, assert_miss, assert_revalidated, assert_stale};

fn body() -> String {
    "X".repeat(1000)
}

fn original() -> Reply {
    Reply::ok(body())
        .cc("max-age=60")
        .with("etag", "\"a\"")
        .with("content-length", "1000")
        .with("x-old", "1")
        .with("x-old", "2")
}

/// Stored, then validated with this answer; after it every validation is answered the same, all else is new.
fn app(policy: Policy, not_modified: impl Fn(&Call) -> Reply + Send + Sync + 'static) -> App {
    App::new(
        policy,
        Inner::by(move |call| match call.number {
            1 => original(),
            _ if call.has("if-none-match") => not_modified(call),
            _ => Reply::ok("new").cc("max-age=60").with("etag", "\"n\""),
        }),
    )
}

fn validated() -> Reply {
    Reply::status(304, "").with("etag", "\"a\"")
}

#[tokio::test]
async fn o_27_304_merge_hygiene() {
    let answers: [fn() -> Reply; 13] = [
        || validated().with("set-cookie", "sid=B").with("set-cookie", "other=B"),
        || validated().with("content-length", "0"),
        || validated().with("content-length", "5"),
        || validated().with("content-length", "junk"),
        || validated().with("content-encoding", "gzip"),
        || validated().with("content-range", "bytes 0-1/2"),
        || validated().with("transfer-encoding", "chunked").with("connection", "x-hop").with("x-hop", "1"),
        || validated().with("x-old", "3"),
        || Reply::status(304, ""),
        || Reply::status(304, "").with("etag", "W/\"a\""),
        || validated().with("date", "Thu, 01 Jan 1970 00:00:00 GMT").cc("max-age=99999999999"),
        || validated().with("vary", ""),
        || Reply::status(304, "a body that should not be").with("etag", "\"a\""),
    ];
    for (at, answer) in answers.into_iter().enumerate() {
        for policy in [
            Policy::from_response(),
            Policy::from_response().stale_while_revalidate(HOUR),
            Policy::from_response().strip_set_cookie(),
        ] {
            let refreshing = format!("{policy:?}").contains("stale_while_revalidate: 3600s");
            let app = app(policy, move |_| answer());
            app.get("/x").await;
            app.advance(61);
            let validating = app.get("/x").await;
            if refreshing {
                assert_stale!(validating);
                crate::support::until("a refresh", || app.stats().refreshes == 1).await;
            } else {
                assert_revalidated!(validating);
                let mine = if at == 0 { "sid=B" } else { "" };
                assert!(
                    validating.header("set-cookie").starts_with(mine),
                    "a cookie set with the 304 is for this client"
                );
            }
            assert_eq!(validating.text(), body());
            for _ in 0..2 {
                let other = app.get("/x").await;
                assert_hit!(other);
                assert_eq!((other.status.as_u16(), other.text()), (200, body().as_str()), "{at}");
                assert_eq!(other.header("content-length"), "1000");
                for absent in
                    ["set-cookie", "content-encoding", "content-range", "transfer-encoding", "x-hop", "connection"]
                {
                    assert!(!other.has(absent), "{at}: {absent}");
                }
                assert_eq!(other.header("x-old"), if at == 7 { "3" } else { "1, 2" });
            }
            let bare = app.send(head("/x")).await;
            assert_eq!(bare.header("content-length"), "1000");
            assert_eq!(app.calls(), 2);
        }
    }
}

/// The stored cookie of a cache that keeps cookies is not replaced by another client's.
#[tokio::test]
async fn o_27_set_cookie_of_a_304_is_never_anothers() {
    let inner = Inner::by(|call| match call.number {
        1 => original().with("set-cookie", "theme=light"),
        _ if call.header("x-do") == "connection" && call.has("if-none-match") => {
            validated().with("set-cookie", "sid=B").with("connection", "set-cookie")
        }
        _ if call.has("if-none-match") => validated().with("set-cookie", "sid=B"),
        _ => original(),
    });
    for how in ["", "connection"] {
        for policy in [Policy::rfc9111(), Policy::from_response().strip_set_cookie()] {
            let app = App::new(policy, inner.clone());
            app.get("/x").await;
            app.advance(61);
            app.send(Request::get("/x").header("x-do", how)).await;
            for _ in 0..2 {
                assert!(!app.get("/x").await.shows("sid=B"));
            }
        }
    }
}

#[tokio::test]
async fn o_27_another_validator_means_another_representation() {
    for tag in ["\"b\"", "W/\"b\"", "junk", "", "\"a", "\"A\"", "\"a\", \"b\""] {
        for refresh in [false, true] {
            let policy = Policy::from_response();
            let policy = if refresh { policy.stale_while_revalidate(HOUR) } else { policy };
            let app = app(policy, move |_| Reply::status(304, "").with("etag", tag).cc("max-age=600"));
            app.get("/x").await;
            app.advance(61);
            let got = app.get("/x").await;
            crate::support::until("a refetch", || app.calls() == 3).await;
            crate::support::settle().await;
            assert_eq!(got.text(), if refresh { body() } else { "new".to_owned() }, "{tag}");
            let refetch = app.inner.last();
            assert!(!refetch.has("if-none-match") && !refetch.has("if-modified-since"), "unconditionally");
            let other = app.get("/x").await;
            assert_hit!(other);
            assert_eq!(other.text(), "new");
        }
    }
}

#[tokio::test]
async fn o_27_modification_dates() {
    let (old, other) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
    for (answered, same) in [(Some(old), true), (Some(other), false), (None, true)] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc("max-age=60").with("last-modified", old),
            _ if call.has("if-modified-since") => {
                answered.map_or(Reply::status(304, ""), |at| Reply::status(304, "").with("last-modified", at))
            }
            _ => Reply::ok("new").cc("max-age=60").with("last-modified", other),
        });
        let app = App::new(Policy::from_response(), inner);
        app.get("/x").await;
        app.advance(61);
        assert_eq!(app.get("/x").await.text(), if same { "old" } else { "new" });
        assert_eq!(app.get("/x").await.text(), if same { "old" } else { "new" });
    }
}

/// What ends sharing ends it: the copy is gone, also for those who would take it stale.
#[tokio::test]
async fn o_27_prohibitions_end_sharing() {
    for news in [
        ("cache-control", "private"),
        ("cache-control", "max-age=600, private=\"x\""),
        ("cache-control", "no-store"),
        ("cache-control", "no-store, x=\u{e9}"),
        ("cache-control", "max-age=oops"),
        ("cdn-cache-control", "no-store"),
        ("larder-cache-control", "private"),
        ("vary", "*"),
        ("vary", "a b"),
        ("content-type", "text/event-stream"),
    ] {
        for method in ["GET", "HEAD"] {
            let inner = Inner::by(move |call| match (call.number, call.method.as_str()) {
                (1, _) => original(),
                (2, "HEAD") => Reply::ok("").with("etag", "\"a\"").with(news.0, news.1),
                (2, _) => validated().with(news.0, news.1),
                _ => Reply::down(),
            });
            let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
            app.get("/x").await;
            app.advance(61);
            let got = app.send(Request::builder().method(method).uri("/x")).await;
            assert_eq!(got.status.as_u16(), 200);
            assert_eq!(got.text(), if method == "GET" { body() } else { String::new() });
            assert!(!app.cache.contains("/x"), "{news:?} {method}");
            app.advance(31);
            assert!(app.ask(crate::support::plain(Request::get("/x"))).await.is_err(), "{news:?}");
        }
    }
}

/// What binds stays: the directives of the 304 are those of the copy from now on.
#[tokio::test]
async fn o_27_new_directives_bind() {
    for (directives, at, outcome) in [
        ("max-age=600", 599, "hit"),
        ("max-age=600", 600, "revalidated"),
        ("max-age=10", 9, "hit"),
        ("max-age=10", 10, "revalidated"),
        ("no-cache", 0, "revalidated"),
        ("s-maxage=30, max-age=600", 30, "revalidated"),
        ("max-age=600, must-revalidate", 600, "revalidated"),
    ] {
        let app = app(Policy::from_response(), move |_| validated().cc(directives));
        app.get("/x").await;
        app.advance(61);
        assert_revalidated!(app.get("/x").await);
        app.advance(at);
        let got = app.get("/x").await;
        assert_eq!(got.outcome(), outcome, "{directives}");
        assert_eq!(got.text(), body());
    }
}

/// The age of a copy begins anew with the 304, whatever dates are missing.
#[tokio::test]
async fn o_27_ages_begin_anew() {
    let now = "Fri, 15 Jan 2027 08:00:00 GMT";
    for (first, second, age) in [
        (vec![], vec![], "0"),
        (vec![("age", "50")], vec![], "0"),
        (vec![("date", now)], vec![], "0"),
        (vec![("date", now), ("age", "50")], vec![("age", "5")], "5"),
        (vec![], vec![("date", now)], "61"),
        (vec![("expires", "Fri, 15 Jan 2027 08:01:00 GMT"), ("date", now)], vec![], "0"),
    ] {
        let with = |reply: Reply, fields: &[(&str, &str)]| {
            fields.iter().fold(reply, |reply, (name, value)| reply.with(name, value))
        };
        let inner = Inner::by(move |call| match call.number {
            1 => with(original(), &first),
            _ => with(validated().cc("max-age=600"), &second),
        });
        let app = App::new(Policy::from_response(), inner);
        app.get("/x").await;
        app.advance(61);
        assert_eq!(app.get("/x").await.header("age"), age);
        let hit = app.get("/x").await;
        assert_hit!(hit);
        assert_eq!(hit.header("age"), age);
        app.advance(9);
        let older: u32 = app.get("/x").await.header("age").parse().unwrap();
        assert_eq!(older, age.parse::<u32>().unwrap() + 9);
    }
}

#[tokio::test]
async fn o_27_a_full_answer_replaces() {
    let inner = Inner::by(|call| match call.number {
        1 => original(),
        _ => Reply::ok("Y").cc("max-age=60").with("etag", "\"y\"").with("x-new", "1"),
    });
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    app.get("/x").await;
    app.advance(61);
    let got = app.get("/x").await;
    assert_miss!(got);
    assert_eq!((got.text(), app.inner.last().header("if-none-match").as_str()), ("Y", "\"a\""));
    let other = app.get("/x").await;
    assert_hit!(other);
    assert_eq!((other.text(), other.header("content-length").as_str(), other.has("x-old")), ("Y", "1", false));
}

/// A client with credentials, or one who wants nothing stored, has a copy validated: that is no reason to lose it.
#[tokio::test]
async fn o_27_who_validated_does_not_end_sharing() {
    for (name, value) in [("authorization", "B"), ("cache-control", "no-store")] {
        let inner = Inner::by(|call| match call.number {
            1 => original(),
            2 => validated(),
            _ => Reply::down(),
        });
        let app = App::new(Policy::rfc9111().stale_if_error(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        app.send(Request::get("/x").header(name, value)).await;
        assert_eq!(app.calls(), 2);
        assert!(app.cache.contains("/x"), "{name}");
        assert_eq!(app.get("/x").await.text(), body(), "{name}");
    }
}

//! The behaviours that <https://cache-tests.fyi> asks of a shared cache, with `Policy::rfc9111()`: what is stored and how
//! long it is fresh.

use crate::support::{App, Inner, Reply, head};
use http::Request;
use larder::{Policy, assert_bypass, assert_hit, assert_miss, assert_revalidated};

/// 15 January 2027, 08:00:00, when the manual clock starts.
const NOW: &str = "Fri, 15 Jan 2027 08:00:00 GMT";
const IN_AN_HOUR: &str = "Fri, 15 Jan 2027 09:00:00 GMT";
const AN_HOUR_AGO: &str = "Fri, 15 Jan 2027 07:00:00 GMT";
const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

type Fields = Vec<(&'static str, &'static str)>;

fn app(status: u16, fields: Fields) -> App {
    let inner = Inner::by(move |call| {
        let body = if status == 204 || status == 304 { String::new() } else { format!("body {}", call.number) };
        fields.iter().fold(Reply::status(status, body), |reply, (name, value)| reply.with(name, value))
    });
    App::new(Policy::rfc9111(), inner)
}

/// Whether a second request, so many seconds after the first, is answered without asking.
async fn reused(status: u16, fields: Fields, after: u64) -> bool {
    let app = app(status, fields);
    let first = app.get("/x").await;
    app.advance(after);
    let second = app.get("/x").await;
    assert_eq!(second.status, first.status);
    app.calls() == 1
}

#[tokio::test]
async fn rfc9111_freshness() {
    for (fields, after, expected) in [
        (vec![], 0, false),
        (vec![("date", NOW)], 0, false),
        (vec![("cache-control", "max-age=3600")], 3599, true),
        (vec![("cache-control", "max-age=3600")], 3600, false),
        (vec![("cache-control", "max-age=3600"), ("age", "1800")], 1799, true),
        (vec![("cache-control", "max-age=3600"), ("age", "1800")], 1800, false),
        (vec![("cache-control", "max-age=3600"), ("age", "7200")], 0, false),
        (vec![("cache-control", "max-age=0")], 0, false),
        (vec![("cache-control", "MaX-AgE=3600")], 3, true),
        (vec![("cache-control", "max-age=3600, max-age=1")], 3, false),
        (vec![("cache-control", "max-age=1, max-age=3600")], 3, false),
        (vec![("cache-control", "max-age=2147483648")], 3, true),
        (vec![("cache-control", "max-age=99999999999")], 3, true),
        (vec![("cache-control", "max-age=00003600")], 3, true),
        (vec![("cache-control", "max-age=3600"), ("date", AN_HOUR_AGO)], 0, false),
        (vec![("cache-control", "max-age=3601"), ("date", AN_HOUR_AGO)], 0, true),
        (vec![("cache-control", "extension=1, max-age=3600")], 3, true),
        (vec![("cache-control", "extension"), ("cache-control", "max-age=3600")], 3, true),
        (vec![("cache-control", "foo=\"max-age=3600\"")], 0, false),
        (vec![("cache-control", "x-max-age=3600")], 0, false),
        (vec![("cache-control", "s-maxage=3600")], 3, true),
        (vec![("cache-control", "max-age=1, s-maxage=3600")], 3, true),
        (vec![("cache-control", "max-age=3600, s-maxage=1")], 3, false),
        (vec![("cache-control", "s-maxage=0, max-age=3600")], 0, false),
        (vec![("expires", IN_AN_HOUR), ("date", NOW)], 3599, true),
        (vec![("expires", IN_AN_HOUR), ("date", NOW)], 3600, false),
        (vec![("expires", NOW), ("date", NOW)], 0, false),
        (vec![("expires", AN_HOUR_AGO), ("date", NOW)], 0, false),
        (vec![("expires", "0"), ("date", NOW)], 0, false),
        (vec![("expires", IN_AN_HOUR)], 3, true),
        (vec![("expires", IN_AN_HOUR), ("date", IN_AN_HOUR)], 0, false),
        (vec![("expires", "Mon, 15 Jan 2525 08:00:00 GMT"), ("date", NOW)], 3, true),
        (vec![("expires", IN_AN_HOUR), ("date", NOW), ("age", "1800")], 1800, false),
        (vec![("expires", AN_HOUR_AGO), ("cache-control", "max-age=3600")], 3, true),
        (vec![("expires", IN_AN_HOUR), ("cache-control", "max-age=0")], 0, false),
        (vec![("expires", IN_AN_HOUR), ("cache-control", "s-maxage=0")], 0, false),
        (vec![("expires", "0"), ("cache-control", "s-maxage=3600")], 3, true),
        (vec![("cache-control", "max-age=3600"), ("pragma", "no-cache")], 3, true),
        (vec![("cache-control", "immutable, max-age=10")], 10, false),
    ] {
        assert_eq!(reused(200, fields.clone(), after).await, expected, "{fields:?} after {after} s");
    }
}

#[tokio::test]
async fn rfc9111_directives() {
    for (directives, expected) in [
        ("max-age=3600, no-store", false),
        ("max-age=3600, No-StOrE", false),
        ("no-store, max-age=3600", false),
        ("max-age=3600, no-cache", false),
        ("max-age=3600, no-cache=\"x-a\"", false),
        ("max-age=3600, private", false),
        ("max-age=3600, private=\"x-a\"", false),
        ("max-age=3600, must-revalidate", true),
        ("max-age=3600, proxy-revalidate", true),
        ("max-age=3600, public", true),
        ("max-age=3600, no-transform", true),
        ("max-age=3600, must-understand", true),
        ("max-age=3600, must-understand, no-store", true),
        ("max-age=3600, foobar, bar=\"baz, no-store\"", true),
        ("public", false),
    ] {
        assert_eq!(reused(200, vec![("cache-control", directives)], 1).await, expected, "{directives}");
    }
    assert!(!reused(299, vec![("cache-control", "max-age=3600, must-understand")], 1).await);
    assert!(!reused(599, vec![("cache-control", "max-age=3600, must-understand, no-store")], 1).await);
}

#[tokio::test]
async fn rfc9111_statuses() {
    for status in [
        200, 201, 202, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 499, 500, 501, 502, 503,
        504, 599,
    ] {
        assert!(reused(status, vec![("cache-control", "max-age=3600")], 1).await, "{status}");
        assert!(!reused(status, vec![("cache-control", "max-age=0")], 1).await, "{status}");
        let heuristic = matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
        let fields = vec![("last-modified", LONG_AGO), ("date", NOW)];
        assert_eq!(reused(status, fields.clone(), 100).await, heuristic, "{status}");
        let public = [fields, vec![("cache-control", "public")]].concat();
        assert!(reused(status, public, 100).await, "{status}");
    }
    for status in [206, 304] {
        assert!(!reused(status, vec![("cache-control", "max-age=3600")], 1).await, "{status}");
    }
}

/// A tenth of the time since it was last modified.
#[tokio::test]
async fn rfc9111_heuristics() {
    for (fields, after, expected) in [
        (vec![("last-modified", AN_HOUR_AGO), ("date", NOW)], 359, true),
        (vec![("last-modified", AN_HOUR_AGO), ("date", NOW)], 360, false),
        (vec![("last-modified", AN_HOUR_AGO)], 359, true),
        (vec![("last-modified", NOW), ("date", NOW)], 0, false),
        (vec![("last-modified", IN_AN_HOUR), ("date", NOW)], 0, false),
        (vec![("last-modified", "junk"), ("date", NOW)], 0, false),
        (vec![("last-modified", AN_HOUR_AGO), ("cache-control", "max-age=10")], 10, false),
        (vec![("last-modified", LONG_AGO), ("expires", "0")], 0, false),
        (vec![("last-modified", LONG_AGO), ("cache-control", "no-store")], 0, false),
        (vec![("last-modified", LONG_AGO), ("cache-control", "private")], 0, false),
        (vec![("last-modified", LONG_AGO), ("cache-control", "no-cache")], 0, false),
        (vec![("etag", "\"e\"")], 0, false),
    ] {
        assert_eq!(reused(200, fields.clone(), after).await, expected, "{fields:?} after {after} s");
    }
}

#[tokio::test]
async fn rfc9111_age_is_generated_and_updated() {
    for (fields, after, age) in [
        (vec![("cache-control", "max-age=3600")], 30, "30"),
        (vec![("cache-control", "max-age=3600"), ("age", "30")], 30, "60"),
        (vec![("cache-control", "max-age=3600"), ("age", "30"), ("date", NOW)], 0, "30"),
        (vec![("cache-control", "max-age=7200"), ("date", AN_HOUR_AGO)], 5, "3605"),
        (vec![("expires", IN_AN_HOUR), ("date", NOW), ("age", "30")], 10, "40"),
    ] {
        let app = app(200, fields);
        app.get("/x").await;
        app.advance(after);
        for request in [Request::get("/x"), head("/x"), Request::get("/x").header("range", "bytes=0-0")] {
            let got = app.send(request).await;
            assert_eq!(got.header("age"), age);
        }
    }
    // The date of the response stays; one without gets that of its arrival.
    let app = app(200, vec![("cache-control", "max-age=3600")]);
    app.get("/x").await;
    app.advance(30);
    assert_eq!(app.get("/x").await.header("date"), NOW);
}

#[tokio::test]
async fn rfc9111_fields_are_kept() {
    let fields = vec![
        ("cache-control", "max-age=3600"),
        ("x-a", "1"),
        ("x-a", "2"),
        ("content-type", "text/x"),
        ("content-encoding", "x"),
        ("content-language", "en"),
        ("content-location", "/other"),
        ("content-disposition", "attachment"),
        ("content-security-policy", "default-src 'self'"),
        ("clear-site-data", "\"cookies\""),
        ("etag", "\"e\""),
        ("expires", IN_AN_HOUR),
        ("last-modified", LONG_AGO),
        ("location", "/there"),
        ("public-key-pins", "x"),
        ("retry-after", "5"),
        ("set-cookie", "a=b"),
        ("set-cookie", "c=d"),
        ("strict-transport-security", "max-age=5"),
        ("vary", "accept-encoding"),
        ("via", "1.1 a"),
        ("warning", "110 a \"b\""),
        ("www-authenticate", "Basic"),
        ("trailer", "x-t"),
        ("date", NOW),
    ];
    let app = app(200, fields.clone());
    app.get("/x").await;
    let got = app.get("/x").await;
    assert_hit!(got);
    for (name, _) in &fields {
        let all: Vec<_> = fields.iter().filter(|(other, _)| other == name).map(|(_, value)| *value).collect();
        assert_eq!(got.header(name), all.join(", "), "{name}");
    }
}

#[tokio::test]
async fn rfc9111_targeted_fields() {
    for (fields, expected) in [
        (vec![("cdn-cache-control", "max-age=3600")], true),
        (vec![("cdn-cache-control", "max-age=3600"), ("cache-control", "max-age=0")], true),
        (vec![("cdn-cache-control", "max-age=3600"), ("cache-control", "no-store")], true),
        (vec![("cdn-cache-control", "max-age=3600"), ("cache-control", "no-cache")], true),
        (vec![("cdn-cache-control", "max-age=3600"), ("cache-control", "private")], true),
        (vec![("cdn-cache-control", "max-age=3600"), ("expires", "0")], true),
        (vec![("cdn-cache-control", "max-age=0"), ("cache-control", "max-age=3600")], false),
        (vec![("cdn-cache-control", "no-store"), ("cache-control", "max-age=3600")], false),
        (vec![("cdn-cache-control", "no-cache"), ("cache-control", "max-age=3600")], false),
        (vec![("cdn-cache-control", "private"), ("cache-control", "max-age=3600")], false),
        (vec![("cdn-cache-control", "max-age=3600, no-store")], false),
        (vec![("cdn-cache-control", "foo"), ("expires", IN_AN_HOUR)], false),
        (vec![("cdn-cache-control", ""), ("cache-control", "max-age=3600")], true),
        (vec![("cdn-cache-control", "max-age=0, &"), ("cache-control", "max-age=3600")], true),
        (vec![("cdn-cache-control", "MAX-AGE=0"), ("cache-control", "max-age=3600")], true),
        (vec![("cdn-cache-control", "max-age=3600,"), ("cache-control", "max-age=0")], false),
        (vec![("cdn-cache-control", "max-age=\"3600\"")], false),
        (vec![("cdn-cache-control", "max-age=3600.0")], false),
        (vec![("cdn-cache-control", "max-age=-1"), ("cache-control", "max-age=3600")], false),
        (vec![("cdn-cache-control", "max-age=3600;foo=bar")], true),
        (vec![("cdn-cache-control", "max-age=3600, foo=\"no-store\"")], true),
        (vec![("cdn-cache-control", "foo"), ("cdn-cache-control", "max-age=3600")], true),
        (vec![("larder-cache-control", "max-age=3600"), ("cdn-cache-control", "no-store")], true),
        (vec![("larder-cache-control", "no-store"), ("cdn-cache-control", "max-age=3600")], false),
        (vec![("surrogate-control", "no-store"), ("cache-control", "max-age=3600")], true),
        (vec![("surrogate-control", "max-age=3600")], false),
    ] {
        assert_eq!(reused(200, fields.clone(), 1).await, expected, "{fields:?}");
    }
    // What speaks to us goes no further; what speaks to all caches on the way does.
    let app = app(
        200,
        vec![
            ("larder-cache-control", "max-age=60"),
            ("cdn-cache-control", "max-age=10"),
            ("cache-control", "max-age=1"),
        ],
    );
    for outcome in ["miss", "hit", "hit"] {
        let got = app.get("/x").await;
        assert_eq!((got.outcome(), got.has("larder-cache-control")), (outcome, false));
        assert_eq!(
            (got.header("cdn-cache-control"), got.header("cache-control")),
            ("max-age=10".into(), "max-age=1".into())
        );
        app.advance(5);
    }
    assert!(!app.send(Request::post("/x")).await.has("larder-cache-control"));
    assert!(!app.send(head("/y")).await.has("larder-cache-control"));
}

/// As the surrogate, `Surrogate-Control` is ours.
#[tokio::test]
async fn rfc9111_surrogate() {
    let inner =
        Inner::by(|_| Reply::ok("x").with("surrogate-control", "max-age=60").cc("no-store").with("etag", "\"e\""));
    let app = App::new(Policy::rfc9111().surrogate(), inner);
    for outcome in ["miss", "hit"] {
        let got = app.get("/x").await;
        assert_eq!(
            (got.outcome(), got.has("surrogate-control"), got.header("cache-control").as_str()),
            (outcome, false, "no-store")
        );
    }
}

#[tokio::test]
async fn rfc9111_authorization() {
    for (directives, expected) in [
        ("max-age=3600", false),
        ("max-age=3600, public", true),
        ("max-age=3600, must-revalidate", true),
        ("s-maxage=3600", true),
        ("max-age=3600, proxy-revalidate", false),
    ] {
        let app = app(200, vec![("cache-control", directives)]);
        app.send(Request::get("/x").header("authorization", "A")).await;
        assert_eq!(app.get("/x").await.outcome() == "hit", expected, "{directives}");
        // What was stored for nobody in particular may be used for anyone (RFC 9111 §3.5).
        assert_hit!(app.send(Request::get("/x").header("authorization", "B")).await);
    }
}

/// Cookies are no credential for a proxy, and neither stop reading nor filling.
#[tokio::test]
async fn rfc9111_cookies() {
    let app = app(200, vec![("cache-control", "max-age=3600"), ("set-cookie", "a=b")]);
    app.send(Request::get("/x").header("cookie", "a=1")).await;
    let got = app.send(Request::get("/x").header("cookie", "a=2")).await;
    assert_hit!(got);
    assert_eq!(got.header("set-cookie"), "a=b");
}

#[tokio::test]
async fn rfc9111_methods() {
    let app = app(200, vec![("cache-control", "max-age=3600")]);
    for method in ["POST", "PUT", "OPTIONS", "FOO", "QUERY"] {
        assert_bypass!(app.send(Request::builder().method(method).uri("/x")).await);
        assert_bypass!(app.send(Request::builder().method(method).uri("/x")).await);
    }
    assert_miss!(app.send(head("/x")).await);
    assert_miss!(app.get("/x").await);
    let got = app.send(head("/x")).await;
    assert_hit!(got);
    assert!(got.body.is_empty());
}

#[tokio::test]
async fn rfc9111_query_strings() {
    let app = app(200, vec![("cache-control", "max-age=3600")]);
    for (uri, outcome) in [("/x?a=1", "miss"), ("/x?a=1", "hit"), ("/x?a=2", "miss"), ("/x", "miss"), ("/x?a=1", "hit")]
    {
        assert_eq!(app.get(uri).await.outcome(), outcome, "{uri}");
    }
}

/// `no-cache` is stored, and each use is validated.
#[tokio::test]
async fn rfc9111_no_cache_is_validated_each_time() {
    for directives in ["no-cache", "no-cache, max-age=3600", "no-cache=\"a\", s-maxage=60"] {
        let inner = Inner::by(move |call| {
            let known = call.has("if-none-match");
            let reply = if known { Reply::status(304, "") } else { Reply::ok("x") };
            reply.cc(directives).with("etag", "\"e\"")
        });
        let app = App::new(Policy::rfc9111(), inner);
        app.get("/x").await;
        for n in 2..5 {
            let got = app.get("/x").await;
            assert_revalidated!(got);
            assert_eq!((got.text(), app.calls()), ("x", n));
        }
    }
}

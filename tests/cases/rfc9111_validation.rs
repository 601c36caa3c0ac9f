//! The behaviours that <https://cache-tests.fyi> asks of a shared cache, with `Policy::rfc9111()`: validation, HEAD,
//! conditions and ranges.

use crate::support::{App, Got, Inner, Reply, head};
use http::Request;
use larder::{Policy, assert_bypass, assert_hit, assert_miss, assert_revalidated};

const LM: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const TEXT: &str = "0123456789";

type Fields = &'static [(&'static str, &'static str)];

fn with(reply: Reply, fields: Fields) -> Reply {
    fields.iter().fold(reply, |reply, (name, value)| reply.with(name, value))
}

/// A response with these fields, fresh for 100 s, stored.
async fn stored(fields: Fields) -> App {
    let inner = Inner::by(move |call| {
        let body = if call.method == "HEAD" { "" } else { TEXT };
        with(Reply::ok(body).cc("max-age=100").with("date", "Fri, 15 Jan 2027 08:00:00 GMT"), fields)
    });
    let app = App::new(Policy::rfc9111(), inner);
    app.get("/x").await;
    app
}

async fn ask(app: &App, fields: Fields) -> Got {
    app.send(fields.iter().fold(Request::get("/x"), |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn rfc9111_conditions_are_answered_from_the_store() {
    let both: Fields = &[("etag", "\"abc\""), ("last-modified", LM)];
    for (fields, asking, status) in [
        (both, &[("if-none-match", "\"abc\"")] as Fields, 304),
        (both, &[("if-none-match", "W/\"abc\"")], 304),
        (both, &[("if-none-match", "\"a\", \"abc\"")], 304),
        (both, &[("if-none-match", "\"a\""), ("if-none-match", "\"abc\"")], 304),
        (both, &[("if-none-match", "*")], 304),
        (both, &[("if-none-match", "\"def\"")], 200),
        (both, &[("if-none-match", "abc")], 200),
        (both, &[("if-none-match", "\"ab\", \"c\"")], 200),
        (both, &[("if-none-match", "\"ABC\"")], 200),
        (both, &[("if-none-match", "\"def\""), ("if-modified-since", LM)], 200),
        (both, &[("if-none-match", "\"abc\""), ("if-modified-since", "Sun, 06 Nov 1993 08:49:37 GMT")], 304),
        (both, &[("if-modified-since", LM)], 304),
        (both, &[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")], 304),
        (both, &[("if-modified-since", "Sun Nov  6 08:49:37 1994")], 304),
        (both, &[("if-modified-since", "Fri, 15 Jan 2027 08:00:00 GMT")], 304),
        (both, &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")], 200),
        (both, &[("if-modified-since", "junk")], 200),
        (both, &[("if-modified-since", LM), ("if-modified-since", LM)], 200),
        (&[("etag", "W/\"abc\"")], &[("if-none-match", "\"abc\"")], 304),
        (&[("etag", "W/\"abc\"")], &[("if-none-match", "W/\"abc\"")], 304),
        (&[("etag", "abc")], &[("if-none-match", "abc")], 200),
        (&[("etag", "\"a,b\"")], &[("if-none-match", "\"a,b\"")], 304),
        (&[], &[("if-none-match", "\"abc\"")], 200),
        (&[], &[("if-modified-since", "Fri, 15 Jan 2027 08:00:00 GMT")], 304),
        (&[], &[("if-modified-since", LM)], 200),
    ] {
        let app = stored(fields).await;
        let got = ask(&app, asking).await;
        assert_hit!(got);
        assert_eq!((got.status.as_u16(), got.text()), (status, if status == 200 { TEXT } else { "" }), "{asking:?}");
        assert_eq!(app.calls(), 1);
        if status == 304 {
            for (name, value) in
                fields.iter().chain(&[("cache-control", "max-age=100"), ("date", "Fri, 15 Jan 2027 08:00:00 GMT")])
            {
                assert_eq!(got.header(name), *value, "a 304 has {name}");
            }
            assert!(!got.has("content-length"));
            let bare =
                app.send(asking.iter().fold(head("/x"), |request, (name, value)| request.header(*name, *value))).await;
            assert_eq!(bare.status.as_u16(), 304);
        }
    }
}

/// What only the service can tell goes to it.
#[tokio::test]
async fn rfc9111_demands_go_forward() {
    let app = stored(&[("etag", "\"abc\""), ("last-modified", LM)]).await;
    for asking in [
        &[("if-match", "\"abc\"")] as Fields,
        &[("if-unmodified-since", LM)],
        &[("if-match", "*"), ("if-none-match", "\"abc\"")],
    ] {
        assert_bypass!(ask(&app, asking).await);
    }
    assert_eq!((app.bypassed("precondition"), app.inner.last().header("if-match").as_str()), (3, "*"));
    assert_hit!(app.get("/x").await);
}

/// A miss forwards conditions and ranges as they are, and what comes of them is the client's.
#[tokio::test]
async fn rfc9111_a_miss_forwards_conditions() {
    for (name, value, status) in [
        ("if-none-match", "\"abc\"", 304),
        ("if-modified-since", LM, 304),
        ("range", "bytes=2-4", 206),
        ("range", "bytes=99-", 416),
    ] {
        let inner = Inner::by(move |call| {
            if call.has(name) {
                return Reply::status(status, if status == 206 { "234" } else { "" })
                    .cc("max-age=60")
                    .with("content-range", "bytes 2-4/10");
            }
            Reply::ok(TEXT).cc("max-age=60")
        });
        let app = App::new(Policy::rfc9111(), inner);
        for _ in 0..2 {
            let got = app.send(Request::get("/x").header(name, value)).await;
            assert_miss!(got);
            assert_eq!(got.status.as_u16(), status);
            assert_eq!(app.inner.last().header(name), value);
        }
        assert_eq!(app.get("/x").await.text(), TEXT);
        assert_hit!(app.get("/x").await);
    }
    // The whole in answer to a range is the whole for all.
    let app = App::new(Policy::rfc9111(), Inner::by(|_| Reply::ok(TEXT).cc("max-age=60")));
    assert_eq!(app.send(Request::get("/x").header("range", "bytes=2-4")).await.text(), TEXT);
    assert_eq!(app.send(Request::get("/x").header("range", "bytes=2-4")).await.text(), "234");
}

#[tokio::test]
async fn rfc9111_ranges_are_answered_from_the_store() {
    for (asking, status, range, text) in [
        (&[("range", "bytes=0-4")] as Fields, 206, "bytes 0-4/10", "01234"),
        (&[("range", "bytes=5-")], 206, "bytes 5-9/10", "56789"),
        (&[("range", "bytes=-3")], 206, "bytes 7-9/10", "789"),
        (&[("range", "bytes=-30")], 206, "bytes 0-9/10", TEXT),
        (&[("range", "bytes=5-99")], 206, "bytes 5-9/10", "56789"),
        (&[("range", "BYTES=1-1")], 206, "bytes 1-1/10", "1"),
        (&[("range", "bytes=10-")], 416, "bytes */10", ""),
        (&[("range", "bytes=-0")], 416, "bytes */10", ""),
        (&[("range", "bytes=4-1")], 200, "", TEXT),
        (&[("range", "lines=0-1")], 200, "", TEXT),
        (&[("range", "junk")], 200, "", TEXT),
        (&[("range", "bytes=0-4"), ("if-range", "\"abc\"")], 206, "bytes 0-4/10", "01234"),
        (&[("range", "bytes=0-4"), ("if-range", "\"def\"")], 200, "", TEXT),
        (&[("range", "bytes=0-4"), ("if-range", "W/\"abc\"")], 200, "", TEXT),
        (&[("range", "bytes=0-4"), ("if-range", LM)], 206, "bytes 0-4/10", "01234"),
        (&[("range", "bytes=0-4"), ("if-range", "Sun, 06 Nov 1994 08:49:38 GMT")], 200, "", TEXT),
        (&[("range", "bytes=0-4"), ("if-range", "junk")], 200, "", TEXT),
        (&[("range", "bytes=0-4"), ("if-none-match", "\"abc\"")], 304, "", ""),
        (&[("if-range", "\"def\"")], 200, "", TEXT),
    ] {
        let app = stored(&[("etag", "\"abc\""), ("last-modified", LM)]).await;
        app.advance(7);
        let got = ask(&app, asking).await;
        assert_hit!(got);
        assert_eq!(
            (got.status.as_u16(), got.header("content-range").as_str(), got.text()),
            (status, range, text),
            "{asking:?}"
        );
        assert_eq!(got.header("age"), "7");
        assert!(status == 304 || got.header("content-length") == text.len().to_string());
    }
    let app = stored(&[("content-type", "text/x")]).await;
    let got = ask(&app, &[("range", "bytes=0-1,-1")]).await;
    let boundary = got.header("content-type").strip_prefix("multipart/byteranges; boundary=").unwrap().to_owned();
    let part = |range: &str, text: &str| {
        format!("\r\n--{boundary}\r\nContent-Type: text/x\r\nContent-Range: bytes {range}/10\r\n\r\n{text}")
    };
    assert_eq!(got.text(), part("0-1", "01") + &part("9-9", "9") + &format!("\r\n--{boundary}--\r\n"));
    assert_eq!(got.header("content-length"), got.body.len().to_string());
    let got = app.send(head("/x").header("range", "bytes=0-1")).await;
    assert_eq!((got.status.as_u16(), got.header("content-length").as_str()), (200, "10"), "ranges are of GET only");
}

/// A stale response is validated with the validators that are stored, not with the client's.
#[tokio::test]
async fn rfc9111_validators_are_sent() {
    for (fields, etag, modified) in [
        (&[("etag", "\"abc\"")] as Fields, "\"abc\"", ""),
        (&[("etag", "W/\"abc\"")], "W/\"abc\"", ""),
        (&[("last-modified", LM)], "", LM),
        (&[("etag", "\"abc\""), ("last-modified", LM)], "\"abc\"", LM),
        (&[("etag", "abc"), ("last-modified", LM)], "", LM),
        (&[], "", ""),
    ] {
        let app = stored(fields).await;
        app.advance(101);
        app.get("/x").await;
        let call = app.inner.last();
        assert_eq!(
            (call.header("if-none-match").as_str(), call.header("if-modified-since").as_str()),
            (etag, modified)
        );
        app.advance(101);
        ask(&app, &[("if-none-match", "\"mine\""), ("range", "bytes=0-0"), ("if-range", "\"mine\"")]).await;
        let call = app.inner.last();
        let own = fields.is_empty();
        assert_eq!(call.header("if-none-match"), if own { "\"mine\"" } else { etag });
        assert_eq!((call.has("range"), call.has("if-range")), (own, own));
    }
}

/// A 304 updates what is stored, and answers the client as it asked.
#[tokio::test]
async fn rfc9111_a_304_updates() {
    let inner = Inner::by(|call| match call.number {
        1 => Reply::ok(TEXT)
            .cc("max-age=100")
            .with("etag", "\"abc\"")
            .with("x-a", "old")
            .with("x-b", "kept")
            .with("content-type", "a/b"),
        _ => Reply::status(304, "")
            .cc("max-age=200")
            .with("etag", "\"abc\"")
            .with("x-a", "new")
            .with("x-c", "new")
            .with("expires", "0"),
    });
    let app = App::new(Policy::rfc9111(), inner);
    app.get("/x").await;
    app.advance(101);
    let mine = app.send(Request::get("/x").header("if-none-match", "\"abc\"")).await;
    assert_revalidated!(mine);
    assert_eq!((mine.status.as_u16(), mine.text()), (304, ""));
    app.advance(199);
    for request in [Request::get("/x"), head("/x")] {
        let got = app.send(request).await;
        assert_hit!(got);
        for (name, value) in [
            ("x-a", "new"),
            ("x-b", "kept"),
            ("x-c", "new"),
            ("content-type", "a/b"),
            ("cache-control", "max-age=200"),
            ("age", "199"),
        ] {
            assert_eq!(got.header(name), value, "{name}");
        }
        assert_eq!(got.header("content-length"), "10");
    }
    app.advance(1);
    assert_revalidated!(app.send(Request::get("/x").header("range", "bytes=0-1")).await);
    assert_eq!(app.send(Request::get("/x").header("range", "bytes=0-1")).await.text(), "01");
}

/// An answer to HEAD freshens or ends what is stored for GET (RFC 9111 §4.3.5), and passes through as it is.
#[tokio::test]
async fn rfc9111_head_updates() {
    for (told, status, outcome) in [
        (&[("etag", "\"abc\""), ("x-a", "new")] as Fields, 200, "hit"),
        (&[("x-a", "new")], 200, "hit"),
        (&[("content-length", "10"), ("x-a", "new")], 200, "hit"),
        (&[("last-modified", LM), ("x-a", "new")], 200, "hit"),
        (&[("etag", "\"def\"")], 200, "miss"),
        (&[("etag", "W/\"abc\"")], 200, "miss"),
        (&[("etag", "junk")], 200, "miss"),
        (&[("content-length", "11")], 200, "miss"),
        (&[("last-modified", "Sun, 06 Nov 1994 08:49:38 GMT")], 200, "miss"),
        (&[("etag", "\"abc\"")], 503, "miss"),
    ] {
        let inner = Inner::by(move |call| {
            if call.method == "HEAD" {
                return with(Reply::status(status, "").cc("max-age=100"), told);
            }
            Reply::ok(TEXT).cc("max-age=100").with("etag", "\"abc\"").with("last-modified", LM).with("x-a", "old")
        });
        let app = App::new(Policy::rfc9111(), inner);
        app.get("/x").await;
        app.advance(101);
        let bare = app.send(head("/x").header("if-none-match", "\"mine\"")).await;
        assert_eq!((bare.status.as_u16(), app.inner.last().header("if-none-match").as_str()), (status, "\"mine\""));
        let got = app.get("/x").await;
        assert_eq!(got.outcome(), outcome, "{told:?}");
        assert_eq!(got.text(), TEXT);
        if outcome == "hit" {
            assert_eq!(
                (got.header("x-a").as_str(), got.header("age").as_str(), got.header("content-length").as_str()),
                ("new", "0", "10")
            );
        }
    }
}

/// A validator that HEAD tells and the stored response lacks is not that of the stored response; nor is 200 that of a 404.
#[tokio::test]
async fn rfc9111_head_with_more_validators() {
    for (stored, fields, told) in [
        (200, &[] as Fields, &[("etag", "\"abc\"")] as Fields),
        (200, &[], &[("last-modified", LM)]),
        (200, &[("last-modified", LM)], &[("etag", "\"abc\""), ("last-modified", LM)]),
        (404, &[("etag", "\"abc\"")], &[("etag", "\"abc\"")]),
        (404, &[], &[]),
    ] {
        let inner = Inner::by(move |call| match call.method.as_str() {
            "HEAD" => with(Reply::ok("").cc("max-age=100"), told),
            _ => with(Reply::status(stored, TEXT).cc("max-age=100"), fields),
        });
        let app = App::new(Policy::rfc9111(), inner);
        app.get("/x").await;
        app.advance(101);
        app.send(head("/x")).await;
        assert!(!app.cache.contains("/x"), "{stored} {fields:?} {told:?}");
        assert_miss!(app.get("/x").await);
    }
}

/// A 304 with a strong tag that the stored response lacks is of another: the whole is asked for (RFC 9111 §4.3.4).
#[tokio::test]
async fn rfc9111_a_304_with_a_new_strong_tag() {
    for (tag, text) in [("\"new\"", "new"), ("W/\"new\"", TEXT)] {
        let inner = Inner::by(move |call| match call.has("if-modified-since") {
            true => Reply::status(304, "").cc("max-age=100").with("etag", tag),
            false if call.number == 1 => Reply::ok(TEXT).cc("max-age=100").with("last-modified", LM),
            false => Reply::ok("new").cc("max-age=100").with("etag", tag),
        });
        let app = App::new(Policy::rfc9111(), inner);
        app.get("/x").await;
        app.advance(101);
        assert_eq!(app.get("/x").await.text(), text);
        let got = app.get("/x").await;
        assert_hit!(got);
        assert_eq!((got.text(), got.header("etag").as_str()), (text, tag));
    }
}

/// What is said of the whole content is said of no part of it, and a failure may not be kept as long as the whole.
#[tokio::test]
async fn rfc9111_a_part_has_not_what_is_said_of_the_whole() {
    const CONTENT: [&str; 2] = ["content-digest", "content-md5"];
    const LIFETIME: [&str; 4] = ["cache-control", "expires", "cdn-cache-control", "surrogate-control"];
    let app = stored(&[
        ("content-digest", "sha-256=:AA==:"),
        ("content-md5", "AA=="),
        ("repr-digest", "sha-256=:AA==:"),
        ("cdn-cache-control", "max-age=1000"),
        ("surrogate-control", "max-age=1000"),
        ("expires", "Fri, 15 Jan 2027 09:00:00 GMT"),
        ("etag", "\"abc\""),
    ])
    .await;
    for range in ["bytes=0-1", "bytes=0-1,4-5"] {
        let part = app.send(Request::get("/x").header("range", range)).await;
        assert_eq!(part.status.as_u16(), 206);
        assert!(!CONTENT.iter().any(|name| part.has(name)), "{range}");
        assert!(part.has("repr-digest") && LIFETIME.iter().all(|name| part.has(name)), "{range}");
    }
    let none = ask(&app, &[("range", "bytes=10-")]).await;
    assert_eq!(none.status.as_u16(), 416);
    assert!(!CONTENT.iter().chain(&LIFETIME).chain(&["repr-digest"]).any(|name| none.has(name)));
    let same = ask(&app, &[("if-none-match", "\"abc\"")]).await;
    assert_eq!(same.status.as_u16(), 304);
    assert!(!CONTENT.iter().any(|name| same.has(name)) && same.has("repr-digest"));
    let whole = app.get("/x").await;
    assert_hit!(whole);
    assert!(CONTENT.iter().all(|name| whole.has(name)));
}

/// Variants are told apart by what they were selected by (RFC 9111 §4.1).
#[tokio::test]
async fn rfc9111_vary() {
    for (vary, first, second, reused) in [
        ("foo", &[("foo", "1")] as Fields, &[("foo", "1")] as Fields, true),
        ("foo", &[("foo", "1")], &[("foo", "2")], false),
        ("foo", &[("foo", "1")], &[], false),
        ("foo", &[], &[("foo", "1")], false),
        ("foo", &[], &[], true),
        ("foo", &[], &[("foo", "")], false),
        ("foo", &[("foo", "1")], &[("foo", "1"), ("bar", "2")], true),
        ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("foo", "1"), ("bar", "2")], true),
        ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("bar", "2"), ("foo", "1")], true),
        ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("foo", "2"), ("bar", "1")], false),
        ("foo, bar", &[("foo", "1"), ("bar", "2")], &[("foo", "12"), ("bar", "")], false),
        ("FOO", &[("foo", "1")], &[("foo", "1")], true),
        ("*", &[], &[], false),
        ("foo, *", &[("foo", "1")], &[("foo", "1")], false),
        ("foo", &[("foo", "1, 2")], &[("foo", "2, 1")], false),
        ("accept-encoding", &[("accept-encoding", "gzip;q=1, br")], &[("accept-encoding", "br, gzip")], true),
        ("cookie", &[("cookie", "a=1")], &[("cookie", "a=2")], false),
        ("host", &[], &[], true),
    ] {
        let inner = Inner::by(move |call| Reply::ok(call.number.to_string()).cc("max-age=60").with("vary", vary));
        let app = App::new(Policy::rfc9111(), inner);
        ask(&app, first).await;
        let got = ask(&app, second).await;
        assert_eq!(got.text() == "1", reused, "{vary}: {first:?} {second:?}");
        if vary != "*" && vary != "foo, *" {
            assert_eq!(ask(&app, first).await.text(), "1", "the first variant is still there");
        }
    }
}

#[tokio::test]
async fn rfc9111_invalidation() {
    for (method, status, gone) in [
        ("POST", 200, true),
        ("PUT", 204, true),
        ("DELETE", 303, true),
        ("M-SEARCH", 200, true),
        ("POST", 500, false),
        ("PUT", 404, false),
        ("OPTIONS", 200, false),
    ] {
        for (name, target) in
            [("x-none", "/x"), ("location", "/x"), ("content-location", "/x"), ("location", "http://other.example/x")]
        {
            let inner = Inner::by(move |call| {
                if call.method == "GET" {
                    Reply::ok("x").cc("max-age=60")
                } else {
                    Reply::status(status, "").with(name, target)
                }
            });
            let app = App::new(Policy::rfc9111(), inner);
            let at = |method: &str, uri: &str| Request::builder().method(method).uri(uri).header("host", "a.example");
            app.send(at("GET", "/x")).await;
            app.send(at(method, if name == "x-none" { "/x" } else { "/y" })).await;
            let gone = gone && !target.starts_with("http");
            assert_eq!(app.send(at("GET", "/x")).await.outcome() == "miss", gone, "{method} {status} {name}: {target}");
        }
    }
}

//! Bad input from clients: counted reasons and correct bytes.

use crate::support::{App, HOUR, Inner, MINUTE, Random, Reply, Script, cases, head, plain, value};
use http::{HeaderName, Request};
use larder::{Policy, RequestDirectives, assert_bypass, assert_hit, assert_miss};
use proptest::prelude::*;

fn minute() -> Policy {
    Policy::fresh_for(MINUTE)
}

/// Answers with the path, which is all that its answers depend on.
fn by_path() -> Inner {
    Inner::by(|call| {
        let body = format!("this is what stands at {}", call.uri.path());
        Reply::ok(if call.method == "HEAD" { String::new() } else { body })
            .cc("max-age=60")
            .with("etag", "\"e\"")
            .with("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
    })
}

#[tokio::test]
async fn bad_ambiguous_hosts() {
    let app = App::new(minute(), by_path());
    let host = |uri: &str, hosts: &[&[u8]]| {
        hosts.iter().fold(Request::get(uri), |request, host| request.header("host", value(host)))
    };
    app.send(host("/x", &[b"a.example"])).await;
    let table: [(&str, &[&[u8]], &str); 31] = [
        ("/x", &[b"a.example", b"a.example"], "host-repeated"),
        ("/x", &[b"a.example", b"b.example"], "host-repeated"),
        ("/x", &[b"", b""], "host-repeated"),
        ("http://a.example/x", &[b"a.example", b"a.example"], "host-repeated"),
        ("http://a.example/x", &[b"b.example"], "host-mismatch"),
        ("http://a.example/x", &[b"a.example:81"], "host-mismatch"),
        ("http://a.example:81/x", &[b"a.example"], "host-mismatch"),
        ("https://a.example/x", &[b"a.example:80"], "host-mismatch"),
        ("http://a.example/x", &[b"a.example."], "host-mismatch"),
        ("http://a.example/x", &[b""], "host-mismatch"),
        ("http://[::1]/x", &[b"[::2]"], "host-mismatch"),
        ("/x", &[b"user@a.example"], "user-info"),
        ("/x", &[b"user:pw@a.example:80"], "user-info"),
        ("/x", &[b"@a.example"], "user-info"),
        ("http://user@a.example/x", &[b"a.example"], "user-info"),
        ("http://user@a.example/x", &[], "user-info"),
        ("/x", &[b"a b"], "host-malformed"),
        ("/x", &[b"a.example, b.example"], "host-malformed"),
        ("/x", &[b"a.example/b"], "host-malformed"),
        ("/x", &[b"a.example?b"], "host-malformed"),
        ("/x", &[b"a.example#b"], "host-malformed"),
        ("/x", &[b"a.example\\b"], "host-malformed"),
        ("/x", &[b"a.example:port"], "host-malformed"),
        ("/x", &[b"a.example:80:80"], "host-malformed"),
        ("/x", &[b"a.example:080"], "host-malformed"),
        ("/x", &[b"::1"], "host-malformed"),
        ("/x", &[b"[::1"], "host-malformed"),
        ("/x", &[b"[::1]x"], "host-malformed"),
        ("/x", &[b":80"], "host-malformed"),
        ("/x", &[b"a\xe9.example"], "host-malformed"),
        ("/x", &[b"\xff"], "host-malformed"),
    ];
    for (uri, hosts, reason) in table {
        let before = app.bypassed(reason);
        let got = app.send(host(uri, hosts)).await;
        assert_bypass!(got);
        assert_eq!(got.text(), "this is what stands at /x");
        assert_eq!(app.bypassed(reason), before + 1, "{uri} {hosts:?}");
        let lines: Vec<_> =
            app.inner.last().headers.get_all("host").iter().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(lines, hosts, "the service sees what was sent");
    }
    assert_hit!(app.send(host("/x", &[b"a.example"])).await);
    assert_eq!(app.stats().resources, 1);
}

#[tokio::test]
async fn bad_oversized_keys() {
    let app = App::new(minute().max_key(1024).key_headers(["x-tenant"]), by_path());
    let long = |length: usize| "k".repeat(length);
    let requests = |length: usize| {
        [
            Request::get(format!("/{}", long(length))),
            Request::get(format!("/x?{}", long(length))),
            Request::get("/x").header("x-tenant", long(length)),
            Request::get("/x").header("host", long(length)),
            Request::get("/x").header("x-forwarded-host", long(length)),
            Request::get("/x").header("forwarded", format!("host={}", long(length))),
        ]
    };
    for (n, request) in requests(1024).into_iter().enumerate() {
        let got = app.send(request).await;
        assert_bypass!(got);
        assert!(got.text().starts_with("this is what stands at /"));
        assert_eq!(app.bypassed("key-too-long"), n as u64 + 1);
    }
    for length in [500, 60 * 1024] {
        for request in requests(length) {
            assert_eq!(app.send(request).await.outcome(), if length == 500 { "miss" } else { "bypass" });
        }
    }
    // Many lines are a long key too.
    let many = (0..200).fold(Request::get("/x"), |request, _| request.header("x-tenant", "a"));
    assert_bypass!(app.send(many).await);
    assert!(app.stats().bytes < 20_000);
    // The limit is exact: one byte less and it is a key.
    let app = App::new(minute().max_key(200), by_path());
    let outcomes: Vec<_> = {
        let mut outcomes = Vec::new();
        for length in 1..300 {
            outcomes.push(app.send(Request::get(format!("/{}", long(length)))).await.outcome());
        }
        outcomes
    };
    let stored = outcomes.iter().filter(|outcome| **outcome == "miss").count();
    assert!(outcomes[..stored].iter().all(|outcome| *outcome == "miss") && stored > 100 && stored < 200, "{stored}");
}

/// Whatever a client asks with, the answer is right: the whole, a part of it, or nothing at all where it has it.
#[tokio::test]
async fn bad_values_in_every_field_that_is_read() {
    let names = [
        "range",
        "if-range",
        "if-none-match",
        "if-modified-since",
        "if-match",
        "if-unmodified-since",
        "cache-control",
        "accept-encoding",
        "content-length",
        "transfer-encoding",
        "cookie",
        "authorization",
        "upgrade",
        "connection",
        "forwarded",
        "x-forwarded-host",
        "accept",
        "te",
        "pragma",
        "age",
        "date",
        "expires",
        "vary",
        "x-http-method-override",
    ];
    let values: [&[u8]; 26] = [
        b"",
        b" ",
        b",",
        b"=",
        b"\"",
        b"\"\\",
        b"\xff\xfe",
        b"\xe9, x",
        b"*",
        b"**",
        b"-1",
        b"99999999999999999999999999",
        b"0x10",
        b"bytes",
        b"bytes=",
        b"bytes=-",
        b"bytes=5-1",
        b"bytes=0-0,,",
        b"bytes=-0",
        b"bytes=99999999999999999999-",
        b"W/",
        b"w/\"e\"",
        b"Sun, 99 Nov 9999 99:99:99 GMT",
        b"max-age=,=,max-stale=-1",
        b"a\tb",
        b"%00%0a",
    ];
    for policy in [minute(), Policy::rfc9111().stale_if_error(HOUR).stale_while_revalidate(HOUR)] {
        let app = App::new(policy, by_path());
        let whole = "this is what stands at /x";
        app.get("/x").await;
        for wait in [0, 61] {
            app.advance(wait);
            for name in names {
                for bytes in values {
                    for doubled in [false, true] {
                        let request = Request::get("/x").header(name, value(bytes));
                        let request = if doubled { request.header(name, value(bytes)) } else { request };
                        let got = app.send(request).await;
                        assert_right(&got, whole, &format!("{name}: {bytes:?}"));
                    }
                }
            }
        }
        assert_eq!(app.get("/x").await.text(), whole);
    }
}

/// A right answer to a request for `/x`, in whatever way it was asked for.
fn assert_right(got: &crate::support::Got, whole: &str, what: &str) {
    match got.status.as_u16() {
        200 => assert_eq!(got.text(), whole, "{what}"),
        206 if got.header("content-type").starts_with("multipart/byteranges") => {
            assert_eq!(got.header("content-length"), got.body.len().to_string(), "{what}");
        }
        206 => {
            let range = got.header("content-range");
            let (first, rest) = range.strip_prefix("bytes ").unwrap().split_once('-').unwrap();
            let last = rest.split_once('/').unwrap().0;
            let part = &whole[first.parse().unwrap()..=last.parse().unwrap()];
            assert_eq!((got.text(), got.header("content-length")), (part, part.len().to_string()), "{what}");
        }
        304 => assert!(got.body.is_empty(), "{what}"),
        416 => assert_eq!(got.header("content-range"), format!("bytes */{}", whole.len()), "{what}"),
        504 => assert!(what.contains("only-if-cached"), "{what}"),
        other => panic!("{what}: {other}"),
    }
}

proptest! {
    #![proptest_config(cases(256))]

    /// Random values near what is meant, several fields at once, on fresh and stale copies.
    #[test]
    fn bad_random_requests_get_right_answers(
        fields in prop::collection::vec((0..8_usize, "[a-z0-9=,;\"*/ :WGMT-]{0,24}"), 0..5),
        ranges in "(bytes=)?([0-9]{0,3}-[0-9]{0,3},? ?){0,5}",
        wait in 0..200_u64,
        is_head: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let names = ["if-none-match", "if-modified-since", "if-range", "cache-control", "accept-encoding", "accept", "forwarded", "te"];
            let policy = Policy::rfc9111().stale_if_error(HOUR).stale_while_revalidate(MINUTE);
            let app = App::new(policy, by_path());
            app.get("/x").await;
            app.advance(wait);
            let mut request = if is_head { head("/x") } else { Request::get("/x") };
            for (name, text) in &fields {
                request = request.header(names[*name], text);
            }
            let got = app.send(request.header("range", &ranges)).await;
            if is_head {
                assert!(got.body.is_empty());
            } else {
                assert_right(&got, "this is what stands at /x", &format!("only-if-cached? {fields:?} {ranges}"));
            }
            assert_eq!(app.get("/x").await.text(), "this is what stands at /x");
        });
    }
}

/// A closure of the application that panics costs its request the cache, counted, and nothing else.
#[tokio::test]
async fn bad_a_callback_that_panics() {
    let policy = minute().uri(|parts| {
        assert!(!parts.uri.path().contains("panic"), "as it should in this test");
        parts.uri.clone()
    });
    let app = App::new(policy, by_path());
    for _ in 0..2 {
        let got = app.get("/panic").await;
        assert_bypass!(got);
        assert_eq!(got.text(), "this is what stands at /panic");
        app.send(Request::post("/panic")).await;
    }
    assert_eq!(app.bypassed("callback-panicked"), 2);
    app.get("/x").await;
    assert_hit!(app.get("/x").await);
}

/// Reasons are counted one for one, and together they are all requests.
#[tokio::test]
async fn bad_every_request_is_counted_once() {
    let app = App::new(minute().request_directives(RequestDirectives::Honor), by_path());
    let mut random = Random::seeded(1);
    let asked = 500;
    for _ in 0..asked {
        let uri = ["/a", "/b", "/c?_method=PUT", "http://u@h/x"][usize::try_from(random.below(4)).unwrap()];
        let (name, text) = [
            ("x-none", "1"),
            ("cookie", "a=b"),
            ("upgrade", "h2c"),
            ("if-match", "*"),
            ("x-rewrite-url", "/y"),
            ("range", "bytes=0-1"),
            ("cache-control", "no-cache"),
            ("cache-control", "only-if-cached"),
            ("if-none-match", "\"e\""),
        ][usize::try_from(random.below(9)).unwrap()];
        let method = ["GET", "GET", "HEAD", "POST", "OPTIONS"][usize::try_from(random.below(5)).unwrap()];
        app.send(Request::builder().method(method).uri(uri).header(name, text)).await;
        app.advance(random.below(20));
    }
    let stats = app.stats();
    let bypassed: u64 = stats.bypasses.values().sum();
    assert_eq!(stats.hits + stats.stale + stats.revalidated + stats.misses + bypassed, asked, "{stats:?}");
    assert!(stats.bypasses.len() >= 6, "{stats:?}");
    assert!((0.0..=1.0).contains(&stats.lookup_hit_ratio()));
}

/// Header maps of every size, with the fields that matter last.
#[tokio::test]
async fn bad_many_fields() {
    let app = App::new(minute(), by_path());
    app.get("/x").await;
    let crowd = |request: http::request::Builder| {
        (0..5000).fold(request, |request, n| request.header(HeaderName::try_from(format!("x-{n}")).unwrap(), "y"))
    };
    assert_hit!(app.send(crowd(Request::get("/x"))).await);
    assert_bypass!(app.send(crowd(Request::get("/x")).header("cookie", "a")).await);
    assert_miss!(app.send(crowd(Request::get("/x")).header("authorization", "a")).await);
    let request = plain(crowd(Request::get("/x"))).map(|_| Script::new().data("content"));
    assert_bypass!(app.ask(request).await.unwrap());
}

//! Bad input from the inner service: correct bytes to the client, and a counted reason.

use crate::support::{App, HOUR, Inner, MINUTE, Reply, Script, cases, head, value};
use http::{HeaderName, HeaderValue, Request};
use larder::{Cache, CacheLayer, Policy, assert_hit, assert_miss};
use proptest::prelude::*;
use tower::{Layer, ServiceExt};

#[tokio::test]
async fn bad_lengths_are_not_believed() {
    let table: [(&[&[u8]], Option<&str>); 22] = [
        (&[b"4"], None),
        (&[b"04"], None),
        (&[], None),
        (&[b"3"], Some("wrong-length")),
        (&[b"5"], Some("wrong-length")),
        (&[b"0"], Some("wrong-length")),
        (&[b"4", b"4"], Some("wrong-length")),
        (&[b"4", b"5"], Some("wrong-length")),
        (&[b"4, 4"], Some("wrong-length")),
        (&[b"4,5"], Some("wrong-length")),
        (&[b"-4"], Some("wrong-length")),
        (&[b"+4"], Some("wrong-length")),
        (&[b"4.0"], Some("wrong-length")),
        (&[b"0x4"], Some("wrong-length")),
        (&[b""], Some("wrong-length")),
        (&[b"four"], Some("wrong-length")),
        (&[b"4 "], Some("wrong-length")),
        (&[b"\xd9\xa4"], Some("wrong-length")),
        (&[b"99999999999999999999999"], Some("wrong-length")),
        (&[b"18446744073709551615"], Some("too-large")),
        (&[b"9000000"], Some("too-large")),
        (&[b"1000"], Some("wrong-length")),
    ];
    let bodies: [fn() -> Script; 3] = [
        || Script::new().data("ab").data("cd"),
        || Script::new().data("abcd").shy(),
        || Script::new().data("").data("abc").data("d").trailers(&[("x", "y")]),
    ];
    for (lines, reason) in table {
        for body in bodies {
            for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111()] {
                let reply = move || {
                    let reply = Reply::ok("").cc("max-age=60").body(body());
                    lines.iter().fold(reply, |reply, line| reply.with("content-length", line))
                };
                let app = App::new(policy, Inner::by(move |_| reply()));
                let first = app.get("/x").await;
                assert_eq!((first.text(), first.broken), ("abcd", false));
                let sent: Vec<_> =
                    first.headers().get_all("content-length").iter().map(HeaderValue::as_bytes).collect();
                assert_eq!(sent, lines, "the server is to see what the service said");
                let second = app.get("/x").await;
                assert_eq!(second.text(), "abcd");
                match reason {
                    None => assert_hit!(second),
                    Some(reason) => {
                        assert_miss!(second);
                        assert_eq!(app.not_stored(reason), 2, "{lines:?}: {:?}", app.stats());
                    }
                }
            }
        }
    }
}

/// A body that claims a size and has another.
#[tokio::test]
async fn bad_size_hints_are_not_believed() {
    for (claimed, stored) in [(4, true), (3, false), (5, false), (0, false), (u64::MAX, false)] {
        let inner = Inner::by(move |_| Reply::ok("").body(Script::new().data("ab").data("cd").exact(claimed)));
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        for _ in 0..2 {
            assert_eq!(app.get("/x").await.text(), "abcd");
        }
        assert_eq!(app.calls() == 1, stored, "{claimed}");
        assert_eq!(app.not_stored("wrong-length") + app.not_stored("too-large"), if stored { 0 } else { 2 });
    }
}

/// A client that reads no further than the declared length, as servers do, leaves nothing but what it has read. Who reads
/// along hears that the body does not keep its word.
#[tokio::test]
async fn bad_lengths_of_unread_bodies() {
    for (length, read, text) in
        [("0", 0, ""), ("2", 1, "ab"), ("4", 2, "abcd"), ("4", 1, ""), ("3", 1, ""), ("3", 2, "")]
    {
        let body = || Script::new().data("ab").data("cd").data("ef");
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("").with("content-length", length).body(body()),
            _ => Reply::ok("new"),
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let mut response = app.head(crate::support::plain(Request::get("/x"))).await.unwrap();
        for _ in 0..read {
            http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
        }
        drop(response);
        let got = app.get("/x").await;
        assert!(
            got.text() == "new" || (got.text() == text && text.len().to_string() == length) || got.broken,
            "declared {length}: {got:?}"
        );
    }
}

#[tokio::test]
async fn bad_dates_ages_and_validators() {
    let later = "Fri, 15 Jan 2027 08:01:00 GMT";
    for (fields, fresh) in [
        // `Expires` that is no date is expired; in any case of letters and any of the three formats it is one.
        (vec![("expires", "0")], 0),
        (vec![("expires", "-1")], 0),
        (vec![("expires", "")], 0),
        (vec![("expires", "tomorrow")], 0),
        (vec![("expires", "Fri, 15 Jan 2027 08:01:00 CET")], 0),
        (vec![("expires", "Fri, 15 Jan 2027 08:01:00 +0000")], 0),
        (vec![("expires", "Thu, 15 Jan 2027 25:01:00 GMT")], 0),
        (vec![("expires", "\u{e9}")], 0),
        (vec![("expires", later), ("expires", "0")], 0),
        (vec![("expires", later)], 60),
        (vec![("expires", "fri, 15 jan 2027 08:01:00 gmt")], 60),
        (vec![("expires", "Friday, 15-Jan-27 08:01:00 GMT")], 60),
        (vec![("expires", "Fri Jan 15 08:01:00 2027")], 60),
        (vec![("expires", later), ("cache-control", "max-age=10")], 10),
        (vec![("expires", "0"), ("cache-control", "max-age=10")], 10),
        (vec![("expires", later), ("cache-control", "s-maxage=5, max-age=10")], 5),
        (vec![("expires", later), ("date", "junk")], 60),
        (vec![("expires", later), ("date", "")], 60),
        // `Age`: the first value of the first line, what is none is absent, overflow is very old.
        (vec![("cache-control", "max-age=60"), ("age", "50")], 10),
        (vec![("cache-control", "max-age=60"), ("age", "50, 1")], 10),
        (vec![("cache-control", "max-age=60"), ("age", "50"), ("age", "1")], 10),
        (vec![("cache-control", "max-age=60"), ("age", "junk")], 60),
        (vec![("cache-control", "max-age=60"), ("age", "-50")], 60),
        (vec![("cache-control", "max-age=60"), ("age", "50.5")], 60),
        (vec![("cache-control", "max-age=60"), ("age", "")], 60),
        (vec![("cache-control", "max-age=60"), ("age", "\u{e9}")], 60),
        (vec![("cache-control", "max-age=60"), ("age", "18446744073709551616")], 0),
        (vec![("cache-control", "max-age=60"), ("age", "4294967297")], 0),
        // `Date`: the past counts, the future and junk do not.
        (vec![("cache-control", "max-age=60"), ("date", "Fri, 15 Jan 2027 07:59:30 GMT")], 30),
        (vec![("cache-control", "max-age=60"), ("date", later)], 60),
        (vec![("cache-control", "max-age=60"), ("date", "junk")], 60),
    ] {
        let shown = format!("{fields:?}");
        let inner =
            Inner::by(move |_| fields.iter().fold(Reply::ok("x"), |reply, (name, text)| reply.with(name, text)));
        let app = App::new(Policy::from_response(), inner);
        app.get("/x").await;
        for (at, hit) in [(fresh.max(1) - 1, fresh > 0), (1, false)] {
            app.advance(at);
            let before = app.calls();
            let got = app.get("/x").await;
            assert_eq!((got.text(), app.calls() == before), ("x", hit), "{shown} at {at}");
            assert!(!hit || got.header("age").parse::<u64>().is_ok(), "one valid Age: {}", got.header("age"));
            if fresh == 0 {
                break;
            }
        }
    }
    // Validators that are none are not sent back.
    for (name, text) in [
        ("etag", "junk"),
        ("etag", "\"a"),
        ("etag", "\"a\"x"),
        ("last-modified", "junk"),
        ("last-modified", "0"),
        ("etag", ""),
    ] {
        let app = App::new(Policy::fresh_for(MINUTE), Inner::by(move |_| Reply::ok("x").with(name, text)));
        app.get("/x").await;
        app.advance(61);
        assert_miss!(app.get("/x").await);
        assert!(!app.inner.last().has("if-none-match") && !app.inner.last().has("if-modified-since"), "{name}: {text}");
    }
}

/// What has no room in the memory tier, and heads that are larger than it.
#[tokio::test]
async fn bad_sizes_are_bounded() {
    let (cache, _clock) = crate::behind::cache_with(Cache::builder().memory(256 * 1024)).unwrap();
    let inner = Inner::by(|call| match call.uri.path() {
        "/head" => (0..2000).fold(Reply::ok("x"), |reply, n| reply.with(&format!("x-{n}"), "y".repeat(100))),
        "/trailers" => {
            let mut trailers = Script::new().data("x");
            for _ in 0..1 {
                trailers = trailers.trailers(&[("x-t", "y"); 2000]);
            }
            Reply::ok("").body(trailers)
        }
        _ => Reply::ok(vec![0; 300_000]),
    });
    let service = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(inner.clone());
    for (path, reason) in [("/body", "too-large"), ("/head", "no-room"), ("/trailers", "no-room")] {
        for _ in 0..2 {
            let response = service.clone().oneshot(crate::support::plain(Request::get(path))).await.unwrap();
            let got = crate::support::Got::read(response).await;
            assert_eq!(got.body.len(), if path == "/body" { 300_000 } else { 1 });
        }
        let stats = cache.stats();
        assert_eq!(stats.not_stored.get(reason).copied().unwrap_or(0).min(2), 2, "{path} {stats:?}");
        assert!(stats.bytes <= 256 * 1024 && stats.resources == 0);
    }
}

const READ: [&str; 16] = [
    "cache-control",
    "expires",
    "date",
    "age",
    "etag",
    "last-modified",
    "vary",
    "content-length",
    "content-type",
    "content-encoding",
    "set-cookie",
    "connection",
    "cdn-cache-control",
    "larder-cache-control",
    "cache-status",
    "content-range",
];

/// A service that says these things, on every path of the cache: no panic, its bytes and nothing but its bytes.
async fn survives(fields: &[(HeaderName, HeaderValue)], status: u16) {
    for policy in [
        Policy::fresh_for(MINUTE).stale_if_error(HOUR),
        Policy::rfc9111().stale_while_revalidate(MINUTE),
        Policy::fresh_for(MINUTE).override_response().strip_set_cookie().ignore_cookies(),
    ] {
        let said = fields.to_vec();
        let inner = Inner::by(move |call| {
            let conditional = call.has("if-none-match") || call.has("if-modified-since");
            let body = if conditional || call.method == "HEAD" { "" } else { "0123456789" };
            let reply = Reply::status(if conditional { 304 } else { status }, body);
            said.iter().fold(reply, |reply, (name, text)| reply.with(name.as_str(), text.as_bytes()))
        });
        let app = App::new(policy, inner);
        let first = app.get("/x").await;
        for (name, _) in fields.iter().filter(|(name, _)| name != "cache-status" && name != "larder-cache-control") {
            let sent: Vec<_> = first.headers().get_all(name).iter().collect();
            let said: Vec<_> = fields.iter().filter(|(other, _)| other == name).map(|(_, text)| text).collect();
            assert_eq!(sent, said, "the client of a miss sees what the service said");
        }
        for wait in [0, 61, 4000] {
            app.advance(wait);
            for request in [
                Request::get("/x"),
                head("/x"),
                Request::get("/x").header("range", "bytes=2-4"),
                Request::get("/x").header("range", "bytes=0-0,-1"),
                Request::get("/x").header("if-none-match", "\"e\""),
                Request::get("/x").header("if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
                Request::get("/x").header("cache-control", "no-cache").header("accept-encoding", "gzip"),
            ] {
                let got = app.send(request).await;
                match got.status.as_u16() {
                    206 if got.header("content-range") == "bytes 2-4/10" => assert_eq!(got.text(), "234"),
                    206 | 304 | 416 => {}
                    other => assert!(other == status && (got.body.is_empty() || got.text() == "0123456789"), "{got:?}"),
                }
            }
        }
        crate::support::settle().await;
    }
}

#[tokio::test]
async fn bad_values_in_every_response_field() {
    let values: [&[u8]; 24] = [
        b"",
        b" ",
        b",",
        b",,,",
        b"=",
        b"\"",
        b"\"\\",
        b"\xff\xfe",
        b"\xe9, no-store",
        b"*",
        b"-1",
        b"99999999999999999999999999",
        b"max-age",
        b"max-age=\"",
        b"max-age=60;x",
        b"?1",
        b"a=(1 2",
        b"W/\"",
        b"Sun, 99 Nov 9999 99:99:99 GMT",
        b"Fri, 31 Dec 9999 23:59:59 GMT",
        b"Thursday, 01-Jan-70 00:00:00 GMT",
        b"bytes 0-1/2",
        b"text/event-streams",
        b"10",
    ];
    for name in READ {
        for bytes in values {
            let field = (HeaderName::from_static(name), value(bytes));
            survives(std::slice::from_ref(&field), 200).await;
            survives(
                &[field.clone(), field, (HeaderName::from_static("etag"), HeaderValue::from_static("\"e\""))],
                200,
            )
            .await;
        }
    }
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn bad_random_responses_keep_their_bytes(
        fields in prop::collection::vec((0..READ.len(), "[a-zA-Z0-9=,;\"*/ :?()_-]{0,30}"), 0..6),
        status in prop::sample::select(vec![200_u16, 203, 301, 404, 410, 500, 299, 451]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let fields: Vec<_> = fields.iter().map(|(at, text)| (HeaderName::from_static(READ[*at]), value(text))).collect();
        runtime.block_on(survives(&fields, status));
    }
}

//! POISON: what one client sends must not shape what another gets (O-11 to O-13).

use crate::support::{App, Call, HOUR, Inner, MINUTE, Reply, Script, head, plain, until, value};
use http::Request;
use larder::{Policy, assert_bypass, assert_hit, assert_miss, assert_stale};

fn policies() -> [Policy; 3] {
    [Policy::from_response(), Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR), Policy::rfc9111()]
}

/// Reflects every field that it trusts into body and head.
fn gullible(status: u16) -> Inner {
    Inner::by(move |call| {
        let evil: Vec<_> =
            call.headers.values().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
        let at = evil.concat();
        let at: String = at.chars().filter(char::is_ascii_graphic).collect();
        Reply::status(status, format!("at {at}"))
            .cc("public, max-age=60")
            .with("location", format!("/{at}"))
            .with("etag", "\"e\"")
    })
}

const ROUTING: [&str; 29] = [
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Scheme",
    "X-Forwarded-Prefix",
    "X-Forwarded-Port",
    "X-Forwarded-Server",
    "X-Forwarded-Path",
    "X-Forwarded-Uri",
    "X-Forwarded-Ssl",
    "Forwarded",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-Host",
    "X-Original-Host",
    "X-HTTP-Host-Override",
    "X-Url-Scheme",
    "Front-End-Https",
    "X-Scheme",
    "X-Proto",
    "X-Original-Proto",
    "X-Http-Host",
    "X-Envoy-Original-Host",
    "X-Envoy-Original-Path",
    "X-Original-Uri",
    "X-Rewrite-Uri",
    "X-Ms-Original-Url",
    "X-Waws-Unencoded-Url",
    "Cloudfront-Forwarded-Proto",
    "Cf-Visitor",
];

#[tokio::test]
async fn o_11_unkeyed_routing_headers() {
    for name in ROUTING {
        for status in [200, 301, 404] {
            for policy in policies() {
                for values in [&["host=evil"][..], &["evil"], &["host=a", "host=evil"], &["\"host=evil"]] {
                    let app = App::new(policy.clone(), gullible(status));
                    let attack =
                        || values.iter().fold(Request::get("/x"), |request, value| request.header(name, *value));
                    for _ in 0..2 {
                        assert!(app.send(attack()).await.shows("evil"));
                    }
                    let asked = [Request::get("/x"), head("/x"), Request::get("/x").header("range", "bytes=0-1")];
                    for request in asked {
                        assert!(!app.send(request).await.shows("evil"), "{name}");
                    }
                    // Nor after it went stale, and the attacker made the cache refresh or validate it.
                    for _ in 0..2 {
                        app.advance(61);
                        app.send(attack()).await;
                        crate::support::settle().await;
                        for _ in 0..2 {
                            assert!(!app.get("/x").await.shows("evil"), "{name}");
                            crate::support::settle().await;
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn o_11_rewritten_urls_neither_read_nor_fill() {
    for name in ["X-Original-URL", "x-rewrite-url", "X-Rewrite-URI"] {
        let app = App::new(Policy::from_response(), gullible(200));
        app.get("/x").await;
        let got = app.send(Request::get("/x").header(name, "/admin")).await;
        assert_bypass!(got);
        assert!(got.shows("/admin"));
        assert_eq!(app.bypassed("rewritten-url"), 1);
        assert_hit!(app.get("/x").await);
    }
}

/// What a proxy in front sets is part of the key, so that each origin has its own copy.
#[tokio::test]
async fn o_11_forwarded_origins_are_keyed() {
    let app = App::new(Policy::from_response(), gullible(200));
    for round in ["miss", "hit"] {
        for (name, value) in [
            ("x-forwarded-host", "a"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-proto", "a"),
            ("forwarded", "host=a"),
            ("forwarded", "host=b"),
            ("forwarded", "proto=a"),
            ("forwarded", "host=a;proto=a"),
            ("forwarded", "host=a, host=a"),
            ("forwarded", "x=1"),
        ] {
            let got = app.send(Request::get("/x").header(name, value)).await;
            assert_eq!(got.outcome(), round, "{name}: {value}");
        }
    }
    // The client's own address is not, or nothing would ever be shared behind a proxy.
    let app = App::new(Policy::from_response(), Inner::by(|_| Reply::ok("x").cc("max-age=60")));
    for client in ["for=1.2.3.4;host=a", "for=5.6.7.8;host=a", "For=\"[::1]:80\"; host=a;by=_p"] {
        app.send(Request::get("/x").header("forwarded", client).header("x-forwarded-for", client)).await;
    }
    assert_eq!(app.calls(), 1);
}

/// The first host in `Forwarded`, as handlers read it that know nothing of quoted strings (axum-extra's `Host` does so).
fn naive_host(call: &Call) -> String {
    let line = call.header("forwarded");
    let pairs = line.split(',').next().unwrap().split(';');
    let host = pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| name.trim().eq_ignore_ascii_case("host"));
    host.map_or(String::new(), |(_, host)| host.trim().trim_matches('"').to_owned())
}

/// A handler that reads `Forwarded` otherwise than the cache does must not be made to poison those who sit behind a
/// proxy that adds their address.
#[tokio::test]
async fn o_11_forwarded_read_otherwise() {
    for attack in [
        "for=\"x;host=evil",
        "for=\"x;host=evil;y\"",
        "for=\"x\\\";host=evil",
        "by=\"a;host=evil\"",
        "for=1;host=evil",
        "for = 1;host = evil",
        "for=\"1\" ;host=evil",
        "for;host=evil",
    ] {
        let inner = Inner::by(|call| Reply::ok(format!("at [{}]", naive_host(call))).cc("max-age=60"));
        let app = App::new(Policy::from_response(), inner);
        app.send(Request::get("/x").header("forwarded", attack)).await;
        for victim in ["for=1.2.3.4", "for=1.2.3.4, for=5.6.7.8", "by=x"] {
            let got = app.send(Request::get("/x").header("forwarded", victim)).await;
            assert_eq!(got.text(), "at []", "{attack}");
        }
    }
}

/// What is allowed to one origin only is not given to another, also where `Vary` does not say so.
#[tokio::test]
async fn o_12_one_origin_without_vary() {
    for vary in ["", "accept", "Origin, accept"] {
        let inner = Inner::by(move |call| {
            let origin = call.header("origin");
            let reply = Reply::ok(format!("for [{origin}]")).cc("public, max-age=60").with("vary", vary);
            if origin.is_empty() { reply } else { reply.with("access-control-allow-origin", origin) }
        });
        for policy in policies() {
            let app = App::new(policy, inner.clone());
            let ask = |origin: &str| Request::get("/x").header("origin", origin);
            for outcome in ["miss", "hit"] {
                for origin in ["https://a.example", "https://b.example", "null"] {
                    let got = app.send(ask(origin)).await;
                    assert_eq!((got.outcome(), got.text()), (outcome, &*format!("for [{origin}]")), "{vary}");
                }
            }
            assert_eq!(app.get("/x").await.text(), "for []");
        }
    }
    // What is for all origins, or for none, is one copy.
    for allowed in ["*", " * "] {
        let inner = Inner::by(move |_| Reply::ok("x").cc("max-age=60").with("access-control-allow-origin", allowed));
        let app = App::new(Policy::from_response(), inner);
        for origin in ["https://a.example", "https://b.example"] {
            app.send(Request::get("/x").header("origin", origin)).await;
        }
        assert_eq!(app.calls(), 1);
    }
}

fn gzip_without_vary() -> Inner {
    Inner::by(|call| {
        let gzip = call.header("accept-encoding").split(',').any(|element| element.trim() == "gzip");
        let reply = Reply::ok(if gzip { "\x1f\x0bZIP" } else { "plain" }).cc("max-age=60").with("etag", "\"e\"");
        if gzip { reply.with("content-encoding", "gzip") } else { reply }
    })
}

#[tokio::test]
async fn o_12_content_coding_without_vary() {
    for policy in policies() {
        for refusing in
            ["identity", "", "gzip;q=0", "br", "*;q=0, identity", "gzip;q=0, *", "GZIP;q=0.000", "deflate, gzip; q=0"]
        {
            let app = App::new(policy.clone(), gzip_without_vary());
            let ask = |accepted: &str| Request::get("/x").header("accept-encoding", accepted);
            let gzipped = app.send(ask("gzip")).await;
            assert!(gzipped.has("content-encoding"));
            assert_hit!(app.send(ask("x-gzip, unknown;q=0.3")).await);
            for request in [ask(refusing), ask(refusing).method("HEAD"), ask(refusing).header("range", "bytes=0-1")] {
                let got = app.send(request).await;
                assert!(!got.has("content-encoding") && !got.shows("ZIP"), "{refusing}");
            }
            let got = app.send(ask(refusing).header("if-none-match", "\"e\"")).await;
            assert!(!got.has("content-encoding"));
            app.advance(61);
            assert!(!app.send(ask(refusing)).await.has("content-encoding"), "{refusing}");
        }
    }
}

/// The other way round: what is not coded first, then coded. Who cannot read a coding never gets it.
#[tokio::test]
async fn o_12_plain_first() {
    let app = App::new(Policy::from_response(), gzip_without_vary());
    let ask = |accepted: &str| Request::get("/x").header("accept-encoding", accepted);
    app.send(ask("br")).await;
    app.advance(61);
    app.send(ask("gzip")).await;
    for accepted in ["br", "identity", ""] {
        assert!(!app.send(ask(accepted)).await.has("content-encoding"));
    }
    assert!(!app.get("/x").await.has("content-encoding"), "absent is no list with gzip");
}

#[tokio::test]
async fn o_12_malformed_negotiation_does_not_split() {
    let vary = Inner::by(|call| {
        Reply::ok(call.header("accept-encoding"))
            .cc("max-age=60")
            .with("vary", "Accept-Encoding")
            .with("content-encoding", "gzip")
    });
    let app = App::new(Policy::from_response(), vary);
    for n in 0..1000 {
        let malformed = match n % 10 {
            0 => format!("gzip;q=abc{n}"),
            1 => format!(";;{n}"),
            2 => format!("gz ip{n}"),
            3 => format!("gzip{n}"),
            4 => format!("gzip;level={n}"),
            5 => format!("gzip;q=1.{n}"),
            6 => format!("\u{e9}{n}"),
            7 => format!("(gzip{n})"),
            8 => format!("*;q=2{n}"),
            _ => format!("gzip, x{n}\u{7f};q=5").replace('\u{7f}', "\u{80}"),
        };
        app.send(Request::get("/x").header("accept-encoding", value(malformed))).await;
    }
    assert!(app.calls() <= 32, "{} calls", app.calls());
    assert_eq!(app.stats().resources, 1);
    // What is compared in a normal form is sent in it: the handler cannot tell apart what the cache does not.
    let seen: std::collections::HashSet<_> =
        app.inner.seen().iter().map(|call| call.header("accept-encoding")).collect();
    assert_eq!(seen.len(), app.calls());
}

/// An attacker's nonsense is answered with an error that says it is fresh: nobody else gets it.
#[tokio::test]
async fn o_12_406_and_416_are_not_stored() {
    let table = [
        (416, "range", "bytes=99-"),
        (406, "accept", "nonsense/;;"),
        (406, "accept-language", "\u{e9}"),
        (412, "if-none-match", "\"e\""),
    ];
    for (status, name, nonsense) in table {
        for policy in policies() {
            let inner = Inner::by(move |call| {
                let reply = if call.has(name) { Reply::status(status, "bad") } else { Reply::ok("good") };
                reply.cc("public, max-age=600")
            });
            let app = App::new(policy, inner);
            for _ in 0..2 {
                assert_miss!(app.send(Request::get("/x").header(name, value(nonsense))).await);
            }
            let got = app.get("/x").await;
            assert_eq!((got.status.as_u16(), got.text()), (200, "good"), "{status}");
        }
    }
}

/// 406 and 416 displace nothing, be the copy fresh or stale.
#[tokio::test]
async fn o_12_406_and_416_displace_nothing() {
    for (status, name, nonsense) in [
        (406, "accept", "nonsense/;;"),
        (416, "range", "bytes=99999999-"),
        (412, "x-a", "?"),
        (406, "accept-charset", "?"),
    ] {
        for validator in [None, Some("\"e\"")] {
            for said in ["", "max-age=600", "no-store"] {
                let inner = Inner::by(move |call| {
                    let reply = Reply::ok("good").cc("max-age=60");
                    let good = validator.map_or(reply, |tag| Reply::ok("good").cc("max-age=60").with("etag", tag));
                    match call.number {
                        1 => good,
                        _ if call.has(name) => Reply::status(status, "bad").cc(said),
                        2 => Reply::status(status, "bad").cc(said),
                        _ => Reply::down(),
                    }
                });
                let app = App::new(Policy::fresh_for(MINUTE).stale_if_error(HOUR), inner);
                app.get("/x").await;
                app.send(Request::get("/x").header(name, nonsense)).await;
                assert_hit!(app.get("/x").await);
                app.advance(61);
                app.send(Request::get("/x").header(name, nonsense)).await;
                if app.calls() == 1 {
                    continue;
                }
                app.advance(31);
                let got = app.ask(plain(Request::get("/x"))).await;
                let got =
                    got.unwrap_or_else(|_| panic!("{status} displaced a usable stale copy ({said:?}, {validator:?})"));
                assert_eq!(got.text(), "good", "{status} {said}");
            }
        }
    }
}

#[tokio::test]
async fn o_13_get_with_content_neither_reads_nor_fills() {
    let echo = Inner::by(|call| Reply::ok(format!("{:?}", call.body)).cc("public, max-age=60"));
    let app = App::new(Policy::fresh_for(MINUTE), echo);
    let fat = |method: &str| Request::builder().method(method).uri("/s");
    let bodies: [fn() -> Script; 5] = [
        || Script::new().data("id=evil"),
        || Script::new().data("").data("id=").data("evil"),
        || Script::new().data("id=evil").exact(7),
        || Script::new().data("id=evil").trailers(&[("x", "y")]).shy(),
        || Script::new().data("id=evil").shy(),
    ];
    for (count, body) in bodies.iter().enumerate() {
        for request in
            [fat("GET"), fat("GET").header("content-length", "7"), fat("GET").header("transfer-encoding", "chunked")]
        {
            let got = app.ask(request.body(body()).unwrap()).await.unwrap();
            assert_bypass!(got);
            assert_eq!(got.text(), "b\"id=evil\"", "intact, {count}");
        }
        assert_bypass!(app.ask(fat("HEAD").body(body()).unwrap()).await.unwrap());
    }
    assert_eq!(app.bypassed("content"), 20);
    let got = app.get("/s").await;
    assert_miss!(got);
    assert_eq!(got.text(), "b\"\"");
    // Nor does it read: also where only the head tells of content.
    for request in [
        fat("GET").header("content-length", "1"),
        fat("GET").header("content-length", "junk"),
        fat("GET").header("content-length", "-0"),
        fat("GET").header("content-length", "0").header("content-length", "5"),
        fat("GET").header("transfer-encoding", "identity"),
    ] {
        assert_bypass!(app.send(request).await);
    }
    assert_hit!(app.send(fat("GET").header("content-length", "0")).await);
}

/// One connection of HTTP/1.1: a GET for what is cached, with another request as its content; then the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_13_a_smuggled_request_is_content() {
    use axum::{Router, routing::get};
    use larder::{Cache, CacheLayer};
    use std::io::{Read, Write};
    let layer = CacheLayer::new(&Cache::in_memory(1 << 20), Policy::fresh_for(MINUTE));
    let app: Router = Router::new()
        .route("/hit", get(|| async { "the hit" }))
        .route("/next", get(|| async { "the next" }))
        .route("/admin", get(|| async { "the admin" }))
        .layer(layer);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let heard = tokio::task::spawn_blocking(move || {
        let mut connection = std::net::TcpStream::connect(address).unwrap();
        let smuggled = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
        let fat = format!("GET /hit HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{smuggled}", smuggled.len());
        for request in
            ["GET /hit HTTP/1.1\r\nHost: a\r\n\r\n", &fat, "GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"]
        {
            connection.write_all(request.as_bytes()).unwrap();
        }
        let mut heard = String::new();
        connection.read_to_string(&mut heard).unwrap();
        heard
    });
    let heard = heard.await.unwrap();
    server.abort();
    assert_eq!(heard.matches("the hit").count(), 2, "{heard}");
    assert_eq!(heard.matches("the next").count(), 1, "{heard}");
    assert!(!heard.contains("the admin"), "{heard}");
}

/// The header that a refresh in the background carries is the one that was compared.
#[tokio::test]
async fn o_12_a_refresh_asks_in_the_normal_form_too() {
    let inner = Inner::by(|call| {
        // A service that knows a coding which the cache does not tell apart.
        let exotic = call.header("accept-encoding").contains("exotic");
        let reply = Reply::ok(if exotic { "EXOTIC" } else { "ZIP" }).cc("max-age=60").with("vary", "accept-encoding");
        reply.with("content-encoding", if exotic { "exotic" } else { "gzip" })
    });
    let app = App::new(Policy::from_response().stale_while_revalidate(HOUR), inner);
    let ask = |accepted: &str| Request::get("/x").header("accept-encoding", accepted);
    assert_eq!(app.send(ask("exotic, gzip")).await.text(), "ZIP");
    app.advance(61);
    assert_stale!(app.send(ask("exotic, gzip")).await);
    until("a refresh", || app.stats().refreshes == 1).await;
    let got = app.send(ask("gzip")).await;
    assert_eq!((got.outcome(), got.text()), ("hit", "ZIP"), "nobody here asked for `exotic`");
}

//! POISON: fields of the connection, upgrades, odd methods (O-14).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, Script, head, plain, settle};
use http::{Method, Request};
use larder::{Policy, assert_bypass, assert_hit, assert_miss};

/// Key and scope are computed from the fields as received, whatever `Connection` names.
#[tokio::test]
async fn o_14_nominated_request_fields_still_count() {
    let inner = || {
        Inner::by(|call| {
            let who = format!("[{}{}{}]", call.header("authorization"), call.header("x-tenant"), call.header("cookie"));
            Reply::ok(who).cc("max-age=60").with("vary", "x-variant")
        })
    };
    let policy = || Policy::fresh_for(MINUTE).key_headers(["x-tenant"]);
    for connection in ["authorization, x-tenant, cookie", "close, X-Tenant, AUTHORIZATION, Cookie", "x-tenant"] {
        let ask =
            |name: &str, who: &str| Request::get("/me").header("connection", connection).header(name, who.to_owned());
        let app = App::new(policy(), inner());
        for who in ["A", "B"] {
            let got = app.send(ask("authorization", who)).await;
            assert_miss!(got);
            assert_eq!(got.text(), format!("[{who}]"));
            assert_eq!(app.send(ask("x-tenant", who)).await.text(), format!("[{who}]"));
            assert_bypass!(app.send(ask("cookie", who)).await);
            // Without `Connection` there may be a copy, and then it is this one.
            let own = app.send(Request::get("/me").header("x-tenant", who)).await;
            assert_eq!(own.text(), format!("[{who}]"));
            assert_hit!(app.send(ask("x-tenant", who)).await);
        }
        assert_eq!(app.get("/me").await.text(), "[]");
        assert_miss!(app.send(ask("x-variant", "1")).await);
        assert_ne!(app.send(ask("x-variant", "2")).await.outcome(), "hit");
    }
}

/// A client names a keyed field in `Connection` while the copy is stale. The refresh must not ask without the field and
/// store what came of it under the key with the field.
#[tokio::test]
async fn o_14_a_nominated_key_part_does_not_poison_the_refresh() {
    for (name, value) in
        [("x-tenant", "A"), ("host", "a.example"), ("x-forwarded-host", "a.example"), ("forwarded", "host=a.example")]
    {
        for tagged in [false, true] {
            let inner = Inner::by(move |call| {
                let reply = Reply::ok(format!("for [{}]", call.header(name))).cc("max-age=60");
                if tagged { reply.with("etag", format!("\"{}\"", call.header(name))) } else { reply }
            });
            let policy = Policy::from_response().key_headers(["x-tenant"]).stale_while_revalidate(HOUR);
            let app = App::new(policy, inner);
            let ask = || Request::get("/x").header(name, value);
            let own = format!("for [{value}]");
            assert_eq!(app.send(ask()).await.text(), own);
            app.advance(61);
            app.send(ask().header("connection", format!("close, {name}"))).await;
            settle().await;
            for _ in 0..3 {
                assert_eq!(app.send(ask()).await.text(), own, "{name}");
                settle().await;
            }
        }
    }
}

/// A service that obeys `Connection`, as every proxy must (RFC 9110 §7.6.1): it does not see what the client named there.
/// What it then answers is not for those who send the field (CVE-2022-45059).
#[tokio::test]
async fn o_14_a_service_that_obeys_connection() {
    let mut poisoned: Vec<&str> = Vec::new();
    for (name, value) in [
        ("x-tenant", "A"),
        ("host", "a.example"),
        ("x-forwarded-host", "a"),
        ("forwarded", "host=a"),
        ("accept-language", "fr"),
    ] {
        for connection in
            [name.to_owned(), format!("close, {}", name.to_ascii_uppercase()), format!("keep-alive,{name} ,te")]
        {
            let inner = Inner::by(move |call| {
                let named =
                    call.headers.get_all("connection").iter().flat_map(|line| line.to_str().unwrap().split(','));
                let hidden = named.map(str::trim).any(|hop| hop.eq_ignore_ascii_case(name));
                let seen = if hidden { String::new() } else { call.header(name) };
                Reply::ok(format!("for [{seen}]")).cc("max-age=60").with("vary", "accept-language")
            });
            let app = App::new(Policy::from_response().key_headers(["x-tenant"]), inner);
            let ask = || Request::get("/x").header(name, value);
            app.send(ask().header("connection", &connection)).await;
            if app.send(ask()).await.text() != format!("for [{value}]") {
                poisoned.push(name);
            }
            // What is there already may be read: the key is that of the fields as received.
            assert_hit!(app.send(ask()).await);
        }
    }
    assert!(poisoned.is_empty(), "{poisoned:?}");
}

/// Nor may the refreshed copy be one that no invalidation of its host finds any more.
#[tokio::test]
async fn o_14_a_nominated_host_does_not_hide_from_invalidation() {
    let inner = Inner::by(|call| Reply::ok(call.number.to_string()).cc("max-age=60"));
    let app = App::new(Policy::from_response().stale_while_revalidate(HOUR), inner);
    let ask = || Request::get("/x").header("host", "a.example");
    app.send(ask()).await;
    app.advance(61);
    app.send(ask().header("connection", "host")).await;
    settle().await;
    let before = app.calls();
    app.send(Request::post("/x").header("host", "a.example")).await;
    let body: usize = app.send(ask()).await.text().parse().unwrap();
    assert!(body > before, "what POST has changed was served");
    app.purge("http://a.example/x").await;
    assert_miss!(app.send(ask()).await);
}

#[tokio::test]
async fn o_14_upgrades_pass_untouched() {
    let inner = Inner::by(|call| match call.header("upgrade").as_str() {
        "" => Reply::ok("page").cc("max-age=60"),
        _ => Reply::status(101, "").with("upgrade", "websocket").with("connection", "upgrade").cc("max-age=60"),
    });
    for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111()] {
        let app = App::new(policy, inner.clone());
        app.get("/ws").await;
        for upgrade in ["websocket", "h2c", "WebSocket", ""] {
            let before = app.calls();
            let ask = || {
                Request::get("/ws")
                    .header("upgrade", upgrade)
                    .header("connection", "Upgrade")
                    .header("sec-websocket-key", "k")
            };
            let got = app.send(ask()).await;
            assert_bypass!(got);
            if !upgrade.is_empty() {
                assert_eq!((got.status.as_u16(), got.header("upgrade").as_str()), (101, "websocket"));
                assert_eq!(got.header("connection"), "upgrade", "fields of the connection reach the server");
            }
            app.send(ask()).await;
            assert_eq!(app.calls(), before + 2);
            assert_eq!(app.inner.last().header("connection"), "Upgrade");
        }
        assert_eq!(app.bypassed("upgrade"), 8);
        assert_hit!(app.get("/ws").await);
    }
    // A 101 nobody asked for.
    let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|_| Reply::status(101, "").cc("max-age=60")));
    app.get("/x").await;
    assert_miss!(app.get("/x").await);
}

#[tokio::test]
async fn o_14_only_exact_get_and_head_are_cached() {
    let target = |method: &str| if method == "CONNECT" { "a.example:443" } else { "/x" };
    for method in
        ["CONNECT", "TRACE", "OPTIONS", "get", "Get", "head", "GETS", "POST", "PUT", "PATCH", "DELETE", "FOO", "QUERY"]
    {
        let inner = Inner::by(|call| Reply::ok(format!("{} {}", call.method, call.number)).cc("public, max-age=60"));
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let ask = || Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(target(method));
        for number in 1..=3 {
            let got = app.send(ask()).await;
            assert_bypass!(got);
            assert_eq!(got.text(), format!("{method} {number}"));
        }
        assert_eq!(app.bypassed("method"), 3);
        assert_eq!(app.stats().resources, 0);
        assert_miss!(app.get("/x").await);
    }
    let app = App::new(Policy::fresh_for(MINUTE).methods([Method::GET]), Inner::by(|_| Reply::ok("x")));
    app.get("/x").await;
    assert_bypass!(app.send(head("/x")).await);
}

/// An override of the method bypasses, and counts as a change when it succeeds.
#[tokio::test]
async fn o_14_method_overrides() {
    for status in [200, 303, 404, 500] {
        for request in [
            || Request::get("/x").header("X-HTTP-Method-Override", "DELETE"),
            || Request::get("/x").header("X-HTTP-Method", "PUT"),
            || Request::get("/x").header("X-Method-Override", "PATCH"),
            || Request::get("/x?_method=DELETE"),
            || Request::get("/x?a=1&_method=DELETE"),
            || Request::get("/x?_method"),
            || Request::get("/x?%5fmethod=DELETE"),
            || Request::get("/x?_%6Dethod=DELETE"),
            || head("/x").header("x-http-method-override", "POST"),
        ] {
            let inner =
                Inner::by(move |call| if call.number == 2 { Reply::status(status, "") } else { Reply::ok("x") });
            let app = App::new(Policy::fresh_for(MINUTE), inner);
            let uri = plain(request()).uri().to_string();
            app.get("/x").await;
            assert_bypass!(app.send(request()).await);
            assert_eq!(app.bypassed("method-override"), 1, "{uri}");
            let changed = uri == "/x" && status < 400;
            assert_eq!(app.get("/x").await.outcome() == "miss", changed, "{uri} {status}");
        }
    }
}

const HOP_BY_HOP: [(&str, &str); 14] = [
    ("connection", "x-secret, X-Other"),
    ("connection", "close"),
    ("x-secret", "hop"),
    ("x-other", "hop"),
    ("keep-alive", "timeout=5, x=hop"),
    ("te", "trailers;x=hop"),
    ("proxy-authenticate", "Basic realm=hop"),
    ("proxy-authentication-info", "hop"),
    ("proxy-authorization", "hop"),
    ("proxy-connection", "hop"),
    ("transfer-encoding", "hop"),
    ("upgrade", "hop/2"),
    ("x-kept", "kept"),
    ("x-kept", "kept too"),
];

#[tokio::test]
async fn o_14_hop_by_hop_response_fields_are_not_replayed() {
    let inner = Inner::by(|call| match (call.number, call.header("if-none-match").as_str()) {
        (1, _) => HOP_BY_HOP
            .iter()
            .fold(Reply::ok("0123456789"), |reply, (name, value)| reply.with(name, value))
            .with("etag", "\"e\""),
        (_, "\"e\"") => HOP_BY_HOP.iter().fold(Reply::status(304, ""), |reply, (name, value)| reply.with(name, value)),
        _ => Reply::down(),
    });
    let app = App::new(Policy::fresh_for(MINUTE).stale_if_error(HOUR), inner);
    let first = app.get("/x").await;
    assert_eq!(first.header("x-secret"), "hop", "the first client's connection is the server's business");
    for wait in [0, 61, 61] {
        app.advance(wait);
        for request in [
            Request::get("/x"),
            head("/x"),
            Request::get("/x").header("range", "bytes=0-1"),
            Request::get("/x").header("range", "bytes=0-1,4-5"),
            Request::get("/x").header("range", "bytes=99-"),
            Request::get("/x").header("if-none-match", "\"e\""),
        ] {
            let got = app.send(request).await;
            assert_ne!(got.outcome(), "miss");
            assert!(!got.shows("hop") && !got.has("connection"), "{got:?}");
            assert_eq!(got.header("x-kept"), "kept, kept too");
        }
    }
    assert_eq!(app.calls(), 3);
}

/// A `Connection` that names what the cache itself goes by takes nothing back: neither a prohibition, nor what tells
/// variants apart, also not when a 304 freshens what is left.
#[tokio::test]
async fn o_14_nominated_response_fields_keep_their_meaning() {
    let mut forgotten = Vec::new();
    for connection in ["cache-control", "Vary", "etag, cache-control", "vary, x-lang"] {
        for directives in ["no-cache", "max-age=60"] {
            let inner = Inner::by(move |call| {
                let reply = match call.header("if-none-match").as_str() {
                    "" => Reply::ok(call.header("x-lang")).cc(directives).with("vary", "x-lang"),
                    _ => Reply::status(304, ""),
                };
                reply.with("etag", "\"e\"").with("connection", connection)
            });
            let app = App::new(Policy::fresh_for(MINUTE), inner);
            let ask = |lang: &str| Request::get("/x").header("x-lang", lang);
            assert_eq!(app.send(ask("fr")).await.text(), "fr");
            app.advance(7200);
            assert_eq!(app.send(ask("fr")).await.text(), "fr");
            if directives == "no-cache" && app.send(ask("fr")).await.outcome() == "hit" {
                forgotten.push(("no-cache", connection));
            }
            if app.send(ask("en")).await.text() != "en" {
                forgotten.push(("vary", connection));
            }
        }
    }
    assert_eq!(forgotten, []);
}

/// Requests that bypass reach the service as they were, their content and trailers included.
#[tokio::test]
async fn o_14_what_bypasses_is_untouched() {
    let app = App::new(
        Policy::fresh_for(MINUTE),
        Inner::by(|call| Reply::ok(call.body.clone()).with("x-a", "1").with("te", "x")),
    );
    let request = Request::post("/x?b=2")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("te", "trailers")
        .header("accept-encoding", "br;q=0.1, weird")
        .header("range", "bytes=0-1")
        .header("if-none-match", "\"e\"")
        .header("cache-control", "no-cache");
    let expected = plain(Request::post("/x?b=2")).uri().clone();
    let sent = request.body(Script::new().data("abc")).unwrap();
    let headers = sent.headers().clone();
    let got = app.ask(sent).await.unwrap();
    assert_eq!((got.text(), got.header("te").as_str()), ("abc", "x"));
    let call = app.inner.last();
    assert_eq!((call.headers, call.uri), (headers, expected));
}

/// A request whose `Connection` hides a field that selects is no judge of the copy that is there.
#[tokio::test]
async fn o_14_a_hidden_field_ends_nothing() {
    for method in ["GET", "HEAD"] {
        let inner = Inner::by(|call| {
            if call.has("x-down") {
                return Reply::down();
            }
            let hidden = !call.has("accept-language") || call.header("connection").contains("accept-language");
            let lang = if hidden { "en".to_owned() } else { call.header("accept-language") };
            let body = if call.method == "HEAD" { String::new() } else { lang.clone() };
            Reply::ok(body).cc("max-age=60").with("vary", "accept-language").with("etag", format!("\"{lang}\""))
        });
        let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
        let ask = || Request::get("/x").header("accept-language", "fr");
        app.send(ask()).await;
        app.advance(61);
        app.send(ask().method(method).header("connection", "accept-language")).await;
        let got = app.ask(plain(ask().header("x-down", "1"))).await;
        assert_eq!(got.map(|got| got.body), Ok("fr".into()), "{method}");
    }
}

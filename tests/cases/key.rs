//! KEY: what tells requests apart (O-05, O-06, part of O-08).

use crate::support::{App, Inner, MINUTE, Random, Reply, Script, cases, head, plain, until, value};
use http::{Method, Request, Uri, Version, uri::Scheme};
use larder::{Policy, assert_bypass, assert_hit, assert_miss};
use proptest::prelude::*;

fn minute() -> Policy {
    Policy::fresh_for(MINUTE)
}

/// A request for `/x` by URI, `Host`, and the scheme that the server found out of the connection.
fn ask(uri: &str, host: Option<&str>, scheme: Option<Scheme>) -> Request<Script> {
    let mut request = Request::get(uri);
    if let Some(host) = host {
        request = request.header("host", value(host));
    }
    if let Some(scheme) = scheme {
        request = request.extension(scheme);
    }
    plain(request)
}

/// Answers with all it was asked by.
fn mirror() -> Inner {
    Inner::by(|call| {
        let authority = call.uri.authority().map_or(String::new(), ToString::to_string);
        let (number, method, host) = (call.number, &call.method, call.header("host"));
        Reply::ok(format!("{number} {method} {authority}|{host}|{}", call.uri)).cc("max-age=60")
    })
}

#[tokio::test]
async fn o_05_authority_scheme_and_port() {
    let (http, https) = (Some(Scheme::HTTP), Some(Scheme::HTTPS));
    let app = App::new(minute(), mirror());
    let different = [
        ask("/x", None, None),
        ask("/x", Some("a.example"), None),
        ask("/x", Some("b.example"), None),
        ask("/x", Some("a.example:8443"), None),
        ask("/x", Some("a.example:80"), None),
        ask("/x", Some("a.example"), https.clone()),
        ask("/x", Some("a.example"), http.clone()),
        ask("/x", Some("a.example:443"), http.clone()),
        ask("/x", Some("a.example:80"), https.clone()),
        ask("/x", Some("a.example."), None),
        ask("/x", Some("[::1]"), None),
        ask("/x", Some("[::1]:8080"), None),
        ask("/x", Some("[::2]"), None),
        ask("/x", Some("127.0.0.1"), None),
        ask("https://h2a.example/x", None, None),
        ask("https://h2b.example/x", None, None),
        ask("http://h2a.example/x", None, None),
        ask("https://h2a.example:8443/x", None, None),
        ask("https://[::1]:8443/x", None, None),
        ask("/x", Some("xn--bcher-kva.example"), None),
    ];
    let again = |request: &Request<Script>| {
        let mut again = Request::builder().uri(request.uri());
        if let Some(host) = request.headers().get("host") {
            again = again.header("host", host);
        }
        if let Some(scheme) = request.extensions().get::<Scheme>() {
            again = again.extension(scheme.clone());
        }
        plain(again)
    };
    let mut bodies = Vec::new();
    for request in &different {
        let got = app.ask(again(request)).await.unwrap();
        assert_miss!(got);
        bodies.push(got.body);
    }
    assert_eq!(app.calls(), different.len());
    for (request, body) in different.iter().zip(&bodies) {
        let got = app.ask(again(request)).await.unwrap();
        assert_hit!(got);
        assert_eq!(got.body, body, "its own authority");
    }
    assert_eq!(app.calls(), different.len());
}

/// Spellings of one authority share.
#[tokio::test]
async fn o_05_equivalent_spellings_share() {
    let (http, https) = (Some(Scheme::HTTP), Some(Scheme::HTTPS));
    for spellings in [
        vec![
            ask("/x", Some("a.example"), None),
            ask("/x", Some("A.Example"), None),
            ask("/x", Some("a.example:"), None),
        ],
        vec![ask("/x", Some("a.example"), http.clone()), ask("/x", Some("a.example:80"), http)],
        vec![
            ask("/x", Some("a.example"), https.clone()),
            ask("/x", Some("a.example:443"), https.clone()),
            ask("https://a.example/x", None, None),
            ask("https://A.EXAMPLE:443/x", Some("a.example"), None),
            ask("HTTPS://a.example/x", None, https),
        ],
        vec![ask("/x", Some("[FE80::a]"), None), ask("/x", Some("[fe80::A]"), None)],
    ] {
        let app = App::new(minute(), mirror());
        for request in spellings {
            app.ask(request).await.unwrap();
        }
        assert_eq!(app.calls(), 1);
    }
}

/// What shares an answer is all the same to the handler that gives it.
#[tokio::test]
async fn o_05_the_handler_sees_the_spelling_that_is_shared() {
    let https = Some(Scheme::HTTPS);
    for (asked, uri, host) in [
        (ask("/x", Some("A.Example"), None), "/x", "a.example"),
        (ask("/x", Some("a.example:"), None), "/x", "a.example"),
        (ask("/x", Some("A.example:80"), Some(Scheme::HTTP)), "/x", "a.example"),
        (ask("/x", Some("A.example:8080"), https.clone()), "/x", "a.example:8080"),
        (ask("/x", Some("[FE80::a]:443"), https), "/x", "[fe80::a]"),
        (ask("HTTPS://A.EXAMPLE:443/x?Y", Some("a.Example"), None), "https://a.example/x?Y", "a.example"),
        (ask("https://A.example:8443/X", None, None), "https://a.example:8443/X", ""),
    ] {
        let app = App::new(minute().stale_while_revalidate(MINUTE), mirror());
        let again = || {
            let mut again = Request::get(asked.uri());
            if let Some(host) = asked.headers().get("host") {
                again = again.header("host", host);
            }
            again.extension(asked.extensions().get::<Scheme>().cloned().unwrap_or(Scheme::HTTP))
        };
        app.send(again()).await;
        app.advance(90);
        app.send(again()).await;
        until("it is refreshed", || app.calls() == 2).await;
        for call in app.inner.seen() {
            assert_eq!((call.uri.to_string(), call.header("host")), (uri.to_owned(), host.to_owned()));
        }
    }
    // What passes by is as it was sent.
    let app = App::new(minute(), mirror());
    app.send(Request::post("/x").header("host", "A.Example:80")).await;
    assert_eq!(app.inner.last().header("host"), "A.Example:80");
}

#[tokio::test]
async fn o_05_the_protocol_version_is_no_part() {
    let app = App::new(minute(), mirror());
    for version in [Version::HTTP_11, Version::HTTP_2, Version::HTTP_10] {
        app.send(Request::get("http://a.example/x").version(version)).await;
    }
    assert_eq!(app.calls(), 1);
}

/// Everything that the target says counts as it was sent.
#[tokio::test]
async fn o_06_targets_are_told_apart_as_sent() {
    let targets = [
        "/x",
        "/x/",
        "/X",
        "/x?",
        "/x?a",
        "/x?a=",
        "/x?a=1",
        "/x?A=1",
        "/x?a=1&b=2",
        "/x?b=2&a=1",
        "/x?a=1&a=2",
        "/x?a=2&a=1",
        "/x?a=1;b=2",
        "/x?a=%1E",
        "/x?a=%1F",
        "/x?a=%00",
        "/x?a=::",
        "/x?a=:",
        "/x?a=%3A%3A",
        "/x?a=%3a%3a",
        "/x?a=1%26b=2",
        "/x?a=+",
        "/x?a=%20",
        "/x%2f",
        "/x%2F",
        "//x",
        "/./x",
        "/a/../x",
        "/x%00",
        "/x;v=1",
        "/x:a?b",
        "/x%3Fa=1",
        "/x?a=1?b",
        "/x?&a=1",
        "/x?a=1&",
        "/x&a=1",
        "/x?a=|",
        "/",
        "/x?a=%E9",
        "/x?a=%e9",
        "/x?a==1",
        "/x?%61=1",
    ];
    let app = App::new(minute(), mirror());
    for outcome in ["miss", "hit"] {
        for target in targets {
            let got = app.get(target).await;
            assert_eq!(got.outcome(), outcome, "{target}");
            assert!(got.text().ends_with(&format!("|{target}")), "{target}: {}", got.text());
        }
    }
    assert_eq!(app.calls(), targets.len());
}

/// Sorting is by whole names, keeps the values of one name in order, and joins nothing else.
#[tokio::test]
async fn o_06_sorted_queries() {
    for (one, other, same) in [
        ("/x?a=1&b=2", "/x?b=2&a=1", true),
        ("/x?a=1&a=2", "/x?a=2&a=1", false),
        ("/x?a=1&b=2&a=3", "/x?b=2&a=1&a=3", true),
        ("/x?a=1&b=2&a=3", "/x?a=3&b=2&a=1", false),
        ("/x?a", "/x?a=", false),
        ("/x?a=1&b", "/x?b&a=1", true),
        ("/x?a=1%26b=2", "/x?a=1&b=2", false),
        ("/x?a=1;b=2", "/x?b=2;a=1", false),
        ("/x?", "/x", false),
        ("/x?a=1&", "/x?a=1", false),
        ("/x?A=1&b=2", "/x?b=2&a=1", false),
        ("/x?%61=1&a=2", "/x?a=2&%61=1", false),
        ("/x?%61=1&b=2", "/x?b=2&%61=1", true),
    ] {
        let app = App::new(minute().sort_query(), mirror());
        app.get(one).await;
        assert_eq!(app.get(other).await.outcome() == "hit", same, "{one} {other}");
    }
}

/// A header value with a separator in it is not two values, and an absent field is no empty one.
#[tokio::test]
async fn o_06_header_parts_are_told_apart() {
    let values: [&[&[u8]]; 14] = [
        &[],
        &[b""],
        &[b"", b""],
        &[b"x"],
        &[b"x|y"],
        &[b"x", b"y"],
        &[b"y", b"x"],
        &[b"x,y"],
        &[b"x, y"],
        &[b"X"],
        &[b"x:y"],
        &[b"x\xe9"],
        &[b"x%1Fy"],
        &[b"x", b""],
    ];
    let app = App::new(
        minute().key_headers(["X-Tenant", "x-user"]),
        Inner::by(|call| Reply::ok(format!("{:?}", call.headers))),
    );
    let ask = |tenant: &[&[u8]], user: &[&[u8]]| {
        let tenants = tenant.iter().fold(Request::get("/x"), |request, line| request.header("x-tenant", value(line)));
        user.iter().fold(tenants, |request, line| request.header("x-user", value(line)))
    };
    for round in ["miss", "hit"] {
        for tenant in values {
            for user in values {
                let got = app.send(ask(tenant, user)).await;
                assert_eq!(got.outcome(), round, "{tenant:?} {user:?}");
            }
        }
    }
    assert_eq!(app.calls(), values.len() * values.len());
}

/// Policies, namespaces and versions do not run into one another, nor into what requests bring.
#[tokio::test]
async fn o_06_policies_have_a_border() {
    let app = App::new(minute(), mirror());
    let named = |name: &'static str, version: &'static str| Policy::named(name).fresh_for(MINUTE).version(version);
    let policies = [
        minute(),
        minute().version("a"),
        Policy::named("a").fresh_for(MINUTE),
        named("a", "b"),
        named("a:b", "c"),
        named("a", "b:c"),
        named("ab", "c"),
        minute().key_headers(["x-a"]),
        minute().key_headers(["x-a", "x-b"]),
        minute().query_only(["a", "b"]),
        minute().query_only(["a\", \"b"]),
        minute().query_except(["a", "b"]),
        minute().ignore_query(),
        minute().sort_query(),
    ];
    for policy in &policies {
        assert_miss!(app.beside(policy.clone()).get("/x").await);
    }
    for policy in &policies {
        assert_hit!(app.beside(policy.clone()).get("/x").await);
    }
    assert_eq!(app.calls(), policies.len());
}

/// What does not count for the key is not seen by the handler, so it cannot shape what others get.
#[tokio::test]
async fn o_06_what_does_not_count_is_not_seen() {
    for (policy, asked, seen) in [
        (minute().query_only(["a"]), "/x?b=evil&a=1", "/x?a=1"),
        (minute().query_only(["a"]), "/x?b=evil", "/x"),
        (minute().query_only(["a"]), "/x?%61=evil&a=1", "/x?a=1"),
        (minute().query_only(["a"]), "/x?A=evil", "/x"),
        (minute().query_except(["utm"]), "/x?utm=evil&a=1", "/x?a=1"),
        (minute().query_except(["utm"]), "/x?utm", "/x"),
        (minute().ignore_query(), "/x?evil", "/x"),
        (minute().ignore_query(), "http://h.example/x?evil", "http://h.example/x"),
    ] {
        let app = App::new(policy, mirror());
        app.get(asked).await;
        assert_eq!(app.inner.last().uri.to_string(), seen, "{asked}");
        app.send(head(asked)).await;
        assert_eq!(app.calls(), 1);
        assert_hit!(app.get(seen).await);
    }
    // Nor by one who reads the target as the client sent it.
    use axum::extract::OriginalUri;
    let app = App::new(minute().query_only(["a"]), mirror());
    let uri: Uri = "/outer/x?a=1&b=evil".parse().unwrap();
    app.send(Request::get("/x?a=1&b=evil").extension(OriginalUri(uri))).await;
    assert_eq!(app.inner.last().uri.to_string(), "/x?a=1");
}

/// Two nests with the same inner path: what axum remembers of the target is the key.
#[tokio::test]
async fn o_06_paths_inside_nests_are_told_apart() {
    use axum::extract::OriginalUri;
    let app = App::new(minute(), Inner::by(|call| Reply::ok(call.number.to_string())));
    for outer in ["/a/x", "/b/x", "/x", "/a/b/x", "/ab/x"] {
        let ask = || Request::get("/x").extension(OriginalUri(outer.parse().unwrap()));
        let first = app.send(ask()).await;
        assert_miss!(first);
        let second = app.send(ask()).await;
        assert_hit!(second);
        assert_eq!(first.body, second.body);
    }
    assert_hit!(app.get("/x").await);
}

/// Random tuples over an alphabet of separators: no two different ones share an entry. The debug key is a text of it.
#[test]
fn o_06_random_tuples_do_not_collide() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let policy = || minute().key_headers(["x-a", "x-b"]);
    let echo =
        || Inner::by(|call| Reply::ok(format!("{}|{:?}|{:?}", call.uri, lines(call, "x-a"), lines(call, "x-b"))));
    fn lines(call: &crate::support::Call, name: &str) -> Vec<Vec<u8>> {
        call.headers.get_all(name).iter().map(|line| line.as_bytes().to_vec()).collect()
    }
    let mut random = Random::seeded(6);
    runtime.block_on(async {
        let app = App::new(policy(), echo());
        for _ in 0..10_000 {
            let mut word = |alphabet: &[&str], most: u64| {
                let count = random.below(most);
                (0..count)
                    .map(|_| alphabet[usize::try_from(random.below(alphabet.len() as u64)).unwrap()])
                    .collect::<String>()
            };
            let separators = ["a", "b", ":", "|", "%1F", "%00", "=", "&", ",", ";"];
            let path = word(&["/", "a", ":", "%2F", "|", "%1F"], 4);
            let mut request = Request::get(format!("/{path}?{}", word(&separators, 4)));
            for name in ["x-a", "x-b"] {
                for _ in 0..word(&["1"], 3).len() {
                    request = request.header(name, word(&separators, 3));
                }
            }
            let expected = {
                let request = plain(request);
                let lines = |name: &str| {
                    let lines = request.headers().get_all(name).iter();
                    lines.map(|line| line.as_bytes().to_vec()).collect::<Vec<_>>()
                };
                let expected = format!("{}|{:?}|{:?}", request.uri(), lines("x-a"), lines("x-b"));
                (request, expected)
            };
            let got = app.ask(expected.0).await.unwrap();
            assert_eq!(got.text(), expected.1);
        }
        assert!(app.stats().hits > 100 && app.calls() > 1000, "both happen");
    });
}

proptest! {
    #![proptest_config(cases(64))]

    /// The text of a key shows no credential, and no request can fake the border of another part.
    #[test]
    fn o_06_texts_of_keys_have_no_faked_borders(path in "/[a-z:|%/]{0,6}", tenant in "[ -~]{0,9}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let path = path.replace('%', "%25");
        runtime.block_on(async {
            let app = App::new(minute().key_headers(["x-tenant"]), mirror());
            let got = app.send(Request::get(&path).header("x-tenant", &tenant)).await;
            let key = larder::semantics::cache_status::member(got.headers(), "larder").unwrap().key.unwrap();
            prop_assert_eq!(key.matches("x-tenant=").count(), 1, "{}", key);
            let rest = key.split_once("x-tenant=").unwrap().1;
            prop_assert!(!rest.contains([':', '=', '/', '&']), "{}", key);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn o_08_tokens_in_the_query_are_told_apart() {
    let app = App::new(minute(), mirror());
    for name in ["token", "access_token", "sid", "api_key", "key", "signature", "password"] {
        for who in ["A", "B", "", "a", "A%20", "AA"] {
            let uri = format!("/o?{name}={who}");
            let first = app.get(&uri).await;
            assert_miss!(first);
            assert!(first.text().ends_with(&uri));
            let key = first.header("cache-status");
            assert!(who.len() < 2 || !key.contains(&format!("={who}")), "a credential is not shown: {key}");
            let second = app.get(&uri).await;
            assert_hit!(second);
            assert_eq!(first.body, second.body);
        }
    }
}

/// Only exact GET and HEAD are cached; what others are answered is never read by GET.
#[tokio::test]
async fn o_08_a_post_response_is_never_read_by_get() {
    for method in ["POST", "QUERY", "PUT", "SEARCH", "get", "Get", "GETX", "PROPFIND"] {
        let app = App::new(
            minute(),
            Inner::by(|call| Reply::ok(format!("{} {:?}", call.method, call.body)).cc("public, max-age=60")),
        );
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for body in ["q1", "q2"] {
            let ask = Request::builder().method(method.clone()).uri("/s").header("content-type", "text/plain");
            let got = app.ask(ask.body(Script::new().data(body)).unwrap()).await.unwrap();
            assert_bypass!(got);
            assert_eq!(got.text(), format!("{method} {:?}", bytes::Bytes::from(body)));
        }
        let got = app.get("/s").await;
        assert_miss!(got);
        assert!(got.text().starts_with("GET"));
        assert_eq!((app.bypassed("method"), app.calls()), (2, 3));
        assert_hit!(app.get("/s").await);
    }
}

/// The inner service gets every byte of a request that is not cached, in whatever frames it came.
#[tokio::test]
async fn o_08_bodies_arrive_byte_exact() {
    let app = App::new(minute(), Inner::by(|call| Reply::ok(call.body.clone())));
    let large = vec![0xAB; 300_000];
    let body = Script::new().data("a").data("").data(large.clone()).data("z").trailers(&[("x-t", "1")]).shy();
    let got = app.ask(Request::builder().method("QUERY").uri("/s").body(body).unwrap()).await.unwrap();
    assert_eq!(got.body, [b"a", large.as_slice(), b"z"].concat());
    assert_bypass!(got);
}

//! Requests that differ in what a handler could tell apart never share a response.

use crate::{App, MINUTE, answering, ask, by, cached, get, outcome, soak::Rng};
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use larder::{Cache, CacheLayer, Identity, Policy, PolicyTable, assert_bypass, assert_hit, assert_miss, test_util};
use std::{collections::HashSet, convert::Infallible, task::Poll};
use tower::{Layer, service_fn};

/// A million, without the service around it, are tried where keys are made.
const TUPLES: u64 = 40_000;

#[tokio::test]
async fn o_06_random_identities_and_requests_do_not_collide() {
    let (cache, _) = crate::behind::cache_with(Cache::builder().memory(1 << 30)).unwrap();
    let policy = Policy::fresh_for(MINUTE).key_headers(["x-k", "x-l"]).key_part("p", |parts| {
        let lines: Vec<_> = parts.headers.get_all("x-p").iter().collect();
        (!lines.is_empty()).then(|| format!("{lines:?}"))
    });
    let app = cached(&cache, policy, &answering(|request| Response::new(Body::from(tell(request)))));
    let mut rng = Rng(11);
    let mut told = HashSet::new();
    for _ in 0..TUPLES {
        // Some come again.
        let request = random_request(&mut Rng(rng.below(TUPLES)));
        let expected = tell(&request);
        let (response, body) = ask(&app, request).await;
        assert_eq!(body, expected);
        let seen = !told.insert(expected);
        assert_eq!(test_util::outcome(response.headers()), if seen { "hit" } else { "miss" }, "{body}");
    }
    let stats = cache.stats();
    assert!(stats.hits > TUPLES / 4 && stats.misses > TUPLES / 2 && stats.evictions == 0, "{stats:?}");
}

/// What a handler can tell apart.
fn tell(request: &Request<Body>) -> String {
    let identity = request.extensions().get::<Identity>();
    let names = identity.iter().flat_map(|identity| identity.names().map(|name| (name, identity.values(name))));
    let attributes: Vec<_> = names.map(|(name, values)| (name, values.collect::<Vec<_>>())).collect();
    let lines = |name| request.headers().get_all(name).iter().collect::<Vec<_>>();
    let fields = ["host", "x-k", "x-l", "x-p"].map(lines);
    format!("{attributes:?} {:?} {:?} {fields:?}", request.uri().path(), request.uri().query())
}

/// Made of what could be taken for a border, in a key or in the text of one.
fn random_request(rng: &mut Rng) -> Request<Body> {
    const IN_IDS: [&str; 15] =
        ["a", "b", ":", "|", "::", "=", "/", "%", "%3A", "\0", "\u{1e}", "\u{1f}", "\n", " ", "é"];
    const IN_URIS: [&str; 14] = ["a", "b", ":", "|", "::", "=", "/", "%1E", "%1F", "%00", "%3A", ";", ",", "&"];
    const IN_FIELDS: [&str; 11] = ["a", "b", ":", "|", ",", "\t", "=", ";", "\"", "\\", "%"];
    let query = if rng.one_in(2) { format!("?{}", hostile(rng, &IN_URIS)) } else { String::new() };
    let mut request = get(&format!("/{}{query}", hostile(rng, &IN_URIS)), &[]);
    for name in ["x-k", "x-l", "x-p"] {
        for _ in 0..rng.below(3) {
            let value = hostile(rng, &IN_FIELDS).parse().unwrap();
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
    }
    if rng.one_in(2) {
        let host = ["a", "b", "a:1"][usize::from(rng.one_in(2)) + usize::from(rng.one_in(2))];
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    let mut identity = Identity::new();
    for name in ["tenant", "user", "role", "a", "a:"] {
        if rng.one_in(2) {
            identity = identity.with_all(name, (0..=rng.below(2)).map(|_| hostile(rng, &IN_IDS)));
        }
    }
    by(identity, request)
}

fn hostile(rng: &mut Rng, alphabet: &[&str]) -> String {
    let piece = |rng: &mut Rng| alphabet[usize::try_from(rng.below(alphabet.len() as u64)).unwrap()];
    (0..rng.below(4)).map(|_| piece(rng)).collect()
}

#[tokio::test]
async fn o_06_borders_cannot_be_faked() {
    let (cache, _) = crate::behind::cache();
    let policy = Policy::fresh_for(MINUTE).key_headers(["x-k", "x-l"]);
    let app = cached(&cache, policy, &answering(|request| Response::new(Body::from(tell(request)))));
    let id = |tenant: &str, user: &str| by(Identity::new().with_tenant(tenant).with_user(user), get("/", &[]));
    let with = |name: &'static str, values: &[&str]| by(Identity::new().with_all(name, values), get("/", &[]));
    for pair in [
        [id("a", "b:c"), id("a:b", "c")],
        [id("1", "2"), id("1:user=2", "2")],
        [with("user", &["b"]), with("user", &["b", "c"])],
        [with("user", &["b,c"]), with("user", &["b", "c"])],
        [with("a", &["b"]), with("b", &["a"])],
        [with("a", &["a"]), with("aa", &[""])],
        [get("/", &[("x-k", "x|y")]), get("/", &[("x-k", "x"), ("x-k", "y")])],
        [get("/", &[("x-k", "x,y")]), get("/", &[("x-k", "x"), ("x-k", "y")])],
        [get("/", &[("x-k", "x"), ("x-k", "y")]), get("/", &[("x-k", "y"), ("x-k", "x")])],
        [get("/", &[("x-k", "")]), get("/", &[])],
        [get("/", &[("x-k", "v")]), get("/", &[("x-l", "v")])],
        [get("/?", &[]), get("/", &[])],
        [get("/?a=", &[]), get("/?a", &[])],
        [get("/?a=%1E", &[]), get("/?a=%1F", &[])],
        [get("/?a=1::b=2", &[]), get("/?a=1&b=2", &[])],
        [get("/a?b", &[]), get("/a%3Fb", &[])],
        [get("/a/b", &[]), get("/a%2Fb", &[])],
        [get("/a", &[]), get("/%61", &[])],
        [get("/a", &[]), get("/A", &[])],
        [get("/a", &[("host", "b")]), get("/b", &[("host", "a")])],
    ] {
        let told = pair.each_ref().map(tell);
        assert_ne!(told[0], told[1]);
        for (request, told) in pair.into_iter().zip(told) {
            assert_eq!(ask(&app, request).await.1, told);
        }
    }
}

/// What a closure makes of requests cannot be seen from outside, so two of them never share by chance.
#[tokio::test]
async fn o_06_predicates_of_a_table_have_a_border() {
    let minute = || Policy::fresh_for(MINUTE);
    let per = |name: &'static str| minute().per_context(move |who| who.get(name).map(str::to_owned));
    let (cache, _) = crate::behind::cache();
    let table = PolicyTable::new()
        .when(|request| request.headers.contains_key("x-beta"), per("role"))
        .when(|request| request.headers.contains_key("x-preview"), minute().shared())
        .route("/shared", minute().shared())
        .otherwise(per("plan"));
    let app = cached(
        &cache,
        table,
        &answering(|request| {
            let seen = ["x-beta", "x-preview"].map(|name| request.headers().contains_key(name));
            Response::new(Body::from(format!("{seen:?} {}", tell(request))))
        }),
    );
    let who = |role: &str, plan: &str| Identity::new().with("role", role).with("plan", plan);
    for (path, fields, identity) in [
        ("/", &[("x-beta", "1")][..], who("gold", "x")),
        ("/", &[], who("x", "gold")),
        ("/shared", &[("x-preview", "1")], Identity::new()),
        ("/shared", &[], Identity::new()),
    ] {
        let request = || by(identity.clone(), get(path, fields));
        assert_miss!(ask(&app, request()).await.0);
        assert_hit!(ask(&app, request()).await.0);
    }
}

#[tokio::test]
async fn o_08_a_token_in_the_query_tells_apart_and_is_not_shown() {
    let (cache, _) = crate::behind::cache();
    let app = cached(&cache, Policy::fresh_for(MINUTE), &answering(|request| Response::new(Body::from(tell(request)))));
    for token in ["secretA", "secretB", ""] {
        let uri = format!("/o?token={token}");
        assert_eq!(outcome(&app, get(&uri, &[])).await, "miss");
        let (response, body) = ask(&app, get(&uri, &[])).await;
        assert_hit!(response);
        assert!(body.contains(&format!("\"token={token}\"")), "{body}");
        let said = response.headers()["cache-status"].to_str().unwrap();
        assert!(said.contains("/o?token=#") && !said.contains("secret"), "{said}");
    }
}

/// Answers with user, method and content; says itself that it is fresh.
fn echo(cache: &Cache, policy: Policy) -> App {
    let inner = service_fn(|request: Request<Body>| async move {
        let user = request.extensions().get::<Identity>().and_then(Identity::user).unwrap_or("-").to_owned();
        let method = request.method().clone();
        let sent = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        let answer = format!("{user} {method} {}", String::from_utf8_lossy(&sent));
        let response = Response::builder().header("cache-control", "max-age=60");
        Ok::<_, Infallible>(response.body(Body::from(answer)).unwrap())
    });
    crate::told(cache, crate::boxed(CacheLayer::new(cache, policy).rebuild_body(Body::new).layer(inner)))
}

fn sending(method: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = get("/s", fields);
    *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
    request.map(|_| body.into())
}

#[tokio::test]
async fn o_08_content_tells_apart_within_a_user() {
    let (cache, _) = crate::behind::cache();
    let query = Method::from_bytes(b"QUERY").unwrap();
    let app = echo(&cache, Policy::from_response().per_user().key_body([query, Method::POST]));
    for user in ["7", "8"] {
        for (method, fields, content) in [
            ("QUERY", &[][..], "q1"),
            ("QUERY", &[], "q2"),
            ("QUERY", &[("content-type", "text/plain")], "q1"),
            ("QUERY", &[("content-encoding", "x")], "q1"),
            ("POST", &[], "q1"),
            ("GET", &[], ""),
        ] {
            let send = || by(Identity::new().with_user(user), sending(method, fields, content));
            assert_eq!(outcome(&app, send()).await, "miss", "{user} {method} {fields:?} {content}");
            let (response, body) = ask(&app, send()).await;
            assert_hit!(response);
            assert_eq!(body, format!("{user} {method} {content}"));
        }
    }
    assert_bypass!(ask(&app, sending("QUERY", &[], "q1")).await.0);
}

#[tokio::test]
async fn o_08_an_answer_to_post_is_never_read_by_get() {
    let (cache, _) = crate::behind::cache();
    let app = echo(&cache, Policy::from_response());
    assert_bypass!(ask(&app, sending("POST", &[], "")).await.0);
    let (response, body) = ask(&app, sending("GET", &[], "")).await;
    assert_miss!(response);
    assert_eq!(body, "- GET ");
}

#[tokio::test]
async fn o_08_slow_content_over_the_limit_arrives_whole() {
    let (cache, _) = crate::behind::cache();
    let app = echo(&cache, Policy::from_response().key_body([Method::POST]).max_content(8));
    let slowly = |count: usize| {
        let (mut at, mut waits) = (0, false);
        Body::new(StreamBody::new(futures_stream(move |cx| {
            waits = !waits;
            if waits {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            at += 1;
            Poll::Ready((at <= count).then(|| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("<{at}>"))))))
        })))
    };
    for (count, expected) in [(2, "miss"), (2, "hit"), (6, "bypass"), (6, "bypass")] {
        let (response, body) = ask(&app, sending("POST", &[], slowly(count))).await;
        assert_eq!(test_util::outcome(response.headers()), expected);
        let all: String = (1..=count).map(|at| format!("<{at}>")).collect();
        assert_eq!(body, format!("- POST {all}"));
    }
}

pub(crate) fn futures_stream<T>(
    next: impl FnMut(&mut std::task::Context<'_>) -> Poll<Option<T>> + Unpin,
) -> impl futures_core::Stream<Item = T> {
    struct By<F>(F);
    impl<T, F: FnMut(&mut std::task::Context<'_>) -> Poll<Option<T>> + Unpin> futures_core::Stream for By<F> {
        type Item = T;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> Poll<Option<T>> {
            (self.0)(cx)
        }
    }
    By(next)
}

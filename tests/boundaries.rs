//! What a policy, a handler and a request may not do to each other.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Identity, IdentityLayer, Policy, test_util};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

type Outcome = (String, &'static str);

trait App: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {}
impl<S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone> App for S {}

/// A cache around a handler, which gets each request with the number of its call.
fn app<H>(cache: &Cache, policy: Policy, handler: H) -> impl App + use<H>
where
    H: Fn(usize, Request<Body>) -> Response<Body> + Clone + Send + Sync + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = service_fn(move |request: Request<Body>| {
        std::future::ready(Ok::<_, Infallible>(handler(calls.fetch_add(1, SeqCst), request)))
    });
    CacheLayer::new(cache, policy).rebuild_body(Body::new).layer(inner).map_response(|answer| answer.map(Body::new))
}

fn says(text: impl Into<String>, fields: &[(&'static str, &str)]) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    for (name, value) in fields {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

fn field(request: &Request<Body>, name: &str) -> String {
    request.headers().get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

fn request(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).header("host", "a");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn send(app: &impl App, request: Request<Body>) -> Outcome {
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (String::from_utf8(body.to_vec()).unwrap(), test_util::outcome(&head.headers))
}

async fn get(app: &impl App, path: &str) -> Outcome {
    send(app, request(Method::GET, path, &[])).await
}

#[tokio::test]
async fn a_method_is_overridden_whatever_the_policy_keys_on() {
    let (cache, _) = test_util::cache();
    let did = |_, request: Request<Body>| says(format!("did {}", field(&request, "x-http-method-override")), &[]);
    let app = app(&cache, Policy::fresh_for(MINUTE).key_body([Method::POST]), did);
    let delete = || request(Method::POST, "/x", &[("x-http-method-override", "DELETE")]);
    assert_eq!(send(&app, delete()).await, ("did DELETE".to_owned(), "bypass"));
    assert_eq!(send(&app, request(Method::POST, "/x", &[])).await, ("did ".to_owned(), "miss"));
    assert_eq!(send(&app, delete()).await.1, "bypass");
}

#[tokio::test(start_paused = true)]
async fn what_bypasses_anyway_is_not_read() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE).key_body([Method::POST]).bypass_if(|_| true);
    let app = app(&cache, policy, |_, _| says("answered at once", &[]));
    let mut endless = request(Method::POST, "/x", &[]);
    *endless.body_mut() = Body::new(Endless);
    let answered = tokio::time::timeout(MINUTE, send(&app, endless)).await.unwrap();
    assert_eq!(answered, ("answered at once".to_owned(), "bypass"));
}

#[tokio::test]
async fn a_handler_does_not_lift_what_the_layer_forbids() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE)
        .surrogate()
        .credential_headers(["x-session"])
        .refuse_storage_if(|_, answer| answer.headers.contains_key("x-secret"));
    let app = app(&cache, policy, |_, request| {
        let mut response = match request.uri().path() {
            "/surrogate" => says("", &[("surrogate-control", "no-store")]),
            "/secret" => says("", &[("x-secret", "1")]),
            _ => says(field(&request, "x-session"), &[("vary", "x-session"), ("cache-control", "public, max-age=60")]),
        };
        response.extensions_mut().insert(Policy::fresh_for(MINUTE).ignore_vary(["x-session"]));
        response
    });
    for path in ["/surrogate", "/secret"] {
        get(&app, path).await;
        assert_eq!(get(&app, path).await.1, "miss", "{path}");
    }
    for who in ["alice", "bob"] {
        assert_eq!(send(&app, request(Method::GET, "/x", &[("x-session", who)])).await.0, who);
    }
}

#[tokio::test]
async fn an_api_key_says_who_asks_unless_it_is_part_of_the_key() {
    let names = [
        "api-key",
        "apikey",
        "cf-access-jwt-assertion",
        "client-cert",
        "private-token",
        "remote-user",
        "x-access-token",
        "x-amzn-oidc-identity",
        "x-api-key",
        "x-auth-request-preferred-username",
        "x-auth-request-user",
        "x-auth-token",
        "x-goog-authenticated-user-email",
        "x-ms-client-principal",
        "x-remote-user",
        "x-ssl-client-verify",
        "x-webauth-user",
    ];
    for name in names {
        for (policy, again) in [
            (Policy::fresh_for(MINUTE), "miss"),
            (Policy::fresh_for(MINUTE).shared(), "miss"),
            (Policy::fresh_for(MINUTE).key_headers([name]), "hit"),
        ] {
            let (cache, _) = test_util::cache();
            let app = app(&cache, policy, move |_, request| says(field(&request, name), &[]));
            let ask = async |who| send(&app, request(Method::GET, "/me", &[(name, who)])).await;
            assert_eq!(ask("alice").await, ("alice".to_owned(), "miss"));
            assert_eq!(ask("bob").await, ("bob".to_owned(), "miss"));
            assert_eq!(ask("alice").await, ("alice".to_owned(), again), "{name}");
        }
    }
}

/// nginx says so of each client that has no certificate: all of them share.
#[tokio::test]
async fn no_certificate_is_no_credential() {
    let (cache, _) = test_util::cache();
    let app = app(&cache, Policy::fresh_for(MINUTE), |_, request| says(field(&request, "x-ssl-client-verify"), &[]));
    let ask = async |said| send(&app, request(Method::GET, "/me", &[("x-ssl-client-verify", said)])).await;
    assert_eq!(ask("SUCCESS").await, ("SUCCESS".to_owned(), "miss"));
    assert_eq!(ask("NONE").await, ("NONE".to_owned(), "miss"));
    assert_eq!(ask("NONE").await, ("NONE".to_owned(), "hit"));
    assert_eq!(ask("SUCCESS").await, ("SUCCESS".to_owned(), "miss"));
}

#[tokio::test]
async fn what_a_handler_said_of_an_answer_holds_when_it_is_validated() {
    let (cache, clock) = test_util::cache();
    let policy = Policy::fresh_for(60 * MINUTE).refuse_storage_if(|_, answer| answer.headers.contains_key("x-secret"));
    let app = app(&cache, policy, |_, request| {
        let mut response = says("x", &[("etag", "\"a\"")]);
        if field(&request, "if-none-match").is_empty() {
            response.extensions_mut().insert(Policy::fresh_for(MINUTE));
            return response;
        }
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        match request.uri().path() {
            "/refused" => drop(response.headers_mut().insert("x-secret", "1".parse().unwrap())),
            "/contradiction" => drop(response.extensions_mut().insert(Policy::fresh_for(Duration::ZERO))),
            _ => {}
        }
        response
    });
    for (path, later) in [("/plain", "revalidated"), ("/refused", "miss"), ("/contradiction", "miss")] {
        get(&app, path).await;
        clock.advance(2 * MINUTE);
        assert_eq!(get(&app, path).await, ("x".to_owned(), "revalidated"), "{path}");
        clock.advance(2 * MINUTE);
        assert_eq!(get(&app, path).await.1, later, "{path}");
    }
}

#[tokio::test]
async fn a_head_that_compares_nothing_freshens_nothing() {
    let (cache, clock) = test_util::cache();
    let truth = Arc::new(AtomicUsize::new(0));
    let count = truth.clone();
    let app = app(&cache, Policy::fresh_for(MINUTE).keep(10 * MINUTE), move |_, _| {
        says(format!("count={}", count.load(SeqCst)), &[])
    });
    for now in 0..4 {
        truth.store(now, SeqCst);
        assert_eq!(get(&app, "/x").await.0, format!("count={now}"));
        clock.advance(MINUTE);
        send(&app, request(Method::HEAD, "/x", &[])).await;
    }
}

#[tokio::test]
async fn an_observer_leaves_the_entries_of_others_alone() {
    let (cache, clock) = test_util::cache();
    let policy = || Policy::fresh_for(MINUTE).keep(10 * MINUTE);
    let storing = app(&cache, policy(), |_, _| says("stored", &[]));
    let observing = app(&cache, policy().observe_only(), |_, _| {
        let mut response = says("observed", &[]);
        response.extensions_mut().insert(Policy::fresh_for(MINUTE));
        response
    });
    get(&storing, "/x").await;
    for _ in 0..2 {
        assert_eq!(get(&observing, "/x").await, ("observed".to_owned(), "miss"));
    }
    assert_eq!(get(&storing, "/x").await, ("stored".to_owned(), "hit"));
    clock.advance(2 * MINUTE);
    get(&observing, "/x").await;
    assert!(cache.contains("/x"));
}

#[tokio::test]
async fn a_refetch_knows_what_is_stored() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(10 * MINUTE).refetch_if(|parts| parts.headers.contains_key("x-refresh"));
    let app = app(&cache, policy, |_, request| match field(&request, "x-refresh").as_str() {
        "trouble" => {
            let mut response = says("trouble", &[("cache-control", "max-age=60")]);
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            response
        }
        "secret" => says("changed", &[("cache-control", "no-store")]),
        _ => says("good", &[]),
    });
    for (refresh, then) in [("trouble", "hit"), ("secret", "miss")] {
        get(&app, "/x").await;
        send(&app, request(Method::GET, "/x", &[("x-refresh", refresh)])).await;
        assert_eq!(get(&app, "/x").await, ("good".to_owned(), then), "{refresh}");
    }
}

#[tokio::test]
async fn a_newer_answer_that_is_too_long_ends_the_older_one() {
    let (cache, clock) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE).stale_if_error(60 * MINUTE).max_body(10);
    let app = app(&cache, policy, |call, _| match call {
        0 => says("old", &[]),
        1 => Response::new(Body::new(Undeclared(Some("newer and longer")))),
        _ => {
            let mut response = says("trouble", &[]);
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            response
        }
    });
    get(&app, "/x").await;
    clock.advance(2 * MINUTE);
    assert_eq!(get(&app, "/x").await.0, "newer and longer");
    assert_eq!(get(&app, "/x").await.0, "trouble");
}

#[tokio::test]
async fn sealed_requests_keep_their_type_and_no_more_of_who_asks() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE).key_body([Method::POST]).sealed();
    let typed = app(&cache, policy, |_, request| says(field(&request, "content-type"), &[]));
    let post = request(Method::POST, "/x", &[("content-type", "application/json")]);
    assert_eq!(send(&typed, post).await.0, "application/json");

    let known = IdentityLayer::from_fn(|parts| {
        let user = parts.extensions.get::<String>()?;
        Some(Identity::new().with_tenant(1).with_user(user))
    });
    let handler = known.layer(service_fn(|request: Request<Body>| async move {
        let user = request.extensions().get::<Identity>().and_then(|who| who.user().map(str::to_owned));
        let text = format!("{}{}", user.unwrap_or_default(), field(&request, "forwarded"));
        Ok::<_, Infallible>(Response::new(Body::from(text)))
    }));
    let sealed = known
        .layer(CacheLayer::new(&cache, Policy::fresh_for(MINUTE).per_tenant().sealed()).layer(handler))
        .map_response(|answer| answer.map(Body::new));
    for user in ["alice", "bob"] {
        let mut request = request(Method::GET, "/y", &[("forwarded", &format!("for={user}"))]);
        request.extensions_mut().insert(user.to_owned());
        assert_eq!(send(&sealed, request).await.0, user);
    }
}

/// A body of a length that it does not tell.
struct Undeclared(Option<&'static str>);

impl http_body::Body for Undeclared {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|text| Ok(Frame::data(bytes::Bytes::from_static(text.as_bytes())))))
    }
}

/// A body that never comes.
struct Endless;

impl http_body::Body for Endless {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
        Poll::Pending
    }
}

//! The life of a response in the cache, seen from outside: the main paths, one test each.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::{Body, to_bytes};
use http::{Method, Request, Response, StatusCode};
use larder::{
    Cache, CacheLayer, CacheService, Policy, ResponseBody, Selector, assert_bypass, assert_hit, assert_miss,
    assert_revalidated, assert_stale, test_util,
};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};

const MINUTE: Duration = Duration::from_secs(60);

type Answers = dyn Fn(usize, &Request<Body>) -> Response<Body> + Send + Sync;

/// A service that counts its calls and remembers what it was asked.
#[derive(Clone)]
struct Inner {
    calls: Arc<AtomicUsize>,
    asked: Arc<Mutex<Vec<http::request::Parts>>>,
    answer: Arc<Answers>,
}

impl Inner {
    fn new(answer: impl Fn(usize, &Request<Body>) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), asked: Arc::default(), answer: Arc::new(answer) }
    }

    /// Answers with these fields and the number of the call.
    fn with(fields: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(move |call, _| {
            let mut response = Response::new(Body::from(format!("answer {call}")));
            for (name, value) in fields {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            response
        })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn last(&self) -> http::request::Parts {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let response = (self.answer)(call, &request);
        self.asked.lock().unwrap().push(request.into_parts().0);
        std::future::ready(Ok(response))
    }
}

type App = CacheService<Inner>;

fn app(cache: &Cache, policy: Policy, inner: &Inner) -> App {
    CacheLayer::new(cache, policy).layer(inner.clone())
}

fn request(method: Method, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

/// The response, and its body read to the end.
async fn ask(app: &App, request: Request<Body>) -> (Response<()>, String) {
    let response: Response<ResponseBody<Body>> = app.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
    (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
}

async fn get(app: &App, fields: &[(&str, &str)]) -> (Response<()>, String) {
    ask(app, request(Method::GET, "/x", fields)).await
}

/// Lets spawned tasks run.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_second_request_is_a_hit_and_tells_its_age() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::with(&[("x-a", "1"), ("x-a", "2")]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    let (response, body) = get(&app, &[]).await;
    assert_miss!(response);
    assert_eq!(body, "answer 1");
    clock.advance(Duration::from_secs(7));
    let (response, body) = get(&app, &[]).await;
    assert_hit!(response);
    assert_eq!(body, "answer 1");
    assert_eq!(response.headers()["age"], "7");
    assert_eq!(response.headers()["content-length"], "8");
    assert_eq!(response.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(response.headers().contains_key("date"));
    clock.advance(MINUTE);
    let (response, body) = get(&app, &[]).await;
    assert_miss!(response);
    assert_eq!(body, "answer 2");
    assert_eq!((cache.stats().hits, cache.stats().misses, cache.stats().stored), (1, 2, 2));
}

#[tokio::test]
async fn conditions_heads_and_ranges_are_answered_from_the_store() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[("etag", "\"a\""), ("content-type", "text/plain"), ("content-language", "en")]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    get(&app, &[]).await;

    let (response, body) = get(&app, &[("if-none-match", "W/\"a\"")]).await;
    assert_hit!(response);
    assert_eq!((response.status(), &*body), (StatusCode::NOT_MODIFIED, ""));
    assert_eq!(response.headers()["etag"], "\"a\"");
    assert!(!response.headers().contains_key("content-length"));

    let (response, body) = ask(&app, request(Method::HEAD, "/x", &[])).await;
    assert_hit!(response);
    assert_eq!((response.status(), &*body), (StatusCode::OK, ""));
    assert_eq!(response.headers()["content-length"], "8");

    let (response, body) = get(&app, &[("range", "bytes=0-2")]).await;
    assert_eq!((response.status(), &*body), (StatusCode::PARTIAL_CONTENT, "ans"));
    assert_eq!(response.headers()["content-range"], "bytes 0-2/8");
    assert_eq!(response.headers()["content-length"], "3");

    let (response, body) = get(&app, &[("range", "bytes=0-0,-1")]).await;
    assert_eq!(response.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(response.headers()["content-length"], body.len().to_string());
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("multipart/byteranges"));
    assert!(
        body.contains("Content-Range: bytes 7-7/8\r\n\r\n1") || body.contains("content-range: bytes 7-7/8\r\n\r\n1")
    );

    let (response, body) = get(&app, &[("range", "bytes=99-")]).await;
    assert_eq!((response.status(), &*body), (StatusCode::RANGE_NOT_SATISFIABLE, ""));
    assert_eq!(response.headers()["content-range"], "bytes */8");

    let (response, _) = get(&app, &[("range", "bytes=0-2"), ("if-range", "\"b\"")]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(inner.calls(), 1);
}

#[tokio::test]
async fn if_match_goes_to_the_inner_service() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[("etag", "\"a\"")]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    get(&app, &[]).await;
    for field in ["if-match", "if-unmodified-since"] {
        assert_bypass!(get(&app, &[(field, "\"a\"")]).await.0);
    }
    assert_eq!(cache.stats().bypasses["precondition"], 2);
}

#[tokio::test]
async fn a_stale_response_is_validated_and_freshened() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::new(|call, request| {
        let mut response = Response::new(Body::from(format!("answer {call}")));
        if request.headers().contains_key("if-none-match") {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = Body::empty();
            response.headers_mut().insert("x-news", "1".parse().unwrap());
        }
        response.headers_mut().insert("etag", "\"a\"".parse().unwrap());
        response
    });
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    get(&app, &[]).await;
    clock.advance(MINUTE);
    let (response, body) = get(&app, &[("if-none-match", "\"client\""), ("range", "bytes=0-1")]).await;
    assert_revalidated!(response);
    assert_eq!((response.status(), &*body), (StatusCode::PARTIAL_CONTENT, "an"));
    let asked = inner.last();
    assert_eq!(asked.headers["if-none-match"], "\"a\"", "our condition, not the client's");
    assert!(!asked.headers.contains_key("range"));
    let (response, body) = get(&app, &[]).await;
    assert_hit!(response);
    assert_eq!(body, "answer 1");
    assert_eq!(response.headers()["x-news"], "1");
    assert_eq!((inner.calls(), cache.stats().revalidated), (2, 1));
}

#[tokio::test]
async fn stale_while_revalidate_refreshes_once_in_the_background() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = app(&cache, Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE), &inner);
    get(&app, &[]).await;
    clock.advance(MINUTE);
    for _ in 0..3 {
        let (response, body) =
            get(&app, &[("range", "bytes=0-1"), ("connection", "x-secret"), ("x-secret", "1")]).await;
        assert_stale!(response);
        assert_eq!(body, "an");
    }
    settle().await;
    assert_eq!(inner.calls(), 2);
    let asked = inner.last();
    assert!(!asked.headers.contains_key("range") && !asked.headers.contains_key("x-secret"));
    let (response, body) = get(&app, &[]).await;
    assert_hit!(response);
    assert_eq!(body, "answer 2");
    assert_eq!((cache.stats().refreshes, cache.stats().failed_refreshes, cache.stats().stale), (1, 0, 3));
}

#[tokio::test]
async fn stale_if_error_stands_in_and_leaves_the_service_alone() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::new(|call, _| {
        let mut response = Response::new(Body::from(format!("answer {call}")));
        if call > 1 {
            *response.status_mut() = StatusCode::BAD_GATEWAY;
        }
        response
    });
    let app = app(&cache, Policy::fresh_for(MINUTE).stale_if_error(10 * MINUTE), &inner);
    get(&app, &[]).await;
    clock.advance(MINUTE);
    for _ in 0..5 {
        let (response, body) = get(&app, &[]).await;
        assert_stale!(response);
        assert_eq!((response.status(), &*body), (StatusCode::OK, "answer 1"));
    }
    assert_eq!(inner.calls(), 2, "asked once, then left alone");
    clock.advance(MINUTE);
    assert_stale!(get(&app, &[]).await.0);
    assert_eq!(inner.calls(), 3);
    clock.advance(10 * MINUTE);
    assert_eq!(get(&app, &[]).await.0.status(), StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn what_an_unsafe_method_changes_is_gone() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[("content-location", "/y")]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    let at = |uri: &str| request(Method::GET, uri, &[("host", "h")]);
    for uri in ["/x", "/y", "/z"] {
        ask(&app, at(uri)).await;
    }
    assert_bypass!(ask(&app, request(Method::POST, "/x", &[("host", "h")])).await.0);
    assert_miss!(ask(&app, at("/x")).await.0);
    assert_miss!(ask(&app, at("/y")).await.0);
    assert_hit!(ask(&app, at("/z")).await.0);
    assert!(cache.contains("/z") && cache.contains("http://h/z") && !cache.contains("/a"));
}

#[tokio::test]
async fn a_change_that_was_never_answered_may_have_been_made() {
    let (cache, _) = test_util::cache();
    let cached = app(&cache, Policy::fresh_for(MINUTE), &Inner::with(&[]));
    let gone = CacheLayer::invalidating(&cache).layer(tower::service_fn(|_: Request<Body>| async {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(Body::empty()))
    }));
    let failing = CacheLayer::invalidating(&cache)
        .layer(tower::service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("broken") }));
    get(&cached, &[]).await;
    let mut cancelled = Box::pin(gone.oneshot(request(Method::PUT, "/x", &[])));
    assert!(futures_poll(&mut cancelled).is_pending());
    assert_hit!(get(&cached, &[]).await.0);
    drop(cancelled);
    assert_miss!(get(&cached, &[]).await.0);
    assert!(failing.oneshot(request(Method::PUT, "/x", &[])).await.is_err());
    assert_miss!(get(&cached, &[]).await.0);
}

fn futures_poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(std::task::Waker::noop()))
}

#[tokio::test]
async fn a_layer_that_only_invalidates_stores_nothing() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let cached = app(&cache, Policy::fresh_for(MINUTE), &inner);
    let changing = CacheLayer::invalidating(&cache).layer(inner.clone());
    get(&cached, &[]).await;
    assert_bypass!(get(&changing, &[]).await.0);
    assert_hit!(get(&cached, &[]).await.0);
    ask(&changing, request(Method::DELETE, "/x", &[])).await;
    assert_miss!(get(&cached, &[]).await.0);
}

#[tokio::test]
async fn an_invalidation_holds_when_it_returns() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    get(&app, &[]).await;
    cache.invalidate(Selector::resource("/x")).await.unwrap();
    assert!(!cache.contains("/x"));
    assert_miss!(get(&app, &[]).await.0);
    assert_hit!(get(&app, &[]).await.0);
    cache.invalidate(Selector::everything()).await.unwrap();
    assert_miss!(get(&app, &[]).await.0);
    cache.clear();
    assert_miss!(get(&app, &[]).await.0);
    assert!(cache.invalidate(Selector::resource("no path")).await.is_err());
}

#[tokio::test]
async fn what_is_not_keyed_is_not_seen_by_the_handler() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = app(&cache, Policy::fresh_for(MINUTE).query_only(["page"]), &inner);
    assert_miss!(ask(&app, request(Method::GET, "/x?utm=1&page=2", &[])).await.0);
    assert_eq!(inner.last().uri, "/x?page=2");
    assert_hit!(ask(&app, request(Method::GET, "/x?page=2&utm=3", &[])).await.0);
    assert_miss!(ask(&app, request(Method::GET, "/x?page=3", &[])).await.0);
}

#[tokio::test]
async fn entries_are_limited_by_number_too() {
    let (cache, _) = test_util::cache_with(Cache::builder().memory_entries(10)).unwrap();
    let inner = Inner::with(&[]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    for page in 0..100 {
        ask(&app, request(Method::GET, &format!("/x?page={page}"), &[])).await;
    }
    let stats = cache.stats();
    assert!((5..=10).contains(&stats.resources), "{}", stats.resources);
    assert!(stats.evictions >= 90);
}

#[tokio::test(start_paused = true)]
async fn what_has_expired_gives_its_memory_back() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = app(&cache, Policy::fresh_for(MINUTE), &inner);
    get(&app, &[]).await;
    assert_eq!(cache.stats().resources, 1);
    clock.advance(2 * MINUTE);
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!((cache.stats().resources, cache.stats().bytes), (0, 0));
}

#[tokio::test]
async fn two_layers_of_one_cache_are_one() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let layer = CacheLayer::new(&cache, Policy::fresh_for(MINUTE));
    let twice = layer.clone().layer(layer.layer(inner.clone()));
    let send = || async { twice.clone().oneshot(request(Method::GET, "/x", &[])).await.unwrap() };
    let response = send().await;
    assert_eq!(response.headers().get_all("cache-status").iter().count(), 1);
    to_bytes(Body::new(response.into_body()), 100).await.unwrap();
    assert_hit!(send().await);
    assert_eq!(cache.stats().stored, 1);
}

#[tokio::test]
async fn a_policy_that_contradicts_itself_meets_no_request() {
    let cache = Cache::in_memory(1 << 20);
    let error = CacheLayer::try_new(&cache, Policy::fresh_for(Duration::ZERO)).unwrap_err();
    assert!(error.to_string().contains("from_response()"));
    let made = std::panic::AssertUnwindSafe(|| CacheLayer::new(&cache, Policy::fresh_for(Duration::ZERO)));
    assert!(std::panic::catch_unwind(made).is_err());
}

#[tokio::test]
async fn the_target_can_be_told_and_a_panic_costs_only_the_cache() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let policy = Policy::fresh_for(MINUTE).uri(|parts| {
        assert!(!parts.headers.contains_key("x-fail"), "as told");
        parts.headers["x-path"].to_str().unwrap().parse().unwrap()
    });
    let app = app(&cache, policy, &inner);
    get(&app, &[("x-path", "/a/x")]).await;
    assert_miss!(get(&app, &[("x-path", "/b/x")]).await.0);
    assert_hit!(get(&app, &[("x-path", "/a/x")]).await.0);
    assert_bypass!(get(&app, &[("x-fail", "1")]).await.0);
    assert_eq!(cache.stats().bypasses["callback-panicked"], 1);
}

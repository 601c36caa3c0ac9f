//! Requests whose content is part of the key.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use larder::{Cache, CacheLayer, Policy, assert_bypass, assert_hit, assert_miss, assert_stale, test_util};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

trait App: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {}
impl<S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone> App for S {}

/// Answers with what it was sent.
fn echo(cache: &Cache, policy: Policy, calls: &Arc<AtomicUsize>) -> impl App + use<> {
    let calls = calls.clone();
    let inner = service_fn(move |request: Request<Body>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let method = request.method().clone();
            let sent = match to_bytes(request.into_body(), usize::MAX).await {
                Ok(sent) => String::from_utf8_lossy(&sent).into_owned(),
                Err(error) => format!("error: {error}"),
            };
            Ok::<_, Infallible>(Response::new(Body::from(format!("{method} {sent}"))))
        }
    });
    CacheLayer::new(cache, policy).rebuild_body(Body::new).layer(inner).map_response(|answer| answer.map(Body::new))
}

fn request(method: &str, fields: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri("/search");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

async fn ask(app: &impl App, request: Request<Body>) -> (Response<()>, String) {
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
}

fn query() -> Method {
    Method::from_bytes(b"QUERY").unwrap()
}

#[tokio::test]
async fn content_type_and_coding_tell_requests_apart() {
    let (cache, _) = test_util::cache();
    let calls = Arc::default();
    let app = echo(&cache, Policy::fresh_for(MINUTE).key_body([Method::POST, query()]), &calls);
    for (method, fields, body) in [
        ("QUERY", &[][..], "q1"),
        ("QUERY", &[], "q2"),
        ("QUERY", &[], ""),
        ("QUERY", &[("content-type", "text/plain")], "q1"),
        ("QUERY", &[("content-type", "text/html")], "q1"),
        ("QUERY", &[("content-encoding", "x")], "q1"),
        ("POST", &[], "q1"),
    ] {
        assert_miss!(ask(&app, request(method, fields, body)).await.0);
        let (response, answer) = ask(&app, request(method, fields, body)).await;
        assert_hit!(response);
        assert_eq!(answer, format!("{method} {body}"));
    }
    assert_miss!(ask(&app, request("GET", &[], "")).await.0);
    assert_bypass!(ask(&app, request("PUT", &[], "q1")).await.0);
}

#[tokio::test]
async fn what_is_too_long_bypasses_with_every_byte() {
    let (cache, _) = test_util::cache();
    let calls = Arc::default();
    let app = echo(&cache, Policy::fresh_for(MINUTE).key_body([Method::POST]).max_content(10), &calls);
    let frames = |count: usize| {
        let frames = (0..count).map(|at| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("<{at}>")))));
        Body::new(StreamBody::new(stream(frames.collect())))
    };
    assert_miss!(ask(&app, request("POST", &[], frames(3))).await.0);
    assert_hit!(ask(&app, request("POST", &[], "<0><1><2>")).await.0);
    for _ in 0..2 {
        let (response, answer) = ask(&app, request("POST", &[], frames(9))).await;
        assert_bypass!(response);
        assert_eq!(answer, "POST <0><1><2><3><4><5><6><7><8>");
    }
    assert_eq!(cache.stats().bypasses["content-too-long"], 2);
}

#[tokio::test]
async fn content_that_breaks_off_does_so_for_the_handler_too() {
    let (cache, _) = test_util::cache();
    let calls = Arc::default();
    let app = echo(&cache, Policy::fresh_for(MINUTE).key_body([Method::POST]), &calls);
    let broken = || {
        let frames = vec![Ok(Frame::data(Bytes::from("start"))), Err(std::io::Error::other("cut off"))];
        Body::new(StreamBody::new(stream(frames)))
    };
    let (response, answer) = ask(&app, request("POST", &[], broken())).await;
    assert_bypass!(response);
    assert!(answer.starts_with("POST error"), "{answer}");
    let trailers = || {
        let frames = vec![Ok::<_, Infallible>(Frame::data(Bytes::from("x"))), Ok(Frame::trailers(HeaderMap::new()))];
        Body::new(StreamBody::new(stream(frames)))
    };
    let (response, answer) = ask(&app, request("POST", &[], trailers())).await;
    assert_bypass!(response);
    assert_eq!(answer, "POST x");
}

#[tokio::test]
async fn without_a_way_to_rebuild_content_bypasses() {
    let (cache, _) = test_util::cache();
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("x"))) });
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE).key_body([Method::POST])).layer(inner);
    let app = app.map_response(|answer| answer.map(Body::new));
    assert_bypass!(ask(&app, request("POST", &[], "q")).await.0);
    assert_eq!(cache.stats().bypasses["content"], 1);
}

#[tokio::test]
async fn a_refresh_asks_with_the_same_content() {
    let (cache, clock) = test_util::cache();
    let calls = Arc::<AtomicUsize>::default();
    let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE).key_body([Method::POST]);
    let app = echo(&cache, policy, &calls);
    ask(&app, request("POST", &[], "q")).await;
    clock.advance(MINUTE);
    assert_stale!(ask(&app, request("POST", &[], "q")).await.0);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let (response, answer) = ask(&app, request("POST", &[], "q")).await;
    assert_hit!(response);
    assert_eq!((answer.as_str(), calls.load(Ordering::SeqCst)), ("POST q", 2));
}

#[tokio::test]
async fn only_grpc_calls_that_succeed_are_stored() {
    let (cache, _) = test_util::cache();
    let inner = service_fn(|request: Request<Body>| async move {
        let sent = request.into_body().collect().await.unwrap().to_bytes();
        let status = if sent == "fail" { "5" } else { "0" };
        let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
        let frames = vec![Ok::<_, Infallible>(Frame::data(Bytes::from("answer"))), Ok(Frame::trailers(trailers))];
        Ok::<_, Infallible>(Response::new(Body::new(StreamBody::new(stream(frames)))))
    });
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE).grpc()).rebuild_body(Body::new).layer(inner);
    let call = |message: &'static str, kind: &str| {
        let (app, request) = (app.clone(), request("POST", &[("content-type", kind)], message));
        async move {
            let (head, body) = app.oneshot(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap();
            (Response::from_parts(head, ()), body.trailers().unwrap()["grpc-status"].clone())
        }
    };
    assert_miss!(call("ok", "application/grpc").await.0);
    let (response, status) = call("ok", "application/grpc").await;
    assert_hit!(response);
    assert_eq!(status, "0");
    for _ in 0..2 {
        let (response, status) = call("fail", "application/grpc+proto").await;
        assert_miss!(response);
        assert_eq!(status, "5");
    }
    assert_bypass!(call("ok", "application/json").await.0);
    assert_eq!(cache.stats().not_stored["grpc-status"], 2);
}

/// A stream of frames that are all there already.
fn stream<T>(items: Vec<T>) -> impl futures_core::Stream<Item = T> {
    struct Iter<T>(std::vec::IntoIter<T>);
    impl<T> futures_core::Stream for Iter<T> {
        type Item = T;
        fn poll_next(mut self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<Option<T>> {
            std::task::Poll::Ready(self.0.next())
        }
    }
    impl<T> Unpin for Iter<T> {}
    Iter(items.into_iter())
}

//! The layers that write header fields, alone and around one another.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "header_layers/cache_control.rs"]
mod cache_control;
#[path = "header_layers/etag.rs"]
mod etag;
#[path = "header_layers/orders.rs"]
mod orders;
#[path = "header_layers/stats.rs"]
mod stats;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::ETAG};
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Policy, assert_hit, assert_miss, test_util};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// Any service, its bodies boxed.
fn boxed<S, B>(service: S) -> App
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(service.map_response(|response: Response<B>| response.map(Body::new)))
}

fn handler(answer: impl Fn(&Request<Body>) -> Response<Body> + Clone + Send + Sync + 'static) -> App {
    boxed(service_fn(move |request: Request<Body>| std::future::ready(Ok(answer(&request)))))
}

type Fields = &'static [(&'static str, &'static str)];

fn response(status: u16, fields: &[(&str, &str)], body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::builder().status(status);
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}

fn request(method: &Method, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn ask(app: &App, request: Request<Body>) -> (Response<()>, String) {
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
}

async fn get(app: &App, fields: &[(&str, &str)]) -> (Response<()>, String) {
    ask(app, request(&Method::GET, "/x", fields)).await
}

/// All lines of a field.
fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|line| line.to_str().unwrap()).collect()
}

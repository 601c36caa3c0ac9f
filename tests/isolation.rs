//! ISOLATION: no one gets what belongs to another (O-15 to O-17, and O-03, O-06 to O-08 with scopes, tables and content).
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "behind/mod.rs"]
mod behind;
#[path = "isolation/identities.rs"]
mod identities;
#[path = "isolation/keys.rs"]
mod keys;
#[path = "isolation/orders.rs"]
mod orders;
#[path = "isolation/paths.rs"]
mod paths;
#[path = "isolation/soak.rs"]
mod soak;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Identity, PolicyTable, test_util};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

const MINUTE: Duration = Duration::from_secs(60);

type App = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

fn boxed<S, B>(service: S) -> App
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
    B: http_body::Body<Data = Bytes, Error: Into<axum::BoxError>> + Send + 'static,
{
    BoxCloneSyncService::new(service.map_response(|response| response.map(Body::new)))
}

/// A service that makes its answer of the request.
fn answering(answer: impl Fn(&Request<Body>) -> Response<Body> + Clone + Send + Sync + 'static) -> App {
    boxed(service_fn(move |request| std::future::ready(Ok(answer(&request)))))
}

/// A cache that learns from the extensions of the request who asks.
fn cached(cache: &Cache, policy: impl Into<PolicyTable>, inner: &App) -> App {
    told(cache, boxed(CacheLayer::new(cache, policy).layer(inner.clone())))
}

/// Tells of each request before it comes.
fn told(cache: &Cache, app: App) -> App {
    let cache = cache.clone();
    boxed(service_fn(move |request| {
        let (cache, app) = (cache.clone(), app.clone());
        async move {
            behind::request(&cache).await;
            app.oneshot(request).await
        }
    }))
}

fn get(uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn by(identity: Identity, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(identity);
    request
}

async fn ask(app: &App, request: Request<Body>) -> (Response<()>, String) {
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8_lossy(&body).into_owned())
}

async fn outcome(app: &App, request: Request<Body>) -> &'static str {
    test_util::outcome(ask(app, request).await.0.headers())
}

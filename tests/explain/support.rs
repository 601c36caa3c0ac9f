//! A service that answers as it is told, behind a layer and what tells of it.

use axum::body::{Body, to_bytes};
use http::{Request, Response, request::Parts};
use larder::{Cache, CacheLayer, CacheService, Explanation, Policy, StatsLayer, StatsService};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
pub(crate) const SECOND: Duration = Duration::from_secs(1);

type Answers = dyn Fn(usize, &Request<Body>) -> Response<Body> + Send + Sync;

#[derive(Clone)]
pub(crate) struct Inner {
    calls: Arc<AtomicUsize>,
    answer: Arc<Answers>,
}

impl Inner {
    pub(crate) fn new(answer: impl Fn(usize, &Request<Body>) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self { calls: Arc::default(), answer: Arc::new(answer) }
    }

    /// Answers with these fields and the number of the call.
    pub(crate) fn with(fields: &'static [(&'static str, &'static str)]) -> Self {
        Self::new(move |call, _| {
            let mut response = Response::new(Body::from(format!("answer {call}")));
            for (name, value) in fields {
                response.headers_mut().append(*name, value.parse().unwrap());
            }
            response
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

impl Service<Request<Body>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        ready(Ok((self.answer)(call, &request)))
    }
}

/// A layer, and its service within one that tells what it did.
pub(crate) struct App {
    pub(crate) layer: CacheLayer,
    pub(crate) service: StatsService<CacheService<Inner>>,
}

impl App {
    pub(crate) fn new(cache: &Cache, policy: impl Into<larder::PolicyTable>, inner: &Inner) -> Self {
        let layer = CacheLayer::new(cache, policy);
        let service = StatsLayer::on().layer(layer.layer(inner.clone()));
        Self { layer, service }
    }

    /// The response and its body, once nothing runs in the background any more.
    pub(crate) async fn ask(&self, request: Request<Body>) -> (Response<()>, String) {
        let (head, body) = self.service.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(Body::new(body), usize::MAX).await.unwrap();
        settle().await;
        (Response::from_parts(head, ()), String::from_utf8_lossy(&body).into_owned())
    }

    /// What it said of this request in `X-Cache-Explain`.
    pub(crate) async fn told(&self, request: Request<Body>) -> String {
        let (response, _) = self.ask(request).await;
        let line = response.headers()["x-cache-explain"].to_str().unwrap().to_owned();
        assert!(line.len() <= 512, "{line}");
        line
    }

    pub(crate) fn explain(&self, request: Request<Body>) -> Explanation {
        self.layer.explain(&parts(request))
    }
}

pub(crate) fn parts(request: Request<Body>) -> Parts {
    request.into_parts().0
}

pub(crate) fn get(uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    request("GET", uri, fields)
}

pub(crate) fn request(method: &str, uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(Body::empty()).unwrap()
}

/// The text of a step.
pub(crate) fn step<'a>(why: &'a Explanation, name: &str) -> &'a str {
    why.steps().find(|(found, _)| *found == name).map_or("", |(_, text)| text)
}

/// Outcome and reason.
pub(crate) fn verdict(why: &Explanation) -> (&'static str, Option<&'static str>) {
    (why.outcome().as_str(), why.reason())
}

pub(crate) fn minute() -> Policy {
    Policy::named("shop").fresh_for(MINUTE)
}

/// Lets spawned tasks run.
pub(crate) async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

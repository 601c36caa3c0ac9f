use super::{
    answer::{AdminBody, Answer, Told, respond},
    caches::AdminCaches,
    query::Query,
    service::{AdminFuture, only_looks},
};
use http::{Method, Request, Response, request::Parts};
use serde_json::json;
use std::{
    convert::Infallible,
    task::{Context, Poll},
};
use tower_service::Service;

/// Tells everybody whether caches are well. Made by [`health`](super::health()).
///
/// ```
/// # use larder::{Cache, admin};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::convert::Infallible> {
/// # let cache = Cache::in_memory(1 << 20);
/// let response = admin::health([&cache]).oneshot(http::Request::new(())).await?;
/// assert_eq!(response.status(), 200); // 503 for `?strict`, while a store is away
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a service does nothing until it is mounted"]
pub struct Health(AdminCaches);

impl Health {
    pub(super) fn new(caches: AdminCaches) -> Self {
        Self(caches)
    }
}

/// No details: everybody may ask.
pub(super) fn told(caches: &AdminCaches, parts: &Parts) -> Told {
    only_looks(&parts.method)?;
    let strict = Query::parse(parts.uri.query().unwrap_or_default())?.has("strict");
    let healthy = caches.iter().fold(true, |healthy, (_, cache)| cache.problems().is_empty() && healthy);
    if healthy {
        return Ok(Answer::json(&json!({ "status": "healthy", "message": "Cache is working properly" })));
    }
    let message = "Cache is working in memory: a store or the shared log is away";
    let told = json!({ "status": "degraded", "message": message });
    Ok(if strict { Answer::unavailable(&told) } else { Answer::json(&told) })
}

impl<B> Service<Request<B>> for Health {
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, caches) = (request.into_parts().0, self.0.clone());
        AdminFuture::of(async move { respond(told(&caches, &parts), parts.method == Method::HEAD) })
    }
}

use super::{StatsFuture, layer::Mode};
use crate::request_stats::{InsideCache, RequestStats};
use http::{Request, Response};
use std::task::{Context, Poll};
use tower_service::Service;

/// Tells what the caches did. Made by [`StatsLayer`](super::StatsLayer).
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{Cache, CacheLayer, Policy, StatsLayer, StatsService};
/// # use std::{convert::Infallible, time::Duration};
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let service = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
/// # let cache = Cache::in_memory(1 << 20);
/// let cached = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60))).layer(service);
/// let mut shown: StatsService<_> = StatsLayer::on().layer(cached);
/// let response = shown.ready().await?.call(Request::new(Body::empty())).await?;
/// assert_eq!(response.headers()["x-cache"], "MISS");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct StatsService<S> {
    inner: S,
    mode: Mode,
}

impl<S> StatsService<S> {
    pub(super) fn new(inner: S, mode: Mode) -> Self {
        Self { inner, mode }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for StatsService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = StatsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let told = self.mode.take(request.headers_mut());
        if !told || request.extensions().get::<InsideCache>().is_some() {
            return StatsFuture::passing(self.inner.call(request));
        }
        // A layer further out counts the same.
        let stats = request.extensions_mut().get_or_insert_default::<RequestStats>().clone();
        let future = stats.enter(|| self.inner.call(request));
        StatsFuture::counting(future, stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{StatsLayer, outcome::Outcome};
    use http::HeaderMap;
    use std::convert::Infallible;
    use tower::{Layer, ServiceExt, service_fn};

    /// A cache in the request's way, and a handler that has no request at hand.
    async fn answer(request: Request<()>) -> Result<Response<()>, Infallible> {
        if let Some(stats) = RequestStats::of(request.extensions()) {
            stats.outcome(Outcome::Miss);
            stats.key(|| "the key".to_owned());
        }
        tokio::task::yield_now().await;
        if let Some(stats) = RequestStats::current() {
            stats.hit();
            stats.hit();
            stats.set();
        }
        let spoofed = Response::builder().header("x-cache", "HIT").header("x-cache-sets", "7").header("x-other", "1");
        Ok(spoofed.body(()).unwrap())
    }

    async fn told(layer: StatsLayer, request: Request<()>) -> HeaderMap {
        let service = layer.layer(layer.layer(service_fn(answer)));
        service.oneshot(request).await.unwrap().into_parts().0.headers
    }

    #[tokio::test]
    async fn what_layers_and_handlers_do_is_counted() {
        let headers = told(StatsLayer::on(), Request::default()).await;
        for (name, value) in [
            ("x-cache", "MISS"),
            ("x-cache-explain", "miss"),
            ("x-cache-hits", "2"),
            ("x-cache-misses", "1"),
            ("x-cache-sets", "1"),
            ("x-cache-key", "the%20key"),
            ("x-other", "1"),
        ] {
            assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
    }

    #[tokio::test]
    async fn off_and_inside_of_a_cache_it_changes_nothing() {
        let mut inside = Request::new(());
        inside.extensions_mut().insert(InsideCache);
        for (layer, request) in [(StatsLayer::off(), Request::default()), (StatsLayer::on(), inside)] {
            let headers = told(layer, request).await;
            assert_eq!(headers["x-cache"], "HIT");
            assert_eq!(headers["x-cache-sets"], "7");
            assert!(!headers.contains_key("x-cache-hits"));
        }
    }
}

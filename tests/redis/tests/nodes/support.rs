//! Nodes of one application.

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheBuilder, CacheLayer, Policy, Redis, ResponseBody};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn, util::BoxCloneSyncService};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

type App = BoxCloneSyncService<Request<Full<Bytes>>, Response<ResponseBody<Full<Bytes>>>, Infallible>;

/// The fields of the answer to a request.
pub(crate) type Fields = fn(&Request<Full<Bytes>>) -> Vec<(&'static str, String)>;

/// Calls of all services, so that no two answers are alike.
static CALLS: AtomicUsize = AtomicUsize::new(0);

/// A node: a cache, and a service behind a layer that tells how often it was asked.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) cache: Cache,
    pub(crate) calls: Arc<AtomicUsize>,
    app: App,
}

impl Node {
    /// A node whose service answers with the number of the call and the path.
    pub(crate) async fn new(url: &str, policy: Policy) -> Self {
        Self::with(Cache::builder(), url, policy, |_| Vec::new()).await
    }

    pub(crate) async fn with(builder: CacheBuilder, url: &str, policy: Policy, fields: Fields) -> Self {
        let redis = Redis::open(url).unwrap().budget(Duration::from_secs(2));
        let node = Self::of(builder.redis(redis).build().unwrap(), policy, fields);
        assert!(node.cache.ready(Duration::from_secs(20)).await, "the log was not read");
        node
    }

    pub(crate) fn of(cache: Cache, policy: Policy, fields: Fields) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let service = service_fn(move |request: Request<Full<Bytes>>| {
            counted.fetch_add(1, SeqCst);
            let call = CALLS.fetch_add(1, SeqCst);
            let text = format!("{} {call}", request.uri());
            let mut response = Response::new(Full::new(Bytes::from(text)));
            for (name, value) in fields(&request) {
                response.headers_mut().append(name, value.parse().unwrap());
            }
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let app = CacheLayer::new(&cache, policy).layer(service);
        Self { cache, calls, app: BoxCloneSyncService::new(app) }
    }

    pub(crate) async fn get(&self, path: &str) -> String {
        self.send(Request::get(path)).await.1
    }

    pub(crate) async fn send(&self, request: http::request::Builder) -> (HeaderMap, String) {
        let request = request.header("host", "shop").body(Full::default()).unwrap();
        let (parts, body) = self.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Until everything is written that was stored.
    pub(crate) async fn written(&self) {
        larder_redis_tests::until("writes are done", async || self.cache.stats().writes_waiting == 0).await;
    }
}

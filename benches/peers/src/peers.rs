//! The contenders. Each peer gets the settings with which it is fastest while it does the same: it keeps everything
//! that is asked for here, and as long as the measurement takes.

use crate::{
    contender::{Contender, RequestAlone, served},
    origin::{Origin, Prebuilt},
};
use axum::body::Body;
use bytes::Bytes;
use hitbox::{Config, policy::PolicyConfig};
use hitbox_backend::format::RkyvFormat;
use hitbox_http::{
    extractors::{Method as MethodPart, path::PathExtractor},
    predicates::{
        header::{HeaderPredicate, Operation},
        request::Method as MethodIs,
        response::StatusCode as StatusIs,
    },
};
use hitbox_moka::MokaBackend;
use http::{HeaderValue, Method, Response, StatusCode, header::AGE, header::CACHE_CONTROL};
use http_body_util::Full;
use http_cache::MokaManager;
use http_cache_tower_server::ServerCacheLayer;
use larder::{Cache, CacheLayer, Policy};
use std::time::Duration;
use tower_http_cache::{backend::memory::InMemoryBackend, layer::CacheLayer as TowerHttpCacheLayer};
use tower_layer::Layer;

/// A body of so many bytes for each of so many items.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Contents {
    pub(crate) body: usize,
    pub(crate) items: u32,
}

/// What does without a cache, for comparison.
pub(crate) fn floors(contents: Contents) -> Vec<Box<dyn Contender>> {
    vec![Box::new(RequestAlone), prebuilt(contents), no_cache(contents)]
}

/// The caches. Larder is the first.
pub(crate) fn caches(contents: Contents) -> Vec<Box<dyn Contender>> {
    CACHES.iter().map(|(_, make)| make(contents)).collect()
}

/// The cache of this name.
pub(crate) fn cache(name: &str, contents: Contents) -> Option<Box<dyn Contender>> {
    CACHES.iter().find(|(own, _)| *own == name).map(|(_, make)| make(contents))
}

/// The names of the caches.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CACHES.iter().map(|(name, _)| *name)
}

type Make = fn(Contents) -> Box<dyn Contender>;

const CACHES: [(&str, Make); 5] = [
    (LARDER, larder),
    ("axum-response-cache", axum_response_cache),
    ("tower-http-cache", tower_http_cache),
    ("http-cache-tower-server", http_cache_tower_server),
    ("hitbox-tower", hitbox_tower),
];

/// Clones a ready response that has the eight fields of a hit of Larder.
fn prebuilt(contents: Contents) -> Box<dyn Contender> {
    served(PREBUILT, Prebuilt::new(ready_response(contents)), None)
}

/// What a hit of Larder looks like.
pub(crate) fn ready_response(contents: Contents) -> Response<Full<Bytes>> {
    let mut response = Origin::<Full<Bytes>>::new(contents.body).respond("max-age=3600");
    response.headers_mut().insert(AGE, HeaderValue::from_static("0"));
    response.headers_mut().insert("cache-status", HeaderValue::from_static("larder; hit"));
    response
}

fn no_cache(contents: Contents) -> Box<dyn Contender> {
    let origin = Origin::<Full<Bytes>>::new(contents.body);
    served(NO_CACHE, origin, None)
}

/// Its defaults, with as much memory as the items need: an entry takes less than 2 KiB beside its body, and shards
/// are not filled all alike.
fn larder(contents: Contents) -> Box<dyn Contender> {
    let memory = (contents.body + 2048) * contents.items as usize * 3 / 2;
    let cache = Cache::in_memory(memory.max(64 << 20));
    let origin = Origin::<Full<Bytes>>::new(contents.body);
    let calls = origin.calls();
    let layer = CacheLayer::new(&cache, Policy::fresh_for(HOUR));
    served(LARDER, layer.layer(origin), Some(calls))
}

/// Its default store, `TtlCache`, is the fastest of those that it comes with, and has no bound. It takes and gives
/// axum's bodies only.
fn axum_response_cache(contents: Contents) -> Box<dyn Contender> {
    let origin = Origin::<Body>::new(contents.body);
    let calls = origin.calls();
    let layer = axum_response_cache::CacheLayer::with_lifespan(HOUR);
    served("axum-response-cache", layer.layer(origin), Some(calls))
}

/// Its store in memory, which is bounded by entries.
fn tower_http_cache(contents: Contents) -> Box<dyn Contender> {
    let origin = Origin::<Full<Bytes>>::new(contents.body);
    let calls = origin.calls();
    let layer = TowerHttpCacheLayer::builder(InMemoryBackend::new(ENTRIES)).ttl(HOUR).build();
    served("tower-http-cache", layer.layer(origin), Some(calls))
}

/// Its defaults, over moka. How long a response is fresh it takes from `Cache-Control`.
fn http_cache_tower_server(contents: Contents) -> Box<dyn Contender> {
    let origin = Origin::<Full<Bytes>>::new(contents.body);
    let calls = origin.calls();
    let layer = ServerCacheLayer::new(MokaManager::new(moka::future::Cache::new(ENTRIES)));
    served("http-cache-tower-server", layer.layer(origin), Some(calls))
}

/// Over moka, with the format that its documentation calls the fastest. It has no rules of its own: here it stores what
/// is a GET, has status 200 and a `max-age`, by method and path.
fn hitbox_tower(contents: Contents) -> Box<dyn Contender> {
    let origin = Origin::<Full<Bytes>>::new(contents.body);
    let calls = origin.calls();
    let fresh = Operation::Contains(CACHE_CONTROL, "max-age".to_owned());
    let Ok(is_get) = MethodIs::new(Method::GET);
    let config = Config::builder()
        .request_predicate(is_get)
        .response_predicate(StatusIs::new(StatusCode::OK).header(fresh))
        .extractor(MethodPart::new().path("/{path}*"))
        .policy(PolicyConfig::builder().ttl(HOUR).build())
        .build();
    let backend = MokaBackend::builder().max_entries(ENTRIES).value_format(RkyvFormat::new()).build();
    let layer = hitbox_tower::Cache::builder().backend(backend).config(config).build();
    served("hitbox-tower", layer.layer(origin), Some(calls))
}

pub(crate) const LARDER: &str = "larder";
pub(crate) const PREBUILT: &str = "prebuilt response";
pub(crate) const NO_CACHE: &str = "no cache, builds its body";

const HOUR: Duration = Duration::from_secs(3600);
/// More than is ever stored here, for those that count entries.
const ENTRIES: u64 = 1_000_000;

//! What panics on its way is on record.

use super::*;
use bytes::Bytes;
use larder::{Cursor, Page, Store, StoreFuture, StoreKey, StoreStats, WarmRequest, Warmer};
use serde_json::json;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

/// A store that panics when it is looked through.
#[derive(Debug)]
struct Broken;

impl Store for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        StoreFuture::ready(Ok(vec![None; keys.len()]))
    }

    fn put(&self, _: StoreKey, _: Bytes, _: Duration) -> StoreFuture<'_, ()> {
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, _: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<Cursor>, _: usize) -> StoreFuture<'a, Page> {
        panic!("as it was told to")
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

/// A service that nobody can have another one of, once it is said so.
struct Unique(Arc<AtomicBool>);

impl Clone for Unique {
    fn clone(&self) -> Self {
        assert!(!self.0.load(SeqCst), "as it was told to");
        Self(Arc::clone(&self.0))
    }
}

impl tower::Service<Request<Body>> for Unique {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        std::future::ready(Ok(Response::new(Body::empty())))
    }
}

async fn trail(shop: &Shop) -> Vec<Value> {
    shop.look("api/audit").await.ok()["actions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_action_that_panics_has_failed() {
    let shop = Shop::with(Cache::builder().store(Broken));
    let body = json!({ "selector": { "tag": "products" } });
    let error = shop.act("api/manage/invalidate", &body).await.error(500);
    assert_eq!(error, "this has failed, and the log of the application tells why");
    let done = trail(&shop).await;
    assert_eq!(done.len(), 1, "{done:?}");
    let told = ["action", "cache", "what", "outcome", "by"].map(|member| done[0][member].as_str().unwrap().to_owned());
    assert_eq!(told, ["invalidate", "default", "tag products", "failed", "token"]);
    assert!(done[0]["at"].as_f64().unwrap() >= 1_800_000_000.0);
    // What would have changed nothing is not recorded, whatever comes of it.
    shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "x" }, "preview": true })).await.error(500);
    assert_eq!(trail(&shop).await.len(), 1);
}

#[tokio::test]
async fn a_job_that_panics_has_failed() {
    let mut shop = Shop::open();
    let (panics, warmer) = (Arc::new(AtomicBool::new(false)), Warmer::new().host("shop.example"));
    let warmer = warmer.category("home", 1, [WarmRequest::get("/")]);
    shop.admin = shop.admin.warmer::<Body>(&warmer, Unique(Arc::clone(&panics)));
    panics.store(true, SeqCst);
    assert_eq!(shop.act("api/manage/warm", &json!({ "categories": ["home"] })).await.json()["job"], "1");
    for _ in 0..100_000 {
        if trail(&shop).await.len() == 2 {
            break;
        }
        tokio::task::yield_now().await;
    }
    let done = trail(&shop).await;
    let told = |at: usize| (done[at]["what"].as_str().unwrap(), done[at]["outcome"].as_str().unwrap());
    assert_eq!((told(0), told(1)), (("job 1: home", "failed"), ("home", "ok")));
    assert_eq!(shop.look("api/manage/warm?job=1").await.ok()["state"], "failed");
}

//! What is purged is gone at once: to count it may take longer.

use super::*;
use bytes::Bytes;
use larder::{Cursor, Page, Store, StoreFuture, StoreKey, StoreStats};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, sync::Mutex};
use tokio::sync::Semaphore;

/// A store that is looked through when it is let.
#[derive(Clone, Debug)]
struct Slow {
    kept: Arc<Mutex<BTreeMap<StoreKey, Bytes>>>,
    gate: Arc<Semaphore>,
}

impl Store for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        let kept = self.kept.lock().unwrap();
        StoreFuture::ready(Ok(keys.iter().map(|key| kept.get(key).cloned()).collect()))
    }

    fn put(&self, key: StoreKey, value: Bytes, _: Duration) -> StoreFuture<'_, ()> {
        self.kept.lock().unwrap().insert(key, value);
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        let mut kept = self.kept.lock().unwrap();
        keys.iter().for_each(|key| drop(kept.remove(key)));
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<Cursor>, _: usize) -> StoreFuture<'a, Page> {
        StoreFuture::boxed(async {
            self.gate.acquire().await.unwrap().forget();
            Ok(Page::default())
        })
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

#[tokio::test]
async fn it_waits_neither_for_a_place_nor_for_a_count() {
    let gate = Arc::new(Semaphore::new(0));
    let shop = Shop::with(Cache::builder().store(Slow { kept: Arc::default(), gate: Arc::clone(&gate) }));
    let act = |tag: &str, preview: bool| {
        let body = json!({ "selector": { "tag": tag }, "preview": preview }).to_string();
        tokio::spawn(shop.admin.clone().oneshot(action("api/manage/invalidate", FULL, &body)))
    };
    // As many look through the store as may do so at once.
    let looking = [act("none", true), act("none", true)];
    shop.get("/products/1", &[]).await;
    assert!(shop.is_hit("/products/1", &[]).await);
    let purging = act("products", false);
    // What is in memory is counted in a thread of its own.
    while shop.is_hit("/products/1", &[]).await {
        tokio::task::yield_now().await;
    }
    assert!(!purging.is_finished(), "it is still being counted");
    gate.add_permits(3);
    for one in looking {
        assert_eq!(one.await.unwrap().unwrap().status(), StatusCode::OK);
    }
    let told = purging.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&told).unwrap();
    assert_eq!(told, json!({ "cache": "default", "invalidated": true, "entries": 1, "confirmed": true }));
}

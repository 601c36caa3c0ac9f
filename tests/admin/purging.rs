//! What is purged is gone at once: to count it may take longer.

use super::*;
use crate::shelf::Shelf;
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn it_waits_neither_for_a_place_nor_for_a_count() {
    let gate = Arc::new(Semaphore::new(0));
    let shop = Shop::with(Cache::builder().store(Shelf { gate: Some(Arc::clone(&gate)), ..Shelf::default() }));
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

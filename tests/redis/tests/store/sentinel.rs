//! A group with sentinels: whoever is the primary.

use crate::support::{get, in_time, millis, put, ready};
use larder::{Redis, StoreError};
use larder_redis_tests::{Sentinel, contract::check, until};

#[tokio::test]
async fn the_primary_is_found_and_found_again() {
    let mut group = Sentinel::start().await;
    let budget = millis(300);
    let redis = Redis::sentinel(group.urls(), Sentinel::NAME).unwrap().budget(budget).database(1);
    let store = ready(&redis).await;
    check(&*store, "larder:v1:").await;
    put(&*store, "a", "first").await.unwrap();
    assert_eq!(group.master().cli(&["-n", "1", "GET", "a"]).await, "first");
    // In agreement: the old primary stays, and answers READONLY.
    group.failover().await;
    until("a write to the new primary", async || in_time(budget, put(&*store, "a", "second")).await.is_ok()).await;
    assert_eq!(group.master().cli(&["-n", "1", "GET", "a"]).await, "second");
    // It dies, and so does a sentinel.
    group.sentinels_mut()[0].stop();
    group.kill_master().await;
    until("a write to the new primary", async || in_time(budget, put(&*store, "a", "third")).await.is_ok()).await;
    assert_eq!(group.master().cli(&["-n", "1", "GET", "a"]).await, "third");
    assert!(get(&*store, "a").await.unwrap().is_some());
}

#[tokio::test]
async fn a_group_that_nobody_knows() {
    let group = Sentinel::start().await;
    let redis = Redis::sentinel(group.urls(), "another").unwrap();
    assert!(redis.ready(millis(500)).await.is_err());
    assert_eq!(get(&*redis.store().unwrap(), "a").await, Err(StoreError::Unreachable));
}

//! What all of these tests need.

use bytes::Bytes;
use larder::{Redis, Store, StoreError, StoreKey};
use larder_redis_tests::{Proxy, Server, within};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

pub(crate) fn key(text: impl Into<String>) -> StoreKey {
    StoreKey::new(text.into()).unwrap()
}

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A store that can be asked.
pub(crate) async fn ready(redis: &Redis) -> Arc<dyn Store> {
    redis.ready(secs(20)).await.unwrap();
    redis.store().unwrap()
}

/// A Redis with a budget that a loaded machine can keep.
pub(crate) fn patient(url: &str) -> Redis {
    Redis::open(url).unwrap().budget(secs(5))
}

/// A server with a proxy before it.
pub(crate) async fn proxied() -> (Server, Proxy) {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    (server, proxy)
}

/// The value of one key.
pub(crate) async fn get(store: &dyn Store, name: &str) -> Result<Option<Bytes>, StoreError> {
    store.get(&[key(name)]).await.map(|mut values| values.pop().unwrap())
}

pub(crate) async fn put(store: &dyn Store, name: &str, value: &str) -> Result<(), StoreError> {
    store.put(key(name), Bytes::copy_from_slice(value.as_bytes()), secs(60)).await
}

/// What it comes to, and that it took no longer than this: the budget, and what a loaded machine may add.
pub(crate) async fn in_time<F: Future>(limit: Duration, future: F) -> F::Output {
    let start = now();
    let output = within("an operation", future).await;
    let took = now() - start;
    assert!(took <= limit + millis(700), "took {took:?}, the limit is {limit:?}");
    output
}

#[expect(clippy::disallowed_methods, reason = "how long a client waits is what these tests are about")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

//! The caches of the cases: in memory, or with Redis behind it where the environment says so.
//!
//! With `LARDER_TEST_REDIS=redis://..` everything that is stored is written there too. With `LARDER_TEST_FORGET` set as
//! well, the memory is emptied whenever a request comes and nothing is under way, so that what is served comes from Redis. It
//! is asked while everything else waits: tests that stop the clock could not wait for it otherwise.

use bytes::Bytes;
use larder::{
    Cache, CacheBuilder, ConfigError, Cursor, Page, Redis, Store, StoreError, StoreFuture, StoreKey, StoreStats,
    test_util::{self, ManualClock},
};
use std::{
    env,
    future::Future,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

static REDIS: LazyLock<Option<Redis>> = LazyLock::new(|| {
    let url = env::var("LARDER_TEST_REDIS").ok()?;
    let redis = Redis::open(url).unwrap().budget(Duration::from_secs(10));
    let ready = redis.clone();
    wait(async move { ready.ready(Duration::from_secs(20)).await }).expect("the Redis that the environment names");
    Some(redis)
});

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

static FORGETS: LazyLock<bool> = LazyLock::new(|| REDIS.is_some() && env::var_os("LARDER_TEST_FORGET").is_some());

/// As [`test_util::cache`].
#[allow(dead_code, reason = "not all tests that have this need it")]
pub(crate) fn cache() -> (Cache, ManualClock) {
    cache_with(Cache::builder()).unwrap()
}

/// As [`test_util::cache_with`].
pub(crate) fn cache_with(builder: CacheBuilder) -> Result<(Cache, ManualClock), ConfigError> {
    static CACHES: AtomicU64 = AtomicU64::new(0);
    let Some(redis) = &*REDIS else { return test_util::cache_with(builder) };
    let prefix = format!("{}:{}:", std::process::id(), CACHES.fetch_add(1, Relaxed));
    test_util::cache_with(builder.store(Behind { store: redis.store()?, prefix }))
}

/// A request is about to come.
#[allow(dead_code, reason = "not all tests that have this need it")]
pub(crate) async fn request(cache: &Cache) {
    if !*FORGETS {
        return;
    }
    let mut stats = cache.stats();
    for _ in 0..1000 {
        if stats.writes_waiting == 0 {
            break;
        }
        tokio::task::yield_now().await;
        stats = cache.stats();
    }
    // Those who wait for each other are to find what they wait for.
    if stats.fills == 0 && stats.background == 0 {
        cache.clear();
    }
}

/// Redis, of which each cache has a part of its own.
#[derive(Debug)]
struct Behind {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Behind {
    fn inner(&self, key: &StoreKey) -> StoreKey {
        StoreKey::new(format!("{}{}", self.prefix, key.as_str())).unwrap()
    }

    fn all(&self, keys: &[StoreKey]) -> Vec<StoreKey> {
        keys.iter().map(|key| self.inner(key)).collect()
    }
}

impl Store for Behind {
    fn name(&self) -> &str {
        "redis"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        let (store, keys) = (Arc::clone(&self.store), self.all(keys));
        StoreFuture::ready(wait(async move { store.get(&keys).await }))
    }

    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        let (store, key) = (Arc::clone(&self.store), self.inner(&key));
        StoreFuture::ready(wait(async move { store.put(key, value, ttl).await }))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        let (store, keys) = (Arc::clone(&self.store), self.all(keys));
        StoreFuture::ready(wait(async move { store.remove(&keys).await }))
    }

    fn scan<'a>(&'a self, prefix: &'a str, from: Option<Cursor>, head: usize) -> StoreFuture<'a, Page> {
        let (store, whole) = (Arc::clone(&self.store), format!("{}{prefix}", self.prefix));
        StoreFuture::ready(wait(async move { store.scan(&whole, from, head).await }).map(|mut page| {
            for (key, _) in &mut page.found {
                *key = StoreKey::new(&key.as_str()[self.prefix.len()..]).unwrap();
            }
            page
        }))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        let store = Arc::clone(&self.store);
        StoreFuture::ready(wait(async move { store.stats().await }))
    }
}

/// Waits in this very thread.
fn wait<T: Send + 'static>(
    future: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let (done, answer) = mpsc::sync_channel(1);
    RUNTIME.spawn(async move { done.send(future.await) });
    answer.recv().unwrap()
}

//! Values that are not kept: what they take the place of goes.

use crate::{
    Never, SECOND, cache, idle,
    support::{HOUR, MINUTE, settle, until},
};
use bytes::Bytes;
use larder::{Cache, Cursor, Page, Store, StoreFuture, StoreKey, StoreStats, Value, test_util};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What is there is worth an hour, and what is not is not kept.
static QUOTA: Value<Option<u32>> =
    Value::named("quota").shared().lifetime_of(|quota: &Option<u32>| quota.map(|_| HOUR)).stale_while_revalidate(HOUR);
static STALE: Value<Option<u32>> =
    Value::named("stale").shared().lifetime_of(|quota: &Option<u32>| quota.map(|_| HOUR)).stale_if_error(HOUR);
static TEXT: Value<String> = Value::named("text").fresh_for(HOUR).shared();

/// A store that others could share.
#[derive(Debug, Default)]
struct Shelf(Mutex<BTreeMap<StoreKey, Bytes>>);

impl Store for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        let kept = self.0.lock().unwrap();
        StoreFuture::ready(Ok(keys.iter().map(|key| kept.get(key).cloned()).collect()))
    }

    fn put(&self, key: StoreKey, value: Bytes, _: Duration) -> StoreFuture<'_, ()> {
        self.0.lock().unwrap().insert(key, value);
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        let mut kept = self.0.lock().unwrap();
        keys.iter().for_each(|key| drop(kept.remove(key)));
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<Cursor>, _: usize) -> StoreFuture<'a, Page> {
        StoreFuture::ready(Ok(Page::default()))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

/// A cache over a store, which forgets what it has in memory.
struct Shelved {
    cache: Cache,
    clock: test_util::ManualClock,
}

impl Shelved {
    fn new() -> Self {
        let (cache, clock) = test_util::cache_with(Cache::builder().memory(1 << 20).store(Shelf::default())).unwrap();
        Self { cache, clock }
    }

    async fn forget(&self) {
        until("it is written", || self.cache.stats().writes_waiting == 0).await;
        self.cache.clear();
    }

    async fn quota(&self) -> Option<Option<u32>> {
        self.forget().await;
        self.cache.value(&QUOTA).get().await.map(|quota| *quota)
    }
}

/// A text that a cache of a megabyte has no room for.
fn too_long() -> String {
    "x".repeat(2 << 20)
}

#[tokio::test]
async fn put_it_ends_the_one_before() {
    let (cache, _) = cache();
    cache.value(&QUOTA).put(Some(5));
    assert_eq!(*cache.value(&QUOTA).put(None), None);
    assert!(cache.value(&QUOTA).get().await.is_none());
    cache.value(&QUOTA).put(Some(6));
    assert_eq!(cache.value(&QUOTA).get().await.as_deref(), Some(&Some(6)));
    let all = || cache.value(&QUOTA).get_many("id", 1..=3);
    cache.value(&QUOTA).put_many("id", [(1, Some(1)), (2, Some(2)), (3, Some(3))]);
    cache.value(&QUOTA).put_many("id", [(1, None), (2, None), (3, Some(4))]);
    assert_eq!(all().await, HashMap::from([(3, Arc::new(Some(4)))]));
    cache.value(&TEXT).put("short".to_owned());
    cache.value(&TEXT).put("x".repeat(8 << 20));
    assert!(cache.value(&TEXT).get().await.is_none(), "there is no room for it");
    idle(&cache);
}

/// As for the stores, and so for other processes.
#[tokio::test]
async fn put_it_ends_what_is_stored_too() {
    let shelved = Shelved::new();
    shelved.cache.value(&QUOTA).put(Some(5));
    assert_eq!(shelved.quota().await, Some(Some(5)), "it is in the store");
    shelved.cache.value(&QUOTA).put(None);
    assert_eq!(shelved.quota().await, None);
    let text = || shelved.cache.value(&TEXT);
    text().put("short".to_owned());
    text().put(too_long());
    shelved.forget().await;
    assert!(text().get().await.is_none());
}

/// A kind that is never kept has nothing to end: it costs no record.
#[tokio::test]
async fn what_is_never_kept_invalidates_nothing() {
    static UNKEPT: Value<u32> = Value::named("unkept").shared();
    let (cache, _) = cache();
    cache.value(&UNKEPT).put(1);
    cache.value(&UNKEPT).put_many("id", [(1, 1), (2, 2)]);
    assert_eq!(cache.stats().invalidations, 0);
}

#[tokio::test]
async fn loaded_in_the_background_it_ends_the_one_before() {
    static EAGER: Value<Option<u32>> =
        Value::named("eager").shared().lifetime_of(|quota: &Option<u32>| quota.map(|_| HOUR)).eager_refresh(0.5);
    for (value, after) in [(&QUOTA, HOUR), (&EAGER, HOUR / 2)] {
        let shelved = Shelved::new();
        let cache = &shelved.cache;
        cache.value(value).put(Some(5));
        until("it is written", || cache.stats().writes_waiting == 0).await;
        shelved.clock.advance(after);
        let load = |quota| move || async move { quota };
        let failed = cache.value(value).get_or_load(load(Err("down"))).await;
        assert_eq!(failed.as_deref(), Ok(&Some(5)));
        settle().await;
        assert!(cache.value(value).get_or_load(load(Err("down"))).await.is_ok(), "{}: it failed", value.name());
        shelved.clock.advance(31 * SECOND);
        assert!(cache.value(value).get_or_load(load(Ok(None))).await.is_ok_and(|quota| quota.is_some()));
        until("it is loaded", || cache.stats().background == 0).await;
        assert!(cache.value(value).peek().is_none(), "{}", value.name());
        assert_eq!(*cache.value(value).get_or_load(load(Ok(Some(6)))).await.unwrap(), Some(6), "{}", value.name());
        idle(cache);
    }
}

#[tokio::test]
async fn loaded_it_ends_what_is_stale() {
    let down = || async { Err::<Option<u32>, _>("down") };
    let none = |ids: Vec<u32>| async { Never::Ok(ids.into_iter().map(|id| (id, None)).collect()) };
    for many in [false, true] {
        let shelved = Shelved::new();
        let call = || shelved.cache.value(&STALE).param("id", 1);
        call().put(Some(5));
        shelved.forget().await;
        shelved.clock.advance(HOUR + MINUTE);
        assert_eq!(call().get_or_load(down).await.as_deref(), Ok(&Some(5)), "while it fails");
        shelved.clock.advance(MINUTE);
        if many {
            shelved.cache.value(&STALE).load_many("id", [1], none).await.unwrap();
        } else {
            assert_eq!(*call().get_or_load(|| async { Never::Ok(None) }).await.unwrap(), None);
        }
        shelved.forget().await;
        assert_eq!(call().get_or_load(down).await.unwrap_err(), "down", "the newer one says that there is none");
    }
}

/// A slow load that is not kept does not end what was put meanwhile.
#[tokio::test]
async fn what_is_younger_stays() {
    let shelved = Shelved::new();
    let within = shelved.cache.clone();
    let loaded = shelved.cache.value(&QUOTA).get_or_load(move || async move {
        within.value(&QUOTA).put(Some(100));
        Never::Ok(None)
    });
    assert_eq!(*loaded.await.unwrap(), None);
    assert_eq!(shelved.cache.value(&QUOTA).peek().as_deref(), Some(&Some(100)));
    assert_eq!(shelved.quota().await, Some(Some(100)));
}

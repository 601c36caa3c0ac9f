//! Stores behind the memory tier, explained: without asking them, and with a look into them.

use super::support::{App, Inner, SECOND, get, minute, parts, settle, step, verdict};
use bytes::Bytes;
use larder::{Cache, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats, test_util};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

#[derive(Clone, Debug, Default)]
struct Shelf {
    kept: Arc<Mutex<HashMap<StoreKey, Bytes>>>,
    asked: Arc<AtomicUsize>,
    broken: Arc<AtomicBool>,
}

impl Store for Shelf {
    fn name(&self) -> &str {
        "shelf"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        self.asked.fetch_add(1, SeqCst);
        if self.broken.load(SeqCst) {
            return StoreFuture::ready(Err(StoreError::Unreachable));
        }
        let kept = self.kept.lock().unwrap();
        StoreFuture::ready(Ok(keys.iter().map(|key| kept.get(key).cloned()).collect()))
    }

    fn put(&self, key: StoreKey, value: Bytes, _: Duration) -> StoreFuture<'_, ()> {
        self.kept.lock().unwrap().insert(key, value);
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        keys.iter().for_each(|key| drop(self.kept.lock().unwrap().remove(key)));
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<larder::Cursor>, _: usize) -> StoreFuture<'a, Page> {
        StoreFuture::ready(Ok(Page::default()))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

#[tokio::test]
async fn what_a_store_has_is_told_by_those_who_look() {
    let shelf = Shelf::default();
    let (cache, clock) = test_util::cache_with(Cache::builder().store(shelf.clone())).unwrap();
    let app = App::new(&cache, minute(), &Inner::with(&[("vary", "accept")]));
    let looked = || async { app.layer.explain_with_stores(&parts(get("/x", &[("accept", "a")]))).await };
    assert_eq!(step(&app.explain(get("/x", &[])), "stores"), "asked first: shelf");
    assert_eq!(shelf.asked.load(SeqCst), 0);
    assert_eq!(step(&looked().await, "stores"), "asked first: shelf: nothing");
    app.told(get("/x", &[("accept", "a")])).await;
    while cache.stats().writes_waiting > 0 {
        settle().await;
    }
    let asked = shelf.asked.load(SeqCst);
    assert_eq!(verdict(&looked().await), ("hit", None));
    assert_eq!(shelf.asked.load(SeqCst), asked, "what is fresh here is not looked for");

    cache.clear();
    clock.advance(12 * SECOND);
    let before = cache.stats();
    let why = looked().await;
    assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
    let has = "asked first: shelf: stored 12 s ago, fresh for 48 s, unless the ledger says otherwise";
    assert_eq!(step(&why, "stores"), has, "{why}");
    shelf.broken.store(true, SeqCst);
    assert_eq!(step(&looked().await, "stores"), "asked first: shelf: nothing that can be used (unreachable)");
    assert_eq!(cache.stats(), before);
    shelf.broken.store(false, SeqCst);
    let told = app.told(get("/x", &[("accept", "a")])).await;
    assert_eq!(told, "hit; policy=shop; age=12; ttl=48");

    let own = App::new(&cache, minute().memory_only(), &Inner::with(&[]));
    assert_eq!(step(&own.explain(get("/y", &[])), "stores"), "");
    let anew = App::new(&cache, minute().refetch_if(|_| true), &Inner::with(&[]));
    assert_eq!(step(&anew.explain(get("/y", &[])), "stores"), "not asked: another answer is wanted");
}

//! A store that is a table, and can be told to fail.

use bytes::Bytes;
use larder::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// The store. Its clones are the same.
#[derive(Clone, Debug, Default)]
#[allow(dead_code, reason = "not all tests that have this need all of it")]
pub(crate) struct Shelf {
    pub(crate) kept: Arc<Mutex<HashMap<StoreKey, Bytes>>>,
    /// How often it was asked for something.
    pub(crate) asked: Arc<AtomicUsize>,
    /// It cannot be asked.
    pub(crate) broken: Arc<AtomicBool>,
    /// Nothing can be removed.
    pub(crate) stuck: Arc<AtomicBool>,
    /// Where there is one, it is looked through as often as this lets.
    pub(crate) gate: Option<Arc<Semaphore>>,
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
        if self.stuck.load(SeqCst) {
            return StoreFuture::ready(Err(StoreError::Timeout));
        }
        keys.iter().for_each(|key| drop(self.kept.lock().unwrap().remove(key)));
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, _: &'a str, _: Option<Cursor>, _: usize) -> StoreFuture<'a, Page> {
        StoreFuture::boxed(async {
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            Ok(Page::default())
        })
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

//! That the contract can be held: by the plainest of stores.

use bytes::Bytes;
use larder::{Cursor, Page, Store, StoreFuture, StoreKey, StoreStats};
use larder_redis_tests::contract::check;
use std::{collections::BTreeMap, ops::Bound, sync::Mutex, time::Duration};
use tokio::time::Instant;

/// A map, with the end of each value; nothing where that is too far away to be told.
#[derive(Debug, Default)]
struct Plain(Mutex<BTreeMap<StoreKey, (Bytes, Option<Instant>)>>);

fn is_live((_, end): &(Bytes, Option<Instant>)) -> bool {
    end.is_none_or(|end| end > now())
}

#[expect(clippy::disallowed_methods, reason = "time to live is real time")]
fn now() -> Instant {
    Instant::now()
}

impl Store for Plain {
    fn name(&self) -> &str {
        "plain"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        let map = self.0.lock().unwrap();
        let find = |key| map.get(key).filter(|kept| is_live(kept)).map(|(value, _)| value.clone());
        StoreFuture::ready(Ok(keys.iter().map(find).collect()))
    }

    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        self.0.lock().unwrap().insert(key, (value, now().checked_add(ttl)));
        StoreFuture::ready(Ok(()))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        let mut map = self.0.lock().unwrap();
        for key in keys {
            map.remove(key);
        }
        StoreFuture::ready(Ok(()))
    }

    fn scan<'a>(&'a self, prefix: &'a str, from: Option<Cursor>, head: usize) -> StoreFuture<'a, Page> {
        let map = self.0.lock().unwrap();
        let from = from.and_then(|cursor| StoreKey::new(String::from_utf8(cursor.0.into_vec()).unwrap()));
        let from = from.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = Page::default();
        for (count, (key, kept)) in map.range((from, Bound::Unbounded)).enumerate() {
            if count == 100 {
                return StoreFuture::ready(Ok(page));
            }
            if key.as_str().starts_with(prefix) && is_live(kept) {
                page.found.push((key.clone(), kept.0.slice(..head.min(kept.0.len()))));
            }
            page.next = Some(Cursor(key.as_str().as_bytes().into()));
        }
        page.next = None;
        StoreFuture::ready(Ok(page))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        StoreFuture::ready(Ok(StoreStats::default()))
    }
}

#[tokio::test]
async fn a_map_holds_the_contract() {
    check(&Plain::default(), "larder:v1:").await;
}

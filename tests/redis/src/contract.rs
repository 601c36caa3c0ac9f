//! What every store promises, whichever it is.

use crate::until;
use bytes::Bytes;
use larder::{Store, StoreError, StoreKey};
use std::{collections::BTreeMap, time::Duration};

/// All of it. The store has nothing under `prefix`, and room for 8 MiB.
///
/// # Panics
///
/// If the store breaks one of its promises.
pub async fn check(store: &dyn Store, prefix: &str) {
    values_come_back(store, prefix).await;
    values_end(store, prefix).await;
    removed_is_removed(store, prefix).await;
    scans_see_all(store, prefix).await;
    what_is_special_is_not(store, prefix).await;
    assert!(store.is_available());
}

async fn values_come_back(store: &dyn Store, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    assert_eq!(store.get(&[]).await, Ok(Vec::new()));
    assert_eq!(get(store, &name("none")).await, Ok(None));
    let all_bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let large = Bytes::from(vec![7; 3 << 20]);
    for (at, value) in [("bytes", Bytes::from(all_bytes)), ("empty", Bytes::new()), ("large", large)] {
        store.put(key(name(at)), value.clone(), MINUTE).await.unwrap();
        assert_eq!(get(store, &name(at)).await, Ok(Some(value)), "{at}");
    }
    put(store, &name("a"), "one").await.unwrap();
    put(store, &name("a"), "two").await.unwrap();
    put(store, &name("b"), "three").await.unwrap();
    // In their order, also where one is missing or asked for twice.
    let keys = ["b", "none", "a", "b"].map(|at| key(name(at)));
    let values = store.get(&keys).await.unwrap();
    let values: Vec<_> = values.iter().map(|value| value.as_deref()).collect();
    assert_eq!(values, [Some(&b"three"[..]), None, Some(b"two"), Some(b"three")]);
    let longest = key(format!("{prefix}{}", "k".repeat(512 - prefix.len())));
    store.put(longest.clone(), Bytes::from_static(b"x"), MINUTE).await.unwrap();
    assert!(store.get(&[longest]).await.unwrap()[0].is_some());
}

async fn values_end(store: &dyn Store, prefix: &str) {
    let name = format!("{prefix}short");
    store.put(key(&name), Bytes::from_static(b"x"), Duration::from_millis(1)).await.unwrap();
    until("its end", async || get(store, &name).await == Ok(None)).await;
    // Longer than a server may count in nanoseconds.
    store.put(key(&name), Bytes::from_static(b"x"), Duration::MAX).await.unwrap();
    assert!(get(store, &name).await.unwrap().is_some());
}

async fn removed_is_removed(store: &dyn Store, prefix: &str) {
    let keys: Vec<StoreKey> = (0..1234).map(|number| key(format!("{prefix}gone:{number}"))).collect();
    for key in &keys {
        store.put(key.clone(), Bytes::from_static(b"x"), MINUTE).await.unwrap();
    }
    let (stays, goes) = keys.split_first().unwrap();
    store.remove(goes).await.unwrap();
    store.remove(goes).await.unwrap();
    store.remove(&[]).await.unwrap();
    assert!(store.get(goes).await.unwrap().iter().all(Option::is_none));
    assert!(store.get(std::slice::from_ref(stays)).await.unwrap()[0].is_some());
}

async fn scans_see_all(store: &dyn Store, prefix: &str) {
    let (one, other) = (format!("{prefix}scan:one:"), format!("{prefix}scan:other:"));
    for number in 0..1500 {
        put(store, &format!("{one}{number}"), &format!("{number:06}")).await.unwrap();
    }
    put(store, &other, "x").await.unwrap();
    let found = scan(store, &one, 4).await;
    assert_eq!(found.len(), 1500);
    assert_eq!(found[&key(format!("{one}1234"))], "0012");
    let found = scan(store, &one, 100).await;
    assert_eq!(found[&key(format!("{one}1234"))], "001234");
    assert!(scan(store, &one, 0).await.values().all(Bytes::is_empty));
    assert_eq!(scan(store, &format!("{prefix}scan:"), 0).await.len(), 1501);
    assert_eq!(scan(store, &format!("{prefix}none"), 0).await.len(), 0);
}

/// Letters that mean something in patterns.
async fn what_is_special_is_not(store: &dyn Store, prefix: &str) {
    for special in ["*", "?", "[a-z]", "[^x]", "\\", "{", "}", "{}"] {
        let name = format!("{prefix}{special}:key");
        put(store, &name, special).await.unwrap();
        assert_eq!(get(store, &name).await.unwrap().unwrap(), special);
        let found = scan(store, &format!("{prefix}{special}:"), 0).await;
        assert_eq!(found.keys().map(StoreKey::as_str).collect::<Vec<_>>(), [name]);
    }
}

/// All that is under keys that begin like this, with so many of its first bytes.
///
/// # Panics
///
/// If the store fails.
pub async fn scan(store: &dyn Store, prefix: &str, head: usize) -> BTreeMap<StoreKey, Bytes> {
    let mut found = BTreeMap::new();
    let mut from = None;
    loop {
        let page = store.scan(prefix, from, head).await.unwrap();
        found.extend(page.found);
        from = page.next;
        if from.is_none() {
            return found;
        }
    }
}

fn key(text: impl Into<String>) -> StoreKey {
    StoreKey::new(text.into()).unwrap()
}

async fn get(store: &dyn Store, name: &str) -> Result<Option<Bytes>, StoreError> {
    store.get(&[key(name)]).await.map(|mut values| values.pop().unwrap())
}

async fn put(store: &dyn Store, name: &str, value: &str) -> Result<(), StoreError> {
    store.put(key(name), Bytes::copy_from_slice(value.as_bytes()), MINUTE).await
}

const MINUTE: Duration = Duration::from_secs(60);

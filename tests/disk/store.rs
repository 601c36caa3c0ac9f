//! The store alone.

use crate::support::{MINUTE, Scratch, closed, get, key, put};
use bytes::Bytes;
use larder::{Disk, StoreError};
use larder_redis_tests::{contract, until};
use std::{fs, sync::Arc, time::Duration};

#[tokio::test]
async fn it_holds_the_contract() {
    let scratch = Scratch::new();
    let store = scratch.store().await;
    contract::check(&*store, "larder:v1:").await;
    assert_eq!(store.name(), "disk");
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.limit, stats.evicted), (Some(1 << 30), Some(0)));
    assert!(stats.entries.unwrap() > 1500);
    assert_eq!(store.last_stats(), Some(stats));
}

#[tokio::test]
async fn no_more_is_kept_than_may_be() {
    let scratch = Scratch::new();
    let store = scratch.store_of(scratch.disk().bytes(4 << 20)).await;
    put(&*store, "used", "x").await.unwrap();
    for number in 0..2000 {
        put(&*store, &format!("key:{number}"), vec![7; 5000 + number]).await.unwrap();
        if number % 50 == 0 {
            assert_eq!(get(&*store, "used").await.unwrap().unwrap(), "x", "what is asked for stays");
            let size = |name: &str| fs::metadata(scratch.0.join(name)).unwrap().len();
            let (values, waiting) = (size("larder-values.sqlite"), size("larder-values.sqlite-wal"));
            assert!(values <= 4 << 20 && waiting <= 2 << 20, "{values} {waiting}");
        }
    }
    let stats = store.stats().await.unwrap();
    assert!(stats.bytes.unwrap() <= 4 << 20 && stats.evicted.unwrap() > 1000, "{stats:?}");
    assert!(stats.entries.unwrap() > 400, "{stats:?}");
    assert!(get(&*store, "key:1999").await.unwrap().is_some());
    assert!(get(&*store, "key:0").await.unwrap().is_none());
    // Too large to be kept, and not in the way of others.
    put(&*store, "huge", vec![7; (2 << 20) + 1]).await.unwrap();
    assert!(get(&*store, "huge").await.unwrap().is_none());
    assert!(get(&*store, "key:1999").await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_written_again_and_again_does_not_push_others_out() {
    let scratch = Scratch::new();
    let store = scratch.store_of(scratch.disk().bytes(4 << 20)).await;
    for number in 0..50 {
        put(&*store, &format!("stays:{number}"), vec![7; 1000]).await.unwrap();
    }
    for number in 0..5000 {
        put(&*store, &format!("again:{}", number % 10), vec![7; 5000]).await.unwrap();
    }
    for number in 0..50 {
        assert!(get(&*store, &format!("stays:{number}")).await.unwrap().is_some(), "{number}");
    }
    assert_eq!(store.stats().await.unwrap().entries, Some(60));
}

#[tokio::test]
async fn it_is_found_again_and_what_was_replaced_or_removed_is_not() {
    let scratch = Scratch::new();
    let store = scratch.store().await;
    for value in ["one", "two"] {
        put(&*store, "replaced", value).await.unwrap();
    }
    put(&*store, "removed", "x").await.unwrap();
    assert_eq!(store.kept_for(), Some(Duration::ZERO));
    store.remove(&[key("removed")]).await.unwrap();
    store.put(key("short"), Bytes::from("x"), Duration::from_millis(1)).await.unwrap();
    drop(store);
    closed(&scratch).await;
    let store = scratch.store().await;
    assert_eq!(store.kept_for(), Some(MINUTE), "so long it is remembered what is invalidated");
    assert_eq!(get(&*store, "replaced").await.unwrap().unwrap(), "two");
    assert_eq!(get(&*store, "removed").await.unwrap(), None);
    until("its end", async || get(&*store, "short").await == Ok(None)).await;
}

#[tokio::test]
async fn a_lower_limit_makes_the_file_smaller() {
    let scratch = Scratch::new();
    let store = scratch.store().await;
    for number in 0..200 {
        put(&*store, &format!("key:{number}"), vec![7; 50_000]).await.unwrap();
    }
    drop(store);
    closed(&scratch).await;
    let size = || fs::metadata(scratch.0.join("larder-values.sqlite")).unwrap().len();
    assert!(size() > 10_000_000);
    let store = scratch.store_of(scratch.disk().bytes(2 << 20)).await;
    for number in 0..20 {
        put(&*store, &format!("key:{number}"), "x").await.unwrap();
    }
    drop(store);
    closed(&scratch).await;
    assert!(size() <= 2 << 20, "{}", size());
}

/// Somebody who says nothing of it, a tool in the same process for example, does not change it.
#[tokio::test]
async fn a_limit_stays_until_another_is_given() {
    let scratch = Scratch::new();
    let store = scratch.store_of(scratch.disk().bytes(2 << 30)).await;
    let limit = async || store.stats().await.unwrap().limit;
    let other = scratch.store().await;
    assert_eq!(limit().await, Some(2 << 30));
    drop(scratch.disk().bytes(4 << 20).store().unwrap());
    assert_eq!((limit().await, other.stats().await.unwrap().limit), (Some(4 << 20), Some(4 << 20)));
}

#[tokio::test]
async fn many_ask_at_once() {
    let scratch = Scratch::new();
    let store = scratch.store().await;
    let tasks = (0..50).map(|task| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0_usize..40 {
                let (name, value) = (format!("{}", number % 10), vec![task; 3000 * (number + 1)]);
                store.put(key(&name), Bytes::from(value), MINUTE).await.unwrap();
                let found = get(&*store, &name).await.unwrap().unwrap();
                assert!(found.iter().all(|byte| *byte == found[0]), "no value is half of one and half of another");
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert_eq!(store.stats().await.unwrap().entries, Some(10));
}

#[tokio::test]
async fn what_cannot_be_is_said() {
    let says = |disk: Disk| disk.store().unwrap_err().to_string();
    assert!(says(Disk::open("")).starts_with("Disk::open(\"\"): this is no path of a folder"));
    assert_eq!(says(Disk::open("/x").bytes(5)), "Disk::open(\"/x\"): bytes(5): between 1 MiB and 2^50 are possible");
    assert!(says(Disk::open("a\0b")).contains("zero byte"));
    assert!(says(Disk::open("/x").budget(Duration::ZERO)).contains("budget(0ns): 1 ms to 60 s"));
    let scratch = Scratch::new();
    fs::write(&scratch.0, "a file").unwrap();
    let text = scratch.disk().ready(MINUTE).await.unwrap_err().to_string();
    assert!(text.contains(scratch.0.to_str().unwrap()), "{text}");
    let store = scratch.disk().store().unwrap();
    assert_eq!(get(&*store, "a").await, Err(StoreError::Unreachable));
    fs::remove_file(&scratch.0).unwrap();
}

#[tokio::test]
async fn nothing_is_done_before_it_is_used() {
    let scratch = Scratch::new();
    let store = scratch.disk().store().unwrap();
    let cache = larder::Cache::builder().disk(scratch.disk()).build().unwrap();
    assert!(!scratch.0.exists());
    drop(cache);
    // To ask is enough.
    assert!(!store.is_available());
    until("it is open", async || store.is_available()).await;
    assert!(scratch.0.exists());
}

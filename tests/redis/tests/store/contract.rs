//! What every store promises, over Redis.

use crate::support::{get, key, patient, put, ready};
use bytes::Bytes;
use larder_redis_tests::{
    Server,
    contract::{check, scan},
};

#[tokio::test]
async fn one_server_holds_the_contract() {
    let server = Server::standalone().await;
    let redis = patient(&server.url());
    let store = ready(&redis).await;
    check(&*store, "larder:v1:").await;
    assert_eq!(store.name(), "redis");
}

#[tokio::test]
async fn what_belongs_to_others_stays_and_is_not_seen() {
    let server = Server::standalone().await;
    server.cli(&["SET", "others", "x"]).await;
    server.cli(&["LPUSH", "larder:list", "x"]).await;
    server.cli(&["SET", "larder:one", "hello"]).await;
    server.cli(&["SET", "larder:with blank", "hello"]).await;
    let redis = patient(&server.url());
    let store = ready(&redis).await;
    // Of another type: not ours, and no failure.
    assert_eq!(get(&*store, "larder:list").await, Ok(None));
    let values = store.get(&[key("larder:list"), key("larder:one")]).await.unwrap();
    assert_eq!(values, [None, Some(Bytes::from_static(b"hello"))]);
    let found = scan(&*store, "larder:", 3).await;
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [(key("larder:one"), Bytes::from_static(b"hel"))]);
    store.remove(&[key("larder:one")]).await.unwrap();
    assert_eq!(server.cli(&["DBSIZE"]).await, "3");
}

#[tokio::test]
async fn it_tells_what_the_server_holds() {
    let server = Server::options().maxmemory("100mb", "volatile-lfu").start().await;
    let redis = patient(&server.url());
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    put(&*store, "b", "x").await.unwrap();
    let stats = store.stats().await.unwrap();
    assert_eq!((stats.entries, stats.limit, stats.evicted), (Some(2), Some(100 << 20), Some(0)));
    assert!(stats.bytes.unwrap() > 100_000);
}

#[tokio::test]
async fn only_commands_that_are_bounded_are_used() {
    let server = Server::standalone().await;
    let redis = patient(&server.url());
    let store = ready(&redis).await;
    check(&*store, "larder:v1:").await;
    store.stats().await.unwrap();
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let used: Vec<_> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        // The kit's own.
        .filter(|name| !matches!(*name, "config|set" | "client|list" | "hello" | "command" | "auth"))
        .collect();
    for name in &used {
        let known = ["get", "mget", "set", "unlink", "scan", "getrange", "ping", "info", "dbsize", "select"];
        assert!(known.contains(name), "{used:?}");
    }
}

//! What others in the crate need of it. What the store promises is tested in `tests/redis`.

use super::{Redis, link::Script, run::Deadline};
use crate::{StoreError, StoreKey, config_error::ConfigError};
use larder_redis_tests::{Cluster, Proxy, Server, until};
use redis::{Cmd, Value, cmd};
use std::{sync::Arc, time::Duration};

#[test]
fn what_cannot_be_meant_is_named() {
    let of = |redis: Redis| redis.store().unwrap_err().to_string();
    let redis = || Redis::open("redis://localhost").unwrap();
    for (redis, says) in [
        (redis().budget(Duration::ZERO), "budget(0ns): 1 ms"),
        (redis().connections(0), "connections(0)"),
        (redis().queue(0, 1), "queue(0, 1)"),
        (redis().breaker(0, Duration::from_secs(1)), "breaker(0, 1s)"),
        (redis().breaker(1, Duration::ZERO), "breaker(1, 0ns)"),
        (redis().sample_every(Duration::ZERO), "sample_every(0ns)"),
        (Redis::cluster(["redis://localhost"]).unwrap().database(1), "database(1)"),
    ] {
        let text = of(redis);
        assert!(text.contains(says), "{text:?} should say {says:?}");
    }
    assert!(redis().budget(Duration::from_millis(1)).store().is_ok());
    let of = |result: Result<Redis, ConfigError>| result.unwrap_err().to_string();
    assert!(of(Redis::cluster([""; 0])).contains("at least one URL"));
    assert!(of(Redis::cluster(["redis://a/2"])).contains("database 2"));
    assert!(of(Redis::cluster(["redis+unix:///run/x"])).contains("/run/x"));
    assert!(of(Redis::sentinel(["redis://a:26379"], "")).contains("mymaster"));
}

#[test]
fn secrets_are_not_shown() {
    let redis = Redis::open("redis://me:hunter2@localhost").unwrap();
    assert!(!format!("{redis:?}").contains("hunter2"));
    let redis = Redis::sentinel(["redis://me:hunter2@localhost:26379"], "group").unwrap().password("hunter2");
    assert!(!format!("{redis:?}").contains("hunter2"), "{redis:?}");
    assert!(!format!("{:?}", redis.link().unwrap()).contains("hunter2"));
}

#[test]
fn clones_share_connections_until_they_differ() {
    let redis = Redis::open("redis://localhost").unwrap();
    let clone = redis.clone();
    assert!(Arc::ptr_eq(&redis.link().unwrap(), &clone.link().unwrap()));
    let other = clone.budget(Duration::from_millis(10));
    assert!(!Arc::ptr_eq(&redis.link().unwrap(), &other.link().unwrap()));
}

#[tokio::test]
async fn without_a_server_everything_fails_at_once() {
    // Nobody listens there: the port is taken, and refuses.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let store = Redis::open(format!("redis://127.0.0.1:{port}")).unwrap().store().unwrap();
    let key = StoreKey::new("key").unwrap();
    assert_eq!(store.get(std::slice::from_ref(&key)).await, Err(StoreError::Unreachable));
    assert_eq!(store.remove(&[key]).await, Err(StoreError::Unreachable));
    assert!(!store.is_available());
}

async fn ready(redis: Redis) -> Arc<super::Link> {
    let redis = redis.budget(SOON);
    redis.ready(Duration::from_secs(20)).await.unwrap();
    redis.link().unwrap()
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

#[tokio::test]
async fn scripts_are_sent_once_and_again_after_a_restart() {
    let mut server = Server::standalone().await;
    let link = ready(Redis::open(server.url()).unwrap()).await;
    let script = Script::new("redis.call('SET', KEYS[1], ARGV[1]) return redis.call('GET', KEYS[1])");
    let run = async |value: &str| link.script(&script, &["key"], &[value.as_bytes()], Deadline::within(SOON)).await;
    assert_eq!(text(&run("one").await.unwrap()), "one");
    assert_eq!(text(&run("two").await.unwrap()), "two");
    let calls = server.cli(&["INFO", "commandstats"]).await;
    assert!(calls.contains("cmdstat_eval:calls=1,") && calls.contains("cmdstat_evalsha:calls=2,"), "{calls}");
    server.stop();
    server.start().await;
    until("the script again", async || run("three").await.is_ok()).await;
}

#[tokio::test]
async fn a_dedicated_connection_blocks_nobody() {
    let server = Server::standalone().await;
    let link = ready(Redis::open(server.url()).unwrap().connections(1)).await;
    let mut reader = link.dedicated("log").await.unwrap();
    let reading = tokio::spawn(async move {
        let value = reader.run(&command(&["XREAD", "BLOCK", "0", "STREAMS", "log", "$"])).await;
        (value, reader)
    });
    until("a reader", async || server.info("blocked_clients").await.as_deref() == Some("1")).await;
    let add = command(&["XADD", "log", "*", "field", "value"]);
    let id = text(&link.run("log", &add, false, SOON).await.unwrap());
    let (read, mut reader) = reading.await.unwrap();
    assert!(format!("{:?}", read.unwrap()).contains(&id));
    // It has no limit but the one that is given.
    let wait = command(&["XREAD", "BLOCK", "0", "STREAMS", "log", "$"]);
    assert_eq!(reader.run_within(&wait, Duration::from_millis(100)).await, Err(StoreError::Timeout));
    drop(reader);
    until("the end of the reader", async || server.info("blocked_clients").await.as_deref() == Some("0")).await;
}

#[tokio::test]
async fn a_broken_dedicated_connection_tells() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let link = ready(Redis::open(proxy.url()).unwrap()).await;
    let mut reader = link.dedicated("log").await.unwrap();
    let reading =
        tokio::spawn(async move { reader.run(&command(&["XREAD", "BLOCK", "0", "STREAMS", "log", "$"])).await });
    until("a reader", async || server.info("blocked_clients").await.as_deref() == Some("1")).await;
    proxy.cut(larder_redis_tests::Close::Rst).await;
    assert_eq!(reading.await.unwrap(), Err(StoreError::Unreachable));
    assert!(link.dedicated("log").await.is_ok());
}

#[tokio::test]
async fn in_a_cluster_the_owner_of_the_key_is_asked() {
    let cluster = Cluster::start().await;
    let link = ready(Redis::cluster(cluster.nodes()).unwrap()).await;
    let script = Script::new("return redis.call('SET', KEYS[1], ARGV[1])");
    for key in ["a", "b", "c", "d", "e"] {
        let mut reader = link.dedicated(key).await.unwrap();
        reader.run(&command(&["XADD", key, "*", "field", "value"])).await.unwrap();
        link.script(&script, &[&format!("{{{key}}}:other")], &[b"x"], Deadline::within(SOON)).await.unwrap();
    }
}

#[tokio::test]
async fn after_shut_down_nothing_is_left() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let redis = Redis::open(proxy.url()).unwrap().budget(SOON);
    let link = ready(redis.clone()).await;
    link.shut_down();
    until("the end of its connections", async || proxy.counts().open == 0).await;
    let ever = proxy.counts().ever;
    assert!(!link.is_available());
    assert_eq!(link.run("key", &command(&["GET", "key"]), true, SOON).await, Err(StoreError::Unreachable));
    assert_eq!(link.dedicated("key").await.err(), Some(StoreError::Unreachable));
    assert_eq!(proxy.counts().ever, ever);
}

const SOON: Duration = Duration::from_secs(10);

//! A Cluster.

use larder_redis_tests::{Cluster, Server, until};
use redis::{cluster::ClusterClientBuilder, cluster_async::ClusterConnection};
use std::time::Duration;

async fn connect(cluster: &Cluster) -> ClusterConnection {
    let limit = Duration::from_secs(20);
    let client = ClusterClientBuilder::new(cluster.nodes()).connection_timeout(limit).response_timeout(limit).build();
    client.unwrap().get_async_connection().await.unwrap()
}

async fn set(connection: &mut ClusterConnection, key: &str, value: &str) -> redis::RedisResult<String> {
    redis::cmd("SET").arg(key).arg(value).query_async(connection).await
}

async fn get(connection: &mut ClusterConnection, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(connection).await.unwrap()
}

#[tokio::test]
async fn three_masters_share_the_slots() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.nodes().len(), 3);
    let mut connection = connect(&cluster).await;
    for number in 0..100 {
        set(&mut connection, &format!("key-{number}"), "1").await.unwrap();
    }
    let mut keys = 0;
    for shard in 0..3 {
        let size: usize = cluster.master(shard).cli(&["DBSIZE"]).await.parse().unwrap();
        assert!(size > 10, "{size}");
        keys += size;
    }
    assert_eq!(keys, 100);
}

#[tokio::test]
async fn a_slot_moves() {
    let cluster = Cluster::start().await;
    let slot = cluster.slot_of("{a}1").await;
    let from = cluster.owner(slot).await;
    let to = (from + 1) % 3;
    let (source, target) = (cluster.master(from), cluster.master(to));
    let mut connection = connect(&cluster).await;
    set(&mut connection, "{a}1", "1").await.unwrap();
    let moved = format!("MOVED {slot} 127.0.0.1:{}", source.port());
    assert_eq!(target.try_cli(&["GET", "{a}1"]).await, Err(moved));

    cluster.begin_move(slot, to).await;
    assert_eq!(source.cli(&["GET", "{a}1"]).await, "1");
    let ask = format!("ASK {slot} 127.0.0.1:{}", target.port());
    assert_eq!(source.try_cli(&["GET", "{a}2"]).await, Err(ask));
    set(&mut connection, "{a}2", "2").await.unwrap();

    cluster.finish_move(slot, to).await;
    assert_eq!(cluster.owner(slot).await, to);
    let moved = format!("MOVED {slot} 127.0.0.1:{}", target.port());
    assert_eq!(source.try_cli(&["GET", "{a}1"]).await, Err(moved));
    assert_eq!(target.cli(&["MGET", "{a}1", "{a}2"]).await, "1\n2");
    assert_eq!(get(&mut connection, "{a}1").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn replicas_take_over() {
    let mut cluster = Cluster::with_replicas().await;
    assert_eq!(cluster.nodes().len(), 6);
    let mut connection = connect(&cluster).await;
    let slot = cluster.slot_of("a").await;
    let shard = cluster.owner(slot).await;
    set(&mut connection, "a", "1").await.unwrap();

    let first = cluster.master(shard).port();
    cluster.promote(shard).await;
    let second = cluster.master(shard).port();
    assert_ne!(first, second);
    assert_eq!(cluster.replica(shard).map(Server::port), Some(first));
    assert_eq!(cluster.owner(slot).await, shard);
    assert_eq!(get(&mut connection, "a").await.as_deref(), Some("1"));

    cluster.kill_master(shard).await;
    assert_eq!(cluster.master(shard).port(), first);
    assert_eq!(cluster.nodes().len(), 5);
    assert_eq!(cluster.master(shard).cli(&["GET", "a"]).await, "1");
    // Not a matter of the kit how often the client has to try.
    let mut connection = connect(&cluster).await;
    until("a write after the failover", async || set(&mut connection.clone(), "a", "2").await.is_ok()).await;

    cluster.revive(shard).await;
    assert_eq!(cluster.nodes().len(), 6);
    assert_eq!(cluster.replica(shard).map(Server::port), Some(second));
    assert_eq!(get(&mut connection, "a").await.as_deref(), Some("2"));
}

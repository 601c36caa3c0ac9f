//! Sentinels.

use crate::server::patient;
use larder_redis_tests::{Sentinel, Server, until};
use redis::sentinel::{SentinelClient, SentinelNodeConnectionInfo, SentinelServerType};

/// Increments through a new connection to whom the Sentinels name.
async fn increment(sentinel: &Sentinel, node: Option<SentinelNodeConnectionInfo>) -> redis::RedisResult<u32> {
    let mut client = SentinelClient::build(sentinel.urls(), Sentinel::NAME, node, SentinelServerType::Master)?;
    let mut connection = client.get_async_connection_with_config(&patient()).await?;
    redis::cmd("INCR").arg("a").query_async(&mut connection).await
}

#[tokio::test]
async fn sentinels_fail_over() {
    let mut sentinel = Sentinel::start().await;
    assert_eq!(sentinel.urls().len(), 3);
    let (first, second) = (sentinel.master().port(), sentinel.replica().port());
    assert_eq!(increment(&sentinel, None).await.unwrap(), 1);

    until("a replica with all", async || sentinel.replica().cli(&["GET", "a"]).await == "1").await;
    sentinel.failover().await;
    assert_eq!((sentinel.master().port(), sentinel.replica().port()), (second, first));
    assert!(sentinel.replica().try_cli(&["INCR", "a"]).await.unwrap_err().contains("READONLY"));
    assert_eq!(increment(&sentinel, None).await.unwrap(), 2);

    until("a replica with all", async || sentinel.replica().cli(&["GET", "a"]).await == "2").await;
    sentinel.kill_master().await;
    assert_eq!(sentinel.master().port(), first);
    assert!(!sentinel.replica().is_running());
    assert_eq!(increment(&sentinel, None).await.unwrap(), 3);

    sentinel.revive().await;
    assert_eq!(sentinel.replica().role().await.as_deref(), Some("slave"));
    assert_eq!(sentinel.replica().cli(&["GET", "a"]).await, "3");
}

#[tokio::test]
async fn sentinels_watch_servers_with_a_password() {
    let sentinel = Sentinel::with(Server::options().password("top")).await;
    let settings = redis::RedisConnectionInfo::default().set_password("top");
    let node = SentinelNodeConnectionInfo::default().set_redis_connection_info(settings);
    assert_eq!(increment(&sentinel, Some(node)).await.unwrap(), 1);
    assert!(increment(&sentinel, None).await.is_err());
}

//! What nodes leave to each other, and to those that are started later: their history, and what was asked for most.

use crate::support::{HOUR, Node, Setup, patient};
use larder::{Cache, HistorySpan, Policy, Redis, WarmSource, Warmer};
use larder_redis_tests::{Cluster, Server};
use std::time::Duration;

fn week(cache: &Cache) -> u64 {
    cache.history(HistorySpan::Week).iter().map(|sample| sample.hits).sum()
}

async fn hottest(cache: &Cache) -> Vec<String> {
    let plan = Warmer::new().category("hottest", 0, WarmSource::hottest(cache, 9)).dry_run().await;
    plan.into_iter().map(|item| item.target.or(item.mistake).unwrap()).collect()
}

async fn ask(node: &Node, path: &str, hits: usize) {
    for _ in 0..=hits {
        node.get(path).await;
    }
}

async fn left_to_others(redis: Redis) {
    let setup = Setup::over(redis, Policy::fresh_for(HOUR));
    let (a, b) = setup.two().await;
    ask(&a, "/a", 5).await;
    a.written().await;
    ask(&b, "/b", 3).await;
    a.cache.shutdown(Duration::from_secs(5)).await;
    b.cache.shutdown(Duration::from_secs(5)).await;

    let c = setup.start().await;
    assert_eq!(hottest(&c.cache).await, ["/a", "/b"]);
    assert_eq!(week(&c.cache), 8);
    assert!(c.tier().reasons.is_empty(), "{:?}", c.tier());
}

#[tokio::test]
async fn history_is_left_to_others() {
    let server = Server::standalone().await;
    left_to_others(patient(server.url())).await;
    for name in ["history", "hottest"] {
        let left: u64 = server.cli(&["TTL", &format!("larder:larder:{name}")]).await.parse().unwrap();
        assert!((691_000..=691_200).contains(&left), "{name}: {left} s of eight days");
    }
}

#[tokio::test]
async fn history_is_left_to_others_in_a_cluster() {
    let cluster = Cluster::start().await;
    left_to_others(Redis::cluster(cluster.nodes()).unwrap().budget(Duration::from_secs(2))).await;
}

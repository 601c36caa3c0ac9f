//! A cluster: nodes that own parts, change, and die.

use crate::support::{get, in_time, key, millis, put, ready, secs};
use larder::{Redis, Store, StoreError, StoreKey};
use larder_redis_tests::{
    Certificates, Cluster, Options, Server,
    contract::{check, scan},
    until,
};
use std::{fs, sync::Arc};

async fn store(cluster: &Cluster) -> Arc<dyn Store> {
    ready(&Redis::cluster(cluster.nodes()).unwrap().budget(secs(5))).await
}

#[tokio::test]
async fn a_cluster_holds_the_contract() {
    let cluster = Cluster::start().await;
    // One node is enough to find the others.
    let redis = Redis::cluster([cluster.master(1).url()]).unwrap().budget(secs(5));
    let store = ready(&redis).await;
    check(&*store, "larder:v1:").await;
    let stats = store.stats().await.unwrap();
    let mut entries = 0;
    for shard in 0..3 {
        let there: u64 = cluster.master(shard).cli(&["DBSIZE"]).await.parse().unwrap();
        assert!(there > 100, "all slots are used");
        entries += there;
    }
    assert_eq!(stats.entries, Some(entries));
}

#[tokio::test]
async fn o_36_slots_that_move() {
    let cluster = Cluster::start().await;
    let store = store(&cluster).await;
    let names: Vec<String> = (0..50).map(|number| format!("{{moving}}:{number}")).collect();
    for name in &names[..40] {
        put(&*store, name, name).await.unwrap();
    }
    let slot = cluster.slot_of(&names[0]).await;
    let to = (cluster.owner(slot).await + 1) % 3;
    // Between two nodes: what has gone is asked for there, by ASK.
    cluster.begin_move(slot, to).await;
    for name in &names[40..] {
        put(&*store, name, name).await.unwrap();
    }
    for name in &names {
        assert_eq!(get(&*store, name).await.unwrap().as_deref(), Some(name.as_bytes()));
    }
    cluster.finish_move(slot, to).await;
    for name in &names {
        assert_eq!(get(&*store, name).await.unwrap().as_deref(), Some(name.as_bytes()));
    }
    let keys: Vec<StoreKey> = names.iter().chain([&"elsewhere".to_owned()]).map(key).collect();
    assert_eq!(store.get(&keys).await.unwrap().iter().flatten().count(), 50);
    assert_eq!(scan(&*store, "{moving}:", 100).await.len(), 50);
    store.remove(&keys).await.unwrap();
    assert_eq!(scan(&*store, "{moving}:", 0).await.len(), 0);
}

#[tokio::test]
async fn o_36_replicas_that_are_promoted_under_load() {
    let mut cluster = Cluster::with_replicas().await;
    let store = store(&cluster).await;
    let load = {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for number in 0_u64.. {
                let name = format!("k:{}", number % 1000);
                let _ = put(&*store, &name, &name).await;
                if let Ok(Some(value)) = get(&*store, &name).await {
                    assert_eq!(value, name);
                }
                tokio::task::yield_now().await;
            }
        })
    };
    for shard in 0..3 {
        cluster.promote(shard).await;
        all_work(&*store).await;
    }
    assert!(!load.is_finished());
    load.abort();
}

async fn all_work(store: &dyn Store) {
    for number in 0..100 {
        let name = format!("k:{number}");
        until("a write to each part", async || put(store, &name, &name).await.is_ok()).await;
    }
}

#[tokio::test]
async fn a_dead_master_stops_only_its_own_part() {
    let mut cluster = Cluster::with_replicas().await;
    let budget = millis(200);
    let redis = Redis::cluster(cluster.nodes()).unwrap().budget(budget);
    let store = ready(&redis).await;
    let mut names: Vec<Vec<String>> = vec![Vec::new(); 3];
    for number in 0..60 {
        let name = format!("k:{number}");
        put(&*store, &name, "x").await.unwrap();
        names[cluster.owner(cluster.slot_of(&name).await).await].push(name);
    }
    let paused = cluster.master(0);
    paused.pause().await;
    // Not yet replaced: its keys fail within the budget, those of the others are there.
    let mut failed = 0;
    for (lost, there) in names[0].iter().zip(&names[1]).take(4) {
        failed += usize::from(in_time(budget, get(&*store, lost)).await.is_err());
        in_time(budget, get(&*store, there)).await.unwrap().unwrap();
        let values = in_time(budget, store.get(&[key(lost), key(there)])).await.unwrap();
        assert!(values[0].is_none() && values[1].is_some());
    }
    assert_eq!(failed, 4);
    assert!(store.is_available());
    paused.resume().await;
    all_work(&*store).await;
    cluster.kill_master(0).await;
    all_work(&*store).await;
}

#[tokio::test]
async fn a_cluster_that_comes_later() {
    let url = {
        let server = Server::standalone().await;
        server.url()
    };
    let store = Redis::cluster([&url]).unwrap().store().unwrap();
    for _ in 0..100 {
        assert_eq!(get(&*store, "a").await, Err(StoreError::Unreachable));
    }
    assert!(!store.is_available());
    // A server that is no cluster.
    let server = Server::standalone().await;
    let redis = Redis::cluster([server.url()]).unwrap();
    assert_eq!(redis.ready(millis(500)).await, Err(StoreError::Unreachable));
}

#[tokio::test]
async fn clusters_with_tls() {
    let certificates = Certificates::new();
    let cluster = Cluster::with(Options::default().tls(&certificates), false).await;
    let ca = fs::read(certificates.ca()).unwrap();
    let redis = Redis::cluster([cluster.master(0).url()]).unwrap().budget(secs(5)).tls_ca(ca);
    let store = ready(&redis).await;
    all_work(&*store).await;
}

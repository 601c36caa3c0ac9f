//! Failover and resharding, with stores and purges throughout.

use crate::support::{Node, Setup, now, patient, secs, tagged};
use http::Request;
use larder::{Redis, Selector};
use larder_redis_tests::{Cluster, Sentinel, Server, until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::task::JoinHandle;

/// The default, half of which is waited for what does not come.
const BOUND: Duration = Duration::from_secs(5);

/// Stores and purges, on two nodes, until it is stopped. Each purge holds at once where it was made; what is acknowledged
/// holds on the other within the bound while all are connected.
struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<(u64, u64)>,
}

impl Traffic {
    fn start(a: &Node, b: &Node) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, nodes) = (Arc::clone(&stop), [a.clone(), b.clone()]);
        let task = tokio::spawn(async move {
            let (mut confirmed, mut unconfirmed) = (0, 0);
            let mut round = 0;
            while !stopped.load(SeqCst) {
                round += 1;
                let (one, other) = (&nodes[round % 2], &nodes[(round + 1) % 2]);
                let path = format!("/t{}", round % 7);
                let before = one.get(&path).await;
                other.get(&path).await;
                match one.cache.invalidate(Selector::tag(&path[1..])).await {
                    Ok(_) => confirmed += 1,
                    Err(error) => {
                        assert!(error.is_unconfirmed(), "{error}");
                        unconfirmed += 1;
                    }
                }
                assert_ne!(one.get(&path).await, before, "its own purge");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            (confirmed, unconfirmed)
        });
        Self { stop, task }
    }

    /// How many purges were confirmed, and how many were not.
    async fn end(self) -> (u64, u64) {
        self.stop.store(true, SeqCst);
        self.task.await.unwrap()
    }
}

/// What one stores the other finds, and what one invalidates the other does not serve, within the bound.
async fn recovers(a: &Node, b: &Node, within: Duration) {
    let start = now();
    for (one, other) in [(a, b), (b, a)] {
        until("writes go again", async || one.cache.invalidate(Selector::tag("x")).await.is_ok()).await;
        let first = one.share(other, "/x").await;
        one.cache.invalidate(Selector::tag("x")).await.unwrap();
        let purged = now();
        other.forgets("/x", &first).await;
        assert!(now() - purged < BOUND);
    }
    until("nothing waits", async || a.log().waiting + b.log().waiting == 0).await;
    let took = now() - start;
    assert!(took < within, "it took {took:?}");
}

/// (a) The primary is demoted, the connection stays, and it answers `READONLY`.
#[tokio::test]
async fn o_36_readonly() {
    let mut group = Sentinel::start().await;
    let redis = Redis::sentinel(group.urls(), Sentinel::NAME).unwrap().budget(secs(1));
    let (a, b) = Setup::over(redis, tagged()).two().await;
    recovers(&a, &b, secs(10)).await;
    let traffic = Traffic::start(&a, &b);
    for _ in 0..2 {
        group.failover().await;
        recovers(&a, &b, secs(20)).await;
    }
    let (confirmed, unconfirmed) = traffic.end().await;
    assert!(confirmed > 0 && unconfirmed < confirmed + 50, "{confirmed} {unconfirmed}");
}

/// (c) A failover that loses the last writes: a purge that was acknowledged and then lost holds all the same, for those who
/// knew of it and for those who start afterwards.
#[tokio::test]
async fn o_36_a_failover_that_loses_a_purge() {
    for _ in 0..5 {
        if a_purge_is_lost().await {
            return;
        }
    }
    panic!("the Sentinels mended it each time");
}

/// False if the Sentinels were quicker, and have had the replica begin anew.
async fn a_purge_is_lost() -> bool {
    let mut group = Sentinel::start().await;
    let redis = Redis::sentinel(group.urls(), Sentinel::NAME).unwrap().budget(secs(1));
    let setup = Setup::over(redis, tagged());
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    // A first record, which the replica has.
    a.cache.invalidate(Selector::tag("other")).await.unwrap();
    group.replica().in_sync().await;
    until("the replica has it", async || group.replica().cli(&["EXISTS", LOG]).await == "1").await;
    let last = group.master().cli(&["INFO", "replication"]).await;
    assert!(last.contains("connected_slaves:1"));
    // The replica hears no more of the master, and would not tell.
    group.replica().cli(&["REPLICAOF", "127.0.0.1", "1"]).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    let second = a.store("/x").await;
    assert_eq!(b.forgets("/x", &first).await, second);
    // Without its master it is the only one there is.
    group.replica().cli(&["REPLICAOF", "NO", "ONE"]).await;
    if group.replica().cli(&["EXISTS", LOG]).await != "1" {
        return false;
    }
    group.kill_master().await;
    let start = now();
    for node in [&a, &b] {
        until("a new epoch", async || node.log().gaps > 0).await;
        assert_ne!(node.get("/x").await, first);
    }
    assert!(now() - start < secs(20));
    let c = setup.start().await;
    assert_ne!(c.get("/x").await, first, "the purge was lost: {:?}", c.cache.stats());
    recovers(&a, &b, secs(20)).await;
    true
}

/// The primary dies under load.
#[tokio::test]
async fn o_36_a_primary_that_dies() {
    let mut group = Sentinel::start().await;
    let redis = Redis::sentinel(group.urls(), Sentinel::NAME).unwrap().budget(secs(1));
    let (a, b) = Setup::over(redis, tagged()).two().await;
    let traffic = Traffic::start(&a, &b);
    group.kill_master().await;
    recovers(&a, &b, secs(20)).await;
    group.revive().await;
    recovers(&a, &b, secs(20)).await;
    traffic.end().await;
}

/// A replica of a cluster takes over, in agreement and after a death, for the shard of the log and for another.
#[tokio::test]
async fn o_36_a_cluster_whose_replicas_are_promoted() {
    let mut cluster = Cluster::with_replicas().await;
    let redis = Redis::cluster(cluster.nodes()).unwrap().budget(secs(1));
    let (a, b) = Setup::over(redis, tagged()).two().await;
    recovers(&a, &b, secs(10)).await;
    let shard = cluster.owner(cluster.slot_of(LOG).await).await;
    let traffic = Traffic::start(&a, &b);
    cluster.promote(shard).await;
    recovers(&a, &b, secs(20)).await;
    cluster.promote((shard + 1) % 3).await;
    recovers(&a, &b, secs(20)).await;
    cluster.kill_master(shard).await;
    recovers(&a, &b, secs(20)).await;
    cluster.revive(shard).await;
    traffic.end().await;
    recovers(&a, &b, secs(20)).await;
}

/// (b) Slots are moved while there is traffic: `ASK`, then `MOVED`.
#[tokio::test]
async fn o_36_a_cluster_whose_slots_are_moved() {
    let cluster = Cluster::start().await;
    let redis = Redis::cluster(cluster.nodes()).unwrap().budget(secs(1));
    let (a, b) = Setup::over(redis, tagged()).two().await;
    let slot = cluster.slot_of(LOG).await;
    let traffic = Traffic::start(&a, &b);
    for _ in 0..2 {
        let from = cluster.owner(slot).await;
        cluster.begin_move(slot, (from + 1) % 3).await;
        let before = a.get("/y").await;
        drop(a.cache.invalidate(Selector::tag("y")).await);
        assert_ne!(a.get("/y").await, before);
        cluster.finish_move(slot, (from + 1) % 3).await;
        recovers(&a, &b, secs(20)).await;
    }
    let (confirmed, _) = traffic.end().await;
    assert!(confirmed > 0);
    for node in [&a, &b] {
        assert_eq!(node.reason("protocol"), 0, "no CROSSSLOT: {:?}", node.tier());
    }
}

/// The same where nobody asks for anything meanwhile: the reader itself has to find out.
#[tokio::test]
async fn o_36_a_quiet_node_follows_its_log() {
    let cluster = Cluster::start().await;
    let redis = || Redis::cluster(cluster.nodes()).unwrap().budget(secs(1));
    let (a, b) = Setup::over(redis(), tagged()).two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    let slot = cluster.slot_of(LOG).await;
    cluster.move_slot(slot, (cluster.owner(slot).await + 1) % 3).await;
    until("its purge is there", async || a.cache.invalidate(Selector::tag("x")).await.is_ok()).await;
    let start = now();
    // From memory: nothing else has the node ask Redis.
    b.forgets("/x", &first).await;
    assert!(now() - start < secs(10), "{:?}", now() - start);
}

/// Variants and their signpost are in one slot, whatever is asked for together.
#[tokio::test]
async fn o_36_variants_are_in_one_slot() {
    let cluster = Cluster::start().await;
    let redis = Redis::cluster(cluster.nodes()).unwrap().budget(secs(1));
    let setup = Setup::over(redis, tagged())
        .replies(|request, call| {
            let said = crate::support::header(request, "accept-language").to_owned();
            crate::support::reply_with(call, &[("vary", "accept-language"), ("x-said", &said)])
        })
        .policy(|policy| policy.max_variants(4));
    let (a, b) = setup.two().await;
    for path in 0..20 {
        for language in ["a", "b", "c", "d", "e", "f"] {
            let request = || Request::get(format!("/{path}")).header("accept-language", language);
            let text = a.send(request()).await.body;
            a.written().await;
            assert_eq!(b.send(request()).await.body, text);
        }
    }
    for node in [&a, &b] {
        assert!(node.tier().reasons.is_empty(), "{:?}", node.tier());
    }
}

/// One server that is restarted again and again under load, empty or with what it had.
#[tokio::test]
async fn o_36_a_server_that_is_restarted() {
    let mut server = Server::standalone().await;
    let (a, b) = Setup::over(patient(server.url()).budget(secs(1)), tagged()).two().await;
    let traffic = Traffic::start(&a, &b);
    for round in 0..3 {
        if round == 1 {
            server.save().await;
        }
        server.stop();
        server.start().await;
        recovers(&a, &b, secs(20)).await;
    }
    traffic.end().await;
}

const LOG: &str = "larder:larder:log";

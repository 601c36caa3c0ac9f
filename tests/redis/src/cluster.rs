//! A Redis Cluster.

use crate::{
    Options, Server,
    server::{KIT, field},
    wait::until_or_show,
};
use std::collections::BTreeSet;

/// Three masters that share the slots, each with a replica if wanted.
///
/// Shards are numbered from 0. Who is master of a shard changes: ask [`Cluster::master`] again. The slots are in three
/// ranges at first. A proxy comes between a client and a node by `config_set("cluster-announce-port", ..)` on that node.
#[derive(Debug)]
pub struct Cluster {
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    master: Server,
    replica: Option<Server>,
}

impl Cluster {
    /// Three masters.
    pub async fn start() -> Self {
        Self::with(Options::default(), false).await
    }

    /// Three masters with a replica each.
    pub async fn with_replicas() -> Self {
        Self::with(Options::default(), true).await
    }

    /// All servers with the same options. It is ready when the value exists: each server knows all others and what they
    /// hold.
    pub async fn with(options: Options, replicas: bool) -> Self {
        let mut options = options
            .set("cluster-enabled", "yes")
            .set("cluster-node-timeout", NODE_TIMEOUT)
            .set("cluster-replica-validity-factor", "0");
        if options.tls.is_some() {
            options = options.set("tls-cluster", "yes");
        }
        let mut shards = Vec::new();
        for _ in 0..SHARDS {
            let master = options.clone().start().await;
            let replica = if replicas { Some(options.clone().start().await) } else { None };
            shards.push(Shard { master, replica });
        }
        let cluster = Self { shards };
        cluster.meet().await;
        cluster.share().await;
        cluster.settled().await;
        cluster
    }

    /// Makes the replica of a shard its master, in agreement with the old one, which is its replica then.
    pub async fn promote(&mut self, shard: usize) {
        let replica = self.replica(shard).expect("a cluster with replicas");
        replica.cli(&["CLUSTER", "FAILOVER"]).await;
        self.wait_for_promotion(shard).await;
        self.settled().await;
    }

    /// Kills the master of a shard and waits until its replica has taken over: several seconds. The dead one is the
    /// shard's replica then, and can be revived.
    pub async fn kill_master(&mut self, shard: usize) {
        assert!(self.replica(shard).is_some_and(Server::is_running), "nobody could take over");
        self.shards[shard].master.stop();
        self.wait_for_promotion(shard).await;
        self.settled().await;
    }

    /// Starts what was killed. It comes back as the replica of its shard.
    pub async fn revive(&mut self, shard: usize) {
        self.shards[shard].replica.as_mut().expect("a cluster with replicas").start().await;
        self.settled().await;
    }

    /// Begins to move a slot: until the end, its master answers with `ASK` for keys that it has not.
    pub async fn begin_move(&self, slot: u16, to: usize) {
        let from = self.owner(slot).await;
        assert_ne!(from, to, "the slot is there already");
        let (slot, source, target) = (slot.to_string(), self.master(from), self.master(to));
        target.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(source).await]).await;
        source.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target).await]).await;
    }

    /// Ends what [`Cluster::begin_move`] began: moves the keys, and hands the slot over. The old master answers with
    /// `MOVED` then. The keys must be plain text.
    pub async fn finish_move(&self, slot: u16, to: usize) {
        let from = self.owner(slot).await;
        let (slot, source, target) = (slot.to_string(), self.master(from), self.master(to));
        let port = target.port().to_string();
        loop {
            let keys = source.cli(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "AUTH2", KIT, KIT, "KEYS"];
            migrate.extend(keys.lines());
            source.cli(&migrate).await;
        }
        // The new master first: nobody may believe that the slot has none.
        let owner = id(target).await;
        for server in [target, source] {
            server.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &owner]).await;
        }
        self.settled().await;
    }

    /// Moves a slot with its keys.
    pub async fn move_slot(&self, slot: u16, to: usize) {
        self.begin_move(slot, to).await;
        self.finish_move(slot, to).await;
    }

    /// The URLs of those that run, masters first.
    pub fn nodes(&self) -> Vec<String> {
        self.servers().map(Server::url).collect()
    }

    /// The master of a shard.
    pub fn master(&self, shard: usize) -> &Server {
        &self.shards[shard].master
    }

    /// The replica of a shard, which may be dead.
    pub fn replica(&self, shard: usize) -> Option<&Server> {
        self.shards[shard].replica.as_ref()
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> u16 {
        self.master(0).cli(&["CLUSTER", "KEYSLOT", key]).await.parse().expect("a slot is a number")
    }

    /// The shard that has a slot.
    pub async fn owner(&self, slot: u16) -> usize {
        for (shard, Shard { master, .. }) in self.shards.iter().enumerate() {
            let nodes = master.cli(&["CLUSTER", "NODES"]).await;
            let own = nodes.lines().find(|line| line.contains("myself")).expect("a node knows itself");
            if own.split(' ').skip(8).filter_map(range).any(|(first, last)| (first..=last).contains(&slot)) {
                return shard;
            }
        }
        panic!("slot {slot} belongs to nobody");
    }

    /// Waits until all that run agree on who they are and who has which slot, all slots are served, and replicas have
    /// what their masters have.
    pub async fn settled(&self) {
        let agreed = async || {
            let mut views = BTreeSet::new();
            for server in self.servers() {
                let state = server.try_cli(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                let nodes = server.try_cli(&["CLUSTER", "NODES"]).await.unwrap_or_default();
                let view = view(&nodes);
                if field(&state, "cluster_state") != Some("ok") || !self.is_complete(&view) {
                    return false;
                }
                views.insert(view);
            }
            views.len() == 1
        };
        until_or_show("a cluster that agrees", agreed, || self.logs()).await;
        for replica in self.shards.iter().filter_map(|shard| shard.replica.as_ref()) {
            if replica.is_running() {
                replica.in_sync().await;
            }
        }
    }

    /// Introduces each server to each other, which is faster than to wait for gossip.
    async fn meet(&self) {
        let servers = Vec::from_iter(self.servers());
        for (number, server) in servers.iter().enumerate() {
            // Different from the beginning: otherwise they have to find out that they are the same.
            server.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
        }
        for (number, server) in servers.iter().enumerate() {
            for other in &servers[number + 1..] {
                let (port, bus) = (other.port().to_string(), other.bus().to_string());
                server.cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
        }
        let acquainted = async || {
            for server in &servers {
                let nodes = server.cli(&["CLUSTER", "NODES"]).await;
                if nodes.contains("handshake") || nodes.lines().count() != servers.len() {
                    return false;
                }
            }
            true
        };
        until_or_show("servers that know each other", acquainted, || self.logs()).await;
    }

    /// Gives the slots to the masters, and the masters to the replicas.
    async fn share(&self) {
        let first = |shard: usize| SLOTS * shard / SHARDS;
        for (number, Shard { master, replica }) in self.shards.iter().enumerate() {
            let (from, to) = (first(number).to_string(), (first(number + 1) - 1).to_string());
            master.cli(&["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await;
            if let Some(replica) = replica {
                replica.cli(&["CLUSTER", "REPLICATE", &id(master).await]).await;
            }
        }
    }

    async fn wait_for_promotion(&mut self, shard: usize) {
        let Shard { master, replica } = &mut self.shards[shard];
        let replica = replica.as_mut().expect("a cluster with replicas");
        let promoted = async || replica.role().await.as_deref() == Some("master");
        until_or_show("a promoted replica", promoted, || replica.log()).await;
        std::mem::swap(master, replica);
    }

    /// Whether there are as many masters and replicas as there should be.
    fn is_complete(&self, view: &[String]) -> bool {
        let alive = view.iter().filter(|node| !node.contains("fail")).count();
        let masters = view.iter().filter(|node| node.contains("master") && !node.contains("fail")).count();
        alive == self.servers().count() && masters == SHARDS
    }

    fn logs(&self) -> String {
        self.servers().map(|server| format!("{}:\n{}", server.port(), server.log())).collect()
    }

    /// Those that run, masters first.
    fn servers(&self) -> impl Iterator<Item = &Server> {
        let masters = self.shards.iter().map(|shard| &shard.master);
        let replicas = self.shards.iter().filter_map(|shard| shard.replica.as_ref());
        masters.chain(replicas).filter(|server| server.is_running())
    }
}

async fn id(server: &Server) -> String {
    server.cli(&["CLUSTER", "MYID"]).await
}

/// What a node thinks of all nodes: their ids, roles, masters and slots, without times and states of connections. A slot
/// on its way, `[5->id]`, is known to two nodes only.
fn view(nodes: &str) -> Vec<String> {
    let mut view = Vec::new();
    for line in nodes.lines() {
        let fields = Vec::from_iter(line.split(' '));
        if let [id, _, flags, master, _, _, _, _, slots @ ..] = &fields[..] {
            let flags = flags.trim_start_matches("myself,");
            let slots = Vec::from_iter(slots.iter().copied().filter(|slot| !slot.starts_with('[')));
            view.push(format!("{id} {flags} {master} {}", slots.join(" ")));
        }
    }
    view.sort();
    view
}

/// The slots of `5` or `5-7`.
fn range(slots: &str) -> Option<(u16, u16)> {
    let (first, last) = slots.split_once('-').unwrap_or((slots, slots));
    Some((first.parse().ok()?, last.parse().ok()?))
}

const SHARDS: usize = 3;
const SLOTS: usize = 16_384;

/// In milliseconds. A machine with much to do may let a server wait for most of it.
const NODE_TIMEOUT: &str = "2000";

//! A cluster: nodes, and which of them owns which slot.

use super::{
    Setup,
    address::Address,
    dial::Refusal,
    fault::{Fault, answer},
    line::Ask,
    node::{Node, Target},
    run::{Deadline, Stop, backoff, first},
    sentinel::once,
    slots::{self, Owned},
};
use crate::seldom::Seldom;
use redis::Value;
use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// The nodes of a cluster that own something.
pub(super) struct Cluster {
    seeds: Vec<Address>,
    setup: Arc<Setup>,
    map: RwLock<Arc<Map>>,
    /// A task looks after the map.
    kept: AtomicBool,
    stale: Notify,
    /// Raised with each map.
    news: watch::Sender<u64>,
    stopped: watch::Receiver<bool>,
    refused: Seldom,
}

/// Which node owns which slot.
#[derive(Default)]
pub(super) struct Map {
    owned: Vec<Owned>,
    /// Sorted by address.
    members: Vec<Arc<Member>>,
}

/// A node, and what keeps it going.
pub(super) struct Member {
    pub(super) address: Address,
    pub(super) node: Arc<Node>,
    _stop: Stop,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Address>, setup: &Arc<Setup>) -> (Arc<Self>, Stop) {
        let (stop, stopped) = Stop::new();
        let cluster = Self {
            seeds,
            setup: Arc::clone(setup),
            map: RwLock::default(),
            kept: AtomicBool::new(false),
            stale: Notify::new(),
            news: watch::Sender::new(0),
            stopped,
            refused: Seldom::default(),
        };
        (Arc::new(cluster), stop)
    }

    /// The map as it is known. Starts what it takes to know it.
    pub(super) fn map(self: &Arc<Self>) -> Arc<Map> {
        self.start();
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// It may have changed.
    pub(super) fn doubt(&self) {
        self.stale.notify_one();
    }

    /// Waits until all its nodes can be asked.
    pub(super) async fn ready(self: &Arc<Self>, deadline: Deadline) -> Result<(), Fault> {
        let mut news = self.news.subscribe();
        loop {
            let map = self.map();
            if !map.members.is_empty() {
                for member in &map.members {
                    member.node.ready(deadline).await?;
                }
                return Ok(());
            }
            if timeout(deadline.left(), news.changed()).await.is_err() {
                return Err(Fault::Unconnected);
            }
        }
    }

    fn start(self: &Arc<Self>) {
        if self.kept.load(Ordering::Acquire) || self.is_stopped() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.kept.swap(true, Ordering::AcqRel) {
            runtime.spawn(keep(Arc::clone(self)));
        }
    }

    fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    async fn again_and_again(&self) {
        let mut trials = 0;
        loop {
            match self.look().await {
                Ok((owned, asked)) => {
                    tracing::debug!(target: "larder::store", node = %asked, runs = owned.len(), "the cluster's slots");
                    self.redraw(owned);
                    trials = 0;
                    first(self.stale.notified(), sleep(self.setup.sample_every)).await;
                    // Many may doubt it at once.
                    sleep(backoff(2)).await;
                }
                Err(refusal) => {
                    trials += 1;
                    if self.refused.is_time() {
                        tracing::warn!(
                            target: "larder::store",
                            "no node of the Redis cluster tells of its slots, and it is tried again: {}", refusal.text
                        );
                    }
                    sleep(backoff(trials)).await;
                }
            }
        }
    }

    /// Asks whoever answers: those that are known, then those that were given.
    async fn look(&self) -> Result<(Vec<Owned>, Address), Refusal> {
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let map = Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner));
        for member in &map.members {
            let asked = member.node.ask(Ask::One(&command), Deadline::within(LOOK_LIMIT), true).await;
            let value = asked.ok().and_then(|mut answers| answers.pop()).and_then(Result::ok);
            if let Some(owned) = value.and_then(|value| slots::read(&value, &member.address)) {
                return Ok((owned, member.address.clone()));
            }
        }
        let mut refusal = Refusal::new(Fault::Unconnected, "no node was given");
        for seed in &self.seeds {
            let asked = async {
                let (mut connection, driver) = self.setup.dialer.dial(seed).await?;
                once(&mut connection, driver, &command).await
            };
            match timeout(LOOK_LIMIT, asked).await.unwrap_or_else(|_| Err(Refusal::new(Fault::Timeout, "no answer"))) {
                Ok(value) => match slots::read(&value, seed) {
                    Some(owned) => return Ok((owned, seed.clone())),
                    None => refusal = Refusal::new(Fault::NotWhole, format!("{seed}: it owns no slots yet")),
                },
                Err(error) => refusal = Refusal { text: format!("{seed}: {}", error.text), ..error },
            }
        }
        Err(refusal)
    }

    /// Takes over a new map. Nodes that stay keep their connections, and others are let go.
    fn redraw(&self, owned: Vec<Owned>) {
        let mut addresses: Vec<_> = owned.iter().map(|run| run.by.clone()).collect();
        addresses.sort();
        addresses.dedup();
        let old = Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner));
        let members: Vec<_> = addresses
            .into_iter()
            .map(|address| {
                old.member(&address).cloned().unwrap_or_else(|| {
                    let (node, stop) = Node::new(Target::Fixed(address.clone()), &self.setup);
                    Arc::new(Member { address, node, _stop: stop })
                })
            })
            .collect();
        for member in &members {
            member.node.start();
        }
        self.put(Map { owned, members });
        self.news.send_modify(|news| *news += 1);
    }

    fn put(&self, map: Map) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
    }
}

impl Map {
    /// Who owns a slot.
    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Member>> {
        let index = self.owned.partition_point(|run| run.first <= slot).checked_sub(1)?;
        let run = &self.owned[index];
        if slot <= run.last { self.member(&run.by) } else { None }
    }

    pub(super) fn member(&self, address: &Address) -> Option<&Arc<Member>> {
        self.members.binary_search_by(|member| member.address.cmp(address)).ok().map(|index| &self.members[index])
    }

    /// All that own something, sorted by address.
    pub(super) fn members(&self) -> &[Arc<Member>] {
        &self.members
    }
}

async fn keep(cluster: Arc<Cluster>) {
    let _kept = Kept(&cluster);
    let mut stopped = cluster.stopped.clone();
    let stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    first(stop, cluster.again_and_again()).await;
    cluster.put(Map::default());
}

/// The task that looks after the map; when it is gone, with its runtime perhaps, another one may.
struct Kept<'a>(&'a Cluster);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.kept.store(false, Ordering::Release);
    }
}

/// The answer that follows an `ASKING`.
pub(super) async fn ask_once_elsewhere(
    member: &Member,
    command: redis::Cmd,
    asking: bool,
    deadline: Deadline,
    is_read: bool,
) -> Result<Value, Fault> {
    let answers = if asking {
        let mut both = redis::Pipeline::with_capacity(2);
        both.cmd("ASKING");
        both.add_command(command);
        member.node.ask(Ask::Many(&both), deadline, is_read).await?
    } else {
        member.node.ask(Ask::One(&command), deadline, is_read).await?
    };
    answers.into_iter().next_back().unwrap_or_else(|| answer(Value::Nil))
}

const LOOK_LIMIT: Duration = Duration::from_secs(1);

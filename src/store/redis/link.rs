//! The way to Redis, whatever its shape: one server, a group with sentinels, or a cluster.

use super::{
    Place, Setup,
    cluster::{Cluster, Member, ask_once_elsewhere},
    dial::Driver,
    fault::{Fault, answer},
    line::Ask,
    node::{Node, Target},
    run::{Deadline, Stop},
    sentinel::Sentinels,
    slots::{redirect, slot_of},
};
use crate::store::StoreError;
use crate::timer;
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use tokio::{task::AbortHandle, time::timeout};

/// Connections to Redis, looked after in the background from the first use, in whichever runtime that is. They end with
/// the link. If their runtime ends before, the next use starts them anew.
pub(crate) struct Link {
    shape: Shape,
    /// Ends them when it is dropped.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is there to be dropped"))]
    stop: Stop,
    setup: Arc<Setup>,
}

enum Shape {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

/// A script for the server, with the digest that it is called by.
#[derive(Debug)]
pub(crate) struct Script {
    code: &'static str,
    digest: String,
}

/// A connection for one user alone, for commands that block. Nothing limits how long an answer may take.
pub(crate) struct Dedicated {
    connection: MultiplexedConnection,
    driver: AbortHandle,
}

impl Link {
    pub(super) fn new(setup: Setup) -> Self {
        let setup = Arc::new(setup);
        let (shape, stop) = match &setup.place {
            Place::One(address) => {
                let (node, stop) = Node::new(Target::Fixed(address.clone()), &setup);
                (Shape::One(node), stop)
            }
            Place::Sentinel { urls, group } => {
                let (node, stop) = Node::new(Target::Master(Sentinels::new(urls, group)), &setup);
                (Shape::One(node), stop)
            }
            Place::Cluster(seeds) => {
                let (cluster, stop) = Cluster::new(seeds.clone(), &setup);
                (Shape::Cluster(cluster), stop)
            }
        };
        Self { shape, stop, setup }
    }

    /// Runs a command that is about `key`. A command that changes nothing is tried on a second connection if the first one
    /// breaks off.
    #[cfg(test)]
    pub(crate) async fn run(
        &self,
        key: &str,
        command: &Cmd,
        changes_nothing: bool,
        within: Duration,
    ) -> Result<Value, StoreError> {
        Ok(self.one(key, command, Deadline::within(within), changes_nothing).await?)
    }

    /// Ends the connections, as when it is dropped, and makes none any more.
    #[cfg(test)]
    pub(crate) fn shut_down(&self) {
        self.stop.stop();
    }

    /// Runs a script; all keys must be in one slot.
    pub(super) async fn script(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
        deadline: Deadline,
    ) -> Result<Value, StoreError> {
        let key = keys.first().copied().unwrap_or_default();
        let command = |name: &str, what: &str| {
            let mut command = redis::cmd(name);
            command.arg(what).arg(keys.len());
            keys.iter().for_each(|key| {
                command.arg(*key);
            });
            arguments.iter().for_each(|argument| {
                command.arg(*argument);
            });
            command
        };
        match self.one(key, &command("EVALSHA", &script.digest), deadline, false).await {
            // A server that was restarted has forgotten it.
            Err(Fault::NoScript) => Ok(self.one(key, &command("EVAL", script.code), deadline, false).await?),
            result => Ok(result?),
        }
    }

    /// A connection to the server that owns this key. Takes some seconds at most.
    pub(crate) async fn dedicated(&self, key: &str) -> Result<Dedicated, StoreError> {
        let node = self.node(key)?;
        if node.is_stopped() {
            return Err(StoreError::Unreachable);
        }
        let (connection, driver) = node.dial().await.map_err(|refusal| {
            self.doubt();
            StoreError::from(refusal.fault)
        })?;
        Ok(Dedicated::new(connection, driver))
    }

    /// Whether it is worth asking now.
    pub(crate) fn is_available(&self) -> bool {
        match &self.shape {
            Shape::One(node) => node.is_available(),
            Shape::Cluster(cluster) => {
                // Each is to start its probe.
                cluster.map().members().iter().filter(|member| member.node.is_available()).count() > 0
            }
        }
    }

    /// Waits until it can be asked.
    pub(crate) async fn ready(&self, within: Duration) -> Result<(), StoreError> {
        let deadline = Deadline::within(within);
        match &self.shape {
            Shape::One(node) => Ok(node.ready(deadline).await?),
            Shape::Cluster(cluster) => Ok(cluster.ready(deadline).await?),
        }
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// All servers that own something, with a name that stays; sorted by it.
    pub(super) fn nodes(&self) -> Vec<(String, Arc<Node>)> {
        match &self.shape {
            Shape::One(node) => vec![(String::new(), Arc::clone(node))],
            Shape::Cluster(cluster) => {
                let map = cluster.map();
                let mut nodes: Vec<_> =
                    map.members().iter().map(|member| (member.address.to_string(), Arc::clone(&member.node))).collect();
                nodes.sort_by(|(one, _), (other, _)| one.cmp(other));
                nodes
            }
        }
    }

    /// Whether one command may be about all these keys.
    pub(super) fn is_one_slot<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> bool {
        match &self.shape {
            Shape::One(_) => true,
            Shape::Cluster(_) => {
                let Some(first) = keys.next().map(|key| slot_of(key.as_bytes())) else { return true };
                keys.all(|key| slot_of(key.as_bytes()) == first)
            }
        }
    }

    pub(super) async fn one(
        &self,
        key: &str,
        command: &Cmd,
        deadline: Deadline,
        is_read: bool,
    ) -> Result<Value, Fault> {
        match &self.shape {
            Shape::One(node) => only(node.ask(Ask::One(command), deadline, is_read).await?),
            Shape::Cluster(cluster) => {
                let map = cluster.map();
                let Some(owner) = map.owner(slot_of(key.as_bytes())) else { return Err(Fault::Unconnected) };
                let result = owner.node.ask(Ask::One(command), deadline, is_read).await.and_then(only);
                self.follow(owner, command, result, deadline, is_read).await
            }
        }
    }

    /// Runs commands, each about its key, in one write for each server; an answer for each, in their order.
    pub(super) async fn many(
        &self,
        commands: Vec<(&str, Cmd)>,
        deadline: Deadline,
        is_read: bool,
    ) -> Vec<Result<Value, Fault>> {
        let count = commands.len();
        match &self.shape {
            Shape::One(node) => {
                let mut pipeline = Pipeline::with_capacity(count);
                for (_, command) in commands {
                    pipeline.add_command(command);
                }
                match node.ask(Ask::Many(&pipeline), deadline, is_read).await {
                    Ok(answers) if answers.len() == count => answers,
                    Ok(_) => vec![Err(Fault::Protocol); count],
                    Err(fault) => vec![Err(fault); count],
                }
            }
            Shape::Cluster(cluster) => self.many_in_cluster(&cluster.map(), commands, deadline, is_read).await,
        }
    }

    async fn many_in_cluster(
        &self,
        map: &super::cluster::Map,
        commands: Vec<(&str, Cmd)>,
        deadline: Deadline,
        is_read: bool,
    ) -> Vec<Result<Value, Fault>> {
        let mut results: Vec<Result<Value, Fault>> = commands.iter().map(|_| Err(Fault::Unconnected)).collect();
        let mut parts: BTreeMap<_, (&Arc<Member>, Vec<usize>, Pipeline)> = BTreeMap::new();
        for (index, (key, command)) in commands.into_iter().enumerate() {
            let Some(owner) = map.owner(slot_of(key.as_bytes())) else { continue };
            let (_, indices, pipeline) =
                parts.entry(&owner.address).or_insert_with(|| (owner, Vec::new(), Pipeline::new()));
            indices.push(index);
            pipeline.add_command(command);
        }
        let asked = parts.into_values().map(|(owner, indices, pipeline)| async move {
            let count = indices.len();
            let answers = match owner.node.ask(Ask::Many(&pipeline), deadline, is_read).await {
                Ok(answers) if answers.len() == count => answers,
                Ok(_) => vec![Err(Fault::Protocol); count],
                Err(fault) => vec![Err(fault); count],
            };
            let mut followed = Vec::with_capacity(count);
            for ((index, command), answer) in indices.into_iter().zip(pipeline.cmd_iter()).zip(answers) {
                followed.push((index, self.follow(owner, command, answer, deadline, is_read).await));
            }
            followed
        });
        for (index, answer) in timer::all(asked).await.into_iter().flatten() {
            results[index] = answer;
        }
        results
    }

    /// Goes once to where a node of a cluster says that the slot is.
    async fn follow(
        &self,
        asked: &Member,
        command: &Cmd,
        result: Result<Value, Fault>,
        deadline: Deadline,
        is_read: bool,
    ) -> Result<Value, Fault> {
        let Shape::Cluster(cluster) = &self.shape else { return result };
        let (to, ask) = match &result {
            Err(Fault::Moved { to, ask }) => (to, *ask),
            Err(Fault::Unconnected | Fault::Broken | Fault::Demoted | Fault::NotWhole | Fault::Resting) => {
                cluster.doubt();
                return result;
            }
            _ => return result,
        };
        if !ask {
            cluster.doubt();
        }
        let map = cluster.map();
        match redirect(to, &asked.address).and_then(|address| map.member(&address).cloned()) {
            Some(member) => ask_once_elsewhere(&member, command.clone(), ask, deadline, is_read).await,
            // A node that owned nothing until now: the next map has it.
            None => result,
        }
    }

    fn node(&self, key: &str) -> Result<Arc<Node>, StoreError> {
        match &self.shape {
            Shape::One(node) => Ok(Arc::clone(node)),
            Shape::Cluster(cluster) => {
                let map = cluster.map();
                map.owner(slot_of(key.as_bytes())).map(|member| Arc::clone(&member.node)).ok_or(StoreError::Unreachable)
            }
        }
    }

    /// Who has which slot may have changed: has it looked at again, in a cluster.
    pub(crate) fn doubt(&self) {
        if let Shape::Cluster(cluster) = &self.shape {
            cluster.doubt();
        }
    }
}

impl Dedicated {
    fn new(connection: MultiplexedConnection, driver: Driver) -> Self {
        Self { connection, driver: tokio::spawn(driver).abort_handle() }
    }

    /// Runs a command that may block. After an error, or if this is dropped before its end, make a new connection.
    pub(crate) async fn run(&mut self, command: &Cmd) -> Result<Value, StoreError> {
        let value = self.connection.send_packed_command(command).await.map_err(|error| Fault::of(&error))?;
        Ok(answer(value)?)
    }

    /// Runs a command within a limit. One that has passed it is no good any more.
    pub(crate) async fn run_within(&mut self, command: &Cmd, within: Duration) -> Result<Value, StoreError> {
        timeout(within, self.run(command)).await.unwrap_or(Err(StoreError::Timeout))
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Script {
    pub(crate) fn new(code: &'static str) -> Self {
        Self { code, digest: redis::Script::new(code).get_hash().to_owned() }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.setup.place).finish_non_exhaustive()
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated").finish_non_exhaustive()
    }
}

/// The one answer to one command.
fn only(answers: Vec<Result<Value, Fault>>) -> Result<Value, Fault> {
    answers.into_iter().next().unwrap_or(Err(Fault::Protocol))
}

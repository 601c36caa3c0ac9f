//! A connection that is looked after: made in the background, watched, and made anew when it is no good.

use super::{
    dial::{Driver, Refusal},
    fault::{Fault, answer},
    node::Node,
    run::{backoff, first},
};
use crate::clock::Moment;
use redis::{Cmd, Pipeline, Value, aio::MultiplexedConnection};
use std::{
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// One of the connections to a server, or the want of it.
#[derive(Default)]
pub(super) struct Line {
    live: RwLock<Option<Arc<Live>>>,
    /// A task looks after it.
    running: AtomicBool,
}

/// A connection that has answered.
pub(super) struct Live {
    connection: MultiplexedConnection,
    /// It let somebody wait too long, and has said nothing since.
    suspect: AtomicBool,
    /// It leads to a server that is not the right one any more.
    misled: AtomicBool,
    wake: Notify,
}

/// What is asked.
#[derive(Clone, Copy)]
pub(super) enum Ask<'a> {
    One(&'a Cmd),
    /// All of them in one write, and one answer for each.
    Many(&'a Pipeline),
}

impl Line {
    /// Its connection, if it has one.
    pub(super) fn live(&self) -> Option<Arc<Live>> {
        self.live.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// True for the one who is to look after it.
    pub(super) fn claim(&self) -> bool {
        !self.running.swap(true, Ordering::AcqRel)
    }

    fn publish(&self, live: Option<Arc<Live>>) {
        *self.live.write().unwrap_or_else(std::sync::PoisonError::into_inner) = live;
    }
}

impl Live {
    /// Sends it, and waits for the answers. Dropping this loses the answers, and nothing else.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Vec<Value>, Fault> {
        let mut connection = self.connection.clone();
        match ask {
            Ask::One(command) => connection.send_packed_command(command).await.map(|value| vec![value]),
            Ask::Many(commands) => connection.send_packed_commands(commands, 0, commands.len()).await,
        }
        .map_err(|error| Fault::of(&error))
    }

    /// It let somebody wait too long: it is used only where there is no other until it has answered a PING.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// It is to be made anew, to wherever the right server is now.
    pub(super) fn mislead(&self) {
        self.misled.store(true, Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Asks a PING, or the same by another command. A server that answers in any way is there; one that is loading is not.
    pub(super) async fn ping(&self, command: &Cmd, within: Duration) -> Result<Value, Fault> {
        let mut values = timeout(within, self.ask(Ask::One(command))).await.unwrap_or(Err(Fault::Timeout))?;
        match answer(values.pop().unwrap_or_default()) {
            Err(Fault::Denied | Fault::Protocol) => Ok(Value::Nil),
            result => result,
        }
    }

    /// Ends when the connection is no good any more.
    async fn watch(&self, node: &Node, first_line: bool) {
        let mut command = if first_line { super::info::command() } else { redis::cmd("PING") };
        loop {
            // Idle ones are looked at as well: a firewall may have forgotten them.
            first(self.wake.notified(), sleep(node.sample_every())).await;
            if self.misled.load(Ordering::Relaxed) {
                return;
            }
            let began = Moment::now();
            if self.is_suspect() {
                command = redis::cmd("PING");
            }
            match self.ping(&command, node.patience()).await {
                Ok(value) => {
                    self.suspect.store(false, Ordering::Relaxed);
                    node.answered(began.elapsed());
                    node.sampled(&value);
                }
                Err(fault) => {
                    tracing::debug!(target: "larder::store", server = %node.name(), ?fault, "a connection is made anew");
                    return;
                }
            }
            if first_line {
                command = super::info::command();
            }
        }
    }
}

/// Looks after a line until its node is stopped, or the runtime ends.
pub(super) async fn keep(node: Arc<Node>, index: usize, mut stopped: watch::Receiver<bool>) {
    let _kept = Kept { node: &node, index };
    let stop = async {
        // Without a sender nobody uses it any more.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    first(stop, again_and_again(&node, index)).await;
}

async fn again_and_again(node: &Node, index: usize) {
    let mut trials = 0;
    loop {
        let began = Moment::now();
        match connect(node, index).await {
            Ok((live, driver, after)) => {
                tracing::debug!(target: "larder::store", server = %node.name(), "connected");
                node.line(index).publish(Some(Arc::clone(&live)));
                node.connected(after);
                let _unpublish = Unpublish(node.line(index));
                first(driver, live.watch(node, index == 0)).await;
            }
            Err(refusal) => node.refused(refusal),
        }
        // One that lived is replaced at once.
        trials = if began.elapsed() > LIVED { 0 } else { trials + 1 };
        sleep(backoff(trials)).await;
    }
}

/// A connection that has answered something, and how long that took.
async fn connect(node: &Node, index: usize) -> Result<(Arc<Live>, Driver, Duration), Refusal> {
    let (connection, mut driver) = node.dial().await?;
    let live = Arc::new(Live {
        connection,
        suspect: AtomicBool::new(false),
        misled: AtomicBool::new(false),
        wake: Notify::new(),
    });
    let command = if index == 0 { super::info::command() } else { redis::cmd("PING") };
    let (began, limit) = (Moment::now(), node.patience());
    let broken = async {
        (&mut driver).await;
        Err(Fault::Broken)
    };
    match first(live.ping(&command, limit), broken).await {
        Ok(value) => node.sampled(&value),
        Err(fault) => {
            let text = format!("connected, but the first command failed: {fault:?}");
            return Err(Refusal::new(fault, text));
        }
    }
    Ok((live, driver, began.elapsed()))
}

struct Unpublish<'a>(&'a Line);

impl Drop for Unpublish<'_> {
    fn drop(&mut self) {
        self.0.publish(None);
    }
}

/// The task that looks after a line; when it is gone, with its runtime perhaps, another one may.
struct Kept<'a> {
    node: &'a Arc<Node>,
    index: usize,
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.node.left(self.index);
    }
}

impl Line {
    /// Nobody looks after it any more.
    pub(super) fn leave(&self) {
        self.publish(None);
        self.running.store(false, Ordering::Release);
    }
}

/// One that lasted so long was a good one.
const LIVED: Duration = Duration::from_secs(5);

//! Client-side caching of Redis in its broadcasting form: the server tells of each key that begins like ours and changes.
//!
//! It tells it on a connection that nobody else uses, one for each server that owns something, because what is asked on a
//! connection is not told to the others in any order.

use super::{
    dial::{Pushes, Refusal},
    fault::{Fault, answer},
    link::Link,
    node::Node,
    run::{backoff, first},
    sentinel::once,
};
use crate::{
    clock::Moment,
    seldom::Seldom,
    store::{Listener, StoreFuture, Teller},
};
use redis::{PushInfo, PushKind, Value, cmd};
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};
use tokio::{
    task::AbortHandle,
    time::{sleep, timeout},
};

/// What changes in the servers of a link.
pub(super) struct Tracking(Arc<Link>);

impl Tracking {
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self(link)
    }

    /// Has a listener at each server, whichever those are.
    async fn follow(&self, prefix: String, listener: Arc<dyn Listener>) {
        let mut following: HashMap<String, Following> = HashMap::new();
        loop {
            let nodes = self.0.nodes();
            following.retain(|name, following| {
                let same = |(other, node): &(String, Arc<Node>)| other == name && Arc::ptr_eq(node, &following.node);
                !following.task.is_finished() && nodes.iter().any(same)
            });
            for (name, node) in nodes {
                following.entry(name).or_insert_with(|| {
                    let listening = listen(Arc::clone(&node), prefix.clone(), Arc::clone(&listener));
                    Following { task: tokio::spawn(listening).abort_handle(), node }
                });
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

impl Teller for Tracking {
    fn tell(&self, prefix: String, listener: Arc<dyn Listener>) -> StoreFuture<'_, ()> {
        StoreFuture::boxed(async {
            self.follow(prefix, listener).await;
            Ok(())
        })
    }
}

impl fmt::Debug for Tracking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracking").field(&self.0).finish()
    }
}

/// A server that is listened to, for as long as this lives.
struct Following {
    node: Arc<Node>,
    task: AbortHandle,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(node: Arc<Node>, prefix: String, listener: Arc<dyn Listener>) {
    let (warned, mut trials) = (Seldom::default(), 0);
    loop {
        let began = Moment::now();
        let refusal = listen_once(&node, &prefix, &listener).await;
        if warned.is_time() {
            tracing::warn!(
                target: "larder::store",
                server = %node.name(),
                "Redis does not tell of changes, and is asked to again: {}", refusal.text
            );
        }
        trials = if began.elapsed() > LIVED { 0 } else { trials + 1 };
        sleep(backoff(trials)).await;
    }
}

/// Listens until that is not possible any more.
async fn listen_once(node: &Node, prefix: &str, listener: &Arc<dyn Listener>) -> Refusal {
    let to = Arc::clone(listener);
    let pushes = Pushes::to(move |push| told(&push, &*to));
    let (mut connection, mut driver) = match node.dial_for(pushes).await {
        Ok(dialled) => dialled,
        Err(refusal) => return refusal,
    };
    let mut track = cmd("CLIENT");
    track.arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(prefix);
    let asked = timeout(node.patience(), once(&mut connection, &mut driver, &track)).await;
    if let Err(refusal) = asked.unwrap_or_else(|_| Err(Refusal::new(Fault::Timeout, "no answer"))) {
        return refusal;
    }
    tracing::debug!(target: "larder::store", server = %node.name(), "it tells of changes");
    // Those before now were not told.
    listener.all_changed();
    let watched = async {
        loop {
            sleep(PING_EVERY).await;
            let ping = async { connection.send_packed_command(&cmd("PING")).await.map(answer) };
            match timeout(node.patience(), ping).await {
                // A server that answers in any way is there.
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Refusal::new(Fault::of(&error), error.to_string()),
                Err(_) => return Refusal::new(Fault::Timeout, "it has fallen silent"),
            }
        }
    };
    let broken = async {
        driver.await;
        Refusal::new(Fault::Broken, "the connection broke off")
    };
    first(watched, broken).await
}

/// Passes on what a server says.
fn told(push: &PushInfo, listener: &dyn Listener) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    match push.data.first() {
        Some(Value::Array(keys)) => {
            for key in keys {
                match key {
                    Value::BulkString(key) => str::from_utf8(key).map(|key| listener.changed(key)).unwrap_or_default(),
                    _ => listener.all_changed(),
                }
            }
        }
        // The database has been emptied, or it speaks otherwise than it did.
        _ => listener.all_changed(),
    }
}

/// Whether the servers are still the same.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A connection that says nothing may be dead.
const PING_EVERY: Duration = Duration::from_secs(2);

/// One that lasted so long was a good one.
const LIVED: Duration = Duration::from_secs(5);

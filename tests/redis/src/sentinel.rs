//! Sentinels, and what they watch.

use crate::{Options, Server, server::KIT, wait::until_or_show};

/// A master with a replica, and three Sentinels that watch them under the name [`Sentinel::NAME`].
///
/// Who is master changes: ask [`Sentinel::master`] again.
#[derive(Debug)]
pub struct Sentinel {
    master: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Sentinel {
    /// What the Sentinels call the master.
    pub const NAME: &str = "larder";

    /// Starts all of them.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts the master and the replica with these options. The Sentinels have its TLS, but no password. They are ready
    /// when the value exists: each knows the replica and the other two.
    pub async fn with(options: Options) -> Self {
        let master = options.clone().start().await;
        let replica = options.replica_of(&master).start().await;
        replica.in_sync().await;
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            let sentinel = Server::launch(watching(&master), true).await;
            // Ten seconds and one otherwise: how long it takes until a change is seen.
            sentinel.cli(&["SENTINEL", "DEBUG", "info-period", "200", "ask-period", "200", "ping-period", "200"]).await;
            sentinels.push(sentinel);
        }
        let set = Self { master, replica, sentinels };
        set.settled().await;
        set
    }

    /// Lets the Sentinels make the replica the master. The old one is its replica then.
    pub async fn failover(&mut self) {
        let sentinel = &self.sentinels[0];
        // It refuses while it does not know the replica well enough.
        let failover = async || sentinel.try_cli(&["SENTINEL", "FAILOVER", Self::NAME]).await.is_ok();
        until_or_show("a failover that begins", failover, || self.logs()).await;
        self.wait_for_promotion().await;
        self.settled().await;
    }

    /// Kills the master and waits until the Sentinels have made the replica the master: several seconds. The dead one is
    /// the replica then, and can be revived.
    pub async fn kill_master(&mut self) {
        assert!(self.replica.is_running(), "nobody could take over");
        self.master.stop();
        self.wait_for_promotion().await;
    }

    /// Starts what was killed. It believes to be a master for a moment, until the Sentinels make it the replica.
    pub async fn revive(&mut self) {
        self.replica.start().await;
        self.settled().await;
    }

    /// The master.
    pub fn master(&self) -> &Server {
        &self.master
    }

    /// The replica, which may be dead.
    pub fn replica(&self) -> &Server {
        &self.replica
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The same, to be stopped and paused.
    pub fn sentinels_mut(&mut self) -> &mut [Server] {
        &mut self.sentinels
    }

    /// The URLs of the Sentinels.
    pub fn urls(&self) -> Vec<String> {
        self.sentinels.iter().map(Server::url).collect()
    }

    async fn wait_for_promotion(&mut self) {
        let promoted = async || self.agree_on(&self.replica).await;
        until_or_show("a promoted replica", promoted, || self.logs()).await;
        std::mem::swap(&mut self.master, &mut self.replica);
    }

    /// Whether all Sentinels that run name this server, and it says that it is the master.
    async fn agree_on(&self, server: &Server) -> bool {
        let address = format!("127.0.0.1\n{}", server.port());
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
            let named = sentinel.try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::NAME]).await;
            if named.as_ref() != Ok(&address) {
                return false;
            }
        }
        server.role().await.as_deref() == Some("master")
    }

    /// Waits until each Sentinel knows the others and the replica, and the replica has what the master has.
    async fn settled(&self) {
        self.publish_every("200").await;
        let master = self.master.port().to_string();
        let follows = async || self.replica.info("master_port").await.as_ref() == Some(&master);
        until_or_show("a replica of the new master", follows, || self.logs()).await;
        self.replica.in_sync().await;
        let acquainted = async || {
            for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
                let state = sentinel.try_cli(&["SENTINEL", "MASTER", Self::NAME]).await.unwrap_or_default();
                let others = (SENTINELS - 1).to_string();
                let complete = value(&state, "num-other-sentinels") == Some(&others)
                    && value(&state, "num-slaves") == Some("1")
                    && value(&state, "flags") == Some("master");
                let replicas = sentinel.try_cli(&["SENTINEL", "REPLICAS", Self::NAME]).await.unwrap_or_default();
                let linked = value(&replicas, "master-link-status") == Some("ok")
                    && value(&replicas, "flags") == Some("slave")
                    && value(&replicas, "master-port") == Some(&master);
                if !complete || !linked {
                    return false;
                }
            }
            self.agree_on(&self.master).await
        };
        until_or_show("Sentinels that know each other", acquainted, || self.logs()).await;
        // While somebody fails over, the others must not be quicker to make the new master a replica again than he is to
        // see that it is a master. They wait for four of these.
        self.publish_every("2000").await;
    }

    /// How often each tells the others what it knows, in milliseconds.
    async fn publish_every(&self, period: &str) {
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.is_running()) {
            sentinel.cli(&["SENTINEL", "DEBUG", "publish-period", period]).await;
        }
    }

    fn logs(&self) -> String {
        let servers = [&self.master, &self.replica].into_iter().chain(&self.sentinels);
        servers.map(|server| format!("{}:\n{}", server.port(), server.log())).collect()
    }
}

fn watching(master: &Server) -> Options {
    let (name, port) = (Sentinel::NAME, master.port());
    Options::default()
        .tls_of(master)
        .set("sentinel monitor", &format!("{name} 127.0.0.1 {port} {QUORUM}"))
        .set("sentinel auth-user", &format!("{name} {KIT}"))
        .set("sentinel auth-pass", &format!("{name} {KIT}"))
        .set("sentinel down-after-milliseconds", &format!("{name} {DOWN_AFTER}"))
        .set("sentinel failover-timeout", &format!("{name} {FAILOVER_TIMEOUT}"))
}

/// The value that follows a name, each on its line.
fn value<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = lines.lines();
    lines.find(|line| *line == name)?;
    lines.next()
}

const SENTINELS: usize = 3;
const QUORUM: usize = 2;

/// In milliseconds. A machine with much to do may let a server wait for most of it.
const DOWN_AFTER: u32 = 1000;

/// In milliseconds. Twice that after a failover that failed, the next begins.
const FAILOVER_TIMEOUT: u32 = 3000;

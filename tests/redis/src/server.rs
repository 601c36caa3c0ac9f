//! A single server.

use crate::{
    Certificates, Options, Proxy,
    options::Tls,
    ports::Port,
    process::Process,
    scratch::Scratch,
    wait::{until_or_show, within, within_or_show},
};
use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;

/// Debian's `redis-server` on a port of its own. It answers when the value exists, and is killed when it is dropped.
///
/// Beside the users of the test each server has the user `kit` with all rights. It is the one of [`Server::cli`], so that
/// works whatever the other users may do.
#[derive(Debug)]
pub struct Server {
    /// Nothing while it is stopped. Before the directory, so that it is dead before its files go.
    process: Option<Process>,
    options: Options,
    sentinel: bool,
    /// Whether the next start finds the dump.
    keep: bool,
    directory: Scratch,
    port: Port,
    bus: Port,
}

impl Server {
    /// Starts one without password, TLS and persistence.
    pub async fn standalone() -> Self {
        Options::default().start().await
    }

    /// Starts one with other options.
    pub fn options() -> Options {
        Options::default()
    }

    /// Starts it again after [`Server::stop`], on the same port. It is empty, except for what was saved. What
    /// [`Server::config_set`] had changed is as it was at first.
    pub async fn start(&mut self) {
        assert!(self.process.is_none(), "the server is running");
        if !self.keep {
            // A replica writes one by itself.
            drop(fs::remove_file(self.directory.file("dump.rdb")));
        }
        self.keep = false;
        if let Err(log) = self.run().await {
            panic!("the server does not start again on port {}:\n{log}", self.port());
        }
    }

    /// Kills it with SIGKILL. It is gone when this returns.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Saves what it holds: after a [`Server::stop`] the next start finds it.
    pub async fn save(&mut self) {
        self.cli(&["SAVE"]).await;
        self.keep = true;
    }

    /// Stops it with SIGSTOP: it accepts connections, as the system does that, and answers nothing.
    pub async fn pause(&self) {
        self.signal("-STOP").await;
    }

    /// Lets it go on after [`Server::pause`].
    pub async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// Runs a command and returns what `redis-cli` prints, without the last line end.
    ///
    /// # Panics
    ///
    /// If the server cannot be reached, or answers with an error.
    pub async fn cli(&self, args: &[&str]) -> String {
        match self.try_cli(args).await {
            Ok(output) => output,
            Err(error) => panic!("{args:?} on port {}: {error}", self.port()),
        }
    }

    /// Runs a command. An error is one of the server, or tells that it cannot be reached.
    pub async fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        self.try_cli_as(KIT, KIT, args).await
    }

    /// Runs a command as another user.
    pub async fn try_cli_as(&self, user: &str, password: &str, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new("redis-cli");
        command.args(["-e", "-h", "127.0.0.1", "-p", &self.port().to_string()]);
        command.args(["--user", user, "--pass", password, "--no-auth-warning"]);
        if let Some(certificates) = self.certificates() {
            command.arg("--tls").arg("--cacert").arg(certificates.ca());
            command.arg("--cert").arg(certificates.client()).arg("--key").arg(certificates.client_key());
        }
        command.args(args);
        output(command).await
    }

    /// Changes its configuration while it runs.
    pub async fn config_set(&self, name: &str, value: &str) {
        self.cli(&["CONFIG", "SET", name, value]).await;
    }

    /// The value of a line of `INFO`, such as `connected_clients`.
    pub async fn info(&self, name: &str) -> Option<String> {
        let info = self.try_cli(&["INFO", "everything"]).await.ok()?;
        field(&info, name).map(str::to_owned)
    }

    /// Whether it says that it is a master: `master`, `slave` or `sentinel`. Nothing if it does not answer.
    pub async fn role(&self) -> Option<String> {
        let role = self.try_cli(&["ROLE"]).await.ok()?;
        role.lines().next().map(str::to_owned)
    }

    /// Waits until this replica has all that its master had.
    pub async fn in_sync(&self) {
        let linked = async || self.info("master_link_status").await.as_deref() == Some("up");
        until_or_show("a replica in sync", linked, || self.log()).await;
    }

    /// For the default user: with its password, `redis:` or `rediss:`.
    pub fn url(&self) -> String {
        self.url_with(self.options.password.as_deref().map(|password| format!(":{password}")), self.port())
    }

    /// For another user.
    pub fn url_as(&self, user: &str, password: &str) -> String {
        self.url_with(Some(format!("{user}:{password}")), self.port())
    }

    /// For the default user, through a proxy.
    pub fn url_via(&self, proxy: &Proxy) -> String {
        self.url_with(self.options.password.as_deref().map(|password| format!(":{password}")), proxy.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    /// The port, with TLS if it has certificates.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The certificates of a server with TLS.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.tls().map(|tls| &tls.certificates)
    }

    /// Whether it was started, and not stopped since. A paused one runs.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// The number of its process, if it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Process::id)
    }

    /// Where its files are. It goes away with the value.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// What it has logged since the first start.
    pub fn log(&self) -> String {
        read(&self.log_file())
    }

    pub(crate) async fn launch(options: Options, sentinel: bool) -> Self {
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let mut server = Self {
                process: None,
                options: options.clone(),
                sentinel,
                keep: false,
                directory: Scratch::new(),
                port: Port::reserve(),
                bus: Port::reserve(),
            };
            fs::write(server.config_file(), server.config()).unwrap();
            match server.run().await {
                Ok(()) => return server,
                Err(error) => log = error,
            }
            // Somebody who knows nothing of our reservations was faster.
            if !log.contains("in use") {
                break;
            }
        }
        panic!("the server does not start:\n{log}");
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.options.tls.as_ref()
    }

    pub(crate) fn bus(&self) -> u16 {
        self.bus.number()
    }

    /// Runs it until it answers. An error is its log.
    async fn run(&mut self) -> Result<(), String> {
        let mut command = std::process::Command::new("redis-server");
        command.arg(self.config_file());
        if self.sentinel {
            command.arg("--sentinel");
        }
        let process = Process::start(&mut command, &self.log_file(), self.directory.path());
        self.process = Some(process.expect("redis-server is installed"));
        let log = self.log_file();
        let answers = async {
            loop {
                // Before the question: another server on the same port may answer while this one fails.
                if self.process.as_mut().is_some_and(|process| process.ended().is_some()) {
                    return false;
                }
                if self.answers().await {
                    return true;
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        if within_or_show("a server that answers", answers, || read(&log)).await {
            return Ok(());
        }
        self.process = None;
        Err(self.log())
    }

    /// Whether this very process answers, and has loaded its dump.
    async fn answers(&self) -> bool {
        let Ok(info) = self.try_cli(&["INFO", "everything"]).await else { return false };
        field(&info, "process_id") == self.process_id().map(|id| id.to_string()).as_deref()
            && field(&info, "loading").is_none_or(|loading| loading == "0")
    }

    async fn signal(&self, signal: &str) {
        let id = self.process_id().expect("the server is running");
        let mut command = Command::new("sh");
        command.args(["-c", "kill \"$1\" \"$2\"", "kill", signal, &id.to_string()]);
        output(command).await.unwrap();
    }

    fn url_with(&self, user: Option<String>, port: u16) -> String {
        let scheme = if self.options.tls.is_some() { "rediss" } else { "redis" };
        let user = user.map(|user| user + "@").unwrap_or_default();
        format!("{scheme}://{user}127.0.0.1:{port}/")
    }

    /// In the order in which Redis reads it: what the test says comes last and wins.
    fn config(&self) -> String {
        let mut config = String::from("bind 127.0.0.1\nprotected-mode no\ndaemonize no\n");
        let port = self.port();
        writeln!(config, "dir {}\nuser {KIT} on >{KIT} ~* &* +@all", self.directory.path().display()).unwrap();
        match self.tls() {
            None => writeln!(config, "port {port}").unwrap(),
            Some(Tls { certificates, mutual }) => {
                let clients = if *mutual { "yes" } else { "no" };
                writeln!(config, "port 0\ntls-port {port}\ntls-replication yes\ntls-auth-clients {clients}").unwrap();
                writeln!(config, "tls-ca-cert-file {}", certificates.ca().display()).unwrap();
                writeln!(config, "tls-cert-file {}", certificates.server().display()).unwrap();
                writeln!(config, "tls-key-file {}", certificates.server_key().display()).unwrap();
            }
        }
        if !self.sentinel {
            config += "save \"\"\nappendonly no\nenable-debug-command yes\nrepl-diskless-sync-delay 0\n";
            writeln!(config, "masteruser {KIT}\nmasterauth {KIT}\ncluster-port {}", self.bus()).unwrap();
        }
        self.options.directives.iter().for_each(|directive| writeln!(config, "{directive}").unwrap());
        config
    }

    fn config_file(&self) -> PathBuf {
        self.directory.file("redis.conf")
    }

    fn log_file(&self) -> PathBuf {
        self.directory.file("log")
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
}

/// What it prints, or what it complains of.
async fn output(mut command: Command) -> Result<String, String> {
    let output = within("the end of a command", command.kill_on_drop(true).output()).await;
    let output = output.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned();
    let (printed, complaint) = (text(&output.stdout), text(&output.stderr));
    // After a failed login redis-cli goes on without one.
    if output.status.success() && !complaint.contains("AUTH failed") {
        return Ok(printed);
    }
    Err(if complaint.is_empty() { printed } else { complaint })
}

/// The value of a line `name:value`.
pub(crate) fn field<'a>(lines: &'a str, name: &str) -> Option<&'a str> {
    lines.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim_end)
}

/// The user of the test kit, and its password.
pub(crate) const KIT: &str = "kit";

/// How many ports are tried.
const ATTEMPTS: usize = 10;

/// Between two looks at a server that starts.
const PAUSE: Duration = Duration::from_millis(5);

//! Servers die with the test, however it dies.

use larder_redis_tests::{Server, until, within};
use std::{env, future::pending, path::Path, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

#[tokio::test]
async fn servers_die_when_the_process_is_killed() {
    if env::var_os(CHILD).is_some() {
        return be_killed().await;
    }
    // Where the other process has its files: what it cannot remove goes away with this one's.
    let parent = Server::standalone().await;
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "death::servers_die_when_the_process_is_killed", "--nocapture"])
        .env(CHILD, "")
        .env("TMPDIR", parent.directory())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = within("a server in another process", async {
        loop {
            let line = lines.next_line().await.unwrap().expect("the process tells of its server");
            if let Some((_, server)) = line.split_once("server: ") {
                return server.to_owned();
            }
        }
    })
    .await;
    let (process, directory) = server.split_once(' ').unwrap();
    let process = format!("/proc/{process}");
    assert!(is_alive(&process) && Path::new(directory).exists());
    child.kill().await.unwrap();
    until("the death of the server", async || !is_alive(&process) && !Path::new(directory).exists()).await;
}

/// What the other process does.
#[expect(clippy::print_stdout, reason = "it has no other way to tell")]
async fn be_killed() {
    let server = Server::standalone().await;
    // It has to die even so.
    server.pause().await;
    println!("server: {} {}", server.process_id().unwrap(), server.directory().display());
    pending::<()>().await;
}

/// A dead process that nobody has asked for its end is no longer alive.
fn is_alive(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

/// Set in the process that is to be killed.
const CHILD: &str = "LARDER_REDIS_TESTS_CHILD";

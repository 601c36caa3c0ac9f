//! Nodes that are processes of their own. Each is this program again, told what to do line by line.

use crate::support::{HOUR, Node, Setup, full, millis, now, secs};
use http::Response;
use larder::{Policy, Selector};
use larder_redis_tests::{Server, until, within};
use std::{env, fs, path::PathBuf, process::Stdio};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// Set in the process of a node: the Redis, and the directory in which what is true is.
const REDIS: &str = "LARDER_REDIS_TESTS_NODE";
const TRUTH: &str = "LARDER_REDIS_TESTS_TRUTH";

/// What the other processes do. The service answers with what is in a file.
#[tokio::test]
async fn node() {
    let Ok(url) = env::var(REDIS) else { return };
    let truth = PathBuf::from(env::var_os(TRUTH).unwrap());
    let policy = Policy::fresh_for(HOUR).tag_with(|parts, _| [parts.uri.path()[1..].to_owned()]);
    let node = Setup::new(url, policy)
        .replies(move |request, _| {
            let text = fs::read_to_string(truth.join(&request.uri().path()[1..])).unwrap_or_default();
            Response::new(full(text))
        })
        .start()
        .await;
    println!("\nnode: ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await.unwrap() {
        println!("\nnode: {}", answer(&node, &line).await);
    }
}

async fn answer(node: &Node, line: &str) -> String {
    let (what, name) = line.split_once(' ').unwrap_or((line, ""));
    match what {
        "get" => node.get(&format!("/{name}")).await,
        "store" => node.store(&format!("/{name}")).await,
        "purge" => format!("{:?}", node.cache.invalidate(Selector::tag(name)).await.is_ok()),
        "calls" => node.calls().to_string(),
        "gaps" => node.log().gaps.to_string(),
        // Until it is killed.
        "storm" => loop {
            node.get("/storm").await;
            drop(node.cache.invalidate(Selector::tag("storm")).await);
        },
        _ => panic!("{line}"),
    }
}

/// A process. It is killed with its value.
struct Process {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(server: &Server) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "processes::node", "--nocapture"])
            .env(REDIS, server.url())
            .env(TRUTH, server.directory())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut process = Self { child, to, from: BufReader::new(from).lines() };
        assert_eq!(process.hear().await, "ready");
        process
    }

    async fn ask(&mut self, line: &str) -> String {
        self.tell(line).await;
        self.hear().await
    }

    async fn tell(&mut self, line: &str) {
        self.to.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        self.to.flush().await.unwrap();
    }

    async fn hear(&mut self) -> String {
        within("an answer of another process", async {
            loop {
                let line = self.from.next_line().await.unwrap().expect("the process lives");
                if let Some(said) = line.strip_prefix("node: ") {
                    return said.to_owned();
                }
            }
        })
        .await
    }

    /// SIGKILL.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn is_true(server: &Server, name: &str, text: &str) {
    fs::write(server.directory().join(name), text).unwrap();
}

#[tokio::test]
async fn o_29_two_processes_read_what_was_purged() {
    let server = Server::standalone().await;
    let (mut a, mut b) = (Process::start(&server).await, Process::start(&server).await);
    let start = now();
    for round in 0..60 {
        let (text, name) = (format!("value {round}"), "x");
        is_true(&server, name, &text);
        let (one, other) = if round % 2 == 0 { (&mut a, &mut b) } else { (&mut b, &mut a) };
        assert_eq!(one.ask("purge x").await, "true");
        assert_eq!(one.ask("get x").await, text, "its own purge");
        until("the other one", async || other.ask("get x").await == text).await;
        // It never goes back.
        assert_eq!((one.ask("get x").await, other.ask("get x").await), (text.clone(), text));
    }
    assert!(now() - start < secs(20));
    assert_eq!((a.ask("gaps").await, b.ask("gaps").await), ("0".to_owned(), "0".to_owned()));
}

#[tokio::test]
async fn o_29_one_of_three_is_killed() {
    let server = Server::standalone().await;
    is_true(&server, "x", "old");
    is_true(&server, "storm", "wind");
    let (mut a, mut b) = (Process::start(&server).await, Process::start(&server).await);
    for round in 0..3 {
        let mut c = Process::start(&server).await;
        for node in [&mut a, &mut b, &mut c] {
            node.ask("store x").await;
        }
        // It has purged, and been told that it is done; then it is killed in the middle of more.
        is_true(&server, "x", &format!("new {round}"));
        assert_eq!(c.ask("purge x").await, "true");
        c.tell("storm").await;
        let records = || async { server.cli(&["XLEN", "larder:larder:log"]).await.parse::<u64>().unwrap() };
        let before = records().await;
        until("it is in the middle of it", async || records().await > before + 20).await;
        c.kill().await;
        for node in [&mut a, &mut b] {
            until("its purge", async || node.ask("get x").await == format!("new {round}")).await;
            // They go on.
            is_true(&server, "y", &format!("y {round}"));
            assert_eq!(node.ask("purge y").await, "true");
            assert_eq!(node.ask("get y").await, format!("y {round}"));
        }
    }
}

#[tokio::test]
async fn one_that_is_started_again_is_warm() {
    let server = Server::standalone().await;
    let mut a = Process::start(&server).await;
    for number in 0..50 {
        is_true(&server, &number.to_string(), &format!("text {number}"));
        a.ask(&format!("store {number}")).await;
    }
    assert_eq!(a.ask("purge 7").await, "true");
    is_true(&server, "7", "new");
    a.kill().await;
    let mut a = Process::start(&server).await;
    for number in 0..50 {
        let expected = if number == 7 { "new".to_owned() } else { format!("text {number}") };
        assert_eq!(a.ask(&format!("get {number}")).await, expected);
    }
    assert_eq!(a.ask("calls").await, "1", "what was purged, and nothing else");
}

/// One process stands still for a while: when it goes on it has missed what was purged, and does not serve it for long.
#[tokio::test]
async fn o_30_a_process_that_stood_still() {
    let server = Server::standalone().await;
    let (mut a, mut b) = (Process::start(&server).await, Process::start(&server).await);
    is_true(&server, "x", "old");
    a.ask("store x").await;
    assert_eq!(b.ask("get x").await, "old");
    let process = b.child.id().unwrap().to_string();
    let signal = async |name: &str| {
        assert!(Command::new("kill").args([name, &process]).status().await.unwrap().success());
    };
    signal("-STOP").await;
    is_true(&server, "x", "new");
    for _ in 0..20 {
        assert_eq!(a.ask("purge x").await, "true");
    }
    assert_eq!(a.ask("get x").await, "new");
    signal("-CONT").await;
    let start = now();
    until("it has caught up", async || b.ask("get x").await == "new").await;
    assert!(now() - start < secs(5) + millis(500));
}

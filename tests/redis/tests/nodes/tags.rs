//! O-32: there is no index of tags that could leak or be wrong. What holds of one holds of the log.

use crate::support::{HOUR, Node, Setup, full, millis, now, secs};
use http::Response;
use larder::{Policy, Selector};
use larder_redis_tests::{Server, until};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

/// Each path `/n` has three of a hundred tags.
fn tags_of(path: &str) -> [String; 3] {
    let number: usize = path[1..].parse().unwrap_or(0);
    [number % 100, number * 7 % 100, number * 13 % 100].map(|tag| format!("t{tag}"))
}

fn setup(server: &Server) -> Setup {
    let policy = Policy::fresh_for(HOUR).tag_with(|parts, _| tags_of(parts.uri.path()));
    Setup::new(server.url(), policy)
}

/// Two writers and two purgers, at random; then nothing. Each entry that is there can be reached by each of its tags, and a
/// purge of all tags leaves none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_32_every_entry_is_reached_by_each_tag() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let purges = Arc::new(AtomicUsize::new(0));
    let mut tasks = Vec::new();
    for (number, node) in [&a, &b, &a, &b].into_iter().enumerate() {
        let (node, purges) = (node.clone(), Arc::clone(&purges));
        tasks.push(tokio::spawn(async move {
            let start = now();
            let mut round = number;
            while now() - start < secs(3) {
                round += 1;
                if number < 2 {
                    node.get(&format!("/{}", round * 31 % 400)).await;
                } else {
                    let tag = format!("t{}", round * 17 % 100);
                    node.cache.invalidate(Selector::tag(tag)).await.unwrap();
                    purges.fetch_add(1, SeqCst);
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(purges.load(SeqCst) > 50);
    for node in [&a, &b] {
        node.written().await;
        until("all is read", async || node.log().read >= a.log().sent + b.log().sent).await;
    }
    // Whatever is there now is reached by any one of its tags.
    for round in 0..20 {
        let path = format!("/{}", round * 19 % 400);
        let tag = tags_of(&path)[round % 3].clone();
        let texts = [a.store(&path).await, b.get(&path).await];
        [&a, &b][round % 2].cache.invalidate(Selector::tag(tag)).await.unwrap();
        for (node, text) in [&a, &b].into_iter().zip(texts) {
            node.forgets(&path, &text).await;
        }
    }
    // All of them at once: nothing that is in either memory or in Redis is served any more.
    let mut before = Vec::new();
    for number in 0..100 {
        before.push(a.store(&format!("/{number}")).await);
    }
    a.cache.invalidate_many((0..100).map(|tag| Selector::tag(format!("t{tag}")))).await.unwrap();
    let c = setup(&server).start().await;
    until("the others have read it", async || b.log().read >= a.log().sent + b.log().sent).await;
    for (number, text) in before.iter().enumerate() {
        for node in [&a, &b, &c] {
            assert_ne!(node.get(&format!("/{number}")).await, *text);
        }
    }
    let preview = a.cache.preview(&Selector::everything()).await.unwrap();
    assert!(preview.complete);
}

/// Redis holds the entries that live, the log, and nothing else; all of it has an end.
#[tokio::test]
async fn o_32_nothing_grows_with_tags() {
    let server = Server::standalone().await;
    let short = Policy::fresh_for(millis(300)).tag_with(|parts, _| tags_of(parts.uri.path()));
    let node =
        Setup::new(server.url(), short).replies(|_, call| Response::new(full(format!("answer {call}")))).start().await;
    for number in 0..2000 {
        node.get(&format!("/{number}")).await;
    }
    node.written().await;
    for tag in 0..100 {
        node.cache.invalidate(Selector::tag(format!("t{tag}"))).await.unwrap();
    }
    // Redis drops what has expired when it comes to it: looking at all of it helps.
    until("what has expired is gone", async || server.cli(&["--scan", "--pattern", "larder:*:1:*"]).await.is_empty())
        .await;
    let keys = server.cli(&["KEYS", "*"]).await;
    assert_eq!(keys, "larder:larder:log");
    assert!(server.cli(&["PTTL", &keys]).await.parse::<i64>().unwrap() > 0);
    let bytes: u64 = server.cli(&["MEMORY", "USAGE", &keys]).await.parse().unwrap();
    assert!(bytes < 100_000, "{bytes} bytes for 101 records");
}

/// The log does not grow without end either, and a purge of much is one short record.
#[tokio::test]
async fn o_32_the_log_is_trimmed() {
    let server = Server::standalone().await;
    let node = Node::new(server.url(), Policy::fresh_for(HOUR).tags(["x"])).await;
    let before = node.store("/x").await;
    let start = now();
    node.cache.invalidate(Selector::tag("x")).await.unwrap();
    assert!(now() - start < secs(1));
    assert_ne!(node.get("/x").await, before);
    let info = server.cli(&["XLEN", "larder:larder:log"]).await;
    assert_eq!(info, "2", "where the epoch begins, and one record");
    let record = server.cli(&["XREVRANGE", "larder:larder:log", "+", "-", "COUNT", "1"]).await;
    assert!(record.len() < 300, "{record}");
}

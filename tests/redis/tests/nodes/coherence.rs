//! Two nodes, one Redis.

use crate::support::{MINUTE, Node};
use http::Request;
use larder::{Policy, Selector};
use larder_redis_tests::{Server, until};

fn policy() -> Policy {
    Policy::fresh_for(MINUTE).tag_with(|request, _| [request.uri.path().replace('/', "")])
}

#[tokio::test]
async fn what_one_stores_the_other_finds() {
    let server = Server::standalone().await;
    let (a, b) = (Node::new(&server.url(), policy()).await, Node::new(&server.url(), policy()).await);
    let first = a.get("/x").await;
    a.written().await;
    assert_eq!(b.get("/x").await, first, "{:?}\n{:?}", a.cache.stats(), b.cache.stats());
    assert_eq!(b.cache.stats().stores["redis"].hits, 1);
    let (headers, again) = b.send(Request::get("/x")).await;
    assert_eq!((again, headers["cache-status"].to_str().unwrap()), (first, "larder; hit"));
    assert_eq!(b.cache.stats().stores["redis"].hits, 1, "from memory");
    assert_eq!(b.calls.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_one_invalidates_the_other_does_not_serve() {
    let server = Server::standalone().await;
    let (a, b) = (Node::new(&server.url(), policy()).await, Node::new(&server.url(), policy()).await);
    let first = a.get("/x").await;
    a.written().await;
    assert_eq!(b.get("/x").await, first);
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    let read = b.cache.stats().log.unwrap().read;
    until("the record has come", async || b.cache.stats().log.unwrap().read > read || read >= 2).await;
    let second = b.get("/x").await;
    assert_ne!(second, first);
    b.written().await;
    assert_eq!(a.get("/x").await, second, "{:?}\n{:?}", a.cache.stats(), b.cache.stats());
}

#[tokio::test]
async fn one_that_is_started_again_finds_what_it_stored_and_not_what_was_purged() {
    let server = Server::standalone().await;
    let a = Node::new(&server.url(), policy()).await;
    let (x, y) = (a.get("/x").await, a.get("/y").await);
    a.written().await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    drop(a);
    let a = Node::new(&server.url(), policy()).await;
    assert_ne!(a.get("/x").await, x);
    assert_eq!(a.get("/y").await, y, "{:?}", a.cache.stats());
}

#[tokio::test]
async fn one_of_all_processes_fills() {
    let server = Server::standalone().await;
    let slow = || policy().collapse_across(MINUTE);
    let (a, b) = (Node::new(&server.url(), slow()).await, Node::new(&server.url(), slow()).await);
    for path in ["/x", "/y", "/z"] {
        let answers = tokio::join!(a.get(path), b.get(path), a.get(path), b.get(path));
        assert_eq!((&answers.0, &answers.0), (&answers.1, &answers.3));
    }
    let calls = |node: &Node| node.calls.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!(calls(&a) + calls(&b), 3);
    a.written().await;
    b.written().await;
    until("leases are given back", async || !server.cli(&["KEYS", "*lease*"]).await.contains("lease")).await;
}

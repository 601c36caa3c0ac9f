//! Two nodes, one Redis: who has invalidated reads its own write, and the others follow within the bound.

use crate::support::{Answer, MINUTE, Node, Setup, millis, now, reply, secs, tagged};
use http::Request;
use larder::{Policy, Selector};
use larder_redis_tests::{Close, Damage, Fault, Proxy, Server, Way, until};
use std::{sync::Arc, time::Duration};

#[tokio::test]
async fn what_one_stores_the_other_finds() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first, "{:?}\n{:?}", a.cache.stats(), b.cache.stats());
    assert_eq!(b.tier().hits, 1);
    let again = b.send(Request::get("/x")).await;
    assert_eq!((again.body.as_str(), again.outcome()), (first.as_str(), "hit"));
    assert_eq!(b.tier().hits, 1, "from memory");
    assert_eq!(b.calls(), 0);
}

#[tokio::test]
async fn what_one_invalidates_the_other_does_not_serve() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    for round in 0..20 {
        let first = a.store("/x").await;
        assert_eq!(b.get("/x").await, first, "round {round}");
        a.cache.invalidate(Selector::tag("x")).await.unwrap();
        // Its own write is read at once, though Redis has the old bytes.
        let second = a.store("/x").await;
        assert_ne!(second, first);
        // The other one follows, and finds what the first has made since.
        assert_eq!(
            b.forgets("/x", &first).await,
            second,
            "round {round}: {:?}\n{:?}",
            a.cache.stats(),
            b.cache.stats()
        );
    }
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
}

#[tokio::test]
async fn one_that_is_started_again_finds_what_it_stored_and_not_what_was_purged() {
    let server = Server::standalone().await;
    let a = Node::new(server.url(), tagged()).await;
    let (x, y) = (a.get("/x").await, a.store("/y").await);
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    drop(a);
    let a = Node::new(server.url(), tagged()).await;
    assert_ne!(a.get("/x").await, x);
    assert_eq!(a.get("/y").await, y, "{:?}", a.cache.stats());
}

/// Also where the purge and the fill are on different nodes, in both orders, again and again.
#[tokio::test]
async fn whoever_purges_reads_what_is_new() {
    let server = Server::standalone().await;
    let nodes = [Setup::new(server.url(), tagged()).two().await];
    let [(a, b)] = &nodes;
    for round in 0..30 {
        let (filler, purger) = if round % 2 == 0 { (a, b) } else { (b, a) };
        let before = filler.store("/x").await;
        purger.get("/x").await;
        purger.cache.invalidate(Selector::resource("/x")).await.unwrap();
        let after = purger.store("/x").await;
        assert_ne!(after, before);
        assert_eq!(filler.forgets("/x", &before).await, after);
    }
}

/// A second node, through a proxy.
async fn behind(server: &Server, bound: Duration) -> (Node, Node, Proxy) {
    let proxy = Proxy::to(server.address());
    let setup = |url| Setup::new(url, tagged()).builder(|builder| builder.coherence_bound(bound));
    let (a, b) = (setup(server.url()).start().await, setup(proxy.url()).start().await);
    (a, b, proxy)
}

/// Invalidates on one node. The other one no longer serves it after this time, and what a loaded machine may add.
async fn follows(a: &Node, b: &Node, bound: Duration) {
    let first = a.share(b, "/x").await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    let start = now();
    b.forgets("/x", &first).await;
    let took = now() - start;
    assert!(took < bound + millis(500), "took {took:?}, the bound is {bound:?}");
}

#[tokio::test]
async fn o_30_late_messages() {
    let server = Server::standalone().await;
    let (a, b, proxy) = behind(&server, secs(5)).await;
    proxy.set(Fault::Delay { way: Way::ToClient, by: millis(100), jitter: millis(100), seed: 30 });
    for _ in 0..3 {
        follows(&a, &b, millis(1000)).await;
    }
    assert_eq!(b.log().gaps, 0);
}

#[tokio::test]
async fn o_30_connections_that_are_cut() {
    let server = Server::standalone().await;
    let (a, b, proxy) = behind(&server, secs(5)).await;
    for how in [Close::Fin, Close::Rst, Close::Fin] {
        let first = a.share(&b, "/x").await;
        proxy.set(Fault::Refuse);
        proxy.cut(how).await;
        a.cache.invalidate(Selector::tag("x")).await.unwrap();
        proxy.clear();
        let start = now();
        b.forgets("/x", &first).await;
        assert!(now() - start < secs(5));
        until("another connection", async || b.log().since_contact.is_some_and(|since| since < secs(1))).await;
    }
}

/// What the reader waits for never comes, and neither does the end of its connection.
#[tokio::test]
async fn o_30_a_reader_whose_connection_is_half_open() {
    let server = Server::standalone().await;
    let bound = secs(5);
    let (a, b, proxy) = behind(&server, bound).await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    proxy.set(Fault::Reply { of: b"XREAD".to_vec(), damage: Damage::Silence, times: 1 });
    // One that is read yet, the next is not.
    for tag in ["other", "x"] {
        a.cache.invalidate(Selector::tag(tag)).await.unwrap();
        until("a reader that waits", async || server.info("blocked_clients").await.as_deref() != Some("0")).await;
    }
    let start = now();
    b.forgets("/x", &first).await;
    let took = now() - start;
    assert!(took < bound, "{took:?}");
}

/// The same where the bound is small.
#[tokio::test]
async fn o_30_a_small_bound_holds_with_a_half_open_connection() {
    let server = Server::standalone().await;
    let bound = millis(400);
    let (a, b, proxy) = behind(&server, bound).await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    let damaged = proxy.counts().damaged;
    proxy.set(Fault::Reply { of: b"XREAD".to_vec(), damage: Damage::Silence, times: 1 });
    // The next answer is swallowed, and what comes is not seen.
    until("a lost answer", async || proxy.counts().damaged > damaged).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    let start = now();
    b.forgets("/x", &first).await;
    let took = now() - start;
    assert!(took < bound + millis(100), "{took:?}");
}

/// Replies that come twice, are lost, or are wrong in a bit: never the old answer for longer than the bound, and never
/// another's bytes.
#[tokio::test]
async fn o_30_answers_that_are_damaged() {
    let server = Server::standalone().await;
    let (a, b, proxy) = behind(&server, secs(5)).await;
    for damage in [Damage::Duplicate, Damage::Drop, Damage::Flip { at: 30 }, Damage::Cut { after: 9, how: Close::Rst }]
    {
        let first = a.share(&b, "/x").await;
        proxy.set(Fault::Reply { of: b"XREAD".to_vec(), damage, times: 1 });
        for _ in 0..3 {
            a.cache.invalidate(Selector::tag("other")).await.unwrap();
        }
        a.cache.invalidate(Selector::tag("x")).await.unwrap();
        let start = now();
        assert!(b.forgets("/x", &first).await.starts_with("answer "));
        let took = now() - start;
        assert!(took < secs(5), "{damage:?}: {took:?}");
        proxy.clear();
    }
}

/// The purge is lost on the way to Redis, or its answer on the way back: it is sent again, and is there at last.
#[tokio::test]
async fn a_purge_whose_answer_is_lost() {
    let server = Server::standalone().await;
    for damage in [Damage::Silence, Damage::Cut { after: 0, how: Close::Rst }] {
        let (b, a, proxy) = behind(&server, secs(2)).await;
        let first = a.store("/x").await;
        assert_eq!(b.get("/x").await, first);
        proxy.set(Fault::Reply { of: b"selects".to_vec(), damage, times: 1 });
        proxy.set(Fault::Reply { of: b"EVALSHA".to_vec(), damage, times: 1 });
        let told = a.cache.invalidate(Selector::tag("x")).await;
        assert!(told.is_ok() || told.unwrap_err().is_unconfirmed());
        assert_ne!(a.get("/x").await, first);
        b.forgets("/x", &first).await;
        until("nothing waits", async || a.log().waiting == 0).await;
        until("requests ask it again", async || a.tier().up).await;
        // It may be there twice. It is not taken for a loss.
        let second = a.store("/y").await;
        until("the log is read", async || b.log().read >= a.log().sent).await;
        assert_eq!(b.get("/y").await, second, "{:?} {:?}", a.cache.stats(), b.cache.stats());
    }
}

/// What was stored in one policy's name under one lifetime is found under another one's only by its own key.
#[tokio::test]
async fn lifetimes_are_those_of_whoever_stored() {
    let server = Server::standalone().await;
    let long = Setup::new(server.url(), Policy::fresh_for(MINUTE)).timed();
    let (a, b) = long.two().await;
    let first = a.store("/x").await;
    a.advance(secs(30));
    b.advance(secs(30));
    let got = b.send(Request::get("/x")).await;
    assert_eq!((got.body.as_str(), got.header("age")), (first.as_str(), "30"));
    b.advance(secs(30));
    assert_ne!(b.get("/x").await, first, "promoted with the rest of its lifetime");
}

/// Of all processes one asks its service, and the others find what it has stored.
#[tokio::test]
async fn one_of_all_processes_fills() {
    let server = Server::standalone().await;
    let slow: Answer = Arc::new(|_, call| {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            reply(call)
        })
    });
    let (a, b) = Setup::new(server.url(), tagged().collapse_across(MINUTE)).answer(slow).two().await;
    for path in ["/x", "/y", "/z"] {
        let answers = tokio::join!(a.get(path), b.get(path), a.get(path), b.get(path));
        assert_eq!((&answers.0, &answers.0), (&answers.1, &answers.3));
    }
    assert_eq!(a.calls() + b.calls(), 3);
    until("leases are given back", async || !server.cli(&["KEYS", "*lease*"]).await.contains("lease")).await;
}

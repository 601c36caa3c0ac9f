//! A node without Redis: what it may serve, how long, and what becomes of what it has invalidated meanwhile.

use crate::support::{HOUR, Node, Setup, millis, now, secs, tagged};
use http::Request;
use larder::{Selector, Value};
use larder_redis_tests::{Close, Fault, Proxy, Server, Way, until};
use std::time::Duration;

const ISOLATION: Duration = Duration::from_secs(30);

/// Two nodes, each behind a proxy of its own.
async fn behind(server: &Server, setup: impl Fn(String) -> Setup) -> [(Node, Proxy); 2] {
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::to(server.address());
        nodes.push((setup(proxy.url()).start().await, proxy));
    }
    nodes.try_into().map_err(|_| ()).unwrap()
}

fn quick(url: String) -> Setup {
    Setup::new(url, tagged()).redis(|redis| redis.budget(millis(100)).breaker(5, millis(100)))
}

async fn away(proxy: &Proxy) {
    proxy.set(Fault::Refuse);
    proxy.cut(Close::Rst).await;
}

/// The purge says that it is not confirmed, holds here at once, and everywhere when Redis is back with the old entries.
#[tokio::test]
async fn o_37_a_purge_while_redis_is_away() {
    let server = Server::standalone().await;
    let [(a, near), (b, far)] = behind(&server, quick).await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    for proxy in [&near, &far] {
        away(proxy).await;
    }
    let start = now();
    let error = a.cache.invalidate(Selector::tag("x")).await.unwrap_err();
    assert!(error.is_unconfirmed(), "{error}");
    assert!(now() - start < secs(3));
    assert_eq!(a.log().waiting, 1);
    let second = a.get("/x").await;
    assert_ne!(second, first);
    assert_eq!(b.get("/x").await, first, "it cannot know, and has been cut off for a moment only");
    for proxy in [&near, &far] {
        proxy.clear();
    }
    let start = now();
    b.forgets("/x", &first).await;
    assert!(now() - start < secs(6));
    until("it is sent", async || a.log().waiting == 0).await;
    // What Redis has of it is of no use to anybody, whoever starts now.
    let c = Setup::new(server.url(), tagged()).start().await;
    for node in [&a, &b, &c] {
        assert_ne!(node.get("/x").await, first);
    }
}

/// The same with a server that hangs, where nothing is refused.
#[tokio::test]
async fn o_37_a_purge_while_redis_stands_still() {
    let server = Server::standalone().await;
    let (a, b) = quick(server.url()).two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    server.pause().await;
    let start = now();
    assert!(a.cache.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
    assert!(now() - start < secs(3));
    assert_ne!(a.get("/x").await, first);
    server.resume().await;
    b.forgets("/x", &first).await;
    until("it is sent", async || a.log().waiting == 0).await;
}

/// Many of them, in the order in which they were made, and those that were made before the first contact too.
#[tokio::test]
async fn o_37_what_was_purged_before_the_first_contact() {
    let server = Server::standalone().await;
    let old = Setup::new(server.url(), tagged()).start().await;
    let texts = [old.get("/x").await, old.store("/y").await];
    let proxy = Proxy::to(server.address());
    away(&proxy).await;
    let a = quick(proxy.url()).absent();
    for tag in ["x", "y"] {
        assert!(a.cache.invalidate(Selector::tag(tag)).await.unwrap_err().is_unconfirmed());
    }
    proxy.clear();
    assert!(a.cache.ready(secs(10)).await);
    for (path, text) in ["/x", "/y"].iter().zip(&texts) {
        assert_ne!(a.get(path).await, *text);
        old.forgets(path, text).await;
    }
}

/// Redis is lost with all that it had, and comes back empty or with an old copy.
#[tokio::test]
async fn o_37_redis_comes_back_empty_or_old() {
    for old in [false, true] {
        let mut server = Server::standalone().await;
        let (a, b) = quick(server.url()).two().await;
        let first = a.store("/x").await;
        assert_eq!(b.get("/x").await, first);
        if old {
            // A copy from before the purge.
            server.save().await;
        }
        a.cache.invalidate(Selector::tag("x")).await.unwrap();
        b.forgets("/x", &first).await;
        server.stop();
        server.start().await;
        for node in [&a, &b] {
            let contact = node.log().failures;
            until("contact", async || {
                node.log().since_contact.is_some_and(|since| since < millis(300)) || node.log().failures > contact + 50
            })
            .await;
            assert_ne!(node.get("/x").await, first, "old: {old}");
        }
        if !old {
            let c = Setup::new(server.url(), tagged()).start().await;
            assert_ne!(c.get("/x").await, first);
            continue;
        }
        // What knew of the purge tells those that come: the epoch of the old copy is not used again.
        for node in [&a, &b] {
            until("a new epoch", async || node.log().gaps > 0).await;
        }
        let c = Setup::new(server.url(), tagged()).start().await;
        assert_ne!(c.get("/x").await, first, "a purge that Redis has lost: {:?}", c.cache.stats());
    }
}

/// What was invalidated elsewhere is served until the isolation has passed, and not longer; what is filled meanwhile, as long again.
#[tokio::test]
async fn isolation_ends_what_was_filled_before() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let timed = |url: String| Setup::new(url, tagged()).timed().builder(|builder| builder.isolation(ISOLATION));
    let (a, b) = (Setup::new(server.url(), tagged()).start().await, timed(proxy.url()).start().await);
    let first = b.store("/x").await;
    away(&proxy).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    // Whatever was on its way has come.
    until("it fails", async || b.log().failures > 0).await;
    b.advance(ISOLATION);
    let served = b.get("/x").await;
    b.advance(secs(2));
    let second = b.get("/x").await;
    assert_ne!(second, first);
    assert!(served == first || served == second);
    // Filled once, and used for as long.
    let calls = b.calls();
    b.advance(ISOLATION);
    assert_eq!(b.get("/x").await, second);
    assert_eq!(b.calls(), calls);
    b.advance(millis(1));
    assert_ne!(b.get("/x").await, second);
    // Back again, and nothing from before the purge is.
    proxy.clear();
    until("contact", async || b.log().since_contact.is_some_and(|since| since < secs(1))).await;
    assert_ne!(b.get("/x").await, first);
}

/// In contact there is no such end.
#[tokio::test]
async fn in_contact_nothing_ends_early() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), tagged()).timed();
    let node = setup.builder(|builder| builder.isolation(ISOLATION).coherence_bound(millis(200))).start().await;
    let first = node.store("/x").await;
    for _ in 0..5 {
        node.advance(ISOLATION);
        let since = || node.log().since_contact.unwrap();
        until("contact", async || since() < ISOLATION).await;
        assert_eq!(node.get("/x").await, first);
    }
    assert_eq!(node.send(Request::get("/x")).await.header("age"), "150");
}

/// A node that is cut off on one side only: it can send and hear nothing, or hear and send nothing.
#[tokio::test]
async fn o_37_half_a_connection() {
    for way in [Way::ToClient, Way::ToServer] {
        let server = Server::standalone().await;
        let [(a, near), (b, _far)] = behind(&server, quick).await;
        let first = a.store("/x").await;
        assert_eq!(b.get("/x").await, first);
        near.set(Fault::BlackHole { way });
        let start = now();
        let told = a.cache.invalidate(Selector::tag("x")).await;
        assert!(told.unwrap_err().is_unconfirmed());
        assert!(now() - start < secs(3));
        assert_ne!(a.get("/x").await, first);
        near.clear();
        near.cut(Close::Rst).await;
        b.forgets("/x", &first).await;
        until("it is sent", async || a.log().waiting == 0).await;
        a.share(&b, "/y").await;
    }
}

/// The cache ends: what waits is said to be unconfirmed, and who asks again is told the same.
#[tokio::test]
async fn a_node_that_is_shut_down() {
    let server = Server::standalone().await;
    let [(a, near), (b, _far)] = behind(&server, quick).await;
    let first = a.share(&b, "/x").await;
    a.cache.shutdown(secs(5)).await;
    near.set(Fault::Refuse);
    near.cut(Close::Rst).await;
    assert!(a.cache.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
    assert_ne!(a.get("/x").await, first);
    assert_eq!(b.get("/x").await, first);
}

/// What was invalidated in passing just before the end is told to others, and what is stored then is written.
#[tokio::test]
async fn what_waits_to_be_told_is_told_before_the_end() {
    let server = Server::standalone().await;
    static PRICE: Value<u32> = Value::named("price").fresh_for(HOUR).shared();
    for _ in 0..10 {
        let (a, b) = Setup::new(server.url(), tagged()).two().await;
        a.cache.value(&PRICE).put(1);
        a.written().await;
        assert_eq!(b.cache.value(&PRICE).get().await.as_deref(), Some(&1));
        // Nobody waits for these to be in the log.
        a.cache.value(&PRICE).remove();
        let text = a.get("/x").await;
        assert_eq!(a.cache.shutdown(secs(10)).await.aborted, 0);
        assert_eq!(a.log().waiting, 0);
        until("the other has heard of it", async || b.cache.value(&PRICE).get().await.is_none()).await;
        assert_eq!(b.get("/x").await, text);
        b.cache.invalidate(Selector::everything()).await.unwrap();
    }
}

/// What is written before the node is told to end is there for the next one.
#[tokio::test]
async fn what_waits_is_written_before_the_end() {
    let server = Server::standalone().await;
    let a = Setup::new(server.url(), tagged()).start().await;
    let mut texts = Vec::new();
    for number in 0..200 {
        texts.push(a.get(&format!("/{number}")).await);
    }
    a.cache.shutdown(secs(10)).await;
    let b = Setup::new(server.url(), tagged()).start().await;
    for (number, text) in texts.iter().enumerate() {
        assert_eq!(b.get(&format!("/{number}")).await, *text);
    }
    assert_eq!(b.calls(), 0);
}

//! The answer that brings something from Redis begins its refresh, where that is due.

use crate::support::{HOUR, MINUTE, Setup, replies, reply_with, secs};
use http::Request;
use larder::{Policy, Value};
use larder_redis_tests::{Server, until};
use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

static RATE: Value<usize> = Value::named("rate").fresh_for(MINUTE).stale_while_revalidate(MINUTE).shared();

static EAGER: Value<usize> = Value::named("eager").fresh_for(MINUTE).eager_refresh(0.5).shared();

/// The first request that gets it is enough to have it refreshed.
#[tokio::test]
async fn o_28_one_request_has_it_refreshed() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE)).timed();
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    b.advance(secs(90));
    let got = b.send(Request::head("/x")).await;
    assert_eq!(got.outcome(), "stale");
    until("it is refreshed", async || b.calls() == 1 && b.cache.stats().background == 0).await;
    let stats = b.cache.stats();
    assert_eq!((stats.refreshes, stats.failed_refreshes, stats.fills), (1, 0, 0), "{stats:?}");
    let second = b.send(Request::get("/x")).await;
    assert_eq!(second.outcome(), "hit");
    assert_ne!(second.body, first);
    assert_eq!(b.calls(), 1);
}

/// Of many who ask at once all get what is stale, and one refresh follows.
#[tokio::test]
async fn one_refresh_for_all() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE)).timed();
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    b.advance(secs(90));
    let asking: Vec<_> = (0..20)
        .map(|_| {
            let b = b.clone();
            tokio::spawn(async move { b.send(Request::get("/x")).await })
        })
        .collect();
    for asked in asking {
        let got = asked.await.unwrap();
        let stale = got.outcome() == "stale" && got.body == first;
        // Who comes when the refresh has ended gets what it brought.
        assert!(stale || got.outcome() == "hit" && got.body != first, "{got:?}");
    }
    until("it is refreshed", async || b.calls() == 1 && b.cache.stats().background == 0).await;
    assert_eq!(b.cache.stats().refreshes, 1);
}

/// With what is in memory to be compared with Redis, and no newer there, what is stale is served at once as well.
#[tokio::test]
async fn what_is_compared_is_refreshed_too() {
    let server = Server::standalone().await;
    let policy = Policy::fresh_for(MINUTE).memory_ttl(secs(10)).stale_while_revalidate(MINUTE);
    let node = Setup::new(server.url(), policy).timed().start().await;
    let first = node.store("/x").await;
    node.advance(secs(90));
    let got = node.send(Request::get("/x")).await;
    assert_eq!((got.outcome(), &got.body), ("stale", &first), "{got:?}");
    until("it is refreshed", async || node.calls() == 2 && node.cache.stats().background == 0).await;
    assert_eq!(node.send(Request::get("/x")).await.outcome(), "hit");
}

#[tokio::test]
async fn eagerly() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(MINUTE).eager_refresh(0.5)).timed();
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    b.advance(secs(40));
    let got = b.send(Request::get("/x")).await;
    assert_eq!((got.outcome(), &got.body), ("hit", &first));
    until("it is refreshed", async || b.calls() == 1 && b.cache.stats().background == 0).await;
    assert_ne!(b.get("/x").await, first);
    // Before that there is no need.
    let c = setup.start().await;
    a.store("/y").await;
    assert_eq!(c.send(Request::get("/y")).await.outcome(), "hit");
    assert_eq!((c.calls(), c.cache.stats().background), (0, 0));
}

/// A refresh that fails is not begun again with each request.
#[tokio::test]
async fn in_vain() {
    let server = Server::standalone().await;
    let answer = replies(|request, call| {
        let mut reply = reply_with(call, &[]);
        if request.headers().contains_key("x-fails") {
            *reply.status_mut() = http::StatusCode::BAD_GATEWAY;
        }
        reply
    });
    let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR);
    let (a, b) = Setup::new(server.url(), policy).timed().answer(answer).two().await;
    let first = a.store("/x").await;
    b.advance(secs(90));
    for _ in 0..3 {
        let got = b.send(Request::get("/x").header("x-fails", "1")).await;
        assert_eq!((got.outcome(), &got.body), ("stale", &first));
        until("it is over", async || b.cache.stats().background == 0).await;
    }
    assert_eq!((b.calls(), b.cache.stats().failed_refreshes), (1, 1));
}

#[tokio::test]
async fn values() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(MINUTE)).timed();
    for (value, after, number) in [(&RATE, 90, 1), (&EAGER, 40, 2)] {
        let (a, b) = setup.two().await;
        a.cache.value(value).param("round", number).put(7);
        a.written().await;
        b.advance(secs(after));
        static LOADS: AtomicUsize = AtomicUsize::new(100);
        let load = async || {
            let call = b.cache.value(value).param("round", number);
            *call.get_or_load(|| async { Ok::<_, Infallible>(LOADS.fetch_add(1, SeqCst)) }).await.unwrap()
        };
        assert_eq!(load().await, 7);
        until("it is refreshed", async || b.cache.stats().refreshes == 1 && b.cache.stats().background == 0).await;
        assert_eq!(load().await, 99 + number);
    }
}

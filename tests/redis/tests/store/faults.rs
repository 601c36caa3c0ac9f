//! While the way to the server fails in every way: nobody waits longer than the budget, and it mends by itself.

use crate::support::{get, in_time, key, millis, now, proxied, put, ready, secs};
use bytes::Bytes;
use larder::{Redis, Store, StoreError};
use larder_redis_tests::{Close, Damage, Fault, Proxy, Server, Way, until};
use std::{sync::Arc, time::Duration};

const BUDGET: Duration = Duration::from_millis(100);

/// A store behind a proxy, with `a` in it. Its breaker does not open.
async fn unbroken(proxy: &Proxy, budget: Duration) -> Arc<dyn Store> {
    let redis = Redis::open(proxy.url()).unwrap().budget(budget);
    let store = ready(&redis.breaker(u32::MAX, secs(1))).await;
    until("a first write", async || put(&*store, "a", "x").await.is_ok()).await;
    store
}

/// It works again within the time that is documented for a server that is back.
async fn mends(store: &dyn Store) {
    let start = now();
    until("recovery", async || in_time(BUDGET, get(store, "a")).await.is_ok()).await;
    let took = now() - start;
    assert!(took < secs(6), "back after {took:?}");
}

#[tokio::test]
async fn o_33_refused_at_start() {
    let (_server, proxy) = proxied().await;
    proxy.set(Fault::Refuse);
    absent_at_start(&proxy, StoreError::Unreachable).await;
}

#[tokio::test]
async fn o_33_a_black_hole_at_start() {
    let (_server, proxy) = proxied().await;
    proxy.set(Fault::BlackHole { way: Way::ToClient });
    absent_at_start(&proxy, StoreError::Unreachable).await;
}

async fn absent_at_start(proxy: &Proxy, error: StoreError) {
    let redis = Redis::open(proxy.url()).unwrap().budget(BUDGET);
    let store = redis.store().unwrap();
    let start = now();
    for _ in 0..1000 {
        assert_eq!(get(&*store, "a").await, Err(error));
    }
    // Nothing was waited for: a thousand budgets would be 100 s.
    assert!(now() - start < secs(5));
    assert!(!store.is_available());
    proxy.clear();
    mends(&*store).await;
    assert!(store.is_available());
}

#[tokio::test]
async fn o_33_no_such_host() {
    let redis = Redis::open("redis://no-such-host.invalid").unwrap().budget(BUDGET);
    let store = redis.store().unwrap();
    for _ in 0..100 {
        assert_eq!(in_time(BUDGET, get(&*store, "a")).await, Err(StoreError::Unreachable));
    }
}

#[tokio::test]
async fn o_34_black_holes() {
    for way in [Way::ToClient, Way::ToServer] {
        let (_server, proxy) = proxied().await;
        let store = unbroken(&proxy, BUDGET).await;
        proxy.set(Fault::BlackHole { way });
        fails_for(&*store, secs(2)).await;
        proxy.clear();
        mends(&*store).await;
    }
}

#[tokio::test]
async fn o_34_replies_that_drip() {
    let (_server, proxy) = proxied().await;
    let store = unbroken(&proxy, BUDGET).await;
    proxy.set(Fault::Throttle { way: Way::ToClient, bytes_per_second: 1 });
    fails_for(&*store, secs(2)).await;
    proxy.clear();
    mends(&*store).await;
}

/// Asks again and again, one after the other and many at once.
async fn fails_for(store: &dyn Store, time: Duration) {
    let start = now();
    while now() - start < time {
        let value = in_time(BUDGET, get(store, "a")).await;
        assert!(value.is_err(), "{value:?}");
        let (keys, other) = ([key("a"), key("b")], [key("c")]);
        let both = async { tokio::join!(store.get(&keys), store.remove(&other), put(store, "d", "x")) };
        let (got, removed, kept) = in_time(BUDGET, both).await;
        assert!(got.is_err() && removed.is_err() && kept.is_err());
        // Without a connection it fails at once, and this would be a busy loop.
        tokio::time::sleep(millis(5)).await;
    }
}

/// One connection of four is dead, with the reply half read. Nobody but its own operation notices.
#[tokio::test]
async fn o_34_a_stall_inside_a_bulk() {
    let budget = secs(1);
    let (server, proxy) = proxied().await;
    server.cli(&["SET", "large", &"x".repeat(100_000)]).await;
    let store = unbroken(&proxy, budget).await;
    let before = proxy.counts().ever;
    proxy.set(Fault::reply("large", Damage::Silence));
    assert_eq!(in_time(budget, get(&*store, "large")).await, Err(StoreError::Timeout));
    let mut failed = 0;
    for _ in 0..200 {
        failed += usize::from(in_time(budget, get(&*store, "a")).await.is_err());
    }
    assert!(failed <= 2, "{failed} of 200 failed beside a dead connection");
    until("a new connection", async || proxy.counts().ever == before + 1).await;
    assert_eq!(get(&*store, "large").await.unwrap().unwrap().len(), 100_000);
}

/// The bytes are declared, but only some of them come, then the connection ends: a read is tried once more.
#[tokio::test]
async fn connections_that_break_inside_a_reply() {
    let (_server, proxy) = proxied().await;
    let store = unbroken(&proxy, secs(2)).await;
    for how in [Close::Fin, Close::Rst] {
        for after in [0, 1, 5] {
            until("four connections", async || proxy.counts().open == 4).await;
            proxy.set(Fault::reply("GET", Damage::Cut { after, how }));
            assert_eq!(
                in_time(secs(2), get(&*store, "a")).await,
                Ok(Some(Bytes::from_static(b"x"))),
                "{how:?} {after}"
            );
        }
    }
    // A write is not: nobody knows whether it was done.
    proxy.set(Fault::reply("SET", Damage::Cut { after: 0, how: Close::Rst }));
    assert_eq!(in_time(secs(2), put(&*store, "a", "y")).await, Err(StoreError::Unreachable));
}

#[tokio::test]
async fn all_connections_cut_at_once() {
    let (_server, proxy) = proxied().await;
    let store = unbroken(&proxy, BUDGET).await;
    for how in [Close::Fin, Close::Rst, Close::Rst] {
        proxy.cut(how).await;
        mends(&*store).await;
        // Also those that nobody used notice.
        until("four connections", async || proxy.counts().open == 4).await;
    }
}

/// The end of an idle connection is noticed without being used: a firewall that forgets is noticed at the next look.
#[tokio::test]
async fn idle_connections_are_looked_at() {
    let (_server, proxy) = proxied().await;
    let redis = Redis::open(proxy.url()).unwrap().budget(BUDGET).connections(2).sample_every(millis(100));
    let store = ready(&redis).await;
    let before = proxy.counts().ever;
    proxy.set(Fault::reply("PING", Damage::Silence));
    until("a new connection", async || proxy.counts().ever > before).await;
    mends(&*store).await;
}

#[tokio::test]
async fn an_open_breaker_asks_nothing() {
    let (server, proxy) = proxied().await;
    // One connection, and no probe during the test.
    let redis = Redis::open(proxy.url()).unwrap().budget(BUDGET).connections(1).breaker(5, secs(3600));
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    // Slow, but there: a PING is answered in time, so the connection stays.
    proxy.set(Fault::delay(Way::ToClient, millis(200)));
    for _ in 0..5 {
        assert_eq!(in_time(BUDGET, get(&*store, "a")).await, Err(StoreError::Timeout));
    }
    assert!(!store.is_available());
    let gets =
        async || server.cli(&["INFO", "commandstats"]).await.split("cmdstat_get:calls=").nth(1).unwrap().to_owned();
    let before = gets().await;
    for _ in 0..1000 {
        assert_eq!(get(&*store, "a").await, Err(StoreError::Resting));
        assert_eq!(put(&*store, "a", "y").await, Err(StoreError::Resting));
    }
    let count = |text: &str| text.split(',').next().unwrap().parse::<u64>().unwrap();
    assert_eq!(count(&gets().await), count(&before));
    assert_eq!(proxy.counts().ever, 1);
}

#[tokio::test]
async fn a_probe_closes_the_breaker_without_a_client() {
    let (_server, proxy) = proxied().await;
    let redis = Redis::open(proxy.url()).unwrap().budget(BUDGET).connections(2).breaker(3, millis(50));
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    proxy.set(Fault::delay(Way::ToClient, millis(300)));
    until("an open breaker", async || get(&*store, "a").await == Err(StoreError::Resting)).await;
    // While it is slow, it stays open: nobody waits for it but the probes.
    let mut waited = 0;
    for _ in 0..40 {
        waited += usize::from(get(&*store, "a").await == Err(StoreError::Timeout));
        tokio::time::sleep(millis(20)).await;
    }
    assert!(waited <= 2, "{waited} of 40 waited");
    proxy.clear();
    // Asking whether it is worth asking is enough to find out.
    until("a closed breaker", async || store.is_available()).await;
    assert_eq!(get(&*store, "a").await, Ok(Some(Bytes::from_static(b"x"))));
}

#[tokio::test]
async fn a_server_that_stands_still_and_goes_on() {
    let server = Server::standalone().await;
    let redis = Redis::open(server.url()).unwrap().budget(BUDGET);
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    server.pause().await;
    let large = Bytes::from(vec![7; 400_000]);
    for _ in 0..20 {
        assert!(in_time(BUDGET, get(&*store, "a")).await.is_err());
        // Soon the system takes no more of them.
        assert!(in_time(BUDGET, store.put(key("large"), large.clone(), secs(60))).await.is_err());
    }
    server.resume().await;
    mends(&*store).await;
}

#[tokio::test]
async fn a_server_that_is_restarted() {
    let mut server = Server::standalone().await;
    let redis = Redis::open(server.url()).unwrap().budget(BUDGET);
    let store = ready(&redis).await;
    for _ in 0..3 {
        server.stop();
        until("failure", async || in_time(BUDGET, get(&*store, "a")).await.is_err()).await;
        server.start().await;
        mends(&*store).await;
    }
}

/// (a) The connection stays, and answers READONLY.
#[tokio::test]
async fn o_36_a_primary_that_becomes_a_replica_and_back() {
    let (server, other) = (Server::standalone().await, Server::standalone().await);
    let redis = Redis::open(server.url()).unwrap().budget(secs(2));
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]).await;
    until("READONLY", async || put(&*store, "a", "y").await == Err(StoreError::ReadOnly)).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]).await;
    until("a write", async || put(&*store, "a", "z").await.is_ok()).await;
    assert!(store.is_available());
}

/// A name that leads to another server after a failover.
#[tokio::test]
async fn o_36_a_name_that_leads_elsewhere() {
    let (old, new) = (Server::standalone().await, Server::standalone().await);
    // The proxy stands for the name; the old primary keeps its connections, and answers READONLY.
    let front = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    front.set_nonblocking(true).unwrap();
    let port = front.local_addr().unwrap().port();
    let front = tokio::net::TcpListener::from_std(front).unwrap();
    let (to, leads) = tokio::sync::watch::channel(old.address());
    let forward = tokio::spawn(async move {
        loop {
            let (mut client, _) = front.accept().await.unwrap();
            let to = *leads.borrow();
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
            });
        }
    });
    let redis = Redis::open(format!("redis://127.0.0.1:{port}")).unwrap().budget(secs(2));
    let store = ready(&redis).await;
    put(&*store, "a", "old").await.unwrap();
    to.send_replace(new.address());
    put(&*store, "a", "still old").await.unwrap();
    old.cli(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]).await;
    until("a write to the new one", async || {
        put(&*store, "a", "new").await.is_ok() && new.try_cli(&["GET", "a"]).await.as_deref() == Ok("new")
    })
    .await;
    forward.abort();
}

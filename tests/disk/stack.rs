//! Memory, disk and Redis.

use crate::support::{App, MINUTE, Scratch};
use larder::{Cache, Redis, Selector, Value};
use larder_redis_tests::{Server, until};
use std::convert::Infallible;

async fn node(scratch: &Scratch, server: &Server) -> App {
    let redis = Redis::open(server.url()).unwrap().budget(MINUTE);
    let app = App::of(Cache::builder().disk(scratch.disk()).redis(redis)).await;
    // It is not the log that is waited for here.
    scratch.disk().ready(MINUTE).await.unwrap();
    app
}

#[tokio::test]
async fn what_redis_has_comes_to_the_disk() {
    let server = Server::standalone().await;
    let (one, other) = (Scratch::new(), Scratch::new());
    let (a, b) = (node(&one, &server).await, node(&other, &server).await);
    a.get("/a/1", "old").await;
    a.get("/b/1", "old").await;
    a.written().await;
    assert_eq!(b.get("/a/1", "new").await, "old", "{:?}", b.cache.stats());
    b.written().await;
    let stores = b.cache.stats().stores;
    assert_eq!((stores["redis"].hits, stores["redis"].writes, stores["disk"].writes), (1, 0, 1));
    // From the disk, when memory and Redis have lost it.
    server
        .cli(&["EVAL", "for _, k in ipairs(redis.call('KEYS', 'larder:*{*')) do redis.call('DEL', k) end", "0"])
        .await;
    b.cache.clear();
    assert_eq!(b.get("/a/1", "new").await, "old", "{:?}", b.cache.stats());
    assert_eq!(b.cache.stats().stores["disk"].hits, 1);
    // The log is that of Redis: what another node invalidates ends what is on this disk.
    a.cache.invalidate(Selector::tag("a")).await.unwrap();
    until("it is heard of", async || b.get("/a/1", "new").await == "new").await;
    drop((a, b));
    let b = node(&other, &server).await;
    assert_eq!(b.get("/a/1", "newer").await, "new");
}

/// Each log hears of what is invalidated while it is the one in use: what is from before it was, or from before
/// another one was, has to be made again.
#[tokio::test]
async fn what_was_stamped_by_another_log_is_not_used() {
    let server = Server::standalone().await;
    let scratch = Scratch::new();
    let forget = "for _, k in ipairs(redis.call('KEYS', 'larder:*{*')) do redis.call('DEL', k) end";
    let alone = App::new(&scratch).await;
    alone.get("/a/1", "first").await;
    alone.written().await;
    drop(alone);
    let with_redis = node(&scratch, &server).await;
    assert_eq!(with_redis.get("/a/1", "second").await, "second");
    with_redis.written().await;
    server.cli(&["EVAL", forget, "0"]).await;
    drop(with_redis);
    // Found again, as nothing else was in use meanwhile.
    let with_redis = node(&scratch, &server).await;
    assert_eq!(with_redis.get("/a/1", "third").await, "second", "{:?}", with_redis.cache.stats());
    drop(with_redis);
    let alone = App::new(&scratch).await;
    assert_eq!(alone.get("/b/1", "third").await, "third");
    alone.cache.invalidate(Selector::tag("a")).await.unwrap();
    alone.written().await;
    drop(alone);
    let with_redis = node(&scratch, &server).await;
    assert_eq!(with_redis.get("/a/1", "fourth").await, "fourth", "Redis has not heard that it was invalidated");
    assert_eq!(with_redis.get("/b/1", "fourth").await, "fourth");
}

static RATE: Value<usize> = Value::named("rate").fresh_for(MINUTE).shared();

/// A node whom Redis tells of what changes.
async fn told(scratch: &Scratch, server: &Server) -> App {
    let redis = Redis::open(server.url()).unwrap().budget(MINUTE).client_tracking(true);
    let app = App::of(Cache::builder().disk(scratch.disk()).redis(redis)).await;
    scratch.disk().ready(MINUTE).await.unwrap();
    listens(server).await;
    app
}

async fn listens(server: &Server) {
    until("it listens", async || server.cli(&["CLIENT", "LIST"]).await.contains("flags=tB")).await;
}

#[tokio::test]
async fn what_is_deleted_in_redis_by_hand_is_not_found_on_the_disk() {
    let server = Server::standalone().await;
    let scratch = Scratch::new();
    let app = told(&scratch, &server).await;
    let load = async |number| {
        let loading = app.cache.value(&RATE).get_or_load(async move || Ok::<_, Infallible>(number));
        *loading.await.unwrap()
    };
    assert_eq!((app.get("/a/1", "old").await, load(1).await), ("old".into(), 1));
    app.written().await;
    assert_eq!((app.get("/a/1", "new").await, load(2).await), ("old".into(), 1));
    server
        .cli(&["EVAL", "for _, k in ipairs(redis.call('KEYS', 'larder:*{*')) do redis.call('DEL', k) end", "0"])
        .await;
    until("the response is gone", async || app.get("/a/1", "new").await == "new").await;
    until("the value is gone", async || load(2).await == 2).await;
}

/// What was made while Redis was away was never there: that it is not there says nothing.
#[tokio::test]
async fn what_redis_never_had_stays() {
    let mut server = Server::standalone().await;
    let events = Server::standalone().await;
    let scratch = Scratch::new();
    let redis = Redis::open(server.url()).unwrap().budget(MINUTE).client_tracking(true);
    let log = Redis::open(events.url()).unwrap().budget(MINUTE);
    let app = App::of(Cache::builder().disk(scratch.disk()).redis(redis).shared_log(log)).await;
    scratch.disk().ready(MINUTE).await.unwrap();
    listens(&server).await;
    server.stop();
    until("it is away", async || !app.cache.stats().stores["redis"].up).await;
    assert_eq!(app.get("/a/1", "old").await, "old");
    app.written().await;
    assert_eq!(app.cache.stats().stores["disk"].writes, 1);
    server.start().await;
    listens(&server).await;
    until("it is there", async || app.cache.stats().stores["redis"].up).await;
    for _ in 0..20 {
        assert_eq!(app.get("/a/1", "new").await, "old", "{:?}", app.cache.stats());
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

//! Redis is away from the start, half there, or answers late to those who have gone: requests are answered all the same,
//! and not much later.

use crate::support::{Node, Setup, full, millis, now, secs, status, tagged};
use http::{Request, Response};
use larder::{Redis, Selector};
use larder_redis_tests::{Close, Fault, Proxy, Server, Way, until};
use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::{Instant, timeout};

const BUDGET: Duration = Duration::from_millis(50);

fn usual(redis: Redis) -> Setup {
    Setup::over(redis, tagged()).redis(|redis| redis.budget(BUDGET))
}

/// Asks for things that nobody has, and for one that is in memory. No request takes longer than the budget and what a
/// loaded machine may add; most take nothing.
async fn nobody_waits(node: &Node, requests: usize) {
    let (start, mut longest) = (now(), Duration::ZERO);
    let first = node.get("/kept").await;
    for number in 0..requests {
        let before = now();
        assert!(node.get(&format!("/{number}")).await.starts_with("answer "));
        longest = longest.max(now() - before);
    }
    assert_eq!(node.get("/kept").await, first, "from memory");
    let took = now() - start;
    assert!(longest < BUDGET + millis(400), "one took {longest:?}");
    assert!(took < millis(requests as u64 * 2) + secs(3), "all took {took:?}");
}

/// It works without a restart, soon after Redis is there.
async fn comes(node: &Node, server: &Server, since: Instant) {
    let other = Setup::new(server.url(), tagged()).start().await;
    node.share(&other, "/back").await;
    let took = now() - since;
    assert!(took < secs(8), "it took {took:?}");
    let first = other.share(node, "/x").await;
    other.cache.invalidate(Selector::tag("x")).await.unwrap();
    node.forgets("/x", &first).await;
}

#[tokio::test]
async fn o_33_refused() {
    let mut server = Server::standalone().await;
    server.stop();
    let node = usual(Redis::open(server.url()).unwrap()).absent();
    nobody_waits(&node, 1000).await;
    assert!(!node.cache.ready(millis(100)).await);
    assert!(node.cache.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
    server.start().await;
    comes(&node, &server, now()).await;
    assert_eq!(node.log().waiting, 0);
}

#[tokio::test]
async fn o_33_a_black_hole() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    proxy.set(Fault::BlackHole { way: Way::ToClient });
    let node = usual(Redis::open(proxy.url()).unwrap()).absent();
    nobody_waits(&node, 1000).await;
    proxy.clear();
    comes(&node, &server, now()).await;
}

#[tokio::test]
async fn o_33_no_such_host() {
    let node = usual(Redis::open("redis://no-such-host.invalid").unwrap()).absent();
    nobody_waits(&node, 1000).await;
    assert!(node.log().failures < 100, "{:?}", node.log());
}

#[tokio::test]
async fn o_33_a_wrong_password() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let node = usual(Redis::open(proxy.url()).unwrap().password("not asked for")).absent();
    nobody_waits(&node, 200).await;
    assert!(node.log().failures < 100);
}

/// The tasks that read and write belong to the first runtime that uses the cache. When it has gone another takes over.
#[test]
fn o_33_runtimes_that_come_and_go() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let (server, other) = first.block_on(async {
        let server = Server::standalone().await;
        let other = Setup::new(server.url(), tagged()).start().await;
        (server, other)
    });
    let node = usual(Redis::open(server.url()).unwrap()).absent();
    for round in 0..3 {
        let own = runtime();
        let text = own.block_on(async {
            node.get("/touch").await;
            assert!(node.cache.ready(secs(10)).await);
            let path = format!("/{round}");
            node.store(&path).await;
            node.get(&path).await
        });
        drop(own);
        let path = format!("/{round}");
        first.block_on(async {
            let found = other.get(&path).await;
            assert!(found == text || found.starts_with("answer "));
            other.cache.invalidate(Selector::resource(path.clone())).await.unwrap();
        });
        let own = runtime();
        own.block_on(node.forgets(&path, &text));
    }
}

/// Silence in either direction, replies that drip, and a server that stands still, under traffic.
async fn half_open(fault: Option<Fault>) {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let node = usual(Redis::open(proxy.url()).unwrap()).start().await;
    node.store("/kept").await;
    match &fault {
        Some(fault) => proxy.set(fault.clone()),
        None => server.pause().await,
    }
    let start = now();
    while now() - start < secs(2) {
        nobody_waits(&node, 100).await;
    }
    let stats = node.cache.stats();
    assert!(stats.writes_waiting <= 1024, "{stats:?}");
    match fault {
        Some(_) => proxy.clear(),
        None => server.resume().await,
    }
    let healed = now();
    comes(&node, &server, healed).await;
    until("nothing waits", async || node.cache.stats().writes_waiting == 0).await;
}

#[tokio::test]
async fn o_34_silence_from_the_server() {
    half_open(Some(Fault::BlackHole { way: Way::ToClient })).await;
}

#[tokio::test]
async fn o_34_silence_towards_the_server() {
    half_open(Some(Fault::BlackHole { way: Way::ToServer })).await;
}

#[tokio::test]
async fn o_34_drops() {
    half_open(Some(Fault::Throttle { way: Way::ToClient, bytes_per_second: 1 })).await;
}

#[tokio::test]
async fn o_34_a_server_that_stands_still() {
    half_open(None).await;
}

/// Large bodies into a connection that takes nothing: what waits is bounded, and the rest is dropped and counted.
#[tokio::test]
async fn o_34_no_unbounded_backlog() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let redis = Redis::open(proxy.url()).unwrap().budget(BUDGET).queue(8, 4 << 20).breaker(u32::MAX, secs(1));
    let setup = Setup::over(redis, tagged()).replies(|_, _| Response::new(full(vec![b'x'; 500_000])));
    let node = setup.start().await;
    proxy.set(Fault::Throttle { way: Way::ToServer, bytes_per_second: 1000 });
    let ask = |number: usize| {
        let node = node.clone();
        tokio::spawn(async move {
            node.get(&format!("/{number}")).await;
            assert!(node.cache.stats().writes_waiting <= 8);
        })
    };
    for task in (0..60).map(ask).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    assert!(node.tier().dropped > 0, "{:?}", node.tier());
    proxy.clear();
    until("nothing waits", async || node.cache.stats().writes_waiting == 0).await;
}

/// Redis is slow for each request, and each gets an answer of its own. A third of the clients go away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_35_clients_that_go_away() {
    let server = Server::standalone().await;
    let filler = Setup::new(server.url(), tagged())
        .replies(|request, _| Response::new(full(format!("of {}", request.uri().path()))));
    let full_node = filler.start().await;
    for number in 0..500 {
        full_node.get(&format!("/{number}")).await;
    }
    full_node.written().await;
    let proxy = Proxy::to(server.address());
    let redis = Redis::open(proxy.url()).unwrap().budget(secs(20)).connections(2);
    // Nothing stays in memory, so that each is asked for again.
    let tiny = Setup::over(redis, tagged().memory_ttl(millis(1))).replies(|request, _| {
        let mut reply = status(200);
        *reply.body_mut() = full(format!("of {}", request.uri().path()));
        reply
    });
    let node = tiny.start().await;
    proxy.set(Fault::Delay { way: Way::ToClient, by: millis(5), jitter: millis(15), seed: 35 });
    let mut tasks = Vec::new();
    for task in 0..50_u64 {
        let node = node.clone();
        tasks.push(tokio::spawn(async move {
            let mut read = 0;
            for round in 0..40_u64 {
                let dice = RandomState::new().hash_one(round);
                let path = format!("/{}", (task * 7 + dice % 50) % 500);
                let limit = if dice % 10 < 3 { millis(dice >> 8 & 0xf) } else { secs(30) };
                if let Ok(got) = timeout(limit, node.send(Request::get(&path))).await {
                    assert_eq!(got.body, format!("of {path}"));
                    read += 1;
                }
            }
            read
        }));
    }
    let mut read = 0;
    for task in tasks {
        read += task.await.unwrap();
    }
    assert!(read > 1000, "{read}");
    assert!(node.tier().hits > 100, "{:?}", node.tier());
    until("nobody is left", async || (node.cache.stats().fills, node.cache.stats().background) == (0, 0)).await;
    proxy.cut(Close::Rst).await;
}

/// A server that is farther away than the budget is of no use to requests, and hears of what is invalidated all the same.
#[tokio::test]
async fn o_32_too_far_for_requests() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let far = usual(Redis::open(proxy.url()).unwrap()).absent();
    let near = Setup::new(server.url(), tagged()).start().await;
    assert!(far.cache.ready(secs(20)).await);
    proxy.set(Fault::delay(Way::ToClient, BUDGET * 2));
    until("it is left alone", async || {
        far.get("/none").await;
        far.cache.invalidate(Selector::tag("none")).await.unwrap();
        far.tier().reasons.contains_key("resting")
    })
    .await;
    let stored = near.store("/x").await;
    for _ in 0..3 {
        far.cache.invalidate(Selector::tag("x")).await.expect("it is written");
    }
    near.forgets("/x", &stored).await;
    assert!(!far.tier().up, "requests do not ask it");
}

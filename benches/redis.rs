//! What Redis behind the memory tier costs and saves, against a real server on this machine.
//!
//! ```sh
//! cargo bench -p larder-benches --bench redis            # everything
//! cargo bench -p larder-benches --bench redis -- get     # what has one of these words in its name: get, trips, table
//! ```
//!
//! * `get`: a request answered from Redis, against a bare `GET` of the same bytes on one connection, by turns.
//! * `trips`: how many commands a lookup sends. Fails if it is more than one where `Vary` is known.
//! * `table`: a handler of 50 ms without a cache, with one in memory, in Redis, and in both.
//!
//! Times are printed and nothing more: they depend on the machine. It needs `redis-server`.
#![allow(clippy::print_stdout, reason = "benches print what they measure")]
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheLayer, CacheService, Policy, Redis};
use larder_benches::is_wanted;
use larder_redis_tests::{Server, until};
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    process::ExitCode,
    time::{Duration, Instant},
};
use tower_layer::Layer;
use tower_service::Service;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::standalone().await;
        let mut kept = true;
        if is_wanted("get") {
            for compressed in [false, true] {
                against_get(&server, compressed).await;
            }
        }
        if is_wanted("trips") {
            kept &= trips(&server).await;
        }
        if is_wanted("table") {
            table(&server).await;
        }
        if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    })
}

/// A service that answers after a while, with a body of so many bytes.
#[derive(Clone)]
struct Handler {
    body: Bytes,
    takes: Duration,
    vary: bool,
}

impl Service<Request<Full<Bytes>>> for Handler {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            if !this.takes.is_zero() {
                tokio::time::sleep(this.takes).await;
            }
            let mut response = Response::builder().header("content-type", "application/json");
            if this.vary {
                response = response.header("vary", "accept-language");
            }
            Ok(response.body(Full::new(this.body)).expect("a response"))
        })
    }
}

type Layered = CacheService<Handler>;

async fn cache(server: &Server, namespace: &str, compressed: bool) -> Cache {
    let redis = Redis::open(server.url()).expect("a URL").budget(Duration::from_secs(5));
    let builder = Cache::builder().namespace(namespace).redis(redis);
    let cache = builder.compress_from(compressed.then_some(4096)).build().expect("a cache");
    assert!(cache.ready(Duration::from_secs(20)).await, "Redis cannot be read");
    cache
}

async fn ask(service: &mut Layered, path: &str) -> usize {
    let request = Request::get(path).header("host", "shop").body(Full::default()).expect("a request");
    let response = match service.call(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    response.into_body().collect().await.map_or(0, |body| body.to_bytes().len())
}

async fn stored(cache: &Cache) {
    until("all is written", async || cache.stats().writes_waiting == 0).await;
}

/// The median of what these take, by turns.
async fn by_turns(mut one: impl AsyncFnMut(), mut other: impl AsyncFnMut()) -> (f64, f64, f64) {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..1200 {
        let begun = Instant::now();
        one().await;
        let first = begun.elapsed().as_secs_f64() * 1e6;
        let begun = Instant::now();
        other().await;
        let second = begun.elapsed().as_secs_f64() * 1e6;
        if round >= 200 {
            ones.push(first);
            others.push(second);
        }
    }
    let ratios = ones.iter().zip(&others).map(|(one, other)| one / other).collect();
    (median(ones), median(others), median(ratios))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

async fn against_get(server: &Server, compressed: bool) {
    println!("a hit in Redis against a bare GET{}", if compressed { ", compressed" } else { "" });
    println!("{:>8} {:>10} {:>10} {:>7}", "bytes", "hit µs", "GET µs", "ratio");
    let client = redis::Client::open(server.url()).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    for size in [1 << 10, 10 << 10, 100 << 10, 1 << 20] {
        let namespace = format!("get-{size}-{compressed}");
        let cache = cache(server, &namespace, compressed).await;
        let text = r#"{"id":17,"name":"a product","price":1299,"tags":["new","sale"]},"#;
        let body = Bytes::from(text.repeat(size / text.len() + 1)).slice(..size);
        let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(3600)));
        let mut service = layer.layer(Handler { body, takes: Duration::ZERO, vary: false });
        ask(&mut service, "/x").await;
        stored(&cache).await;
        let keys = server.cli(&["--raw", "KEYS", &format!("larder:{namespace}:1:*")]).await;
        let key = keys.lines().next().expect("a key").to_owned();
        let (hit, get, ratio) = by_turns(
            async || {
                cache.clear();
                assert_eq!(ask(&mut service, "/x").await, size);
            },
            async || {
                let found: Vec<u8> = redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("bytes");
                assert!(!found.is_empty());
            },
        )
        .await;
        println!("{size:>8} {hit:>10.0} {get:>10.0} {ratio:>7.2}");
        assert_eq!(cache.stats().misses, 1, "everything else came from Redis");
    }
}

/// The commands that the server has run, but for those of the log and of looking after connections.
async fn commands(server: &Server) -> u64 {
    let stats = server.cli(&["INFO", "commandstats"]).await;
    let count = |name: &str| {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{name}:")));
        line.and_then(|line| line.split(['=', ',']).nth(1)?.parse::<u64>().ok()).unwrap_or(0)
    };
    count("get") + count("mget")
}

async fn trips(server: &Server) -> bool {
    println!("commands of a lookup in Redis");
    let mut kept = true;
    for (name, vary, learnt, most) in
        [("without Vary", false, false, 1), ("Vary, known", true, true, 1), ("Vary, unknown", true, false, 2)]
    {
        let namespace = format!("trips-{vary}-{learnt}");
        let policy = || Policy::fresh_for(Duration::from_secs(3600));
        let handler = Handler { body: Bytes::from_static(b"x"), takes: Duration::ZERO, vary };
        let first = cache(server, &namespace, false).await;
        ask(&mut CacheLayer::new(&first, policy()).layer(handler.clone()), "/x").await;
        stored(&first).await;
        let reader = if learnt { first } else { cache(server, &namespace, false).await };
        reader.clear();
        let before = commands(server).await;
        ask(&mut CacheLayer::new(&reader, policy()).layer(handler), "/x").await;
        let sent = commands(server).await - before;
        assert_eq!(reader.stats().stores["redis"].hits, 1);
        kept &= sent <= most;
        println!("  {name:<14} {sent}{}", if sent <= most { "" } else { "  BROKEN: too many" });
    }
    kept
}

/// The seeds' own table.
async fn table(server: &Server) {
    println!("a handler of 50 ms, 10 000 requests for 100 pages, 50 at once");
    println!("{:>20} {:>12} {:>12} {:>10}", "", "requests/s", "mean ms", "calls");
    let hour = || Policy::fresh_for(Duration::from_secs(3600));
    let bare = Cache::in_memory(64 << 20);
    let redis = cache(server, "table-redis", false).await;
    let both = cache(server, "table-both", false).await;
    for (name, cache, policy, requests) in [
        ("no cache", &bare, hour().bypass_if(|_| true), 2_000),
        ("memory", &bare, hour(), 10_000),
        // Each lookup in memory is too old.
        ("Redis", &redis, hour().memory_ttl(Duration::ZERO), 10_000),
        ("memory and Redis", &both, hour(), 10_000),
    ] {
        let body = Bytes::from(vec![b'x'; 10 << 10]);
        let handler = Handler { body, takes: Duration::from_millis(50), vary: false };
        let service = CacheLayer::new(cache, policy).layer(handler);
        let begun = Instant::now();
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let mut service = service.clone();
                tokio::spawn(async move {
                    let mut spent = Duration::ZERO;
                    for n in 0..requests / 50 {
                        let begun = Instant::now();
                        ask(&mut service, &format!("/{}", (n * 50 + task) % 100)).await;
                        spent += begun.elapsed();
                    }
                    spent
                })
            })
            .collect();
        let mut spent = Duration::ZERO;
        for task in tasks {
            spent += task.await.expect("a task");
        }
        let whole = begun.elapsed();
        let stats = cache.stats();
        let calls = if name == "no cache" { requests } else { stats.misses };
        println!(
            "{name:>20} {:>12.0} {:>12.3} {calls:>10}",
            requests as f64 / whole.as_secs_f64(),
            spent.as_secs_f64() * 1e3 / requests as f64
        );
    }
}

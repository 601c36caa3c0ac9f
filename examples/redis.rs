//! Two processes, one Redis: what one has made the other finds, and what one changes the other does not serve any more.
//!
//! `cargo run --example redis -- 3001`, in another terminal `cargo run --example redis -- 3002`, then try the lines that they
//! print. `REDIS_URL` says which Redis, `redis://127.0.0.1:6379/1` without it. Where there is none it works as well, each
//! process for itself, and says so.
#![allow(clippy::print_stdout, reason = "it tells what to try")]

use axum::{Router, extract::State, http::StatusCode, routing::get};
use larder::{Cache, CacheLayer, Policy, Redis, Store};
use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, signal, time::sleep};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = address()?;
    let redis = Redis::from_env()?;
    // No IO: the connections are made in the background, and a Redis that is away is no error.
    let cache = Cache::builder().namespace("example").memory(64 << 20).redis(redis.clone()).build()?;

    let prices = Policy::named("prices").fresh_for(Duration::from_secs(600)).shared().depends_on(["Price"]);
    let shop = Shop { cache: cache.clone(), port: address.port() };
    let app = Router::new()
        .route("/price", get(show_price).layer(CacheLayer::new(&cache, prices)).post(change_price))
        .route("/stats", get(show_stats))
        .with_state(shop);

    let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
    // The same Redis for the lines to try, and without a password that may be in it.
    let cli = if env::var_os("REDIS_URL").is_some() { "redis-cli -u \"$REDIS_URL\"" } else { "redis-cli -n 1" };
    println!("Listening on http://{address}, Ctrl-C stops.\n{}", WHAT_TO_TRY.replace("REDIS-CLI", cli));
    // Not needed to serve: what others have stored is used once their invalidations have been read.
    if cache.ready(Duration::from_secs(2)).await {
        println!("Redis is there: this process sees what the others store and invalidate.");
    } else {
        let why = redis
            .ready(Duration::ZERO)
            .await
            .map_or_else(|error| error.to_string(), |()| "its log cannot be read".to_owned());
        println!("No Redis: {why}. This process caches in its own memory until there is one.");
    }
    tokio::spawn(watch(redis.store()?));
    axum::serve(listener, app).with_graceful_shutdown(stopped()).await?;
    // What waits to be written to Redis is written.
    cache.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Half a second, if it is not in the cache.
async fn show_price(State(shop): State<Shop>) -> String {
    static ANSWERS: AtomicU64 = AtomicU64::new(0);
    sleep(Duration::from_millis(500)).await;
    let (cents, answer) = (price(), ANSWERS.fetch_add(1, Ordering::Relaxed) + 1);
    format!("a teapot costs {cents} cents; answer {answer} of the process on port {}\n", shop.port)
}

async fn change_price(State(shop): State<Shop>, body: String) -> Result<String, (StatusCode, String)> {
    let cents: u32 = body
        .trim()
        .parse()
        .map_err(|_| (StatusCode::BAD_REQUEST, "the body is to be a price in cents\n".to_owned()))?;
    fs::write(place(), cents.to_string()).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))?;
    // First the data, then the cache.
    match shop.cache.changed("Price").await {
        Ok(_) => Ok(format!("a teapot now costs {cents} cents, for all processes\n")),
        Err(error) if error.is_unconfirmed() => {
            Ok(format!("a teapot now costs {cents} cents; other processes may not know yet: {error}\n"))
        }
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))),
    }
}

async fn show_stats(State(shop): State<Shop>) -> String {
    let stats = shop.cache.stats();
    format!(
        "hits {}, misses {}\nstores {:#?}\nwrites waiting {}\nlog {:#?}\n",
        stats.hits, stats.misses, stats.stores, stats.writes_waiting, stats.log
    )
}

#[derive(Clone)]
struct Shop {
    cache: Cache,
    port: u16,
}

/// Says when Redis goes, and when it is back. An application would look at `Cache::stats` instead, or at the warnings in its log.
async fn watch(store: Arc<dyn Store>) {
    let mut was = store.is_available();
    loop {
        sleep(Duration::from_millis(100)).await;
        let is = store.is_available();
        match (was, is) {
            (true, false) => println!("Redis is away: requests are answered from memory, or by the handler."),
            (false, true) => println!("Redis is there."),
            _ => {}
        }
        was = is;
    }
}

/// The database of both processes is a file.
fn price() -> u32 {
    fs::read_to_string(place()).ok().and_then(|text| text.parse().ok()).unwrap_or(3490)
}

fn place() -> std::path::PathBuf {
    env::temp_dir().join("larder-example-price")
}

/// A port, or an address with a port.
fn address() -> Result<SocketAddr, String> {
    let text = env::args().nth(1).unwrap_or_else(|| "3001".to_owned());
    let port = text.parse().map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)));
    port.or_else(|_| text.parse())
        .map_err(|_| format!("{text}: it is to be a port, or an address such as 0.0.0.0:3001"))
}

async fn stopped() {
    // Without a signal handler there is nothing to wait for, and Ctrl-C ends the process at once.
    if signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

const WHAT_TO_TRY: &str = "\
Start a second process with another port. With 3001 and 3002 try:

The first one makes the answer in half a second. The second one finds it in Redis, at once. The host is a part of the key:
behind a load balancer all processes are asked for one host, here it has to be said.
  curl -i -H 'Host: shop' localhost:3001/price
  curl -i -H 'Host: shop' localhost:3002/price

A new price, told to one process. The other one does not serve the old answer any more.
  curl localhost:3002/price -d 2990
  curl -i -H 'Host: shop' localhost:3001/price

What goes to Redis, and what it keeps:
  REDIS-CLI monitor
  REDIS-CLI --scan
  REDIS-CLI xrange larder:example:log - +

End this Redis, and both still answer. Start it again, and they find it within a second or so.
  REDIS-CLI shutdown nosave
  curl -i -H 'Host: shop' localhost:3001/price
  curl localhost:3001/price -d 1990
  curl localhost:3001/stats
";

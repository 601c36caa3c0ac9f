//! axum: a policy for each route, and a part of the application that is mounted twice.
//!
//! `cargo run --example axum`, then `curl -i localhost:3000/v1/prices`.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use axum::{Router, extract::OriginalUri, routing::get};
use larder::{Cache, CacheLayer, Policy};
use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let cache = Cache::in_memory(64 << 20);
    // Prices change often. Articles seldom do, and only `page` makes a difference: `?utm_source=mail` does not.
    let prices = Policy::named("prices").fresh_for(Duration::from_secs(5));
    let articles = Policy::named("articles").fresh_for(Duration::from_secs(3600)).query_only(["page"]);

    let shop = Router::new()
        .route("/prices", get(answer).layer(CacheLayer::new(&cache, prices)))
        .route("/articles", get(answer).layer(CacheLayer::new(&cache, articles)))
        .route("/now", get(answer)); // no layer: never cached

    // Inside a nest a handler sees `/prices`, whichever nest it is. The cache goes by what the client has sent, so that
    // `/v1/prices` and `/v2/prices` are two responses.
    let app = Router::new().nest("/v1", shop.clone()).nest("/v2", shop);

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "listening on http://{}: try /v1/prices, /v2/prices, /v1/articles?page=2, /v1/now",
        listener.local_addr()?
    );
    axum::serve(listener, app).await
}

/// Says how often a handler has run; it does not count what the cache answers.
async fn answer(OriginalUri(uri): OriginalUri) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("{uri}: answer {}\n", CALLS.fetch_add(1, Ordering::Relaxed) + 1)
}

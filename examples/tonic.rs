//! tonic: the place of the cache in a gRPC server.
//!
//! gRPC calls are POST requests. Here they pass through, bodies, trailers and streams untouched; what is cached are plain
//! GET routes beside them. Unary calls are cached too where the policy says `grpc()`, as their content is then part of the
//! key, and the layer says how it is given back: `CacheLayer::new(&cache, policy.grpc()).rebuild_body(tonic::body::Body::new)`.
//!
//! `cargo run --example tonic`, then `curl -i localhost:3000/prices`.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use axum::{Router, routing::get};
use larder::{Cache, CacheLayer, Policy};
use std::{
    error::Error,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tonic::{service::Routes, transport::Server};
use tonic_health::ServingStatus;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::in_memory(64 << 20);
    let policy = Policy::fresh_for(Duration::from_secs(60));

    // Your own services are added in the same way as this one.
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("shop.Prices", ServingStatus::Serving).await;
    let routes = Routes::from(Router::new().route("/prices", get(prices))).add_service(health_service);

    println!("listening on http://127.0.0.1:3000: gRPC, and /prices for HTTP/1.1 and HTTP/2");
    Server::builder()
        .accept_http1(true) // for curl and browsers
        .layer(CacheLayer::new(&cache, policy))
        .add_routes(routes)
        .serve("127.0.0.1:3000".parse()?)
        .await?;
    Ok(())
}

async fn prices() -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    format!("a teapot costs 34.90, said {} times\n", CALLS.fetch_add(1, Ordering::Relaxed) + 1)
}

//! Bare hyper: the layer around any tower service, here a function.
//!
//! `cargo run --example hyper`, then `curl -i localhost:3000/anything`.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use larder::{Cache, CacheLayer, Policy};
use std::{
    convert::Infallible,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, service_fn};

#[tokio::main]
async fn main() -> io::Result<()> {
    let cache = Cache::in_memory(64 << 20);
    let policy = Policy::fresh_for(Duration::from_secs(60));

    let service = ServiceBuilder::new()
        // The cache makes requests of its own, to refresh what is stale, and their bodies are empty: hyper's `Incoming`
        // cannot be made, a boxed body can.
        .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed))
        .layer(CacheLayer::new(&cache, policy))
        .service(service_fn(answer));

    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}: try any path", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

async fn answer(request: Request<BoxBody<Bytes, hyper::Error>>) -> Result<Response<Full<Bytes>>, Infallible> {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let text = format!("{}: answer {}\n", request.uri(), CALLS.fetch_add(1, Ordering::Relaxed) + 1);
    Ok(Response::new(Full::from(text)))
}

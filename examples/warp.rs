//! warp: the layer goes around `warp::service`, and hyper-util serves the whole.
//!
//! `cargo run --example warp`, then `curl -i localhost:3000/hello/world`.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use larder::{Cache, CacheLayer, Policy};
use std::{
    error::Error,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder};
use warp::Filter;

#[tokio::main]
async fn main() -> io::Result<()> {
    let cache = Cache::in_memory(64 << 20);
    let policy = Policy::fresh_for(Duration::from_secs(60));

    static CALLS: AtomicU64 = AtomicU64::new(0);
    let hello = warp::path!("hello" / String)
        .map(|name| format!("Hello, {name}! This is answer {}.\n", CALLS.fetch_add(1, Ordering::Relaxed) + 1));

    let service = ServiceBuilder::new()
        // The cache makes requests of its own, to refresh what is stale, and their bodies are empty: hyper's `Incoming`
        // cannot be made, a boxed body can.
        .map_request(|request: Request<Incoming>| request.map(BodyExt::boxed))
        .layer(CacheLayer::new(&cache, policy))
        .service(warp::service(hello));

    serve(service).await
}

async fn serve<S, B>(service: S) -> io::Result<()>
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://{}: try /hello/world", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        let connection = http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
    }
}

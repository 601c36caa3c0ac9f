//! The servers with axum: `bare`, `larder`, and the `origin` of the proxies, which also tells at `/calls` how often
//! it was asked.
#![allow(clippy::print_stdout, reason = "it tells where it listens")]

use axum::{
    Router,
    body::Bytes,
    http::header::{AGE, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, X_CONTENT_TYPE_OPTIONS},
    routing::get,
};
use larder::{Cache, CacheLayer, Policy};
use std::{
    env, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (router, address) = match &arguments[..] {
        [kind, address] if kind == "bare" => (bare(), address),
        [kind, address] if kind == "larder" => (cached(), address),
        [kind, address] if kind == "origin" => (counted(), address),
        _ => return Err(io::Error::other("usage: larder-served-axum bare|larder|origin ADDRESS")),
    };
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await
}

/// A prebuilt body and six fields. With `Content-Length` and `Date` there are eight, as in a hit of Larder.
fn bare() -> Router {
    let body = Bytes::from(vec![b'x'; LENGTH]);
    let status = HeaderName::from_static("cache-status");
    let answer = move || async move { (FIELDS, [(AGE, "0"), (status, "larder; hit")], body) };
    Router::new().route(PATH, get(answer))
}

/// Larder in its defaults before a handler that gives four fields.
fn cached() -> Router {
    let cache = Cache::in_memory(64 << 20);
    counted().layer(CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(3600))))
}

fn counted() -> Router {
    let body = Bytes::from(vec![b'x'; LENGTH]);
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let answer = move || async move {
        count.fetch_add(1, Relaxed);
        (FIELDS, body)
    };
    let tell = move || async move { ([(CACHE_CONTROL, "no-store")], calls.load(Relaxed).to_string()) };
    Router::new().route(PATH, get(answer)).route("/calls", get(tell))
}

const PATH: &str = "/products/7";
const LENGTH: usize = 1024;
const FIELDS: [(HeaderName, &str); 4] = [
    (CONTENT_TYPE, "text/html; charset=utf-8"),
    (CACHE_CONTROL, "max-age=3600"),
    (ETAG, "\"5d8c72a5edda8d6a\""),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

//! A full cache takes no more memory than one and a half times what it may hold.
//!
//! Each test runs itself again in a process of its own, where nothing else has taken memory or given it back.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheLayer, Policy};
use std::{convert::Infallible, env, fs, process::Command, time::Duration};
use tower::{Layer, ServiceExt, service_fn};

#[test]
fn bodies_of_one_byte() {
    hold("bodies_of_one_byte", |number| format!("/{number}"), || Response::new(body(1)));
}

#[test]
fn sixty_fields() {
    let respond = || {
        let mut response = Response::new(body(100));
        for number in 0..60 {
            // Parsed, as from the network: no two responses share a name.
            let name = HeaderName::from_bytes(format!("x-field-{number}").as_bytes()).unwrap();
            response.headers_mut().insert(name, HeaderValue::from_str(&format!("value-{number}")).unwrap());
        }
        response
    };
    hold("sixty_fields", |number| format!("/{number}"), respond);
}

#[test]
fn keys_of_eight_kibibytes() {
    let path = |number| format!("/{}/{number}", "x".repeat(7_900));
    hold("keys_of_eight_kibibytes", path, || Response::new(body(100)));
}

/// The same for responses of a size as it is usual, with tags.
#[test]
fn tagged_pages() {
    let respond = || {
        let mut response = Response::new(body(1024));
        let tags = (0..16).map(|tag| format!("tag:number:{tag}"));
        response.extensions_mut().insert(larder::Tags::new(tags));
        response
    };
    hold("tagged_pages", |number| format!("/{number}"), respond);
}

/// What a handler says of storing its answer lies beside it.
#[test]
fn policies_of_handlers() {
    let respond = || {
        let mut response = Response::new(body(1));
        response.extensions_mut().insert(Policy::fresh_for(Duration::from_secs(60)));
        response.headers_mut().insert("larder-cache-control", HeaderValue::from_static("max-age=60"));
        response
    };
    hold("policies_of_handlers", |number| format!("/{number}"), respond);
}

/// Fills a cache, and measures what that took, in a process where this is the only test.
fn hold(test: &str, path: fn(u64) -> String, respond: fn() -> Response<Full<Bytes>>) {
    if env::var_os(CHILD).is_none() {
        let child = Command::new(env::current_exe().unwrap()).args(["--exact", test]).env(CHILD, "1").output().unwrap();
        assert!(
            child.status.success(),
            "{}{}",
            String::from_utf8_lossy(&child.stdout),
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        // What is loaded or made once is there by then.
        drop(filled(1 << 20, path, respond).await);
        let before = resident();
        let cache = filled(ALLOWED, path, respond).await;
        let (stats, taken) = (cache.stats(), resident().saturating_sub(before));
        assert!(stats.bytes > ALLOWED as u64 / 100 * 95, "it is full: {}", stats.bytes);
        let ratio = taken as f64 / ALLOWED as f64;
        assert!(ratio < 1.5, "{ratio:.2} times as much as allowed, by {} entries", stats.resources);
    });
}

/// A cache in which everything was replaced once.
async fn filled(bytes: usize, path: fn(u64) -> String, respond: fn() -> Response<Full<Bytes>>) -> Cache {
    let cache = Cache::in_memory(bytes);
    let inner = service_fn(move |_| std::future::ready(Ok::<_, Infallible>(respond())));
    let service = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(3600))).layer(inner);
    let mut next = 0;
    while cache.stats().evictions < cache.stats().resources.max(1) {
        for _ in 0..64 {
            let request = Request::get(path(next).parse::<Uri>().unwrap()).body(Full::<Bytes>::default()).unwrap();
            let response = service.clone().oneshot(request).await.unwrap();
            response.into_body().collect().await.unwrap();
            next += 1;
        }
    }
    cache
}

fn body(length: usize) -> Full<Bytes> {
    Full::new(Bytes::from(vec![b'x'; length]))
}

/// The bytes of memory that this process takes.
fn resident() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Set for a child.
const CHILD: &str = "LARDER_MEMORY_CHILD";

const ALLOWED: usize = 16 << 20;

//! For tests of applications that use this crate: a cache with a manual clock, and assertions on responses.
//!
//! ```
//! use larder::{CacheLayer, Policy, assert_hit, assert_miss, assert_stale, test_util};
//! use std::{convert::Infallible, time::Duration};
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let (cache, clock) = test_util::cache();
//! let minute = Duration::from_secs(60);
//! let policy = Policy::fresh_for(minute).stale_while_revalidate(minute);
//! let app = CacheLayer::new(&cache, policy).layer(service_fn(|_: http::Request<axum::body::Body>| async {
//!     Ok::<_, Infallible>(http::Response::new(axum::body::Body::from("hello")))
//! }));
//! let get = || http::Request::get("/x").body(axum::body::Body::empty()).unwrap();
//!
//! let response = app.clone().oneshot(get()).await.unwrap();
//! assert_miss!(response);
//! axum::body::to_bytes(axum::body::Body::new(response.into_body()), 100).await.unwrap();
//!
//! assert_hit!(app.clone().oneshot(get()).await.unwrap());
//! assert!(cache.contains("/x"));
//! clock.advance(minute);
//! assert_stale!(app.oneshot(get()).await.unwrap());
//! # }
//! ```

use crate::{
    Cache, CacheBuilder, CacheStatusHeader,
    clock::Clock,
    semantics::{
        cache_status::{Member, member},
        date::Timestamp,
    },
};
use http::HeaderMap;
use std::time::Duration;

/// A clock that goes when it is told to.
///
/// ```
/// # use larder::test_util;
/// # use std::time::Duration;
/// let (cache, clock) = test_util::cache();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3600)); // what `cache` has stored is an hour older now
/// assert_eq!(clock.now().since(before), Duration::from_secs(3600));
/// # drop(cache);
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Clock);

impl ManualClock {
    /// Moves the clock on.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    /// The moment it shows.
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }
}

/// A cache of 64 MiB with a clock of its own, which says in `Cache-Status` all it knows.
///
/// ```
/// # use larder::{Value, test_util};
/// # use std::time::Duration;
/// static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
///
/// let (cache, clock) = test_util::cache();
/// cache.value(&RATE).put(2650);
/// clock.advance(Duration::from_secs(59));
/// assert!(cache.value(&RATE).peek().is_some());
/// clock.advance(Duration::from_secs(1));
/// assert!(cache.value(&RATE).peek().is_none());
/// ```
pub fn cache() -> (Cache, ManualClock) {
    match cache_with(Cache::builder()) {
        Ok(made) => made,
        Err(error) => panic!("{error}"),
    }
}

/// A cache as described, with a clock of its own, which says in `Cache-Status` all it knows.
///
/// ```
/// # use larder::{Cache, Policy, test_util};
/// # use std::time::Duration;
/// // As the application builds it, but for the clock.
/// let (cache, clock) = test_util::cache_with(Cache::builder().memory(1 << 20).namespace("shop"))?;
/// # drop((cache, clock));
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// # Errors
///
/// As [`CacheBuilder::build`].
pub fn cache_with(builder: CacheBuilder) -> Result<(Cache, ManualClock), crate::ConfigError> {
    let clock = Clock::manual(Timestamp::from_unix_secs(1_800_000_000));
    let cache = builder.cache_status(CacheStatusHeader::Debug).clock(clock.clone()).build()?;
    Ok((cache, ManualClock(clock)))
}

/// What a response says this crate did with its request, in one word, for the assertions.
///
/// `hit`, `stale`, `revalidated`, `miss`, `bypass`, or `none` where the response does not say.
///
/// ```
/// # use larder::test_util;
/// let mut headers = http::HeaderMap::new();
/// assert_eq!(test_util::outcome(&headers), "none");
/// headers.insert("cache-status", http::HeaderValue::from_static("larder; hit; ttl=30"));
/// assert_eq!(test_util::outcome(&headers), "hit");
/// ```
pub fn outcome(headers: &HeaderMap) -> &'static str {
    let Some(member) = member(headers, "larder") else { return "none" };
    match &member {
        Member { hit: true, ttl: Some(ttl), .. } if *ttl <= 0 && member.detail.is_some() => "stale",
        Member { hit: true, .. } => "hit",
        Member { detail: Some(detail), .. } if detail == "stale-if-error" => "stale",
        Member { fwd: Some(fwd), .. } if fwd == "bypass" || fwd == "method" => "bypass",
        Member { fwd: Some(_), detail: Some(detail), .. } if detail == "revalidated" => "revalidated",
        Member { fwd: Some(_), .. } => "miss",
        _ => "none",
    }
}

/// Lifetimes of all sizes, for property tests of our own.
#[cfg(test)]
pub(crate) fn duration() -> impl proptest::strategy::Strategy<Value = Duration> {
    use proptest::prelude::*;
    prop_oneof![
        any::<Duration>(),
        (0..100_000_000_u64).prop_map(Duration::from_millis),
        Just(Duration::ZERO),
        Just(Duration::MAX)
    ]
}

/// Asserts that a response came from the cache while fresh. The cache is one of [`test_util`](crate::test_util).
///
/// ```
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # use larder::{CacheLayer, Policy, assert_hit, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, clock) = test_util::cache();
/// # let minute = Duration::from_secs(60);
/// let app: Router =
///     Router::new().route("/", get(|| async { "home" })).layer(CacheLayer::new(&cache, Policy::fresh_for(minute)));
/// # let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
/// // The first one is stored once it has been read.
/// axum::body::to_bytes(ask().await.unwrap().into_body(), 100).await.unwrap();
/// assert_hit!(ask().await.unwrap());
/// # drop(clock);
/// # }
/// ```
#[macro_export]
macro_rules! assert_hit {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "hit")
    };
}

/// Asserts that the inner service was asked. The cache is one of [`test_util`](crate::test_util).
///
/// ```
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # use larder::{CacheLayer, Policy, assert_miss, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, clock) = test_util::cache();
/// # let minute = Duration::from_secs(60);
/// let app: Router =
///     Router::new().route("/", get(|| async { "home" })).layer(CacheLayer::new(&cache, Policy::fresh_for(minute)));
/// # let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
/// axum::body::to_bytes(ask().await.unwrap().into_body(), 100).await.unwrap();
/// clock.advance(minute);
/// assert_miss!(ask().await.unwrap());
/// # }
/// ```
#[macro_export]
macro_rules! assert_miss {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "miss")
    };
}

/// Asserts that a response came from the cache although stale. The cache is one of [`test_util`](crate::test_util).
///
/// ```
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # use larder::{CacheLayer, Policy, assert_stale, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, clock) = test_util::cache();
/// # let minute = Duration::from_secs(60);
/// let policy = Policy::fresh_for(minute).stale_while_revalidate(minute);
/// let app: Router = Router::new().route("/", get(|| async { "home" })).layer(CacheLayer::new(&cache, policy));
/// # let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
/// axum::body::to_bytes(ask().await.unwrap().into_body(), 100).await.unwrap();
/// clock.advance(minute);
/// assert_stale!(ask().await.unwrap());
/// # }
/// ```
#[macro_export]
macro_rules! assert_stale {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "stale")
    };
}

/// Asserts that the cache took no part. The cache is one of [`test_util`](crate::test_util).
///
/// ```
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # use larder::{CacheLayer, Policy, assert_bypass, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, clock) = test_util::cache();
/// # let minute = Duration::from_secs(60);
/// let policy = Policy::fresh_for(minute).per_tenant(); // and nobody says of which
/// let app: Router = Router::new().route("/", get(|| async { "home" })).layer(CacheLayer::new(&cache, policy));
/// # let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
/// assert_bypass!(ask().await.unwrap());
/// # drop(clock);
/// # }
/// ```
#[macro_export]
macro_rules! assert_bypass {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "bypass")
    };
}

/// Asserts that the inner service was asked whether the stored response still holds, and it does. The cache is one of
/// [`test_util`](crate::test_util).
///
/// ```
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # use larder::{CacheLayer, Policy, ETagLayer, assert_revalidated, test_util};
/// # use std::time::Duration;
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let (cache, clock) = test_util::cache();
/// # let minute = Duration::from_secs(60);
/// // The tag is what the stored response is validated by.
/// let app: Router = Router::new()
///     .route("/", get(|| async { "home" }))
///     .layer(ETagLayer::new())
///     .layer(CacheLayer::new(&cache, Policy::fresh_for(minute)));
/// # let ask = || app.clone().oneshot(Request::get("/").body(Body::empty()).unwrap());
/// axum::body::to_bytes(ask().await.unwrap().into_body(), 100).await.unwrap();
/// clock.advance(minute);
/// assert_revalidated!(ask().await.unwrap());
/// # }
/// ```
#[macro_export]
macro_rules! assert_revalidated {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "revalidated")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __assert_outcome {
    ($response:expr, $expected:expr) => {{
        let response = &$response;
        let outcome = $crate::test_util::outcome(response.headers());
        assert_eq!(outcome, $expected, "cache-status: {:?}", response.headers().get_all("cache-status"));
    }};
}

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
pub fn cache() -> (Cache, ManualClock) {
    match cache_with(Cache::builder()) {
        Ok(made) => made,
        Err(error) => panic!("{error}"),
    }
}

/// A cache as described, with a clock of its own, which says in `Cache-Status` all it knows.
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
#[macro_export]
macro_rules! assert_hit {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "hit")
    };
}

/// Asserts that the inner service was asked. The cache is one of [`test_util`](crate::test_util).
#[macro_export]
macro_rules! assert_miss {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "miss")
    };
}

/// Asserts that a response came from the cache although stale. The cache is one of [`test_util`](crate::test_util).
#[macro_export]
macro_rules! assert_stale {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "stale")
    };
}

/// Asserts that the cache took no part. The cache is one of [`test_util`](crate::test_util).
#[macro_export]
macro_rules! assert_bypass {
    ($response:expr) => {
        $crate::__assert_outcome!($response, "bypass")
    };
}

/// Asserts that the inner service was asked whether the stored response still holds, and it does. The cache is one of
/// [`test_util`](crate::test_util).
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

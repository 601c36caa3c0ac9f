//! Response caching for [tower](https://docs.rs/tower): a layer for axum, tonic, warp and hyper that follows RFC 9111.
//!
//! An application answers the same expensive questions again and again: dashboards, lists, permissions, reports. A cache in
//! front of it cannot help where the answer depends on who asks. [`CacheLayer`] stands inside, behind the authentication, and
//! answers the second one from memory, as the standard and a [`Policy`] allow; it says in every response what it did. When the
//! data changes, one line ends what was made of it, also in the other processes that share its log.
//!
//! ```
//! use axum::{Router, routing::get};
//! use larder::{Cache, CacheLayer, Policy};
//! use std::time::Duration;
//!
//! let cache = Cache::in_memory(256 << 20);
//! let app: Router = Router::new()
//!     .route("/products", get(|| async { "all the products" }))
//!     .layer(CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60))));
//! ```
//!
//! `cargo add larder`, and nothing to install. Whether it works stands in each response:
//!
//! ```text
//! $ curl -sD- -o /dev/null localhost:3000/products | grep -i -e cache-status -e age
//! cache-status: larder; fwd=miss; stored
//! $ curl -sD- -o /dev/null localhost:3000/products | grep -i -e cache-status -e age
//! age: 2
//! cache-status: larder; hit
//! ```
//!
//! | it says | mostly because | then |
//! |---|---|---|
//! | `fwd=bypass` | the request has a cookie, and nobody has said whose it is | [`IdentityLayer`], or [`Policy::ignore_cookies`] where no answer depends on it |
//! | `fwd=bypass` | the policy wants a tenant or a user, and the request has none | the `IdentityLayer` belongs outside of the `CacheLayer`: added *after* it |
//! | `fwd=miss`, never `stored` | the handler says `no-store`, `private` or `Set-Cookie`; or neither it nor the policy gives a lifetime | [`CacheLayer::explain`] tells which |
//! | `stored`, but never a hit | something in the key is new each time, such as a parameter of the query | [`Policy::query_only`]; `X-Cache-Key` of [`StatsLayer`] shows the key |
//!
//! # Tour
//!
//! | | |
//! |---|---|
//! | [`Cache`], [`CacheBuilder`], [`Caches`] | where responses are kept: memory, [`Disk`], [`Redis`], any [`Store`] |
//! | [`CacheLayer`] | stores and serves |
//! | [`Policy`], [`PolicyTable`], [`Preset`], [`Config`] | for how long, for whom, under which key; in code, by path, or from a file |
//! | [`Identity`], [`IdentityLayer`] | who is asking |
//! | [`Selector`], [`Tags`], [`Dependencies`], [`InvalidateLayer`] | what ends when something changes |
//! | [`Value`] | what is no response: query results, fragments, drop-downs |
//! | [`Warmer`] | asks before anybody else does |
//! | [`ETagLayer`], [`CacheControlLayer`], [`StatsLayer`] | fields for browsers and for you; of use without a cache too |
//! | [`Stats`], [`Metrics`], [`Reporter`], [`Observe`], [`prometheus`](crate::prometheus()) | what it does, in figures |
//! | [`admin`] | a dashboard and an API |
//! | [`semantics`] | RFC 9110 and RFC 9111 as pure functions |
//! | [`test_util`] | a cache with a manual clock, for your tests |
//!
//! # What is stored, what is served
//!
//! A response is stored if all the rules of [`semantics::storable`] hold: in short, someone gave it a lifetime, nobody
//! forbade it, and it is not for one client alone. It is then served with its [`Age`](https://www.rfc-editor.org/rfc/rfc9111#section-5.1)
//! while it is fresh; within [`stale_while_revalidate`](Policy::stale_while_revalidate) at once, with one refresh in the
//! background; within [`stale_if_error`](Policy::stale_if_error) when the inner service fails; and else after the inner
//! service was asked whether it still holds. `If-None-Match`, `If-Modified-Since`, `Range` and HEAD are answered from the
//! stored response. A successful unsafe request invalidates what it changed, and [`Cache::invalidate`] whatever you name.
//!
//! # Who may share
//!
//! The application's authentication says who is asking, through an [`IdentityLayer`]. A policy that says nothing keys on
//! that whole [`Identity`]; [`per_tenant`](Policy::per_tenant), [`per_user`](Policy::per_user), [`per`](Policy::per) and
//! [`shared`](Policy::shared) share wider. A request that lacks what the policy names bypasses the cache.
//!
//! ```
//! use axum::{Router, routing::get};
//! use larder::{Cache, CacheLayer, Identity, IdentityLayer, Policy};
//! use std::time::Duration;
//!
//! #[derive(Clone)]
//! struct Claims { tenant: u64, user: u64 }
//!
//! let cache = Cache::in_memory(256 << 20);
//! let app: Router = Router::new()
//!     .route("/dashboard", get(|| async { "figures of a tenant" }))
//!     .layer(CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(600)).per_tenant()))
//!     .layer(IdentityLayer::from_fn(|request| {
//!         let claims = request.extensions.get::<Claims>()?;
//!         Some(Identity::new().with_tenant(claims.tenant).with_user(claims.user))
//!     }));
//!     // .layer(authentication): outermost, it runs first and leaves the claims
//! ```
//!
//! Without an identity, a request with a `Cookie` neither reads nor fills the cache, and what was stored for a request
//! with `Authorization` is shared only if the response itself allows it (`public`, `s-maxage`, `must-revalidate`).
//! API keys (`X-Api-Key` and the like), and what proxies that authenticate tell of the user (`X-Auth-Request-User`,
//! `Remote-User` and the like), count as `Authorization` does, unless the policy keys on them
//! ([`Policy::key_headers`]). Other credentials are not known as such: an identity has to stand for them, or
//! [`Policy::credential_headers`], which lists those that are known, to name them. The key of a response holds method,
//! scheme, host, port, path and query, and the fields that tell a handler of another host (`X-Forwarded-Host` and its
//! like).
//!
//! HTTP/1.1 requests do not say whether they came by TLS. One router that serves both, and answers the two differently
//! (with a redirect to HTTPS, say), has to put an [`http::uri::Scheme`] into the extensions of each request, or be two
//! routers with a cache each.
//!
//! Put the layer inside of the one that authenticates: a cache outside of it would
//! answer before anybody has asked who is there.
//!
//! # Where to put it
//!
//! | order, from outside | what it means |
//! |---|---|
//! | authentication, `IdentityLayer`, `CacheLayer`, handler | every request is authenticated, then may be a hit |
//! | `CacheLayer`, `IdentityLayer`, handler | wrong: who asks is known too late. Nothing is stored, `identity-after-cache` is counted |
//! | `StatsLayer`, `CacheLayer`, handler | what the cache did, on every response; the other way round it says nothing |
//! | `CacheControlLayer`, `CacheLayer`, handler | browsers are told a line made for each request; the cache goes by what the handler said |
//! | `CacheLayer`, `CacheControlLayer`, handler | hits carry the line made for the request that filled; lifetimes in it mean nothing to the cache, prohibitions do |
//! | `CacheLayer`, `ETagLayer`, handler | the tag is computed once a fill; 304 comes from the store, stale responses are validated |
//! | `ETagLayer`, `CacheLayer`, handler | each hit is hashed again, and stale responses cannot be validated |
//! | two `CacheLayer`s of one cache | the inner one decides, as it is nearer to the route; where both have one policy the outer one |
//! | `CacheLayer`, `CompressionLayer`, handler | each coding is stored, hits cost no compression |
//! | `CompressionLayer`, `CacheLayer`, handler | one copy is stored, each hit is compressed again |
//! | `CacheLayer`, `ConcurrencyLimitLayer`, handler | a hit takes no permit, and waits for none |
//! | `TimeoutLayer`, `CacheLayer`, handler | a slow miss is cut off for its client; the fill goes on in the background, and is stored |
//! | `CacheLayer`, `TimeoutLayer`, handler | a slow fill ends, with an answer or an error that is not stored |
//!
//! In axum the layer that is added last is the outermost. Several on one route are added by `route_layer`: of `layer`,
//! used twice on a `MethodRouter`, the compiler wants to know an error type.
//!
//! ```
//! use axum::{Router, routing::get};
//! use larder::{Cache, CacheLayer, ETagLayer, Policy};
//! use std::time::Duration;
//!
//! let cache = Cache::in_memory(256 << 20);
//! let policy = Policy::fresh_for(Duration::from_secs(60));
//! let products = get(|| async { "all the products" });
//! let products = products.route_layer(ETagLayer::new()).route_layer(CacheLayer::new(&cache, policy));
//! let app: Router = Router::new().route("/products", products);
//! ```
//!
//! # Misses at the same time
//!
//! Requests that miss the same thing at the same time share one fill. Those who wait get what the first one gets, if it may
//! be stored, need not be validated, and is theirs: their own key, their own `Vary` values, nothing that was invalidated
//! before they came. Otherwise each asks for itself, at once. Nobody waits longer than
//! [`wait_limit`](Policy::wait_limit), twice at most, and a resource that gives nothing to store is remembered, so that
//! nobody waits for it at all. If the first client leaves, the fill goes on in the background, outside of its task locals
//! and within its tracing span; [`Cache::shutdown`] ends what is left. The waiting needs a tokio runtime with timers.
//!
//! # Bodies
//!
//! The first client gets the bytes as the inner service yields them; they are written down on the way and stored once the
//! body has ended as it should. Others read along where the length is declared, and wait for the end where it is not. A
//! slow reader slows nobody. A body that is too long, breaks off, or is not as long as was declared goes on to its
//! client just as it is, and is not stored; one who reads along hears of it as an error of the body, which is why bodies
//! fail with a boxed error here. Event streams, upgrades and everything that is not stored pass through untouched.
//!
//! # What changes
//!
//! Time ends the use of a stored response, and so does [`Cache::invalidate`] with a [`Selector`], [`Cache::changed`] with the
//! name of what has changed, and every successful unsafe request. An invalidation is a record in one ordered log, and each
//! fill is stamped with its end before it begins: what was being made from old data when it was invalidated is never
//! stored, and never given to anyone who came later.
//!
//! ```
//! use larder::{Cache, Policy, Selector};
//! use std::time::Duration;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
//! # let cache = Cache::in_memory(1 << 20);
//! let dashboards = Policy::fresh_for(Duration::from_secs(600)).per_tenant().tags(["dashboard"]).depends_on(["People"]);
//! # let _ = dashboards;
//! cache.invalidate(Selector::tag("dashboard").within(1)).await?;
//! cache.changed("People").tenant(1).id(17).await?;
//! # Ok(()) }
//! ```
//!
//! What is no response can be kept in the same way: see [`Value`]. [`Warmer`] asks before anybody else does.
//!
//! # Several processes
//!
//! With feature `redis`, what one process has stored the others find, and what one invalidates none of them serves any more.
//!
#![cfg_attr(feature = "redis", doc = "```no_run")]
#![cfg_attr(not(feature = "redis"), doc = "```ignore")]
//! use larder::{Cache, Redis};
//!
//! let redis = Redis::from_env()?; // REDIS_URL
//! let cache = Cache::builder().namespace("shop").version("2026-11").memory(256 << 20).redis(redis).build()?;
//! # let _ = cache;
//! # Ok::<(), larder::ConfigError>(())
//! ```
//!
//! * What a request asks of Redis has a [`budget`](Redis::budget), and none fails because of Redis: without it each process
//!   caches for itself.
//! * [`Cache::invalidate`] returns `Ok` when the record is in the log that all processes read. They do so within
//!   milliseconds, and within [`coherence_bound`](CacheBuilder::coherence_bound) if a message is lost.
//! * A process that cannot write the log says so: [`is_unconfirmed`](InvalidateError::is_unconfirmed). One that cannot read it
//!   uses what it has for [`isolation`](CacheBuilder::isolation), after it was made or after the last contact.
//! * What is stored is used only where it is known what has been invalidated since: after the log was lost, nothing is.
//! * Nothing is taken from Redis that is damaged, or was made for another key; with feature `encrypt`, nothing that was not
//!   sealed with your key.
//!
//! [Operating](guides::operating) tells how to set Redis up, and what its failures look like.
//!
//! # Why
//!
//! [`CacheLayer::explain`] tells what would become of a request, step by step, and changes nothing; [`StatsLayer`] what
//! became of it, in `X-Cache-Explain`. [`Policy::verify`] has some hits compared with what the handler says at that moment, and
//! [`Cache::mismatches`] names what is not in the key.
//!
//! # Recipes
//!
//! | you want | look at |
//! |---|---|
//! | to cache the page of each user, and nobody else's | [safe authenticated caching](guides::safe_authenticated_caching) |
//! | to know which routes, and for how long | [what to cache](guides::what_to_cache) |
//! | nobody to wait at the end of a lifetime; no stampede | [refreshing](guides::refreshing) |
//! | a page to go when a row changes | [`Cache::changed`], [`Policy::depends_on`], [`Dependencies`] |
//! | query results, drop-downs or fragments kept in the same way | [`Value`] |
//! | pages to be there before the first visitor | [`Warmer`], [`WarmSource::hottest`] |
//! | several processes, or a warm start | [operating](guides::operating) |
//! | to replace decorators, signals, `delete_pattern` and the like | [migrating](guides::migrating) |
//! | to see, and to act without a deployment | [`admin`], [monitoring](guides::monitoring), [the command line](guides::command_line) |
//! | to know why | [explaining](guides::explaining) |
//! | to decide whether this is the right tool | [comparison](guides::comparison), [how it is made](guides::design) |
//!
//! # Features
//!
//! | feature | default | what it does |
//! |---|---|---|
//! | `admin` | no | [`admin`]: a tower service with a JSON API and a dashboard, to see and to manage caches |
//! | `axum` | yes | keys use the path as the client sent it, also inside `Router::nest` |
//! | `metrics` | no | what is counted is told through the [`metrics`](https://docs.rs/metrics) facade |
//! | `cli` | no | the program `larder`: [a command line](guides::command_line) for whoever operates the application |
//! | `disk` | no | [`Disk`]: a store in a folder of this machine, which a restart finds again |
//! | `encrypt` | no | [`KeyRing`]: what leaves the process is encrypted |
//! | `redis` | no | [`Redis`]: a store that several processes share, over one server, sentinels or a cluster |
//! | `redis-tls` | no | TLS for it |
//! | `toml` | no | [`Config`]: caches, policies and routes from a TOML file |
//! | `test-util` | no | [`test_util`]: a cache with a manual clock, and assertions, for your own tests |
//! | `zstd` | no | bodies from 4 KiB on are compressed in what leaves the process |
//!
//! Without `axum`, a layer inside a `nest` sees the path without its prefix, and two nests with the same inner paths
//! would share: leave the feature on, or set [`Policy::uri`]. Features only add, in any combination. Rust 1.88 or later.
//!
//! # Limits
//!
//! * A hit asks nobody further in: authorisation, rate limits and audits belong outside of the layer.
//! * What the application says of who asks is believed. What a response depends on has to be in the identity or in the key;
//!   [`Policy::sealed`] enforces it, [`Policy::verify`] finds where it is not so.
//! * Complete responses to GET, and to POST, QUERY and unary gRPC where a policy says so. Bodies are held as one piece, up to 8
//!   MiB ([`Policy::max_body`]); what is longer streams by. 206 is not stored.
//! * Anything may be gone at any time, and processes that share a log agree within a bound, not at once: see
//!   [what is promised](guides::design#what-is-promised).
//! * Filling needs a tokio runtime with timers.
//!
//! [All of them](guides::design#where-it-ends).
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "admin", feature = "test-util", feature = "encrypt")),
    allow(rustdoc::broken_intra_doc_links)
)]

mod account;
#[cfg(feature = "admin")]
pub mod admin;
mod bust;
mod cache;
mod clock;
#[cfg(feature = "toml")]
mod config;
mod config_error;
mod credentials;
mod daily;
mod entry;
mod hex;
mod identity;
mod invalidation;
mod key;
mod layers;
mod outcome;
mod policy;
mod random;
mod request_stats;
mod seldom;
pub mod semantics;
mod store;
mod sync;
mod tally;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timer;
mod warm;

pub use bust::bust;
pub use cache::{
    Advice, AdviceKind, Cache, CacheBuilder, CacheStatusHeader, Caches, CachesBuilder, Changes, Changing, Coverage,
    Difference, Explanation, HistorySample, HistorySpan, Holding, Invalidated, LogCounts, Metrics, Mismatch, OneChange,
    PolicyKind, PolicyMetrics, Preview, Regression, Report, Reporter, Reporting, Schedule, Shutdown, Stats,
    StoreCounts, Stored, StoredEntry, StoredPage, StoredState, Suspects, TenantMetrics, UncachedRoute, Value,
    ValueCall, Windows, prometheus,
};
#[cfg(feature = "toml")]
pub use config::Config;
pub use config_error::ConfigError;
pub use daily::daily_at;
pub use identity::Identity;
pub use invalidation::{ChangeKind, Changed, Dependencies, InvalidateError, Invalidates, Selector, Tags};
pub use key::UtcOffset;
pub use layers::cache::{
    CacheLayer, CacheService, NoRebuild, Rebuild, RebuildBody, RequestBody, ResponseBody, ResponseFuture,
};
pub use layers::cache_control::{CacheControlFuture, CacheControlLayer, CacheControlService, Statuses};
pub use layers::etag::{ETagBody, ETagFuture, ETagLayer, ETagService, LastModified};
pub use layers::identity::{IdentityFuture, IdentityLayer, IdentityService};
pub use layers::invalidate::{InvalidateFuture, InvalidateLayer, InvalidateService};
pub use layers::stats::{StatsFuture, StatsLayer, StatsService};
pub use outcome::{Bypass, NotStored, Outcome};
pub use policy::{Effective, NamedPolicy, Objective, Policy, PolicyError, PolicyTable, Preset, RequestDirectives};
pub use semantics::cache_control_writer::CacheControl;
#[cfg(feature = "disk")]
pub use store::Disk;
#[cfg(feature = "redis")]
pub use store::Redis;
pub use store::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats};
#[cfg(feature = "encrypt")]
pub use store::{KeyRing, KeyRingError};
pub use tally::{Counts, Event, Latency, Observe};
pub use warm::{
    SitemapError, WarmPlan, WarmProgress, WarmReport, WarmRequest, WarmResponse, WarmSchedule, WarmSource,
    WarmedCategory, Warmer, Warming,
};

/// For the fuzz targets: what is not public otherwise.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Opens these bytes in every way that a store's bytes are opened.
    pub fn codec(bytes: &[u8]) {
        crate::store::fuzzing::codec(bytes);
    }

    /// Reads this text as a record of a shared log is read.
    pub fn record(text: &str) {
        crate::invalidation::wire::check(text);
    }
}

/// A guide. Its links to other guides are by reference, and lead to files in the repository; here the references are said before
/// that, and of two of one name the first counts.
#[cfg(any(doc, doctest))]
macro_rules! guide {
    ($page:literal) => {
        concat!(
            "[administration.md]: crate::guides::administration\n",
            "[command-line.md]: crate::guides::command_line\n",
            "[comparison.md]: crate::guides::comparison\n",
            "[design.md]: crate::guides::design\n",
            "[explaining.md]: crate::guides::explaining\n",
            "[migrating.md]: crate::guides::migrating\n",
            "[monitoring.md]: crate::guides::monitoring\n",
            "[operating.md]: crate::guides::operating\n",
            "[refreshing.md]: crate::guides::refreshing\n",
            "[safe-authenticated-caching.md]: crate::guides::safe_authenticated_caching\n",
            "[what-to-cache.md]: crate::guides::what_to_cache\n\n",
            include_str!($page)
        )
    };
}

/// Guides, for reading. They are the pages of `docs/`, and their examples are tests.
///
/// | to decide | |
/// |---|---|
/// | [`comparison`](guides::comparison) | whether this crate is what you need: beside nginx, Varnish, ASP.NET, FusionCache, Django and others for tower |
/// | [`migrating`](guides::migrating) | what each piece of a cache written by hand becomes |
/// | [`design`](guides::design) | how it is made, what it promises, and where it ends |
///
/// | to build | |
/// |---|---|
/// | [`what_to_cache`](guides::what_to_cache) | which routes, for how long, for whom |
/// | [`safe_authenticated_caching`](guides::safe_authenticated_caching) | behind a login |
/// | [`refreshing`](guides::refreshing) | who waits at the end of a lifetime |
///
/// | to run | |
/// |---|---|
/// | [`operating`](guides::operating) | Redis and disks, and what follows when they fail |
/// | [`monitoring`](guides::monitoring) | counters, Prometheus, alerts |
/// | [`explaining`](guides::explaining) | why a request was answered like that |
/// | [`administration`](guides::administration) | the dashboard and its API |
/// | [`command_line`](guides::command_line) | the program `larder` |
#[cfg(any(doc, doctest))]
pub mod guides {
    #[cfg(feature = "admin")]
    #[doc = guide!("../docs/administration.md")]
    pub mod administration {}

    #[doc = guide!("../docs/command-line.md")]
    pub mod command_line {}

    #[doc = guide!("../docs/comparison.md")]
    pub mod comparison {}

    #[doc = guide!("../docs/design.md")]
    pub mod design {}

    #[doc = guide!("../docs/explaining.md")]
    pub mod explaining {}

    #[doc = guide!("../docs/migrating.md")]
    pub mod migrating {}

    #[doc = guide!("../docs/monitoring.md")]
    pub mod monitoring {}

    #[doc = guide!("../docs/operating.md")]
    pub mod operating {}

    #[doc = guide!("../docs/refreshing.md")]
    pub mod refreshing {}

    #[doc = guide!("../docs/safe-authenticated-caching.md")]
    pub mod safe_authenticated_caching {}

    #[doc = guide!("../docs/what-to-cache.md")]
    pub mod what_to_cache {}
}

/// The example of the README is a test too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

//! Administration: a JSON API and a page over it, to see what caches do, to ask why, and to invalidate, warm and clear.
//!
//! ```
//! use axum::Router;
//! use larder::{Cache, admin};
//!
//! let cache = Cache::in_memory(64 << 20);
//! let token = std::env::var("CACHE_ADMIN_TOKEN").unwrap_or_default();
//! let app: Router = Router::new()
//!     // .route(..).layer(CacheLayer::new(&cache, ..))
//!     .nest_service("/admin/cache", admin::router([&cache], admin::Token::new(token)))
//!     .route_service("/health", admin::health([&cache]));
//! # let _ = app;
//! ```
//!
//! Nobody gets in without being let in: [`router`] takes an [`Authorize`], and an empty token is nobody's. Only the
//! page, which holds no data, and `health` are public. What is asked for changes nothing; what changes something needs
//! POST, a header that no form can send, and the same origin.
//!
//! [The guide](crate::guides::administration) tells what each path gives, and how to run it behind a proxy.

mod access;
mod advice;
mod answer;
mod audit;
mod caches;
mod dependencies;
mod entry;
mod explain;
mod explore;
mod figures;
mod health;
mod history;
mod intent;
mod manage;
mod metrics;
mod page;
mod policies;
mod query;
mod route;
mod selector;
mod service;
mod status;
mod warm;

pub use access::{Access, Authorize, Decision, Token};
pub use answer::AdminBody;
pub use caches::AdminCaches;
pub use health::Health;
pub use service::{Admin, AdminFuture};

/// A service with the API and its page for these caches: one, several (`[&a, &b]`), a set of [`Caches`](crate::Caches),
/// or pairs of a name and a cache.
///
/// It can be mounted by axum's `nest_service`, or anywhere else under a path of its own ([`Admin::at`]).
///
/// ```
/// use larder::{Cache, admin::{self, Access}};
///
/// let cache = Cache::in_memory(1 << 20);
/// // Whoever the application's own authentication knows as an administrator.
/// #[derive(Clone)]
/// struct Administrator { name: String }
/// let service = admin::router([("shop", &cache)], |parts: &http::request::Parts| {
///     let who = parts.extensions.get::<Administrator>()?;
///     Some(Access::full().named(&who.name))
/// });
/// # let _ = service;
/// ```
pub fn router(caches: impl Into<AdminCaches>, authorise: impl Authorize) -> Admin {
    Admin::new(caches.into(), authorise)
}

/// A service that tells everybody whether caches are well, and nothing else: for load balancers and monitors.
///
/// 200 with `{"status":"healthy","message":"Cache is working properly"}`; `degraded` while a store or the shared log is
/// away, which the application can live without, so that is 200 too, and 503 only for `?strict`.
///
/// ```
/// use axum::Router;
/// use larder::{Cache, admin};
///
/// let cache = Cache::in_memory(1 << 20);
/// let app: Router = Router::new().route_service("/health/cache", admin::health([&cache]));
/// # let _ = app;
/// ```
pub fn health(caches: impl Into<AdminCaches>) -> Health {
    Health::new(caches.into())
}

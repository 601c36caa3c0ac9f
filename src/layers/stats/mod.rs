//! [`StatsLayer`]: tells in debug mode what the caches did during one request.
//!
//! What stays true for the service inside: its error type, bodies and readiness are those of the whole.

mod future;
mod layer;
mod service;

pub use future::StatsFuture;
pub use layer::StatsLayer;
pub use service::StatsService;

//! [`CacheLayer`]: stores responses of the inner service and serves them.
//!
//! What stays true for the service inside: its error type is still that of the whole, its bodies, trailers, upgrades and
//! event streams pass through untouched, and it is only asked for readiness when it is to be called.

mod ask;
mod body;
mod conclude;
mod content;
mod exchange;
mod explain;
mod future;
mod inner;
mod job;
mod layer;
mod look;
mod peek;
mod question;
mod refresh;
mod service;
mod stand_in;
mod timeout;
mod validate;
mod verify;

pub use body::ResponseBody;
pub use content::{NoRebuild, Rebuild, RebuildBody, RequestBody};
pub use future::ResponseFuture;
pub use layer::CacheLayer;
pub use service::CacheService;

//! [`CacheControlLayer`]: tells browsers and CDNs how long they may keep what the service answers.
//!
//! What stays true for the service inside: its error type, bodies and readiness are those of the whole, and the fields
//! that it sets itself stay as they are.

mod future;
mod layer;
mod media_range;
mod presets;
mod rules;
mod service;

pub use future::CacheControlFuture;
pub use layer::CacheControlLayer;
pub use rules::Statuses;
pub use service::CacheControlService;

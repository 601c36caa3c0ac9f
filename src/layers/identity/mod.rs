//! [`IdentityLayer`]: derives the [`Identity`](crate::Identity) of each request.
//!
//! What stays true for the service inside: its error type, bodies and readiness are those of the whole.

mod future;
mod layer;
mod service;

pub use future::IdentityFuture;
pub use layer::IdentityLayer;
pub use service::IdentityService;

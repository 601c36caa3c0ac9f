//! [`InvalidateLayer`]: tells the cache what a request has changed.
//!
//! What stays true for the service inside: its error type and bodies are those of the whole.

mod future;
mod layer;

pub use future::InvalidateFuture;
pub use layer::{InvalidateLayer, InvalidateService};

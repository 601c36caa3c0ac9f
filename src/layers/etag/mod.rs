//! [`ETagLayer`]: gives responses an entity tag, and answers those who have them already with 304.
//!
//! What stays true for the service inside: its error type and readiness are those of the whole, its bodies reach the
//! client as they are, frame by frame, with their trailers and errors.

mod body;
mod future;
mod layer;
mod question;
mod reading;
mod rules;
mod service;

pub use body::ETagBody;
pub use future::ETagFuture;
pub use layer::ETagLayer;
pub use rules::LastModified;
pub use service::ETagService;

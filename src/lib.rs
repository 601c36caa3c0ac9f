//! Response caching for [tower](https://docs.rs/tower): a layer for axum, tonic, warp and hyper that follows RFC 9111.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod cache;
mod clock;
mod credentials;
mod entry;
mod invalidation;
mod key;
mod layers;
mod outcome;
mod policy;
pub mod semantics;
mod store;
#[cfg(feature = "test-util")]
pub mod test_util;

pub use cache::{Cache, CacheBuilder, CacheStatusHeader, Caches, CachesBuilder, ConfigError, Stats};
pub use invalidation::{InvalidateError, Invalidated, Selector};
pub use key::Key;
pub use layers::cache::{CacheLayer, CacheService, ResponseBody, ResponseFuture};
pub use outcome::{Bypass, NotStored, Outcome};
pub use policy::{NamedPolicy, Policy, PolicyError, RequestDirectives};

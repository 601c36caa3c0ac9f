//! The tower layers, one folder each: they ask the cache, and carry out what it decides. What is decided, and why, is not
//! decided here. Nothing but `layers`, `warm` and `admin` knows tower.

pub(crate) mod cache;
pub(crate) mod cache_control;
pub(crate) mod etag;
pub(crate) mod identity;
pub(crate) mod invalidate;
pub(crate) mod stats;

//! The tower layers, one folder each.

pub(crate) mod cache;
pub(crate) mod cache_control;
pub(crate) mod etag;
pub(crate) mod identity;
pub(crate) mod invalidate;
pub(crate) mod stats;

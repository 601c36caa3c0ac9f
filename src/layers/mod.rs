//! The tower layers, one folder each.

pub(crate) mod cache;
pub(crate) mod identity;

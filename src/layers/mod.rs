//! The tower layers, one folder each.

pub(crate) mod cache;

//! What the cache says of itself: what it would do with a request, what it did, and whether its hits are right.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "explain/bypasses.rs"]
mod bypasses;
#[path = "explain/changes_nothing.rs"]
mod changes_nothing;
#[path = "explain/lookups.rs"]
mod lookups;
#[path = "explain/same.rs"]
mod same;
mod shelf;
#[path = "explain/stores.rs"]
mod stores;
#[path = "explain/support.rs"]
mod support;
#[path = "explain/verified.rs"]
mod verified;

//! The disk store: what it promises, across restarts, kills, damage and a full disk.
#![cfg(feature = "disk")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "disk/child.rs"]
mod child;
#[path = "disk/damage.rs"]
mod damage;
#[path = "disk/restart.rs"]
mod restart;
#[path = "disk/stack.rs"]
mod stack;
#[path = "disk/store.rs"]
mod store;
#[path = "disk/support.rs"]
mod support;

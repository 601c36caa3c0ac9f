//! The store over Redis: what it promises, in every shape, and while everything fails.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "store/access.rs"]
mod access;
#[path = "store/cancelled.rs"]
mod cancelled;
#[path = "store/cluster.rs"]
mod cluster;
#[path = "store/contract.rs"]
mod contract;
#[path = "store/faults.rs"]
mod faults;
#[path = "store/runtimes.rs"]
mod runtimes;
#[path = "store/sentinel.rs"]
mod sentinel;
#[path = "store/support.rs"]
mod support;

//! That the test kit does what it says: servers, Cluster, Sentinels, proxy.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "kit/cluster.rs"]
mod cluster;
#[path = "kit/contract.rs"]
mod contract;
#[path = "kit/death.rs"]
mod death;
#[path = "kit/proxy.rs"]
mod proxy;
#[path = "kit/raw.rs"]
mod raw;
#[path = "kit/sentinel.rs"]
mod sentinel;
#[path = "kit/server.rs"]
mod server;
#[path = "kit/tls.rs"]
mod tls;

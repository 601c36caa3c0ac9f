//! For the tests of stores: what all of them promise ([`contract`]), and servers for the Redis tier: a single one, a
//! Cluster, a set with Sentinels, and a proxy in front of any of them that breaks what passes through it.
//!
//! Everything runs on the loopback interface, on ports of its own, in directories of its own. Nothing outlives the test:
//! a server dies with its value, and also when the process of the test is killed. What does not come within half a
//! minute fails the test, with the server's log. The helpers need real time: not Tokio's paused clock.
#![allow(clippy::unwrap_used, reason = "where a helper fails, the test fails")]

mod cluster;
pub mod contract;
mod options;
mod ports;
mod process;
mod proxy;
mod scratch;
mod sentinel;
mod server;
mod tls;
mod wait;

pub use cluster::Cluster;
pub use options::Options;
pub use proxy::{Close, Counts, Damage, Fault, Proxy, Way};
pub use sentinel::Sentinel;
pub use server::Server;
pub use tls::Certificates;
pub use wait::{until, within};

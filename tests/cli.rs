//! The program `larder`, run as it is: against an admin API that is played, and against a real Redis.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "cli/acting.rs"]
mod acting;
#[path = "cli/faults.rs"]
mod faults;
#[path = "cli/measuring.rs"]
mod measuring;
#[path = "cli/mock.rs"]
mod mock;
#[path = "cli/reading.rs"]
mod reading;
#[path = "cli/redis.rs"]
mod redis;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/samples.rs"]
mod samples;

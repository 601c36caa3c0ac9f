//! Counting: one tally for each policy, value and tenant, what it has come to, and over which time. Nothing here knows
//! what a cache is, or reads a clock.

mod counts;
mod histogram;
mod observe;
#[expect(clippy::module_inception, reason = "the tally is what this folder is about")]
mod tally;
mod tops;
mod trail;
mod usage;

pub(crate) use counts::ratio;
pub use counts::{Counts, Latency};
pub(crate) use histogram::Histogram;
pub(crate) use observe::Watch;
pub use observe::{Event, Observe};
pub(crate) use tally::{Scalar, Tally};
pub(crate) use tops::Top;
pub(crate) use trail::{Trail, Window};
pub(crate) use usage::Usage;

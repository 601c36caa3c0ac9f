//! What the counters say to an operator: what to change, and how things went since the last time. Nothing here counts,
//! or changes a policy by itself.

mod advice;
mod reasons;
mod reporter;

pub use advice::{Advice, AdviceKind};
#[cfg(feature = "admin")]
pub(crate) use reasons::in_a_sentence as remedy;
pub(super) use reporter::Before;
pub use reporter::{Coverage, Regression, Report, Reporter, Reporting};

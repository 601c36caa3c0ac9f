//! What has been invalidated, as one ordered log.
//!
//! An invalidation is a record in the log, with a position ([`Seq`]). Every fill is stamped with the end of the log
//! before the inner service was called, and an entry is good only while no record younger than its stamp selects it. So
//! nothing that was on its way when it was invalidated can be stored or brought back, and there is no index of entries
//! to keep in step. Where records are kept that several processes share is for `store` to know.

mod ban;
mod dependencies;
mod error;
mod ledger;
mod positions;
mod row;
mod selector;
mod spelled;
mod stamp;
mod tags;
#[cfg(test)]
mod tests;
pub(crate) mod wire;

pub(crate) use dependencies::Asked;
pub use dependencies::{ChangeKind, Changed, Dependencies};
pub use error::InvalidateError;
pub(crate) use ledger::{Batch, Checked, Claim, Culprits, Force, Ledger, Limits, Seq, Standing};
pub(crate) use positions::{Heading, Positions, Step};
pub(crate) use row::{Footprint, RowHasher, Subject, Within};
pub use selector::Selector;
pub(crate) use selector::key_digest;
pub(crate) use stamp::{Epoch, RecordId, Stamp};
pub use tags::{Invalidates, Tags};

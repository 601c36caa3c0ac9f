//! What records do to an entry, taken together.

use super::record::Force;
use crate::semantics::date::Timestamp;

/// What records do to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Touch {
    /// One of them ends its use.
    pub(super) hard: bool,
    /// Since when it is stale by them.
    pub(super) soft: Option<Timestamp>,
}

impl Touch {
    /// By one record, which came then.
    pub(super) fn by(force: Force, at: Timestamp) -> Self {
        match force {
            Force::Hard => Self { hard: true, soft: None },
            Force::Soft => Self { hard: false, soft: Some(at) },
        }
    }

    /// By these and those.
    pub(super) fn and(self, other: Self) -> Self {
        let soft = self.soft.into_iter().chain(other.soft).min();
        Self { hard: self.hard || other.hard, soft }
    }
}

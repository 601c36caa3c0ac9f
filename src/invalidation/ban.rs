//! Invalidations that are no row: patterns over keys, and several tags at once.

use super::{ledger::Force, row::Row};
use crate::{key::Pattern, semantics::date::Timestamp};
use std::sync::Arc;

/// What a ban selects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// What has a key like this, of the tenant with this row if one is named.
    Pattern { pattern: Pattern, within: Option<Row> },
    /// What has all of these rows. `owner` is the row of the tenant that they are narrowed to.
    AllOf { rows: Box<[Row]>, owner: Option<Row> },
}

/// A ban in force.
#[derive(Clone, Debug)]
pub(super) struct Ban {
    pub(super) what: Arc<What>,
    pub(super) generation: u64,
    pub(super) seq: u64,
    pub(super) force: Force,
    pub(super) at: Timestamp,
}

impl What {
    pub(crate) fn selects(&self, footprint: &[Row], key: &[u8]) -> bool {
        match self {
            Self::Pattern { pattern, within } => {
                within.is_none_or(|row| footprint.contains(&row)) && pattern.matches(key)
            }
            Self::AllOf { rows, .. } => rows.iter().all(|row| footprint.contains(row)),
        }
    }

    /// The row of the tenant that it is narrowed to.
    pub(super) fn within(&self) -> Option<Row> {
        match self {
            Self::Pattern { within, .. } => *within,
            Self::AllOf { owner, .. } => *owner,
        }
    }
}

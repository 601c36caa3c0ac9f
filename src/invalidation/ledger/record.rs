//! What the log says: records, each with its force, and what they are tried on.

use super::super::{
    ban::{Ban, What},
    row::Row,
};
use crate::semantics::date::Timestamp;
use std::sync::Arc;

/// A position in the invalidation log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(pub(super) u64);

impl Seq {
    /// The position of this number.
    pub(crate) fn at(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Something that is invalidated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// Whatever there is.
    Everything,
    /// What has this row in its footprint. `owner` is the row of the tenant that it is narrowed to.
    Row { row: Row, owner: Option<Row> },
    /// What this ban selects.
    Ban(Arc<What>),
}

/// What a record does to what it selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Force {
    /// It is never used again.
    #[default]
    Hard,
    /// It is stale from then on.
    Soft,
}

/// What is invalidated at once, hard and soft: it has one position in the log, and nobody sees some of it done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Batch(Vec<(Record, Force)>);

/// What of an entry decides how it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// The end of the log before its fill began.
    pub(crate) stamp: Seq,
    /// The rows that it can be hit by.
    pub(crate) footprint: &'a [Row],
    /// Its key, for patterns.
    pub(crate) key: &'a [u8],
}

/// A batch as the ledger has applied it.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// That of the ledger from then on.
    pub(super) generation: u64,
    /// Its position in the log.
    pub(super) seq: u64,
    /// When it came.
    pub(super) at: Timestamp,
    /// What it says.
    pub(super) batch: Batch,
}

impl Batch {
    /// Records of one force.
    pub(crate) fn of(records: impl IntoIterator<Item = Record>, force: Force) -> Self {
        let mut batch = Self::default();
        batch.add(records, force);
        batch
    }

    /// Whatever there is.
    pub(crate) fn everything() -> Self {
        Self::of([Record::Everything], Force::Hard)
    }

    /// And these.
    pub(crate) fn add(&mut self, records: impl IntoIterator<Item = Record>, force: Force) {
        self.0.extend(records.into_iter().map(|record| (record, force)));
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether any of it selects an entry, whenever that was filled.
    pub(crate) fn selects(&self, claim: Claim<'_>) -> bool {
        self.iter().any(|(record, _)| record.selects(claim))
    }

    /// How many records it has.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Its records, each with its force.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Record, Force)> {
        self.0.iter().map(|(record, force)| (record, *force))
    }
}

impl Record {
    /// Whether it selects an entry, whenever that was filled.
    pub(super) fn selects(&self, claim: Claim<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Row { row, .. } => claim.footprint.contains(row),
            Self::Ban(what) => what.selects(claim.footprint, claim.key),
        }
    }
}

impl Change {
    /// A ban of this change.
    pub(super) fn ban(&self, what: &Arc<What>, force: Force) -> Ban {
        Ban { what: Arc::clone(what), generation: self.generation, seq: self.seq, force, at: self.at }
    }
}

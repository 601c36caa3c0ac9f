//! Where the records of a shared log are kept.

use super::StoreFuture;
use crate::invalidation::{Epoch, Heading, RecordId};
use std::{fmt, time::Duration};

/// Keeps the records of a shared log, in one order for all who write and read it.
///
/// Each record names the epoch and the record before it, so that a reader notices when one is missing. An epoch ends when
/// records were lost; its successor is random.
pub(crate) trait Journal: fmt::Debug + Send + Sync + 'static {
    /// Appends these in their order, and tells their ids. An error leaves it open how many were appended.
    fn append<'a>(&'a self, node: NodeId, drafts: &'a [Draft]) -> StoreFuture<'a, Vec<RecordId>>;

    /// What follows a record, oldest first and not all at once; from the beginning without one. If there is nothing yet,
    /// waits up to this time. Has the log begun if there is none, and keeps it from expiring.
    fn read(&self, after: Option<RecordId>, wait: Duration) -> StoreFuture<'_, Reading>;

    /// Begins a new epoch, if this one has not ended yet.
    fn renew(&self, lost: Epoch) -> StoreFuture<'_, ()>;
}

/// Who appends: random, new with each process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(pub(crate) [u8; 8]);

/// A record that is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Its number among those of its node.
    pub(crate) own: u64,
    /// What it selects, as [`wire`](crate::invalidation::wire) writes it.
    pub(crate) text: String,
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) lines: Vec<Line>,
    /// The last row that was read, of whoever it is.
    pub(crate) last: Option<RecordId>,
    /// The last record of the log, where that was looked at.
    pub(crate) end: Option<RecordId>,
    /// How many were no records of ours.
    pub(crate) foreign: u64,
}

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without a number of its own.
    pub(crate) heading: Heading,
    pub(crate) node: NodeId,
    pub(crate) own: u64,
    /// What it selects. Nothing at the beginning of an epoch.
    pub(crate) text: Option<String>,
}

//! Positions in a log that several processes share, or that outlives one.

/// The id of a record in a shared log. They grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RecordId {
    /// Milliseconds of the clock of the one who keeps the log.
    pub(crate) millis: u64,
    pub(crate) count: u64,
}

/// The life of a shared log: random, and never the same again after records were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Epoch(pub(crate) [u8; 16]);

/// What an entry that leaves the process is stamped with: the end of the log before its fill began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) epoch: Epoch,
    pub(crate) end: RecordId,
}

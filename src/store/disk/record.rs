//! A record of the log as it is kept, with a seal over it and all before it.

use crate::{
    invalidation::{Epoch, Heading, RecordId},
    store::{Draft, Line, NodeId},
};
use rusqlite::Row;

/// A record, or the beginning of an epoch.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) id: RecordId,
    /// When the one before it was made; its number is one less.
    pub(super) previous: u64,
    pub(super) epoch: Epoch,
    pub(super) node: NodeId,
    pub(super) own: u64,
    /// Nothing where an epoch begins.
    pub(super) text: Option<String>,
    /// The seal of the one before it.
    pub(super) before: Seal,
}

/// A digest of a record and the seal of the one before it.
pub(super) type Seal = [u8; 16];

/// Where a log ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) id: RecordId,
    pub(super) epoch: Epoch,
    pub(super) seal: Seal,
}

impl End {
    /// Of a log that has nothing yet.
    pub(super) const NONE: Self = Self { id: RecordId { millis: 0, count: 0 }, epoch: Epoch([0; 16]), seal: [0; 16] };

    /// The beginning of an epoch.
    pub(super) fn begin(&self, epoch: Epoch, now: u64) -> Record {
        self.next(epoch, NodeId([0; 8]), 0, None, now)
    }

    /// What comes next.
    pub(super) fn follow(&self, node: NodeId, draft: &Draft, now: u64) -> Record {
        self.next(self.epoch, node, draft.own, Some(draft.text.clone()), now)
    }

    fn next(&self, epoch: Epoch, node: NodeId, own: u64, text: Option<String>, now: u64) -> Record {
        // A clock that is set back does not turn the order round.
        let id = RecordId { millis: now.max(self.id.millis), count: self.id.count + 1 };
        Record { id, previous: self.id.millis, epoch, node, own, text, before: self.seal }
    }
}

impl Record {
    /// Of a row of the columns `count, millis, previous, epoch, node, own, text, before`.
    pub(super) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: RecordId { count: row.get(0)?, millis: row.get(1)? },
            previous: row.get(2)?,
            epoch: Epoch(row.get(3)?),
            node: NodeId(row.get(4)?),
            own: row.get(5)?,
            text: row.get(6)?,
            before: row.get(7)?,
        })
    }

    pub(super) fn seal(&self, namespace: &str) -> Seal {
        let mut hasher = blake3::Hasher::new();
        for number in [namespace.len() as u64, self.id.count, self.id.millis, self.previous, self.own] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&self.before).update(&self.epoch.0).update(&self.node.0).update(namespace.as_bytes());
        if let Some(text) = &self.text {
            hasher.update(b"selects").update(text.as_bytes());
        }
        let mut seal = Seal::default();
        hasher.finalize_xof().fill(&mut seal);
        seal
    }

    pub(super) fn end(&self, seal: Seal) -> End {
        End { id: self.id, epoch: self.epoch, seal }
    }

    pub(super) fn line(self) -> Line {
        let previous = RecordId { millis: self.previous, count: self.id.count.saturating_sub(1) };
        let heading = Heading { id: self.id, epoch: self.epoch, previous, own: None };
        Line { heading, node: self.node, own: self.own, text: self.text }
    }
}

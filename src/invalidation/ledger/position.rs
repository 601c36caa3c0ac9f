//! What a row has heard: the youngest records of each force.

use super::{
    super::{ban::Ban, row::Row},
    record::Force,
    touch::Touch,
};
use crate::semantics::date::Timestamp;

/// The youngest records of each force.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Position {
    /// The position of the youngest hard one.
    hard: u64,
    /// The youngest soft one, and when it came.
    soft: (u64, Timestamp),
    /// The soft one before: what is older than both went stale with it.
    soft_before: (u64, Timestamp),
    /// When the youngest of them came.
    heard: Timestamp,
    /// The row of the tenant whose it is.
    pub(super) owner: Option<Row>,
}

impl Position {
    /// Of what has heard this ban alone.
    pub(super) fn of(ban: &Ban) -> Self {
        let mut position = Self::default();
        position.hear(ban.seq, ban.force, ban.at);
        position
    }

    /// Takes note of a record, which is the youngest there is. One change may say the same twice.
    pub(super) fn hear(&mut self, seq: u64, force: Force, at: Timestamp) {
        match force {
            Force::Hard => self.hard = seq,
            Force::Soft if self.soft.0 == seq => {}
            Force::Soft => {
                self.soft_before = self.soft;
                self.soft = (seq, at);
            }
        }
        self.heard = at;
    }

    /// Of what has heard what either has.
    pub(super) fn with(self, other: &Self) -> Self {
        let mut softs = [self.soft, self.soft_before, other.soft, other.soft_before];
        softs.sort_unstable();
        let [.., soft_before, soft] = softs;
        let (hard, heard) = (self.hard.max(other.hard), self.heard.max(other.heard));
        Self { hard, soft, soft_before, heard, owner: self.owner }
    }

    /// The position of the youngest.
    pub(super) fn newest(&self) -> u64 {
        self.hard.max(self.soft.0)
    }

    /// When the youngest came.
    pub(super) fn heard(&self) -> Timestamp {
        self.heard
    }

    /// What those do that are younger than a stamp.
    pub(super) fn since(&self, stamp: u64) -> Touch {
        let soft = [self.soft_before, self.soft].into_iter().find(|(seq, _)| *seq > stamp).map(|(_, at)| at);
        Touch { hard: self.hard > stamp, soft }
    }
}

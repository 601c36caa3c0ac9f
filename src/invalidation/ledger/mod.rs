//! What has been invalidated, and since when: checked on every read and before every put.
//!
//! The local log is a counter. Each row says which record was the youngest to select something, hard and soft apart; what
//! is no row, a pattern or several tags at once, is a ban, tried once on each older entry. This folder is compiled by
//! `tests/model` too, over two model checkers: what is tested over the standard library is in `invalidation/tests.rs`.

mod checked;
mod position;
mod record;
mod state;
mod touch;

pub(crate) use checked::{Checked, Standing};
pub(crate) use record::{Batch, Claim, Force, Record, Seq};

use super::row::{Row, RowHasher};
use crate::{
    semantics::date::Timestamp,
    sync::{AtomicU64, Ordering, RwLock},
};
use checked::GONE;
use record::Change;
use state::State;
use std::{sync::PoisonError, time::Duration};

/// What has been invalidated.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The end of the log: what fills are stamped with.
    applied: AtomicU64,
    /// Raised with each change of the state, under its lock. Starts at 1, so that an entry never checked is checked.
    generation: AtomicU64,
    state: RwLock<State>,
    hasher: RowHasher,
    /// The longest time, in milliseconds, for which anything that was stored could still be used.
    longest: AtomicU64,
    limits: Limits,
}

/// So many rows and bans are told apart; beyond that the oldest fold into their tenant's row, or into that of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The rows that are held.
    pub(crate) rows: usize,
    /// The bans that are held.
    pub(crate) bans: usize,
    /// The newest changes, which are tried one by one.
    pub(crate) recent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 262_144, bans: 1000, recent: 1024 }
    }
}

/// What has invalidated an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Culprits {
    /// The places of the rows that were hit.
    pub(crate) rows: Vec<usize>,
    /// A pattern, or several tags at once.
    pub(crate) ban: bool,
    pub(crate) everything: bool,
}

impl Ledger {
    /// One in which nothing has happened.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            applied: AtomicU64::new(0),
            generation: AtomicU64::new(1),
            state: RwLock::new(State::default()),
            hasher: RowHasher::default(),
            longest: AtomicU64::new(0),
            limits,
        }
    }

    /// What makes its rows.
    pub(crate) fn rows(&self) -> &RowHasher {
        &self.hasher
    }

    /// The end of the log. Read it before the inner service is called.
    pub(crate) fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Appends to the log, as one record, and applies it here.
    pub(crate) fn append(&self, batch: Batch, now: Timestamp) -> Seq {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let seq = self.applied.load(Ordering::Relaxed) + 1;
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let longest = Duration::from_millis(self.longest.load(Ordering::Relaxed));
        state.add(Change { generation, seq, at: now, batch }, self.limits, longest);
        // A fill that starts from here on is stamped with this record, and sees what was changed before it; one that
        // started before is not, and the rows have it already. Both are stored under the lock: whoever sees a new
        // generation takes it, and sees the rows.
        self.applied.store(seq, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        Seq(seq)
    }

    /// How an entry stands.
    #[inline]
    pub(crate) fn standing(&self, claim: Claim<'_>, checked: &Checked) -> Standing {
        let generation = self.generation.load(Ordering::Acquire);
        if checked.generation() == generation { checked.standing() } else { self.check(claim, checked) }
    }

    /// Whether no record younger than the stamp selects an entry by what was not `known` of it before it was there: the
    /// other rows of its footprint, and several of its rows at once.
    pub(crate) fn is_untouched_beside(&self, claim: Claim<'_>, known: &[Row]) -> bool {
        if self.applied() == claim.stamp {
            return true;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.covers(claim.stamp.0) && state.is_untouched_beside(claim, known)
    }

    /// What has invalidated an entry, for people: which of these rows, by their places.
    pub(crate) fn culprits(&self, claim: Claim<'_>, rows: &[Row]) -> Culprits {
        self.state.read().unwrap_or_else(PoisonError::into_inner).culprits(claim, rows)
    }

    /// Whether an entry may still be stored: its records are all at hand, and none is a hard one that selects it.
    pub(crate) fn admits(&self, claim: Claim<'_>, checked: &Checked) -> bool {
        // In this order: a record that is dropped before it is checked is told of by the horizon.
        self.standing(claim, checked) != Standing::Gone
            && self.state.read().unwrap_or_else(PoisonError::into_inner).covers(claim.stamp.0)
    }

    /// What is stored now can be used for so long.
    pub(crate) fn keep_for(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        if self.longest.load(Ordering::Relaxed) < millis {
            self.longest.fetch_max(millis, Ordering::Relaxed);
        }
    }

    /// Tells of the bans that every entry has to be tried on before they can be dropped: the newest generation of them.
    pub(crate) fn pending_bans(&self) -> Option<u64> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).youngest_ban()
    }

    /// The same, of those that are older than anything that could still be used: where there are stores, what they hold has not
    /// been tried on any.
    pub(crate) fn bans_outlived(&self, now: Timestamp) -> Option<u64> {
        let longest = Duration::from_millis(self.longest.load(Ordering::Relaxed));
        self.state.read().unwrap_or_else(PoisonError::into_inner).youngest_ban_outlived(now, longest)
    }

    /// Every entry has been tried: bans up to this generation are not needed any more.
    pub(crate) fn drop_bans(&self, generation: u64) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).drop_bans(generation);
    }

    #[cold]
    fn check(&self, claim: Claim<'_>, checked: &Checked) -> Standing {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Acquire);
        let before = checked.generation();
        if before == GONE {
            return Standing::Gone;
        }
        let touch = state.touch(claim, before, generation);
        drop(state);
        if touch.hard { checked.be_gone() } else { checked.pass(generation, touch.soft) }
    }

    /// How many rows and bans are held.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        self.state.read().unwrap_or_else(PoisonError::into_inner).size()
    }

    /// How many changes are at hand, and how many records these have.
    #[cfg(test)]
    pub(crate) fn recent(&self) -> (usize, usize) {
        self.state.read().unwrap_or_else(PoisonError::into_inner).recent()
    }
}

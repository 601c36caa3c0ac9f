//! What an entry remembers of the last time it was checked.

use crate::{
    semantics::date::Timestamp,
    sync::{AtomicU64, Ordering},
};

/// How an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nothing selects it.
    Good,
    /// Stale since then.
    Ended(Timestamp),
    /// It is not to be used.
    Gone,
}

/// The generation of the ledger at which an entry was last found good, and when it went stale by a record: as long as the
/// generation is the same, two atomic loads are the whole check.
#[derive(Debug)]
pub(crate) struct Checked {
    /// It only rises, and nothing is above [`GONE`], so that of two checks at once neither undoes the other.
    generation: AtomicU64,
    /// In milliseconds. It only falls, for the same reason.
    ended: AtomicU64,
}

impl Checked {
    /// Whether a hard record has been found to select it.
    pub(crate) fn is_gone(&self) -> bool {
        self.generation() == GONE
    }

    /// When a soft record made it stale, as far as is known.
    #[inline]
    pub(crate) fn ended(&self) -> Option<Timestamp> {
        match self.ended.load(Ordering::Relaxed) {
            u64::MAX => None,
            ended => Some(Timestamp::from_unix_millis(ended)),
        }
    }

    /// At which it was last checked. Who sees it sees when it ended, as far as was known then.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// How it stands, if it is not gone.
    #[inline]
    pub(super) fn standing(&self) -> Standing {
        self.ended().map_or(Standing::Good, Standing::Ended)
    }

    /// It is gone for good: the record may be dropped before this is asked again.
    pub(crate) fn be_gone(&self) -> Standing {
        self.generation.fetch_max(GONE, Ordering::Release);
        Standing::Gone
    }

    /// No hard record up to this generation selects it, and the first soft one came then. Another check at the same time
    /// may have found more.
    pub(crate) fn pass(&self, generation: u64, soft: Option<Timestamp>) -> Standing {
        if let Some(at) = soft {
            self.ended.fetch_min(at.as_unix_millis(), Ordering::Relaxed);
        }
        match self.generation.fetch_max(generation, Ordering::AcqRel) {
            GONE => Standing::Gone,
            _ => self.standing(),
        }
    }
}

impl Default for Checked {
    fn default() -> Self {
        Self { generation: AtomicU64::new(0), ended: AtomicU64::new(u64::MAX) }
    }
}

/// The generation of what has been found gone.
pub(super) const GONE: u64 = u64::MAX;

//! What an entry is to a store that tells of changes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// Changes are numbered as they are told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    place: AtomicU64,
    seen: AtomicU64,
    there: AtomicBool,
}

impl Told {
    /// It is kept at this place in the store.
    pub(crate) fn is_at(&self, place: u64) {
        self.place.store(place, Relaxed);
    }

    /// It was made after this change was told.
    pub(crate) fn is_after(&self, number: u64) {
        self.seen.store(number, Relaxed);
    }

    /// It was seen in the store after this change was told.
    pub(crate) fn is_there_after(&self, number: u64) {
        self.is_after(number);
        self.is_there();
    }

    /// It has been written to the store.
    pub(crate) fn is_there(&self) {
        self.there.store(true, Relaxed);
    }

    #[inline]
    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Relaxed)
    }

    pub(crate) fn place(&self) -> u64 {
        self.place.load(Relaxed)
    }

    /// Whether the store has it, or had.
    pub(crate) fn was_there(&self) -> bool {
        self.there.load(Relaxed)
    }
}

use super::{Scalar, Tally};
use crate::outcome::Outcome;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

/// How often a stored one is used, and who is told.
#[derive(Debug)]
pub(crate) struct Usage {
    /// One more than the uses; 0 as long as it is not stored.
    uses: AtomicU32,
    /// As many of these had been seen when memory was last looked through for what is asked for most.
    seen: AtomicU32,
    /// It was made here, and not taken over from a store.
    is_new: AtomicBool,
    /// Nothing of it leaves the process.
    memory_only: bool,
    tally: Arc<Tally>,
    /// That of its tenant, if it has one.
    tenant: Option<Arc<Tally>>,
    /// What a use saves.
    took: Duration,
}

impl Usage {
    pub(crate) fn open(tally: Arc<Tally>, tenant: Option<Arc<Tally>>, took: Duration) -> Self {
        Self {
            uses: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            is_new: AtomicBool::new(false),
            memory_only: false,
            tally,
            tenant,
            took,
        }
    }

    /// The same, of something of which nothing leaves the process, if so.
    pub(crate) fn memory_only(mut self, memory_only: bool) -> Self {
        self.memory_only = memory_only;
        self
    }

    /// It is stored; newly made, or taken over from a store.
    pub(crate) fn is_stored(&self, is_new: bool) {
        // One that is stored again stays what it was.
        let _ = self.uses.compare_exchange(0, 1, Relaxed, Relaxed);
        if !is_new {
            return;
        }
        self.is_new.store(true, Relaxed);
        self.tally.stored();
        if let Some(tenant) = &self.tenant {
            tenant.add(Scalar::Stored, 1);
        }
    }

    /// The name of the policy, or of the value.
    pub(crate) fn policy(&self) -> &str {
        self.tally.name()
    }

    #[cfg_attr(not(feature = "admin"), allow(dead_code, reason = "the admin API tells it"))]
    pub(crate) fn uses(&self) -> u32 {
        self.uses.load(Relaxed).saturating_sub(1)
    }

    /// The uses since this was last asked.
    pub(crate) fn news(&self) -> u32 {
        let uses = self.uses();
        uses.saturating_sub(self.seen.swap(uses, Relaxed))
    }

    pub(crate) fn is_memory_only(&self) -> bool {
        self.memory_only
    }

    /// The last use was by a warmer, and says nothing of what is wanted.
    pub(crate) fn was_warmed(&self) {
        let _ = self.uses.fetch_update(Relaxed, Relaxed, |uses| uses.checked_sub(1));
    }

    /// It was found invalidated.
    pub(crate) fn is_invalidated(&self) {
        self.tally.add(Scalar::Invalidated, 1);
        // Not counted again as unused.
        self.uses.fetch_max(2, Relaxed);
    }

    /// It has answered a request, or a part of one, of so many bytes.
    #[inline]
    pub(crate) fn is_used(&self, outcome: Outcome, before: u64, bytes: usize) {
        self.uses.fetch_add(1, Relaxed);
        if let Some(tenant) = &self.tenant {
            tenant.count_quietly(outcome);
        }
        let times = Tally::stands_for(before, SAMPLED);
        if times > 0 {
            self.saved(times, bytes as u64);
        }
    }

    fn saved(&self, times: u64, bytes: u64) {
        let micros = u64::try_from(self.took.as_micros()).unwrap_or(u64::MAX).saturating_mul(times);
        for tally in [Some(&self.tally), self.tenant.as_ref()].into_iter().flatten() {
            tally.add(Scalar::SavedMicros, micros);
            tally.add(Scalar::SavedBytes, bytes.saturating_mul(times));
        }
    }
}

impl Drop for Usage {
    fn drop(&mut self) {
        if *self.uses.get_mut() == 1 && *self.is_new.get_mut() {
            self.tally.add(Scalar::Unused, 1);
        }
    }
}

/// One use in so many tells what all have saved.
const SAMPLED: u64 = 16;

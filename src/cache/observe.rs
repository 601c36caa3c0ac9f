//! Policies that only observe: which requests would have been hits, without storing anything of a response.

use super::table::Table;
use crate::semantics::date::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Until when the answers to which keys would have been fresh. Keys are hashes: the count is an estimate.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    until: Table<Timestamp, MOST>,
    pub(crate) would_hits: AtomicU64,
}

impl Observed {
    /// An answer would have been stored.
    pub(crate) fn would_store(&self, key: &[u8], until: Timestamp) {
        self.until.insert(self.until.hash(key), until);
    }

    /// A request is looked up.
    pub(crate) fn look(&self, key: &[u8], now: Timestamp) {
        if self.until.get(self.until.hash(key)).is_some_and(|until| now < until) {
            self.would_hits.fetch_add(1, Relaxed);
        }
    }
}

/// So many keys are observed at once.
const MOST: usize = 100_000;

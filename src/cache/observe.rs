//! Policies that only observe: which requests would have been hits, without storing anything of a response.

use crate::semantics::date::Timestamp;
use quick_cache::sync;
use std::{
    hash::BuildHasher,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Until when the answers to which keys would have been fresh. Keys are hashes: the count is an estimate.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    until: OnceLock<sync::Cache<u64, Timestamp>>,
    hashes: rapidhash::fast::RandomState,
    pub(crate) would_hits: AtomicU64,
}

impl Observed {
    /// An answer would have been stored.
    pub(crate) fn would_store(&self, key: &[u8], until: Timestamp) {
        self.until.get_or_init(|| sync::Cache::new(MOST)).insert(self.hashes.hash_one(key), until);
    }

    /// A request is looked up.
    pub(crate) fn look(&self, key: &[u8], now: Timestamp) {
        let until = self.until.get().and_then(|until| until.get(&self.hashes.hash_one(key)));
        if until.is_some_and(|until| now < until) {
            self.would_hits.fetch_add(1, Relaxed);
        }
    }
}

/// So many keys are observed at once.
const MOST: usize = 100_000;

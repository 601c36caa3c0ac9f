//! How often resources were asked for, before any of their responses is stored.

use quick_cache::sync;
use std::{
    hash::BuildHasher,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

/// Uses by the hash of the key: a collision stores one a little early. The least used make way for others.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    counts: OnceLock<sync::Cache<u64, Arc<AtomicU32>>>,
    hashes: rapidhash::fast::RandomState,
}

impl Uses {
    pub(crate) fn count(&self, key: &[u8]) {
        let counts = self.counts.get_or_init(|| sync::Cache::new(MOST));
        let hash = self.hashes.hash_one(key);
        match counts.get(&hash) {
            Some(count) => drop(count.fetch_update(Relaxed, Relaxed, |count| count.checked_add(1))),
            None => counts.insert(hash, Arc::new(AtomicU32::new(1))),
        }
    }

    pub(crate) fn of(&self, key: &[u8]) -> u32 {
        let count = self.counts.get().and_then(|counts| counts.get(&self.hashes.hash_one(key)));
        count.map_or(0, |count| count.load(Relaxed))
    }
}

/// So many resources are counted.
const MOST: usize = 100_000;

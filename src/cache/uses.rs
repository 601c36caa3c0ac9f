//! How often resources were asked for, before any of their responses is stored.

use super::table::Table;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

/// Uses by the hash of the key: a collision stores one a little early.
#[derive(Debug, Default)]
pub(crate) struct Uses(Table<Arc<AtomicU32>, MOST>);

impl Uses {
    pub(crate) fn count(&self, key: &[u8]) {
        let hash = self.0.hash(key);
        match self.0.get(hash) {
            Some(count) => drop(count.fetch_update(Relaxed, Relaxed, |count| count.checked_add(1))),
            None => self.0.insert(hash, Arc::new(AtomicU32::new(1))),
        }
    }

    /// As [`Uses::of`], for those who only look.
    pub(crate) fn peek(&self, key: &[u8]) -> u32 {
        self.0.peek(self.0.hash(key)).map_or(0, |count| count.load(Relaxed))
    }

    pub(crate) fn of(&self, key: &[u8]) -> u32 {
        self.0.get(self.0.hash(key)).map_or(0, |count| count.load(Relaxed))
    }
}

/// So many resources are counted.
const MOST: usize = 100_000;

//! What is known of resources that are not stored.

use quick_cache::sync;
use std::{
    fmt,
    hash::{BuildHasher, Hash},
    sync::OnceLock,
};

/// Up to `MOST` rows by the hashes of keys: a collision takes one resource for another. The least used make way for others.
/// Made on first use: most caches need none.
pub(super) struct Table<V, const MOST: usize> {
    rows: OnceLock<sync::Cache<u64, V>>,
    /// Not the fast one: it takes names that are nearly the same for one, under one seed in thirty.
    hashes: rapidhash::quality::RandomState,
}

impl<V: Clone, const MOST: usize> Table<V, MOST> {
    pub(super) fn insert(&self, hash: u64, row: V) {
        self.rows.get_or_init(|| sync::Cache::new(MOST)).insert(hash, row);
    }

    pub(super) fn remove(&self, hash: u64) {
        if let Some(rows) = self.rows.get() {
            rows.remove(&hash);
        }
    }

    pub(super) fn get(&self, hash: u64) -> Option<V> {
        self.rows.get()?.get(&hash)
    }

    /// The same, without counting as a use.
    pub(super) fn peek(&self, hash: u64) -> Option<V> {
        self.rows.get()?.peek(&hash)
    }

    /// Nothing was ever inserted.
    pub(super) fn is_unused(&self) -> bool {
        self.rows.get().is_none()
    }

    pub(super) fn hash(&self, key: impl Hash) -> u64 {
        self.hashes.hash_one(key)
    }
}

impl<V, const MOST: usize> Default for Table<V, MOST> {
    fn default() -> Self {
        Self { rows: OnceLock::new(), hashes: rapidhash::quality::RandomState::default() }
    }
}

impl<V, const MOST: usize> fmt::Debug for Table<V, MOST> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").finish_non_exhaustive()
    }
}

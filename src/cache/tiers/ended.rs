//! What an answer has ended here, while the stores may have it still: it is not taken from there again.

use crate::semantics::date::Timestamp;
use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Up to `MOST` keys by their hashes: a collision costs no more than a fill.
#[derive(Debug, Default)]
pub(in super::super) struct Ended {
    rows: Mutex<Rows>,
    hashes: rapidhash::quality::RandomState,
}

#[derive(Debug, Default)]
struct Rows {
    all: HashMap<u64, Row, rapidhash::quality::RandomState>,
    /// Of what arrived up to then it is not known any more what was ended.
    floor: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// What arrived up to then was ended.
    at: Timestamp,
    /// Then nobody has it any more.
    until: Timestamp,
}

impl Ended {
    /// What is stored under this key was ended now; of no use to anyone after `until`.
    pub(in super::super) fn note(&self, key: &[u8], now: Timestamp, until: Timestamp) {
        let hash = self.hashes.hash_one(key);
        let mut rows = self.rows();
        if rows.all.len() >= MOST {
            rows.all.retain(|_, row| row.until > now);
        }
        if rows.all.len() >= MOST {
            rows.all.clear();
            rows.floor = Some(now);
        }
        let before = rows.all.get(&hash).map_or(until, |row| row.until);
        rows.all.insert(hash, Row { at: now, until: until.max(before) });
    }

    /// It was removed from the stores. Who had asked before may be answered with it still, for a while.
    pub(super) fn is_removed(&self, key: &[u8], now: Timestamp) {
        if let Some(row) = self.rows().all.get_mut(&self.hashes.hash_one(key)) {
            row.until = row.until.min(now.saturating_add(ON_THE_WAY));
        }
    }

    /// What arrived then stands in its place.
    pub(super) fn is_replaced(&self, key: &[u8], received: Timestamp) {
        let hash = self.hashes.hash_one(key);
        let mut rows = self.rows();
        if rows.all.get(&hash).is_some_and(|row| row.at <= received) {
            rows.all.remove(&hash);
        }
    }

    /// Whether what arrived then under this key was ended.
    pub(super) fn has(&self, key: &[u8], received: Timestamp) -> bool {
        let rows = self.rows();
        rows.floor.is_some_and(|floor| received <= floor)
            || (!rows.all.is_empty() && rows.all.get(&self.hashes.hash_one(key)).is_some_and(|row| received <= row.at))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many keys are told apart: each answer that ends something waits here until the stores have done it.
const MOST: usize = 65_536;

/// No lookup is under way for longer.
const ON_THE_WAY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_secs(1_000_000 + seconds)
    }

    #[test]
    fn what_arrived_before_is_ended_and_what_comes_after_is_not() {
        let ended = Ended::default();
        assert!(!ended.has(b"a", at(0)));
        ended.note(b"a", at(10), at(3600));
        assert_eq!([at(9), at(10), at(11)].map(|received| ended.has(b"a", received)), [true, true, false]);
        assert!(!ended.has(b"b", at(9)));
        ended.is_removed(b"a", at(11));
        assert!(ended.has(b"a", at(9)), "it may be on its way");
        ended.is_replaced(b"a", at(9));
        assert!(ended.has(b"a", at(9)), "by what was ended itself");
        ended.is_replaced(b"a", at(10));
        assert!(!ended.has(b"a", at(9)));
    }

    #[test]
    fn it_is_bounded_and_forgets_nothing() {
        let ended = Ended::default();
        let note = |number: usize, until| ended.note(&number.to_be_bytes(), at(10), until);
        (0..MOST).for_each(|number| note(number, at(10)));
        assert!(!ended.has(b"other", at(9)));
        // All others are of no use any more.
        note(MOST, at(3600));
        assert!(!ended.has(&1_usize.to_be_bytes(), at(9)) && ended.has(&MOST.to_be_bytes(), at(9)));
        (0..MOST).for_each(|number| note(number, at(3600)));
        assert!(ended.rows().all.len() <= MOST);
        assert!(ended.has(&1_usize.to_be_bytes(), at(9)) && ended.has(b"other", at(9)));
        assert!(!ended.has(b"other", at(11)));
    }
}

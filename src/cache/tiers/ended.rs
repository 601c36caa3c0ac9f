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
            rows.make_room(now);
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

    /// Whether what arrived then under this key was ended, and may be in a store still; perhaps it was another variant.
    pub(super) fn has(&self, key: &[u8], received: Timestamp, now: Timestamp) -> bool {
        let rows = self.rows();
        let is_meant = |row: &Row| received <= row.at && now < row.until;
        rows.floor.is_some_and(|floor| received <= floor)
            || (!rows.all.is_empty() && rows.all.get(&self.hashes.hash_one(key)).is_some_and(is_meant))
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    /// What is of no use any more goes, and if that is little, what was ended first.
    fn make_room(&mut self, now: Timestamp) {
        self.all.retain(|_, row| row.until > now);
        if self.all.len() > MOST / 2 {
            let mut ended: Vec<Timestamp> = self.all.values().map(|row| row.at).collect();
            let middle = *ended.select_nth_unstable(MOST / 4).1;
            self.all.retain(|_, row| row.at > middle);
            self.floor = self.floor.max(Some(middle));
        }
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
        let has = |key: &[u8], received| ended.has(key, at(received), at(12));
        assert!(!has(b"a", 0));
        ended.note(b"a", at(10), at(3600));
        assert_eq!([9, 10, 11].map(|received| has(b"a", received)), [true, true, false]);
        assert!(!has(b"b", 9));
        ended.is_removed(b"a", at(11));
        assert!(has(b"a", 9), "it may be on its way");
        assert!(!ended.has(b"a", at(9), at(72)), "what is there now is another variant");
    }

    #[test]
    fn it_is_bounded_and_forgets_nothing() {
        let ended = Ended::default();
        let note = |number: usize, now, until| ended.note(&number.to_be_bytes(), at(now), at(until));
        let has = |number: usize, received| ended.has(&number.to_be_bytes(), at(received), at(20));
        (0..MOST).for_each(|number| note(number, 10, 11));
        // All others are of no use any more.
        note(MOST, 12, 3600);
        assert!(!has(1, 9) && has(MOST, 9) && !has(usize::MAX, 9));
        (0..MOST).for_each(|number| note(number, 13 + number as u64 / (MOST as u64 / 4), 3600));
        assert!(ended.rows().all.len() <= MOST);
        assert!((0..=MOST).all(|number| has(number, 9)));
        assert!(has(usize::MAX, 9), "of what is as old nobody knows");
        assert!(!has(usize::MAX, 17));
    }
}

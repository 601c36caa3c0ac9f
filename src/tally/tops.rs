//! What there is most of, of more than can be counted.

use std::{collections::HashMap, hash::Hash};

/// Up to so many rows with their counts. A new one takes the place of the least, and its count: what is often is in it, and
/// no count is too small (the Space-Saving algorithm of Metwally, Agrawal and El Abbadi).
#[derive(Debug)]
pub(crate) struct Top<K, V> {
    rows: HashMap<K, Row<V>>,
    most: usize,
}

#[derive(Debug)]
struct Row<V> {
    count: u64,
    value: V,
}

impl<K: Eq + Hash + Clone, V> Top<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { rows: HashMap::new(), most }
    }

    /// Counts one, and gives what stands beside it.
    pub(crate) fn count(&mut self, key: K, by: u64, make: impl FnOnce() -> V) -> &mut V {
        self.count_beside(key, by, make, |_| 0)
    }

    /// The same where more is counted elsewhere: `beside` tells how much, by what stands beside a row.
    pub(crate) fn count_beside(
        &mut self,
        key: K,
        by: u64,
        make: impl FnOnce() -> V,
        beside: impl Fn(&V) -> u64,
    ) -> &mut V {
        let mut inherited = 0;
        if !self.rows.contains_key(&key) && self.rows.len() >= self.most {
            let count = |row: &Row<V>| row.count.max(beside(&row.value));
            let counts = self.rows.iter().map(|(key, row)| (key, count(row)));
            let least = counts.min_by_key(|(_, count)| *count).map(|(key, count)| (key.clone(), count));
            if let Some((key, count)) = least {
                self.rows.remove(&key);
                inherited = count;
            }
        }
        let row = self.rows.entry(key).or_insert_with(|| Row { count: inherited, value: make() });
        row.count += by;
        &mut row.value
    }

    /// What is counted, the most first.
    pub(crate) fn rows(&self) -> Vec<(&K, u64, &V)> {
        let mut rows: Vec<_> = self.rows.iter().map(|(key, row)| (key, row.count, &row.value)).collect();
        rows.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_often_stays() {
        let mut top = Top::new(8);
        for round in 0..1000_u64 {
            for often in 0..4 {
                top.count(often, 1, || ());
            }
            top.count(100 + round, 1, || ());
        }
        let rows = top.rows();
        assert_eq!(rows.len(), 8);
        let often: Vec<_> = rows.iter().filter(|(key, ..)| **key < 4).collect();
        assert_eq!(often.len(), 4);
        assert!(often.iter().all(|(_, count, ())| *count >= 1000), "{often:?}");
    }
}

//! What has been invalidated, and since when: checked on every read and before every put.
//!
//! The local log is a counter. Rows say for each resource the youngest record that selected it. Rows are hashes, so a
//! collision can only invalidate too much.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// A position in the invalidation log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(u64);

/// An invalidation, as the log has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Everything,
    /// The hash of a resource, at one authority or anywhere.
    Resource(u64),
}

/// The rows of the ledger that a stored response can be hit by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) at: u64,
    pub(crate) anywhere: u64,
}

/// The generation of the ledger at which an entry was last found good: as long as it is the same, one atomic load is the
/// whole check.
#[derive(Debug, Default)]
pub(crate) struct Checked(AtomicU64);

#[derive(Debug)]
pub(crate) struct Ledger {
    /// The end of the log: what fills are stamped with.
    applied: AtomicU64,
    /// Raised after each change of the rows. Starts at 1, so that an entry never checked is checked.
    generation: AtomicU64,
    rows: RwLock<Rows>,
    hasher: rapidhash::fast::RandomState,
}

#[derive(Debug, Default)]
struct Rows {
    resources: HashMap<u64, u64>,
    /// Everything stamped before this is gone: the youngest record about everything, or rows that were folded.
    floor: u64,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            applied: AtomicU64::new(0),
            generation: AtomicU64::new(1),
            rows: RwLock::default(),
            hasher: rapidhash::fast::RandomState::default(),
        }
    }

    /// The end of the log. Read it before the inner service is called.
    pub(crate) fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Appends to the log and applies it here.
    pub(crate) fn append(&self, records: &[Record]) -> Seq {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let seq = self.applied.load(Ordering::Relaxed) + 1;
        for record in records {
            match record {
                Record::Everything => {
                    rows.resources.clear();
                    rows.floor = seq;
                }
                Record::Resource(hash) => {
                    rows.resources.insert(*hash, seq);
                }
            }
        }
        rows.fold(MAX_ROWS);
        // A fill that starts from here on is stamped with this record; one that started before is not, and the rows
        // have it already. The generation comes last: who sees the new one sees the rows.
        self.applied.store(seq, Ordering::Release);
        self.generation.fetch_add(1, Ordering::Release);
        Seq(seq)
    }

    /// Whether no record younger than the stamp selects the resource.
    pub(crate) fn is_good(&self, stamp: Seq, resource: Resource, checked: &Checked) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if checked.0.load(Ordering::Relaxed) == generation {
            return true;
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let good = rows.newest(resource) <= stamp.0;
        drop(rows);
        if good {
            checked.0.store(generation, Ordering::Relaxed);
        }
        good
    }

    /// The rows of a resource. `query` is sorted.
    pub(crate) fn resource(&self, authority: Option<&str>, path: &str, query: Option<&str>) -> Resource {
        let anywhere = self.hash_anywhere(path, query);
        let at = authority.map_or(anywhere, |authority| self.hash_at(authority, path, query));
        Resource { at, anywhere }
    }

    pub(crate) fn hash_at(&self, authority: &str, path: &str, query: Option<&str>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        // The scheme is not always known, so a port that is the default of one may be left out in another spelling.
        let host = authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")).unwrap_or(authority);
        host.to_ascii_lowercase().hash(&mut hasher);
        (path, query).hash(&mut hasher);
        hasher.finish()
    }

    pub(crate) fn hash_anywhere(&self, path: &str, query: Option<&str>) -> u64 {
        self.hasher.hash_one((path, query))
    }
}

impl Rows {
    fn newest(&self, resource: Resource) -> u64 {
        let row = |hash| self.resources.get(&hash).copied().unwrap_or(0);
        self.floor.max(row(resource.at)).max(row(resource.anywhere))
    }

    /// Keeps the rows bounded: over the limit, the older half becomes part of the floor.
    fn fold(&mut self, limit: usize) {
        if self.resources.len() <= limit {
            return;
        }
        let mut positions: Vec<u64> = self.resources.values().copied().collect();
        let middle = positions.len() / 2;
        let (_, &mut median, _) = positions.select_nth_unstable(middle);
        self.floor = self.floor.max(median);
        self.resources.retain(|_, position| *position > median);
    }
}

/// So many resources are told apart; beyond that the older ones fold into the floor.
const MAX_ROWS: usize = 262_144;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(ledger: &Ledger, stamp: Seq, resource: Resource) -> bool {
        ledger.is_good(stamp, resource, &Checked::default())
    }

    #[test]
    fn a_record_selects_what_was_filled_before_it() {
        let ledger = Ledger::new();
        let (x, y) = (ledger.resource(Some("Host"), "/x", None), ledger.resource(Some("host"), "/y", None));
        let before = ledger.applied();
        ledger.append(&[Record::Resource(ledger.hash_at("host", "/x", None))]);
        assert!(!good(&ledger, before, x));
        assert!(good(&ledger, before, y));
        assert!(good(&ledger, ledger.applied(), x), "filled afterwards");
        ledger.append(&[Record::Everything]);
        assert!(!good(&ledger, before, y));
    }

    #[test]
    fn a_bare_path_is_meant_anywhere() {
        let ledger = Ledger::new();
        let stamp = ledger.applied();
        ledger.append(&[Record::Resource(ledger.hash_anywhere("/x", Some("a=1")))]);
        assert!(!good(&ledger, stamp, ledger.resource(Some("a"), "/x", Some("a=1"))));
        assert!(!good(&ledger, stamp, ledger.resource(None, "/x", Some("a=1"))));
        assert!(good(&ledger, stamp, ledger.resource(Some("a"), "/x", None)));
    }

    #[test]
    fn an_entry_found_good_is_asked_again_after_a_change() {
        let ledger = Ledger::new();
        let (x, checked) = (ledger.resource(None, "/x", None), Checked::default());
        assert!(ledger.is_good(Seq(0), x, &checked));
        assert!(ledger.is_good(Seq(0), x, &checked));
        ledger.append(&[Record::Resource(x.anywhere)]);
        assert!(!ledger.is_good(Seq(0), x, &checked));
    }

    #[test]
    fn folded_rows_select_more_and_never_less() {
        let mut rows = Rows::default();
        for hash in 0..1000 {
            rows.resources.insert(hash, hash + 1);
        }
        rows.fold(999);
        assert!(rows.resources.len() <= 500);
        for hash in 0..1000 {
            assert!(rows.newest(Resource { at: hash, anywhere: hash }) > hash);
        }
    }

    proptest! {
        /// Against a list of everything that ever happened.
        #[test]
        fn agrees_with_a_naive_reference(events in proptest::collection::vec((0u8..3, 0u64..4), 0..60)) {
            let ledger = Ledger::new();
            let mut log: Vec<Option<u64>> = Vec::new();
            let mut fills: Vec<(Seq, u64, usize, Checked)> = Vec::new();
            for (kind, resource) in events {
                match kind {
                    0 => fills.push((ledger.applied(), resource, log.len(), Checked::default())),
                    1 => { ledger.append(&[Record::Resource(resource)]); log.push(Some(resource)); }
                    _ => if resource == 0 { ledger.append(&[Record::Everything]); log.push(None); }
                }
                for (stamp, resource, at, checked) in &fills {
                    let selected = log[*at..].iter().any(|record| record.is_none_or(|hit| hit == *resource));
                    let rows = Resource { at: *resource, anywhere: *resource };
                    prop_assert_eq!(ledger.is_good(*stamp, rows, checked), !selected);
                }
            }
        }
    }
}

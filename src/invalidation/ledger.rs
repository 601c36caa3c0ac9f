//! What has been invalidated, and since when: checked on every read and before every put.
//!
//! The local log is a counter. Each row says which record was the youngest to select a resource or a part of the identity.
//! Rows are hashes, so a collision can only invalidate too much.

use crate::identity::TENANT;
use percent_encoding::percent_decode_str;
use smallvec::{SmallVec, smallvec};
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
    /// What has this row in its footprint.
    Row(Row),
}

/// A row of the ledger: the hash of something that can be invalidated.
pub(crate) type Row = u64;

/// Something that can be invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// A resource; without an authority, wherever it is. Spellings that differ in percent-encoding, and in the order of
    /// query parameters of different names, are one.
    Resource { authority: Option<&'a str>, path: &'a str, query: Option<&'a str> },
    /// What is keyed on this attribute of the identity.
    Attribute { name: &'a str, value: &'a str },
}

/// The rows that a stored response can be hit by.
pub(crate) type Footprint = SmallVec<[Row; 4]>;

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
    positions: HashMap<Row, u64>,
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
                    rows.positions.clear();
                    rows.floor = seq;
                }
                Record::Row(row) => {
                    rows.positions.insert(*row, seq);
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

    /// Whether no record younger than the stamp selects what has this footprint.
    pub(crate) fn is_good(&self, stamp: Seq, footprint: &[Row], checked: &Checked) -> bool {
        let generation = self.generation.load(Ordering::Acquire);
        if checked.0.load(Ordering::Relaxed) == generation {
            return true;
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let good = rows.newest(footprint) <= stamp.0;
        drop(rows);
        if good {
            checked.0.store(generation, Ordering::Relaxed);
        }
        good
    }

    /// The footprint of a response to a request for this resource, keyed on these attributes of the identity.
    pub(crate) fn footprint(&self, resource: Subject<'_>, keyed: &[(&str, &str)]) -> Footprint {
        let tenants = || keyed.iter().filter(|(name, _)| *name == TENANT).map(|(_, value)| *value);
        let mut subjects: SmallVec<[Subject<'_>; 4]> = smallvec![resource];
        if let Subject::Resource { authority: Some(_), path, query } = resource {
            subjects.push(Subject::Resource { authority: None, path, query });
        }
        subjects.extend(keyed.iter().map(|(name, value)| Subject::Attribute { name, value }));
        let narrowed =
            tenants().flat_map(|tenant| subjects.iter().map(move |subject| self.row(*subject, Some(tenant))));
        subjects.iter().map(|subject| self.row(*subject, None)).chain(narrowed).collect()
    }

    /// The row of a subject, within one tenant or in all.
    pub(crate) fn row(&self, subject: Subject<'_>, tenant: Option<&str>) -> Row {
        let mut hasher = self.hasher.build_hasher();
        tenant.hash(&mut hasher);
        match subject {
            Subject::Resource { authority: Some(authority), path, query } => {
                // The scheme is not always known, so a port that is the default of one may be left out elsewhere.
                let host =
                    authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")).unwrap_or(authority);
                (0, host.to_ascii_lowercase()).hash(&mut hasher);
                hash_target(path, query, &mut hasher);
            }
            Subject::Resource { authority: None, path, query } => {
                1.hash(&mut hasher);
                hash_target(path, query, &mut hasher);
            }
            Subject::Attribute { name, value } => (2, name, value).hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// Handlers decode what they are asked for, so a resource is what it decodes to. Two that decode to the same are
/// invalidated together.
fn hash_target(path: &str, query: Option<&str>, hasher: &mut impl Hasher) {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    decoded(path).hash(hasher);
    let pairs = query.map(|query| {
        let mut pairs: Vec<_> = query
            .split('&')
            .map(|pair| {
                pair.split_once('=')
                    .map_or((decoded(pair), None), |(name, value)| (decoded(name), Some(decoded(value))))
            })
            .collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs
    });
    pairs.hash(hasher);
}

impl Rows {
    fn newest(&self, footprint: &[Row]) -> u64 {
        let rows = footprint.iter().filter_map(|row| self.positions.get(row).copied());
        rows.fold(self.floor, u64::max)
    }

    /// Keeps the rows bounded: over the limit, the older half becomes part of the floor.
    fn fold(&mut self, limit: usize) {
        if self.positions.len() <= limit {
            return;
        }
        let mut positions: Vec<u64> = self.positions.values().copied().collect();
        let middle = positions.len() / 2;
        let (_, &mut median, _) = positions.select_nth_unstable(middle);
        self.floor = self.floor.max(median);
        self.positions.retain(|_, position| *position > median);
    }
}

/// So many rows are told apart; beyond that the older ones fold into the floor.
const MAX_ROWS: usize = 262_144;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(ledger: &Ledger, stamp: Seq, footprint: &Footprint) -> bool {
        ledger.is_good(stamp, footprint, &Checked::default())
    }

    fn at<'a>(authority: Option<&'a str>, path: &'a str) -> Subject<'a> {
        Subject::Resource { authority, path, query: None }
    }

    #[test]
    fn a_record_selects_what_was_filled_before_it() {
        let ledger = Ledger::new();
        let x = ledger.footprint(at(Some("Host"), "/x"), &[]);
        let y = ledger.footprint(at(Some("host"), "/y"), &[]);
        let before = ledger.applied();
        ledger.append(&[Record::Row(ledger.row(at(Some("host:443"), "/x"), None))]);
        assert!(!good(&ledger, before, &x));
        assert!(good(&ledger, before, &y));
        assert!(good(&ledger, ledger.applied(), &x), "filled afterwards");
        ledger.append(&[Record::Everything]);
        assert!(!good(&ledger, before, &y));
    }

    #[test]
    fn a_bare_path_is_meant_anywhere() {
        let ledger = Ledger::new();
        let stamp = ledger.applied();
        ledger.append(&[Record::Row(ledger.row(at(None, "/x"), None))]);
        assert!(!good(&ledger, stamp, &ledger.footprint(at(Some("a"), "/x"), &[])));
        assert!(!good(&ledger, stamp, &ledger.footprint(at(None, "/x"), &[])));
        assert!(good(&ledger, stamp, &ledger.footprint(at(Some("a"), "/y"), &[])));
    }

    #[test]
    fn parts_of_the_identity_select_within_a_tenant_or_in_all() {
        let user = Subject::Attribute { name: "user", value: "7" };
        for (subject, tenant, hits) in [
            (user, None, [true, true, false]),
            (user, Some("1"), [true, false, false]),
            (Subject::Attribute { name: TENANT, value: "1" }, None, [true, false, true]),
            (at(None, "/x"), Some("1"), [true, false, true]),
            (at(None, "/x"), None, [true, true, true]),
        ] {
            let ledger = Ledger::new();
            let stamp = ledger.applied();
            let footprints = [
                ledger.footprint(at(Some("h"), "/x"), &[(TENANT, "1"), ("user", "7")]),
                ledger.footprint(at(Some("h"), "/x"), &[(TENANT, "2"), ("user", "7")]),
                ledger.footprint(at(Some("h"), "/x"), &[(TENANT, "1")]),
            ];
            ledger.append(&[Record::Row(ledger.row(subject, tenant))]);
            let gone = footprints.each_ref().map(|footprint| !good(&ledger, stamp, footprint));
            assert_eq!(gone, hits, "{subject:?} in {tenant:?}");
        }
    }

    #[test]
    fn an_entry_found_good_is_asked_again_after_a_change() {
        let ledger = Ledger::new();
        let (x, checked) = (ledger.footprint(at(None, "/x"), &[]), Checked::default());
        assert!(ledger.is_good(Seq(0), &x, &checked));
        assert!(ledger.is_good(Seq(0), &x, &checked));
        ledger.append(&[Record::Row(x[0])]);
        assert!(!ledger.is_good(Seq(0), &x, &checked));
    }

    #[test]
    fn folded_rows_select_more_and_never_less() {
        let mut rows = Rows::default();
        for hash in 0..1000 {
            rows.positions.insert(hash, hash + 1);
        }
        rows.fold(999);
        assert!(rows.positions.len() <= 500);
        for hash in 0..1000 {
            assert!(rows.newest(&[hash]) > hash);
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
                    1 => { ledger.append(&[Record::Row(resource)]); log.push(Some(resource)); }
                    _ => if resource == 0 { ledger.append(&[Record::Everything]); log.push(None); }
                }
                for (stamp, resource, at, checked) in &fills {
                    let selected = log[*at..].iter().any(|record| record.is_none_or(|hit| hit == *resource));
                    prop_assert_eq!(ledger.is_good(*stamp, &[*resource], checked), !selected);
                }
            }
        }
    }
}

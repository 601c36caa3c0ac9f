//! The history of a week, by who did it.

use super::{super::HistorySample, STEP};
use crate::{cache::HistorySpan, semantics::date::Timestamp};
use std::{collections::BTreeMap, time::Duration};

/// What each node did, in steps of 10 minutes by the clock; the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Week(BTreeMap<String, Vec<HistorySample>>);

impl Week {
    /// What these bytes say. Steps that cannot be are left out.
    pub(super) fn read(body: &[u8], now: Timestamp) -> Result<Self, &'static str> {
        type Read = (u8, BTreeMap<String, Vec<[u64; COLUMNS]>>);
        let (version, nodes): Read = serde_json::from_slice(body).map_err(|_| "field")?;
        if version != VERSION {
            return Err("version");
        }
        let is_node = |node: &String| node.len() == 16 && node.bytes().all(|byte| byte.is_ascii_hexdigit());
        let nodes = nodes.into_iter().filter(|(node, _)| is_node(node));
        let week = nodes.map(|(node, rows)| (node, in_slots(rows.into_iter().filter_map(sample))));
        Ok(Self(week.collect()).trimmed(now))
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let rows = |samples: &Vec<HistorySample>| samples.iter().map(row).collect();
        let nodes: BTreeMap<_, Vec<_>> = self.0.iter().map(|(node, samples)| (node, rows(samples))).collect();
        // Numbers in maps and lists are always possible.
        serde_json::to_vec(&(VERSION, nodes)).unwrap_or_default()
    }

    /// The same, and what is known of nodes that it knows nothing of.
    pub(super) fn and(mut self, known: &Self) -> Self {
        for (node, samples) in &known.0 {
            if !self.0.contains_key(node) {
                self.0.insert(node.clone(), samples.clone());
            }
        }
        self
    }

    pub(super) fn without(mut self, node: &str) -> Self {
        self.0.remove(node);
        self
    }

    /// The same, and what this node did.
    pub(super) fn with(mut self, node: &str, samples: Vec<HistorySample>, now: Timestamp) -> Self {
        self.0.insert(node.to_owned(), in_slots(samples.into_iter()));
        self.trimmed(now)
    }

    /// All of it that is not too old.
    pub(super) fn samples(&self, now: Timestamp) -> Vec<HistorySample> {
        let is_young = |sample: &&HistorySample| is_possible(sample, now);
        self.0.values().flatten().filter(is_young).cloned().collect()
    }

    fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// Without what is too old, and with the youngest of the rest.
    fn trimmed(mut self, now: Timestamp) -> Self {
        self.0.values_mut().for_each(|samples| samples.retain(|sample| is_possible(sample, now)));
        if self.len() > MOST {
            let mut all: Vec<_> = self.0.values().flatten().map(|sample| sample.at_millis).collect();
            all.sort_unstable_by(|a, b| b.cmp(a));
            // Of those that are as old as the last one that stays, none does.
            let last = all.get(MOST).copied().unwrap_or_default();
            self.0.values_mut().for_each(|samples| samples.retain(|sample| sample.at_millis > last));
        }
        self.0.retain(|_, samples| !samples.is_empty());
        self
    }
}

/// What this cache did and what others did, by steps of 10 minutes: one sample for each.
pub(in crate::cache) fn by_slot(own: Vec<HistorySample>, others: Vec<HistorySample>) -> Vec<HistorySample> {
    if others.is_empty() {
        return own;
    }
    let mut slots: BTreeMap<u64, (u64, HistorySample)> = BTreeMap::new();
    for sample in own.into_iter().chain(others) {
        let most = lookups(&sample);
        match slots.entry(slot(&sample)) {
            std::collections::btree_map::Entry::Vacant(place) => drop(place.insert((most, sample))),
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let (before, sum) = place.get_mut();
                let used = sum.used_bytes.saturating_add(sample.used_bytes);
                join(sum, &sample, most > *before);
                (*before, sum.used_bytes) = (most.max(*before), used);
            }
        }
    }
    slots.into_values().map(|(_, sample)| sample).collect()
}

/// The steps of one node, one for each slot, in order.
fn in_slots(samples: impl Iterator<Item = HistorySample>) -> Vec<HistorySample> {
    let mut slots: BTreeMap<u64, HistorySample> = BTreeMap::new();
    for sample in samples {
        match slots.get_mut(&slot(&sample)) {
            None => drop(slots.insert(slot(&sample), sample)),
            Some(sum) => {
                let used = if sample.at_millis > sum.at_millis { sample.used_bytes } else { sum.used_bytes };
                let busier = lookups(&sample) > lookups(sum);
                join(sum, &sample, busier);
                sum.used_bytes = used;
            }
        }
    }
    slots.into_values().collect()
}

/// Adds what was counted. Times are those of the `busier` one.
fn join(sum: &mut HistorySample, more: &HistorySample, busier: bool) {
    for (sum, more) in [
        (&mut sum.hits, more.hits),
        (&mut sum.stale, more.stale),
        (&mut sum.revalidated, more.revalidated),
        (&mut sum.misses, more.misses),
        (&mut sum.collapsed, more.collapsed),
        (&mut sum.bypasses, more.bypasses),
        (&mut sum.stored, more.stored),
        (&mut sum.invalidations, more.invalidations),
        (&mut sum.evictions, more.evictions),
    ] {
        *sum = sum.saturating_add(more);
    }
    for (time, theirs) in [
        (&mut sum.hit_p50, more.hit_p50),
        (&mut sum.hit_p95, more.hit_p95),
        (&mut sum.fill_p50, more.fill_p50),
        (&mut sum.fill_p95, more.fill_p95),
    ] {
        *time = if busier { theirs.or(*time) } else { time.or(theirs) };
    }
    sum.at_millis = sum.at_millis.max(more.at_millis);
    sum.log_lag = sum.log_lag.max(more.log_lag);
}

fn lookups(sample: &HistorySample) -> u64 {
    let counts = [sample.hits, sample.stale, sample.revalidated, sample.misses, sample.collapsed];
    counts.into_iter().fold(0, u64::saturating_add)
}

fn slot(sample: &HistorySample) -> u64 {
    sample.at_millis / u64::try_from(STEP.as_millis()).unwrap_or(u64::MAX)
}

/// Of the last week, by clocks that may differ.
fn is_possible(sample: &HistorySample, now: Timestamp) -> bool {
    let at = Timestamp::from_unix_millis(sample.at_millis);
    at > now.saturating_sub(HistorySpan::Week.span()) && at <= now.saturating_add(CLOCKS_DIFFER)
}

fn row(sample: &HistorySample) -> [u64; COLUMNS] {
    let nanos = |time: Option<Duration>| {
        // 0 is none.
        time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).saturating_add(1))
    };
    let row = [
        sample.at_millis,
        sample.hits,
        sample.stale,
        sample.revalidated,
        sample.misses,
        sample.collapsed,
        sample.bypasses,
        sample.stored,
        sample.invalidations,
        sample.evictions,
        sample.used_bytes,
        nanos(sample.hit_p50),
        nanos(sample.hit_p95),
        nanos(sample.fill_p50),
        nanos(sample.fill_p95),
        nanos(sample.log_lag),
    ];
    row.map(|number| number.min(LARGEST_NUMBER))
}

/// The sample of a row; nothing if it has numbers that nobody counts to.
fn sample(row: [u64; COLUMNS]) -> Option<HistorySample> {
    let nanos = |number: u64| number.checked_sub(1).map(Duration::from_nanos);
    let [at_millis, hits, stale, revalidated, misses, collapsed, bypasses, stored, rest @ ..] = row;
    let [invalidations, evictions, used_bytes, hit_p50, hit_p95, fill_p50, fill_p95, log_lag] = rest;
    row.iter().all(|number| *number <= LARGEST_NUMBER).then(|| HistorySample {
        at_millis,
        hits,
        stale,
        revalidated,
        misses,
        collapsed,
        bypasses,
        stored,
        invalidations,
        evictions,
        used_bytes,
        hit_p50: nanos(hit_p50),
        hit_p95: nanos(hit_p95),
        fill_p50: nanos(fill_p50),
        fill_p95: nanos(fill_p95),
        log_lag: nanos(log_lag),
    })
}

const VERSION: u8 = 1;
const COLUMNS: usize = 16;

/// So many steps are kept, of all nodes: twenty that run all week. They take a few MB at most.
const MOST: usize = 20_000;

/// So that sums of all that is kept do not overflow.
const LARGEST_NUMBER: u64 = 1 << 49;

const CLOCKS_DIFFER: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);
    const A: &str = "00000000000000aa";
    const B: &str = "00000000000000bb";

    fn step(ago: u64, hits: u64) -> HistorySample {
        HistorySample {
            at_millis: (NOW.as_unix_secs() - ago) * 1000,
            hits,
            used_bytes: 10,
            hit_p50: Some(Duration::from_nanos(hits)),
            ..HistorySample::default()
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let whole = HistorySample {
            misses: 1,
            log_lag: Some(Duration::ZERO),
            fill_p95: Some(Duration::from_millis(3)),
            ..step(600, 5)
        };
        let week = Week::default().with(A, vec![whole, step(0, 1)], NOW).with(B, vec![step(0, 2)], NOW);
        assert_eq!(week.len(), 3);
        assert_eq!(Week::read(&week.write(), NOW), Ok(week));
    }

    #[test]
    fn the_rows_of_a_node_are_replaced_and_those_of_others_stay() {
        let shared = Week::default().with(A, vec![step(1200, 1)], NOW).with(B, vec![step(600, 7)], NOW);
        let again = shared.clone().without(A).with(A, vec![step(1200, 1), step(600, 2)], NOW);
        assert_eq!(again.len(), 3);
        // One that has lost what another wrote gets it back from those who know of it.
        let lost = Week::default().with(A, vec![step(0, 9)], NOW).and(&shared);
        assert_eq!(lost.samples(NOW).iter().map(|sample| sample.hits).collect::<Vec<_>>(), [9, 7]);
        let gone = NOW.saturating_add(HistorySpan::Week.span());
        assert!(lost.samples(gone).is_empty() && lost.trimmed(gone).len() == 0);
    }

    #[test]
    fn slots_are_summed() {
        let (own, others) = (vec![step(1200, 1), step(0, 3)], vec![step(1, 5), step(0, 1), step(3600, 2)]);
        assert_eq!(by_slot(own.clone(), vec![]), own);
        let slots = by_slot(own, others);
        assert_eq!(slots.iter().map(|sample| sample.hits).collect::<Vec<_>>(), [2, 1, 5, 4]);
        let last = slots.last().unwrap();
        assert_eq!((last.used_bytes, last.hit_p50), (20, Some(Duration::from_nanos(3))));
        // The steps of one node that end in one slot: what it held at the end, and not twice.
        let one = in_slots([step(0, 1), step(0, 0)].into_iter());
        assert_eq!((one.len(), one[0].hits, one[0].used_bytes), (1, 1, 10));
    }

    #[test]
    fn it_is_bounded_and_the_oldest_go() {
        let steps = |count: u64| (0..count).map(|number| step(600 * number, 1)).collect::<Vec<_>>();
        let mut week = Week::default();
        for node in 0..25 {
            week = week.with(&format!("{node:016x}"), steps(1200), NOW);
        }
        assert!(week.len() <= MOST && week.len() > MOST - 100, "{}", week.len());
        assert_eq!(week.0.len(), 25);
        let body = week.write();
        assert!(body.len() < 2 << 20, "{}", body.len());
        assert_eq!(Week::read(&body, NOW), Ok(week));
    }

    #[test]
    fn what_cannot_be_is_left_out() {
        let read = |body: &str| Week::read(body.as_bytes(), NOW).map(|week| week.len());
        let rows = |at: u64, hits: u64| {
            let mut row = [0; COLUMNS];
            (row[0], row[1]) = (at, hits);
            format!("[1,{{\"{A}\":[{row:?}]}}]")
        };
        let now = NOW.as_unix_millis();
        assert_eq!(read(&rows(now, 5)), Ok(1));
        assert_eq!(read(&rows(now, u64::MAX)), Ok(0));
        assert_eq!(read(&rows(now + 3_600_001, 5)), Ok(0), "yet to come");
        assert_eq!(read(&rows(now - 7 * 24 * 3_600_000, 5)), Ok(0), "too old");
        assert_eq!(read(&rows(now, 5).replace(A, "x")), Ok(0), "no node");
        assert_eq!(read(&rows(now, 5).replace("[1,", "[2,")), Err("version"));
        assert_eq!(read("[1,{\"a\":[[1]]}]"), Err("field"));
        assert_eq!(read(""), Err("field"));
        assert_eq!(read(&"[".repeat(100_000)), Err("field"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Week::read(&bytes, NOW);
        }

        #[test]
        fn any_numbers_are_read_or_not(rows in proptest::collection::vec(any::<[u64; COLUMNS]>(), 0..20)) {
            let body = serde_json::to_vec(&(VERSION, BTreeMap::from([(A, rows)]))).unwrap();
            let week = Week::read(&body, NOW).unwrap();
            let _ = by_slot(week.samples(NOW), week.samples(NOW));
        }
    }
}

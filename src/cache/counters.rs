//! Counters: one atomic each, with a place for every reason.

use crate::{
    outcome::{Bypass, NotStored, Outcome},
    store::Memory,
};
use std::{
    collections::BTreeMap,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) revalidated: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) collapsed: AtomicU64,
    pub(crate) waits_too_long: AtomicU64,
    pub(crate) handed_over: AtomicU64,
    pub(crate) fills_limited: AtomicU64,
    pub(crate) timeouts: AtomicU64,
    bypasses: Box<[AtomicU64]>,
    not_stored: Box<[AtomicU64]>,
    pub(crate) stored: AtomicU64,
    pub(crate) invalidations: AtomicU64,
    pub(crate) refreshes: AtomicU64,
    pub(crate) failed_refreshes: AtomicU64,
}

static NOT_STORED: LazyLock<Box<[NotStored]>> = LazyLock::new(|| NotStored::all().collect());

impl Counters {
    pub(crate) fn new() -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            hits: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            revalidated: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            collapsed: AtomicU64::new(0),
            waits_too_long: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            fills_limited: AtomicU64::new(0),
            timeouts: AtomicU64::new(0),
            bypasses: zeros(Bypass::ALL.len()),
            not_stored: zeros(NOT_STORED.len()),
            stored: AtomicU64::new(0),
            invalidations: AtomicU64::new(0),
            refreshes: AtomicU64::new(0),
            failed_refreshes: AtomicU64::new(0),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        let counter = match outcome {
            Outcome::Hit => &self.hits,
            Outcome::Stale => &self.stale,
            Outcome::Revalidated => &self.revalidated,
            Outcome::Collapsed => &self.collapsed,
            Outcome::Miss => &self.misses,
            // Counted with its reason.
            Outcome::Bypass => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn bypass(&self, reason: Bypass) {
        if let Some(place) = Bypass::ALL.iter().position(|other| *other == reason) {
            self.bypasses[place].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn not_stored(&self, reason: NotStored) {
        if let Some(place) = NOT_STORED.iter().position(|other| *other == reason) {
            self.not_stored[place].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn snapshot(&self, memory: &Memory) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let named = |words: &mut dyn Iterator<Item = &'static str>, counters: &[AtomicU64]| {
            let pairs = words.zip(counters).map(|(word, counter)| (word, load(counter)));
            pairs.filter(|(_, count)| *count > 0).collect::<BTreeMap<_, _>>()
        };
        Stats {
            hits: load(&self.hits),
            stale: load(&self.stale),
            revalidated: load(&self.revalidated),
            misses: load(&self.misses),
            collapsed: load(&self.collapsed),
            waits_too_long: load(&self.waits_too_long),
            handed_over: load(&self.handed_over),
            fills_limited: load(&self.fills_limited),
            timeouts: load(&self.timeouts),
            fills: 0,
            background: 0,
            bypasses: named(&mut Bypass::ALL.iter().map(|reason| reason.as_str()), &self.bypasses),
            stored: load(&self.stored),
            not_stored: named(&mut NOT_STORED.iter().map(|reason| reason.as_str()), &self.not_stored),
            would_hits: 0,
            refreshes: load(&self.refreshes),
            failed_refreshes: load(&self.failed_refreshes),
            invalidations: load(&self.invalidations),
            evictions: memory.evicted(),
            resources: memory.len() as u64,
            bytes: memory.bytes(),
            stores: BTreeMap::new(),
            writes_waiting: 0,
            log: None,
        }
    }
}

/// What came of asking a store behind the memory tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCounts {
    /// Lookups that found something fresh.
    pub hits: u64,
    /// Lookups that did not.
    pub misses: u64,
    /// Responses and values written.
    pub writes: u64,
    /// Those that were not written, because too many waited.
    pub dropped: u64,
    /// What failed, or was found and could not be used, by reason ([`StoreError::as_str`](crate::StoreError::as_str), `checksum`,
    /// `unknown-position`, and others).
    pub reasons: BTreeMap<&'static str, u64>,
}

/// A log of invalidations that several processes share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogCounts {
    /// Records read, those of this process included.
    pub read: u64,
    /// Records of this process that are in the log.
    pub sent: u64,
    /// Records of this process that are not, and are sent again.
    pub waiting: u64,
    /// How often records were missing, or lost: then what was stored before is not used.
    pub gaps: u64,
    /// Records that could not be read, and so stood for everything.
    pub unreadable: u64,
    /// What somebody else has put into the log.
    pub foreign: u64,
    /// How often it could not be read or written.
    pub failures: u64,
    /// How long ago it was read to its end; nothing before the first time.
    pub since_contact: Option<Duration>,
}

/// What a cache has done since it was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Requests answered from the cache while fresh.
    pub hits: u64,
    /// Requests answered from the cache although stale, as the policy, the response or the client allowed.
    pub stale: u64,
    /// Requests answered from the cache after the inner service said that the response still holds.
    pub revalidated: u64,
    /// Requests that the inner service answered.
    pub misses: u64,
    /// Requests answered with what the inner service said to another that was under way already.
    pub collapsed: u64,
    /// Requests that waited for another's fill as long as the policy allows, in vain.
    pub waits_too_long: u64,
    /// Fills that went on in the background after their client had gone, or had been answered otherwise.
    pub handed_over: u64,
    /// Fills that found no place under the fill limit at once.
    pub fills_limited: u64,
    /// Requests that were answered because a soft or hard timeout had passed.
    pub timeouts: u64,
    /// Fills under way now that others may wait for.
    pub fills: u64,
    /// Fills under way now in the background.
    pub background: u64,
    /// Requests that neither read nor filled the cache, by reason ([`Bypass::as_str`]).
    pub bypasses: BTreeMap<&'static str, u64>,
    /// Responses stored, those freshened by a 304 included.
    pub stored: u64,
    /// Responses not stored, by reason ([`NotStored::as_str`]).
    pub not_stored: BTreeMap<&'static str, u64>,
    /// Requests that would have been hits under policies that only observe, estimated: variants are not told apart.
    pub would_hits: u64,
    /// Refreshes made in the background.
    pub refreshes: u64,
    /// Of these, those after which the stored response was still as old as before.
    pub failed_refreshes: u64,
    /// Invalidations, those by unsafe methods included.
    pub invalidations: u64,
    /// Resources that made way for others.
    pub evictions: u64,
    /// Resources held now, each with all its variants.
    pub resources: u64,
    /// Bytes held now, as weighed: bodies, heads, keys and what it takes to hold them.
    pub bytes: u64,
    /// The stores behind the memory tier, by name.
    pub stores: BTreeMap<String, StoreCounts>,
    /// Writes to them that wait now.
    pub writes_waiting: u64,
    /// The shared log of invalidations, if there is one.
    pub log: Option<LogCounts>,
}

impl Stats {
    /// Of the requests that looked into the cache, the part that was answered from it; 0 before the first.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn hit_ratio(&self) -> f64 {
        let served = self.hits + self.stale + self.revalidated;
        let all = served + self.collapsed + self.misses;
        if all == 0 { 0.0 } else { served as f64 / all as f64 }
    }
}

//! What a cache counts of itself, beside what is counted by policy.

use crate::{
    store::{Memory, StoreStats},
    tally::{Counts, Latency, ratio},
};
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) waits_too_long: AtomicU64,
    pub(crate) handed_over: AtomicU64,
    pub(crate) fills_limited: AtomicU64,
    pub(crate) invalidations: AtomicU64,
}

impl Counters {
    pub(crate) fn snapshot(&self, counts: Counts, memory: &Memory) -> Stats {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            hits: counts.hits,
            stale: counts.stale,
            revalidated: counts.revalidated,
            misses: counts.misses,
            collapsed: counts.collapsed,
            waits_too_long: load(&self.waits_too_long),
            handed_over: load(&self.handed_over),
            fills_limited: load(&self.fills_limited),
            timeouts: counts.timeouts,
            bypasses: counts.bypass_reasons,
            stored: counts.stored,
            not_stored: counts.not_stored_reasons,
            refreshes: counts.refreshes,
            failed_refreshes: counts.failed_refreshes,
            invalidations: load(&self.invalidations),
            evictions: memory.evicted(),
            resources: memory.len() as u64,
            bytes: memory.bytes(),
            ..Stats::default()
        }
    }
}

/// What came of asking a store behind the memory tier.
///
/// ```
/// use larder::{Stats, StoreCounts};
///
/// /// The stores that somebody should look at.
/// fn sick(stats: &Stats) -> Vec<&str> {
///     let sick = |counts: &StoreCounts| !counts.up || counts.dropped > 0;
///     stats.stores.iter().filter(|(_, counts)| sick(counts)).map(|(name, _)| name.as_str()).collect()
/// }
/// # let mut stats = larder::Cache::in_memory(1 << 20).stats();
/// assert!(sick(&stats).is_empty());
/// # stats.stores.insert("redis".to_owned(), StoreCounts::default());
/// # assert_eq!(sick(&stats), ["redis"]);
/// ```
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
    /// Whether it is asked now: one that fails again and again is left alone, and one that is not connected cannot be.
    pub up: bool,
    /// What it last told of itself.
    pub stats: Option<StoreStats>,
    /// How long lookups took, those that failed included.
    pub latency: Latency,
    /// What failed, or was found and could not be used, by reason ([`StoreError::as_str`](crate::StoreError::as_str), `checksum`,
    /// `unknown-position`, and others).
    pub reasons: BTreeMap<&'static str, u64>,
}

/// A log of invalidations that several processes share.
///
/// ```
/// use larder::{LogCounts, Stats};
/// use std::time::Duration;
///
/// /// Whether what others have invalidated may still be served here.
/// fn lags(stats: &Stats) -> bool {
///     let late = |log: &LogCounts| log.since_contact.is_none_or(|ago| ago > Duration::from_secs(10));
///     stats.log.as_ref().is_some_and(late)
/// }
/// # let mut stats = larder::Cache::in_memory(1 << 20).stats();
/// assert!(!lags(&stats)); // no shared log, no others
/// # stats.log = Some(LogCounts::default());
/// # assert!(lags(&stats));
/// ```
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

/// What a cache has done since it was made, all together; [`Cache::metrics`](crate::Cache::metrics) has it by policy, tenant and
/// time.
///
/// ```
/// # use larder::{Cache, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # cache.value(&RATE).put(2650);
/// # cache.value(&RATE).get().await;
/// let stats = cache.stats();
/// assert_eq!((stats.hits, stats.misses, stats.stored), (1, 0, 1));
/// let crowded = stats.evictions > stats.stored / 2; // memory is too small
/// assert!(!crowded && stats.lookup_hit_ratio() > 0.6);
/// # }
/// ```
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
    /// Requests that neither read nor filled the cache, by reason ([`Bypass::as_str`](crate::Bypass::as_str)).
    pub bypasses: BTreeMap<&'static str, u64>,
    /// Responses stored, those freshened by a 304 included; not those that a store behind the memory tier had.
    pub stored: u64,
    /// Responses not stored, by reason ([`NotStored::as_str`](crate::NotStored::as_str)).
    pub not_stored: BTreeMap<&'static str, u64>,
    /// Requests that would have been hits under policies that only observe, estimated: variants are not told apart.
    pub would_hits: u64,
    /// Hits that were compared with what the inner service says ([`Policy::verify`](crate::Policy::verify)).
    pub verified: u64,
    /// Of these, those that differ ([`Cache::mismatches`](crate::Cache::mismatches)).
    pub mismatched: u64,
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
    /// The lookup hit ratio: of the requests that looked into the cache, the part that was answered from it; 0 before the first.
    pub fn lookup_hit_ratio(&self) -> f64 {
        ratio(self.served(), self.lookups())
    }

    /// The hit ratio: of all requests, those that the cache took no part in included, the part that was answered from it; 0
    /// before the first.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.served(), self.lookups() + self.bypasses.values().sum::<u64>())
    }

    fn served(&self) -> u64 {
        self.hits + self.stale + self.revalidated
    }

    fn lookups(&self) -> u64 {
        self.served() + self.collapsed + self.misses
    }
}

use super::{
    histogram::{BUCKETS, Histogram, end_of},
    tally::Scalar,
};
use crate::outcome::{Bypass, NotStored};
use std::{collections::BTreeMap, time::Duration};

/// What was counted of a policy, a value, a tenant, or all of them; since the cache was made, or within a window.
///
/// ```
/// # use larder::{Cache, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// assert_eq!(cache.value(&RATE).get().await, None);
///
/// let before = cache.metrics().total;
/// cache.value(&RATE).put(2650);
/// cache.value(&RATE).get().await;
/// let since = cache.metrics().total.since(&before);
/// assert_eq!((since.stored, since.hits, since.misses), (1, 1, 0));
/// assert_eq!(since.lookup_hit_ratio(), 1.0);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Answered from the cache while fresh.
    pub hits: u64,
    /// Answered from the cache although stale, as the policy, the response or the client allowed.
    pub stale: u64,
    /// Answered from the cache after the inner service said that the response still holds.
    pub revalidated: u64,
    /// Answered by the inner service.
    pub misses: u64,
    /// Answered with what the inner service said to another request that was under way already.
    pub collapsed: u64,
    /// Those that neither read nor filled the cache.
    pub bypasses: u64,
    /// Why they did not, by reason ([`Bypass::as_str`]).
    pub bypass_reasons: BTreeMap<&'static str, u64>,
    /// Responses and values stored, those freshened by a 304 included.
    pub stored: u64,
    /// Those not stored.
    pub not_stored: u64,
    /// Why they were not, by reason ([`NotStored::as_str`]).
    pub not_stored_reasons: BTreeMap<&'static str, u64>,
    /// Refreshes made in the background.
    pub refreshes: u64,
    /// Of these, those after which what is stored was still as old as before.
    pub failed_refreshes: u64,
    /// Requests that were answered because a soft or hard timeout had passed.
    pub timeouts: u64,
    /// Stored ones that were found invalidated.
    pub invalidated: u64,
    /// Stored ones that went without having been used once.
    pub unused: u64,
    /// What the inner service would have taken for what was answered from the cache: by how long each fill took. Sampled.
    pub saved: Duration,
    /// The bytes of the bodies that were answered from the cache. Sampled.
    pub saved_bytes: u64,
    /// How long it takes to find a hit and to decide that it may be used. Sampled.
    pub hit_time: Latency,
    /// How long the inner service takes until the head of its answer is there; how long a value takes to load.
    pub fill_time: Latency,
}

/// How long something takes. Percentiles are right to an eighth.
///
/// ```
/// # use larder::{Cache, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::convert::Infallible> {
/// # let cache = Cache::in_memory(1 << 20);
/// static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// let load = || async { Ok::<_, std::convert::Infallible>(2650) };
/// cache.value(&RATE).get_or_load(load).await?;
///
/// let loads = cache.metrics().total.fill_time;
/// let slow = loads.count - loads.within(Duration::from_secs(60));
/// assert_eq!((loads.count, slow), (1, 0));
/// assert!(loads.p95.is_some_and(|p95| p95 < Duration::from_secs(60)));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How often it was measured.
    pub count: u64,
    /// All of it together.
    pub sum: Duration,
    /// Half takes no longer. Nothing where nothing was measured.
    pub p50: Option<Duration>,
    /// 95 of 100 take no longer.
    pub p95: Option<Duration>,
    /// 99 of 100 take no longer.
    pub p99: Option<Duration>,
    buckets: Vec<(u8, u64)>,
}

impl Counts {
    /// What was found and used: hits, stale ones, and those that were validated.
    pub fn served(&self) -> u64 {
        self.hits + self.stale + self.revalidated
    }

    /// All that was looked up.
    pub fn lookups(&self) -> u64 {
        self.served() + self.collapsed + self.misses
    }

    /// All requests, those that the cache took no part in included.
    pub fn requests(&self) -> u64 {
        self.lookups() + self.bypasses
    }

    /// The lookup hit ratio: of what was looked up, the part that was answered from the cache; 0 before the first.
    pub fn lookup_hit_ratio(&self) -> f64 {
        ratio(self.served(), self.lookups())
    }

    /// The hit ratio: of all requests, those that the cache took no part in included, the part that was answered from it; 0
    /// before the first.
    pub fn hit_ratio(&self) -> f64 {
        ratio(self.served(), self.requests())
    }

    /// Adds what was counted elsewhere.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (here, there) in [
            (&mut self.hits, other.hits),
            (&mut self.stale, other.stale),
            (&mut self.revalidated, other.revalidated),
            (&mut self.misses, other.misses),
            (&mut self.collapsed, other.collapsed),
            (&mut self.bypasses, other.bypasses),
            (&mut self.stored, other.stored),
            (&mut self.not_stored, other.not_stored),
            (&mut self.refreshes, other.refreshes),
            (&mut self.failed_refreshes, other.failed_refreshes),
            (&mut self.timeouts, other.timeouts),
            (&mut self.invalidated, other.invalidated),
            (&mut self.unused, other.unused),
            (&mut self.saved_bytes, other.saved_bytes),
        ] {
            *here += there;
        }
        self.saved += other.saved;
        for (here, there) in [
            (&mut self.bypass_reasons, &other.bypass_reasons),
            (&mut self.not_stored_reasons, &other.not_stored_reasons),
        ] {
            for (reason, count) in there {
                *here.entry(reason).or_default() += count;
            }
        }
        self.hit_time = self.hit_time.and(&other.hit_time);
        self.fill_time = self.fill_time.and(&other.fill_time);
        self
    }

    /// What was counted since an earlier count of the same.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let reasons = |now: &BTreeMap<&'static str, u64>, then: &BTreeMap<&'static str, u64>| {
            let left = now.iter().map(|(word, count)| (*word, less(*count, then.get(word).copied().unwrap_or(0))));
            left.filter(|(_, count)| *count > 0).collect()
        };
        Self {
            hits: less(self.hits, earlier.hits),
            stale: less(self.stale, earlier.stale),
            revalidated: less(self.revalidated, earlier.revalidated),
            misses: less(self.misses, earlier.misses),
            collapsed: less(self.collapsed, earlier.collapsed),
            bypasses: less(self.bypasses, earlier.bypasses),
            bypass_reasons: reasons(&self.bypass_reasons, &earlier.bypass_reasons),
            stored: less(self.stored, earlier.stored),
            not_stored: less(self.not_stored, earlier.not_stored),
            not_stored_reasons: reasons(&self.not_stored_reasons, &earlier.not_stored_reasons),
            refreshes: less(self.refreshes, earlier.refreshes),
            failed_refreshes: less(self.failed_refreshes, earlier.failed_refreshes),
            timeouts: less(self.timeouts, earlier.timeouts),
            invalidated: less(self.invalidated, earlier.invalidated),
            unused: less(self.unused, earlier.unused),
            saved: self.saved.saturating_sub(earlier.saved),
            saved_bytes: less(self.saved_bytes, earlier.saved_bytes),
            hit_time: self.hit_time.since(&earlier.hit_time),
            fill_time: self.fill_time.since(&earlier.fill_time),
        }
    }

    /// From what a tally reads.
    pub(super) fn of(reading: &[u64]) -> Self {
        let (scalars, rest) = reading.split_at(Scalar::COUNT);
        let (bypasses, rest) = rest.split_at(Bypass::ALL.len());
        let (not_stored, rest) = rest.split_at(NotStored::every().len());
        let (hit_time, fill_time) = rest.split_at(Histogram::LEN);
        let of = |scalar: Scalar| scalars[scalar as usize];
        Self {
            hits: of(Scalar::Hits),
            stale: of(Scalar::Stale),
            revalidated: of(Scalar::Revalidated),
            misses: of(Scalar::Misses),
            collapsed: of(Scalar::Collapsed),
            bypasses: bypasses.iter().sum(),
            bypass_reasons: named(Bypass::ALL.iter().map(|reason| reason.as_str()), bypasses),
            stored: of(Scalar::Stored),
            not_stored: not_stored.iter().sum(),
            not_stored_reasons: named(NotStored::every().iter().map(|reason| reason.as_str()), not_stored),
            refreshes: of(Scalar::Refreshes),
            failed_refreshes: of(Scalar::FailedRefreshes),
            timeouts: of(Scalar::Timeouts),
            invalidated: of(Scalar::Invalidated),
            unused: of(Scalar::Unused),
            saved: Duration::from_micros(of(Scalar::SavedMicros)),
            saved_bytes: of(Scalar::SavedBytes),
            hit_time: Latency::of(hit_time),
            fill_time: Latency::of(fill_time),
        }
    }
}

impl Latency {
    /// How many took no longer than this.
    pub fn within(&self, span: Duration) -> u64 {
        let most = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.buckets.iter().filter(|(at, _)| end_of(usize::from(*at)) <= most).map(|(_, count)| count).sum()
    }

    fn and(&self, other: &Self) -> Self {
        let mut all: BTreeMap<u8, u64> = self.buckets.iter().copied().collect();
        for (at, count) in &other.buckets {
            *all.entry(*at).or_default() += count;
        }
        Self::from_buckets(all.into_iter().collect(), self.sum + other.sum)
    }

    fn since(&self, earlier: &Self) -> Self {
        let then: BTreeMap<u8, u64> = earlier.buckets.iter().copied().collect();
        let left =
            self.buckets.iter().map(|(at, count)| (*at, count.saturating_sub(then.get(at).copied().unwrap_or(0))));
        Self::from_buckets(left.filter(|(_, count)| *count > 0).collect(), self.sum.saturating_sub(earlier.sum))
    }

    pub(super) fn of(reading: &[u64]) -> Self {
        let (buckets, sum) = reading.split_at(BUCKETS);
        let numbered = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        let buckets = numbered.map(|(at, count)| (u8::try_from(at).unwrap_or(u8::MAX), *count)).collect();
        Self::from_buckets(buckets, Duration::from_nanos(sum.first().copied().unwrap_or(0)))
    }

    fn from_buckets(buckets: Vec<(u8, u64)>, sum: Duration) -> Self {
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        let percentile = |of_hundred: u64| {
            let mut left = (count * of_hundred).div_ceil(100);
            let at = buckets.iter().find(|(_, some)| {
                let here = left <= *some;
                left = left.saturating_sub(*some);
                here
            });
            at.map(|(at, _)| Duration::from_nanos(middle(usize::from(*at))))
        };
        let [p50, p95, p99] = [50, 95, 99].map(percentile);
        Self { count, sum, p50, p95, p99, buckets }
    }
}

fn middle(bucket: usize) -> u64 {
    let start = bucket.checked_sub(1).map_or(0, end_of);
    start.midpoint(end_of(bucket))
}

fn named(words: impl Iterator<Item = &'static str>, counts: &[u64]) -> BTreeMap<&'static str, u64> {
    let mut all = BTreeMap::new();
    for (word, count) in words.zip(counts).filter(|(_, count)| **count > 0) {
        *all.entry(word).or_default() += count;
    }
    all
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
pub(crate) fn ratio(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

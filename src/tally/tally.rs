use super::{Counts, Event, histogram::Histogram, observe::Watch};
use crate::outcome::{Bypass, NotStored, Outcome};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// What is counted of a policy, a value or a tenant: one atomic each, with a place for every reason.
#[derive(Debug)]
pub(crate) struct Tally {
    /// What it is the tally of.
    name: Arc<str>,
    scalars: [AtomicU64; Scalar::COUNT],
    /// None of a tenant: there may be as many as entries.
    rest: Option<Box<Rest>>,
    watch: Arc<Watch>,
}

/// Reasons and times.
#[derive(Debug)]
struct Rest {
    bypasses: Box<[AtomicU64]>,
    not_stored: Box<[AtomicU64]>,
    hit_time: Histogram,
    fill_time: Histogram,
}

/// What has no reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Hits,
    Stale,
    Revalidated,
    Misses,
    Collapsed,
    Stored,
    Refreshes,
    FailedRefreshes,
    Timeouts,
    Invalidated,
    Unused,
    SavedMicros,
    SavedBytes,
}

impl Scalar {
    /// That of an outcome; one that passes by is counted by its reason.
    fn of(outcome: Outcome) -> Option<Self> {
        match outcome {
            Outcome::Hit => Some(Self::Hits),
            Outcome::Stale => Some(Self::Stale),
            Outcome::Revalidated => Some(Self::Revalidated),
            Outcome::Collapsed => Some(Self::Collapsed),
            Outcome::Miss => Some(Self::Misses),
            Outcome::Bypass => None,
        }
    }

    pub(super) const COUNT: usize = Self::SavedBytes as usize + 1;
}

impl Tally {
    /// `watch`: who hears of it.
    pub(crate) fn new(name: impl Into<Arc<str>>, watch: Arc<Watch>) -> Self {
        let zeros = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let rest = Rest {
            bypasses: zeros(Bypass::ALL.len()),
            not_stored: zeros(NotStored::every().len()),
            hit_time: Histogram::default(),
            fill_time: Histogram::default(),
        };
        Self { rest: Some(Box::new(rest)), watch, ..Self::of_tenant(name) }
    }

    /// One of a tenant: without reasons and times, and nobody hears of it.
    pub(crate) fn of_tenant(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            scalars: [const { AtomicU64::new(0) }; Scalar::COUNT],
            rest: None,
            watch: Watch::of_nobody(),
        }
    }

    /// One that nobody reads.
    pub(crate) fn nobody() -> Arc<Self> {
        static NOBODY: LazyLock<Arc<Tally>> = LazyLock::new(|| Arc::new(Tally::new("", Arc::default())));
        Arc::clone(&NOBODY)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn add(&self, scalar: Scalar, count: u64) -> u64 {
        self.scalars[scalar as usize].fetch_add(count, Relaxed)
    }

    /// What came of a request. How often that has come before.
    #[inline]
    pub(crate) fn count(&self, outcome: Outcome) -> u64 {
        let Some(scalar) = Scalar::of(outcome) else { return 0 };
        let before = self.add(scalar, 1);
        tracing::debug!(target: "larder::lookup", policy = &*self.name, outcome = outcome.as_str());
        if self.watch.is_heard() {
            self.tell(outcome, None);
        }
        before
    }

    /// The same, of what is counted and told elsewhere.
    pub(crate) fn count_quietly(&self, outcome: Outcome) {
        if let Some(scalar) = Scalar::of(outcome) {
            self.add(scalar, 1);
        }
    }

    /// A request passes by the cache. How many have for this reason before.
    pub(crate) fn bypass(&self, reason: Bypass) -> u64 {
        let before = self.rest.as_ref().map_or(0, |rest| rest.bypasses[reason.place()].fetch_add(1, Relaxed));
        tracing::debug!(target: "larder::lookup", policy = &*self.name, outcome = "bypass", reason = reason.as_str());
        if self.watch.is_heard() {
            self.tell(Outcome::Bypass, Some(reason));
        }
        before
    }

    /// Something was stored.
    pub(crate) fn stored(&self) {
        self.add(Scalar::Stored, 1);
        tracing::debug!(target: "larder::store", policy = &*self.name, "stored");
        self.watch.tell(|cache| Event::Stored { cache, policy: &self.name });
    }

    /// Something was not stored. How often it was not for this reason before.
    pub(crate) fn not_stored(&self, reason: NotStored) -> u64 {
        let place = NotStored::every().iter().position(|other| *other == reason);
        let counted = self.rest.as_ref().zip(place);
        let before = counted.map_or(0, |(rest, place)| rest.not_stored[place].fetch_add(1, Relaxed));
        tracing::debug!(target: "larder::store", policy = &*self.name, reason = reason.as_str(), "not stored");
        self.watch.tell(|cache| Event::NotStored { cache, policy: &self.name, reason });
        before
    }

    /// What a hit took.
    pub(crate) fn hit_took(&self, took: Duration) {
        if let Some(rest) = &self.rest {
            rest.hit_time.record(took);
        }
        self.watch.tell(|cache| Event::Hit { cache, policy: &self.name, took });
    }

    /// What the inner service took to answer.
    pub(crate) fn fill_took(&self, took: Duration) {
        if let Some(rest) = &self.rest {
            rest.fill_time.record(took);
        }
        tracing::debug!(target: "larder::fill", policy = &*self.name, ?took);
        self.watch.tell(|cache| Event::Fill { cache, policy: &self.name, took });
    }

    /// A refresh has ended.
    pub(crate) fn refreshed(&self, failed: bool) {
        self.add(Scalar::Refreshes, 1);
        self.add(Scalar::FailedRefreshes, u64::from(failed));
        self.watch.tell(|cache| Event::Refreshed { cache, policy: &self.name, failed });
    }

    /// Whether the next hit is one of those whose time is taken.
    #[inline]
    pub(crate) fn is_timed(&self) -> bool {
        self.scalars[Scalar::Hits as usize].load(Relaxed).is_multiple_of(TIMED)
    }

    /// For how many this one stands, of which so many came before: the first ones each for itself, then about one in so
    /// many for all. Not each of the same distance, which what comes by turns could fall in step with.
    #[inline]
    pub(crate) fn stands_for(before: u64, one_in: u64) -> u64 {
        match before {
            0..ALONE => 1,
            _ if before.wrapping_mul(GOLDEN) <= u64::MAX / one_in => one_in,
            _ => 0,
        }
    }

    /// All that was looked up.
    pub(crate) fn lookups(&self) -> u64 {
        let scalars = [Scalar::Hits, Scalar::Stale, Scalar::Revalidated, Scalar::Misses, Scalar::Collapsed];
        scalars.into_iter().map(|scalar| self.scalars[scalar as usize].load(Relaxed)).sum()
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::of(&self.read())
    }

    pub(crate) fn counts_of(reading: &[u64]) -> Counts {
        Counts::of(reading)
    }

    /// All of it, in one order.
    pub(crate) fn read(&self) -> Vec<u64> {
        let length = Scalar::COUNT + Bypass::ALL.len() + NotStored::every().len() + 2 * Histogram::LEN;
        let mut all = Vec::with_capacity(length);
        all.extend(self.scalars.iter().map(|count| count.load(Relaxed)));
        if let Some(rest) = &self.rest {
            all.extend(rest.bypasses.iter().chain(&rest.not_stored).map(|count| count.load(Relaxed)));
            rest.hit_time.read(&mut all);
            rest.fill_time.read(&mut all);
        }
        all.resize(length, 0);
        all
    }

    #[cold]
    fn tell(&self, outcome: Outcome, reason: Option<Bypass>) {
        self.watch.tell(|cache| Event::Request { cache, policy: &self.name, outcome, reason });
    }
}

/// One hit in so many is timed.
const TIMED: u64 = 64;

/// After so many, some stand for all.
const ALONE: u64 = 64;

/// The golden ratio of 2^64: its multiples are spread most evenly.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_counted_in_its_place() {
        let tally = Tally::new("x", Arc::default());
        for outcome in [Outcome::Hit, Outcome::Hit, Outcome::Stale, Outcome::Miss, Outcome::Collapsed, Outcome::Bypass]
        {
            tally.count(outcome);
        }
        for reason in Bypass::ALL {
            tally.bypass(reason);
        }
        for reason in NotStored::every() {
            tally.not_stored(*reason);
        }
        tally.fill_took(Duration::from_millis(5));
        let counts = tally.counts();
        assert_eq!((counts.hits, counts.stale, counts.misses, counts.collapsed), (2, 1, 1, 1));
        assert_eq!(counts.bypasses, Bypass::ALL.len() as u64);
        assert_eq!(counts.not_stored, NotStored::every().len() as u64);
        assert!(counts.bypass_reasons.contains_key("cookie") && counts.not_stored_reasons.contains_key("too-large"));
        assert_eq!((counts.hit_time.count, counts.fill_time.count), (0, 1));
        assert_eq!(counts.lookup_hit_ratio(), 3.0 / 5.0);
    }

    #[test]
    fn that_of_a_tenant_is_small_and_reads_alike() {
        let (whole, small) = (Tally::new("x", Arc::default()), Tally::of_tenant("x"));
        for tally in [&whole, &small] {
            tally.count(Outcome::Hit);
            tally.add(Scalar::SavedBytes, 7);
        }
        assert_eq!((whole.read(), whole.counts()), (small.read(), small.counts()));
        small.fill_took(Duration::from_millis(5));
        assert_eq!((small.bypass(Bypass::Method), small.counts().bypasses), (0, 0));
        assert!(size_of::<Tally>() <= 192, "{}", size_of::<Tally>());
    }

    #[test]
    fn samples_stand_for_all() {
        for one_in in [16, 64] {
            let sum = |step, count| {
                let some = (0..count).step_by(step);
                some.map(|before| Tally::stands_for(before, one_in)).sum::<u64>() * step as u64
            };
            assert_eq!(sum(1, 64), 64);
            // All of them, and what comes each second, third or 64th time.
            for step in [1, 2, 3, 64] {
                let about = sum(step, 64_000);
                assert!(about.abs_diff(64_000) <= 4 * one_in * step as u64, "{step}: {about}");
            }
        }
    }
}

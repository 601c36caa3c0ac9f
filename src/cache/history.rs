//! What a cache did over time, for a week.

use super::{Cache, kept};
use crate::{
    semantics::date::Timestamp,
    tally::{Counts, Tally},
};
use std::{collections::VecDeque, sync::PoisonError, time::Duration};

/// How far back to look, and how closely.
///
/// ```
/// use larder::HistorySpan;
/// use std::time::Duration;
///
/// let points = |span: HistorySpan| span.span().as_secs() / span.step().as_secs();
/// assert_eq!(HistorySpan::Day.step(), Duration::from_secs(60));
/// assert_eq!(points(HistorySpan::Day), 1440);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HistorySpan {
    /// The last hour, in steps of 10 s.
    Hour,
    /// The last 24 hours, in steps of a minute.
    Day,
    /// The last 7 days, in steps of 10 minutes.
    Week,
}

impl HistorySpan {
    /// The length of a step.
    pub const fn step(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 10,
            Self::Day => 60,
            Self::Week => 600,
        })
    }

    /// All of it.
    pub const fn span(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 3600,
            Self::Day => 24 * 3600,
            Self::Week => 7 * 24 * 3600,
        })
    }

    pub(crate) const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];
}

/// What a cache did within one step of its history.
///
/// ```
/// use larder::{HistorySpan, Value, test_util};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # let (cache, clock) = test_util::cache();
/// cache.value(&RATE).put(2650);
/// cache.value(&RATE).get().await;
/// clock.advance(Duration::from_secs(10));
/// let hour = cache.history(HistorySpan::Hour);
/// assert_eq!(hour.iter().map(|sample| sample.hits).sum::<u64>(), 1);
/// assert_eq!(hour.last().map(|sample| sample.at_millis), Some(clock.now().as_unix_millis()));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistorySample {
    /// When the step ended, in milliseconds since the Unix epoch.
    pub at_millis: u64,
    /// As [`Counts::hits`](crate::Counts::hits).
    pub hits: u64,
    /// As [`Counts::stale`](crate::Counts::stale).
    pub stale: u64,
    /// As [`Counts::revalidated`](crate::Counts::revalidated).
    pub revalidated: u64,
    /// As [`Counts::misses`](crate::Counts::misses).
    pub misses: u64,
    /// As [`Counts::collapsed`](crate::Counts::collapsed).
    pub collapsed: u64,
    /// As [`Counts::bypasses`](crate::Counts::bypasses).
    pub bypasses: u64,
    /// As [`Counts::stored`](crate::Counts::stored).
    pub stored: u64,
    /// As [`Stats::invalidations`](crate::Stats::invalidations).
    pub invalidations: u64,
    /// As [`Stats::evictions`](crate::Stats::evictions).
    pub evictions: u64,
    /// Bytes held in memory at its end.
    pub used_bytes: u64,
    /// What half of the hits took at most; nothing where none was timed.
    pub hit_p50: Option<Duration>,
    /// What 95 of 100 hits took at most.
    pub hit_p95: Option<Duration>,
    /// What half of the fills took at most.
    pub fill_p50: Option<Duration>,
    /// What 95 of 100 fills took at most.
    pub fill_p95: Option<Duration>,
    /// At its end, how long ago the shared log had been read to its end.
    pub log_lag: Option<Duration>,
}

/// What is read at the end of each step.
#[derive(Clone, Debug, Default)]
pub(super) struct Reading {
    pub(super) counted: Vec<u64>,
    pub(super) evictions: u64,
    pub(super) invalidations: u64,
    pub(super) used_bytes: u64,
    pub(super) log_lag: Option<Duration>,
}

/// One ring for each span.
#[derive(Debug, Default)]
pub(super) struct History {
    rings: [Ring; 3],
}

#[derive(Debug, Default)]
struct Ring {
    last: Option<(Timestamp, Reading)>,
    samples: VecDeque<HistorySample>,
}

impl History {
    /// Takes in a reading. `began` is when all of it was nothing.
    pub(super) fn sample(&mut self, began: Timestamp, now: Timestamp, reading: &Reading) {
        for (ring, span) in self.rings.iter_mut().zip(HistorySpan::ALL) {
            ring.sample(span, began, now, reading);
        }
    }

    /// Whether the next reading is due.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let [close, ..] = &self.rings;
        close.last.as_ref().is_none_or(|(at, _)| now.since(*at) >= HistorySpan::Hour.step())
    }

    /// The week, with the step that has not ended yet.
    pub(super) fn week_until(&self, now: Timestamp, reading: &Reading) -> Vec<HistorySample> {
        let [.., week] = &self.rings;
        let open = match &week.last {
            Some((_, last)) => HistorySample::between(last, reading, now),
            None => HistorySample::between(&reading.nothing(), reading, now),
        };
        week.samples.iter().cloned().chain([open]).collect()
    }

    pub(super) fn samples(&self, span: HistorySpan) -> impl Iterator<Item = &HistorySample> {
        let place = HistorySpan::ALL.iter().position(|other| *other == span).unwrap_or(0);
        self.rings[place].samples.iter()
    }
}

impl Reading {
    /// The one before anything was done.
    fn nothing(&self) -> Self {
        Self { counted: vec![0; self.counted.len()], ..Self::default() }
    }
}

impl HistorySample {
    /// The step from one reading to the next.
    fn between(last: &Reading, next: &Reading, now: Timestamp) -> Self {
        let more = |now: u64, last: u64| now.saturating_sub(last);
        let counted: Vec<u64> = next.counted.iter().zip(&last.counted).map(|(now, last)| more(*now, *last)).collect();
        let Counts { hits, stale, revalidated, misses, collapsed, bypasses, stored, hit_time, fill_time, .. } =
            Tally::counts_of(&counted);
        Self {
            at_millis: now.as_unix_millis(),
            hits,
            stale,
            revalidated,
            misses,
            collapsed,
            bypasses,
            stored,
            invalidations: more(next.invalidations, last.invalidations),
            evictions: more(next.evictions, last.evictions),
            used_bytes: next.used_bytes,
            hit_p50: hit_time.p50,
            hit_p95: hit_time.p95,
            fill_p50: fill_time.p50,
            fill_p95: fill_time.p95,
            log_lag: next.log_lag,
        }
    }
}

impl Ring {
    fn sample(&mut self, span: HistorySpan, began: Timestamp, now: Timestamp, reading: &Reading) {
        let (since, last) = self.last.get_or_insert_with(|| (began, reading.nothing()));
        if now.since(*since) < span.step() {
            return;
        }
        self.samples.push_back(HistorySample::between(last, reading, now));
        self.last = Some((now, reading.clone()));
        let oldest = now.saturating_sub(span.span()).as_unix_millis();
        while self.samples.front().is_some_and(|sample| sample.at_millis <= oldest) {
            self.samples.pop_front();
        }
    }
}

impl Cache {
    /// What this cache did over time, the oldest first. A reading is taken every 10 seconds while it is in use; steps in which
    /// none was are left out.
    ///
    /// The week is kept in the last of the stores, if there is one (Redis, or else a disk): every 10 minutes, and at
    /// [`Cache::shutdown`]. Then it tells also what was done before a restart, and by all processes of the namespace:
    /// for each 10 minutes by the clock counts and bytes are sums, times are those of the process with most lookups,
    /// and the lag is the longest. What the store has of it is read in the background, soon after the first use.
    ///
    /// ```
    /// # use larder::{Cache, HistorySpan};
    /// # let cache = Cache::in_memory(1 << 20);
    /// for sample in cache.history(HistorySpan::Hour) {
    ///     println!("{}: {} hits, {} misses", sample.at_millis, sample.hits, sample.misses);
    /// }
    /// ```
    pub fn history(&self, span: HistorySpan) -> Vec<HistorySample> {
        self.sample();
        let own = self.0.book.history.lock().unwrap_or_else(PoisonError::into_inner).samples(span).cloned().collect();
        if span != HistorySpan::Week || !self.has_stores() {
            return own;
        }
        // What the store has of it is read as soon as there is a task that does.
        self.keep_swept();
        kept::by_slot(own, self.kept_by_others())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use std::sync::Arc;

    #[test]
    fn steps_are_differences_and_old_ones_go() {
        let mut history = History::default();
        let tally = Tally::new("x", Arc::default());
        let at = |seconds: u64| Timestamp::from_unix_secs(1_000_000 + seconds);
        for step in 1..=(8 * 24 * 360) {
            tally.count(Outcome::Hit);
            let reading =
                Reading { counted: tally.read(), evictions: step / 2, used_bytes: step, ..Reading::default() };
            history.sample(at(0), at(step * 10), &reading);
        }
        for (span, count, hits) in
            [(HistorySpan::Hour, 360, 1), (HistorySpan::Day, 1440, 6), (HistorySpan::Week, 1008, 60)]
        {
            let samples: Vec<_> = history.samples(span).collect();
            assert_eq!(samples.len(), count, "{span:?}");
            assert!(samples.iter().all(|sample| sample.hits == hits), "{span:?}");
            let last = samples.last().unwrap();
            assert_eq!((last.used_bytes, last.at_millis), (8 * 24 * 360, at(8 * 24 * 3600).as_unix_millis()));
        }
        assert!(!history.is_due(at(8 * 24 * 3600 + 9)) && history.is_due(at(8 * 24 * 3600 + 10)));
    }
}

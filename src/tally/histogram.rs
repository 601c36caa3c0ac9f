//! How long things take, in buckets of which four make an octave: what is read from it is right to an eighth.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Spans from 64 ns to a minute, counted.
#[derive(Debug)]
pub(crate) struct Histogram([AtomicU64; Histogram::LEN]);

impl Histogram {
    /// The buckets, and after them the sum of all spans in nanoseconds.
    pub(crate) const LEN: usize = BUCKETS + 1;

    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[bucket(nanos)].fetch_add(1, Relaxed);
        self.0[BUCKETS].fetch_add(nanos, Relaxed);
    }

    pub(super) fn read(&self, into: &mut Vec<u64>) {
        into.extend(self.0.iter().map(|count| count.load(Relaxed)));
    }

    /// What it has come to.
    pub(crate) fn latency(&self) -> super::Latency {
        let mut reading = Vec::with_capacity(Self::LEN);
        self.read(&mut reading);
        super::Latency::of(&reading)
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Self::LEN])
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < 1 << FIRST {
        return 0;
    }
    let octave = nanos.ilog2();
    let quarter = (nanos >> (octave - 2)) & 3;
    (((octave - FIRST) * 4) as usize + quarter as usize + 1).min(BUCKETS - 1)
}

/// Where a bucket ends, in nanoseconds.
pub(super) fn end_of(bucket: usize) -> u64 {
    let Some(place) = bucket.checked_sub(1) else { return 1 << FIRST };
    let (octave, quarter) = (FIRST + place as u32 / 4, place as u64 % 4);
    (5 + quarter) << (octave - 2)
}

/// The first bucket is for what takes less than 2 to this power, in nanoseconds.
const FIRST: u32 = 6;

/// From 64 ns to 69 s, what is outside counting as the nearest.
pub(super) const BUCKETS: usize = 121;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another() {
        let mut before = 0;
        for at in 0..BUCKETS - 1 {
            let end = end_of(at);
            assert!(end > before, "{at}");
            assert_eq!(bucket(before), at, "from {before}");
            assert_eq!(bucket(end - 1), at, "up to {end}");
            before = end;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert!((30_000_000_000..80_000_000_000).contains(&before), "{before}");
    }

    #[test]
    fn what_is_read_is_right_to_an_eighth() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency().p50, None);
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        let latency = histogram.latency();
        assert_eq!((latency.count, latency.sum), (1000, Duration::from_micros(500_500)));
        for (found, meant) in [(latency.p50, 500.0), (latency.p95, 950.0), (latency.p99, 990.0)] {
            let found = found.unwrap().as_secs_f64() * 1e6;
            assert!((found / meant - 1.0).abs() < 0.125, "{found} for {meant}");
        }
    }
}

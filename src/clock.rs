//! The only place that reads a clock. Everything else is handed the moment.

use crate::semantics::date::Timestamp;
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

/// Where a cache reads the time. Clones read the same clock.
///
/// Time never steps back: it is the monotonic clock plus the largest offset to the wall clock seen so far. A wall clock
/// that is set back revives nothing that had expired, and one that was set forward by mistake does not stop time until
/// the real one has caught up. A machine that was suspended learns of it at the next [`Clock::adjust`].
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// How far the wall clock is ahead of the monotonic one, in milliseconds.
    System(AtomicU64),
    #[cfg_attr(not(any(test, feature = "test-util")), expect(dead_code, reason = "made by test-util"))]
    Manual(AtomicU64),
}

#[expect(clippy::disallowed_methods, reason = "this is the place that the others are sent to")]
impl Clock {
    pub(crate) fn system() -> Self {
        let clock = Self(Arc::new(Source::System(AtomicU64::new(0))));
        clock.adjust();
        clock
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn manual(at: Timestamp) -> Self {
        Self(Arc::new(Source::Manual(AtomicU64::new(at.as_unix_millis()))))
    }

    /// The moment: one read of the monotonic clock.
    #[inline]
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(match &*self.0 {
            Source::System(offset) => offset.load(Relaxed).saturating_add(monotonic_millis()),
            Source::Manual(millis) => millis.load(Relaxed),
        })
    }

    /// Looks at the wall clock, which may have gone ahead of the monotonic one. Called with every fill.
    pub(crate) fn adjust(&self) {
        if let Source::System(offset) = &*self.0 {
            let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let wall = u64::try_from(wall.as_millis()).unwrap_or(0);
            offset.fetch_max(wall.saturating_sub(monotonic_millis()), Relaxed);
        }
    }

    /// Moves a manual clock on; a system clock goes by itself.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn advance(&self, by: Duration) {
        if let Source::Manual(millis) = &*self.0 {
            millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX / 2), Relaxed);
        }
    }
}

/// Milliseconds since some moment that stays the same. On Linux by the clock that ticks every few of them, which is read in
/// a tenth of the time: freshness is told in seconds. A fill that is over within a tick took no time.
#[inline]
fn monotonic_millis() -> u64 {
    #[cfg(all(target_os = "linux", not(miri)))]
    if let Ok(now) = nix::time::ClockId::CLOCK_MONOTONIC_COARSE.now() {
        let [seconds, nanos] =
            [u64::try_from(now.tv_sec()), u64::try_from(now.tv_nsec())].map(Result::unwrap_or_default);
        return seconds * 1000 + nanos / 1_000_000;
    }
    precise_millis()
}

#[expect(clippy::disallowed_methods, reason = "this is the place that the others are sent to")]
#[cfg_attr(all(target_os = "linux", not(miri)), cold)]
fn precise_millis() -> u64 {
    static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
}

/// A moment as the runtime's timers see it, for how long something has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(tokio::time::Instant);

#[expect(clippy::disallowed_methods, reason = "this is the place that the others are sent to")]
impl Moment {
    pub(crate) fn now() -> Self {
        Self(tokio::time::Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_system_clock_tells_wall_time_and_goes_on() {
        let clock = Clock::system();
        let first = clock.now();
        assert!(first > Timestamp::from_unix_secs(1_700_000_000));
        clock.adjust();
        assert!(clock.now() >= first);
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let clock = Clock::manual(Timestamp::from_unix_secs(10));
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.clone().now(), Timestamp::from_unix_millis(11_500));
    }
}

//! What is said again and again, said seldom.

use crate::clock::Moment;
use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Lets something through once a minute.
#[derive(Debug)]
pub(crate) struct Seldom {
    since: Moment,
    /// One more than the milliseconds from then to the last time; 0 if there was none.
    last: AtomicU64,
}

impl Seldom {
    /// Whether it is time. Of those who ask at the same time, one hears yes.
    pub(crate) fn is_time(&self) -> bool {
        self.is_time_at(self.since.elapsed())
    }

    fn is_time_at(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.last.load(Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= 60_000;
        due && self.last.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }
}

impl Default for Seldom {
    fn default() -> Self {
        Self { since: Moment::now(), last: AtomicU64::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute() {
        let seldom = Seldom::default();
        let at = Duration::from_secs;
        assert!(seldom.is_time_at(at(0)));
        assert!(!seldom.is_time_at(at(59)));
        assert!(seldom.is_time_at(at(60)));
        assert!(!seldom.is_time_at(at(61)));
        assert!(!seldom.is_time(), "the clock has not gone on");
    }
}

//! Small pieces of concurrency.

use crate::{clock::Moment, timer};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
    time::Duration,
};
use tokio::sync::watch;

/// What an operation has left of its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    since: Moment,
    within: Duration,
}

impl Deadline {
    pub(super) fn within(within: Duration) -> Self {
        Self { since: Moment::now(), within }
    }

    pub(super) fn left(self) -> Duration {
        self.within.saturating_sub(self.since.elapsed())
    }

    pub(super) fn gone(self) -> Duration {
        self.since.elapsed()
    }
}

/// What comes first of the two; the other one is dropped.
pub(super) async fn first<T>(one: impl Future<Output = T>, other: impl Future<Output = T>) -> T {
    let (mut one, mut other) = (pin!(one), pin!(other));
    poll_fn(|cx| match one.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(output),
        Poll::Pending => other.as_mut().poll(cx),
    })
    .await
}

/// The pause before the next trial.
pub(super) fn backoff(trials: u32) -> Duration {
    if trials == 0 { Duration::ZERO } else { timer::backoff(Duration::from_millis(25), trials) }
}

/// Keeps tasks running for as long as it lives.
#[derive(Debug)]
pub(super) struct Stop(#[allow(dead_code, reason = "its end is what counts")] watch::Sender<bool>);

impl Stop {
    pub(super) fn new() -> (Self, watch::Receiver<bool>) {
        let (sender, stopped) = watch::channel(false);
        (Self(sender), stopped)
    }

    /// Ends them.
    #[cfg(test)]
    pub(super) fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Lets something through once a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom(AtomicU64);

impl Seldom {
    /// Whether it is time, `now` being the time since some start.
    pub(super) fn is_time(&self, now: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1) + 1;
        let last = self.0.load(Ordering::Relaxed);
        let due = last == 0 || now.saturating_sub(last) >= 60_000;
        due && self.0.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};

    #[test]
    fn pauses_grow_to_a_second() {
        let longest = Duration::from_secs(1);
        assert_eq!(backoff(0), Duration::ZERO);
        for trials in 1..200 {
            let pause = backoff(trials);
            assert!(pause >= Duration::from_millis(25) && pause <= longest, "{trials}: {pause:?}");
        }
        assert!(backoff(100) >= longest / 2);
    }

    #[test]
    fn once_a_minute() {
        let seldom = Seldom::default();
        let at = Duration::from_secs;
        assert!(seldom.is_time(at(0)));
        assert!(!seldom.is_time(at(59)));
        assert!(seldom.is_time(at(60)));
        assert!(!seldom.is_time(at(61)));
    }

    #[tokio::test]
    async fn the_first_of_two() {
        assert_eq!(first(pending(), ready(1)).await, 1);
    }
}

//! Small pieces of concurrency.

use crate::{clock::Moment, timer};
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::sync::watch;

/// What an operation has left of its time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    since: Moment,
    within: Duration,
    insists: bool,
}

impl Deadline {
    pub(super) fn within(within: Duration) -> Self {
        Self { since: Moment::now(), within, insists: false }
    }

    /// The same for an operation that is tried also while the server is left alone: none that a request waits for.
    pub(super) fn insisting(self) -> Self {
        Self { insists: true, ..self }
    }

    pub(super) fn insists(self) -> bool {
        self.insists
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

    #[tokio::test]
    async fn the_first_of_two() {
        assert_eq!(first(pending(), ready(1)).await, 1);
    }
}

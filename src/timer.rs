//! Waiting with a limit, on runtimes of every kind: one without timers waits without limits.

use crate::random;
use std::{
    future::{Future, pending, poll_fn},
    panic::catch_unwind,
    pin::pin,
    task::Poll,
    time::Duration,
};
use tokio::time::{Sleep, sleep};

/// Resolves after this time.
pub(crate) async fn after(span: Duration) {
    match timer(span) {
        Some(timer) => timer.await,
        None => pending().await,
    }
}

/// What a future comes to within this time.
pub(crate) async fn within<F: Future>(span: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut late = pin!(after(span));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => late.as_mut().poll(cx).map(|()| None),
    })
    .await
}

/// What all of these futures come to, in their order, side by side in this task.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.into_iter().map(|future| Some(Box::pin(future))).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut left = false;
        for (slot, result) in waiting.iter_mut().zip(&mut done) {
            let Some(future) = slot else { continue };
            match future.as_mut().poll(cx) {
                Poll::Ready(output) => (*slot, *result) = (None, Some(output)),
                Poll::Pending => left = true,
            }
        }
        if left { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    done.into_iter().flatten().collect()
}

/// How long to wait after so many failures in a row: twice as long each time, up to a second, so that what is back is soon found;
/// and at random, so that not all come at once.
pub(crate) fn backoff(first: Duration, failures: u32) -> Duration {
    let longest = first.saturating_mul(1 << failures.min(10)).min(LONGEST_BACKOFF);
    longest / 2 + (longest / 2).mul_f64(random::fraction())
}

/// What takes long comes to, made where it keeps nobody waiting; nothing if it panics.
#[cfg(feature = "admin")]
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.ok(),
        // There is no other place.
        Err(_) => Some(work()),
    }
}

const LONGEST_BACKOFF: Duration = Duration::from_secs(1);

fn timer(span: Duration) -> Option<Sleep> {
    tokio::runtime::Handle::try_current().ok()?;
    // tokio has no other way to tell that a runtime has no timers.
    catch_unwind(|| sleep(span)).ok()
}

/// Works until it is done, or the other resolves, which is looked at first.
pub(crate) async fn until(end: impl Future<Output = ()>, work: impl Future<Output = ()>) {
    let (mut end, mut work) = (pin!(end), pin!(work));
    poll_fn(|cx| if end.as_mut().poll(cx).is_ready() { Poll::Ready(()) } else { work.as_mut().poll(cx) }).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_of_them_are_polled() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let futures: Vec<std::pin::Pin<Box<dyn Future<Output = u8>>>> = vec![
            Box::pin(async { receiver.await.unwrap() }),
            Box::pin(async {
                sender.send(7).unwrap();
                8
            }),
        ];
        assert_eq!(all(futures).await, [7, 8]);
    }
}

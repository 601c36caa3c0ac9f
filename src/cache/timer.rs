//! Waiting with a limit, on runtimes of every kind: one without timers waits without limits.

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

fn timer(span: Duration) -> Option<Sleep> {
    tokio::runtime::Handle::try_current().ok()?;
    // tokio has no other way to tell that a runtime has no timers.
    catch_unwind(|| sleep(span)).ok()
}

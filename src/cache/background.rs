//! Fills that nobody waits for: counted, bounded, and ended when the cache shuts down.

use crate::timer;
use std::{
    fmt,
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::sync::watch;
use tracing::{Instrument, Span};

/// Runs tasks in the background of a cache.
#[derive(Clone)]
pub(crate) struct Background(Arc<Tasks>);

struct Tasks {
    running: watch::Sender<usize>,
    stage: watch::Sender<Stage>,
    most: usize,
    longest: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Open,
    /// No more tasks are taken on.
    Closing,
    /// Those that still run end now.
    Closed,
    /// Nobody is told of anything any more.
    Silent,
}

/// What came of a [`Cache::shutdown`](crate::Cache::shutdown).
///
/// ```
/// # use larder::Cache;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// let ended = cache.shutdown(Duration::from_secs(5)).await;
/// if ended.aborted > 0 {
///     eprintln!("{} fills were broken off", ended.aborted);
/// }
/// # assert_eq!(ended.aborted, 0);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Fills in the background that were broken off at the deadline.
    pub aborted: usize,
}

impl Background {
    pub(super) fn new(most: usize, longest: Duration) -> Self {
        let (running, stage) = (watch::Sender::new(0), watch::Sender::new(Stage::Open));
        Self(Arc::new(Tasks { running, stage, most, longest }))
    }

    /// Runs a task to its end, or for as long as tasks may take. False, and the task is dropped, if there are too many
    /// already, the cache shuts down, or there is no runtime.
    pub(crate) fn spawn(&self, span: Span, task: impl Future<Output = ()> + Send + 'static) -> bool {
        // A quarter of the places is for refreshes.
        let most = self.0.most - self.0.most / 4;
        self.enter(most).is_some_and(|place| self.spawn_at(place, span, task))
    }

    /// A place for a refresh.
    pub(crate) fn place(&self) -> Option<Place> {
        self.enter(self.0.most)
    }

    /// Runs a task that has its place.
    pub(crate) fn spawn_at(&self, place: Place, span: Span, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
        let mut closed = self.0.stage.subscribe();
        let longest = self.0.longest;
        let limited = async move {
            let _place = place;
            let mut task = pin!(task);
            let mut closed = pin!(closed.wait_for(|stage| *stage >= Stage::Closed));
            let mut late = pin!(timer::after(longest));
            poll_fn(|cx| {
                if task.as_mut().poll(cx).is_ready() || closed.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                late.as_mut().poll(cx)
            })
            .await;
        };
        runtime.spawn(limited.instrument(span));
        true
    }

    pub(crate) fn running(&self) -> usize {
        *self.0.running.borrow()
    }

    /// Resolves when the cache begins to shut down.
    pub(crate) async fn closing(&self) {
        // The sender lives as long as this does.
        let _ = self.0.stage.subscribe().wait_for(|stage| *stage > Stage::Open).await;
    }

    /// Resolves when what comes again and again is to end: it was stopped, or the cache begins to shut down.
    pub(crate) async fn ended(&self, stopped: &mut watch::Receiver<bool>) {
        let stop = async {
            if stopped.wait_for(|stopped| *stopped).await.is_err() {
                // Its owner has gone, and has not stopped it.
                pending::<()>().await;
            }
        };
        timer::until(stop, self.closing()).await;
    }

    /// Resolves when the cache has shut down, and told others all that there was to tell.
    pub(crate) async fn silent(&self) {
        // The sender lives as long as this does.
        let _ = self.0.stage.subscribe().wait_for(|stage| *stage == Stage::Silent).await;
    }

    /// Others have been told of everything.
    pub(super) fn fall_silent(&self) {
        self.0.stage.send_modify(|stage| *stage = Stage::Silent);
    }

    /// Takes on no more tasks, waits for those that run, and breaks them off at the deadline.
    pub(super) async fn shut_down(&self, deadline: Duration) -> Shutdown {
        self.0.stage.send_modify(|stage| *stage = Stage::Closing.max(*stage));
        let mut running = self.0.running.subscribe();
        let done = timer::within(deadline, running.wait_for(|running| *running == 0)).await.is_some();
        let aborted = if done { 0 } else { self.running() };
        self.0.stage.send_modify(|stage| *stage = Stage::Closed.max(*stage));
        // Each ends as soon as it is polled, if its runtime still polls it.
        let _ = timer::within(LAST_WAIT, self.0.running.subscribe().wait_for(|running| *running == 0)).await;
        Shutdown { aborted }
    }

    /// Whether tasks are taken on.
    pub(super) fn is_open(&self) -> bool {
        *self.0.stage.borrow() == Stage::Open
    }

    fn enter(&self, most: usize) -> Option<Place> {
        if !self.is_open() {
            return None;
        }
        let room = self.0.running.send_if_modified(|running| {
            let room = *running < most;
            *running += usize::from(room);
            room
        });
        room.then(|| Place(Arc::clone(&self.0)))
    }
}

/// So long those that are broken off are waited for.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A place among the tasks that run.
pub(crate) struct Place(Arc<Tasks>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.running.send_modify(|running| *running -= 1);
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Background").field("running", &self.running()).finish_non_exhaustive()
    }
}

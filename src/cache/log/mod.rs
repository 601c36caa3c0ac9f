//! The invalidation log of a cache: its own, or one that it shares with other processes.
//!
//! What is invalidated here is applied at once and then sent to the shared log, in order, by one task; another reads the log
//! as it grows. What could not be sent is kept and sent again. How a log is written to Redis or a disk is for `store`
//! to know, and what a record selects for `invalidation`.

use super::{Cache, Inner, LogCounts};
use crate::{
    invalidation::{Batch, Epoch, Heading, Positions, RecordId, Selector, Seq, Stamp, Step, wire},
    random,
    semantics::date::Timestamp,
    store::{Draft, Journal, Line, NodeId, StoreError},
    timer,
};
use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};
use tokio::sync::{Notify, oneshot, watch};

/// The log of a cache.
#[derive(Debug)]
pub(crate) enum Log {
    /// Its own. What it stamps is of no use to another process.
    Own(Epoch),
    Shared(Arc<SharedLog>),
}

/// A log that several processes share.
#[derive(Debug)]
pub(crate) struct SharedLog {
    journal: Arc<dyn Journal>,
    node: NodeId,
    positions: Mutex<Positions>,
    queue: Mutex<VecDeque<Queued>>,
    queued: Notify,
    /// When the log was last read, in milliseconds; nothing before the first contact.
    contact: AtomicU64,
    times: LogTimes,
    /// Whether all that there was has been read, since the start.
    caught_up: watch::Sender<bool>,
    running: AtomicBool,
    pub(crate) told: Told,
}

/// How long what takes with a shared log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogTimes {
    /// What others have invalidated is not served longer than this.
    pub(crate) coherence: Duration,
    /// How long after the last contact what was filled before is used.
    pub(crate) isolation: Duration,
}

impl LogTimes {
    /// How long to wait for a record before looking whether there should have been one.
    fn poll(self) -> Duration {
        (self.coherence / 2).min(self.isolation / 3).max(Duration::from_millis(20))
    }
}

/// What a shared log has seen.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) read: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) gaps: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) unreadable: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// A record that is not yet in the log.
#[derive(Debug)]
struct Queued {
    draft: Draft,
    waiting: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Tells whether a record has come into the log.
pub(crate) type Receipt = oneshot::Receiver<Result<(), StoreError>>;

impl Log {
    pub(crate) fn own() -> Self {
        Self::Own(Epoch(random::bytes()))
    }

    pub(crate) fn shared(journal: Arc<dyn Journal>, times: LogTimes) -> Self {
        Self::Shared(Arc::new(SharedLog {
            journal,
            node: NodeId(random::bytes()),
            positions: Mutex::new(Positions::new(MARKS)),
            queue: Mutex::default(),
            queued: Notify::new(),
            contact: AtomicU64::new(0),
            times,
            caught_up: watch::Sender::new(false),
            running: AtomicBool::new(false),
            told: Told::default(),
        }))
    }

    /// Whether what was stamped here can be stamped for others as young as it is: all that was invalidated here before is in the
    /// log.
    pub(crate) fn is_settled(&self, stamp: Seq) -> bool {
        match self {
            Self::Own(_) => true,
            Self::Shared(log) => log.positions().is_settled(stamp.number()),
        }
    }

    /// Whether a shared log is not being read.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Shared(log) if !log.running.load(Relaxed))
    }

    /// How what this node has stamped is stamped for others.
    pub(crate) fn outward(&self, stamp: Seq) -> Option<Stamp> {
        match self {
            Self::Own(epoch) => Some(Stamp { epoch: *epoch, end: RecordId { millis: 0, count: stamp.number() } }),
            Self::Shared(log) => log.positions().outward(stamp.number()),
        }
    }

    /// How what others have stamped is stamped here.
    pub(crate) fn inward(&self, stamp: Stamp) -> Option<Seq> {
        match self {
            Self::Own(epoch) => (*epoch == stamp.epoch).then(|| Seq::at(stamp.end.count)),
            Self::Shared(log) => log.positions().inward(stamp).map(Seq::at),
        }
    }

    /// Whether what began to be filled at this moment must not be used, because the log cannot be read.
    #[inline]
    pub(crate) fn is_isolated(&self, began: impl FnOnce() -> Timestamp, now: impl FnOnce() -> Timestamp) -> bool {
        match self {
            Self::Own(_) => false,
            Self::Shared(log) => {
                let (now, contact) = (now(), Timestamp::from_unix_millis(log.contact.load(Relaxed)));
                let isolation = log.times.isolation;
                now.since(contact) > isolation && now.since(began()) > isolation
            }
        }
    }

    /// Whether a shared log ought to have been read by now, and was not.
    #[cfg(feature = "admin")]
    pub(super) fn is_out_of_touch(&self, now: Timestamp) -> bool {
        let Self::Shared(log) = self else { return false };
        let late = 3 * log.times.poll() + Duration::from_secs(1);
        log.contact().is_none_or(|at| now.since(at) > late)
    }

    /// What a shared log has seen.
    pub(super) fn counts(&self, now: Timestamp) -> Option<LogCounts> {
        let Self::Shared(log) = self else { return None };
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        Some(LogCounts {
            read: load(&log.told.read),
            sent: load(&log.told.sent),
            waiting: log.waiting() as u64,
            gaps: load(&log.told.gaps),
            unreadable: load(&log.told.unreadable),
            foreign: load(&log.told.foreign),
            failures: load(&log.told.failures),
            since_contact: log.contact().map(|at| now.since(at)),
        })
    }
}

impl SharedLog {
    fn positions(&self) -> MutexGuard<'_, Positions> {
        self.positions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Queued>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all who wait for their record to be in the log that it is not.
    fn fail(&self, error: StoreError) {
        for queued in self.queue().iter_mut() {
            if let Some(waiting) = queued.waiting.take() {
                let _ = waiting.send(Err(error));
            }
        }
    }

    /// Waits until nothing waits to be sent.
    pub(crate) async fn drained(&self) {
        while self.running.load(Relaxed) && self.waiting() > 0 {
            timer::after(Duration::from_millis(10)).await;
        }
    }

    /// How many records are not yet in the log.
    pub(crate) fn waiting(&self) -> usize {
        self.queue().len()
    }

    /// When the log was last read.
    pub(crate) fn contact(&self) -> Option<Timestamp> {
        Some(self.contact.load(Relaxed)).filter(|at| *at > 0).map(Timestamp::from_unix_millis)
    }

    /// Waits until all that there was has been read.
    pub(crate) async fn caught_up(&self) {
        // The sender lives as long as this does.
        let _ = self.caught_up.subscribe().wait_for(|done| *done).await;
    }
}

impl Cache {
    /// Applies what selectors select here, and has it sent to those who share the log.
    pub(super) fn publish(&self, batch: Batch, selectors: &[Selector]) -> Option<Receipt> {
        self.0.counters.invalidations.fetch_add(1, Relaxed);
        self.0.book.note_invalidated(selectors);
        let Log::Shared(log) = &self.0.log else {
            self.0.ledger.append(batch, self.now());
            return None;
        };
        let (send, receipt) = oneshot::channel();
        {
            let mut queue = log.queue();
            if queue.len() >= LONGEST_QUEUE {
                self.give_up(log, &mut queue);
            }
            let own = {
                // Under one lock, so that what is read meanwhile finds it in both or in none.
                let mut positions = log.positions();
                let at = self.0.ledger.append(batch, self.now());
                positions.own(at.number())
            };
            let draft = Draft { own, text: wire::write(selectors) };
            queue.push_back(Queued { draft, waiting: Some(send) });
        }
        self.keep_in_touch();
        if self.0.log.is_idle() {
            // Nobody sends it: the cache has shut down, or there is no runtime.
            log.fail(StoreError::Unreachable);
        }
        log.queued.notify_one();
        Some(receipt)
    }

    /// More records wait than are worth keeping: one that selects everything stands for them all.
    fn give_up(&self, log: &SharedLog, queue: &mut VecDeque<Queued>) {
        let mut positions = log.positions();
        let at = self.0.ledger.append(Batch::everything(), self.now());
        let own = positions.own(at.number());
        for queued in queue.drain(..) {
            positions.give_up(queued.draft.own);
        }
        let draft = Draft { own, text: wire::write(&[Selector::everything()]) };
        queue.push_back(Queued { draft, waiting: None });
    }

    /// Starts the tasks that read and write the shared log, once there is a runtime.
    pub(super) fn keep_in_touch(&self) {
        let Log::Shared(log) = &self.0.log else { return };
        if log.running.load(Relaxed) || !self.0.background.is_open() || log.running.swap(true, Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            log.running.store(false, Relaxed);
            return;
        };
        let (cache, background) = (Arc::downgrade(&self.0), self.0.background.clone());
        let log = Arc::clone(log);
        let running = Running(Arc::clone(&log));
        runtime.spawn(async move {
            let (mut read, mut send) = (pin!(read(&log, &cache)), pin!(send(&log, &cache)));
            let mut closing = pin!(background.silent());
            poll_fn(|cx| match (read.as_mut().poll(cx), send.as_mut().poll(cx)) {
                (Poll::Pending, Poll::Pending) => closing.as_mut().poll(cx),
                _ => Poll::Ready(()),
            })
            .await;
            drop(running);
        });
    }

    /// Takes in a record.
    fn take(&self, log: &SharedLog, line: &Line) {
        let heading = Heading { own: (line.node == log.node).then_some(line.own), ..line.heading };
        let mut positions = log.positions();
        let now = self.now();
        let step = positions.step(&heading);
        match step {
            Step::Seen => return,
            Step::Lost => self.lose(log, &mut positions),
            Step::Gap => {
                if positions.applied().is_some() {
                    log.told.gaps.fetch_add(1, Relaxed);
                    tracing::warn!(
                        target: "larder::invalidate",
                        "records of the invalidation log are missing: what was stored before is not used"
                    );
                }
                let end = self.0.ledger.append(Batch::everything(), now);
                positions.begin(&heading, end.number());
            }
            Step::Next | Step::Own | Step::Loose => {}
        }
        log.told.read.fetch_add(1, Relaxed);
        if step != Step::Own
            && let Some(text) = &line.text
        {
            // What was invalidated before this node was there is stale since then.
            let at = Timestamp::from_unix_millis(heading.id.millis);
            let at = if now.since(at) > Duration::from_secs(5) { at } else { now };
            self.0.ledger.append(self.batch_of(log, text), at);
        }
        positions.read(&heading, self.0.ledger.applied().number());
    }

    /// The log has lost records. Nothing is known until it has another epoch.
    fn lose(&self, log: &SharedLog, positions: &mut Positions) {
        let Some((epoch, _)) = positions.applied() else { return };
        tracing::warn!(
            target: "larder::invalidate",
            "the invalidation log has lost records: what was stored before is not used"
        );
        log.told.gaps.fetch_add(1, Relaxed);
        self.0.ledger.append(Batch::everything(), self.now());
        positions.lose(epoch);
    }

    /// What a record of the log selects: everything, if that cannot be told.
    fn batch_of(&self, log: &SharedLog, text: &str) -> Batch {
        let selectors = wire::read(text);
        let batch = selectors.map(|selectors| self.batch(&selectors));
        match batch {
            Some((batch, Ok(()))) => batch,
            _ => {
                log.told.unreadable.fetch_add(1, Relaxed);
                Batch::everything()
            }
        }
    }
}

/// Reads the log as it grows.
async fn read(log: &SharedLog, cache: &Weak<Inner>) {
    let mut failures = 0;
    let mut warned = false;
    let mut after = log.positions().applied().map(|(_, id)| id);
    let mut wait = Duration::ZERO;
    loop {
        let sent = log.positions().last_sent();
        let reading = log.journal.read(after, wait).await;
        let Some(cache) = cache.upgrade().map(Cache) else { return };
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                failures += 1;
                log.told.failures.fetch_add(1, Relaxed);
                // At a start the first trials come before the connection.
                let usual = if log.contact().is_none() { USUAL_AT_START } else { 0 };
                if failures > usual && !warned {
                    warned = true;
                    tracing::warn!(target: "larder::invalidate", %error, "the invalidation log cannot be read");
                }
                drop(cache);
                timer::after(timer::backoff(FIRST_PAUSE, failures)).await;
                // What waits is looked at again as soon as the log can be read.
                wait = Duration::ZERO;
                continue;
            }
        };
        if failures > 0 {
            if mem::take(&mut warned) {
                tracing::info!(target: "larder::invalidate", "the invalidation log can be read again");
            }
            failures = 0;
            log.queued.notify_one();
        }
        log.told.foreign.fetch_add(reading.foreign, Relaxed);
        // What was stored before the start is to be judged by what is remembered.
        cache.0.ledger.keep_for(cache.0.tiers.kept_for());
        for line in &reading.lines {
            cache.take(log, line);
        }
        after = reading.last.or(after);
        let all = reading.last.is_none();
        if cache.is_cut_short(log, reading.end, sent) {
            after = None;
        }
        let lost = log.positions().lost();
        if let Some(epoch) = lost {
            drop(cache);
            if log.journal.renew(epoch).await.is_err() {
                timer::after(timer::backoff(FIRST_PAUSE, 1)).await;
            }
            wait = Duration::ZERO;
            continue;
        }
        log.contact.store(cache.now().as_unix_millis().max(1), Relaxed);
        if all {
            log.caught_up.send_replace(true);
        }
        wait = if all { log.times.poll() } else { Duration::ZERO };
    }
}

impl Cache {
    /// Whether the log ends before what was read of it, or before what was `sent` to it before it was read.
    fn is_cut_short(&self, log: &SharedLog, end: Option<RecordId>, sent: Option<RecordId>) -> bool {
        let mut positions = log.positions();
        let Some(((_, applied), end)) = positions.applied().zip(end) else { return false };
        let short = end < applied || sent.is_some_and(|sent| end < sent);
        if short {
            self.lose(log, &mut positions);
        }
        short
    }
}

/// Sends what waits, in order.
async fn send(log: &SharedLog, cache: &Weak<Inner>) {
    let mut failures = 0;
    loop {
        let drafts: Vec<Draft> = log.queue().iter().take(AT_ONCE).map(|queued| queued.draft.clone()).collect();
        if drafts.is_empty() {
            log.queued.notified().await;
            continue;
        }
        match log.journal.append(log.node, &drafts).await {
            Ok(ids) => {
                failures = 0;
                log.told.sent.fetch_add(drafts.len() as u64, Relaxed);
                let Some(cache) = cache.upgrade().map(Cache) else { return };
                for (draft, id) in drafts.iter().zip(ids) {
                    let mut positions = log.positions();
                    if !positions.sent(draft.own, id) {
                        cache.lose(log, &mut positions);
                    }
                    drop(positions);
                    let mut queue = log.queue();
                    // It may have been given up meanwhile.
                    let first = queue.front().is_some_and(|queued| queued.draft.own == draft.own);
                    let queued = if first { queue.pop_front() } else { None };
                    drop(queue);
                    if let Some(waiting) = queued.and_then(|queued| queued.waiting) {
                        let _ = waiting.send(Ok(()));
                    }
                }
            }
            Err(error) => {
                failures += 1;
                log.told.failures.fetch_add(1, Relaxed);
                tracing::debug!(target: "larder::invalidate", %error, "the invalidation log cannot be written");
                log.fail(error);
                // At once when the log can be read again, and whenever something else is invalidated.
                timer::within(timer::backoff(FIRST_PAUSE, failures), log.queued.notified()).await;
            }
        }
    }
}

/// Lets another runtime take over when the one that ran the tasks is gone.
struct Running(Arc<SharedLog>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.store(false, Relaxed);
    }
}

/// So many records of a shared log are told apart. What was stamped before them is not used any more.
const MARKS: usize = 100_000;

/// More than these are not kept for the log.
const LONGEST_QUEUE: usize = 10_000;

/// So many are sent at once.
const AT_ONCE: usize = 100;

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// So often reading may fail before the first contact without a word: for about a second.
const USUAL_AT_START: u32 = 4;

impl Default for LogTimes {
    fn default() -> Self {
        Self { coherence: Duration::from_secs(5), isolation: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests;

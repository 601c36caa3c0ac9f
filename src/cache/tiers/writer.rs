//! What waits to be written to the stores: bounded, off the way of responses, in order for each key.

use super::{Cache, Lease};
use crate::{entry::Entry, semantics::date::Timestamp, timer};
use bytes::Bytes;
use http::HeaderMap;
use std::{
    collections::VecDeque,
    fmt,
    hash::BuildHasher,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::watch;

/// What waits to be written.
#[derive(Debug)]
pub(crate) struct Writer {
    lanes: Box<[Lane]>,
    hashes: rapidhash::fast::RandomState,
    waiting: watch::Sender<usize>,
    bytes: AtomicU64,
    most: usize,
    most_bytes: u64,
}

/// Writes in order, done by one task at a time.
#[derive(Debug, Default)]
struct Lane(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Job>,
    /// Whether a task is at it.
    running: bool,
}

/// Something to be done.
#[derive(Debug)]
enum Job {
    Write(Box<Write>),
    /// To be removed: what a request with these fields selects.
    Remove {
        key: Box<[u8]>,
        request: HeaderMap,
    },
}

impl Job {
    fn key(&self) -> &[u8] {
        match self {
            Self::Write(write) => &write.key,
            Self::Remove { key, .. } => key,
        }
    }

    /// How many stores it is about.
    fn tiers(&self) -> usize {
        match self {
            Self::Write(write) => write.tiers,
            Self::Remove { .. } => usize::MAX,
        }
    }

    fn weight(&self) -> u64 {
        match self {
            Self::Write(write) => write.entry.weight(),
            Self::Remove { key, .. } => key.len() as u64,
        }
    }
}

/// Something to be written.
pub(crate) struct Write {
    pub(crate) key: Box<[u8]>,
    pub(crate) entry: Arc<Entry>,
    /// The request that was answered.
    pub(crate) request: HeaderMap,
    pub(crate) credentials: bool,
    pub(crate) max_variants: usize,
    /// Only the nearest so many stores are written to: those before the one where it was found.
    pub(crate) tiers: usize,
    /// Given back once it is written: those who wait for it find it then.
    #[expect(dead_code, reason = "it is there to be dropped")]
    pub(crate) lease: Option<Arc<Lease>>,
    /// Of a value: makes its JSON.
    pub(crate) value: Option<Box<dyn Fn() -> Option<Bytes> + Send + Sync>>,
}

impl Writer {
    /// No more than so many writes, and bytes of them, wait.
    pub(crate) fn new(most: usize, most_bytes: u64) -> Self {
        Self {
            lanes: (0..LANES).map(|_| Lane::default()).collect(),
            hashes: rapidhash::fast::RandomState::default(),
            waiting: watch::Sender::new(0),
            bytes: AtomicU64::new(0),
            most,
            most_bytes,
        }
    }

    /// How much waits.
    pub(crate) fn waiting(&self) -> usize {
        *self.waiting.borrow()
    }

    /// Waits until nothing waits.
    pub(crate) async fn flushed(&self, deadline: Duration) -> bool {
        timer::within(deadline, self.waiting.subscribe().wait_for(|waiting| *waiting == 0)).await.is_some()
    }

    /// Takes a place, if there is one.
    fn enter(&self, weight: u64) -> bool {
        let room = self.waiting.send_if_modified(|waiting| {
            let room = *waiting < self.most && self.bytes.load(Relaxed).saturating_add(weight) <= self.most_bytes;
            *waiting += usize::from(room);
            room
        });
        if room {
            self.bytes.fetch_add(weight, Relaxed);
        }
        room
    }

    fn leave(&self, weight: u64) {
        self.bytes.fetch_sub(weight, Relaxed);
        self.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl Cache {
    /// Has something written to the stores, soon. It is dropped, and counted, if too much waits or there is no runtime.
    pub(crate) fn write_soon(&self, write: Write) {
        self.do_soon(Job::Write(Box::new(write)));
    }

    /// What a request selects, which is of no use to anyone after `until`, is not taken from the stores any more, and removed
    /// there soon.
    pub(crate) fn end_in_stores(&self, key: &[u8], until: Timestamp, request: &HeaderMap) {
        self.0.tiers.ended.note(key, self.now(), until);
        self.do_soon(Job::Remove { key: key.into(), request: request.clone() });
    }

    fn do_soon(&self, job: Job) {
        let writer = &self.0.tiers.writer;
        let runtime = tokio::runtime::Handle::try_current();
        let (Ok(runtime), true) = (runtime, writer.enter(job.weight())) else {
            for tier in self.0.tiers.all.iter().take(job.tiers()) {
                tier.told.dropped.fetch_add(1, Relaxed);
            }
            return;
        };
        let number = usize::try_from(writer.hashes.hash_one(job.key()) % LANES as u64).unwrap_or(0);
        let lane = &writer.lanes[number];
        if lane.push(job) {
            let running = Running { cache: self.clone(), lane: number, done: false };
            runtime.spawn(async move {
                let mut running = running;
                while let Some(job) = running.cache.0.tiers.writer.lanes[number].next() {
                    let _leaving = Leaving(running.cache.clone(), job.weight());
                    match &job {
                        Job::Write(write) => running.cache.write(write).await,
                        Job::Remove { key, request } => running.cache.remove_from_stores(key, request).await,
                    }
                }
                running.done = true;
            });
        }
    }
}

impl Lane {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a task has to be started for it.
    fn push(&self, job: Job) -> bool {
        let mut waiting = self.waiting();
        waiting.queue.push_back(job);
        !mem::replace(&mut waiting.running, true)
    }

    /// The next one. Without one the task ends.
    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting();
        let next = waiting.queue.pop_front();
        waiting.running = next.is_some();
        next
    }
}

/// Gives the place of a write back, however it ends.
struct Leaving(Cache, u64);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.0.tiers.writer.leave(self.1);
    }
}

/// The task of a lane. If it is cut short, because its runtime has gone, what is left is dropped.
struct Running {
    cache: Cache,
    lane: usize,
    done: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let writer = &self.cache.0.tiers.writer;
        let left = mem::take(&mut *writer.lanes[self.lane].waiting());
        left.queue.iter().for_each(|job| writer.leave(job.weight()));
    }
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("key", &self.key.len())
            .field("value", &self.value.is_some())
            .finish_non_exhaustive()
    }
}

/// So many writes are under way at once. Those of one key are in one lane, and so in order.
const LANES: usize = 4;

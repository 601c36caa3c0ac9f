//! Collapse: requests that miss the same thing at the same time share one fill (RFC 9111 §4 calls it collapsing).
//!
//! The first to come leads a flight, the others wait for what it brings. A flight always ends: its [`Lead`] ends it when it
//! is dropped, however that comes about. This file is compiled by `tests/model` too, over a model checker; it knows nothing
//! of HTTP and calls nothing of the application.
//!
//! Lock order: a shard of the table, then the state of one flight. Wakers are called under neither.

use crate::sync::{Mutex, MutexGuard};
use rapidhash::quality::RandomState;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    hash::{BuildHasher, Hash},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

/// The flights under way, by what is being filled. `M` is what is known of a flight when it starts, `T` what it brings.
pub(crate) struct Flights<K, M, T> {
    shards: Box<[Shard<K, M, T>]>,
    hashes: RandomState,
}

type Shard<K, M, T> = Mutex<Table<K, M, T>>;
type Table<K, M, T> = HashMap<K, Arc<Flight<M, T>>, RandomState>;

/// One fill that others may wait for.
pub(crate) struct Flight<M, T> {
    meta: M,
    state: Mutex<State<T>>,
}

struct State<T> {
    phase: Phase<T>,
    /// Those who wait, each under its number.
    wakers: BTreeMap<u64, Option<Waker>>,
    next: u64,
    /// Whoever wants to know when nobody waits any more.
    deserted: Option<Waker>,
}

enum Phase<T> {
    Flying,
    Landed(T),
    Over(Over),
}

/// Why a flight brings nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Over {
    /// Its leader was dropped: cancelled, or a panic.
    Gone,
    /// The inner service failed.
    Failed,
    /// The answer is not for others.
    Refused,
    /// Nor will the next one be.
    Uncacheable,
    /// There was no room for another fill.
    Overloaded,
}

/// The part that a request has in a flight.
pub(crate) enum Joined<K: Hash + Eq, M, T> {
    Leads(Lead<K, M, T>),
    Waits(Wait<M, T>),
}

/// The leading part: ends the flight when dropped.
pub(crate) struct Lead<K: Hash + Eq, M, T> {
    flights: Arc<Flights<K, M, T>>,
    key: K,
    flight: Arc<Flight<M, T>>,
}

/// The waiting part: a future of what the flight brings.
pub(crate) struct Wait<M, T> {
    flight: Arc<Flight<M, T>>,
    number: u64,
}

impl<K: Hash + Eq + Clone, M, T: Clone> Flights<K, M, T> {
    pub(crate) fn new(shards: usize) -> Self {
        Self { shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(), hashes: RandomState::default() }
    }

    /// Joins the flight that is under way for `key` if it `fits`. Without one that does, `meta` starts another in its place:
    /// the one before goes on for those who wait for it. `None` if there is none to join and `meta` starts none.
    ///
    /// Both closures run under the lock of a shard.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &K,
        fits: impl FnOnce(&Arc<Flight<M, T>>) -> bool,
        meta: impl FnOnce() -> Option<M>,
    ) -> Option<Joined<K, M, T>> {
        let mut shard = self.shard(key);
        if let Some(flight) = shard.get(key)
            && fits(flight)
            && let Some(wait) = flight.wait()
        {
            return Some(Joined::Waits(wait));
        }
        let flight = Arc::new(Flight { meta: meta()?, state: Mutex::new(State::new()) });
        shard.insert(key.clone(), Arc::clone(&flight));
        drop(shard);
        Some(Joined::Leads(Lead { flights: Arc::clone(self), key: key.clone(), flight }))
    }

    /// The flight that is under way for `key`.
    pub(crate) fn get(&self, key: &K) -> Option<Arc<Flight<M, T>>> {
        self.shard(key).get(key).cloned()
    }

    /// How many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }
}

impl<K: Hash + Eq, M, T> Flights<K, M, T> {
    fn shard(&self, key: &K) -> MutexGuard<'_, Table<K, M, T>> {
        let hash = self.hashes.hash_one(key);
        lock(&self.shards[usize::try_from(hash % self.shards.len() as u64).unwrap_or(0)])
    }
}

impl<M, T> Flight<M, T> {
    pub(crate) fn meta(&self) -> &M {
        &self.meta
    }

    /// Gives what the flight has brought to all who wait, and to all who come as long as it is led. Said by the one who leads.
    pub(crate) fn land(&self, brought: T) {
        self.settle(Phase::Landed(brought));
    }

    /// What it has brought so far.
    pub(crate) fn landed(&self) -> Option<T>
    where
        T: Clone,
    {
        match &lock(&self.state).phase {
            Phase::Landed(brought) => Some(brought.clone()),
            Phase::Flying | Phase::Over(_) => None,
        }
    }

    /// A flight that nobody can join: a fill that is asked for by one request alone.
    pub(crate) fn alone(meta: M) -> Arc<Self> {
        Arc::new(Self { meta, state: Mutex::new(State::new()) })
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.state).wakers.len()
    }

    /// Ready once nobody waits.
    pub(crate) fn poll_deserted(&self, cx: &mut Context<'_>) -> Poll<()> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.state);
        if state.wakers.is_empty() {
            return Poll::Ready(());
        }
        let old = state.deserted.replace(waker);
        drop(state);
        drop(old);
        Poll::Pending
    }

    /// A place among those who wait, unless the flight is over.
    fn wait(self: &Arc<Self>) -> Option<Wait<M, T>> {
        let mut state = lock(&self.state);
        if matches!(state.phase, Phase::Over(_)) {
            return None;
        }
        let number = state.next;
        state.next += 1;
        state.wakers.insert(number, None);
        drop(state);
        Some(Wait { flight: Arc::clone(self), number })
    }

    /// Leaves the first word that is said: what has landed is not over.
    fn settle(&self, phase: Phase<T>) {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Flying) {
            return;
        }
        state.phase = phase;
        let wakers: Vec<_> = state.wakers.values_mut().filter_map(Option::take).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl<T> State<T> {
    fn new() -> Self {
        Self { phase: Phase::Flying, wakers: BTreeMap::new(), next: 0, deserted: None }
    }
}

impl<K: Hash + Eq, M, T> Lead<K, M, T> {
    /// Ends the flight without a result.
    pub(crate) fn end(self, over: Over) {
        self.flight.settle(Phase::Over(over));
    }

    pub(crate) fn flight(&self) -> &Arc<Flight<M, T>> {
        &self.flight
    }
}

impl<K: Hash + Eq, M, T> Drop for Lead<K, M, T> {
    fn drop(&mut self) {
        let mut shard = self.flights.shard(&self.key);
        // Another flight may have taken the place of this one.
        if shard.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            shard.remove(&self.key);
        }
        drop(shard);
        self.flight.settle(Phase::Over(Over::Gone));
    }
}

impl<M, T> Wait<M, T> {
    pub(crate) fn flight(&self) -> &Arc<Flight<M, T>> {
        &self.flight
    }
}

impl<M, T: Clone> Future for Wait<M, T> {
    type Output = Result<T, Over>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.flight.state);
        match &state.phase {
            Phase::Landed(brought) => return Poll::Ready(Ok(brought.clone())),
            Phase::Over(over) => return Poll::Ready(Err(*over)),
            Phase::Flying => {}
        }
        let old = state.wakers.insert(self.number, Some(waker));
        drop(state);
        drop(old);
        Poll::Pending
    }
}

impl<M, T> Drop for Wait<M, T> {
    fn drop(&mut self) {
        let mut state = lock(&self.flight.state);
        let removed = state.wakers.remove(&self.number);
        let deserted = if state.wakers.is_empty() { state.deserted.take() } else { None };
        drop(state);
        drop(removed);
        if let Some(waker) = deserted {
            waker.wake();
        }
    }
}

impl<M, T> fmt::Debug for Flight<M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight").finish_non_exhaustive()
    }
}

/// A lock that a panic does not keep: nothing is left half done under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

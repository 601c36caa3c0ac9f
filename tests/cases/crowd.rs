//! Many requests at once, and what they need to be watched.

use crate::support::{App, Down, Got, plain, settle};
use http::request;
use larder::Stats;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{runtime::Runtime, task::JoinHandle, time::Instant};

/// Requests under way, each in a task of its own, begun one after the other.
pub(crate) struct Crowd(Vec<JoinHandle<Result<Got, Down>>>);

impl Crowd {
    /// So many requests, made from their numbers. Each has got as far as it can on its own when this returns.
    pub(crate) async fn of(app: &App, many: usize, request: impl Fn(usize) -> request::Builder) -> Self {
        let crowd = Self((0..many).map(|number| tokio::spawn(asking(app.clone(), request(number)))).collect());
        settle().await;
        crowd
    }

    /// So many GETs of the same.
    pub(crate) async fn get(app: &App, many: usize, uri: &str) -> Self {
        Self::of(app, many, |_| request::Builder::new().uri(uri)).await
    }

    /// What each got, in order.
    pub(crate) async fn results(self) -> Vec<Result<Got, Down>> {
        let mut results = Vec::new();
        for asking in self.0 {
            results.push(asking.await.unwrap());
        }
        results
    }

    /// The answer that each got.
    pub(crate) async fn all(self) -> Vec<Got> {
        self.results().await.into_iter().map(|result| result.expect("an answer")).collect()
    }

    /// The answers of those whose tasks did not panic.
    pub(crate) async fn survivors(self) -> Vec<Result<Got, Down>> {
        let mut results = Vec::new();
        for asking in self.0 {
            results.extend(asking.await);
        }
        results
    }

    /// Whether all have been answered.
    pub(crate) fn done(&self) -> bool {
        self.0.iter().all(JoinHandle::is_finished)
    }

    /// Those that are still waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.0.iter().filter(|asking| !asking.is_finished()).count()
    }

    /// This one goes away.
    pub(crate) fn leaves(&self, number: usize) {
        self.0[number].abort();
    }
}

async fn asking(app: App, request: request::Builder) -> Result<Got, Down> {
    app.ask(plain(request)).await
}

/// Time that costs nothing: Tokio's, paused.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the clock is paused: it goes when everybody waits")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "the clock is paused: it goes when everybody waits")]
    pub(crate) fn millis(&self) -> u128 {
        (Instant::now() - self.0).as_millis()
    }
}

/// Lets this time pass, on Tokio's clock.
pub(crate) async fn pass(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How many calls a service works on.
#[derive(Default)]
pub(crate) struct Busy {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// One call. It may end by being dropped.
pub(crate) struct Work(Arc<Busy>);

impl Busy {
    pub(crate) fn enter(self: &Arc<Self>) -> Work {
        let now = self.now.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(now, SeqCst);
        Work(Arc::clone(self))
    }

    pub(crate) fn now(&self) -> usize {
        self.now.load(SeqCst)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(SeqCst)
    }

    pub(crate) fn forget(&self) {
        self.most.store(0, SeqCst);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, SeqCst);
    }
}

/// Whether a service is ready, and what comes of calling it.
#[derive(Default)]
pub(crate) struct Door {
    state: Mutex<(Way, Vec<Waker>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    #[default]
    Open,
    /// It is not ready.
    Shut,
    /// It says that it never will be.
    Broken,
    /// `poll_ready` panics.
    PanicsWhenAsked,
    /// `call` panics.
    PanicsWhenCalled,
}

impl Door {
    pub(crate) fn new(way: Way) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((way, Vec::new())) })
    }

    pub(crate) fn turn(&self, way: Way) {
        let mut state = self.state.lock().unwrap();
        state.0 = way;
        let wakers = std::mem::take(&mut state.1);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn way(&self) -> Way {
        self.state.lock().unwrap().0
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Result<(), Down>> {
        match self.way() {
            Way::Open | Way::PanicsWhenCalled => Poll::Ready(Ok(())),
            Way::Broken => Poll::Ready(Err(Down)),
            Way::PanicsWhenAsked => panic!("the service panics, as it should in this test"),
            Way::Shut => {
                self.state.lock().unwrap().1.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(crate) fn call(&self) {
        assert!(self.way() != Way::PanicsWhenCalled, "the service panics, as it should in this test");
    }
}

/// Several threads, so that what is not fenced races.
pub(crate) fn threads() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap()
}

/// More patient than `until`: the threads of a busy machine take their time.
pub(crate) async fn patiently(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..10_000_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to this: {what}");
}

/// Everything is over: no fill and no task is left, and each request was counted once.
#[track_caller]
pub(crate) fn at_rest(app: &App, requests: usize) {
    let stats = app.stats();
    assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0), "{stats:?}");
    assert_eq!(counted(&stats), requests as u64, "each request is counted once: {stats:?}");
}

pub(crate) fn counted(stats: &Stats) -> u64 {
    let bypasses: u64 = stats.bypasses.values().sum();
    stats.hits + stats.stale + stats.revalidated + stats.collapsed + stats.misses + bypasses
}

/// Whether an answer says that it was made for another request too.
pub(crate) fn collapsed(got: &Got) -> bool {
    got.header("cache-status").contains("; collapsed")
}

/// A long text, so that no part of it passes for the whole.
pub(crate) fn long(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add((at >> 8) as u8).wrapping_add(seed)).collect()
}

//! How a model is run, and what its tasks are made of.

use shuttle::{
    Config, Runner,
    future::{JoinHandle, yield_now},
    rand::{Rng, thread_rng},
    scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler},
};
use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

const SEED: u64 = 0x1a4d_e700;

/// Runs a model so often under a random scheduler, and as often under one that interrupts seldom.
pub(crate) fn explore(runs: usize, model: fn()) {
    let runs = if std::env::var("LARDER_MODEL").is_ok_and(|said| said == "long") { runs * 50 } else { runs };
    run(RandomScheduler::new_from_seed(SEED, runs), model);
    run(PctScheduler::new_from_seed(SEED, 3, runs), model);
}

/// Runs a small model in every order there is. Gives how many there are.
pub(crate) fn exhaust(model: impl Fn() + Send + Sync + 'static) -> usize {
    run(DfsScheduler::new(None, false), model)
}

fn run(scheduler: impl Scheduler + 'static, model: impl Fn() + Send + Sync + 'static) -> usize {
    let mut config = Config::new();
    config.stack_size = 256 * 1024;
    Runner::new(scheduler, config).run(model)
}

pub(crate) fn below(limit: usize) -> usize {
    thread_rng().gen_range(0..limit)
}

pub(crate) fn one_in(chances: usize) -> bool {
    below(chances) == 0
}

pub(crate) fn any<T: Copy>(of: &[T]) -> T {
    of[below(of.len())]
}

pub(crate) async fn pause(times: usize) {
    for _ in 0..times {
        yield_now().await;
    }
}

pub(crate) async fn all<T>(tasks: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    results
}

/// Drops the future some time after it was polled so often in vain.
pub(crate) async fn cut<F: Future>(future: F, polls: Option<usize>) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == Some(0) {
            return Poll::Ready(None);
        }
        let polled = future.as_mut().poll(cx);
        if let (Poll::Pending, Some(left)) = (&polled, &mut left) {
            *left -= 1;
            cx.waker().wake_by_ref();
        }
        polled.map(Some)
    })
    .await
}

/// Ready when the task is woken, by whomever.
pub(crate) async fn woken() {
    let mut asleep = false;
    poll_fn(|_| if std::mem::replace(&mut asleep, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// A panic that belongs to the play. One of an assertion goes through.
#[derive(Debug)]
pub(crate) struct Staged;

pub(crate) fn panic_as_staged() -> ! {
    resume_unwind(Box::new(Staged))
}

pub(crate) fn caught<T>(act: impl FnOnce() -> T) -> Result<T, Staged> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic: Box<dyn Any + Send>| match panic.downcast::<Staged>() {
        Ok(staged) => *staged,
        Err(panic) => resume_unwind(panic),
    })
}

pub(crate) async fn caught_async<F: Future>(future: F) -> Result<F::Output, Staged> {
    let mut future = pin!(future);
    poll_fn(|cx| match caught(|| future.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(staged) => Poll::Ready(Err(staged)),
    })
    .await
}

/// Closed until it was arrived at so often.
pub(crate) struct Gate(Mutex<(usize, Vec<Waker>)>);

impl Gate {
    pub(crate) fn new(arrivals: usize) -> Self {
        Self(Mutex::new((arrivals, Vec::new())))
    }

    pub(crate) fn arrive(&self) {
        let mut state = note(&self.0);
        state.0 -= 1;
        if state.0 == 0 {
            state.1.drain(..).for_each(Waker::wake);
        }
    }

    pub(crate) async fn passed(&self) {
        poll_fn(|cx: &mut Context<'_>| {
            let mut state = note(&self.0);
            if state.0 == 0 {
                return Poll::Ready(());
            }
            state.1.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// What a model writes down about itself is no part of what is modelled: its locks are the standard library's, held over
/// no step.
pub(crate) fn note<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A waker that calls this when it is woken, and when it is dropped.
pub(crate) fn waker_that(calls: impl Fn() + Send + Sync + 'static) -> Waker {
    struct Calls<F: Fn()>(F);
    impl<F: Fn() + Send + Sync + 'static> std::task::Wake for Calls<F> {
        fn wake(self: Arc<Self>) {}
    }
    impl<F: Fn()> Drop for Calls<F> {
        fn drop(&mut self) {
            (self.0)();
        }
    }
    Waker::from(Arc::new(Calls(calls)))
}

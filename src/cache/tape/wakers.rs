//! Those who wait for more of a body.

use super::lock;
use crate::sync::Mutex;
use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Wake, Waker},
};

/// Those who wait for more, by the number of the reader. Apart from the tape: the body holds on to it.
#[derive(Default)]
pub(super) struct Wakers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    waiting: BTreeMap<u64, Waker>,
    times: u64,
}

impl Wakers {
    /// Gives back what was there before, to be dropped without any lock.
    pub(super) fn register(&self, number: u64, waker: &Waker) -> Option<Waker> {
        lock(&self.0).waiting.insert(number, waker.clone())
    }

    /// As before.
    pub(super) fn forget(&self, number: u64) -> Option<Waker> {
        lock(&self.0).waiting.remove(&number)
    }

    pub(super) fn wake_all(&self) {
        let mut woken = lock(&self.0);
        woken.times += 1;
        let wakers = std::mem::take(&mut woken.waiting);
        drop(woken);
        wakers.into_values().for_each(Waker::wake);
    }

    /// How often it has been woken.
    pub(super) fn times(&self) -> u64 {
        lock(&self.0).times
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

//! What happens again and again in the background: what has expired is dropped, and what was counted is read.

use super::{Cache, HistorySpan, Inner};
use crate::timer;
use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

impl Cache {
    /// Starts the task that drops what has expired and takes readings, once there is something to drop and a runtime to do it.
    pub(super) fn keep_swept(&self) {
        if !self.0.background.is_open() {
            return;
        }
        if self.0.sweeping.load(Ordering::Relaxed) || self.0.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.0.sweeping.store(false, Ordering::Relaxed);
            return;
        };
        let cache = Arc::downgrade(&self.0);
        let sweeping = Sweeping(cache.clone());
        let background = self.0.background.clone();
        runtime.spawn(async move {
            let _sweeping = sweeping;
            let mut ticks: u32 = 0;
            if let Some(cache) = cache.upgrade() {
                Cache(cache).remember();
            }
            while timer::within(READ_EVERY, background.closing()).await.is_none() {
                let Some(cache) = cache.upgrade() else { return };
                ticks = ticks.wrapping_add(1);
                if ticks.is_multiple_of(SWEEP_AT) {
                    cache.sweep();
                }
                let cache = Cache(cache);
                cache.sample();
                cache.remember();
                #[cfg(feature = "metrics")]
                // Memory is looked through, and the recorder is somebody else's: a panic of it ends nothing here.
                super::kept::aside(move || super::export::facade::publish(&cache)).await;
            }
        });
    }
}

/// Lets another runtime take over when the one that swept is gone. Not after a panic: that runtime has no timers, and the
/// next try would panic too.
struct Sweeping(Weak<Inner>);

impl Drop for Sweeping {
    fn drop(&mut self) {
        if let Some(cache) = self.0.upgrade().filter(|_| !std::thread::panicking()) {
            cache.sweeping.store(false, Ordering::Relaxed);
        }
    }
}

/// Readings of what was counted are taken so often.
const READ_EVERY: Duration = HistorySpan::Hour.step();

/// Every so many readings what has expired is dropped: it is never served; this only gives its memory back.
const SWEEP_AT: u32 = 3;

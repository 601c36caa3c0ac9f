//! Values: every operation, whose they are, loads that are shared, handed over, failing, or overtaken.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "behind/mod.rs"]
mod behind;
#[path = "cases/crowd.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod crowd;
#[path = "value_calls/loads.rs"]
mod loads;
#[path = "value_calls/operations.rs"]
mod operations;
#[path = "value_calls/overtaken.rs"]
mod overtaken;
#[path = "cases/script.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod script;
#[path = "cases/support.rs"]
#[allow(dead_code, reason = "it belongs to the cases")]
mod support;
#[path = "value_calls/unkept.rs"]
mod unkept;

use larder::{
    Cache, Stats,
    test_util::{self, ManualClock},
};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

type Never<T> = Result<T, Infallible>;

/// Counts how often something is loaded, and gives the count.
#[derive(Clone, Default)]
struct Loader(Arc<AtomicU32>);

impl Loader {
    fn load(&self) -> impl FnOnce() -> std::future::Ready<Never<u32>> + Send + 'static {
        let loads = Arc::clone(&self.0);
        move || std::future::ready(Ok(loads.fetch_add(1, SeqCst) + 1))
    }

    fn loads(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

fn cache() -> (Cache, ManualClock) {
    test_util::cache_with(Cache::builder().memory(4 << 20)).unwrap()
}

/// Nothing is left under way.
fn idle(cache: &Cache) -> Stats {
    let stats = cache.stats();
    assert_eq!((stats.fills, stats.background), (0, 0));
    stats
}

const SECOND: Duration = Duration::from_secs(1);

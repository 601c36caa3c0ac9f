//! Models of what tasks share in `larder`: its own files, compiled over the locks of a model checker, which tries the orders
//! in which tasks can run and finds what waits for ever.
//!
//! The seed is fixed. `SHUTTLE_RANDOM_SEED=n` takes another, `LARDER_MODEL=long` fifty times the runs. A failure prints its
//! schedule, for `shuttle::replay`.

#[cfg(test)]
#[allow(dead_code, reason = "not all of it is played")]
#[path = "../../src/cache/flight.rs"]
mod flight;
#[cfg(test)]
mod flights;
#[cfg(test)]
#[allow(dead_code, unused_imports, reason = "not all of it is played")]
mod invalidation;
#[cfg(test)]
mod ledgers;
#[cfg(test)]
mod play;
#[cfg(test)]
mod stand_ins;
#[cfg(test)]
#[allow(dead_code, reason = "not all of it is played")]
#[path = "../../src/cache/tape/mod.rs"]
mod tape;
#[cfg(test)]
mod tapes;

#[cfg(test)]
use stand_ins::{key, semantics};

/// What those files take from `larder`.
#[cfg(test)]
#[allow(dead_code, reason = "not all of it is played")]
mod sync {
    pub(crate) use shuttle::sync::{
        Mutex, MutexGuard, RwLock,
        atomic::{AtomicU64, Ordering},
    };
    use std::time::Duration;

    /// No time passes here.
    #[derive(Clone, Copy)]
    pub(crate) struct Moment;

    impl Moment {
        pub(crate) fn now() -> Self {
            Self
        }

        pub(crate) fn elapsed(self) -> Duration {
            Duration::ZERO
        }
    }
}

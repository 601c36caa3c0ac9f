use crate::outcome::{Bypass, NotStored, Outcome};
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, LazyLock},
    time::Duration,
};

/// Hears of what a cache does, as it does it. Given to [`CacheBuilder::observe`](crate::CacheBuilder::observe).
///
/// ```
/// use larder::{Cache, Event, Observe};
/// use std::sync::{Arc, atomic::{AtomicU64, Ordering}};
///
/// #[derive(Default)]
/// struct Slow(AtomicU64);
///
/// impl Observe for Slow {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Fill { took, .. } = event
///             && took.as_secs() >= 1
///         {
///             self.0.fetch_add(1, Ordering::Relaxed);
///         }
///     }
/// }
///
/// let slow = Arc::new(Slow::default());
/// let cache = Cache::builder().observe(Arc::clone(&slow)).build()?;
/// assert_eq!(slow.0.load(Ordering::Relaxed), 0);
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// It is called in the middle of a request, a hit included: be quick, and do not wait. A panic in it is caught, and costs
/// nobody anything but the event. Nothing in an event tells who asked for what.
pub trait Observe: Send + Sync + 'static {
    /// Something has happened.
    fn observe(&self, event: &Event<'_>);

    /// Whether [`Event::Request`] is of interest: if it is to nobody, hits do not pay for being told. Asked once.
    fn hears_requests(&self) -> bool {
        true
    }
}

/// Whoever keeps another handle reads what was heard.
impl<O: Observe + ?Sized> Observe for Arc<O> {
    fn observe(&self, event: &Event<'_>) {
        (**self).observe(event);
    }

    fn hears_requests(&self) -> bool {
        (**self).hears_requests()
    }
}

/// What a cache has done.
///
/// ```
/// use larder::{Event, Observe};
///
/// struct Log;
///
/// impl Observe for Log {
///     fn observe(&self, event: &Event<'_>) {
///         match event {
///             Event::NotStored { policy, reason, .. } => eprintln!("{policy}: not stored ({reason})"),
///             Event::Refreshed { policy, failed: true, .. } => eprintln!("{policy}: a refresh failed"),
///             Event::Store { store, failure: Some(failure), .. } => eprintln!("{store}: {failure}"),
///             _ => {}
///         }
///     }
/// }
/// # let cache = larder::Cache::builder().observe(Log).build()?;
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A request, or a lookup of a value, has got its answer, or is about to get it from the inner service.
    Request {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
        /// What came of it.
        outcome: Outcome,
        /// Why it passes by the cache, if it does.
        reason: Option<Bypass>,
    },
    /// A hit was timed: one in 64 is.
    Hit {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
        /// Until it was found and decided that it may be used.
        took: Duration,
    },
    /// The head of the inner service's answer is there, or a value was loaded.
    Fill {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
        /// How long it took.
        took: Duration,
    },
    /// A response or a value was stored.
    Stored {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
    },
    /// A response or a value was not stored.
    NotStored {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
        /// Why not.
        reason: NotStored,
    },
    /// A refresh in the background has ended.
    Refreshed {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the policy, or of the value.
        policy: &'a str,
        /// What is stored is as old as before.
        failed: bool,
    },
    /// A store behind the memory tier was asked.
    Store {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
        /// The name of the store.
        store: &'a str,
        /// What it was asked for: `get` or `put`.
        operation: &'static str,
        /// How long it took.
        took: Duration,
        /// What failed ([`StoreError::as_str`](crate::StoreError::as_str)); nothing if nothing did.
        failure: Option<&'static str>,
    },
    /// Something was invalidated here.
    Invalidated {
        /// The name of the cache among several; `default` if it is alone.
        cache: &'a str,
    },
}

/// Who hears of what a cache does.
#[derive(Clone)]
pub(crate) struct Watch {
    cache: Arc<str>,
    observers: Vec<Arc<dyn Observe>>,
    /// Somebody wants to hear of each request.
    requests: bool,
}

impl Watch {
    /// One whom nobody tells anything.
    pub(crate) fn of_nobody() -> Arc<Self> {
        static NOBODY: LazyLock<Arc<Watch>> = LazyLock::new(Arc::default);
        Arc::clone(&NOBODY)
    }

    /// The same for a cache of this name.
    pub(crate) fn of(self, cache: &str) -> Self {
        Self { cache: cache.into(), ..self }
    }

    /// With one more.
    pub(crate) fn with(mut self, observer: impl Observe) -> Self {
        self.requests |= observer.hears_requests();
        self.observers.push(Arc::new(observer));
        self
    }

    /// The name of the cache.
    pub(crate) fn cache(&self) -> &str {
        &self.cache
    }

    /// Whether somebody wants to hear of each request.
    #[inline]
    pub(crate) fn is_heard(&self) -> bool {
        self.requests
    }

    pub(crate) fn tell<'a>(&'a self, event: impl FnOnce(&'a str) -> Event<'a>) {
        if self.observers.is_empty() {
            return;
        }
        let event = event(&self.cache);
        for observer in &self.observers {
            if catch_unwind(AssertUnwindSafe(|| observer.observe(&event))).is_err() {
                tracing::warn!(target: "larder::lookup", "an observer panicked");
            }
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self { cache: "default".into(), observers: Vec::new(), requests: false }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("cache", &self.cache).field("observers", &self.observers.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Deaf;

    impl Observe for Deaf {
        fn observe(&self, _: &Event<'_>) {}

        fn hears_requests(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_handle_hears_what_its_observer_hears() {
        let dynamic: Arc<dyn Observe> = Arc::new(Deaf);
        assert!(!Watch::default().with(Arc::new(Deaf)).is_heard());
        assert!(!Watch::default().with(dynamic).is_heard());
        assert!(Watch::default().with(Deaf).with(Arc::new(Keen)).is_heard());
    }

    struct Keen;

    impl Observe for Keen {
        fn observe(&self, _: &Event<'_>) {}
    }
}

//! What others have changed in a store, as far as it tells: what is in memory of that is compared with it before the next use.

use super::{Cache, tiers::Places};
use crate::{
    entry::{Entry, Told},
    store::{Listener, Teller},
    timer,
};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    task::Poll,
    time::Duration,
};

/// A store that tells of changes, and what it has told.
pub(crate) struct Hearing {
    teller: Arc<dyn Teller>,
    prefix: String,
    heard: Arc<Heard>,
    running: Arc<AtomicBool>,
}

/// What was told. Changes are numbered, and each place has the number of its last one. Places share numbers, so that this has a
/// size and each takes one write; what shares one with what has changed is compared for nothing.
struct Heard {
    prefix: usize,
    last: AtomicU64,
    /// That of the last one that may have been about anything.
    all: AtomicU64,
    places: Box<[AtomicU64]>,
}

impl Hearing {
    pub(crate) fn new(teller: Arc<dyn Teller>, places: &Places) -> Self {
        let prefix = places.prefix().to_owned();
        let heard = Heard {
            prefix: prefix.len(),
            last: AtomicU64::new(0),
            all: AtomicU64::new(0),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        };
        Self { teller, prefix, heard: Arc::new(heard), running: Arc::default() }
    }
}

impl Heard {
    fn place(&self, place: u64) -> &AtomicU64 {
        &self.places[usize::try_from(place % PLACES as u64).unwrap_or(0)]
    }

    fn next(&self) -> u64 {
        self.last.fetch_add(1, AcqRel) + 1
    }

    #[inline]
    fn has_changed(&self, told: &Told) -> bool {
        self.last.load(Acquire) != told.seen() && self.has_changed_since(told)
    }

    fn has_changed_since(&self, told: &Told) -> bool {
        let last = self.place(told.place()).load(Acquire).max(self.all.load(Acquire));
        // What is yet to be written is younger than what was changed.
        last > told.seen() && told.was_there()
    }
}

impl Listener for Heard {
    fn changed(&self, key: &str) {
        // Of a lease nobody has a copy.
        if let Some(place) = key.get(self.prefix..).filter(|rest| !rest.contains(":lease:")).and_then(place_of) {
            let number = self.next();
            self.place(place).fetch_max(number, AcqRel);
        }
    }

    fn all_changed(&self) {
        let number = self.next();
        self.all.fetch_max(number, AcqRel);
    }
}

impl Cache {
    /// The last change that was told.
    pub(crate) fn last_heard(&self) -> u64 {
        self.0.hearing.as_ref().map_or(0, |hearing| hearing.heard.last.load(Acquire))
    }

    /// Whether others have changed this in a store since it was seen there.
    #[inline]
    pub(crate) fn has_changed(&self, entry: &Entry) -> bool {
        self.0.hearing.as_ref().is_some_and(|hearing| hearing.heard.has_changed(&entry.told))
    }

    /// An entry is about to be kept in memory under this key.
    pub(super) fn to_be_heard_of(&self, key: &[u8], entry: &Entry, is_new: bool) {
        let Some(hearing) = &self.0.hearing else { return };
        entry.told.is_at(Places::digest(key));
        if is_new {
            entry.told.is_after(hearing.heard.last.load(Acquire));
        }
    }

    /// Starts to listen, once there is a runtime.
    pub(super) fn keep_listening(&self) {
        let Some(hearing) = &self.0.hearing else { return };
        let running = &hearing.running;
        if running.load(Relaxed) || !self.0.background.is_open() || running.swap(true, Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            running.store(false, Relaxed);
            return;
        };
        let listening = Listening { running: Arc::clone(running), heard: Arc::clone(&hearing.heard) };
        let (teller, prefix) = (Arc::clone(&hearing.teller), hearing.prefix.clone());
        let (cache, background) = (Arc::downgrade(&self.0), self.0.background.clone());
        runtime.spawn(async move {
            let listener: Arc<dyn Listener> = Arc::<Heard>::clone(&listening.heard);
            let mut telling = pin!(teller.tell(prefix, listener));
            let mut gone = pin!(async {
                while timer::within(LOOK_EVERY, background.silent()).await.is_none() && cache.strong_count() > 0 {}
            });
            poll_fn(|cx| match telling.as_mut().poll(cx) {
                Poll::Pending => gone.as_mut().poll(cx),
                Poll::Ready(_) => Poll::Ready(()),
            })
            .await;
        });
    }
}

/// The task that listens. When it is gone, with its runtime perhaps, nothing is heard, and another one may.
struct Listening {
    running: Arc<AtomicBool>,
    heard: Arc<Heard>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.heard.all_changed();
        self.running.store(false, Relaxed);
    }
}

impl fmt::Debug for Hearing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hearing").field("teller", &self.teller).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

/// The first half of the digest in a key of a store.
fn place_of(rest: &str) -> Option<u64> {
    u64::from_str_radix(rest.get(..16)?, 16).ok()
}

/// Half a megabyte.
const PLACES: usize = 65_536;

/// Whether the cache is still there.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(places: &Places) -> Heard {
        let all = (0..PLACES).map(|_| AtomicU64::new(0)).collect();
        Heard { prefix: places.prefix().len(), last: AtomicU64::new(0), all: AtomicU64::new(0), places: all }
    }

    #[test]
    fn what_has_changed_is_told_by_its_place() {
        let places = Places::new("shop");
        let heard = heard(&places);
        let of = |key: &[u8]| {
            let told = Told::default();
            told.is_at(Places::digest(key));
            told.is_there_after(heard.last.load(Acquire));
            told
        };
        let (one, other) = (of(b"one"), of(b"other"));
        heard.changed(places.variant(b"one", &[7; 16]).as_str());
        assert!(heard.has_changed(&one) && !heard.has_changed(&other));
        one.is_after(heard.last.load(Acquire));
        assert!(!heard.has_changed(&one));
        heard.changed(places.lease(b"one", &[7; 16]).as_str());
        heard.changed("larder:shop:1:{short");
        heard.changed("larder");
        assert!(!heard.has_changed(&one) && !heard.has_changed(&other));
        heard.all_changed();
        assert!(heard.has_changed(&one) && heard.has_changed(&other));
        // What is not in the store yet is younger.
        let new = Told::default();
        assert!(!heard.has_changed(&new));
        new.is_there();
        assert!(heard.has_changed(&new));
    }
}

//! Slots that share an amount of memory: the engine, and the locks under which a slot is changed.

use super::{
    Found, Variant,
    slot::{Slot, Variants},
};
use crate::{
    entry::Entry,
    key::{Key, KeyBuf, KeyRef},
    outcome::NotStored,
};
use http::{HeaderMap, HeaderName};
use quick_cache::{Lifecycle, Options, Weighter, sync};
use smallvec::SmallVec;
use std::{
    cell::RefCell,
    hash::BuildHasher,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) type Hashes = rapidhash::fast::RandomState;

/// Slots that share an amount of memory.
pub(super) struct Pool {
    slots: sync::Cache<Key, Slot, Weigh, Hashes, Evictions>,
    /// A slot is read, changed and written back under the lock of its key. Reads take none.
    writing: Box<[Mutex<()>]>,
    hashes: Hashes,
}

/// What a slot that is to be stored weighs, with its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// With the youngest variant alone.
    pub(super) least: u64,
    pub(super) all: u64,
    /// The slot whose place it takes.
    pub(super) old: u64,
}

impl Pool {
    /// A pool with so many locks for writing, at least one.
    pub(super) fn new(options: Options, locks: usize, weigh: Weigh, hashes: Hashes, evictions: Evictions) -> Self {
        Self {
            slots: sync::Cache::with_options(options, weigh, hashes, evictions),
            writing: (0..locks).map(|_| Mutex::default()).collect(),
            hashes,
        }
    }

    /// The variant that a request selects.
    #[inline]
    pub(super) fn find(&self, key: &[u8], request: &HeaderMap) -> Found {
        self.slots.get(&KeyRef(key)).map_or(Found::Nothing, |slot| Found::of(slot.select(request)))
    }

    /// The same, without counting as a use.
    pub(super) fn peek(&self, key: &[u8], request: &HeaderMap) -> Found {
        self.slots.peek(&KeyRef(key)).map_or(Found::Nothing, |slot| Found::of(slot.select(request)))
    }

    /// The fields that select the variants held under this key.
    pub(super) fn nominated(&self, key: &[u8]) -> Box<[HeaderName]> {
        self.slots.peek(&KeyRef(key)).map(|slot| slot.nominated().into()).unwrap_or_default()
    }

    /// Stores an entry as the answer to a request. `live` tells which of its siblings are still of use, `room` how much
    /// the slot may weigh.
    pub(super) fn put<E: From<NotStored>>(
        &self,
        key: Key,
        entry: Arc<Entry>,
        request: &HeaderMap,
        max_variants: usize,
        live: impl Fn(&Entry) -> bool,
        room: impl FnOnce(Ask) -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut gone = Gone::default();
        let _writing = self.write_lock(&key);
        let old = self.slots.peek(&KeyRef(key.as_bytes()));
        gone.keep(old.as_ref());
        let mut slot = Variants::joining(old.as_ref(), entry, request, live)?;
        slot.trim(max_variants, u64::MAX);
        let own = key.as_bytes().len() as u64;
        let old_weight = old.as_ref().map_or(0, |old| old.weight() + own);
        let ask = Ask { least: slot.youngest() + own, all: slot.weight() + own, old: old_weight };
        slot.trim(max_variants, room(ask)?.saturating_sub(own));
        self.slots.insert_with_lifecycle(key, slot.into(), &mut gone);
        Ok(())
    }

    /// Removes one entry, and nothing that has taken its place meanwhile. Does nothing unless `here` says, once nobody
    /// else can change the slot, that this is the place.
    pub(super) fn remove(&self, key: &[u8], entry: &Arc<Entry>, here: impl FnOnce() -> bool) -> bool {
        let key = KeyRef(key);
        let mut gone = Gone::default();
        let _writing = self.write_lock(&key);
        if !here() {
            return false;
        }
        let Some(old) = self.slots.peek(&key) else { return true };
        gone.keep(Some(&old));
        match old.without(entry) {
            None => drop(self.slots.remove(&key)),
            Some(rest) if rest.len() < old.len() => {
                // In place: what `each` has not yet seen it still will. Nothing to do if it was evicted meanwhile.
                let mut owned = KeyBuf::default();
                owned.encoded(key.0);
                let _ = self.slots.replace_with_lifecycle(Key::from(&owned), rest, true, &mut gone);
            }
            Some(_) => {}
        }
        true
    }

    pub(super) fn clear(&self) {
        // One by one: what is dropped may be the user's, and goes when no lock is held.
        self.slots.drain().for_each(drop);
    }

    /// Drops what is of no use to anyone any more.
    pub(super) fn sweep(&self, useful: &impl Fn(&Entry) -> bool) {
        let gone = RefCell::new(Gone::default());
        self.slots.retain(|_, slot| {
            let stays = slot.is_of_use(useful);
            if !stays {
                gone.borrow_mut().keep(Some(slot));
            }
            stays
        });
    }

    pub(super) fn each_variant(&self, see: &mut impl FnMut(Variant<'_>)) {
        for (key, slot) in self.slots.iter() {
            let siblings = slot.len();
            slot.each_variant(|selecting, entry| see(Variant { key: key.as_bytes(), selecting, entry, siblings }));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes held, as weighed.
    pub(super) fn weight(&self) -> u64 {
        self.slots.weight()
    }

    /// The largest slot that finds room, with its key, where shards do not change their size.
    pub(super) fn largest(&self) -> u64 {
        self.slots.shard_capacity() / 100 * 95
    }

    /// Every entry held, for inspection.
    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Entry>> {
        let mut entries = Vec::new();
        for (_, slot) in self.slots.iter() {
            slot.each_variant(|_, entry| entries.push(Arc::clone(entry)));
        }
        entries.into_iter()
    }

    /// Changes how many bytes it may hold. Evicts what is too much.
    pub(super) fn set_capacity(&self, bytes: u64) {
        self.slots.set_capacity(bytes);
    }

    /// What the tables of the engine take, beside what they hold. They never become smaller.
    pub(super) fn tables(&self) -> u64 {
        self.slots.memory_used().total() as u64
    }

    /// Copies all slots. The caller holds the locks of [`Pool::write_all`].
    pub(super) fn copy_to(&self, other: &Self) {
        self.slots.iter().for_each(|(key, slot)| other.slots.insert(key, slot));
    }

    /// Calls this while a lock of the engine is held, as it is while one evicts.
    #[cfg(test)]
    pub(super) fn stopped(&self, call: impl Fn()) {
        self.slots.retain(|_, _| {
            call();
            true
        });
    }

    /// While these locks are held, no slot is changed.
    pub(super) fn write_all(&self) -> Vec<MutexGuard<'_, ()>> {
        self.writing.iter().map(|lock| lock.lock().unwrap_or_else(PoisonError::into_inner)).collect()
    }

    fn write_lock<K: std::hash::Hash>(&self, key: &K) -> MutexGuard<'_, ()> {
        let lock = usize::try_from(self.hashes.hash_one(key) % self.writing.len() as u64).unwrap_or(0);
        self.writing[lock].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Weighs in bytes. Where entries are limited too, each weighs at least its share of the bytes, so that both limits
/// hold.
#[derive(Clone, Debug)]
pub(super) struct Weigh {
    pub(super) least: u64,
}

impl Weighter<Key, Slot> for Weigh {
    fn weight(&self, key: &Key, slot: &Slot) -> u64 {
        let least = self.least.saturating_mul(slot.len() as u64);
        (slot.weight() + key.as_bytes().len() as u64).max(least).max(1)
    }
}

/// Counts evictions. The engine calls it for replacements too, which are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Evictions {
    pub(super) count: Arc<AtomicU64>,
    /// Where what is evicted goes, if not away at once.
    pub(super) grave: Option<Arc<Grave>>,
}

impl Lifecycle<Key, Slot> for Evictions {
    type RequestState = Gone;

    fn on_evict(&self, gone: &mut Gone, _: Key, slot: Slot) {
        if !gone.slots.iter().any(|replaced| replaced.is(&slot)) {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        if gone.grave.is_none() {
            gone.grave.clone_from(&self.grave);
        }
        gone.slots.push(slot);
    }
}

/// What has left a pool. An entry may be the last to hold what is the user's, such as a closure of the policy that a
/// handler gave: so it goes when no lock is held. Made before a lock is taken, this is dropped after that.
#[derive(Debug, Default)]
pub(super) struct Gone {
    /// The first one may be replaced; the others are evicted.
    slots: SmallVec<[Slot; 2]>,
    grave: Option<Arc<Grave>>,
}

impl Gone {
    fn keep(&mut self, slot: Option<&Slot>) {
        self.slots.extend(slot.cloned());
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(grave) = self.grave.take() {
            grave.0.lock().unwrap_or_else(PoisonError::into_inner).extend(self.slots.drain(..));
        }
    }
}

/// Holds what was evicted while locks were held that the engine knows nothing of.
#[derive(Debug, Default)]
pub(super) struct Grave(Mutex<Vec<Slot>>);

impl Grave {
    /// Empties it when the guard is dropped. Made before a lock is taken, that is after it.
    pub(super) fn emptied_last(&self) -> Emptied<'_> {
        Emptied(self)
    }
}

/// The guard of [`Grave::emptied_last`].
#[must_use = "the grave is emptied when this is dropped"]
pub(super) struct Emptied<'a>(&'a Grave);

impl Drop for Emptied<'_> {
    fn drop(&mut self) {
        let gone = mem::take(&mut *self.0.0.lock().unwrap_or_else(PoisonError::into_inner));
        drop(gone);
    }
}

//! The memory tier: bounded by bytes, and by entries on request.
//!
//! One slot holds a resource with all its variants, so the fields that select a variant, and the variants themselves,
//! always change together.

use crate::{
    entry::Entry,
    key::{Key, KeyRef},
    outcome::NotStored,
    semantics::vary::write_selecting_values,
};
use http::{HeaderMap, HeaderName};
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync};
use smallvec::{SmallVec, smallvec};
use std::{
    fmt,
    hash::BuildHasher,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

type Hashes = rapidhash::fast::RandomState;

/// The memory tier.
pub(crate) struct Memory {
    slots: sync::Cache<Key, Arc<Slot>, Weigh, Hashes, Evictions>,
    /// A slot is read, changed and written back under the lock of its key. Reads take none.
    writing: Box<[Mutex<()>]>,
    hashes: Hashes,
    evicted: Arc<AtomicU64>,
    sizes: Sizes,
}

/// How much the memory tier holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) bytes: u64,
    pub(crate) entries: Option<u64>,
    /// The largest entry that must find room.
    pub(crate) max_object: u64,
}

/// What a lookup found.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// Nothing of this resource.
    Nothing,
    /// The resource, but no variant that these request fields select.
    OtherVariants,
    Entry(Arc<Entry>),
}

#[derive(Debug)]
struct Slot {
    /// The union of what the variants nominate, sorted.
    nominated: Box<[HeaderName]>,
    variants: SmallVec<[Variant; 1]>,
    weight: u64,
    replaced: AtomicBool,
}

#[derive(Clone, Debug)]
struct Variant {
    /// The values of the nominated fields in the request that was answered, encoded.
    selecting: SmallVec<[u8; 32]>,
    entry: Arc<Entry>,
}

impl Memory {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let Sizes { bytes, entries, max_object } = sizes;
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        // An entry must fit into one shard.
        let by_size = usize::try_from(bytes / (2 * max_object)).unwrap_or(usize::MAX);
        let by_count = entries.map_or(usize::MAX, |entries| usize::try_from(entries / 128).unwrap_or(usize::MAX));
        let shards = by_size.min(by_count).clamp(1, 4 * cores);
        let expected = entries.unwrap_or(bytes / 4096).clamp(64, 1 << 24);
        let evicted = Arc::new(AtomicU64::new(0));
        let hashes = Hashes::default();
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(usize::try_from(expected).unwrap_or(usize::MAX))
            .weight_capacity(bytes)
            .build()
            .expect("the options above are complete");
        let weigh = Weigh { least: entries.map_or(1, |entries| share(bytes, entries)) };
        let lifecycle = Evictions(Arc::clone(&evicted));
        Self {
            slots: sync::Cache::with_options(options, weigh, hashes, lifecycle),
            writing: (0..64).map(|_| Mutex::default()).collect(),
            hashes,
            evicted,
            sizes,
        }
    }

    /// The variant that a request selects. The caller decides whether it may be used.
    pub(crate) fn find(&self, key: &[u8], request: &HeaderMap) -> Found {
        let Some(slot) = self.slots.get(&KeyRef(key)) else { return Found::Nothing };
        match slot.position(request) {
            Some(position) => Found::Entry(Arc::clone(&slot.variants[position].entry)),
            None => Found::OtherVariants,
        }
    }

    /// The fields that select the variants held under this key.
    pub(crate) fn nominated(&self, key: &[u8]) -> Box<[HeaderName]> {
        self.slots.peek(&KeyRef(key)).map(|slot| slot.nominated.clone()).unwrap_or_default()
    }

    /// Stores an entry as the answer to a request. `live` tells which of its siblings are still of use.
    pub(crate) fn put(
        &self,
        key: Key,
        entry: Arc<Entry>,
        request: &HeaderMap,
        max_variants: usize,
        live: impl Fn(&Entry) -> bool,
    ) -> Result<(), NotStored> {
        let most = self.largest();
        if entry.weight() + key.as_bytes().len() as u64 > most {
            return Err(NotStored::NoRoom);
        }
        let _writing = self.write_lock(&key);
        let old = self.slots.peek(&KeyRef(key.as_bytes()));
        let mut slot = Slot::joining(old.as_deref(), entry, request, live)?;
        slot.trim(max_variants, most.saturating_sub(key.as_bytes().len() as u64));
        self.replace(key, old.as_deref(), slot);
        Ok(())
    }

    /// Removes one entry, and nothing that has taken its place meanwhile.
    pub(crate) fn remove(&self, key: &[u8], entry: &Arc<Entry>) {
        let key = KeyRef(key);
        let _writing = self.write_lock(&key);
        let Some(old) = self.slots.peek(&key) else { return };
        let rest = old.without(entry);
        if rest.variants.is_empty() {
            self.slots.remove(&key);
        } else if rest.variants.len() < old.variants.len()
            && let Some((owned, _)) = self.slots.remove(&key)
        {
            self.slots.insert(owned, Arc::new(rest));
        }
    }

    pub(crate) fn clear(&self) {
        self.slots.clear();
    }

    /// Drops what is of no use to anyone any more.
    pub(crate) fn sweep(&self, useful: impl Fn(&Entry) -> bool) {
        self.slots.retain(|_, slot| slot.variants.iter().any(|variant| useful(&variant.entry)));
    }

    /// Calls `see` with every entry held. What is put meanwhile may be left out.
    pub(crate) fn each(&self, mut see: impl FnMut(&[u8], &Entry)) {
        for (key, slot) in self.slots.iter() {
            slot.variants.iter().for_each(|variant| see(key.as_bytes(), &variant.entry));
        }
    }

    /// Resources held.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes held, as weighed.
    pub(crate) fn bytes(&self) -> u64 {
        self.slots.weight()
    }

    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// The largest entry that finds room, with its key.
    pub(crate) fn largest(&self) -> u64 {
        self.slots.shard_capacity() / 100 * 95
    }

    fn replace(&self, key: Key, old: Option<&Slot>, slot: Slot) {
        if let Some(old) = old {
            old.replaced.store(true, Ordering::Relaxed);
        }
        self.slots.insert(key, Arc::new(slot));
    }

    fn write_lock<K: std::hash::Hash>(&self, key: &K) -> std::sync::MutexGuard<'_, ()> {
        let lock = usize::try_from(self.hashes.hash_one(key) % 64).unwrap_or(0);
        self.writing[lock].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn new(nominated: Box<[HeaderName]>, variants: SmallVec<[Variant; 1]>) -> Self {
        let mut slot = Self { nominated, variants, weight: 0, replaced: AtomicBool::new(false) };
        slot.weigh();
        slot
    }

    /// The slot after this entry has joined it. Variants that are stored under fewer fields than are nominated now would
    /// match requests that differ in the new ones: they go.
    fn joining(
        old: Option<&Self>,
        entry: Arc<Entry>,
        request: &HeaderMap,
        live: impl Fn(&Entry) -> bool,
    ) -> Result<Self, NotStored> {
        let mut variants: SmallVec<[Variant; 1]> = match old {
            Some(old) => old.variants.iter().filter(|variant| live(&variant.entry)).cloned().collect(),
            None => SmallVec::new(),
        };
        let mut nominated: Vec<HeaderName> = entry.nominated.to_vec();
        if let Some(old) = old.filter(|_| !variants.is_empty()) {
            nominated.extend(old.nominated.iter().cloned());
            nominated.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            nominated.dedup();
            if nominated.len() > old.nominated.len() {
                if variants.iter().any(|variant| variant.entry.started > entry.started) {
                    return Err(NotStored::Superseded);
                }
                variants.clear();
            }
        }
        let selecting = selecting_values(&nominated, request);
        if let Some(place) = variants.iter().position(|variant| variant.selecting == selecting) {
            if variants[place].entry.started > entry.started {
                return Err(NotStored::Superseded);
            }
            variants.remove(place);
        }
        variants.push(Variant { selecting, entry });
        Ok(Self::new(nominated.into(), variants))
    }

    fn without(&self, entry: &Arc<Entry>) -> Self {
        let rest = self.variants.iter().filter(|variant| !Arc::ptr_eq(&variant.entry, entry)).cloned().collect();
        Self::new(self.nominated.clone(), rest)
    }

    /// Drops the oldest variants until both limits hold. The youngest, which is last, stays.
    fn trim(&mut self, max_variants: usize, max_weight: u64) {
        while self.variants.len() > 1 && (self.variants.len() > max_variants || self.weight > max_weight) {
            self.variants.remove(0);
            self.weigh();
        }
    }

    fn position(&self, request: &HeaderMap) -> Option<usize> {
        if self.nominated.is_empty() {
            return (!self.variants.is_empty()).then_some(0);
        }
        let selecting = selecting_values(&self.nominated, request);
        self.variants.iter().position(|variant| variant.selecting == selecting)
    }

    fn weigh(&mut self) {
        let variants = self.variants.iter().map(|variant| variant.entry.weight() + variant.selecting.len() as u64);
        self.weight = variants.sum();
    }
}

/// The least that an entry may weigh where `entries` are to fit into `bytes`, and not one more. An entry must also fit
/// into the 97 % of a shard that the engine gives to what it keeps.
fn share(bytes: u64, entries: u64) -> u64 {
    if entries < 16 { (bytes / 100 * 94) / entries } else { bytes.div_ceil(entries) }
}

fn selecting_values(nominated: &[HeaderName], request: &HeaderMap) -> SmallVec<[u8; 32]> {
    let mut values = smallvec![];
    write_selecting_values(nominated, request, &mut values);
    values
}

/// Weighs in bytes. Where entries are limited too, each weighs at least its share of the bytes, so that both limits
/// hold.
#[derive(Clone, Debug)]
struct Weigh {
    least: u64,
}

impl Weighter<Key, Arc<Slot>> for Weigh {
    fn weight(&self, key: &Key, slot: &Arc<Slot>) -> u64 {
        let least = self.least.saturating_mul(slot.variants.len() as u64);
        (slot.weight + key.as_bytes().len() as u64).max(least).max(1)
    }
}

/// Counts evictions. The engine calls it for replacements too, which are none.
#[derive(Clone, Debug)]
struct Evictions(Arc<AtomicU64>);

impl Lifecycle<Key, Arc<Slot>> for Evictions {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _: Key, slot: Arc<Slot>) {
        if !slot.replaced.load(Ordering::Relaxed) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("sizes", &self.sizes).field("entries", &self.len()).finish_non_exhaustive()
    }
}

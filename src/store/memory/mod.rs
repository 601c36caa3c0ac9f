//! The memory tier: bounded by bytes, and by entries on request; one for all, or with a share for each tenant.
//!
//! One slot holds a resource with all its variants, so the fields that select a variant, and the variants themselves,
//! always change together. It neither reads a clock nor knows what was invalidated: who asks checks that.

mod near;
mod pool;
mod quota;
#[cfg(test)]
mod races;
mod slot;
mod tenants;
#[cfg(test)]
mod tests;

use crate::{entry::Entry, key::Key, outcome::NotStored};
use http::{HeaderMap, HeaderName};
use pool::{Evictions, Hashes, Pool, Weigh};
use quick_cache::OptionsBuilder;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tenants::Tenants;

/// The memory tier.
pub(crate) struct Memory {
    tier: Tier,
    sizes: Sizes,
}

enum Tier {
    /// One pool for all. Locks are taken in this order: one for writing, one of the engine. While one is held, nothing
    /// that may be the user's is called or dropped.
    One { pool: Pool, evicted: Arc<AtomicU64> },
    /// One for each tenant.
    Each(Tenants),
}

/// How much the memory tier holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) bytes: u64,
    /// Not together with shares.
    pub(crate) entries: Option<u64>,
    /// The largest entry that must find room. With shares, any does that is not larger than the memory tier.
    pub(crate) max_object: u64,
    /// The bytes that each tenant is sure of, if they have shares.
    pub(crate) tenant_share: Option<u64>,
}

/// A response as it is held.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "admin"), expect(dead_code, reason = "the admin API tells variants apart"))]
pub(crate) struct Variant<'a> {
    pub(crate) key: &'a [u8],
    /// The values of the nominated fields, encoded.
    pub(crate) selecting: &'a [u8],
    pub(crate) entry: &'a Arc<Entry>,
    /// How many of its resource are held, itself included.
    pub(crate) siblings: usize,
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

impl Found {
    /// What of a resource is held for a request.
    #[inline]
    fn of(selected: Option<Arc<Entry>>) -> Self {
        selected.map_or(Self::OtherVariants, Self::Entry)
    }
}

impl Memory {
    pub(crate) fn new(sizes: Sizes) -> Self {
        let tier = match sizes.tenant_share {
            None => Tier::one(sizes),
            Some(share) => Tier::Each(Tenants::new(sizes, share)),
        };
        Self { tier, sizes }
    }

    /// The variant that a request selects. The caller decides whether it may be used.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], request: &HeaderMap) -> Found {
        match &self.tier {
            Tier::One { pool, .. } => pool.find(key, request),
            Tier::Each(tenants) => tenants.find(key, request),
        }
    }

    /// The same, for those who only look: it counts as no use.
    pub(crate) fn peek(&self, key: &[u8], request: &HeaderMap) -> Found {
        match &self.tier {
            Tier::One { pool, .. } => pool.peek(key, request),
            Tier::Each(tenants) => tenants.peek(key, request),
        }
    }

    /// The fields that select the variants held under this key.
    pub(crate) fn nominated(&self, key: &[u8]) -> Box<[HeaderName]> {
        match &self.tier {
            Tier::One { pool, .. } => pool.nominated(key),
            Tier::Each(tenants) => tenants.nominated(key),
        }
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
        match &self.tier {
            Tier::One { pool, .. } => {
                let most = pool.largest();
                if entry.weight() + key.as_bytes().len() as u64 > most {
                    return Err(NotStored::NoRoom);
                }
                pool.put(key, entry, request, max_variants, live, |_| Ok(most))
            }
            Tier::Each(tenants) => tenants.put(&key, &entry, request, max_variants, live),
        }
    }

    /// Removes one entry, and nothing that has taken its place meanwhile.
    pub(crate) fn remove(&self, key: &[u8], entry: &Arc<Entry>) {
        match &self.tier {
            Tier::One { pool, .. } => {
                pool.remove(key, entry, || true);
            }
            Tier::Each(tenants) => tenants.remove(key, entry),
        }
    }

    pub(crate) fn clear(&self) {
        match &self.tier {
            Tier::One { pool, .. } => pool.clear(),
            Tier::Each(tenants) => tenants.clear(),
        }
    }

    /// Drops what is of no use to anyone any more.
    pub(crate) fn sweep(&self, useful: impl Fn(&Entry) -> bool) {
        match &self.tier {
            Tier::One { pool, .. } => pool.sweep(&useful),
            Tier::Each(tenants) => tenants.sweep(&useful),
        }
    }

    /// Calls `see` with every entry held. What is put meanwhile may be left out.
    pub(crate) fn each(&self, mut see: impl FnMut(&[u8], &Entry)) {
        self.each_variant(|variant| see(variant.key, variant.entry));
    }

    /// The same, each with what tells it from others. The caller may keep entries.
    pub(crate) fn each_variant(&self, mut see: impl FnMut(Variant<'_>)) {
        match &self.tier {
            Tier::One { pool, .. } => pool.each_variant(&mut see),
            Tier::Each(tenants) => tenants.each_variant(&mut see),
        }
    }

    /// Resources held.
    pub(crate) fn len(&self) -> usize {
        match &self.tier {
            Tier::One { pool, .. } => pool.len(),
            Tier::Each(tenants) => tenants.len(),
        }
    }

    /// Bytes held, as weighed.
    pub(crate) fn bytes(&self) -> u64 {
        match &self.tier {
            Tier::One { pool, .. } => pool.weight(),
            Tier::Each(tenants) => tenants.bytes(),
        }
    }

    /// Bytes that it may hold.
    pub(crate) fn limit(&self) -> u64 {
        self.sizes.bytes
    }

    pub(crate) fn evicted(&self) -> u64 {
        match &self.tier {
            Tier::One { evicted, .. } => evicted.load(Ordering::Relaxed),
            Tier::Each(tenants) => tenants.evicted(),
        }
    }

    /// The largest entry that finds room, with its key, if nothing else is there.
    pub(crate) fn largest(&self) -> u64 {
        match &self.tier {
            Tier::One { pool, .. } => pool.largest(),
            Tier::Each(tenants) => tenants.largest(),
        }
    }

    /// Every entry held, for inspection.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> Vec<Arc<Entry>> {
        match &self.tier {
            Tier::One { pool, .. } => pool.entries().collect(),
            Tier::Each(tenants) => tenants.entries(),
        }
    }
}

impl Tier {
    fn one(sizes: Sizes) -> Self {
        let Sizes { bytes, entries, max_object, .. } = sizes;
        let cores = std::thread::available_parallelism().map_or(4, usize::from);
        // An entry must fit into one shard.
        let by_size = usize::try_from(bytes / (2 * max_object)).unwrap_or(usize::MAX);
        let by_count = entries.map_or(usize::MAX, |entries| usize::try_from(entries / 128).unwrap_or(usize::MAX));
        let shards = by_size.min(by_count).clamp(1, 4 * cores);
        let expected = entries.unwrap_or(bytes / 4096).clamp(64, 1 << 24);
        let options = OptionsBuilder::new()
            .shards(shards)
            .estimated_items_capacity(usize::try_from(expected).unwrap_or(usize::MAX))
            .weight_capacity(bytes)
            .build()
            .expect("the options above are complete");
        let weigh = Weigh { least: entries.map_or(1, |entries| share(bytes, entries)) };
        let evictions = Evictions::default();
        let evicted = Arc::clone(&evictions.count);
        Self::One { pool: Pool::new(options, 64, weigh, Hashes::default(), evictions), evicted }
    }
}

/// The least that an entry may weigh where `entries` are to fit into `bytes`, and not one more. An entry must also fit
/// into the 97 % of a shard that the engine gives to what it keeps.
fn share(bytes: u64, entries: u64) -> u64 {
    if entries < 16 { (bytes / 100 * 94) / entries } else { bytes.div_ceil(entries) }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("sizes", &self.sizes).field("entries", &self.len()).finish_non_exhaustive()
    }
}

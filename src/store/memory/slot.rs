//! What is kept under one key: a resource with all its variants.

use crate::{
    entry::{Entry, FROM_A_STORE},
    outcome::NotStored,
    semantics::vary::write_selecting_values,
};
use http::{HeaderMap, HeaderName};
use smallvec::{SmallVec, smallvec};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A resource. Never changed: another one takes its place.
#[derive(Debug)]
pub(super) struct Slot {
    /// The union of what the variants nominate, sorted.
    nominated: Box<[HeaderName]>,
    variants: SmallVec<[Variant; 1]>,
    weight: u64,
    /// Another one has taken its place, so it was not evicted.
    replaced: AtomicBool,
}

#[derive(Clone, Debug)]
struct Variant {
    /// The values of the nominated fields in the request that was answered, encoded.
    selecting: SmallVec<[u8; 32]>,
    entry: Arc<Entry>,
}

impl Slot {
    fn new(nominated: Box<[HeaderName]>, variants: SmallVec<[Variant; 1]>) -> Self {
        let mut slot = Self { nominated, variants, weight: 0, replaced: AtomicBool::new(false) };
        slot.weigh();
        slot
    }

    /// The slot after this entry has joined it. Variants that are stored under fewer fields than are nominated now would
    /// match requests that differ in the new ones: they go.
    pub(super) fn joining(
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
                if variants.iter().any(|variant| is_younger(&variant.entry, &entry)) {
                    return Err(NotStored::Superseded);
                }
                variants.clear();
            }
        }
        let selecting = selecting_values(&nominated, request);
        if let Some(place) = variants.iter().position(|variant| variant.selecting == selecting) {
            if is_younger(&variants[place].entry, &entry) {
                return Err(NotStored::Superseded);
            }
            variants.remove(place);
        }
        variants.push(Variant { selecting, entry });
        Ok(Self::new(nominated.into(), variants))
    }

    pub(super) fn without(&self, entry: &Arc<Entry>) -> Self {
        let rest = self.variants.iter().filter(|variant| !Arc::ptr_eq(&variant.entry, entry)).cloned().collect();
        Self::new(self.nominated.clone(), rest)
    }

    /// Drops the oldest variants until both limits hold. The youngest, which is last, stays.
    pub(super) fn trim(&mut self, max_variants: usize, max_weight: u64) {
        while self.variants.len() > 1 && (self.variants.len() > max_variants || self.weight > max_weight) {
            self.variants.remove(0);
            self.weigh();
        }
    }

    /// The variant that a request selects.
    #[inline]
    pub(super) fn select(&self, request: &HeaderMap) -> Option<&Arc<Entry>> {
        self.position(request).map(|position| &self.variants[position].entry)
    }

    #[inline]
    fn position(&self, request: &HeaderMap) -> Option<usize> {
        if self.nominated.is_empty() {
            return (!self.variants.is_empty()).then_some(0);
        }
        let selecting = selecting_values(&self.nominated, request);
        self.variants.iter().position(|variant| variant.selecting == selecting)
    }

    fn weigh(&mut self) {
        self.weight = self.variants.iter().map(Variant::weight).sum();
    }

    /// The fields that select a variant.
    pub(super) fn nominated(&self) -> &[HeaderName] {
        &self.nominated
    }

    /// Bytes held, as weighed.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// What the youngest variant weighs.
    pub(super) fn youngest(&self) -> u64 {
        self.variants.last().map_or(0, Variant::weight)
    }

    /// How many variants there are.
    pub(super) fn len(&self) -> usize {
        self.variants.len()
    }

    /// Whether a variant can still be of use.
    pub(super) fn is_of_use(&self, useful: &impl Fn(&Entry) -> bool) -> bool {
        self.variants.iter().any(|variant| useful(&variant.entry))
    }

    /// Calls this with every variant, and with what selects it.
    pub(super) fn each_variant(&self, mut see: impl FnMut(&[u8], &Arc<Entry>)) {
        self.variants.iter().for_each(|variant| see(&variant.selecting, &variant.entry));
    }

    /// Takes note that another one takes its place.
    pub(super) fn replace(&self) {
        self.replaced.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> impl Iterator<Item = Arc<Entry>> {
        self.variants.iter().map(|variant| Arc::clone(&variant.entry))
    }
}

impl Variant {
    fn weight(&self) -> u64 {
        self.entry.weight() + self.selecting.len() as u64
    }
}

/// Whether a response must not make way for another: its fill began later, or, where that came from a store, it arrived later.
fn is_younger(one: &Entry, other: &Entry) -> bool {
    if other.started == FROM_A_STORE { one.received() > other.received() } else { one.started > other.started }
}

fn selecting_values(nominated: &[HeaderName], request: &HeaderMap) -> SmallVec<[u8; 32]> {
    let mut values = smallvec![];
    write_selecting_values(nominated, request, &mut values);
    values
}

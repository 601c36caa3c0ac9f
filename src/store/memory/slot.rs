//! What is kept under one key: a resource with all its variants.

use super::near::Near;
use crate::{
    entry::{Entry, FROM_A_STORE},
    outcome::NotStored,
    semantics::vary::write_selecting_values,
};
use http::{HeaderMap, HeaderName};
use smallvec::{SmallVec, smallvec};
use std::sync::Arc;

/// A resource. Never changed: another one takes its place.
#[derive(Clone, Debug)]
pub(super) enum Slot {
    /// One response for all requests, as most are: found without a further step.
    Plain(Near),
    Varied(Arc<Variants>),
}

/// The variants of a resource.
#[derive(Debug)]
pub(super) struct Variants {
    /// The union of what the variants nominate, sorted.
    nominated: Box<[HeaderName]>,
    variants: SmallVec<[Variant; 1]>,
    weight: u64,
}

#[derive(Clone, Debug)]
struct Variant {
    /// The values of the nominated fields in the request that was answered, encoded.
    selecting: SmallVec<[u8; 32]>,
    entry: Near,
}

impl Variants {
    fn new(nominated: Box<[HeaderName]>, variants: SmallVec<[Variant; 1]>) -> Self {
        let mut all = Self { nominated, variants, weight: 0 };
        all.weigh();
        all
    }

    /// Those of a slot after this entry has joined them. What is stored under fewer fields than are nominated now would
    /// match requests that differ in the new ones: it goes.
    pub(super) fn joining(
        old: Option<&Slot>,
        entry: Arc<Entry>,
        request: &HeaderMap,
        live: impl Fn(&Entry) -> bool,
    ) -> Result<Self, NotStored> {
        let mut variants = old.map(Slot::variants).unwrap_or_default();
        variants.retain(|variant| live(&variant.entry));
        let mut nominated: Vec<HeaderName> = entry.nominated.to_vec();
        if let Some(old) = old.filter(|_| !variants.is_empty()) {
            nominated.extend(old.nominated().iter().cloned());
            nominated.sort_by(|a, b| a.as_str().cmp(b.as_str()));
            nominated.dedup();
            if nominated.len() > old.nominated().len() {
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
        variants.push(Variant { selecting, entry: entry.into() });
        Ok(Self::new(nominated.into(), variants))
    }

    /// Drops the oldest variants until both limits hold. The youngest, which is last, stays.
    pub(super) fn trim(&mut self, max_variants: usize, max_weight: u64) {
        while self.variants.len() > 1 && (self.variants.len() > max_variants || self.weight > max_weight) {
            self.variants.remove(0);
            self.weigh();
        }
    }

    /// The variant that a request selects.
    fn select(&self, request: &HeaderMap) -> Option<Arc<Entry>> {
        let selecting = selecting_values(&self.nominated, request);
        let selected = self.variants.iter().find(|variant| variant.selecting == selecting);
        selected.map(|variant| variant.entry.clone().into())
    }

    fn weigh(&mut self) {
        self.weight = self.variants.iter().map(Variant::weight).sum();
    }

    /// Bytes held, as weighed.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// What the youngest variant weighs.
    pub(super) fn youngest(&self) -> u64 {
        self.variants.last().map_or(0, Variant::weight)
    }
}

/// Without any field that tells variants apart there is one, or none.
impl From<Variants> for Slot {
    fn from(mut all: Variants) -> Self {
        if all.nominated.is_empty()
            && all.variants.len() == 1
            && let Some(only) = all.variants.pop()
        {
            return Self::Plain(only.entry);
        }
        Self::Varied(Arc::new(all))
    }
}

impl Slot {
    fn variants(&self) -> SmallVec<[Variant; 1]> {
        match self {
            Self::Plain(entry) => smallvec![Variant { selecting: SmallVec::new(), entry: entry.clone() }],
            Self::Varied(all) => all.variants.clone(),
        }
    }

    /// What is left without this entry, if anything is.
    pub(super) fn without(&self, entry: &Arc<Entry>) -> Option<Self> {
        let mut rest = self.variants();
        rest.retain(|variant| !Arc::ptr_eq(&variant.entry, entry));
        (!rest.is_empty()).then(|| Variants::new(self.nominated().into(), rest).into())
    }

    /// The variant that a request selects.
    #[inline]
    pub(super) fn select(self, request: &HeaderMap) -> Option<Arc<Entry>> {
        match self {
            Self::Plain(entry) => Some(entry.into()),
            Self::Varied(all) => all.select(request),
        }
    }

    /// The fields that select a variant.
    pub(super) fn nominated(&self) -> &[HeaderName] {
        match self {
            Self::Plain(_) => &[],
            Self::Varied(all) => &all.nominated,
        }
    }

    /// Bytes held, as weighed.
    pub(super) fn weight(&self) -> u64 {
        match self {
            Self::Plain(entry) => entry.weight(),
            Self::Varied(all) => all.weight,
        }
    }

    /// How many variants there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Plain(_) => 1,
            Self::Varied(all) => all.variants.len(),
        }
    }

    /// Whether a variant can still be of use.
    pub(super) fn is_of_use(&self, useful: &impl Fn(&Entry) -> bool) -> bool {
        match self {
            Self::Plain(entry) => useful(entry),
            Self::Varied(all) => all.variants.iter().any(|variant| useful(&variant.entry)),
        }
    }

    /// Calls this with every variant, and with what selects it.
    pub(super) fn each_variant(&self, mut see: impl FnMut(&[u8], &Arc<Entry>)) {
        match self {
            Self::Plain(entry) => see(&[], entry),
            Self::Varied(all) => all.variants.iter().for_each(|variant| see(&variant.selecting, &variant.entry)),
        }
    }

    /// Whether both are the same one, not only alike.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain(one), Self::Plain(other)) => Arc::ptr_eq(one, other),
            (Self::Varied(one), Self::Varied(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Variant {
    fn weight(&self) -> u64 {
        self.entry.weight() + self.selecting.len() as u64
    }
}

/// Whether a response must not make way for another: its fill began later. That is told by number of two that were made here,
/// and by the clock of one that was made elsewhere; of what came from a store, that which arrived later is the younger.
fn is_younger(one: &Entry, other: &Entry) -> bool {
    match (one.started, other.started) {
        (_, FROM_A_STORE) => one.received() > other.received(),
        (FROM_A_STORE, _) => one.began() > other.began(),
        (one, other) => one > other,
    }
}

fn selecting_values(nominated: &[HeaderName], request: &HeaderMap) -> SmallVec<[u8; 32]> {
    let mut values = smallvec![];
    write_selecting_values(nominated, request, &mut values);
    values
}

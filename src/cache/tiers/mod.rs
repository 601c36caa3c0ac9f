//! The stores behind the memory tier, nearest first: looking into them, and writing to them, each within its budget.
//! How a store keeps things is its own business, and whether what it gives may be used is decided by the rules for all
//! that is stored.

mod count;
mod ended;
mod lease;
mod places;
mod send;
mod writer;

pub(crate) use count::HEAD;
pub(crate) use lease::{Lease, Leased};
pub(crate) use places::Places;
pub(crate) use writer::{Write, Writer};

use ended::Ended;

use super::{Cache, StoreCounts, table::Table};
use crate::{
    clock::Moment,
    entry::Entry,
    semantics::{date::Timestamp, vary::write_selecting_values},
    store::{Codec, Kind, Parcel, Sealed, Signpost, Store, StoreError, StoreKey},
    tally::Histogram,
    timer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use std::{
    collections::BTreeMap,
    slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

impl Tiers {
    pub(super) fn new(
        stores: Vec<Arc<dyn Store>>,
        codec: Codec,
        namespace: &str,
        (writes, bytes): (usize, u64),
    ) -> Self {
        let all = stores.into_iter().map(|store| Tier { store, told: TierTold::default() }).collect();
        Self {
            all,
            codec,
            places: Places::new(namespace),
            writer: Writer::new(writes, bytes),
            signposts: Table::default(),
            ended: Ended::default(),
        }
    }
}

/// The stores behind the memory tier.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(super) all: Box<[Tier]>,
    pub(super) codec: Codec,
    pub(super) places: Places,
    pub(super) writer: Writer,
    /// The fields that select the variants of resources that a store has, as it said last.
    signposts: Table<Arc<[HeaderName]>, 10_000>,
    /// What was ended here, and may be there still.
    pub(super) ended: Ended,
}

/// A store, and what came of asking it.
#[derive(Debug)]
pub(crate) struct Tier {
    pub(super) store: Arc<dyn Store>,
    pub(super) told: TierTold,
}

/// What came of asking a store.
#[derive(Debug, Default)]
pub(crate) struct TierTold {
    pub(super) hits: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) writes: AtomicU64,
    /// What was not written, because too much waited.
    pub(super) dropped: AtomicU64,
    /// How long lookups took.
    latency: Histogram,
    /// What failed, or could not be used, by reason.
    reasons: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tier {
    /// What it has at one place.
    async fn get(&self, place: &StoreKey) -> Result<Option<Bytes>, StoreError> {
        Ok(self.store.get(slice::from_ref(place)).await?.into_iter().next().flatten())
    }
}

impl TierTold {
    pub(super) fn reason(&self, reason: &'static str) {
        *self.reasons.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    pub(super) fn reasons(&self) -> BTreeMap<&'static str, u64> {
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Tiers {
    /// What came of asking each.
    pub(super) fn counts(&self) -> BTreeMap<String, StoreCounts> {
        let load = |counter: &AtomicU64| counter.load(Relaxed);
        let counts = |tier: &Tier, told: &TierTold| StoreCounts {
            up: tier.store.is_available(),
            stats: tier.store.last_stats(),
            hits: load(&told.hits),
            misses: load(&told.misses),
            writes: load(&told.writes),
            dropped: load(&told.dropped),
            latency: told.latency.latency(),
            reasons: told.reasons(),
        };
        self.all.iter().map(|tier| (tier.store.name().to_owned(), counts(tier, &tier.told))).collect()
    }

    /// Waits until all of them can be asked: being asked is what makes them try.
    pub(super) async fn available(&self) {
        while !self.all.iter().all(|tier| tier.store.is_available()) {
            timer::after(Duration::from_millis(10)).await;
        }
    }

    /// How long what they have from before may be used, as far as they know.
    pub(super) fn kept_for(&self) -> Duration {
        self.all.iter().filter_map(|tier| tier.store.kept_for()).max().unwrap_or_default()
    }

    /// Takes note of what a signpost says.
    pub(super) fn learn(&self, key: &[u8], nominated: &[HeaderName]) {
        let hash = self.signposts.hash(key);
        if self.signposts.get(hash).is_none_or(|known| *known != *nominated) {
            self.signposts.insert(hash, nominated.into());
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl Cache {
    /// Whether there is anything behind the memory tier.
    #[inline]
    pub(crate) fn has_stores(&self) -> bool {
        !self.0.tiers.is_empty()
    }

    /// Whether they take part in what is, or is not, for memory alone.
    #[inline]
    pub(crate) fn uses_stores(&self, memory_only: bool) -> bool {
        !memory_only && self.has_stores()
    }

    /// What the stores have under this key for a request with these fields, of which this node knows whether it was
    /// invalidated, and which is younger than what it has. The first that is fresh, else the youngest, with how many stores
    /// are nearer. And whether the last store has anything.
    pub(crate) async fn fetch(
        &self,
        kind: Kind,
        key: &[u8],
        request: &HeaderMap,
        before: Option<Timestamp>,
    ) -> (Option<(Parcel, usize)>, Last) {
        let (mut best, mut last): (Option<(Parcel, usize)>, _) = (None, Last::Unknown);
        for (nearer, tier) in self.0.tiers.all.iter().enumerate() {
            last = Last::Unknown;
            if !tier.store.is_available() {
                tier.told.reason(tier.store.unavailable().as_str());
                continue;
            }
            let since = Moment::now();
            let asked = self.ask(tier, kind, key, request).await;
            let took = since.elapsed();
            tier.told.latency.record(took);
            self.0.book.note_store(tier.store.name(), "get", took, asked.as_ref().err().map(Unfit::as_str));
            match asked {
                Ok(Some(parcel)) if before.is_none_or(|before| before < parcel.received) => {
                    last = Last::Has;
                    let fresh = parcel.received.saturating_sub(parcel.age).saturating_add(parcel.lifetime) > self.now();
                    if best.as_ref().is_none_or(|(best, _)| best.received < parcel.received) {
                        best = Some((parcel, nearer));
                    }
                    if fresh {
                        tier.told.hits.fetch_add(1, Relaxed);
                        return (best, last);
                    }
                    tier.told.misses.fetch_add(1, Relaxed);
                }
                Ok(found) => {
                    last = if found.is_some() { Last::Has } else { Last::HasNot };
                    tier.told.misses.fetch_add(1, Relaxed);
                }
                Err(Unfit::Unknown(reason)) => tier.told.reason(reason),
                Err(Unfit::Other(reason)) => {
                    last = Last::HasNot;
                    tier.told.reason(reason);
                }
            }
        }
        (best, last)
    }

    /// What each store has for a request, by its name, for those who only look: it is counted nowhere.
    pub(crate) async fn look_into_stores(
        &self,
        key: &[u8],
        request: &HeaderMap,
    ) -> Vec<(String, Result<Option<Parcel>, &'static str>)> {
        let mut all = Vec::new();
        for tier in &self.0.tiers.all {
            let found = match tier.store.is_available() {
                true => self.ask(tier, Kind::Response, key, request).await.map_err(|unfit| unfit.as_str()),
                false => Err(tier.store.unavailable().as_str()),
            };
            all.push((tier.store.name().to_owned(), found));
        }
        all
    }

    /// What memory has is not in the last store any more: it is removed from those before too. From memory last: if this is
    /// broken off, it is found out again.
    pub(crate) async fn let_go(&self, key: &[u8], entry: &Arc<Entry>, request: &HeaderMap) {
        if let Some((_, nearer)) = self.0.tiers.all.split_last() {
            self.remove_from(nearer, key, request).await;
        }
        // Nor do those use it who hold it already.
        entry.checked.be_gone();
        self.remove(key, entry);
    }

    async fn ask(&self, tier: &Tier, kind: Kind, key: &[u8], request: &HeaderMap) -> Result<Option<Parcel>, Unfit> {
        let (since, Tiers { places, .. }) = (Moment::now(), &self.0.tiers);
        let known = self.stored_by(key);
        let first = places.resource(key);
        // The variant and the signpost at once, where it is known which one it will be.
        let guess = (!known.is_empty()).then(|| places.variant(key, &digest(&known, request)));
        let asked: Vec<StoreKey> = guess.into_iter().chain([first]).collect();
        let found = tier.store.get(&asked).await?;
        let (mut meant, mut signpost) = (None, None);
        for (place, bytes) in asked.iter().zip(found) {
            let Some(bytes) = bytes else { continue };
            match self.open(place, bytes) {
                Ok(Sealed::Parcel(parcel)) if is_meant(&parcel, kind, key, request) => meant = Some(parcel),
                Ok(Sealed::Parcel(_)) => {}
                Ok(Sealed::Signpost(post)) if post.key == key => signpost = Some(post),
                Ok(Sealed::Signpost(_)) if meant.is_none() => return Err(Unfit::Other("other-key")),
                Err(unfit) if meant.is_none() => return Err(unfit),
                Ok(Sealed::Signpost(_)) | Err(_) => {}
            }
        }
        // What was stored under fewer fields than are nominated now may be another request's.
        let knows =
            |parcel: &Parcel, post: &Signpost| post.nominated.iter().all(|name| parcel.nominated.contains(name));
        if let Some(parcel) = meant.filter(|parcel| signpost.as_ref().is_none_or(|post| knows(parcel, post))) {
            return self.judged(key, *parcel);
        }
        let Some(Signpost { nominated, variants, .. }) = signpost else { return Ok(None) };
        self.0.tiers.learn(key, &nominated);
        let digest = digest(&nominated, request);
        if *nominated == *known || !variants.contains(&digest) {
            return Ok(None);
        }
        let place = places.variant(key, &digest);
        let get = tier.get(&place);
        let found = match tier.store.budget() {
            Some(budget) => timer::within(budget.saturating_sub(since.elapsed()), get).await,
            None => Some(get.await),
        };
        let found = found.unwrap_or(Err(StoreError::Timeout))?;
        let Some(bytes) = found else { return Ok(None) };
        match self.open(&place, bytes)? {
            Sealed::Parcel(parcel) if is_meant(&parcel, kind, key, request) => self.judged(key, *parcel),
            Sealed::Parcel(_) => Err(Unfit::Other("other-key")),
            Sealed::Signpost(_) => Err(Unfit::Other("field")),
        }
    }

    /// When it arrived, by the clock here. Nothing if that is yet to come: a clock that is ahead would make it live longer.
    pub(crate) fn arrival(&self, parcel: &Parcel) -> Option<Timestamp> {
        let now = self.now();
        (parcel.received <= now.saturating_add(CLOCKS_DIFFER)).then(|| parcel.received.min(now))
    }

    /// The fields that select the variants of a resource in the stores, as far as they are known.
    pub(crate) fn stored_by(&self, key: &[u8]) -> Arc<[HeaderName]> {
        let (here, signposts) = (self.nominated(key), &self.0.tiers.signposts);
        if here.is_empty() { signposts.get(signposts.hash(key)).unwrap_or_default() } else { here.into() }
    }

    fn open(&self, place: &StoreKey, bytes: Bytes) -> Result<Sealed, Unfit> {
        self.0.tiers.codec.open(bytes, place).map_err(|fault| Unfit::Other(fault.as_str()))
    }

    /// Nothing if it is not known what has been invalidated since it was made, or it is of no use any more.
    fn judged(&self, key: &[u8], parcel: Parcel) -> Result<Option<Parcel>, Unfit> {
        if self.0.tiers.ended.has(key, parcel.received, self.now()) {
            return Err(Unfit::Unknown("ended"));
        }
        if self.0.log.inward(parcel.stamp).is_none() {
            return Err(Unfit::Unknown("unknown-position"));
        }
        Ok(Some(parcel).filter(|parcel| parcel.discard_at > self.now()))
    }
}

/// Whether the last of the stores has anything of what was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Has,
    HasNot,
    Unknown,
}

/// Why what is in a store is not used.
enum Unfit {
    /// Nobody can tell what it has: it failed, or what it has is of a time that is not known here.
    Unknown(&'static str),
    /// It has something else.
    Other(&'static str),
}

impl Unfit {
    const fn as_str(&self) -> &'static str {
        let (Self::Unknown(reason) | Self::Other(reason)) = self;
        reason
    }
}

impl From<StoreError> for Unfit {
    fn from(error: StoreError) -> Self {
        Self::Unknown(error.as_str())
    }
}

/// What clocks of processes may differ.
const CLOCKS_DIFFER: Duration = Duration::from_secs(2);

/// Whether it is what was asked for: nobody else's, whatever the store says.
fn is_meant(parcel: &Parcel, kind: Kind, key: &[u8], request: &HeaderMap) -> bool {
    parcel.kind == kind && parcel.key == key && parcel.selecting == selecting(&parcel.nominated, request)
}

/// The values of these fields, encoded.
pub(super) fn selecting(nominated: &[HeaderName], request: &HeaderMap) -> Vec<u8> {
    let mut values = smallvec::SmallVec::<[u8; 32]>::new();
    write_selecting_values(nominated, request, &mut values);
    values.to_vec()
}

/// What tells a variant from the others of its resource.
pub(super) fn digest(nominated: &[HeaderName], request: &HeaderMap) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for name in nominated {
        hasher.update(name.as_str().as_bytes()).update(b"\n");
    }
    hasher.update(&selecting(nominated, request));
    let mut digest = [0; 16];
    digest.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    digest
}

//! What the stores behind the memory tier hold, for whoever looks: by the heads of what is there.

use super::{Cache, tiers::HEAD};
use crate::{
    invalidation::{Batch, Checked, Claim, InvalidateError, Selector, Standing},
    key::{KeyRef, Said},
    store::{Cursor, Facts, Glimpse, Kind, StoreError, StoreKey},
};
use http::StatusCode;
use std::{collections::BTreeMap, fmt, slice, time::Duration};

/// A walk through what the stores behind the memory tier hold, page by page. Made by [`Cache::stored`].
///
/// ```
/// use larder::Selector;
/// # use larder::{Cache, Disk, Value};
/// # use std::time::Duration;
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("larder-stored-example-{}", std::process::id()));
/// # let cache = Cache::builder().disk(Disk::open(&folder)).build()?;
/// # assert!(cache.ready(Duration::from_secs(60)).await);
/// # cache.value(&RATE).put(2650);
/// # cache.shutdown(Duration::from_secs(60)).await;
///
/// let mut stored = cache.stored(&Selector::everything())?;
/// let mut largest = None;
/// while let Some(page) = stored.next().await? {
///     largest = largest.into_iter().chain(page.entries).max_by_key(|entry| entry.stored_bytes);
/// }
/// assert_eq!(largest.and_then(|entry| entry.value).as_deref(), Some("rate"));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(()) }
/// ```
#[must_use = "it looks at nothing until it is asked for a page"]
pub struct Stored {
    cache: Cache,
    batch: Batch,
    /// Which store is looked at.
    tier: usize,
    from: Option<Cursor>,
}

/// A page of what a store holds. It may be empty although others follow.
///
/// ```
/// # use larder::{Cache, Selector};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = Cache::in_memory(1 << 20);
/// let mut stored = cache.stored(&Selector::everything())?;
/// let (mut read, mut sealed) = (0, 0);
/// while let Some(page) = stored.next().await? {
///     read += page.entries.len();
///     sealed += page.unreadable.get("sealed").copied().unwrap_or(0);
/// }
/// assert_eq!((read, sealed), (0, 0)); // there is no store behind this memory
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredPage {
    /// Responses and values.
    pub entries: Vec<StoredEntry>,
    /// How many could not be read, by reason: `sealed` is what was encrypted with a key that is not known here.
    pub unreadable: BTreeMap<&'static str, u64>,
}

/// A response or value that a store holds, as its first bytes tell. It may be damaged further on.
///
/// ```
/// use larder::{StoredEntry, StoredState};
/// # use larder::{Cache, Disk, Selector, Value};
/// # use std::time::Duration;
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("larder-entry-example-{}", std::process::id()));
/// # let cache = Cache::builder().disk(Disk::open(&folder)).build()?;
/// # assert!(cache.ready(Duration::from_secs(60)).await);
/// # cache.value(&RATE).put(2650);
/// # cache.shutdown(Duration::from_secs(60)).await;
/// # let mut stored = cache.stored(&Selector::everything())?;
/// # let mut found = Vec::new();
/// # while let Some(page) = stored.next().await? {
/// #     found.extend(page.entries);
/// # }
/// # let entry = found.pop().unwrap();
///
/// let name = |entry: &StoredEntry| entry.policy.clone().or(entry.value.clone());
/// assert_eq!(name(&entry).as_deref(), Some("rate"));
/// assert!(entry.state == StoredState::Fresh && entry.fresh_for <= Duration::from_secs(60));
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEntry {
    /// What the store is called.
    pub store: String,
    /// Under which key the store has it.
    pub place: StoreKey,
    /// Its own key, as `X-Cache-Key` has it.
    pub key: String,
    /// The version of the application's data that it belongs to.
    pub version: Option<String>,
    /// The name of the policy, of a response.
    pub policy: Option<String>,
    /// The name of the [value](crate::Value), if it is one.
    pub value: Option<String>,
    /// Whose it is, if it is keyed on a tenant.
    pub tenant: Option<String>,
    /// The status, of a response.
    pub status: Option<StatusCode>,
    /// Its tags.
    pub tags: Vec<String>,
    /// The length of its body.
    pub bytes: u64,
    /// The length of its body as it is stored: less where that is compressed.
    pub stored_bytes: u64,
    /// How old it is.
    pub age: Duration,
    /// How long it is still fresh.
    pub fresh_for: Duration,
    /// How it stands.
    pub state: StoredState,
}

/// How what a store holds stands.
///
/// ```
/// use larder::StoredState;
///
/// let of_use = |state: StoredState| matches!(state, StoredState::Fresh | StoredState::Stale);
/// assert!(of_use(StoredState::Stale) && !of_use(StoredState::Unknown));
/// assert_eq!(StoredState::Invalidated.to_string(), "invalidated");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoredState {
    /// It can be used.
    Fresh,
    /// Its lifetime is over, or a soft invalidation has ended it: it can be used while it is refreshed, or after
    /// validation.
    Stale,
    /// It was invalidated, and is not used. It goes when it expires, or is replaced.
    Invalidated,
    /// It is not known what has been invalidated since it was made, so it is not used. So stands everything until the log
    /// has been read: see [`Cache::ready`].
    Unknown,
}

impl StoredState {
    /// Its name: `fresh`, `stale`, `invalidated`, `unknown`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Invalidated => "invalidated",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for StoredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Cache {
    /// Begins to look at what the stores behind the memory tier hold of this namespace, in every version, as far as the
    /// selector selects it. For tools: it looks at all keys of each store, in bounded steps. What is there from the first
    /// page to the last is seen at least once, and what several stores hold is seen in each.
    ///
    /// ```
    /// # use larder::{Cache, Selector};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let mut stored = cache.stored(&Selector::pattern("*dashboard*"))?;
    /// while let Some(page) = stored.next().await? {
    ///     for entry in page.entries {
    ///         println!("{} {}", entry.key, entry.bytes);
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should.
    pub fn stored(&self, selector: &Selector) -> Result<Stored, InvalidateError> {
        let (batch, sound) = self.batch(slice::from_ref(selector));
        sound?;
        Ok(Stored { cache: self.clone(), batch, tier: 0, from: None })
    }
}

impl Stored {
    /// The next page; nothing at the end. After an error the same page is tried again.
    ///
    /// # Errors
    ///
    /// If the store cannot be asked.
    pub async fn next(&mut self) -> Result<Option<StoredPage>, StoreError> {
        let tiers = &self.cache.0.tiers;
        let Some(tier) = tiers.all.get(self.tier) else { return Ok(None) };
        let found = tier.store.scan(tiers.places.prefix(), self.from.clone(), HEAD).await?;
        let mut page = StoredPage::default();
        for (place, head) in found.found {
            if place.as_str().contains(LEASE) {
                continue;
            }
            match tiers.codec.peek(&head, &place) {
                Ok(glimpse) => page.entries.extend(self.entry(tier.store.name(), place, &glimpse)),
                Err(fault) => *page.unreadable.entry(fault.as_str()).or_default() += 1,
            }
        }
        self.from = found.next;
        if self.from.is_none() {
            self.tier += 1;
        }
        Ok(Some(page))
    }

    /// What is seen here, if it is selected and of use; a signpost is not.
    fn entry(&self, store: &str, place: StoreKey, glimpse: &Glimpse) -> Option<StoredEntry> {
        let (cache, facts) = (&self.cache, glimpse.facts?);
        let now = cache.now();
        if facts.discard_at <= now {
            return None;
        }
        let (footprint, key) = (cache.footprint_of(glimpse), &*glimpse.key);
        let stamp = cache.inward(facts.stamp);
        let claim = Claim { stamp: stamp.unwrap_or_default(), footprint: &footprint, key };
        if !self.batch.selects(claim) {
            return None;
        }
        let age = facts.age.saturating_add(now.since(facts.received));
        let (fresh_for, state) = match stamp.map(|_| cache.ledger().standing(claim, &Checked::default())) {
            None => (Duration::ZERO, StoredState::Unknown),
            Some(Standing::Gone) => (Duration::ZERO, StoredState::Invalidated),
            Some(Standing::Ended(_)) => (Duration::ZERO, StoredState::Stale),
            Some(Standing::Good) => left(&facts, age),
        };
        let said = Said::of(key);
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let tenant = said.identity.iter().find(|(name, _)| *name == crate::identity::TENANT).map(|(_, value)| *value);
        Some(StoredEntry {
            store: store.to_owned(),
            place,
            key: KeyRef(key).to_string(),
            version: owned(said.version),
            policy: owned(said.policy),
            value: owned(said.value),
            tenant: owned(tenant),
            status: (facts.kind == Kind::Response).then_some(facts.status),
            tags: glimpse.tags.names().map(str::to_owned).collect(),
            bytes: glimpse.size,
            stored_bytes: glimpse.stored,
            age,
            fresh_for,
            state,
        })
    }
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("tier", &self.tier).field("from", &self.from).finish_non_exhaustive()
    }
}

/// How long it is still fresh.
fn left(facts: &Facts, age: Duration) -> (Duration, StoredState) {
    let left = facts.lifetime.saturating_sub(age);
    (left, if left.is_zero() { StoredState::Stale } else { StoredState::Fresh })
}

/// What the place of the right to fill something has in it.
const LEASE: &str = ":lease:";

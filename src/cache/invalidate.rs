//! Invalidating: what the application says has changed.

use super::{Cache, Inner, log::Receipt};
use crate::{
    entry::Entry,
    invalidation::{Batch, InvalidateError, Selector},
    timer,
};
use std::{borrow::Cow, slice, time::Duration};

/// What an invalidation did: it is in the log and applied here.
///
/// ```
/// # use larder::{Cache, Selector, Value};
/// # use std::time::Duration;
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared().tags(&["rates"]);
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// cache.value(&RATE).put(2650);
/// let done = cache.invalidate(Selector::tag("rates").counted()).await?;
/// assert_eq!(done.entries(), Some(1)); // to count is a look at everything that is stored
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {
    entries: Option<u64>,
}

/// What an invalidation would hit.
///
/// ```
/// # use larder::{Cache, Selector, Value};
/// # use std::time::Duration;
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared().tags(&["rates"]);
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// cache.value(&RATE).put(2650);
/// let hit = cache.preview(&Selector::tag("rates")).await?;
/// assert_eq!((hit.entries, hit.stored_entries), (1, 0)); // there are no stores behind this cache
/// assert!(cache.value(&RATE).peek().is_some(), "it was only asked");
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Stored responses, each variant of its own.
    pub entries: u64,
    /// The bytes that they take, as weighed.
    pub bytes: u64,
    /// What the stores behind the memory tier hold of it, copies of the same included: an estimate, by what their keys and tags
    /// tell.
    pub stored_entries: u64,
    /// The bytes that these take.
    pub stored_bytes: u64,
    /// Whether all of the stores was looked at: that is given up after two seconds, or if one fails.
    pub complete: bool,
}

impl Invalidated {
    /// How many stored responses it has hit, if the selector was to be [counted](Selector::counted): in memory or in the stores
    /// behind, whichever has more. An estimate where there are stores.
    pub fn entries(&self) -> Option<u64> {
        self.entries
    }

    /// What two have hit that belong together.
    pub(super) fn and(self, other: Self) -> Self {
        let entries = [self.entries, other.entries].into_iter().flatten();
        Self { entries: entries.reduce(u64::saturating_add) }
    }
}

impl Cache {
    /// Makes sure that nothing stored until now, and nothing on its way, is served for what the selector selects.
    ///
    /// When this returns, no request that starts afterwards gets such a response; after a [soft](Selector::soft) one, none
    /// as if it were fresh.
    ///
    /// ```
    /// # use larder::{Cache, Selector};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// // First the commit, then:
    /// cache.invalidate(Selector::tag("products").within(1)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should, such as a resource that is no URI: then nothing is invalidated. If
    /// a shared log could not be written: then it was carried out here alone ([`InvalidateError::is_unconfirmed`]).
    pub async fn invalidate(&self, selector: Selector) -> Result<Invalidated, InvalidateError> {
        self.invalidate_many([selector]).await
    }

    /// The same for several selectors at once, as one record: nobody sees some of it done.
    ///
    /// ```
    /// # use larder::{Cache, Selector};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// cache.invalidate_many([Selector::resource("/products/7"), Selector::tag("lists")]).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If any of them does not say what it should: then nothing is invalidated. If a shared log could not be written: then it
    /// was carried out here alone ([`InvalidateError::is_unconfirmed`]).
    pub async fn invalidate_many(
        &self,
        selectors: impl IntoIterator<Item = Selector>,
    ) -> Result<Invalidated, InvalidateError> {
        let selectors = Vec::from_iter(selectors);
        self.batch(&selectors).1?;
        self.carry_out(&selectors).await
    }

    /// What a selector would hit now. Looks at everything that is stored.
    ///
    /// ```
    /// # use larder::{Cache, Selector};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let hit = cache.preview(&Selector::pattern("/products/*")).await?;
    /// println!("{} entries in memory, {} bytes", hit.entries, hit.bytes);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should.
    pub async fn preview(&self, selector: &Selector) -> Result<Preview, InvalidateError> {
        let (batch, sound) = self.batch(slice::from_ref(selector));
        sound?;
        let stored = self.count_in_stores(&batch).await;
        Ok(Preview {
            stored_entries: stored.entries,
            stored_bytes: stored.bytes,
            complete: stored.complete,
            ..self.hits(&batch)
        })
    }

    /// Ends the use of everything that is stored, in all processes that share a log: [`Selector::everything`]. The version in the
    /// keys stays the one of [`CacheBuilder::version`](crate::CacheBuilder::version), which tells deployments apart.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = larder::Cache::in_memory(1 << 20);
    /// // A dump was restored behind the application's back.
    /// cache.bump_version().await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If a shared log could not be written ([`InvalidateError::is_unconfirmed`]).
    pub async fn bump_version(&self) -> Result<Invalidated, InvalidateError> {
        self.invalidate(Selector::everything()).await
    }

    /// Whether a response for this resource is held that could still be of use; as in [`Selector::resource`].
    #[cfg(any(test, feature = "test-util"))]
    pub fn contains(&self, uri: &str) -> bool {
        self.hits(&self.batch(&[Selector::resource(uri)]).0).entries > 0
    }

    /// Invalidates what the application says has changed in passing, where nobody waits for the log. What cannot be selected
    /// keeps nothing else from being invalidated.
    pub(crate) fn invalidate_now(&self, selectors: &[Selector]) {
        if let Err(error) = self.append(selectors) {
            self.warn_of(&error);
        }
    }

    /// What these selectors say together, without those that do not say what they should, and what is wrong with the first
    /// of them.
    pub(super) fn batch(&self, selectors: &[Selector]) -> (Batch, Result<(), InvalidateError>) {
        let (rows, rules) = (self.0.ledger.rows(), self.query_rules());
        let (mut batch, mut sound) = (Batch::default(), Ok(()));
        for selector in selectors {
            sound = sound.and(selector.add_to(&mut batch, rows, &rules, &self.0.searches));
        }
        (batch, sound)
    }

    /// Invalidates what these selectors say, and counts what it hits if one of them asks for that. Waits until it is in the
    /// log.
    pub(super) async fn carry_out(&self, selectors: &[Selector]) -> Result<Invalidated, InvalidateError> {
        // Before anything is waited for: whoever gives up meanwhile has invalidated all the same.
        let begun = self.begin(selectors)?;
        self.finish(begun).await
    }

    /// Invalidates what these selectors say, as far as that goes without waiting.
    pub(super) fn begin(&self, selectors: &[Selector]) -> Result<Begun, InvalidateError> {
        let counted = selectors.iter().any(|selector| selector.counted);
        let batch = counted.then(|| self.batch(selectors).0);
        let hits = batch.map(|batch| (self.hits(&batch).entries, batch));
        Ok(Begun { hits, receipt: self.append(selectors)? })
    }

    /// Waits until it is in the log, and tells what it has hit.
    pub(super) async fn finish(&self, begun: Begun) -> Result<Invalidated, InvalidateError> {
        let entries = match begun.hits {
            Some((here, batch)) => Some(here.max(self.count_in_stores(&batch).await.entries)),
            None => None,
        };
        if let Some(receipt) = begun.receipt {
            confirmed(receipt).await?;
        }
        Ok(Invalidated { entries })
    }

    /// Appends what these selectors say to the log, as one record. What is wrong with one of them keeps nothing else from
    /// being invalidated.
    fn append(&self, selectors: &[Selector]) -> Result<Option<Receipt>, InvalidateError> {
        let (batch, sound) = self.batch(selectors);
        // What cannot be selected says nothing elsewhere either.
        let selectable = |one: &&Selector| self.batch(slice::from_ref(*one)).1.is_ok();
        let selectors = match sound {
            Ok(()) => Cow::Borrowed(selectors),
            Err(_) => Cow::Owned(selectors.iter().filter(selectable).cloned().collect()),
        };
        let receipt = (!batch.is_empty()).then(|| self.publish(batch, &selectors)).flatten();
        sound.map(|()| receipt)
    }

    pub(super) fn hits(&self, batch: &Batch) -> Preview {
        let now = self.now();
        let mut preview = Preview::default();
        self.0.memory.each(|key, entry: &Entry| {
            if batch.selects(entry.claim(key)) && entry.discard_at > now && self.is_live(key, entry) {
                preview.entries += 1;
                preview.bytes += entry.weight();
            }
        });
        preview
    }
}

/// An invalidation that is applied here.
pub(super) struct Begun {
    /// What it has hit in memory, and what it says, if that is to be counted.
    hits: Option<(u64, Batch)>,
    receipt: Option<Receipt>,
}

/// Waits until a record is in the shared log.
async fn confirmed(receipt: Receipt) -> Result<(), InvalidateError> {
    match timer::within(CONFIRM, receipt).await {
        Some(Ok(Ok(()))) => Ok(()),
        Some(Ok(Err(error))) => Err(InvalidateError::unwritten(error)),
        // The task that sends has ended with its runtime, or it takes too long.
        Some(Err(_)) => Err(InvalidateError::unconfirmed("the cache is shutting down")),
        None => Err(InvalidateError::unconfirmed(format!("no answer within {CONFIRM:?}"))),
    }
}

/// How long to wait for the shared log.
const CONFIRM: Duration = Duration::from_secs(2);

impl Inner {
    /// Drops what is of no use any more: what has expired, and what a ban selects.
    pub(super) fn sweep(&self) {
        self.clock.adjust();
        let now = self.clock.now();
        let bans = if self.tiers.is_empty() { self.ledger.pending_bans() } else { self.ledger.bans_outlived(now) };
        if let Some(generation) = bans {
            // Whatever is put meanwhile is tried when it is put.
            self.memory.each(|key, entry| {
                self.ledger.standing(entry.claim(key), &entry.checked);
            });
            self.ledger.drop_bans(generation);
        }
        self.memory.sweep(|entry| entry.discard_at > now && !entry.checked.is_gone());
    }
}

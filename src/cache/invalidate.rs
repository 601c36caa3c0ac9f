//! Invalidating: what the application says has changed.

use super::{Cache, Inner};
use crate::{
    entry::Entry,
    invalidation::{Batch, InvalidateError, Selector},
};
use std::{slice, sync::atomic::Ordering};

/// What an invalidation did: it is in the log and applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {
    entries: Option<u64>,
}

/// What an invalidation would hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Preview {
    /// Stored responses, each variant of its own.
    pub entries: u64,
    /// The bytes that they take, as weighed.
    pub bytes: u64,
}

impl Invalidated {
    /// How many stored responses it has hit, if the selector was to be [counted](Selector::counted).
    pub fn entries(&self) -> Option<u64> {
        self.entries
    }
}

impl Cache {
    /// Makes sure that nothing stored until now, and nothing on its way, is served for what the selector selects.
    ///
    /// When this returns, no request that starts afterwards gets such a response; after a [soft](Selector::soft) one, none
    /// as if it were fresh.
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should, such as a resource that is no URI.
    pub async fn invalidate(&self, selector: Selector) -> Result<Invalidated, InvalidateError> {
        self.invalidate_many([selector]).await
    }

    /// The same for several selectors at once, as one record: nobody sees some of it done.
    ///
    /// # Errors
    ///
    /// If any of them does not say what it should: then nothing is invalidated.
    #[expect(
        clippy::unused_async,
        reason = "an invalidation is durable when it returns: stores beyond memory wait here"
    )]
    pub async fn invalidate_many(
        &self,
        selectors: impl IntoIterator<Item = Selector>,
    ) -> Result<Invalidated, InvalidateError> {
        let selectors = Vec::from_iter(selectors);
        let (batch, sound) = self.batch(&selectors);
        sound?;
        Ok(self.carry_out(&selectors, batch))
    }

    /// What a selector would hit now.
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should.
    #[expect(clippy::unused_async, reason = "stores beyond memory are asked here")]
    pub async fn preview(&self, selector: &Selector) -> Result<Preview, InvalidateError> {
        let (batch, sound) = self.batch(slice::from_ref(selector));
        sound.map(|()| self.hits(&batch))
    }

    /// Ends the use of everything that is stored, as after a change of the application's own: [`Selector::everything`].
    pub async fn bump_version(&self) -> Invalidated {
        // It names nothing that could be wrong.
        self.invalidate(Selector::everything()).await.unwrap_or(Invalidated { entries: None })
    }

    /// Whether a response for this resource is held that could still be of use; as in [`Selector::resource`].
    #[cfg(any(test, feature = "test-util"))]
    pub fn contains(&self, uri: &str) -> bool {
        self.hits(&self.batch(&[Selector::resource(uri)]).0).entries > 0
    }

    /// Appends to the log, as one record.
    pub(crate) fn append(&self, batch: Batch) {
        self.0.ledger.append(batch, self.now());
        self.0.counters.invalidations.fetch_add(1, Ordering::Relaxed);
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

    /// Appends what these selectors say to the log, if it is anything, and counts what it hits if one of them asks for that.
    pub(super) fn carry_out(&self, selectors: &[Selector], batch: Batch) -> Invalidated {
        let counted = selectors.iter().any(|selector| selector.counted);
        let entries = counted.then(|| self.hits(&batch).entries);
        if !batch.is_empty() {
            self.append(batch);
        }
        Invalidated { entries }
    }

    fn hits(&self, batch: &Batch) -> Preview {
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

impl Inner {
    /// Drops what is of no use any more: what has expired, and what a ban selects.
    pub(super) fn sweep(&self) {
        self.clock.adjust();
        let now = self.clock.now();
        if let Some(generation) = self.ledger.pending_bans() {
            // Whatever is put meanwhile is tried when it is put.
            self.memory.each(|key, entry| {
                self.ledger.standing(entry.claim(key), &entry.checked);
            });
            self.ledger.drop_bans(generation);
        }
        self.memory.sweep(|entry| entry.discard_at > now && !entry.checked.is_gone());
    }
}

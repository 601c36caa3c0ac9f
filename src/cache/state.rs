//! How a cache is: what an operator wants to see first.

use super::{Cache, page::Page};
use crate::invalidation::{InvalidateError, Selector};
use std::{
    future::Future,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// What a value says of itself.
#[derive(Clone, Debug)]
pub(crate) struct ValueFacts {
    pub(crate) name: &'static str,
    pub(crate) depends_on: &'static [&'static str],
    pub(crate) tags: &'static [&'static str],
    /// Each with whether it is the default.
    pub(crate) settings: Vec<(&'static str, String, bool)>,
}

impl Cache {
    /// What is the matter; nothing where all is well.
    pub(crate) fn problems(&self) -> Vec<String> {
        // Nobody may have asked for anything yet.
        self.keep_in_touch();
        let away = self.0.tiers.all.iter().filter(|tier| !tier.store.is_available());
        let mut problems: Vec<_> =
            away.map(|tier| format!("the store `{}` does not answer", tier.store.name())).collect();
        if self.0.log.is_out_of_touch(self.now()) {
            problems.push("the shared log of invalidations cannot be read".to_owned());
        }
        problems
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.0.namespace
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.0.version.as_deref()
    }

    /// How long it has been there.
    pub(crate) fn uptime(&self) -> Duration {
        self.now().since(self.0.book.since)
    }

    /// The pages of its books: policies and values.
    pub(crate) fn pages(&self) -> Vec<Arc<Page>> {
        self.0.book.pages()
    }

    /// The values that were declared, by name.
    pub(crate) fn declared_values(&self) -> Vec<ValueFacts> {
        let known = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = known
            .iter()
            .map(|(name, declared)| ValueFacts {
                name,
                depends_on: declared.depends_on,
                tags: declared.tags,
                settings: declared.settings.clone(),
            })
            .collect();
        all.sort_by_key(|value| value.name);
        all
    }

    /// What memory holds of a tenant: entries and bytes.
    pub(crate) fn held_of(&self, tenant: &str) -> (u64, u64) {
        let part = self.holdings().tenants.get(tenant).copied().unwrap_or_default();
        (part.entries, part.bytes)
    }

    /// Invalidates all of these, as one record, and tells how many entries that has hit, and whether it is in the log. What
    /// stores hold is counted afterwards, within such a `place`: nothing waits for that but the count.
    pub(crate) async fn invalidate_all<P>(
        &self,
        selectors: &[Selector],
        place: impl Future<Output = P>,
    ) -> Result<(u64, Result<(), InvalidateError>), InvalidateError> {
        let (batch, sound) = self.batch(selectors);
        sound?;
        let batch = Arc::new(batch);
        // Afterwards memory has nothing left to be counted.
        let (cache, hit) = (self.clone(), Arc::clone(&batch));
        let here = crate::timer::aside(move || cache.hits(&hit).entries).await.unwrap_or_default();
        let begun = self.begin(selectors)?;
        let place = place.await;
        let stored = self.count_in_stores(&batch).await.entries;
        drop(place);
        Ok((here.max(stored), self.finish(begun).await.map(drop)))
    }
}

//! Values in the stores behind the memory tier: as JSON.

use super::{
    Kind,
    call::{Site, held},
};
use crate::{
    cache::tiers::Write,
    entry::{Entry, FROM_A_STORE, Held, Life},
    key::{Key, Said},
    outcome::NotStored,
    semantics::{date::Timestamp, reuse::Lifespan},
    store::{Kind as Stored, Parcel, YEAR},
};
use bytes::Bytes;
use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Kind<T> {
    /// What the stores have of it, if that is fresh and younger than this; then it is in memory too.
    pub(super) async fn find_in_stores(&self, site: &Site, before: Option<Timestamp>) -> Option<Arc<Entry>> {
        if !site.cache.uses_stores(self.memory_only) {
            return None;
        }
        let parcel = site.cache.fetch(Stored::Value, site.key.as_bytes(), &HeaderMap::new(), before).await?;
        match self.receive(site, parcel) {
            // As it is found in memory: not while it must not be used.
            Ok(()) => site.find().filter(|entry| entry.lifespan().is_fresh(site.cache.now())),
            Err(reason) => {
                tracing::debug!(target: "larder::lookup", reason = reason.as_str(), "what a store has is not used");
                None
            }
        }
    }

    /// The value itself, as [`find_in_stores`](Self::find_in_stores).
    pub(super) async fn value_in_stores(&self, site: &Site) -> Option<Arc<T>> {
        held(&*self.find_in_stores(site, None).await?)
    }

    fn receive(&self, site: &Site, parcel: Parcel) -> Result<(), NotStored> {
        let stamp = site.cache.inward(parcel.stamp).ok_or(NotStored::Invalidated)?;
        let read =
            catch_unwind(|| serde_json::from_slice::<T>(&parcel.body)).map_err(|_| NotStored::CallbackPanicked)?;
        // Of another type, or another version of it.
        let value: Arc<T> = Arc::new(read.map_err(|_| NotStored::Policy)?);
        let born = site.cache.arrival(&parcel).ok_or(NotStored::Policy)?;
        let fresh_until = born.saturating_add(parcel.lifetime.min(self.lifetime_of(&value)));
        let lifespan = Lifespan {
            born,
            fresh_until,
            revalidate_until: fresh_until.saturating_add(self.stale_while_revalidate.min(YEAR)),
            error_until: fresh_until.saturating_add(self.stale_if_error.min(YEAR)),
            always_validate: false,
            never_stale: false,
        };
        let life = Life { lifespan, early: self.refresh, fill_time: parcel.fill_time };
        let held = Held { bytes: parcel.body.len(), value };
        // It is invalidated by what it was tagged with, whoever asks for it now.
        let tags = parcel.tags.with(&site.tags);
        if tags.are_too_many() {
            return Err(NotStored::TooManyTags);
        }
        let said = Said::of(site.key.as_bytes());
        let mut footprint = site.cache.ledger().rows().footprint(tags.subjects(), &said.identity);
        footprint.extend(site.footprint.iter().copied());
        let entry = Arc::new(Entry::of_value(held, life, (footprint, tags, stamp), FROM_A_STORE));
        site.cache.keep(Key::from(&site.key), &entry, (&HeaderMap::new(), 1), || false)
    }

    /// Has it written to the stores.
    pub(super) fn write_soon(&self, site: &Site, entry: &Arc<Entry>, value: &Arc<T>) {
        if !site.cache.uses_stores(self.memory_only) {
            return;
        }
        let value = Arc::clone(value);
        let json =
            move || catch_unwind(AssertUnwindSafe(|| serde_json::to_vec(&*value).ok())).ok().flatten().map(Bytes::from);
        site.cache.write_soon(Write {
            key: site.key.as_bytes().into(),
            entry: Arc::clone(entry),
            request: HeaderMap::new(),
            credentials: false,
            max_variants: 1,
            lease: None,
            value: Some(Box::new(json)),
        });
    }
}

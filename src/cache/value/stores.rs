//! Values in the stores behind the memory tier: as JSON.

use super::{
    Kind,
    call::{Site, held},
};
use crate::{
    cache::tiers::{Last, Write},
    entry::{Entry, FROM_A_STORE, Held, Life},
    key::{Key, Said},
    outcome::NotStored,
    semantics::{date::Timestamp, reuse::Lifespan},
    store::{Kind as Stored, Parcel, YEAR},
    tally::Usage,
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
        let (cache, key, all) = (&site.cache, site.key.as_bytes(), HeaderMap::new());
        // First, so that what changes meanwhile is looked for once more.
        let heard = cache.last_heard();
        // A nearer store has the same still, whatever has changed behind it.
        let changed = site.changed();
        let younger_than = before.max(changed.as_deref().map(Entry::received));
        let (found, last) = cache.fetch(Stored::Value, key, &all, younger_than).await;
        let Some((parcel, nearer)) = found else {
            let entry = changed?;
            match last {
                Last::Has => entry.told.is_after(heard),
                Last::HasNot => cache.let_go(key, &entry, &all).await,
                Last::Unknown => {}
            }
            let good = last == Last::Has && before.is_none_or(|before| before < entry.received());
            return Some(entry).filter(|entry| good && entry.lifespan().is_fresh(cache.now()));
        };
        let json = parcel.body.clone();
        match self.receive(site, parcel, heard) {
            // As it is found in memory: not while it must not be used.
            Ok(entry) => {
                if nearer > 0 {
                    write(site, &entry, nearer, move || Some(json.clone()));
                }
                site.find().filter(|entry| entry.lifespan().is_fresh(site.cache.now()))
            }
            Err(reason) => {
                tracing::debug!(target: "larder::lookup", reason = reason.as_str(), "what a store has is not used");
                None
            }
        }
    }

    /// The value itself, as [`find_in_stores`](Self::find_in_stores).
    pub(super) async fn in_stores(&self, site: &Site) -> Option<(Arc<Entry>, Arc<T>)> {
        let entry = self.find_in_stores(site, None).await?;
        let value = held(&entry)?;
        Some((entry, value))
    }

    fn receive(&self, site: &Site, parcel: Parcel, heard: u64) -> Result<Arc<Entry>, NotStored> {
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
        let fill_time = parcel.fill_time;
        let usage = Usage::open(Arc::clone(&site.tally), site.tenant.clone(), fill_time);
        let life = Life { lifespan, early: self.refresh, fill_time, usage };
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
        entry.told.is_there_after(heard);
        site.cache.keep(Key::from(&site.key), &entry, (&HeaderMap::new(), 1), || false)?;
        Ok(entry)
    }

    /// Has it written to the stores.
    pub(super) fn write_soon(&self, site: &Site, entry: &Arc<Entry>, value: &Arc<T>) {
        if !site.cache.uses_stores(self.memory_only) {
            return;
        }
        let value = Arc::clone(value);
        let json =
            move || catch_unwind(AssertUnwindSafe(|| serde_json::to_vec(&*value).ok())).ok().flatten().map(Bytes::from);
        write(site, entry, usize::MAX, json);
    }
}

/// Has an entry written to the nearest so many stores, as the JSON that this makes.
fn write(site: &Site, entry: &Arc<Entry>, tiers: usize, json: impl Fn() -> Option<Bytes> + Send + Sync + 'static) {
    site.cache.write_soon(Write {
        key: site.key.as_bytes().into(),
        entry: Arc::clone(entry),
        request: HeaderMap::new(),
        credentials: false,
        max_variants: 1,
        tiers,
        lease: None,
        value: Some(Box::new(json)),
    });
}

//! From what the memory tier holds to what a store keeps.

use super::{Tier, Tiers, digest, selecting, writer::Write};
use crate::{
    cache::Cache,
    invalidation::Standing,
    store::{Fault, Kind, Parcel, Sealed, Signpost, StoreError, StoreKey},
};
use bytes::Bytes;
use http::HeaderName;
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

impl Cache {
    /// Writes to every store. What has been invalidated meanwhile is not written.
    pub(super) async fn write(&self, write: &Write) {
        let Tiers { all, places, .. } = &self.0.tiers;
        for tier in all {
            if !tier.store.is_available() {
                tier.told.reason(StoreError::Resting.as_str());
                continue;
            }
            let written = match write.nominated().is_empty() {
                true => self.put(tier, write, places.resource(&write.key), Vec::new()).await,
                false => self.put_variant(tier, write).await,
            };
            match written {
                Ok(()) => drop(tier.told.writes.fetch_add(1, Relaxed)),
                Err(reason) => tier.told.reason(reason),
            }
        }
    }

    /// Puts a variant, and a signpost that tells of it.
    async fn put_variant(&self, tier: &Tier, write: &Write) -> Result<(), &'static str> {
        let Tiers { codec, places, .. } = &self.0.tiers;
        let place = [places.resource(&write.key)];
        let found = tier.store.get(&place).await.map_err(StoreError::as_str)?.into_iter().next().flatten();
        let old = match found.map(|bytes| codec.open(bytes, &place[0])) {
            Some(Ok(Sealed::Signpost(post))) if *post.key == *write.key => Some(post),
            _ => None,
        };
        let (mut nominated, mut variants) = old.map_or_else(Default::default, |old| (old.nominated, old.variants));
        let before = nominated.len();
        nominated.extend(write.nominated().iter().cloned());
        nominated.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        nominated.dedup();
        if nominated.len() > before {
            // What was stored under fewer fields would match requests that differ in the new ones.
            variants.clear();
        }
        let digest = digest(&nominated, &write.request);
        variants.retain(|other| *other != digest);
        variants.push(digest);
        let surplus = variants.len().saturating_sub(write.max_variants.max(1));
        let gone: Vec<StoreKey> = variants.drain(..surplus).map(|digest| places.variant(&write.key, &digest)).collect();
        self.put(tier, write, places.variant(&write.key, &digest), nominated.clone()).await?;
        self.0.tiers.learn(&write.key, &nominated);
        let key = Bytes::copy_from_slice(&write.key);
        let post = Sealed::Signpost(Signpost { key, nominated, variants });
        let [place] = place;
        let sealed = codec.seal(&post, &place).map_err(Fault::as_str)?;
        let ttl = write.entry.discard_at.since(self.now()).saturating_mul(2).max(SIGNPOST);
        tier.store.put(place, sealed, ttl).await.map_err(StoreError::as_str)?;
        if !gone.is_empty() {
            tier.store.remove(&gone).await.map_err(StoreError::as_str)?;
        }
        Ok(())
    }

    async fn put(
        &self,
        tier: &Tier,
        write: &Write,
        place: StoreKey,
        nominated: Vec<HeaderName>,
    ) -> Result<(), &'static str> {
        let entry = &*write.entry;
        if self.0.ledger.standing(entry.claim(&write.key), &entry.checked) == Standing::Gone {
            return Err("invalidated");
        }
        let ttl = entry.discard_at.since(self.now());
        if ttl < Duration::from_millis(1) {
            return Ok(());
        }
        let parcel = self.parcel(write, nominated)?;
        let sealed = self.0.tiers.codec.seal(&Sealed::Parcel(Box::new(parcel)), &place).map_err(Fault::as_str)?;
        tier.store.put(place, sealed, ttl).await.map_err(StoreError::as_str)
    }

    fn parcel(&self, write: &Write, nominated: Vec<HeaderName>) -> Result<Parcel, &'static str> {
        let entry = &*write.entry;
        let stamp = self.0.log.outward(entry.stamp).ok_or("unknown-position")?;
        let life = entry.whole_lifespan();
        let (kind, body) = match &write.value {
            None => (Kind::Response, entry.body.clone()),
            Some(json) => (Kind::Value, json().ok_or("no-json")?),
        };
        Ok(Parcel {
            kind,
            key: Bytes::copy_from_slice(&write.key),
            selecting: selecting(&nominated, &write.request).into(),
            nominated,
            status: entry.status,
            head: entry.origin_head(self.status_line().hit()),
            for_caches: entry.for_caches.as_deref().cloned(),
            body,
            trailers: entry.trailers.as_deref().cloned(),
            tags: entry.tags.clone(),
            stamp,
            received: entry.received(),
            age: entry.received().since(life.born),
            lifetime: life.fresh_until.since(life.born),
            stale_while_revalidate: life.revalidate_until.since(life.fresh_until),
            stale_if_error: life.error_until.since(life.fresh_until),
            discard_at: entry.discard_at,
            fill_time: entry.fill_time,
            adapted: entry.adapted,
            credentials: write.credentials,
            own_policy: entry.handler.is_some(),
        })
    }
}

impl Write {
    fn nominated(&self) -> &[HeaderName] {
        &self.entry.nominated
    }
}

/// A signpost stands at least so long: what it points to comes and goes.
const SIGNPOST: Duration = Duration::from_secs(3600);

//! From what the memory tier holds to what a store keeps.

use super::{Tier, Tiers, digest, selecting, writer::Write};
use crate::{
    cache::Cache,
    clock::Moment,
    entry::{Entry, FROM_A_STORE},
    invalidation::Standing,
    store::{Browser, Fault, Kind, Parcel, Sealed, Signpost, StoreError, StoreKey},
    timer,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use std::{slice, sync::atomic::Ordering::Relaxed, time::Duration};

impl Cache {
    /// Writes to every store that is meant. What has been invalidated meanwhile is not written.
    pub(super) async fn write(&self, write: &Write) {
        let Tiers { all, places, .. } = &self.0.tiers;
        self.settled(&write.entry).await;
        for (nearer, tier) in all.iter().enumerate().take(write.tiers) {
            if !tier.store.is_available() {
                tier.told.reason(tier.store.unavailable().as_str());
                continue;
            }
            let varies = !self.stored_by(&write.key).is_empty();
            // Where others vary, it is found by way of the signpost to them.
            let since = Moment::now();
            let written = match write.nominated().is_empty() && !varies {
                true => self.put(tier, write, places.resource(&write.key), Vec::new()).await,
                false => self.put_variant(tier, write).await,
            };
            self.0.book.note_store(tier.store.name(), "put", since.elapsed(), written.err());
            match written {
                Ok(()) => {
                    tier.told.writes.fetch_add(1, Relaxed);
                    // Those before it tell nothing.
                    if nearer + 1 == all.len() {
                        write.entry.told.is_there();
                    }
                }
                Err(reason) => tier.told.reason(reason),
            }
        }
    }

    /// Removes what a request with these fields selects.
    pub(super) async fn remove_from_stores(&self, key: &[u8], request: &HeaderMap) {
        let Tiers { all, ended, .. } = &self.0.tiers;
        if self.remove_from(all, key, request).await {
            ended.is_removed(key, self.now());
        }
    }

    /// The same from some of them. True if none failed.
    pub(super) async fn remove_from(&self, tiers: &[Tier], key: &[u8], request: &HeaderMap) -> bool {
        let places = &self.0.tiers.places;
        let nominated = self.stored_by(key);
        let place = match nominated.is_empty() {
            true => places.resource(key),
            false => places.variant(key, &digest(&nominated, request)),
        };
        let mut all = true;
        for tier in tiers {
            if let Err(error) = tier.store.remove(slice::from_ref(&place)).await {
                tier.told.reason(error.as_str());
                all = false;
            }
        }
        all
    }

    /// Waits until all that was invalidated here before an entry was made is in the log: else nobody could use it.
    async fn settled(&self, entry: &Entry) {
        let since = Moment::now();
        while !self.0.log.is_settled(entry.stamp) && since.elapsed() < UNSETTLED {
            timer::after(Duration::from_millis(5)).await;
        }
    }

    /// Puts a variant, and a signpost that tells of it.
    async fn put_variant(&self, tier: &Tier, write: &Write) -> Result<(), &'static str> {
        let Tiers { codec, places, .. } = &self.0.tiers;
        let place = places.resource(&write.key);
        let found = tier.get(&place).await.map_err(StoreError::as_str)?;
        let old = match found.map(|bytes| codec.open(bytes, &place)) {
            Some(Ok(Sealed::Signpost(post))) if *post.key == *write.key => Some(post),
            _ => None,
        };
        let (mut nominated, mut variants) = old.map_or_else(Default::default, |old| (old.nominated, old.variants));
        let before = nominated.len();
        nominated.extend(write.nominated().iter().cloned());
        nominated.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        nominated.dedup();
        if nominated.is_empty() {
            // There is no signpost any more.
            return self.put(tier, write, place, nominated).await;
        }
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
        if self.has_changed(entry) {
            return Err("changed");
        }
        let ttl = entry.discard_at.since(self.now());
        if ttl < Duration::from_millis(1) {
            return Ok(());
        }
        if self.is_late(tier, entry, &write.key, &place).await {
            return Err("superseded");
        }
        let parcel = self.parcel(write, nominated)?;
        let sealed = self.0.tiers.codec.seal(&Sealed::Parcel(Box::new(parcel)), &place).map_err(Fault::as_str)?;
        tier.store.put(place, sealed, ttl).await.map_err(StoreError::as_str)
    }

    /// Whether the store has what another process began to make later: of what took long to make, that is looked for.
    async fn is_late(&self, tier: &Tier, entry: &Entry, key: &[u8], place: &StoreKey) -> bool {
        if entry.started == FROM_A_STORE || entry.fill_time < SLOW {
            return false;
        }
        let found = tier.get(place).await.ok().flatten();
        let stored = found.and_then(|bytes| self.0.tiers.codec.open(bytes, place).ok());
        matches!(stored, Some(Sealed::Parcel(other))
            if other.key == key
                && other.discard_at > self.now()
                && self.0.log.inward(other.stamp).is_some_and(|stamp| stamp >= entry.stamp)
                // What is said by a clock that others do not believe, nobody uses.
                && self.arrival(&other).is_some_and(|arrival| arrival.saturating_sub(other.fill_time) > entry.began()))
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
            browser: entry.handler.as_ref().map(|_| entry.browser.map_or(Browser::AsAnswered, Browser::Told)),
        })
    }
}

impl Write {
    fn nominated(&self) -> &[HeaderName] {
        &self.entry.nominated
    }
}

/// What was made within this time was hardly overtaken by what is not as old.
const SLOW: Duration = Duration::from_secs(1);

/// So long a write waits for the log.
const UNSETTLED: Duration = Duration::from_secs(1);

/// A signpost stands at least so long: what it points to comes and goes.
const SIGNPOST: Duration = Duration::from_secs(3600);

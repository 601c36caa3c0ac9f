//! What a store behind the memory tier has for a fill: judged again, as if it had just been answered, and taken into memory.

use super::{super::tiers::Last, Fill};
use crate::{
    entry::{Entry, FROM_A_STORE, Keeping, Origin},
    outcome::NotStored,
    policy::Rules,
    semantics::{
        cache_groups::cache_groups,
        freshness::LifetimeSource,
        no_vary_search::no_vary_search,
        storable::{StoreRequest, StoreRules},
    },
    store::{Browser, Kind, Parcel, YEAR},
};
use std::{borrow::Cow, sync::Arc};

/// What became of looking into the stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InStores {
    /// There is something to be had in memory now.
    Found,
    Nothing,
    /// What is stored here was there, and somebody has removed it. It is not used any more.
    Removed,
}

impl Fill {
    /// Looks into the stores for what this fill is to bring, if that is younger than what is stored here, and takes it into
    /// memory.
    pub(crate) async fn find_in_stores(&self, stored: Option<&Arc<Entry>>) -> InStores {
        let (cache, key) = (&self.cache, self.key.as_bytes());
        // First, so that what changes meanwhile is looked for once more.
        let heard = cache.last_heard();
        let changed = stored.is_some_and(|entry| cache.has_changed(entry));
        let before = stored.map(|entry| entry.received());
        let (found, last) = cache.fetch(Kind::Response, key, &self.request, before).await;
        let Some((parcel, nearer)) = found else {
            let Some(entry) = stored else { return InStores::Nothing };
            if changed && last == Last::HasNot {
                cache.let_go(key, entry, &self.request).await;
                return InStores::Removed;
            }
            if last != Last::Unknown {
                entry.told.is_after(heard);
            }
            // Nothing is newer: what is here is good again for a while.
            let good = entry.compared(cache.now(), changed);
            return if good { InStores::Found } else { InStores::Nothing };
        };
        let credentials = parcel.credentials;
        let entry = self.receive(parcel).and_then(|entry| {
            entry.told.is_there_after(heard);
            let entry = Arc::new(entry);
            self.keep(&entry).map(|()| entry)
        });
        match entry {
            Ok(entry) => {
                if nearer > 0 {
                    self.write_soon(&entry, credentials, nearer);
                }
                InStores::Found
            }
            Err(reason) => {
                tracing::debug!(target: "larder::lookup", reason = reason.as_str(), "what a store has is not used");
                InStores::Nothing
            }
        }
    }

    /// The entry that it would be if it had been answered here. Lifetimes are those of the policy now, and no longer than they
    /// were.
    fn receive(&self, parcel: Parcel) -> Result<Entry, NotStored> {
        let stamp = self.cache.inward(parcel.stamp).ok_or(NotStored::Invalidated)?;
        if stamp < self.cache.learnt(&self.rules.key.query) {
            return Err(NotStored::Invalidated);
        }
        let received = self.cache.arrival(&parcel).ok_or(NotStored::Policy)?;
        let head = parcel.for_caches.as_ref().map_or(Cow::Borrowed(&parcel.head), |counts| counts.head(&parcel.head));
        // What this request says of its own answer says nothing of one that others may have.
        let asked = StoreRequest { credentials: parcel.credentials, no_store: false, ..self.asked };
        let own = parcel.own_policy.then(|| own_rules(&self.rules.store, &parcel));
        let rules = own.as_ref().unwrap_or(&self.rules.store);
        let verdict = self.judge_by(rules, asked, (parcel.status, &head), received, parcel.age)?;
        let mut storable = verdict.storable;
        let adapted = parcel.adapted.filter(|_| storable.source == LifetimeSource::Policy);
        let adapted = adapted.zip(self.rules.refresh.adaptive).map(|(adapted, (least, most))| {
            storable.lifetime = adapted.min(most).max(least).min(verdict.longest);
            adapted
        });
        storable.lifetime = storable.lifetime.min(parcel.lifetime).min(YEAR);
        storable.stale_while_revalidate = storable.stale_while_revalidate.min(YEAR);
        storable.stale_if_error = storable.stale_if_error.min(YEAR);
        // What it varies by now, and was not stored by, is not known of it.
        if !storable.nominated.iter().all(|name| parcel.nominated.contains(name)) {
            return Err(NotStored::Superseded);
        }
        storable.nominated.clone_from(&parcel.nominated);
        let tags = parcel.tags.with(&self.rules.tags);
        if tags.are_too_many() {
            return Err(NotStored::TooManyTags);
        }
        let (said, groups) = (no_vary_search(&head), cache_groups(&head));
        let (rows, identity) = (self.cache.ledger().rows(), self.identity.as_ref());
        let footprint = self.place.footprint_with(rows, &self.rules, identity, &tags, said.as_ref(), &groups);
        drop(head);
        let browser = match parcel.browser.filter(|_| own.is_some()) {
            None => self.rules.browser,
            Some(Browser::AsAnswered) => None,
            Some(Browser::Told(control)) => Some(control),
        };
        let origin = Origin {
            status: parcel.status,
            headers: parcel.head,
            for_caches: parcel.for_caches,
            storable,
            received,
            began: received.saturating_sub(parcel.fill_time),
            age: parcel.age,
            footprint,
            tags,
            stamp,
            started: FROM_A_STORE,
            handler: own.map(|store| Arc::new(Rules { store, browser, ..(*self.rules).clone() })),
            adapted,
            fill_time: parcel.fill_time,
            usage: self.usage(parcel.fill_time),
        };
        let keeping = Keeping { browser, ..self.keeping() };
        Ok(Entry::new(origin, parcel.body, parcel.trailers, keeping))
    }
}

/// What the handler said of storing it, as far as it is known: prohibitions stay those of the layer.
fn own_rules(layer: &StoreRules, parcel: &Parcel) -> StoreRules {
    StoreRules {
        status_lifetimes: vec![(parcel.status, parcel.lifetime)],
        override_response: true,
        stale_while_revalidate: parcel.stale_while_revalidate,
        stale_if_error: parcel.stale_if_error,
        ..layer.clone()
    }
}

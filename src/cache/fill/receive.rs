//! What a store behind the memory tier has for a fill: judged again, as if it had just been answered, and taken into memory.

use super::Fill;
use crate::{
    entry::{Entry, FROM_A_STORE, Origin},
    outcome::NotStored,
    policy::Rules,
    semantics::{
        cache_groups::cache_groups,
        no_vary_search::no_vary_search,
        storable::{StoreRequest, StoreRules},
    },
    store::{Kind, Parcel, YEAR},
};
use std::{borrow::Cow, sync::Arc};

impl Fill {
    /// Looks into the stores for what this fill is to bring, if that is younger than what is stored here, and takes it into
    /// memory. True if there is something to be had in memory now.
    pub(crate) async fn find_in_stores(&self, stored: Option<&Entry>) -> bool {
        let before = stored.map(Entry::received);
        let found = self.cache.fetch(Kind::Response, self.key.as_bytes(), &self.request, before).await;
        let Some(parcel) = found else {
            // Nothing is newer: what is here is good again for a while.
            return stored.is_some_and(|entry| entry.compared(self.cache.now()));
        };
        let entry = self.receive(parcel).map(Arc::new);
        match entry.and_then(|entry| self.keep(&entry)) {
            Ok(()) => true,
            Err(reason) => {
                tracing::debug!(target: "larder::lookup", reason = reason.as_str(), "what a store has is not used");
                false
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
        let asked = StoreRequest { credentials: parcel.credentials, ..self.asked };
        let own = parcel.own_policy.then(|| own_rules(&self.rules.store, &parcel));
        let rules = own.as_ref().unwrap_or(&self.rules.store);
        let verdict = self.judge_by(rules, asked, (parcel.status, &head), received, parcel.age)?;
        let mut storable = verdict.storable;
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
        let origin = Origin {
            status: parcel.status,
            headers: parcel.head,
            for_caches: parcel.for_caches,
            storable,
            received,
            age: parcel.age,
            footprint,
            tags,
            stamp,
            started: FROM_A_STORE,
            handler: own.map(|store| Arc::new(Rules { store, ..(*self.rules).clone() })),
            adapted: parcel.adapted.filter(|_| self.rules.refresh.adaptive.is_some()),
            fill_time: parcel.fill_time,
        };
        Ok(Entry::new(origin, parcel.body, parcel.trailers, self.keeping()))
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

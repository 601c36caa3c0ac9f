//! What a fill stores, and where: the entry of an answer, in memory and in the stores behind it.

use super::{
    super::{
        place::Place,
        refreshing,
        tiers::{Leased, Write},
    },
    Fill, RecordedHead,
};
use crate::{
    entry::{Entry, Keeping, Origin},
    invalidation::Footprint,
    key::Key,
    outcome::NotStored,
    semantics::{
        cache_groups::cache_groups, freshness::LifetimeSource, no_vary_search::no_vary_search, storable::Refusal,
    },
    tally::Usage,
};
use bytes::Bytes;
use http::HeaderMap;
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

impl Fill {
    /// The response as it is stored. `before` is what it takes the place of, and whether it says the same.
    pub(in super::super) fn entry(
        &self,
        head: RecordedHead,
        body: Bytes,
        trailers: Option<HeaderMap>,
        before: Option<(&Entry, bool)>,
    ) -> Entry {
        let RecordedHead { status, headers, for_caches, mut storable, longest, age, received } = head;
        let refresh = self.rules.refresh;
        let mut adapted = None;
        if let Some(bounds) = refresh.adaptive.filter(|_| storable.source == LifetimeSource::Policy) {
            let lifetime = before
                .and_then(|(entry, unchanged)| Some(refreshing::adapted(entry.adapted?, unchanged, bounds)))
                .unwrap_or(storable.lifetime);
            adapted = Some(lifetime);
            storable.lifetime = lifetime.min(longest);
        }
        if let Some(fraction) = refresh.jitter {
            storable.lifetime = refreshing::jittered(storable.lifetime, fraction, self.cache.random());
        }
        let footprint = self.footprint(&headers);
        let fill_time = self.cache.now().since(self.requested);
        let origin = Origin {
            status,
            headers,
            for_caches,
            storable,
            received,
            began: self.requested,
            age,
            footprint,
            tags: self.tags.clone(),
            stamp: self.stamp,
            started: self.started,
            handler: self.handler.clone(),
            adapted,
            fill_time,
            usage: self.usage(fill_time),
        };
        Entry::new(origin, body, trailers, self.keeping())
    }

    pub(super) fn usage(&self, took: Duration) -> Usage {
        let tenant = self.tenant.get_or_init(|| self.cache.tenant_of(&self.rules, self.key.as_bytes())).clone();
        Usage::open(Arc::clone(&self.rules.tally), tenant, took).memory_only(self.rules.memory_only)
    }

    pub(super) fn keeping(&self) -> Keeping<'_> {
        Keeping {
            set_cookie: self.rules.store.set_cookie,
            own_fields: &self.rules.own_fields,
            browser: self.rules.browser,
            keep: self.rules.keep,
            refresh: self.rules.refresh,
            memory_ttl: self.rules.memory_ttl.filter(|_| self.looks_in_stores()),
            now: self.cache.now(),
            hit: self.cache.status_line().hit(),
        }
    }

    /// The head alone, for those who wait while the body comes.
    pub(in super::super) fn announced(&self, head: &RecordedHead, length: Option<u64>) -> Entry {
        let entry = self.entry(head.clone(), Bytes::new(), None, None);
        match length {
            Some(length) => entry.announce(length),
            None => entry,
        }
    }

    pub(super) fn footprint(&self, answer: &HeaderMap) -> Footprint {
        let said = no_vary_search(answer);
        let groups = cache_groups(answer);
        let (rows, identity) = (self.cache.ledger().rows(), self.identity.as_ref());
        self.place.footprint_with(rows, &self.rules, identity, &self.tags, said.as_ref(), &groups)
    }

    /// The key under which an answer is found: what it says of its query counts, and is remembered for the next request.
    pub(super) fn key_of(&self, answer: &HeaderMap) -> Key {
        let Place { path, query, .. } = &self.place;
        let said = self.cache.searches().learn(path, no_vary_search(answer));
        Key::from(&*self.key.with_query(query.as_deref(), said.as_ref()))
    }

    /// An answer that was to be stored is not. It was complete all the same for these reasons, and ends what it was to
    /// replace.
    pub(in super::super) fn refuse(&self, reason: NotStored, replaces: Option<Arc<Entry>>) {
        self.rules.tally.not_stored(reason);
        self.remember(reason, false);
        let complete = matches!(
            reason,
            NotStored::TooLarge | NotStored::NoRoom | NotStored::GrpcStatus | NotStored::Refused(Refusal::SetCookie)
        );
        if let Some(entry) = replaces.filter(|_| complete) {
            self.remove(&entry);
        }
    }

    pub(in super::super) fn store(&self, entry: &Arc<Entry>) -> Result<(), NotStored> {
        self.keep(entry)?;
        // What says how its query counts has names that other processes may not know when it is invalidated.
        if self.looks_in_stores() && no_vary_search(&entry.head).is_none() {
            self.write_soon(entry, self.asked.credentials, usize::MAX);
        }
        Ok(())
    }

    /// Has an entry written to the nearest so many stores.
    pub(super) fn write_soon(&self, entry: &Arc<Entry>, credentials: bool, tiers: usize) {
        self.cache.write_soon(Write {
            key: self.key_of(&entry.head).as_bytes().into(),
            entry: Arc::clone(entry),
            request: self.request.clone(),
            credentials,
            max_variants: self.rules.max_variants,
            tiers,
            lease: self.lease.clone(),
            value: None,
        });
    }

    /// Takes the right to fill for all processes, if the policy wants that. False if another process has it.
    pub(crate) async fn take_lease(&mut self) -> bool {
        let Some(limit) = self.rules.fill.lease else { return true };
        match self.cache.lease(self.key.as_bytes(), &self.request, limit).await {
            Leased::Here(lease) => {
                self.lease = Some(Arc::new(lease));
                true
            }
            Leased::Elsewhere => false,
            Leased::Unknown => true,
        }
    }

    /// Whether the stores behind the memory tier take part.
    pub(crate) fn looks_in_stores(&self) -> bool {
        self.cache.uses_stores(self.rules.memory_only)
    }

    /// Ends the use of what is stored, here and in the stores.
    pub(crate) fn remove(&self, entry: &Arc<Entry>) {
        if self.looks_in_stores() {
            // First: nobody takes it from there when it is not here any more.
            self.cache.end_in_stores(self.key.as_bytes(), entry.discard_at, &self.request);
        }
        self.cache.remove(self.key.as_bytes(), entry);
    }

    /// Takes an entry into the memory tier.
    pub(super) fn keep(&self, entry: &Arc<Entry>) -> Result<(), NotStored> {
        if entry.footprint.len() > MAX_ROWS {
            return Err(NotStored::IdentityTooLarge);
        }
        let variant = (&self.request, self.rules.max_variants);
        self.cache.keep(self.key_of(&entry.head), entry, variant, || self.lost.load(Relaxed))?;
        self.cache.uncacheable().forget(self.remembered_by());
        Ok(())
    }
}

/// What can be invalidated in more ways is not stored: each is looked up when anything is invalidated.
const MAX_ROWS: usize = 1024;

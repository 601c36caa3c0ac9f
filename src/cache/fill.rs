//! Taking an answer of the inner service into the cache.

mod receive;

pub(crate) use receive::InStores;

use super::{
    Cache, Facts,
    place::Place,
    refreshing,
    tiers::{Lease, Leased, Write},
};
use crate::{
    entry::{Entry, Keeping, Origin, take},
    identity::Identity,
    invalidation::{Footprint, Seq, Tags},
    key::{Key, KeyBuf},
    outcome::NotStored,
    policy::{Policy, Rules},
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_control_writer::CacheControl,
        cache_control_writer::ForCaches,
        cache_groups::cache_groups,
        date::Timestamp,
        freshness::{LifetimeSource, initial_age},
        no_vary_search::no_vary_search,
        storable::{Refusal, Storable, StoreRequest, StoreRules, storable},
        validation::{Freshened, freshen},
    },
    tally::{Tally, Usage},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, request::Parts};
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// A fill that has begun: everything about the request that storing its answer needs. Made before the inner service is
/// called, so that its stamp is older than anything the answer could be made of.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(super) cache: Cache,
    pub(super) rules: Arc<Rules>,
    /// The rules, where they are what the handler said.
    handler: Option<Arc<Rules>>,
    key: KeyBuf,
    place: Place,
    /// The request as the client sent it: its fields select the variant.
    pub(super) request: HeaderMap,
    asked: StoreRequest,
    identity: Option<Identity>,
    /// What the answer is tagged with, once it is known.
    tags: Tags,
    stamp: Seq,
    started: u64,
    requested: Timestamp,
    /// Where its tenant is counted, once that is known; nothing where no tenant is told apart.
    tenant: OnceLock<Option<Arc<Tally>>>,
    /// The right to fill for all processes.
    lease: Option<Arc<Lease>>,
    /// A younger fill of the same has been answered.
    lost: Arc<AtomicBool>,
}

/// An answer may be stored.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) storable: Storable,
    /// No lifetime may be longer.
    longest: Duration,
    pub(crate) age: Duration,
}

/// The head of an answer that may be stored.
#[derive(Clone, Debug)]
pub(crate) struct RecordedHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What counts of fields that a layer wrote for browsers and CDNs.
    for_caches: Option<ForCaches>,
    storable: Storable,
    longest: Duration,
    age: Duration,
    received: Timestamp,
}

impl Verdict {
    pub(crate) fn head(
        self,
        status: StatusCode,
        headers: HeaderMap,
        for_caches: Option<ForCaches>,
        received: Timestamp,
    ) -> RecordedHead {
        let Self { storable, longest, age } = self;
        RecordedHead { status, headers, for_caches, storable, longest, age, received }
    }
}

/// What became of a stored response when the inner service said that it still holds.
#[derive(Debug)]
pub(crate) enum Freshening {
    /// It is stored anew, and is the answer.
    Stored(Arc<Entry>),
    /// It is the answer to this request, and is stored no more.
    Gone(Arc<Entry>),
    /// The inner service meant another representation.
    Mismatch,
}

impl Fill {
    pub(crate) fn begin(
        cache: &Cache,
        rules: &Arc<Rules>,
        key: KeyBuf,
        parts: &Parts,
        facts: Facts,
        directives: Option<&RequestDirectives>,
    ) -> Self {
        let credentials = facts.has(Facts::CREDENTIALS);
        Self {
            place: Place::of(rules, parts),
            identity: parts.extensions.get::<Identity>().cloned(),
            cache: cache.clone(),
            rules: Arc::clone(rules),
            handler: None,
            key,
            request: parts.headers.clone(),
            asked: StoreRequest {
                credentials,
                no_store: directives.is_some_and(|request| request.no_store),
                one_user: facts.has(Facts::ONE_USER),
            },
            tags: Tags::default(),
            stamp: cache.ledger().applied(),
            started: cache.begin_fill(),
            requested: cache.now(),
            tenant: OnceLock::new(),
            lease: None,
            lost: Arc::default(),
        }
    }

    /// Follows what the handler says of storing its answer. What tells requests apart was settled before it was asked: a
    /// policy that wants that otherwise cannot be followed, and the answer is not stored.
    pub(crate) fn adopt(&mut self, policy: &Policy) -> Result<(), NotStored> {
        match self.rules.with_storing_of(policy, self.cache.unit()) {
            Ok(rules) => {
                self.follow(Some(Arc::new(rules)));
                Ok(())
            }
            Err(error) => {
                tracing::debug!(target: "larder::store", %error, "the policy of the handler cannot be followed");
                Err(NotStored::HandlerPolicy)
            }
        }
    }

    /// What clients are told of an answer that is stored.
    pub(crate) fn browser(&self) -> Option<CacheControl> {
        self.rules.browser
    }

    /// It had to wait, and nothing has been asked yet.
    pub(crate) fn begins_now(&mut self) {
        self.stamp = self.cache.ledger().applied();
        self.requested = self.cache.now();
    }

    /// It is not stored once this is true.
    pub(crate) fn may_be_lost(&mut self, lost: Arc<AtomicBool>) {
        self.lost = lost;
    }

    /// Whether the last answer was longer than what is stored, which is remembered for a while.
    pub(crate) fn is_known_too_long(&self, received: Timestamp) -> bool {
        let known = self.cache.uncacheable();
        !known.is_empty()
            && known
                .recall(self.remembered_by(), received)
                .is_some_and(|known| matches!(known.why, NotStored::TooLarge | NotStored::Abandoned))
    }

    /// Remembers that the resource gives nothing that can be stored, if that lies in the response. `by_head` tells that its
    /// head alone says so.
    pub(crate) fn remember(&self, reason: NotStored, by_head: bool) {
        let span = self.rules.fill.remember_uncacheable;
        if reason.lies_in_the_response() && !span.is_zero() {
            let until = self.cache.now().saturating_add(span);
            let by_head = by_head && self.handler.is_none();
            self.cache.uncacheable().remember(self.remembered_by(), reason, by_head, until);
        }
    }

    fn remembered_by(&self) -> u64 {
        self.cache.uncacheable().hash(self.key.as_bytes(), self.asked.credentials)
    }

    /// Whether the resource was asked for as often as the policy wants.
    pub(crate) fn is_used_enough(&self) -> bool {
        let least = self.rules.fill.min_uses;
        least <= 1 || self.cache.uses().of(self.key.as_bytes()) >= least
    }

    /// Follows what a handler said before, unless it has said something else since.
    pub(crate) fn follow(&mut self, handler: Option<Arc<Rules>>) {
        if let Some(handler) = handler.filter(|_| self.handler.is_none()) {
            self.rules = Arc::clone(&handler);
            self.handler = Some(handler);
        }
    }

    /// Follows the policy of the layer again: another answer is asked for.
    pub(crate) fn forget_handler(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
        self.handler = None;
    }

    pub(crate) fn max_body(&self) -> u64 {
        self.rules.max_body as u64
    }

    /// The query of the request, as far as it counts.
    pub(crate) fn query(&self) -> Option<&str> {
        self.place.query()
    }

    pub(crate) fn key(&self) -> &KeyBuf {
        &self.key
    }

    /// Whether an answer with this head may be stored, and how old it is.
    pub(crate) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        for_caches: Option<&ForCaches>,
        received: Timestamp,
    ) -> Result<Verdict, NotStored> {
        // What a layer writes for browsers and CDNs gives this cache no leave.
        let headers = &*for_caches.map_or(Cow::Borrowed(headers), |counts| counts.head(headers));
        let age = initial_age(headers, self.requested, received);
        self.judge_by(&self.rules.store, self.asked, (status, headers), received, age)
    }

    fn judge_by(
        &self,
        rules: &StoreRules,
        asked: StoreRequest,
        (status, headers): (StatusCode, &HeaderMap),
        received: Timestamp,
        age: Duration,
    ) -> Result<Verdict, NotStored> {
        let mut storable = storable(asked, status, headers, rules, received, age).map_err(NotStored::Refused)?;
        storable.nominated.retain(|name| !self.rules.ignored_vary.contains(name));
        let mut longest = Duration::MAX;
        if let Some(until) = &self.rules.fresh_until {
            let until = call(|| until(received.into()))?;
            let left = Timestamp::from(until).since(received);
            if left.is_zero() {
                return Err(NotStored::Policy);
            }
            longest = left.saturating_add(age);
            storable.lifetime = storable.lifetime.min(longest);
        }
        if self.rules.observe_only {
            let until = received.saturating_add(storable.lifetime.saturating_sub(age));
            self.cache.observed().would_store(self.key.as_bytes(), until);
            return Err(NotStored::ObserveOnly);
        }
        Ok(Verdict { storable, longest, age })
    }

    /// Asks the policy about an answer that may be stored otherwise: whether it refuses, and what tags it gives.
    pub(crate) fn consult(&mut self, request: &Parts, answer: &http::response::Parts) -> Result<(), NotStored> {
        if let Some(refuse) = &self.rules.refuse_if
            && call(|| refuse(request, answer))?
        {
            return Err(NotStored::Policy);
        }
        let mut tags = self.rules.tags.clone();
        if let Some(handler) = answer.extensions.get::<Tags>() {
            tags = tags.with(handler);
        }
        if let Some(tag_with) = &self.rules.tag_with {
            tags = tags.with(&call(|| tag_with(request, answer))?);
        }
        if let Some(name) = &self.rules.tag_header {
            tags = tags.and(listed(&answer.headers, name));
        }
        if tags.are_too_many() || cache_groups(&answer.headers).len() > MAX_GROUPS {
            return Err(NotStored::TooManyTags);
        }
        self.tags = tags;
        Ok(())
    }

    /// What a stored response was tagged with, it still is when it is freshened.
    pub(crate) fn keep_tags(&mut self, stored: &Tags) -> Result<(), NotStored> {
        self.tags = std::mem::take(&mut self.tags).with(stored);
        if self.tags.are_too_many() { Err(NotStored::TooManyTags) } else { Ok(()) }
    }

    /// Takes in a 304 to a validation of `entry` (RFC 9111 §4.3.4).
    /// `allowed` is what speaks against storing it anew, beside the head.
    pub(crate) fn freshen(
        &self,
        entry: &Arc<Entry>,
        answer: &HeaderMap,
        for_caches: Option<&ForCaches>,
        allowed: Result<(), NotStored>,
    ) -> Freshening {
        let received = self.cache.now();
        let stored = entry.origin_head(self.cache.status_line().hit());
        match freshen(&stored, answer, received) {
            Freshened::Head(head) => {
                let for_caches = for_caches.or(entry.for_caches.as_deref());
                self.restore(entry, head, for_caches, received, allowed)
            }
            _ => Freshening::Mismatch,
        }
    }

    /// Stores an entry again under a head that was freshened.
    fn restore(
        &self,
        entry: &Arc<Entry>,
        headers: HeaderMap,
        for_caches: Option<&ForCaches>,
        received: Timestamp,
        allowed: Result<(), NotStored>,
    ) -> Freshening {
        let trailers = entry.trailers.as_deref().cloned();
        let judged = allowed.and_then(|()| self.judge(entry.status, &headers, for_caches, received));
        let for_caches = for_caches.cloned();
        match judged {
            Ok(verdict) => {
                let head = verdict.head(entry.status, headers, for_caches, received);
                let fresh = Arc::new(self.entry(head, entry.body.clone(), trailers, Some((entry, true))));
                // The bytes are as old as they were: what was invalidated since they were made stays so. That they hold
                // is news: what was made stale before they were asked about is not any more.
                let live = self.cache.is_live(self.key.as_bytes(), entry);
                match if live { self.store(&fresh) } else { Err(NotStored::Invalidated) } {
                    Ok(()) => Freshening::Stored(fresh),
                    Err(reason) => {
                        self.rules.tally.not_stored(reason);
                        Freshening::Gone(fresh)
                    }
                }
            }
            Err(reason) => {
                self.rules.tally.not_stored(reason);
                // What is true of this request only says nothing about what the others get.
                let own = [Refusal::Credentials, Refusal::RequestNoStore].map(NotStored::Refused).contains(&reason);
                if !own {
                    self.remove(entry);
                }
                let age = initial_age(&headers, self.requested, received);
                let verdict = Verdict { storable: once(), longest: Duration::MAX, age };
                let head = verdict.head(entry.status, headers, for_caches, received);
                Freshening::Gone(Arc::new(self.entry(head, entry.body.clone(), trailers, None)))
            }
        }
    }

    /// The response as it is stored. `before` is what it takes the place of, and whether it says the same.
    pub(super) fn entry(
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

    fn usage(&self, took: Duration) -> Usage {
        let tenant = self.tenant.get_or_init(|| self.cache.tenant_of(&self.rules, self.key.as_bytes())).clone();
        Usage::open(Arc::clone(&self.rules.tally), tenant, took).memory_only(self.rules.memory_only)
    }

    fn keeping(&self) -> Keeping<'_> {
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
    pub(super) fn announced(&self, head: &RecordedHead, length: Option<u64>) -> Entry {
        let entry = self.entry(head.clone(), Bytes::new(), None, None);
        match length {
            Some(length) => entry.announce(length),
            None => entry,
        }
    }

    fn footprint(&self, answer: &HeaderMap) -> Footprint {
        let said = no_vary_search(answer);
        let groups = cache_groups(answer);
        let (rows, identity) = (self.cache.ledger().rows(), self.identity.as_ref());
        self.place.footprint_with(rows, &self.rules, identity, &self.tags, said.as_ref(), &groups)
    }

    /// The key under which an answer is found: what it says of its query counts, and is remembered for the next request.
    fn key_of(&self, answer: &HeaderMap) -> Key {
        let Place { path, query, .. } = &self.place;
        let said = self.cache.searches().learn(path, no_vary_search(answer));
        Key::from(&self.key.with_query(query.as_deref(), said.as_ref()))
    }

    /// An answer that was to be stored is not. It was complete all the same for these reasons, and ends what it was to
    /// replace.
    pub(super) fn refuse(&self, reason: NotStored, replaces: Option<Arc<Entry>>) {
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

    pub(super) fn store(&self, entry: &Arc<Entry>) -> Result<(), NotStored> {
        self.keep(entry)?;
        // What says how its query counts has names that other processes may not know when it is invalidated.
        if self.looks_in_stores() && no_vary_search(&entry.head).is_none() {
            self.write_soon(entry, self.asked.credentials, usize::MAX);
        }
        Ok(())
    }

    /// Has an entry written to the nearest so many stores.
    fn write_soon(&self, entry: &Arc<Entry>, credentials: bool, tiers: usize) {
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
        self.cache.remove(self.key.as_bytes(), entry);
        if self.looks_in_stores() {
            self.cache.remove_soon(self.key.as_bytes(), &self.request);
        }
    }

    /// Takes an entry into the memory tier.
    fn keep(&self, entry: &Arc<Entry>) -> Result<(), NotStored> {
        if entry.footprint.len() > MAX_ROWS {
            return Err(NotStored::IdentityTooLarge);
        }
        let variant = (&self.request, self.rules.max_variants);
        self.cache.keep(self.key_of(&entry.head), entry, variant, || self.lost.load(Relaxed))?;
        self.cache.uncacheable().forget(self.remembered_by());
        Ok(())
    }
}

/// Calls a closure of the policy.
fn call<T>(closure: impl FnOnce() -> T) -> Result<T, NotStored> {
    catch_unwind(AssertUnwindSafe(closure)).map_err(|_| NotStored::CallbackPanicked)
}

/// Removes from an answer what speaks to this cache alone.
pub(crate) fn strip_own_fields(headers: &mut HeaderMap, rules: &Rules) {
    if rules.own_fields.iter().any(|name| headers.contains_key(name)) {
        take(headers, &rules.own_fields);
    }
}

/// The words of a field that lists tags, between commas or blanks.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()).into_owned());
    let lines: Vec<String> = lines.collect();
    let words = lines.iter().flat_map(|line| line.split([',', ' ', '\t']));
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// The life of a response that is answered once and kept nowhere.
fn once() -> Storable {
    Storable {
        lifetime: Duration::ZERO,
        source: LifetimeSource::Policy,
        directives: ResponseDirectives::default(),
        nominated: Vec::new(),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    }
}

/// Of what is in more groups not all would be remembered.
const MAX_GROUPS: usize = 64;

/// What can be invalidated in more ways is not stored: each is looked up when anything is invalidated.
const MAX_ROWS: usize = 1024;

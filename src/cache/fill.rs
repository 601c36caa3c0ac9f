//! Taking an answer of the inner service into the cache.

mod keep;
mod receive;

pub(crate) use receive::InStores;

use super::{Cache, Facts, place::Place, tiers::Lease};
use crate::{
    entry::Entry,
    identity::Identity,
    invalidation::{Seq, Tags},
    key::KeyBuf,
    outcome::NotStored,
    policy::{Policy, Rules},
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_control_writer::CacheControl,
        cache_control_writer::ForCaches,
        cache_groups::cache_groups,
        date::Timestamp,
        fields::remove_rare,
        freshness::{LifetimeSource, initial_age},
        storable::{Refusal, Storable, StoreRequest, StoreRules, is_for_all, storable},
        validation::{Freshened, freshen},
    },
    tally::Tally,
};
use http::{HeaderMap, HeaderName, StatusCode, request::Parts};
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock, atomic::AtomicBool},
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
                let own = reason == NotStored::Refused(Refusal::RequestNoStore)
                    || self.asked.credentials && !is_for_all(&headers, &self.rules.store.targets);
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
}

/// Calls a closure of the policy.
fn call<T>(closure: impl FnOnce() -> T) -> Result<T, NotStored> {
    catch_unwind(AssertUnwindSafe(closure)).map_err(|_| NotStored::CallbackPanicked)
}

/// Removes from an answer what speaks to this cache alone.
pub(crate) fn strip_own_fields(headers: &mut HeaderMap, rules: &Rules) {
    remove_rare(headers, &rules.own_fields);
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

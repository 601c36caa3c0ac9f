//! A request that the cache has no answer for, before the inner service is asked: alone, for others too, or not at all
//! because another request has asked already.

use super::{ResponseBody, layer::Shared};
use crate::{
    account::Account,
    cache::{
        Act, Asking, Facts, FillFlight, FillLead, FillWait, FlightKey, Forwarded, Joined, Landing, Over, Place, Share,
        Sought, Waiter, answer, asks_alone, decide, headed, is_whole, say_hit,
    },
    clock::Moment,
    entry::Entry,
    identity::Identity,
    key::KeyBuf,
    outcome::{NotStored, Outcome},
    request_stats::RequestStats,
    semantics::{cache_control::RequestDirectives, cache_status::Forward},
    store::Found,
    timer,
};
use http::{HeaderName, Method, Response, request::Parts};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// What is known of the request after the lookup.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) shared: Arc<Shared>,
    pub(super) key: KeyBuf,
    /// The stored response that the request selects, not to be served without asking.
    pub(super) stored: Option<Arc<Entry>>,
    pub(super) act: Act,
    pub(super) forward: Forward,
    pub(super) facts: Facts,
    pub(super) directives: Option<RequestDirectives>,
    /// Where what is done for one request is counted, if somebody asked for that.
    pub(super) stats: Option<RequestStats>,
    /// Nobody waits for the answer.
    pub(super) background: bool,
    /// The client has its answer already.
    pub(super) answered: Answered,
    /// Known to give nothing that can be stored.
    pub(super) uncacheable: bool,
    /// What is stored was looked for in the stores.
    pub(super) compared: bool,
    /// Since when it waits for others.
    pub(super) since: Moment,
}

/// Whether the client has been answered, and the request counted, before its fill ends: by a timeout.
pub(super) type Answered = Option<Arc<AtomicBool>>;

/// What is stored, and what to do with it.
type Stored = Option<(Arc<Entry>, Act)>;

/// The part that a request has in a fill.
pub(super) enum Part {
    /// It fills for itself.
    Alone,
    /// Others may wait for it.
    Leads(FillLead),
    /// It waits for another, of this key.
    Waits(FillWait, FlightKey),
}

/// An answer from what is stored.
pub(super) struct Served<B> {
    pub(super) response: Response<ResponseBody<B>>,
    /// What is to be refreshed behind it.
    pub(super) due: Option<Arc<Entry>>,
}

/// Where a waiting request goes on.
pub(super) enum Next<B> {
    Done(Response<ResponseBody<B>>),
    Ask(Part),
}

impl Ask {
    /// Counts what came of the request, for which nothing stored was used.
    pub(super) fn count(&self, outcome: Outcome) {
        if self.counts() {
            self.shared.rules.tally.count(outcome);
            let Shared { cache, rules, .. } = &*self.shared;
            cache.count_tenant(rules, self.key.as_bytes(), outcome);
        }
        self.note(outcome);
    }

    /// A stored response is the answer.
    pub(super) fn count_use(&self, entry: &Entry, outcome: Outcome) {
        if self.counts() {
            entry.is_used(outcome, self.shared.rules.tally.count(outcome));
            if self.stats.as_ref().and_then(RequestStats::warm).is_some() {
                entry.usage.was_warmed();
            }
        }
        self.note(outcome);
    }

    /// Whether it counts as a request that is answered now.
    fn counts(&self) -> bool {
        !self.background && !self.is_answered()
    }

    fn note(&self, outcome: Outcome) {
        if let Some(stats) = self.stats.as_ref().filter(|_| !self.is_answered()) {
            stats.outcome(outcome);
            stats.tell(|account| {
                let reason = (outcome != Outcome::Hit).then(|| self.forward.as_str());
                (account.policy, account.reason) = (self.shared.rules.name.clone(), reason);
            });
        }
    }

    /// Adds to what the request is told of itself, as long as it has not been answered otherwise.
    pub(super) fn tell(&self, add: impl FnOnce(&mut Account)) {
        if let Some(stats) = self.stats.as_ref().filter(|_| !self.is_answered()) {
            stats.tell(add);
        }
    }

    fn is_answered(&self) -> bool {
        self.answered.as_ref().is_some_and(|answered| answered.load(Relaxed))
    }

    /// Whether it is not to be answered from what is stored.
    pub(super) fn looks_not(&self) -> bool {
        self.facts.has(Facts::REFETCH) || self.shared.rules.observe_only
    }

    /// Whether stores behind the memory tier may have what memory has not.
    pub(super) fn is_in_stores(&self) -> bool {
        let Shared { cache, rules, .. } = &*self.shared;
        cache.uses_stores(rules.memory_only) && !self.looks_not()
    }

    /// Whether stale-if-error allows the stored response.
    pub(super) fn allows_stale(&self) -> bool {
        let now = self.shared.cache.now();
        let allows = |entry: &Arc<Entry>| entry.lifespan().allows_error(self.directives.as_ref(), now);
        !self.facts.has(Facts::REFETCH) && self.stored.as_ref().is_some_and(allows)
    }

    /// The stored response, if that allows it and nothing has invalidated it.
    pub(super) fn stale(&self) -> Option<&Arc<Entry>> {
        let live = |entry: &&Arc<Entry>| self.shared.cache.is_live(self.key.as_bytes(), entry);
        self.stored.as_ref().filter(|_| self.allows_stale()).filter(live)
    }

    /// Joins the fill that is under way, or leads one. The fields that select variants are those of what is stored.
    pub(super) fn join(&self, parts: &Parts) -> Part {
        let Shared { cache, rules, .. } = &*self.shared;
        let Self { facts, directives, stored, .. } = self;
        let sought = Sought { method: &parts.method, facts: *facts, directives: directives.as_ref() };
        if self.uncacheable || asks_alone(rules, sought, stored.as_deref()) {
            return Part::Alone;
        }
        let nominated =
            cache.selecting_fields(stored.as_deref(), self.forward, self.key.as_bytes(), self.is_in_stores());
        self.join_as(self.flight_key(parts, &nominated), parts, |_| false)
    }

    fn flight_key(&self, parts: &Parts, nominated: &[HeaderName]) -> FlightKey {
        FlightKey::new(&self.key, &parts.headers, self.facts, nominated)
    }

    fn join_as(&self, key: FlightKey, parts: &Parts, refused: impl Fn(&FillFlight) -> bool) -> Part {
        let Shared { cache, rules, .. } = &*self.shared;
        let footprint =
            || Place::of(rules, parts).footprint(cache.ledger().rows(), rules, parts.extensions.get::<Identity>());
        let asking = Asking {
            bytes: self.key.as_bytes(),
            footprint: &footprint,
            wait_limit: rules.fill.wait_limit,
            // The answer to a part or to a condition is for one request. A validation asks for the whole.
            may_lead: self.act == Act::Validate || is_whole(&parts.method, self.facts),
        };
        match cache.join_fill(&key, &asking, refused) {
            Some(Joined::Waits(wait)) => Part::Waits(wait, key),
            Some(Joined::Leads(lead)) => Part::Leads(lead),
            None => Part::Alone,
        }
    }

    /// Looks once more: what was missing may have been stored while this request waited, or just before it took the lead.
    pub(super) fn look_again<B>(&mut self, parts: &Parts, lead: Option<&FillLead>) -> Option<Served<B>> {
        if self.looks_not() {
            return None;
        }
        let found = match self.stored_meanwhile(parts, lead, true) {
            Ok(served) => return Some(served),
            Err(found) => found,
        };
        (self.stored, self.act) = match found {
            Some((entry, Act::Validate)) if parts.method == Method::GET => (Some(entry), Act::Validate),
            Some((_, Act::Ignore)) | None => (None, Act::Fetch),
            Some((entry, _)) => (Some(entry), Act::Fetch),
        };
        if let Some(entry) = &self.stored {
            let fresh = entry.lifespan().is_fresh(self.shared.cache.now());
            self.forward = if fresh { Forward::Request } else { Forward::Stale };
        }
        None
    }

    /// What was stored since the lookup, if it may be served, `stale` too or only fresh. Those who wait for this request get
    /// what is fresh. Else what is stored, and what to do with it.
    pub(super) fn stored_meanwhile<B>(
        &self,
        parts: &Parts,
        lead: Option<&FillLead>,
        stale: bool,
    ) -> Result<Served<B>, Stored> {
        let Shared { cache, rules, .. } = &*self.shared;
        let Found::Entry(entry) = cache.find(self.key.as_bytes(), &parts.headers) else { return Err(None) };
        let now = cache.now();
        let act = decide(&entry, self.facts.has(Facts::CREDENTIALS), self.directives.as_ref(), rules, now);
        let doubtful = lead.is_some() && !self.compared && act != Act::Ignore;
        let doubtful = doubtful && (entry.is_to_be_compared(now) || cache.has_changed(&entry));
        let act = if doubtful { Act::Fetch } else { act };
        let (outcome, detail, refresh) = match act {
            Act::Serve => (Outcome::Hit, None, entry.is_due(now, || cache.random())),
            Act::ServeStale if stale => (Outcome::Stale, Some("stale"), false),
            Act::ServeAndRefresh if stale => (Outcome::Stale, Some("stale-while-revalidate"), true),
            _ => return Err(Some((entry, act))),
        };
        if let Some(lead) = lead.filter(|_| outcome == Outcome::Hit) {
            let place = Place::of(rules, parts);
            lead.flight().land(Landing::whole(Arc::clone(&entry), &parts.headers, place.query()));
        }
        self.count_use(&entry, outcome);
        self.tell(|account| (account.reason, account.age) = (detail, Some(entry.lifespan().said(now))));
        let mut response = answer(&entry, &parts.method, &parts.headers, self.facts, now);
        say_hit(&mut response, cache.status_line(), &entry, &self.key, now, detail);
        let response = response.map(ResponseBody::stored);
        Ok(Served { response, due: Some(entry).filter(|_| refresh) })
    }

    /// Waits for another's fill, up to the limit; then one of those who wait leads another, and the rest wait for that; then
    /// each asks for itself. None of this waits for each other: what cannot be shared is asked for at once.
    pub(super) async fn wait<B>(&mut self, mut wait: FillWait, mut key: FlightKey, parts: &Parts) -> Next<B> {
        let (mut late, mut moved) = (false, false);
        let part = loop {
            let flight = Arc::clone(wait.flight());
            let limit = self.shared.rules.fill.wait_limit;
            // It counts among those who wait until it has its share.
            let arrival = async {
                let landing = (&mut wait).await?;
                Ok(self.share(&landing, parts).await)
            };
            let again = match timer::within(limit, arrival).await {
                Some(Ok(Share::Whole(entry))) => {
                    let now = self.shared.cache.now();
                    let response = answer(&entry, &parts.method, &parts.headers, self.facts, now);
                    return Next::Done(self.say_shared(response.map(ResponseBody::stored)));
                }
                Some(Ok(Share::Streaming(entry, reader))) => {
                    let now = self.shared.cache.now();
                    return Next::Done(self.say_shared(headed(&entry, now, || ResponseBody::read(reader))));
                }
                Some(Ok(Share::OtherVariant(nominated))) if !moved => {
                    moved = true;
                    self.join_as(self.flight_key(parts, &nominated), parts, |_| false)
                }
                Some(Ok(Share::Invalidated)) if !moved => {
                    moved = true;
                    self.join_as(key, parts, |other| Arc::ptr_eq(other, &flight))
                }
                Some(Err(Over::Uncacheable)) => {
                    self.uncacheable = true;
                    break Part::Alone;
                }
                Some(Ok(_) | Err(_)) => break Part::Alone,
                None if !late => {
                    late = true;
                    // What it has to wait for from here on is another matter.
                    self.since = Moment::now();
                    if flight.landed().is_some_and(|landing| landing.is_awaited()) {
                        // The next ones are not kept waiting by a body whose length nobody knows.
                        self.remember_slow();
                    }
                    self.shared.cache.counters().waits_too_long.fetch_add(1, Relaxed);
                    self.join_as(key, parts, |other| Arc::ptr_eq(other, &flight))
                }
                None => break Part::Alone,
            };
            match again {
                Part::Waits(another, its) => (wait, key) = (another, its),
                part => break part,
            }
        };
        let lead = match &part {
            Part::Leads(lead) => Some(lead),
            _ => None,
        };
        match self.look_again(parts, lead) {
            Some(served) => Next::Done(served.response),
            None => Next::Ask(part),
        }
    }

    fn remember_slow(&self) {
        let Shared { cache, rules, .. } = &*self.shared;
        let hash = cache.uncacheable().hash(self.key.as_bytes(), self.facts.has(Facts::CREDENTIALS));
        let until = cache.now().saturating_add(rules.fill.remember_uncacheable);
        cache.uncacheable().remember(hash, NotStored::Abandoned, false, until);
    }

    /// What a landing has for this request.
    async fn share(&self, landing: &Landing, parts: &Parts) -> Share {
        let Shared { cache, rules, .. } = &*self.shared;
        let act =
            decide(landing.head(), self.facts.has(Facts::CREDENTIALS), self.directives.as_ref(), rules, cache.now());
        if !matches!(act, Act::Serve | Act::ServeAndRefresh) {
            return Share::Nothing;
        }
        landing
            .share(&Waiter { cache, rules, parts, key: self.key.as_bytes() }, is_whole(&parts.method, self.facts))
            .await
    }

    fn say_shared<B>(&self, mut response: Response<ResponseBody<B>>) -> Response<ResponseBody<B>> {
        self.count(Outcome::Collapsed);
        let note = Forwarded { collapsed: true, key: Some(&self.key), ..Forwarded::default() };
        self.shared.cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, true);
        response
    }
}

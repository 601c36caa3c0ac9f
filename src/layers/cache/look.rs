//! Looking a request up: an answer from the cache, or what to ask the inner service.

use super::{
    ResponseBody,
    ask::{Ask, Part},
    content::{Content, RebuildBody},
    future::Watch,
    inner::{Inner, Storing},
    layer::Shared,
    question::keep_keyed_query,
    refresh::refresh,
    verify::{sampled, verify},
};
use crate::{
    cache::{
        Act, Facts, Sought, Weighed, answer, heard, is_to_be_warmed, is_whole, is_worth_noting, nothing_stored,
        say_hit, weigh,
    },
    clock::Moment,
    entry::Entry,
    key::{Key, KeyBuf},
    outcome::{NotStored, Outcome},
    policy::Rules,
    request_stats::RequestStats,
    semantics::{cache_control::RequestDirectives, cache_status::Forward, date::Timestamp},
    store::Found,
};
use http::{Request, Response, request::Parts};
use std::sync::Arc;

/// What became of a lookup.
pub(super) enum Looked<B> {
    /// The stored response, whole, is the answer.
    Hit(Arc<Entry>),
    Answered(Response<ResponseBody<B>>),
    /// It gives nothing that can be stored, as is known: the cache takes no part but to watch for a change.
    Uncacheable(Forward, NotStored, Watch),
    Ask(Box<Ask>, Part),
}

/// Looks a request up under this key. What is left of the request is to be asked, if anything is.
#[inline]
pub(super) fn look<S, R, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    parts: &mut Parts,
    mut facts: Facts,
    key: &KeyBuf,
    now: Timestamp,
    content: &Content<R>,
) -> Looked<ResBody>
where
    S: Inner<ReqBody, ResBody>,
    R: RebuildBody<ReqBody>,
    ReqBody: Default + Send + 'static,
    ResBody: Storing,
{
    let Shared { cache, rules, .. } = &**shared;
    let since = rules.tally.is_timed().then(Moment::now);
    let directives = heard(rules, facts, parts);
    let verified = sampled(shared, parts);
    rules.key.narrow(&mut parts.headers);
    if rules.observe_only {
        cache.observed().look(key.as_bytes(), now);
    }
    let stats = RequestStats::of(&parts.extensions).cloned();
    let found = if rules.observe_only { Found::Nothing } else { cache.find(key.as_bytes(), &parts.headers) };
    if is_to_be_warmed(stats.as_ref().and_then(RequestStats::warm), &found, now) {
        facts = facts.with(Facts::REFETCH);
    }
    let changed = matches!(&found, Found::Entry(entry) if cache.has_changed(entry));
    let sought = Sought { method: &parts.method, facts, directives: directives.as_ref() };
    let Weighed { stored, act, forward } = weigh(found, sought, rules, now, changed);
    let found = Hit { rules, key, now, since, stats: stats.as_ref() };
    let serve = |entry: &Entry, parts: &Parts, outcome, detail| {
        found.count(entry, outcome, detail);
        let mut response = answer(entry, &parts.method, &parts.headers, facts, now);
        say_hit(&mut response, cache.status_line(), entry, key, now, detail);
        response.map(ResponseBody::stored)
    };
    let early = |entry: &Entry| entry.is_due(now, || cache.random());
    let stored = match (stored, act) {
        (Some(entry), Act::Serve) if is_whole(&parts.method, facts) && !cache.status_line().is_debug() => {
            found.count(&entry, Outcome::Hit, None);
            if let Some(parts) = verified {
                verify(shared, inner, parts, Arc::clone(&entry), key.clone(), now);
            }
            if early(&entry) {
                refresh(shared, inner, take(parts), Arc::clone(&entry), key.clone(), facts, now, content.clone());
            }
            return Looked::Hit(entry);
        }
        (Some(entry), Act::Serve) => {
            let response = serve(&entry, parts, Outcome::Hit, None);
            if let Some(parts) = verified {
                verify(shared, inner, parts, Arc::clone(&entry), key.clone(), now);
            }
            if early(&entry) {
                refresh(shared, inner, take(parts), entry, key.clone(), facts, now, content.clone());
            }
            return Looked::Answered(response);
        }
        (Some(entry), Act::ServeStale) => {
            return Looked::Answered(serve(&entry, parts, Outcome::Stale, Some("stale")));
        }
        (Some(entry), Act::ServeAndRefresh) => {
            let response = serve(&entry, parts, Outcome::Stale, Some("stale-while-revalidate"));
            refresh(shared, inner, take(parts), entry, key.clone(), facts, now, content.clone());
            return Looked::Answered(response);
        }
        (stored, _) => stored,
    };
    if !cache.has_stores_for(rules) && directives.as_ref().is_some_and(|request| request.only_if_cached) {
        rules.tally.count(Outcome::Miss);
        cache.count_tenant(rules, key.as_bytes(), Outcome::Miss);
        if let Some(stats) = &stats {
            stats.outcome(Outcome::Miss);
            stats.tell(|account| (account.policy, account.reason) = (rules.name.clone(), Some("only-if-cached")));
        }
        return Looked::Answered(nothing_stored().map(ResponseBody::stored));
    }
    miss(shared, parts, Missed { key, stored, act, forward, facts, directives, stats, now })
}

/// A request that is answered with what is stored.
struct Hit<'a> {
    rules: &'a Rules,
    key: &'a KeyBuf,
    now: Timestamp,
    /// Where it is timed.
    since: Option<Moment>,
    stats: Option<&'a RequestStats>,
}

impl Hit<'_> {
    /// Counts it.
    #[inline]
    fn count(&self, entry: &Entry, outcome: Outcome, detail: Option<&'static str>) {
        let Self { rules, since, stats, .. } = *self;
        entry.is_used(outcome, rules.tally.count(outcome));
        if let (Outcome::Hit, Some(since)) = (outcome, since) {
            rules.tally.hit_took(since.elapsed());
        }
        if let Some(stats) = stats {
            self.tell(stats, entry, outcome, detail);
        }
    }

    /// Tells the one who counts this request.
    #[cold]
    fn tell(&self, stats: &RequestStats, entry: &Entry, outcome: Outcome, detail: Option<&'static str>) {
        if stats.warm().is_some() {
            entry.usage.was_warmed();
        }
        stats.outcome(outcome);
        stats.tell(|account| {
            (account.policy, account.reason) = (self.rules.name.clone(), detail);
            account.age = Some(entry.lifespan().said(self.now));
        });
        stats.key(|| Key::from(self.key).to_string());
    }
}

/// What a lookup has come to when the inner service is to be asked.
struct Missed<'a> {
    key: &'a KeyBuf,
    stored: Option<Arc<Entry>>,
    act: Act,
    forward: Forward,
    facts: Facts,
    directives: Option<RequestDirectives>,
    stats: Option<RequestStats>,
    now: Timestamp,
}

/// Whether the request asks alone, for others too, or waits. Apart from the lookup, so that hits do not pay for it.
#[inline(never)]
fn miss<B>(shared: &Arc<Shared>, parts: &mut Parts, missed: Missed<'_>) -> Looked<B> {
    let Missed { key, stored, act, forward, facts, directives, stats, now } = missed;
    let Shared { cache, rules, .. } = &**shared;
    if let Some(stats) = &stats {
        stats.key(|| Key::from(key).to_string());
    }
    if rules.fill.min_uses > 1 {
        cache.uses().count(key.as_bytes());
    }
    let hash = || cache.uncacheable().hash(key.as_bytes(), facts.has(Facts::CREDENTIALS));
    let known = if cache.uncacheable().is_empty() { None } else { cache.uncacheable().recall(hash(), now) };
    if let Some(known) = known.filter(|known| known.is_left_alone(stored.as_deref(), rules)) {
        let before = rules.tally.count(Outcome::Miss);
        cache.count_tenant(rules, key.as_bytes(), Outcome::Miss);
        if is_worth_noting(known.why) {
            cache.note_uncached(&rules.tally, || shared.route_of(parts), known.why.as_str(), before);
        }
        if let Some(stats) = &stats {
            stats.outcome(Outcome::Miss);
            stats.tell(|account| {
                (account.policy, account.reason) = (rules.name.clone(), Some(forward.as_str()));
                account.stored = Some(Err(known.why));
            });
        }
        keep_keyed_query(parts, rules);
        let watch = Watch { key: hash(), facts };
        return Looked::Uncacheable(forward, known.why, watch);
    }
    let mut ask = Box::new(Ask {
        shared: Arc::clone(shared),
        key: key.clone(),
        stored,
        act,
        forward,
        facts,
        directives,
        stats,
        background: false,
        answered: None,
        uncacheable: known.is_some(),
        compared: false,
        since: Moment::now(),
    });
    let part = ask.join(parts);
    if let Part::Leads(lead) = &part
        && let Some(served) = ask.look_again(parts, Some(lead))
    {
        return Looked::Answered(served.response);
    }
    Looked::Ask(ask, part)
}

/// The request, of which nothing more is needed here.
fn take(parts: &mut Parts) -> Parts {
    std::mem::replace(parts, Request::new(()).into_parts().0)
}

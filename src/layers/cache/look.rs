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
};
use crate::{
    cache::{Act, Facts, Known, answer, decide, is_whole, nothing_stored, say_hit},
    clock::Moment,
    entry::Entry,
    key::{Key, KeyBuf},
    outcome::{NotStored, Outcome},
    request_stats::RequestStats,
    semantics::{cache_control::RequestDirectives, cache_status::Forward, date::Timestamp},
    store::Found,
};
use http::{Method, Response, request::Parts};
use std::sync::Arc;

/// What became of a lookup.
pub(super) enum Looked<B> {
    /// The stored response, whole, is the answer.
    Hit(Arc<Entry>),
    Answered(Response<ResponseBody<B>>),
    /// It gives nothing that can be stored, as is known: the cache takes no part but to watch for a change.
    Uncacheable(Parts, Forward, NotStored, Watch),
    Ask(Box<Ask>, Part, Parts),
}

/// Looks a request up under this key.
#[inline]
pub(super) fn look<S, R, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    mut parts: Parts,
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
    let heard = rules.honor_requests && facts.has(Facts::CACHE_CONTROL);
    let directives = heard.then(|| RequestDirectives::parse(&parts.headers));
    rules.key.narrow(&mut parts.headers);
    if rules.observe_only {
        cache.observed().look(key.as_bytes(), now);
    }
    let stats = RequestStats::of(&parts.extensions).cloned();
    let found = if rules.observe_only { Found::Nothing } else { cache.find(key.as_bytes(), &parts.headers) };
    if let Some(warm) = stats.as_ref().and_then(RequestStats::warm)
        && let Found::Entry(entry) = &found
        && (warm.force || entry.is_past_half(now))
    {
        facts = facts.with(Facts::REFETCH);
    }
    let refetch = facts.has(Facts::REFETCH);
    let (stored, forward) = match found {
        Found::Entry(entry) if refetch => (Some(entry), Forward::Request),
        Found::Entry(entry) if entry.lifespan().is_fresh(now) => (Some(entry), Forward::Request),
        Found::Entry(entry) => (Some(entry), Forward::Stale),
        Found::OtherVariants => (None, Forward::VaryMiss),
        Found::Nothing => (None, Forward::UriMiss),
    };
    let credentials = facts.has(Facts::CREDENTIALS);
    let verdict = stored
        .as_deref()
        .filter(|entry| !refetch && !entry.is_to_be_compared(now))
        .map(|entry| decide(entry, credentials, directives.as_ref(), rules, now));
    let count = |outcome| {
        cache.counters().count(outcome);
        if let Some(stats) = &stats {
            stats.outcome(outcome);
            stats.key(|| Key::from(key).to_string());
        }
    };
    let serve = |entry: &Entry, parts: &Parts, outcome, detail| {
        count(outcome);
        let mut response = answer(entry, &parts.method, &parts.headers, facts, now);
        say_hit(&mut response, cache.status_line(), entry, key, now, detail);
        response.map(ResponseBody::stored)
    };
    let early = |entry: &Entry| now >= entry.refresh_from && entry.wants_refresh(now, cache.random());
    let (stored, act, forward) = match (stored, verdict) {
        (Some(entry), Some(Act::Serve)) if is_whole(&parts.method, facts) && !cache.status_line().is_debug() => {
            count(Outcome::Hit);
            if early(&entry) {
                refresh(shared, inner, parts, Arc::clone(&entry), key.clone(), facts, now, content.clone());
            }
            return Looked::Hit(entry);
        }
        (Some(entry), Some(Act::Serve)) => {
            let response = serve(&entry, &parts, Outcome::Hit, None);
            if early(&entry) {
                refresh(shared, inner, parts, entry, key.clone(), facts, now, content.clone());
            }
            return Looked::Answered(response);
        }
        (Some(entry), Some(Act::ServeStale)) => {
            return Looked::Answered(serve(&entry, &parts, Outcome::Stale, Some("stale")));
        }
        (Some(entry), Some(Act::ServeAndRefresh)) => {
            let response = serve(&entry, &parts, Outcome::Stale, Some("stale-while-revalidate"));
            refresh(shared, inner, parts, entry, key.clone(), facts, now, content.clone());
            return Looked::Answered(response);
        }
        (_, Some(Act::Ignore)) => (None, Act::Fetch, Forward::Miss),
        // Other methods have no conditional form.
        (stored, Some(Act::Validate)) if !matches!(parts.method, Method::GET | Method::HEAD) => {
            (stored, Act::Fetch, forward)
        }
        (stored, act) => (stored, act.unwrap_or(Act::Fetch), forward),
    };
    let in_stores = cache.uses_stores(rules.memory_only) && !rules.observe_only;
    if !in_stores && directives.as_ref().is_some_and(|request| request.only_if_cached) {
        cache.counters().count(Outcome::Miss);
        RequestStats::note(&parts.extensions, Outcome::Miss);
        return Looked::Answered(nothing_stored().map(ResponseBody::stored));
    }
    miss(shared, parts, Missed { key, stored, act, forward, facts, directives, stats, now })
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
fn miss<B>(shared: &Arc<Shared>, mut parts: Parts, missed: Missed<'_>) -> Looked<B> {
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
    if let Some(known) = known.filter(Known::is_certain)
        && stored.is_none()
        && rules.sealed.is_none()
        && rules.fill.hard_timeout.is_none()
        && !rules.observe_only
    {
        cache.counters().count(Outcome::Miss);
        if let Some(stats) = &stats {
            stats.outcome(Outcome::Miss);
        }
        keep_keyed_query(&mut parts, rules);
        let watch = Watch { key: hash(), facts };
        return Looked::Uncacheable(parts, forward, known.why, watch);
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
        since: Moment::now(),
    });
    let part = ask.join(&parts);
    if let Part::Leads(lead) = &part
        && let Some(response) = ask.look_again(&parts, Some(lead))
    {
        return Looked::Answered(response);
    }
    Looked::Ask(ask, part, parts)
}

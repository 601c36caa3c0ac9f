//! Looking a request up: an answer from the cache, or what to ask the inner service.

use super::{
    ResponseBody,
    content::{Content, RebuildBody},
    exchange::{self, Job},
    layer::Shared,
};
use crate::{
    cache::{Act, Facts, Fill, answer, decide, is_whole, nothing_stored, say_hit},
    entry::Entry,
    key::{Key, KeyBuf},
    layers::stats::RequestStats,
    outcome::Outcome,
    semantics::{cache_control::RequestDirectives, cache_status::Forward, date::Timestamp},
    store::Found,
};
use bytes::Bytes;
use http::{Method, Request, Response, request::Parts};
use http_body::Body;
use std::sync::Arc;
use tower_service::Service;

/// What became of a lookup.
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, and a hit allocates nothing for it")]
pub(super) enum Looked<B> {
    /// The stored response, whole, is the answer.
    Hit(Arc<Entry>),
    Answered(Response<ResponseBody<B>>),
    Ask(Job, Parts),
}

/// Looks a request up under this key.
#[inline]
pub(super) fn look<S, R, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    mut parts: Parts,
    facts: Facts,
    key: &KeyBuf,
    now: Timestamp,
    content: &Content<R>,
) -> Looked<ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    R: RebuildBody<ReqBody>,
    ReqBody: Default + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
{
    let Shared { cache, rules, .. } = &**shared;
    let heard = rules.honor_requests && facts.has(Facts::CACHE_CONTROL);
    let directives = heard.then(|| RequestDirectives::parse(&parts.headers));
    rules.key.narrow(&mut parts.headers);
    if rules.observe_only {
        cache.observed().look(key.as_bytes(), now);
    }
    let refetch = facts.has(Facts::REFETCH);
    let found = if rules.observe_only { Found::Nothing } else { cache.find(key.as_bytes(), &parts.headers) };
    let (stored, forward) = match found {
        Found::Entry(entry) if refetch => (Some(entry), Forward::Request),
        Found::Entry(entry) if entry.lifespan.is_fresh(now) => (Some(entry), Forward::Request),
        Found::Entry(entry) => (Some(entry), Forward::Stale),
        Found::OtherVariants => (None, Forward::VaryMiss),
        Found::Nothing => (None, Forward::UriMiss),
    };
    let credentials = facts.has(Facts::CREDENTIALS);
    let verdict =
        stored.as_deref().filter(|_| !refetch).map(|entry| decide(entry, credentials, directives.as_ref(), rules, now));
    let count = |parts: &Parts, outcome| {
        cache.counters().count(outcome);
        if let Some(stats) = RequestStats::of(&parts.extensions) {
            stats.outcome(outcome);
            stats.key(|| Key::from(key).to_string());
        }
    };
    let serve = |entry: &Entry, parts: &Parts, outcome, detail| {
        count(parts, outcome);
        let mut response = answer(entry, &parts.method, &parts.headers, facts, now);
        say_hit(&mut response, cache.status_line(), entry, key, now, detail);
        response.map(ResponseBody::stored)
    };
    let (stored, act, forward) = match (stored, verdict) {
        (Some(entry), Some(Act::Serve)) if is_whole(&parts.method, facts) && !cache.status_line().is_debug() => {
            count(&parts, Outcome::Hit);
            return Looked::Hit(entry);
        }
        (Some(entry), Some(Act::Serve)) => {
            return Looked::Answered(serve(&entry, &parts, Outcome::Hit, None));
        }
        (Some(entry), Some(Act::ServeStale)) => {
            return Looked::Answered(serve(&entry, &parts, Outcome::Stale, Some("stale")));
        }
        (Some(entry), Some(Act::ServeAndRefresh)) => {
            let response = serve(&entry, &parts, Outcome::Stale, Some("stale-while-revalidate"));
            exchange::refresh(shared, inner, parts, entry, key.clone(), facts, now, content.clone());
            return Looked::Answered(response);
        }
        (_, Some(Act::Ignore)) => (None, Act::Fetch, Forward::Miss),
        // Other methods have no conditional form.
        (stored, Some(Act::Validate)) if !matches!(parts.method, Method::GET | Method::HEAD) => {
            (stored, Act::Fetch, forward)
        }
        (stored, act) => (stored, act.unwrap_or(Act::Fetch), forward),
    };
    if directives.is_some_and(|request| request.only_if_cached) {
        cache.counters().count(Outcome::Miss);
        RequestStats::note(&parts.extensions, Outcome::Miss);
        return Looked::Answered(nothing_stored().map(ResponseBody::stored));
    }
    let stats = RequestStats::of(&parts.extensions).cloned();
    if let Some(stats) = &stats {
        stats.key(|| Key::from(key).to_string());
    }
    let fill = Fill::begin(cache, rules, key.clone(), &parts, facts, directives.as_ref());
    let shared = Arc::clone(shared);
    let job = Job { shared, fill, stored, act, forward, facts, directives, background: false, heard: Ok(()), stats };
    Looked::Ask(job, parts)
}

//! What to do with a stored response that the request selects: one pure decision.

use super::{Cache, Facts};
use crate::{
    entry::Entry,
    policy::Rules,
    request_stats::Warm,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::Forward,
        date::Timestamp,
        reuse::{Reuse, Why},
        validator,
    },
    store::Found,
};
use http::{Method, request::Parts};
use std::sync::Arc;

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Serve it: it is fresh.
    Serve,
    /// Serve it stale: the client accepts that, or the inner service has just failed.
    ServeStale,
    /// Serve it stale, and have it refreshed.
    ServeAndRefresh,
    /// Ask the inner service whether it still holds.
    Validate,
    /// Ask the inner service for another: there is nothing to compare.
    Fetch,
    /// As if there were none: it is not for requests with credentials.
    Ignore,
}

/// The decision. `request` is what the request's directives say, where the policy honours them.
#[inline]
pub(crate) fn decide(
    entry: &Entry,
    credentials: bool,
    request: Option<&RequestDirectives>,
    rules: &Rules,
    now: Timestamp,
) -> Act {
    if is_for_others(entry, credentials, rules) {
        return Act::Ignore;
    }
    match entry.lifespan().reuse(request, now) {
        Reuse::Fresh => Act::Serve,
        Reuse::StaleAccepted => Act::ServeStale,
        Reuse::WhileRevalidating => Act::ServeAndRefresh,
        // A failing service is left alone for a while.
        Reuse::Validate(Why::Stale) if entry.refresh.is_shut(now) && entry.lifespan().allows_error(request, now) => {
            Act::ServeStale
        }
        Reuse::Validate(_) if validator::has_validator(&entry.head) => Act::Validate,
        Reuse::Validate(_) => Act::Fetch,
    }
}

/// Whether it is not for requests with credentials, and this is one.
fn is_for_others(entry: &Entry, credentials: bool, rules: &Rules) -> bool {
    credentials && !entry.allows_credentials && !rules.share_with_credentials
}

/// A request, as far as it decides what becomes of what was found for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sought<'a> {
    pub(crate) method: &'a Method,
    pub(crate) facts: Facts,
    /// Where the policy honours them.
    pub(crate) directives: Option<&'a RequestDirectives>,
}

/// What a lookup comes to. The act is never [`Act::Ignore`].
#[derive(Debug)]
pub(crate) struct Weighed {
    /// The stored response that it is about.
    pub(crate) stored: Option<Arc<Entry>>,
    pub(crate) act: Act,
    /// Why the inner service is asked, if it is.
    pub(crate) forward: Forward,
}

/// What a request's directives say, where the policy honours them.
#[inline]
pub(crate) fn heard(rules: &Rules, facts: Facts, parts: &Parts) -> Option<RequestDirectives> {
    (rules.honor_requests && facts.has(Facts::CACHE_CONTROL)).then(|| RequestDirectives::parse(&parts.headers))
}

/// Whether a warmer wants what it has found made anew.
#[inline]
pub(crate) fn is_to_be_warmed(warm: Option<Warm>, found: &Found, now: Timestamp) -> bool {
    warm.is_some_and(|warm| matches!(found, Found::Entry(entry) if warm.force || entry.is_past_half(now)))
}

/// Weighs what was found for a request; `changed` in a store, perhaps, since it was stored here.
#[inline]
pub(crate) fn weigh(found: Found, sought: Sought<'_>, rules: &Rules, now: Timestamp, changed: bool) -> Weighed {
    let Sought { method, facts, directives } = sought;
    let refetch = facts.has(Facts::REFETCH);
    let (stored, forward) = match found {
        Found::Entry(entry) if refetch => (Some(entry), Forward::Request),
        Found::Entry(entry) if entry.lifespan().is_fresh(now) => (Some(entry), Forward::Request),
        Found::Entry(entry) => (Some(entry), Forward::Stale),
        Found::OtherVariants => (None, Forward::VaryMiss),
        Found::Nothing => (None, Forward::UriMiss),
    };
    let credentials = facts.has(Facts::CREDENTIALS);
    // Also what is to be looked for in stores first does not stand in for what they are answered.
    let settled =
        |entry: &&Entry| is_for_others(entry, credentials, rules) || (!changed && !entry.is_to_be_compared(now));
    let verdict = stored
        .as_deref()
        .filter(|entry| !refetch && settled(entry))
        .map(|entry| decide(entry, credentials, directives, rules, now));
    match (stored, verdict) {
        (_, Some(Act::Ignore)) => Weighed { stored: None, act: Act::Fetch, forward: Forward::Miss },
        // Other methods have no conditional form.
        (stored, Some(Act::Validate)) if !matches!(*method, Method::GET | Method::HEAD) => {
            Weighed { stored, act: Act::Fetch, forward }
        }
        (stored, act) => Weighed { stored, act: act.unwrap_or(Act::Fetch), forward },
    }
}

impl Cache {
    /// Whether stores take part in requests under these rules.
    pub(crate) fn has_stores_for(&self, rules: &Rules) -> bool {
        self.uses_stores(rules.memory_only) && !rules.observe_only
    }
}

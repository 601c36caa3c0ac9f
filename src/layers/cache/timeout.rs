//! What a client is answered when a fill takes too long.

use super::{ResponseBody, ask::Ask, exchange::Answering, layer::Shared};
use crate::{
    cache::{Facts, Forwarded, StoredBody, answer, timer},
    entry::Entry,
    key::KeyBuf,
    outcome::Outcome,
    request_stats::RequestStats,
    semantics::{cache_control::RequestDirectives, cache_status::Forward},
};
use http::{HeaderMap, Method, Response, StatusCode, request::Parts};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long a client waits, and what there is for it then.
pub(super) struct Limits {
    shared: Arc<Shared>,
    key: KeyBuf,
    stored: Option<Arc<Entry>>,
    method: Method,
    request: HeaderMap,
    facts: Facts,
    directives: Option<RequestDirectives>,
    forward: Forward,
    stats: Option<RequestStats>,
    answered: Arc<AtomicBool>,
}

impl Limits {
    /// Those of the policy, if it has any.
    pub(super) fn of(ask: &mut Ask, parts: &Parts) -> Option<Self> {
        let fill = &ask.shared.rules.fill;
        if fill.hard_timeout.is_none() && (fill.soft_timeout.is_none() || ask.stored.is_none()) {
            return None;
        }
        let answered = Arc::new(AtomicBool::new(false));
        ask.answered = Some(Arc::clone(&answered));
        Some(Self {
            shared: Arc::clone(&ask.shared),
            key: ask.key.clone(),
            stored: ask.stored.clone(),
            method: parts.method.clone(),
            request: parts.headers.clone(),
            facts: ask.facts,
            directives: ask.directives,
            forward: ask.forward,
            stats: ask.stats.clone(),
            answered,
        })
    }

    /// The answer, or what there is instead of it. What is left of the fill goes on in the background.
    pub(super) async fn hold<B, E>(self, mut answering: Answering<B, E>) -> Result<Response<ResponseBody<B>>, E> {
        let fill = self.shared.rules.fill;
        let mut spent = Duration::ZERO;
        if let Some(soft) = fill.soft_timeout.filter(|_| self.stale_allowed()) {
            if let Some(answer) = timer::within(soft, &mut answering).await {
                return answer;
            }
            if let Some(stale) = self.stale() {
                return Ok(stale);
            }
            spent = soft;
        }
        let Some(hard) = fill.hard_timeout else { return answering.await };
        match timer::within(hard.saturating_sub(spent), &mut answering).await {
            Some(answer) => answer,
            None => Ok(self.stale().unwrap_or_else(|| self.too_late())),
        }
    }

    fn stale_allowed(&self) -> bool {
        let now = self.shared.cache.now();
        let allows = |entry: &Arc<Entry>| entry.lifespan().allows_error(self.directives.as_ref(), now);
        !self.facts.has(Facts::REFETCH) && self.stored.as_ref().is_some_and(allows)
    }

    /// The stored response, as when the inner service fails.
    fn stale<B>(&self) -> Option<Response<ResponseBody<B>>> {
        let cache = &self.shared.cache;
        let entry =
            self.stored.as_ref().filter(|entry| self.stale_allowed() && cache.is_live(self.key.as_bytes(), entry))?;
        let mut response = answer(entry, &self.method, &self.request, self.facts, cache.now());
        self.say(&mut response, Outcome::Stale, true);
        Some(response.map(ResponseBody::stored))
    }

    fn too_late<B>(&self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::stored(StoredBody::Empty));
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        self.say(&mut response, Outcome::Miss, false);
        response
    }

    fn say<B>(&self, response: &mut Response<B>, outcome: Outcome, stored: bool) {
        self.answered.store(true, Relaxed);
        let cache = &self.shared.cache;
        cache.counters().count(outcome);
        cache.counters().timeouts.fetch_add(1, Relaxed);
        if let Some(stats) = &self.stats {
            stats.outcome(outcome);
        }
        let note = Forwarded { key: Some(&self.key), detail: Some("timeout"), ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, stored);
    }
}

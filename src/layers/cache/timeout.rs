//! What a client is answered when a fill takes too long.

use super::{ResponseBody, ask::Ask, exchange::Answering};
use crate::{
    cache::{Act, Facts, Forwarded, StoredBody, answer, decide},
    entry::Entry,
    outcome::Outcome,
    semantics::cache_status::Forward,
    store::Found,
    tally::Scalar,
    timer,
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
    /// As if its client had no answer yet: what it gets is counted here.
    ask: Ask,
    method: Method,
    request: HeaderMap,
    answered: Arc<AtomicBool>,
}

impl Limits {
    /// Those of the policy, if it has any.
    pub(super) fn of(ask: &mut Ask, parts: &Parts) -> Option<Self> {
        let fill = &ask.shared.rules.fill;
        let nothing = ask.stored.is_none() && !ask.is_in_stores();
        if fill.hard_timeout.is_none() && (fill.soft_timeout.is_none() || nothing) {
            return None;
        }
        let answered = Arc::new(AtomicBool::new(false));
        let unanswered = ask.clone();
        ask.answered = Some(Arc::clone(&answered));
        Some(Self { ask: unanswered, method: parts.method.clone(), request: parts.headers.clone(), answered })
    }

    /// The answer, or what there is instead of it. What is left of the fill goes on in the background.
    pub(super) async fn hold<B, E>(mut self, mut answering: Answering<B, E>) -> Result<Response<ResponseBody<B>>, E> {
        let fill = self.ask.shared.rules.fill;
        let mut spent = Duration::ZERO;
        let stale = self.ask.allows_stale() || self.ask.stored.is_none() && self.ask.is_in_stores();
        if let Some(soft) = fill.soft_timeout.filter(|_| stale) {
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

    /// The stored response, as when the inner service fails.
    fn stale<B>(&mut self) -> Option<Response<ResponseBody<B>>> {
        if self.ask.stored.is_none() && self.ask.is_in_stores() {
            self.ask.stored = self.found();
            if self.ask.stored.is_some() {
                self.ask.forward = Forward::Stale;
            }
        }
        let Ask { shared, facts, .. } = &self.ask;
        let entry = self.ask.stale()?;
        let mut response = answer(entry, &self.method, &self.request, *facts, shared.cache.now());
        self.ask.count_use(entry, Outcome::Stale);
        self.say(&mut response, true);
        Some(response.map(ResponseBody::stored))
    }

    /// What a store had and is in memory since then.
    fn found(&self) -> Option<Arc<Entry>> {
        let Ask { shared, key, facts, directives, .. } = &self.ask;
        let Found::Entry(entry) = shared.cache.find(key.as_bytes(), &self.request) else { return None };
        let credentials = facts.has(Facts::CREDENTIALS);
        let act = decide(&entry, credentials, directives.as_ref(), &shared.rules, shared.cache.now());
        (act != Act::Ignore).then_some(entry)
    }

    fn too_late<B>(&self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::stored(StoredBody::Empty));
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        self.ask.count(Outcome::Miss);
        self.say(&mut response, false);
        response
    }

    fn say<B>(&self, response: &mut Response<B>, stored: bool) {
        self.answered.store(true, Relaxed);
        self.ask.tell(|account| account.reason = Some("timeout"));
        let Ask { shared, key, forward, .. } = &self.ask;
        shared.rules.tally.add(Scalar::Timeouts, 1);
        let note = Forwarded { key: Some(key), detail: Some("timeout"), ..Forwarded::default() };
        shared.cache.status_line().say_forwarded(response.headers_mut(), *forward, note, stored);
    }
}

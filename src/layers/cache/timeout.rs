//! What a client is answered when a fill takes too long.

use super::{ResponseBody, ask::Ask, exchange::Answering};
use crate::{
    cache::{Forwarded, StoredBody, answer},
    outcome::Outcome,
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
        if fill.hard_timeout.is_none() && (fill.soft_timeout.is_none() || ask.stored.is_none()) {
            return None;
        }
        let answered = Arc::new(AtomicBool::new(false));
        let unanswered = ask.clone();
        ask.answered = Some(Arc::clone(&answered));
        Some(Self { ask: unanswered, method: parts.method.clone(), request: parts.headers.clone(), answered })
    }

    /// The answer, or what there is instead of it. What is left of the fill goes on in the background.
    pub(super) async fn hold<B, E>(self, mut answering: Answering<B, E>) -> Result<Response<ResponseBody<B>>, E> {
        let fill = self.ask.shared.rules.fill;
        let mut spent = Duration::ZERO;
        if let Some(soft) = fill.soft_timeout.filter(|_| self.ask.allows_stale()) {
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
    fn stale<B>(&self) -> Option<Response<ResponseBody<B>>> {
        let Ask { shared, facts, .. } = &self.ask;
        let mut response = answer(self.ask.stale()?, &self.method, &self.request, *facts, shared.cache.now());
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
        self.ask.count(outcome);
        let Ask { shared, key, forward, .. } = &self.ask;
        shared.cache.counters().timeouts.fetch_add(1, Relaxed);
        let note = Forwarded { key: Some(key), detail: Some("timeout"), ..Forwarded::default() };
        shared.cache.status_line().say_forwarded(response.headers_mut(), *forward, note, stored);
    }
}

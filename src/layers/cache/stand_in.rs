//! What is answered in place of the inner service: a stored response that may be stale, or a refusal.

use super::{ResponseBody, ask::Ask, job::Job};
use crate::{
    cache::{Forwarded, Over, StoredBody, answer},
    entry::BACK_OFF,
    outcome::Outcome,
    semantics::cache_status::Forward,
};
use http::{HeaderValue, Response, StatusCode, header::RETRY_AFTER, request::Parts};

impl Job {
    /// The stored response, if it may stand in for a failing service (RFC 5861 §4). The service is then left alone for
    /// a while, and those who wait hear of the failure.
    pub(super) fn instead_of_trouble<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let stale = self.stale(parts, "stale-if-error")?;
        if let Some(entry) = &self.ask.stored {
            let until = self.ask.shared.cache.now().saturating_add(BACK_OFF);
            // Before those who wait hear of it, or they would try it too. A refresh has the gate itself.
            if self.ask.background { entry.refresh.shut_until(until) } else { entry.refresh.shut_if_idle(until) }
        }
        self.end_flight(Over::Failed);
        Some(stale)
    }

    /// The same, when there is no answer at all.
    pub(super) fn instead_of_failure<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let stale = self.instead_of_trouble(parts);
        if stale.is_none() {
            self.ask.count(Outcome::Miss);
        }
        self.end_flight(Over::Failed);
        stale
    }

    /// The stored response, if stale-if-error allows it.
    pub(super) fn stale<B>(&self, parts: &Parts, why: &'static str) -> Option<Response<ResponseBody<B>>> {
        let Ask { shared, key, facts, .. } = &*self.ask;
        let entry = self.ask.stale()?;
        let now = shared.cache.now();
        self.ask.count_use(entry, Outcome::Stale);
        self.ask.tell(|account| (account.reason, account.age) = (Some(why), Some(entry.lifespan().said(now))));
        let mut response = answer(entry, &parts.method, &parts.headers, *facts, now);
        let note = Forwarded { key: Some(key), detail: Some(why), ..Forwarded::default() };
        shared.cache.status_line().say_forwarded(response.headers_mut(), Forward::Stale, note, true);
        Some(response.map(ResponseBody::stored))
    }

    /// There is no room for another fill, and nothing to serve instead.
    pub(super) fn overloaded<B>(&self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::stored(StoredBody::Empty));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        self.ask.tell(|account| account.reason = Some("fill-limit"));
        let Ask { shared, key, forward, .. } = &*self.ask;
        let note = Forwarded { key: Some(key), detail: Some("fill-limit"), ..Forwarded::default() };
        shared.cache.status_line().say_forwarded(response.headers_mut(), *forward, note, false);
        response
    }
}

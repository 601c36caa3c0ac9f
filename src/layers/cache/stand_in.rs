//! What is answered in place of the inner service: a stored response that may be stale, or a refusal.

use super::{ResponseBody, job::Job};
use crate::{
    cache::{Act, Facts, Forwarded, Landing, Over, StoredBody, answer, decide},
    entry::BACK_OFF,
    outcome::Outcome,
    semantics::cache_status::Forward,
    store::Found,
};
use http::{HeaderValue, Response, StatusCode, header::RETRY_AFTER, request::Parts};

impl Job {
    /// The stored response, if it may stand in for a failing service (RFC 5861 §4). The service is then left alone for
    /// a while, and those who wait hear of the failure.
    pub(super) fn instead_of_trouble<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let stale = self.stale(parts, "stale-if-error")?;
        if let Some(entry) = &self.stored {
            let until = self.shared.cache.now().saturating_add(BACK_OFF);
            // Before those who wait hear of it, or they would try it too. A refresh has the gate itself.
            if self.background { entry.refresh.shut_until(until) } else { entry.refresh.shut_if_idle(until) }
        }
        self.end_flight(Over::Failed);
        Some(stale)
    }

    /// The same, when there is no answer at all.
    pub(super) fn instead_of_failure<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let stale = self.instead_of_trouble(parts);
        if stale.is_none() {
            self.count(Outcome::Miss);
        }
        self.end_flight(Over::Failed);
        stale
    }

    /// What was stored since the lookup, if it may be served. Those who wait with this request get it too.
    pub(super) fn stored_meanwhile<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let (cache, rules) = (&self.shared.cache, &self.shared.rules);
        let key = self.fill.key().clone();
        let Found::Entry(entry) = cache.find(key.as_bytes(), &parts.headers) else { return None };
        let (now, credentials) = (cache.now(), self.facts.has(Facts::CREDENTIALS));
        let act = decide(&entry, credentials, self.directives.as_ref(), rules, now);
        if self.facts.has(Facts::REFETCH) || self.background || act != Act::Serve {
            return None;
        }
        let mut response = answer(&entry, &parts.method, &parts.headers, self.facts, now);
        cache.status_line().say_hit(response.headers_mut(), &key, entry.lifespan().ttl(now), None);
        self.count(Outcome::Hit);
        if let Some(lead) = self.lead.take() {
            lead.flight().land(Landing::whole(entry, &parts.headers, self.fill.query()));
        }
        Some(response.map(ResponseBody::stored))
    }

    /// The stored response, if stale-if-error allows it.
    pub(super) fn stale<B>(&self, parts: &Parts, why: &'static str) -> Option<Response<ResponseBody<B>>> {
        let cache = &self.shared.cache;
        let now = cache.now();
        let request = self.directives.as_ref();
        let entry = self.stored.as_ref().filter(|entry| entry.lifespan().allows_error(request, now))?;
        if self.facts.has(Facts::REFETCH) || !cache.is_live(self.fill.key().as_bytes(), entry) {
            return None;
        }
        self.count(Outcome::Stale);
        let mut response = answer(entry, &parts.method, &parts.headers, self.facts, now);
        let note = Forwarded { key: Some(self.fill.key()), detail: Some(why), ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), Forward::Stale, note, true);
        Some(response.map(ResponseBody::stored))
    }

    /// There is no room for another fill, and nothing to serve instead.
    pub(super) fn overloaded<B>(&self) -> Response<ResponseBody<B>> {
        let mut response = Response::new(ResponseBody::stored(StoredBody::Empty));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        let note = Forwarded { key: Some(self.fill.key()), detail: Some("fill-limit"), ..Forwarded::default() };
        self.shared.cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, false);
        response
    }
}

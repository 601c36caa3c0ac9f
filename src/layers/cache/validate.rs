//! What an answer without content tells of a stored response (RFC 9111 §4.3.3 to §4.3.5).

use super::{ResponseBody, job::Job, layer::Shared};
use crate::{
    cache::{Facts, Forwarded, Freshening, Landing, Over, answer, strip_own_fields},
    entry::Entry,
    invalidation::Tags,
    outcome::Outcome,
    semantics::{fields::connection_nominated, storable::is_for_all, validation::head_agrees},
};
use http::{
    Response, StatusCode,
    header::{ETAG, LAST_MODIFIED, SET_COOKIE},
    request::Parts,
};
use std::sync::Arc;

impl Job {
    /// A 304 to our own question. Gives the job back if the inner service meant another representation.
    pub(super) fn take_not_modified<B>(
        mut self,
        parts: &Parts,
        answered: &Response<B>,
    ) -> Result<Response<ResponseBody<B>>, Box<Self>> {
        let news = answered.headers();
        let freshening = self.ask.stored.clone().map(|stored| self.freshen(&stored, parts, answered));
        let (entry, stored) = match freshening {
            Some(Freshening::Stored(entry)) => (entry, true),
            Some(Freshening::Gone(entry)) => (entry, false),
            Some(Freshening::Mismatch) | None => return Err(Box::new(self)),
        };
        match self.lead.take() {
            Some(lead) if stored => {
                let landing = Landing::whole(Arc::clone(&entry), &parts.headers, self.fill.query());
                lead.flight().land(landing);
            }
            Some(lead) => lead.end(Over::Refused),
            None => {}
        }
        self.ask.count_use(&entry, Outcome::Revalidated);
        if stored {
            self.count_set();
            self.ask.tell(|account| account.stored = Some(Ok(())));
        }
        let cache = &self.ask.shared.cache;
        let mut response = answer(&entry, &parts.method, &parts.headers, self.ask.facts, cache.now());
        let status = Some(StatusCode::NOT_MODIFIED);
        let detail = Some("revalidated");
        let note = Forwarded { stored, status, key: Some(self.fill.key()), detail, ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), self.ask.forward, note, true);
        // A cookie set with the 304 is for this client.
        for cookie in news.get_all(SET_COOKIE) {
            response.headers_mut().append(SET_COOKIE, cookie.clone());
        }
        Ok(response.map(ResponseBody::stored))
    }

    /// Takes in what an answer says of a stored response that it has no body for.
    fn freshen<B>(&mut self, stored: &Arc<Entry>, parts: &Parts, answered: &Response<B>) -> Freshening {
        let extensions = answered.extensions();
        let (mut head, ()) = Response::new(()).into_parts();
        head.status = answered.status();
        head.headers = answered.headers().clone();
        // What the handler said with the answer that is stored holds as long as it says nothing else.
        self.fill.follow(stored.handler.clone());
        let extensions_say = self.may_store(parts, extensions);
        if let Some(tags) = extensions.get::<Tags>() {
            head.extensions.insert(tags.clone());
        }
        let allowed = extensions_say.and_then(|()| self.fill.consult(parts, &head));
        let allowed = self.fill.keep_tags(&stored.tags).and(allowed);
        self.fill.freshen(stored, &head.headers, extensions.get(), allowed)
    }

    /// An answer to HEAD: it fills nothing, and tells whether the stored response still holds (RFC 9111 §4.3.5).
    pub(super) fn take_head<B>(mut self, parts: &Parts, mut response: Response<B>) -> Response<ResponseBody<B>> {
        self.ask.count(Outcome::Miss);
        let shared = Arc::clone(&self.ask.shared);
        let Shared { cache, rules, .. } = &*shared;
        let unseen = |entry: &Entry| connection_nominated(&parts.headers).any(|name| entry.nominated.contains(&name));
        // What one user's credentials get says nothing about what others get.
        let for_all = !self.ask.facts.has(Facts::CREDENTIALS) || is_for_all(response.headers(), &rules.store.targets);
        // The service did not see what selected the stored response, if `Connection` names it.
        if response.status() == StatusCode::OK
            && for_all
            && let Some(entry) = self.ask.stored.clone().filter(|entry| !unseen(entry))
        {
            let news = response.headers();
            if entry.status != StatusCode::OK || !head_agrees(&entry.head, news, entry.body.len() as u64) {
                self.fill.remove(&entry);
            } else if rules.share_with_credentials || [ETAG, LAST_MODIFIED].iter().any(|name| news.contains_key(name)) {
                // Without a validator nothing was compared. The RFC freshens all the same.
                drop(self.freshen(&entry, parts, &response));
            }
        }
        let note = Forwarded { status: Some(response.status()), key: Some(self.fill.key()), ..Forwarded::default() };
        strip_own_fields(response.headers_mut(), rules);
        cache.status_line().say_forwarded(response.headers_mut(), self.ask.forward, note, false);
        response.map(ResponseBody::inner)
    }
}

//! Taking an answer of the inner service to the client, and into the cache if it may.

use super::{
    ResponseBody,
    inner::Storing,
    job::Job,
    layer::Shared,
    peek::Peeked,
    service::{Filling, InnerPolicy},
};
use crate::{
    cache::{
        Facts, Fault, FlightKey, Forwarded, Keep, Landing, Over, Recorded, RecordedHead, Verdict, is_worth_noting,
        strip_own_fields,
    },
    entry::Entry,
    identity::{Identity, IdentityEstablished},
    outcome::{NotStored, Outcome},
    semantics::{
        date::Timestamp,
        fields::connection_nominated,
        storable::{Refusal, answers_one_request, is_for_all, is_passing_trouble},
    },
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, EXPIRES},
    request::Parts,
};
use http_body::Body;
use std::{
    sync::Arc,
    task::{Context, Waker},
};

impl Job {
    /// An answer of the inner service goes to the client, and into the cache if it may.
    pub(super) fn conclude<B>(
        mut self,
        parts: &Parts,
        response: Response<B>,
        waker: &Waker,
    ) -> Response<ResponseBody<B>>
    where
        B: Storing,
    {
        self.ask.count(Outcome::Miss);
        let (mut head, body) = response.into_parts();
        let received = self.ask.shared.cache.now();
        let declared = declared_length(&head.headers, &body);
        let verdict = self.verdict(parts, &head, declared, received);
        let note = Forwarded {
            stored: verdict.is_ok(),
            status: Some(head.status),
            key: Some(self.fill.key()),
            detail: verdict.as_ref().err().map(|reason| reason.as_str()),
            ..Forwarded::default()
        };
        self.ask.tell(|account| account.stored = Some(verdict.as_ref().map_or_else(|reason| Err(*reason), |_| Ok(()))));
        let sent = head.headers.clone();
        strip_own_fields(&mut head.headers, &self.ask.shared.rules);
        self.ask.shared.cache.status_line().say_forwarded(&mut head.headers, self.ask.forward, note, false);
        let body = match verdict {
            Ok(verdict) => {
                if let Some(browser) = self.fill.browser() {
                    head.headers.remove(EXPIRES);
                    head.headers.insert(CACHE_CONTROL, browser.aged(verdict.age).to_header_value());
                }
                self.count_set();
                let recorded = verdict.head(head.status, sent, head.extensions.get().cloned(), received);
                let ends_it = !is_passing_trouble(head.status);
                self.keep(recorded, declared.flatten(), ends_it, &parts.headers, body, waker)
            }
            Err(reason) => {
                self.not_stored(parts, &head, reason);
                ResponseBody::inner(body)
            }
        };
        Response::from_parts(head, body)
    }

    /// Stores a body that is there at once, or records it as it comes.
    fn keep<B>(
        mut self,
        head: RecordedHead,
        declared: Option<u64>,
        ends_it: bool,
        request: &HeaderMap,
        body: B,
        waker: &Waker,
    ) -> ResponseBody<B>
    where
        B: Storing,
    {
        let (lead, before) = (self.lead.take(), self.ask.stored.take());
        let most = self.fill.max_body();
        let query = lead.as_ref().and_then(|_| self.fill.query().map(str::to_owned));
        let keep = Keep { fill: self.fill, head, before, ends_it, declared };
        let mut body = Box::pin(Peeked::new(body));
        // A body that knows its size is mostly there at once. Others are not touched before the client asks.
        let length = body.size_hint().exact();
        let whole = length.and_then(|length| body.as_mut().poll_whole(length, &mut Context::from_waker(waker)));
        let Some(content) = whole else {
            return ResponseBody::read(keep.record(body, lead));
        };
        let length = content.len() as u64;
        let fault = if declared.is_some_and(|declared| declared != length) {
            Some(Fault::WrongLength)
        } else {
            (length > most).then_some(Fault::TooLarge)
        };
        let recorded = match fault {
            Some(fault) => Err(fault),
            // A copy: what it is a part of may be larger, and would be kept.
            None => Ok(Recorded { body: Bytes::copy_from_slice(&content), trailers: None }),
        };
        let entry = keep.finish(recorded);
        if let Some(lead) = lead {
            match entry {
                Some(entry) => lead.flight().land(Landing::whole(entry, request, query.as_deref())),
                None => lead.end(Over::Refused),
            }
        }
        ResponseBody::whole(content)
    }

    /// The answer does not become a stored response. Whoever waits has to ask, and those who come later do not wait, if
    /// that lies in the response.
    fn not_stored(&mut self, parts: &Parts, head: &http::response::Parts, reason: NotStored) {
        let cache = &self.ask.shared.cache;
        let Shared { rules, .. } = &*self.ask.shared;
        let before = rules.tally.not_stored(reason);
        if is_worth_noting(reason) {
            cache.note_uncached(&rules.tally, || self.ask.shared.route_of(parts), reason.as_str(), before);
        }
        let credentials = self.ask.facts.has(Facts::CREDENTIALS) && !is_for_all(&head.headers, &rules.store.targets);
        if let Some(entry) = self.ask.stored.take().filter(|_| ends_the_stored(head.status, reason, credentials)) {
            self.fill.remove(&entry);
        }
        if !is_passing_trouble(head.status) && !answers_one_request(head.status) {
            self.fill.remember(reason, matches!(reason, NotStored::Refused(_)));
        }
        self.end_flight(if reason.lies_in_the_response() { Over::Uncacheable } else { Over::Refused });
    }

    /// Whether what was found out further in lets an answer be stored here.
    pub(super) fn may_store(&self, parts: &Parts, answer: &Extensions) -> Result<(), NotStored> {
        if let Some(InnerPolicy(inner)) = answer.get()
            && (*inner == self.ask.shared.cache.id() || Filling::contains(parts, *inner))
        {
            return Err(NotStored::InnerPolicy);
        }
        let known = parts.extensions.get::<Identity>();
        // A layer that found out further in what was known here already does no harm, unless it was to be kept from the
        // handler.
        let Shared { rules, .. } = &*self.ask.shared;
        let told = known.map(|known| match &rules.sealed {
            Some(_) => known.narrowed(|name| rules.scope.keys_on(name)),
            None => known.clone(),
        });
        if let Some(IdentityEstablished(found)) = answer.get()
            && (known.is_none() || *found != told)
        {
            self.ask.shared.warn_of_order();
            return Err(NotStored::IdentityAfterCache);
        }
        self.heard
    }

    fn verdict(
        &mut self,
        parts: &Parts,
        answer: &http::response::Parts,
        declared: Option<Option<u64>>,
        received: Timestamp,
    ) -> Result<Verdict, NotStored> {
        if parts.method == Method::HEAD {
            return Err(NotStored::Refused(Refusal::Status));
        }
        self.may_store(parts, &answer.extensions)?;
        let Some(declared) = declared else { return Err(NotStored::WrongLength) };
        let verdict = self.fill.judge(answer.status, &answer.headers, answer.extensions.get(), received)?;
        self.fill.consult(parts, answer)?;
        let unseen =
            |name: &HeaderName| verdict.storable.nominated.contains(name) && !self.ask.shared.rules.tells_apart(name);
        if !verdict.storable.nominated.is_empty() && connection_nominated(&parts.headers).any(|name| unseen(&name)) {
            return Err(NotStored::Connection);
        }
        if declared.is_some_and(|length| length > self.fill.max_body()) {
            return Err(NotStored::TooLarge);
        }
        // Not each of many requests writes down what was too long the last time.
        if declared.is_none() && self.lead.is_none() && self.fill.is_known_too_long(received) {
            let key = FlightKey::new(self.fill.key(), &parts.headers, self.ask.facts, &[]);
            self.lead = Some(self.ask.shared.cache.lead_alone(&key).ok_or(NotStored::TooLarge)?);
        }
        if self.ask.stored.is_none() && !self.fill.is_used_enough() {
            return Err(NotStored::TooFewUses);
        }
        let usable = |entry: &Arc<Entry>| {
            entry.lifespan().is_usable(received) && self.ask.shared.cache.is_live(self.fill.key().as_bytes(), entry)
        };
        if is_passing_trouble(answer.status) && self.ask.stored.as_ref().is_some_and(usable) {
            return Err(NotStored::Superseded);
        }
        Ok(verdict)
    }
}

/// Whether an answer that is not stored itself ends the stored one: any full answer does but a passing trouble. An answer
/// for one user's credentials says nothing about what others get, whatever it was refused for, unless it says that it is for all.
fn ends_the_stored(status: StatusCode, reason: NotStored, credentials: bool) -> bool {
    let full = !is_passing_trouble(status) && !status.is_informational() && !answers_one_request(status);
    full && !credentials && reason != NotStored::Connection
}

/// The length that an answer declares: by `Content-Length`, else by the size of its body. `None` if what it says cannot
/// be a length, or is said twice.
fn declared_length<B: Body>(headers: &HeaderMap, body: &B) -> Option<Option<u64>> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Some(body.size_hint().exact()),
        (Some(line), None) => {
            let text = line.to_str().ok()?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse().ok()).flatten().map(Some)
        }
        (Some(_), Some(_)) => None,
    }
}

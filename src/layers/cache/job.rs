//! What is done with the inner service for one request, and what is made of its answer.

use super::{
    ResponseBody,
    ask::{Answered, Ask, Part},
    layer::Shared,
    peek::Peeked,
    service::{Filling, InnerPolicy},
};
use crate::{
    cache::{
        Act, BoxError, Cache, Facts, Fault, Fill, FillLead, Forwarded, Freshening, Keep, Landing, Over, Recorded,
        RecordedHead, StoredBody, Verdict, answer, strip_own_fields, timer,
    },
    entry::Entry,
    identity::{Identity, IdentityEstablished},
    invalidation::Tags,
    key::{KeyBuf, is_forwarding, keyed_uri, narrow_forwarded},
    layers::stats::RequestStats,
    outcome::{NotStored, Outcome},
    policy::Policy,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::Forward,
        content_coding,
        date::Timestamp,
        fields::{connection_nominated, is_of_the_connection, withdraw_nominations},
        storable::{Refusal, answers_one_request, is_passing_trouble},
        validation::{head_agrees, make_conditional},
    },
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ETAG, EXPIRES, LAST_MODIFIED, RANGE, RETRY_AFTER,
        SET_COOKIE,
    },
    request::Parts,
};
use http_body::Body;
use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::Duration,
};
use tokio::sync::OwnedSemaphorePermit;
use tower_service::Service;

/// What is to be done with the inner service, and what is at hand.
pub(super) struct Job {
    pub(super) shared: Arc<Shared>,
    pub(super) fill: Fill,
    /// The stored response that the request selects, not to be served without asking.
    pub(super) stored: Option<Arc<Entry>>,
    pub(super) act: Act,
    pub(super) forward: Forward,
    pub(super) facts: Facts,
    pub(super) directives: Option<RequestDirectives>,
    /// Nobody waits for the answer.
    pub(super) background: bool,
    /// Whether what the handler said of its policy can be followed.
    pub(super) heard: Result<(), NotStored>,
    /// Where what is done for one request is counted, if somebody asked for that.
    pub(super) stats: Option<RequestStats>,
    /// Those who wait for the same.
    pub(super) lead: Option<FillLead>,
    pub(super) answered: Answered,
    /// Known to give nothing that can be stored.
    pub(super) uncacheable: bool,
    /// A place among the fills that may run at once, until the head of the answer is there.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl Job {
    /// The request is about to be asked of the inner service. What is invalidated from here on is not stored.
    pub(super) fn begin(ask: Ask, part: Part, parts: &Parts) -> Self {
        let Ask { shared, key, stored, act, forward, facts, directives, stats, answered, uncacheable } = ask;
        let fill = Fill::begin(&shared.cache, &shared.rules, key, parts, facts, directives.as_ref());
        let lead = match part {
            Part::Leads(lead) => Some(lead),
            Part::Alone | Part::Waits(..) => None,
        };
        Self {
            shared,
            fill,
            stored,
            act,
            forward,
            facts,
            directives,
            background: false,
            heard: Ok(()),
            stats,
            lead,
            answered,
            uncacheable,
            permit: None,
        }
    }

    /// Finds a place among the fills that may run at once, or an answer for a request that finds none: what is stored, if
    /// it may stand in, else a refusal after the wait limit.
    pub(super) async fn find_room<B>(&mut self, parts: &Parts) -> Result<(), Response<ResponseBody<B>>> {
        if self.find_room_at_once() {
            return Ok(());
        }
        self.shared.cache.counters().fills_limited.fetch_add(1, Relaxed);
        if let Some(stale) = self.stale(parts, "fill-limit") {
            return Err(stale);
        }
        let limit = self.shared.rules.fill.wait_limit;
        let Some(places) = self.shared.cache.fill_places() else { return Ok(()) };
        match timer::within(limit, Arc::clone(places).acquire_owned()).await {
            Some(Ok(permit)) => {
                self.permit = Some(permit);
                Ok(())
            }
            _ => {
                self.end_flight(Over::Overloaded);
                self.count(Outcome::Miss);
                Err(overloaded(&self.shared.cache, self.fill.key(), self.forward))
            }
        }
    }

    /// Whether there is a place, or none is needed: what is known to be uncacheable is no fill.
    pub(super) fn find_room_at_once(&mut self) -> bool {
        match self.shared.cache.fill_places() {
            Some(places) if !self.uncacheable && self.permit.is_none() => {
                self.permit = Arc::clone(places).try_acquire_owned().ok();
                self.permit.is_some()
            }
            _ => true,
        }
    }

    /// Asks the inner service, once it is ready.
    pub(super) async fn put<S, ReqBody, B>(
        &mut self,
        mut inner: S,
        request: Request<ReqBody>,
    ) -> Result<Response<B>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
    {
        let ready = poll_fn(|cx| inner.poll_ready(cx)).await;
        let answer = match ready {
            Ok(()) => {
                if let Some(lead) = &self.lead {
                    lead.flight().meta().ask();
                }
                inner.call(request).await
            }
            Err(error) => Err(error),
        };
        if answer.is_err() {
            self.permit = None;
        }
        self.hear(answer)
    }

    fn end_flight(&mut self, over: Over) {
        if let Some(lead) = self.lead.take() {
            lead.end(over);
        }
    }

    /// Takes in a policy that the handler put into the extensions of its answer.
    fn hear<B, E>(&mut self, answer: Result<Response<B>, E>) -> Result<Response<B>, E> {
        let mut answer = answer?;
        if let Some(policy) = answer.extensions_mut().remove::<Policy>() {
            self.heard = self.fill.adopt(&policy);
        }
        Ok(answer)
    }

    fn count(&self, outcome: Outcome) {
        if self.answered.as_ref().is_some_and(|answered| answered.load(Relaxed)) {
            return;
        }
        if !self.background {
            self.shared.cache.counters().count(outcome);
        }
        if let Some(stats) = &self.stats {
            stats.outcome(outcome);
        }
    }

    /// An answer was found fit to be stored, before its head is sent.
    fn count_set(&self) {
        if let Some(stats) = &self.stats {
            stats.set();
        }
    }

    /// The request as the inner service is to see it.
    pub(super) fn question(&self, parts: &Parts) -> Parts {
        let Shared { cache, rules, .. } = &*self.shared;
        let mut sent = parts.clone();
        Filling::mark(&mut sent, cache, rules);
        // A client may name in `Connection` what is in the key, or who it is: a service that obeys must not miss that.
        if sent.headers.contains_key(CONNECTION) {
            // Which fields an identity was made of is not known.
            let known = sent.extensions.get::<Identity>().is_some();
            withdraw_nominations(&mut sent.headers, |name| {
                rules.tells_apart(name) || (known && !is_of_the_connection(name))
            });
        }
        if let Some(uri) = keyed_uri(&sent.uri, &rules.key) {
            sent.uri = uri;
        }
        #[cfg(feature = "axum")]
        if let Some(axum::extract::OriginalUri(uri)) = sent.extensions.get_mut()
            && let Some(kept) = keyed_uri(uri, &rules.key)
        {
            *uri = kept;
        }
        // What is compared in a normal form is sent in it too.
        if let Some(codings) = content_coding::normal(&sent.headers) {
            sent.headers.insert(ACCEPT_ENCODING, codings.to_header_value());
        }
        if let Some(visible) = &rules.sealed {
            self.seal(&mut sent, visible);
        }
        sent
    }

    /// Leaves only what is in the key, so that nothing else can shape what is stored.
    fn seal(&self, sent: &mut Parts, visible: &[HeaderName]) {
        let hidden: Vec<_> = sent
            .headers
            .keys()
            .filter(|name| !visible.contains(name) && !is_forwarding(name.as_str()))
            .cloned()
            .collect();
        for name in hidden {
            sent.headers.remove(name);
        }
        narrow_forwarded(&mut sent.headers);
        if let Some(identity) = sent.extensions.get::<Identity>() {
            let scope = &self.shared.rules.scope;
            let narrowed = identity.narrowed(|name| scope.keys_on(name));
            sent.extensions.insert(narrowed);
        }
    }

    /// Asks whether the stored response still holds, and for the whole if it does not.
    pub(super) fn conditional(&self, mut question: Parts) -> Parts {
        if let Some(entry) = &self.stored {
            make_conditional(&mut question.headers, &entry.head);
            question.headers.remove(RANGE);
        }
        question
    }

    /// The stored response, if it may stand in for a failing service (RFC 5861 §4). The service is then left alone for
    /// a while, and those who wait hear of the failure.
    pub(super) fn instead_of_trouble<B>(&mut self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        self.permit = None;
        let stale = self.stale(parts, "stale-if-error");
        if let Some(entry) = self.stored.as_ref().filter(|_| stale.is_some()) {
            entry.refresh.shut_if_idle(self.shared.cache.now().saturating_add(BACK_OFF));
        }
        self.end_flight(Over::Failed);
        stale
    }

    /// The stored response, if stale-if-error allows it.
    fn stale<B>(&self, parts: &Parts, why: &'static str) -> Option<Response<ResponseBody<B>>> {
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

    /// A 304 to our own question. Gives the job back if the inner service meant another representation.
    pub(super) fn take_not_modified<B>(
        mut self,
        parts: &Parts,
        answered: &Response<B>,
    ) -> Result<Response<ResponseBody<B>>, Box<Self>> {
        let news = answered.headers();
        let freshening = self.stored.clone().map(|stored| self.freshen(&stored, parts, answered));
        let (entry, stored) = match freshening {
            Some(Freshening::Stored(entry)) => (entry, true),
            Some(Freshening::Gone(entry)) => (entry, false),
            Some(Freshening::Mismatch) | None => return Err(Box::new(self)),
        };
        match self.lead.take() {
            Some(lead) if stored => lead.flight().land(Landing::whole(Arc::clone(&entry), &parts.headers)),
            Some(lead) => lead.end(Over::Refused),
            None => {}
        }
        self.count(Outcome::Revalidated);
        if stored {
            self.count_set();
        }
        let cache = &self.shared.cache;
        let mut response = answer(&entry, &parts.method, &parts.headers, self.facts, cache.now());
        let status = Some(StatusCode::NOT_MODIFIED);
        let detail = Some("revalidated");
        let note = Forwarded { stored, status, key: Some(self.fill.key()), detail, ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, true);
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
        self.fill.keep_tags(&stored.tags);
        self.fill.freshen(stored, &head.headers, extensions.get(), allowed)
    }

    /// An answer to HEAD: it fills nothing, and tells whether the stored response still holds (RFC 9111 §4.3.5).
    pub(super) fn take_head<B>(mut self, parts: &Parts, mut response: Response<B>) -> Response<ResponseBody<B>> {
        self.count(Outcome::Miss);
        let shared = Arc::clone(&self.shared);
        let Shared { cache, rules, .. } = &*shared;
        let unseen = connection_nominated(&parts.headers);
        // The service did not see what selected the stored response, if `Connection` names it.
        if response.status() == StatusCode::OK
            && let Some(entry) =
                self.stored.clone().filter(|entry| !unseen.iter().any(|name| entry.nominated.contains(name)))
        {
            let news = response.headers();
            if !head_agrees(&entry.head, news, entry.body.len() as u64) {
                cache.remove(self.fill.key().as_bytes(), &entry);
            } else if rules.share_with_credentials
                || [ETAG, LAST_MODIFIED].iter().any(|name| news.contains_key(name) && entry.head.contains_key(name))
            {
                // Without a validator on both sides nothing was compared. The RFC freshens all the same.
                drop(self.freshen(&entry, parts, &response));
            }
        }
        let note = Forwarded { status: Some(response.status()), key: Some(self.fill.key()), ..Forwarded::default() };
        strip_own_fields(response.headers_mut(), rules);
        cache.status_line().say_forwarded(response.headers_mut(), self.forward, note, false);
        response.map(ResponseBody::inner)
    }

    /// An answer of the inner service goes to the client, and into the cache if it may.
    pub(super) async fn conclude<B>(mut self, parts: &Parts, response: Response<B>) -> Response<ResponseBody<B>>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.permit = None;
        self.count(Outcome::Miss);
        let (mut head, body) = response.into_parts();
        let received = self.shared.cache.now();
        let declared = declared_length(&head.headers, &body);
        let verdict = self.verdict(parts, &head, declared, received);
        let note = Forwarded {
            stored: verdict.is_ok(),
            status: Some(head.status),
            key: Some(self.fill.key()),
            detail: verdict.as_ref().err().map(|reason| reason.as_str()),
            ..Forwarded::default()
        };
        let sent = head.headers.clone();
        strip_own_fields(&mut head.headers, &self.shared.rules);
        self.shared.cache.status_line().say_forwarded(&mut head.headers, self.forward, note, false);
        let body = match verdict {
            Ok(verdict) => {
                if let Some(browser) = self.fill.browser() {
                    head.headers.remove(EXPIRES);
                    head.headers.insert(CACHE_CONTROL, browser.aged(verdict.age).to_header_value());
                }
                self.count_set();
                let recorded = verdict.head(head.status, sent, head.extensions.get().cloned(), received);
                let ends_it = !is_passing_trouble(head.status);
                self.keep(recorded, declared.flatten(), ends_it, &parts.headers, body).await
            }
            Err(reason) => {
                self.not_stored(&head, reason);
                ResponseBody::inner(body)
            }
        };
        Response::from_parts(head, body)
    }

    /// Stores a body that is there at once, or records it as it comes.
    async fn keep<B>(
        mut self,
        head: RecordedHead,
        declared: Option<u64>,
        ends_it: bool,
        request: &HeaderMap,
        body: B,
    ) -> ResponseBody<B>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (lead, before) = (self.lead.take(), self.stored.take());
        let most = self.fill.max_body();
        let keep = Keep { fill: self.fill, head, before, ends_it, declared };
        let mut body = Box::pin(Peeked::new(body));
        // A body that knows its size is mostly there at once. Others are not touched before the client asks.
        let whole = match body.size_hint().exact() {
            Some(_) => poll_fn(|cx| Poll::Ready(body.as_mut().poll_whole(cx))).await,
            None => None,
        };
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
                Some(entry) => lead.flight().land(Landing::whole(entry, request)),
                None => lead.end(Over::Refused),
            }
        }
        ResponseBody::whole(content)
    }

    /// The answer does not become a stored response. Whoever waits has to ask, and those who come later do not wait, if
    /// that lies in the response.
    fn not_stored(&mut self, head: &http::response::Parts, reason: NotStored) {
        let cache = &self.shared.cache;
        cache.counters().not_stored(reason);
        if let Some(entry) = self.stored.take().filter(|_| ends_the_stored(head.status, reason)) {
            cache.remove(self.fill.key().as_bytes(), &entry);
        }
        if !is_passing_trouble(head.status) && !answers_one_request(head.status) {
            self.fill.remember(reason, matches!(reason, NotStored::Refused(_)));
        }
        self.end_flight(Over::Refused);
    }

    /// Whether what was found out further in lets an answer be stored here.
    fn may_store(&self, parts: &Parts, answer: &Extensions) -> Result<(), NotStored> {
        if let Some(InnerPolicy(inner)) = answer.get()
            && (*inner == self.shared.cache.id() || Filling::contains(parts, *inner))
        {
            return Err(NotStored::InnerPolicy);
        }
        let known = parts.extensions.get::<Identity>();
        // A layer that found out further in what was known here already does no harm, unless it was to be kept from the
        // handler.
        let Shared { rules, .. } = &*self.shared;
        let told = known.map(|known| match &rules.sealed {
            Some(_) => known.narrowed(|name| rules.scope.keys_on(name)),
            None => known.clone(),
        });
        if let Some(IdentityEstablished(found)) = answer.get()
            && (known.is_none() || *found != told)
        {
            self.shared.warn_of_order();
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
        let unseen = connection_nominated(&parts.headers);
        let seen = |name: &HeaderName| self.shared.rules.tells_apart(name);
        if unseen.iter().any(|name| !seen(name) && verdict.storable.nominated.contains(name)) {
            return Err(NotStored::Connection);
        }
        if declared.is_some_and(|length| length > self.fill.max_body()) {
            return Err(NotStored::TooLarge);
        }
        if self.stored.is_none() && !self.fill.is_used_enough() {
            return Err(NotStored::TooFewUses);
        }
        let usable = |entry: &Arc<Entry>| {
            entry.lifespan().is_usable(received) && self.shared.cache.is_live(self.fill.key().as_bytes(), entry)
        };
        if is_passing_trouble(answer.status) && self.stored.as_ref().is_some_and(usable) {
            return Err(NotStored::Superseded);
        }
        Ok(verdict)
    }
}

/// Whether an answer that is not stored itself ends the stored one: any full answer does but a passing trouble. An answer
/// for one user's credentials says nothing about what others get.
fn ends_the_stored(status: StatusCode, reason: NotStored) -> bool {
    let full = !is_passing_trouble(status) && !status.is_informational() && !answers_one_request(status);
    full && !matches!(reason, NotStored::Refused(Refusal::Credentials) | NotStored::Connection)
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

/// After the inner service has failed, it is left alone this long.
pub(super) const BACK_OFF: Duration = Duration::from_secs(30);

/// There is no room for another fill, and nothing to serve instead.
pub(super) fn overloaded<B>(cache: &Cache, key: &KeyBuf, why: Forward) -> Response<ResponseBody<B>> {
    let mut response = Response::new(ResponseBody::stored(StoredBody::Empty));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    let note = Forwarded { key: Some(key), detail: Some("fill-limit"), ..Forwarded::default() };
    cache.status_line().say_forwarded(response.headers_mut(), why, note, false);
    response
}

//! Asking the inner service: fetching, validating, refreshing.

use super::{
    ResponseBody,
    content::{Content, RebuildBody},
    future::ask,
    layer::Shared,
    service::{Filling, InnerPolicy},
};
use crate::{
    cache::{Act, Facts, Fill, Forwarded, Freshening, RecordedHead, answer, strip_own_fields},
    entry::Entry,
    identity::{Identity, IdentityEstablished},
    key::{KeyBuf, is_forwarding, keyed_uri, narrow_forwarded},
    layers::stats::RequestStats,
    outcome::{NotStored, Outcome},
    policy::Policy,
    semantics::{
        cache_control::RequestDirectives,
        cache_status::Forward,
        content_coding,
        date::Timestamp,
        fields::{connection_nominated, is_of_the_connection, strip_connection_fields_but, withdraw_nominations},
        storable::{Refusal, answers_one_request, is_passing_trouble},
        validation::{head_agrees, make_conditional},
        validator,
    },
    store::Found,
};
use bytes::Bytes;
use http::{
    Extensions, HeaderMap, HeaderName, Method, Request, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, ETAG, EXPIRES, LAST_MODIFIED, RANGE, SET_COOKIE,
    },
    request::Parts,
};
use http_body::Body;
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
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
}

/// A future that asks. Apart from the call that makes it, or each hit would make room on the stack for all of it.
#[inline(never)]
pub(super) fn start<S, R, ReqBody, ResBody>(
    job: Job,
    inner: S,
    parts: Parts,
    body: ReqBody,
    content: Content<R>,
) -> super::ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
{
    super::ResponseFuture::exchange(Box::pin(run(job, inner, parts, body, content)))
}

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;

/// Asks the inner service, and answers with what it says or with what is stored.
pub(super) async fn run<S, R, ReqBody, ResBody>(
    mut job: Job,
    inner: S,
    parts: Parts,
    body: ReqBody,
    content: Content<R>,
) -> Answer<ResBody, S::Error>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    R: RebuildBody<ReqBody>,
    ResBody: Body<Data = Bytes>,
{
    let question = job.question(&parts);
    let head = parts.method == Method::HEAD;
    let validating = job.act == Act::Validate && !head;
    let again = validating.then(|| inner.clone());
    let sent = if validating { job.conditional(question) } else { question };
    match job.hear(ask(inner, Request::from_parts(sent, body)).await) {
        Err(error) => job.instead_of_trouble(&parts).ok_or(error),
        Ok(response) if response.status().is_server_error() => match job.instead_of_trouble(&parts) {
            Some(stale) => Ok(stale),
            None => Ok(job.conclude(&parts, response)),
        },
        Ok(response) if head => Ok(job.take_head(&parts, response)),
        Ok(response) if validating && response.status() == StatusCode::NOT_MODIFIED => {
            match (job.take_not_modified(&parts, &response), again) {
                (Ok(answered), _) => Ok(answered),
                (Err(job), Some(inner)) => job.refetch(inner, parts, content.body()).await,
                (Err(job), None) => Ok(job.conclude(&parts, response)),
            }
        }
        Ok(response) => Ok(job.conclude(&parts, response)),
    }
}

/// Refreshes a stored response in the background, unless that is under way or has failed a moment ago (RFC 5861 §3).
#[expect(clippy::too_many_arguments, reason = "all there is to know of a request whose client has its answer already")]
pub(super) fn refresh<S, R, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    mut parts: Parts,
    entry: Arc<Entry>,
    key: KeyBuf,
    facts: Facts,
    now: Timestamp,
    content: Content<R>,
) where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
{
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    if !entry.refresh.enter(now) {
        return;
    }
    // What was asked for was this client's; the refresh is everyone's.
    parts.extensions.remove::<RequestStats>();
    if parts.method == Method::HEAD {
        parts.method = Method::GET;
    }
    let Shared { cache, rules, .. } = &**shared;
    let keyed = |name: &HeaderName| rules.tells_apart(name) || entry.nominated.contains(name);
    strip_connection_fields_but(&mut parts.headers, keyed);
    validator::strip_conditionals(&mut parts.headers);
    parts.headers.remove(RANGE);
    if content.bytes.is_empty() {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let fill = Fill::begin(cache, rules, key.clone(), &parts, facts, None);
    let validatable = parts.method == Method::GET && validator::has_validator(&entry.head);
    let act = if validatable { Act::Validate } else { Act::Fetch };
    let under_way =
        Refresh { shared: Arc::clone(shared), entry: Arc::clone(&entry), key, request: parts.headers.clone() };
    let job = Job {
        shared: Arc::clone(shared),
        fill,
        stored: Some(entry),
        act,
        forward: Forward::Stale,
        facts: Facts::default(),
        directives: None,
        background: true,
        heard: Ok(()),
        stats: None,
    };
    let inner = inner.clone();
    runtime.spawn(async move {
        let _under_way = under_way;
        if let Ok(response) = run(job, inner, parts, content.body(), content).await {
            drain(response.into_body()).await;
        }
    });
}

/// Reads a body to its end as long as it is being stored.
async fn drain<B: Body<Data = Bytes>>(body: ResponseBody<B>) {
    let mut body = pin!(body);
    while body.is_recording() {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

impl Job {
    /// Takes in a policy that the handler put into the extensions of its answer.
    fn hear<B, E>(&mut self, answer: Result<Response<B>, E>) -> Result<Response<B>, E> {
        let mut answer = answer?;
        if let Some(policy) = answer.extensions_mut().remove::<Policy>() {
            self.heard = self.fill.adopt(&policy);
        }
        Ok(answer)
    }

    fn count(&self, outcome: Outcome) {
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
    fn question(&self, parts: &Parts) -> Parts {
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
    fn conditional(&self, mut question: Parts) -> Parts {
        if let Some(entry) = &self.stored {
            make_conditional(&mut question.headers, &entry.head);
            question.headers.remove(RANGE);
        }
        question
    }

    /// The stored response, if it may stand in for a failing service (RFC 5861 §4). The service is then left alone for
    /// a while.
    fn instead_of_trouble<B>(&self, parts: &Parts) -> Option<Response<ResponseBody<B>>> {
        let cache = &self.shared.cache;
        let now = cache.now();
        let request = self.directives.as_ref();
        let entry = self.stored.as_ref().filter(|entry| entry.lifespan.allows_error(request, now))?;
        if self.facts.has(Facts::REFETCH) || !cache.is_live(entry) {
            return None;
        }
        entry.refresh.shut_if_idle(now.saturating_add(BACK_OFF));
        self.count(Outcome::Stale);
        let mut response = answer(entry, &parts.method, &parts.headers, self.facts, now);
        let note = Forwarded { key: Some(self.fill.key()), detail: Some("stale-if-error"), ..Forwarded::default() };
        cache.status_line().say_forwarded(response.headers_mut(), Forward::Stale, note, true);
        Some(response.map(ResponseBody::stored))
    }

    /// A 304 to our own question. Gives the job back if the inner service meant another representation.
    fn take_not_modified<B>(
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
        self.count(Outcome::Revalidated);
        if stored {
            self.count_set();
        }
        let cache = &self.shared.cache;
        let mut response = answer(&entry, &parts.method, &parts.headers, self.facts, cache.now());
        let status = Some(StatusCode::NOT_MODIFIED);
        let detail = Some("revalidated");
        let note = Forwarded { stored, status, key: Some(self.fill.key()), detail };
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
        let allowed = self.may_store(parts, extensions).and_then(|()| self.fill.consult(parts, &head));
        self.fill.freshen(stored, &head.headers, extensions.get(), allowed)
    }

    /// Asks again without conditions: the stored response and the inner service do not speak of the same thing.
    async fn refetch<S, ReqBody, ResBody>(
        mut self: Box<Self>,
        inner: S,
        parts: Parts,
        body: ReqBody,
    ) -> Answer<ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Body<Data = Bytes>,
    {
        self.fill.forget_handler(&self.shared.rules);
        let mut question = self.question(&parts);
        validator::strip_conditionals(&mut question.headers);
        question.headers.remove(RANGE);
        match self.hear(ask(inner, Request::from_parts(question, body)).await) {
            Err(error) => self.instead_of_trouble(&parts).ok_or(error),
            Ok(response) if response.status().is_server_error() => match self.instead_of_trouble(&parts) {
                Some(stale) => Ok(stale),
                None => Ok(self.conclude(&parts, response)),
            },
            Ok(response) => Ok(self.conclude(&parts, response)),
        }
    }

    /// An answer to HEAD: it fills nothing, and tells whether the stored response still holds (RFC 9111 §4.3.5).
    fn take_head<B>(mut self, parts: &Parts, mut response: Response<B>) -> Response<ResponseBody<B>> {
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
    fn conclude<B: Body<Data = Bytes>>(self, parts: &Parts, response: Response<B>) -> Response<ResponseBody<B>> {
        let Shared { cache, rules, .. } = &*self.shared;
        self.count(Outcome::Miss);
        let (mut head, body) = response.into_parts();
        let received = cache.now();
        let declared = declared_length(&head.headers, &body);
        let verdict = self.verdict(parts, &head, declared, received);
        let note = Forwarded {
            stored: verdict.is_ok(),
            status: Some(head.status),
            key: Some(self.fill.key()),
            detail: verdict.as_ref().err().map(|reason| reason.as_str()),
        };
        let sent = head.headers.clone();
        strip_own_fields(&mut head.headers, rules);
        cache.status_line().say_forwarded(&mut head.headers, self.forward, note, false);
        let body = match verdict {
            Ok((storable, age)) => {
                if let Some(browser) = self.fill.browser() {
                    head.headers.remove(EXPIRES);
                    head.headers.insert(CACHE_CONTROL, browser.aged(age).to_header_value());
                }
                self.count_set();
                let for_caches = head.extensions.get().cloned();
                let recorded = RecordedHead { status: head.status, headers: sent, for_caches, storable, age, received };
                let replaces = self.stored.filter(|_| !is_passing_trouble(head.status));
                let mut recording = self.fill.record(recorded, declared.flatten(), replaces);
                if body.is_end_stream() {
                    recording.end();
                }
                ResponseBody::recorded(body, recording)
            }
            Err(reason) => {
                cache.counters().not_stored(reason);
                if let Some(entry) = self.stored.filter(|_| ends_the_stored(head.status, reason)) {
                    cache.remove(self.fill.key().as_bytes(), &entry);
                }
                ResponseBody::inner(body)
            }
        };
        Response::from_parts(head, body)
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
        &self,
        parts: &Parts,
        answer: &http::response::Parts,
        declared: Option<Option<u64>>,
        received: Timestamp,
    ) -> Result<(crate::semantics::storable::Storable, Duration), NotStored> {
        if parts.method == Method::HEAD {
            return Err(NotStored::Refused(Refusal::Status));
        }
        self.may_store(parts, &answer.extensions)?;
        let Some(declared) = declared else { return Err(NotStored::WrongLength) };
        let verdict = self.fill.judge(answer.status, &answer.headers, answer.extensions.get(), received)?;
        self.fill.consult(parts, answer)?;
        let unseen = connection_nominated(&parts.headers);
        let seen = |name: &HeaderName| self.shared.rules.tells_apart(name);
        if unseen.iter().any(|name| !seen(name) && verdict.0.nominated.contains(name)) {
            return Err(NotStored::Connection);
        }
        if declared.is_some_and(|length| length > self.fill.max_body()) {
            return Err(NotStored::TooLarge);
        }
        let usable = |entry: &Arc<Entry>| entry.lifespan.is_usable(received) && self.shared.cache.is_live(entry);
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

/// A refresh under way. However it ends, also by a panic, the gate of its entry does not stay taken.
struct Refresh {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    key: KeyBuf,
    request: HeaderMap,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        let cache = &self.shared.cache;
        let counters = cache.counters();
        counters.refreshes.fetch_add(1, Relaxed);
        match cache.find(self.key.as_bytes(), &self.request) {
            Found::Entry(entry) if Arc::ptr_eq(&entry, &self.entry) => {
                counters.failed_refreshes.fetch_add(1, Relaxed);
                self.entry.refresh.shut_until(cache.now().saturating_add(BACK_OFF));
            }
            _ => self.entry.refresh.open(),
        }
    }
}

/// After the inner service has failed, it is left alone this long.
const BACK_OFF: Duration = Duration::from_secs(30);

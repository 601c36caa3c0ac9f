//! Taking an answer of the inner service into the cache.

use super::Cache;
use crate::{
    cache::{Change, Facts, client_uri, is_grpc, target_uri},
    entry::{Entry, Keeping, Origin, take},
    identity::Identity,
    invalidation::{Footprint, Seq, Subject, records_of},
    key::{Key, KeyBuf},
    outcome::NotStored,
    policy::{Policy, Rules},
    semantics::{
        cache_control::{RequestDirectives, ResponseDirectives},
        cache_control_writer::CacheControl,
        cache_control_writer::ForCaches,
        date::Timestamp,
        freshness::{LifetimeSource, initial_age},
        invalidation::same_origin_targets,
        no_vary_search::{SearchVariance, no_vary_search},
        storable::{Refusal, SetCookie, Storable, StoreRequest, storable},
        target::Target,
        validation::{Freshened, freshen},
    },
};
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, StatusCode, Uri,
    header::{SET_COOKIE, TRAILER},
    request::Parts,
};
use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// A fill that has begun: everything about the request that storing its answer needs. Made before the inner service is
/// called, so that its stamp is older than anything the answer could be made of.
#[derive(Debug)]
pub(crate) struct Fill {
    cache: Cache,
    rules: Arc<Rules>,
    /// The rules, where they are what the handler said.
    handler: Option<Arc<Rules>>,
    key: KeyBuf,
    target: KeyedTarget,
    /// The request as the client sent it: its fields select the variant.
    request: HeaderMap,
    asked: StoreRequest,
    identity: Option<Identity>,
    stamp: Seq,
    started: u64,
    requested: Timestamp,
}

/// The target of a request, as far as it counts.
#[derive(Debug)]
struct KeyedTarget {
    authority: Option<String>,
    path: String,
    query: Option<String>,
}

impl KeyedTarget {
    fn of(rules: &Rules, uri: &Uri, parts: &Parts) -> Self {
        let target = Target::of(uri, &parts.headers, super::admit::scheme(parts));
        let authority = target.ok().and_then(|target| target.normal_authority()).map(str::to_owned);
        let query = uri.query().and_then(|query| rules.key.keyed_query(query)).map(Cow::into_owned);
        Self { authority, path: uri.path().to_owned(), query }
    }
}

/// What became of a stored response when the inner service said that it still holds.
#[derive(Debug)]
pub(crate) enum Freshening {
    /// It is stored anew, and is the answer.
    Stored(Arc<Entry>),
    /// It is the answer to this request, and is stored no more.
    Gone(Arc<Entry>),
    /// The inner service meant another representation.
    Mismatch,
}

impl Fill {
    pub(crate) fn begin(
        cache: &Cache,
        rules: &Arc<Rules>,
        key: KeyBuf,
        parts: &Parts,
        facts: Facts,
        directives: Option<&RequestDirectives>,
    ) -> Self {
        let mut place = None;
        let uri = target_uri(rules, parts, &mut place).unwrap_or_else(|_| client_uri(parts));
        let credentials = facts.has(Facts::CREDENTIALS);
        Self {
            target: KeyedTarget::of(rules, uri, parts),
            identity: parts.extensions.get::<Identity>().cloned(),
            cache: cache.clone(),
            rules: Arc::clone(rules),
            handler: None,
            key,
            request: parts.headers.clone(),
            asked: StoreRequest {
                credentials,
                no_store: directives.is_some_and(|request| request.no_store),
                one_user: facts.has(Facts::ONE_USER),
            },
            stamp: cache.ledger().applied(),
            started: cache.begin_fill(),
            requested: cache.now(),
        }
    }

    /// Follows what the handler says of storing its answer. What tells requests apart was settled before it was asked: a
    /// policy that wants that otherwise cannot be followed, and the answer is not stored.
    pub(crate) fn adopt(&mut self, policy: &Policy) -> Result<(), NotStored> {
        match self.rules.with_storing_of(policy, self.cache.unit()) {
            Ok(rules) => {
                self.follow(Some(Arc::new(rules)));
                Ok(())
            }
            Err(error) => {
                tracing::debug!(target: "larder::store", %error, "the policy of the handler cannot be followed");
                Err(NotStored::HandlerPolicy)
            }
        }
    }

    /// What clients are told of an answer that is stored.
    pub(crate) fn browser(&self) -> Option<CacheControl> {
        self.rules.browser
    }

    /// Follows what a handler said before, unless it has said something else since.
    pub(crate) fn follow(&mut self, handler: Option<Arc<Rules>>) {
        if let Some(handler) = handler.filter(|_| self.handler.is_none()) {
            self.rules = Arc::clone(&handler);
            self.handler = Some(handler);
        }
    }

    /// Follows the policy of the layer again: another answer is asked for.
    pub(crate) fn forget_handler(&mut self, rules: &Arc<Rules>) {
        self.rules = Arc::clone(rules);
        self.handler = None;
    }

    pub(crate) fn max_body(&self) -> u64 {
        self.rules.max_body as u64
    }

    pub(crate) fn key(&self) -> &KeyBuf {
        &self.key
    }

    /// Whether an answer with this head may be stored, and how old it is.
    pub(crate) fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        for_caches: Option<&ForCaches>,
        received: Timestamp,
    ) -> Result<(Storable, Duration), NotStored> {
        // What a layer writes for browsers and CDNs gives this cache no leave.
        let headers = &*for_caches.map_or(Cow::Borrowed(headers), |counts| counts.head(headers));
        let age = initial_age(headers, self.requested, received);
        let mut storable =
            storable(self.asked, status, headers, &self.rules.store, received, age).map_err(NotStored::Refused)?;
        storable.nominated.retain(|name| !self.rules.ignored_vary.contains(name));
        if let Some(until) = &self.rules.fresh_until {
            let until = call(|| until(received.into()))?;
            let left = Timestamp::from(until).since(received);
            if left.is_zero() {
                return Err(NotStored::Policy);
            }
            storable.lifetime = storable.lifetime.min(left.saturating_add(age));
        }
        if self.rules.observe_only {
            let until = received.saturating_add(storable.lifetime.saturating_sub(age));
            self.cache.observed().would_store(self.key.as_bytes(), until);
            return Err(NotStored::ObserveOnly);
        }
        Ok((storable, age))
    }

    /// Whether a predicate of the policy refuses an answer that may be stored otherwise.
    pub(crate) fn consult(&self, request: &Parts, answer: &http::response::Parts) -> Result<(), NotStored> {
        match &self.rules.refuse_if {
            Some(refuse) if call(|| refuse(request, answer))? => Err(NotStored::Policy),
            _ => Ok(()),
        }
    }

    /// Records the body of an answer that may be stored.
    pub(crate) fn record(self, head: RecordedHead, declared: Option<u64>, replaces: Option<Arc<Entry>>) -> Recording {
        let limit = self.rules.max_body;
        let expected = declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(limit);
        Recording {
            open: Some((self, head)),
            bytes: BytesMut::with_capacity(expected.min(READ_AHEAD)),
            trailers: None,
            declared,
            replaces,
            limit,
        }
    }

    /// Takes in a 304 to a validation of `entry` (RFC 9111 §4.3.4).
    /// `allowed` is what speaks against storing it anew, beside the head.
    pub(crate) fn freshen(
        &self,
        entry: &Arc<Entry>,
        answer: &HeaderMap,
        for_caches: Option<&ForCaches>,
        allowed: Result<(), NotStored>,
    ) -> Freshening {
        let received = self.cache.now();
        let stored = entry.origin_head(self.cache.status_line().hit());
        match freshen(&stored, answer, received) {
            Freshened::Head(head) => {
                let for_caches = for_caches.or(entry.for_caches.as_deref());
                self.restore(entry, head, for_caches, received, allowed)
            }
            _ => Freshening::Mismatch,
        }
    }

    /// Stores an entry again under a head that was freshened.
    fn restore(
        &self,
        entry: &Arc<Entry>,
        headers: HeaderMap,
        for_caches: Option<&ForCaches>,
        received: Timestamp,
        allowed: Result<(), NotStored>,
    ) -> Freshening {
        let trailers = entry.trailers.as_deref().cloned();
        let judged = allowed.and_then(|()| self.judge(entry.status, &headers, for_caches, received));
        let for_caches = for_caches.cloned();
        match judged {
            Ok((storable, age)) => {
                let head = RecordedHead { status: entry.status, headers, for_caches, storable, age, received };
                // The bytes are as old as they were: what was invalidated since they were made stays so.
                let fresh = Entry { stamp: entry.stamp, ..self.entry(head, entry.body.clone(), trailers) };
                let fresh = Arc::new(fresh);
                match self.store(&fresh) {
                    Ok(()) => Freshening::Stored(fresh),
                    Err(reason) => {
                        self.cache.counters().not_stored(reason);
                        Freshening::Gone(fresh)
                    }
                }
            }
            Err(reason) => {
                self.cache.counters().not_stored(reason);
                // What is true of this request only says nothing about what the others get.
                let own = [Refusal::Credentials, Refusal::RequestNoStore].map(NotStored::Refused).contains(&reason);
                if !own {
                    self.cache.remove(self.key.as_bytes(), entry);
                }
                let age = initial_age(&headers, self.requested, received);
                let head = RecordedHead { status: entry.status, headers, for_caches, storable: once(), age, received };
                Freshening::Gone(Arc::new(self.entry(head, entry.body.clone(), trailers)))
            }
        }
    }

    fn entry(&self, head: RecordedHead, body: Bytes, trailers: Option<HeaderMap>) -> Entry {
        let RecordedHead { status, headers, for_caches, storable, age, received } = head;
        let footprint = self.footprint(no_vary_search(&headers).as_ref());
        let origin = Origin {
            status,
            headers,
            for_caches,
            storable,
            received,
            age,
            footprint,
            stamp: self.stamp,
            started: self.started,
            handler: self.handler.clone(),
        };
        let how = Keeping {
            set_cookie: self.rules.store.set_cookie,
            own_fields: &self.rules.own_fields,
            browser: self.rules.browser,
            keep: self.rules.keep,
            hit: self.cache.status_line().hit(),
        };
        Entry::new(origin, body, trailers, how)
    }

    /// The key under which an answer is found: what it says of its query counts, and is remembered for the next request.
    fn key_of(&self, answer: &HeaderMap) -> Key {
        let KeyedTarget { path, query, .. } = &self.target;
        let said = self.cache.searches().learn(path, no_vary_search(answer));
        Key::from(&self.key.with_query(query.as_deref(), said.as_ref()))
    }

    /// The rows of the ledger that an answer can be hit by: its resource as the client named it, and as `No-Vary-Search`
    /// lets it count, and the parts of the identity in its key.
    fn footprint(&self, said: Option<&SearchVariance>) -> Footprint {
        let keyed: Vec<_> = self.identity.iter().flat_map(|identity| self.rules.scope.keyed(identity)).collect();
        let KeyedTarget { authority, path, query } = &self.target;
        let ledger = self.cache.ledger();
        let (authority, path) = (authority.as_deref(), path.as_str());
        let mut footprint = ledger.footprint(Subject::Resource { authority, path, query: query.as_deref() }, &keyed);
        if let Some(said) = said {
            let normal = said.normal_query(query.as_deref());
            footprint.extend(ledger.footprint(Subject::Resource { authority, path, query: normal.as_deref() }, &keyed));
        }
        footprint
    }

    /// An answer that was to be stored is not. It was complete all the same for these reasons, and ends what it was to
    /// replace.
    fn refuse(&self, reason: NotStored, replaces: Option<Arc<Entry>>) {
        self.cache.counters().not_stored(reason);
        let complete = matches!(
            reason,
            NotStored::TooLarge | NotStored::NoRoom | NotStored::GrpcStatus | NotStored::Refused(Refusal::SetCookie)
        );
        if let Some(entry) = replaces.filter(|_| complete) {
            self.cache.remove(self.key.as_bytes(), &entry);
        }
    }

    fn store(&self, entry: &Arc<Entry>) -> Result<(), NotStored> {
        if entry.footprint.len() > MAX_ROWS {
            return Err(NotStored::IdentityTooLarge);
        }
        if !self.cache.is_live(entry) {
            return Err(NotStored::Invalidated);
        }
        let now = self.cache.now();
        let live = |other: &Entry| other.discard_at > now && self.cache.is_live(other);
        let key = self.key_of(&entry.head);
        self.cache.0.memory.put(key, Arc::clone(entry), &self.request, self.rules.max_variants, live)?;
        self.cache.counters().stored.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.cache.keep_swept();
        Ok(())
    }
}

/// The head of an answer that may be stored.
#[derive(Debug)]
pub(crate) struct RecordedHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What counts of fields that a layer wrote for browsers and CDNs.
    pub(crate) for_caches: Option<ForCaches>,
    pub(crate) storable: Storable,
    pub(crate) age: Duration,
    pub(crate) received: Timestamp,
}

/// A body on its way to the client, written down until it has ended. Only a body that ends cleanly, as long as was
/// declared, becomes an entry.
#[derive(Debug)]
pub(crate) struct Recording {
    /// What is needed to store it; gone once that is done or given up.
    open: Option<(Fill, RecordedHead)>,
    bytes: BytesMut,
    trailers: Option<HeaderMap>,
    declared: Option<u64>,
    /// The stored response that this answer ends, also where it turns out that it cannot be stored itself.
    replaces: Option<Arc<Entry>>,
    limit: usize,
}

impl Recording {
    /// Whether it goes on.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    pub(crate) fn data(&mut self, data: &[u8]) {
        if self.open.is_none() {
            return;
        }
        let length = self.bytes.len() + data.len();
        if self.declared.is_some_and(|declared| length as u64 > declared) {
            self.give_up(NotStored::WrongLength);
        } else if length > self.limit {
            self.give_up(NotStored::TooLarge);
        } else {
            self.bytes.extend_from_slice(data);
        }
    }

    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        self.trailers.get_or_insert_default().extend(trailers.clone());
    }

    pub(crate) fn fail(&mut self) {
        self.give_up(NotStored::BodyFailed);
    }

    /// The body has ended cleanly.
    pub(crate) fn end(&mut self) {
        if self.declared.is_some_and(|declared| declared != self.bytes.len() as u64) {
            return self.give_up(NotStored::WrongLength);
        }
        if self
            .open
            .as_ref()
            .is_some_and(|(fill, head)| fill.rules.grpc && is_grpc(&fill.request) && !self.succeeded(head))
        {
            return self.give_up(NotStored::GrpcStatus);
        }
        let Some((fill, head)) = self.open.take() else { return };
        if let Some(trailers) = self.trailers.as_mut().filter(|trailers| trailers.contains_key(SET_COOKIE)) {
            match fill.rules.store.set_cookie {
                SetCookie::Strip => drop(trailers.remove(SET_COOKIE)),
                SetCookie::Keep => {}
                SetCookie::Refuse => return fill.refuse(NotStored::Refused(Refusal::SetCookie), self.replaces.take()),
            }
        }
        // A copy of the right size: the buffer may be twice as large.
        let body = Bytes::copy_from_slice(&std::mem::take(&mut self.bytes));
        let entry = Arc::new(fill.entry(head, body, self.trailers.take()));
        if let Err(reason) = fill.store(&entry) {
            fill.refuse(reason, self.replaces.take());
        }
    }

    /// Whether a gRPC call has succeeded: its status is in the trailers, or in the head if there are none.
    fn succeeded(&self, head: &RecordedHead) -> bool {
        let status = |fields: &HeaderMap| fields.get("grpc-status").map(|status| status == "0");
        self.trailers.as_ref().and_then(status).or_else(|| status(&head.headers)).unwrap_or(false)
    }

    fn give_up(&mut self, reason: NotStored) {
        if let Some((fill, _)) = self.open.take() {
            fill.refuse(reason, self.replaces.take());
        }
        self.bytes = BytesMut::new();
    }
}

impl Drop for Recording {
    /// A server that has sent the trailers, or the declared length where no trailers are to come, does not ask for the end.
    fn drop(&mut self) {
        let Some((_, head)) = &self.open else { return };
        let reached = self.declared == Some(self.bytes.len() as u64) && !head.headers.contains_key(TRAILER);
        let complete = reached || self.trailers.is_some();
        if complete && !std::thread::panicking() { self.end() } else { self.give_up(NotStored::Abandoned) }
    }
}

impl Cache {
    /// A request that changes something has succeeded: its target, and what the answer says has changed with it, are
    /// invalid from now on (RFC 9111 §4.4).
    pub(crate) fn invalidate_changed(&self, change: &Change, answer: &HeaderMap) {
        let base = change.target();
        let rules = self.query_rules();
        let mut records = records_of(self.ledger(), &base, None, &rules, self.searches());
        for target in same_origin_targets(&base, answer) {
            let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
            records.extend(records_of(self.ledger(), &Target { path, query, ..base }, None, &rules, self.searches()));
        }
        self.append(&records);
    }
}

/// Calls a closure of the policy.
fn call<T>(closure: impl FnOnce() -> T) -> Result<T, NotStored> {
    catch_unwind(AssertUnwindSafe(closure)).map_err(|_| NotStored::CallbackPanicked)
}

/// Removes from an answer what speaks to this cache alone.
pub(crate) fn strip_own_fields(headers: &mut HeaderMap, rules: &Rules) {
    if rules.own_fields.iter().any(|name| headers.contains_key(name)) {
        take(headers, &rules.own_fields);
    }
}

/// The life of a response that is answered once and kept nowhere.
fn once() -> Storable {
    Storable {
        lifetime: Duration::ZERO,
        source: LifetimeSource::Policy,
        directives: ResponseDirectives::default(),
        nominated: Vec::new(),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    }
}

/// What can be invalidated in more ways is not stored: each is looked up when anything is invalidated.
const MAX_ROWS: usize = 512;

/// A declared length is believed this far before the bytes are there.
const READ_AHEAD: usize = 256 * 1024;

use super::{
    ResponseBody, ResponseFuture,
    exchange::{self, Job},
    future::Aside,
    layer::Shared,
};
use crate::{
    cache::{Act, Admission, BodyFacts, Cache, Facts, Fill, admit, answer, decide, nothing_stored, say_hit},
    entry::Entry,
    key::KeyBuf,
    outcome::{Bypass, Outcome},
    semantics::{cache_control::RequestDirectives, cache_status::Forward, date::Timestamp},
    store::Found,
};
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body::Body;
use smallvec::SmallVec;
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Stores responses of the inner service and serves them. Made by [`CacheLayer`](super::CacheLayer).
#[derive(Clone)]
pub struct CacheService<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// In the extensions of a request that is to fill a cache: layers of the same cache further in take no part.
#[derive(Clone, Debug, Default)]
pub(super) struct Filling(SmallVec<[u64; 2]>);

impl Filling {
    fn is_under_way(parts: &Parts, cache: &Cache) -> bool {
        parts.extensions.get::<Self>().is_some_and(|filling| filling.0.contains(&cache.id()))
    }

    pub(super) fn mark(parts: &mut Parts, cache: &Cache) {
        parts.extensions.get_or_insert_default::<Self>().0.push(cache.id());
    }
}

impl<S> CacheService<S> {
    pub(super) fn new(inner: S, shared: Arc<Shared>) -> Self {
        Self { inner, shared }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CacheService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    ReqBody: Body + Default + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    /// Always ready: a hit needs nothing of the inner service. Its readiness is awaited by the future, and only if the
    /// inner service is to be asked.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let Shared { cache, rules, .. } = &*self.shared;
        if Filling::is_under_way(&parts, cache) {
            return ResponseFuture::pass(self.inner.clone(), Request::from_parts(parts, body), None);
        }
        let now = cache.now();
        let (key, facts) = match admit(rules, &parts, BodyFacts { empty: is_empty(&body) }, now) {
            Admission::Lookup(key, facts) => (key, facts),
            Admission::Bypass(reason, change) => {
                cache.counters().bypass(reason);
                let forward = if reason == Bypass::Method { Forward::Method } else { Forward::Bypass };
                let aside = Aside { shared: Arc::clone(&self.shared), forward, reason: reason.as_str(), change };
                return ResponseFuture::pass(self.inner.clone(), Request::from_parts(parts, body), Some(aside));
            }
        };
        let heard = rules.honor_requests && facts.has(Facts::CACHE_CONTROL);
        let directives = heard.then(|| RequestDirectives::parse(&parts.headers));
        rules.key.narrow(&mut parts.headers);
        if rules.observe_only {
            cache.observed().look(key.as_bytes(), now);
        }
        let (stored, forward) = match cache.find(key.as_bytes(), &parts.headers) {
            Found::Entry(_) if facts.has(Facts::REFETCH) => (None, Forward::Request),
            Found::Entry(entry) => (Some(entry), Forward::Stale),
            Found::OtherVariants => (None, Forward::VaryMiss),
            Found::Nothing => (None, Forward::UriMiss),
        };
        let credentials = facts.has(Facts::CREDENTIALS);
        let verdict = stored.as_deref().map(|entry| decide(entry, credentials, directives.as_ref(), rules, now));
        let (stored, act, forward) = match (stored, verdict) {
            (Some(entry), Some(Act::Serve)) => {
                let response = self.serve(&entry, &parts, facts, &key, now, Outcome::Hit, None);
                return ResponseFuture::ready(response);
            }
            (Some(entry), Some(Act::ServeStale)) => {
                let response = self.serve(&entry, &parts, facts, &key, now, Outcome::Stale, Some("stale"));
                return ResponseFuture::ready(response);
            }
            (Some(entry), Some(Act::ServeAndRefresh)) => {
                let says = Some("stale-while-revalidate");
                let response = self.serve(&entry, &parts, facts, &key, now, Outcome::Stale, says);
                exchange::refresh(&self.shared, &self.inner, parts, entry, key, facts, now);
                return ResponseFuture::ready(response);
            }
            (_, Some(Act::Ignore)) => (None, Act::Fetch, Forward::Miss),
            (stored, act) => (stored, act.unwrap_or(Act::Fetch), forward),
        };
        if directives.is_some_and(|request| request.only_if_cached) {
            cache.counters().count(Outcome::Miss);
            return ResponseFuture::ready(nothing_stored().map(ResponseBody::stored));
        }
        let fill = Fill::begin(cache, rules, key, &parts, facts, directives.as_ref());
        let job =
            Job { shared: Arc::clone(&self.shared), fill, stored, act, forward, facts, directives, background: false };
        ResponseFuture::exchange(Box::pin(exchange::run(job, self.inner.clone(), parts, body)))
    }
}

impl<S> CacheService<S> {
    #[expect(clippy::too_many_arguments, reason = "all there is to know of a hit, each on the stack already")]
    #[inline]
    fn serve<B>(
        &self,
        entry: &Entry,
        parts: &Parts,
        facts: Facts,
        key: &KeyBuf,
        now: Timestamp,
        outcome: Outcome,
        detail: Option<&str>,
    ) -> Response<ResponseBody<B>> {
        let cache = &self.shared.cache;
        cache.counters().count(outcome);
        let mut response = answer(entry, &parts.method, &parts.headers, facts, now);
        say_hit(&mut response, cache.status_line(), entry, key, now, detail);
        response.map(ResponseBody::stored)
    }
}

/// Whether a request certainly has no content.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl<S: fmt::Debug> fmt::Debug for CacheService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

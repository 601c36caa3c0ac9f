use super::{
    ResponseBody, ResponseFuture,
    content::{Content, NoRebuild, RebuildBody},
    exchange,
    future::Aside,
    inner::{Inner, Storing},
    layer::Shared,
    look::{Looked, look},
};
use crate::{
    cache::{Admission, BodyFacts, BoxError, Cache, Facts, admit_or_pass, admit_with_content, client_uri, whole},
    outcome::Bypass,
    policy::{Chosen, Pick, Rules},
    request_stats::{InsideCache, RequestStats},
    semantics::cache_status::Forward,
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
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{CacheLayer, CacheService, Policy, assert_hit, test_util};
/// # use std::{convert::Infallible, time::Duration};
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let (cache, _) = test_util::cache();
/// # let service = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::from("hello"))) });
/// let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60)));
/// let mut cached: CacheService<_> = layer.layer(service);
/// let first = cached.ready().await?.call(Request::new(Body::empty())).await?;
/// // The body is stored as it is read; it is one for every framework that takes any.
/// axum::body::to_bytes(Body::new(first.into_body()), 100).await?;
/// assert_hit!(cached.ready().await?.call(Request::new(Body::empty())).await?);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct CacheService<S, R = NoRebuild> {
    inner: S,
    choice: Arc<Chosen<Arc<Shared>>>,
    rebuild: R,
}

/// In the extensions of a request that is to fill a cache: layers of the same cache further in take no part, if theirs is
/// the same policy.
#[derive(Clone, Debug, Default)]
pub(super) struct Filling(SmallVec<[(u64, Arc<Rules>); 1]>);

/// In the extensions of a response: a layer of the same cache further in has another policy, which is the one that was
/// made for this route.
#[derive(Clone, Copy, Debug)]
pub(super) struct InnerPolicy(pub(super) u64);

impl Filling {
    fn under_way<'a>(parts: &'a Parts, cache: &Cache) -> Option<&'a Rules> {
        let filling = parts.extensions.get::<Self>()?;
        filling.0.iter().rev().find(|(id, _)| *id == cache.id()).map(|(_, rules)| &**rules)
    }

    /// Whether a cache of this id further out is being filled.
    pub(super) fn contains(parts: &Parts, id: u64) -> bool {
        parts.extensions.get::<Self>().is_some_and(|filling| filling.0.iter().any(|(other, _)| *other == id))
    }

    pub(super) fn mark(parts: &mut Parts, cache: &Cache, rules: &Arc<Rules>) {
        parts.extensions.get_or_insert_default::<Self>().0.push((cache.id(), Arc::clone(rules)));
        parts.extensions.insert(InsideCache);
    }
}

impl<S, R> CacheService<S, R> {
    pub(super) fn new(inner: S, choice: Arc<Chosen<Arc<Shared>>>, rebuild: R) -> Self {
        Self { inner, choice, rebuild }
    }
}

impl<S, R, ReqBody, ResBody> Service<Request<ReqBody>> for CacheService<S, R>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
    R: RebuildBody<ReqBody>,
    ReqBody: Body + Default + Send + 'static,
    ResBody: Body<Data = Bytes> + Send + 'static,
    ResBody::Error: Into<BoxError>,
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
        let (parts, body) = request.into_parts();
        let Pick { made: shared, passing, .. } = self.choice.pick(&parts, client_uri(&parts).path());
        let Shared { cache, rules, .. } = &**shared;
        let outer = Filling::under_way(&parts, cache);
        let within = outer.map(|_| cache.id());
        if outer.is_some_and(|outer| passing.is_some() || !rules.get || outer.policy_prefix == rules.policy_prefix) {
            return ResponseFuture::pass(self.inner.clone(), Request::from_parts(parts, body), None);
        }
        let future = self.answer(shared, passing, parts, body);
        let Some(id) = within else { return future };
        ResponseFuture::exchange(Box::pin(async move {
            let mut response = future.await?;
            response.extensions_mut().insert(InnerPolicy(id));
            Ok(response)
        }))
    }
}

impl<S, R> CacheService<S, R> {
    fn answer<ReqBody, ResBody>(
        &self,
        shared: &Arc<Shared>,
        passing: Option<Bypass>,
        mut parts: Parts,
        body: ReqBody,
    ) -> ResponseFuture<S, ReqBody, ResBody>
    where
        S: Inner<ReqBody, ResBody>,
        R: RebuildBody<ReqBody>,
        ReqBody: Body + Default + Send + 'static,
        ResBody: Storing,
    {
        let Shared { cache, rules, .. } = &**shared;
        let content = BodyFacts { empty: is_empty(&body), readable: R::READS };
        let mut key = rules.begin_key();
        match admit_or_pass(rules, passing, &parts, content, &|| cache.now(), &mut key) {
            Admission::Lookup(facts) => {
                let content = Content::none(self.rebuild.clone());
                let now = cache.now();
                match look(shared, &self.inner, &mut parts, facts, &key, now, &content) {
                    Looked::Hit(entry) => ResponseFuture::hit(entry, now),
                    Looked::Answered(response) => ResponseFuture::ready(response),
                    Looked::Uncacheable(forward, why, watch) => {
                        let request = Request::from_parts(parts, body);
                        ResponseFuture::pass(
                            self.inner.clone(),
                            request,
                            Some(Aside::watch(shared, forward, why, watch)),
                        )
                    }
                    Looked::Ask(ask, part) => {
                        ResponseFuture::exchange(exchange::start(ask, part, self.inner.clone(), parts, body, content))
                    }
                }
            }
            Admission::Read(facts) => self.read_first(shared, parts, body, facts),
            Admission::Bypass(reason, change) => {
                shared.count_bypass(&parts, reason);
                RequestStats::bypassed(&parts.extensions, reason, rules.name.as_ref());
                let forward = if reason == Bypass::Method { Forward::Method } else { Forward::Bypass };
                let aside = Aside { shared: Arc::clone(shared), forward, reason: reason.as_str(), change, watch: None };
                ResponseFuture::pass(self.inner.clone(), Request::from_parts(parts, body), Some(aside))
            }
        }
    }

    /// The content is part of the key: reads it, then looks. The inner service gets every byte.
    fn read_first<ReqBody, ResBody>(
        &self,
        shared: &Arc<Shared>,
        mut parts: Parts,
        body: ReqBody,
        facts: Facts,
    ) -> ResponseFuture<S, ReqBody, ResBody>
    where
        S: Inner<ReqBody, ResBody>,
        R: RebuildBody<ReqBody>,
        ReqBody: Body + Default + Send + 'static,
        ResBody: Storing,
    {
        let (inner, shared, rebuild) = (self.inner.clone(), Arc::clone(shared), self.rebuild.clone());
        let reading = rebuild.read(body, shared.rules.max_content);
        ResponseFuture::exchange(Box::pin(async move {
            let read = reading.await;
            let now = shared.cache.now();
            let (reason, body) = match read {
                Err(body) => (Bypass::ContentTooLong, body),
                Ok(bytes) => {
                    let content = Content { rebuild, bytes };
                    match admit_with_content(&shared.rules, &parts, &content.bytes, facts, now) {
                        Err(reason) => (reason, content.body()),
                        Ok((key, facts)) => match look(&shared, &inner, &mut parts, facts, &key, now, &content) {
                            Looked::Hit(entry) => return Ok(whole(&entry, now, ResponseBody::stored)),
                            Looked::Answered(response) => return Ok(response),
                            Looked::Uncacheable(forward, why, watch) => {
                                let request = Request::from_parts(parts, content.body());
                                let aside = Aside::watch(&shared, forward, why, watch);
                                return ResponseFuture::pass(inner, request, Some(aside)).await;
                            }
                            Looked::Ask(ask, part) => {
                                let body = content.body();
                                return exchange::start(ask, part, inner, parts, body, content).await;
                            }
                        },
                    }
                }
            };
            shared.count_bypass(&parts, reason);
            RequestStats::bypassed(&parts.extensions, reason, shared.rules.name.as_ref());
            let aside = Aside { shared, forward: Forward::Bypass, reason: reason.as_str(), change: None, watch: None };
            ResponseFuture::pass(inner, Request::from_parts(parts, body), Some(aside)).await
        }))
    }
}

/// Whether a request certainly has no content.
fn is_empty<B: Body>(body: &B) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

impl<S: fmt::Debug, R> fmt::Debug for CacheService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

//! A service that answers as it is told, extensions included, behind a cache with a manual clock.

use crate::support::{Down, Got, Later, Script};
use http::{HeaderName, HeaderValue, Request, Response, request};
use larder::{
    Cache, CacheBuilder, CacheLayer, CacheService, Identity, Policy, Selector,
    test_util::{self, ManualClock},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Notify;
use tower::{Layer, Service, ServiceExt};

/// What is to be answered, and when.
pub(crate) struct Answer {
    response: Result<Response<Script>, Down>,
    gate: Option<Arc<Notify>>,
}

impl Answer {
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self::status(200, text)
    }

    pub(crate) fn status(status: u16, text: impl Into<String>) -> Self {
        let text = text.into();
        let script = if text.is_empty() { Script::new() } else { Script::new().data(text) };
        Self { response: Ok(Response::builder().status(status).body(script).unwrap()), gate: None }
    }

    pub(crate) fn down() -> Self {
        Self { response: Err(Down), gate: None }
    }

    pub(crate) fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let (name, value): (HeaderName, _) = (name.parse().unwrap(), HeaderValue::from_bytes(value.as_ref()).unwrap());
        self.response.as_mut().unwrap().headers_mut().append(name, value);
        self
    }

    /// With this in the extensions.
    pub(crate) fn saying<T: Clone + Send + Sync + 'static>(mut self, extension: T) -> Self {
        self.response.as_mut().unwrap().extensions_mut().insert(extension);
        self
    }

    pub(crate) fn body(mut self, body: Script) -> Self {
        *self.response.as_mut().unwrap().body_mut() = body;
        self
    }

    pub(crate) fn gate(mut self, gate: &Arc<Notify>) -> Self {
        self.gate = Some(Arc::clone(gate));
        self
    }
}

type AnswerBy = dyn Fn(&request::Parts, usize) -> Answer + Send + Sync;

#[derive(Clone)]
pub(crate) struct Desk {
    answer: Arc<AnswerBy>,
    calls: Arc<AtomicUsize>,
}

impl Desk {
    /// Each call is answered by this, from the request and its number, counted from 1.
    pub(crate) fn new(answer: impl Fn(&request::Parts, usize) -> Answer + Send + Sync + 'static) -> Self {
        Self { answer: Arc::new(answer), calls: Arc::default() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }
}

impl Service<Request<Script>> for Desk {
    type Response = Response<Script>;
    type Error = Down;
    type Future = Later<Result<Response<Script>, Down>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Script>) -> Self::Future {
        let number = self.calls.fetch_add(1, SeqCst) + 1;
        let desk = self.clone();
        Box::pin(async move {
            let (parts, _) = request.into_parts();
            let Answer { response, gate } = (desk.answer)(&parts, number);
            if let Some(gate) = gate {
                gate.notified().await;
            }
            response
        })
    }
}

/// The service behind the layer.
#[derive(Clone)]
pub(crate) struct Shop {
    pub(crate) cache: Cache,
    pub(crate) clock: ManualClock,
    pub(crate) desk: Desk,
    service: CacheService<Desk>,
}

impl Shop {
    pub(crate) fn new(
        policy: Policy,
        answer: impl Fn(&request::Parts, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::over(Cache::builder().memory(4 << 20), policy, answer)
    }

    pub(crate) fn over(
        builder: CacheBuilder,
        policy: Policy,
        answer: impl Fn(&request::Parts, usize) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let (cache, clock) = test_util::cache_with(builder).unwrap();
        let desk = Desk::new(answer);
        let service = CacheLayer::new(&cache, policy).layer(desk.clone());
        Self { cache, clock, desk, service }
    }

    /// The same cache and service behind a layer with another policy.
    pub(crate) fn beside(&self, policy: Policy) -> Self {
        Self { service: CacheLayer::new(&self.cache, policy).layer(self.desk.clone()), ..self.clone() }
    }

    pub(crate) async fn try_send(&self, who: &Identity, request: request::Builder) -> Result<Got, Down> {
        let mut request = request.body(Script::new()).unwrap();
        if !who.is_empty() {
            request.extensions_mut().insert(who.clone());
        }
        Ok(Got::read(self.service.clone().oneshot(request).await?).await)
    }

    pub(crate) async fn send(&self, who: &Identity, request: request::Builder) -> Got {
        self.try_send(who, request).await.expect("an answer")
    }

    /// For nobody in particular.
    pub(crate) async fn get(&self, uri: &str) -> Got {
        self.send(&Identity::new(), Request::get(uri)).await
    }

    pub(crate) fn spawn(&self, uri: &str) -> tokio::task::JoinHandle<Got> {
        let (shop, uri) = (self.clone(), uri.to_owned());
        tokio::spawn(async move { shop.get(&uri).await })
    }

    pub(crate) async fn invalidate(&self, selector: Selector) {
        self.cache.invalidate(selector).await.unwrap();
    }

    pub(crate) fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    pub(crate) fn calls(&self) -> usize {
        self.desk.calls()
    }

    pub(crate) fn not_stored(&self, reason: &str) -> u64 {
        self.cache.stats().not_stored.get(reason).copied().unwrap_or(0)
    }
}

/// One of this tenant.
pub(crate) fn of(tenant: &str) -> Identity {
    Identity::new().with_tenant(tenant)
}

//! The work that is timed and whose allocations are counted.

use crate::{
    Work,
    random::Random,
    requests::{NoBody, Requests},
    work,
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY, X_CONTENT_TYPE_OPTIONS},
};
use http_body::Body;
use http_body_util::Full;
use larder::{Cache, CacheLayer, CacheService, Identity, Policy};
use std::{
    collections::HashMap,
    convert::Infallible,
    fmt::Debug,
    future::{Future, Ready, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

/// A ready response.
pub type Prepared = Response<Full<Bytes>>;

/// A service that clones a ready response: the floor of any hit.
#[derive(Clone, Debug)]
pub struct Prebuilt(Arc<Prepared>);

impl<R> Service<R> for Prebuilt {
    type Response = Prepared;
    type Error = Infallible;
    type Future = Ready<Result<Prepared, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Ok(Prepared::clone(&self.0)))
    }
}

/// A service that builds its response each time, as handlers do. With the fields that a hit adds (`Age`, `Cache-Status`,
/// `Content-Length`, `Date`) there are eight.
#[derive(Clone, Debug)]
pub struct Application {
    body: Bytes,
    vary: Option<&'static str>,
}

impl Application {
    /// That answers with so many bytes.
    pub fn new(length: usize) -> Self {
        Self { body: Bytes::from(vec![b'x'; length]), vary: None }
    }

    /// The same with `Vary`.
    #[must_use]
    pub fn vary(self, vary: &'static str) -> Self {
        Self { vary: Some(vary), ..self }
    }

    fn respond(&self) -> Prepared {
        let mut response = Response::new(Full::new(self.body.clone()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        headers.insert(ETAG, HeaderValue::from_static(TAG));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if let Some(vary) = self.vary {
            headers.insert(VARY, HeaderValue::from_static(vary));
        }
        response
    }
}

impl<R> Service<R> for Application {
    type Response = Prepared;
    type Error = Infallible;
    type Future = Ready<Result<Prepared, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: R) -> Self::Future {
        ready(Ok(self.respond()))
    }
}

/// The service in front of an application, Larder in its defaults.
pub type Cached = CacheService<Application>;

/// Puts an application behind a cache of this size.
pub fn cached(application: Application, memory: usize) -> Cached {
    CacheLayer::new(&Cache::in_memory(memory), Policy::fresh_for(Duration::from_secs(60))).layer(application)
}

/// Calls a service whose answer is ready at once.
#[inline]
pub fn call<S, B>(service: &mut S, request: Request<NoBody>) -> Response<B>
where
    S: Service<Request<NoBody>, Response = Response<B>>,
    S::Error: Debug,
{
    let future = pin!(service.call(request));
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(response)) => response,
        Poll::Ready(Err(error)) => panic!("{error:?}"),
        Poll::Pending => panic!("the answer is not ready"),
    }
}

/// Reads a body to its end, and tells its length.
pub fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> usize {
    let mut length = 0;
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
        length += frame.data_ref().map_or(0, Bytes::len);
    }
    length
}

/// What goes through Larder beside the same without it.
#[expect(missing_debug_implementations, reason = "closures have none")]
pub struct Pair {
    /// What it is.
    pub name: &'static str,
    /// What stands for "without": `prebuilt`, the clone of a ready response, or `bare`, the inner service alone.
    pub floor_name: &'static str,
    /// Through Larder.
    pub larder: Box<dyn Work>,
    /// Without it.
    pub floor: Box<dyn Work>,
}

/// All pairs.
pub fn pairs() -> Vec<Pair> {
    let browser = Requests::of_a_browser;
    vec![
        hit("hit/1KiB", &Application::new(1024), browser()),
        hit("hit/100KiB", &Application::new(100 * 1024), browser()),
        hit("hit/no-request-fields", &Application::new(1024), Requests::bare()),
        hit("hit/vary", &Application::new(1024).vary("accept-encoding"), browser()),
        hit(
            "hit/identity",
            &Application::new(1024),
            browser().of(Identity::new().with("tenant", "7").with("user", "42")),
        ),
        hit("hit/304", &Application::new(1024), browser().and("if-none-match", TAG)),
        pass_through(),
        miss(),
    ]
}

/// A hit beside a clone of the same response.
fn hit(name: &'static str, application: &Application, requests: Requests) -> Pair {
    let mut service = cached(application.clone(), 64 << 20);
    let uri = Uri::from_static("/products/7?page=2");
    let mut prebuilt = Prebuilt(Arc::new(warmed(&mut service, requests.get(uri.clone()))));
    let (also_requests, also_uri) = (requests.clone(), uri.clone());
    Pair {
        name,
        floor_name: "prebuilt",
        larder: Box::new(work(move || requests.get(uri.clone()), move |request| call(&mut service, request))),
        floor: Box::new(work(move || also_requests.get(also_uri.clone()), move |request| call(&mut prebuilt, request))),
    }
}

/// Fills the cache for this request, and builds the response that a hit then gives, from scratch.
fn warmed(service: &mut Cached, request: Request<NoBody>) -> Prepared {
    let mut fill = request.clone();
    fill.headers_mut().remove(IF_NONE_MATCH);
    read(call(service, fill).into_body());
    let (head, body) = call(service, request).into_parts();
    assert_eq!(said(&head.headers), "larder; hit");
    let mut response = Response::new(Full::new(Bytes::from(vec![b'x'; read(body)])));
    *response.status_mut() = head.status;
    *response.headers_mut() = own_copy(&head.headers);
    response
}

/// The same fields, each value with bytes of its own.
fn own_copy(headers: &HeaderMap) -> HeaderMap {
    let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).expect("it is one");
    headers.iter().map(|(name, value)| (name.clone(), copy(value))).collect()
}

/// What the cache says that it did.
fn said(headers: &HeaderMap) -> &str {
    headers.get("cache-status").and_then(|value| value.to_str().ok()).unwrap_or("nothing")
}

/// A request that bypasses the cache beside a call of the inner service.
fn pass_through() -> Pair {
    let mut bare = Application::new(1024);
    let mut service = cached(bare.clone(), 64 << 20);
    let requests = Requests::of_a_browser().and("cookie", "session=0123456789abcdef");
    let uri = Uri::from_static("/products/7?page=2");
    assert_eq!(said(call(&mut service, requests.get(uri.clone())).headers()), "larder; fwd=bypass");
    let (also_requests, also_uri) = (requests.clone(), uri.clone());
    Pair {
        name: "pass-through",
        floor_name: "bare",
        larder: Box::new(work(move || requests.get(uri.clone()), move |request| call(&mut service, request))),
        floor: Box::new(work(move || also_requests.get(also_uri.clone()), move |request| call(&mut bare, request))),
    }
}

/// A miss, whose body of 1 KiB is read and stored, beside reading it from the inner service.
fn miss() -> Pair {
    let mut bare = Application::new(1024);
    let mut service = cached(bare.clone(), 64 << 20);
    let requests = Requests::of_a_browser();
    let also_requests = requests.clone();
    let (mut number, mut also_number) = (0, 0);
    let mut next = move || {
        number += 1;
        requests.get(item(number))
    };
    assert_eq!(said(call(&mut service, next()).headers()), "larder; fwd=miss; stored");
    let also_next = move || {
        also_number += 1;
        also_requests.get(item(also_number))
    };
    Pair {
        name: "miss/1KiB",
        floor_name: "bare",
        larder: Box::new(work(next, move |request| read(call(&mut service, request).into_body()))),
        floor: Box::new(work(also_next, move |request| read(call(&mut bare, request).into_body()))),
    }
}

/// A cache that holds so many small responses.
#[derive(Debug)]
pub struct Filled {
    service: Cached,
    entries: u64,
}

impl Filled {
    /// The memory that an entry takes, with room to spare for shards that get more than their share.
    const ENTRY: usize = 3 * 1024;

    /// Fills a cache.
    pub fn with(entries: u64) -> Self {
        let memory = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(Self::ENTRY).max(64 << 20);
        let cache = Cache::in_memory(memory);
        let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(3600)));
        let mut service = layer.layer(Application::new(64));
        let requests = Requests::of_a_browser();
        for number in 0..entries {
            read(call(&mut service, requests.get(item(number))).into_body());
        }
        let stats = cache.stats();
        assert_eq!((stats.resources, stats.evictions), (entries, 0), "all of them fit");
        Self { service, entries }
    }

    /// Hits of one of the entries.
    pub fn hot(&self) -> impl Work + use<> {
        let uri = item(self.entries / 2);
        self.hits(move || uri.clone())
    }

    /// Hits of all entries alike.
    pub fn uniform(&self) -> impl Work + use<> {
        let (entries, mut random) = (self.entries, Random::seeded(0));
        self.hits(move || item(random.below(entries)))
    }

    fn hits<F: FnMut() -> Uri>(&self, mut uri: F) -> impl Work + use<F> {
        let (requests, mut service) = (Requests::of_a_browser(), self.service.clone());
        work(move || requests.get(uri()), move |request| call(&mut service, request))
    }
}

/// Looks up ready responses in a plain map, all alike: what memory costs that does not fit into the caches of the
/// processor.
pub fn plain_map(entries: u64) -> impl Work {
    let mut filled = Filled::with(1);
    let ready = warmed(&mut filled.service, Requests::of_a_browser().get(item(0)));
    let copy = || {
        let mut response = Response::new(ready.body().clone());
        *response.headers_mut() = own_copy(ready.headers());
        response
    };
    let map: HashMap<String, Prepared> = (0..entries).map(|number| (item(number).to_string(), copy())).collect();
    let (requests, mut random) = (Requests::of_a_browser(), Random::seeded(0));
    work(move || requests.get(item(random.below(entries))), move |request| map.get(request.uri().path()).cloned())
}

/// The target of one of many items.
pub fn item(number: u64) -> Uri {
    format!("/products/{number}").parse().expect("a path")
}

const TAG: &str = "\"5d8c72a5edda8d6a\"";

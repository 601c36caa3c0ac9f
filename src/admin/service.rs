//! The service: who asks, for what, and who answers.

use super::{
    access::{Access, Authorize, decide},
    advice,
    answer::{AdminBody, Failure, Told, respond},
    audit::Trail,
    caches::AdminCaches,
    dependencies, entry, explain, explore, figures, health, history, manage, metrics, page, policies,
    query::Query,
    route::{Api, Route},
    status,
    warm::Warm,
};
use crate::{Cache, Warmer};
use http::{HeaderValue, Method, Request, Response, header::HOST, request::Parts};
use http_body::Body;
use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::sync::Semaphore;
use tower_service::Service;

/// The API and its page. Made by [`router`](super::router). Clones are one service.
///
/// ```
/// # use axum::body::Body;
/// # use larder::{Cache, admin};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::convert::Infallible> {
/// # let cache = Cache::in_memory(1 << 20);
/// let admin = admin::router([&cache], admin::Token::new("0f1e2d3c4b5a6978"));
/// let status = |token: &str| {
///     http::Request::get("/api/status").header("authorization", format!("Bearer {token}")).body(Body::empty()).unwrap()
/// };
/// assert_eq!(admin.clone().oneshot(status("a guess")).await?.status(), 401);
/// assert_eq!(admin.oneshot(status("0f1e2d3c4b5a6978")).await?.status(), 200);
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use = "a service does nothing until it is mounted"]
pub struct Admin {
    pub(super) caches: AdminCaches,
    authorise: Arc<dyn Authorize>,
    at: Option<Arc<str>>,
    pub(super) warm: Option<Arc<Warm>>,
    pub(super) trail: Arc<Trail>,
    pub(super) log_details: bool,
    /// Places for what looks through everything.
    pub(super) heavy: Arc<Semaphore>,
}

/// The answer of an [`Admin`] or [`Health`](super::Health), on its way.
///
/// [`Admin`] shows one that is awaited.
#[must_use = "futures do nothing unless polled"]
pub struct AdminFuture(Pin<Box<dyn Future<Output = Response<AdminBody>> + Send>>);

/// Someone who was let in, and what is asked.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) admin: &'a Admin,
    pub(super) access: Access,
    pub(super) query: Query,
    /// Where the question came to.
    pub(super) host: Option<HeaderValue>,
}

impl Admin {
    pub(super) fn new(caches: AdminCaches, authorise: impl Authorize) -> Self {
        Self {
            caches,
            authorise: Arc::new(authorise),
            at: None,
            warm: None,
            trail: Arc::default(),
            log_details: false,
            heavy: Arc::new(Semaphore::new(HEAVY)),
        }
    }

    /// Where the service is mounted, such as `/admin/cache`, if nothing strips that from the paths of requests, as
    /// axum's `nest_service` does. Default: whatever stands before a path that is known.
    ///
    /// ```
    /// # use larder::{Cache, admin::{self, Token}};
    /// # let cache = Cache::in_memory(1 << 20);
    /// let admin = admin::router([&cache], Token::new("s3cret")).at("/admin/cache"); // warp, bare hyper
    /// # let _ = admin;
    /// ```
    ///
    /// # Panics
    ///
    /// If it does not begin with `/`.
    pub fn at(mut self, path: &str) -> Self {
        assert!(path.starts_with('/'), "at({path:?}): a path starts with `/`");
        self.at = Some(path.trim_end_matches('/').into());
        self
    }

    /// Lets those who may manage run this warmer, through this service: the application without the administration.
    ///
    /// ```
    /// use axum::{Router, body::Body, routing::get};
    /// use larder::{Cache, WarmRequest, Warmer, admin::{self, Token}};
    ///
    /// let cache = Cache::in_memory(1 << 20);
    /// let app: Router = Router::new().route("/", get(|| async { "home" })); // .layer(CacheLayer::new(&cache, ..))
    /// let warmer = Warmer::new().host("shop.example").category("home", 1, [WarmRequest::get("/")]);
    /// let admin = admin::router([&cache], Token::new("s3cret")).warmer::<Body>(&warmer, app.clone());
    /// let app = app.nest_service("/admin/cache", admin);
    /// # let _ = app;
    /// ```
    pub fn warmer<B>(
        mut self,
        warmer: &Warmer,
        service: impl Service<Request<B>, Response: crate::WarmResponse, Error: Into<crate::cache::BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    ) -> Self
    where
        B: Default + Send + 'static,
    {
        self.warm = Some(Arc::new(Warm::new::<B, _>(warmer.clone(), service)));
        self
    }

    /// Whether what is told by `tracing` (target `larder::admin`) of actions names the one who acts, and what of: tags,
    /// patterns, tenants, users. Default: no; the [trail](super) always does.
    pub fn log_details(mut self, yes: bool) -> Self {
        self.log_details = yes;
        self
    }

    async fn answer<B: Body + Send + 'static>(self, parts: Parts, body: B) -> Response<AdminBody> {
        let head = parts.method == Method::HEAD;
        respond(self.told(parts, body).await, head)
    }

    async fn told<B: Body + Send + 'static>(self, parts: Parts, body: B) -> Told {
        let api = match Route::of(parts.uri.path(), self.at.as_deref()) {
            Route::Page => return only_looks(&parts.method).map(|()| page::page()),
            Route::Health => return health::told(&self.caches, &parts),
            Route::Api(api) => Some(api),
            Route::Unknown => None,
        };
        // Nobody else learns what there is.
        let Some(access) = decide(&*self.authorise, &parts).await else {
            tracing::debug!(target: "larder::admin", "somebody without access was turned away");
            return Err(Failure::unauthorized());
        };
        let Some(api) = api else { return Err(Failure::not_found("there is nothing at this path")) };
        let looks = matches!(parts.method, Method::GET | Method::HEAD) && api.allows().starts_with("GET");
        if looks {
            let query = Query::parse(parts.uri.query().unwrap_or_default())?;
            let host = parts.headers.get(HOST).cloned();
            return Asked { admin: &self, access, query, host }.told(api).await;
        }
        if parts.method != Method::POST || !api.allows().ends_with("POST") {
            return Err(Failure::method(&parts.method, api.allows()));
        }
        manage::manage(self, access, api, &parts, body).await
    }
}

/// Whether a method is one that only looks.
pub(super) fn only_looks(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Failure::method(method, "GET, HEAD")),
    }
}

impl Asked<'_> {
    async fn told(self, api: Api) -> Told {
        match api {
            Api::Advice => advice::told(&self).await,
            Api::Audit => self.admin.trail.told(&self),
            Api::Dependencies => dependencies::told(&self),
            Api::Entry => entry::told(&self).await,
            Api::Explain => explain::told(&self),
            Api::Explore => explore::told(&self).await,
            Api::History => history::told(&self),
            Api::Metrics if self.query.get("format")?.is_some() => figures::told(&self).await,
            Api::Metrics => metrics::told(&self).await,
            Api::Policies => policies::told(&self),
            Api::Report => advice::report(&self),
            Api::Status => status::told(&self).await,
            Api::Warm => self.job(),
            Api::Clear | Api::Invalidate => Err(Failure::method(&Method::GET, api.allows())),
        }
    }

    /// The cache that is named, or the first one.
    pub(super) fn cache(&self) -> Result<(&str, &Cache), Failure> {
        self.admin.caches.one(self.query.get("cache")?)
    }

    /// The cache that is named, or all.
    pub(super) fn caches(&self) -> Result<Vec<(&str, &Cache)>, Failure> {
        self.admin.caches.some(self.query.get("cache")?)
    }

    /// Refused to those whose access is limited to a tenant.
    pub(super) fn concerns_all(&self, what: &str) -> Result<(), Failure> {
        concerns_all(&self.access, what)
    }

    /// The tenant that is named, or the only one that may be.
    pub(super) fn tenant(&self) -> Result<Option<String>, Failure> {
        own_tenant(&self.access, self.query.get("tenant")?)
    }

    /// Runs what takes long where it keeps nobody waiting, and not too often at once.
    pub(super) async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let place = Arc::clone(&self.admin.heavy).acquire_owned().await;
        // Whoever asked may go away: the place is taken until the work is done.
        let work = move || {
            let _place = place;
            work()
        };
        crate::timer::aside(work).await.ok_or_else(Failure::broken)
    }
}

pub(super) fn concerns_all(access: &Access, what: &str) -> Result<(), Failure> {
    match &access.tenant {
        None => Ok(()),
        Some(tenant) => {
            Err(Failure::forbidden(format!("access is limited to tenant `{tenant}`, and {what} concerns all of them")))
        }
    }
}

/// The tenant that is asked for, if it may be.
pub(super) fn own_tenant(access: &Access, asked: Option<&str>) -> Result<Option<String>, Failure> {
    match (&access.tenant, asked) {
        (Some(own), Some(asked)) if own != asked => Err(Failure::forbidden(format!(
            "access is limited to tenant `{own}`: what was asked concerns `{}`",
            super::query::short(asked)
        ))),
        (Some(own), _) => Ok(Some(own.clone())),
        (None, asked) => Ok(asked.map(str::to_owned)),
    }
}

impl<B: Body + Send + 'static> Service<Request<B>> for Admin {
    type Response = Response<AdminBody>;
    type Error = Infallible;
    type Future = AdminFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (parts, body) = request.into_parts();
        AdminFuture::of(self.clone().answer(parts, body))
    }
}

impl AdminFuture {
    pub(super) fn of(future: impl Future<Output = Response<AdminBody>> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for AdminFuture {
    type Output = Result<Response<AdminBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl fmt::Debug for AdminFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminFuture")
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("caches", &self.caches).field("at", &self.at).finish_non_exhaustive()
    }
}

/// So many look through a memory at once.
const HEAVY: usize = 2;

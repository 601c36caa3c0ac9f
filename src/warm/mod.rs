//! Warming: asking the application for what will be wanted, before anybody waits for it. It sends requests like anybody's,
//! and puts nothing into a cache itself.

mod hottest;
mod plan;
mod report;
mod request;
mod run;
mod schedule;
mod sitemap;
mod source;

pub use plan::WarmPlan;
pub use report::{WarmProgress, WarmReport, WarmedCategory};
pub use request::WarmRequest;
pub use run::{WarmResponse, Warming};
pub use schedule::WarmSchedule;
pub use sitemap::SitemapError;
pub use source::WarmSource;

use crate::{
    cache::{BoxError, Cache},
    identity::Identity,
    key::UtcOffset,
};
use http::{HeaderValue, Request, header::HOST, request::Parts};
use std::{
    borrow::Cow,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tower_service::Service;

/// Fills caches by asking the application itself, through its own service: on start, on a schedule, after an
/// invalidation, or on demand.
///
/// ```
/// use axum::{Router, body::Body, routing::get};
/// use larder::{Cache, CacheLayer, Policy, WarmRequest, Warmer};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let cache = Cache::in_memory(1 << 20);
/// let app: Router = Router::new()
///     .route("/dashboard", get(|| async { "figures" }))
///     .layer(CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(600))));
///
/// let days = WarmRequest::templates("/dashboard?days={days}", [("days", &["7", "30", "90", "365"])]);
/// let warmer = Warmer::new().host("shop.example").category("dashboards", 10, days);
///
/// // Before it listens, so that nobody meets it cold.
/// let report = warmer.run::<Body>(app.clone()).await;
/// assert_eq!(report.total().warmed, 4);
///
/// // And every five minutes from then on.
/// let schedule = warmer.every::<Body>(Duration::from_secs(300), app.clone(), &cache);
/// // axum::serve(listener, app)
/// # schedule.stop();
/// # }
/// ```
///
/// A run asks for each thing. The caches on the way know what they hold: what is within the first half of its lifetime is
/// left alone (a hit, counted as skipped), whoever has asked for it first; what is older is made anew, and served as it is
/// until the new one is there. [`force`](Self::force) makes all of it anew.
///
/// What is stored is for requests of the same key, so those of a warmer have to look like those of clients: mostly that
/// means the same [`host`](Self::host). Each may carry an [`Identity`](crate::Identity), which an [`IdentityLayer`](crate::IdentityLayer)
/// takes as it is; no client can do that. Authentication further out knows nothing of it: give the service inside of it, or
/// requests that carry credentials.
///
/// What will be wanted is mostly what was wanted: [`WarmSource::hottest`] and [`WarmSource::hottest_by_hour`] know.
///
/// A request that fails, or a closure that panics, is counted and stops nothing. A run that is dropped ends; fills that
/// clients wait for go on. Requests of a warmer count in [`Cache::stats`] as others do. A run needs a tokio runtime with
/// timers.
#[derive(Clone)]
#[must_use = "nothing is warmed until it runs"]
pub struct Warmer {
    categories: Vec<Category>,
    only: Option<Vec<String>>,
    tenant: Option<String>,
    host: Option<HeaderValue>,
    prepare: Option<Arc<Prepare>>,
    concurrency: usize,
    rate: Option<f64>,
    deadline: Option<Duration>,
    timeout: Duration,
    force: bool,
    quiet: schedule::Quiet,
    on_progress: Option<Arc<OnProgress>>,
}

type Prepare = dyn Fn(&mut Parts) + Send + Sync;
type OnProgress = dyn Fn(&WarmReport) + Send + Sync;

#[derive(Clone)]
struct Category {
    name: Cow<'static, str>,
    priority: i32,
    sources: Vec<WarmSource>,
}

impl Default for Warmer {
    fn default() -> Self {
        Self::new()
    }
}

impl Warmer {
    /// One that has nothing to warm yet.
    pub fn new() -> Self {
        Self {
            categories: Vec::new(),
            only: None,
            tenant: None,
            host: None,
            prepare: None,
            concurrency: 4,
            rate: None,
            deadline: None,
            timeout: Duration::from_secs(60),
            force: false,
            quiet: schedule::Quiet::default(),
            on_progress: None,
        }
    }

    /// Adds requests under a name. The higher the priority, the earlier; those of one priority go in the order in which
    /// they were added. A category that is there already gets one more source.
    pub fn category(
        mut self,
        name: impl Into<Cow<'static, str>>,
        priority: i32,
        source: impl Into<WarmSource>,
    ) -> Self {
        let (name, source) = (name.into(), source.into());
        match self.categories.iter_mut().find(|category| category.name == name) {
            Some(category) => {
                category.priority = priority;
                category.sources.push(source);
            }
            None => self.categories.push(Category { name, priority, sources: vec![source] }),
        }
        self
    }

    /// Adds a closure that loads values, by [`get_or_load`](crate::ValueCall::get_or_load). What is kept is left alone or
    /// loaded anew as responses are.
    ///
    /// ```
    /// use larder::{Cache, Value, Warmer};
    /// use std::{convert::Infallible, sync::LazyLock, time::Duration};
    ///
    /// static RATE: LazyLock<Value<u32>> =
    ///     LazyLock::new(|| Value::named("gold_rate").fresh_for(Duration::from_secs(60)).shared());
    ///
    /// # fn warm(cache: &Cache) -> Warmer {
    /// let cache = cache.clone();
    /// Warmer::new().values("rates", 5, move || {
    ///     let cache = cache.clone();
    ///     async move { cache.value(&RATE).get_or_load(|| async { Ok::<_, Infallible>(2650) }).await }
    /// })
    /// # }
    /// ```
    pub fn values<F, T, E>(
        self,
        name: impl Into<Cow<'static, str>>,
        priority: i32,
        load: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.category(name, priority, WarmSource::value(load))
    }

    /// Only these categories.
    ///
    /// ```
    /// # use larder::{Warmer, WarmReport};
    /// # async fn after_import(warmer: &Warmer, app: axum::Router) -> WarmReport {
    /// warmer.clone().only(["dashboards"]).force(true).run::<axum::body::Body>(app).await
    /// # }
    /// ```
    pub fn only<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.only = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Only requests that are made for this tenant, by their [`Identity`](crate::Identity): neither those for nobody in
    /// particular, nor values.
    pub fn only_tenant(mut self, tenant: impl fmt::Display) -> Self {
        self.tenant = Some(tenant.to_string());
        self
    }

    /// The `Host` of requests that name none: the one that clients use, as it is part of the key.
    ///
    /// # Panics
    ///
    /// If it cannot be in a field.
    pub fn host(mut self, host: &str) -> Self {
        let Ok(host) = HeaderValue::try_from(host) else { panic!("host({host:?}): it cannot be in a field") };
        self.host = Some(host);
        self
    }

    /// Runs over each request before it is made, for what only the application knows: a scheme in the extensions, an
    /// absolute URI as HTTP/2 brings it, claims that authentication would leave.
    ///
    /// ```
    /// # use larder::{WarmRequest, Warmer};
    /// #[derive(Clone)]
    /// struct Claims; // what authentication would leave
    ///
    /// let warmer = Warmer::new().category("home", 1, [WarmRequest::get("/")]).prepare(|parts| {
    ///     parts.extensions.insert(Claims);
    /// });
    /// # let _ = warmer;
    /// ```
    pub fn prepare(mut self, prepare: impl Fn(&mut Parts) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// The most that are under way at once, at least 1. Default: 4.
    pub fn concurrency(mut self, most: usize) -> Self {
        self.concurrency = most.max(1);
        self
    }

    /// Starts at most this many in a second. What turns out to be skipped does not count. Default: no limit.
    pub fn rate(mut self, per_second: f64) -> Self {
        self.rate = Some(per_second).filter(|rate| *rate > 0.0);
        self
    }

    /// A run that takes longer is broken off. Default: none.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// A request that takes longer, until the end of its body, is broken off. Default: a minute.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Whether what is young is made anew too.
    pub fn force(mut self, force: bool) -> Self {
        self.force = force;
        self
    }

    /// Holds the runs of a schedule back until it is one of these hours, from the first up to the second, by the clock of
    /// the cache. `between(22, 6, ..)` is the night.
    ///
    /// ```
    /// # use larder::{UtcOffset, WarmRequest, Warmer};
    /// // At night, and only while there is little to do.
    /// let home = [WarmRequest::get("/")];
    /// let warmer = Warmer::new().category("home", 1, home).between(22, 6, UtcOffset::hours(1)).when_below(20.0);
    /// # let _ = warmer;
    /// ```
    ///
    /// # Panics
    ///
    /// If an hour is over 24, or both are the same.
    pub fn between(mut self, from: u8, to: u8, zone: UtcOffset) -> Self {
        assert!(from <= 24 && to <= 24 && from % 24 != to % 24, "between({from}, {to}): hours go from 0 to 24");
        self.quiet.hours = Some((from % 24, to % 24, zone));
        self
    }

    /// Holds the runs of a schedule back until the cache sees less than this many requests in a second, on average over
    /// ten seconds.
    pub fn when_below(mut self, requests_per_second: f64) -> Self {
        self.quiet.below = Some(requests_per_second);
        self
    }

    /// Told what a run has done so far, after each request.
    pub fn on_progress(mut self, told: impl Fn(&WarmReport) + Send + Sync + 'static) -> Self {
        self.on_progress = Some(Arc::new(told));
        self
    }

    /// Asks for everything, through this service. Nothing happens until it is awaited.
    ///
    /// A service that takes requests with any body, such as a `Router`, has to be told which: `run::<Body>(app)`.
    pub fn run<B>(
        &self,
        service: impl Service<Request<B>, Response: WarmResponse, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    ) -> Warming
    where
        B: Default + Send + 'static,
    {
        Warming::new(self.clone(), run::asker(service))
    }

    /// Runs again and again, in the background of the cache: until it is stopped, or the cache is shut down, which breaks
    /// off a run that is under way. The first run is after this time, each next one so long after the last one began; it is
    /// a second at least.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn every<B>(
        &self,
        period: Duration,
        service: impl Service<Request<B>, Response: WarmResponse, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
        cache: &Cache,
    ) -> WarmSchedule
    where
        B: Default + Send + 'static,
    {
        WarmSchedule::start(self.clone(), period.max(Duration::from_secs(1)), run::asker(service), cache)
    }

    /// The categories of a run, in order.
    fn chosen(&self) -> Vec<&Category> {
        let wanted =
            |category: &&Category| self.only.as_ref().is_none_or(|only| only.iter().any(|name| *name == category.name));
        let mut chosen: Vec<_> = self.categories.iter().filter(wanted).collect();
        chosen.sort_by_key(|category| std::cmp::Reverse(category.priority));
        chosen
    }

    /// The categories and their priorities, in the order of a run.
    #[cfg(feature = "admin")]
    pub(crate) fn priorities(&self) -> Vec<(&str, i32)> {
        self.chosen().into_iter().map(|category| (&*category.name, category.priority)).collect()
    }

    /// What of a batch is for whom this is.
    fn wanted(&self, mut items: Vec<source::Item>) -> Vec<source::Item> {
        if let Some(tenant) = &self.tenant {
            items.retain(|item| item.whose().and_then(Identity::tenant) == Some(tenant));
        }
        items
    }

    /// Names that were asked for, and are none.
    fn unknown(&self) -> impl Iterator<Item = &str> {
        let known = |name: &str| self.categories.iter().any(|category| category.name == name);
        self.only.iter().flatten().map(String::as_str).filter(move |name| !known(name))
    }

    /// The request as it is made.
    fn prepared(&self, request: WarmRequest) -> Result<Parts, String> {
        let mut parts = request.into_parts()?;
        if let Some(host) = &self.host {
            parts.headers.entry(HOST).or_insert_with(|| host.clone());
        }
        if let Some(prepare) = &self.prepare {
            catch_unwind(AssertUnwindSafe(|| prepare(&mut parts))).map_err(|_| PANICKED.to_owned())?;
        }
        Ok(parts)
    }
}

impl fmt::Debug for Warmer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for category in self.chosen() {
            map.entry(&category.name, &category.sources);
        }
        map.finish()
    }
}

/// What a future of the application comes to, panics included.
async fn caught<T, F: Future<Output = Result<T, String>>>(make: impl FnOnce() -> F) -> Result<T, String> {
    let panicked = |_| PANICKED.to_owned();
    let mut future = pin!(catch_unwind(AssertUnwindSafe(make)).map_err(panicked)?);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)))
            .unwrap_or_else(|cause| Poll::Ready(Err(panicked(cause))))
    })
    .await
}

const PANICKED: &str = "it panicked";
const NO_CATEGORY: &str = "there is no such category";

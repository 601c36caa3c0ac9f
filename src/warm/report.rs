//! What a run has done.

use crate::clock::Moment;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// What a run has done, or has done so far.
///
/// ```
/// # use larder::{WarmRequest, Warmer, Warming};
/// # async fn run(warming: Warming) {
/// let report = warming.await;
/// println!("{report}");
/// // dashboards: 12 asked, 9 warmed, 2 skipped, 0 not stored, 1 failed in 1.204s
/// //   /dashboard?days=365: 500 Internal Server Error
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmReport {
    /// The categories that were gone through, in order.
    pub categories: Vec<WarmedCategory>,
    /// How long it took.
    pub took: Duration,
    /// It came to its end. False while it goes on, and if it was broken off at its deadline.
    pub finished: bool,
}

/// What a run has done in a category. Once it is over, what was asked for is warmed, skipped, not stored or failed.
///
/// ```
/// # use axum::{Router, body::Body, routing::get};
/// # use larder::{Cache, CacheLayer, Policy, WarmRequest, Warmer};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60)));
/// # let app: Router = Router::new().route("/", get(|| async { "home" })).layer(layer);
/// let warmer = Warmer::new().category("pages", 1, [WarmRequest::get("/"), WarmRequest::get("/gone")]);
/// let report = warmer.run::<Body>(app).await;
/// let pages = report.category("pages").unwrap();
/// assert_eq!((pages.asked, pages.warmed, pages.failed), (2, 1, 1));
/// assert_eq!(pages.failures, ["/gone: 404 Not Found"]);
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmedCategory {
    /// Its name.
    pub name: String,
    /// Requests and values asked for. A source that fails counts as one.
    pub asked: u64,
    /// Made, accepted for storage and read to the end.
    pub warmed: u64,
    /// Nothing was done: what is stored is within half of its lifetime.
    pub skipped: u64,
    /// Answered, but the cache keeps nothing of it.
    pub not_stored: u64,
    /// Without an answer, or with one of an error (4xx, 5xx), or broken off.
    pub failed: u64,
    /// What was the matter with the first 20 that failed.
    pub failures: Vec<String>,
    /// From its first request until its last answer so far.
    pub took: Duration,
}

/// What has become of one request.
#[derive(Clone, Debug)]
pub(super) enum Came {
    Warmed,
    Skipped,
    NotStored,
    Failed(String),
}

impl WarmReport {
    /// The category of this name.
    pub fn category(&self, name: &str) -> Option<&WarmedCategory> {
        self.categories.iter().find(|category| category.name == name)
    }

    /// All of it together, without names.
    pub fn total(&self) -> WarmedCategory {
        let zero = WarmedCategory { took: self.took, ..WarmedCategory::default() };
        self.categories.iter().fold(zero, |mut total, category| {
            total.asked += category.asked;
            total.warmed += category.warmed;
            total.skipped += category.skipped;
            total.not_stored += category.not_stored;
            total.failed += category.failed;
            total
        })
    }
}

impl WarmedCategory {
    fn count(&mut self, came: Came) {
        match came {
            Came::Warmed => self.warmed += 1,
            Came::Skipped => self.skipped += 1,
            Came::NotStored => self.not_stored += 1,
            Came::Failed(why) => {
                self.failed += 1;
                if self.failures.len() < MOST_FAILURES {
                    self.failures.push(why);
                }
            }
        }
    }
}

impl fmt::Display for WarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for category in &self.categories {
            writeln!(f, "{category}")?;
            for failure in &category.failures {
                writeln!(f, "  {failure}")?;
            }
        }
        let over = if self.finished { "" } else { ", not finished" };
        write!(f, "{}{over}", WarmedCategory { name: "total".to_owned(), ..self.total() })
    }
}

impl fmt::Display for WarmedCategory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, asked, warmed, skipped, not_stored, failed, took, .. } = self;
        let took = Duration::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let all = format!("{warmed} warmed, {skipped} skipped, {not_stored} not stored, {failed} failed");
        write!(f, "{name}: {asked} asked, {all} in {took:?}")
    }
}

/// A look at a run under way, from elsewhere. Made by [`Warming::progress`](crate::Warming::progress).
///
/// ```
/// # use axum::{Router, body::Body, routing::get};
/// # use larder::{Cache, CacheLayer, Policy, WarmRequest, Warmer};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60)));
/// # let app: Router = Router::new().route("/", get(|| async { "home" })).layer(layer);
/// # let warmer = Warmer::new().category("pages", 1, [WarmRequest::get("/")]);
/// let warming = warmer.run::<Body>(app);
/// let progress = warming.progress(); // for a handler that shows it
/// assert_eq!(progress.report().total().asked, 0);
/// warming.await;
/// assert!(progress.report().finished);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WarmProgress(Arc<Mutex<Going>>);

#[derive(Debug)]
struct Going {
    report: WarmReport,
    since: Option<Moment>,
    /// When the first request of each category was made.
    began: Vec<Option<Moment>>,
}

impl WarmProgress {
    /// What the run has done so far.
    pub fn report(&self) -> WarmReport {
        self.with(|going| going.report.clone())
    }

    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Going { report: WarmReport::default(), since: None, began: Vec::new() })))
    }

    pub(super) fn start(&self) {
        self.with(|going| going.since = Some(Moment::now()));
    }

    /// A category begins. Gives its place.
    pub(super) fn begin(&self, name: &str) -> usize {
        self.with(|going| {
            let category = WarmedCategory { name: name.to_owned(), ..WarmedCategory::default() };
            going.report.categories.push(category);
            going.began.push(None);
            going.began.len() - 1
        })
    }

    pub(super) fn ask(&self, place: usize) {
        self.with(|going| {
            going.began[place].get_or_insert_with(Moment::now);
            going.report.categories[place].asked += 1;
        });
    }

    pub(super) fn came(&self, place: usize, came: Came) {
        self.with(|going| {
            let category = &mut going.report.categories[place];
            category.count(came);
            category.took = going.began[place].map_or(Duration::ZERO, Moment::elapsed);
            going.report.took = going.since.map_or(Duration::ZERO, Moment::elapsed);
        });
    }

    /// The run is over. What is still open was broken off.
    pub(super) fn end(&self, finished: bool) -> WarmReport {
        self.with(|going| {
            for category in &mut going.report.categories {
                let ended = category.warmed + category.skipped + category.not_stored + category.failed;
                for _ in ended..category.asked {
                    category.count(Came::Failed("broken off: the run was over".to_owned()));
                }
            }
            going.report.took = going.since.map_or(Duration::ZERO, Moment::elapsed);
            going.report.finished = finished;
            going.report.clone()
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Going) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

const MOST_FAILURES: usize = 20;

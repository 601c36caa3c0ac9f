//! One run.

use super::{
    Category, NO_CATEGORY, WarmProgress, WarmReport, Warmer, caught,
    report::Came,
    source::{Item, Later},
};
use crate::{
    cache::BoxError,
    clock::Moment,
    outcome::Outcome,
    request_stats::{RequestStats, Warm},
    timer,
};
use http::{Request, Response, StatusCode, request::Parts};
use http_body::Body;
use std::{
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tokio::task::JoinSet;
use tower_service::Service;
use tracing::Instrument;

/// Answers a request, and reads the answer to its end.
pub(super) type Asker = Box<dyn FnMut(Parts) -> Later<StatusCode> + Send>;

/// A run of a [`Warmer`], which goes on as it is polled. Made by [`Warmer::run`].
///
/// ```
/// # use larder::Warming;
/// # async fn run(warming: Warming) {
/// let progress = warming.progress();
/// tokio::spawn(warming);
/// // Elsewhere, now and then:
/// println!("{} so far", progress.report().total().asked);
/// # }
/// ```
#[must_use = "nothing is warmed until it is awaited"]
pub struct Warming {
    progress: WarmProgress,
    run: Pin<Box<dyn Future<Output = WarmReport> + Send>>,
}

impl Warming {
    /// A look at the run from elsewhere.
    pub fn progress(&self) -> WarmProgress {
        self.progress.clone()
    }

    pub(super) fn new(warmer: Warmer, mut asker: Asker) -> Self {
        let progress = WarmProgress::new();
        let shown = progress.clone();
        Self { progress, run: Box::pin(async move { run(&warmer, &mut asker, &shown).await }) }
    }
}

impl Future for Warming {
    type Output = WarmReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WarmReport> {
        self.run.as_mut().poll(cx)
    }
}

impl fmt::Debug for Warming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Warming").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// A response whose body can be read to its end: one with any [`Body`].
///
/// ```
/// # use larder::{WarmResponse, Warmer, Warming};
/// use http::Request;
/// use tower::Service;
///
/// // Warms any service that answers with a body, whichever.
/// fn warm<S>(warmer: &Warmer, service: S) -> Warming
/// where
///     S: Service<Request<String>, Response: WarmResponse, Error: std::error::Error + Send + Sync + 'static, Future: Send>
///         + Clone + Send + 'static,
/// {
///     warmer.run(service)
/// }
/// ```
pub trait WarmResponse: sealed::Sealed + Send {
    #[doc(hidden)]
    fn read(self) -> impl Future<Output = Result<StatusCode, String>> + Send;
}

mod sealed {
    pub trait Sealed {}
    impl<B> Sealed for http::Response<B> {}
}

impl<B: Body + Send> WarmResponse for Response<B> {
    async fn read(self) -> Result<StatusCode, String> {
        let status = self.status();
        let mut body = pin!(self.into_body());
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx).map(|frame| frame.map(|f| f.is_ok()))).await {
            if !frame {
                return Err("its body broke off".to_owned());
            }
        }
        Ok(status)
    }
}

pub(super) fn asker<B, S>(service: S) -> Asker
where
    B: Default + Send + 'static,
    S: Service<Request<B>, Response: WarmResponse, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
{
    Box::new(move |parts| {
        let mut service = service.clone();
        Box::pin(async move {
            let ready = poll_fn(|cx| service.poll_ready(cx).map_err(text)).await;
            ready?;
            // Called in a statement of its own, so that nothing of the service is held while the body is read.
            let answering = service.call(Request::from_parts(parts, B::default()));
            let answer = {
                let mut answering = pin!(answering);
                poll_fn(|cx| answering.as_mut().poll(cx).map_err(text)).await?
            };
            answer.read().await
        })
    })
}

fn text(error: impl Into<BoxError>) -> String {
    error.into().to_string()
}

/// Goes through all of it. Dropped, it ends what it has begun.
pub(super) async fn run(warmer: &Warmer, asker: &mut Asker, progress: &WarmProgress) -> WarmReport {
    progress.start();
    let work = Run { warmer, asker, progress, tasks: JoinSet::new(), pace: Pace::new(warmer.rate) };
    let finished = match warmer.deadline {
        None => {
            work.all().await;
            true
        }
        Some(deadline) => timer::within(deadline, work.all()).await.is_some(),
    };
    let report = progress.end(finished);
    let total = report.total();
    tracing::info!(
        target: "larder::warm",
        asked = total.asked,
        warmed = total.warmed,
        skipped = total.skipped,
        not_stored = total.not_stored,
        failed = total.failed,
        finished,
        "a run has ended"
    );
    report
}

struct Run<'a> {
    warmer: &'a Warmer,
    asker: &'a mut Asker,
    progress: &'a WarmProgress,
    /// Those under way, each with the place of its category.
    tasks: JoinSet<(usize, Came)>,
    pace: Pace,
}

impl Run<'_> {
    async fn all(mut self) {
        for category in self.warmer.chosen() {
            self.category(category).await;
        }
        for name in self.warmer.unknown() {
            let place = self.progress.begin(name);
            self.progress.ask(place);
            self.came(place, Came::Failed(NO_CATEGORY.to_owned()));
        }
        while self.join().await {}
    }

    async fn category(&mut self, category: &Category) {
        let place = self.progress.begin(&category.name);
        for source in &category.sources {
            for number in 0.. {
                match source.batch(number).await {
                    Ok(Some(items)) => {
                        for item in self.warmer.wanted(items) {
                            self.start(place, item).await;
                        }
                    }
                    Ok(None) => break,
                    Err(why) => {
                        self.progress.ask(place);
                        self.came(place, Came::Failed(format!("its source: {why}")));
                        break;
                    }
                }
            }
        }
    }

    /// Starts one when its turn has come.
    async fn start(&mut self, place: usize, item: Item) {
        while self.tasks.len() >= self.warmer.concurrency && self.join().await {}
        while let Some(done) = self.tasks.try_join_next() {
            self.done(done.ok());
        }
        self.turn().await;
        self.progress.ask(place);
        let stats = RequestStats::of_warmer(Warm { force: self.warmer.force, values: matches!(item, Item::Value(_)) });
        let (name, answering): (String, Later<Came>) = match item {
            Item::Value(load) => {
                let loading = stats.clone().scope(caught(move || load()));
                ("a value".to_owned(), Box::pin(async move { loading.await.map(|()| of_values(&stats)) }))
            }
            Item::Request(request) => {
                let name = request.target().to_owned();
                let mut parts = match self.warmer.prepared(*request) {
                    Ok(parts) => parts,
                    Err(why) => return self.came(place, Came::Failed(format!("{name}: {why}"))),
                };
                parts.extensions.insert(stats.clone());
                let asker = &mut *self.asker;
                let Ok(answering) = catch_unwind(AssertUnwindSafe(|| asker(parts))) else {
                    return self.came(place, Came::Failed(format!("{name}: {}", super::PANICKED)));
                };
                let answering = caught(|| answering);
                (name, Box::pin(async move { answering.await.and_then(|status| of_response(status, &stats)) }))
            }
        };
        let timeout = self.warmer.timeout;
        let task = async move {
            let came = timer::within(timeout, answering).await;
            let came = came.unwrap_or_else(|| Err(format!("broken off after {timeout:?}")));
            (place, came.unwrap_or_else(|why| Came::Failed(format!("{name}: {why}"))))
        };
        self.tasks.spawn(task.in_current_span());
    }

    /// Waits until the next one may start. What is skipped meanwhile makes that earlier.
    async fn turn(&mut self) {
        while let Some(left) = self.pace.left() {
            if self.tasks.is_empty() {
                timer::after(left).await;
            } else if timer::within(left, self.join()).await.is_none() {
                break;
            }
        }
        self.pace.take();
    }

    /// Waits for one of those under way. False if there is none.
    async fn join(&mut self) -> bool {
        let Some(done) = self.tasks.join_next().await else { return false };
        self.done(done.ok());
        true
    }

    fn done(&mut self, done: Option<(usize, Came)>) {
        // Nothing comes of one that its runtime has dropped.
        let Some((place, came)) = done else { return };
        if matches!(came, Came::Skipped) {
            self.pace.give_back();
        }
        self.came(place, came);
    }

    fn came(&self, place: usize, came: Came) {
        if let Came::Failed(why) = &came {
            tracing::debug!(target: "larder::warm", why, "warming has failed");
        }
        self.progress.came(place, came);
        if let Some(told) = &self.warmer.on_progress {
            let report = self.progress.report();
            let _ = catch_unwind(AssertUnwindSafe(|| told(&report)));
        }
    }
}

fn of_response(status: StatusCode, stats: &RequestStats) -> Result<Came, String> {
    if status.is_client_error() || status.is_server_error() {
        return Err(status.to_string());
    }
    Ok(match stats.told() {
        (Some(Outcome::Hit), _) => Came::Skipped,
        (Some(Outcome::Revalidated | Outcome::Collapsed), _) | (_, true) => Came::Warmed,
        (_, false) => Came::NotStored,
    })
}

/// What came of a closure, which may have looked up several values, or none that the cache knows of.
fn of_values(stats: &RequestStats) -> Came {
    match stats.counts() {
        [hits, 0, 0] if hits > 0 => Came::Skipped,
        [_, misses, 0] if misses > 0 => Came::NotStored,
        _ => Came::Warmed,
    }
}

/// Spreads the starts over time.
struct Pace {
    gap: Option<Duration>,
    began: Moment,
    /// The earliest start of the next, since the beginning.
    next: Duration,
}

impl Pace {
    fn new(rate: Option<f64>) -> Self {
        let gap = rate.map(|rate| Duration::try_from_secs_f64(1.0 / rate).unwrap_or(Duration::MAX));
        Self { gap, began: Moment::now(), next: Duration::ZERO }
    }

    /// How long it is until the next may start, if that is later than now.
    fn left(&self) -> Option<Duration> {
        self.gap?;
        Some(self.next.saturating_sub(self.began.elapsed())).filter(|left| !left.is_zero())
    }

    /// One starts now.
    fn take(&mut self) {
        if let Some(gap) = self.gap {
            self.next = self.next.max(self.began.elapsed()).saturating_add(gap);
        }
    }

    fn give_back(&mut self) {
        self.next = self.next.saturating_sub(self.gap.unwrap_or_default());
    }
}

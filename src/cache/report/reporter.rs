use super::advice::{Advice, advise, is_telling, part, spelled};
use crate::{
    cache::{Cache, Metrics, PolicyMetrics},
    tally::Counts,
    timer,
};
use std::{
    fmt,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// How a cache did since the last report.
///
/// ```
/// # use larder::Cache;
/// # let cache = Cache::in_memory(1 << 20);
/// let report = cache.report();
/// assert_eq!((report.cache.as_str(), report.counts.requests()), ("default", 0));
/// println!("{report}");
/// assert!(cache.last_report().is_some()); // and the next one counts from here
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The name of the cache.
    pub cache: String,
    /// When it was made.
    pub at: SystemTime,
    /// Since when it counts: the last report, or when the cache was made.
    pub since: SystemTime,
    /// All that was counted in this time.
    pub counts: Counts,
    /// By tenant: what is held of it, and how much of what it asks for is answered from the cache.
    pub coverage: Vec<Coverage>,
    /// The policies at which most time is spent, the most first: up to five.
    pub bottlenecks: Vec<(String, String)>,
    /// What went better the last time.
    pub regressions: Vec<Regression>,
    /// What could be changed.
    pub advice: Vec<Advice>,
}

/// How well a tenant is served.
///
/// ```
/// # use larder::Cache;
/// # let cache = Cache::in_memory(1 << 20);
/// let report = cache.report();
/// for tenant in report.coverage.iter().filter(|tenant| tenant.lookup_hit_ratio < 0.5) {
///     println!("tenant {}: {} entries, of little use", tenant.tenant, tenant.entries);
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Coverage {
    /// The tenant.
    pub tenant: String,
    /// What memory holds of it.
    pub entries: u64,
    /// The lookup hit ratio of the last hour: of what it looked up, the part that was answered from the cache.
    pub lookup_hit_ratio: f64,
}

/// What went better the last time.
///
/// ```
/// # use larder::Cache;
/// # let cache = Cache::in_memory(1 << 20);
/// for worse in &cache.report().regressions {
///     eprintln!("{}: {}", worse.policy, worse.text);
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Regression {
    /// The policy.
    pub policy: String,
    /// What got worse, with figures.
    pub text: String,
}

/// Makes a report of a cache again and again, every six hours if nothing else is said.
///
/// ```no_run
/// # use larder::{Cache, Reporter};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::ConfigError> {
/// let cache = Cache::in_memory(64 << 20);
/// Reporter::new(&cache)
///     .every(Duration::from_secs(3600))
///     .tell(|report| println!("{report}"))
///     .start()?;
/// # Ok(()) }
/// ```
///
/// Each report is written to the log, at info level of target `larder::report`: figures by policy, without tenants. The last one is
/// also what the admin API and the command line show.
#[must_use = "a reporter does nothing until it is started"]
pub struct Reporter {
    cache: Cache,
    period: Duration,
    tell: Vec<Tell>,
}

type Tell = Box<dyn Fn(&Report) + Send + Sync>;

/// Reports that come again and again. They go on when this is dropped, and end with the cache.
///
/// ```
/// # use larder::{Cache, Reporter};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::ConfigError> {
/// # let cache = Cache::in_memory(1 << 20);
/// let reporting = Reporter::new(&cache).every(Duration::from_secs(3600)).start()?;
/// // The tests are over, and nobody wants to read more:
/// reporting.stop();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reporting(watch::Sender<bool>);

/// What the next report compares with.
#[derive(Clone, Debug, Default)]
pub(in crate::cache) struct Before {
    at: Option<SystemTime>,
    metrics: Metrics,
    last: Option<Arc<Report>>,
}

impl Reporter {
    /// Reports of this cache.
    pub fn new(cache: &Cache) -> Self {
        Self { cache: cache.clone(), period: SIX_HOURS, tell: Vec::new() }
    }

    /// How long it is from one report to the next. Default: six hours.
    pub fn every(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// Has somebody told of each report. A panic in the closure ends the reports, and nothing else.
    pub fn tell(mut self, tell: impl Fn(&Report) + Send + Sync + 'static) -> Self {
        self.tell.push(Box::new(tell));
        self
    }

    /// Makes the first report after this time, and so on.
    ///
    /// # Errors
    ///
    /// If the time from one to the next is less than a second.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn start(self) -> Result<Reporting, crate::ConfigError> {
        let Self { cache, period, tell } = self;
        if period < Duration::from_secs(1) {
            return Err(crate::ConfigError::new(format!("every({period:?}): a second or more is possible")));
        }
        let (stop, mut stopped) = watch::channel(false);
        let background = cache.background().clone();
        let (weak, mut open) = (Arc::downgrade(&cache.0), cache.0.book.open.subscribe());
        drop(cache);
        tokio::spawn(async move {
            let end = async {
                // Nothing is ever sent: it fails when the cache goes.
                let gone = async { while open.changed().await.is_ok() {} };
                timer::until(gone, background.ended(&mut stopped)).await;
            };
            let work = async {
                loop {
                    timer::after(period).await;
                    let Some(cache) = weak.upgrade().map(Cache) else { return };
                    let report = cache.report();
                    report.log();
                    tell.iter().for_each(|tell| tell(&report));
                }
            };
            timer::until(end, work).await;
        });
        Ok(Reporting(stop))
    }
}

impl Reporting {
    /// Ends it.
    pub fn stop(self) {
        self.0.send_replace(true);
    }
}

impl Cache {
    /// A report of what this cache did since the last one was made.
    pub fn report(&self) -> Arc<Report> {
        let metrics = self.metrics();
        let now = SystemTime::from(self.now());
        let mut before = self.0.book.reported.lock().unwrap_or_else(PoisonError::into_inner);
        let since = before.at.unwrap_or_else(|| SystemTime::from(self.0.book.since));
        let report = Arc::new(Report {
            cache: self.name().to_owned(),
            at: now,
            since,
            counts: metrics.total.since(&before.metrics.total),
            coverage: coverage(&metrics),
            bottlenecks: bottlenecks(&metrics, &before.metrics),
            regressions: regressions(&metrics, before.last.is_some().then_some(&before.metrics)),
            advice: advise(&metrics, self.memory_limit(), &self.mismatches()),
        });
        *before = Before { at: Some(now), metrics, last: Some(Arc::clone(&report)) };
        report
    }

    /// The last report that was made, if there is one.
    pub fn last_report(&self) -> Option<Arc<Report>> {
        self.0.book.reported.lock().unwrap_or_else(PoisonError::into_inner).last.clone()
    }
}

fn coverage(metrics: &Metrics) -> Vec<Coverage> {
    let of = metrics.tenants.iter().map(|tenant| Coverage {
        tenant: tenant.name.clone(),
        entries: tenant.entries,
        lookup_hit_ratio: tenant.windows.hour.lookup_hit_ratio(),
    });
    of.collect()
}

/// Where the inner service spends most of its time for what could have been answered from the cache.
fn bottlenecks(metrics: &Metrics, before: &Metrics) -> Vec<(String, String)> {
    let spent = metrics.policies.iter().map(|policy| {
        let counts = policy.total.since(&of(before, policy));
        (policy, counts.fill_time.sum, counts)
    });
    let mut spent: Vec<_> = spent.filter(|(_, sum, _)| !sum.is_zero()).collect();
    spent.sort_by_key(|(_, sum, _)| std::cmp::Reverse(*sum));
    let told = spent.into_iter().take(5).map(|(policy, sum, counts)| {
        let p95 =
            counts.fill_time.p95.map_or(String::new(), |p95| format!(", {} at the 95th percentile", spelled(p95)));
        let fills = plural(counts.fill_time.count, "fill");
        let text = format!("{fills} took {}{p95}; lookup hit ratio {}", spelled(sum), part(counts.lookup_hit_ratio()));
        (policy.name.clone(), text)
    });
    told.collect()
}

fn regressions(metrics: &Metrics, before: Option<&Metrics>) -> Vec<Regression> {
    let Some(before) = before else { return Vec::new() };
    let mut all = Vec::new();
    for policy in &metrics.policies {
        let Some(old) = before.policies.iter().find(|other| other.name == policy.name && other.kind == policy.kind)
        else {
            continue;
        };
        // What was counted since, against all that was counted before.
        let (now, then) = (policy.total.since(&old.total), &old.total);
        if !is_telling(&now) || !is_telling(then) {
            continue;
        }
        let mut tell = |text| all.push(Regression { policy: policy.name.clone(), text });
        let (ratio, was) = (now.lookup_hit_ratio(), then.lookup_hit_ratio());
        if ratio < was - 0.1 {
            tell(format!("lookup hit ratio fell from {} to {}", part(was), part(ratio)));
        }
        if let (Some(p95), Some(was)) = (now.fill_time.p95, then.fill_time.p95)
            && p95 > was * 3 / 2
        {
            tell(format!("fills take {} at the 95th percentile, and took {}", spelled(p95), spelled(was)));
        }
    }
    all
}

fn of(metrics: &Metrics, wanted: &PolicyMetrics) -> Counts {
    let is_it = |policy: &&PolicyMetrics| policy.name == wanted.name && policy.kind == wanted.kind;
    metrics.policies.iter().find(is_it).map(|policy| policy.total.clone()).unwrap_or_default()
}

impl Report {
    fn log(&self) {
        tracing::info!(
            target: "larder::report",
            cache = self.cache,
            hit_ratio = self.counts.hit_ratio(),
            lookup_hit_ratio = self.counts.lookup_hit_ratio(),
            requests = self.counts.requests(),
            regressions = self.regressions.len(),
            advice = self.advice.len(),
            "report"
        );
        for Regression { policy, text } in &self.regressions {
            tracing::info!(target: "larder::report", cache = self.cache, policy, "{text}");
        }
    }
}

/// For people, tenants included.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { stored, not_stored, bypasses, saved, .. } = &self.counts;
        writeln!(
            f,
            "cache {}, the last {}: {}, {bypasses} bypassed, hit ratio {}, lookup hit ratio {}",
            self.cache,
            period(self.at.duration_since(self.since).unwrap_or_default()),
            plural(self.counts.requests(), "request"),
            part(self.counts.hit_ratio()),
            part(self.counts.lookup_hit_ratio()),
        )?;
        writeln!(f, "{stored} stored, {not_stored} not; {} of handlers saved", spelled(*saved))?;
        for (policy, text) in &self.bottlenecks {
            writeln!(f, "slow: {policy}: {text}")?;
        }
        for Regression { policy, text } in &self.regressions {
            writeln!(f, "worse: {policy}: {text}")?;
        }
        for Coverage { tenant, entries, lookup_hit_ratio } in self.coverage.iter().take(10) {
            writeln!(f, "tenant {tenant}: {entries} stored, lookup hit ratio {}", part(*lookup_hit_ratio))?;
        }
        for advice in &self.advice {
            writeln!(f, "advice: {advice}")?;
        }
        Ok(())
    }
}

/// `40 s`, `12 min`, `6.0 h`: in the unit that leaves something to be read.
fn period(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        // What would be rounded up to an hour is none yet.
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        _ => format!("{:.1} h", span.as_secs_f64() / 3600.0),
    }
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("period", &self.period).finish_non_exhaustive()
    }
}

const SIX_HOURS: Duration = Duration::from_secs(6 * 3600);

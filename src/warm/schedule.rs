//! Runs that come again and again, held to quiet times.

use super::{WarmProgress, WarmReport, Warmer, run, run::Asker};
use crate::{
    cache::{Cache, Stats},
    clock::Moment,
    key::UtcOffset,
    semantics::date::Timestamp,
    timer,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// Runs that come again and again. They go on when this is dropped. Made by [`Warmer::every`].
///
/// ```
/// # use larder::WarmSchedule;
/// # fn show(schedule: WarmSchedule) {
/// if let Some(report) = schedule.last() {
///     println!("{report}");
/// }
/// schedule.stop();
/// # }
/// ```
#[derive(Debug)]
pub struct WarmSchedule {
    stop: watch::Sender<bool>,
    last: Arc<Mutex<Option<WarmReport>>>,
}

/// When a run may begin.
#[derive(Clone, Debug, Default)]
pub(super) struct Quiet {
    pub(super) hours: Option<(u8, u8, UtcOffset)>,
    pub(super) below: Option<f64>,
}

impl WarmSchedule {
    /// Ends it. A run that is under way is broken off.
    pub fn stop(self) {
        self.stop.send_replace(true);
    }

    /// What the last run has done.
    pub fn last(&self) -> Option<WarmReport> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn start(warmer: Warmer, period: Duration, mut asker: Asker, cache: &Cache) -> Self {
        let (stop, mut stopped) = watch::channel(false);
        let last = Arc::new(Mutex::new(None));
        let (told, cache) = (Arc::clone(&last), cache.clone());
        tokio::spawn(async move {
            let background = cache.background().clone();
            let work = async {
                let mut began = Moment::now();
                loop {
                    timer::after(period.saturating_sub(began.elapsed())).await;
                    warmer.quiet.wait(&cache).await;
                    began = Moment::now();
                    let report = run::run(&warmer, &mut asker, &WarmProgress::new()).await;
                    *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
                }
            };
            timer::until(background.ended(&mut stopped), work).await;
        });
        Self { stop, last }
    }
}

impl Quiet {
    async fn wait(&self, cache: &Cache) {
        loop {
            while let Some(left) = self.left(cache.now()) {
                // The clock may be set meanwhile.
                timer::after(left.min(LOOK_AT_CLOCK)).await;
            }
            let Some(below) = self.below else { return };
            let before = requests(&cache.stats());
            let looked = Moment::now();
            timer::after(MEASURE).await;
            let seen = requests(&cache.stats()).saturating_sub(before);
            #[expect(clippy::cast_precision_loss, reason = "so many requests in ten seconds are as good as many")]
            let rate = seen as f64 / looked.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
            // The hour may have passed meanwhile.
            if rate < below && self.left(cache.now()).is_none() {
                return;
            }
        }
    }

    /// How long until its hours begin; nothing within them.
    fn left(&self, now: Timestamp) -> Option<Duration> {
        let (from, to, zone) = self.hours?;
        let local = (i128::from(now.as_unix_millis()) + i128::from(zone.millis())).rem_euclid(DAY.into());
        let local = u64::try_from(local).unwrap_or(0);
        let (from, to) = (u64::from(from) * HOUR, u64::from(to) * HOUR);
        let within = if from < to { (from..to).contains(&local) } else { local >= from || local < to };
        (!within).then(|| Duration::from_millis((from + DAY - local) % DAY))
    }
}

/// The requests that the cache has seen.
fn requests(stats: &Stats) -> u64 {
    let Stats { hits, stale, revalidated, misses, collapsed, bypasses, .. } = stats;
    hits + stale + revalidated + misses + collapsed + bypasses.values().sum::<u64>()
}

const HOUR: u64 = 3600 * 1000;
const DAY: u64 = 24 * HOUR;
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);
/// So long requests are counted to tell how many come in a second.
const MEASURE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_may_go_over_midnight() {
        let at = |hour: u64| Timestamp::from_unix_millis(1_800_000_000_000 / DAY * DAY + hour * HOUR);
        let hours = |from, to, zone| Quiet { hours: Some((from, to, zone)), below: None };
        let left = |quiet: &Quiet, hour| quiet.left(at(hour)).map(|left| left.as_secs() / 3600);
        let night = hours(22, 6, UtcOffset::UTC);
        assert_eq!([21, 22, 23, 0, 5, 6].map(|hour| left(&night, hour)), [Some(1), None, None, None, None, Some(16)]);
        let lunch = hours(12, 14, UtcOffset::hours(2));
        assert_eq!([9, 10, 11, 12].map(|hour| left(&lunch, hour)), [Some(1), None, None, Some(22)]);
        assert_eq!(left(&hours(20, 0, UtcOffset::UTC), 23), None);
        assert_eq!(Quiet::default().left(at(1)), None);
    }
}

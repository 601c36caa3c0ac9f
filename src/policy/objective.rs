use super::{Policy, PolicyError};
use crate::tally::Counts;
use std::time::Duration;

/// What an operator wants of a policy. Made by [`Policy::objective`].
///
/// ```
/// # use larder::{Cache, CacheLayer, Policy};
/// # use std::time::Duration;
/// # let cache = Cache::in_memory(1 << 20);
/// let wanted = Policy::named("dashboard").preset(larder::Preset::Dashboard).objective(0.8, Duration::from_millis(500));
/// let layer = CacheLayer::new(&cache, wanted);
/// let metrics = cache.metrics();
/// let dashboard = metrics.policies.iter().find(|policy| policy.name == "dashboard").unwrap();
/// let objective = dashboard.objective.unwrap();
/// assert_eq!(objective.is_met(&dashboard.windows.hour), None); // twenty lookups tell more than none
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective {
    /// The lookup hit ratio: of what is looked up, the part that is to be answered from the cache.
    pub lookup_hit_ratio: f64,
    /// 95 of 100 lookups are to be answered within this time.
    pub p95: Duration,
}

impl Policy {
    /// What is wanted of this policy: a lookup hit ratio (of what is looked up, at least this part is answered from the cache),
    /// and that 95 of 100 lookups get their answer within this time. It changes nothing; the dashboard, the metrics and the advice tell whether
    /// it is met. Default: nothing is wanted.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let dashboards = Policy::named("dashboard").fresh_for(Duration::from_secs(600))
    ///     .objective(0.8, Duration::from_millis(500));
    /// # let _ = dashboards;
    /// ```
    pub fn objective(mut self, lookup_hit_ratio: f64, p95: Duration) -> Self {
        self.objective = Some(Objective { lookup_hit_ratio, p95 });
        self
    }

    pub(crate) fn objective_of(&self) -> Option<Objective> {
        self.objective
    }
}

impl Objective {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let Self { lookup_hit_ratio, p95 } = self;
        if !(*lookup_hit_ratio > 0.0 && *lookup_hit_ratio <= 1.0) {
            return Err(PolicyError::new(format!(
                "objective({lookup_hit_ratio:?}, {p95:?}): a lookup hit ratio of more than 0 and at most 1 is possible: 0.8 is 80 %"
            )));
        }
        if p95.is_zero() {
            return Err(PolicyError::new(format!(
                "objective({lookup_hit_ratio:?}, 0s): no answer takes no time at all"
            )));
        }
        Ok(())
    }

    /// Whether it is met by what was counted; unknown where that is too little to tell.
    pub fn is_met(&self, counts: &Counts) -> Option<bool> {
        if counts.lookups() < ENOUGH {
            return None;
        }
        Some(counts.lookup_hit_ratio() >= self.lookup_hit_ratio && self.slow(counts) <= SLOW)
    }

    /// The part of the lookups that took longer than is wanted.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub(crate) fn slow(&self, counts: &Counts) -> f64 {
        // Hits take less than any time that is worth wanting.
        let slow = counts.fill_time.count.saturating_sub(counts.fill_time.within(self.p95));
        slow as f64 / counts.lookups().max(1) as f64
    }
}

/// This part of the lookups may take longer than the 95th percentile that is wanted.
pub(crate) const SLOW: f64 = 0.05;

/// Fewer lookups tell nothing.
const ENOUGH: u64 = 20;

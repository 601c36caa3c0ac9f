use super::{Policy, PolicyError};
use crate::tally::Counts;
use std::time::Duration;

/// What an operator wants of a policy. Made by [`Policy::objective`].
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Objective {
    /// Of what is looked up, the part that is to be answered from the cache.
    pub hit_ratio: f64,
    /// 95 of 100 requests are to be answered within this time.
    pub p95: Duration,
}

impl Policy {
    /// What is wanted of this policy: that of what is looked up at least this part is answered from the cache, and that 95 of
    /// 100 requests get their answer within this time. It changes nothing; the dashboard, the metrics and the advice tell whether
    /// it is met. Default: nothing is wanted.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let dashboards = Policy::named("dashboard").fresh_for(Duration::from_secs(600))
    ///     .objective(0.8, Duration::from_millis(500));
    /// # let _ = dashboards;
    /// ```
    pub fn objective(mut self, hit_ratio: f64, p95: Duration) -> Self {
        self.objective = Some(Objective { hit_ratio, p95 });
        self
    }

    pub(crate) fn objective_of(&self) -> Option<Objective> {
        self.objective
    }
}

impl Objective {
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let Self { hit_ratio, p95 } = self;
        if !(*hit_ratio > 0.0 && *hit_ratio <= 1.0) {
            return Err(PolicyError::new(format!(
                "objective({hit_ratio:?}, {p95:?}): a hit ratio of more than 0 and at most 1 is possible: 0.8 is 80 %"
            )));
        }
        if p95.is_zero() {
            return Err(PolicyError::new(format!("objective({hit_ratio:?}, 0s): no answer takes no time at all")));
        }
        Ok(())
    }

    /// Whether it is met by what was counted; unknown where that is too little to tell.
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
    pub fn is_met(&self, counts: &Counts) -> Option<bool> {
        if counts.lookups() < ENOUGH {
            return None;
        }
        // Hits take less than any time that is worth wanting.
        let slow = counts.fill_time.count.saturating_sub(counts.fill_time.within(self.p95));
        let quick = slow as f64 <= 0.05 * counts.lookups() as f64;
        Some(counts.hit_ratio() >= self.hit_ratio && quick)
    }
}

/// Fewer lookups tell nothing.
const ENOUGH: u64 = 20;

//! What a policy says of fills, and of refreshing before the lifetime is over.

use super::Policy;
use std::{ops::RangeInclusive, time::Duration};

/// How a response is got from the inner service, and how long anybody waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FillRules {
    /// How long a request waits for the fill of another.
    pub(crate) wait_limit: Duration,
    /// How long a request waits for the fill of another process, if it does.
    pub(crate) lease: Option<Duration>,
    /// A fill ends when nobody waits for it.
    pub(crate) abandon_on_cancel: bool,
    /// After this a stale response is served where stale-if-error allows it, and the fill goes on.
    pub(crate) soft_timeout: Option<Duration>,
    /// After this a stale response is served where stale-if-error allows it, or else 504.
    pub(crate) hard_timeout: Option<Duration>,
    /// How long nobody waits for the fill of a resource that gave nothing to store.
    pub(crate) remember_uncacheable: Duration,
    /// From which request for it on a response is stored.
    pub(crate) min_uses: u32,
}

impl FillRules {
    /// How long anyone waits for another's fill, unless it is said.
    pub(crate) const DEFAULT_WAIT: Duration = Duration::from_secs(5);
}

impl Default for FillRules {
    fn default() -> Self {
        Self {
            wait_limit: Self::DEFAULT_WAIT,
            lease: None,
            abandon_on_cancel: false,
            soft_timeout: None,
            hard_timeout: None,
            remember_uncacheable: Duration::from_secs(120),
            min_uses: 1,
        }
    }
}

/// When a fresh response is refreshed, and what becomes of its lifetime.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct RefreshRules {
    /// The part of the lifetime after which a hit starts a refresh.
    pub(crate) eager: Option<f64>,
    /// The beta of XFetch.
    pub(crate) xfetch: Option<f64>,
    /// The largest part of a lifetime that is taken away at random.
    pub(crate) jitter: Option<f64>,
    /// The shortest and the longest lifetime that a policy's own becomes.
    pub(crate) adaptive: Option<(Duration, Duration)>,
}

impl RefreshRules {
    /// Whether anything is refreshed before it is stale.
    pub(crate) fn is_early(&self) -> bool {
        self.eager.is_some() || self.xfetch.is_some()
    }
}

/// Fills: how a response is got from the inner service, and how long anybody waits for it.
impl Policy {
    /// How long a request waits for another's fill of the same resource, so that many requests at once ask the inner
    /// service once. Zero: it never waits, every miss asks for itself. Default: 5 seconds.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // A report takes 20 s to make: who comes meanwhile waits for it, and does not ask for another.
    /// let reports = Policy::fresh_for(Duration::from_secs(3600)).wait_limit(Duration::from_secs(25));
    /// assert!(reports.effective().to_string().contains("wait_limit:             25s\n"));
    /// ```
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.fill.wait_limit = limit;
        self
    }

    /// Of all processes that share a store, one fills at a time what nobody has: the others look into the store again and again
    /// until it is there, as long as this. Worth its two round trips for what takes long to make. Default: each process fills for
    /// itself.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // The month's report takes a minute: one process makes it, and the others take it from Redis.
    /// let month = Policy::fresh_for(Duration::from_secs(3600)).collapse_across(Duration::from_secs(90));
    /// # let _ = month;
    /// ```
    pub fn collapse_across(mut self, limit: Duration) -> Self {
        self.fill.lease = Some(limit);
        self
    }

    /// A fill whose client went away ends when nobody waits for it. Default: it runs on in the background to its end,
    /// and is stored.
    pub fn abandon_on_cancel(mut self) -> Self {
        self.fill.abandon_on_cancel = true;
        self
    }

    /// When a fill takes longer than this, a stale response is served if [`stale_if_error`](Policy::stale_if_error)
    /// allows it, and the fill goes on in the background. Default: the client waits.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let hour = Duration::from_secs(3600);
    /// let reports = Policy::fresh_for(hour).stale_if_error(24 * hour).soft_timeout(Duration::from_millis(300));
    /// # assert_eq!(reports.warnings(), [""; 0]);
    /// ```
    pub fn soft_timeout(mut self, after: Duration) -> Self {
        self.fill.soft_timeout = Some(after);
        self
    }

    /// When a fill takes longer than this, a stale response is served if [`stale_if_error`](Policy::stale_if_error)
    /// allows it, or else `504 Gateway Timeout`. Longer than [`soft_timeout`](Policy::soft_timeout), if both are set.
    /// Default: the client waits.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let second = Duration::from_secs(1);
    /// // After a second what is stale will do; after ten there is no answer, and no client waits any more.
    /// let reports = Policy::fresh_for(600 * second)
    ///     .stale_if_error(3600 * second)
    ///     .soft_timeout(second)
    ///     .hard_timeout(10 * second);
    /// # let _ = reports;
    /// ```
    pub fn hard_timeout(mut self, after: Duration) -> Self {
        self.fill.hard_timeout = Some(after);
        self
    }

    /// How long it is remembered that a resource gives nothing that can be stored, so that requests for it do not wait
    /// for each other. Zero: it is not remembered. Default: 2 minutes.
    pub fn remember_uncacheable(mut self, span: Duration) -> Self {
        self.fill.remember_uncacheable = span;
        self
    }

    /// A response is stored only from this request for its resource on, as far back as uses are remembered: `2` keeps
    /// out what is asked for once. Default: 1, from the first on.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // Search terms: most are asked for once.
    /// let search = Policy::fresh_for(Duration::from_secs(180)).min_uses(2);
    /// # let _ = search;
    /// ```
    pub fn min_uses(mut self, uses: u32) -> Self {
        self.fill.min_uses = uses;
        self
    }
}

/// Refreshing before the lifetime is over, and lifetimes that are not all the same.
impl Policy {
    /// A hit this far into the lifetime starts a refresh in the background, and is served, fresh as it still is. A
    /// fraction of the lifetime, between 0 and 1. Default: no refresh before the lifetime is over.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let rates = Policy::fresh_for(Duration::from_secs(600)).eager_refresh(0.8);      // after 8 minutes
    /// # let _ = rates;
    /// ```
    pub fn eager_refresh(mut self, fraction: f64) -> Self {
        self.refresh.eager = Some(fraction);
        self
    }

    /// Each hit may start a refresh in the background, the likelier the nearer the end of the lifetime and the longer
    /// the last fill took: XFetch (Vattani et al., VLDB 2015). `beta` has no unit, and is above 0 and at most 100: 1.0 is
    /// the optimum of the paper, more is earlier. Default: no refresh before the lifetime is over.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // Fills that take long begin early; under little traffic none does.
    /// let reports = Policy::fresh_for(Duration::from_secs(600)).xfetch(1.0);
    /// # let _ = reports;
    /// ```
    pub fn xfetch(mut self, beta: f64) -> Self {
        self.refresh.xfetch = Some(beta);
        self
    }

    /// Shortens each stored lifetime by a random part of up to this fraction, above 0 and at most 0.5, so that what was
    /// stored together does not expire together. Default: not at all.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let pages = Policy::fresh_for(Duration::from_secs(600)).jitter(0.1);      // each for 9 to 10 minutes
    /// # let _ = pages;
    /// ```
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.refresh.jitter = Some(fraction);
        self
    }

    /// The policy's lifetime grows by half each time a refreshed response turns out unchanged (304, or the same bytes), and
    /// halves each time it has changed, within these bounds, which it has to be in to begin with. Default: it stays as
    /// it is.
    ///
    /// For lifetimes that come from the policy: one that the response states stays as stated, unless
    /// [`override_response`](Policy::override_response) is set.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let secs = Duration::from_secs;
    /// let feeds = Policy::fresh_for(secs(60)).adaptive_lifetime(secs(10)..=secs(3600));
    /// # let _ = feeds;
    /// ```
    pub fn adaptive_lifetime(mut self, bounds: RangeInclusive<Duration>) -> Self {
        self.refresh.adaptive = Some(bounds.into_inner());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Rules, Unit};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_handler_says_how_its_answer_is_refreshed_not_how_it_is_filled() {
        let searches = std::sync::Arc::default();
        let unit = Unit { searches: &searches, namespace: "x", version: None, largest_body: usize::MAX };
        let layer = Policy::fresh_for(60 * SECOND)
            .wait_limit(SECOND)
            .abandon_on_cancel()
            .hard_timeout(9 * SECOND)
            .remember_uncacheable(Duration::ZERO)
            .min_uses(2)
            .eager_refresh(0.5)
            .jitter(0.5);
        let rules = Rules::new(&layer, unit).unwrap();
        let fill = FillRules {
            lease: None,
            wait_limit: SECOND,
            abandon_on_cancel: true,
            soft_timeout: None,
            hard_timeout: Some(9 * SECOND),
            remember_uncacheable: Duration::ZERO,
            min_uses: 2,
        };
        let refresh = RefreshRules { eager: Some(0.5), jitter: Some(0.5), ..RefreshRules::default() };
        assert_eq!((rules.fill, rules.refresh), (fill, refresh));

        let handler = Policy::fresh_for(60 * SECOND)
            .wait_limit(3 * SECOND)
            .soft_timeout(SECOND)
            .xfetch(1.0)
            .adaptive_lifetime(SECOND..=60 * SECOND);
        let both = rules.with_storing_of(&handler, unit).unwrap();
        let refresh =
            RefreshRules { xfetch: Some(1.0), adaptive: Some((SECOND, 60 * SECOND)), ..RefreshRules::default() };
        assert_eq!((both.fill, both.refresh), (fill, refresh));
    }
}

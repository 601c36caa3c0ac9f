//! When a response that is still fresh is refreshed.
//!
//! Pure functions: the caller brings the moment and a random number.

use super::RefreshRules;
use crate::semantics::{date::Timestamp, reuse::Lifespan};
use std::time::Duration;

/// The earliest moment at which a hit may have to start a refresh: before it, [`is_due`] says no whatever the random
/// number. The end of time if the rules ask for no refresh. `fill_time` is how long the last fill took.
pub(crate) fn refresh_from(lifespan: &Lifespan, rules: RefreshRules, fill_time: Duration) -> Timestamp {
    let eager = rules.eager.map(|fraction| eager_at(lifespan, fraction));
    let xfetch = rules.xfetch.map(|beta| fetch_at(lifespan, beta, fill_time, LONGEST_DRAW));
    eager.into_iter().chain(xfetch).min().unwrap_or(Timestamp::from_unix_millis(u64::MAX))
}

/// Whether a hit at this moment starts a refresh. `random` is from 0 to 1, a new one for each hit; the nearer to 0, the
/// earlier.
pub(crate) fn is_due(
    lifespan: &Lifespan,
    rules: RefreshRules,
    fill_time: Duration,
    now: Timestamp,
    random: f64,
) -> bool {
    rules.eager.is_some_and(|fraction| now >= eager_at(lifespan, fraction))
        || rules.xfetch.is_some_and(|beta| now >= fetch_at(lifespan, beta, fill_time, draw(random)))
}

/// The moment when this fraction of the lifetime is over. The lifetime began when the response's age was zero.
fn eager_at(lifespan: &Lifespan, fraction: f64) -> Timestamp {
    lifespan.born.saturating_add(part_of(lifespan.fresh_until.since(lifespan.born), fraction))
}

/// XFetch (Vattani et al., "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015, figure 3): a hit refreshes if
/// `now - fill_time * beta * ln(random) >= fresh_until`.
fn fetch_at(lifespan: &Lifespan, beta: f64, fill_time: Duration, draw: f64) -> Timestamp {
    lifespan.fresh_until.saturating_sub(scaled(fill_time, beta * draw))
}

/// How many fill times before the end this random number refreshes: exponentially distributed.
fn draw(random: f64) -> f64 {
    let draw = -random.ln();
    // The logarithm of zero is infinite; what is less has none.
    if draw.is_nan() { 0.0 } else { draw.clamp(0.0, LONGEST_DRAW) }
}

/// This fraction of a span; one outside of 0 to 1 counts as the nearer end, and what is no number as 0.
pub(crate) fn part_of(span: Duration, fraction: f64) -> Duration {
    scaled(span, fraction.clamp(0.0, 1.0)).min(span)
}

fn scaled(span: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * factor.max(0.0)).unwrap_or(Duration::MAX)
}

/// The logarithm of 2^52, rounded up: less than one hit in 10^15 would draw more.
const LONGEST_DRAW: f64 = 36.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::duration;
    use proptest::{num::f64 as float, prelude::*};

    const SECOND: Duration = Duration::from_secs(1);
    const BORN: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

    /// Fresh for 100 seconds.
    fn hundred() -> Lifespan {
        lifespan(BORN, BORN.saturating_add(100 * SECOND))
    }

    fn lifespan(born: Timestamp, fresh_until: Timestamp) -> Lifespan {
        Lifespan {
            born,
            fresh_until,
            revalidate_until: fresh_until,
            error_until: fresh_until,
            always_validate: false,
            never_stale: false,
        }
    }

    fn rules(eager: Option<f64>, xfetch: Option<f64>) -> RefreshRules {
        RefreshRules { eager, xfetch, ..RefreshRules::default() }
    }

    fn after(secs: f64) -> Timestamp {
        BORN.saturating_add(Duration::from_secs_f64(secs))
    }

    #[test]
    fn eager_begins_at_its_fraction_of_the_lifetime() {
        let rules = rules(Some(0.8), None);
        assert_eq!(refresh_from(&hundred(), rules, SECOND), after(80.0));
        for random in [0.001, 1.0] {
            assert!(!is_due(&hundred(), rules, SECOND, after(79.999), random));
            assert!(is_due(&hundred(), rules, SECOND, after(80.0), random));
        }
    }

    #[test]
    fn xfetch_is_likelier_near_the_end_and_after_slow_fills() {
        let xfetch = |beta| rules(None, Some(beta));
        let due = |beta, fill_time, secs, random: f64| is_due(&hundred(), xfetch(beta), fill_time, after(secs), random);
        // A random number of 1/e refreshes one fill time before the end.
        let random = (-1.0_f64).exp() * 0.999_999;
        assert!(!due(1.0, 4 * SECOND, 95.999, random));
        assert!(due(1.0, 4 * SECOND, 96.0, random));
        assert!(!due(2.0, 4 * SECOND, 91.999, random));
        assert!(due(2.0, 4 * SECOND, 92.0, random));
        assert!(!due(1.0, SECOND, 98.999, random));
        assert!(due(1.0, SECOND, 99.0, random));
        assert!(!due(1.0, SECOND, 99.999, 1.0));
        assert!(!due(1.0, Duration::ZERO, 99.999, 0.0), "what costs nothing need not be early");
        assert_eq!(refresh_from(&hundred(), xfetch(1.0), SECOND), after(63.95));
        assert!(!due(1.0, SECOND, 63.949, 0.0));
        assert!(due(1.0, SECOND, 63.95, 0.0));
        for no_random in [f64::NAN, -1.0, 2.0, f64::INFINITY] {
            assert!(!due(1.0, SECOND, 99.999, no_random), "{no_random}");
        }
    }

    #[test]
    fn the_earlier_of_the_two_begins() {
        let from = |eager, xfetch| refresh_from(&hundred(), rules(eager, xfetch), SECOND);
        assert_eq!(from(Some(0.5), Some(1.0)), after(50.0));
        assert_eq!(from(Some(0.9), Some(1.0)), after(63.95));
        let never = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(from(None, None), never);
        assert!(!is_due(&hundred(), RefreshRules::default(), Duration::MAX, never, 0.5));
    }

    /// The share of hits that refresh is `exp(-left / (beta * fill_time))`.
    #[test]
    fn the_share_of_refreshes_is_that_of_the_paper() {
        for (left, beta) in [(1.0, 1.0), (2.0, 1.0), (2.0, 4.0)] {
            let now = after(100.0 - left);
            let hits = (1..=10_000).map(|n| f64::from(n) / 10_000.0);
            let due = hits.filter(|random| is_due(&hundred(), rules(None, Some(beta)), SECOND, now, *random)).count();
            let expected = 10_000.0 * (-left / beta).exp();
            assert!((due as f64 - expected).abs() < 20.0, "{due} of {expected}");
        }
    }

    fn instant() -> impl Strategy<Value = Timestamp> {
        prop_oneof![any::<u64>(), 1_800_000_000_000..1_800_000_200_000_u64, Just(u64::MAX)]
            .prop_map(Timestamp::from_unix_millis)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn nothing_is_due_before_it_may_be(
            born in instant(), until in instant(), now in instant(), fill_time in duration(), random in 0.0..=1.0_f64,
            eager in proptest::option::of(0.0..1.0_f64), xfetch in proptest::option::of(0.0..=100.0_f64),
        ) {
            let (lifespan, rules) = (lifespan(born, until), rules(eager, xfetch));
            let from = refresh_from(&lifespan, rules, fill_time);
            let due = is_due(&lifespan, rules, fill_time, now, random);
            prop_assert!(!due || now >= from);
            if eager.is_none() && xfetch.is_none() {
                prop_assert!(!due);
            } else if born <= until {
                prop_assert!(from <= until, "never later than the end of the lifetime");
                prop_assert!(now < until || due, "stale is always due");
            }
        }

        #[test]
        fn later_hits_are_likelier(
            now in instant(), fill_time in duration(), random in 0.0..=1.0_f64, less in 0.0..=1.0_f64,
            beta in 0.0..=100.0_f64, later in duration(),
        ) {
            let due = |now, random| is_due(&hundred(), rules(None, Some(beta)), fill_time, now, random);
            if due(now, random) {
                prop_assert!(due(now.saturating_add(later), random));
                prop_assert!(due(now, random * less));
            }
        }

        #[test]
        fn no_number_panics(
            lifetime in duration(), one in float::ANY, other in float::ANY, random in float::ANY, now in instant(),
        ) {
            let rules = rules(Some(one), Some(other));
            let due = is_due(&hundred(), rules, lifetime, now, random);
            prop_assert!(!due || now >= refresh_from(&hundred(), rules, lifetime));
        }
    }
}

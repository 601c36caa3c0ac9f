//! The lifetime that a response gets, where it is not simply the one that was stated.
//!
//! Pure functions: the caller brings the random number.

use crate::policy::part_of;
use std::time::Duration;

/// The lifetime without a random part of it: at most this fraction goes. `random` is from 0 (nothing goes) to 1; a
/// number outside of that counts as the nearer end, and what is no number as 0.
pub(crate) fn jittered(lifetime: Duration, fraction: f64, random: f64) -> Duration {
    lifetime.saturating_sub(part_of(part_of(lifetime, fraction), random))
}

/// What comes after this lifetime: half as much again if the refreshed response was unchanged, else half of it, within the
/// bounds (the shortest, the longest). If it grew as fast as it shrinks, it would rest where every other refresh finds a
/// change.
pub(crate) fn adapted(lifetime: Duration, unchanged: bool, (least, most): (Duration, Duration)) -> Duration {
    let next = if unchanged { lifetime.saturating_add(lifetime / 2) } else { lifetime / 2 };
    next.min(most).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::duration;
    use proptest::{num::f64 as float, prelude::*};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn jitter_takes_up_to_its_fraction() {
        for (fraction, random, left) in [
            (0.1, 0.0, 100.0),
            (0.1, 0.5, 95.0),
            (0.5, 1.0, 50.0),
            (0.0, 0.9, 100.0),
            (0.1, f64::NAN, 100.0),
            (f64::NAN, 0.5, 100.0),
            (-1.0, 0.5, 100.0),
            (9.0, 9.0, 0.0),
        ] {
            assert_eq!(jittered(100 * SECOND, fraction, random).as_secs_f64(), left, "{fraction} {random}");
        }
        assert_eq!(jittered(Duration::MAX, 1.0, 1.0), Duration::ZERO);
        assert_eq!(jittered(Duration::MAX, 0.5, 0.0), Duration::MAX);
    }

    #[test]
    fn lifetimes_grow_and_shrink_within_their_bounds() {
        let bounds = (10 * SECOND, 60 * SECOND);
        for (secs, unchanged, next) in
            [(20, true, 30), (50, true, 60), (60, true, 60), (40, false, 20), (12, false, 10), (1, true, 10)]
        {
            assert_eq!(adapted(secs * SECOND, unchanged, bounds), next * SECOND, "{secs} {unchanged}");
        }
        assert_eq!(adapted(Duration::MAX, true, (SECOND, Duration::MAX)), Duration::MAX);
        assert_eq!(adapted(SECOND, true, (60 * SECOND, 10 * SECOND)), 60 * SECOND, "empty bounds do not panic");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        #[test]
        fn jitter_only_shortens(lifetime in duration(), fraction in 0.0..=0.5_f64, random in 0.0..1.0_f64) {
            let left = jittered(lifetime, fraction, random);
            prop_assert!(left <= lifetime);
            let least = lifetime.as_secs_f64() * (1.0 - fraction);
            prop_assert!(left.as_secs_f64() >= least * (1.0 - 1e-12) - 1e-9, "{left:?} {least}");
            prop_assert!(left >= jittered(lifetime, fraction, 1.0));
        }

        #[test]
        fn adapted_lifetimes_stay_within_their_bounds(
            lifetime in duration(), unchanged: bool, one in duration(), other in duration(),
        ) {
            let (least, most) = (one.min(other), one.max(other));
            let next = adapted(lifetime, unchanged, (least, most));
            prop_assert!((least..=most).contains(&next));
            if (least..=most).contains(&lifetime) {
                let (shorter, longer) = if unchanged { (lifetime, next) } else { (next, lifetime) };
                prop_assert!(shorter <= longer);
            }
        }

        #[test]
        fn no_number_makes_a_lifetime_longer(lifetime in duration(), fraction in float::ANY, random in float::ANY) {
            prop_assert!(jittered(lifetime, fraction, random) <= lifetime);
        }
    }
}

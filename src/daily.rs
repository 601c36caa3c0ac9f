//! Moments that come every day.

use crate::{key::UtcOffset, semantics::date::Timestamp};
use std::time::{Duration, SystemTime};

/// The next moment, after the one that is given, at which it is this time of day: for
/// [`Policy::fresh_until`](crate::Policy::fresh_until) and [`Cache::invalidate_at`](crate::Cache::invalidate_at).
///
/// ```
/// use larder::{Policy, UtcOffset, daily_at};
/// use std::time::Duration;
///
/// let rates = Policy::fresh_for(Duration::from_secs(24 * 3600)).fresh_until(daily_at(9, 30, UtcOffset::UTC));
/// # let _ = rates;
/// ```
///
/// # Panics
///
/// If there is no such time of day: hours go from 0 to 23, minutes from 0 to 59.
pub fn daily_at(hour: u8, minute: u8, zone: UtcOffset) -> impl Fn(SystemTime) -> SystemTime + Clone + Send + Sync {
    assert!(hour < 24 && minute < 60, "daily_at({hour}, {minute}): hours go from 0 to 23, minutes from 0 to 59");
    let wanted = (u64::from(hour) * 60 + u64::from(minute)) * 60_000;
    move |now| {
        let now = Timestamp::from(now);
        let local = (i128::from(now.as_unix_millis()) + i128::from(zone.millis())).rem_euclid(DAY.into());
        let since_midnight = u64::try_from(local).unwrap_or(0);
        let left = (wanted + DAY - since_midnight - 1) % DAY + 1;
        now.saturating_add(Duration::from_millis(left)).into()
    }
}

/// A day in milliseconds.
const DAY: u64 = 24 * 60 * 60 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_next_one_is_today_or_tomorrow() {
        let at = |hours: u64, minutes: u64| {
            SystemTime::from(Timestamp::from_unix_secs(1_800_000_000 / 86_400 * 86_400 + hours * 3600 + minutes * 60))
        };
        let nine = daily_at(9, 30, UtcOffset::UTC);
        assert_eq!(nine(at(9, 29)), at(9, 30));
        assert_eq!(nine(at(9, 30)), at(33, 30), "after it, not at it");
        let east = daily_at(0, 15, UtcOffset::hours(2));
        assert_eq!(east(at(12, 0)), at(22, 15));
    }

    proptest! {
        #[test]
        fn it_is_within_a_day(secs in 0u64..4_000_000_000, hour in 0u8..24, minute in 0u8..60, zone in -12..=14) {
            let next = daily_at(hour, minute, UtcOffset::hours(zone));
            let now = SystemTime::from(Timestamp::from_unix_secs(secs));
            let left = next(now).duration_since(now).unwrap();
            prop_assert!(!left.is_zero() && left <= Duration::from_secs(86_400));
            prop_assert_eq!(next(next(now)).duration_since(next(now)).unwrap(), Duration::from_secs(86_400));
        }
    }
}

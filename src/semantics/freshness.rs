//! How old a response is and how long it stays good (RFC 9111 §4.2).
//!
//! All arithmetic saturates: a lifetime or an age never wraps (§1.2.2).

use super::{
    cache_control::{MAX_DELTA, ResponseDirectives},
    date::{Timestamp, parse_http_date},
    targeted::Governing,
};
use http::{
    HeaderMap, StatusCode,
    header::{AGE, DATE, EXPIRES, LAST_MODIFIED},
};
use std::time::Duration;

/// Where a freshness lifetime comes from.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use larder::semantics::{date::Timestamp, freshness::LifetimeSource};
/// use larder::semantics::storable::{Refusal, StoreRequest, StoreRules, storable};
/// use std::time::Duration;
///
/// let mut rules = StoreRules::default();
/// rules.default_lifetime = Some(Duration::from_secs(300));
/// let (now, silent) = (Timestamp::from_unix_secs(1_800_000_000), HeaderMap::new());
/// let stored = storable(StoreRequest::default(), StatusCode::OK, &silent, &rules, now, Duration::ZERO)?;
/// assert_eq!(stored.source, LifetimeSource::Policy);
/// # Ok::<(), Refusal>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LifetimeSource {
    /// The `s-maxage` directive.
    SMaxage,
    /// The `max-age` directive.
    MaxAge,
    /// The `Expires` field.
    Expires,
    /// A tenth of the time since `Last-Modified` (§4.2.2), at most a day.
    Heuristic,
    /// The operator's policy.
    Policy,
}

/// The lifetime that the response itself states, in the order of §4.2.1: `s-maxage`, `max-age`, `Expires`. Where a
/// targeted field governs, `Expires` does not count (RFC 9213 §2.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::{CACHE_CONTROL, EXPIRES}};
/// use larder::semantics::{date::{Timestamp, http_date}, targeted::governing};
/// use larder::semantics::freshness::{LifetimeSource, explicit_lifetime};
/// use std::time::Duration;
///
/// let (now, hour) = (Timestamp::from_unix_secs(1_800_000_000), Duration::from_secs(3600));
/// let mut head = HeaderMap::from_iter([(EXPIRES, http_date(now.saturating_add(hour)))]);
/// let lifetime = |head: &HeaderMap| explicit_lifetime(&governing(head, &[]), head, now);
/// assert_eq!(lifetime(&head), Some((hour, LifetimeSource::Expires)));
/// head.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
/// assert_eq!(lifetime(&head), Some((hour / 60, LifetimeSource::MaxAge)));
/// ```
pub fn explicit_lifetime(
    governing: &Governing,
    headers: &HeaderMap,
    received: Timestamp,
) -> Option<(Duration, LifetimeSource)> {
    let directives = &governing.directives;
    if let Some(lifetime) = directives.s_maxage {
        return Some((lifetime, LifetimeSource::SMaxage));
    }
    if let Some(lifetime) = directives.max_age {
        return Some((lifetime, LifetimeSource::MaxAge));
    }
    if governing.targeted {
        return None;
    }
    expires(headers, received).map(|lifetime| (lifetime, LifetimeSource::Expires))
}

/// `Expires` less `Date`. An invalid date means expired (§5.3); of several lines the soonest counts.
fn expires(headers: &HeaderMap, received: Timestamp) -> Option<Duration> {
    let generated = date(headers, received).unwrap_or(received);
    headers
        .get_all(EXPIRES)
        .iter()
        .map(|line| {
            parse_http_date(line.as_bytes(), received).map_or(Duration::ZERO, |at| at.since(generated).min(MAX_DELTA))
        })
        .min()
}

/// A lifetime for a response that states none: a tenth of the time since it was last modified (§4.2.2). Only for
/// statuses that are cacheable by heuristic, or where `public` allows it.
///
/// ```
/// use http::{HeaderMap, StatusCode, header::LAST_MODIFIED};
/// use larder::semantics::cache_control::ResponseDirectives;
/// use larder::semantics::{date::{Timestamp, http_date}, freshness::heuristic_lifetime};
/// use std::time::Duration;
///
/// let (now, hour) = (Timestamp::from_unix_secs(1_800_000_000), Duration::from_secs(3600));
/// let head = HeaderMap::from_iter([(LAST_MODIFIED, http_date(now.saturating_sub(hour)))]);
/// let lifetime = |status| heuristic_lifetime(status, &ResponseDirectives::default(), &head, now);
/// assert_eq!(lifetime(StatusCode::OK), Some(hour / 10));
/// assert_eq!(lifetime(StatusCode::FOUND), None);
/// ```
pub fn heuristic_lifetime(
    status: StatusCode,
    directives: &ResponseDirectives,
    headers: &HeaderMap,
    received: Timestamp,
) -> Option<Duration> {
    if !(is_heuristically_cacheable(status) || directives.public) {
        return None;
    }
    let modified = parse_http_date(headers.get(LAST_MODIFIED)?.as_bytes(), received)?;
    let generated = date(headers, received).unwrap_or(received);
    Some((generated.since(modified) / 10).min(MAX_HEURISTIC))
}

/// No guess holds for longer: a `Last-Modified` of 1970 would give years.
const MAX_HEURISTIC: Duration = Duration::from_secs(24 * 3600);

/// Whether the status is defined as cacheable by heuristic (RFC 9110 §15.1). 206 is one, but is never stored here.
///
/// ```
/// use http::StatusCode;
/// use larder::semantics::freshness::is_heuristically_cacheable;
///
/// assert!(is_heuristically_cacheable(StatusCode::NOT_FOUND));
/// assert!(!is_heuristically_cacheable(StatusCode::FOUND));
/// ```
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// How old a response was when it arrived: `corrected_initial_age` of §4.2.3.
///
/// A response with neither `Age` nor `Date` was made by the inner service just now, so its age is zero: the time that a
/// slow handler took is not counted against the lifetime of its answer.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::AGE};
/// use larder::semantics::{date::Timestamp, freshness::initial_age};
/// use std::time::Duration;
///
/// // It lay in a cache further in for 30 s, and took 2 s from there.
/// let requested = Timestamp::from_unix_secs(1_800_000_000);
/// let received = requested.saturating_add(Duration::from_secs(2));
/// let head = HeaderMap::from_iter([(AGE, HeaderValue::from_static("30"))]);
/// assert_eq!(initial_age(&head, requested, received), Duration::from_secs(32));
/// assert_eq!(initial_age(&HeaderMap::new(), requested, received), Duration::ZERO);
/// ```
pub fn initial_age(headers: &HeaderMap, requested: Timestamp, received: Timestamp) -> Duration {
    let age = age(headers);
    let date = date(headers, received);
    if age.is_none() && date.is_none() {
        return Duration::ZERO;
    }
    // Dates have whole seconds: compare with the second of the arrival, or every response would arrive up to 1 s old.
    let arrival = Timestamp::from_unix_secs(received.as_unix_secs());
    let apparent = date.map_or(Duration::ZERO, |date| arrival.since(date));
    let corrected = age.unwrap_or_default().saturating_add(received.since(requested));
    apparent.max(corrected).min(MAX_DELTA)
}

/// The `Age` field: the first value of the first line, too large is clamped, invalid is absent (§5.1).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::AGE};
/// use larder::semantics::freshness::age;
/// use std::time::Duration;
///
/// let said = |value| age(&HeaderMap::from_iter([(AGE, HeaderValue::from_static(value))]));
/// assert_eq!(said("120"), Some(Duration::from_secs(120)));
/// assert_eq!(said("two minutes"), None);
/// ```
pub fn age(headers: &HeaderMap) -> Option<Duration> {
    let line = headers.get(AGE)?.as_bytes();
    let first = line.split(|byte| *byte == b',').next()?.trim_ascii();
    if first.is_empty() || !first.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(first).ok()?;
    Some(digits.parse().map_or(MAX_DELTA, Duration::from_secs).min(MAX_DELTA))
}

fn date(headers: &HeaderMap, received: Timestamp) -> Option<Timestamp> {
    parse_http_date(headers.get(DATE)?.as_bytes(), received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::date::http_date;
    use crate::semantics::targeted::governing;
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_unix_millis(1_800_000_000_500);

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn at(offset: i64) -> String {
        let secs = NOW.as_unix_secs().checked_add_signed(offset).unwrap();
        http_date(Timestamp::from_unix_secs(secs)).to_str().unwrap().to_owned()
    }

    fn explicit(headers: &HeaderMap) -> Option<(u64, LifetimeSource)> {
        explicit_lifetime(&governing(headers, &[]), headers, NOW).map(|(lifetime, from)| (lifetime.as_secs(), from))
    }

    #[test]
    fn the_most_specific_lifetime_wins() {
        let expires = at(50);
        let all = headers(&[("cache-control", "max-age=60, s-maxage=70"), ("expires", &expires), ("date", &at(0))]);
        assert_eq!(explicit(&all), Some((70, LifetimeSource::SMaxage)));
        let two = headers(&[("cache-control", "max-age=60"), ("expires", &expires)]);
        assert_eq!(explicit(&two), Some((60, LifetimeSource::MaxAge)));
        let one = headers(&[("expires", &expires), ("date", &at(-10))]);
        assert_eq!(explicit(&one), Some((60, LifetimeSource::Expires)));
        assert_eq!(explicit(&headers(&[])), None);
    }

    #[test]
    fn a_bad_expires_has_passed() {
        for bad in ["0", "-1", "soon", "", "Thu, 01 Jan 1900 00:00:00 GMT"] {
            assert_eq!(explicit(&headers(&[("expires", bad)])), Some((0, LifetimeSource::Expires)), "{bad}");
        }
    }

    #[test]
    fn heuristics_are_a_tenth_and_need_a_fitting_status() {
        let fields = headers(&[("last-modified", &at(-1000)), ("date", &at(0))]);
        let none = ResponseDirectives::default();
        assert_eq!(heuristic_lifetime(StatusCode::OK, &none, &fields, NOW), Some(Duration::from_secs(100)));
        assert_eq!(heuristic_lifetime(StatusCode::CREATED, &none, &fields, NOW), None);
        let public = ResponseDirectives { public: true, ..none };
        assert_eq!(heuristic_lifetime(StatusCode::CREATED, &public, &fields, NOW), Some(Duration::from_secs(100)));
        for (ago, lifetime) in [(864_000, 86_400), (864_010, 86_400), (863_990, 86_399), (1_800_000_000, 86_400)] {
            let old = headers(&[("last-modified", &at(-ago))]);
            let found = heuristic_lifetime(StatusCode::OK, &none, &old, NOW).map(|lifetime| lifetime.as_secs());
            assert_eq!(found, Some(lifetime), "{ago}");
        }
        let future = headers(&[("last-modified", &at(1000))]);
        assert_eq!(heuristic_lifetime(StatusCode::OK, &none, &future, NOW), Some(Duration::ZERO));
    }

    #[test]
    fn age_takes_the_first_value_of_the_first_line() {
        for (value, expected) in [
            ("7", Some(7)),
            ("7, 9", Some(7)),
            ("99999999999999999999999", Some(1 << 31)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("x, 3", None),
        ] {
            assert_eq!(age(&headers(&[("age", value)])).map(|age| age.as_secs()), expected, "{value}");
        }
        let two = headers(&[("age", "3"), ("age", "30")]);
        assert_eq!(age(&two), Some(Duration::from_secs(3)));
    }

    #[test]
    fn a_response_arrives_as_old_as_it_says_or_as_its_date_shows() {
        let requested = NOW.saturating_sub(Duration::from_secs(2));
        let secs = |fields: &[(&'static str, &str)]| initial_age(&headers(fields), requested, NOW).as_secs();
        assert_eq!(secs(&[]), 0, "made here");
        assert_eq!(secs(&[("age", "10")]), 12);
        assert_eq!(secs(&[("date", &at(-30))]), 30);
        assert_eq!(secs(&[("date", &at(-5)), ("age", "10")]), 12);
        assert_eq!(secs(&[("date", &at(500))]), 2, "a clock ahead of ours is not younger than the exchange");
        assert_eq!(secs(&[("date", &at(0))]), 2);
    }

    proptest! {
        #[test]
        fn nothing_wraps(requested: u64, received: u64, age in "[0-9]{0,40}", maxage in "[0-9]{0,40}") {
            let fields = headers(&[("age", &age), ("cache-control", &format!("max-age={maxage}"))]);
            let received = Timestamp::from_unix_millis(received);
            prop_assert!(initial_age(&fields, Timestamp::from_unix_millis(requested), received) <= MAX_DELTA);
            if let Some((lifetime, _)) = explicit_lifetime(&governing(&fields, &[]), &fields, received) {
                prop_assert!(lifetime <= MAX_DELTA);
            }
        }
    }
}

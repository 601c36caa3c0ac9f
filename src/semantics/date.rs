//! Points in time, and the dates of HTTP fields (RFC 9110 §5.6.7).
//!
//! ```text
//! HTTP-date    = IMF-fixdate / rfc850-date / asctime-date
//! IMF-fixdate  = Sun, 06 Nov 1994 08:49:37 GMT
//! rfc850-date  = Sunday, 06-Nov-94 08:49:37 GMT
//! asctime-date = Sun Nov  6 08:49:37 1994
//! ```
//!
//! All three are read, letters in any case (RFC 9111 §4.2); only the first is written. A date in another zone, before
//! 1970, or with the wrong day of the week is no date: for `Expires` that means "already expired" (RFC 9111 §5.3).

use http::HeaderValue;
use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

/// A point in time, in milliseconds since the Unix epoch. Arithmetic saturates, so a clock can be wrong but never wrap.
///
/// ```
/// use larder::semantics::date::Timestamp;
/// use std::time::{Duration, SystemTime};
///
/// let stored = Timestamp::from_unix_secs(1_800_000_000);
/// let now = stored.saturating_add(Duration::from_secs(90));
/// assert_eq!(now.since(stored), Duration::from_secs(90));
/// assert_eq!(stored.since(now), Duration::ZERO); // the clock was set back
/// assert_eq!(SystemTime::from(now), SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_090));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl From<std::time::SystemTime> for Timestamp {
    /// Moments before the epoch become the epoch.
    fn from(time: std::time::SystemTime) -> Self {
        let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

impl From<Timestamp> for std::time::SystemTime {
    fn from(time: Timestamp) -> Self {
        Self::UNIX_EPOCH.checked_add(Duration::from_millis(time.as_unix_millis())).unwrap_or(Self::UNIX_EPOCH)
    }
}

impl Timestamp {
    /// The point this many milliseconds after the Unix epoch.
    pub const fn from_unix_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The point this many seconds after the Unix epoch, or the latest there is.
    pub const fn from_unix_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_unix_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down as RFC 9111 §4.2 wants it for `Expires`.
    pub const fn as_unix_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The point `duration` later, or the latest there is.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }

    /// The point `duration` earlier, or the Unix epoch.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// The time from `earlier` until this point; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Reads an HTTP-date in any of the three formats (RFC 9110 §5.6.7). `now` decides the century of a two-digit year.
///
/// Letters may have any case, white space around the value is ignored, and a leap second `:60` is read as `:59`.
///
/// ```
/// use larder::semantics::date::{Timestamp, parse_http_date};
///
/// let now = Timestamp::from_unix_secs(1_800_000_000);
/// let then = Some(Timestamp::from_unix_secs(784_111_777));
/// assert_eq!(parse_http_date(b"Sun, 06 Nov 1994 08:49:37 GMT", now), then);
/// assert_eq!(parse_http_date(b"Sunday, 06-Nov-94 08:49:37 GMT", now), then);
/// assert_eq!(parse_http_date(b"0", now), None); // `Expires: 0`
/// ```
pub fn parse_http_date(value: &[u8], now: Timestamp) -> Option<Timestamp> {
    let value = value.trim_ascii();
    let mut buffer = [0; LONGEST_DATE];
    let date = buffer.get_mut(..value.len())?;
    date.copy_from_slice(value);
    normalise_case(date);
    replace_leap_second(date);
    let date = std::str::from_utf8(date).ok()?;
    // Only an rfc850-date has hyphens.
    let date = if date.contains('-') { Cow::Owned(with_full_year(date, now)?) } else { Cow::Borrowed(date) };
    let at = httpdate::parse_http_date(&date).ok()?;
    Some(Timestamp::from_unix_secs(at.duration_since(UNIX_EPOCH).ok()?.as_secs()))
}

/// Writes an IMF-fixdate, whole seconds rounded down (RFC 9110 §5.6.7). The format ends with the year 9999.
///
/// ```
/// use http::{HeaderMap, header::DATE};
/// use larder::semantics::date::{Timestamp, http_date};
///
/// let mut head = HeaderMap::new();
/// head.insert(DATE, http_date(Timestamp::from_unix_millis(784_111_777_999)));
/// assert_eq!(head[DATE], "Sun, 06 Nov 1994 08:49:37 GMT");
/// ```
pub fn http_date(at: Timestamp) -> HeaderValue {
    // A date is visible ASCII, so the second arm is never taken.
    HeaderValue::try_from(imf_fixdate(at)).unwrap_or_else(|_| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

fn imf_fixdate(at: Timestamp) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(at.as_unix_secs().min(LAST_SECOND)))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Capital first letters and `GMT`, as the formats have them.
fn normalise_case(date: &mut [u8]) {
    let mut inside_word = false;
    for byte in date.iter_mut() {
        *byte = if inside_word { byte.to_ascii_lowercase() } else { byte.to_ascii_uppercase() };
        inside_word = byte.is_ascii_alphabetic();
    }
    if let Some(zone) = date.last_chunk_mut()
        && zone == b"Gmt"
    {
        *zone = *b"GMT";
    }
}

fn replace_leap_second(date: &mut [u8]) {
    let colon = date.iter().rposition(|&byte| byte == b':');
    if let Some(seconds) = colon.and_then(|colon| date.get_mut(colon + 1..)?.first_chunk_mut())
        && seconds == b"60"
    {
        *seconds = *b"59";
    }
}

/// Rewrites an rfc850-date as an IMF-fixdate. Of the years with these last two digits the latest is meant that makes
/// the date at most 50 years later than `now`.
fn with_full_year(date: &str, now: Timestamp) -> Option<String> {
    let (day_name, rest) = date.split_once(", ")?;
    let (day, rest) = rest.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let (year, time) = rest.split_once(' ')?;
    if !DAY_NAMES.contains(&day_name) || day.len() != 2 || year.len() != 2 {
        return None;
    }
    if !year.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: u16 = year.parse().ok()?;

    let today = imf_fixdate(now);
    let last_year = today.get(12..16)?.parse::<u16>().ok()? + 50;
    let rest_of_today = (month_number(today.get(8..11)?)?, today.get(5..7)?, today.get(17..)?);
    let mut full = last_year / 100 * 100 + year;
    if (full, (month_number(month)?, day, time)) > (last_year, rest_of_today) {
        full -= 100;
    }
    Some(format!("{}, {day} {month} {full:04} {time}", day_name.get(..3)?))
}

fn month_number(name: &str) -> Option<usize> {
    MONTHS.iter().position(|&month| month == name)
}

/// `Wednesday, 09-Nov-94 08:49:37 GMT`
const LONGEST_DATE: usize = 33;
/// 31 December 9999, 23:59:59.
const LAST_SECOND: u64 = 253_402_300_799;
const DAY_NAMES: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 6 November 1994, 08:49:37.
    const EXAMPLE: Timestamp = Timestamp::from_unix_secs(784_111_777);
    /// 21 November 2026.
    const NOW: Timestamp = Timestamp::from_unix_secs(1_795_219_200);

    fn parse(value: &str) -> Option<Timestamp> {
        parse_http_date(value.as_bytes(), NOW)
    }

    #[test]
    fn reads_the_three_formats_in_any_case() {
        for value in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "Sun Nov 06 08:49:37 1994",
            " \tSun, 06 Nov 1994 08:49:37 GMT\t ",
        ] {
            assert_eq!(parse(value), Some(EXAMPLE), "{value}");
            assert_eq!(parse(&value.to_lowercase()), Some(EXAMPLE), "{value}");
            assert_eq!(parse(&value.to_uppercase()), Some(EXAMPLE), "{value}");
        }
        assert_eq!(parse("sUN, 06 nOV 1994 08:49:37 gMt"), Some(EXAMPLE));
    }

    #[test]
    fn refuses_what_is_no_date() {
        for value in [
            "",
            "0",
            "-1",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 +0000",
            "Sun, 06 Nov 1994 08:49:37 GMTX",
            "Mon, 06 Nov 1994 08:49:37 GMT",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06-Nov-+4 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:61 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Wed, 30 Feb 1994 08:49:37 GMT",
            "Mon, 01 Jan 1900 00:00:00 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 N\u{f6}v 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(value), None, "{value}");
        }
        assert_eq!(parse_http_date(b"Sun, 06 Nov 1994 08:49:37 GM\xd4", NOW), None);
    }

    #[test]
    fn reads_a_leap_second_as_the_one_before() {
        let expected = Some(Timestamp::from_unix_secs(1_483_228_799));
        assert_eq!(parse("Sat, 31 Dec 2016 23:59:59 GMT"), expected);
        assert_eq!(parse("Sat, 31 Dec 2016 23:59:60 GMT"), expected);
        assert_eq!(parse("Saturday, 31-Dec-16 23:59:60 GMT"), expected);
        assert_eq!(parse("Sat Dec 31 23:59:60 2016"), expected);
        assert_eq!(parse("Sat, 31 Dec 2016 23:60:59 GMT"), None);
    }

    #[test]
    fn a_two_digit_year_is_at_most_fifty_years_ahead() {
        let full = |value: &str| parse(value).map(imf_fixdate);
        assert_eq!(full("Friday, 20-Nov-76 23:59:59 GMT").as_deref(), Some("Fri, 20 Nov 2076 23:59:59 GMT"));
        assert_eq!(full("Saturday, 21-Nov-76 00:00:00 GMT").as_deref(), Some("Sat, 21 Nov 2076 00:00:00 GMT"));
        // One second more is too far, so 1976 is meant, and the day of the week has to fit that.
        assert_eq!(full("Sunday, 21-Nov-76 00:00:01 GMT").as_deref(), Some("Sun, 21 Nov 1976 00:00:01 GMT"));
        assert_eq!(full("Saturday, 21-Nov-76 00:00:01 GMT"), None);
        assert_eq!(full("Saturday, 25-Jan-76 09:00:00 GMT").as_deref(), Some("Sat, 25 Jan 2076 09:00:00 GMT"));
        assert_eq!(full("Sunday, 05-Dec-76 00:00:00 GMT").as_deref(), Some("Sun, 05 Dec 1976 00:00:00 GMT"));
        // The turn of a century: seen from 2060, "05" is 2105.
        let late = Timestamp::from_unix_secs(2_840_140_800);
        let read = parse_http_date(b"Thursday, 01-Jan-05 00:00:00 GMT", late).map(imf_fixdate);
        assert_eq!(read.as_deref(), Some("Thu, 01 Jan 2105 00:00:00 GMT"));
    }

    #[test]
    fn clamps_at_the_year_9999() {
        assert_eq!(http_date(Timestamp::from_unix_millis(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
        let end = Timestamp::from_unix_millis(u64::MAX);
        assert_eq!(parse_http_date(b"Friday, 31-Dec-99 23:59:59 GMT", end), Some(Timestamp(LAST_SECOND * 1000)));
    }

    #[test]
    fn the_system_s_time_is_read_to_the_millisecond() {
        let at = |span| Timestamp::from(UNIX_EPOCH + span);
        assert_eq!(at(Duration::from_micros(1_800_000_001_999_999)), Timestamp::from_unix_millis(1_800_000_001_999));
        assert_eq!(Timestamp::from(UNIX_EPOCH - Duration::from_secs(1)), Timestamp::default());
        assert_eq!(std::time::SystemTime::from(at(Duration::from_secs(5))), UNIX_EPOCH + Duration::from_secs(5));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_unix_secs(u64::MAX);
        assert_eq!(end, Timestamp::from_unix_millis(u64::MAX));
        assert_eq!(end.saturating_add(Duration::MAX), end);
        assert_eq!(EXAMPLE.saturating_sub(Duration::MAX), Timestamp::default());
        assert_eq!(EXAMPLE.since(end), Duration::ZERO);
        assert_eq!(EXAMPLE.saturating_add(Duration::from_secs(5)).since(EXAMPLE), Duration::from_secs(5));
        assert_eq!(Timestamp::from_unix_millis(1999).as_unix_secs(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn dates_round_trip(secs in 0..=LAST_SECOND, now in any::<u64>()) {
            let at = Timestamp::from_unix_secs(secs);
            let written = http_date(at);
            prop_assert_eq!(parse_http_date(written.as_bytes(), Timestamp(now)), Some(at));
        }

        #[test]
        fn two_digit_years_round_trip_within_fifty_years(
            now in 1_600_000_000_u64..100_000_000_000,
            offset in -1_577_000_000_i64..1_577_000_000,
        ) {
            let at = Timestamp::from_unix_secs(now.saturating_add_signed(offset));
            let written = imf_fixdate(at);
            let (day_name, rest) = written.split_once(", ").unwrap();
            let day_name = DAY_NAMES.iter().find(|full| full.starts_with(day_name)).unwrap();
            let short = format!("{day_name}, {}-{}-{} {}", &rest[..2], &rest[3..6], &rest[9..11], &rest[12..]);
            prop_assert_eq!(parse_http_date(short.as_bytes(), Timestamp::from_unix_secs(now)), Some(at));
        }

        #[test]
        fn never_panics(value in prop::collection::vec(any::<u8>(), 0..40), now in any::<u64>()) {
            let _ = parse_http_date(&value, Timestamp(now));
        }

        #[test]
        fn never_panics_near_a_date(
            value in "(Sunday|Sun),? [0-9]{2}[- ][A-Z][a-z]{2}[- ][0-9]{2,4} [0-9:]{8} (GMT|[0-9]{4})",
            now in any::<u64>(),
        ) {
            let _ = parse_http_date(value.as_bytes(), Timestamp(now));
        }
    }
}

//! Numbers for people.

/// `1.2 KiB`.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
pub(crate) fn bytes(count: u64) -> String {
    if count < 1024 {
        return format!("{count} B");
    }
    let mut size = count as f64 / 1024.0;
    for unit in ["KiB", "MiB", "GiB"] {
        // What would be rounded up to it is told in the next unit.
        if size < 1023.95 {
            return format!("{size:.1} {unit}");
        }
        size /= 1024.0;
    }
    format!("{size:.1} TiB")
}

/// `1.1 µs`, `50 ms`, `12.5 s`, `3 min 5 s`, `2 h 5 min`, `3 d 4 h`.
pub(crate) fn span(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".to_owned();
    }
    let short = |number: f64, unit: &str| {
        let digits = if number < 9.95 { 1 } else { 0 };
        let text = format!("{number:.digits$}");
        format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
    };
    match seconds {
        0.0 => "0 s".to_owned(),
        _ if seconds < 0.999_5e-6 => short(seconds * 1e9, "ns"),
        _ if seconds < 0.999_5e-3 => short(seconds * 1e6, "µs"),
        _ if seconds < 0.9995 => short(seconds * 1e3, "ms"),
        _ if seconds < 59.95 => short(seconds, "s"),
        _ => long(seconds.round()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number above zero; it saturates")]
fn long(seconds: f64) -> String {
    let seconds = seconds as u64;
    let two = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match seconds {
        0..3600 => two(seconds / 60, "min", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// The same, or a dash where nothing was measured.
pub(crate) fn span_or_dash(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), span)
}

/// `91.5 %`.
pub(crate) fn percent(ratio: Option<f64>) -> String {
    ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.1} %", ratio * 100.0))
}

/// `2026-11-21 10:03:04Z`.
#[expect(clippy::cast_possible_truncation, reason = "seconds since 1970 fit; else it saturates")]
pub(crate) fn moment(unix_seconds: f64) -> String {
    // So far the calendar is drawn: year 9999.
    let seconds = (unix_seconds.floor() as i64).clamp(0, 253_402_300_799);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days of the proleptic Gregorian calendar, in years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}Z", of_day / 3600, of_day % 3600 / 60, of_day % 60)
}

/// `1 entry`, `2 entries`.
pub(crate) fn entries(count: u64) -> String {
    plural(count, "entry", "entries")
}

/// `1 miss`, `2 misses`.
pub(crate) fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1_048_575, "1.0 MiB")] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (4e-8, "40 ns"),
            (1.1e-6, "1.1 µs"),
            (9.9e-7, "990 ns"),
            (0.05, "50 ms"),
            (0.9999, "1 s"),
            (12.5, "12 s"),
            (2.5, "2.5 s"),
            (59.97, "1 min"),
            (185.0, "3 min 5 s"),
            (7500.0, "2 h 5 min"),
            (86_400.0, "1 d"),
            (-1.0, "-"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn moments() {
        assert_eq!(moment(0.0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_400.0), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_795_280_000.5), "2026-11-21 16:53:20Z");
        assert_eq!(moment(1e300), "9999-12-31 23:59:59Z");
        assert_eq!(moment(-5.0), "1970-01-01 00:00:00Z");
    }
}

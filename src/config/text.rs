//! Small notations: durations, sizes, time zones, `${NAME}`, and what was probably meant.

use crate::key::UtcOffset;
use std::{borrow::Cow, env::VarError, time::Duration};

/// Where `${NAME}` is looked up.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// `90s`, `10m`, `1h30m`: whole numbers, each with its unit, the largest unit first.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut units = UNITS.iter();
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = number(rest)?;
        let end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        // What was passed over is gone: a unit comes once, and after the larger ones.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(Duration::from_millis(number.checked_mul(*millis)?))?;
        rest = after.trim_start();
    }
    Some(total)
}

/// `64 KiB`, `8MiB`, or a number of bytes.
pub(super) fn size(text: &str) -> Option<usize> {
    let (number, unit) = number(text.trim())?;
    let factor = match unit {
        "" => 1,
        unit => SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    usize::try_from(number.checked_mul(factor)?).ok()
}

/// `UTC`, `+02:00`, `-05:30`.
pub(super) fn offset(text: &str) -> Option<UtcOffset> {
    if text == "UTC" {
        return Some(UtcOffset::UTC);
    }
    let (sign, digits) = text.split_at_checked(1)?;
    let sign = match sign {
        "+" => 1,
        "-" => -1,
        _ => return None,
    };
    let two = |digits: &str| -> Option<i32> {
        let whole = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        whole.then(|| digits.parse().ok()).flatten()
    };
    let (hours, minutes) = digits.split_once(':')?;
    let minutes = two(minutes).filter(|minutes| *minutes < 60)?;
    Some(UtcOffset::minutes(sign * (two(hours)? * 60 + minutes)))
}

/// The text with each `${NAME}` replaced by what the environment says. The error says what would be right.
pub(super) fn expand<'t>(text: &'t str, env: Env<'_>) -> Result<Cow<'t, str>, String> {
    if !text.contains('$') {
        return Ok(text.into());
    }
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            expanded.push('$');
            rest = after;
            continue;
        }
        let name = after.strip_prefix('{').and_then(|name| name.split_once('}'));
        let Some((name, after)) = name.filter(|(name, _)| is_variable(name)) else {
            return Err("`$` begins `${NAME}`, a variable of the environment; a dollar itself is `$$`".to_owned());
        };
        match env(name) {
            Ok(value) => expanded.push_str(&value),
            Err(VarError::NotPresent) => {
                return Err(format!("the environment has no `{name}`: set it, or write the value here"));
            }
            Err(VarError::NotUnicode(_)) => return Err(format!("`{name}` in the environment is not UTF-8")),
        }
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded.into())
}

/// That of the names which was probably meant.
pub(super) fn nearest<'n>(given: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let given: Vec<char> = given.to_ascii_lowercase().replace('-', "_").chars().collect();
    let most = (given.len() / 3).max(1);
    let distances = names.into_iter().map(|name| (distance(&given, name), name));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// How many letters have to be added, dropped, replaced or swapped with the next to make one of the other.
fn distance(from: &[char], to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![(0..=from.len()).collect::<Vec<usize>>()];
    for (line, letter) in to.iter().enumerate() {
        let mut row = vec![line + 1];
        for (column, other) in from.iter().enumerate() {
            let replaced = rows[line][column] + usize::from(other != letter);
            let mut least = replaced.min(rows[line][column + 1] + 1).min(row[column] + 1);
            if line > 0 && column > 0 && *letter == from[column - 1] && to[line - 1] == *other {
                least = least.min(rows[line - 1][column - 1] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[to.len()][from.len()]
}

/// The number that a text begins with, and what comes after it and a space.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    Some((digits.parse().ok()?, after.strip_prefix(' ').unwrap_or(after)))
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const SIZES: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_the_largest_first() {
        for (text, millis) in [
            ("90s", 90_000),
            ("10m", 600_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1 h 30 m", 5_400_000),
            (" 1d2h3m4s5ms ", 93_784_005),
            ("0s", 0),
        ] {
            assert_eq!(duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            " ",
            "10",
            "m",
            "10 minutes",
            "10M",
            "-1s",
            "+1s",
            "1.5h",
            "30m1h",
            "1m1m",
            "1h30",
            "10  m",
            "1e3s",
            "1µs",
            "99999999999999999999s",
            "18446744073709551615d",
            "10m,",
            "١s",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        for (text, bytes) in
            [("64 KiB", 65_536), ("8MiB", 8 << 20), ("1 gib", 1 << 30), ("512 B", 512), ("1000", 1000), ("0", 0)]
        {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "8 MB", "8M", "8  MiB", "-1", "1.5 MiB", "99999999 TiB", "8 MiB x"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn offsets_have_a_sign() {
        for (text, minutes) in [("UTC", 0), ("+02:00", 120), ("-05:30", -330), ("+00:00", 0), ("+99:00", 5940)] {
            assert_eq!(offset(text), Some(UtcOffset::minutes(minutes)), "{text}");
        }
        for text in ["", "+", "2", "02:00", "+2:00", "+0200", "+02:60", "+02:0x", "++2:00", "Europe/Vienna", "é"] {
            assert_eq!(offset(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_environment_is_taken_as_it_is() {
        let env = |name: &str| match name {
            "A" => Ok("${B} $$".to_owned()),
            "EMPTY" => Ok(String::new()),
            "ODD" => Err(VarError::NotUnicode("x".into())),
            _ => Err(VarError::NotPresent),
        };
        for (text, expanded) in [
            ("plain", "plain"),
            ("/{id}/{*rest}", "/{id}/{*rest}"),
            ("a-${A}-b", "a-${B} $$-b"),
            ("${EMPTY}${EMPTY}", ""),
            ("$$", "$"),
            ("$${A}", "${A}"),
        ] {
            assert_eq!(expand(text, &env).as_deref(), Ok(expanded), "{text}");
        }
        for (text, says) in [
            ("${MISSING}", "`MISSING`"),
            ("${ODD}", "`ODD`"),
            ("$", "`$$`"),
            ("$A", "`$$`"),
            ("${}", "`$$`"),
            ("${A", "`$$`"),
            ("${1A}", "`$$`"),
            ("${A:-b}", "`$$`"),
        ] {
            assert!(expand(text, &env).is_err_and(|error| error.contains(says)), "{text}");
        }
    }

    #[test]
    fn what_was_probably_meant() {
        let names = ["fresh_for", "keep", "per", "stale_if_error"];
        for (given, meant) in [
            ("fresh_fro", Some("fresh_for")),
            ("fresh-for", Some("fresh_for")),
            ("Keep", Some("keep")),
            ("pers", Some("per")),
            ("pre", Some("per")),
            ("eper", Some("per")),
            ("stale_on_error", Some("stale_if_error")),
            ("banana", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, names), meant, "{given}");
        }
    }
}

//! The value of a setting, as text and as JSON.

use std::{fmt, time::Duration};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Bytes(usize),
    Closure(bool),
    Count(usize),
    Flag(bool),
    List(Vec<String>),
    Map(Vec<(String, Self)>),
    /// No value; what that means.
    Nothing(&'static str),
    Number(f64),
    Numbers(Vec<u16>),
    /// From one to the other.
    Range(Duration, Duration),
    Span(Duration),
    Text(String),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    pub(super) fn list<T: ToString>(list: &[T]) -> Self {
        Self::List(list.iter().map(T::to_string).collect())
    }

    pub(super) fn json(&self, json: &mut String) {
        match self {
            Self::Bytes(number) | Self::Count(number) => json.push_str(&number.to_string()),
            Self::Closure(set) => json_string(json, closure(*set)),
            Self::Flag(flag) => json.push_str(if *flag { "true" } else { "false" }),
            Self::List(list) => json_list(json, list, |json, text| json_string(json, text)),
            Self::Map(map) => json_object(json, map.iter().map(|(name, value)| (&**name, value))),
            Self::Nothing(_) => json.push_str("null"),
            Self::Number(number) if number.is_finite() => json.push_str(&format!("{number:?}")),
            // JSON has no such number.
            Self::Number(number) => json_string(json, &number.to_string()),
            Self::Numbers(list) => json_list(json, list, |json, number| json.push_str(&number.to_string())),
            Self::Range(from, to) => {
                json_list(json, [from, to], |json, span| json.push_str(&span.as_secs_f64().to_string()));
            }
            Self::Span(span) => json.push_str(&span.as_secs_f64().to_string()),
            Self::Text(text) => json_string(json, text),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => {
                let units = [(1 << 30, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, " B")];
                let (unit, name) =
                    units.into_iter().find(|(unit, _)| bytes % unit == 0 && bytes >= unit).unwrap_or((1, " B"));
                write!(f, "{}{name}", bytes / unit)
            }
            Self::Closure(set) => f.write_str(closure(*set)),
            Self::Count(number) => write!(f, "{number}"),
            Self::Flag(flag) => f.write_str(if *flag { "yes" } else { "no" }),
            Self::List(list) if list.is_empty() => f.write_str("none"),
            Self::List(list) => f.write_str(&list.iter().map(|text| plain(text)).collect::<Vec<_>>().join(", ")),
            Self::Map(map) if map.is_empty() => f.write_str("none"),
            Self::Map(map) => {
                let pairs = map.iter().map(|(name, value)| format!("{}: {value}", plain(name)));
                f.write_str(&pairs.collect::<Vec<_>>().join("; "))
            }
            Self::Nothing(meaning) => f.write_str(meaning),
            Self::Number(number) => write!(f, "{number:?}"),
            Self::Numbers(list) => Self::list(list).fmt(f),
            Self::Range(from, to) => write!(f, "{} to {}", Spelled(*from), Spelled(*to)),
            Self::Span(span) => Spelled(*span).fmt(f),
            Self::Text(text) => f.write_str(&plain(text)),
        }
    }
}

/// A duration as policy files write it: `1h30m`.
pub(in crate::policy) struct Spelled(pub(in crate::policy) Duration);

impl fmt::Display for Spelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
            if rest >= millis {
                write!(f, "{}{unit}", rest / millis)?;
                rest %= millis;
            }
        }
        Ok(())
    }
}

fn closure(set: bool) -> &'static str {
    if set { "set" } else { "not set" }
}

/// A text that stays on its line.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

pub(super) fn json_object<'v>(json: &mut String, pairs: impl Iterator<Item = (&'v str, &'v Value)>) {
    json.push('{');
    for (index, (name, value)) in pairs.enumerate() {
        json.push_str(if index > 0 { "," } else { "" });
        json_string(json, name);
        json.push(':');
        value.json(json);
    }
    json.push('}');
}

pub(super) fn json_list<T>(json: &mut String, list: impl IntoIterator<Item = T>, write: impl Fn(&mut String, T)) {
    json.push('[');
    for (index, one) in list.into_iter().enumerate() {
        json.push_str(if index > 0 { "," } else { "" });
        write(json, one);
    }
    json.push(']');
}

/// RFC 8259 §7.
pub(super) fn json_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if c < ' ' => json.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_escapes_what_it_must() {
        let mut json = String::new();
        json_string(&mut json, "a\"b\\c\n\r\t\u{1}\u{7f}é\u{2028}");
        assert_eq!(json, "\"a\\\"b\\\\c\\n\\r\\t\\u0001\u{7f}é\u{2028}\"");
    }

    #[test]
    fn numbers_have_units_for_people() {
        let texts = |values: &[Value]| values.iter().map(Value::to_string).collect::<Vec<_>>();
        let bytes = [0, 1, 1023, 1 << 10, 1536, 3 << 20, 1 << 30].map(Value::Bytes);
        assert_eq!(texts(&bytes), ["0 B", "1 B", "1023 B", "1 KiB", "1536 B", "3 MiB", "1 GiB"]);
        let spans = [0, 1, 1000, 61_500, 90_061_000].map(|millis| Value::Span(Duration::from_millis(millis)));
        assert_eq!(texts(&spans), ["0s", "1ms", "1s", "1m1s500ms", "1d1h1m1s"]);
        assert_eq!(texts(&[Value::Span(Duration::MAX)]), ["213503982334601d7h15s999ms"]);
        let numbers = [0.8, 1.0, 1e300, f64::NAN].map(Value::Number);
        assert_eq!(texts(&numbers), ["0.8", "1.0", "1e300", "NaN"]);
        let mut json = String::new();
        json_list(&mut json, &numbers, |json, number| number.json(json));
        assert_eq!(json, r#"[0.8,1.0,1e300,"NaN"]"#);
    }
}

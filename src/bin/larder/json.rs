//! Reading answers: what is missing is nothing, and what is not known is passed over.

use serde_json::Value;

/// The text at a path such as `/memory/used_bytes`.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(crate) fn text_or<'a>(value: &'a Value, path: &str, other: &'a str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).filter(|text| !text.is_empty()).unwrap_or(other)
}

pub(crate) fn number(value: &Value, path: &str) -> Option<f64> {
    value.pointer(path).and_then(Value::as_f64)
}

pub(crate) fn count(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or(0)
}

/// What a tally has from the cache: fresh, stale and revalidated.
pub(crate) fn served(tally: &Value) -> u64 {
    ["/hits", "/stale", "/revalidated"].iter().map(|path| count(tally, path)).sum()
}

pub(crate) fn flag(value: &Value, path: &str) -> bool {
    value.pointer(path).and_then(Value::as_bool).unwrap_or(false)
}

pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    list(value, path).iter().filter_map(Value::as_str).collect()
}

/// The pairs of an object whose values are counts, largest first: `cookie 12, method 3`.
pub(crate) fn counts(value: &Value, path: &str) -> String {
    let mut pairs: Vec<(&str, u64)> = value.pointer(path).and_then(Value::as_object).map_or_else(Vec::new, |object| {
        object.iter().filter_map(|(name, count)| Some((name.as_str(), count.as_u64()?))).collect()
    });
    pairs.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(other.0)));
    pairs.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

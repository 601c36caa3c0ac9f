//! The text format of Prometheus.

use super::{Labels, Series, Sink, tell};
use crate::{cache::Cache, tally::Latency};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    iter,
    time::Duration,
};

/// What these caches have counted, in the text format of Prometheus (0.0.4), for a route of your own; the admin API has it at
/// `api/metrics?format=prometheus`.
///
/// ```
/// # use larder::Cache;
/// let cache = Cache::in_memory(1 << 20);
/// let text = larder::prometheus([&cache]);
/// assert!(text.contains("http_cache_memory_bytes{cache=\"default\"}"));
/// ```
///
/// Labels are the names of caches, policies, values, stores and reasons: what the application has written. No key, tenant or
/// user is among them. The second of two caches of one name is told of as `name-2`, a value that is called like a policy as
/// `name (value)`. The guide `monitoring` lists all series, and maps those of `django-prometheus` to them.
pub fn prometheus<'a>(caches: impl IntoIterator<Item = &'a Cache>) -> String {
    let mut named: Vec<(String, &Cache)> = Vec::new();
    for cache in caches {
        let numbered = (2..).map(|number| format!("{}-{number}", cache.name()));
        let free = |name: &String| named.iter().all(|(other, _)| other != name);
        let name = iter::once(cache.name().to_owned()).chain(numbered).find(free).unwrap_or_default();
        named.push((name, cache));
    }
    prometheus_of(named.iter().map(|(name, cache)| (&**name, *cache)))
}

/// The same of caches under these names, of which no two are the same.
pub(crate) fn prometheus_of<'a>(caches: impl IntoIterator<Item = (&'a str, &'a Cache)>) -> String {
    let mut page = Page::default();
    for (name, cache) in caches {
        tell(&mut page, name, cache);
    }
    page.written()
}

/// Series by name, so that those of one name stand together whatever they are about: kind, help, lines.
#[derive(Default)]
struct Page(BTreeMap<&'static str, (&'static str, &'static str, String)>);

impl Page {
    fn line(
        &mut self,
        (name, help): Series,
        kind: &'static str,
        suffix: &str,
        labels: Labels<'_>,
        value: impl Display,
    ) {
        let (.., lines) = self.0.entry(name).or_insert_with(|| (kind, help, String::new()));
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        // Writing into a string does not fail.
        let _ = writeln!(lines, "{name}{suffix}{{{}}} {value}", labels.join(","));
    }

    fn written(self) -> String {
        let mut text = String::new();
        for (name, (kind, help, lines)) in self.0 {
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
        }
        text
    }
}

impl Sink for Page {
    fn counter(&mut self, series: Series, labels: Labels<'_>, count: u64) {
        self.line(series, "counter", "", labels, count);
    }

    fn seconds(&mut self, series: Series, labels: Labels<'_>, seconds: f64) {
        self.line(series, "counter", "", labels, seconds);
    }

    fn gauge(&mut self, series: Series, labels: Labels<'_>, value: f64) {
        self.line(series, "gauge", "", labels, value);
    }

    fn histogram(&mut self, series: Series, labels: Labels<'_>, latency: &Latency) {
        let bounds = BOUNDS.map(|(bound, text)| (latency.within(Duration::from_nanos(bound)), text));
        for (count, text) in bounds.into_iter().chain([(latency.count, "+Inf")]) {
            let labels: Vec<_> = labels.iter().copied().chain([("le", text)]).collect();
            self.line(series, "histogram", "_bucket", &labels, count);
        }
        self.line(series, "histogram", "_sum", labels, latency.sum.as_secs_f64());
        self.line(series, "histogram", "_count", labels, latency.count);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// In nanoseconds, and as text in seconds. Each is the end of a bucket as they are counted.
const BOUNDS: [(u64, &str); 15] = [
    (1 << 9, "5.12e-7"),
    (1 << 10, "1.024e-6"),
    (1 << 11, "2.048e-6"),
    (1 << 12, "4.096e-6"),
    (1 << 14, "1.6384e-5"),
    (1 << 16, "6.5536e-5"),
    (1 << 18, "0.000262144"),
    (1 << 20, "0.001048576"),
    (1 << 22, "0.004194304"),
    (1 << 24, "0.016777216"),
    (1 << 26, "0.067108864"),
    (1 << 27, "0.134217728"),
    (1 << 28, "0.268435456"),
    (1 << 30, "1.073741824"),
    (1 << 33, "8.589934592"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_label() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn bounds_are_spelled_right() {
        for (nanos, text) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert!((seconds * 1e9 - nanos as f64).abs() < 1e-3, "{text}");
        }
    }
}

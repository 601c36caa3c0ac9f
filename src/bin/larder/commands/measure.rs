//! `test`: how long hits and misses take, as a client of the application sees it.

use super::{Desk, invalidate};
use crate::{
    args::Measure,
    clock::Stopwatch,
    fault::{Fault, Kind},
    out::Look,
    progress::Progress,
    table::{Table, left, right},
    units::span,
    url::Place,
    wire::{Answer, Wire},
};
use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What came of the requests.
#[derive(Debug, Default)]
struct Measured {
    /// The times in seconds, by outcome.
    times: BTreeMap<&'static str, Vec<f64>>,
    statuses: BTreeMap<String, u64>,
    /// What the last answer said of it.
    said: String,
}

pub(super) async fn test(desk: &mut Desk<'_>, what: &Measure) -> Result<(), Fault> {
    if !what.path.starts_with('/') {
        return Err(Fault::usage(format!("--path: `{}` has to begin with `/`", what.path)));
    }
    let base = match &what.base {
        Some(base) => Place::parse("--base", base)?,
        None => Place { path: String::new(), ..Place::parse("--url", &desk.global.url)? },
    };
    let path = format!("{}{}", base.path, what.path);
    let url = format!("{}{path}", base.origin());
    let mut wire = Wire::new(base, desk.global.ca.as_deref(), desk.global.timeout);
    let caches = if what.misses > 0 { invalidate::names(desk).await? } else { Vec::new() };
    let (mut measured, progress) = (Measured::default(), Progress::new(desk.out));
    let all = u64::from(what.misses) + u64::from(what.requests);
    for number in 0..all {
        if number < u64::from(what.misses) {
            for cache in &caches {
                invalidate::resource(desk, cache, &path).await?;
            }
        }
        measured.ask(&mut wire, &path, &what.header).await?;
        progress.show(number + 1, all, &what.path);
    }
    drop(progress);
    tell(desk, &url, &measured)
}

fn tell(desk: &Desk<'_>, url: &str, measured: &Measured) -> Result<(), Fault> {
    let (out, served) = (desk.out, measured.served());
    if out.json {
        let outcomes: Map<String, Value> =
            measured.times.iter().map(|(name, times)| ((*name).to_owned(), figures(times))).collect();
        let ever = served > 0;
        let (statuses, said) = (&measured.statuses, &measured.said);
        out.json(&json!({ "url": url, "statuses": statuses, "outcomes": outcomes, "ever_hit": ever, "said": said }))?;
    } else {
        let statuses: Vec<String> =
            measured.statuses.iter().map(|(status, count)| format!("{status} × {count}")).collect();
        out.paragraph(0, &format!("GET {url}: {}", statuses.join(", ")))?;
        let columns = [right("COUNT"), right("P50"), right("P95"), right("MIN"), right("MAX")];
        let mut table = Table::new([&[left("OUTCOME")], &columns[..]].concat()).indented(2);
        for (name, times) in &measured.times {
            let shown = [0.5, 0.95, 0.0, 1.0].map(|part| span(quantile(times, part)));
            table.row([(*name).to_owned(), times.len().to_string()].into_iter().chain(shown));
        }
        out.table(&table)?;
        if let (Some(hits), Some(misses)) = (measured.times.get("hit"), measured.times.get("miss")) {
            let times = quantile(misses, 0.5) / quantile(hits, 0.5).max(1e-9);
            if times >= 1.05 {
                let digits = usize::from(times < 9.95);
                out.line(out.look(Look::Good, &format!("a hit is {times:.digits$} times as fast as a miss")))?;
            }
        }
    }
    match served {
        0 => Err(Fault::new(Kind::Failed, format!("never a hit: {}; {}", measured.said, measured.advice()))),
        _ => Ok(()),
    }
}

impl Measured {
    async fn ask(&mut self, wire: &mut Wire, path: &str, fields: &[(String, String)]) -> Result<(), Fault> {
        let mut request = Request::builder().method("GET").uri(path);
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let watch = Stopwatch::start();
        let answer = wire.send(request, Bytes::new()).await?;
        let taken = watch.elapsed().as_secs_f64();
        let (outcome, said) = outcome(&answer.head);
        self.times.entry(outcome).or_default().push(taken);
        *self.statuses.entry(answer.status.as_u16().to_string()).or_default() += 1;
        self.said = said;
        note_redirect(&answer)
    }

    /// How many came from the cache.
    fn served(&self) -> usize {
        let of = |name: &&str| self.times.get(*name).map_or(0, Vec::len);
        ["hit", "stale", "revalidated"].iter().map(of).sum()
    }

    fn advice(&self) -> &'static str {
        match self.times.contains_key("unknown") {
            true => "is there a CacheLayer around this route?",
            false => "`larder explain PATH` tells why, `larder advice` what to change",
        }
    }
}

/// A redirect is not followed: what it leads to has a URL of its own.
fn note_redirect(answer: &Answer) -> Result<(), Fault> {
    match answer.head.get("location").filter(|_| answer.status.is_redirection()) {
        Some(to) => Err(Fault::failed(format!(
            "the application answers {}, to {}: measure that one",
            answer.status,
            to.to_str().unwrap_or("elsewhere")
        ))),
        None => Ok(()),
    }
}

/// What an answer says of the cache, and in which words.
fn outcome(head: &HeaderMap) -> (&'static str, String) {
    let field = |name: &str| head.get(name).and_then(|value| value.to_str().ok());
    for line in head.get_all("cache-status").iter().filter_map(|value| value.to_str().ok()) {
        // Of several caches on the way, ours.
        if let Some(own) = line.split(',').map(str::trim).find(|member| member.split(';').next() == Some("larder")) {
            return (by_status(own), format!("`Cache-Status: {own}`"));
        }
    }
    if let Some(word) = field("x-cache") {
        let outcome = ["hit", "stale", "revalidated", "bypass", "miss", "collapsed"];
        let first = word.split([' ', ',']).next().unwrap_or_default();
        if let Some(outcome) = outcome.into_iter().find(|outcome| outcome.eq_ignore_ascii_case(first)) {
            return (outcome, format!("`X-Cache: {word}`"));
        }
    }
    match field("age") {
        Some(age) => ("hit", format!("`Age: {age}`")),
        None => ("unknown", "the answers have no Cache-Status, no X-Cache and no Age".to_owned()),
    }
}

/// What the parameters of RFC 9211 say.
fn by_status(member: &str) -> &'static str {
    let mut parameters = member.split(';').skip(1).map(str::trim);
    let has = |wanted: &str| member.split(';').skip(1).any(|parameter| parameter.trim() == wanted);
    let forwarded = parameters.find_map(|parameter| parameter.strip_prefix("fwd="));
    match forwarded {
        _ if has("hit") => "hit",
        Some("bypass" | "method") => "bypass",
        Some("stale") if has("fwd-status=304") => "revalidated",
        Some(_) if has("collapsed") => "collapsed",
        _ => "miss",
    }
}

fn figures(times: &[f64]) -> Value {
    json!({
        "count": times.len(),
        "p50_seconds": quantile(times, 0.5),
        "p95_seconds": quantile(times, 0.95),
        "min_seconds": quantile(times, 0.0),
        "max_seconds": quantile(times, 1.0),
    })
}

/// The time that this part of the requests did not exceed.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a place in a short list"
)]
fn quantile(times: &[f64], part: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes() {
        let of = |fields: &[(&'static str, &'static str)]| {
            let mut head = HeaderMap::new();
            for (name, value) in fields {
                head.append(*name, value.parse().unwrap());
            }
            outcome(&head).0
        };
        assert_eq!(of(&[("cache-status", "larder; hit")]), "hit");
        assert_eq!(of(&[("cache-status", "larder; fwd=miss; stored")]), "miss");
        assert_eq!(of(&[("cache-status", "larder; fwd=miss; collapsed")]), "collapsed");
        assert_eq!(of(&[("cache-status", "larder; fwd=bypass; detail=cookie")]), "bypass");
        assert_eq!(of(&[("cache-status", "larder; fwd=stale; fwd-status=304; stored")]), "revalidated");
        assert_eq!(of(&[("cache-status", "cdn; hit, larder; fwd=miss")]), "miss");
        assert_eq!(of(&[("x-cache", "HIT")]), "hit");
        assert_eq!(of(&[("x-cache", "HIT from elsewhere"), ("cache-status", "cdn; hit")]), "hit");
        assert_eq!(of(&[("age", "3")]), "hit");
        assert_eq!(of(&[]), "unknown");
    }

    #[test]
    fn quantiles() {
        let times = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!([0.0, 0.5, 0.95, 1.0].map(|part| quantile(&times, part)), [1.0, 3.0, 5.0, 5.0]);
        assert!(quantile(&[], 0.5) == 0.0);
    }
}

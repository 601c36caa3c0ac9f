//! What could be better, and how things went.

use super::{
    answer::{Answer, Failure, Told},
    metrics::tally,
    service::Asked,
};
use crate::{Advice, Cache, Report};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) async fn told(asked: &Asked<'_>) -> Told {
    asked.concerns_all("advice")?;
    let (name, cache) = asked.cache()?;
    let (name, cache): (String, Cache) = (name.to_owned(), cache.clone());
    let advice = asked.aside(move || cache.advice()).await?;
    Ok(Answer::json(&json!({ "cache": name, "advice": advice.iter().map(piece).collect::<Vec<_>>() })))
}

/// The last report.
pub(super) fn report(asked: &Asked<'_>) -> Told {
    asked.concerns_all("a report")?;
    let (name, cache) = asked.cache()?;
    let Some(report) = cache.last_report() else {
        return Err(Failure::not_found("there is no report yet: the application starts a Reporter, or makes one"));
    };
    Ok(Answer::json(&of(name, &report)))
}

fn of(name: &str, report: &Report) -> Value {
    json!({
        "cache": name,
        "at": seconds(report.at),
        "since": seconds(report.since),
        "text": Report { cache: name.to_owned(), ..report.clone() }.to_string(),
        "coverage": report.coverage.iter().map(|row| json!({
            "tenant": row.tenant, "entries": row.entries, "lookup_hit_ratio": row.lookup_hit_ratio,
        })).collect::<Vec<_>>(),
        "effectiveness": tally(&report.counts, None),
        "bottlenecks": report.bottlenecks.iter().map(|(policy, text)| json!({
            "policy": policy, "text": text,
        })).collect::<Vec<_>>(),
        "regressions": report.regressions.iter().map(|row| json!({
            "policy": row.policy, "text": row.text,
        })).collect::<Vec<_>>(),
        "advice": report.advice.iter().map(piece).collect::<Vec<_>>(),
    })
}

fn piece(advice: &Advice) -> Value {
    json!({
        "kind": advice.kind.as_str(),
        "severity": if advice.kind.is_warning() { "warning" } else { "info" },
        "policy": advice.policy,
        "route": advice.route,
        "text": advice.text,
        "change": advice.change,
    })
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

//! What was counted.

use super::{
    answer::{Answer, Told},
    service::Asked,
};
use crate::{Cache, Counts, HistorySpan, Holding, Latency, Metrics, PolicyMetrics, Windows};
use serde_json::{Map, Value, json};
use std::time::Duration;

pub(super) async fn told(asked: &Asked<'_>) -> Told {
    let caches: Vec<(String, Cache)> =
        asked.caches()?.into_iter().map(|(name, cache)| (name.to_owned(), cache.clone())).collect();
    let tenant = asked.access.tenant.clone();
    let told = move || -> Vec<Value> {
        caches.iter().map(|(name, cache)| cache_metrics(name, cache, tenant.as_deref())).collect()
    };
    Ok(Answer::json(&json!({ "caches": asked.aside(told).await? })))
}

fn cache_metrics(name: &str, cache: &Cache, tenant: Option<&str>) -> Value {
    let metrics = cache.metrics();
    let tenants = metrics.tenants.iter().filter(|row| tenant.is_none_or(|tenant| row.name == tenant));
    let tenants = tenants.map(|row| {
        json!({
            "name": row.name,
            "total": tally(&row.total, None),
            "windows": windows(&row.windows),
            "entries": row.entries,
            "entry_bytes": row.bytes,
        })
    });
    let tenants: Vec<_> = tenants.collect();
    if tenant.is_some() {
        // All that is told of this one alone.
        let own = tenants.first();
        let none = || (tally(&Counts::default(), None), windows(&Windows::default()));
        let (total, windows) = own.map_or_else(none, |own| (own["total"].clone(), own["windows"].clone()));
        return json!({
            "name": name, "total": total, "windows": windows, "tenants": tenants,
            "policies": [], "tags": [], "patterns": [], "uncacheable": [],
        });
    }
    let stats = cache.stats();
    json!({
        "name": name,
        "total": tally(&metrics.total, Some((stats.evictions, stats.invalidations))),
        "windows": cache_windows(cache, &metrics),
        "policies": metrics.policies.iter().map(policy).collect::<Vec<_>>(),
        "tenants": tenants,
        "tags": metrics.tags.iter().map(holding).collect::<Vec<_>>(),
        "patterns": metrics.patterns.iter().map(holding).collect::<Vec<_>>(),
        "uncacheable": metrics.uncacheable.iter().map(|row| json!({
            "route": row.route,
            "policy": row.policy,
            "reason": row.reason,
            "count": row.count,
            "advice": crate::cache::remedy(row.reason),
        })).collect::<Vec<_>>(),
    })
}

fn policy(row: &PolicyMetrics) -> Value {
    let objective = row.objective.map(|objective| {
        json!({ "lookup_hit_ratio": objective.lookup_hit_ratio, "p95_seconds": objective.p95.as_secs_f64(), "met": row.met })
    });
    json!({
        "name": row.name,
        "kind": row.kind.as_str(),
        "route": row.route,
        "objective": objective,
        "total": tally(&row.total, None),
        "windows": windows(&row.windows),
        "entries": row.entries,
        "entry_bytes": row.bytes,
    })
}

fn holding(holding: &Holding) -> Value {
    json!({ "name": holding.name, "entries": holding.entries, "entry_bytes": holding.bytes })
}

fn windows(windows: &Windows) -> Value {
    json!({
        "1m": tally(&windows.minute, None),
        "5m": tally(&windows.five_minutes, None),
        "1h": tally(&windows.hour, None),
    })
}

/// Those of a cache, whose history tells what was evicted and invalidated.
fn cache_windows(cache: &Cache, metrics: &Metrics) -> Value {
    let (samples, now) = (cache.history(HistorySpan::Hour), cache.now().as_unix_millis());
    let within = |seconds: u64| {
        let recent = samples.iter().filter(|sample| now.saturating_sub(sample.at_millis) < seconds * 1000);
        recent.fold((0, 0), |(evictions, invalidations), sample| {
            (evictions + sample.evictions, invalidations + sample.invalidations)
        })
    };
    let Windows { minute, five_minutes, hour, .. } = &metrics.windows;
    json!({
        "1m": tally(minute, Some(within(60))),
        "5m": tally(five_minutes, Some(within(300))),
        "1h": tally(hour, Some(within(3600))),
    })
}

/// A tally. Evictions and invalidations are counted of a whole cache alone, and null elsewhere.
pub(super) fn tally(counts: &Counts, removed: Option<(u64, u64)>) -> Value {
    let (evictions, invalidations) = removed.unzip();
    json!({
        "hits": counts.hits,
        "stale": counts.stale,
        "revalidated": counts.revalidated,
        "misses": counts.misses,
        "collapsed": counts.collapsed,
        "bypasses": counts.bypasses,
        "stored": counts.stored,
        "not_stored": counts.not_stored,
        "refreshes": counts.refreshes,
        "failed_refreshes": counts.failed_refreshes,
        "timeouts": counts.timeouts,
        "invalidations": invalidations,
        "evictions": evictions,
        "lookup_hit_ratio": counts.lookup_hit_ratio(),
        "hit_ratio": counts.hit_ratio(),
        "saved_seconds": counts.saved.as_secs_f64(),
        "saved_bytes": counts.saved_bytes,
        "hit_latency": latency(&counts.hit_time),
        "miss_latency": latency(&counts.fill_time),
        "bypass_reasons": counts.bypass_reasons,
        "not_stored_reasons": counts.not_stored_reasons,
    })
}

/// Nothing where nothing was measured.
pub(super) fn latency(latency: &Latency) -> Value {
    let Latency { p50: Some(p50), p95: Some(p95), p99: Some(p99), count, .. } = latency else { return Value::Null };
    let mut told = Map::from_iter([("count".to_owned(), json!(count))]);
    for (name, took) in [("p50_seconds", p50), ("p95_seconds", p95), ("p99_seconds", p99)] {
        told.insert(name.to_owned(), json!(took.as_secs_f64()));
    }
    Value::Object(told)
}

pub(super) fn span(span: Option<Duration>) -> Option<f64> {
    span.map(|span| span.as_secs_f64())
}

/// Unix time, with its milliseconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds fit for the next 280 000 years")]
pub(super) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1000.0
}

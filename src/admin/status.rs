//! What is there, and how it is.

use super::{
    answer::{Answer, Told},
    metrics::{latency, seconds, span},
    service::Asked,
};
use crate::{Cache, LogCounts, Stats, StoreCounts};
use serde_json::{Value, json};

pub(super) async fn told(asked: &Asked<'_>) -> Told {
    let caches: Vec<(String, Cache)> =
        asked.caches()?.into_iter().map(|(name, cache)| (name.to_owned(), cache.clone())).collect();
    let (tenant, warmer) = (asked.access.tenant.clone(), asked.warmer());
    let now = caches.iter().map(|(_, cache)| cache.now().as_unix_millis()).max();
    let uptime = caches.iter().map(|(_, cache)| cache.uptime()).max();
    let told = move || -> Vec<Value> {
        caches.iter().map(|(name, cache)| of(name, cache, tenant.as_deref(), &warmer)).collect()
    };
    let caches = asked.aside(told).await?;
    let access = &asked.access;
    Ok(Answer::json(&json!({
        "larder": env!("CARGO_PKG_VERSION"),
        "now": seconds(now.unwrap_or(0)),
        "uptime_seconds": span(uptime).unwrap_or(0.0),
        "access": {
            "level": if access.manages { "full" } else { "read" },
            "tenant": access.tenant,
            "name": access.name(),
        },
        "caches": caches,
    })))
}

fn of(name: &str, cache: &Cache, tenant: Option<&str>, warmer: &Value) -> Value {
    let problems = cache.problems();
    // What is found wrong is no fault of this process: it is told, and keeps no balancer away. It is about all tenants.
    let findings = if tenant.is_some() { Vec::new() } else { cache.findings() };
    let health = if problems.is_empty() { "healthy" } else { "degraded" };
    let stats = cache.stats();
    let mut told = json!({
        "name": name,
        "namespace": cache.namespace(),
        "version": cache.version(),
        "health": health,
        "problems": problems.into_iter().chain(findings).collect::<Vec<_>>(),
        "memory": {
            "used_bytes": stats.bytes,
            "limit_bytes": cache.memory_limit(),
            "resources": stats.resources,
            "evictions": stats.evictions,
        },
        "fills": stats.fills,
        "background": stats.background,
        "writes_waiting": stats.writes_waiting,
        "stores": stores(&stats),
        "log": log(stats.log),
        "values": cache.declared_values().iter().map(|value| value.name).collect::<Vec<_>>(),
        "warmer": warmer,
    });
    if let Some(tenant) = tenant {
        // What is counted of all of them together tells of the others.
        let (entries, bytes) = cache.held_of(tenant);
        told["memory"] = json!({ "used_bytes": bytes, "limit_bytes": null, "resources": entries, "evictions": null });
        for all in ["fills", "background", "writes_waiting"] {
            told[all] = Value::Null;
        }
        told["stores"] = json!([]);
        told["log"] = json!({ "kind": if stats.log.is_some() { "shared" } else { "local" } });
    }
    told
}

fn stores(stats: &Stats) -> Vec<Value> {
    let store = |(name, counts): (&String, &StoreCounts)| {
        let held = counts.stats.unwrap_or_default();
        json!({
            "name": name,
            "up": counts.up,
            "hits": counts.hits,
            "misses": counts.misses,
            "writes": counts.writes,
            "dropped": counts.dropped,
            "reasons": counts.reasons,
            "used_bytes": held.bytes,
            "limit_bytes": held.limit,
            "evicted": held.evicted,
            "latency": latency(&counts.latency),
        })
    };
    stats.stores.iter().map(store).collect()
}

fn log(log: Option<LogCounts>) -> Value {
    let Some(log) = log else { return json!({ "kind": "local" }) };
    json!({
        "kind": "shared",
        "read": log.read,
        "sent": log.sent,
        "waiting": log.waiting,
        "gaps": log.gaps,
        "unreadable": log.unreadable,
        "foreign": log.foreign,
        "failures": log.failures,
        "since_contact_seconds": span(log.since_contact),
    })
}

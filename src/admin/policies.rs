//! The policies in force.

use super::{
    answer::{Answer, Told},
    service::Asked,
};
use crate::{Cache, PolicyKind};
use serde_json::{Value, json};

pub(super) fn told(asked: &Asked<'_>) -> Told {
    asked.concerns_all("what policies say")?;
    let caches = asked.caches()?.into_iter().map(|(name, cache)| json!({ "name": name, "policies": policies(cache) }));
    Ok(Answer::json(&json!({ "caches": caches.collect::<Vec<_>>() })))
}

fn policies(cache: &Cache) -> Vec<Value> {
    let pages = cache.pages();
    let responses = pages.iter().filter_map(|page| {
        let policy = page.policy()?;
        let objective = policy
            .objective
            .map(|objective| json!({ "lookup_hit_ratio": objective.lookup_hit_ratio, "p95_seconds": objective.p95.as_secs_f64() }));
        Some(json!({
            "name": page.name(),
            "kind": page.kind.as_str(),
            "route": policy.route,
            "settings": policy.effective.rows().map(setting).collect::<Vec<_>>(),
            "depends_on": policy.depends_on,
            "tags": policy.tags,
            "objective": objective,
            "warnings": policy.warnings,
        }))
    });
    let values = cache.declared_values().into_iter().map(|value| {
        json!({
            "name": value.name,
            "kind": PolicyKind::Value.as_str(),
            "route": null,
            "settings": value.settings.into_iter().map(setting).collect::<Vec<_>>(),
            "depends_on": value.depends_on,
            "tags": value.tags,
            "objective": null,
            "warnings": [],
        })
    });
    responses.chain(values).collect()
}

fn setting((name, value, default): (&'static str, String, bool)) -> Value {
    json!({ "name": name, "value": value, "default": default })
}

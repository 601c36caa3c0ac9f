//! What a cache did over time.

use super::{
    answer::{Answer, Told},
    metrics::{seconds, span},
    service::Asked,
};
use crate::{HistorySample, HistorySpan};
use serde_json::{Value, json};

pub(super) fn told(asked: &Asked<'_>) -> Told {
    asked.concerns_all("the history")?;
    let spans = [("1h", HistorySpan::Hour), ("24h", HistorySpan::Day), ("7d", HistorySpan::Week)];
    let chosen = asked.query.word("span", &spans)?;
    let (name, cache) = asked.cache()?;
    let samples: Vec<_> = cache.history(chosen).iter().map(sample).collect();
    Ok(Answer::json(&json!({ "cache": name, "step_seconds": chosen.step().as_secs(), "samples": samples })))
}

fn sample(sample: &HistorySample) -> Value {
    json!({
        "at": seconds(sample.at_millis),
        "hits": sample.hits,
        "stale": sample.stale,
        "revalidated": sample.revalidated,
        "misses": sample.misses,
        "collapsed": sample.collapsed,
        "bypasses": sample.bypasses,
        "stored": sample.stored,
        "invalidations": sample.invalidations,
        "evictions": sample.evictions,
        "used_bytes": sample.used_bytes,
        "hit_p50_seconds": span(sample.hit_p50),
        "hit_p95_seconds": span(sample.hit_p95),
        "miss_p50_seconds": span(sample.fill_p50),
        "miss_p95_seconds": span(sample.fill_p95),
        "log_lag_seconds": span(sample.log_lag),
    })
}

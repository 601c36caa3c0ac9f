//! What was counted, for monitoring: each series once, whoever reads it. Nothing is counted here, and no key, path,
//! tenant or user becomes a label.

#[cfg(feature = "metrics")]
pub(crate) mod facade;
mod prometheus;

pub use prometheus::prometheus;
#[cfg(feature = "admin")]
pub(crate) use prometheus::prometheus_of;

use crate::{
    cache::{Cache, LogCounts, PolicyKind, PolicyMetrics, Stats, StoreCounts},
    policy::Objective,
    tally::{Counts, Latency, Watch},
};

/// Who hears of what a cache does, whatever the application says.
#[cfg(feature = "metrics")]
pub(super) fn watched(watch: Watch) -> Watch {
    watch.with(facade::Times)
}

#[cfg(not(feature = "metrics"))]
pub(super) fn watched(watch: Watch) -> Watch {
    watch
}

/// A series: its name, and what it is.
type Series = (&'static str, &'static str);
type Labels<'a> = &'a [(&'static str, &'a str)];

/// Who reads.
trait Sink {
    /// What only grows.
    fn counter(&mut self, series: Series, labels: Labels<'_>, count: u64);
    /// What only grows, and is no whole number.
    fn seconds(&mut self, series: Series, labels: Labels<'_>, seconds: f64);
    fn gauge(&mut self, series: Series, labels: Labels<'_>, value: f64);
    fn histogram(&mut self, series: Series, labels: Labels<'_>, latency: &Latency);
}

/// Tells all there is of a cache, under this name.
#[expect(clippy::cast_precision_loss, reason = "gauges are for people")]
fn tell(sink: &mut impl Sink, name: &str, cache: &Cache) {
    let stats = cache.stats();
    let of = [("cache", name)];
    for (series, value) in gauges(&stats, cache.memory_limit()) {
        sink.gauge(series, &of, value as f64);
    }
    for (series, count) in counters(&stats) {
        sink.counter(series, &of, count);
    }
    for (store, counts) in &stats.stores {
        tell_store(sink, name, store, counts);
    }
    if let Some(log) = &stats.log {
        tell_log(sink, &of, log);
    }
    let policies = cache.metrics().policies;
    for policy in &policies {
        // No two may have the same labels: Prometheus would refuse all of it.
        let namesake = |other: &PolicyMetrics| other.kind == PolicyKind::Response && other.name == policy.name;
        let label = match policy.kind == PolicyKind::Value && policies.iter().any(namesake) {
            true => format!("{} (value)", policy.name),
            false => policy.name.clone(),
        };
        tell_policy(sink, name, &label, policy);
    }
}

fn gauges(stats: &Stats, limit: u64) -> [(Series, u64); 6] {
    [
        (("http_cache_memory_bytes", "Bytes held in memory."), stats.bytes),
        (("http_cache_memory_limit_bytes", "Bytes that memory may hold."), limit),
        (("http_cache_resources", "Resources held in memory, with all their variants."), stats.resources),
        (("http_cache_fills", "Fills under way."), stats.fills),
        (("http_cache_background", "Fills under way in the background."), stats.background),
        (("http_cache_writes_waiting", "Writes to stores that wait."), stats.writes_waiting),
    ]
}

fn counters(stats: &Stats) -> [(Series, u64); 7] {
    [
        (("http_cache_evictions_total", "Resources that made way for others."), stats.evictions),
        (("http_cache_invalidations_total", "Invalidations made here."), stats.invalidations),
        (("http_cache_handed_over_total", "Fills that outlived their client."), stats.handed_over),
        (("http_cache_fills_limited_total", "Fills that found no place at once."), stats.fills_limited),
        (("http_cache_waits_too_long_total", "Requests that waited in vain."), stats.waits_too_long),
        (("http_cache_verified_total", "Hits compared with what the handler says."), stats.verified),
        (("http_cache_mismatched_total", "Compared hits that differed from what the handler says."), stats.mismatched),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "gauges are for people")]
fn tell_policy(sink: &mut impl Sink, cache: &str, label: &str, policy: &PolicyMetrics) {
    let of = [("cache", cache), ("policy", label)];
    let total = &policy.total;
    let with = |more| [of[0], of[1], more];
    let Counts { hits, stale, revalidated, misses, collapsed, .. } = *total;
    let outcomes =
        [("hit", hits), ("stale", stale), ("revalidated", revalidated), ("miss", misses), ("collapsed", collapsed)];
    let requests = ("http_cache_requests_total", "Requests and lookups of values, by outcome.");
    for (outcome, count) in outcomes {
        sink.counter(requests, &[of[0], of[1], ("outcome", outcome), ("reason", "")], count);
    }
    for (reason, count) in &total.bypass_reasons {
        sink.counter(requests, &[of[0], of[1], ("outcome", "bypass"), ("reason", reason)], *count);
    }
    for (series, count) in [
        (("http_cache_stored_total", "Responses and values stored."), total.stored),
        (("http_cache_refreshes_total", "Refreshes in the background."), total.refreshes),
        (("http_cache_failed_refreshes_total", "Refreshes that left the old one as it was."), total.failed_refreshes),
        (("http_cache_timeouts_total", "Requests answered because a timeout had passed."), total.timeouts),
        (("http_cache_invalidated_total", "Stored ones that were found invalidated."), total.invalidated),
        (("http_cache_unused_total", "Stored ones that went unused."), total.unused),
        (("http_cache_saved_bytes_total", "Bytes of bodies answered from the cache."), total.saved_bytes),
    ] {
        sink.counter(series, &of, count);
    }
    for (reason, count) in &total.not_stored_reasons {
        let series = ("http_cache_not_stored_total", "Responses and values not stored, by reason.");
        sink.counter(series, &with(("reason", reason)), *count);
    }
    let saved = ("http_cache_saved_seconds_total", "Time that fills would have taken.");
    sink.seconds(saved, &of, total.saved.as_secs_f64());
    sink.gauge(("http_cache_entries", "Stored ones in memory."), &of, policy.entries as f64);
    sink.gauge(("http_cache_entry_bytes", "Bytes that they take."), &of, policy.bytes as f64);
    sink.histogram(HIT_SECONDS, &of, &total.hit_time);
    sink.histogram(FILL_SECONDS, &of, &total.fill_time);
    let Some(Objective { lookup_hit_ratio, p95, .. }) = policy.objective else { return };
    sink.gauge(
        ("http_cache_objective_lookup_hit_ratio", "The lookup hit ratio that is wanted."),
        &of,
        lookup_hit_ratio,
    );
    let wanted = ("http_cache_objective_p95_seconds", "The 95th percentile that is wanted.");
    sink.gauge(wanted, &of, p95.as_secs_f64());
    if let Some(met) = policy.met {
        let series = ("http_cache_objective_met", "Whether both are met in the last five minutes.");
        sink.gauge(series, &of, f64::from(u8::from(met)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are for people")]
fn tell_store(sink: &mut impl Sink, cache: &str, store: &str, counts: &StoreCounts) {
    let of = [("cache", cache), ("store", store)];
    let with = |more| [of[0], of[1], more];
    sink.gauge(("http_cache_store_up", "Whether a store is asked."), &of, f64::from(u8::from(counts.up)));
    let lookups = ("http_cache_store_lookups_total", "Lookups in a store, by result.");
    sink.counter(lookups, &with(("result", "hit")), counts.hits);
    sink.counter(lookups, &with(("result", "miss")), counts.misses);
    sink.counter(("http_cache_store_writes_total", "Writes to a store."), &of, counts.writes);
    sink.counter(("http_cache_store_dropped_total", "Writes given up."), &of, counts.dropped);
    for (reason, count) in &counts.reasons {
        let series = ("http_cache_store_failures_total", "What failed or was of no use, by reason.");
        sink.counter(series, &with(("reason", reason)), *count);
    }
    sink.histogram(STORE_SECONDS, &of, &counts.latency);
    let Some(told) = &counts.stats else { return };
    if let Some(bytes) = told.bytes {
        sink.gauge(("http_cache_store_bytes", "Bytes that a store holds."), &of, bytes as f64);
    }
    if let Some(bytes) = told.limit {
        sink.gauge(("http_cache_store_limit_bytes", "Bytes that a store may hold."), &of, bytes as f64);
    }
    if let Some(keys) = told.evicted {
        sink.counter(("http_cache_store_evicted_total", "Keys that a store has evicted."), &of, keys);
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are for people")]
fn tell_log(sink: &mut impl Sink, of: Labels<'_>, log: &LogCounts) {
    for (series, count) in [
        (("http_cache_log_read_total", "Records read from the shared log."), log.read),
        (("http_cache_log_sent_total", "Records sent to the shared log."), log.sent),
        (("http_cache_log_gaps_total", "How often records were missing."), log.gaps),
        (("http_cache_log_failures_total", "How often the log could not be used."), log.failures),
    ] {
        sink.counter(series, of, count);
    }
    sink.gauge(("http_cache_log_waiting", "Records that are not yet in the log."), of, log.waiting as f64);
    if let Some(lag) = log.since_contact {
        sink.gauge(("http_cache_log_lag_seconds", "Time since the log was read to its end."), of, lag.as_secs_f64());
    }
}

const HIT_SECONDS: Series = ("http_cache_hit_seconds", "What a hit takes (sampled).");
const FILL_SECONDS: Series = ("http_cache_fill_seconds", "What a fill takes until its head is there.");
const STORE_SECONDS: Series = ("http_cache_store_seconds", "What a lookup in a store takes.");

//! `metrics`.

use super::Desk;
use crate::{
    args::Metrics,
    fault::Fault,
    json::{count, counts, list, number, served, text, text_or},
    out::{Look, Out},
    table::{Table, clean, flexible, left, right},
    units::{bytes, percent, span, span_or_dash},
    url::Query,
};
use serde_json::Value;

pub(super) async fn metrics(desk: &mut Desk<'_>, of: &Metrics) -> Result<(), Fault> {
    let (query, out) = (desk.query(), desk.out);
    if of.prometheus {
        let text = desk.client.text("api/metrics", query.with("format", "prometheus")).await?;
        return out.raw(&text);
    }
    let mut metrics = desk.client.get("api/metrics", query).await?;
    let named = [("policies", "policy", &of.policy), ("tenants", "tenant", &of.tenant)];
    for (list, what, name) in named {
        if let Some(name) = name {
            narrow(&mut metrics, list, what, name)?;
        }
    }
    if out.json {
        return out.json(&metrics);
    }
    for (number, cache) in list(&metrics, "/caches").iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        out.line(out.look(Look::Title, &format!("cache {}", clean(text(cache, "/name")))))?;
        let chosen = match (&of.policy, &of.tenant) {
            (Some(_), _) => list(cache, "/policies"),
            (_, Some(_)) => list(cache, "/tenants"),
            (None, None) => {
                tallies(out, cache)?;
                beside(out, cache)?;
                continue;
            }
        };
        chosen.iter().try_for_each(|one| tallies(out, one))?;
    }
    Ok(())
}

/// Keeps only what has this name, and the caches that have it.
fn narrow(metrics: &mut Value, list: &str, what: &str, name: &str) -> Result<(), Fault> {
    let mut known = Vec::new();
    if let Some(caches) = metrics.get_mut("caches").and_then(Value::as_array_mut) {
        for cache in caches.iter_mut() {
            if let Some(all) = cache.get_mut(list).and_then(Value::as_array_mut) {
                known.extend(all.iter().map(|one| text(one, "/name").to_owned()));
                all.retain(|one| text(one, "/name") == name);
            }
        }
        caches.retain(|cache| !crate::json::list(cache, &format!("/{list}")).is_empty());
        if !caches.is_empty() {
            return Ok(());
        }
    }
    let among = if known.is_empty() { "none is".to_owned() } else { known.join(", ") };
    Err(Fault::failed(format!("no {what} is named `{name}` in the metrics: known there: {among}")))
}

/// A tally and its windows, side by side.
fn tallies(out: &Out, of: &Value) -> Result<(), Fault> {
    let columns = ["/windows/1m", "/windows/5m", "/windows/1h", "/total"];
    let mut table = Table::new([left(""), right("1 MIN"), right("5 MIN"), right("1 H"), right("TOTAL")]).indented(2);
    let mut row = |title: &str, tell: &dyn Fn(&Value) -> String| {
        let cells = columns.iter().map(|path| of.pointer(path).map_or_else(|| "-".to_owned(), tell));
        table.row([title.to_owned()].into_iter().chain(cells));
    };
    row("hits", &|tally| served(tally).to_string());
    for (title, path) in [
        ("  fresh", "/hits"),
        ("  stale", "/stale"),
        ("  revalidated", "/revalidated"),
        ("misses", "/misses"),
        ("collapsed", "/collapsed"),
        ("bypasses", "/bypasses"),
        ("stored", "/stored"),
        ("not stored", "/not_stored"),
        ("refreshes", "/refreshes"),
        ("failed refreshes", "/failed_refreshes"),
        ("timeouts", "/timeouts"),
        ("invalidations", "/invalidations"),
        ("evictions", "/evictions"),
    ] {
        // Of a policy or a tenant alone not all is known.
        row(title, &|tally| number(tally, path).map_or_else(|| "-".to_owned(), |_| count(tally, path).to_string()));
    }
    row("hit ratio", &|tally| percent(number(tally, "/hit_ratio")));
    row("lookup hit ratio", &|tally| percent(number(tally, "/lookup_hit_ratio")));
    row("time saved", &|tally| span_or_dash(number(tally, "/saved_seconds")));
    row("bytes saved", &|tally| bytes(count(tally, "/saved_bytes")));
    for (title, path) in [
        ("hit p50", "/hit_latency/p50_seconds"),
        ("hit p95", "/hit_latency/p95_seconds"),
        ("hit p99", "/hit_latency/p99_seconds"),
        ("miss p50", "/miss_latency/p50_seconds"),
        ("miss p95", "/miss_latency/p95_seconds"),
        ("miss p99", "/miss_latency/p99_seconds"),
    ] {
        row(title, &|tally| span_or_dash(number(tally, path)));
    }
    out.table(&table)?;
    for (what, path) in [("bypassed", "/total/bypass_reasons"), ("not stored", "/total/not_stored_reasons")] {
        let reasons = counts(of, path);
        if !reasons.is_empty() {
            out.paragraph(2, &format!("{what}: {reasons}"))?;
        }
    }
    Ok(())
}

/// What there is beside the cache's own tally.
fn beside(out: &Out, cache: &Value) -> Result<(), Fault> {
    let titled = |title: &'static str, table: Table| match table.is_empty() {
        true => Ok(()),
        false => out.line("").and_then(|()| out.line(title)).and_then(|()| out.table(&table)),
    };
    let figures = ["HITS", "COLLAPSED", "MISSES", "LOOKUP HIT RATIO", "MISS P95"].map(right);
    let held = [right("ENTRIES"), right("SIZE"), flexible("OBJECTIVE")];
    let columns = [&[flexible("POLICY"), left("KIND")], &figures[..], &held[..]].concat();
    let mut table = Table::new(columns).indented(2);
    for policy in list(cache, "/policies") {
        let own = [count(policy, "/entries").to_string(), bytes(count(policy, "/entry_bytes")), objective(policy)];
        let kind = text(policy, "/kind").to_owned();
        table.row([text(policy, "/name").to_owned(), kind].into_iter().chain(short(policy)).chain(own));
    }
    titled("policies", table)?;
    let mut table = Table::new([&[flexible("TENANT")], &figures[..]].concat()).indented(2);
    for tenant in list(cache, "/tenants") {
        table.row([text(tenant, "/name").to_owned()].into_iter().chain(short(tenant)));
    }
    titled("tenants", table)?;
    let mut table = Table::new([flexible("ROUTE"), left("POLICY"), left("REASON"), right("COUNT")]).indented(2);
    for one in list(cache, "/uncacheable") {
        let words = ["/route", "/policy", "/reason"].map(|path| text_or(one, path, "-").to_owned());
        table.row(words.into_iter().chain([count(one, "/count").to_string()]));
    }
    titled("never from the cache (`larder advice` tells what to change)", table)
}

fn short(of: &Value) -> [String; 5] {
    [
        of.get("total").map_or(0, served).to_string(),
        count(of, "/total/collapsed").to_string(),
        count(of, "/total/misses").to_string(),
        percent(number(of, "/total/lookup_hit_ratio")),
        span_or_dash(number(of, "/total/miss_latency/p95_seconds")),
    ]
}

fn objective(policy: &Value) -> String {
    let Some(objective) = policy.get("objective").filter(|objective| !objective.is_null()) else {
        return "-".to_owned();
    };
    let met = match objective.get("met").and_then(Value::as_bool) {
        Some(true) => return "met".to_owned(),
        Some(false) => "missed",
        None => "too little asked",
    };
    let ratio = number(objective, "/lookup_hit_ratio").map(|ratio| format!("≥ {}", percent(Some(ratio))));
    let p95 = number(objective, "/p95_seconds").map(|p95| format!("p95 ≤ {}", span(p95)));
    format!("{met}: {}", [ratio, p95].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// The paths and tags that memory is held for.
pub(super) async fn patterns(desk: &mut Desk<'_>) -> Result<Vec<(String, Vec<Value>, Vec<Value>)>, Fault> {
    let metrics = desk.client.get("api/metrics", Query::default().maybe("cache", desk.global.cache.as_ref())).await?;
    let of = |cache: &Value| {
        let name = text(cache, "/name").to_owned();
        (name, list(cache, "/patterns").to_vec(), list(cache, "/tags").to_vec())
    };
    Ok(list(&metrics, "/caches").iter().map(of).collect())
}

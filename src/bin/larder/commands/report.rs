//! `report`, `advice` and `audit`.

use super::Desk;
use crate::{
    fault::Fault,
    json::{count, list, number, served, text, text_or},
    out::{Look, Out},
    table::{Table, flexible, left, right},
    units::{bytes, moment, percent, plural, span_or_dash},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) async fn report(desk: &mut Desk<'_>, days: u32) -> Result<(), Fault> {
    let (query, out) = (desk.query(), desk.out);
    let report = desk.client.find("api/report", query).await?;
    let query = desk.query().with("span", if days == 1 { "24h" } else { "7d" });
    let mut history = desk.client.get("api/history", query).await?;
    keep_days(&mut history, days);
    if out.json {
        return out.json(&json!({ "report": report, "history": history }));
    }
    match &report {
        None => out.line("no report has been made yet: the application's reporter makes them")?,
        Some(report) => one(out, report)?,
    }
    out.line("")?;
    past(out, &history, days)
}

/// Keeps the samples of so many days before the last one.
fn keep_days(history: &mut Value, days: u32) {
    let Some(samples) = history.get_mut("samples").and_then(Value::as_array_mut) else { return };
    let last = samples.iter().filter_map(|sample| number(sample, "/at")).fold(0.0, f64::max);
    samples.retain(|sample| number(sample, "/at").is_some_and(|at| at > last - f64::from(days) * 86_400.0));
}

fn one(out: &Out, report: &Value) -> Result<(), Fault> {
    let at = |path: &str| number(report, path).map_or_else(|| "?".to_owned(), moment);
    out.line(out.look(Look::Title, &format!("report of {}, since {}", at("/at"), at("/since"))))?;
    out.paragraph(2, text(report, "/text"))?;
    if let Some(tally) = report.get("effectiveness").filter(|tally| !tally.is_null()) {
        let [ratio, of_lookups] = ["/hit_ratio", "/lookup_hit_ratio"].map(|path| percent(number(tally, path)));
        let [misses, collapsed, bypasses] = ["/misses", "/collapsed", "/bypasses"].map(|path| count(tally, path));
        let told = format!(
            "{}, {}, {collapsed} collapsed, {}; hit ratio {ratio}, lookup hit ratio {of_lookups}; {} saved",
            plural(served(tally), "hit", "hits"),
            plural(misses, "miss", "misses"),
            plural(bypasses, "bypass", "bypasses"),
            span_or_dash(number(tally, "/saved_seconds"))
        );
        out.pairs(2, &[("effect", told)])?;
    }
    for (title, path, look) in
        [("bottleneck", "/bottlenecks", Look::Doubtful), ("regression", "/regressions", Look::Bad)]
    {
        for found in list(report, path) {
            let text = crate::table::clean(&format!("{}: {}", text_or(found, "/policy", "-"), text(found, "/text")));
            out.line(format!("  {}  {text}", out.look(look, title)))?;
        }
    }
    let mut table = Table::new([flexible("TENANT"), right("ENTRIES"), right("LOOKUP HIT RATIO")]).indented(2);
    for tenant in list(report, "/coverage") {
        let ratio = percent(number(tenant, "/lookup_hit_ratio"));
        table.row([text_or(tenant, "/tenant", "-").to_owned(), count(tenant, "/entries").to_string(), ratio]);
    }
    if table.is_empty() { Ok(()) } else { out.table(&table) }
}

/// What the samples say, a day a line.
fn past(out: &Out, history: &Value, days: u32) -> Result<(), Fault> {
    let heading = format!("cache {}, the last {days} days", text_or(history, "/cache", "?"));
    let heading = if days == 1 { heading.replace("1 days", "day") } else { heading };
    out.line(out.look(Look::Title, &crate::table::clean(&heading)))?;
    let mut by_day: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for sample in list(history, "/samples") {
        if let Some(at) = number(sample, "/at") {
            by_day.entry(moment(at)[..10].to_owned()).or_default().push(sample);
        }
    }
    let columns = [left("DAY"), right("HITS"), right("COLLAPSED"), right("MISSES"), right("BYPASSES")];
    let more = [right("HIT RATIO"), right("MISS P95"), right("INVALIDATIONS"), right("MEMORY")];
    let mut table = Table::new([&columns[..], &more].concat()).indented(2);
    for (day, samples) in &by_day {
        let sum = |path: &str| samples.iter().map(|sample| count(sample, path)).sum::<u64>();
        let served = samples.iter().map(|sample| served(sample)).sum::<u64>();
        let requests = served + sum("/collapsed") + sum("/misses") + sum("/bypasses");
        // The worst of the steps: what they hold cannot be put together again.
        let p95 = samples.iter().filter_map(|sample| number(sample, "/miss_p95_seconds")).reduce(f64::max);
        let memory = samples.last().map_or(0, |sample| count(sample, "/used_bytes"));
        table.row([
            day.clone(),
            served.to_string(),
            sum("/collapsed").to_string(),
            sum("/misses").to_string(),
            sum("/bypasses").to_string(),
            percent(ratio(served, requests)),
            span_or_dash(p95),
            sum("/invalidations").to_string(),
            bytes(memory),
        ]);
    }
    match table.is_empty() {
        true if days > 1 => out.line("  there is no history yet: its steps are 10 minutes, with --days 1 a minute"),
        true => out.line("  there is no history yet: its steps are a minute"),
        false => out.table(&table),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
fn ratio(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

pub(super) async fn advice(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let answer = desk.of_cache("api/advice").await?;
    let out = desk.out;
    if out.json {
        return out.json(&answer);
    }
    let all = list(&answer, "/advice");
    if all.is_empty() {
        return out.line("there is nothing to advise");
    }
    for (number, one) in all.iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        let look = if text(one, "/severity") == "warning" { Look::Bad } else { Look::Doubtful };
        let kind = out.look(look, &crate::table::clean(text_or(one, "/kind", "advice")));
        let mut about = format!("policy {}", text_or(one, "/policy", "-"));
        if !text(one, "/route").is_empty() {
            about.push_str(&format!(", {}", text(one, "/route")));
        }
        out.line(format!("{kind}  {}", crate::table::clean(&about)))?;
        out.paragraph(2, text(one, "/text"))?;
        if !text(one, "/change").is_empty() {
            out.paragraph(2, &format!("→ {}", text(one, "/change")))?;
        }
    }
    Ok(())
}

pub(super) async fn audit(desk: &mut Desk<'_>, limit: u32) -> Result<(), Fault> {
    let query = desk.query().with("limit", limit.to_string());
    let (answer, out) = (desk.client.get("api/audit", query).await?, desk.out);
    if out.json {
        return out.json(&answer);
    }
    let columns =
        [left("AT"), left("BY"), left("ACTION"), left("CACHE"), flexible("WHAT"), right("HITS"), flexible("OUTCOME")];
    let mut table = Table::new(columns);
    for action in list(&answer, "/actions") {
        let at = number(action, "/at").map_or_else(|| "-".to_owned(), moment);
        let [by, done, cache, what, outcome] =
            ["/by", "/action", "/cache", "/what", "/outcome"].map(|path| text_or(action, path, "-").to_owned());
        let hits = number(action, "/hits").map_or_else(|| "-".to_owned(), |hits| hits.to_string());
        table.row([at, by, done, cache, what, hits, outcome]);
    }
    match table.is_empty() {
        true => out.line("nothing has been done through the admin API"),
        false => out.table(&table),
    }
}

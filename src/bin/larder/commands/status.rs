//! `status` and `health`.

use super::Desk;
use crate::{
    client::named,
    fault::Fault,
    json::{count, counts, flag, list, number, text, text_or, texts},
    out::{Look, Out},
    units::{bytes, percent, plural, span, span_or_dash},
    url::Query,
};
use serde_json::Value;

pub(super) async fn status(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let mut status = desk.client.get("api/status", Query::default()).await?;
    let caches = named(list(&status, "/caches").to_vec(), desk.global.cache.as_deref())?;
    let out = desk.out;
    if out.json {
        if let Some(place) = status.get_mut("caches") {
            *place = caches.into();
        }
        return out.json(&status);
    }
    let tenant = match text(&status, "/access/tenant") {
        "" => String::new(),
        tenant => format!(", of tenant {tenant}"),
    };
    let access = text_or(&status, "/access/level", "unknown");
    let up = span_or_dash(number(&status, "/uptime_seconds"));
    out.paragraph(0, &format!("larder {}, up {up}, access: {access}{tenant}", text_or(&status, "/larder", "?")))?;
    for cache in &caches {
        out.line("")?;
        one(out, cache)?;
    }
    Ok(())
}

fn one(out: &Out, cache: &Value) -> Result<(), Fault> {
    let mut of = format!("namespace {}", text_or(cache, "/namespace", "?"));
    if !text(cache, "/version").is_empty() {
        of.push_str(&format!(", version {}", text(cache, "/version")));
    }
    let health = healthy(out, text_or(cache, "/health", "unknown"));
    let title = out.look(Look::Title, &format!("cache {}", crate::table::clean(text(cache, "/name"))));
    out.line(format!("{title}  {health}  ({})", crate::table::clean(&of)))?;
    let mut pairs = vec![("memory", memory(cache)), ("work", work(cache))];
    for store in list(cache, "/stores") {
        pairs.push((text_or(store, "/name", "store"), store_text(store)));
    }
    pairs.push(("log", log(cache.get("log").unwrap_or(&Value::Null))));
    let values = texts(cache, "/values");
    if !values.is_empty() {
        pairs.push(("values", values.join(", ")));
    }
    if let Some(warmer) = cache.get("warmer").filter(|warmer| !warmer.is_null()) {
        pairs.push(("warmer", warmer_text(warmer)));
    }
    for problem in texts(cache, "/problems") {
        pairs.push(("problem", problem.to_owned()));
    }
    out.pairs(2, &pairs)
}

fn memory(cache: &Value) -> String {
    let (used, limit) = (count(cache, "/memory/used_bytes"), count(cache, "/memory/limit_bytes"));
    let part =
        number(cache, "/memory/used_bytes").zip(number(cache, "/memory/limit_bytes").filter(|limit| *limit > 0.0));
    let part = percent(part.map(|(used, limit)| used / limit));
    let (resources, evicted) = (count(cache, "/memory/resources"), count(cache, "/memory/evictions"));
    let resources = plural(resources, "resource", "resources");
    format!("{} of {} ({part}), {resources}, {evicted} evicted", bytes(used), bytes(limit))
}

fn work(cache: &Value) -> String {
    let (fills, background) = (count(cache, "/fills"), count(cache, "/background"));
    let (fills, waiting) = (plural(fills, "fill", "fills"), count(cache, "/writes_waiting"));
    format!("{fills}, {background} in the background, {} waiting", plural(waiting, "write", "writes"))
}

fn store_text(store: &Value) -> String {
    let mut told = vec![if flag(store, "/up") { "up" } else { "down" }.to_owned()];
    for (one, many) in [("hit", "hits"), ("miss", "misses"), ("write", "writes"), ("dropped", "dropped")] {
        told.push(plural(count(store, &format!("/{many}")), one, many));
    }
    if let Some(used) = store.get("used_bytes").and_then(Value::as_u64) {
        let limit = store.get("limit_bytes").and_then(Value::as_u64).filter(|limit| *limit > 0);
        told.push(limit.map_or_else(|| bytes(used), |limit| format!("{} of {}", bytes(used), bytes(limit))));
    }
    if count(store, "/evicted") > 0 {
        told.push(format!("{} evicted", count(store, "/evicted")));
    }
    if let Some(p50) = number(store, "/latency/p50_seconds") {
        let p95 = span_or_dash(number(store, "/latency/p95_seconds"));
        let p99 = span_or_dash(number(store, "/latency/p99_seconds"));
        told.push(format!("p50 {}, p95 {p95}, p99 {p99}", span(p50)));
    }
    let reasons = counts(store, "/reasons");
    if !reasons.is_empty() {
        told.push(format!("failures: {reasons}"));
    }
    told.join(", ")
}

fn log(log: &Value) -> String {
    match text_or(log, "/kind", "none") {
        "shared" => {
            let always = ["read", "sent", "waiting"].map(|what| (what, what));
            let odd = [("gap", "gaps"), ("unreadable", "unreadable"), ("foreign", "foreign"), ("failure", "failures")];
            let told = always.into_iter().chain(odd).map(|(one, many)| {
                let count = count(log, &format!("/{many}"));
                // What is always there, and what is worth a look.
                (count > 0 || always.contains(&(one, many))).then(|| plural(count, one, many))
            });
            let told: Vec<String> = told.flatten().collect();
            let contact = match number(log, "/since_contact_seconds") {
                Some(since) => format!("read {} ago", span(since)),
                None => "never read".to_owned(),
            };
            format!("shared, {contact}, {}", told.join(", "))
        }
        kind => kind.to_owned(),
    }
}

fn warmer_text(warmer: &Value) -> String {
    let names: Vec<&str> = list(warmer, "/categories").iter().map(|category| text(category, "/name")).collect();
    match warmer.get("running").filter(|running| !running.is_null()) {
        Some(running) => {
            let (done, of) = (count(running, "/done"), count(running, "/of"));
            let (job, category) = (text(running, "/job"), text(running, "/category"));
            format!("{}; job {job} is at {category}, {done} of {of}", names.join(", "))
        }
        None => names.join(", "),
    }
}

/// The word, in its colour.
fn healthy(out: &Out, word: &str) -> String {
    let look = if word == "healthy" { Look::Good } else { Look::Bad };
    out.look(look, &crate::table::clean(word))
}

pub(super) async fn health(desk: &mut Desk<'_>, strict: bool) -> Result<(), Fault> {
    let health = desk.client.health(strict).await?;
    let (word, out) = (text(&health, "/status"), desk.out);
    if out.json {
        out.json(&health)?;
    } else {
        let message = crate::table::clean(text(&health, "/message"));
        out.line(format!("{}: {message}", healthy(out, word)))?;
    }
    if strict && word != "healthy" { Err(Fault::told()) } else { Ok(()) }
}

//! One entry.

use super::{
    answer::{Answer, Failure, Told},
    explore::row_of,
    query::wrong,
    service::Asked,
};
use crate::{
    Cache,
    cache::{Id, Row},
    entry::Entry,
};
use http::{
    HeaderName,
    header::{CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, LINK, LOCATION, REFRESH},
};
use serde_json::{Value, json};

pub(super) async fn told(asked: &Asked<'_>) -> Told {
    let (name, cache) = asked.cache()?;
    let (name, cache) = (name.to_owned(), cache.clone());
    let text = asked.query.get("id")?.ok_or_else(|| wrong("id", "", "the id of an entry, as api/explore gives it"))?;
    let id = Id::parse(text).ok_or_else(|| wrong("id", text, "the id of an entry, as api/explore gives it"))?;
    let (tenant, bodies) = (asked.tenant()?, asked.access.bodies);
    let told = asked.aside(move || {
        let row = cache.entry_of(id, tenant.as_deref())?;
        Some(whole(&name, &cache, &row, bodies))
    });
    let told = told.await?.ok_or_else(|| Failure::not_found("there is no such entry now"))?;
    Ok(Answer::json(&told))
}

fn whole(name: &str, cache: &Cache, row: &Row, bodies: bool) -> Value {
    let (entry, life) = (&row.entry, row.entry.lifespan());
    let mut told = row_of(cache, row, cache.now(), None);
    let head: Vec<_> = entry
        .head
        .iter()
        .filter(|(name, value)| !value.is_sensitive() && !cache.is_secret(entry, name))
        .map(|(name, value)| [name.as_str().to_owned(), shown(name, &String::from_utf8_lossy(value.as_bytes()))])
        .collect();
    let body = bodies.then(|| text(entry)).flatten();
    let nominated: Vec<_> = entry.nominated.iter().map(HeaderName::as_str).collect();
    for (member, value) in [
        ("cache", json!(name)),
        ("head", json!(head)),
        ("stale_while_revalidate_seconds", json!(life.revalidate_until.since(life.fresh_until).as_secs_f64())),
        ("stale_if_error_seconds", json!(life.error_until.since(life.fresh_until).as_secs_f64())),
        ("fill_seconds", json!(entry.fill_time.as_secs_f64())),
        ("body", json!(body)),
        ("body_bytes", json!(entry.value.as_ref().map_or(entry.body.len(), |held| held.bytes))),
        ("nominated", json!(nominated)),
    ] {
        told[member] = value;
    }
    told
}

/// A target may have a token in its query or its fragment.
fn shown(name: &HeaderName, value: &str) -> String {
    match value.find(['?', '#']) {
        Some(at) if [LOCATION, CONTENT_LOCATION, LINK, REFRESH].contains(name) => format!("{}…", &value[..=at]),
        _ => value.to_owned(),
    }
}

/// The body, if it is text, and no longer than is worth showing.
fn text(entry: &Entry) -> Option<String> {
    let kind = entry.head.get(CONTENT_TYPE)?.to_str().ok()?;
    let kind = kind.split(';').next()?.trim().to_ascii_lowercase();
    let is_text = kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml", "image/svg+xml"].contains(&&*kind)
        || kind.ends_with("+json")
        || kind.ends_with("+xml");
    let plain = !entry.head.contains_key(CONTENT_ENCODING);
    let short = entry.body.len() <= LONGEST_BODY;
    let text = std::str::from_utf8(&entry.body).ok().filter(|_| is_text && plain && short)?;
    Some(text.to_owned())
}

const LONGEST_BODY: usize = 64 * 1024;

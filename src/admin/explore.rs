//! What memory holds.

use super::{
    answer::{Answer, Failure, Told},
    metrics::seconds,
    query::wrong,
    service::Asked,
};
use crate::{
    Cache,
    cache::{Look, Mark, Row, Sort, tenant_of},
    key::Pattern,
    semantics::date::Timestamp,
};
use http::header::{ETAG, LAST_MODIFIED};
use serde_json::{Value, json};

/// A page of entries. Pages follow one another by what is sorted by and then by id: what is there from the first page
/// to the last, and keeps its place, is on one of them. Age and lifetime keep it; hits and sizes may change meanwhile.
pub(super) async fn told(asked: &Asked<'_>) -> Told {
    let (name, cache) = asked.cache()?;
    let (name, cache) = (name.to_owned(), cache.clone());
    let look = look(asked)?;
    let told = asked.aside(move || {
        let (seen, now) = (cache.explore(&look), cache.now());
        let entries: Vec<_> = seen.rows.iter().map(|row| row_of(&cache, row, now, Some(LONGEST_KEY))).collect();
        json!({
            "cache": name,
            "total": seen.total,
            "matching": seen.matching,
            "complete": seen.complete,
            "cursor": seen.next.map(|mark| mark.text()),
            "entries": entries,
        })
    });
    Ok(Answer::json(&told.await?))
}

fn look(asked: &Asked<'_>) -> Result<Look, Failure> {
    let query = &asked.query;
    let owned = |name: &str| query.get(name).map(|value| value.map(str::to_owned));
    let parsed = |text: &str| Pattern::parse(text).map_err(|error| wrong("pattern", text, error));
    let sorts =
        [("size", Sort::Size), ("age", Sort::Age), ("hits", Sort::Hits), ("ttl", Sort::Ttl), ("key", Sort::Key)];
    let sort = query.word("sort", &sorts)?;
    let orders = match sort {
        Sort::Key => [("asc", false), ("desc", true)],
        _ => [("desc", true), ("asc", false)],
    };
    let descending = query.word("order", &orders)?;
    let mark = |text: &str| {
        Mark::parse(text, sort, descending)
            .ok_or_else(|| wrong("cursor", text, "that of the page before, with the same sort and order"))
    };
    Ok(Look {
        pattern: query.get("pattern")?.map(parsed).transpose()?,
        tenant: asked.tenant()?,
        policy: owned("policy")?,
        tag: owned("tag")?,
        sort,
        descending,
        limit: query.number("limit", 100, 1..=1000)?,
        after: query.get("cursor")?.map(mark).transpose()?,
    })
}

/// An entry, as a row. A key that is longer than so many signs is cut off.
pub(super) fn row_of(cache: &Cache, row: &Row, now: Timestamp, longest: Option<usize>) -> Value {
    let (entry, life) = (&row.entry, row.entry.lifespan());
    let mut key = cache.text_of(&row.key);
    // The text of a key is ASCII.
    if let Some(longest) = longest.filter(|longest| key.len() > *longest) {
        key.truncate(longest);
        key.push('…');
    }
    let (left, over) = (life.fresh_until.since(now), now.since(life.fresh_until));
    let ttl = if over.is_zero() { left.as_secs_f64() } else { -over.as_secs_f64() };
    let is_value = entry.value.is_some();
    let validators = [(ETAG, "etag"), (LAST_MODIFIED, "last-modified")];
    let validators: Vec<_> =
        validators.iter().filter(|(name, _)| entry.head.contains_key(name)).map(|(_, name)| *name).collect();
    json!({
        "id": row.id.text(),
        "key": key,
        "kind": if is_value { "value" } else { "response" },
        "policy": entry.usage.policy(),
        "tenant": tenant_of(&row.key),
        "status": (!is_value).then(|| entry.status.as_u16()),
        "size_bytes": entry.weight(),
        "age_seconds": life.age(now).as_secs_f64(),
        "ttl_seconds": ttl,
        "stale": !life.is_fresh(now),
        "hits": entry.usage.uses(),
        "tags": entry.tags.names().collect::<Vec<_>>(),
        "variants": row.variants,
        "validators": validators,
        "stored_at": seconds(entry.received().as_unix_millis()),
        "expires_at": seconds(life.fresh_until.as_unix_millis()),
    })
}

/// So much of a key is in a list; all of it is with the entry.
const LONGEST_KEY: usize = 2048;

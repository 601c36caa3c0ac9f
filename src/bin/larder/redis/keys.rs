//! `keys`, as far as the heads of what Redis holds tell.

use super::Shelf;
use crate::{
    args::{Keys, Order, Sort},
    clock::Stopwatch,
    fault::Fault,
    table::{Table, flexible, left, right, tail},
    units::{bytes, span},
};
use larder::{Selector, StoredEntry};
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap};

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) entries: Vec<StoredEntry>,
    pub(super) matching: u64,
    pub(super) unreadable: BTreeMap<&'static str, u64>,
    pub(super) complete: bool,
}

pub(super) async fn keys(shelf: &Shelf<'_>, what: &Keys) -> Result<(), Fault> {
    if what.sort == Some(Sort::Hits) {
        return Err(Fault::usage("--sort hits takes the application: redis does not count them"));
    }
    let log = shelf.log().await?;
    let selector = what.pattern.as_ref().map_or_else(Selector::everything, Selector::pattern);
    let limit = if what.limit == 0 { usize::MAX } else { what.limit };
    let mut found = Found::default();
    let is_meant = |entry: &StoredEntry| {
        let is = |wanted: &Option<String>, own: &Option<String>| wanted.is_none() || wanted == own;
        is(&shelf.global.version, &entry.version)
            && is(&what.tenant, &entry.tenant)
            && (is(&what.policy, &entry.policy) || is(&what.policy, &entry.value))
            && what.tag.as_ref().is_none_or(|tag| entry.tags.contains(tag))
    };
    walk(shelf, &selector, &mut found, |found, entry| {
        if is_meant(&entry) {
            found.matching += 1;
            found.entries.push(entry);
        }
        match what.sort {
            None => found.entries.len() < limit,
            Some(sort) => {
                // What cannot be among the first any more is let go.
                if found.entries.len() >= limit.saturating_mul(2).max(1000) {
                    arrange(&mut found.entries, sort, what.order, limit);
                }
                true
            }
        }
    })
    .await?;
    match what.sort {
        Some(sort) => arrange(&mut found.entries, sort, what.order, limit),
        None => found.entries.truncate(limit),
    }
    let out = shelf.out;
    if out.json {
        return out.json(&json!({
            "namespace": shelf.namespace,
            "matching": found.matching,
            "complete": found.complete,
            "unreadable": found.unreadable,
            "entries": found.entries.iter().map(told).collect::<Vec<_>>(),
        }));
    }
    shown(shelf, what, &found, log.is_some())
}

/// Looks at everything that is selected, for as long as there is time and `each` wants more.
pub(super) async fn walk(
    shelf: &Shelf<'_>,
    selector: &Selector,
    found: &mut Found,
    mut each: impl FnMut(&mut Found, StoredEntry) -> bool,
) -> Result<(), Fault> {
    let mut stored = shelf.cache.stored(selector).map_err(|error| Fault::failed(error.to_string()))?;
    let watch = Stopwatch::start();
    while watch.elapsed() < shelf.global.timeout {
        let Some(page) = stored.next().await.map_err(|error| shelf.fault(error))? else {
            found.complete = true;
            return Ok(());
        };
        for (reason, count) in page.unreadable {
            *found.unreadable.entry(reason).or_default() += count;
        }
        for entry in page.entries {
            if !each(found, entry) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn arrange(entries: &mut Vec<StoredEntry>, sort: Sort, order: Option<Order>, limit: usize) {
    let compare = |one: &StoredEntry, other: &StoredEntry| -> Ordering {
        match sort {
            Sort::Size | Sort::Hits => one.bytes.cmp(&other.bytes),
            Sort::Age => one.age.cmp(&other.age),
            Sort::Ttl => one.fresh_for.cmp(&other.fresh_for),
            Sort::Key => one.key.cmp(&other.key),
        }
    };
    let is_rising = order.map_or(sort == Sort::Key, |order| order == Order::Asc);
    entries.sort_by(|one, other| if is_rising { compare(one, other) } else { compare(other, one) });
    entries.truncate(limit);
}

fn told(entry: &StoredEntry) -> Value {
    json!({
        "place": entry.place.as_str(),
        "key": entry.key,
        "kind": if entry.value.is_some() { "value" } else { "response" },
        "version": entry.version,
        "policy": entry.policy,
        "value": entry.value,
        "tenant": entry.tenant,
        "status": entry.status.map(|status| status.as_u16()),
        "tags": entry.tags,
        "size_bytes": entry.bytes,
        "stored_bytes": entry.stored_bytes,
        "age_seconds": entry.age.as_secs_f64(),
        "ttl_seconds": entry.fresh_for.as_secs_f64(),
        "state": entry.state.as_str(),
    })
}

fn shown(shelf: &Shelf<'_>, what: &Keys, found: &Found, has_log: bool) -> Result<(), Fault> {
    let out = shelf.out;
    let ids = what.ids.then(|| left("IN REDIS"));
    let columns = [right("SIZE"), right("AGE"), right("TTL"), left("STATE"), flexible("TENANT"), flexible("POLICY")];
    let columns = columns.into_iter().chain([tail("KEY")]);
    let tags = out.is_verbose().then(|| flexible("TAGS"));
    let mut table = Table::new(ids.into_iter().chain(columns).chain(tags).collect::<Vec<_>>());
    for entry in &found.entries {
        let ttl = if entry.fresh_for.is_zero() { "-".to_owned() } else { span(entry.fresh_for.as_secs_f64().round()) };
        let row = [
            bytes(entry.bytes),
            span(entry.age.as_secs_f64().round()),
            ttl,
            entry.state.as_str().to_owned(),
            entry.tenant.clone().unwrap_or_else(|| "-".to_owned()),
            entry.policy.as_ref().or(entry.value.as_ref()).map_or_else(|| "-".to_owned(), String::clone),
            entry.key.clone(),
        ];
        let ids = what.ids.then(|| entry.place.as_str().to_owned());
        table.row(ids.into_iter().chain(row).chain(out.is_verbose().then(|| entry.tags.join(" "))));
    }
    if table.is_empty() {
        out.line(format!("namespace {}: nothing in redis is like that", crate::table::clean(&shelf.namespace)))?;
    } else {
        out.table(&table)?;
        let of = if found.complete { format!(" of {}", found.matching) } else { String::new() };
        out.note(&format!("namespace {}: {}{of} in redis", shelf.namespace, found.entries.len()));
    }
    for (reason, count) in &found.unreadable {
        out.note(&format!("{count} could not be read: {reason}"));
    }
    if !found.complete {
        let enough = what.sort.is_none() && what.limit > 0 && found.entries.len() >= what.limit;
        let why = if enough {
            "more may follow: --limit shows more"
        } else {
            "not all was looked at: --timeout looks longer"
        };
        out.note(why);
    }
    if !has_log {
        out.note(&shelf.no_log());
    }
    Ok(())
}

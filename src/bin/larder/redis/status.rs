//! `status`: Redis, the log, and what is held of a namespace.

use super::{Shelf, keys};
use crate::{
    clock,
    fault::Fault,
    out::Look,
    units::{bytes, entries, moment, span},
};
use larder::Selector;
use serde_json::json;
use std::collections::BTreeMap;

pub(super) async fn status(shelf: &Shelf<'_>) -> Result<(), Fault> {
    let store = shelf.redis.store().map_err(|error| Fault::usage(error.to_string()))?;
    let stats = store.stats().await.map_err(|error| shelf.fault(error))?;
    let log = shelf.log().await?;
    let mut found = keys::Found::default();
    let (mut versions, mut states) = (BTreeMap::<String, (u64, u64)>::new(), BTreeMap::<&str, u64>::new());
    keys::walk(shelf, &Selector::everything(), &mut found, |found, entry| {
        if shelf.global.version.is_none() || shelf.global.version == entry.version {
            found.matching += 1;
            let version = versions.entry(entry.version.unwrap_or_default()).or_default();
            *version = (version.0 + 1, version.1 + entry.stored_bytes);
            *states.entry(entry.state.as_str()).or_default() += 1;
        }
        true
    })
    .await?;
    let (out, total) = (shelf.out, versions.values().map(|(_, bytes)| bytes).sum::<u64>());
    if out.json {
        let versions: BTreeMap<_, _> = versions
            .iter()
            .map(|(name, (count, bytes))| (name, json!({ "entries": count, "stored_bytes": bytes })))
            .collect();
        return out.json(&json!({
            "redis": shelf.place,
            "up": true,
            "namespace": shelf.namespace,
            "log": { "last_record": log },
            "keys": stats.entries,
            "used_bytes": stats.bytes,
            "limit_bytes": stats.limit,
            "evicted": stats.evicted,
            "entries": found.matching,
            "stored_bytes": total,
            "complete": found.complete,
            "states": states,
            "versions": versions,
            "unreadable": found.unreadable,
        }));
    }
    let up = out.look(Look::Good, "up");
    out.line(format!("redis {}  {up}", crate::table::clean(&shelf.place)))?;
    let limit = stats
        .limit
        .filter(|limit| *limit > 0)
        .map_or_else(|| "no limit".to_owned(), |limit| format!("of {}", bytes(limit)));
    let mut pairs = vec![
        (
            "memory",
            format!(
                "{}, {limit}, {} evicted",
                stats.bytes.map_or_else(|| "?".to_owned(), bytes),
                stats.evicted.unwrap_or(0)
            ),
        ),
        (
            "keys",
            format!("{}, of all who use it", stats.entries.map_or_else(|| "?".to_owned(), |count| count.to_string())),
        ),
    ];
    pairs.push((
        "log",
        match log {
            Some(at) => format!("last record {} ago, {}", span((clock::unix_now() - at).max(0.0).round()), moment(at)),
            None => format!("none: no cache of namespace {} has been here, or it was lost", shelf.namespace),
        },
    ));
    let of = states.iter().map(|(state, count)| format!("{count} {state}")).collect::<Vec<_>>().join(", ");
    let of = if of.is_empty() { of } else { format!(": {of}") };
    let least = if found.complete { "" } else { "at least " };
    pairs.push(("namespace", format!("{}: {least}{}, {}{of}", shelf.namespace, entries(found.matching), bytes(total))));
    for (version, (count, size)) in &versions {
        let name = if version.is_empty() { "without a version" } else { version };
        pairs.push(("version", format!("{name}: {}, {}", entries(*count), bytes(*size))));
    }
    for (reason, count) in &found.unreadable {
        pairs.push(("unreadable", format!("{count}: {reason}")));
    }
    out.pairs(2, &pairs)
}

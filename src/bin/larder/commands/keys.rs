//! `keys` and `entry`.

use super::Desk;
use crate::{
    args::{Keys, Order, Sort},
    fault::Fault,
    json::{count, flag, list, number, text, text_or, texts},
    out::Out,
    table::{Table, flexible, left, right, tail},
    units::{bytes, moment, span, span_or_dash},
    url::Query,
};
use serde_json::{Value, json};
use std::collections::HashSet;

fn sort_name(sort: Sort) -> &'static str {
    match sort {
        Sort::Size => "size",
        Sort::Age => "age",
        Sort::Hits => "hits",
        Sort::Ttl => "ttl",
        Sort::Key => "key",
    }
}

pub(super) async fn keys(desk: &mut Desk<'_>, what: &Keys) -> Result<(), Fault> {
    let limit = if what.limit == 0 { usize::MAX } else { what.limit };
    let (mut entries, mut cursor, mut seen) = (Vec::new(), None::<String>, HashSet::new());
    // What is used or grows meanwhile may come again on a later page, or have been passed over.
    let mut moved = 0;
    let page = loop {
        let wanted = (limit - entries.len()).min(PAGE);
        let query = asked(desk.query(), what).with("limit", wanted.to_string()).maybe("cursor", cursor.as_ref());
        let mut page = desk.client.get("api/explore", query).await?;
        if let Some(Value::Array(found)) = page.get_mut("entries").map(Value::take) {
            let before = entries.len() + found.len();
            entries.extend(found.into_iter().filter(|entry| seen.insert(text(entry, "/id").to_owned())));
            moved += before - entries.len();
        }
        let next = Some(text(&page, "/cursor").to_owned()).filter(|next| !next.is_empty());
        // One that leads back to itself would never end.
        if next.is_none() || next == cursor || entries.len() >= limit {
            break page;
        }
        cursor = next;
    };
    entries.truncate(limit);
    if moved > 0 {
        desk.out.note(
            "some moved while pages were read, and others may be missing: with --sort age, ttl or key each keeps its place",
        );
    }
    if desk.out.json {
        let mut page = page;
        if let Some(place) = page.get_mut("entries") {
            *place = json!(entries);
        }
        return desk.out.json(&page);
    }
    shown(desk.out, what, &page, &entries)
}

fn asked(query: Query, what: &Keys) -> Query {
    let order = what.order.map(|order| match order {
        Order::Asc => "asc",
        Order::Desc => "desc",
    });
    // Keys begin with `a`, everything else with the most.
    let order = order.or(what.sort.map(|sort| if sort == Sort::Key { "asc" } else { "desc" }));
    query
        .maybe("pattern", what.pattern.as_ref())
        .maybe("tenant", what.tenant.as_ref())
        .maybe("policy", what.policy.as_ref())
        .maybe("tag", what.tag.as_ref())
        .maybe("sort", what.sort.map(sort_name))
        .maybe("order", order)
}

fn shown(out: &Out, what: &Keys, page: &Value, entries: &[Value]) -> Result<(), Fault> {
    let ids = what.ids.then(|| left("ID"));
    let columns = [right("SIZE"), right("AGE"), right("TTL"), right("HITS"), flexible("TENANT"), flexible("POLICY")];
    let columns = columns.into_iter().chain([tail("KEY")]);
    let tags = out.is_verbose().then(|| flexible("TAGS"));
    let mut table = Table::new(ids.into_iter().chain(columns).chain(tags).collect::<Vec<_>>());
    for entry in entries {
        let id = what.ids.then(|| text(entry, "/id").to_owned());
        let ttl = if flag(entry, "/stale") { "stale".to_owned() } else { seconds(entry, "/ttl_seconds") };
        let row = [
            bytes(count(entry, "/size_bytes")),
            seconds(entry, "/age_seconds"),
            ttl,
            count(entry, "/hits").to_string(),
            text_or(entry, "/tenant", "-").to_owned(),
            text_or(entry, "/policy", "-").to_owned(),
            text(entry, "/key").to_owned(),
        ];
        let tags = out.is_verbose().then(|| texts(entry, "/tags").join(" "));
        table.row(id.into_iter().chain(row).chain(tags));
    }
    let cache = text_or(page, "/cache", "?");
    let (matching, total) = (count(page, "/matching"), count(page, "/total"));
    if entries.is_empty() {
        return out.line(format!("cache {cache}: none of {total} entries in memory is like that"));
    }
    out.table(&table)?;
    let shown = entries.len() as u64;
    let more = if matching > shown { ": --limit 0 shows all" } else { "" };
    out.note(&format!("cache {cache}: {shown} of {matching} that match, of {total} in memory{more}"));
    if page.get("complete").is_some_and(|complete| complete == false) {
        out.note("not everything was looked at: narrow it down with a pattern, --policy, --tenant or --tag");
    }
    Ok(())
}

fn seconds(entry: &Value, path: &str) -> String {
    number(entry, path).map_or_else(|| "-".to_owned(), span)
}

pub(super) async fn entry(desk: &mut Desk<'_>, id: &str) -> Result<(), Fault> {
    let query = desk.query().with("id", id);
    let (entry, out) = (desk.client.get("api/entry", query).await?, desk.out);
    if out.json {
        return out.json(&entry);
    }
    let at = |path: &str| number(&entry, path).map_or_else(|| "-".to_owned(), moment);
    let words = |path: &str| match texts(&entry, path).join(", ") {
        words if words.is_empty() => "-".to_owned(),
        words => words,
    };
    out.pairs(
        0,
        &[
            ("key", text(&entry, "/key").to_owned()),
            ("kind", text_or(&entry, "/kind", "response").to_owned()),
            ("policy", text_or(&entry, "/policy", "-").to_owned()),
            ("tenant", text_or(&entry, "/tenant", "-").to_owned()),
            ("status", number(&entry, "/status").map_or_else(|| "-".to_owned(), |status| status.to_string())),
            ("tags", words("/tags")),
            ("size", bytes(count(&entry, "/size_bytes"))),
            ("body", bytes(count(&entry, "/body_bytes"))),
            ("hits", count(&entry, "/hits").to_string()),
            ("stored at", at("/stored_at")),
            ("fresh until", at("/expires_at")),
            ("age", seconds(&entry, "/age_seconds")),
            ("ttl", if flag(&entry, "/stale") { "stale".to_owned() } else { seconds(&entry, "/ttl_seconds") }),
            ("stale while revalidate", seconds(&entry, "/stale_while_revalidate_seconds")),
            ("stale if error", seconds(&entry, "/stale_if_error_seconds")),
            ("made in", span_or_dash(number(&entry, "/fill_seconds"))),
            ("varies by", words("/nominated")),
            ("validators", words("/validators")),
        ],
    )?;
    out.line("")?;
    for field in list(&entry, "/head") {
        out.line(crate::table::clean(&format!("{}: {}", text(field, "/0"), text(field, "/1"))))?;
    }
    match entry.get("body").and_then(Value::as_str) {
        Some(body) => out.line("").and_then(|()| out.line(crate::table::clean(body).replace("\\u{9}", "\t"))),
        None => Ok(()),
    }
}

/// So many are asked for at once: as many as there may be, so that little can change between pages.
const PAGE: usize = 1000;

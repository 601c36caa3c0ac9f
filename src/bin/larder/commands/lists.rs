//! `list-policies`, `list-dependencies`, `list-patterns` and `list-categories`.

use super::{Desk, figures};
use crate::{
    fault::Fault,
    json::{count, flag, list, number, text, text_or, texts},
    out::{Look, Out},
    table::{Table, clean, flexible, left, right},
    units::bytes,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(super) async fn policies(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let answer = desk.of_cache("api/policies").await?;
    let out = desk.out;
    if out.json {
        return out.json(&answer);
    }
    for (number, cache) in list(&answer, "/caches").iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        title(out, text(cache, "/name"))?;
        for policy in list(cache, "/policies") {
            let route = match text(policy, "/route") {
                "" => String::new(),
                route => format!("  {route}"),
            };
            let kind = text_or(policy, "/kind", "response");
            out.paragraph(2, &format!("{}  ({kind}){route}", text(policy, "/name")))?;
            out.pairs(4, &settings(out, policy))?;
        }
    }
    Ok(())
}

/// What differs from the defaults; all there is where more is to be shown.
fn settings<'a>(out: &Out, policy: &'a Value) -> Vec<(&'a str, String)> {
    let shown = |setting: &&Value| out.is_verbose() || !flag(setting, "/default");
    let mut pairs: Vec<(&str, String)> = list(policy, "/settings")
        .iter()
        .filter(shown)
        .map(|setting| (text(setting, "/name"), text(setting, "/value").to_owned()))
        .collect();
    for (title, path) in [("tags", "/tags"), ("depends on", "/depends_on"), ("warning", "/warnings")] {
        let words = texts(policy, path);
        let known = pairs.iter().any(|(name, _)| name.replace('_', " ") == title);
        if !words.is_empty() && !known {
            pairs.push((title, words.join(", ")));
        }
    }
    if let Some(ratio) = number(policy, "/objective/lookup_hit_ratio") {
        pairs.push(("objective", format!("lookup hit ratio {}", crate::units::percent(Some(ratio)))));
    }
    pairs
}

pub(super) async fn dependencies(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let answer = desk.of_cache("api/dependencies").await?;
    let out = desk.out;
    if out.json {
        return out.json(&answer);
    }
    title(out, text(&answer, "/cache"))?;
    let shown: BTreeMap<&str, String> = list(&answer, "/nodes")
        .iter()
        .map(|node| {
            (text(node, "/id"), format!("{} {}", text(node, "/kind"), text_or(node, "/label", text(node, "/id"))))
        })
        .collect();
    let name = |id: &str| shown.get(id).cloned().unwrap_or_else(|| id.to_owned());
    let mut table = Table::new([flexible("A CHANGE OF"), flexible("REACHES"), flexible("BY")]).indented(2);
    for edge in list(&answer, "/edges") {
        table.row([name(text(edge, "/from")), name(text(edge, "/to")), text(edge, "/label").to_owned()]);
    }
    match table.is_empty() {
        true => out.line("  nothing depends on anything"),
        false => out.table(&table),
    }
}

pub(super) async fn patterns(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let (caches, out) = (figures::patterns(desk).await?, desk.out);
    if out.json {
        let all = caches.iter();
        let all = all.map(|(name, patterns, tags)| json!({ "name": name, "patterns": patterns, "tags": tags }));
        return out.json(&json!({ "caches": all.collect::<Vec<_>>() }));
    }
    for (number, (name, patterns, tags)) in caches.iter().enumerate() {
        if number > 0 {
            out.line("")?;
        }
        title(out, name)?;
        for (heading, rows) in [("PATTERN", patterns), ("TAG", tags)] {
            let mut table = Table::new([right("ENTRIES"), right("SIZE"), flexible(heading)]).indented(2);
            for row in rows {
                let sizes = [count(row, "/entries").to_string(), bytes(count(row, "/entry_bytes"))];
                table.row(sizes.into_iter().chain([text(row, "/name").to_owned()]));
            }
            if !table.is_empty() {
                out.table(&table)?;
            }
        }
        if patterns.is_empty() && tags.is_empty() {
            out.line("  memory holds nothing")?;
        }
    }
    Ok(())
}

pub(super) async fn categories(desk: &mut Desk<'_>) -> Result<(), Fault> {
    let (caches, out) = (desk.client.caches(desk.global).await?, desk.out);
    let of = |cache: &Value| list(cache, "/warmer/categories").to_vec();
    if out.json {
        let all = caches.iter().map(|cache| json!({ "name": text(cache, "/name"), "categories": of(cache) }));
        return out.json(&json!({ "caches": all.collect::<Vec<_>>() }));
    }
    let mut table = Table::new([left("CACHE"), flexible("CATEGORY"), right("PRIORITY"), right("TARGETS")]);
    for cache in &caches {
        for category in of(cache) {
            let number =
                |path: &str| number(&category, path).map_or_else(|| "-".to_owned(), |number| number.to_string());
            let names = [text(cache, "/name").to_owned(), text(&category, "/name").to_owned()];
            table.row(names.into_iter().chain([number("/priority"), number("/targets")]));
        }
    }
    match table.is_empty() {
        true => out.line("nothing can be warmed: the application has given the admin API no warmer"),
        false => out.table(&table),
    }
}

fn title(out: &Out, name: &str) -> Result<(), Fault> {
    out.line(out.look(Look::Title, &format!("cache {}", clean(name))))
}

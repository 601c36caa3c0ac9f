//! `invalidate` and `clear`.

use super::Desk;
use crate::{
    args::Invalidate,
    ask,
    fault::{Fault, Kind},
    json::{count, flag, text, text_or},
    out::Look,
    units::{bytes, entries},
};
use serde_json::{Map, Value, json};

pub(super) async fn invalidate(desk: &mut Desk<'_>, what: &Invalidate) -> Result<(), Fault> {
    let selector = selector(what)?;
    let caches = names(desk).await?;
    if what.all && !what.dry_run && !what.force {
        let question = format!("invalidate everything in {}?", told(&caches));
        ask::confirm(desk.out, &question, "--all")?;
    }
    let (mut results, mut faults) = (Vec::new(), Vec::new());
    for cache in &caches {
        match one(desk, cache, &selector, what).await {
            Ok(mut result) => {
                if let Some(result) = result.as_object_mut() {
                    result.insert("cache".to_owned(), json!(cache));
                }
                if !what.dry_run && !flag(&result, "/confirmed") {
                    let why = text_or(&result, "/message", "the shared log could not be written");
                    faults.push(Fault::new(
                        Kind::Unconfirmed,
                        format!("cache {cache}: invalidated where the application runs, and not confirmed: {why}"),
                    ));
                }
                results.push(result);
            }
            Err(fault) if caches.len() > 1 => faults.push(fault.of_cache(cache)),
            Err(fault) => faults.push(fault),
        }
    }
    if desk.out.json {
        desk.out.json(&json!({ "caches": results }))?;
    } else {
        results.iter().try_for_each(|result| desk.out.line(said(desk, result)))?;
    }
    // What was refused is worse than what could not be confirmed.
    faults.sort_by_key(|fault| fault.kind == Kind::Unconfirmed);
    Fault::of_all(faults)
}

async fn one(desk: &mut Desk<'_>, cache: &str, selector: &Value, what: &Invalidate) -> Result<Value, Fault> {
    let body = json!({ "cache": cache, "selector": selector, "soft": what.soft, "preview": what.dry_run });
    Ok(desk.client.post("api/manage/invalidate", &body).await?.1)
}

/// Makes sure that one resource is not in any cache.
pub(super) async fn resource(desk: &mut Desk<'_>, cache: &str, uri: &str) -> Result<(), Fault> {
    let body = json!({ "cache": cache, "selector": { "resource": uri }, "soft": false, "preview": false });
    desk.client.post("api/manage/invalidate", &body).await.map(drop)
}

/// The caches that are meant: the one that was named, or all of them.
pub(super) async fn names(desk: &mut Desk<'_>) -> Result<Vec<String>, Fault> {
    if let Some(name) = &desk.global.cache {
        return Ok(vec![name.clone()]);
    }
    let caches = desk.client.caches(desk.global).await?;
    Ok(caches.iter().map(|cache| text(cache, "/name").to_owned()).collect())
}

fn told(caches: &[String]) -> String {
    match caches {
        [one] => format!("cache {one}"),
        several => format!("caches {}", several.join(", ")),
    }
}

fn said(desk: &Desk<'_>, result: &Value) -> String {
    let cache = crate::table::clean(text(result, "/cache"));
    if flag(result, "/preview") {
        return format!("cache {cache}: {}", preview_text(result));
    }
    let hit =
        result.get("entries").and_then(Value::as_u64).map_or_else(String::new, |hit| format!(", {} hit", entries(hit)));
    match flag(result, "/confirmed") {
        true => format!("cache {cache}: {}{hit}", desk.out.look(Look::Good, "invalidated")),
        false => format!("cache {cache}: {}{hit}", desk.out.look(Look::Bad, "invalidated, not confirmed")),
    }
}

/// What a preview says.
fn preview_text(preview: &Value) -> String {
    let (memory, size) = (count(preview, "/entries"), count(preview, "/bytes"));
    let mut said = format!("would invalidate {} ({}) in memory", entries(memory), bytes(size));
    let (stored, size) = (count(preview, "/stored_entries"), count(preview, "/stored_bytes"));
    if stored > 0 {
        said.push_str(&format!(", {} ({}) in stores", entries(stored), bytes(size)));
    }
    if preview.get("complete").is_some_and(|complete| complete == false) {
        said.push_str("; at least: not all of the stores was looked at");
    }
    said
}

/// What nobody said.
pub(crate) fn nothing_selected() -> Fault {
    Fault::usage(
        "what is to be invalidated is missing: one of --tag, --resource, --pattern, --policy, --user, --tenant, \
         --changed, --all",
    )
}

/// The selector, as the API takes it.
fn selector(what: &Invalidate) -> Result<Value, Fault> {
    let mut selector = Map::new();
    let mut set = |name: &str, value: Value| selector.insert(name.to_owned(), value);
    match &what.tag[..] {
        [] => {}
        [tag] => drop(set("tag", json!(tag))),
        tags => drop(set("tags", json!(tags))),
    }
    let words = [("resource", &what.resource), ("pattern", &what.pattern), ("policy", &what.policy)];
    let more = [("user", &what.user), ("changed", &what.changed), ("id", &what.id), ("tenant", &what.tenant)];
    for (name, word) in words.into_iter().chain(more) {
        if let Some(word) = word {
            set(name, json!(word));
        }
    }
    if what.all {
        set("everything", json!(true));
    }
    if selector.is_empty() { Err(nothing_selected()) } else { Ok(selector.into()) }
}

pub(super) async fn clear(desk: &mut Desk<'_>, force: bool) -> Result<(), Fault> {
    let names = names(desk).await?;
    let [cache] = &names[..] else {
        return Err(Fault::usage(format!(
            "there are several caches: say which to clear, --cache {}",
            names.join(" or --cache ")
        )));
    };
    if !force {
        let question = format!("this empties cache {cache}, and what all its processes share; type its name to do it");
        ask::type_name(desk.out, &question, cache, "clear")?;
    }
    let body = json!({ "cache": cache, "confirm": cache });
    let (_, answer) = desk.client.post("api/manage/clear", &body).await?;
    if desk.out.json {
        return desk.out.json(&answer);
    }
    desk.out.line(format!(
        "cache {}: cleared, {} dropped",
        crate::table::clean(cache),
        entries(count(&answer, "/entries"))
    ))
}

//! `warm`.

use super::Desk;
use crate::{
    args::Warm,
    fault::{Fault, Kind},
    json::{count, list, text, text_or, texts},
    out::Look,
    progress::Progress,
    table::{Table, flexible, left, right},
    units::plural,
    url::Query,
};
use serde_json::{Value, json};
use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

pub(super) async fn warm(desk: &mut Desk<'_>, what: &Warm) -> Result<(), Fault> {
    let (mut results, mut faults) = (Vec::new(), Vec::new());
    if let Some(job) = &what.job {
        let cache = desk.global.cache.clone().unwrap_or_default();
        results.push(wait(desk, &cache, job).await?);
    } else {
        let targets = targets(desk, what).await?;
        let several = targets.len() > 1;
        for (cache, categories) in targets {
            match one(desk, what, &cache, &categories).await {
                Ok(answer) => results.push(answer),
                Err(fault) => {
                    let enough = fault.kind == Kind::Interrupted;
                    faults.push(if several { fault.of_cache(&cache) } else { fault });
                    if enough {
                        break;
                    }
                }
            }
        }
    }
    if desk.out.json {
        desk.out.json(&json!({ "caches": results }))?;
    }
    for result in &results {
        if !desk.out.json {
            shown(desk, what, result)?;
        }
        if text(result, "/state") == "failed" || count(result, "/failed") > 0 {
            let (failed, of) = (count(result, "/failed"), count(result, "/of"));
            let fault = Fault::failed(format!("warming failed: {failed} of {of}"));
            faults.push(if results.len() > 1 { fault.of_cache(text(result, "/cache")) } else { fault });
        }
    }
    Fault::of_all(faults)
}

/// Warms one cache, and waits for it if that is wanted.
async fn one(desk: &mut Desk<'_>, what: &Warm, cache: &str, categories: &[String]) -> Result<Value, Fault> {
    let body = json!({
        "cache": cache,
        "categories": categories,
        "tenant": what.tenant,
        "force": what.force,
        "dry_run": what.dry_run,
    });
    let (_, mut answer) = desk.client.post("api/manage/warm", &body).await?;
    if !what.dry_run && !what.no_wait {
        answer = wait(desk, cache, text(&answer, "/job")).await?;
    }
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("cache".to_owned(), json!(cache));
    }
    Ok(answer)
}

/// Which categories of which caches are to be warmed.
async fn targets(desk: &mut Desk<'_>, what: &Warm) -> Result<Vec<(String, Vec<String>)>, Fault> {
    let caches = desk.client.caches(desk.global).await?;
    let mut known: Vec<(String, Vec<String>)> = Vec::new();
    for cache in caches.iter().filter(|cache| cache.get("warmer").is_some_and(|warmer| !warmer.is_null())) {
        let names = list(cache, "/warmer/categories").iter().map(|category| text(category, "/name").to_owned());
        let names = names.collect();
        // One warmer serves all caches of the application: it is not to run once for each.
        if !known.iter().any(|(_, other)| *other == names) {
            known.push((text(cache, "/name").to_owned(), names));
        }
    }
    if known.is_empty() {
        return Err(Fault::failed("nothing can be warmed: the application has given the admin API no warmer"));
    }
    let wanted: Vec<&String> = what.category.iter().filter(|name| *name != "all").collect();
    for name in &wanted {
        if !known.iter().any(|(_, names)| names.contains(name)) {
            let all: Vec<&str> = known.iter().flat_map(|(_, names)| names).map(String::as_str).collect();
            return Err(Fault::failed(format!("no category is named `{name}`: there is {}", all.join(", "))));
        }
    }
    if wanted.len() == what.category.len() && !wanted.is_empty() {
        for (_, names) in &mut known {
            names.retain(|name| wanted.contains(&name));
        }
        known.retain(|(_, names)| !names.is_empty());
    }
    Ok(known)
}

/// Waits until it is done, or somebody has enough of that.
async fn wait(desk: &mut Desk<'_>, cache: &str, job: &str) -> Result<Value, Fault> {
    let progress = Progress::new(desk.out);
    let (mut pause, mut interrupt) = (FIRST_PAUSE, Interrupt::new());
    loop {
        let query = Query::default().maybe("cache", Some(cache).filter(|cache| !cache.is_empty())).with("job", job);
        let asked = interrupt.unless(desk.client.get("api/manage/warm", query)).await;
        let Some(asked) = asked else { return Err(left_alone(job)) };
        let state = asked.map_err(|fault| Fault {
            text: format!("{fault}; the warming may go on: `larder warm --job {job}` waits for it"),
            ..fault
        })?;
        progress.show(count(&state, "/done"), count(&state, "/of"), text(&state, "/category"));
        if text(&state, "/state") != "running" {
            return Ok(state);
        }
        if interrupt.unless(tokio::time::sleep(pause)).await.is_none() {
            return Err(left_alone(job));
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn left_alone(job: &str) -> Fault {
    let text = format!("not waiting any more; the application goes on warming: `larder warm --job {job}` waits for it");
    Fault::new(Kind::Interrupted, text)
}

/// Ctrl-C, listened to from first to last: one that comes at the same time as an answer is not lost.
struct Interrupt(Option<Pin<Box<dyn Future<Output = io::Result<()>>>>>);

impl Interrupt {
    fn new() -> Self {
        Self(Some(Box::pin(tokio::signal::ctrl_c())))
    }

    /// What comes of it, unless Ctrl-C comes first.
    async fn unless<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Some(interrupt) = &mut self.0
                && let Poll::Ready(heard) = interrupt.as_mut().poll(cx)
            {
                self.0 = None;
                // Without signals there is only the future.
                if heard.is_ok() {
                    return Poll::Ready(None);
                }
            }
            future.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

fn shown(desk: &Desk<'_>, what: &Warm, result: &Value) -> Result<(), Fault> {
    let out = desk.out;
    let cache = match text(result, "/cache") {
        "" => String::new(),
        cache => format!("cache {}: ", crate::table::clean(cache)),
    };
    if what.dry_run {
        let mut table = Table::new([flexible("CATEGORY"), right("REQUESTS")]).indented(2);
        for one in list(result, "/would") {
            table.row([text(one, "/category").to_owned(), count(one, "/requests").to_string()]);
        }
        out.line(format!("{cache}would ask {}", plural(count(result, "/of"), "time", "times")))?;
        return if table.is_empty() { Ok(()) } else { out.table(&table) };
    }
    if what.no_wait {
        return out.line(format!("{cache}warming has begun, as job {}", text(result, "/job")));
    }
    let [warmed, skipped, failed, of] = ["/warmed", "/skipped", "/failed", "/of"].map(|path| count(result, path));
    let is_good = failed == 0 && text_or(result, "/state", "done") == "done";
    let word = if is_good { out.look(Look::Good, "warmed") } else { out.look(Look::Bad, "warmed") };
    out.line(format!("{cache}{word} {warmed}, skipped {skipped}, failed {failed}, of {of}"))?;
    let mut table = Table::new([left("FAILED")]).indented(2);
    texts(result, "/failures").into_iter().for_each(|failure| table.row([failure.to_owned()]));
    if table.is_empty() { Ok(()) } else { out.table(&table) }
}

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

//! `invalidate`, by a record in the log that all processes of the application read.

use super::Shelf;
use crate::{
    args::{Global, Invalidate},
    ask,
    commands::nothing_selected,
    fault::{Fault, Kind},
    out::Look,
    units::{bytes, entries},
};
use larder::{InvalidateError, Selector};
use serde_json::json;
use std::{error::Error, time::Duration};

/// What is to be invalidated.
pub(super) enum Asked {
    Selected(Selector),
    Changed(String),
}

/// What is asked for, if that can be done without the application.
pub(super) fn asked(global: &Global, what: &Invalidate) -> Result<Asked, Fault> {
    if global.version.is_some() {
        return Err(Fault::usage("--version does not go with `invalidate`: the log is that of all versions"));
    }
    if let Some(name) = &what.changed {
        let takes = |option: &str| {
            Fault::usage(format!(
                "--changed with {option} takes the application, which knows what depends on what: --url"
            ))
        };
        return match (&what.id, what.soft, what.dry_run) {
            (Some(_), _, _) => Err(takes("--id")),
            (_, true, _) => Err(takes("--soft")),
            (_, _, true) => Err(takes("--dry-run")),
            _ => Ok(Asked::Changed(name.clone())),
        };
    }
    let selector = match (&what.tag[..], &what.resource, &what.pattern, &what.policy, &what.user) {
        ([tag], ..) => Selector::tag(tag),
        ([_, ..], ..) => Selector::all_of(&what.tag),
        (_, Some(uri), ..) => Selector::resource(uri),
        (_, _, Some(pattern), ..) => Selector::pattern(pattern),
        (_, _, _, Some(policy), _) => Selector::policy(policy),
        (.., Some(user)) => Selector::user(user),
        _ if what.all => Selector::everything(),
        _ => {
            let tenant = what.tenant.as_ref().ok_or_else(nothing_selected)?;
            return Ok(Asked::Selected(softened(Selector::tenant(tenant), what.soft)));
        }
    };
    let selector = match &what.tenant {
        Some(tenant) => selector.within(tenant),
        None => selector,
    };
    Ok(Asked::Selected(softened(selector, what.soft)))
}

fn softened(selector: Selector, soft: bool) -> Selector {
    if soft { selector.soft() } else { selector }
}

pub(super) async fn invalidate(shelf: &Shelf<'_>, what: &Invalidate, asked: Asked) -> Result<(), Fault> {
    let (out, namespace) = (shelf.out, &shelf.namespace);
    if what.all && !what.dry_run && !what.force {
        ask::confirm(out, &format!("invalidate everything of namespace {namespace}?"), "--all")?;
    }
    if shelf.log().await?.is_none() {
        if what.dry_run {
            return Err(Fault::failed(shelf.no_log()));
        }
        if !what.force {
            return Err(Fault::failed(format!("{}. nothing was done: --force would begin one", shelf.no_log())));
        }
        out.note(&format!("{}: one is begun", shelf.no_log()));
    }
    if let (true, Asked::Selected(selector)) = (what.dry_run, &asked) {
        return preview(shelf, selector).await;
    }
    let done = match asked {
        Asked::Selected(selector) => shelf.cache.invalidate(selector).await,
        Asked::Changed(name) => {
            let changing = shelf.cache.changed(name);
            match &what.tenant {
                Some(tenant) => changing.tenant(tenant).await,
                None => changing.await,
            }
        }
    };
    // What has come into the log is there; this only ends the connections.
    shelf.cache.shutdown(Duration::from_secs(1)).await;
    let fault = done.err().map(|error| refused(&error));
    if let Some(fault) = fault {
        return Err(fault);
    }
    if out.json {
        return out.json(&json!({ "caches": [{ "cache": namespace, "invalidated": true, "confirmed": true }] }));
    }
    let done = out.look(Look::Good, "invalidated");
    out.line(format!("namespace {}: {done}", crate::table::clean(namespace)))
}

async fn preview(shelf: &Shelf<'_>, selector: &Selector) -> Result<(), Fault> {
    let preview = shelf.cache.preview(selector).await.map_err(|error| refused(&error))?;
    let told = json!({
        "cache": shelf.namespace,
        "preview": true,
        "entries": preview.entries,
        "bytes": preview.bytes,
        "stored_entries": preview.stored_entries,
        "stored_bytes": preview.stored_bytes,
        "complete": preview.complete,
    });
    if shelf.out.json {
        return shelf.out.json(&json!({ "caches": [told] }));
    }
    let (hit, least) = (entries(preview.stored_entries), if preview.complete { "" } else { "at least " });
    shelf.out.line(format!(
        "namespace {}: would invalidate {least}{hit} ({}) in redis; what processes have in memory is not seen here",
        crate::table::clean(&shelf.namespace),
        bytes(preview.stored_bytes),
    ))
}

fn refused(error: &InvalidateError) -> Fault {
    let kind = if error.is_unconfirmed() { Kind::Unconfirmed } else { Kind::Failed };
    let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
    Fault::new(kind, format!("{error}{why}"))
}

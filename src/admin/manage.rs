//! Actions: invalidating and clearing, and what all actions have in common.

use super::{
    access::Access,
    answer::{Answer, Failure, Told},
    audit::Action,
    intent,
    route::Api,
    selector::Wanted,
    service::{Admin, concerns_all},
};
use crate::{Cache, InvalidateError};
use http::{Method, request::Parts};
use http_body::Body;
use serde_json::{Map, Value, json};
use std::{error::Error, mem};

/// An action under way, and what the trail will say of it.
#[derive(Debug)]
pub(super) struct Acting {
    pub(super) admin: Admin,
    pub(super) access: Access,
    pub(super) note: Action,
    /// What changes nothing is not recorded.
    pub(super) only_asks: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Asked,
    Begun,
    /// It is in the trail, if it is to be.
    Over,
}

/// Does what a POST wants.
pub(super) async fn manage<B: Body + Send + 'static>(
    admin: Admin,
    access: Access,
    api: Api,
    parts: &Parts,
    body: B,
) -> Told {
    let action = match api {
        Api::Clear => "clear",
        Api::Invalidate => "invalidate",
        Api::Warm => "warm",
        _ => return Err(Failure::method(&Method::POST, api.allows())),
    };
    let note = Action { action, by: access.name().to_owned(), tenant: access.tenant.clone(), ..Action::default() };
    let mut acting = Acting { admin, access, note, only_asks: false, stage: Stage::Asked };
    let asked = acting.asked(parts, body).await;
    let body = match asked {
        Ok(body) => body,
        Err(failure) => return acting.ended(Err(failure)),
    };
    // Once begun it goes on to its end, and into the trail, whoever goes away meanwhile.
    acting.stage = Stage::Begun;
    let work = async move {
        let told = match api {
            Api::Clear => acting.clear(&body).await,
            Api::Invalidate => acting.invalidate(&body).await,
            _ => acting.warm(&body).await,
        };
        acting.ended(told)
    };
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn(work).await.unwrap_or_else(|_| Err(Failure::broken())),
        Err(_) => work.await,
    }
}

impl Acting {
    /// What is wanted, if it may be.
    async fn asked<B: Body>(&mut self, parts: &Parts, body: B) -> Result<Map<String, Value>, Failure> {
        if !self.access.manages {
            return Err(Failure::forbidden("access is read-only"));
        }
        intent::check(parts)?;
        let content = intent::content(body).await?;
        match serde_json::from_slice(&content) {
            Ok(Value::Object(body)) => Ok(body),
            Ok(_) => Err(Failure::bad("the content is no JSON object")),
            Err(error) => Err(Failure::bad(format!("the content is no JSON: {error}"))),
        }
    }

    /// It is over, and recorded.
    fn ended(mut self, told: Told) -> Told {
        self.stage = Stage::Over;
        match &told {
            Err(failure) if failure.is_broken() => FAILED.clone_into(&mut self.note.outcome),
            Err(failure) => self.note.outcome = format!("refused: {}", failure.text),
            Ok(_) if self.only_asks => return told,
            Ok(_) if self.note.outcome.is_empty() => "ok".clone_into(&mut self.note.outcome),
            Ok(_) => {}
        }
        self.admin.record(mem::take(&mut self.note));
        told
    }

    /// The cache that is named, or the first one.
    pub(super) fn cache(&mut self, body: &Map<String, Value>) -> Result<(String, Cache), Failure> {
        let (name, cache) = self.admin.caches.one(text(body, "cache")?)?;
        name.clone_into(&mut self.note.cache);
        Ok((name.to_owned(), cache.clone()))
    }

    async fn invalidate(&mut self, body: &Map<String, Value>) -> Told {
        only_members(body, &["cache", "selector", "soft", "preview"])?;
        let (name, cache) = self.cache(body)?;
        let (soft, preview) = (flag(body, "soft")?, flag(body, "preview")?);
        self.only_asks = preview;
        let wanted = Wanted::parse(body.get("selector").unwrap_or(&Value::Null), soft, &self.access)?;
        self.note.what.clone_from(&wanted.text);
        let selectors = wanted.selectors(&cache).await;
        let place = self.admin.heavy.clone().acquire_owned();
        let impossible = |error: InvalidateError| Failure::impossible(error.to_string());
        if preview {
            let place = place.await;
            let found = cache.preview_all(&selectors).await.map_err(impossible)?;
            drop(place);
            return Ok(Answer::json(&json!({
                "cache": name,
                "preview": true,
                "entries": found.entries,
                "bytes": found.bytes,
                "stored_entries": found.stored_entries,
                "stored_bytes": found.stored_bytes,
                "complete": found.complete,
            })));
        }
        let (entries, done) = cache.invalidate_all(&selectors, place).await.map_err(impossible)?;
        self.note.hits = Some(entries);
        self.confirmed(done, json!({ "cache": name, "invalidated": true, "entries": entries }))
    }

    async fn clear(&mut self, body: &Map<String, Value>) -> Told {
        only_members(body, &["cache", "confirm"])?;
        let (name, cache) = self.cache(body)?;
        concerns_all(&self.access, "what is cleared")?;
        if text(body, "confirm")? != Some(name.as_str()) {
            return Err(Failure::impossible(format!("confirm: to clear this cache it has to be its name, `{name}`")));
        }
        let entries = cache.stats().resources;
        // First, so that what is being made is not stored afterwards.
        let done = cache.bump_version().await.map(drop);
        let emptied = cache.clone();
        let is_emptied = crate::timer::aside(move || emptied.clear()).await.is_some();
        if !is_emptied {
            return Err(Failure::broken());
        }
        self.note.hits = Some(entries);
        self.confirmed(done, json!({ "cache": name, "cleared": true, "entries": entries }))
    }

    /// It was done here; elsewhere too, or that is not known.
    fn confirmed(&mut self, done: Result<(), InvalidateError>, mut told: Value) -> Told {
        match done {
            Ok(()) => {
                told["confirmed"] = json!(true);
                Ok(Answer::json(&told))
            }
            Err(error) if error.is_unconfirmed() => {
                "unconfirmed".clone_into(&mut self.note.outcome);
                told["confirmed"] = json!(false);
                let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                told["message"] = json!(format!("{error}{why}"));
                Ok(Answer::accepted(&told))
            }
            Err(error) => Err(Failure::impossible(error.to_string())),
        }
    }
}

impl Drop for Acting {
    /// It did not come to its end: something has panicked, or the runtime has gone.
    fn drop(&mut self) {
        if self.stage == Stage::Begun && !self.only_asks {
            FAILED.clone_into(&mut self.note.outcome);
            self.admin.record(mem::take(&mut self.note));
        }
    }
}

impl Admin {
    /// Puts an action into the trail, with the time.
    pub(super) fn record(&self, note: Action) {
        let now = self.caches.iter().map(|(_, cache)| cache.now().as_unix_millis()).max();
        self.trail.record(Action { at_millis: now.unwrap_or(0), ..note }, self.log_details);
    }
}

/// The outcome of what did not come to its end.
pub(super) const FAILED: &str = "failed";

/// A name that is misspelt must not widen what is done.
pub(super) fn only_members(body: &Map<String, Value>, members: &[&str]) -> Result<(), Failure> {
    match body.keys().find(|name| !members.contains(&name.as_str())) {
        None => Ok(()),
        Some(other) => {
            let other = super::query::short(other);
            Err(Failure::bad(format!("`{other}` is not known here: possible are {}", members.join(", "))))
        }
    }
}

pub(super) fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Failure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(Failure::bad(format!("{name}: a text is possible, not {}", kind(other)))),
    }
}

pub(super) fn flag(body: &Map<String, Value>, name: &str) -> Result<bool, Failure> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(Failure::bad(format!("{name}: true or false is possible, not {}", kind(other)))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

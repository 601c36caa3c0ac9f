//! The admin API of an application.

use crate::{
    args::Global,
    fault::{Fault, Kind},
    json,
    out::Out,
    units,
    url::{Place, Query},
    wire::{Answer, Wire},
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use std::{
    env, fs,
    io::{self, Read},
    path::Path,
};

/// The admin API of an application.
pub(crate) struct Client<'a> {
    wire: Wire,
    token: Option<HeaderValue>,
    out: &'a Out,
}

impl<'a> Client<'a> {
    pub(crate) fn new(global: &Global, out: &'a Out) -> Result<Self, Fault> {
        let place = Place::parse("--url", &global.url)?;
        let token = token(global)?;
        if let Some(token) = &token {
            out.hide(token);
        }
        let token = token.map(|token| bearer(&token)).transpose()?;
        Ok(Self { wire: Wire::new(place, global.ca.as_deref(), global.timeout), token, out })
    }

    /// What a path answers.
    pub(crate) async fn get(&mut self, path: &str, query: Query) -> Result<Value, Fault> {
        let answer = self.ask(Method::GET, &format!("{path}{}", query.as_str()), None).await?;
        self.value(&answer)
    }

    /// What a path answers; nothing where there is nothing yet.
    pub(crate) async fn find(&mut self, path: &str, query: Query) -> Result<Option<Value>, Fault> {
        let answer = self.ask(Method::GET, &format!("{path}{}", query.as_str()), None).await?;
        if answer.status == StatusCode::NOT_FOUND && says(&answer).is_some() {
            return Ok(None);
        }
        self.value(&answer).map(Some)
    }

    /// Has something done. The status tells whether it is done already.
    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Result<(StatusCode, Value), Fault> {
        let answer = self.ask(Method::POST, path, Some(body)).await?;
        Ok((answer.status, self.value(&answer)?))
    }

    /// What a path answers, as it is.
    pub(crate) async fn text(&mut self, path: &str, query: Query) -> Result<String, Fault> {
        let answer = self.ask(Method::GET, &format!("{path}{}", query.as_str()), None).await?;
        if !answer.status.is_success() {
            return Err(self.refused(&answer));
        }
        if is_html(&answer) {
            return Err(self.no_api("it answers with a page"));
        }
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// The answer of the public health check, with its status: one that is unhealthy is no fault of the question.
    pub(crate) async fn health(&mut self, strict: bool) -> Result<Value, Fault> {
        let path = if strict { "health?strict" } else { "health" };
        let answer = self.ask(Method::GET, path, None).await?;
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(value) if !json::text(&value, "/status").is_empty() => Ok(value),
            _ => self.value(&answer),
        }
    }

    /// The caches that the application has, as `api/status` tells of them; only the one that was named, if one was.
    pub(crate) async fn caches(&mut self, global: &Global) -> Result<Vec<Value>, Fault> {
        let status = self.get("api/status", Query::default()).await?;
        named(json::list(&status, "/caches").to_vec(), global.cache.as_deref())
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Fault> {
        let target = format!("{}/{path}", self.wire.place().path);
        let origin = self.wire.place().origin();
        self.out.verbose(|| {
            let token = if self.token.is_some() { ", with a token" } else { ", without a token" };
            let body = body.map_or_else(String::new, |body| format!(": {body}"));
            format!("> {method} {origin}{target}{token}{body}")
        });
        let mut request =
            Request::builder().method(method).uri(target).header(header::ACCEPT, "application/json, text/plain");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json").header("larder-intent", "manage");
        }
        let body = body.map_or_else(Bytes::new, |body| body.to_string().into());
        let answer = self.wire.send(request, body).await?;
        self.out.verbose(|| format!("< {}, {}", answer.status, units::bytes(answer.body.len() as u64)));
        Ok(answer)
    }

    fn value(&self, answer: &Answer) -> Result<Value, Fault> {
        if !answer.status.is_success() {
            return Err(self.refused(answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| {
            self.no_api(if is_html(answer) { "it answers with a page" } else { "what it answers is no JSON" })
        })
    }

    /// Why something was not answered.
    fn refused(&self, answer: &Answer) -> Fault {
        let (status, said) = (answer.status, says(answer));
        let place = self.wire.place();
        if status.is_redirection() {
            let to =
                answer.head.get(header::LOCATION).and_then(|location| location.to_str().ok()).unwrap_or("elsewhere");
            return Fault::unreachable(format!(
                "{} answers {status}, to {to}: give the URL that is right",
                place.text()
            ));
        }
        match (status, said) {
            (StatusCode::UNAUTHORIZED, _) if self.token.is_none() => Fault::new(
                Kind::Unauthorised,
                format!("{} asks for a token: --token, --token-file or LARDER_TOKEN", place.text()),
            ),
            (StatusCode::UNAUTHORIZED, _) => {
                Fault::new(Kind::Unauthorised, format!("{} does not accept this token", place.text()))
            }
            (StatusCode::FORBIDDEN, said) => Fault::new(
                Kind::Unauthorised,
                format!("not allowed: {}", said.as_deref().unwrap_or("the server does not say why")),
            ),
            (StatusCode::NOT_FOUND, None) => self.no_api("it answers 404"),
            (_, Some(said)) => Fault::failed(said),
            (status, None) => Fault::unreachable(format!("{} answers {status}", place.text())),
        }
    }

    fn no_api(&self, why: &str) -> Fault {
        let url = self.wire.place().text();
        Fault::unreachable(format!("there is no larder admin API at {url}: {why}. is it mounted there?"))
    }
}

/// The caches of a list, or the one of this name.
pub(crate) fn named(caches: Vec<Value>, name: Option<&str>) -> Result<Vec<Value>, Fault> {
    let Some(name) = name else { return Ok(caches) };
    let names: Vec<String> = caches.iter().map(|cache| format!("`{}`", json::text(cache, "/name"))).collect();
    let found: Vec<Value> = caches.into_iter().filter(|cache| json::text(cache, "/name") == name).collect();
    match found.is_empty() {
        true => Err(Fault::failed(format!("no cache is named `{name}`: there is {}", names.join(", ")))),
        false => Ok(found),
    }
}

/// What an error of the API says.
fn says(answer: &Answer) -> Option<String> {
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    value.get("error")?.as_str().map(str::to_owned)
}

fn is_html(answer: &Answer) -> bool {
    let kind = answer.head.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/html") || answer.body.starts_with(b"<")
}

/// The token, from wherever it is given. Never in an error.
fn token(global: &Global) -> Result<Option<String>, Fault> {
    let (from, token) = match (&global.token, &global.token_file) {
        (Some(token), _) => ("--token", token.clone()),
        (None, Some(file)) => ("--token-file", read(file)?),
        (None, None) => match env::var("LARDER_TOKEN") {
            Ok(token) => ("LARDER_TOKEN", token),
            Err(env::VarError::NotPresent) => return Ok(None),
            Err(env::VarError::NotUnicode(_)) => return Err(Fault::usage("LARDER_TOKEN is not valid Unicode")),
        },
    };
    match token.trim() {
        // An empty variable is how some say that there is none.
        "" if from == "LARDER_TOKEN" => Ok(None),
        "" => Err(Fault::usage(format!("{from}: the token is empty"))),
        token => Ok(Some(token.to_owned())),
    }
}

fn read(file: &Path) -> Result<String, Fault> {
    let read = if file.as_os_str() == "-" {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        fs::read_to_string(file)
    };
    read.map_err(|error| Fault::usage(format!("--token-file: `{}` cannot be read: {error}", file.display())))
}

fn bearer(token: &str) -> Result<HeaderValue, Fault> {
    let wrong =
        || Fault::usage("the token has letters that a token cannot have: printable ASCII without blanks is possible");
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| wrong())?;
    value.set_sensitive(true);
    Ok(value)
}

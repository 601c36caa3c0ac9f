//! Without a running application: the commands that speak to the Redis behind it.
//!
//! This is a cache like those of the application, with nothing in its memory: it reads the log that they read, and what
//! it invalidates they do.

mod invalidate;
mod keys;
mod status;

use crate::{
    args::{Command, Global},
    commands,
    fault::{Fault, Kind},
    out::Out,
    tls, units,
};
use larder::{Cache, Redis, StoreError};
use std::{env, time::Duration};

/// What every command has at hand.
struct Shelf<'a> {
    global: &'a Global,
    out: &'a Out,
    redis: Redis,
    cache: Cache,
    /// Where it is, for people.
    place: String,
    namespace: String,
}

pub(crate) async fn run(global: &Global, command: Command, out: &Out) -> Result<(), Fault> {
    match command {
        Command::Status => status::status(&open(global, out).await?).await,
        Command::Keys(what) => keys::keys(&open(global, out).await?, &what).await,
        Command::Invalidate(what) => {
            let asked = invalidate::asked(global, &what)?;
            invalidate::invalidate(&open(global, out).await?, &what, asked).await
        }
        Command::Completions { shell } => commands::completions(shell, out),
        _ => Err(Fault::usage(
            "--redis goes with `status`, `keys` and `invalidate`: all else takes the application, --url",
        )),
    }
}

/// Connects, and waits until Redis can be asked.
async fn open<'a>(global: &'a Global, out: &'a Out) -> Result<Shelf<'a>, Fault> {
    let urls = urls(&global.redis)?;
    for url in &urls {
        hide(out, url);
    }
    let namespace = match (&global.namespace, &global.cache) {
        (Some(namespace), Some(cache)) => format!("{namespace}-{cache}"),
        (Some(namespace), None) => namespace.clone(),
        (None, _) => {
            return Err(Fault::usage("--redis: --namespace NS is missing: the one that the cache's builder was told"));
        }
    };
    let wrong = |error: larder::ConfigError| Fault::usage(format!("--redis: {error}"));
    let mut redis = match (&global.sentinel, global.cluster, &urls[..]) {
        (Some(group), _, urls) => Redis::sentinel(urls, group),
        (None, true, urls) => Redis::cluster(urls),
        (None, false, [one]) => Redis::open(one),
        (None, false, several) => {
            let text = format!("--redis: {} URLs: --cluster or --sentinel GROUP says what they are of", several.len());
            return Err(Fault::usage(text));
        }
    }
    .map_err(wrong)?
    .connections(1)
    .budget(global.timeout.min(Duration::from_secs(60)));
    if let Some(pem) = tls::authorities(global.ca.as_deref())? {
        redis = redis.tls_ca(pem);
    }
    let cache = Cache::builder().namespace(&namespace).memory(64 << 10).redis(redis.clone()).build().map_err(wrong)?;
    let place = urls.iter().map(|url| shown(url)).collect::<Vec<_>>().join(", ");
    out.verbose(|| format!("> {place}, namespace {namespace}"));
    redis.ready(global.timeout).await.map_err(|error| away(&place, global.timeout, error))?;
    Ok(Shelf { global, out, redis, cache, place, namespace })
}

impl Shelf<'_> {
    /// When the last record of the log was written. The log has been read then, so it is known what has been invalidated.
    /// One that is not there is not begun.
    async fn log(&self) -> Result<Option<f64>, Fault> {
        let end = self.redis.log_end(&self.namespace).await.map_err(|error| self.fault(error))?;
        let Some(end) = end else { return Ok(None) };
        if !self.cache.ready(self.global.timeout).await {
            self.out.note("the log of invalidations could not be read: it is not known what is still of use");
        }
        Ok(Some(end.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()))
    }

    /// What is said where there is no log.
    fn no_log(&self) -> String {
        format!(
            "there is no log of invalidations for namespace {} at {}: no cache of that name has been here, or it was lost",
            self.namespace, self.place
        )
    }

    fn fault(&self, error: StoreError) -> Fault {
        away(&self.place, self.global.timeout, error)
    }
}

fn away(place: &str, within: Duration, error: StoreError) -> Fault {
    match error {
        StoreError::Denied => Fault::new(
            Kind::Unauthorised,
            format!("redis at {place} does not let us: user, password and permissions are to be looked at"),
        ),
        error => {
            let within = units::span(within.as_secs_f64());
            Fault::unreachable(format!("redis at {place} cannot be asked within {within}: {error}"))
        }
    }
}

/// The URLs, `env` replaced by the environment's.
fn urls(given: &[String]) -> Result<Vec<String>, Fault> {
    match given {
        [one] if one == "env" => match env::var("REDIS_URL") {
            Ok(urls) if !urls.is_empty() => Ok(urls.split(',').map(str::to_owned).collect()),
            _ => Err(Fault::usage("--redis env: REDIS_URL is not set: redis://127.0.0.1:6379/1 would be a URL")),
        },
        given => Ok(given.to_vec()),
    }
}

/// A URL without user and password, which also may stand in the query.
fn shown(url: &str) -> String {
    let url = url.split('?').next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or_default()),
        None => "?".to_owned(),
    }
}

/// Sees to it that the password of a URL is not printed, as it stands there.
fn hide(out: &Out, url: &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    if let Some((login, _)) = rest.rsplit_once('@') {
        out.hide(login.split_once(':').map_or(login, |(_, password)| password));
    }
    for pair in rest.split_once('?').map_or("", |(_, query)| query).split('&') {
        if let Some(password) = pair.strip_prefix("pass=") {
            out.hide(password);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(shown("redis://user:hunter2@host:6379/1"), "redis://host:6379/1");
        assert_eq!(shown("redis://:a@b@host"), "redis://host");
        assert_eq!(shown("redis+unix:///run/redis.sock?pass=hunter2"), "redis+unix:///run/redis.sock");
        assert_eq!(shown("hunter2"), "?");
    }
}

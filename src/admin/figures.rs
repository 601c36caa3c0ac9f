//! Metrics as other programs want them.

use super::{
    answer::{Answer, Told},
    service::Asked,
};
use crate::Cache;

/// As Prometheus reads it.
pub(super) async fn told(asked: &Asked<'_>) -> Told {
    asked.query.word("format", &[("json", ()), ("prometheus", ())])?;
    if asked.query.get("format")? == Some("json") {
        return super::metrics::told(asked).await;
    }
    asked.concerns_all("this text")?;
    let caches: Vec<(String, Cache)> =
        asked.caches()?.into_iter().map(|(name, cache)| (name.to_owned(), cache.clone())).collect();
    let tell = move || crate::cache::prometheus_of(caches.iter().map(|(name, cache)| (&**name, cache)));
    let text = asked.aside(tell).await?;
    Ok(Answer::of("text/plain; version=0.0.4; charset=utf-8", text))
}

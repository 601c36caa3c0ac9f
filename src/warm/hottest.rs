//! What was asked for most, as a source.

use super::{WarmRequest, WarmSource};
use crate::{
    cache::Cache,
    identity::Identity,
    key::{UtcOffset, Wanted},
};
use http::uri::Scheme;

impl WarmSource {
    /// The requests that this cache has answered most, up to so many: what was kept before a restart too, and what
    /// other processes did, where the cache has a store. Asked anew at each run.
    ///
    /// ```
    /// use larder::{Cache, WarmSource, Warmer};
    ///
    /// let cache = Cache::in_memory(64 << 20);
    /// let warmer = Warmer::new().category("hottest", 1, WarmSource::hottest(&cache, 50));
    /// # let _ = warmer;
    /// ```
    ///
    /// Uses of stored responses to GET are counted, by UTC hour of the day, and halved each day; 200 requests are
    /// remembered of each hour. Those of a warmer do not count. A request is made as its key tells it: host, path, the
    /// query as far as it is part of the key, the language, the codings, and the [`Identity`] that the policy keys on.
    /// What keys do not tell is not warmed: policies with fields, cookies, closures or contexts in the key, and queries
    /// with what looks like a secret. Where responses vary by a field, give it to all requests with
    /// [`Warmer::prepare`](crate::Warmer::prepare).
    ///
    /// On start, wait for [`Cache::ready`] first: a store that cannot be asked is a failure in the report.
    ///
    /// What is stored under [`Policy::memory_only`](crate::Policy::memory_only) is counted, and forgotten when the
    /// process ends.
    pub fn hottest(cache: &Cache, most: usize) -> Self {
        Self::remembered(cache, most, None)
    }

    /// As [`hottest`](Self::hottest), of the hour of the day that it is, or that begins within half an hour: a run ten
    /// minutes before nine warms what is asked for from nine to ten. Hours are those of this time zone, by the clock of
    /// the cache; nothing where nothing is known of the hour.
    pub fn hottest_by_hour(cache: &Cache, most: usize, zone: UtcOffset) -> Self {
        Self::remembered(cache, most, Some(zone))
    }

    fn remembered(cache: &Cache, most: usize, hour: Option<UtcOffset>) -> Self {
        let cache = cache.clone();
        Self::producer(move || {
            let cache = cache.clone();
            async move {
                let found = cache.hottest(most, hour).await?;
                Ok::<_, String>(found.into_iter().map(WarmRequest::from).collect())
            }
        })
    }
}

impl From<Wanted> for WarmRequest {
    fn from(wanted: Wanted) -> Self {
        let mut request = Self::get(wanted.target());
        let fields =
            [("host", &wanted.authority), ("accept-language", &wanted.language), ("accept-encoding", &wanted.codings)];
        for (name, value) in fields {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        match wanted.scheme.as_deref() {
            Some("https") => request = request.extension(Scheme::HTTPS),
            Some("http") => request = request.extension(Scheme::HTTP),
            _ => {}
        }
        if wanted.identity.is_empty() {
            return request;
        }
        let with = |who: Identity, (name, values): (Box<str>, Vec<Box<str>>)| who.with_all(String::from(name), values);
        request.identity(wanted.identity.into_iter().fold(Identity::new(), with))
    }
}

//! What is counted during one request.

use crate::{
    account::Account,
    outcome::{Bypass, Outcome},
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use std::{
    borrow::Cow,
    fmt::Write,
    future::Future,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};
use tokio::task::futures::TaskLocalFuture;

/// The cache operations of one request. It stands in the request's extensions, and beside the task that answers it, for
/// code that has no request at hand. Nobody else counts in it: what runs in tasks of its own is not seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestStats(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    hits: AtomicU32,
    misses: AtomicU32,
    sets: AtomicU32,
    /// Those of the sets that were of values.
    value_sets: AtomicU32,
    account: Mutex<Option<Account>>,
    key: OnceLock<String>,
    warm: Option<Warm>,
}

/// What a warmer wants of the caches that its request meets. No client can put it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Warm {
    /// Whatever is stored is made anew; else what is past half of its lifetime.
    pub(crate) force: bool,
    /// It is about values, and not about responses.
    pub(crate) values: bool,
}

/// In the extensions of a request whose answer may be stored: what is written into its head would be told to others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InsideCache;

tokio::task_local! {
    static CURRENT: RequestStats;
}

impl RequestStats {
    /// Those of the request with these extensions, if it is counted.
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Of something that a warmer asks for.
    pub(crate) fn of_warmer(warm: Warm) -> Self {
        Self(Arc::new(Counts { warm: Some(warm), ..Counts::default() }))
    }

    /// What a warmer wants of the stored response, if it is one that asks.
    pub(crate) fn warm(&self) -> Option<Warm> {
        self.0.warm.filter(|warm| !warm.values)
    }

    /// What a warmer wants of the values that this task looks up, if it is one that asks.
    pub(crate) fn warm_values() -> Option<Warm> {
        CURRENT.try_with(|stats| stats.0.warm).ok().flatten().filter(|warm| warm.values)
    }

    /// What became of the request, and whether a response was accepted for storage.
    pub(crate) fn told(&self) -> (Option<Outcome>, bool) {
        let account = self.0.account.lock().unwrap_or_else(PoisonError::into_inner);
        (account.as_ref().map(|account| account.outcome), self.0.sets.load(Relaxed) > self.0.value_sets.load(Relaxed))
    }

    /// Hits, misses and sets.
    pub(crate) fn counts(&self) -> [u32; 3] {
        [&self.0.hits, &self.0.misses, &self.0.sets].map(|count| count.load(Relaxed))
    }

    /// Tells it that a cache took no part in the request with these extensions.
    pub(crate) fn bypassed(extensions: &Extensions, reason: Bypass, policy: Option<&Cow<'static, str>>) {
        if let Some(stats) = Self::of(extensions) {
            stats.outcome(Outcome::Bypass);
            stats.tell(|account| (account.reason, account.policy) = (Some(reason.as_str()), policy.cloned()));
        }
    }

    /// Those of the request that this task is answering, if it is counted.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `f`, whose operations are counted.
    pub(crate) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), f)
    }

    /// A future whose operations are counted.
    pub(crate) fn scope<F: Future>(self, future: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, future)
    }

    /// Something was found in a cache.
    pub(crate) fn hit(&self) {
        self.0.hits.fetch_add(1, Relaxed);
    }

    /// Something was not found in a cache.
    pub(crate) fn miss(&self) {
        self.0.misses.fetch_add(1, Relaxed);
    }

    /// Something was accepted for storage.
    pub(crate) fn set(&self) {
        self.0.sets.fetch_add(1, Relaxed);
    }

    /// A value was accepted for storage.
    pub(crate) fn set_value(&self) {
        self.0.value_sets.fetch_add(1, Relaxed);
        self.set();
    }

    /// What a cache did with a value.
    pub(crate) fn value(&self, outcome: Outcome) {
        match outcome {
            Outcome::Hit | Outcome::Stale | Outcome::Revalidated => self.hit(),
            Outcome::Miss | Outcome::Collapsed => self.miss(),
            Outcome::Bypass => {}
        }
    }

    /// What a cache did with the request itself, counted as a hit or a miss. Of several caches the one that tells it last
    /// is the outermost that knows.
    pub(crate) fn outcome(&self, outcome: Outcome) {
        self.value(outcome);
        *self.0.account.lock().unwrap_or_else(PoisonError::into_inner) = Some(Account::of(outcome));
    }

    /// Adds to what was told last of the request itself.
    pub(crate) fn tell(&self, add: impl FnOnce(&mut Account)) {
        if let Some(account) = &mut *self.0.account.lock().unwrap_or_else(PoisonError::into_inner) {
            add(account);
        }
    }

    /// The key of the request. Of several caches the one that tells it first is the outermost.
    pub(crate) fn key(&self, key: impl FnOnce() -> String) {
        self.0.key.get_or_init(key);
    }

    /// Writes all that is known, and takes out what somebody else has written.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for name in [X_CACHE, X_CACHE_HITS, X_CACHE_MISSES, X_CACHE_SETS, X_CACHE_KEY, X_CACHE_EXPLAIN] {
            headers.remove(name);
        }
        let Counts { hits, misses, sets, account, key, .. } = &*self.0;
        if let Some(account) = &*account.lock().unwrap_or_else(PoisonError::into_inner) {
            headers.insert(X_CACHE, HeaderValue::from_static(word(account.outcome)));
            headers.extend(account.line().map(|line| (X_CACHE_EXPLAIN, line)));
        }
        for (name, count) in [(X_CACHE_HITS, hits), (X_CACHE_MISSES, misses), (X_CACHE_SETS, sets)] {
            headers.insert(name, HeaderValue::from(count.load(Relaxed)));
        }
        if let Some(key) = key.get().and_then(|key| HeaderValue::try_from(visible(key)).ok()) {
            headers.insert(X_CACHE_KEY, key);
        }
    }
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "HIT",
        Outcome::Stale => "STALE",
        Outcome::Revalidated => "REVALIDATED",
        Outcome::Miss | Outcome::Collapsed => "MISS",
        Outcome::Bypass => "BYPASS",
    }
}

/// The text with everything but visible ASCII percent-encoded.
fn visible(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_graphic() {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

const X_CACHE: HeaderName = HeaderName::from_static("x-cache");
const X_CACHE_HITS: HeaderName = HeaderName::from_static("x-cache-hits");
const X_CACHE_MISSES: HeaderName = HeaderName::from_static("x-cache-misses");
const X_CACHE_SETS: HeaderName = HeaderName::from_static("x-cache-sets");
const X_CACHE_KEY: HeaderName = HeaderName::from_static("x-cache-key");
const X_CACHE_EXPLAIN: HeaderName = HeaderName::from_static("x-cache-explain");

#[cfg(test)]
mod tests {
    use super::*;

    fn written(stats: &RequestStats) -> Vec<(String, String)> {
        let mut headers = HeaderMap::new();
        stats.write(&mut headers);
        let text = |(name, value): (&HeaderName, &HeaderValue)| (name.to_string(), value.to_str().unwrap().to_owned());
        headers.iter().map(text).collect()
    }

    #[test]
    fn each_outcome_has_its_word_and_its_count() {
        for (outcome, word, hits, misses) in [
            (Outcome::Hit, "HIT", "1", "0"),
            (Outcome::Stale, "STALE", "1", "0"),
            (Outcome::Revalidated, "REVALIDATED", "1", "0"),
            (Outcome::Miss, "MISS", "0", "1"),
            (Outcome::Collapsed, "MISS", "0", "1"),
            (Outcome::Bypass, "BYPASS", "0", "0"),
        ] {
            let stats = RequestStats::default();
            stats.outcome(outcome);
            let expected = [
                ("x-cache", word),
                ("x-cache-explain", outcome.as_str()),
                ("x-cache-hits", hits),
                ("x-cache-misses", misses),
                ("x-cache-sets", "0"),
            ];
            assert_eq!(written(&stats), expected.map(|(name, value)| (name.to_owned(), value.to_owned())), "{outcome}");
        }
    }

    #[test]
    fn what_somebody_else_wrote_goes() {
        let mut headers = HeaderMap::new();
        for name in [X_CACHE, X_CACHE_KEY, X_CACHE_HITS, X_CACHE_EXPLAIN] {
            headers.append(&name, HeaderValue::from_static("spoof"));
            headers.append(&name, HeaderValue::from_static("spoof"));
        }
        let stats = RequestStats::default();
        stats.set();
        stats.write(&mut headers);
        assert!([X_CACHE, X_CACHE_KEY, X_CACHE_EXPLAIN].iter().all(|name| !headers.contains_key(name)));
        assert_eq!(headers.get_all(X_CACHE_HITS).iter().collect::<Vec<_>>(), ["0"]);
        assert_eq!(headers[X_CACHE_SETS], "1");
    }

    #[test]
    fn the_outermost_cache_has_the_say() {
        let stats = RequestStats::default();
        stats.key(|| "outer key é\r\n".to_owned());
        stats.key(|| "inner".to_owned());
        stats.outcome(Outcome::Hit);
        stats.outcome(Outcome::Miss);
        let mut headers = HeaderMap::new();
        stats.write(&mut headers);
        assert_eq!(
            (&headers[X_CACHE], &headers[X_CACHE_EXPLAIN]),
            (&"MISS".parse().unwrap(), &"miss".parse().unwrap())
        );
        assert_eq!((&headers[X_CACHE_HITS], &headers[X_CACHE_MISSES]), (&"1".parse().unwrap(), &"1".parse().unwrap()));
        assert_eq!(headers[X_CACHE_KEY], "outer%20key%20%C3%A9%0D%0A");
    }

    #[tokio::test]
    async fn code_without_a_request_counts_too_but_not_in_other_tasks() {
        assert!(RequestStats::current().is_none());
        let stats = RequestStats::default();
        stats.enter(|| RequestStats::current().unwrap().hit());
        let elsewhere = stats.clone().scope(async {
            tokio::task::yield_now().await;
            RequestStats::current().unwrap().miss();
            tokio::spawn(async { RequestStats::current().is_some() }).await.unwrap()
        });
        assert!(!elsewhere.await);
        assert_eq!(stats.0.hits.load(Relaxed), 1);
        assert_eq!(stats.0.misses.load(Relaxed), 1);
    }
}

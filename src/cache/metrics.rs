//! What was counted, in total and by policy, value and tenant.

use super::{
    Cache, Holding,
    book::NO_POLICY,
    history::Reading,
    holdings::Part,
    page::{Page, PolicyKind},
};
use crate::{
    policy::Objective,
    semantics::date::Timestamp,
    tally::{Counts, Window},
};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

/// What a cache has done, in total and by policy, value and tenant. Made by [`Cache::metrics`].
///
/// ```
/// # use larder::{Cache, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # cache.value(&RATE).get().await;
/// let metrics = cache.metrics();
/// let last = &metrics.windows.five_minutes;
/// if last.lookups() > 1000 && last.lookup_hit_ratio() < 0.6 {
///     println!("few hits; most uncached: {:?}", metrics.uncacheable.first());
/// }
/// assert_eq!((metrics.total.lookups(), last.lookups()), (1, 1));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// All of it.
    pub total: Counts,
    /// The same of the last minutes.
    pub windows: Windows,
    /// By policy and value.
    pub policies: Vec<PolicyMetrics>,
    /// The tenants that ask most, up to 64, as far as policies key on tenants. Requests that bypass are not told apart.
    pub tenants: Vec<TenantMetrics>,
    /// The tags that hold most bytes of memory, up to 20.
    pub tags: Vec<Holding>,
    /// The paths that hold most bytes of memory, up to 20, with `*` for what looks like an id.
    pub patterns: Vec<Holding>,
    /// The routes whose answers are not stored or not looked for, with the reason, the most first, up to 64. Sampled.
    pub uncacheable: Vec<UncachedRoute>,
    /// What is invalidated, as text, the most first, up to 64.
    pub invalidated: Vec<(String, u64)>,
}

/// What was counted within the minutes that end now, to about 10 seconds.
///
/// ```
/// # use larder::{Value, test_util};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # let (cache, clock) = test_util::cache();
/// cache.value(&RATE).get().await;
/// for _ in 0..18 {
///     clock.advance(Duration::from_secs(10));
///     cache.metrics(); // as a cache in use does by itself
/// }
/// let windows = cache.metrics().windows;
/// assert_eq!((windows.minute.misses, windows.five_minutes.misses), (0, 1));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Windows {
    /// One minute.
    pub minute: Counts,
    /// Five minutes.
    pub five_minutes: Counts,
    /// One hour.
    pub hour: Counts,
}

/// What was counted of a policy or a value.
///
/// ```
/// # use larder::{Cache, PolicyMetrics, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
/// # cache.value(&RATE).put(2650);
/// let metrics = cache.metrics();
/// let missed = metrics.policies.iter().filter(|policy| policy.met == Some(false));
/// assert_eq!(missed.count(), 0); // no objective is missed
/// let rate = metrics.policies.iter().find(|policy| policy.name == "rate").expect("it was used");
/// assert_eq!((rate.entries, rate.total.stored), (1, 1));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyMetrics {
    /// Its name; that of a policy without one is its route, or a number. Over 1024 policies and values are not told apart: the
    /// last row, `(others)`, has what was counted of the rest.
    pub name: String,
    /// Whether it is a policy or a value.
    pub kind: PolicyKind,
    /// The path that a table has it for.
    pub route: Option<String>,
    /// What is wanted of it.
    pub objective: Option<Objective>,
    /// Whether that is met in the last five minutes; nothing where nothing is wanted, or too little is known.
    pub met: Option<bool>,
    /// Since the cache was made.
    pub total: Counts,
    /// Of the last minutes.
    pub windows: Windows,
    /// What memory holds of it now, each variant of its own.
    pub entries: u64,
    /// The bytes that this takes.
    pub bytes: u64,
    /// The resources that these are variants of.
    pub resources: u64,
    /// Those that are kept apart by who asks where there are others of the same resource, and how many are the same as another's.
    pub(super) alike: (u64, u64),
}

/// What was counted of a tenant.
///
/// ```
/// # use larder::{Cache, Identity, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// static QUOTA: Value<u32> = Value::named("quota").fresh_for(Duration::from_secs(60)).per_tenant();
/// cache.value(&QUOTA).for_identity(&Identity::new().with_tenant("acme")).put(100);
///
/// let tenants = cache.metrics().tenants;
/// let acme = tenants.iter().find(|tenant| tenant.name == "acme").expect("it has something");
/// assert_eq!((acme.entries, acme.total.stored), (1, 1));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TenantMetrics {
    /// The tenant.
    pub name: String,
    /// Since it is among those that ask most, or something of it is stored.
    pub total: Counts,
    /// Of the last minutes.
    pub windows: Windows,
    /// What memory holds of it now.
    pub entries: u64,
    /// The bytes that this takes.
    pub bytes: u64,
}

/// A route whose answers are not stored, or not looked for.
///
/// ```
/// # use larder::{Cache, CacheLayer, Policy};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # let policy = Policy::fresh_for(std::time::Duration::from_secs(60));
/// # let app = CacheLayer::new(&cache, policy).layer(service_fn(|_: http::Request<axum::body::Body>| async {
/// #     let answer = http::Response::builder().header("set-cookie", "seen=1").body(axum::body::Body::empty());
/// #     Ok::<_, std::convert::Infallible>(answer.unwrap())
/// # }));
/// # app.oneshot(http::Request::get("/cart").body(axum::body::Body::empty()).unwrap()).await.unwrap();
/// let metrics = cache.metrics();
/// let worst = metrics.uncacheable.first().expect("a response that sets a cookie was not stored");
/// assert_eq!((worst.route.as_str(), worst.reason), ("/cart", "set-cookie"));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UncachedRoute {
    /// The path that a table or axum's router has for it, else the path of the request.
    pub route: String,
    /// The name of the policy.
    pub policy: String,
    /// Why: [`NotStored::as_str`](crate::NotStored::as_str) or [`Bypass::as_str`](crate::Bypass::as_str).
    pub reason: &'static str,
    /// How often, estimated.
    pub count: u64,
}

impl Cache {
    /// What this cache has done, in total and by policy, value and tenant. To know what memory holds it is looked through, which
    /// takes a tenth of a microsecond for each response; at most every two seconds, and not more than a twentieth of the time.
    ///
    /// ```
    /// # use larder::Cache;
    /// let cache = Cache::in_memory(1 << 20);
    /// let metrics = cache.metrics();
    /// assert_eq!(metrics.windows.minute.lookup_hit_ratio(), 0.0);
    /// ```
    pub fn metrics(&self) -> Metrics {
        self.sample();
        let (now, held) = (self.now(), self.holdings());
        let book = &self.0.book;
        let part = |parts: &HashMap<String, Part>, name: &str| parts.get(name).copied().unwrap_or_default();
        // What stands for no policy is told of once something has come to it.
        let told = |page: &Arc<Page>| page.name() != NO_POLICY || page.tally.counts().requests() > 0;
        let policies = book.pages().into_iter().filter(told).map(|page| {
            let windows = Windows::of(&page, now);
            let policy = page.policy();
            let objective = policy.as_ref().and_then(|policy| policy.objective);
            let held = match page.kind {
                PolicyKind::Response => part(&held.policies, page.name()),
                PolicyKind::Value => part(&held.values, page.name()),
            };
            PolicyMetrics {
                name: page.name().to_owned(),
                kind: page.kind,
                route: policy.and_then(|policy| policy.route.clone()),
                objective,
                met: objective.and_then(|objective| objective.is_met(&windows.five_minutes)),
                total: page.tally.counts(),
                windows,
                entries: held.entries,
                bytes: held.bytes,
                resources: held.resources,
                alike: held.alike,
            }
        });
        let policies: Vec<_> = policies.collect();
        let tenants = book.tenants().into_iter().map(|page| {
            let Part { entries, bytes, .. } = part(&held.tenants, page.name());
            TenantMetrics {
                name: page.name().to_owned(),
                total: page.tally.counts(),
                windows: Windows::of(&page, now),
                entries,
                bytes,
            }
        });
        let mut tenants: Vec<_> = tenants.collect();
        tenants.sort_by(|a, b| b.total.lookups().cmp(&a.total.lookups()).then_with(|| a.name.cmp(&b.name)));
        let all = policies.iter().map(|policy| &policy.windows);
        let windows = all.fold(Windows::default(), Windows::and);
        let routes = book.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let uncacheable = routes.rows().into_iter().map(|(row, count, ())| UncachedRoute {
            route: row.route.to_string(),
            policy: row.policy.to_string(),
            reason: row.reason,
            count,
        });
        let uncacheable = uncacheable.collect();
        drop(routes);
        let names = book.invalidating.lock().unwrap_or_else(PoisonError::into_inner);
        let invalidated = names.rows().into_iter().map(|(name, count, ())| (name.clone(), count)).collect();
        drop(names);
        Metrics {
            total: book.total(),
            windows,
            tenants,
            policies,
            tags: held.tags.clone(),
            patterns: held.patterns.clone(),
            uncacheable,
            invalidated,
        }
    }

    /// Takes readings, if it is time: of each page, and of all together.
    pub(super) fn sample(&self) {
        let (now, book) = (self.now(), &self.0.book);
        if !book.history.lock().unwrap_or_else(PoisonError::into_inner).is_due(now) {
            return;
        }
        book.sample(now);
        let reading = self.reading(now);
        book.history.lock().unwrap_or_else(PoisonError::into_inner).sample(book.since, now, &reading);
    }

    /// All that is read at the end of a step.
    pub(super) fn reading(&self, now: Timestamp) -> Reading {
        let book = &self.0.book;
        Reading {
            counted: book.read(),
            evictions: self.0.memory.evicted(),
            invalidations: self.0.counters.invalidations.load(Relaxed),
            used_bytes: self.0.memory.bytes(),
            log_lag: self.0.log.counts(now).and_then(|log| log.since_contact),
        }
    }
}

impl Windows {
    fn of(page: &Arc<Page>, now: Timestamp) -> Self {
        Self {
            minute: page.within(Window::Minute, now),
            five_minutes: page.within(Window::FiveMinutes, now),
            hour: page.within(Window::Hour, now),
        }
    }

    fn and(self, other: &Self) -> Self {
        Self {
            minute: self.minute.and(&other.minute),
            five_minutes: self.five_minutes.and(&other.five_minutes),
            hour: self.hour.and(&other.hour),
        }
    }
}

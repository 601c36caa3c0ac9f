//! Loading what is missing: once for all who ask at the same time.

use super::{
    Kind,
    call::{Site, ValueCall, find, held, use_of},
};
use crate::{
    cache::{Asking, Cache, Facts, FillFlight, FillLead, Filling, FlightKey, HandOver, Joined, Landing, Over},
    clock::Moment,
    entry::{BACK_OFF, Entry},
    key::KeyBuf,
    outcome::Outcome,
    request_stats::RequestStats,
    semantics::{date::Timestamp, reuse::Reuse},
    tally::Tally,
    timer,
};
use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    future::Future,
    io,
    sync::{Arc, atomic::Ordering},
};
use tracing::Span;

/// What a load is to be, after a look at what is kept.
enum Step<T, L> {
    Done(Arc<T>),
    Load(L, Option<Arc<Entry>>),
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> ValueCall<'_, T> {
    /// What is kept; else it is loaded, once for all who ask at the same time, and kept. Within the window of
    /// [`stale_while_revalidate`](crate::Value::stale_while_revalidate) what is stale is returned, and loaded in the background; if
    /// loading fails, what [`stale_if_error`](crate::Value::stale_if_error) allows is returned.
    ///
    /// Whoever asked first may go away: the load then goes on in the background, which is why it borrows nothing.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static NAMES: Value<Vec<String>> = Value::named("names").fresh_for(Duration::from_secs(60)).shared();
    /// # async fn query() -> std::io::Result<Vec<String>> { Ok(vec!["Ann".to_owned()]) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let names = cache.value(&NAMES).get_or_load(query).await?; // an error is returned, and not kept
    /// assert_eq!(names.len(), 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// That of loading. Those who wait for a load that fails each load for themselves.
    pub async fn get_or_load<E, F, L>(self, load: L) -> Result<Arc<T>, E>
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<T, E>> + Send + 'static,
        E: Send + 'static,
    {
        let key = match self.key() {
            Ok(key) => key,
            Err(reason) => {
                self.tally.bypass(reason);
                return load().await.map(Arc::new);
            }
        };
        let (load, stale) = match look(&self, &key, load) {
            Step::Done(value) => return Ok(value),
            Step::Load(load, stale) => (load, stale),
        };
        let (kind, site) = (self.value.kind, self.site(key));
        let mut lead = match wait(&site, &kind).await {
            Ok(value) => {
                site.count(Outcome::Collapsed);
                return Ok(value);
            }
            Err(lead) => lead,
        };
        // It may have been kept meanwhile, or the service left alone.
        let (load, stale) = match again(&site, load, stale, lead.as_ref()) {
            Step::Done(value) => return Ok(value),
            Step::Load(load, stale) => (load, stale),
        };
        // What the stores have, fresh or stale, is in memory then.
        kind.find_in_stores(&site, stale.as_deref().map(Entry::received)).await;
        let now = site.cache.now();
        let refreshes = |entry: &Entry| match entry.lifespan().reuse(None, now) {
            Reuse::Fresh => now >= entry.refresh_from,
            reuse => reuse == Reuse::WhileRevalidating,
        };
        let step = if site.find().is_some_and(|entry| refreshes(&entry) && !is_to_be_warmed(&entry, now)) {
            // Those who wait find it too, and the refresh is another load.
            drop(lead.take());
            look(&self, &site.key, load)
        } else {
            again(&site, load, stale, lead.as_ref())
        };
        let (load, stale) = match step {
            Step::Done(value) => return Ok(value),
            Step::Load(load, stale) => (load, stale),
        };
        site.count(Outcome::Miss);
        let cache = site.cache.clone();
        let flight = lead.as_ref().map(|lead| Arc::clone(lead.flight()));
        let filling: Filling<_> = Box::pin(fill(site.clone(), kind, load, lead));
        let loaded = match flight {
            Some(flight) => HandOver::new(filling, cache.clone(), flight, |_| Box::pin(async {})).await,
            None => filling.await,
        };
        match loaded {
            Ok(value) => Ok(value),
            Err(error) => {
                let now = cache.now();
                let usable = stale.filter(|entry| {
                    entry.lifespan().allows_error(None, now) && cache.is_live(site.key.as_bytes(), entry)
                });
                let Some(entry) = usable else { return Err(error) };
                entry.refresh.shut_if_idle(now.saturating_add(BACK_OFF));
                held(&entry).ok_or(error)
            }
        }
    }
}

/// What is kept, if it may be used; a refresh of it begins where that is due.
fn look<T, E, F, L>(call: &ValueCall<'_, T>, key: &KeyBuf, load: L) -> Step<T, L>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    E: Send + 'static,
{
    let cache = call.cache;
    let Some(entry) = find(cache, key) else { return Step::Load(load, None) };
    let Some(value) = held(&entry) else { return Step::Load(load, None) };
    let now = cache.now();
    if is_to_be_warmed(&entry, now) {
        return Step::Load(load, Some(entry));
    }
    let (outcome, refresh) = match entry.lifespan().reuse(None, now) {
        Reuse::Fresh => (Outcome::Hit, entry.is_due(now, || cache.random())),
        Reuse::WhileRevalidating => (Outcome::Stale, true),
        _ if may_stand_in(&entry, now) => (Outcome::Stale, false),
        _ => return Step::Load(load, Some(entry)),
    };
    use_of(&call.tally, &entry, outcome);
    if refresh && entry.refresh.enter(now) {
        begin_refresh(call.site(key.clone()), call.value.kind, entry, load);
    }
    Step::Done(value)
}

/// A warmer asks, and wants another.
fn is_to_be_warmed(entry: &Entry, now: Timestamp) -> bool {
    RequestStats::warm_values().is_some_and(|warm| warm.force || entry.is_past_half(now))
}

/// Loading has failed a moment ago, and what is kept may be used meanwhile.
pub(super) fn may_stand_in(entry: &Entry, now: Timestamp) -> bool {
    entry.refresh.is_shut(now) && entry.lifespan().allows_error(None, now)
}

fn again<T, L>(site: &Site, load: L, stale: Option<Arc<Entry>>, lead: Option<&FillLead>) -> Step<T, L>
where
    T: Send + Sync + 'static,
{
    let now = site.cache.now();
    let Some(entry) = site.find() else { return Step::Load(load, stale) };
    if is_to_be_warmed(&entry, now) {
        return Step::Load(load, Some(entry));
    }
    let outcome = match entry.lifespan().reuse(None, now) {
        Reuse::Fresh => Outcome::Hit,
        Reuse::WhileRevalidating => Outcome::Stale,
        _ if may_stand_in(&entry, now) => Outcome::Stale,
        _ => return Step::Load(load, Some(entry)),
    };
    let Some(value) = held(&entry) else { return Step::Load(load, stale) };
    use_of(&site.tally, &entry, outcome);
    if let Some(lead) = lead.filter(|_| outcome == Outcome::Hit) {
        lead.flight().land(Landing::whole(entry, &HeaderMap::new(), None));
    }
    Step::Done(value)
}

/// What another's load brings; else the lead, or none where it is to be loaded alone.
async fn wait<T: Send + Sync + 'static>(site: &Site, kind: &Kind<T>) -> Result<Arc<T>, Option<FillLead>> {
    let key = FlightKey::new(&site.key, &HeaderMap::new(), Facts::default(), &[]);
    let footprint = || site.footprint.clone();
    let asking =
        Asking { bytes: site.key.as_bytes(), footprint: &footprint, wait_limit: kind.wait_limit, may_lead: true };
    let (mut left, mut late) = (None, false);
    for _ in 0..ROUNDS {
        if kind.wait_limit.is_zero() {
            break;
        }
        let refused = |flight: &FillFlight| left.as_ref().is_some_and(|left| Arc::ptr_eq(left, flight));
        let mut wait = match site.cache.join_fill(&key, &asking, refused) {
            None => break,
            Some(Joined::Leads(lead)) => return Err(Some(lead)),
            Some(Joined::Waits(wait)) => wait,
        };
        let flight = Arc::clone(wait.flight());
        match timer::within(kind.wait_limit, &mut wait).await {
            Some(Ok(landing)) if may_have(site, landing.head()) => return held(landing.head()).ok_or(None),
            // One of those who have to load it again does so, and the rest wait for that.
            Some(Ok(_)) => left = Some(flight),
            Some(Err(_)) => break,
            None => {
                site.cache.counters().waits_too_long.fetch_add(1, Ordering::Relaxed);
                if late {
                    break;
                }
                (left, late) = (Some(flight), true);
            }
        }
    }
    Err(None)
}

/// Whether no record from before it was asked for selects what another has loaded. What it is known by here was looked at
/// when its flight was joined; it may have more tags.
fn may_have(site: &Site, entry: &Entry) -> bool {
    site.cache.ledger().is_untouched_beside(entry.claim(site.key.as_bytes()), &site.footprint)
}

/// So many flights are waited for, before it is loaded alone.
const ROUNDS: usize = 4;

/// Loads, and keeps what comes.
async fn fill<T, E, F, L>(site: Site, kind: Kind<T>, load: L, lead: Option<FillLead>) -> Result<Arc<T>, E>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    L: FnOnce() -> F,
    F: Future<Output = Result<T, E>>,
{
    let permit = match site.cache.fill_places() {
        // A load is not refused: nobody could say how. It waits its turn as long as others wait for each other.
        Some(places) if !site.cache.is_filling() => {
            timer::within(kind.wait_limit, Arc::clone(places).acquire_owned()).await.and_then(Result::ok)
        }
        _ => None,
    };
    let began = site.begin();
    if let Some(lead) = &lead {
        lead.flight().meta().ask();
    }
    let since = Moment::now();
    let loaded = site.cache.filling(load()).await;
    site.tally.fill_took(since.elapsed());
    drop(permit);
    let value = match loaded {
        Ok(value) => Arc::new(value),
        Err(error) => {
            if let Some(lead) = lead {
                lead.end(Over::Failed);
            }
            return Err(error);
        }
    };
    let entry = kind.keep_loaded(&site, began, &value);
    if let Some(lead) = lead {
        lead.flight().land(Landing::whole(entry, &HeaderMap::new(), None));
    }
    Ok(value)
}

/// Loads in the background. The gate of the entry is taken: no other refresh is under way, nor has one failed a moment ago.
fn begin_refresh<T, E, F, L>(site: Site, kind: Kind<T>, entry: Arc<Entry>, load: L)
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
    L: FnOnce() -> F + Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
    E: Send + 'static,
{
    let key = FlightKey::new(&site.key, &HeaderMap::new(), Facts::default(), &[]);
    let footprint = || site.footprint.clone();
    let asking =
        Asking { bytes: site.key.as_bytes(), footprint: &footprint, wait_limit: kind.wait_limit, may_lead: true };
    let lead = match site.cache.join_fill(&key, &asking, |_| false) {
        Some(Joined::Leads(lead)) => Some(lead),
        Some(Joined::Waits(_)) | None => None,
    };
    let (Some(lead), Some(place)) = (lead, site.cache.background().place()) else { return entry.refresh.open() };
    let cache = site.cache.clone();
    let under_way =
        Refreshing { cache: cache.clone(), tally: Arc::clone(&site.tally), entry: Arc::clone(&entry), done: false };
    cache.background().spawn_at(place, Span::current(), async move {
        let mut under_way = under_way;
        // Another process may have refreshed it.
        under_way.done = match kind.find_in_stores(&site, Some(entry.received())).await {
            Some(entry) => {
                lead.flight().land(Landing::whole(entry, &HeaderMap::new(), None));
                true
            }
            None => fill(site, kind, load, Some(lead)).await.is_ok(),
        };
    });
}

/// A refresh under way. However it ends, also by a panic, the gate of its entry does not stay taken.
struct Refreshing {
    cache: Cache,
    tally: Arc<Tally>,
    entry: Arc<Entry>,
    done: bool,
}

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.tally.refreshed(!self.done);
        if self.done {
            self.entry.refresh.open();
        } else {
            self.entry.refresh.shut_until(self.cache.now().saturating_add(BACK_OFF));
        }
    }
}

/// The bytes that a value has as JSON; what has none counts as a kilobyte.
pub(super) fn weigh(value: &impl Serialize) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| serde_json::to_writer(&mut count, value)));
    if matches!(written, Ok(Ok(()))) { count.0 } else { 1024 }
}

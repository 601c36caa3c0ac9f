//! The cache as a whole: the handle that layers share, and what happens to a request on its way through it.
//!
//! Data flows one way: request → [`admit`] → [`lookup`] → answer, or → [`fill`] → store. Nothing here knows of tower.

mod admit;
mod answer;
mod background;
mod book;
mod builder;
mod caches;
mod change;
mod changed;
mod collapse;
mod counters;
mod explain;
#[cfg(feature = "admin")]
mod explore;
mod export;
mod fill;
mod flight;
mod handover;
mod heard;
mod history;
mod holdings;
mod invalidate;
mod keep;
mod kept;
mod life;
mod log;
mod lookup;
mod metrics;
mod observe;
mod page;
mod place;
mod refreshing;
mod report;
#[cfg(feature = "admin")]
mod state;
mod status;
mod stored;
mod sweep;
mod table;
mod tape;
mod tell;
mod tiers;
mod uncacheable;
mod uses;
mod value;
mod verify;
mod warned;

pub(crate) use admit::{
    Admission, BodyFacts, Facts, admit_or_pass, admit_with_content, client_uri, overrides_method, scheme, target_uri,
};
pub(crate) use answer::{StoredBody, answer, headed, is_whole, nothing_stored, say_hit, whole};
pub(crate) use background::Background;
pub use background::Shutdown;
pub(crate) use book::{bypass_is_worth_noting, is_worth_noting};
pub use builder::CacheBuilder;
pub use caches::{Caches, CachesBuilder};
pub(crate) use change::Change;
pub use changed::{Changes, Changing, OneChange, Schedule};
pub(crate) use collapse::{
    Asking, Departure, FillFlight, FillLead, FillWait, FlightKey, Landing, Share, Waiter, asks_alone,
};
pub use counters::{LogCounts, Stats, StoreCounts};
pub use explain::Explanation;
pub(crate) use explain::{Asked, Explains, explain, explain_with_stores};
#[cfg(feature = "admin")]
pub(crate) use explore::{Id, Look, Mark, Row, Sort, tenant_of};
pub use export::prometheus;
#[cfg(feature = "admin")]
pub(crate) use export::prometheus_of;
pub(crate) use fill::{Fill, Freshening, InStores, RecordedHead, Verdict, strip_own_fields};
pub(crate) use flight::{Flight, Joined, Over};
pub(crate) use handover::{Filling, HandOver};
use heard::Hearing;
pub use history::{HistorySample, HistorySpan};
pub use holdings::Holding;
pub use invalidate::{Invalidated, Preview};
pub(crate) use keep::Keep;
use log::Log;
pub(crate) use lookup::{Act, Sought, Weighed, decide, heard, is_to_be_warmed, weigh};
pub use metrics::{Metrics, PolicyMetrics, TenantMetrics, UncachedRoute, Windows};
pub use page::PolicyKind;
pub(crate) use place::Place;
#[cfg(feature = "admin")]
pub(crate) use report::remedy;
pub use report::{Advice, AdviceKind, Coverage, Regression, Report, Reporter, Reporting};
pub use status::CacheStatusHeader;
pub(crate) use status::{Forwarded, StatusLine};
pub use stored::{Stored, StoredEntry, StoredPage, StoredState};
pub(crate) use tape::{BoxError, Fault, Reader, Recorded};
pub use value::{Value, ValueCall};
pub(crate) use verify::{Compared, differing_fields, suspects};
pub use verify::{Difference, Mismatch, Suspects};

use crate::{
    clock::Clock,
    entry::{Entry, FROM_A_STORE},
    invalidation::{Dependencies, Ledger, Seq, Stamp, Standing},
    key::{Key, QueryRule, Searches},
    outcome::NotStored,
    policy::{Policy, Unit},
    store::{Found, Memory},
};
use book::Book;
use collapse::FillFlights;
use counters::Counters;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;
use std::future::Future;
use std::hash::BuildHasher;
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tiers::Tiers;
use tokio::sync::Semaphore;
use uncacheable::Uncacheable;
use uses::Uses;
use warned::Warned;

/// The cache: a memory tier, the log of what was invalidated, counters. Cheap to clone; clones are the same cache.
///
/// ```
/// use larder::{Cache, CacheLayer, Policy, Selector};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// let cache = Cache::in_memory(256 << 20);
/// let layer = CacheLayer::new(&cache, Policy::fresh_for(Duration::from_secs(60)));
/// # let _ = layer;
/// cache.invalidate(Selector::resource("/products/7")).await?;
/// println!("lookup hit ratio {:.0} %", 100.0 * cache.stats().lookup_hit_ratio());
/// # Ok(()) }
/// ```
///
/// Making one needs no runtime, so a `static` in a `LazyLock` works.
#[derive(Clone)]
pub struct Cache(Arc<Inner>);

struct Inner {
    /// Tells this cache from others in the same process.
    id: u64,
    namespace: String,
    version: Option<String>,
    policy: Policy,
    status: StatusLine,
    clock: Clock,
    memory: Memory,
    ledger: Ledger,
    log: Log,
    dependencies: Dependencies,
    counters: Counters,
    book: Book,
    observed: observe::Observed,
    verifications: verify::Verifications,
    /// How the policies over this cache choose query parameters, each way once: a resource has a name under each.
    /// With the position of the ledger at which each was learnt.
    query_rules: RwLock<Vec<(QueryRule, Seq)>>,
    searches: Arc<Searches>,
    fills: AtomicU64,
    sweeping: AtomicBool,
    flights: Arc<FillFlights>,
    uncacheable: Uncacheable,
    uses: Uses,
    /// The values that were declared, by name.
    values: Mutex<HashMap<&'static str, value::Declared>>,
    background: Background,
    tiers: Tiers,
    /// What is heard of changes in a store, where one tells of them.
    hearing: Option<Hearing>,
    past: kept::Past,
    /// Places for fills that run at once, where they are limited.
    fill_places: Option<Arc<Semaphore>>,
    dice: rapidhash::fast::RandomState,
    thrown: AtomicU64,
    warned: Warned,
}

/// Whether an entry may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fitness {
    Good,
    /// It was invalidated.
    Gone,
    /// Nobody knows, because the log cannot be read. It stays: it can be used again once it can.
    Isolated,
}

impl Cache {
    /// A cache in memory that holds up to `bytes`, bodies, heads and keys together.
    ///
    /// # Panics
    ///
    /// If `bytes` is less than 64 KiB or more than 2^50. [`Cache::builder`] returns an error instead.
    pub fn in_memory(bytes: usize) -> Self {
        match Self::builder().memory(bytes).build() {
            Ok(cache) => cache,
            Err(error) => panic!("{error}"),
        }
    }

    /// A cache with options.
    pub fn builder() -> CacheBuilder {
        CacheBuilder::new()
    }

    /// The default policy of this cache, to be used as it is or refined. Without one of its own: responses that state
    /// a lifetime are stored.
    pub fn policy(&self) -> Policy {
        self.0.policy.clone()
    }

    /// Drops everything held in memory; what stores hold is found there again. Responses that are being made are not affected;
    /// [`Selector::everything`](crate::Selector::everything) catches those.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// # static PRICE: Value<u32> = Value::named("price").fresh_for(Duration::from_secs(60)).shared();
    /// # let cache = Cache::in_memory(1 << 20);
    /// cache.value(&PRICE).put(2650);
    /// cache.clear();
    /// assert!(cache.value(&PRICE).peek().is_none());
    /// ```
    pub fn clear(&self) {
        self.0.memory.clear();
    }

    /// What this cache has done since it was made.
    pub fn stats(&self) -> Stats {
        let would_hits = self.0.observed.would_hits.load(Ordering::Relaxed);
        let verify::Verifications { verified, mismatched, .. } = self.verifications();
        let (verified, mismatched) = (verified.load(Ordering::Relaxed), mismatched.load(Ordering::Relaxed));
        let (fills, background) = (self.0.flights.len() as u64, self.0.background.running() as u64);
        let (stores, writes_waiting) = (self.0.tiers.counts(), self.0.tiers.writer.waiting() as u64);
        let log = self.0.log.counts(self.now());
        let counted = self.0.counters.snapshot(self.0.book.total(), &self.0.memory);
        Stats { would_hits, verified, mismatched, fills, background, stores, writes_waiting, log, ..counted }
    }

    /// Its name among several ([`CachesBuilder::cache`](crate::CachesBuilder::cache)); `default` if it was built alone.
    pub fn name(&self) -> &str {
        self.0.book.watch.cache()
    }

    /// The bytes that memory may hold.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.0.memory.limit()
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn unit(&self) -> Unit<'_> {
        Unit {
            searches: &self.0.searches,
            namespace: &self.0.namespace,
            version: self.0.version.as_deref(),
            largest_body: usize::try_from(self.0.memory.largest().saturating_sub(HEAD_ROOM)).unwrap_or(usize::MAX),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> crate::semantics::date::Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Takes note of how a policy over this cache chooses query parameters.
    pub(crate) fn learn(&self, rule: &QueryRule) {
        let mut rules = self.0.query_rules.write().unwrap_or_else(PoisonError::into_inner);
        if *rule != QueryRule::All && !rules.iter().any(|(known, _)| known == rule) {
            rules.push((rule.clone(), self.0.ledger.applied()));
        }
    }

    /// Since when records about resources are known by this rule: what is older may have been invalidated by a name that was not
    /// known then.
    pub(crate) fn learnt(&self, rule: &QueryRule) -> Seq {
        let rules = self.0.query_rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find(|(known, _)| known == rule).map_or(Seq::default(), |(_, since)| *since)
    }

    pub(crate) fn searches(&self) -> &Searches {
        &self.0.searches
    }

    pub(crate) fn query_rules(&self) -> Vec<QueryRule> {
        let rules = self.0.query_rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.iter().map(|(rule, _)| rule.clone()).collect()
    }

    pub(crate) fn observed(&self) -> &observe::Observed {
        &self.0.observed
    }

    pub(crate) fn background(&self) -> &Background {
        &self.0.background
    }

    pub(crate) fn uncacheable(&self) -> &Uncacheable {
        &self.0.uncacheable
    }

    pub(crate) fn uses(&self) -> &Uses {
        &self.0.uses
    }

    pub(crate) fn fill_places(&self) -> Option<&Arc<Semaphore>> {
        self.0.fill_places.as_ref()
    }

    /// The fields that select the variants of what is stored under this key.
    pub(crate) fn nominated(&self, key: &[u8]) -> Box<[HeaderName]> {
        self.0.memory.nominated(key)
    }

    /// A number from 0 up to 1.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are all that the number has")]
    pub(crate) fn random(&self) -> f64 {
        let throw = self.0.dice.hash_one(self.0.thrown.fetch_add(1, Ordering::Relaxed));
        (throw >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn status_line(&self) -> &StatusLine {
        &self.0.status
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.0.ledger
    }

    /// How what another process has stamped is stamped here.
    pub(crate) fn inward(&self, stamp: Stamp) -> Option<Seq> {
        self.0.log.inward(stamp)
    }

    /// The stored response that a request selects, unless it was invalidated.
    #[inline]
    pub(crate) fn find(&self, key: &[u8], request: &HeaderMap) -> Found {
        let entry = match self.0.memory.find(key, request) {
            Found::Entry(entry) => entry,
            found => return found,
        };
        match self.fitness(key, &entry) {
            Fitness::Gone => {
                self.remove_invalidated(key, &entry);
                Found::Nothing
            }
            Fitness::Isolated => Found::Nothing,
            Fitness::Good => {
                if self.0.log.is_idle() {
                    self.keep_in_touch();
                }
                Found::Entry(entry)
            }
        }
    }

    #[cold]
    fn remove_invalidated(&self, key: &[u8], entry: &Arc<Entry>) {
        entry.usage.is_invalidated();
        self.0.memory.remove(key, entry);
    }

    /// Whether an entry may be used, as far as that does not depend on the request.
    #[inline]
    fn fitness(&self, key: &[u8], entry: &Entry) -> Fitness {
        if !self.is_live(key, entry) {
            Fitness::Gone
        } else if self.0.log.is_isolated(|| entry.began(), || self.now()) {
            Fitness::Isolated
        } else {
            Fitness::Good
        }
    }

    /// Whether no hard invalidation since its fill began selects the entry.
    #[inline]
    pub(crate) fn is_live(&self, key: &[u8], entry: &Entry) -> bool {
        self.0.ledger.standing(entry.claim(key), &entry.checked) != Standing::Gone
    }

    pub(crate) fn remove(&self, key: &[u8], entry: &Arc<Entry>) {
        self.0.memory.remove(key, entry);
    }

    /// Stores an entry, unless it has been invalidated meanwhile, or has `lost` to a younger one. Of what varies, `request`
    /// selects it, and at most `variants` are kept.
    fn keep(
        &self,
        key: Key,
        entry: &Arc<Entry>,
        (request, variants): (&HeaderMap, usize),
        lost: impl FnOnce() -> bool,
    ) -> Result<(), NotStored> {
        let (now, place) = (self.now(), key.clone());
        // First, so that what comes after the check is remembered for as long.
        self.0.ledger.keep_for(entry.discard_at.since(now));
        let is_new = entry.started != FROM_A_STORE;
        self.to_be_heard_of(key.as_bytes(), entry, is_new);
        if !self.0.ledger.admits(entry.claim(key.as_bytes()), &entry.checked) {
            return Err(NotStored::Invalidated);
        }
        if lost() {
            return Err(NotStored::Superseded);
        }
        let live = |other: &Entry| other.discard_at > now && self.is_live(place.as_bytes(), other);
        self.0.memory.put(key, Arc::clone(entry), request, variants, live)?;
        entry.usage.is_stored(is_new);
        Ok(())
    }

    /// The number of a fill that begins now.
    fn begin_fill(&self) -> u64 {
        self.keep_in_touch();
        self.keep_swept();
        self.keep_listening();
        self.0.clock.adjust();
        self.0.fills.fetch_add(1, Ordering::Relaxed)
    }
}

tokio::task_local! {
    /// The caches that this task is filling: what it asks of them meanwhile is a part of that.
    static FILLING: SmallVec<[u64; 2]>;
}

impl Cache {
    /// Whether this task is filling this cache.
    pub(crate) fn is_filling(&self) -> bool {
        FILLING.try_with(|filling| filling.contains(&self.id())).unwrap_or(false)
    }

    /// Runs what fills this cache, if fills are limited: it takes no second place.
    pub(crate) async fn filling<F: Future>(&self, future: F) -> F::Output {
        if self.0.fill_places.is_none() {
            return future.await;
        }
        let mut filling = FILLING.try_with(Clone::clone).unwrap_or_default();
        filling.push(self.id());
        FILLING.scope(filling, future).await
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("namespace", &self.0.namespace)
            .field("version", &self.0.version)
            .field("memory", &self.0.memory)
            .finish_non_exhaustive()
    }
}

/// What of the largest entry is left for its head and its key.
const HEAD_ROOM: u64 = 32 * 1024;

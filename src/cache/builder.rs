//! Making caches.

use super::{
    Background, Cache, CacheStatusHeader, Inner, StatusLine,
    book::Book,
    collapse::FillFlights,
    counters::Counters,
    heard::Hearing,
    kept::Past,
    log::{Log, LogTimes},
    tiers::Tiers,
    uncacheable::Uncacheable,
    uses::Uses,
    warned::{DEFAULT_NAMESPACE, Warned},
};
#[cfg(feature = "disk")]
use crate::store::Disk;
#[cfg(feature = "encrypt")]
use crate::store::KeyRing;
#[cfg(feature = "redis")]
use crate::store::Redis;
use crate::{
    clock::Clock,
    config_error::ConfigError,
    entry::FROM_A_STORE,
    invalidation::{Dependencies, Ledger, Limits},
    policy::{Policy, Rules, check_word},
    store::{Codec, Journal, Memory, Sizes, Store, Teller},
    tally::{Observe, Watch},
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;

/// Options of a [`Cache`]. Made by [`Cache::builder`].
///
/// ```
/// # use larder::{Cache, CacheStatusHeader, Policy};
/// # use std::time::Duration;
/// let cache = Cache::builder()
///     .namespace("shop")      // what tells this application from others in a store
///     .version("2026-11")     // another version starts empty
///     .memory(256 << 20)
///     .default_policy(Policy::fresh_for(Duration::from_secs(300)).per_tenant())
///     .cache_status(if cfg!(debug_assertions) { CacheStatusHeader::Debug } else { CacheStatusHeader::Brief })
///     .fill_limit(200)        // at once, even after everything was invalidated
///     .build()?;              // no IO
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "call `build` to get a cache"]
pub struct CacheBuilder {
    pub(super) name: String,
    pub(super) namespace: String,
    version: Option<String>,
    memory: usize,
    entries: Option<usize>,
    tenant_share: Option<usize>,
    max_object: Option<usize>,
    policy: Policy,
    status: CacheStatusHeader,
    clock: Option<Clock>,
    dependencies: Dependencies,
    fill_limit: Option<usize>,
    background_limit: usize,
    background_timeout: Duration,
    journal: Option<Arc<dyn Journal>>,
    stores: Vec<Arc<dyn Store>>,
    #[cfg(feature = "disk")]
    disk: Option<Disk>,
    #[cfg(feature = "redis")]
    redis: Option<Redis>,
    #[cfg(feature = "redis")]
    shared_log: Option<Redis>,
    codec: Codec,
    log_times: LogTimes,
    watch: Watch,
}

impl CacheBuilder {
    pub(super) fn new() -> Self {
        Self {
            name: "default".to_owned(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            version: None,
            memory: 64 * MIB,
            entries: None,
            tenant_share: None,
            max_object: None,
            policy: Policy::from_response(),
            status: CacheStatusHeader::default(),
            clock: None,
            dependencies: Dependencies::new(),
            fill_limit: None,
            background_limit: 1024,
            background_timeout: Duration::from_secs(300),
            journal: None,
            stores: Vec::new(),
            #[cfg(feature = "disk")]
            disk: None,
            #[cfg(feature = "redis")]
            redis: None,
            #[cfg(feature = "redis")]
            shared_log: None,
            codec: Codec { compress_from: Some(4096), ring: None, largest: usize::MAX },
            log_times: LogTimes::default(),
            watch: Watch::default(),
        }
    }

    /// The first part of every key: what tells this application from others in a store they share. Default: `larder`, of which the
    /// log warns where there is a shared log.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The version of the application's data: another one starts empty. Default: none.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// How many bytes the memory tier holds: bodies, heads and keys, with what it takes to hold them. Default: 64 MiB.
    pub fn memory(mut self, bytes: usize) -> Self {
        self.memory = bytes;
        self
    }

    /// How many responses the memory tier holds at most, beside the limit in bytes. Default: no such limit.
    pub fn memory_entries(mut self, entries: usize) -> Self {
        self.entries = Some(entries);
        self
    }

    /// How many bytes of the memory tier each tenant is sure of, whatever the others store. Default: no such share.
    ///
    /// Beyond its share a tenant borrows what is free, and is the first to give back. Where the shares of all tenants
    /// that hold something are more than the memory tier, they become equal parts of it. Tenants that were not served for
    /// long then make way for new ones. Responses without a tenant in their key, such as those of
    /// [`Policy::shared`], have a share of their own, all together. An entry larger than the share is stored
    /// if there is room to borrow.
    ///
    /// ```
    /// # use larder::Cache;
    /// let cache = Cache::builder().memory(256 << 20).tenant_share(16 << 20).build()?;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    ///
    /// A hit then costs a lookup more, and each tenant about 1 KiB.
    pub fn tenant_share(mut self, bytes: usize) -> Self {
        self.tenant_share = Some(bytes);
        self
    }

    /// The longest body that must find room in the memory tier. A larger one means fewer, larger shards. Default: 8 MiB,
    /// or what fits into half of the memory tier if that is less. Has no effect with [`CacheBuilder::tenant_share`].
    pub fn max_object(mut self, bytes: usize) -> Self {
        self.max_object = Some(bytes);
        self
    }

    /// What [`Cache::policy`] returns. Default: [`Policy::from_response`].
    pub fn default_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Whether responses say what the cache did. Default: briefly.
    pub fn cache_status(mut self, header: CacheStatusHeader) -> Self {
        self.status = header;
        self
    }

    /// Has somebody hear of what this cache does, as it does it. Several hear it in the order in which they were given.
    pub fn observe(mut self, observer: impl Observe) -> Self {
        self.watch = self.watch.with(observer);
        self
    }

    /// What depends on what, for [`Cache::changed`]. Default: nothing but what policies say by
    /// [`depends_on`](Policy::depends_on).
    pub fn dependencies(mut self, dependencies: Dependencies) -> Self {
        self.dependencies = dependencies;
        self
    }

    /// How many fills may run at once, so that what is invalidated together does not overwhelm the inner service when it is
    /// asked for again. Over it a request gets a stale response where stale-if-error allows that, else it waits as long as
    /// [`Policy::wait_limit`] says, then it gets `503 Service Unavailable` with `Retry-After`. A fill counts until the head of
    /// its answer is there, and 5 seconds at most once its client has gone; a resource known to give nothing that can be stored does not count. Default: no limit.
    ///
    /// ```
    /// # use larder::{Cache, Policy};
    /// # use std::time::Duration;
    /// // Twenty connections to the database: a request waits for its place for 2 s, and then hears 503.
    /// let patient = Policy::from_response().wait_limit(Duration::from_secs(2));
    /// let cache = Cache::builder().fill_limit(20).default_policy(patient).build()?;
    /// # drop(cache);
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    pub fn fill_limit(mut self, fills: usize) -> Self {
        self.fill_limit = Some(fills);
        self
    }

    /// How many fills may run in the background at once: those whose clients have gone, and refreshes. Beyond it they are
    /// given up. A quarter of the places is for refreshes alone. Default: 1024.
    pub fn background_limit(mut self, fills: usize) -> Self {
        self.background_limit = fills;
        self
    }

    /// How long a fill may run in the background. Default: 5 minutes.
    pub fn background_timeout(mut self, span: Duration) -> Self {
        self.background_timeout = span;
        self
    }

    #[cfg(test)]
    pub(super) fn journal(mut self, journal: Arc<dyn Journal>) -> Self {
        self.journal = Some(journal);
        self
    }

    /// A store behind the memory tier. Several are asked in the order in which they were given.
    ///
    /// What is in a store is used only as long as it is known what has been invalidated since. A store alone is an extension of
    /// the memory of this process: it takes a log, as `redis` and `disk` bring one, for processes to share it, or to find it
    /// again after a restart.
    pub fn store(mut self, store: impl Store) -> Self {
        self.stores.push(Arc::new(store));
        self
    }

    /// A folder on the disk of this machine, behind the memory tier and before Redis, so that a restart starts warm. What is found
    /// in Redis is written to it too.
    ///
    /// Without Redis its log keeps what was invalidated: [`Cache::invalidate`] returns `Ok` when that is on the disk, and after a
    /// restart, or a `kill -9`, it is invalidated still. With Redis the log is that of Redis.
    ///
    /// ```
    /// use larder::{Cache, Disk};
    ///
    /// let cache = Cache::builder().namespace("shop").disk(Disk::open("/var/cache/shop")).build()?;
    /// # let _ = cache;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    ///
    /// Nothing waits for it: as long as the folder cannot be opened the cache works without it, and says why in its statistics.
    #[cfg(feature = "disk")]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disk = Some(disk);
        self
    }

    /// Redis, behind the memory tier and all other stores, and its log of invalidations, which all processes of this namespace
    /// share.
    ///
    /// ```no_run
    /// use larder::{Cache, Redis};
    ///
    /// let cache = Cache::builder().namespace("shop").redis(Redis::open("redis://cache.internal:6379/1")?).build()?;
    /// # let _ = cache;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    ///
    /// Nothing waits for it: as long as it is away the cache works without it, and what is stored meanwhile stays in memory.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, redis: Redis) -> Self {
        self.redis = Some(redis);
        self
    }

    /// Where the log of invalidations is that processes of this namespace share, if not where [`redis`](CacheBuilder::redis) keeps
    /// responses: on a server that evicts nothing, for instance. Without any store, each process keeps what it has made itself,
    /// and what one has invalidated none serves.
    ///
    /// ```no_run
    /// use larder::{Cache, Redis};
    ///
    /// let cache = Cache::builder()
    ///     .redis(Redis::open("redis://cache.internal:6379/1")?)
    ///     .shared_log(Redis::open("redis://events.internal:6379")?)
    ///     .build()?;
    /// # let _ = cache;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    #[cfg(feature = "redis")]
    pub fn shared_log(mut self, redis: Redis) -> Self {
        self.shared_log = Some(redis);
        self
    }

    /// Encrypts what leaves the process for a store, and takes nothing from there that is not encrypted. The log of invalidations is
    /// not encrypted: tags, patterns, tenants and users that selectors name, and the targets of unsafe requests, stand there.
    ///
    /// ```
    /// # use larder::{Cache, KeyRing};
    /// # fn secret() -> [u8; 32] { [7; 32] }
    /// let ring = KeyRing::new("2026-11", secret()).expect("its name is a plain word");
    /// let cache = Cache::builder().encrypt(ring).build()?; // .redis(..) or .disk(..)
    /// # drop(cache);
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    #[cfg(feature = "encrypt")]
    pub fn encrypt(mut self, ring: KeyRing) -> Self {
        self.codec.ring = Some(ring);
        self
    }

    /// From which length on bodies are compressed in stores, where that is worth it; `None`: none are. Default: 4 KiB.
    #[cfg(feature = "zstd")]
    pub fn compress_from(mut self, bytes: Option<usize>) -> Self {
        self.codec.compress_from = bytes;
        self
    }

    /// Where several processes share an invalidation log: what one has invalidated is not served by the others longer than
    /// this, whatever messages are lost. It is mostly a matter of milliseconds. Default: 5 seconds.
    pub fn coherence_bound(mut self, bound: Duration) -> Self {
        self.log_times.coherence = bound;
        self
    }

    /// Where several processes share an invalidation log: one that cannot read it uses what it has filled for so long, counted
    /// from the later of the fill and the last contact; so each response is then made at most once in this time. Default: 30
    /// seconds.
    pub fn isolation(mut self, span: Duration) -> Self {
        self.log_times.isolation = span;
        self
    }

    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The cache. Does no IO.
    ///
    /// # Errors
    ///
    /// If sizes are zero or absurd, names have letters that keys cannot, or the default policy contradicts itself.
    pub fn build(self) -> Result<Cache, ConfigError> {
        check_word("namespace", Some(&self.namespace))?;
        check_word("version", self.version.as_deref())?;
        if !(64 * 1024..=1 << 50).contains(&self.memory) {
            return fault(format!("memory({}): between 64 KiB and 2^50 bytes are possible", self.memory));
        }
        if self.entries == Some(0) {
            return fault(
                "memory_entries(0) would hold nothing: leave it out for no limit but that in bytes".to_owned(),
            );
        }
        if let Some(text) = self.dependencies.fault() {
            return fault(text);
        }
        if self.fill_limit == Some(0) {
            return fault("fill_limit(0) would let nothing be filled: leave it out for no limit".to_owned());
        }
        if self.fill_limit.is_some_and(|fills| fills > Semaphore::MAX_PERMITS) {
            return fault(format!(
                "fill_limit({:?}): at most {} are possible",
                self.fill_limit,
                Semaphore::MAX_PERMITS
            ));
        }
        if self.background_timeout.is_zero() {
            return fault("background_timeout(0s) would break off every refresh: the default is 300 s".to_owned());
        }
        if self.log_times.coherence < Duration::from_millis(100) {
            return fault(format!("coherence_bound({:?}): 100 ms or more are possible", self.log_times.coherence));
        }
        if let Some(bytes) = self.tenant_share {
            self.check_share(bytes)?;
        }
        let half = self.memory / 2;
        if let Some(bytes) = self.max_object.filter(|bytes| !(1..=half).contains(bytes)) {
            return fault(format!(
                "max_object({bytes}): between 1 and half of the memory tier, {half} bytes, are possible"
            ));
        }
        let max_object = self.max_object.unwrap_or(8 * MIB).min(half);
        static IDS: AtomicU64 = AtomicU64::new(0);
        let memory = Memory::new(Sizes {
            bytes: self.memory as u64,
            entries: self.entries.map(|entries| entries as u64),
            max_object: (max_object + max_object / 16 + 64 * 1024).min(half) as u64,
            tenant_share: self.tenant_share.map(|bytes| bytes as u64),
        });
        let (mut stores, mut journal, mut queue) = (self.stores, self.journal, (1024, 64 << 20));
        let mut teller: Option<Arc<dyn Teller>> = None;
        #[cfg(feature = "redis")]
        let log = self.shared_log.as_ref().or(self.redis.as_ref());
        let mut log_times = self.log_times;
        #[cfg(feature = "disk")]
        if let Some(disk) = &self.disk {
            #[cfg(feature = "redis")]
            let other = log.map(Redis::place);
            #[cfg(not(feature = "redis"))]
            let other = None;
            if other.is_none() {
                // Nobody else writes it: what this process has filled is good whether it can be read or not.
                log_times.isolation = Duration::MAX;
                journal = Some(disk.journal(&self.namespace)?);
            }
            stores.push(disk.tier(&self.namespace, other)?);
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            stores.push(redis.store()?);
            queue = redis.queue_limits();
            teller = redis.teller()?;
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = log {
            journal = Some(redis.journal(&self.namespace)?);
        }
        // What some features leave as it is.
        let _ = (&mut stores, &mut journal, &mut queue, &mut log_times, &mut teller);
        let tiers = |codec| Tiers::new(stores, codec, &self.namespace, queue);
        let tiers = tiers(Codec { largest: usize::try_from(memory.largest()).unwrap_or(usize::MAX), ..self.codec });
        let clock = self.clock.unwrap_or_else(Clock::system);
        let now = clock.now();
        let cache = Cache(Arc::new(Inner {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            past: Past::new(&self.namespace, now),
            namespace: self.namespace,
            version: self.version,
            policy: self.policy,
            status: StatusLine::new(self.status),
            clock,
            memory,
            dependencies: self.dependencies,
            ledger: Ledger::new(Limits::default()),
            log: journal.map_or_else(Log::own, |journal| Log::shared(journal, log_times)),
            hearing: teller.map(|teller| Hearing::new(teller, &tiers.places)),
            tiers,
            counters: Counters::default(),
            book: Book::open(super::export::watched(self.watch).of(&self.name), now),
            observed: super::observe::Observed::default(),
            verifications: super::verify::Verifications::default(),
            query_rules: std::sync::RwLock::default(),
            searches: Arc::default(),
            fills: AtomicU64::new(FROM_A_STORE + 1),
            sweeping: AtomicBool::new(false),
            flights: Arc::new(FillFlights::new(FLIGHT_SHARDS)),
            uncacheable: Uncacheable::default(),
            uses: Uses::default(),
            values: Mutex::default(),
            background: Background::new(self.background_limit, self.background_timeout),
            fill_places: self.fill_limit.map(|fills| Arc::new(Semaphore::new(fills))),
            dice: rapidhash::fast::RandomState::default(),
            thrown: AtomicU64::new(0),
            warned: Warned::default(),
        }));
        Rules::new(&cache.0.policy, cache.unit())?;
        cache.warn_of_namespace();
        Ok(cache)
    }

    fn check_share(&self, bytes: usize) -> Result<(), ConfigError> {
        let memory = self.memory;
        if !(64 * 1024..=memory).contains(&bytes) {
            return fault(format!(
                "tenant_share({bytes}): between 64 KiB and the size of the memory tier, {memory} bytes, are possible"
            ));
        }
        match self.entries {
            Some(entries) => fault(format!(
                "tenant_share({bytes}) and memory_entries({entries}): entries are not counted by tenant, so leave out one \
                 of the two"
            )),
            None => Ok(()),
        }
    }
}

fn fault<T>(text: String) -> Result<T, ConfigError> {
    Err(ConfigError::new(text))
}

/// Flights are looked up under the lock of one of so many parts of their table.
const FLIGHT_SHARDS: usize = 32;

const MIB: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_cannot_be_meant_are_named() {
        let of = |builder: CacheBuilder| builder.build().unwrap_err().to_string();
        for (builder, says) in [
            (Cache::builder().memory(0), "memory(0)"),
            (Cache::builder().memory(usize::MAX), "2^50"),
            (Cache::builder().memory_entries(0), "memory_entries(0)"),
            (Cache::builder().memory(MIB).max_object(MIB), "524288"),
            (Cache::builder().max_object(0), "max_object(0)"),
            (Cache::builder().tenant_share(0), "tenant_share(0): between 64 KiB and"),
            (Cache::builder().tenant_share(64 * 1024 - 1), "tenant_share(65535): between 64 KiB and"),
            (Cache::builder().memory(MIB).tenant_share(MIB + 1), "1048576 bytes, are possible"),
            (Cache::builder().memory_entries(9).tenant_share(MIB), "memory_entries(9): entries are not counted"),
            (Cache::builder().namespace("a b"), "namespace"),
            (Cache::builder().version(""), "version"),
            (Cache::builder().default_policy(Policy::from_response().max_variants(0)), "max_variants"),
        ] {
            let text = of(builder);
            assert!(text.contains(says), "{text:?} should say {says:?}");
        }
        assert!(Cache::builder().memory(64 * 1024).build().is_ok());
        assert!(Cache::builder().memory(64 * 1024).tenant_share(64 * 1024).build().is_ok());
    }
}

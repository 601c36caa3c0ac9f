//! Redis, as a store behind the memory tier.
//!
//! Nothing here lets a client wait for a connection: those are made, watched and made anew in the background. An operation
//! has the budget and no more, a server that fails again and again is left alone, and whatever fails is a miss.
//! Nothing else in the crate knows the protocol, and no type of the client library leaves this folder.

mod address;
mod breaker;
mod cluster;
mod dial;
mod fault;
mod info;
mod journal;
mod line;
mod link;
mod node;
mod run;
mod scan;
mod sentinel;
mod slots;
mod store;
#[cfg(test)]
mod tests;
mod tls;
mod tracking;

use super::{Journal, Store, StoreError, Teller};
use crate::config_error::ConfigError;
use address::{Address, Url};
use breaker::Limits;
use dial::{Dialer, Login};
use journal::RedisJournal;
use std::{
    env, fmt,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use store::RedisStore;
use tls::Tls;
use tracking::Tracking;

pub(crate) use link::Link;

/// Where Redis is and how it is used: one server, a group with sentinels, or a cluster. Redis 6.2 or later.
///
/// ```
/// use larder::Redis;
/// use std::time::Duration;
///
/// let redis = Redis::open("redis://cache.internal:6379/1")?.budget(Duration::from_millis(20));
/// # let _ = redis;
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// To make one does no IO and needs no runtime. Connections are made in the background, from the first use on, and for as
/// long as there is a clone; clones share them. A server that is away is tried again at least each second. It takes a tokio
/// runtime with IO and timers.
///
/// | what happens | what follows |
/// |---|---|
/// | no connection | every operation fails at once, until there is one: within 5 s of the server's return |
/// | no answer within the budget | the operation fails, and its connection is avoided; without an answer to a PING within 0.5 s, or twice the budget if that is more, it is made anew |
/// | 5 failures in a row | the server is left alone; each second a PING in the background finds out whether it is back |
/// | `READONLY` | the write fails, and all connections are made anew, to whichever server is the primary now |
/// | `LOADING`, `OOM`, no permission | the operation fails at once |
///
/// A user of its own needs these permissions: `+get +mget +set +unlink +scan +getrange +ping +info +dbsize`; for the log of
/// invalidations `+eval +evalsha +xadd +xread +xrevrange +pexpire`; with a database other than 0 `+select`, with sentinels
/// `+role`, in a cluster `+cluster|slots +asking`, with
/// [`client_tracking`](Redis::client_tracking) `+client|tracking`; and the keys of the namespace, `~larder:NAMESPACE:*`.
#[derive(Clone)]
#[must_use = "it does nothing until it is given to a cache"]
pub struct Redis {
    setup: Setup,
    fault: Option<ConfigError>,
    link: Arc<OnceLock<Arc<Link>>>,
}

/// All that was said about a Redis.
#[derive(Clone, Debug)]
struct Setup {
    place: Place,
    dialer: Dialer,
    budget: Duration,
    connections: usize,
    /// Writes, and bytes of them, that may wait.
    queue: (usize, usize),
    breaker: Limits,
    sample_every: Duration,
    client_tracking: bool,
}

#[derive(Clone, Debug)]
enum Place {
    One(Address),
    Cluster(Vec<Address>),
    Sentinel { urls: Vec<Url>, group: String },
}

impl Redis {
    /// One server: `redis://user:password@host:6379/1`, `rediss://..` with TLS (feature `redis-tls`), or
    /// `redis+unix:///path?db=1&user=name&pass=word`. User, password, port (6379) and database (0) may be left out. What
    /// has a meaning in URLs must be percent-encoded.
    ///
    /// # Errors
    ///
    /// If the URL is none of these. The text never has the password.
    pub fn open(url: impl AsRef<str>) -> Result<Self, ConfigError> {
        let url = Url::parse(url.as_ref())?;
        Ok(Self::new(Place::One(url.address.clone()), &url))
    }

    /// A cluster. Any of its nodes will do; the others are found from there. User and password are those of the first URL.
    /// A cluster has only database 0.
    ///
    /// ```
    /// # use larder::Redis;
    /// let redis = Redis::cluster(["redis://a.internal:6379", "redis://b.internal:6379"])?;
    /// # let _ = redis;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no URL, one is no URL of a server, or not all are with TLS or without.
    pub fn cluster<U: AsRef<str>>(urls: impl IntoIterator<Item = U>) -> Result<Self, ConfigError> {
        let urls = several("cluster", urls)?;
        if let Some(database) = urls.iter().find_map(|url| url.database.filter(|database| *database > 0)) {
            return fault(format!("Redis::cluster: database {database}: a cluster has only database 0"));
        }
        let seeds = urls.iter().map(|url| url.address.clone()).collect();
        Ok(Self::new(Place::Cluster(seeds), &urls[0]))
    }

    /// Whichever server is the primary of the group that these sentinels watch. User and password in the URLs are those of
    /// the sentinels; those of the servers are set by [`username`](Self::username) and [`password`](Self::password).
    /// The database in the first URL is that of the servers. With `rediss://` both are spoken to with TLS.
    ///
    /// ```
    /// # use larder::Redis;
    /// let sentinels = ["redis://s1.internal:26379", "redis://s2.internal:26379", "redis://s3.internal:26379"];
    /// let redis = Redis::sentinel(sentinels, "mymaster")?.password("of the servers");
    /// # let _ = redis;
    /// # Ok::<(), larder::ConfigError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no URL, one is no URL of a server, not all are with TLS or without, or the group has no name.
    pub fn sentinel<U: AsRef<str>>(
        urls: impl IntoIterator<Item = U>,
        group: impl Into<String>,
    ) -> Result<Self, ConfigError> {
        let (urls, group) = (several("sentinel", urls)?, group.into());
        if group.is_empty() {
            return fault("Redis::sentinel: the name of the group is missing, often it is `mymaster`".to_owned());
        }
        let servers = Url { username: None, password: None, ..urls[0].clone() };
        Ok(Self::new(Place::Sentinel { urls, group }, &servers))
    }

    /// The server that the environment's `REDIS_URL` names; without that `redis://127.0.0.1:6379/1`.
    ///
    /// # Errors
    ///
    /// Those of [`Redis::open`].
    pub fn from_env() -> Result<Self, ConfigError> {
        match env::var("REDIS_URL") {
            Ok(url) => Self::open(url),
            Err(env::VarError::NotPresent) => Self::open("redis://127.0.0.1:6379/1"),
            Err(env::VarError::NotUnicode(_)) => fault("REDIS_URL is not valid Unicode".to_owned()),
        }
    }

    /// How long a request may wait for Redis, all that it asks together. A write, which no request waits for, has as long
    /// once more for each 512 KiB. Default: 50 ms.
    pub fn budget(self, budget: Duration) -> Self {
        let possible = Duration::from_millis(1)..=Duration::from_secs(60);
        self.checked(possible.contains(&budget), || format!("budget({budget:?}): 1 ms to 60 s are possible"))
            .with(|setup| setup.budget = budget)
    }

    /// How many connections, to each server; each carries many operations at once. Default: 4.
    pub fn connections(self, connections: usize) -> Self {
        self.checked((1..=256).contains(&connections), || format!("connections({connections}): 1 to 256 are possible"))
            .with(|setup| setup.connections = connections)
    }

    /// The user, where the server has several. Default: that of the URL.
    pub fn username(self, username: impl Into<String>) -> Self {
        self.with(|setup| setup.dialer.login.username = Some(username.into()))
    }

    /// The password. Default: that of the URL.
    pub fn password(self, password: impl Into<String>) -> Self {
        self.with(|setup| setup.dialer.login.password = Some(password.into()))
    }

    /// The number of the database. Default: that of the URL, or 0.
    pub fn database(self, database: u32) -> Self {
        let possible = database == 0 || !matches!(self.setup.place, Place::Cluster(_));
        self.checked(possible, || format!("database({database}): a cluster has only database 0"))
            .with(|setup| setup.dialer.login.database = database)
    }

    /// Trusts the authorities of these certificates (PEM), in place of those that the system trusts.
    #[cfg(feature = "redis-tls")]
    pub fn tls_ca(mut self, pem: impl AsRef<[u8]>) -> Self {
        let result = self.setup.dialer.tls.trust(pem.as_ref());
        self.note(result)
    }

    /// Shows the server a certificate, with the chain it needs, and proves it by its key (both PEM).
    #[cfg(feature = "redis-tls")]
    pub fn tls_client(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        let result = self.setup.dialer.tls.identify(certificate.as_ref(), key.as_ref());
        self.note(result)
    }

    /// How many writes, and how many bytes of them, may wait to be sent. More are dropped, and counted. Default: 1024 and
    /// 64 MiB.
    pub fn queue(self, writes: usize, bytes: usize) -> Self {
        self.checked(writes > 0 && bytes > 0, || {
            format!("queue({writes}, {bytes}) would keep nothing: at least 1 is possible")
        })
        .with(|setup| setup.queue = (writes, bytes))
    }

    /// After how many failures in a row a server is left alone, and how often a probe then asks whether it is back.
    /// Default: 5, and 1 s.
    pub fn breaker(self, failures: u32, probe_every: Duration) -> Self {
        self.checked(failures > 0 && !probe_every.is_zero(), || {
            format!("breaker({failures}, {probe_every:?}): at least 1 failure, and a time between probes, are needed")
        })
        .with(|setup| setup.breaker = Limits { failures, probe_every })
    }

    /// How often `INFO` is read, and idle connections are looked at. Default: 30 s.
    pub fn sample_every(self, every: Duration) -> Self {
        self.checked(every >= Duration::from_millis(10), || {
            format!("sample_every({every:?}): at least 10 ms are needed")
        })
        .with(|setup| setup.sample_every = every)
    }

    /// Whether Redis tells of what changes in it (`CLIENT TRACKING` with `BCAST`, over RESP3), so that what somebody else has
    /// deleted there, by hand for example, is not served from memory any more. Default: no, since what is invalidated is told
    /// by the log.
    ///
    /// What has changed is looked for in Redis before it is served again; so is, once, what this process has written
    /// itself. What Redis had and has no more, deleted, expired or evicted, is made anew; what a disk before it has is
    /// removed there too, if it was in memory. What is on a disk alone, after a restart for example, is served from
    /// there. While there is no connection nothing is heard; as soon as there is one, within 5 s after Redis is back,
    /// all that is in memory is compared, each before its next use. A connection that has died unnoticed is found
    /// within 2 s and the time that a PING may take. Takes one connection more to each server, half a megabyte of
    /// memory, and the permission `+client|tracking`.
    pub fn client_tracking(self, client_tracking: bool) -> Self {
        self.with(|setup| setup.client_tracking = client_tracking)
    }

    /// The store alone, for tools and tests. A cache that is given this Redis uses the same one.
    ///
    /// # Errors
    ///
    /// If something was set that cannot be, or that contradicts something else.
    pub fn store(&self) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(Arc::new(RedisStore::new(self.link()?)))
    }

    /// Waits until Redis can be asked, but not longer than this. For tools, tests, and applications that want to start with
    /// it: a cache does not need it.
    ///
    /// # Errors
    ///
    /// If it cannot be asked by then, does not let us, or something was set that cannot be.
    pub async fn ready(&self, within: Duration) -> Result<(), StoreError> {
        self.link().map_err(|_| StoreError::Denied)?.ready(within).await
    }

    /// When the last record of a namespace's log of invalidations was written; nothing where there is no log: no cache of this
    /// namespace has been here, or the log was lost. For tools, which write to a log and have no other way to notice that
    /// nobody reads it.
    ///
    /// # Errors
    ///
    /// If it cannot be asked within the [`budget`](Self::budget), does not let us, or something was set that cannot be.
    pub async fn log_end(&self, namespace: &str) -> Result<Option<SystemTime>, StoreError> {
        let link = self.link().map_err(|_| StoreError::Denied)?;
        RedisJournal::new(link, namespace).last(self.setup.budget).await
    }

    /// Which one it is, whoever we are there.
    #[cfg(feature = "disk")]
    pub(crate) fn place(&self) -> String {
        let database = self.setup.dialer.login.database;
        match &self.setup.place {
            Place::One(address) => format!("redis {address} {database}"),
            Place::Cluster(seeds) => format!("cluster {}", listed(seeds)),
            Place::Sentinel { urls, group } => {
                let addresses: Vec<_> = urls.iter().map(|url| url.address.clone()).collect();
                format!("sentinel {} {group} {database}", listed(&addresses))
            }
        }
    }

    /// The invalidation log of a namespace.
    pub(crate) fn journal(&self, namespace: &str) -> Result<Arc<dyn Journal>, ConfigError> {
        Ok(Arc::new(RedisJournal::new(self.link()?, namespace)))
    }

    /// What tells of changes, if it is to.
    pub(crate) fn teller(&self) -> Result<Option<Arc<dyn Teller>>, ConfigError> {
        let link = self.link()?;
        Ok(self.setup.client_tracking.then(|| Arc::new(Tracking::new(link)) as _))
    }

    /// The connections. All clones have the same.
    pub(crate) fn link(&self) -> Result<Arc<Link>, ConfigError> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None => Ok(Arc::clone(self.link.get_or_init(|| Arc::new(Link::new(self.setup.clone()))))),
        }
    }

    /// How many writes, and how many bytes of them, may wait.
    pub(crate) fn queue_limits(&self) -> (usize, u64) {
        (self.setup.queue.0, self.setup.queue.1 as u64)
    }

    fn new(place: Place, url: &Url) -> Self {
        let login = Login {
            username: url.username.clone(),
            password: url.password.clone(),
            database: url.database.unwrap_or(0),
        };
        let setup = Setup {
            place,
            dialer: Dialer { login, tls: Tls::default(), pushes: None },
            budget: Duration::from_millis(50),
            connections: 4,
            queue: (1024, 64 << 20),
            breaker: Limits { failures: 5, probe_every: Duration::from_secs(1) },
            sample_every: Duration::from_secs(30),
            client_tracking: false,
        };
        Self { setup, fault: None, link: Arc::default() }
    }

    /// One that is set otherwise has connections of its own.
    fn with(mut self, set: impl FnOnce(&mut Setup)) -> Self {
        set(&mut self.setup);
        self.link = Arc::default();
        self
    }

    fn checked(self, possible: bool, says: impl FnOnce() -> String) -> Self {
        self.note(if possible { Ok(()) } else { fault(says()) })
    }

    /// Keeps the first fault, to be told by whatever uses this.
    fn note(mut self, result: Result<(), ConfigError>) -> Self {
        self.fault = self.fault.or(result.err());
        self.link = Arc::default();
        self
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("setup", &self.setup).field("fault", &self.fault).finish_non_exhaustive()
    }
}

/// In whatever order they were given.
#[cfg(feature = "disk")]
fn listed(addresses: &[Address]) -> String {
    let mut texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.join(",")
}

fn several<U: AsRef<str>>(what: &str, urls: impl IntoIterator<Item = U>) -> Result<Vec<Url>, ConfigError> {
    let urls: Vec<_> = urls.into_iter().map(|url| Url::parse(url.as_ref())).collect::<Result<_, _>>()?;
    let Some(first) = urls.first() else {
        return fault(format!("Redis::{what}: at least one URL is needed"));
    };
    for url in &urls {
        if let Address::Unix(path) = &url.address {
            return fault(format!("Redis::{what}: {path}: hosts are needed, not a path"));
        }
        if url.address.is_tls() != first.address.is_tls() {
            return fault(format!("Redis::{what}: {} and {}: TLS for all or for none", first.address, url.address));
        }
    }
    Ok(urls)
}

fn fault<T>(text: String) -> Result<T, ConfigError> {
    Err(ConfigError::new(text))
}

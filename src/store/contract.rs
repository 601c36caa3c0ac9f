//! What a store behind the memory tier has to do.

use bytes::Bytes;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

/// A store behind the memory tier: keys and bytes, each with a time to live.
///
/// What a cache gives it is sealed: it has a format version, a checksum and its own key, and is checked when it comes back.
/// So a store may lose anything at any time, and an operation that fails is one that found nothing. It must not give
/// the bytes of another key, and must end what it was told to keep for a time when that time is over.
///
/// Operations may be dropped at any point, and must leave the store usable. None may take longer than the store's own
/// limit: whoever asks is a client who waits.
///
/// ```
/// use larder::{Cache, Cursor, Page, Store, StoreFuture, StoreKey, StoreStats};
/// use bytes::Bytes;
/// use std::{collections::BTreeMap, sync::{Mutex, MutexGuard, PoisonError}, time::{Duration, Instant}};
///
/// /// A table in this process, to show what there is to do.
/// #[derive(Debug, Default)]
/// struct Table(Mutex<BTreeMap<StoreKey, (Bytes, Instant)>>);
///
/// impl Table {
///     fn rows(&self) -> MutexGuard<'_, BTreeMap<StoreKey, (Bytes, Instant)>> {
///         let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
///         rows.retain(|_, (_, end)| *end > Instant::now());
///         rows
///     }
/// }
///
/// impl Store for Table {
///     fn name(&self) -> &str {
///         "table"
///     }
///
///     fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
///         let rows = self.rows(); // over a network: `StoreFuture::boxed(async move { .. })`
///         StoreFuture::ready(Ok(keys.iter().map(|key| rows.get(key).map(|(value, _)| value.clone())).collect()))
///     }
///
///     fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
///         self.rows().insert(key, (value, Instant::now() + ttl));
///         StoreFuture::ready(Ok(()))
///     }
///
///     fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
///         self.rows().retain(|key, _| !keys.contains(key));
///         StoreFuture::ready(Ok(()))
///     }
///
///     fn scan<'a>(&'a self, prefix: &'a str, _: Option<Cursor>, head: usize) -> StoreFuture<'a, Page> {
///         let rows = self.rows();
///         let found = rows.iter().filter(|(key, _)| key.as_str().starts_with(prefix));
///         let found = found.map(|(key, (value, _))| (key.clone(), value.slice(..head.min(value.len())))).collect();
///         StoreFuture::ready(Ok(Page { found, next: None })) // all on one page
///     }
///
///     fn stats(&self) -> StoreFuture<'_, StoreStats> {
///         let mut stats = StoreStats::default();
///         stats.entries = Some(self.rows().len() as u64);
///         StoreFuture::ready(Ok(stats))
///     }
/// }
///
/// let cache = Cache::builder().store(Table::default()).build()?;
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What it is called in statistics: `redis`, `disk`.
    fn name(&self) -> &str;

    /// What is kept under these keys, in their order: one round trip where there is one. A store in several parts finds
    /// nothing in one that fails, and fails if all do.
    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>>;

    /// Keeps the value under the key, in place of what is there, and ends it after `ttl`, which is at least a millisecond.
    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()>;

    /// Removes what is kept under these keys.
    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()>;

    /// A page of what is kept under keys that begin like `prefix`: each key, and up to `head` of its first bytes. What is there
    /// from the first page to the last is seen at least once; what comes or goes meanwhile may be. A page may be empty
    /// although others follow.
    fn scan<'a>(&'a self, prefix: &'a str, from: Option<Cursor>, head: usize) -> StoreFuture<'a, Page>;

    /// What it holds, all users of it together, as far as it can tell without looking at everything.
    fn stats(&self) -> StoreFuture<'_, StoreStats>;

    /// Takes the lease of this name, unless somebody has it; it ends after `ttl`, or when it is released. True if it was taken. A
    /// store that only one process uses need not do anything: those of one process wait for each other anyway.
    fn lease<'a>(&'a self, name: &'a StoreKey, token: &'a [u8], ttl: Duration) -> StoreFuture<'a, bool> {
        let _ = (name, token, ttl);
        StoreFuture::ready(Ok(true))
    }

    /// Gives the lease of this name back, if it was taken with this token, and is not another's by now.
    fn release<'a>(&'a self, name: &'a StoreKey, token: &'a [u8]) -> StoreFuture<'a, ()> {
        let _ = (name, token);
        StoreFuture::ready(Ok(()))
    }

    /// How long a request waits for it, all operations together; nothing for one that is always quick.
    fn budget(&self) -> Option<Duration> {
        None
    }

    /// What it told of itself when it last was asked, or told it unasked; nothing if it never was. Asks nobody.
    fn last_stats(&self) -> Option<StoreStats> {
        None
    }

    /// Whether it is worth asking now. One that has just failed, again and again, is not, for a while; neither is one that
    /// is not connected. To ask is enough to make it find out whether that is still so.
    fn is_available(&self) -> bool {
        true
    }

    /// Why it is not worth asking, where it knows more than that it has failed: for statistics.
    fn unavailable(&self) -> StoreError {
        StoreError::Resting
    }

    /// The longest time to live of what it had when it was opened, as far as that is known: so long it is remembered
    /// what was invalidated.
    fn kept_for(&self) -> Option<Duration> {
        None
    }
}

/// A key in a store: printable ASCII without blanks, up to 512 bytes. Keys of one namespace begin alike.
///
/// ```
/// use larder::StoreKey;
///
/// let key = StoreKey::new("shop:2:products").unwrap();
/// assert_eq!(key.as_str(), "shop:2:products");
/// assert_eq!(StoreKey::new("two words"), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey(Box<str>);

/// Where a scan goes on; only the store that gave it can read it.
///
/// ```
/// use larder::Cursor;
///
/// // Of a store that goes on by number.
/// let cursor = Cursor(Box::from(1000_u64.to_be_bytes()));
/// let from = cursor.0.as_ref().try_into().map_or(0, u64::from_be_bytes);
/// assert_eq!(from, 1000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor(pub Box<[u8]>);

/// A page of a scan.
///
/// ```
/// use larder::{Cursor, Page, StoreKey};
///
/// /// A page of 1000 of these rows, which are sorted; `at` is how many came before.
/// fn page(rows: &[(StoreKey, bytes::Bytes)], at: usize) -> Page {
///     let end = rows.len().min(at + 1000);
///     let next = (end < rows.len()).then(|| Cursor(Box::from(end.to_be_bytes())));
///     Page { found: rows[at..end].to_vec(), next }
/// }
///
/// assert_eq!(page(&[], 0), Page::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys, and the first bytes of what is kept under them.
    pub found: Vec<(StoreKey, Bytes)>,
    /// Where to go on; nothing at the end.
    pub next: Option<Cursor>,
}

/// What a store holds, as far as it can tell.
///
/// ```
/// use larder::StoreStats;
///
/// let mut stats = StoreStats::default(); // it can tell nothing
/// stats.entries = Some(12_000);
/// stats.limit = Some(1 << 30);
/// assert_eq!(stats.bytes, None);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// How many keys.
    pub entries: Option<u64>,
    /// How many bytes they take.
    pub bytes: Option<u64>,
    /// How many bytes they may take.
    pub limit: Option<u64>,
    /// How many were given up for want of room, since the store was started.
    pub evicted: Option<u64>,
}

/// Why an operation of a store failed.
///
/// ```
/// use larder::StoreError;
/// use std::io::ErrorKind;
///
/// // Of a store over files.
/// fn failed(error: &std::io::Error) -> StoreError {
///     match error.kind() {
///         ErrorKind::PermissionDenied => StoreError::Denied,
///         ErrorKind::TimedOut => StoreError::Timeout,
///         _ => StoreError::Io,
///     }
/// }
///
/// assert_eq!(failed(&ErrorKind::TimedOut.into()).as_str(), "timeout");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreError {
    /// It took too long.
    Timeout,
    /// It cannot be reached, or the connection broke off.
    Unreachable,
    /// It has failed a moment ago, and was not asked.
    Resting,
    /// It takes no writes now: it is a replica, is loading, or is out of memory.
    ReadOnly,
    /// It does not let us: wrong password, or not permitted.
    Denied,
    /// It said something that cannot be understood.
    Protocol,
    /// The disk failed, or is full.
    Io,
    /// Another process uses it, and only one can.
    Locked,
    /// It was damaged, and has been set aside.
    Damaged,
}

/// What a store is doing; ready at once where it has nothing to wait for.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use larder::{StoreError, StoreFuture};
///
/// let known = StoreFuture::ready(Ok(7));
/// assert_eq!(known.await, Ok(7));
///
/// let asked = StoreFuture::boxed(async { Err::<u8, _>(StoreError::Unreachable) });
/// assert_eq!(asked.await, Err(StoreError::Unreachable));
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct StoreFuture<'a, T>(State<'a, T>);

enum State<'a, T> {
    Ready(Option<Result<T, StoreError>>),
    Boxed(Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>),
}

impl StoreKey {
    /// A key of this text; nothing if it is longer than 512 bytes or has others than printable ASCII.
    pub fn new(text: impl Into<Box<str>>) -> Option<Self> {
        let text = text.into();
        let possible = !text.is_empty() && text.len() <= 512 && text.bytes().all(|byte| byte.is_ascii_graphic());
        possible.then_some(Self(text))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for StoreKey {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a, T> StoreFuture<'a, T> {
    /// What is known at once.
    pub fn ready(result: Result<T, StoreError>) -> Self {
        Self(State::Ready(Some(result)))
    }

    /// What has to be waited for.
    pub fn boxed(future: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Self {
        Self(State::Boxed(Box::pin(future)))
    }
}

impl<T> Unpin for StoreFuture<'_, T> {}

impl<T> Future for StoreFuture<'_, T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Ready(result) => Poll::Ready(result.take().expect("a future is not polled after its end")),
            State::Boxed(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T> fmt::Debug for StoreFuture<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreFuture")
    }
}

impl StoreError {
    /// Its name in statistics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Resting => "resting",
            Self::ReadOnly => "read-only",
            Self::Denied => "denied",
            Self::Protocol => "protocol",
            Self::Io => "io",
            Self::Locked => "locked",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the store did not answer in time",
            Self::Unreachable => "the store cannot be reached",
            Self::Resting => "the store has just failed, and was not asked",
            Self::ReadOnly => "the store takes no writes now",
            Self::Denied => "the store does not permit this",
            Self::Protocol => "the store gave an answer that cannot be understood",
            Self::Io => "reading or writing the store failed",
            Self::Locked => "another process uses the store",
            Self::Damaged => "the store was damaged, and has been set aside",
        })
    }
}

impl std::error::Error for StoreError {}

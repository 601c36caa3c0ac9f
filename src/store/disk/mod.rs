//! A folder on the disk of this machine, as a store behind the memory tier, with the log of invalidations beside it.
//!
//! Both are SQLite files: the values in one that may lose its last moments, the log in one that may not. Nothing here
//! runs on the threads of the async runtime, and nothing else in the crate knows SQLite.

mod database;
mod engine;
mod eras;
mod journal;
mod link;
mod record;
mod records;
mod shelf;
mod store;
#[cfg(test)]
mod tests;
mod values;

use super::{Journal, Store};
use crate::{config_error::ConfigError, timer};
use eras::Home;
use journal::DiskJournal;
use link::Link;
use std::{
    path::{self, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};
use store::DiskStore;

/// A folder in which a cache keeps what it has stored, so that it starts warm after a restart.
///
/// ```
/// use larder::{Cache, Disk};
///
/// let disk = Disk::open("/var/cache/shop").bytes(4 << 30);
/// let cache = Cache::builder().namespace("shop").disk(disk).build()?;
/// # let _ = cache;
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// To make one does no IO and needs no runtime. The folder is opened in the background when it is first used, and made
/// if there is none; until then it has nothing. All in one process who open the same folder share it, each namespace
/// with its own log; another process cannot use it at the same time. It must be on a disk of this machine.
///
/// | what happens | what follows |
/// |---|---|
/// | the process is killed | what was stored is there again; of a write that was under way nothing is |
/// | the machine loses power | what was stored last may be lost; what was invalidated stays so |
/// | another process uses the folder | every operation fails at once, with the reason `locked`; each second it is tried again |
/// | the disk is full, or fails | the operation fails; what is invalidated meanwhile is said to be unconfirmed |
/// | the values are damaged | the file is set aside, and a new one begun |
/// | the log is damaged, or lacks records | what was stored before is not used |
/// | the cache has another log than before, that of Redis or that of the folder | what was stored before is not used |
///
/// It takes up to 10 MiB of memory. Only the user of the process may read its files;
/// [`CacheBuilder::encrypt`](crate::CacheBuilder::encrypt) makes the values useless to others who can. What selectors name
/// stands in the log as it is.
#[derive(Clone, Debug)]
#[must_use = "it does nothing until it is given to a cache"]
pub struct Disk {
    path: PathBuf,
    bytes: Option<u64>,
    budget: Duration,
}

impl Disk {
    /// The folder of this path. Only its files `larder.lock`, `larder-log.sqlite`, `larder-values.sqlite`, and those
    /// beside them whose names begin like them, are touched.
    pub fn open(path: impl AsRef<Path>) -> Self {
        Self { path: path.as_ref().to_owned(), bytes: None, budget: Duration::from_millis(50) }
    }

    /// How many bytes the values may take, all namespaces together: 1 MiB or more. What was not used for longest makes
    /// room; what is larger than half of it is not kept. Beside it there may be some MiB that wait to be filed, or
    /// what the largest value takes, and the log: about 30 MB with its 100 000 records, for each namespace. Default: 1
    /// GiB.
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.bytes = Some(bytes);
        self
    }

    /// How long a request may wait for a lookup. Default: 50 ms.
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = budget;
        self
    }

    /// The store alone, for tools and tests. It does not see what caches have in the folder.
    ///
    /// # Errors
    ///
    /// If the path is none, or a size or time cannot be.
    pub fn store(&self) -> Result<Arc<dyn Store>, ConfigError> {
        Ok(Arc::new(DiskStore::new(self.link()?, self.budget, None)))
    }

    /// Waits until the folder is open, but not longer than this. For tools, tests, and applications that want to start
    /// with it: a cache does not need it.
    ///
    /// # Errors
    ///
    /// If another process uses the folder, it cannot be opened or not in this time, or something was set that cannot
    /// be.
    pub async fn ready(&self, within: Duration) -> Result<(), ConfigError> {
        let link = self.link()?;
        match timer::within(within, link.opened()).await {
            Some(Ok(_)) => Ok(()),
            Some(Err(refused)) => self.fault(&refused.text),
            None => self.fault(&format!("it is not open after {within:?}")),
        }
    }

    /// The store of a cache of this namespace, whose values are valid by the `log` of this name, if not by that of the
    /// folder.
    pub(crate) fn tier(&self, namespace: &str, log: Option<String>) -> Result<Arc<dyn Store>, ConfigError> {
        let own = Home::of_disk(namespace);
        let home = Home { log: log.unwrap_or(own.log), ..own };
        Ok(Arc::new(DiskStore::new(self.link()?, self.budget, Some(home))))
    }

    /// The invalidation log of a namespace.
    pub(crate) fn journal(&self, namespace: &str) -> Result<Arc<dyn Journal>, ConfigError> {
        Ok(Arc::new(DiskJournal::new(self.link()?, namespace)))
    }

    /// The path of the folder, if all that was set can be.
    pub(crate) fn check(&self) -> Result<PathBuf, ConfigError> {
        if let Some(bytes) = self.bytes.filter(|bytes| !(1 << 20..=1 << 50).contains(bytes)) {
            return self.fault(&format!("bytes({bytes}): between 1 MiB and 2^50 are possible"));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(60)).contains(&self.budget) {
            return self.fault(&format!("budget({:?}): 1 ms to 60 s are possible", self.budget));
        }
        if self.path.as_os_str().as_encoded_bytes().contains(&0) {
            return self.fault("no path has a zero byte in it");
        }
        path::absolute(&self.path).or_else(|error| self.fault(&format!("this is no path of a folder: {error}")))
    }

    /// What all in this process share who open this folder. The limit that was given last counts.
    fn link(&self) -> Result<Arc<Link>, ConfigError> {
        let path = self.check()?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|link| link.strong_count() > 0);
        let shared = open.iter().filter_map(Weak::upgrade).find(|link| link.folder() == path);
        if let Some(link) = shared {
            if let Some(bytes) = self.bytes {
                link.limit.store(bytes, Relaxed);
            }
            return Ok(link);
        }
        let link = Arc::new(Link::new(path, self.bytes.unwrap_or(BYTES)));
        open.push(Arc::downgrade(&link));
        Ok(link)
    }

    fn fault<T>(&self, text: &str) -> Result<T, ConfigError> {
        Err(ConfigError::new(format!("Disk::open({:?}): {text}", self.path)))
    }
}

/// What the values may take if nobody says.
const BYTES: u64 = 1 << 30;

/// The folders that are open in this process, or to be opened.
static OPEN: Mutex<Vec<Weak<Link>>> = Mutex::new(Vec::new());

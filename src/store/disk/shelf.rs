//! The values, in a file: one connection writes, some read. A file that is damaged is set aside, and a new one begun.

use super::database::{self, Fault, Result, Shape, pragma};
use crate::{
    store::StoreStats,
    sync::{AtomicU64, Mutex, MutexGuard, Ordering::Relaxed},
};
use rusqlite::{Connection, TransactionBehavior};
use std::{
    collections::HashSet,
    fmt, mem,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, TryLockError},
    time::Duration,
};

/// The values of a folder.
pub(super) struct Shelf {
    path: PathBuf,
    /// How many bytes the file may have.
    pub(super) limit: Arc<AtomicU64>,
    /// Dropped before the writer: the last one that closes files what waits to be filed, and has to be able to.
    readers: [Mutex<Option<Connection>>; READERS],
    writer: Mutex<Option<Connection>>,
    /// Raised when another file is begun.
    life: AtomicU64,
    /// What was asked for, and is to be noted with the next write.
    touched: Mutex<HashSet<i64>>,
    pub(super) told: Told,
}

/// What is known of the file.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Raised with each use that is noted: what was not used for longest has the lowest.
    pub(super) tick: AtomicU64,
    pub(super) entries: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) evicted: AtomicU64,
    /// The longest time to live of what was there when it was opened, in milliseconds.
    longest: AtomicU64,
}

impl Shelf {
    pub(super) fn open(path: PathBuf, limit: Arc<AtomicU64>) -> Result<Self> {
        let shelf = Self {
            path,
            limit,
            writer: Mutex::default(),
            readers: Default::default(),
            life: AtomicU64::new(1),
            touched: Mutex::default(),
            told: Told::default(),
        };
        shelf.connect(&mut lock(&shelf.writer))?;
        Ok(shelf)
    }

    /// Which file it is: another one after damage.
    pub(super) fn life(&self) -> u64 {
        self.life.load(Relaxed)
    }

    /// Reads.
    pub(super) fn read<T>(&self, act: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let life = self.life();
        let result = self.reader().as_ref().ok_or_else(closed).and_then(act);
        self.mended(life, result)
    }

    /// Writes: all of it, or nothing.
    pub(super) fn write<T>(&self, act: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.write_as(false, act)
    }

    /// The same, and on the disk when it returns.
    pub(super) fn write_for_good<T>(&self, act: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.write_as(true, act)
    }

    fn write_as<T>(&self, for_good: bool, act: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let life = self.life();
        let mut writer = lock(&self.writer);
        let result = writer.as_mut().ok_or_else(closed).and_then(|connection| {
            if for_good {
                connection.pragma_update(None, "synchronous", "FULL")?;
            }
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = act(&transaction)?;
            transaction.commit()?;
            self.measure(connection)?;
            Ok(result)
        });
        if let Some(connection) = &*writer {
            if for_good {
                let _ = connection.pragma_update(None, "synchronous", "NORMAL");
            }
            if matches!(result, Err(Fault::Io(_))) {
                database::give_back(connection);
            }
        }
        drop(writer);
        self.mended(life, result)
    }

    pub(super) fn stats(&self) -> StoreStats {
        let load = |counter: &AtomicU64| Some(counter.load(Relaxed));
        StoreStats {
            entries: load(&self.told.entries),
            bytes: load(&self.told.bytes),
            limit: load(&self.limit),
            evicted: load(&self.told.evicted),
        }
    }

    /// The longest time to live of what was there when it was opened.
    pub(super) fn kept_for(&self) -> Duration {
        Duration::from_millis(self.told.longest.load(Relaxed))
    }

    /// Notes that a value was asked for, if it is not one of those that were used last.
    pub(super) fn touch(&self, id: i64, used: u64) {
        let (tick, some) = (self.told.tick.load(Relaxed), self.told.entries.load(Relaxed) / 8);
        if tick.saturating_sub(used) > some {
            let mut touched = lock(&self.touched);
            if touched.len() < MOST_TOUCHED {
                touched.insert(id);
            }
        }
    }

    /// What was asked for since this was called last.
    pub(super) fn touched(&self) -> HashSet<i64> {
        mem::take(&mut *lock(&self.touched))
    }

    /// How many pages the file may have.
    pub(super) fn most_pages(&self) -> u64 {
        self.limit.load(Relaxed) / PAGE
    }

    /// A connection that nobody uses. So many read at once as there are.
    fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        for reader in &self.readers {
            match reader.try_lock() {
                Ok(reader) => return reader,
                Err(TryLockError::Poisoned(error)) => return error.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        lock(&self.readers[0])
    }

    /// Sets the file aside if it is damaged, and begins another.
    fn mended<T>(&self, life: u64, result: Result<T>) -> Result<T> {
        match &result {
            Err(Fault::Damaged(text)) => self.begin_anew(life, Some(text)),
            Err(Fault::Io(_)) if lock(&self.writer).is_none() => self.begin_anew(life, None),
            _ => {}
        }
        result
    }

    fn begin_anew(&self, life: u64, damage: Option<&str>) {
        let mut writer = lock(&self.writer);
        if self.life() != life {
            return;
        }
        // All have to be closed: the last one that closes removes what stands beside the file, by its name.
        self.readers.iter().for_each(|reader| *lock(reader) = None);
        *writer = None;
        if let Some(text) = damage {
            set_aside(&self.path, text);
        }
        if let Err(error) = self.connect(&mut writer) {
            tracing::warn!(target: "larder::store", path = %self.path.display(), %error, "the disk store cannot be begun anew");
        }
        self.life.fetch_add(1, Relaxed);
    }

    fn connect(&self, writer: &mut Option<Connection>) -> Result<()> {
        let opened = match self.open_file() {
            Err(Fault::Damaged(text)) => {
                set_aside(&self.path, &text);
                self.open_file()?
            }
            opened => opened?,
        };
        for reader in &self.readers {
            *lock(reader) = Some(database::reader(&self.path, &SHAPE)?);
        }
        self.measure(&opened)?;
        *writer = Some(opened);
        Ok(())
    }

    fn open_file(&self) -> Result<Connection> {
        let connection = database::open(&self.path, &SHAPE)?;
        // The log that is written ahead stays small beside the file.
        let pages = (self.most_pages() / 8).clamp(64, 1000);
        connection.pragma_update(None, "wal_autocheckpoint", pages)?;
        connection.pragma_update(None, "journal_size_limit", pages * PAGE)?;
        let sums = "SELECT count(*), max(used), max(span) FROM entries";
        let sums = connection
            .query_row(sums, [], |row| Ok((row.get(0)?, row.get::<_, Option<u64>>(1)?, row.get::<_, Option<u64>>(2)?)));
        let (entries, used, longest): (u64, _, _) = sums?;
        connection.query_row("SELECT count(*) FROM shelves, gone", [], |row| row.get::<_, u64>(0))?;
        self.told.entries.store(entries, Relaxed);
        self.told.tick.store(used.unwrap_or_default().saturating_add(1), Relaxed);
        self.told.longest.store(longest.unwrap_or_default(), Relaxed);
        Ok(connection)
    }

    /// Takes note of how large the file is, and makes it smaller if its limit is less than it was.
    fn measure(&self, connection: &Connection) -> Result<()> {
        let (pages, free) = pages(connection)?;
        self.told.bytes.store(pages.saturating_sub(free).saturating_mul(PAGE), Relaxed);
        if pages > self.most_pages() && free > 0 {
            let mut vacuum = connection.prepare_cached("PRAGMA incremental_vacuum(256)")?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
        }
        Ok(())
    }
}

/// How many pages the file has, and how many of them have nothing in them.
pub(super) fn pages(connection: &Connection) -> Result<(u64, u64)> {
    Ok((pragma(connection, "page_count")?, pragma(connection, "freelist_count")?))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets a file aside, and says so.
pub(super) fn set_aside(path: &Path, damage: &str) {
    let result = database::set_aside(path);
    tracing::warn!(target: "larder::store", path = %path.display(), damage, ?result, "a file of the disk store is set aside");
}

/// What cannot be asked, as it could not be opened.
pub(super) fn closed() -> Fault {
    Fault::Io("it is not open".to_owned())
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("path", &self.path).field("told", &self.told).finish_non_exhaustive()
    }
}

/// So many read at once.
pub(super) const READERS: usize = 4;

/// What SQLite has as its default.
pub(super) const PAGE: u64 = 4096;

const MOST_TOUCHED: usize = 10_000;

/// `shelves`: whose values are valid by which log, in which era, and how far that log was. `gone`: eras whose values
/// nobody can find any more. `entries`: where a value is, until when, for how long it was put there, and when it was
/// last used.
const SHAPE: Shape = Shape::new(
    b'v',
    "CREATE TABLE shelves (namespace TEXT PRIMARY KEY, log TEXT NOT NULL, era INTEGER NOT NULL,
        epoch BLOB, millis INTEGER, count INTEGER) WITHOUT ROWID;
    CREATE TABLE gone (era INTEGER PRIMARY KEY);
    CREATE TABLE entries (id INTEGER PRIMARY KEY, era INTEGER NOT NULL, key TEXT NOT NULL, ends INTEGER NOT NULL,
        span INTEGER NOT NULL, used INTEGER NOT NULL);
    CREATE UNIQUE INDEX by_key ON entries (era, key);
    CREATE INDEX by_end ON entries (ends);
    CREATE INDEX by_use ON entries (used);
    CREATE TABLE bodies (id INTEGER PRIMARY KEY, value BLOB NOT NULL);",
    "PRAGMA synchronous=NORMAL; PRAGMA cache_size=-1024",
);

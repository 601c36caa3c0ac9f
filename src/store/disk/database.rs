//! SQLite files: opening them, telling what is wrong with them, and setting aside what cannot be used.

use crate::store::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::{
    ffi::OsString,
    fs::{self, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// What a file has in it.
#[derive(Debug)]
pub(super) struct Shape {
    /// Tells its kind, and who made it.
    application: i32,
    /// Raised with each change of the tables.
    version: i32,
    tables: &'static str,
    /// What is set on each connection.
    settings: &'static str,
}

impl Shape {
    pub(super) const fn new(kind: u8, tables: &'static str, settings: &'static str) -> Self {
        Self { application: i32::from_be_bytes([b'l', b'r', b'd', kind]), version: 1, tables, settings }
    }
}

/// Why something could not be done in a file.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is none of ours, of another version, or damaged.
    Damaged(String),
    /// Another process has it.
    Locked,
    /// The disk failed or is full, or does not let us.
    Io(String),
}

pub(super) type Result<T, E = Fault> = std::result::Result<T, E>;

/// Opens a file for reading and writing, and makes it if there is none.
pub(super) fn open(path: &Path, shape: &Shape) -> Result<Connection> {
    create(path)?;
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, shape)?;
    let (application, version): (i32, i32) =
        (pragma(&connection, "application_id")?, pragma(&connection, "user_version")?);
    if (application, version) == (shape.application, shape.version) {
        return Ok(connection);
    }
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if (application, version, tables) != (0, 0, 0) {
        return Err(Fault::Damaged(format!("it is of another kind or version: {application:#x}, {version}")));
    }
    connection.execute_batch("PRAGMA auto_vacuum=INCREMENTAL")?;
    let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(Fault::Io(format!("there is no write-ahead log here, but {mode}")));
    }
    // All or nothing.
    let transaction = connection.transaction()?;
    transaction.execute_batch(shape.tables)?;
    transaction.pragma_update(None, "application_id", shape.application)?;
    transaction.pragma_update(None, "user_version", shape.version)?;
    transaction.commit()?;
    Ok(connection)
}

/// One more connection to a file that is open, for reading.
pub(super) fn reader(path: &Path, shape: &Shape) -> Result<Connection> {
    connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, shape)
}

fn connect(path: &Path, mode: OpenFlags, shape: &Shape) -> Result<Connection> {
    // Each connection is used by one thread at a time.
    let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    // Never mapped: a file that somebody cuts off would end the process.
    connection.execute_batch("PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON")?;
    connection.execute_batch(shape.settings)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(connection)
}

/// Takes a lock that other processes see, for as long as this lives. The file stays empty.
pub(super) fn lock(path: &Path) -> Result<Connection> {
    create(path)?;
    let take = || -> Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.execute_batch("PRAGMA journal_mode=MEMORY; BEGIN EXCLUSIVE")?;
        Ok(connection)
    };
    take().or_else(|fault| match fault {
        // Nobody holds it, or that would have been said before. What is in it is of no use to anyone.
        Fault::Damaged(_) => {
            OpenOptions::new().write(true).truncate(true).open(path)?;
            take()
        }
        fault => Err(fault),
    })
}

/// Has the value of a setting.
pub(super) fn pragma<T: rusqlite::types::FromSql>(connection: &Connection, name: &str) -> Result<T> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA {name}"))?;
    Ok(statement.query_row([], |row| row.get(0))?)
}

/// Files what waits in the write-ahead log, as far as it goes, and makes that empty: a disk that is full has room
/// again.
pub(super) fn give_back(connection: &Connection) {
    let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
}

/// Renames a file that nobody has open, and its write-ahead log, in place of what was set aside before.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    for part in ["", "-wal"] {
        ignore_missing(fs::rename(beside(path, part), beside(path, &format!(".set-aside{part}"))))?;
    }
    ignore_missing(fs::remove_file(beside(path, "-shm")))
}

/// Makes a folder that only this user may read, and those above it.
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes an empty file that only this user may read, if there is none. SQLite gives what it puts beside it the same
/// rights. One that is there is not touched: to close it would give up what this process has locked in it elsewhere.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        use ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, NoLargeFileSupport,
            OperationAborted, OperationInterrupted, OutOfMemory, PermissionDenied, ReadOnly, SystemIoFailure, TooBig,
        };
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Locked,
            Some(
                CannotOpen
                | DiskFull
                | FileLockingProtocolFailed
                | NoLargeFileSupport
                | OperationAborted
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
                | TooBig,
            ) => Self::Io(error.to_string()),
            // A table is not there, a column has what it cannot have, or SQLite says so itself.
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

impl From<&Fault> for StoreError {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Damaged(_) => Self::Damaged,
            Fault::Locked => Self::Locked,
            Fault::Io(_) => Self::Io,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damaged(text) | Self::Io(text) => f.write_str(text),
            Self::Locked => f.write_str("another process uses this folder: each needs its own"),
        }
    }
}

/// Nobody but this process has the file, and it waits for itself elsewhere.
const BUSY: Duration = Duration::from_secs(5);

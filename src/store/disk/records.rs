//! The logs of invalidations, in a file: on the disk when they are written.

use super::{
    database::{self, Fault, Result, Shape},
    record::{End, Record, Seal},
    shelf::{closed, lock, set_aside},
};
use crate::{
    invalidation::{Epoch, RecordId},
    random,
    store::{Draft, NodeId, Reading},
    sync::Mutex,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::{collections::BTreeMap, fmt, path::PathBuf};
use tokio::sync::watch;

/// The logs of a folder, each with the name of its namespace.
pub(super) struct Records {
    path: PathBuf,
    file: Mutex<File>,
}

#[derive(Default)]
struct File {
    connection: Option<Connection>,
    /// Those that have been looked through.
    known: BTreeMap<String, Known>,
}

struct Known {
    end: End,
    /// Its last record, for those who wait for another.
    grown: watch::Sender<RecordId>,
}

impl Records {
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let records = Self { path, file: Mutex::default() };
        records.with(|_| Ok(()))?;
        Ok(records)
    }

    /// Whether a log has been looked through.
    pub(super) fn is_known(&self, namespace: &str) -> bool {
        lock(&self.file).known.contains_key(namespace)
    }

    /// Looks through a log, and tells where it ends. It begins if there is none, or if it ends before the `witness`.
    pub(super) fn look_through(
        &self,
        namespace: &str,
        witness: Option<(Epoch, RecordId)>,
        now: u64,
    ) -> Result<(End, Begun)> {
        self.with(|file| {
            if let Some(known) = file.known.get(namespace) {
                return Ok((known.end, Begun(false)));
            }
            let mut end = verify(file.connection()?, namespace)?;
            let lost = witness.is_some_and(|(epoch, at)| epoch != end.epoch || at > end.id);
            if lost {
                tracing::warn!(
                    target: "larder::invalidate",
                    namespace,
                    "the invalidation log on disk has lost records: what was stored before is not used"
                );
            }
            let begun = lost || end.id == RecordId::default();
            if begun {
                let epoch = end.begin(Epoch(random::bytes()), now);
                end = write(file.connection()?, namespace, end, [epoch])?.0;
            }
            file.known.insert(namespace.to_owned(), Known { end, grown: watch::Sender::new(end.id) });
            Ok((end, Begun(begun)))
        })
    }

    /// Tells when a log has grown from here on. Nothing if it has to be looked through again.
    pub(super) fn growing(&self, namespace: &str) -> Option<watch::Receiver<RecordId>> {
        lock(&self.file).known.get(namespace).map(|known| known.grown.subscribe())
    }

    pub(super) fn append(
        &self,
        namespace: &str,
        node: NodeId,
        drafts: &[Draft],
        now: u64,
    ) -> Result<(End, Vec<RecordId>)> {
        self.with(|file| {
            let before = file.known(namespace)?.end;
            let mut last = before;
            let records = drafts.iter().map(|draft| {
                let record = last.follow(node, draft, now);
                last = record.end(record.seal(namespace));
                record
            });
            let records: Vec<_> = records.collect();
            let (end, ids) = write(file.connection()?, namespace, before, records)?;
            file.known(namespace)?.end_at(end);
            Ok((end, ids))
        })
    }

    /// Begins a new epoch, if this one has not ended yet.
    pub(super) fn renew(&self, namespace: &str, lost: Epoch, now: u64) -> Result<End> {
        self.with(|file| {
            let end = file.known(namespace)?.end;
            if end.epoch != lost {
                return Ok(end);
            }
            let epoch = end.begin(Epoch(random::bytes()), now);
            let (end, _) = write(file.connection()?, namespace, end, [epoch])?;
            file.known(namespace)?.end_at(end);
            Ok(end)
        })
    }

    /// What follows a record, or all from the beginning on, but not all at once.
    pub(super) fn read(&self, namespace: &str, after: Option<RecordId>) -> Result<Reading> {
        self.with(|file| {
            let end = file.known(namespace)?.end.id;
            let mut reading = Reading { end: Some(end), ..Reading::default() };
            if after.is_some_and(|after| after >= end) {
                return Ok(reading);
            }
            let connection = file.connection()?;
            // One that is not there any more, or was never in this file, is followed by all that there is.
            let there = match after {
                Some(id) => connection.prepare_cached(IS_THERE)?.exists(params![namespace, id.count, id.millis])?,
                None => false,
            };
            let after = after.filter(|_| there).map_or(0, |id| id.count);
            let mut statement = connection.prepare_cached(READ)?;
            let records = statement.query_map(params![namespace, after, PAGE], Record::of)?;
            reading.lines = records.map(|record| record.map(Record::line)).collect::<rusqlite::Result<_>>()?;
            reading.last = reading.lines.last().map(|line| line.heading.id);
            Ok(reading)
        })
    }

    /// Does something in the file, which is opened for it if it is not. One that is damaged is set aside, and another
    /// one begun: all logs in it have to be looked through again.
    fn with<T>(&self, act: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
        let mut file = lock(&self.file);
        if file.connection.is_none() {
            file.connection = Some(match database::open(&self.path, &SHAPE) {
                Err(Fault::Damaged(text)) => {
                    set_aside(&self.path, &text);
                    database::open(&self.path, &SHAPE)?
                }
                opened => opened?,
            });
        }
        let result = act(&mut file);
        if let Err(Fault::Damaged(text)) = &result {
            *file = File::default();
            set_aside(&self.path, text);
        }
        if let (Err(Fault::Io(_)), Some(connection)) = (&result, &file.connection) {
            database::give_back(connection);
        }
        result
    }
}

/// Whether a log has just begun, or begun anew.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun(pub(super) bool);

impl File {
    fn connection(&mut self) -> Result<&mut Connection> {
        self.connection.as_mut().ok_or_else(closed)
    }

    fn known(&mut self, namespace: &str) -> Result<&mut Known> {
        self.known.get_mut(namespace).ok_or_else(closed)
    }
}

impl Known {
    fn end_at(&mut self, end: End) {
        self.end = end;
        self.grown.send_replace(end.id);
    }
}

/// Looks through a log: each record is as it was written, and none is missing between the first and the end.
fn verify(connection: &Connection, namespace: &str) -> Result<End> {
    let damaged = |what: &str| Err(Fault::Damaged(format!("the log of {namespace}: {what}")));
    let mut statement = connection.prepare_cached(ALL)?;
    let mut rows = statement.query([namespace])?;
    let mut end: Option<End> = None;
    while let Some(row) = rows.next()? {
        let (record, seal) = (Record::of(row)?, row.get::<_, Seal>(8)?);
        let follows = |end: &End| {
            (record.id.count, record.previous, record.before) == (end.id.count + 1, end.id.millis, end.seal)
        };
        if record.seal(namespace) != seal || end.as_ref().is_some_and(|end| !follows(end)) {
            return damaged("a record was changed");
        }
        end = Some(record.end(seal));
    }
    let mut told = connection.prepare_cached("SELECT count, seal FROM ends WHERE namespace = ?1")?;
    let told = told.query_row([namespace], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, Seal>(1)?))).optional()?;
    match (end, told) {
        (None, None) => Ok(End::NONE),
        (Some(end), Some(told)) if told == (end.id.count, end.seal) => Ok(end),
        _ => damaged("its end is missing"),
    }
}

/// Writes what follows the end of a log, and drops what is too old. When it returns that is on the disk.
fn write(
    connection: &mut Connection,
    namespace: &str,
    end: End,
    records: impl IntoIterator<Item = Record>,
) -> Result<(End, Vec<RecordId>)> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let (mut end, mut ids) = (end, Vec::new());
    for record in records {
        let (id, seal) = (record.id, record.seal(namespace));
        transaction.prepare_cached(INSERT)?.execute(params![
            namespace,
            id.count,
            id.millis,
            record.previous,
            record.epoch.0,
            record.node.0,
            record.own,
            record.text,
            record.before,
            seal
        ])?;
        end = record.end(seal);
        ids.push(id);
    }
    transaction.prepare_cached("INSERT OR REPLACE INTO ends VALUES (?1, ?2, ?3)")?.execute(params![
        namespace,
        end.id.count,
        end.seal
    ])?;
    let old = end.id.count.saturating_sub(KEPT);
    transaction
        .prepare_cached("DELETE FROM records WHERE namespace = ?1 AND count <= ?2")?
        .execute(params![namespace, old])?;
    transaction.commit()?;
    Ok((end, ids))
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("path", &self.path).finish_non_exhaustive()
    }
}

const INSERT: &str = "INSERT INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";

const ALL: &str = "SELECT count, millis, previous, epoch, node, own, text, before, seal FROM records
    WHERE namespace = ?1 ORDER BY count";

const READ: &str = "SELECT count, millis, previous, epoch, node, own, text, before FROM records
    WHERE namespace = ?1 AND count > ?2 ORDER BY count LIMIT ?3";

const IS_THERE: &str = "SELECT 1 FROM records WHERE namespace = ?1 AND count = ?2 AND millis = ?3";

/// So many records of a namespace are kept: what was stored before them is not used any more.
pub(super) const KEPT: u64 = 100_000;

/// So many are read at once.
const PAGE: u64 = 1000;

/// `records`: in the order of `count`. `ends`: the last one of each.
const SHAPE: Shape = Shape::new(
    b'l',
    "CREATE TABLE records (namespace TEXT NOT NULL, count INTEGER NOT NULL, millis INTEGER NOT NULL,
        previous INTEGER NOT NULL, epoch BLOB NOT NULL, node BLOB NOT NULL, own INTEGER NOT NULL, text TEXT,
        before BLOB NOT NULL, seal BLOB NOT NULL, PRIMARY KEY (namespace, count)) WITHOUT ROWID;
    CREATE TABLE ends (namespace TEXT PRIMARY KEY, count INTEGER NOT NULL, seal BLOB NOT NULL) WITHOUT ROWID;",
    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA synchronous=FULL",
);

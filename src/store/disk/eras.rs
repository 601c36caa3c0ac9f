//! Whose values are valid by which log.
//!
//! What a value is stamped with is a position in one log. Where a cache has another log for a while, that one alone
//! hears what is invalidated; so what was stored before is not found again, even if the first log comes back.

use super::{database::Result, shelf::Shelf};
use crate::invalidation::{Epoch, RecordId};
use rusqlite::{Connection, OptionalExtension, params};

/// The values of a namespace, and the log that they are stamped by.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) namespace: String,
    /// `disk`, or another one's name.
    pub(super) log: String,
}

impl Home {
    /// Of a cache whose log is that of the folder.
    pub(super) fn of_disk(namespace: &str) -> Self {
        Self { namespace: namespace.to_owned(), log: "disk".to_owned() }
    }
}

impl Shelf {
    /// The era of values that can be found: another than before, if the log is another.
    pub(super) fn era(&self, home: &Home) -> Result<i64> {
        if let Some((log, era)) = self.read(|connection| known(connection, &home.namespace))?
            && log == home.log
        {
            return Ok(era);
        }
        self.write_for_good(|connection| {
            let before = known(connection, &home.namespace)?;
            if let Some((log, era)) = before {
                if log == home.log {
                    return Ok(era);
                }
                connection.execute("INSERT INTO gone VALUES (?1)", [era])?;
            }
            let last = "SELECT max(era) FROM (SELECT era FROM shelves UNION SELECT era FROM gone)";
            let last: Option<i64> = connection.query_row(last, [], |row| row.get(0))?;
            let era = last.unwrap_or(0) + 1;
            let put = "INSERT OR REPLACE INTO shelves (namespace, log, era) VALUES (?1, ?2, ?3)";
            connection.execute(put, params![home.namespace, home.log, era])?;
            Ok(era)
        })
    }

    /// How far the log of a namespace was when that was noted here last.
    pub(super) fn witness(&self, namespace: &str) -> Result<Option<(Epoch, RecordId)>> {
        self.read(|connection| {
            let text = "SELECT epoch, millis, count FROM shelves WHERE namespace = ?1 AND epoch IS NOT NULL";
            let found = connection.query_row(text, [namespace], |row| {
                Ok((Epoch(row.get(0)?), RecordId { millis: row.get(1)?, count: row.get(2)? }))
            });
            Ok(found.optional()?)
        })
    }

    /// Notes how far the log of a namespace is: a log that ends before that has lost records. Goes back only if it is
    /// begun anew.
    pub(super) fn note(&self, namespace: &str, epoch: Epoch, end: RecordId, anew: bool) -> Result<()> {
        self.write(|connection| {
            let text = "UPDATE shelves SET epoch = ?2, millis = ?3, count = ?4 WHERE namespace = ?1
                AND (?5 OR epoch IS NULL OR (millis, count) < (?3, ?4))";
            connection.prepare_cached(text)?.execute(params![namespace, epoch.0, end.millis, end.count, anew])?;
            Ok(())
        })
    }
}

fn known(connection: &Connection, namespace: &str) -> Result<Option<(String, i64)>> {
    let mut statement = connection.prepare_cached("SELECT log, era FROM shelves WHERE namespace = ?1")?;
    Ok(statement.query_row([namespace], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

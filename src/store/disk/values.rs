//! Values: looking them up, putting them in, and making room.

use super::{
    database::{Fault, Result},
    shelf::{PAGE, Shelf, pages},
};
use crate::{
    store::{Cursor, Page, StoreKey},
    sync::Ordering::Relaxed,
};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

impl Shelf {
    /// What is there under these keys.
    pub(super) fn get(&self, era: i64, keys: &[StoreKey], now: i64) -> Result<Vec<Option<Bytes>>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let mut find = |key: &StoreKey| {
                let mut rows = statement.query(params![era, key.as_str(), now])?;
                let Some(row) = rows.next()? else { return Ok(None) };
                self.touch(row.get(0)?, row.get(1)?);
                let value = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
                Ok(Some(Bytes::copy_from_slice(value)))
            };
            keys.iter().map(&mut find).collect()
        })
    }

    /// Puts a value in, for this time, and makes room for it.
    pub(super) fn put(&self, era: i64, key: &StoreKey, value: &[u8], span: i64, now: i64) -> Result<()> {
        if value.len() as u64 > self.limit.load(Relaxed) / 2 {
            // It would push out most of the others.
            self.told.evicted.fetch_add(1, Relaxed);
            return self.remove(era, std::slice::from_ref(key));
        }
        let touched = self.touched();
        let change = self.write(|connection| {
            let tick = i64::try_from(self.told.tick.fetch_add(1, Relaxed)).unwrap_or(i64::MAX);
            let mut touch = connection.prepare_cached("UPDATE entries SET used = ?2 WHERE id = ?1")?;
            for id in touched {
                touch.execute([id, tick])?;
            }
            // First, so that the file does not grow beyond its limit meanwhile.
            let (gone, evicted) = self.make_room(connection, value.len() as u64, now)?;
            let ends = now.saturating_add(span);
            let id =
                connection.prepare_cached(FIND)?.query_row(params![era, key.as_str()], |row| row.get(0)).optional()?;
            match id {
                Some::<i64>(id) => {
                    connection.prepare_cached(RENEW)?.execute(params![id, ends, span, tick])?;
                    connection
                        .prepare_cached("UPDATE bodies SET value = ?2 WHERE id = ?1")?
                        .execute(params![id, value])?;
                }
                None => {
                    connection.prepare_cached(INSERT)?.execute(params![era, key.as_str(), ends, span, tick])?;
                    let id = connection.last_insert_rowid();
                    connection.prepare_cached("INSERT INTO bodies VALUES (?1, ?2)")?.execute(params![id, value])?;
                }
            }
            Ok((u64::from(id.is_none()), gone, evicted))
        });
        let (new, gone, evicted) = change?;
        self.told.entries.fetch_add(new, Relaxed);
        self.lost(gone);
        self.told.evicted.fetch_add(evicted, Relaxed);
        Ok(())
    }

    pub(super) fn remove(&self, era: i64, keys: &[StoreKey]) -> Result<()> {
        let gone = self.write(|connection| {
            let mut find = connection.prepare_cached(FIND)?;
            let mut gone = 0;
            for key in keys {
                let id = find.query_row(params![era, key.as_str()], |row| row.get(0)).optional()?;
                gone += id.map_or(Ok(0), |id| delete(connection, id))?;
            }
            Ok(gone)
        });
        self.lost(gone?);
        Ok(())
    }

    /// Some of what is under keys that begin like this, in the order of keys.
    pub(super) fn scan(&self, era: i64, prefix: &str, from: Option<&Cursor>, head: usize, now: i64) -> Result<Page> {
        let after = from.and_then(|cursor| std::str::from_utf8(&cursor.0).ok());
        // What follows all letters that a key may have.
        let end = format!("{prefix}\u{7f}");
        self.read(|connection| {
            // What is found is there until it has been looked at.
            let reading = connection.unchecked_transaction()?;
            let mut statement = reading.prepare_cached(SCAN)?;
            let rows = statement.query_map(params![era, prefix, end, now, after, AT_ONCE], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))
            })?;
            let found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            let full = found.len() as u64 == AT_ONCE;
            let next = found.last().filter(|_| full).map(|(key, _)| Cursor(key.as_bytes().into()));
            let mut page = Page { found: Vec::with_capacity(found.len()), next };
            for (key, id) in found {
                let Some(key) = StoreKey::new(key) else { continue };
                page.found.push((key, beginning(&reading, id, head)?));
            }
            Ok(page)
        })
    }

    /// Drops what has expired, and what nobody can find any more. True if there may be more of it.
    pub(super) fn sweep(&self, now: i64) -> Result<bool> {
        let gone = self.write(|connection| {
            let ids = useless(connection, now)?;
            ids.iter().try_fold(0, |gone, id| Ok::<_, Fault>(gone + delete(connection, *id)?))
        })?;
        self.lost(gone);
        Ok(gone > 0)
    }

    /// Until there is room for so many bytes: first what is of no use goes, then what was not used for longest. How
    /// many went, and how many of them were of use.
    fn make_room(&self, connection: &Connection, bytes: u64, now: i64) -> Result<(u64, u64)> {
        let most = self.most_pages().saturating_sub(bytes / PAGE + MORE_PAGES);
        let fits = || pages(connection).map(|(pages, free)| pages.saturating_sub(free) <= most);
        let (mut gone, mut evicted) = (0, 0);
        while !fits()? {
            let mut ids = useless(connection, now)?;
            let useful = ids.is_empty();
            if useful {
                ids = select(connection, "SELECT id FROM entries ORDER BY used LIMIT 64", [])?;
            }
            if ids.is_empty() {
                break;
            }
            for id in ids {
                let deleted = delete(connection, id)?;
                gone += deleted;
                evicted += if useful { deleted } else { 0 };
                if fits()? {
                    break;
                }
            }
        }
        Ok((gone, evicted))
    }

    fn lost(&self, entries: u64) {
        // Counting is all that this is for: below nothing there is nothing.
        let _ = self.told.entries.fetch_update(Relaxed, Relaxed, |before| Some(before.saturating_sub(entries)));
    }
}

/// Some of what has expired; else of what belongs to an era that is gone.
fn useless(connection: &Connection, now: i64) -> Result<Vec<i64>> {
    let expired = select(connection, "SELECT id FROM entries WHERE ends <= ?1 ORDER BY ends LIMIT 256", [now])?;
    if !expired.is_empty() {
        return Ok(expired);
    }
    let era: Option<i64> =
        connection.prepare_cached("SELECT era FROM gone")?.query_row([], |row| row.get(0)).optional()?;
    let Some(era) = era else { return Ok(Vec::new()) };
    let left = select(connection, "SELECT id FROM entries WHERE era = ?1 LIMIT 256", [era])?;
    if left.is_empty() {
        connection.prepare_cached("DELETE FROM gone WHERE era = ?1")?.execute([era])?;
    }
    Ok(left)
}

fn select(connection: &Connection, text: &str, given: impl rusqlite::Params) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(text)?;
    let ids = statement.query_map(given, |row| row.get(0))?;
    Ok(ids.collect::<rusqlite::Result<_>>()?)
}

fn delete(connection: &Connection, id: i64) -> Result<u64> {
    connection.prepare_cached("DELETE FROM bodies WHERE id = ?1")?.execute([id])?;
    Ok(connection.prepare_cached("DELETE FROM entries WHERE id = ?1")?.execute([id])? as u64)
}

/// The first bytes of a value.
fn beginning(connection: &Connection, id: i64, most: usize) -> Result<Bytes> {
    if most == 0 {
        return Ok(Bytes::new());
    }
    let blob = connection.blob_open("main", "bodies", "value", id, true)?;
    let mut bytes = vec![0; most.min(blob.len())];
    blob.read_at_exact(&mut bytes, 0)?;
    Ok(bytes.into())
}

const GET: &str = "SELECT entries.id, used, value FROM entries JOIN bodies ON bodies.id = entries.id
    WHERE era = ?1 AND key = ?2 AND ends > ?3";

const FIND: &str = "SELECT id FROM entries WHERE era = ?1 AND key = ?2";

const RENEW: &str = "UPDATE entries SET ends = ?2, span = ?3, used = ?4 WHERE id = ?1";

const INSERT: &str = "INSERT INTO entries (era, key, ends, span, used) VALUES (?1, ?2, ?3, ?4, ?5)";

const SCAN: &str = "SELECT key, id FROM entries
    WHERE era = ?1 AND key >= ?2 AND key < ?3 AND ends > ?4 AND key > coalesce(?5, '') ORDER BY key LIMIT ?6";

/// A value may take so many pages more than it fills: where trees branch.
const MORE_PAGES: u64 = 12;

/// So many are on a page.
const AT_ONCE: u64 = 100;

//! A folder that is open: its lock, its values and its logs.

use super::{
    database::{self, Fault, Result},
    eras::Home,
    records::{Begun, Records},
    shelf::Shelf,
};
use crate::{
    invalidation::{Epoch, RecordId},
    store::{Draft, NodeId, Reading},
};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::sync::watch;

/// A folder that this process has open. Dropped in this order: the lock last.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shelf: Shelf,
    records: Records,
    /// Keeps other processes out as long as it is open.
    _lock: std::sync::Mutex<Connection>,
}

impl Engine {
    /// Opens a folder, and makes it if there is none.
    pub(super) fn open(folder: &Path, limit: Arc<AtomicU64>) -> Result<Self> {
        database::create_folder(folder)?;
        let lock = database::lock(&folder.join("larder.lock"))?;
        let records = Records::open(folder.join("larder-log.sqlite"))?;
        let shelf = Shelf::open(folder.join("larder-values.sqlite"), limit)?;
        Ok(Self { shelf, records, _lock: std::sync::Mutex::new(lock) })
    }

    /// Tells when a log has grown from here on.
    pub(super) fn growing(&self, namespace: &str, now: u64) -> Result<watch::Receiver<RecordId>> {
        self.look_through(namespace, now)?;
        self.records.growing(namespace).ok_or_else(super::shelf::closed)
    }

    pub(super) fn read(&self, namespace: &str, after: Option<RecordId>, now: u64) -> Result<Reading> {
        self.again(|| {
            self.look_through(namespace, now)?;
            self.records.read(namespace, after)
        })
    }

    pub(super) fn append(&self, namespace: &str, node: NodeId, drafts: &[Draft], now: u64) -> Result<Vec<RecordId>> {
        let appended = self.again(|| {
            self.look_through(namespace, now)?;
            self.records.append(namespace, node, drafts, now)
        });
        let (end, ids) = appended?;
        // The record is in the log, whatever becomes of this.
        let _ = self.shelf.note(namespace, end.epoch, end.id, false);
        Ok(ids)
    }

    pub(super) fn renew(&self, namespace: &str, lost: Epoch, now: u64) -> Result<()> {
        self.again(|| {
            self.look_through(namespace, now)?;
            let end = self.records.renew(namespace, lost, now)?;
            self.shelf.note(namespace, end.epoch, end.id, true)
        })
    }

    /// Looks through a log, once. One that has begun anew is noted before anything is stamped by it.
    fn look_through(&self, namespace: &str, now: u64) -> Result<()> {
        if self.records.is_known(namespace) {
            return Ok(());
        }
        self.shelf.era(&Home::of_disk(namespace))?;
        let witness = self.shelf.witness(namespace)?;
        let (end, Begun(anew)) = self.records.look_through(namespace, witness, now)?;
        if anew { self.shelf.note(namespace, end.epoch, end.id, true) } else { Ok(()) }
    }

    /// A file that was damaged has been set aside: with another one it may do.
    fn again<T>(&self, act: impl Fn() -> Result<T>) -> Result<T> {
        match act() {
            Err(Fault::Damaged(_)) => act(),
            result => result,
        }
    }
}

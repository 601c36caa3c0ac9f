//! The store over a folder.

use super::{
    database::Fault,
    engine::Engine,
    eras::Home,
    link::{Link, Work},
    shelf::lock,
};
use crate::{
    store::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats, YEAR},
    sync::Mutex,
};
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

/// Values in a folder.
#[derive(Debug)]
pub(super) struct DiskStore {
    link: Arc<Link>,
    budget: Duration,
    place: Arc<Place>,
}

/// Where its values are among those of others.
#[derive(Debug)]
struct Place {
    /// None of a cache's, for tools.
    home: Option<Home>,
    /// The era, in the file of this number.
    era: Mutex<(u64, i64)>,
}

impl DiskStore {
    pub(super) fn new(link: Arc<Link>, budget: Duration, home: Option<Home>) -> Self {
        Self { link, budget, place: Arc::new(Place { home, era: Mutex::default() }) }
    }

    fn work<'a, T: Send + 'static>(
        &'a self,
        work: Work,
        act: impl FnOnce(&Engine, i64, i64) -> Result<T, Fault> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        // Nobody waits for a write, and a large one takes longer.
        let within = if work == Work::Reads { self.budget } else { self.budget.max(WRITING) };
        let place = Arc::clone(&self.place);
        StoreFuture::boxed(self.link.work(work, within, move |engine, now| act(engine, place.era(engine)?, now)))
    }
}

impl Place {
    fn era(&self, engine: &Engine) -> Result<i64, Fault> {
        let Some(home) = &self.home else { return Ok(0) };
        let life = engine.shelf.life();
        let (known_of, era) = *lock(&self.era);
        if known_of == life {
            return Ok(era);
        }
        let era = engine.shelf.era(home)?;
        *lock(&self.era) = (life, era);
        Ok(era)
    }
}

impl Store for DiskStore {
    fn name(&self) -> &str {
        "disk"
    }

    fn get<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, Vec<Option<Bytes>>> {
        let keys = keys.to_vec();
        self.work(Work::Reads, move |engine, era, now| engine.shelf.get(era, &keys, now))
    }

    fn put(&self, key: StoreKey, value: Bytes, ttl: Duration) -> StoreFuture<'_, ()> {
        let span = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX).max(1);
        self.work(Work::Writes, move |engine, era, now| engine.shelf.put(era, &key, &value, span, now))
    }

    fn remove<'a>(&'a self, keys: &'a [StoreKey]) -> StoreFuture<'a, ()> {
        let keys = keys.to_vec();
        self.work(Work::Writes, move |engine, era, _| engine.shelf.remove(era, &keys))
    }

    fn scan<'a>(&'a self, prefix: &'a str, from: Option<Cursor>, head: usize) -> StoreFuture<'a, Page> {
        let prefix = prefix.to_owned();
        self.work(Work::Reads, move |engine, era, now| engine.shelf.scan(era, &prefix, from.as_ref(), head, now))
    }

    fn stats(&self) -> StoreFuture<'_, StoreStats> {
        let engine = self.link.engine();
        StoreFuture::ready(engine.map(|engine| engine.shelf.stats()).ok_or_else(|| self.link.trouble()))
    }

    fn last_stats(&self) -> Option<StoreStats> {
        self.link.engine().map(|engine| engine.shelf.stats())
    }

    fn budget(&self) -> Option<Duration> {
        Some(self.budget)
    }

    fn is_available(&self) -> bool {
        self.link.is_available()
    }

    fn unavailable(&self) -> StoreError {
        self.link.trouble()
    }

    fn kept_for(&self) -> Option<Duration> {
        self.link.engine().map(|engine| engine.shelf.kept_for().min(YEAR))
    }
}

/// A write may take so long, if a lookup may not take longer.
const WRITING: Duration = Duration::from_secs(5);

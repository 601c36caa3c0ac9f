//! What outlives the process: the history of a week, and what was asked for most. Kept in the last of the stores, which
//! all processes of the namespace share: each reads what is there, puts its own beside it, and writes it again. One
//! that comes in between loses what it wrote last, until it writes again.

mod hot;
mod look;
mod parcel;
mod week;

pub(super) use week::by_slot;

use super::{Cache, HistorySample, history::HistorySpan};
use crate::{
    clock::Moment,
    entry::FROM_A_STORE,
    hex::hex,
    key::{UtcOffset, Wanted},
    random,
    semantics::date::Timestamp,
    store::{StoreError, StoreKey},
    timer,
};
use bytes::Bytes;
use hot::Table;
use std::{
    sync::{Mutex, MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};
use week::Week;

/// What outlives the process.
pub(super) struct Past {
    /// Tells what this cache did from what others did, and what was done before a restart.
    node: String,
    /// Where the history is in the store, and where what was asked for most.
    places: [StoreKey; 2],
    /// Held by whoever looks through memory, or is at the store.
    turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

struct State {
    /// Whether what the store has was read.
    read: bool,
    /// When it is to be written next.
    next: Timestamp,
    /// When memory was last looked through.
    looked: Timestamp,
    /// What others did.
    others: Week,
    /// What was asked for most: as the store has it, what is to be added to that, and what must not leave the process.
    shared: Table,
    news: Table,
    here: Table,
}

/// What is to be written.
struct Outgoing {
    sealed: Vec<(StoreKey, Bytes)>,
    shared: Table,
}

impl Past {
    pub(super) fn new(namespace: &str, now: Timestamp) -> Self {
        // A namespace has up to 128 printable letters.
        let place =
            |what| StoreKey::new(format!("larder:{namespace}:{what}")).expect("a namespace is printable and short");
        let state = State {
            read: false,
            next: now.saturating_add(STEP),
            looked: now,
            others: Week::default(),
            shared: Table::default(),
            news: Table::default(),
            here: Table::default(),
        };
        Self {
            node: hex(&random::bytes::<8>()),
            places: [place(parcel::HISTORY), place(parcel::HOTTEST)],
            turn: tokio::sync::Mutex::new(()),
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    /// What others did, and this one before it was started.
    pub(super) fn kept_by_others(&self) -> Vec<HistorySample> {
        self.0.past.state().others.samples(self.now())
    }

    /// Reads or writes, in the background, if it is time. A store that is away is tried again the next time.
    pub(super) fn remember(&self) {
        let (stores, now) = (self.has_stores(), self.now());
        let (write, read) = {
            let state = self.0.past.state();
            (state.next <= now, stores && !state.read)
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !write && !read {
            return;
        }
        let cache = self.clone();
        runtime.spawn(async move {
            let Ok(_turn) = cache.0.past.turn.try_lock() else { return };
            if write {
                cache.look(STEP).await;
            }
            if cache.exchange(write).await.is_ok() && write {
                cache.0.past.state().next = now.saturating_add(STEP);
            }
        });
    }

    /// Writes what the store is to have when this process has ended.
    pub(super) async fn keep_past(&self, deadline: Duration) {
        // A cache that was never used has nothing to tell.
        if !self.has_stores() || self.0.fills.load(Relaxed) <= FROM_A_STORE + 1 {
            return;
        }
        let kept = async {
            let _turn = self.0.past.turn.lock().await;
            self.look(Duration::ZERO).await;
            // What failed is counted, and there is no other time.
            let _ = self.exchange(true).await;
        };
        timer::within(deadline, kept).await;
    }

    /// The requests that were made most, as far as keys tell them; of all hours of the day, or of the one that is
    /// nearest in this time zone. Tells why the store could not be asked, if nothing is known without it.
    pub(crate) async fn hottest(&self, most: usize, hour: Option<UtcOffset>) -> Result<Vec<Wanted>, String> {
        let past = &self.0.past;
        let _turn = past.turn.lock().await;
        self.look(Duration::ZERO).await;
        let unread = self.has_stores() && !past.state().read;
        let failed = if unread { self.exchange(false).await.err() } else { None };
        let state = past.state();
        let tables = [&state.shared, &state.news, &state.here];
        let found = match hour {
            None => hot::hottest(tables, most, |counts| counts.iter().sum()),
            Some(zone) => {
                let weigh = hot::nearest_hour(self.now(), zone);
                hot::hottest(tables, most, weigh)
            }
        };
        match failed {
            Some(reason) if found.is_empty() => Err(format!("what was asked for most cannot be read: {reason}")),
            _ => Ok(found),
        }
    }

    /// Reads what the store has, and writes it with what is known here. By whoever has the turn.
    async fn exchange(&self, write: bool) -> Result<(), &'static str> {
        let Some(tier) = self.0.tiers.all.last() else { return Ok(()) };
        if !tier.store.is_available() {
            // Nothing was asked, so nothing has failed.
            return Err(StoreError::Resting.as_str());
        }
        let done = timer::within(LONGEST, self.read_and_write(&*tier.store, write)).await;
        let done = done.unwrap_or(Err(StoreError::Timeout.as_str()));
        if let Err(reason) = done {
            tier.told.reason(reason);
        }
        done
    }

    async fn read_and_write(&self, store: &dyn crate::store::Store, write: bool) -> Result<(), &'static str> {
        let (past, since) = (&self.0.past, Moment::now());
        let found = store.get(&past.places).await;
        self.0.book.note_store(store.name(), "get", since.elapsed(), found.as_ref().err().map(|error| error.as_str()));
        let found = found.map_err(StoreError::as_str)?;
        let cache = self.clone();
        let outgoing = aside(move || cache.take_in(found, write)).await.ok_or("cut-off")?;
        let Some(Outgoing { sealed, shared }) = outgoing else { return Ok(()) };
        for (place, bytes) in sealed {
            let since = Moment::now();
            let put = store.put(place, bytes, parcel::TTL).await.map_err(StoreError::as_str);
            self.0.book.note_store(store.name(), "put", since.elapsed(), put.err());
            put?;
        }
        let mut state = past.state();
        (state.shared, state.news) = (shared, Table::default());
        Ok(())
    }

    /// Takes in what the store has, and makes what it is to have.
    fn take_in(&self, found: Vec<Option<Bytes>>, write: bool) -> Option<Outgoing> {
        let (past, now) = (&self.0.past, self.now());
        let reading = self.reading(now);
        let own = self.0.book.history.lock().unwrap_or_else(PoisonError::into_inner).week_until(now, &reading);
        let mut found = found.into_iter();
        let week = self.opened(&past.places[0], parcel::HISTORY, found.next().flatten());
        let week = week.and_then(|body| self.understood(Week::read(&body, now)));
        let table = self.opened(&past.places[1], parcel::HOTTEST, found.next().flatten());
        let table = table.and_then(|body| self.understood(Table::read(&body, now)));
        let mut state = past.state();
        state.read = true;
        state.others = week.unwrap_or_default().and(&state.others).without(&past.node);
        if let Some(table) = table {
            state.shared = table;
        }
        if !write {
            return None;
        }
        let week = state.others.clone().with(&past.node, own, now);
        let mut shared = state.shared.clone();
        shared.add(&state.news, now);
        // Nobody has to wait until it is sealed.
        drop(state);
        let (week, table) = (week.write(), shared.write(now));
        let sealed = [(0, parcel::HISTORY, week), (1, parcel::HOTTEST, table)];
        let sealed = sealed.map(|(place, what, body)| {
            let place = past.places[place].clone();
            self.understood(self.sealed(&place, what, body)).map(|sealed| (place, sealed))
        });
        Some(Outgoing { sealed: sealed.into_iter().flatten().collect(), shared })
    }

    /// What is not wrong. What is, is counted.
    fn understood<T>(&self, result: Result<T, &'static str>) -> Option<T> {
        if let (Err(reason), Some(tier)) = (&result, self.0.tiers.all.last()) {
            tier.told.reason(reason);
        }
        result.ok()
    }
}

/// Runs what takes a while where it keeps no task from running. Nothing if its runtime ends.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(work).await.ok(),
        Err(_) => Some(work()),
    }
}

/// It is written so often: the steps of the week.
const STEP: Duration = HistorySpan::Week.step();

/// Longer nothing is waited for.
const LONGEST: Duration = Duration::from_secs(10);

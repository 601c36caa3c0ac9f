//! What is invalidated while others fill, read and sweep.

use crate::{
    invalidation::{Batch, Checked, Claim, Force, Ledger, Limits, Record, Seq, Standing, What},
    key::Pattern,
    play::{any, below, exhaust, explore, note, one_in},
    semantics::date::Timestamp,
};
use shuttle::{
    sync::Mutex as ModelMutex,
    thread::{JoinHandle, spawn, yield_now},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

/// What somebody says has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Everything,
    Row(u64),
    /// What has both rows.
    Both(u64, u64),
    /// What has this in its key.
    Key(u8),
}

/// All that is said at once.
type Parts = Vec<(Said, Force)>;

impl Said {
    fn selects(self, entry: &Entry) -> bool {
        match self {
            Self::Everything => true,
            Self::Row(row) => entry.rows.contains(&row),
            Self::Both(one, other) => [one, other].iter().all(|row| entry.rows.contains(row)),
            Self::Key(byte) => entry.key.contains(&byte),
        }
    }

    fn record(self) -> Record {
        match self {
            Self::Everything => Record::Everything,
            Self::Row(row) => Record::Row { row, owner: (row > 100).then_some(row / 100) },
            Self::Both(one, other) => Record::Ban(Arc::new(What::AllOf { rows: [one, other].into(), owner: None })),
            Self::Key(byte) => Record::Ban(Arc::new(What::Pattern { pattern: Pattern(byte), within: None })),
        }
    }
}

fn batch(parts: &Parts) -> Batch {
    let mut batch = Batch::default();
    parts.iter().for_each(|(said, force)| batch.add([said.record()], *force));
    batch
}

/// Something that was filled.
struct Entry {
    stamp: Seq,
    rows: Vec<u64>,
    key: [u8; 1],
    /// So much of what was changed was over before its fill began, as far as anybody was told.
    over: Vec<bool>,
    /// So many changes are in it.
    seen: usize,
    discard_at: u64,
    checked: Checked,
    /// What checks have said of it.
    heard: Mutex<Standing>,
}

/// A ledger, places for entries, and what has happened.
struct World {
    ledger: Ledger,
    places: Vec<ModelMutex<Option<Arc<Entry>>>>,
    notes: Mutex<Notes>,
    /// Nothing is dropped or folded: what is gone was selected.
    exact: bool,
    lifetime: u64,
}

#[derive(Default)]
struct Notes {
    /// What has changed, and whether it is told and done.
    changes: Vec<(Parts, bool)>,
    now: u64,
}

/// The worst that these changes do to an entry: 0 nothing, 1 it is stale, 2 it is gone.
fn worst<'a>(entry: &Entry, changes: impl Iterator<Item = &'a (Parts, bool)>) -> u8 {
    let parts = changes.flat_map(|(parts, _)| parts).filter(|(said, _)| said.selects(entry));
    parts.map(|(_, force)| if *force == Force::Hard { 2 } else { 1 }).max().unwrap_or(0)
}

fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Good => 0,
        Standing::Ended(_) => 1,
        Standing::Gone => 2,
    }
}

impl World {
    fn new(places: usize, limits: Limits, exact: bool) -> Arc<Self> {
        let places = (0..places).map(|_| ModelMutex::new(None)).collect();
        Arc::new(Self { ledger: Ledger::new(limits), places, notes: Mutex::default(), exact, lifetime: 1000 })
    }

    /// One that has an entry in its first place, checked or not.
    fn with_entry(rows: &[u64], checked: bool) -> (Arc<Self>, Arc<Entry>) {
        let world = Self::new(2, Limits::default(), true);
        world.fill(0, rows);
        let entry = world.find(0).unwrap();
        if checked {
            assert_eq!(world.check(&entry), Standing::Good);
        }
        (world, entry)
    }

    /// Changes something, and tells it.
    fn invalidate(&self, parts: &Parts, later: u64) {
        let (change, now) = {
            let mut notes = note(&self.notes);
            notes.changes.push((parts.clone(), false));
            notes.now += later;
            (notes.changes.len() - 1, notes.now)
        };
        let seq = self.ledger.append(batch(parts), Timestamp::from_unix_millis(now));
        assert!(self.ledger.applied() >= seq);
        note(&self.notes).changes[change].1 = true;
    }

    /// Fills, and stores what comes of it if it may be stored.
    fn fill(&self, place: usize, rows: &[u64]) {
        let over = note(&self.notes).changes.iter().map(|(_, done)| *done).collect();
        let stamp = self.ledger.applied();
        // The inner service reads, and takes its time to answer.
        let seen = note(&self.notes).changes.len();
        yield_now();
        let now = note(&self.notes).now;
        let (key, discard_at) = ([place as u8], now + self.lifetime);
        let (checked, heard) = (Checked::default(), Mutex::new(Standing::Good));
        let entry = Arc::new(Entry { stamp, rows: rows.to_vec(), key, over, seen, discard_at, checked, heard });
        self.ledger.keep_for(Duration::from_millis(discard_at - now));
        if self.ledger.admits(entry.claim(), &entry.checked) {
            *self.places[place].lock().unwrap() = Some(entry);
        } else if self.exact {
            assert_eq!(self.at_most(&entry), 2, "refused for nothing");
        }
    }

    fn find(&self, place: usize) -> Option<Arc<Entry>> {
        self.places[place].lock().unwrap().clone()
    }

    fn read(&self, place: usize) {
        if let Some(entry) = self.find(place).filter(|entry| entry.discard_at > note(&self.notes).now) {
            self.check(&entry);
        }
    }

    /// Checks an entry. What was told and done before this begins is known to it, and what was said of the entry before
    /// is not taken back.
    fn check(&self, entry: &Entry) -> Standing {
        let (least, before) = (self.at_least(entry), *note(&entry.heard));
        let standing = self.ledger.standing(entry.claim(), &entry.checked);
        let changes = || note(&self.notes).changes.clone();
        // What has expired meanwhile is not used, and nothing is remembered for it.
        let expired = entry.discard_at <= note(&self.notes).now;
        assert!(expired || rank(standing) >= least, "{standing:?}, although {least}: {:?}", changes());
        assert!(!self.exact || rank(standing) <= self.at_most(entry), "{standing:?} by nothing");
        match (before, standing) {
            (Standing::Ended(before), Standing::Ended(at)) => assert!(at <= before, "fresh again until later"),
            _ => assert!(rank(standing) >= rank(before), "{before:?} was taken back: {standing:?}"),
        }
        let gone = {
            let mut heard = note(&entry.heard);
            match (*heard, standing) {
                (Standing::Ended(other), Standing::Ended(at)) => *heard = Standing::Ended(at.min(other)),
                (other, _) if rank(other) < rank(standing) => *heard = standing,
                _ => {}
            }
            *heard == Standing::Gone
        };
        assert!(!gone || entry.checked.is_gone(), "it is forgotten that it is gone");
        standing
    }

    /// By what has been told and done, and is not in it.
    fn at_least(&self, entry: &Entry) -> u8 {
        worst(entry, note(&self.notes).changes.iter().skip(entry.seen).filter(|(_, done)| *done))
    }

    /// By all that was not over when its fill began.
    fn at_most(&self, entry: &Entry) -> u8 {
        let over = |change| entry.over.get(change).copied().unwrap_or(false);
        worst(
            entry,
            note(&self.notes).changes.iter().enumerate().filter(|(at, _)| !over(*at)).map(|(_, change)| change),
        )
    }

    /// As `Inner::sweep` does it.
    fn sweep(&self) {
        if let Some(generation) = self.ledger.pending_bans() {
            for place in 0..self.places.len() {
                if let Some(entry) = self.find(place) {
                    self.check(&entry);
                }
            }
            self.ledger.drop_bans(generation);
        }
        for place in &self.places {
            let mut place = place.lock().unwrap();
            place.take_if(|entry| entry.checked.is_gone());
        }
    }

    /// Everything is done.
    fn end(&self) {
        (0..self.places.len()).for_each(|place| self.read(place));
    }
}

impl Entry {
    fn claim(&self) -> Claim<'_> {
        Claim { stamp: self.stamp, footprint: &self.rows, key: &self.key }
    }
}

fn join(threads: Vec<JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn in_thread(world: &Arc<World>, act: impl FnOnce(&World) + Send + 'static) -> JoinHandle<()> {
    let world = Arc::clone(world);
    spawn(move || act(&world))
}

fn some_force() -> Force {
    any(&[Force::Hard, Force::Soft])
}

fn some_parts() -> Parts {
    let said = || match below(8) {
        0 => Said::Everything,
        1 | 2 => Said::Both(1, 2),
        3 | 4 => Said::Key(below(2) as u8),
        _ => Said::Row(1 + below(3) as u64),
    };
    (0..1 + below(3) / 2).map(|_| (said(), some_force())).collect()
}

fn some_rows() -> &'static [u64] {
    any(&[&[1], &[2, 3], &[1, 2]])
}

/// Threads that do a few things each.
fn crowd(world: &Arc<World>, sweeps: bool) {
    let invalidating = (0..2).map(|_| {
        let all: Vec<_> = (0..1 + below(2)).map(|_| some_parts()).collect();
        in_thread(world, move |world| all.iter().for_each(|parts| world.invalidate(parts, 1)))
    });
    let mut threads: Vec<_> = invalidating.collect();
    threads.extend((0..2).map(|_| {
        let (place, rows, again) = (below(2), some_rows(), one_in(2));
        in_thread(world, move |world| {
            world.fill(place, rows);
            world.read(place);
            if again {
                world.fill(place, rows);
            }
            world.read(1 - place);
        })
    }));
    threads.push(in_thread(world, |world| (0..4).for_each(|n| world.read(n % 2))));
    if sweeps {
        threads.push(in_thread(world, |world| (0..2).for_each(|_| world.sweep())));
    }
    join(threads);
    world.end();
}

#[test]
fn what_was_invalidated_is_not_good() {
    explore(12_000, || crowd(&World::new(2, Limits::default(), true), false));
}

#[test]
fn nothing_comes_back_when_bans_are_swept() {
    explore(12_000, || crowd(&World::new(2, Limits::default(), false), true));
}

#[test]
fn nothing_comes_back_when_records_fold() {
    explore(12_000, || {
        let limits = Limits { rows: 1 + below(3), bans: below(2), recent: below(3) };
        crowd(&World::new(2, limits, false), one_in(2));
    });
}

/// One fills for longer than anything can be used, while rows are dropped for their age.
#[test]
fn nothing_comes_back_when_rows_are_dropped() {
    explore(12_000, || {
        let world = World::new(1, Limits { rows: 2, bans: 1, recent: 1 }, false);
        let force = some_force();
        let filling = in_thread(&world, |world| {
            world.fill(0, &[1]);
            world.read(0);
        });
        let invalidating = in_thread(&world, move |world| {
            world.invalidate(&vec![(Said::Row(1), force)], 1);
            world.invalidate(&vec![(Said::Row(2), Force::Hard)], any(&[1, 600]));
            world.invalidate(&vec![(Said::Row(3), Force::Hard)], any(&[600, 2000]));
        });
        join(vec![filling, invalidating]);
        world.end();
    });
}

#[test]
fn a_fill_is_caught_in_every_order() {
    for said in [Said::Row(1), Said::Everything, Said::Both(1, 2), Said::Key(0)] {
        let orders = exhaust(move || {
            let world = World::new(1, Limits::default(), true);
            let filling = in_thread(&world, |world| world.fill(0, &[1, 2]));
            world.invalidate(&vec![(said, Force::Hard)], 0);
            world.read(0);
            join(vec![filling]);
            world.end();
        });
        assert!(orders > 50, "{orders} orders");
    }
}

#[test]
fn two_at_once_undo_nothing_in_every_order() {
    let forces = [Force::Hard, Force::Soft];
    for (first, second) in forces.iter().flat_map(|&one| forces.map(|other| (one, other))) {
        for checks in [false, true] {
            let orders = exhaust(move || {
                let (world, entry) = World::with_entry(&[1], true);
                world.invalidate(&vec![(Said::Row(1), first)], 1);
                let again = move |world: &World| world.invalidate(&vec![(Said::Row(1), second)], 1);
                let other = if checks {
                    again(&world);
                    let entry = Arc::clone(&entry);
                    in_thread(&world, move |world| assert_ne!(world.check(&entry), Standing::Good))
                } else {
                    in_thread(&world, again)
                };
                world.check(&entry);
                join(vec![other]);
                world.check(&entry);
            });
            assert!(orders > 20, "{orders} orders");
        }
    }
}

/// One part is hard and another soft. Nobody who has been told of one finds the other undone.
#[test]
fn nobody_sees_half_of_a_batch_in_every_order() {
    let parts = vec![(Said::Row(1), Force::Hard), (Said::Row(2), Force::Soft)];
    for (parts, soft_first) in [parts.clone(), parts.into_iter().rev().collect()].into_iter().zip([false, true]) {
        let orders = exhaust(move || {
            let (world, hard) = World::with_entry(&[1], true);
            world.fill(1, &[2]);
            let soft = world.find(1).unwrap();
            let parts = parts.clone();
            let invalidating = in_thread(&world, move |world| world.invalidate(&parts, 1));
            let order = if soft_first { [&soft, &hard] } else { [&hard, &soft] };
            let [first, second] = order.map(|entry| rank(world.check(entry)));
            assert!(first == 0 || second > 0, "{first}, then {second}");
            join(vec![invalidating]);
            assert_eq!((world.check(&hard), rank(world.check(&soft))), (Standing::Gone, 1));
        });
        assert!(orders > 20, "{orders} orders");
    }
}

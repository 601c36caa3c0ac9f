//! Models of what the ledger's atomics promise each other, over a model checker that also tries what weak memory may show. Each is
//! small, and tried in every way there is.

#![cfg(test)]

#[allow(dead_code, unused_imports, reason = "not all of it is played")]
mod invalidation;
#[allow(dead_code, reason = "not all of it is played")]
mod stand_ins;

use invalidation::{Batch, Checked, Claim, Force, Ledger, Limits, Record, Seq, Standing, What};
use loom::thread;
use stand_ins::{key, semantics};
use std::sync::Arc;
use sync::{AtomicU64, Ordering};

/// What the ledger takes from `larder`.
mod sync {
    pub(crate) use loom::sync::{
        RwLock,
        atomic::{AtomicU64, Ordering},
    };
}

/// A ledger, something that is filled from, and an entry.
struct World {
    ledger: Ledger,
    source: AtomicU64,
    checked: Checked,
}

impl World {
    /// Its entry was filled before anything happened, and is good.
    fn new() -> Arc<Self> {
        let world = Self {
            ledger: Ledger::new(Limits { rows: 8, bans: 2, recent: 2 }),
            source: AtomicU64::new(0),
            checked: Checked::default(),
        };
        assert_eq!(world.check(), Standing::Good);
        Arc::new(world)
    }

    fn append(&self, record: Record, force: Force, at: u64) {
        self.append_batch(Batch::of([record], force), at);
    }

    fn append_batch(&self, batch: Batch, at: u64) {
        self.ledger.append(batch, semantics::date::Timestamp::from_unix_millis(at));
    }

    fn check(&self) -> Standing {
        self.ledger.standing(claim(Seq::default()), &self.checked)
    }
}

fn claim(stamp: Seq) -> Claim<'static> {
    Claim { stamp, footprint: &[1], key: b"k" }
}

fn row(row: u64) -> Record {
    Record::Row { row, owner: None }
}

fn ban() -> Record {
    Record::Ban(Arc::new(What::Pattern { pattern: key::Pattern(b'k'), within: None }))
}

fn in_thread<T: 'static>(world: &Arc<World>, act: impl FnOnce(&World) -> T + 'static) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || act(&world))
}

fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Good => 0,
        Standing::Ended(_) => 1,
        Standing::Gone => 2,
    }
}

/// A fill with the stamp of a record has what was changed before that was told: nothing but the ledger tells it.
#[test]
fn a_stamp_brings_what_was_changed_before() {
    for record in [row(1), Record::Everything, ban()] {
        loom::model(move || {
            let (world, record) = (World::new(), record.clone());
            let filling = in_thread(&world, |world| {
                let (stamp, checked) = (world.ledger.applied(), Checked::default());
                let filled = world.source.load(Ordering::Relaxed);
                (stamp, filled, world.ledger.admits(claim(stamp), &checked).then_some(checked))
            });
            world.source.store(1, Ordering::Relaxed);
            world.append(record, Force::Hard, 1);
            let (stamp, filled, checked) = filling.join().unwrap();
            if let Some(checked) = checked.filter(|_| filled == 0) {
                assert_eq!(world.ledger.standing(claim(stamp), &checked), Standing::Gone, "at {stamp:?}");
            }
        });
    }
}

/// Two look at an entry at once. Whoever finds it checked finds what the check found.
#[test]
fn a_check_brings_what_it_found() {
    for (force, least) in [(Force::Soft, 1), (Force::Hard, 2)] {
        loom::model(move || {
            let world = World::new();
            world.append(row(1), force, 1);
            let checking = in_thread(&world, |world| rank(world.check()));
            assert_eq!(rank(world.check()), least);
            assert_eq!(checking.join().unwrap(), least);
            assert_eq!(world.checked.is_gone(), least == 2);
        });
    }
}

/// A check that began before a record does not undo what a check finds after it, nor a soft record what a hard one did.
#[test]
fn a_late_check_undoes_nothing() {
    for (first, second) in [(None, Force::Hard), (Some(Force::Soft), Force::Hard), (Some(Force::Hard), Force::Soft)] {
        loom::model(move || {
            let world = World::new();
            world.append(row(if first.is_some() { 1 } else { 2 }), first.unwrap_or_default(), 1);
            let checking = in_thread(&world, World::check);
            world.append(row(1), second, 2);
            assert_eq!(world.check(), Standing::Gone);
            assert!(world.checked.is_gone());
            checking.join().unwrap();
            assert!(world.checked.is_gone());
        });
    }
}

/// The first of two soft records counts, whoever finds them.
#[test]
fn the_first_soft_record_counts() {
    loom::model(|| {
        let world = World::new();
        world.append(row(1), Force::Soft, 1);
        let checking = in_thread(&world, World::check);
        world.append(row(1), Force::Soft, 2);
        let first = semantics::date::Timestamp::from_unix_millis(1);
        assert_eq!(world.check(), Standing::Ended(first));
        assert_eq!(checking.join().unwrap(), Standing::Ended(first));
    });
}

/// Nobody who has been told of one part of a batch finds another undone.
#[test]
fn nobody_sees_half_of_a_batch() {
    for soft_first in [false, true] {
        loom::model(move || {
            let (world, other) = (World::new(), Checked::default());
            let soft = Claim { footprint: &[2], ..claim(Seq::default()) };
            assert_eq!(world.ledger.standing(soft, &other), Standing::Good);
            let telling = in_thread(&world, move |world| {
                let mut batch = Batch::of([row(1)], Force::Hard);
                batch.add([row(2)], Force::Soft);
                world.append_batch(batch, 1);
            });
            let hard = || rank(world.check());
            let soft = || rank(world.ledger.standing(soft, &other));
            let (first, second) = if soft_first {
                let first = soft();
                (first, hard())
            } else {
                let first = hard();
                (first, soft())
            };
            assert!(first == 0 || second > 0, "{first}, then {second}");
            telling.join().unwrap();
            assert_eq!((hard(), soft()), (2, 1));
        });
    }
}

/// What a ban selects stays gone when the ban is dropped, also what was on its way meanwhile.
#[test]
fn a_ban_that_is_dropped_has_done_its_work() {
    loom::model(|| {
        let world = World::new();
        let filling = in_thread(&world, |world| {
            let (stamp, checked) = (world.ledger.applied(), Checked::default());
            let filled = world.source.load(Ordering::Relaxed);
            (stamp, filled, world.ledger.admits(claim(stamp), &checked).then_some(checked))
        });
        world.source.store(1, Ordering::Relaxed);
        world.append(ban(), Force::Hard, 1);
        let all = world.ledger.pending_bans().unwrap();
        assert_eq!(world.check(), Standing::Gone);
        world.ledger.drop_bans(all);
        assert_eq!(world.check(), Standing::Gone);
        let (stamp, filled, checked) = filling.join().unwrap();
        if let Some(checked) = checked.filter(|_| filled == 0) {
            assert_eq!(world.ledger.standing(claim(stamp), &checked), Standing::Gone);
        }
    });
}

/// Two append at once: each has a position of its own, and no entry misses one.
#[test]
fn two_records_at_once_are_two() {
    loom::model(|| {
        let world = World::new();
        let telling = in_thread(&world, |world| world.append(row(2), Force::Hard, 1));
        world.append(row(1), Force::Soft, 1);
        assert_eq!(rank(world.check()), 1);
        telling.join().unwrap();
        let both = Claim { footprint: &[1, 2], ..claim(Seq::default()) };
        assert_eq!(world.ledger.standing(both, &Checked::default()), Standing::Gone);
        let stamp = world.ledger.applied();
        let checked = Checked::default();
        assert_eq!(world.ledger.standing(Claim { stamp, ..both }, &checked), Standing::Good);
        world.append(row(1), Force::Hard, 2);
        assert_eq!(world.ledger.standing(Claim { stamp, ..both }, &checked), Standing::Gone);
    });
}

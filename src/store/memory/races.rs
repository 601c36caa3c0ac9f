//! What happens when several threads are at it.

use super::{
    tests::{KIB, MIB, check, entry, entry_until, has, key, put, put_entry, remove, shared, tenants},
    *,
};
use crate::semantics::date::Timestamp;
use std::{sync::Barrier, thread};

#[test]
fn threads_keep_within_the_memory_tier_and_come_to_an_end() {
    const THREADS: u64 = 8;
    let memory = shared(2 * MIB, 256 * KIB);
    let barrier = Barrier::new(9);
    thread::scope(|scope| {
        let start = |thread| {
            let (memory, barrier) = (&memory, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(thread + 1);
                let mut below = |limit: u64| {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    random % limit
                };
                for round in 0..15_000 {
                    let tenant = if below(10) == 0 { 100 + below(500) } else { below(6) };
                    let resource = below(300);
                    match below(100) {
                        0 => {
                            let now = Timestamp::from_unix_secs(below(20));
                            memory.sweep(|entry| entry.discard_at > now);
                        }
                        1..10 => remove(memory, tenant, resource),
                        10..40 => drop(has(memory, tenant, resource)),
                        _ => {
                            let body = if below(50) == 0 { below(300 * KIB) } else { below(4 * KIB) };
                            put_entry(memory, tenant, resource, &entry_until(body, 5 + below(20))).ok();
                        }
                    }
                    if round % 5_000 == 0 && thread == 0 {
                        memory.clear();
                    }
                }
            })
        };
        let threads: Vec<_> = (0..THREADS).map(start).collect();
        barrier.wait();
        while !threads.iter().all(thread::ScopedJoinHandle::is_finished) {
            assert!(memory.bytes() <= 2 * MIB);
            thread::yield_now();
        }
    });
    check(&memory);
    memory.clear();
    assert_eq!((memory.len(), memory.bytes(), tenants(&memory).count()), (0, 0, 0));
    check(&memory);
}

#[test]
fn a_hit_waits_for_nobody_who_writes_elsewhere() {
    let memory = shared(MIB, 256 * KIB);
    assert!(put(&memory, 1, 0, KIB) && put(&memory, 2, 0, KIB));
    let own = tenants(&memory).of(&key(1, 0));
    let other = tenants(&memory).of(&key(2, 0));
    let _writing = (own.pool.write_all(), other.pool.write_all());
    let _books = tenants(&memory).open_books();
    other.pool.stopped(|| assert!(has(&memory, 1, 0) && !has(&memory, 1, 1)));
}

/// What was removed, or cleared, is not brought back by a move into other tables.
#[test]
fn what_is_removed_while_tables_move_is_gone() {
    for round in 0..6 {
        let memory = shared(16 * MIB, 16 * MIB);
        (0..8_000).for_each(|resource| assert!(put(&memory, 1, resource, 16)));
        (500..8_000).for_each(|resource| remove(&memory, 1, resource));
        let (old, barrier) = (tenants(&memory).of(&key(1, 0)), Barrier::new(2));
        thread::scope(|scope| {
            let sweep = scope.spawn(|| {
                barrier.wait();
                memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(1));
            });
            barrier.wait();
            match round % 2 {
                0 => memory.clear(),
                _ => (0..500).for_each(|resource| remove(&memory, 1, resource)),
            }
            sweep.join().unwrap();
        });
        assert_eq!((memory.len(), memory.entries().len()), (0, 0));
        assert!(old.is_gone());
        check(&memory);
    }
}

#[test]
fn who_has_found_a_pool_that_is_no_more_does_nothing_there() {
    let memory = shared(MIB, 256 * KIB);
    assert!(put(&memory, 1, 0, 16));
    let old = tenants(&memory).of(&key(1, 0));
    let Found::Entry(held) = memory.find(key(1, 0).as_bytes(), &HeaderMap::new()) else { panic!("it was stored") };
    // While someone has it, it may be about to store something.
    remove(&memory, 1, 0);
    assert!(!old.is_gone());
    memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(1));
    assert!(!old.is_gone());
    tenants(&memory).forget(&old);
    assert!(put(&memory, 1, 0, 16));
    assert!(!old.pool.remove(key(1, 0).as_bytes(), &held, || !old.is_gone()));
    let room = |_| Ok::<_, NotStored>(u64::MAX);
    old.pool.put(key(1, 2), entry(16), &HeaderMap::new(), 4, |_| true, room).unwrap();
    assert_eq!((old.pool.len(), memory.len()), (0, 1));
    check(&memory);
}

/// A pool goes when its last entry does, but never with one that is on its way there.
#[test]
fn what_is_stored_while_a_pool_becomes_empty_stays() {
    let memory = shared(16 * MIB, MIB);
    thread::scope(|scope| {
        for resource in 0..4 {
            let memory = &memory;
            scope.spawn(move || {
                for _ in 0..20_000 {
                    assert!(put(memory, 1, resource, 16) && has(memory, 1, resource));
                    remove(memory, 1, resource);
                }
            });
        }
    });
    assert_eq!(memory.evicted(), 0);
    check(&memory);
}

/// What is invalidated by what it is, and not by its key, is looked for among all there is.
#[test]
fn each_sees_what_is_there_all_the_while() {
    for tenant_share in [None, Some(64 * KIB)] {
        let memory = Memory::new(Sizes { bytes: 16 * MIB, entries: None, max_object: MIB, tenant_share });
        let with = |variant: u64| HeaderMap::from_iter([("accept".parse().unwrap(), variant.into())]);
        let variant = || {
            let mut variant = Arc::into_inner(entry(16)).unwrap();
            variant.nominated = ["accept".parse().unwrap()].into();
            Arc::new(variant)
        };
        let stays = variant();
        let put =
            |entry: &Arc<Entry>, number| memory.put(key(1, 0), Arc::clone(entry), &with(number), 4, |_| true).unwrap();
        put(&stays, 0);
        (1..50).for_each(|resource| put_entry(&memory, 1, resource, &entry(16)).unwrap());
        thread::scope(|scope| {
            let looks = scope.spawn(|| {
                for _ in 0..500 {
                    let mut seen = false;
                    memory.each(|_, entry| seen |= std::ptr::eq(entry, &*stays));
                    assert!(seen);
                }
            });
            while !looks.is_finished() {
                let goes = variant();
                put(&goes, 1);
                memory.remove(key(1, 0).as_bytes(), &goes);
            }
        });
    }
}

//! Shares of tenants, one thing after the other.

use super::{
    quota::{GRAIN, OVERHEAD, fitting, largest_in},
    *,
};
use crate::{
    entry::{Keeping, Origin},
    identity::TENANT,
    key::{KeyBuf, Part},
    semantics::{
        cache_control::ResponseDirectives,
        date::Timestamp,
        freshness::LifetimeSource,
        storable::{SetCookie, Storable},
    },
    tally::{Tally, Usage},
};
use bytes::Bytes;
use http::StatusCode;
use proptest::prelude::*;
use std::{
    sync::{Weak, atomic::AtomicUsize},
    time::Duration,
};

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;

pub(super) fn shared(bytes: u64, share: u64) -> Memory {
    Memory::new(Sizes { bytes, entries: None, max_object: bytes / 2, tenant_share: Some(share) })
}

/// The key of a resource. Tenant 0 is none.
pub(super) fn key(tenant: u64, resource: u64) -> Key {
    let mut key = KeyBuf::default();
    key.part(Part::Namespace, b"shop");
    if tenant > 0 {
        key.part_named(Part::Identity, TENANT, std::iter::once(&tenant.to_le_bytes()[..]));
    }
    key.part(Part::Method, b"GET");
    key.part(Part::Path, &resource.to_le_bytes());
    Key::from(&key)
}

/// An entry that can be of use until this second. It weighs a little more than its body.
pub(super) fn entry_until(body: u64, until: u64) -> Arc<Entry> {
    let storable = Storable {
        lifetime: Duration::from_secs(until),
        source: LifetimeSource::Policy,
        directives: ResponseDirectives::default(),
        nominated: Vec::new(),
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
    };
    let origin = Origin {
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        for_caches: None,
        storable,
        received: Timestamp::from_unix_secs(0),
        began: Timestamp::from_unix_secs(0),
        age: Duration::ZERO,
        footprint: Default::default(),
        stamp: Default::default(),
        tags: Default::default(),
        started: 0,
        handler: None,
        adapted: None,
        fill_time: Duration::ZERO,
        usage: Usage::open(Tally::nobody(), None, Duration::ZERO),
    };
    let refresh = Default::default();
    let how = Keeping {
        set_cookie: SetCookie::Keep,
        own_fields: &[],
        browser: None,
        keep: None,
        refresh,
        memory_ttl: None,
        now: Timestamp::from_unix_secs(0),
        hit: None,
    };
    Arc::new(Entry::new(origin, Bytes::from(vec![0; usize::try_from(body).unwrap()]), None, how))
}

pub(super) fn entry(body: u64) -> Arc<Entry> {
    entry_until(body, 1_000)
}

pub(super) fn put_entry(memory: &Memory, tenant: u64, resource: u64, entry: &Arc<Entry>) -> Result<(), NotStored> {
    memory.put(key(tenant, resource), Arc::clone(entry), &HeaderMap::new(), 4, |_| true)
}

pub(super) fn put(memory: &Memory, tenant: u64, resource: u64, body: u64) -> bool {
    put_entry(memory, tenant, resource, &entry(body)).is_ok()
}

pub(super) fn has(memory: &Memory, tenant: u64, resource: u64) -> bool {
    matches!(memory.find(key(tenant, resource).as_bytes(), &HeaderMap::new()), Found::Entry(_))
}

pub(super) fn remove(memory: &Memory, tenant: u64, resource: u64) {
    let key = key(tenant, resource);
    if let Found::Entry(entry) = memory.find(key.as_bytes(), &HeaderMap::new()) {
        memory.remove(key.as_bytes(), &entry);
    }
}

/// How many of the first resources of a tenant are held.
fn held(memory: &Memory, tenant: u64, resources: u64) -> u64 {
    (0..resources).filter(|resource| has(memory, tenant, *resource)).count() as u64
}

pub(super) fn tenants(memory: &Memory) -> &Tenants {
    match &memory.tier {
        Tier::Each(tenants) => tenants,
        Tier::One { .. } => panic!("one for all"),
    }
}

/// All that is in the books adds up, and each tenant in them is found.
pub(super) fn check(memory: &Memory) {
    tenants(memory).check();
    assert!(memory.bytes() <= memory.sizes.bytes);
}

#[test]
fn a_flood_takes_nothing_of_what_another_has_within_its_share() {
    let memory = shared(16 * MIB, 4 * MIB);
    for resource in 0..256 {
        assert!(put(&memory, 1, resource, 3 * KIB));
    }
    for resource in 0..100_000 {
        assert!(put(&memory, 2, resource, 3 * KIB));
        has(&memory, 1, resource % 256);
    }
    assert_eq!(held(&memory, 1, 256), 256);
    assert!(memory.bytes() > 15 * MIB, "{}", memory.bytes());
    assert!(memory.evicted() > 90_000);
    check(&memory);
}

#[test]
fn nor_where_it_is_not_asked_for_meanwhile_and_a_sweep_comes() {
    let memory = shared(16 * MIB, 4 * MIB);
    (0..256).for_each(|resource| assert!(put(&memory, 1, resource, 3 * KIB)));
    for resource in 0..20_000 {
        assert!(put(&memory, resource % 2 * 2, resource, 3 * KIB));
        if resource % 1_000 == 0 {
            memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(1));
        }
    }
    assert_eq!(held(&memory, 1, 256), 256);
    check(&memory);
}

#[test]
fn what_is_free_is_borrowed_and_given_back() {
    let memory = shared(16 * MIB, 4 * MIB);
    (0..20_000).for_each(|resource| assert!(put(&memory, 2, resource, 3 * KIB)));
    assert!(memory.bytes() > 16 * MIB / 100 * 98, "{}", memory.bytes());
    (0..2_000).for_each(|resource| assert!(put(&memory, 1, resource, 3 * KIB)));
    let first = tenants(&memory).allowance(&key(1, 0));
    assert!((4 * MIB - 64 * KIB..4 * MIB + 64 * KIB).contains(&first), "{first}");
    check(&memory);
    // Gone with all it had.
    (0..2_000).for_each(|resource| remove(&memory, 1, resource));
    assert_eq!(tenants(&memory).count(), 1);
    (0..20_000).for_each(|resource| assert!(put(&memory, 2, resource, 3 * KIB)));
    assert!(memory.bytes() > 16 * MIB / 100 * 98, "{}", memory.bytes());
    check(&memory);
}

#[test]
fn those_who_give_keep_their_share() {
    let memory = shared(16 * MIB, 4 * MIB);
    (0..6_000).for_each(|resource| (1..4).for_each(|tenant| assert!(put(&memory, tenant, resource, KIB))));
    assert!(put(&memory, 4, 0, 3 * MIB));
    for tenant in 1..4 {
        let allowance = tenants(&memory).allowance(&key(tenant, 0));
        assert!(allowance >= 4 * MIB, "{tenant}: {allowance}");
    }
    check(&memory);
}

#[test]
fn too_many_tenants_get_equal_parts() {
    let memory = shared(16 * MIB, 4 * MIB);
    for round in 0..3_000 {
        (1..=16).for_each(|tenant| assert!(put(&memory, tenant, round, 2 * KIB)));
    }
    for tenant in 1..=16 {
        let allowance = tenants(&memory).allowance(&key(tenant, 0));
        assert!((MIB - 128 * KIB..MIB + 128 * KIB).contains(&allowance), "{tenant}: {allowance}");
    }
    // Who has half of such a part keeps it.
    (0..150).for_each(|resource| remove(&memory, 1, resource));
    let memory = shared(16 * MIB, 4 * MIB);
    (0..150).for_each(|resource| assert!(put(&memory, 1, resource, 2 * KIB)));
    for round in 0..3_000 {
        (2..=16).for_each(|tenant| assert!(put(&memory, tenant, round, 2 * KIB)));
    }
    assert_eq!(held(&memory, 1, 150), 150);
    check(&memory);
}

#[test]
fn thousands_of_tenants_come_and_go() {
    let memory = shared(16 * MIB, 4 * MIB);
    (0..200).for_each(|resource| assert!(put(&memory, 1, resource, 3 * KIB)));
    for tenant in 2..10_002 {
        assert!(put(&memory, tenant, 0, KIB), "{tenant}");
        assert!(has(&memory, tenant, 0));
        has(&memory, 1, tenant % 200);
    }
    let count = tenants(&memory).count() as u64;
    assert!((3_000..16 * MIB / (GRAIN + OVERHEAD)).contains(&count), "{count}");
    let first = u64::from(tenants(&memory).allowance(&key(1, 0)) > 0);
    assert_eq!(memory.len() as u64, count - first + held(&memory, 1, 200));
    check(&memory);
    memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(1_000_000));
    assert_eq!((tenants(&memory).count(), memory.len(), memory.bytes()), (0, 0, 0));
    check(&memory);
}

#[test]
fn the_tenants_that_are_not_served_make_way_for_new_ones() {
    let memory = shared(64 * KIB, 64 * KIB);
    for tenant in 1..=1_000 {
        assert!(put(&memory, tenant, 0, KIB), "{tenant}");
        assert!(has(&memory, 3, 0) || tenant < 3, "{tenant}");
    }
    check(&memory);
}

#[test]
fn an_entry_as_large_as_can_be_finds_room() {
    for bytes in [64 * KIB, 100_000, MIB, 16 * MIB + 5] {
        let memory = shared(bytes, 64 * KIB);
        let own = put_entry(&memory, 1, 0, &entry(0)).map(|()| memory.bytes()).unwrap();
        memory.clear();
        // The field that says its length is longer.
        let body = memory.largest() - own - 8;
        assert!(put(&memory, 1, 0, body) && has(&memory, 1, 0), "{bytes}");
        assert!(!put(&memory, 1, 1, body + 16));
        memory.clear();
        // The room that it needs is not free.
        assert!(put(&memory, 2, 0, KIB) && has(&memory, 2, 0));
        assert_eq!(put_entry(&memory, 1, 0, &entry(body)).unwrap_err(), NotStored::NoRoom);
        assert_eq!(tenants(&memory).count(), 1);
        assert!(has(&memory, 2, 0));
        check(&memory);
    }
}

#[test]
fn an_entry_larger_than_the_share_is_borrowed_for() {
    let memory = shared(16 * MIB, MIB);
    assert!(put(&memory, 1, 0, 6 * MIB) && put(&memory, 2, 0, 6 * MIB));
    assert!(!put(&memory, 3, 0, 6 * MIB));
    assert!(put(&memory, 3, 1, MIB / 2));
    assert!(has(&memory, 1, 0) && has(&memory, 2, 0) && has(&memory, 3, 1));
    // Its own must make way, and then those who have borrowed.
    assert!(put(&memory, 1, 1, 6 * MIB) && !has(&memory, 1, 0));
    for resource in 2..6 {
        assert!(put(&memory, 3, resource, MIB / 8));
    }
    check(&memory);
}

#[test]
fn a_slot_is_trimmed_to_what_there_is_room_for() {
    let memory = shared(64 * KIB, 64 * KIB);
    for variant in 0..10 {
        let mut request = HeaderMap::new();
        request.insert("accept", variant.into());
        let mut entry = Arc::into_inner(entry(10 * KIB)).unwrap();
        entry.nominated = ["accept".parse().unwrap()].into();
        memory.put(key(1, 0), Arc::new(entry), &request, 32, |_| true).unwrap();
        assert!(matches!(memory.find(key(1, 0).as_bytes(), &request), Found::Entry(_)));
    }
    assert!((4..6).contains(&memory.entries().len()), "{}", memory.entries().len());
    assert_eq!(*memory.nominated(key(1, 0).as_bytes()), ["accept"]);
    assert!(memory.nominated(key(1, 1).as_bytes()).is_empty());
    check(&memory);
}

#[test]
fn nobody_is_a_tenant_too() {
    let memory = shared(MIB, 256 * KIB);
    (0..50).for_each(|resource| assert!(put(&memory, 0, resource, KIB)));
    (0..5_000).for_each(|resource| assert!(put(&memory, 1, resource, KIB)));
    assert_eq!(held(&memory, 0, 50), 50);
}

#[test]
fn what_is_not_used_goes_back_with_the_sweep() {
    let memory = shared(16 * MIB, 4 * MIB);
    for resource in 0..10_000 {
        let until = if resource % 10 == 0 { 1_000 } else { 10 };
        put_entry(&memory, 1, resource, &entry_until(KIB, until)).unwrap();
    }
    let before = tenants(&memory).allowance(&key(1, 0));
    memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(500));
    let after = tenants(&memory).allowance(&key(1, 0));
    assert!(after < before / 8 && memory.bytes() <= after, "{before} {after}");
    assert_eq!(held(&memory, 1, 10_000), memory.len() as u64);
    check(&memory);
}

#[test]
fn tables_become_smaller_with_what_is_in_them() {
    let memory = shared(16 * MIB, 4 * MIB);
    (0..20_000).for_each(|resource| assert!(put(&memory, 1, resource, 64)));
    let tables = || {
        let mut tables = 0;
        tenants(&memory).each(|tenant| tables += tenant.pool.tables());
        tables
    };
    let (many, before) = (memory.len() as u64, tables());
    (0..3_000).for_each(|resource| (2..10).for_each(|tenant| assert!(put(&memory, tenant, resource, 64))));
    let few = held(&memory, 1, 20_000);
    assert!(few < many / 4, "{few} {many}");
    let evicted = memory.evicted();
    memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(1));
    let after = tables();
    assert!(after < 2 * before, "{before} {after}");
    assert_eq!((held(&memory, 1, 20_000), memory.evicted()), (few, evicted));
    (0..100).for_each(|resource| remove(&memory, 1, resource + 19_000));
    assert!((19_000..19_100).all(|resource| !has(&memory, 1, resource)));
    check(&memory);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Put { tenant: u64, resource: u64, body: u64, until: u64 },
    Remove { tenant: u64, resource: u64 },
    Find { tenant: u64, resource: u64 },
    Sweep(u64),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let tenant = || prop_oneof![4 => 0..6u64, 1 => 0..400u64];
    let body = prop_oneof![20 => 0..3 * KIB, 4 => 0..40 * KIB, 1 => 0..600 * KIB];
    prop_oneof![
        300 => (tenant(), 0..200u64, body, 0..100u64)
            .prop_map(|(tenant, resource, body, until)| Op::Put { tenant, resource, body, until }),
        40 => (tenant(), 0..200u64).prop_map(|(tenant, resource)| Op::Remove { tenant, resource }),
        40 => (tenant(), 0..200u64).prop_map(|(tenant, resource)| Op::Find { tenant, resource }),
        3 => (0..100u64).prop_map(Op::Sweep),
        1 => Just(Op::Clear),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_happens_the_books_add_up(
        bytes in 64 * KIB..MIB,
        part in 0..8u64,
        ops in proptest::collection::vec(op(), 0..1_200)
    ) {
        let share = (bytes >> part).max(64 * KIB);
        let memory = shared(bytes, share);
        let mut evicted = 0;
        for op in ops {
            match op {
                Op::Put { tenant, resource, body, until } => {
                    let new = entry_until(body, until);
                    // What takes the place of a smaller one may have to go at once.
                    let had = has(&memory, tenant, resource);
                    if put_entry(&memory, tenant, resource, &new).is_ok() {
                        prop_assert!(had || has(&memory, tenant, resource), "{op:?}");
                    }
                }
                Op::Remove { tenant, resource } => {
                    remove(&memory, tenant, resource);
                    prop_assert!(!has(&memory, tenant, resource));
                }
                Op::Find { tenant, resource } => drop(has(&memory, tenant, resource)),
                Op::Sweep(now) => memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(now)),
                Op::Clear => {
                    memory.clear();
                    prop_assert_eq!((memory.len(), memory.bytes(), tenants(&memory).count()), (0, 0, 0));
                }
            }
            prop_assert!(memory.evicted() >= evicted);
            evicted = memory.evicted();
            check(&memory);
        }
        prop_assert_eq!(memory.entries().len(), memory.len());
    }

    #[test]
    fn what_fits_fits(weight in 1..64 * MIB) {
        prop_assert!(largest_in(fitting(weight)) >= weight);
        prop_assert!(fitting(weight) < weight / 31 * 32 + 2 * GRAIN);
    }
}

/// What is dropped may be the user's: a closure that uses the cache once more.
#[test]
fn nothing_is_dropped_while_a_lock_is_held() {
    struct Uses(Weak<Memory>, Arc<AtomicUsize>);
    impl Drop for Uses {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
            if let Some(memory) = self.0.upgrade() {
                match &memory.tier {
                    Tier::One { pool, .. } => drop(pool.write_all()),
                    Tier::Each(tenants) => tenants.each(|tenant| drop(tenant.pool.write_all())),
                }
                put(&memory, 1, 1, KIB);
                remove(&memory, 1, 1);
                memory.bytes();
            }
        }
    }
    for tenant_share in [None, Some(64 * KIB)] {
        let memory =
            Arc::new(Memory::new(Sizes { bytes: 256 * KIB, entries: None, max_object: 64 * KIB, tenant_share }));
        let dropped = Arc::new(AtomicUsize::new(0));
        let user = |until: u64| {
            let mut entry = Arc::into_inner(entry_until(3 * KIB, until)).unwrap();
            let uses = Uses(Arc::downgrade(&memory), Arc::clone(&dropped));
            entry.body = Bytes::from_owner(Owner(vec![0; 3 << 10], uses));
            Arc::new(entry)
        };
        for round in 0..3 {
            (0..300).for_each(|number| put_entry(&memory, number / 60, number % 59, &user(number)).unwrap());
            (0..20).for_each(|number| remove(&memory, number / 60, number));
            memory.sweep(|entry| entry.discard_at > Timestamp::from_unix_secs(290));
            if round == 1 {
                memory.clear();
            }
        }
        memory.clear();
        assert_eq!(dropped.load(Ordering::Relaxed), 900);
    }
}

struct Owner<T>(Vec<u8>, T);

impl<T> AsRef<[u8]> for Owner<T> {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

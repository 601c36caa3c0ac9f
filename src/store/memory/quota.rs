//! How the memory tier is divided between tenants: who may hold how much, and who gives when another one needs it.
//!
//! Each tenant has an allowance, and all of them together, with what is free, are the memory tier. A tenant that needs
//! more takes what is free. If that is not enough and the tenant has less than its share, the one with the largest
//! allowance gives: down to its share, and below that as long as the other one still has less. So no tenant with more
//! than its share can take anything from another, and where the memory tier is too small for the shares of all who want
//! them, these become equal parts.

use super::{
    pool::{Ask, Evictions, Hashes, Pool, Weigh},
    tenants::NoPlace,
};
use crate::outcome::NotStored;
use quick_cache::OptionsBuilder;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed},
            fence,
        },
    },
};

/// A tenant that holds something.
pub(super) struct Tenant {
    pub(super) name: Box<[u8]>,
    pub(super) pool: Pool,
    /// Whether there was a hit since it was last asked.
    used: AtomicBool,
    /// What the pool may hold, in whole grains. Changed under the lock of the books, as is the place.
    allowance: AtomicU64,
    /// Bytes on their way into the pool.
    coming: AtomicU64,
    /// The place in the books. The smallest is that of the tenant that has been there longest.
    place: AtomicU64,
}

/// Bytes on their way into a pool, until this is dropped.
pub(super) struct Coming<'a> {
    coming: &'a AtomicU64,
    bytes: u64,
    /// Those that were on their way already.
    pub(super) before: u64,
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        self.coming.fetch_sub(self.bytes, Relaxed);
    }
}

/// What each tenant may hold.
pub(super) struct Books {
    bytes: u64,
    /// Bytes that no one has.
    free: u64,
    share: u64,
    last_place: u64,
    tenants: BTreeMap<u64, Arc<Tenant>>,
    /// Allowance and place.
    by_size: BTreeSet<(u64, u64)>,
}

impl Tenant {
    /// A tenant that may not hold anything yet.
    pub(super) fn new(name: &[u8], hashes: Hashes, evictions: Evictions) -> Self {
        // One shard, so that an entry of any size fits. The engine notes in exact numbers what it has evicted, one for
        // each grain: see `way`.
        let options = OptionsBuilder::new()
            .shards(1)
            .weight_capacity(GRAIN)
            .hot_allocation(31.0 / 32.0)
            .estimated_items_capacity(1)
            .ghost_allocation(1.0)
            .build()
            .expect("the options above are complete");
        Self {
            name: name.into(),
            pool: Pool::new(options, 8, Weigh { least: 1 }, hashes, evictions),
            used: AtomicBool::new(false),
            allowance: AtomicU64::new(0),
            coming: AtomicU64::new(0),
            place: AtomicU64::new(NOT_YET),
        }
    }

    #[inline]
    pub(super) fn hit(&self) {
        if !self.used.load(Relaxed) {
            self.used.store(true, Relaxed);
        }
    }

    /// Whether only so many have it. What others have stored that had it before is seen from now on.
    pub(super) fn is_held_by(this: &Arc<Self>, holders: usize) -> bool {
        let so_many = Arc::strong_count(this) == holders;
        fence(Acquire);
        so_many
    }

    /// Takes note of a slot that is to be stored.
    pub(super) fn announce(&self, ask: Ask) -> Coming<'_> {
        let bytes = ask.all.saturating_sub(ask.old);
        Coming { coming: &self.coming, bytes, before: self.coming.fetch_add(bytes, Relaxed) }
    }

    pub(super) fn allowance(&self) -> u64 {
        self.allowance.load(Relaxed)
    }

    /// Whether another pool is that of this tenant now, or none.
    pub(super) fn is_gone(&self) -> bool {
        self.place.load(Relaxed) == GONE
    }

    /// Whether it may hold something.
    pub(super) fn is_in_books(&self) -> bool {
        self.place().is_some()
    }

    /// What it costs to enter it into the books.
    fn opening(&self) -> u64 {
        if self.is_in_books() { 0 } else { OVERHEAD }
    }

    fn place(&self) -> Option<u64> {
        Some(self.place.load(Relaxed)).filter(|place| !matches!(*place, NOT_YET | GONE))
    }

    /// Whether it is allowed much that it does not hold.
    pub(super) fn has_unused(&self) -> bool {
        self.unused().is_some()
    }

    /// Bytes allowed that it does not hold, if they are worth mentioning.
    fn unused(&self) -> Option<u64> {
        let allowance = self.allowance();
        let unused = allowance - grains(self.pool.weight()).min(allowance);
        (unused > allowance / 8).then_some(unused)
    }

    /// Whether its tables are far larger than what is in them: once it has held much more.
    pub(super) fn is_bloated(&self) -> bool {
        let rows = self.pool.len() as u64 + self.allowance() / GRAIN;
        self.pool.tables() > 16 * 1024 + 4 * 64 * rows
    }

    /// Changes the allowance. In steps, so that no one waits long for a hit.
    fn resize(&self, to: u64) {
        // The engine never has less than one grain.
        let mut now = self.allowance().max(GRAIN);
        while now != to {
            let next = to.max(now.saturating_sub(STEP));
            if let Some(way) = way(now / GRAIN, next / GRAIN) {
                self.pool.set_capacity(way * GRAIN);
            }
            self.pool.set_capacity(next);
            now = next;
        }
        self.allowance.store(to, Relaxed);
    }
}

impl Books {
    /// Books for so many bytes.
    pub(super) fn new(bytes: u64, share: u64) -> Self {
        let share = share / GRAIN * GRAIN;
        Self { bytes, free: bytes, share, last_place: NOT_YET, tenants: BTreeMap::new(), by_size: BTreeSet::new() }
    }

    pub(super) fn free(&self) -> u64 {
        self.free
    }

    pub(super) fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// Lets a tenant hold `want` bytes, or as much as possible, but at least `least`. `close` is [`Books::close`], for
    /// tenants that are not to be found any more.
    pub(super) fn grow(
        &mut self,
        tenant: &Arc<Tenant>,
        least: u64,
        want: u64,
        close: impl Fn(&mut Self, &Tenant),
    ) -> Result<(), NoPlace> {
        if tenant.is_gone() {
            return Err(NoPlace::Gone);
        }
        let had = tenant.allowance();
        if want <= had {
            return Ok(());
        }
        // A little more than that, so that not every entry comes here.
        let wish = want + grains_within((had / 8).min(self.share / 16));
        if self.reach(tenant) < want && had < self.share && least <= self.share {
            let goals = [wish, want, least].map(|goal| goal.min(self.share));
            let collected = goals.into_iter().any(|goal| self.collect(tenant, goal, &close));
            if !collected && had == 0 {
                // Others that are served go only for one that is no larger than an equal part for all.
                let equal = self.bytes / (self.tenants.len() as u64 + 1) + GRAIN;
                let idle = self.idle(self.lack(tenant, least), least + OVERHEAD <= equal);
                idle.iter().for_each(|idle| close(self, idle));
            }
        }
        let reach = self.reach(tenant);
        if reach < least {
            return Err(NoPlace::Not(NotStored::NoRoom));
        }
        if tenant.place().is_none() {
            self.free -= OVERHEAD;
            self.enter(tenant);
        }
        let most = wish.min(reach);
        if most > had {
            self.resize(tenant, most);
        }
        Ok(())
    }

    /// Takes back what a tenant does not use, apart from a little.
    pub(super) fn take_back(&mut self, tenant: &Tenant) {
        if let Some(unused) = tenant.unused().filter(|_| tenant.place().is_some()) {
            let used = tenant.allowance() - unused;
            self.resize(tenant, (used + grains_within(used / 16)).max(GRAIN));
        }
    }

    /// Evicts all that a tenant holds and forgets it.
    pub(super) fn close(&mut self, tenant: &Tenant) {
        if let Some(place) = tenant.place() {
            self.resize(tenant, GRAIN);
            let allowance = tenant.allowance();
            self.by_size.remove(&(allowance, place));
            self.tenants.remove(&place);
            self.free += allowance + OVERHEAD;
        }
        tenant.place.store(GONE, Relaxed);
        tenant.allowance.store(0, Relaxed);
        // Who has found it before stores nothing any more.
        tenant.pool.set_capacity(0);
    }

    /// Moves all that a tenant holds into smaller tables, if that is worth it. The caller holds the locks under which it
    /// is changed, and lets it be found from now on.
    pub(super) fn moved(&mut self, tenant: &Tenant, make: impl FnOnce() -> Tenant) -> Option<Arc<Tenant>> {
        let place = tenant.place().filter(|_| tenant.is_bloated())?;
        let to = make();
        to.resize(tenant.allowance());
        tenant.pool.copy_to(&to.pool);
        to.place.store(place, Relaxed);
        to.used.store(tenant.used.load(Relaxed), Relaxed);
        let to = Arc::new(to);
        self.tenants.insert(place, Arc::clone(&to));
        tenant.place.store(GONE, Relaxed);
        tenant.allowance.store(0, Relaxed);
        Some(to)
    }

    /// What the tenant can have without taking anything from another.
    fn reach(&self, tenant: &Tenant) -> u64 {
        grains_within((tenant.allowance() + self.free).saturating_sub(tenant.opening()))
    }

    /// What is lacking for the tenant to have so much.
    fn lack(&self, tenant: &Tenant, goal: u64) -> u64 {
        (goal + tenant.opening()).saturating_sub(tenant.allowance() + self.free)
    }

    /// Takes from others until the tenant can have `goal`, which is not more than its share. Takes nothing if someone
    /// would have less than that afterwards.
    fn collect(&mut self, tenant: &Tenant, goal: u64, close: impl Fn(&mut Self, &Tenant)) -> bool {
        let lack = self.lack(tenant, goal);
        let mut spare = 0;
        for (size, _) in self.by_size.iter().rev().take_while(|(size, _)| *size > goal) {
            spare += size - goal;
            if spare >= lack {
                break;
            }
        }
        if spare < lack {
            return false;
        }
        loop {
            let lack = grains(self.lack(tenant, goal));
            let largest = self.by_size.last().copied().filter(|(size, _)| lack > 0 && goal < *size);
            let Some((size, place)) = largest else { return true };
            let Some(largest) = self.tenants.get(&place).cloned() else { return true };
            // Where all have less than their share, those who have as much give as much.
            let floor = if size > self.share { self.share } else { size - grains((size - goal) / 2) };
            self.resize(&largest, floor.max(size.saturating_sub(lack)));
            // Here, in the books, and where it is found: nobody else is about to store something.
            if Tenant::is_held_by(&largest, 3) && largest.pool.len() == 0 {
                close(self, &largest);
            }
        }
    }

    /// Tenants that together have so much, of the few that have been here longest: those that were not used lately, and
    /// if they are not enough `any` of them. None if that is not enough.
    fn idle(&mut self, need: u64, any: bool) -> Vec<Arc<Tenant>> {
        let oldest: Vec<_> = self.tenants.values().take(16).cloned().collect();
        let (used, mut idle): (Vec<_>, Vec<_>) =
            oldest.into_iter().partition(|tenant| tenant.used.swap(false, Relaxed));
        for tenant in &used {
            // To the end of the queue.
            if let Some(place) = tenant.place() {
                self.tenants.remove(&place);
                self.by_size.remove(&(tenant.allowance(), place));
                self.enter(tenant);
            }
        }
        if any {
            idle.extend(used);
        }
        let mut found = 0;
        let enough = idle.iter().position(|tenant| {
            found += tenant.allowance() + OVERHEAD;
            found >= need
        });
        idle.truncate(enough.map_or(0, |last| last + 1));
        idle
    }

    fn enter(&mut self, tenant: &Arc<Tenant>) {
        self.last_place += 1;
        tenant.place.store(self.last_place, Relaxed);
        self.tenants.insert(self.last_place, Arc::clone(tenant));
        self.by_size.insert((tenant.allowance(), self.last_place));
    }

    fn resize(&mut self, tenant: &Tenant, to: u64) {
        let Some(place) = tenant.place() else { return };
        let had = tenant.allowance();
        tenant.resize(to);
        self.by_size.remove(&(had, place));
        self.by_size.insert((to, place));
        self.free = self.free + had - to;
    }
}

#[cfg(test)]
impl Books {
    /// Panics unless all adds up.
    pub(super) fn check(&self) {
        let given: u64 = self.tenants().map(|tenant| tenant.allowance() + OVERHEAD).sum();
        assert_eq!(given + self.free, self.bytes);
        let by_size: Vec<_> = self.tenants.iter().map(|(place, tenant)| (tenant.allowance(), *place)).collect();
        assert!(by_size.len() == self.by_size.len() && by_size.iter().all(|size| self.by_size.contains(size)));
        for (place, tenant) in &self.tenants {
            assert!(tenant.place() == Some(*place) && tenant.allowance() >= GRAIN && tenant.allowance() % GRAIN == 0);
            assert!(tenant.pool.weight() <= tenant.allowance());
        }
    }
}

/// A capacity to pass on the way from one to another, all in grains, if there has to be one. The engine multiplies the
/// number of evicted keys that it remembers, which is one for each grain, by the ratio of the capacities, and cuts off
/// what is behind the point. That is exact from any sum of two powers of two (Goldberg, What every computer scientist
/// should know about floating-point arithmetic, theorem 7), and to one of the first three of them.
fn way(from: u64, to: u64) -> Option<u64> {
    let top = from.max(to).next_power_of_two();
    let ways = [top, top + top / 2, top + top / 4];
    if keeps(from, to) { None } else { ways.into_iter().find(|way| keeps(from, *way)) }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "as the engine does it"
)]
fn keeps(from: u64, to: u64) -> bool {
    (from as f64 * (to as f64 / from as f64)) as u64 == to
}

/// The smallest allowance in which a slot of this weight finds room.
pub(super) fn fitting(weight: u64) -> u64 {
    grains((weight * 32).div_ceil(31))
}

/// The heaviest slot that finds room in an allowance: the engine keeps the rest for what comes and goes.
pub(super) fn largest_in(allowance: u64) -> u64 {
    allowance / 32 * 31
}

/// In whole grains, not less.
pub(super) fn grains(bytes: u64) -> u64 {
    bytes.next_multiple_of(GRAIN)
}

/// In whole grains, not more.
pub(super) fn grains_within(bytes: u64) -> u64 {
    bytes / GRAIN * GRAIN
}

/// Allowances are multiples of this. A power of two.
pub(super) const GRAIN: u64 = 2048;

/// What a tenant costs beside what it holds.
pub(super) const OVERHEAD: u64 = 1024;

/// An allowance is cut in pieces of this size: a hit waits for one piece at most.
const STEP: u64 = 256 * 1024;

/// Places of those that are not in the books.
const NOT_YET: u64 = 0;
const GONE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::{super::tests, *};
    use http::HeaderMap;

    /// Tables, and the heaviest slot that is kept, of a pool of one MiB after it was full.
    fn of(tenant: &Tenant) -> (u64, u64) {
        const MIB: u64 = 1 << 20;
        let put = |resource, entry| {
            let room = |_| Ok::<_, NotStored>(u64::MAX);
            tenant.pool.put(tests::key(1, resource), entry, &HeaderMap::new(), 4, |_| true, room).unwrap();
        };
        tenant.resize(MIB);
        (0..4_000).for_each(|resource| put(resource, tests::entry(4_000)));
        let tables = tenant.pool.tables();
        let heaviest = (0..64).rev().find(|part| {
            let before = tenant.pool.len();
            put(10_000 + part, tests::entry(MIB / 64 * part));
            tenant.pool.len() != before
        });
        (tables, heaviest.unwrap())
    }

    #[test]
    fn there_is_a_way_from_any_capacity_to_any_other() {
        for (from, to) in (1..700).flat_map(|from| (1..700).map(move |to| (from, to))) {
            if let Some(way) = way(from, to) {
                assert!(keeps(from, way) && keeps(way, to), "{from} {way} {to}");
            } else {
                assert!(keeps(from, to), "{from} {to}");
            }
        }
    }

    #[test]
    fn an_engine_is_as_good_as_new_however_often_its_capacity_has_changed() {
        let new = || Tenant::new(b"a", Hashes::default(), Evictions::default());
        let tenant = new();
        let mut random = 1_u64;
        for _ in 0..100_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let most = GRAIN * (1 + (random >> 33) % 1_000);
            tenant.resize(most);
        }
        assert_eq!(of(&tenant), of(&new()));
    }
}

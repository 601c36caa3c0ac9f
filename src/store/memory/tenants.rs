//! A pool for each tenant, within one amount of memory.

use super::{
    Found, Sizes, Variant,
    pool::{Ask, Evictions, Grave, Hashes},
    quota::{Books, GRAIN, OVERHEAD, Tenant, fitting, grains, grains_within, largest_in},
};
use crate::{
    entry::Entry,
    identity::TENANT,
    key::{Key, attribute},
    outcome::NotStored,
};
use http::{HeaderMap, HeaderName};
use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{BuildHasher, Hash, Hasher},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// A pool for each tenant that holds something, found by the name in the key.
///
/// Locks are taken in this order, and each may be left out: those for writing of one pool, the books, one of `pools`, one
/// of an engine, the grave. A hit takes one of `pools` and one of an engine, and holds one at a time. Nothing that may be
/// the user's is called or dropped while one is held, but for [`Pool::put`](super::pool::Pool::put), which asks the cache
/// whether an entry is live.
pub(super) struct Tenants {
    pools: Box<[RwLock<HashSet<Named, Hashes>>]>,
    books: Mutex<Books>,
    /// What is free in the books, near enough: those who cannot get more need not ask.
    free: AtomicU64,
    share: u64,
    /// The largest slot that finds room, if nothing else is there.
    largest: u64,
    hashes: Hashes,
    evictions: Evictions,
    grave: Arc<Grave>,
}

/// Why a slot finds no place.
#[derive(Clone, Copy, Debug)]
pub(super) enum NoPlace {
    /// Another pool is that of the tenant now.
    Gone,
    Not(NotStored),
}

impl From<NotStored> for NoPlace {
    fn from(reason: NotStored) -> Self {
        Self::Not(reason)
    }
}

impl Tenants {
    /// No tenants, in this much memory.
    pub(super) fn new(sizes: Sizes, share: u64) -> Self {
        let hashes = Hashes::default();
        let grave = Arc::new(Grave::default());
        Self {
            pools: (0..32).map(|_| RwLock::new(HashSet::with_hasher(hashes))).collect(),
            books: Mutex::new(Books::new(sizes.bytes, share)),
            free: AtomicU64::new(sizes.bytes),
            share: grains_within(share),
            largest: largest_in(grains_within(sizes.bytes - OVERHEAD)),
            hashes,
            evictions: Evictions { grave: Some(Arc::clone(&grave)), ..Evictions::default() },
            grave,
        }
    }

    pub(super) fn find(&self, key: &[u8], request: &HeaderMap) -> Found {
        let Some(tenant) = self.tenant(attribute(key, TENANT)) else { return Found::Nothing };
        let found = tenant.pool.find(key, request);
        if let Found::Entry(_) = &found {
            tenant.hit();
        }
        found
    }

    pub(super) fn peek(&self, key: &[u8], request: &HeaderMap) -> Found {
        self.tenant(attribute(key, TENANT)).map_or(Found::Nothing, |tenant| tenant.pool.peek(key, request))
    }

    pub(super) fn nominated(&self, key: &[u8]) -> Box<[HeaderName]> {
        self.tenant(attribute(key, TENANT)).map(|tenant| tenant.pool.nominated(key)).unwrap_or_default()
    }

    pub(super) fn put(
        &self,
        key: &Key,
        entry: &Arc<Entry>,
        request: &HeaderMap,
        max_variants: usize,
        live: impl Fn(&Entry) -> bool,
    ) -> Result<(), NotStored> {
        if entry.weight() + key.as_bytes().len() as u64 > self.largest {
            return Err(NotStored::NoRoom);
        }
        let _emptied = self.grave.emptied_last();
        loop {
            let tenant = self.tenant_or_new(attribute(key.as_bytes(), TENANT));
            let mut coming = None;
            let room = |ask| {
                let before = coming.insert(tenant.announce(ask)).before;
                self.make_room(&tenant, ask, before)
            };
            match tenant.pool.put(key.clone(), Arc::clone(entry), request, max_variants, &live, room) {
                Ok(()) => return Ok(()),
                Err(NoPlace::Gone) => {}
                Err(NoPlace::Not(reason)) => {
                    self.settle(&tenant);
                    return Err(reason);
                }
            }
        }
    }

    pub(super) fn remove(&self, key: &[u8], entry: &Arc<Entry>) {
        let _emptied = self.grave.emptied_last();
        while let Some(tenant) = self.tenant(attribute(key, TENANT)) {
            if tenant.pool.remove(key, entry, || !tenant.is_gone()) {
                return self.settle(&tenant);
            }
        }
    }

    pub(super) fn clear(&self) {
        let _emptied = self.grave.emptied_last();
        for mut tenant in self.all() {
            loop {
                tenant.pool.clear();
                self.settle(&tenant);
                // It may be moving, under the lock of the books: what was copied by then has to go too.
                drop(self.books());
                match self.tenant(&tenant.name).filter(|_| tenant.is_gone()) {
                    Some(moved) => tenant = moved,
                    None => break,
                }
            }
        }
    }

    pub(super) fn each_variant(&self, see: &mut impl FnMut(Variant<'_>)) {
        for tenant in self.all() {
            tenant.pool.each_variant(see);
        }
    }

    pub(super) fn sweep(&self, useful: &impl Fn(&Entry) -> bool) {
        let _emptied = self.grave.emptied_last();
        for tenant in self.all() {
            tenant.pool.sweep(useful);
            self.settle(&tenant);
            if tenant.is_bloated() {
                self.make_smaller(&tenant);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.books().tenants().map(|tenant| tenant.pool.len()).sum()
    }

    /// Bytes held, as weighed. While the books are open no allowance changes, so this is never more than all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.books().tenants().map(|tenant| tenant.pool.weight()).sum()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evictions.count.load(Ordering::Relaxed)
    }

    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    #[cfg(test)]
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.all().iter().flat_map(|tenant| tenant.pool.entries().collect::<Vec<_>>()).collect()
    }

    /// Sees to it that the pool has room for a slot, beside so many bytes that are on their way there. Tells how much the
    /// slot may weigh.
    fn make_room(&self, tenant: &Arc<Tenant>, ask: Ask, coming: u64) -> Result<u64, NoPlace> {
        let least = fitting(ask.least);
        let after = (tenant.pool.weight() + coming + ask.all).saturating_sub(ask.old);
        let want = grains(after).max(fitting(ask.all));
        let has = tenant.allowance();
        let must_ask = want > has && (least > has || has < self.share || self.free.load(Ordering::Relaxed) >= GRAIN);
        if must_ask {
            self.books().grow(tenant, least, want, |books, idle| self.close(books, idle))?;
        }
        Ok(largest_in(tenant.allowance()))
    }

    /// After something was removed: takes back what the tenant does not use, and forgets it if it holds nothing.
    fn settle(&self, tenant: &Arc<Tenant>) {
        if tenant.pool.len() > 0 && !tenant.has_unused() {
            return;
        }
        let mut books = self.books();
        let mut pools = self.pools_of(&tenant.name).write().unwrap_or_else(PoisonError::into_inner);
        // Here, in `pools`, and in the books: nobody else is about to store something. Else the next sweep sees to it.
        if !Tenant::is_held_by(tenant, 2 + usize::from(tenant.is_in_books())) || tenant.is_gone() {
            return;
        }
        if tenant.pool.len() > 0 {
            books.take_back(tenant);
        } else {
            pools.remove(&*tenant.name);
            books.close(tenant);
        }
    }

    fn close(&self, books: &mut Books, tenant: &Tenant) {
        self.pools_of(&tenant.name).write().unwrap_or_else(PoisonError::into_inner).remove(&*tenant.name);
        books.close(tenant);
    }

    fn make_smaller(&self, tenant: &Arc<Tenant>) {
        let _writing = tenant.pool.write_all();
        let mut books = self.books();
        let new = || Tenant::new(&tenant.name, self.hashes, self.evictions.clone());
        if let Some(moved) = books.moved(tenant, new) {
            let mut pools = self.pools_of(&tenant.name).write().unwrap_or_else(PoisonError::into_inner);
            pools.replace(Named(moved));
        }
    }

    #[inline]
    fn tenant(&self, name: &[u8]) -> Option<Arc<Tenant>> {
        let pools = self.pools_of(name).read().unwrap_or_else(PoisonError::into_inner);
        pools.get(name).map(|Named(tenant)| Arc::clone(tenant))
    }

    fn tenant_or_new(&self, name: &[u8]) -> Arc<Tenant> {
        self.tenant(name).unwrap_or_else(|| {
            let new = Arc::new(Tenant::new(name, self.hashes, self.evictions.clone()));
            let mut pools = self.pools_of(name).write().unwrap_or_else(PoisonError::into_inner);
            match pools.get(name) {
                Some(Named(tenant)) => Arc::clone(tenant),
                None => {
                    pools.insert(Named(Arc::clone(&new)));
                    new
                }
            }
        })
    }

    fn all(&self) -> Vec<Arc<Tenant>> {
        let pools = self.pools.iter().map(|pools| pools.read().unwrap_or_else(PoisonError::into_inner));
        pools.flat_map(|pools| pools.iter().map(|Named(tenant)| Arc::clone(tenant)).collect::<Vec<_>>()).collect()
    }

    #[inline]
    fn pools_of(&self, name: &[u8]) -> &RwLock<HashSet<Named, Hashes>> {
        // Not by the bits that the set itself goes by.
        let place = (self.hashes.hash_one(name) >> 32) % self.pools.len() as u64;
        &self.pools[usize::try_from(place).unwrap_or(0)]
    }

    fn books(&self) -> OpenBooks<'_> {
        OpenBooks { books: self.books.lock().unwrap_or_else(PoisonError::into_inner), free: &self.free }
    }
}

#[cfg(test)]
impl Tenants {
    /// Panics unless all adds up.
    pub(super) fn check(&self) {
        let found = self.all();
        let books = self.books();
        books.check();
        assert_eq!(books.tenants().count(), found.len());
        assert!(found.iter().all(|tenant| books.tenants().any(|known| Arc::ptr_eq(known, tenant))));
    }

    /// How many tenants there are.
    pub(super) fn count(&self) -> usize {
        self.all().len()
    }

    /// Shows all tenants.
    pub(super) fn each(&self, each: impl FnMut(&Arc<Tenant>)) {
        self.all().iter().for_each(each);
    }

    /// The tenant of a key.
    pub(super) fn of(&self, key: &Key) -> Arc<Tenant> {
        self.tenant_or_new(attribute(key.as_bytes(), TENANT))
    }

    /// The allowance of the tenant of a key.
    pub(super) fn allowance(&self, key: &Key) -> u64 {
        self.tenant(attribute(key.as_bytes(), TENANT)).map_or(0, |tenant| tenant.allowance())
    }

    /// Opens the books, for as long as the guard lives.
    pub(super) fn open_books(&self) -> impl Sized {
        self.books()
    }

    /// Closes the account of a tenant.
    pub(super) fn forget(&self, tenant: &Tenant) {
        self.close(&mut self.books(), tenant);
    }
}

/// The books, under their lock. Says in the end what is free.
struct OpenBooks<'a> {
    books: MutexGuard<'a, Books>,
    free: &'a AtomicU64,
}

impl Deref for OpenBooks<'_> {
    type Target = Books;

    fn deref(&self) -> &Books {
        &self.books
    }
}

impl DerefMut for OpenBooks<'_> {
    fn deref_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

impl Drop for OpenBooks<'_> {
    fn drop(&mut self) {
        self.free.store(self.books.free(), Ordering::Relaxed);
    }
}

/// A tenant, found by its name.
struct Named(Arc<Tenant>);

impl Borrow<[u8]> for Named {
    fn borrow(&self) -> &[u8] {
        &self.0.name
    }
}

impl Hash for Named {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name.hash(state);
    }
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for Named {}

//! One value: looking it up, putting it, removing it.

use super::{Kind, Value, load::weigh};
use crate::{
    cache::{Cache, refreshing},
    entry::{Entry, FROM_A_STORE, Held, Life},
    identity::{Identity, TENANT},
    invalidation::{Checked, Claim, Footprint, Selector, Seq, Standing, Subject, Tags, key_digest},
    key::{Key, KeyBuf, Part},
    outcome::{Bypass, NotStored, Outcome},
    request_stats::RequestStats,
    semantics::{
        cache_control::ResponseDirectives, date::Timestamp, freshness::LifetimeSource, reuse::Lifespan,
        storable::Storable,
    },
    store::{Found, YEAR},
    tally::{Tally, Usage},
};
use http::HeaderMap;
use serde::{Serialize, de::DeserializeOwned};
use std::{borrow::Cow, fmt, future::Future, sync::Arc, time::Duration};

/// One value of a kind, by whose it is and its parameters. Made by [`Cache::value`].
///
/// ```
/// # use larder::{Cache, Identity, Value};
/// # use std::time::Duration;
/// static MENU: Value<String> = Value::named("menu").fresh_for(Duration::from_secs(600)).per(&["role"]);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// let menu = |role: &str| {
///     cache.value(&MENU).for_identity(&Identity::new().with_user(42).with("role", role)).param("language", "de")
/// };
/// menu("buyer").put("Bestellen".to_owned());
/// assert_eq!(menu("buyer").get().await.as_deref().map(String::as_str), Some("Bestellen"));
/// assert!(menu("auditor").get().await.is_none()); // one that is loaded for auditors
/// # }
/// ```
#[must_use = "nothing is done until one of its methods is called"]
pub struct ValueCall<'a, T> {
    pub(super) cache: &'a Cache,
    pub(super) value: &'a Value<T>,
    identity: Option<Identity>,
    params: Vec<(Cow<'static, str>, String)>,
    tags: Tags,
    keep: bool,
    pub(super) tally: Arc<Tally>,
}

/// Where a value is kept, and by what it is invalidated.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) cache: Cache,
    pub(super) key: KeyBuf,
    pub(super) footprint: Footprint,
    pub(super) tags: Tags,
    pub(super) tally: Arc<Tally>,
    /// That of its tenant, if it has one.
    pub(super) tenant: Option<Arc<Tally>>,
}

impl<'a, T: Serialize + DeserializeOwned + Send + Sync + 'static> ValueCall<'a, T> {
    pub(super) fn new(cache: &'a Cache, value: &'a Value<T>) -> Self {
        Self {
            cache,
            value,
            identity: None,
            params: Vec::new(),
            tags: Tags::default(),
            keep: true,
            tally: value.tally(cache),
        }
    }

    /// Whose it is. Of the identity counts what the value keys on.
    pub fn for_identity(mut self, identity: &Identity) -> Self {
        self.identity = Some(identity.clone());
        self
    }

    /// A parameter that it depends on. The order does not count; of one name the last does.
    pub fn param(mut self, name: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        let name = name.into();
        self.params.retain(|(other, _)| *other != name);
        self.params.push((name, value.to_string()));
        self
    }

    /// Tags of this one, beside those of its kind.
    pub fn tags<N: Into<Cow<'static, str>>>(mut self, tags: impl IntoIterator<Item = N>) -> Self {
        self.tags = self.tags.and(tags);
        self
    }

    /// Whether the cache takes part at all: if not, it is loaded each time.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::{convert::Infallible, time::Duration};
    /// static FOUND: Value<u32> = Value::named("found").fresh_for(Duration::from_secs(60)).shared();
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Infallible> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let term = "a term so long that nobody asks for it twice";
    /// let found = cache.value(&FOUND).param("term", term).cache_if(term.len() < 20);
    /// assert_eq!(*found.get_or_load(|| async { Ok::<_, Infallible>(0) }).await?, 0);
    /// # Ok(()) }
    /// ```
    pub fn cache_if(mut self, keep: bool) -> Self {
        self.keep = keep;
        self
    }

    /// What is kept, if it is fresh; also in the stores behind the memory tier. Counts as a hit or a miss.
    pub async fn get(self) -> Option<Arc<T>> {
        let key = self.key().ok()?;
        if let Some((entry, value)) = fresh(self.cache, &key) {
            use_of(&self.tally, &entry, Outcome::Hit);
            return Some(value);
        }
        let site = self.site(key);
        let found = if self.cache.has_stores() { self.value.kind.in_stores(&site).await } else { None };
        match found {
            Some((entry, value)) => {
                use_of(&self.tally, &entry, Outcome::Hit);
                Some(value)
            }
            None => {
                site.count(Outcome::Miss);
                None
            }
        }
    }

    /// What is kept in memory, if it is fresh. Counts as nothing.
    pub fn peek(self) -> Option<Arc<T>> {
        Some(fresh(self.cache, &self.key().ok()?)?.1)
    }

    /// Keeps a value. Where it is not to be kept, or there is no room for it, the use of the one before ends all the same, as by
    /// [`remove`](Self::remove).
    pub fn put(self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        if let Some(site) = self.put_unless_unkept(&value) {
            site.invalidate();
        }
        value
    }

    /// Keeps a value. Where it is not kept, gives what has to be invalidated: the one before.
    pub(super) fn put_unless_unkept(&self, value: &Arc<T>) -> Option<Site> {
        let site = self.site(self.key().ok()?);
        let made = self.value.kind.keep(&site, site.begin(), value);
        made.ends_older.then_some(site)
    }

    /// Ends the use of what is kept, and of what is being loaded.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static PRICE: Value<u32> = Value::named("price").fresh_for(Duration::from_secs(60)).shared();
    ///
    /// # let cache = Cache::in_memory(1 << 20);
    /// let price = |id: u64| cache.value(&PRICE).param("id", id);
    /// price(17).put(2650);
    /// price(17).remove();
    /// assert!(price(17).peek().is_none());
    /// ```
    pub fn remove(self) {
        if let Ok(key) = self.key() {
            self.site(key).invalidate();
        }
    }

    /// Has a value saved; then what was kept is invalid, and the new one is kept. If it cannot be saved, what was kept is
    /// invalid all the same: nobody knows what was saved. Processes that share a log hear of it; whether they have is told by
    /// [`Cache::invalidate`] alone.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared();
    /// # async fn save(_: u32) -> std::io::Result<()> { Ok(()) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// cache.value(&RATE).write_through(2650, |rate| save(*rate)).await?;
    /// assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&2650));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// That of `save`.
    pub async fn write_through<E, F>(self, value: T, save: impl FnOnce(Arc<T>) -> F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<(), E>>,
    {
        let value = Arc::new(value);
        let site = self.key().ok().map(|key| self.site(key));
        // Whatever becomes of saving it, also if this is dropped on the way.
        let invalidating = site.clone().map(Invalidating);
        let before = site.as_ref().map(Site::begin);
        let saved = save(Arc::clone(&value)).await;
        // Of two who save at once nobody knows who was the last.
        let alone = site.as_ref().zip(before).is_some_and(|(site, before)| site.is_untouched(before));
        drop(invalidating);
        saved?;
        if let Some(site) = site.filter(|_| alone) {
            // What was there before is invalid, whatever becomes of this.
            self.value.kind.keep(&site, site.begin(), &value);
        }
        Ok(value)
    }

    /// The key as people read it; nothing if the identity lacks what the value keys on.
    pub fn key_text(&self) -> Option<String> {
        self.key().ok().map(|key| Key::from(&key).to_string())
    }

    /// The key under which it is kept, unless it is not to be.
    pub(super) fn key(&self) -> Result<KeyBuf, Bypass> {
        if !self.keep {
            return Err(Bypass::Policy);
        }
        if let Err(error) = self.cache.declare(self.value) {
            self.cache.warn_of_value(&error);
            return Err(Bypass::ValueConflict);
        }
        let prepared = self.value.prepared();
        let mut key = KeyBuf::default();
        let unit = self.cache.unit();
        key.part(Part::Namespace, unit.namespace.as_bytes());
        if let Some(version) = unit.version {
            key.part(Part::Version, version.as_bytes());
        }
        prepared.scope.write(self.identity.as_ref(), &mut key)?;
        key.part(Part::Value, self.value.name().as_bytes());
        if let Some(version) = self.value.kind.version {
            key.part(Part::PolicyVersion, version.as_bytes());
        }
        let mut params: Vec<_> = self.params.iter().collect();
        params.sort();
        for (name, value) in params {
            key.part_named(Part::Parameter, name, [value.as_bytes()].into_iter());
        }
        // Those of its kind were counted when it was declared.
        if !self.tags.is_empty() && prepared.tags.clone().with(&self.tags).are_too_many() {
            return Err(Bypass::Policy);
        }
        Ok(key)
    }

    pub(super) fn site(&self, key: KeyBuf) -> Site {
        let prepared = self.value.prepared();
        let tags = prepared.tags.clone().with(&self.tags);
        let keyed: Vec<_> = self.identity.iter().flat_map(|identity| prepared.scope.keyed(identity)).collect();
        let digest = key_digest(key.as_bytes());
        let subjects = [Subject::Value(self.value.name()), Subject::Key(&digest)];
        let footprint = self.cache.ledger().rows().footprint(subjects.into_iter().chain(tags.subjects()), &keyed);
        let tenant = prepared.scope.keys_on(TENANT).then(|| self.cache.tenant_tally(key.as_bytes())).flatten();
        Site { cache: self.cache.clone(), key, footprint, tags, tally: Arc::clone(&self.tally), tenant }
    }

    /// The same call about one of many.
    pub(super) fn of(&self, param: &'static str, id: &dyn fmt::Display) -> Self {
        Self {
            cache: self.cache,
            value: self.value,
            identity: self.identity.clone(),
            params: self.params.clone(),
            tags: self.tags.clone(),
            keep: self.keep,
            tally: Arc::clone(&self.tally),
        }
        .param(param, id)
    }
}

/// Invalidates when it is dropped.
struct Invalidating(Site);

impl Drop for Invalidating {
    fn drop(&mut self) {
        self.0.invalidate();
    }
}

/// What is known when a value begins to be made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    stamp: Seq,
    started: u64,
    at: Timestamp,
}

/// What has become of a value that was made.
pub(super) struct Made {
    /// It, for all who wait, whether or not it is kept.
    pub(super) entry: Arc<Entry>,
    /// It is not kept, nor is anything younger: the one before is of no use any more.
    pub(super) ends_older: bool,
}

impl Site {
    pub(super) fn begin(&self) -> Began {
        let stamp = self.cache.ledger().applied();
        Began { stamp, started: self.cache.begin_fill(), at: self.cache.now() }
    }

    /// Whether nothing has invalidated it since then.
    fn is_untouched(&self, since: Began) -> bool {
        let claim = Claim { stamp: since.stamp, footprint: &self.footprint, key: self.key.as_bytes() };
        self.cache.ledger().standing(claim, &Checked::default()) == Standing::Good
    }

    pub(super) fn find(&self) -> Option<Arc<Entry>> {
        find(&self.cache, &self.key)
    }

    /// What is in memory, if others have changed it in a store, perhaps.
    pub(super) fn changed(&self) -> Option<Arc<Entry>> {
        match self.cache.find(self.key.as_bytes(), &HeaderMap::new()) {
            Found::Entry(entry) => Some(entry).filter(|entry| self.cache.has_changed(entry)),
            Found::Nothing | Found::OtherVariants => None,
        }
    }

    /// Counts what came of a lookup for which nothing stored was used.
    pub(super) fn count(&self, outcome: Outcome) {
        self.tally.count(outcome);
        if let Some(tenant) = &self.tenant {
            tenant.count_quietly(outcome);
        }
        noted(outcome);
    }

    pub(super) fn selector(&self) -> Selector {
        Selector::key(self.key.as_bytes())
    }

    fn invalidate(&self) {
        self.cache.invalidate_now(&[self.selector()]);
        self.drop_from_memory();
    }

    /// Removes from memory what was begun before this. False if there is nothing older.
    fn remove_older(&self, began: Began) -> bool {
        let Found::Entry(entry) = self.cache.0.memory.find(self.key.as_bytes(), &HeaderMap::new()) else {
            return false;
        };
        let is_younger = match entry.started {
            FROM_A_STORE => entry.received() > began.at,
            started => started > began.started,
        };
        if !is_younger {
            self.cache.remove(self.key.as_bytes(), &entry);
        }
        !is_younger
    }

    pub(super) fn drop_from_memory(&self) {
        if let Some(entry) = self.find() {
            self.cache.remove(self.key.as_bytes(), &entry);
        }
    }
}

pub(super) fn find(cache: &Cache, key: &KeyBuf) -> Option<Arc<Entry>> {
    match cache.find(key.as_bytes(), &HeaderMap::new()) {
        // It is taken from the store again.
        Found::Entry(entry) if cache.has_changed(&entry) => None,
        Found::Entry(entry) => Some(entry),
        Found::Nothing | Found::OtherVariants => None,
    }
}

pub(super) fn fresh<T: Send + Sync + 'static>(cache: &Cache, key: &KeyBuf) -> Option<(Arc<Entry>, Arc<T>)> {
    let now = cache.now();
    let entry = find(cache, key).filter(|entry| entry.lifespan().is_fresh(now))?;
    let value = held(&entry)?;
    Some((entry, value))
}

/// Counts a lookup that was answered with what is stored.
pub(super) fn use_of(tally: &Tally, entry: &Entry, outcome: Outcome) {
    entry.is_used(outcome, tally.count(outcome));
    noted(outcome);
}

fn noted(outcome: Outcome) {
    if let Some(stats) = RequestStats::current() {
        stats.value(outcome);
    }
}

/// The value that an entry holds.
pub(super) fn held<T: Send + Sync + 'static>(entry: &Entry) -> Option<Arc<T>> {
    Arc::clone(&entry.value.as_ref()?.value).downcast().ok()
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Kind<T> {
    /// How long this value is fresh.
    pub(super) fn lifetime_of(&self, value: &T) -> Duration {
        match self.lifetime {
            None => self.fresh_for,
            Some(lifetime) => match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lifetime(value))) {
                // It is shared with those who wait, and not kept.
                Ok(lifetime) => lifetime.unwrap_or_default(),
                Err(_) => Duration::ZERO,
            },
        }
    }

    /// Keeps a value that was made since then.
    pub(super) fn keep(&self, site: &Site, began: Began, value: &Arc<T>) -> Made {
        let lifetime = self.lifetime_of(value);
        let received = site.cache.now();
        let lifetime = match self.refresh.jitter {
            Some(fraction) => refreshing::jittered(lifetime, fraction, site.cache.random()),
            None => lifetime,
        };
        let storable = Storable {
            lifetime,
            source: LifetimeSource::Policy,
            directives: ResponseDirectives::default(),
            nominated: Vec::new(),
            stale_while_revalidate: self.stale_while_revalidate,
            stale_if_error: self.stale_if_error,
        };
        let life = Life {
            lifespan: Lifespan::of(&storable, received, Duration::ZERO),
            early: self.refresh,
            fill_time: received.since(began.at),
            usage: Usage::open(Arc::clone(&site.tally), site.tenant.clone(), received.since(began.at)),
        };
        let held = Held { bytes: weigh(&**value), value: Arc::clone(value) as _ };
        let claim = (site.footprint.clone(), site.tags.clone(), began.stamp);
        let entry = Arc::new(Entry::of_value(held, life, claim, began.started));
        if lifetime.is_zero() {
            return Made { entry, ends_older: self.lifetime.is_some() || !self.fresh_for.is_zero() };
        }
        let ends_older = match site.cache.keep(Key::from(&site.key), &entry, (&HeaderMap::new(), 1), || false) {
            Ok(()) => {
                self.write_soon(site, &entry, value);
                if let Some(stats) = RequestStats::current() {
                    stats.set_value();
                }
                false
            }
            Err(reason) => {
                site.tally.not_stored(reason);
                // A record has ended the one before already.
                !matches!(reason, NotStored::Superseded | NotStored::Invalidated)
            }
        };
        Made { entry, ends_older }
    }

    /// Keeps a value that was loaded since then; what it takes the place of goes, whether or not it is kept.
    pub(super) fn keep_loaded(&self, site: &Site, began: Began, value: &Arc<T>) -> Arc<Entry> {
        let made = self.keep(site, began, value);
        if made.ends_older && site.remove_older(began) && site.cache.uses_stores(self.memory_only) {
            // How long the one before is kept, is not known here.
            let until = site.cache.now().saturating_add(YEAR);
            site.cache.end_in_stores(site.key.as_bytes(), until, &HeaderMap::new());
        }
        made.entry
    }
}

impl<T> fmt::Debug for ValueCall<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueCall").field("value", &self.value.name()).finish_non_exhaustive()
    }
}

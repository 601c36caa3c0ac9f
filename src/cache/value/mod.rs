//! Values of the application: query results, reports, permissions, fragments, kept like responses. Keys, log, flights
//! and tiers are those of responses: nothing here invalidates, expires or stores in a way of its own.

mod batch;
mod call;
mod load;
mod stores;

pub use call::ValueCall;

use super::Cache;
use crate::{
    identity::Scope,
    invalidation::{InvalidateError, Tags},
    policy::{FillRules, RefreshRules},
    tally::Tally,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    any::TypeId,
    borrow::Cow,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A kind of value, declared once: what it is called, how long it lives, whose it is. [`Cache::value`] uses it.
///
/// ```
/// use larder::{Cache, Identity, Value};
/// use std::{convert::Infallible, time::Duration};
///
/// static REPORT: Value<Vec<u64>> = Value::named("report").fresh_for(Duration::from_secs(300)).tags(&["reports"]);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Infallible> {
/// let cache = Cache::in_memory(1 << 20);
/// let tenant = Identity::new().with_tenant(1);
/// let report = cache
///     .value(&REPORT)
///     .for_identity(&tenant)
///     .param("days", 30)
///     .get_or_load(|| async { Ok::<_, Infallible>(vec![1, 2, 3]) })
///     .await?;
/// assert_eq!(*report, [1, 2, 3]);
/// # Ok(()) }
/// ```
///
/// In memory the value itself is shared, behind an `Arc`. It is reckoned to take as many bytes as it has as JSON, which is how
/// it is kept in stores: what cannot be read there, as another version of the application has written it, is loaded anew.
///
/// Two values of one name must be of one type and say the same of themselves: where they do not, the one that comes later
/// is not kept, and says so in the log. [`Cache::declare`] tells at start.
#[must_use = "nothing is done until a cache is asked for it"]
pub struct Value<T> {
    pub(super) kind: Kind<T>,
    scope: ValueScope,
    tags: &'static [&'static str],
    depends_on: &'static [&'static str],
    prepared: OnceLock<Prepared>,
    /// The cache that it was last declared to, by its id and one more.
    known_to: AtomicU64,
    /// Where it is counted, in the cache that it was first asked of.
    tally: OnceLock<(u64, Arc<Tally>)>,
}

/// What a value says of itself that a load needs, which may outlive the one who asked.
pub(super) struct Kind<T> {
    pub(super) name: &'static str,
    pub(super) version: Option<&'static str>,
    pub(super) fresh_for: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) stale_if_error: Duration,
    pub(super) lifetime: Option<fn(&T) -> Option<Duration>>,
    pub(super) refresh: RefreshRules,
    pub(super) wait_limit: Duration,
    pub(super) memory_only: bool,
    of: PhantomData<fn() -> T>,
}

impl<T> Clone for Kind<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Kind<T> {}

/// What each call of a value needs, made on the first.
pub(super) struct Prepared {
    pub(super) scope: Scope,
    pub(super) tags: Tags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ValueScope {
    Whole,
    Shared,
    Attributes(&'static [&'static str]),
}

/// What a value says of itself, to be compared with another of its name.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cache) struct Declared {
    of: TypeId,
    text: String,
    pub(in crate::cache) depends_on: &'static [&'static str],
    pub(in crate::cache) tags: &'static [&'static str],
    pub(in crate::cache) settings: Settings,
}

/// What a value says of itself, for people, each with whether it is the default.
type Settings = Vec<(&'static str, String, bool)>;

impl<T> Value<T> {
    /// A value of this name, which has no lifetime yet: say [`fresh_for`](Value::fresh_for).
    pub const fn named(name: &'static str) -> Self {
        let kind = Kind {
            name,
            version: None,
            fresh_for: Duration::ZERO,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            lifetime: None,
            refresh: RefreshRules { eager: None, xfetch: None, jitter: None, adaptive: None },
            wait_limit: FillRules::DEFAULT_WAIT,
            memory_only: false,
            of: PhantomData,
        };
        Self {
            kind,
            scope: ValueScope::Whole,
            tags: &[],
            depends_on: &[],
            prepared: OnceLock::new(),
            known_to: AtomicU64::new(0),
            tally: OnceLock::new(),
        }
    }

    /// How long it is fresh. Without this nothing is kept, but loads at the same time still share.
    pub const fn fresh_for(mut self, lifetime: Duration) -> Self {
        self.kind.fresh_for = lifetime;
        self
    }

    /// How long it is fresh, by the value itself; `None`: it is not kept, nor is the one before. For what is not there, for
    /// instance, which is worth less time: `|rate: &Option<u32>| Some(if rate.is_some() { HOUR } else { MINUTE })`.
    ///
    /// ```
    /// # use larder::Value;
    /// # use std::time::Duration;
    /// const MINUTE: Duration = Duration::from_secs(60);
    /// static QUOTA: Value<Option<u32>> =
    ///     Value::named("quota").lifetime_of(|quota| Some(if quota.is_some() { MINUTE.saturating_mul(5) } else { MINUTE }));
    /// # let _ = &QUOTA;
    /// ```
    pub const fn lifetime_of(mut self, lifetime: fn(&T) -> Option<Duration>) -> Self {
        self.kind.lifetime = Some(lifetime);
        self
    }

    /// How long it may be used stale, while it is loaded anew in the background.
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.kind.stale_while_revalidate = window;
        self
    }

    /// How long it may be used stale if loading fails. Default: the error is returned.
    pub const fn stale_if_error(mut self, window: Duration) -> Self {
        self.kind.stale_if_error = window;
        self
    }

    /// The version of what it is made of: another one starts empty.
    pub const fn version(mut self, version: &'static str) -> Self {
        self.kind.version = Some(version);
        self
    }

    /// One value for all, whoever asks. Without any of these it is that of the whole identity it is asked for.
    pub const fn shared(mut self) -> Self {
        self.scope = ValueScope::Shared;
        self
    }

    /// One for each tenant.
    pub const fn per_tenant(self) -> Self {
        self.per(&["tenant"])
    }

    /// One for each user, within the tenant.
    pub const fn per_user(self) -> Self {
        self.per(&["user"])
    }

    /// One for each set of values of these attributes of the identity, within the tenant.
    ///
    /// ```
    /// # use larder::{Cache, Identity, Value};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// static MENU: Value<String> = Value::named("menu").fresh_for(Duration::from_secs(600)).per(&["role"]);
    ///
    /// let buyer = Identity::new().with_tenant(1).with_user(42).with("role", "buyer");
    /// let key = |who: &Identity| cache.value(&MENU).for_identity(who).key_text();
    /// assert_eq!(key(&buyer), key(&buyer.clone().with_user(43)));
    /// assert_eq!(key(&Identity::new()), None); // no role: nothing is kept
    /// ```
    pub const fn per(mut self, attributes: &'static [&'static str]) -> Self {
        self.scope = ValueScope::Attributes(attributes);
        self
    }

    /// What it is tagged with, to be invalidated by [`Selector::tag`](crate::Selector::tag).
    pub const fn tags(mut self, tags: &'static [&'static str]) -> Self {
        self.tags = tags;
        self
    }

    /// The names of what it is made of, as in [`Policy::depends_on`](crate::Policy::depends_on).
    pub const fn depends_on(mut self, names: &'static [&'static str]) -> Self {
        self.depends_on = names;
        self
    }

    /// As [`Policy::eager_refresh`](crate::Policy::eager_refresh). What is not between 0 and 1 counts as the nearer of both.
    pub const fn eager_refresh(mut self, fraction: f64) -> Self {
        self.kind.refresh.eager = Some(fraction);
        self
    }

    /// As [`Policy::jitter`](crate::Policy::jitter).
    pub const fn jitter(mut self, fraction: f64) -> Self {
        self.kind.refresh.jitter = Some(fraction);
        self
    }

    /// As [`Policy::wait_limit`](crate::Policy::wait_limit).
    pub const fn wait_limit(mut self, limit: Duration) -> Self {
        self.kind.wait_limit = limit;
        self
    }

    /// As [`Policy::memory_only`](crate::Policy::memory_only).
    pub const fn memory_only(mut self) -> Self {
        self.kind.memory_only = true;
        self
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.kind.name
    }

    pub(super) fn prepared(&self) -> &Prepared {
        self.prepared.get_or_init(|| {
            let names: Vec<_> = self.depends_on.iter().map(|name| Cow::Borrowed(*name)).collect();
            Prepared {
                scope: match self.scope {
                    ValueScope::Whole => Scope::Whole,
                    ValueScope::Shared => Scope::Shared,
                    ValueScope::Attributes(names) => {
                        let mut names: Vec<_> = names.iter().map(|name| Cow::Borrowed(*name)).collect();
                        names.sort();
                        names.dedup();
                        Scope::Attributes(names)
                    }
                },
                tags: Tags::new(self.tags.iter().copied()).depending_on(&names),
            }
        })
    }
}

impl<T: 'static> Value<T> {
    /// Where it is counted in this cache.
    pub(super) fn tally(&self, cache: &Cache) -> Arc<Tally> {
        let made = || (cache.id(), cache.value_tally(self.name()));
        match self.tally.get_or_init(made) {
            (id, tally) if *id == cache.id() => Arc::clone(tally),
            _ => cache.value_tally(self.name()),
        }
    }

    fn declared(&self) -> Declared {
        Declared {
            of: TypeId::of::<T>(),
            text: format!("{self:?}"),
            depends_on: self.depends_on,
            tags: self.tags,
            settings: self.settings(),
        }
    }

    fn settings(&self) -> Settings {
        let Kind { version, fresh_for, stale_while_revalidate, stale_if_error, lifetime, .. } = &self.kind;
        let (yes, span) = (|flag: bool| if flag { "yes" } else { "no" }.to_owned(), |span| format!("{span:?}"));
        vec![
            ("version", version.unwrap_or("none").to_owned(), version.is_none()),
            ("fresh_for", span(*fresh_for), false),
            ("lifetime_of", if lifetime.is_some() { "set" } else { "not set" }.to_owned(), lifetime.is_none()),
            ("stale_while_revalidate", span(*stale_while_revalidate), stale_while_revalidate.is_zero()),
            ("stale_if_error", span(*stale_if_error), stale_if_error.is_zero()),
            ("scope", format!("{:?}", self.scope), self.scope == ValueScope::Whole),
            ("memory_only", yes(self.kind.memory_only), !self.kind.memory_only),
        ]
    }
}

impl Cache {
    /// The value of this kind that a call is about.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static PRICE: Value<u32> = Value::named("price").fresh_for(Duration::from_secs(60)).shared();
    ///
    /// # async fn price_of(_: u64) -> Result<u32, std::io::Error> { Ok(2650) }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let id = 17;
    /// let price = cache.value(&PRICE).param("id", id).get_or_load(move || price_of(id)).await?;
    /// assert_eq!(*price, 2650);
    /// # Ok(()) }
    /// ```
    pub fn value<'a, T>(&'a self, value: &'a Value<T>) -> ValueCall<'a, T>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        ValueCall::new(self, value)
    }

    /// Checks a value at start, so that a mistake does not wait for the first call.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static PRICE: Value<u32> = Value::named("price").fresh_for(Duration::from_secs(60));
    /// static OTHER: Value<String> = Value::named("price").fresh_for(Duration::from_secs(60));
    ///
    /// # let cache = Cache::in_memory(1 << 20);
    /// assert!(cache.declare(&PRICE).is_ok());
    /// assert!(cache.declare(&OTHER).is_err(), "two of one name");
    /// ```
    ///
    /// # Errors
    ///
    /// If another value of this name is of another type, or says something else of itself; if its name is blank, or it has
    /// more tags than are possible.
    pub fn declare<T: 'static>(&self, value: &Value<T>) -> Result<(), InvalidateError> {
        if value.known_to.load(Ordering::Relaxed) == self.id() + 1 {
            return Ok(());
        }
        if value.name().trim().is_empty() {
            return Err(InvalidateError::new("a value needs a name that is not blank"));
        }
        if value.prepared().tags.are_too_many() {
            return Err(InvalidateError::new(format!(
                "the value `{}`: 64 tags are possible, of 256 bytes each",
                value.name()
            )));
        }
        let mut known = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        let declared = value.declared();
        match known.get(value.name()) {
            None => {
                known.insert(value.name(), declared);
                value.known_to.store(self.id() + 1, Ordering::Relaxed);
                Ok(())
            }
            Some(other) if *other == declared => {
                value.known_to.store(self.id() + 1, Ordering::Relaxed);
                Ok(())
            }
            Some(other) => Err(InvalidateError::new(format!(
                "the value `{}` is declared twice: as {}, and as {}{}",
                value.name(),
                other.text,
                declared.text,
                if other.of == declared.of { "" } else { ", of another type" }
            ))),
        }
    }
}

impl<T> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Value")
            .field("name", &self.kind.name)
            .field("version", &self.kind.version)
            .field("fresh_for", &self.kind.fresh_for)
            .field("stale_while_revalidate", &self.kind.stale_while_revalidate)
            .field("stale_if_error", &self.kind.stale_if_error)
            .field("scope", &self.scope)
            .field("tags", &self.tags)
            .field("depends_on", &self.depends_on)
            .field("lifetime_of", &self.kind.lifetime.is_some())
            .field("refresh", &self.kind.refresh)
            .field("wait_limit", &self.kind.wait_limit)
            .field("memory_only", &self.kind.memory_only)
            .finish()
    }
}

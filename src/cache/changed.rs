//! What the application says has changed, by name.

use super::{Cache, Invalidated};
use crate::{
    invalidation::{ChangeKind, Changed, Dependencies, InvalidateError, Selector},
    semantics::date::Timestamp,
    timer,
};
use std::{
    borrow::Cow,
    fmt,
    future::{Future, IntoFuture},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    slice,
    time::{Duration, SystemTime},
};
use tokio::sync::watch;

/// A change that is about to be told. Made by [`Cache::changed`]; it is told when it is awaited.
///
/// ```
/// # use larder::{Cache, ChangeKind, Value};
/// # use std::time::Duration;
/// static HEADS: Value<u32> = Value::named("heads").fresh_for(Duration::from_secs(600)).shared().depends_on(&["People"]);
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// cache.value(&HEADS).put(17);
/// cache.changed("People").id(4).kind(ChangeKind::Deleted).await?;
/// assert!(cache.value(&HEADS).peek().is_none());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a change is told when it is awaited"]
pub struct Changing {
    cache: Cache,
    changed: Changed,
}

/// Changes that belong together, such as those of a transaction: told together, or not at all.
///
/// ```
/// # use larder::Cache;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// let mut changes = cache.changes();
/// changes.changed("People").tenant(1).id(17);
/// changes.changed("Asset").tenant(1);
/// // The transaction is committed: tell it. Dropped, on the way of an error for instance, it tells nothing.
/// changes.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "changes that are dropped are not told"]
pub struct Changes {
    cache: Cache,
    all: Vec<Changed>,
}

/// One of several [`Changes`].
///
/// ```
/// # use larder::{Cache, ChangeKind};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// let mut changes = cache.changes();
/// for id in [17, 18] {
///     changes.changed("People").tenant(1).id(id).kind(ChangeKind::Created);
/// }
/// changes.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct OneChange<'a>(&'a mut Changed);

/// An invalidation that comes again and again. It goes on when this is dropped, as long as the cache is there.
///
/// ```
/// # use larder::{Cache, Selector};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// # let cache = Cache::in_memory(1 << 20);
/// let rates = cache.invalidate_every(Duration::from_secs(600), Selector::tag("rates"))?;
/// // The market closes:
/// rates.stop();
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Schedule(watch::Sender<bool>);

impl Cache {
    /// Tells that something has changed, mostly a model of the application: all that depends on it is invalid, by
    /// [`Policy::depends_on`](crate::Policy::depends_on) and by the [`Dependencies`] of the cache.
    ///
    /// What depends on it by name or by tag is invalid as soon as this is awaited, whether or not anyone waits for the end. What
    /// closures select follows when they are done, in the background if nobody waits any more.
    ///
    /// ```
    /// # use larder::Cache;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// cache.changed("People").tenant("1").id("17").await?;
    /// # Ok(()) }
    /// ```
    pub fn changed(&self, name: impl Into<Cow<'static, str>>) -> Changing {
        Changing { cache: self.clone(), changed: Changed::new(name) }
    }

    /// Begins to collect changes that are told together.
    pub fn changes(&self) -> Changes {
        Changes { cache: self.clone(), all: Vec::new() }
    }

    /// What depends on what, as it was given to the builder.
    pub fn dependencies(&self) -> &Dependencies {
        &self.0.dependencies
    }

    /// Invalidates again and again, first after this time.
    ///
    /// ```
    /// # use larder::{Cache, Selector};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let schedule = cache.invalidate_every(Duration::from_secs(3600), Selector::tag("exchange_rates"))?;
    /// schedule.stop(); // dropped, it would go on
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the time is less than a second, or the selector does not say what it should.
    pub fn invalidate_every(&self, period: Duration, selector: Selector) -> Result<Schedule, InvalidateError> {
        if period < Duration::from_secs(1) {
            return Err(InvalidateError::new(format!("invalidate_every({period:?}): a second or more is possible")));
        }
        self.invalidate_at(move |now| now.checked_add(period), selector)
    }

    /// Invalidates at certain moments: the closure tells the next one after the one it is given, or that there is none. While
    /// it panics nobody knows which moment is the next: it is invalidated each minute, until the closure tells again.
    ///
    /// ```
    /// # use larder::{Cache, Selector, daily_at, UtcOffset};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let opening = daily_at(9, 30, UtcOffset::UTC);
    /// cache.invalidate_at(move |now| Some(opening(now)), Selector::tag("gold_rate"))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the selector does not say what it should.
    pub fn invalidate_at(
        &self,
        next: impl Fn(SystemTime) -> Option<SystemTime> + Send + 'static,
        selector: Selector,
    ) -> Result<Schedule, InvalidateError> {
        self.batch(slice::from_ref(&selector)).1?;
        let (stop, mut stopped) = watch::channel(false);
        let (cache, background) = (std::sync::Arc::downgrade(&self.0), self.background().clone());
        let start = SystemTime::from(self.now());
        tokio::spawn(async move {
            let mut last = start;
            while let Some(moment) = following(&next, last).filter(|moment| *moment > last) {
                loop {
                    let Some(inner) = cache.upgrade() else { return };
                    let left = Timestamp::from(moment).since(Cache(inner).now());
                    if left.is_zero() {
                        break;
                    }
                    // The clock may be set meanwhile.
                    let span = left.min(Duration::from_secs(60));
                    if timer::within(span, background.ended(&mut stopped)).await.is_some() {
                        return;
                    }
                }
                let Some(inner) = cache.upgrade() else { return };
                let cache = Cache(inner);
                let now = cache.now();
                // It was checked before: it cannot fail.
                let _ = cache.invalidate(selector.clone()).await;
                // Moments that were missed, by a machine that slept for instance, count once.
                last = moment.max(SystemTime::from(now));
            }
        });
        Ok(Schedule(stop))
    }
}

/// The moment after this one.
fn following(next: &impl Fn(SystemTime) -> Option<SystemTime>, last: SystemTime) -> Option<SystemTime> {
    catch_unwind(AssertUnwindSafe(|| next(last))).unwrap_or_else(|_| {
        tracing::warn!(
            target: "larder::invalidate",
            "the closure of a schedule panicked: until it tells the next moment, it is invalidated each minute"
        );
        last.checked_add(Duration::from_secs(60))
    })
}

impl Changing {
    /// Whose it is. Without a tenant, everyone's.
    pub fn tenant(mut self, tenant: impl fmt::Display) -> Self {
        self.changed.set_tenant(tenant);
        self
    }

    /// Which one has changed. Without an id, any.
    pub fn id(mut self, id: impl fmt::Display) -> Self {
        self.changed.set_id(id);
        self
    }

    /// How it has changed. Default: updated.
    pub fn kind(mut self, kind: ChangeKind) -> Self {
        self.changed.set_kind(kind);
        self
    }
}

impl IntoFuture for Changing {
    type Output = Result<Invalidated, InvalidateError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move { self.cache.tell(&[self.changed]).await })
    }
}

impl Changes {
    /// Collects a change.
    pub fn changed(&mut self, name: impl Into<Cow<'static, str>>) -> OneChange<'_> {
        let place = self.all.len();
        self.all.push(Changed::new(name));
        OneChange(&mut self.all[place])
    }

    /// Tells all that was collected, as one record. What closures select that take their time follows as another: that goes on
    /// in the background if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// If what a closure selects does not say what it should. The rest is told all the same.
    pub async fn commit(self) -> Result<Invalidated, InvalidateError> {
        self.cache.tell(&self.all).await
    }
}

impl OneChange<'_> {
    /// Whose it is. Without a tenant, everyone's.
    pub fn tenant(self, tenant: impl fmt::Display) -> Self {
        self.0.set_tenant(tenant);
        self
    }

    /// Which one has changed. Without an id, any.
    pub fn id(self, id: impl fmt::Display) -> Self {
        self.0.set_id(id);
        self
    }

    /// How it has changed. Default: updated.
    pub fn kind(self, kind: ChangeKind) -> Self {
        self.0.set_kind(kind);
        self
    }
}

impl Schedule {
    /// Ends it.
    pub fn stop(self) {
        self.0.send_replace(true);
    }
}

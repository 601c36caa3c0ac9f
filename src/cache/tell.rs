//! Telling what has changed, to its end, whoever goes away meanwhile.

use super::{Cache, Filling, Invalidated, invalidate::Begun};
use crate::{
    invalidation::{Asked, Changed, InvalidateError, Selector},
    timer,
};
use std::{
    future::{Future, poll_fn},
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tracing::Span;

impl Cache {
    /// All that depends on something that has changed.
    #[cfg(feature = "admin")]
    pub(crate) async fn depending_on(&self, changed: &Changed) -> Vec<Selector> {
        let (mut selectors, asked) = self.0.dependencies.known_of(changed);
        selectors.extend(said_by(asked).await);
        selectors
    }

    /// Invalidates all that depends on these. What one closure says wrongly keeps nothing else from being told.
    pub(super) async fn tell(&self, changes: &[Changed]) -> Result<Invalidated, InvalidateError> {
        let (mut selectors, mut asked) = (Vec::new(), Vec::new());
        for changed in changes {
            let (known, closures) = self.0.dependencies.known_of(changed);
            selectors.extend(known);
            asked.extend(closures);
        }
        if asked.is_empty() {
            return self.carry_out(&selectors).await;
        }
        let doubt = Doubt::about(self, &asked);
        let mut said = Box::pin(said_by(asked));
        if let Poll::Ready(more) = poll_fn(|cx| Poll::Ready(said.as_mut().poll(cx))).await {
            doubt.dispel();
            selectors.extend(more);
            // Nothing has been awaited: resources go by all the names that they have by now.
            return self.carry_out(&selectors).await;
        }
        // What is known already does not wait for the closures, nor is it lost with them.
        let known = self.begin(&selectors);
        let cache = self.clone();
        let rest = async move {
            let more = said.await;
            doubt.dispel();
            cache.begin(&more)
        };
        let rest = GoesOn { cache: self.clone(), work: Some(Box::pin(rest)) }.await;
        let known = self.finish(known?).await?;
        Ok(known.and(self.finish(rest?).await?))
    }
}

/// What all of these closures select. Some are asked side by side.
async fn said_by(asked: Vec<Asked>) -> Vec<Selector> {
    let mut selectors = Vec::new();
    for some in asked.chunks(AT_ONCE) {
        selectors.extend(timer::all(some.iter().map(answer)).await.into_iter().flatten());
    }
    selectors
}

async fn answer(asked: &Asked) -> Vec<Selector> {
    let what = match timer::within(LONGEST, asked.selectors()).await {
        Some(Some(selectors)) => return selectors,
        Some(None) => "panicked",
        None => "took too long",
    };
    let name = asked.name();
    tracing::warn!(
        target: "larder::invalidate", name,
        "a closure of the dependencies {what}: nobody knows what it would have selected, so everything is"
    );
    asked.everything()
}

/// Work that goes on in the background if nobody waits for it any more.
struct GoesOn {
    cache: Cache,
    work: Option<Filling<Result<Begun, InvalidateError>>>,
}

impl Future for GoesOn {
    type Output = Result<Begun, InvalidateError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.work.as_mut().expect("polled after completion").as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        let cache = self.cache.clone();
        self.cache.background().spawn(Span::current(), async move {
            if let Err(error) = work.await {
                cache.warn_of(&error);
            }
        });
    }
}

/// What has to go if closures do not come to their end: there was no room for them, or the cache has shut down.
struct Doubt {
    cache: Cache,
    selectors: Vec<Selector>,
}

impl Doubt {
    fn about(cache: &Cache, asked: &[Asked]) -> Self {
        let mut selectors = Vec::new();
        for selector in asked.iter().flat_map(Asked::everything) {
            if !selectors.contains(&selector) {
                selectors.push(selector);
            }
        }
        Self { cache: cache.clone(), selectors }
    }

    /// They have said all.
    fn dispel(mut self) {
        self.selectors.clear();
    }
}

impl Drop for Doubt {
    fn drop(&mut self) {
        let selectors = mem::take(&mut self.selectors);
        if !selectors.is_empty() {
            tracing::warn!(
                target: "larder::invalidate",
                "closures of the dependencies were broken off: nobody knows what they would have selected, so everything is"
            );
            self.cache.invalidate_now(&selectors);
        }
    }
}

/// So long a closure may take.
const LONGEST: Duration = Duration::from_secs(30);

/// So many closures run at once for one who tells of changes.
const AT_ONCE: usize = 16;

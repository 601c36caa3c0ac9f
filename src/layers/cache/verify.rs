//! Verifying hits: the inner service is asked too, and what it answers is compared, and never stored.

use super::{
    inner::{Inner, Storing},
    layer::Shared,
    question::mark,
    refresh::ask_for_all,
    service::Filling,
};
use crate::{
    cache::{Compared, Difference, Mismatch, Suspects, differing_fields, suspects},
    entry::Entry,
    invalidation::Standing,
    key::{KeyBuf, Readable},
    semantics::{date::Timestamp, storable::is_passing_trouble},
};
use http::{Method, Request, Response, header::CONTENT_LENGTH, request::Parts};
use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};
use tracing::Span;

/// The request as it is, if it is one of those whose hits are verified.
#[inline]
pub(super) fn sampled(shared: &Shared, parts: &Parts) -> Option<Box<Parts>> {
    let fraction = shared.rules.verify?;
    (parts.method == Method::GET && shared.cache.random() < fraction).then(|| Box::new(parts.clone()))
}

/// Asks the inner service for what was served, and compares. Left out where there is no place in the background.
#[inline(never)]
pub(super) fn verify<S, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    mut parts: Box<Parts>,
    entry: Arc<Entry>,
    key: KeyBuf,
    now: Timestamp,
) where
    S: Inner<ReqBody, ResBody>,
    ReqBody: Default + Send + 'static,
    ResBody: Storing,
{
    let Shared { cache, rules, .. } = &**shared;
    let asked = Asked {
        suspects: suspects(rules, &parts, key.as_bytes(), &entry.nominated),
        age: entry.lifespan().age(now),
        shared: Arc::clone(shared),
        entry,
        key,
    };
    let place = match cache.fill_places() {
        Some(places) if !Filling::contains(&parts, cache.id()) && !cache.is_filling() => {
            let Ok(place) = Arc::clone(places).try_acquire_owned() else { return };
            Some(place)
        }
        _ => None,
    };
    ask_for_all(&mut parts, rules, &asked.entry);
    parts.headers.remove(CONTENT_LENGTH);
    mark(&mut parts, cache, rules);
    let mut inner = inner.clone();
    cache.background().spawn(Span::current(), async move {
        let request = Request::from_parts(*parts, ReqBody::default());
        if poll_fn(|cx| inner.poll_ready(cx)).await.is_err() {
            return;
        }
        let answer = asked.shared.cache.filling(inner.call(request)).await;
        drop(place);
        if let Ok(answer) = answer {
            asked.compare(answer).await;
        }
    });
}

/// What was served, and what is to be told if the inner service says something else.
struct Asked {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    key: KeyBuf,
    suspects: Suspects,
    age: Duration,
}

impl Asked {
    /// Nothing is said of an answer that fails, or of what was invalidated meanwhile.
    async fn compare<B: Storing>(self, answer: Response<B>) {
        let Shared { cache, rules, .. } = &*self.shared;
        let (head, body) = answer.into_parts();
        if is_passing_trouble(head.status) {
            return;
        }
        let mut differences = Vec::new();
        if head.status != self.entry.status {
            differences.push(Difference::Status { stored: self.entry.status, answered: head.status });
        }
        differences.extend(differing_fields(&self.entry, &head.headers, &rules.verify_ignored, &rules.own_fields));
        let mut compared = Compared::with(self.entry.body.clone());
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let Ok(frame) = frame else { return };
            let seen = frame.data_ref().map_or(0, |data| compared.take(data));
            if seen > rules.max_body as u64 {
                break;
            }
        }
        differences.extend(compared.end());
        let standing = cache.ledger().standing(self.entry.claim(self.key.as_bytes()), &self.entry.checked);
        if standing != Standing::Good {
            return;
        }
        if differences.is_empty() {
            return cache.verifications().agrees();
        }
        cache.verifications().differs(Mismatch {
            at: cache.now(),
            policy: rules.name.as_deref().map(str::to_owned),
            key: Readable { key: self.key.as_bytes(), secret: &|name| rules.is_secret(name) }.to_string(),
            differences,
            age: self.age,
            suspects: self.suspects,
        });
    }
}

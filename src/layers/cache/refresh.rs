//! Refreshing a stored response while its readers are served (RFC 5861 §3).

use super::{
    ask::{Ask, Part},
    content::{Content, RebuildBody},
    exchange::run,
    inner::{Inner, Storing},
    job::Job,
    layer::Shared,
};
use crate::{
    cache::{Act, Facts},
    clock::Moment,
    entry::{BACK_OFF, Entry},
    key::KeyBuf,
    policy::Rules,
    request_stats::RequestStats,
    semantics::{cache_status::Forward, date::Timestamp, fields::strip_connection_fields_but, validator},
    store::Found,
};
use http::{
    HeaderMap, HeaderName, Method,
    header::{CONTENT_LENGTH, RANGE},
    request::Parts,
};
use std::sync::Arc;
use tracing::Span;

/// Refreshes a stored response in the background, unless that is under way or has failed a moment ago.
#[expect(clippy::too_many_arguments, reason = "all there is to know of a request whose client has its answer already")]
pub(super) fn refresh<S, R, ReqBody, ResBody>(
    shared: &Arc<Shared>,
    inner: &S,
    mut parts: Parts,
    entry: Arc<Entry>,
    key: KeyBuf,
    facts: Facts,
    now: Timestamp,
    content: Content<R>,
) where
    S: Inner<ReqBody, ResBody>,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Storing,
{
    if tokio::runtime::Handle::try_current().is_err() || !entry.refresh.enter(now) {
        return;
    }
    if parts.method == Method::HEAD {
        parts.method = Method::GET;
    }
    let Shared { cache, rules, .. } = &**shared;
    ask_for_all(&mut parts, rules, &entry);
    if content.bytes.is_empty() {
        parts.headers.remove(CONTENT_LENGTH);
    }
    let validatable = parts.method == Method::GET && validator::has_validator(&entry.head);
    let ask = Box::new(Ask {
        shared: Arc::clone(shared),
        key: key.clone(),
        stored: Some(Arc::clone(&entry)),
        act: if validatable { Act::Validate } else { Act::Fetch },
        forward: Forward::Stale,
        facts: facts.of_refresh(),
        directives: None,
        stats: None,
        background: true,
        answered: None,
        uncacheable: false,
        compared: false,
        since: Moment::now(),
    });
    let part = match ask.join(&parts) {
        Part::Waits(..) => return entry.refresh.open(),
        part => part,
    };
    let mut job = Job::begin(ask, part, &parts);
    let Some(place) = cache.background().place().filter(|_| job.find_room_at_once(&parts)) else {
        return entry.refresh.open();
    };
    let under_way = Refresh { shared: Arc::clone(shared), entry, key, request: parts.headers.clone() };
    let inner = inner.clone();
    cache.background().spawn_at(place, Span::current(), async move {
        let _under_way = under_way;
        if let Ok(response) = run(job, inner, parts, content.body(), content).await {
            response.into_body().record_to_end().await;
        }
    });
}

/// Makes a request one whose client has its answer already, and that asks for the whole.
pub(super) fn ask_for_all(parts: &mut Parts, rules: &Rules, entry: &Entry) {
    parts.extensions.remove::<RequestStats>();
    let keyed = |name: &HeaderName| rules.tells_apart(name) || entry.nominated.contains(name);
    strip_connection_fields_but(&mut parts.headers, keyed);
    validator::strip_conditionals(&mut parts.headers);
    parts.headers.remove(RANGE);
}

/// A refresh under way. However it ends, also by a panic, the gate of its entry does not stay taken.
struct Refresh {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    key: KeyBuf,
    request: HeaderMap,
}

impl Drop for Refresh {
    fn drop(&mut self) {
        let cache = &self.shared.cache;
        let tally = &self.shared.rules.tally;
        match cache.find(self.key.as_bytes(), &self.request) {
            Found::Entry(entry) if Arc::ptr_eq(&entry, &self.entry) => {
                tally.refreshed(true);
                self.entry.refresh.shut_until(cache.now().saturating_add(BACK_OFF));
            }
            _ => {
                tally.refreshed(false);
                self.entry.refresh.open();
            }
        }
    }
}

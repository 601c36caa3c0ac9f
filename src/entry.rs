//! A stored response: head, body, trailers, and what decides whether it may be served.

mod common;
mod head;
mod number;
mod told;

pub(crate) use number::{number, small};
pub(crate) use told::Told;

use crate::{
    invalidation::{Checked, Claim, Footprint, Seq, Tags},
    outcome::Outcome,
    policy::{RefreshRules, Rules, is_due, refresh_from},
    semantics::{
        cache_control_writer::{CacheControl, ForCaches},
        date::{Timestamp, http_date},
        fields::strip_connection_fields,
        reuse::{Lifespan, Reuse},
        storable::{SetCookie, Storable, allows_credentials},
    },
    tally::Usage,
};
use bytes::Bytes;
use head::served;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{AGE, CACHE_CONTROL, CONTENT_LENGTH, DATE, EXPIRES, SET_COOKIE},
};
use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// The field by which a cache tells what it did (RFC 9211).
pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// A stored response. Its head is kept as a hit sends it: `Age` comes first and only its value changes, the word of this
/// cache is the last `Cache-Status`, so that a hit clones the map and never grows it.
///
/// What every hit reads comes first, in this order, so that it lies in few lines of memory. The very first are the uses: a
/// hit has just counted itself beside them, as one who holds the entry.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// How often it is used, and who is told.
    pub(crate) usage: Usage,
    pub(crate) head: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<Box<HeaderMap>>,
    lifespan: Lifespan,
    pub(crate) checked: Checked,
    compare_at: AtomicU64,
    /// From here on a hit may have to start a refresh, although it is fresh.
    pub(crate) refresh_from: Timestamp,
    pub(crate) status: StatusCode,
    /// `public`, `s-maxage` or `must-revalidate`: for requests with credentials too (RFC 9111 §3.5).
    pub(crate) allows_credentials: bool,
    /// What clients are told, in place of what the handler said to the cache.
    pub(crate) browser: Option<CacheControl>,
    /// A value of the application, shared by all who read it. Then there is neither head nor body.
    pub(crate) value: Option<Held>,
    pub(crate) told: Told,
    pub(crate) refresh: Gate,
    /// The end of the invalidation log before the fill began.
    pub(crate) stamp: Seq,
    pub(crate) footprint: Footprint,
    /// Fields that speak to this cache alone: not sent, but heard again when a 304 freshens the head.
    hidden: Option<Box<HeaderMap>>,
    /// What counts of fields that a layer wrote for browsers and CDNs, when a 304 freshens the head.
    pub(crate) for_caches: Option<Box<ForCaches>>,
    /// How long it is served without a look into the stores behind; until when, is in `compare_at`, in milliseconds.
    memory_ttl: Option<Duration>,
    pub(crate) nominated: Box<[HeaderName]>,
    /// What it was tagged with.
    pub(crate) tags: Tags,
    /// Fills are numbered as they begin.
    pub(crate) started: u64,
    /// Of no use to anyone after this moment.
    pub(crate) discard_at: Timestamp,
    /// What the handler said of storing it, where that is not the policy of the layer.
    pub(crate) handler: Option<Arc<Rules>>,
    received: Timestamp,
    began: Timestamp,
    /// When it is refreshed before it is stale, if ever.
    early: Option<Box<RefreshRules>>,
    /// How long the answer took.
    pub(crate) fill_time: Duration,
    /// The lifetime that it got as an adaptive one.
    pub(crate) adapted: Option<Duration>,
    weight: u64,
}

/// A value as it is held, and the bytes that it is reckoned to take.
#[derive(Clone)]
pub(crate) struct Held {
    pub(crate) value: Arc<dyn Any + Send + Sync>,
    pub(crate) bytes: usize,
}

/// What an entry is made of, besides its bytes.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) status: StatusCode,
    /// As the inner service sent it.
    pub(crate) headers: HeaderMap,
    pub(crate) for_caches: Option<ForCaches>,
    pub(crate) storable: Storable,
    pub(crate) received: Timestamp,
    /// When its fill began.
    pub(crate) began: Timestamp,
    pub(crate) age: Duration,
    pub(crate) footprint: Footprint,
    pub(crate) tags: Tags,
    pub(crate) stamp: Seq,
    pub(crate) started: u64,
    pub(crate) handler: Option<Arc<Rules>>,
    pub(crate) adapted: Option<Duration>,
    pub(crate) fill_time: Duration,
    pub(crate) usage: Usage,
}

/// How long a value lives, and when it is refreshed.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) lifespan: Lifespan,
    pub(crate) early: RefreshRules,
    pub(crate) fill_time: Duration,
    pub(crate) usage: Usage,
}

/// How an entry is kept, as the policy says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping<'a> {
    pub(crate) set_cookie: SetCookie,
    pub(crate) own_fields: &'a [HeaderName],
    pub(crate) browser: Option<CacheControl>,
    pub(crate) keep: Option<Duration>,
    pub(crate) refresh: RefreshRules,
    /// How long it is fresh in memory, at most.
    pub(crate) memory_ttl: Option<Duration>,
    pub(crate) now: Timestamp,
    /// What a hit says in `Cache-Status`; nothing where that is off.
    pub(crate) hit: Option<&'a HeaderValue>,
}

impl Entry {
    pub(crate) fn new(origin: Origin, body: Bytes, trailers: Option<HeaderMap>, how: Keeping<'_>) -> Self {
        let Origin { status, mut headers, for_caches, storable, received, age, footprint, stamp, started, .. } = origin;
        strip_connection_fields(&mut headers);
        if how.set_cookie == SetCookie::Strip {
            headers.remove(SET_COOKIE);
        }
        let mut hidden = take(&mut headers, how.own_fields);
        if let Some(browser) = how.browser {
            hidden.extend(take(&mut headers, &[CACHE_CONTROL, EXPIRES]));
            headers.insert(CACHE_CONTROL, browser.to_header_value());
        }
        let lifespan = Lifespan::of(&storable, received, age);
        let keep = how.keep.unwrap_or_else(|| {
            let validatable = crate::semantics::validator::has_validator(&headers);
            // What was learnt of its lifetime is worth keeping too.
            if validatable || origin.adapted.is_some() { DEFAULT_KEEP } else { Duration::ZERO }
        });
        let trailers = trailers.filter(|trailers| !trailers.is_empty()).map(Box::new);
        set_length(&mut headers, status, body.len(), trailers.is_some());
        headers.entry(DATE).or_insert_with(|| http_date(received));
        let (head, body) = served(&headers, how.hit, body);
        Self {
            status,
            head,
            hidden: (!hidden.is_empty()).then(|| Box::new(hidden)),
            for_caches: for_caches.map(Box::new),
            body,
            trailers,
            memory_ttl: how.memory_ttl,
            compare_at: AtomicU64::new(compare_at(how.memory_ttl, how.now)),
            allows_credentials: allows_credentials(&storable.directives),
            nominated: storable.nominated.into(),
            footprint,
            tags: origin.tags,
            stamp,
            started,
            discard_at: lifespan.usable_until().saturating_add(keep),
            // What came aged lives from its arrival on.
            refresh_from: refresh_from(&Lifespan { born: received, ..lifespan }, how.refresh, origin.fill_time),
            received,
            began: origin.began,
            early: how.refresh.is_early().then(|| Box::new(how.refresh)),
            fill_time: origin.fill_time,
            adapted: origin.adapted,
            value: None,
            lifespan,
            browser: how.browser,
            handler: origin.handler,
            checked: Checked::default(),
            refresh: Gate::default(),
            usage: origin.usage,
            told: Told::default(),
            weight: 0,
        }
        .weighed()
    }

    /// An entry that holds a value.
    pub(crate) fn of_value(held: Held, life: Life, claim: (Footprint, Tags, Seq), started: u64) -> Self {
        let Life { lifespan, early, fill_time, usage } = life;
        let (footprint, tags, stamp) = claim;
        Self {
            status: StatusCode::OK,
            head: HeaderMap::new(),
            hidden: None,
            for_caches: None,
            body: Bytes::new(),
            trailers: None,
            memory_ttl: None,
            compare_at: AtomicU64::new(u64::MAX),
            allows_credentials: true,
            nominated: Box::default(),
            footprint,
            tags,
            stamp,
            started,
            discard_at: lifespan.usable_until(),
            browser: None,
            handler: None,
            checked: Checked::default(),
            refresh: Gate::default(),
            usage,
            told: Told::default(),
            refresh_from: refresh_from(&lifespan, early, fill_time),
            received: lifespan.born,
            began: lifespan.born.saturating_sub(fill_time),
            early: early.is_early().then(|| Box::new(early)),
            fill_time,
            adapted: None,
            value: Some(held),
            lifespan,
            weight: 0,
        }
        .weighed()
    }

    /// Its life: shorter than it was to be, if it has been invalidated softly.
    #[inline]
    pub(crate) fn lifespan(&self) -> Lifespan {
        match self.checked.ended() {
            None => self.lifespan,
            Some(moment) => self.lifespan.ended_at(moment),
        }
    }

    /// Its life as it was to be, whatever has been invalidated softly.
    pub(crate) fn whole_lifespan(&self) -> Lifespan {
        self.lifespan
    }

    /// When it arrived.
    pub(crate) fn received(&self) -> Timestamp {
        self.received
    }

    /// It has answered a request.
    #[inline]
    pub(crate) fn is_used(&self, outcome: Outcome, before: u64) {
        let bytes = self.value.as_ref().map_or(self.body.len(), |held| held.bytes);
        self.usage.is_used(outcome, before, bytes);
    }

    /// Whether it is to be looked for in the stores before it is served again.
    #[inline]
    pub(crate) fn is_to_be_compared(&self, now: Timestamp) -> bool {
        self.compare_at.load(Ordering::Relaxed) <= now.as_unix_millis()
    }

    /// It was looked for in the stores. True if that was due, because it `has_changed` or for its time, and it may be served
    /// without asking anybody.
    pub(crate) fn compared(&self, now: Timestamp, has_changed: bool) -> bool {
        let due = has_changed || self.is_to_be_compared(now);
        self.compare_at.store(compare_at(self.memory_ttl, now), Ordering::Relaxed);
        due && matches!(self.lifespan().reuse(None, now), Reuse::Fresh | Reuse::WhileRevalidating)
    }

    /// When its fill began; of what came from a store, at the latest.
    pub(crate) fn began(&self) -> Timestamp {
        self.began
    }

    /// What decides whether it has been invalidated.
    #[inline]
    pub(crate) fn claim<'a>(&'a self, key: &'a [u8]) -> Claim<'a> {
        Claim { stamp: self.stamp, footprint: &self.footprint, key }
    }

    /// The same, while its body is still on its way, for those who have been waiting.
    pub(crate) fn announce(mut self, length: u64) -> Self {
        if self.status != StatusCode::NO_CONTENT {
            self.head.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        self
    }

    /// Whether a hit now has to start a refresh, although it is fresh. `random` gives from 0 up to 1.
    #[inline]
    pub(crate) fn is_due(&self, now: Timestamp, random: impl FnOnce() -> f64) -> bool {
        now >= self.refresh_from && self.wants_refresh(now, random())
    }

    fn wants_refresh(&self, now: Timestamp, random: f64) -> bool {
        let life = Lifespan { born: self.received, ..self.lifespan() };
        self.early.as_deref().is_some_and(|rules| is_due(&life, *rules, self.fill_time, now, random))
    }

    /// Whether half of its lifetime, from its arrival on, is over.
    pub(crate) fn is_past_half(&self, now: Timestamp) -> bool {
        now.since(self.received) >= self.lifespan().fresh_until.since(self.received) / 2
    }

    /// The head as the inner service sent it, as far as it was kept: for freshening.
    pub(crate) fn origin_head(&self, hit: Option<&HeaderValue>) -> HeaderMap {
        let mut head = self.head.clone();
        head.remove(AGE);
        if hit.is_some() {
            let mut lines: Vec<_> = head.get_all(CACHE_STATUS).iter().cloned().collect();
            lines.pop();
            head.remove(CACHE_STATUS);
            for line in lines {
                head.append(CACHE_STATUS, line);
            }
        }
        if self.browser.is_some() {
            head.remove(CACHE_CONTROL);
        }
        for (name, value) in self.hidden.iter().flat_map(|hidden| hidden.iter()) {
            head.append(name, value.clone());
        }
        head
    }

    /// The bytes that it takes, near enough: what it holds, and what maps and pointers cost.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    fn weighed(mut self) -> Self {
        self.weight = self.weigh();
        self
    }

    fn weigh(&self) -> u64 {
        let fields = |headers: &HeaderMap| -> usize {
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum()
        };
        // With what a map takes that is not empty.
        let boxed = |headers: &HeaderMap| fields(headers) + MAP_OVERHEAD;
        let value = self.value.as_ref().map_or(0, |held| held.bytes);
        let nominated: usize = self.nominated.iter().map(|name| name.as_str().len() + FIELD_OVERHEAD).sum();
        let rows = self.footprint.len() * size_of::<u64>();
        (self.body.len()
            + value
            + nominated
            + rows
            + self.tags.weight()
            + fields(&self.head)
            + self.hidden.as_deref().map_or(0, boxed)
            + self.trailers.as_deref().map_or(0, boxed)
            + self.handler.as_deref().map_or(0, Rules::weight)
            + ENTRY_OVERHEAD) as u64
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Moves the fields of these names into a map of their own.
pub(crate) fn take(headers: &mut HeaderMap, names: &[HeaderName]) -> HeaderMap {
    let mut taken = HeaderMap::new();
    for name in names {
        if headers.contains_key(name) {
            for value in headers.get_all(name) {
                taken.append(name, value.clone());
            }
            headers.remove(name);
        }
    }
    taken
}

/// A complete body has a length, told also to HEAD. With trailers it must not be told, or HTTP/1.1 would not send them.
fn set_length(headers: &mut HeaderMap, status: StatusCode, length: usize, trailers: bool) {
    if trailers {
        headers.remove(CONTENT_LENGTH);
    } else if status != StatusCode::NO_CONTENT {
        headers.insert(CONTENT_LENGTH, number(length as u64));
    }
}

/// Lets one refresh of an entry run at a time, and none for a while after one has failed.
#[derive(Debug, Default)]
pub(crate) struct Gate(AtomicU64);

impl Gate {
    const IDLE: u64 = 0;
    const RUNNING: u64 = u64::MAX;

    /// Takes the gate: true for one caller until it is [`Gate::shut_until`] or [`Gate::open`].
    pub(crate) fn enter(&self, now: Timestamp) -> bool {
        let state = self.0.load(Ordering::Relaxed);
        let closed = state == Self::RUNNING || state > now.as_unix_millis();
        !closed && self.0.compare_exchange(state, Self::RUNNING, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether a refresh has failed a short while ago.
    pub(crate) fn is_shut(&self, now: Timestamp) -> bool {
        let state = self.0.load(Ordering::Relaxed);
        state != Self::RUNNING && state > now.as_unix_millis()
    }

    /// Shuts the gate for a while; by the one who has entered it.
    pub(crate) fn shut_until(&self, until: Timestamp) {
        self.0.store(Self::shut(until), Ordering::Release);
    }

    /// Shuts the gate for a while, unless someone is inside.
    pub(crate) fn shut_if_idle(&self, until: Timestamp) {
        let state = self.0.load(Ordering::Relaxed);
        if state != Self::RUNNING {
            // Whoever came first has shut it, or is inside.
            let _ = self.0.compare_exchange(state, Self::shut(until), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn shut(until: Timestamp) -> u64 {
        until.as_unix_millis().clamp(1, Self::RUNNING - 1)
    }

    pub(crate) fn open(&self) {
        self.0.store(Self::IDLE, Ordering::Release);
    }
}

/// The number of what comes from a store: it was begun before any fill here.
pub(crate) const FROM_A_STORE: u64 = 0;

fn compare_at(memory_ttl: Option<Duration>, now: Timestamp) -> u64 {
    // At least until the request is served for which it was looked for.
    memory_ttl.map_or(u64::MAX, |ttl| now.saturating_add(ttl.max(Duration::from_millis(1))).as_unix_millis())
}

/// After the inner service has failed, it is left alone this long.
pub(crate) const BACK_OFF: Duration = Duration::from_secs(30);

/// How long an entry with a validator is kept past its last use, so that a 304 can bring it back.
const DEFAULT_KEEP: Duration = Duration::from_secs(3600);

/// What a header map of its own costs beside its fields.
const MAP_OVERHEAD: usize = size_of::<HeaderMap>() + 320;

/// What a field costs in a header map beside its text.
const FIELD_OVERHEAD: usize = 128;

/// What an entry costs beside what it holds: itself, and what the slot, the tables of the memory tier and the allocator add.
const ENTRY_OVERHEAD: usize = size_of::<Entry>() + 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_enters_the_gate_and_failure_shuts_it_for_a_while() {
        let gate = Gate::default();
        let now = Timestamp::from_unix_secs(100);
        assert!(gate.enter(now));
        assert!(!gate.enter(now));
        assert!(!gate.is_shut(now), "running is not failed");
        gate.shut_until(Timestamp::from_unix_secs(130));
        assert!(gate.is_shut(now) && !gate.enter(now));
        assert!(gate.enter(Timestamp::from_unix_secs(130)));
        gate.shut_if_idle(Timestamp::from_unix_secs(200));
        assert!(!gate.is_shut(now), "someone is inside");
        gate.open();
        assert!(gate.enter(now));
    }
}

//! Which requests share a fill, and what those get who wait for it.

use super::{
    Cache, Facts, Sought,
    flight::{Flight, Flights, Joined, Lead, Wait},
    place::Place,
    tape::{Reader, Tape},
};
use crate::{
    clock::Moment,
    entry::Entry,
    invalidation::{Checked, Claim, Footprint, Seq, Standing},
    key::KeyBuf,
    policy::Rules,
    semantics::{cache_status::Forward, no_vary_search::no_vary_search, vary::write_selecting_values},
};
use http::{HeaderMap, HeaderName, Method, request::Parts};
use smallvec::SmallVec;
use std::{
    cell::Cell,
    future::poll_fn,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::sync::OwnedSemaphorePermit;

pub(crate) type FillFlights = Flights<FlightKey, Departure, Landing>;
pub(crate) type FillLead = Lead<FlightKey, Departure, Landing>;
pub(crate) type FillWait = Wait<Departure, Landing>;
pub(crate) type FillJoined = Joined<FlightKey, Departure, Landing>;

/// What a flight fills: the key of a resource, the fields that are known to select its variants, and whether with
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightKey(Arc<[u8]>);

/// What is known of a flight when it starts.
#[derive(Debug)]
pub(crate) struct Departure {
    /// The end of the invalidation log: older than whatever the fill sees.
    stamp: Seq,
    since: Moment,
    /// The inner service has been called.
    asked: AtomicBool,
    /// Its place among the fills that may run at once.
    place: Mutex<Option<OwnedSemaphorePermit>>,
    /// What the older flights are told by whose place it took, and that are still under way: nothing of them is kept.
    before: Vec<Weak<AtomicBool>>,
    /// A younger flight that took its place has been answered: what this brings is not stored.
    lost: Arc<AtomicBool>,
}

/// What a flight brings, from the moment at which the head of the answer is there.
#[derive(Clone, Debug)]
pub(crate) struct Landing(Arc<Landed>);

#[derive(Debug)]
struct Landed {
    /// The response; without its body where that is still on its way.
    entry: Arc<Entry>,
    /// The query of the request that was answered, as far as it counts.
    query: Option<String>,
    selecting: Selecting,
    arriving: Option<Arriving>,
}

/// A body that is still on its way.
pub(crate) struct Arriving {
    pub(crate) tape: Arc<Tape>,
    /// The whole response, once there is one.
    pub(crate) whole: Arc<OnceLock<Arc<Entry>>>,
    /// It may be read as it comes: its length is declared, and nothing that follows decides whether it is stored.
    pub(crate) streams: bool,
}

type Selecting = SmallVec<[u8; 32]>;

/// What there is for one who waits.
pub(crate) enum Share {
    Whole(Arc<Entry>),
    /// The head, and the body as it comes.
    Streaming(Arc<Entry>, Reader),
    /// The response nominates fields of which this request has other values.
    OtherVariant(Box<[HeaderName]>),
    /// It was invalidated before this request came.
    Invalidated,
    /// The body broke off, or is not stored.
    Nothing,
}

impl FlightKey {
    /// `nominated` is known from what is stored, or from the head of another answer.
    pub(crate) fn new(key: &KeyBuf, request: &HeaderMap, facts: Facts, nominated: &[HeaderName]) -> Self {
        let mut text: SmallVec<[u8; 320]> = SmallVec::new();
        text.push(u8::from(facts.has(Facts::CREDENTIALS)));
        text.extend_from_slice(&u32::try_from(key.as_bytes().len()).unwrap_or(u32::MAX).to_be_bytes());
        text.extend_from_slice(key.as_bytes());
        for name in nominated {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(0);
        }
        text.push(0);
        text.extend_from_slice(&selecting(nominated, request));
        Self(text.as_slice().into())
    }
}

impl Departure {
    /// One that takes the place of another, if there is one.
    pub(crate) fn now(cache: &Cache, before: Option<&Self>) -> Self {
        let stamp = cache.ledger().applied();
        Self {
            stamp,
            since: Moment::now(),
            asked: AtomicBool::new(false),
            place: Mutex::default(),
            before: before.map(Self::with_those_before).unwrap_or_default(),
            lost: Arc::default(),
        }
    }

    fn with_those_before(&self) -> Vec<Weak<AtomicBool>> {
        let under_way = self.before.iter().filter(|lost| lost.strong_count() > 0);
        let mut before: Vec<_> = under_way.cloned().chain([Arc::downgrade(&self.lost)]).collect();
        // What began so long ago is older than what is stored by then, too.
        before.drain(..before.len().saturating_sub(MOST_BEFORE));
        before
    }

    /// The inner service has answered: what older flights bring is of no use any more.
    pub(crate) fn is_answered(&self) {
        self.before.iter().filter_map(Weak::upgrade).for_each(|lost| lost.store(true, Relaxed));
    }

    /// Whether a younger one has been answered, from now on.
    pub(crate) fn lost(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.lost)
    }

    /// Takes a place among the fills that may run at once, or gives it back.
    pub(crate) fn set_place(&self, place: Option<OwnedSemaphorePermit>) {
        let before = std::mem::replace(&mut *self.place.lock().unwrap_or_else(PoisonError::into_inner), place);
        drop(before);
    }

    pub(crate) fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether the inner service has been called.
    pub(crate) fn has_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }
}

/// So many flights whose place was taken are told.
const MOST_BEFORE: usize = 64;

/// Whether a request for what is not known to be uncacheable waits for nobody, and nobody for it.
pub(crate) fn asks_alone(rules: &Rules, sought: Sought<'_>, stored: Option<&Entry>) -> bool {
    let Sought { method, facts, directives } = sought;
    let asks_anew = facts.has(Facts::REFETCH)
        || directives.is_some_and(|said| said.no_store || said.no_cache || said.only_if_cached);
    rules.fill.wait_limit.is_zero()
        || rules.observe_only
        || *method == Method::HEAD
        || asks_anew
        || stored.is_some_and(|entry| entry.whole_lifespan().is_never_shared())
}

impl Cache {
    /// Joins the fill that is under way for a request, or leads another if the request `may_lead`. One that has kept others
    /// waiting for longer than they may is not joined, nor one that began before something was invalidated that it fills;
    /// `refused` tells of more. Nothing of the application is called under a lock.
    pub(crate) fn join_fill(
        &self,
        key: &FlightKey,
        asking: &Asking<'_>,
        refused: impl Fn(&FillFlight) -> bool,
    ) -> Option<FillJoined> {
        let flights = &self.0.flights;
        // Another flight may take the place of the one that was looked at, in vain for some time only.
        for _ in 0..8 {
            let seen = flights.get(key);
            let fits = seen.as_ref().is_some_and(|flight| !refused(flight) && self.fits(flight, asking));
            let replaced = Cell::new(false);
            let joined = flights.join(
                key,
                |flight| {
                    let same = seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, flight));
                    replaced.set(!same);
                    same && fits
                },
                || {
                    (asking.may_lead && !replaced.get())
                        .then(|| Departure::now(self, seen.as_deref().map(Flight::meta)))
                },
            );
            if joined.is_some() || !replaced.get() {
                return joined;
            }
        }
        None
    }

    /// Whether a fill is under way that a request would join.
    pub(crate) fn is_being_filled(&self, key: &FlightKey, asking: &Asking<'_>) -> bool {
        self.0.flights.get(key).is_some_and(|flight| self.fits(&flight, asking))
    }

    /// The fields that select among the variants of what a request has missed, as far as they are known.
    pub(crate) fn selecting_fields(
        &self,
        stored: Option<&Entry>,
        forward: Forward,
        key: &[u8],
        in_stores: bool,
    ) -> Box<[HeaderName]> {
        match stored {
            Some(entry) => entry.nominated.clone(),
            None if forward == Forward::VaryMiss => self.nominated(key),
            None if in_stores => self.stored_by(key).as_ref().into(),
            None => Box::default(),
        }
    }

    /// The lead of a flight, if none is under way.
    pub(crate) fn lead_alone(&self, key: &FlightKey) -> Option<FillLead> {
        match self.0.flights.join(key, |_| true, || Some(Departure::now(self, None)))? {
            Joined::Leads(lead) => Some(lead),
            Joined::Waits(_) => None,
        }
    }

    fn fits(&self, flight: &FillFlight, asking: &Asking<'_>) -> bool {
        let Departure { stamp, since, .. } = flight.meta();
        let slow = match flight.landed() {
            // Past its lifetime it is of use to nobody who comes now.
            Some(landing) if landing.head().lifespan().usable_until() <= self.now() => true,
            Some(landing) if landing.streams() => landing.stalled_for() >= asking.wait_limit,
            _ => since.elapsed() >= asking.wait_limit,
        };
        !slow
            && (*stamp == self.ledger().applied() || {
                let claim = Claim { stamp: *stamp, footprint: &(asking.footprint)(), key: asking.bytes };
                let checked = Checked::default();
                self.ledger().admits(claim, &checked) && self.ledger().standing(claim, &checked) == Standing::Good
            })
    }
}

/// A request that looks for a fill to join.
pub(crate) struct Asking<'a> {
    pub(crate) bytes: &'a [u8],
    /// What its answer can be invalidated by, as far as that is known before.
    pub(crate) footprint: &'a (dyn Fn() -> Footprint + Sync),
    pub(crate) wait_limit: Duration,
    pub(crate) may_lead: bool,
}

/// A flight that is waited for.
pub(crate) type FillFlight = Arc<Flight<Departure, Landing>>;

impl Landing {
    /// A response that is all there.
    pub(crate) fn whole(entry: Arc<Entry>, request: &HeaderMap, query: Option<&str>) -> Self {
        Self::new(entry, request, query, None)
    }

    pub(super) fn new(entry: Arc<Entry>, request: &HeaderMap, query: Option<&str>, arriving: Option<Arriving>) -> Self {
        let selecting = selecting(&entry.nominated, request);
        Self(Arc::new(Landed { entry, query: query.map(str::to_owned), selecting, arriving }))
    }

    fn streams(&self) -> bool {
        self.0.arriving.as_ref().is_some_and(|arriving| arriving.streams)
    }

    fn stalled_for(&self) -> Duration {
        self.0.arriving.as_ref().map_or(Duration::ZERO, |arriving| arriving.tape.stalled_for())
    }

    /// Whether it has to come to its end before it can be shared.
    pub(crate) fn is_awaited(&self) -> bool {
        self.0.arriving.as_ref().is_some_and(|arriving| !arriving.streams)
    }

    /// The response, perhaps without its body.
    pub(crate) fn head(&self) -> &Arc<Entry> {
        &self.0.entry
    }

    /// What there is for a request that has waited. `streaming` tells that it can be answered while the body comes.
    pub(crate) async fn share(&self, waiter: &Waiter<'_>, streaming: bool) -> Share {
        let Landed { entry, query, selecting: theirs, arriving } = &*self.0;
        if *theirs != selecting(&entry.nominated, &waiter.parts.headers) {
            return Share::OtherVariant(entry.nominated.clone());
        }
        {
            let place = Place::of(waiter.rules, waiter.parts);
            if !means(place.query(), query.as_deref(), entry) {
                return Share::Nothing;
            }
            if !waiter.may_have(entry, &place) {
                return Share::Invalidated;
            }
        }
        let Some(arriving) = arriving else { return Share::Whole(Arc::clone(entry)) };
        let Some(mut reader) = arriving.tape.reader() else { return Share::Nothing };
        if streaming && arriving.streams {
            return Share::Streaming(Arc::clone(entry), reader);
        }
        poll_fn(|cx| reader.poll_end(cx)).await;
        arriving.whole.get().map_or(Share::Nothing, |entry| Share::Whole(Arc::clone(entry)))
    }
}

/// One who waits.
pub(crate) struct Waiter<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) rules: &'a Rules,
    pub(crate) parts: &'a Parts,
    pub(crate) key: &'a [u8],
}

impl Waiter<'_> {
    /// Whether no record from before this request came selects the response. What it can be known by before the answer
    /// is there was checked when it joined.
    fn may_have(&self, entry: &Entry, place: &Place) -> bool {
        let ledger = self.cache.ledger();
        if ledger.applied() == entry.stamp {
            return true;
        }
        let known = place.footprint(ledger.rows(), self.rules, self.parts.extensions.get());
        ledger.is_untouched_beside(entry.claim(self.key), &known)
    }
}

/// Whether the queries of two requests are one to the answer (`No-Vary-Search`): that they were to an earlier one does not
/// tell.
fn means(own: Option<&str>, theirs: Option<&str>, entry: &Entry) -> bool {
    own == theirs || no_vary_search(&entry.head).is_some_and(|said| said.normal_query(own) == said.normal_query(theirs))
}

fn selecting(nominated: &[HeaderName], request: &HeaderMap) -> Selecting {
    let mut values = Selecting::new();
    write_selecting_values(nominated, request, &mut values);
    values
}

impl std::fmt::Debug for Arriving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arriving").field("streams", &self.streams).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flight_keeps_nothing_of_those_whose_place_it_took() {
        let cache = Cache::in_memory(1 << 20);
        let hung = Departure::now(&cache, None);
        let mut last = Departure::now(&cache, Some(&hung));
        for _ in 0..100_000 {
            last = Departure::now(&cache, Some(&last));
        }
        assert!(last.before.len() <= 3, "{}", last.before.len());
        assert!(!hung.lost().load(Relaxed));
        last.is_answered();
        assert!(hung.lost().load(Relaxed), "however many came between");
        assert!(!last.lost().load(Relaxed));
    }
}

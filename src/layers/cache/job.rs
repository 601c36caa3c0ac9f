//! What is to be done with the inner service for one request.

use super::{
    ResponseBody,
    ask::{Ask, Part, Served},
    service::Filling,
};
use crate::{
    cache::{Act, Departure, Fill, FillFlight, FillLead, Flight, InStores, Over},
    clock::Moment,
    outcome::{NotStored, Outcome},
    policy::Policy,
    semantics::cache_status::Forward,
    timer,
};
use http::{Request, Response, request::Parts};
use std::{
    future::poll_fn,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tower_service::Service;

/// What is to be done, and what is at hand.
pub(super) struct Job {
    pub(super) ask: Box<Ask>,
    pub(super) fill: Fill,
    /// Whether what the handler said of its policy can be followed.
    pub(super) heard: Result<(), NotStored>,
    /// Its flight, which others may wait for if it leads one.
    pub(super) flight: FillFlight,
    pub(super) lead: Option<FillLead>,
    /// Whether it has its place among the fills that may run at once.
    placed: bool,
}

impl Job {
    /// The request is about to be asked of the inner service. What is invalidated from here on is not stored.
    pub(super) fn begin(ask: Box<Ask>, part: Part, parts: &Parts) -> Self {
        let Ask { shared, key, facts, directives, .. } = &*ask;
        let (flight, lead) = match part {
            Part::Leads(lead) => (Arc::clone(lead.flight()), Some(lead)),
            Part::Alone | Part::Waits(..) => (Flight::alone(Departure::now(&shared.cache, None)), None),
        };
        let mut fill = Fill::begin(&shared.cache, &shared.rules, key.clone(), parts, *facts, directives.as_ref());
        fill.may_be_lost(flight.meta().lost());
        Self { ask, fill, heard: Ok(()), flight, lead, placed: false }
    }

    /// Whether stores behind the memory tier may have the answer.
    pub(super) fn has_stores_to_look_in(&self) -> bool {
        !self.ask.looks_not() && !self.ask.uncacheable && self.fill.looks_in_stores()
    }

    /// Looks into the stores behind the memory tier. Others wait for that too.
    pub(super) async fn look_in_stores<B>(&mut self, parts: &Parts) -> Option<Served<B>> {
        let mut found = self.fill.find_in_stores(self.ask.stored.as_ref()).await;
        self.ask.compared = true;
        if found == InStores::Removed {
            // It is not what an answer could be compared with, and does not stand in for one.
            (self.ask.stored, self.ask.act, self.ask.forward) = (None, Act::Fetch, Forward::UriMiss);
        }
        if found != InStores::Found && self.lead.is_some() && self.wait_for_another().await {
            found = InStores::Found;
        }
        if found != InStores::Found {
            self.fill.begins_now();
            return None;
        }
        let (lead, background) = (self.lead.as_ref(), self.ask.background);
        let answer = match background {
            // It is a refresh itself.
            true => self.ask.stored_meanwhile(parts, lead, false).ok().map(|served| Served { due: None, ..served }),
            false => self.ask.look_again(parts, lead),
        };
        if answer.is_none() {
            self.fill.begins_now();
        }
        answer
    }

    /// Waits while another process fills this, if the policy wants that. True if what it made is here.
    async fn wait_for_another(&mut self) -> bool {
        let (since, limit) = (Moment::now(), self.ask.shared.rules.fill.lease.unwrap_or_default());
        let mut pause = FIRST_PAUSE;
        while !self.fill.take_lease().await {
            let left = limit.saturating_sub(since.elapsed());
            if left.is_zero() {
                return false;
            }
            timer::after(pause.min(left)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.fill.find_in_stores(self.ask.stored.as_ref()).await == InStores::Found {
                return true;
            }
        }
        // It may have been written, and the lease given back, since it was looked for.
        !limit.is_zero() && self.fill.find_in_stores(self.ask.stored.as_ref()).await == InStores::Found
    }

    /// Waits for a place among the fills that may run at once, or finds an answer for a request that gets none: what is
    /// stored, if it may stand in, else a refusal after the wait limit.
    pub(super) async fn wait_for_room<B>(&mut self, parts: &Parts) -> Result<(), Response<ResponseBody<B>>> {
        self.ask.shared.cache.counters().fills_limited.fetch_add(1, Relaxed);
        if let Some(stale) = self.stale(parts, "fill-limit") {
            return Err(stale);
        }
        let Some(places) = self.ask.shared.cache.fill_places().cloned() else { return Ok(()) };
        let limit = self.ask.shared.rules.fill.wait_limit.saturating_sub(self.ask.since.elapsed());
        match timer::within(limit, places.acquire_owned()).await {
            Some(Ok(permit)) => {
                self.flight.meta().set_place(Some(permit));
                self.fill.begins_now();
                if self.ask.background || self.ask.looks_not() {
                    return Ok(());
                }
                // It may have been stored while this one waited for its place.
                match self.ask.stored_meanwhile(parts, self.lead.as_ref(), false) {
                    Ok(served) => Err(served.response),
                    Err(_) => Ok(()),
                }
            }
            _ => {
                self.end_flight(Over::Overloaded);
                self.ask.count(Outcome::Miss);
                Err(self.overloaded())
            }
        }
    }

    /// Whether there is a place, or none is needed: what is known to be uncacheable is no fill, and what a fill further out
    /// waits for is a part of that.
    pub(super) fn find_room_at_once(&mut self, parts: &Parts) -> bool {
        if self.placed {
            return true;
        }
        let cache = &self.ask.shared.cache;
        self.placed = match cache.fill_places() {
            Some(places) if !self.ask.uncacheable && !Filling::contains(parts, cache.id()) && !cache.is_filling() => {
                let permit = Arc::clone(places).try_acquire_owned().ok();
                let found = permit.is_some();
                self.flight.meta().set_place(permit);
                found
            }
            _ => true,
        };
        self.placed
    }

    /// Asks the inner service, once it is ready. Its place among the fills is free when it has answered.
    pub(super) async fn put<S, ReqBody, B>(
        &mut self,
        mut inner: S,
        request: Request<ReqBody>,
    ) -> Result<Response<B>, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<B>>,
    {
        let since = Moment::now();
        let answer = match poll_fn(|cx| inner.poll_ready(cx)).await {
            Ok(()) => {
                self.flight.meta().ask();
                self.ask.shared.cache.filling(inner.call(request)).await
            }
            Err(error) => Err(error),
        };
        self.flight.meta().set_place(None);
        if answer.is_ok() {
            self.ask.shared.rules.tally.fill_took(since.elapsed());
            self.flight.meta().is_answered();
        }
        self.hear(answer)
    }

    pub(super) fn end_flight(&mut self, over: Over) {
        if let Some(lead) = self.lead.take() {
            lead.end(over);
        }
    }

    /// Takes in a policy that the handler put into the extensions of its answer.
    fn hear<B, E>(&mut self, answer: Result<Response<B>, E>) -> Result<Response<B>, E> {
        let mut answer = answer?;
        if let Some(policy) = answer.extensions_mut().remove::<Policy>() {
            self.heard = self.fill.adopt(&policy);
        }
        Ok(answer)
    }

    /// An answer was found fit to be stored, before its head is sent.
    pub(super) fn count_set(&self) {
        if let Some(stats) = &self.ask.stats {
            stats.set();
        }
    }
}

/// What another process is filling is looked for after these pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

//! From an answer that may be stored, and its body as it comes, to an entry.

use super::{
    admit::is_grpc,
    collapse::{Arriving, FillLead, Landing},
    fill::{Fill, RecordedHead},
    tape::{Fault, Limits, Reader, Recorded, Source, Tape},
};
use crate::{
    entry::{BACK_OFF, Entry},
    outcome::NotStored,
    semantics::storable::{Refusal, SetCookie},
};
use http::{
    HeaderMap,
    header::{SET_COOKIE, TRAILER},
};
use std::{
    future::poll_fn,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};
use tracing::Span;

/// An answer that may be stored, before its body has come.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) fill: Fill,
    pub(crate) head: RecordedHead,
    /// The stored response that it validates or replaces.
    pub(crate) before: Option<Arc<Entry>>,
    /// That is ended by this answer even if this is not stored.
    pub(crate) ends_it: bool,
    pub(crate) declared: Option<u64>,
}

impl Keep {
    /// Takes in the whole body. Gives the response for all who wait, whether or not it found room.
    pub(crate) fn finish(self, recorded: Result<Recorded, Fault>) -> Option<Arc<Entry>> {
        let Self { fill, head, before, ends_it, .. } = self;
        let replaces = before.clone().filter(|_| ends_it);
        match recorded.map_err(NotStored::from).and_then(|recorded| sift(&fill, &head, recorded)) {
            Err(reason) => {
                if let Some(entry) = before.filter(|_| reason == NotStored::BodyFailed) {
                    // As good as no answer: the stored response stands in for a while.
                    entry.refresh.shut_if_idle(fill.cache.now().saturating_add(BACK_OFF));
                }
                fill.refuse(reason, replaces);
                None
            }
            Ok(Recorded { body, trailers }) => {
                let same = before.as_deref().map(|entry| (entry, entry.status == head.status && entry.body == body));
                let entry = Arc::new(fill.entry(head, body, trailers, same));
                if let Err(reason) = fill.store(&entry) {
                    fill.refuse(reason, replaces);
                }
                Some(entry)
            }
        }
    }

    /// Records the body as it comes. Those who wait with the flight get the response from here on.
    pub(crate) fn record(self, body: Source, lead: Option<FillLead>) -> Reader {
        let announced = self.head.headers.contains_key(TRAILER);
        let limits = Limits { limit: self.fill.rules.max_body, declared: self.declared, trailers_announced: announced };
        let streams = !announced && !self.fill.rules.grpc;
        let length = self.declared.filter(|_| streams);
        let flight = lead.as_ref().map(|lead| Arc::clone(lead.flight()));
        let head = flight.as_ref().map(|_| Arc::new(self.fill.announced(&self.head, length)));
        let request = flight.as_ref().map(|_| (self.fill.request.clone(), self.fill.query().map(str::to_owned)));
        let background = self.fill.cache.background().clone();
        let (abandon, span) = (self.fill.rules.fill.abandon_on_cancel, Span::current());
        // What nobody can join is nobody's but the client's.
        let joined = flight.clone();
        let keeper = move |tape: &Arc<Tape>| {
            let wanted = joined.as_ref().is_some_and(|flight| !abandon || flight.waiting() > 0);
            let Some(mut reader) = tape.reader().filter(|_| wanted) else { return false };
            let joined = joined.clone();
            background.spawn(span.clone(), async move {
                let deserted = |reader: &Reader, cx: &mut Context<'_>| {
                    let waits = joined.as_ref().is_some_and(|flight| flight.poll_deserted(cx).is_pending());
                    abandon && !waits && reader.is_alone()
                };
                poll_fn(|cx| match reader.poll_end(cx) {
                    Poll::Pending if !deserted(&reader, cx) => Poll::Pending,
                    _ => Poll::Ready(()),
                })
                .await;
            })
        };
        let whole = Arc::new(OnceLock::new());
        let written = Arc::clone(&whole);
        let sink = move |recorded| {
            if let Some(entry) = self.finish(recorded) {
                // Nobody else writes it.
                let _ = written.set(entry);
            }
            // Whoever comes from now on finds it stored, or has to ask again.
            drop(lead);
        };
        let (tape, reader) = Tape::start(body, limits, Box::new(sink), Box::new(keeper));
        if let (Some(flight), Some(head), Some((request, query))) = (flight, head, request) {
            let arriving = Arriving { tape, whole, streams: length.is_some() };
            flight.land(Landing::new(head, &request, query.as_deref(), Some(arriving)));
        }
        reader
    }
}

/// What of a body that has come may be stored, as its end tells.
fn sift(fill: &Fill, head: &RecordedHead, recorded: Recorded) -> Result<Recorded, NotStored> {
    let Recorded { body, mut trailers } = recorded;
    if fill.rules.grpc && is_grpc(&fill.request) && !succeeded(&head.headers, trailers.as_ref()) {
        return Err(NotStored::GrpcStatus);
    }
    if let Some(trailers) = trailers.as_mut().filter(|trailers| trailers.contains_key(SET_COOKIE)) {
        match fill.rules.store.set_cookie {
            SetCookie::Strip => drop(trailers.remove(SET_COOKIE)),
            SetCookie::Keep => {}
            SetCookie::Refuse => return Err(NotStored::Refused(Refusal::SetCookie)),
        }
    }
    Ok(Recorded { body, trailers })
}

/// Whether a gRPC call has succeeded: its status is in the trailers, or in the head if there are none.
fn succeeded(head: &HeaderMap, trailers: Option<&HeaderMap>) -> bool {
    let status = |fields: &HeaderMap| fields.get("grpc-status").map(|status| status == "0");
    trailers.and_then(status).or_else(|| status(head)).unwrap_or(false)
}

impl From<Fault> for NotStored {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::TooLarge => Self::TooLarge,
            Fault::WrongLength => Self::WrongLength,
            Fault::Failed => Self::BodyFailed,
            Fault::Abandoned => Self::Abandoned,
        }
    }
}

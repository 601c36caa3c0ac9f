//! Fills that outlive those who have started them.

use super::{Cache, FillFlight};
use crate::policy::FillRules;
use crate::timer;
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};
use tracing::Span;

pub(crate) type Filling<O> = Pin<Box<dyn Future<Output = O> + Send>>;

/// What is left to do with what a fill has come to when nobody takes it.
pub(crate) type Rest<O> = fn(O) -> Filling<()>;

/// A future that leads a fill. If it is dropped before its end, it goes on in the background of the cache.
pub(crate) struct HandOver<O: Send + 'static> {
    filling: Option<Filling<O>>,
    fill: Option<Leading<O>>,
    /// Being polled. Still so when dropped: it has panicked.
    polled: bool,
}

struct Leading<O> {
    cache: Cache,
    flight: FillFlight,
    /// It ends when nobody waits.
    abandon: bool,
    /// Whether the one who asked has been answered otherwise: then it goes on even if nothing was asked yet.
    answered: Option<Arc<AtomicBool>>,
    rest: Rest<O>,
    /// That of the request, kept for what is yet to be said.
    span: Span,
}

impl<O: Send + 'static> HandOver<O> {
    pub(crate) fn new(filling: Filling<O>, cache: Cache, flight: FillFlight, rest: Rest<O>) -> Self {
        let fill = Leading { cache, flight, abandon: false, answered: None, rest, span: Span::current() };
        Self { filling: Some(filling), fill: Some(fill), polled: false }
    }

    /// It ends when nobody waits.
    pub(crate) fn abandon(mut self, abandon: bool) -> Self {
        if let Some(fill) = &mut self.fill {
            fill.abandon = abandon;
        }
        self
    }

    /// It goes on even if nothing was asked yet, once this is true.
    pub(crate) fn answered(mut self, answered: Option<Arc<AtomicBool>>) -> Self {
        if let Some(fill) = &mut self.fill {
            fill.answered = answered;
        }
        self
    }
}

impl<O: Send + 'static> Leading<O> {
    /// Runs the rest in the background, if anyone has a use for it: those who wait, or those who come later, unless nothing
    /// was asked yet.
    fn go_on(self, filling: Filling<O>) {
        let Self { cache, flight, abandon, answered, rest, span } = self;
        let answered = answered.is_some_and(|answered| answered.load(Ordering::Relaxed));
        if flight.waiting() == 0 && (abandon || !(answered || flight.meta().has_asked())) {
            return;
        }
        let background = cache.background().clone();
        let going_on = background.spawn(span, async move {
            let mut all = pin!(async move { rest(filling.await).await });
            // One that hangs does not keep its place among the fills for ever.
            let mut late = pin!(timer::after(FillRules::DEFAULT_WAIT));
            let mut in_time = true;
            poll_fn(|cx| {
                if in_time && late.as_mut().poll(cx).is_ready() {
                    in_time = false;
                    flight.meta().set_place(None);
                }
                if abandon && flight.poll_deserted(cx).is_ready() {
                    return Poll::Ready(());
                }
                all.as_mut().poll(cx)
            })
            .await;
        });
        if going_on {
            cache.counters().handed_over.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<O: Send + 'static> Future for HandOver<O> {
    type Output = O;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<O> {
        let this = &mut *self;
        let filling = this.filling.as_mut().expect("polled after completion");
        this.polled = true;
        let polled = filling.as_mut().poll(cx);
        this.polled = false;
        if polled.is_ready() {
            this.filling = None;
        }
        polled
    }
}

impl<O: Send + 'static> Drop for HandOver<O> {
    fn drop(&mut self) {
        if let (Some(filling), Some(fill), false) = (self.filling.take(), self.fill.take(), self.polled) {
            fill.go_on(filling);
        }
    }
}

impl<O: Send + 'static> fmt::Debug for HandOver<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandOver").finish_non_exhaustive()
    }
}

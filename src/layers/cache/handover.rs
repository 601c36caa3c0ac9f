//! A fill that outlives the client that has started it.

use super::{ResponseBody, layer::Shared};
use crate::cache::FillFlight;
use bytes::Bytes;
use http::Response;
use http_body::Body;
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
};
use tracing::Span;

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;
pub(super) type Answering<B, E> = Pin<Box<dyn Future<Output = Answer<B, E>> + Send>>;

/// A future of an answer that leads a fill. If it is dropped before its end, it goes on in the background of the cache.
pub(super) struct HandOver<B, E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: Send + 'static,
{
    answering: Option<Answering<B, E>>,
    fill: Option<Leading>,
    /// Being polled. Still so when dropped: it has panicked.
    polled: bool,
}

struct Leading {
    shared: Arc<Shared>,
    flight: FillFlight,
    /// That of the request, kept for what the handler has yet to say.
    span: Span,
}

impl<B, E> HandOver<B, E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: Send + 'static,
{
    pub(super) fn new(answering: Answering<B, E>, shared: Arc<Shared>, flight: FillFlight) -> Self {
        let fill = Leading { shared, flight, span: Span::current() };
        Self { answering: Some(answering), fill: Some(fill), polled: false }
    }
}

impl Leading {
    /// Runs the rest in the background, if anyone has a use for it: those who wait, or those who come later, unless nothing
    /// was asked of the inner service yet.
    fn go_on<B, E>(self, answering: Answering<B, E>)
    where
        B: Body<Data = Bytes> + Send + 'static,
        E: Send + 'static,
    {
        let Self { shared, flight, span } = self;
        let abandon = shared.rules.fill.abandon_on_cancel;
        if flight.waiting() == 0 && (abandon || !flight.meta().has_asked()) {
            return;
        }
        let counters = shared.cache.counters();
        counters.handed_over.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        shared.cache.background().spawn(span, async move {
            let mut rest = pin!(async move {
                if let Ok(response) = answering.await {
                    response.into_body().record_to_end().await;
                }
            });
            poll_fn(|cx| {
                if abandon && flight.poll_deserted(cx).is_ready() {
                    return Poll::Ready(());
                }
                rest.as_mut().poll(cx)
            })
            .await;
        });
    }
}

impl<B, E> Future for HandOver<B, E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: Send + 'static,
{
    type Output = Answer<B, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let answering = this.answering.as_mut().expect("polled after completion");
        this.polled = true;
        let polled = answering.as_mut().poll(cx);
        this.polled = false;
        if polled.is_ready() {
            this.answering = None;
        }
        polled
    }
}

impl<B, E> Drop for HandOver<B, E>
where
    B: Body<Data = Bytes> + Send + 'static,
    E: Send + 'static,
{
    fn drop(&mut self) {
        if let (Some(answering), Some(fill), false) = (self.answering.take(), self.fill.take(), self.polled) {
            fill.go_on(answering);
        }
    }
}

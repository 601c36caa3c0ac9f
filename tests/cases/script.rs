//! Bodies scripted frame by frame.

use crate::support::{Later, headers};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::Notify;

/// A body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}

enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fail,
    Panic,
    Lazy(Box<dyn FnOnce() -> Bytes + Send>),
    Wait(Later<()>),
}

/// A body that does what it is told, for requests and responses.
#[derive(Default)]
pub(crate) struct Script {
    steps: VecDeque<Step>,
    exact: Option<u64>,
    shy: bool,
    taken: Arc<AtomicUsize>,
}

impl Script {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn data(mut self, data: impl Into<Bytes>) -> Self {
        self.steps.push_back(Step::Data(data.into()));
        self
    }

    /// Data that is made when it is asked for.
    pub(crate) fn lazy(mut self, data: impl FnOnce() -> Bytes + Send + 'static) -> Self {
        self.steps.push_back(Step::Lazy(Box::new(data)));
        self
    }

    pub(crate) fn trailers(mut self, fields: &[(&'static str, &'static str)]) -> Self {
        self.steps.push_back(Step::Trailers(headers(fields)));
        self
    }

    /// An error in place of the next frame.
    pub(crate) fn fail(mut self) -> Self {
        self.steps.push_back(Step::Fail);
        self
    }

    /// A panic in place of the next frame.
    pub(crate) fn panics(mut self) -> Self {
        self.steps.push_back(Step::Panic);
        self
    }

    /// Nothing more until then.
    pub(crate) fn wait(mut self, gate: &Arc<Notify>) -> Self {
        let gate = Arc::clone(gate);
        self.steps.push_back(Step::Wait(Box::pin(async move { gate.notified().await })));
        self
    }

    /// Nothing more for this long.
    pub(crate) fn pause(mut self, span: Duration) -> Self {
        self.steps.push_back(Step::Wait(Box::pin(async move { tokio::time::sleep(span).await })));
        self
    }

    /// Claims this length in its size hint.
    pub(crate) fn exact(mut self, length: u64) -> Self {
        self.exact = Some(length);
        self
    }

    /// Never says that it has ended before it is asked for more.
    pub(crate) fn shy(mut self) -> Self {
        self.shy = true;
        self
    }

    /// Counts the frames that were taken.
    pub(crate) fn taken(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.taken)
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        while let Some(Step::Wait(gate)) = self.steps.front_mut() {
            if gate.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.steps.pop_front();
        }
        self.taken.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(match self.steps.pop_front() {
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Lazy(data)) => Some(Ok(Frame::data(data()))),
            Some(Step::Fail) => Some(Err(Broken)),
            Some(Step::Panic) => panic!("the body panics, as it should in this test"),
            Some(Step::Wait(_)) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty() && !self.shy
    }

    fn size_hint(&self) -> SizeHint {
        self.exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

//! Handlers for `stampede`.

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use larder_benches::requests::NoBody;
use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// A body of 1 MiB with a declared length that comes frame by frame.
pub(crate) struct Frames {
    left: u32,
    next: Pin<Box<Sleep>>,
}

impl Frames {
    pub(crate) const COUNT: u32 = 16;
    /// The time from one to the next.
    pub(crate) const EACH: Duration = Duration::from_millis(10);
    pub(crate) const LENGTH: usize = FRAME.len() * Self::COUNT as usize;

    pub(crate) fn new() -> Self {
        Self { left: Self::COUNT, next: Box::pin(sleep(Self::EACH)) }
    }
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        ready!(self.next.as_mut().poll(cx));
        self.left -= 1;
        let next = self.next.deadline() + Self::EACH;
        self.next.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&FRAME)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::from(self.left) * FRAME.len() as u64)
    }
}

/// A service made of a function, which counts its calls.
#[derive(Clone)]
pub(crate) struct Handler<F> {
    pub(crate) calls: Arc<Calls>,
    answer: F,
}

#[derive(Default)]
pub(crate) struct Calls {
    made: AtomicUsize,
    /// Under way now.
    running: AtomicUsize,
    /// Under way at once, at most.
    most: AtomicUsize,
}

impl<F, A, B> Handler<F>
where
    F: Fn(Request<NoBody>) -> A,
    A: Future<Output = Response<B>>,
{
    pub(crate) fn new(answer: F) -> Self {
        Self { calls: Arc::default(), answer }
    }
}

impl Calls {
    pub(crate) fn made(&self) -> usize {
        self.made.load(Relaxed)
    }

    pub(crate) fn most(&self) -> usize {
        self.most.load(Relaxed)
    }

    fn begin(&self) {
        self.made.fetch_add(1, Relaxed);
        self.most.fetch_max(self.running.fetch_add(1, Relaxed) + 1, Relaxed);
    }

    fn end(&self) {
        self.running.fetch_sub(1, Relaxed);
    }

    /// Begins to count anew.
    pub(crate) fn forget(&self) {
        self.made.store(0, Relaxed);
        self.most.store(0, Relaxed);
    }
}

impl<F, A, B> Service<Request<NoBody>> for Handler<F>
where
    F: Fn(Request<NoBody>) -> A,
    A: Future<Output = Response<B>> + Send + 'static,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<NoBody>) -> Self::Future {
        let (calls, answer) = (Arc::clone(&self.calls), (self.answer)(request));
        Box::pin(async move {
            calls.begin();
            let response = answer.await;
            calls.end();
            Ok(response)
        })
    }
}

static FRAME: [u8; 64 * 1024] = [b'x'; 64 * 1024];

//! The body of an answer while it is being stored: one recording, any number of readers.
//!
//! Whoever wants more than is on the tape asks the inner service's body for it, so a slow reader slows nobody, and no task
//! is needed as long as somebody reads. Only the first reader, whose request was answered, goes on past the limit of what is
//! stored. A tape takes the limit and one frame of memory.
//!
//! This folder is compiled by `tests/model` too, over a model checker. Lock order: the state, then the wakers. The body is
//! polled, and sink, keeper and wakers are called, under no lock.

mod reader;
mod wakers;

pub(crate) use reader::Reader;

use crate::sync::{Moment, Mutex, MutexGuard};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};
use wakers::Wakers;

/// What a body fails with, of whatever kind it is.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The inner service's body.
pub(crate) type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;

/// Takes what comes of a recording, once.
pub(crate) type Sink = Box<dyn FnOnce(Result<Recorded, Fault>) + Send>;

/// Asked when the last reader has left before the end: whether it has seen to it that somebody reads on.
pub(crate) type Keeper = Box<dyn Fn(&Arc<Tape>) -> bool + Send + Sync>;

/// A body that has ended cleanly, as long as was declared.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// Why there is no recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fault {
    /// Longer than what is stored.
    TooLarge,
    /// Not as long as was declared.
    WrongLength,
    /// The body failed.
    Failed,
    /// Nobody reads it.
    Abandoned,
}

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The longest body that is stored.
    pub(crate) limit: usize,
    pub(crate) declared: Option<u64>,
    /// What has reached its declared length may not be all.
    pub(crate) trailers_announced: bool,
}

/// A recording under way.
pub(crate) struct Tape {
    state: Mutex<State>,
    wakers: Arc<Wakers>,
    limits: Limits,
    keeper: Keeper,
}

struct State {
    /// The body; away while somebody asks it, and gone once it has ended.
    source: Option<Source>,
    sink: Option<Sink>,
    phase: Phase,
    bytes: BytesMut,
    trailers: Option<HeaderMap>,
    readers: usize,
    next_reader: u64,
    /// The keeper has been asked: it is not asked twice.
    kept: bool,
    /// The sink has what came of the recording.
    concluded: bool,
    /// When something was last written.
    grown: Moment,
}

enum Phase {
    /// Everything so far is on the tape.
    Recording,
    /// All of it is here.
    Complete(Bytes),
    /// There is no recording. What the first reader has not read yet is still on the tape; then it goes on alone.
    GivenUp,
    /// As before, and the body has ended.
    Ended,
    /// The body has failed. The first reader is told how.
    Failed(Option<BoxError>),
}

impl Tape {
    /// A tape of this body, and its first reader.
    pub(crate) fn start(source: Source, limits: Limits, sink: Sink, keeper: Keeper) -> (Arc<Self>, Reader) {
        let hint = source.size_hint();
        let expected = limits.declared.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(limits.limit);
        let state = State {
            source: Some(source),
            sink: Some(sink),
            phase: Phase::Recording,
            bytes: BytesMut::with_capacity(expected.min(READ_AHEAD)),
            trailers: None,
            readers: 1,
            next_reader: 1,
            kept: false,
            concluded: false,
            grown: Moment::now(),
        };
        let tape = Arc::new(Self { state: Mutex::new(state), wakers: Arc::default(), limits, keeper });
        let reader = Reader::new(Arc::clone(&tape), 0, true, hint);
        (tape, reader)
    }

    /// Another reader, unless there is no recording any more.
    pub(crate) fn reader(self: &Arc<Self>) -> Option<Reader> {
        let mut state = lock(&self.state);
        if !matches!(state.phase, Phase::Recording | Phase::Complete(_)) {
            return None;
        }
        state.readers += 1;
        let number = state.next_reader;
        state.next_reader += 1;
        drop(state);
        let hint = self.limits.declared.map_or_else(SizeHint::default, SizeHint::with_exact);
        Some(Reader::new(Arc::clone(self), number, false, hint))
    }

    /// How long nothing has come, if more is to come.
    pub(crate) fn stalled_for(&self) -> Duration {
        let state = lock(&self.state);
        if matches!(state.phase, Phase::Recording) { state.grown.elapsed() } else { Duration::ZERO }
    }

    /// Asks the body for more. What comes goes on the tape, and as it is to the one who asked if that is the first reader:
    /// it has read everything before.
    fn ask(&self, mut source: Source, reader: &mut Reader) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let times = self.wakers.times();
        let waker = Waker::from(Arc::clone(&self.wakers));
        let mut cx = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| {
            let polled = source.as_mut().poll_frame(&mut cx);
            (polled, source.is_end_stream())
        }));
        let mut state = lock(&self.state);
        if let Ok((Poll::Pending, _)) = polled {
            state.source = Some(source);
            drop(state);
            // Who came while the body was away was not there to be woken.
            if self.wakers.times() != times {
                self.wakers.wake_all();
            }
            return Poll::Pending;
        }
        let _own = self.wakers.forget(reader.number);
        let (own, fault) = match polled {
            Ok((Poll::Ready(Some(Ok(frame))), ended)) => {
                let fault = state.write(&frame, self.limits);
                let own = reader.first.then(|| reader.took(frame, &mut state));
                if ended {
                    let end = state.end(self.limits);
                    (own.map(Ok), fault.or(end))
                } else {
                    state.source = Some(source);
                    (own.map(Ok), fault)
                }
            }
            Ok((Poll::Ready(None) | Poll::Pending, _)) => (None, state.end(self.limits)),
            Ok((Poll::Ready(Some(Err(error))), _)) => {
                reader.told |= reader.first;
                let (own, kept) = if reader.first { (Some(Err(error)), None) } else { (None, Some(error)) };
                (own, state.fail(kept))
            }
            Err(panic) => {
                let fault = state.fail(Some("the body of the response panicked".into()));
                self.conclude(state, fault);
                if reader.first {
                    resume_unwind(panic);
                }
                return Poll::Ready(None);
            }
        };
        self.conclude(state, fault);
        Poll::Ready(own)
    }

    /// Tells the sink if this is the end of the recording, and everyone that there is news.
    fn conclude(&self, mut state: MutexGuard<'_, State>, fault: Option<Fault>) {
        let result = match (&state.phase, fault) {
            (_, Some(fault)) => Some(Err(fault)),
            (Phase::Complete(body), None) => {
                Some(Ok(Recorded { body: body.clone(), trailers: state.trailers.clone() }))
            }
            _ => None,
        };
        let told = result.and_then(|result| Some((state.sink.take()?, result)));
        drop(state);
        let panicked = told.and_then(|(sink, result)| {
            let panicked = catch_unwind(AssertUnwindSafe(|| sink(result))).err();
            lock(&self.state).concluded = true;
            panicked
        });
        self.wakers.wake_all();
        if let Some(panic) = panicked {
            resume_unwind(panic);
        }
    }

    /// A reader has left.
    fn left(self: &Arc<Self>, reader: &Reader) {
        drop(self.wakers.forget(reader.number));
        let mut state = lock(&self.state);
        state.readers -= 1;
        if (reader.first || state.readers == 0) && matches!(state.phase, Phase::GivenUp) {
            // Nobody else reads what is not recorded.
            let source = state.source.take();
            state.bytes = BytesMut::new();
            drop(state);
            drop(source);
            return;
        }
        if state.readers > 0 || !matches!(state.phase, Phase::Recording) {
            drop(state);
            // One of those who stay has to go on.
            self.wakers.wake_all();
            return;
        }
        // A server that has sent the declared length, or the trailers, does not ask for the end.
        let reached = self.limits.declared == Some(state.bytes.len() as u64) && !self.limits.trailers_announced;
        let finished = (reached || state.trailers.is_some()) && !std::thread::panicking();
        if !finished && !std::mem::replace(&mut state.kept, true) {
            drop(state);
            if (self.keeper)(self) {
                return;
            }
            state = lock(&self.state);
            if state.readers > 0 || !matches!(state.phase, Phase::Recording) {
                return;
            }
        }
        let source = state.source.take();
        let fault = if finished { state.end(self.limits) } else { state.give_up(Fault::Abandoned) };
        self.conclude(state, fault);
        drop(source);
    }
}

impl State {
    /// Writes a frame down, unless the recording ends with it.
    fn write(&mut self, frame: &Frame<Bytes>, limits: Limits) -> Option<Fault> {
        if !matches!(self.phase, Phase::Recording) {
            return None;
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers.get_or_insert_default().extend(trailers.clone());
        }
        let data = frame.data_ref()?;
        let length = self.bytes.len() + data.len();
        self.bytes.extend_from_slice(data);
        self.grown = Moment::now();
        if limits.declared.is_some_and(|declared| length as u64 > declared) {
            return self.give_up(Fault::WrongLength);
        }
        (length > limits.limit).then(|| self.give_up(Fault::TooLarge)).flatten()
    }

    /// The body has ended cleanly.
    fn end(&mut self, limits: Limits) -> Option<Fault> {
        match self.phase {
            Phase::Recording if limits.declared.is_none_or(|declared| declared == self.bytes.len() as u64) => {
                let bytes = std::mem::take(&mut self.bytes);
                // What is kept for long should not be twice as large as what is in it.
                let roomy = bytes.capacity() > bytes.len() + bytes.len() / 8 + 64;
                self.phase = Phase::Complete(if roomy { Bytes::copy_from_slice(&bytes) } else { bytes.freeze() });
                None
            }
            Phase::Recording => {
                self.phase = Phase::Ended;
                Some(Fault::WrongLength)
            }
            _ => {
                self.phase = Phase::Ended;
                None
            }
        }
    }

    fn give_up(&mut self, fault: Fault) -> Option<Fault> {
        self.phase = Phase::GivenUp;
        Some(fault)
    }

    fn fail(&mut self, error: Option<BoxError>) -> Option<Fault> {
        let recording = matches!(self.phase, Phase::Recording);
        self.phase = Phase::Failed(error);
        recording.then_some(Fault::Failed)
    }
}

/// A lock that a panic does not keep: nothing is left half done under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A declared length is believed this far before the bytes are there.
const READ_AHEAD: usize = 256 * 1024;

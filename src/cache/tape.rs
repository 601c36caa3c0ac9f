//! The body of an answer while it is being stored: one recording, any number of readers.
//!
//! Whoever wants more than is on the tape asks the inner service's body for it, so a slow reader slows nobody, and no task
//! is needed as long as somebody reads. Only the first reader, whose request was answered, goes on past the limit of what is
//! stored. A tape takes the limit and one frame of memory.
//!
//! This file is compiled by `tests/model` too, over a model checker. Lock order: the state, then the wakers. The body is
//! polled, and sink, keeper and wakers are called, under no lock.

use crate::sync::{Moment, Mutex, MutexGuard};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header::SET_COOKIE};
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

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

/// One who reads a tape from its beginning.
pub(crate) struct Reader {
    tape: Arc<Tape>,
    number: u64,
    /// Its request was answered: it gets the body's own frames and errors, and goes on when the recording is given up.
    first: bool,
    /// How far it has read what is on the tape.
    at: usize,
    trailers_read: bool,
    /// It has heard that the body failed.
    told: bool,
    /// Of what it has not got yet.
    hint: SizeHint,
}

/// What there is for a reader.
enum Next {
    Item(Option<Result<Frame<Bytes>, BoxError>>),
    /// Somebody else is asking the body, and will wake this one.
    Wait,
    /// It has to ask itself.
    Ask(Source),
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
        let reader =
            Reader { tape: Arc::clone(&tape), number: 0, first: true, at: 0, trailers_read: false, told: false, hint };
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
        Some(Reader { tape: Arc::clone(self), number, first: false, at: 0, trailers_read: false, told: false, hint })
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

impl Reader {
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let tape = Arc::clone(&self.tape);
        loop {
            match self.next(&tape, cx) {
                Next::Item(item) => {
                    if let Some(Ok(frame)) = &item {
                        self.count(frame);
                    }
                    return Poll::Ready(item);
                }
                Next::Wait => return Poll::Pending,
                Next::Ask(source) => match tape.ask(source, self) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Some(own)) => {
                        if let Ok(frame) = &own {
                            self.count(frame);
                        }
                        return Poll::Ready(Some(own));
                    }
                    Poll::Ready(None) => {}
                },
            }
        }
    }

    /// Reads for the sake of the recording alone: ready when the sink has what came of it, with whether it is complete.
    pub(crate) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let tape = Arc::clone(&self.tape);
        let waker = cx.waker();
        loop {
            // Dropped after the lock.
            let _old;
            let mut state = lock(&tape.state);
            if state.concluded {
                return Poll::Ready(matches!(state.phase, Phase::Complete(_)));
            }
            _old = tape.wakers.register(self.number, waker);
            // What is not recorded is for the first reader alone.
            if !matches!(state.phase, Phase::Recording) {
                return Poll::Pending;
            }
            let Some(source) = state.source.take() else { return Poll::Pending };
            drop(state);
            if tape.ask(source, self).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Whether nobody else reads.
    pub(crate) fn is_alone(&self) -> bool {
        lock(&self.tape.state).readers == 1
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        let state = lock(&self.tape.state);
        let read = match &state.phase {
            Phase::Complete(whole) => self.at >= whole.len(),
            Phase::Ended => self.first && self.at >= state.bytes.len(),
            _ => false,
        };
        read && (self.trailers_read || state.trailers.is_none())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.hint
    }

    fn next(&mut self, tape: &Tape, cx: &mut Context<'_>) -> Next {
        // Dropped after the lock.
        let _old;
        let mut state = lock(&tape.state);
        if let Phase::Complete(whole) = &state.phase
            && self.at < whole.len()
        {
            let rest = whole.slice(self.at..);
            self.at = whole.len();
            return Next::Item(Some(Ok(Frame::data(rest))));
        }
        let may_read = self.first || matches!(state.phase, Phase::Recording);
        if may_read && self.at < state.bytes.len() {
            let piece = &state.bytes[self.at..state.bytes.len().min(self.at + PIECE)];
            self.at += piece.len();
            return Next::Item(Some(Ok(Frame::data(Bytes::copy_from_slice(piece)))));
        }
        match &mut state.phase {
            Phase::Complete(_) => self.end(&state),
            Phase::Ended if self.first => self.end(&state),
            Phase::GivenUp | Phase::Ended if !self.first => self.broken(None),
            Phase::Failed(error) => {
                let error = if self.first { error.take() } else { None };
                self.broken(error)
            }
            Phase::Recording | Phase::GivenUp | Phase::Ended => {
                if matches!(state.phase, Phase::GivenUp) {
                    // All that was written down is read: from here on nothing is kept.
                    state.bytes = BytesMut::new();
                    self.at = 0;
                }
                // Under the lock: whoever has the source now wakes this one when done.
                _old = tape.wakers.register(self.number, cx.waker());
                state.source.take().map_or(Next::Wait, Next::Ask)
            }
        }
    }

    fn end(&mut self, state: &State) -> Next {
        let mut trailers = state.trailers.clone().filter(|_| !self.trailers_read);
        self.trailers_read = true;
        if let Some(trailers) = trailers.as_mut().filter(|_| !self.first) {
            // A cookie is for the one whose request was answered.
            trailers.remove(SET_COOKIE);
        }
        Next::Item(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    /// The end of a body that has failed, told once.
    fn broken(&mut self, error: Option<BoxError>) -> Next {
        let told = std::mem::replace(&mut self.told, true);
        Next::Item((!told).then(|| Err(error.unwrap_or_else(|| Box::new(Broken)))))
    }

    /// It is given this frame as it is, which may be on the tape too.
    fn took(&mut self, frame: Frame<Bytes>, state: &mut State) -> Frame<Bytes> {
        if matches!(state.phase, Phase::Recording) {
            self.at = state.bytes.len();
        } else {
            state.bytes = BytesMut::new();
            self.at = 0;
        }
        self.trailers_read |= frame.is_trailers();
        frame
    }

    fn count(&mut self, frame: &Frame<Bytes>) {
        let given = frame.data_ref().map_or(0, |data| data.len() as u64);
        let upper = self.hint.upper().map(|upper| upper.saturating_sub(given));
        let lower = self.hint.lower().saturating_sub(given);
        self.hint = SizeHint::new();
        if let Some(upper) = upper {
            self.hint.set_upper(upper.max(lower));
        }
        self.hint.set_lower(lower);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let tape = Arc::clone(&self.tape);
        tape.left(self);
    }
}

/// Those who wait for more, by the number of the reader. Apart from the tape: the body holds on to it.
#[derive(Default)]
struct Wakers(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    waiting: BTreeMap<u64, Waker>,
    times: u64,
}

impl Wakers {
    /// Gives back what was there before, to be dropped without any lock.
    fn register(&self, number: u64, waker: &Waker) -> Option<Waker> {
        lock(&self.0).waiting.insert(number, waker.clone())
    }

    /// As before.
    fn forget(&self, number: u64) -> Option<Waker> {
        lock(&self.0).waiting.remove(&number)
    }

    fn wake_all(&self) {
        let mut woken = lock(&self.0);
        woken.times += 1;
        let wakers = std::mem::take(&mut woken.waiting);
        drop(woken);
        wakers.into_values().for_each(Waker::wake);
    }

    /// How often it has been woken.
    fn times(&self) -> u64 {
        lock(&self.0).times
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

/// What those hear who read along when the body breaks off, after their heads were sent.
#[derive(Debug)]
struct Broken;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body that this response shares with another broke off")
    }
}

impl std::error::Error for Broken {}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("first", &self.first).field("at", &self.at).finish_non_exhaustive()
    }
}

/// A lock that a panic does not keep: nothing is left half done under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A declared length is believed this far before the bytes are there.
const READ_AHEAD: usize = 256 * 1024;

/// What a reader gets at once of what is being recorded.
const PIECE: usize = 64 * 1024;

//! Reading a tape from its beginning.

use super::{BoxError, Phase, Source, State, Tape, lock};
use bytes::{Bytes, BytesMut};
use http::header::SET_COOKIE;
use http_body::{Frame, SizeHint};
use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

/// One who reads a tape from its beginning.
pub(crate) struct Reader {
    tape: Arc<Tape>,
    pub(super) number: u64,
    /// Its request was answered: it gets the body's own frames and errors, and goes on when the recording is given up.
    pub(super) first: bool,
    /// How far it has read what is on the tape.
    at: usize,
    trailers_read: bool,
    /// It has heard that the body failed.
    pub(super) told: bool,
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

impl Reader {
    pub(super) fn new(tape: Arc<Tape>, number: u64, first: bool, hint: SizeHint) -> Self {
        Self { tape, number, first, at: 0, trailers_read: false, told: false, hint }
    }

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
    pub(super) fn took(&mut self, frame: Frame<Bytes>, state: &mut State) -> Frame<Bytes> {
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

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("first", &self.first).field("at", &self.at).finish_non_exhaustive()
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

/// What a reader gets at once of what is being recorded.
const PIECE: usize = 64 * 1024;

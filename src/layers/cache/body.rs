use crate::{
    cache::{Recording, StoredBody, stored_body},
    entry::Entry,
};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// The body of a response that went through a [`CacheService`](super::CacheService).
    ///
    /// Bodies of the inner service are passed on frame by frame, trailers and empty frames included.
    pub struct ResponseBody<B> {
        #[pin]
        state: State<B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<B> {
        // The inner service's body, passed through.
        Inner { #[pin] body: B },
        // The inner service's body, written down on its way.
        Recorded { #[pin] body: B, recording: Box<Recording> },
        // A body from the cache.
        Stored { body: StoredBody },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self { state: State::Inner { body } }
    }

    pub(super) fn recorded(body: B, recording: Recording) -> Self {
        Self { state: State::Recorded { body, recording: Box::new(recording) } }
    }

    /// All of a stored response's.
    pub(super) fn of(entry: &Entry) -> Self {
        Self::stored(stored_body(entry))
    }

    pub(super) fn stored(body: StoredBody) -> Self {
        Self { state: State::Stored { body } }
    }

    /// Whether it is still being written down.
    pub(super) fn is_recording(&self) -> bool {
        matches!(&self.state, State::Recorded { recording, .. } if recording.is_open())
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().state.project() {
            StateProj::Inner { body } => body.poll_frame(cx),
            StateProj::Stored { body } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            StateProj::Recorded { mut body, recording } => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref() {
                            recording.data(data);
                        } else if let Some(trailers) = frame.trailers_ref() {
                            recording.trailers(trailers);
                        }
                        // Whoever sees the end of the stream here does not ask again.
                        if body.is_end_stream() {
                            recording.end();
                        }
                    }
                    Some(Err(_)) => recording.fail(),
                    None => recording.end(),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Inner { body } | State::Recorded { body, .. } => body.is_end_stream(),
            State::Stored { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Inner { body } | State::Recorded { body, .. } => body.size_hint(),
            State::Stored { body } => body.size_hint(),
        }
    }
}

impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self::inner(B::default())
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Inner { .. } => "inner",
            State::Recorded { .. } => "recorded",
            State::Stored { .. } => "stored",
        };
        f.debug_tuple("ResponseBody").field(&state).finish()
    }
}

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

pin_project! {
    /// The body of a response that went through an [`ETagService`](super::ETagService): that of the inner service, frame
    /// by frame, or nothing if the client has it already.
    ///
    /// ```
    /// # use larder::ETagBody;
    /// use axum::body::Body;
    /// use http::Response;
    ///
    /// fn boxed(response: Response<ETagBody<Body>>) -> Response<Body> {
    ///     response.map(Body::new)
    /// }
    /// ```
    pub struct ETagBody<B>
    where
        B: Body,
    {
        // What was read for the tag.
        chunks: VecDeque<Bytes>,
        #[pin]
        rest: Rest<B, B::Error>,
    }
}

pin_project! {
    #[project = RestProj]
    enum Rest<B, E> {
        // The inner service's body, not read before.
        Whole { #[pin] body: B },
        // The inner service's body, of which the beginning was read. First come the trailers that were.
        Begun { trailers: Option<HeaderMap>, body: Pin<Box<B>> },
        // The error that reading ended with, and what was still to come by the body's own account.
        Failed { error: Option<E>, hint: SizeHint },
        // There is no more.
        Nothing,
        // It was never meant to be sent, and nothing is told of its length: axum would declare a known one, which in a 304
        // has to be that of the 200 (RFC 9110 §8.6).
        Unsent,
    }
}

impl<B: Body> ETagBody<B> {
    /// Passed through.
    pub(super) fn whole(body: B) -> Self {
        Self { chunks: VecDeque::new(), rest: Rest::Whole { body } }
    }

    /// Of an answer without one.
    pub(super) fn empty() -> Self {
        Self { chunks: VecDeque::new(), rest: Rest::Unsent }
    }

    /// Read to its end.
    pub(super) fn read(chunks: VecDeque<Bytes>) -> Self {
        Self { chunks, rest: Rest::Nothing }
    }

    /// Too long to be read.
    pub(super) fn begun(chunks: VecDeque<Bytes>, body: Pin<Box<B>>) -> Self {
        Self { chunks, rest: Rest::Begun { trailers: None, body } }
    }

    /// With trailers; what follows them is up to the body.
    pub(super) fn with_trailers(chunks: VecDeque<Bytes>, trailers: HeaderMap, body: Pin<Box<B>>) -> Self {
        Self { chunks, rest: Rest::Begun { trailers: Some(trailers), body } }
    }

    /// Broken off. `hint` is what it had promised to come after the chunks.
    pub(super) fn failed(chunks: VecDeque<Bytes>, error: B::Error, hint: SizeHint) -> Self {
        Self { chunks, rest: Rest::Failed { error: Some(error), hint } }
    }

    /// Whether reading it has ended with an error.
    pub(super) fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Failed { .. })
    }
}

impl<B: Body<Data = Bytes>> Body for ETagBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(chunk) = this.chunks.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        match this.rest.project() {
            RestProj::Whole { body } => body.poll_frame(cx),
            RestProj::Begun { trailers, body } => match trailers.take() {
                Some(trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                None => body.as_mut().poll_frame(cx),
            },
            RestProj::Failed { error, .. } => Poll::Ready(error.take().map(Err)),
            RestProj::Nothing | RestProj::Unsent => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_empty()
            && match &self.rest {
                Rest::Whole { body } => body.is_end_stream(),
                Rest::Begun { trailers, body } => trailers.is_none() && body.is_end_stream(),
                Rest::Failed { error, .. } => error.is_none(),
                Rest::Nothing | Rest::Unsent => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let bounds = |hint: &SizeHint| (hint.lower(), hint.upper());
        let (lower, upper) = match &self.rest {
            Rest::Whole { body } => bounds(&body.size_hint()),
            Rest::Begun { body, .. } => bounds(&body.size_hint()),
            Rest::Failed { hint, .. } => bounds(hint),
            Rest::Nothing => (0, Some(0)),
            Rest::Unsent => (0, None),
        };
        let read: u64 = self.chunks.iter().map(|chunk| chunk.len() as u64).sum();
        let mut hint = SizeHint::new();
        if let Some(upper) = upper {
            hint.set_upper(upper.saturating_add(read));
        }
        hint.set_lower(lower.saturating_add(read));
        hint
    }
}

impl<B: Body + Default> Default for ETagBody<B> {
    fn default() -> Self {
        Self::whole(B::default())
    }
}

impl<B: Body> fmt::Debug for ETagBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = match &self.rest {
            Rest::Whole { .. } => "whole",
            Rest::Begun { .. } => "begun",
            Rest::Failed { .. } => "failed",
            Rest::Nothing => "nothing",
            Rest::Unsent => "unsent",
        };
        f.debug_struct("ETagBody").field("chunks", &self.chunks.len()).field("rest", &rest).finish()
    }
}

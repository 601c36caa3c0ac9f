use crate::cache::{BoxError, Reader, StoredBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
};

pin_project! {
    /// The body of a response that went through a [`CacheService`](super::CacheService).
    ///
    /// Bodies of the inner service are passed on frame by frame, trailers and empty frames included, and their errors as
    /// they are, boxed. A body that is shared with another request also fails when that one breaks off.
    ///
    /// ```
    /// # use larder::ResponseBody;
    /// use axum::body::Body;
    /// use http::Response;
    ///
    /// // Where one type is wanted for what is cached and what is not.
    /// fn boxed(response: Response<ResponseBody<Body>>) -> Response<Body> {
    ///     response.map(Body::new)
    /// }
    /// ```
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
        // A body that is recorded on its way: this request's own, or another's.
        Read { reader: Reader },
        // A body from the cache.
        Stored { body: StoredBody },
    }
}

impl<B> ResponseBody<B> {
    pub(super) fn inner(body: B) -> Self {
        Self { state: State::Inner { body } }
    }

    pub(super) fn read(reader: Reader) -> Self {
        Self { state: State::Read { reader } }
    }

    /// Content that is all there.
    pub(super) fn whole(content: Bytes) -> Self {
        Self::stored(StoredBody::Whole(content))
    }

    #[inline]
    pub(super) fn stored(body: StoredBody) -> Self {
        Self { state: State::Stored { body } }
    }

    /// Reads on for the sake of the recording, if there is one.
    pub(super) async fn record_to_end(self) {
        if let State::Read { mut reader } = self.state {
            poll_fn(|cx| reader.poll_end(cx)).await;
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().state.project() {
            StateProj::Inner { body } => {
                Poll::Ready(ready!(body.poll_frame(cx)).map(|frame| frame.map_err(Into::into)))
            }
            StateProj::Stored { body } => {
                let frame = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            StateProj::Read { reader } => reader.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Inner { body } => body.is_end_stream(),
            State::Read { reader } => reader.is_end_stream(),
            State::Stored { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Inner { body } => body.size_hint(),
            State::Read { reader } => reader.size_hint(),
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
            State::Read { .. } => "read",
            State::Stored { .. } => "stored",
        };
        f.debug_tuple("ResponseBody").field(&state).finish()
    }
}

//! A body that was asked once for a frame before anyone reads it: one that is all there needs no recording.

use crate::cache::BoxError;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

type Item = Option<Result<Frame<Bytes>, BoxError>>;

pin_project! {
    /// The body, and what it has said so far.
    pub(super) struct Peeked<B> {
        #[pin]
        body: B,
        ahead: Option<Item>,
    }
}

impl<B: Body<Data = Bytes>> Peeked<B>
where
    B::Error: Into<BoxError>,
{
    pub(super) fn new(body: B) -> Self {
        Self { body, ahead: None }
    }

    /// The whole content, if it is there at once, as long as its body says, and nothing follows.
    pub(super) fn poll_whole(self: Pin<&mut Self>, length: u64, cx: &mut Context<'_>) -> Option<Bytes> {
        let mut this = self.project();
        if this.body.is_end_stream() {
            return (length == 0).then(Bytes::new);
        }
        let Poll::Ready(item) = this.body.as_mut().poll_frame(cx) else { return None };
        let content = match &item {
            None => Some(Bytes::new()),
            Some(Ok(frame)) if this.body.is_end_stream() => frame.data_ref().cloned(),
            Some(_) => None,
        };
        let content = content.filter(|content| content.len() as u64 == length);
        if content.is_none() {
            *this.ahead = Some(item.map(|frame| frame.map_err(Into::into)));
        }
        content
    }
}

impl<B: Body<Data = Bytes>> Body for Peeked<B>
where
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Item> {
        let this = self.project();
        if let Some(item) = this.ahead.take() {
            return Poll::Ready(item);
        }
        Poll::Ready(ready!(this.body.poll_frame(cx)).map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.ahead.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        if let Some(Some(Ok(frame))) = &self.ahead
            && let Some(data) = frame.data_ref()
        {
            let more = data.len() as u64;
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper.saturating_add(more));
            }
            hint.set_lower(hint.lower().saturating_add(more));
        }
        hint
    }
}

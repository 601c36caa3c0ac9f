use super::{
    ETagBody,
    rules::{Rules, declared_length},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

/// A body that is being read to its end.
pub(super) struct Reading<B> {
    body: Option<Pin<Box<B>>>,
    chunks: VecDeque<Bytes>,
    bytes: u64,
}

impl<B: Body<Data = Bytes>> Reading<B> {
    pub(super) fn new(body: B) -> Self {
        Self { body: Some(Box::pin(body)), chunks: VecDeque::new(), bytes: 0 }
    }

    /// The body, to be sent in place of the one that was read, and its tag if it can have one.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        rules: &Rules,
        headers: &HeaderMap,
    ) -> Poll<(ETagBody<B>, Option<HeaderValue>)> {
        let mut body = self.body.take().expect("polled after completion");
        loop {
            let rest = body.size_hint();
            let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else {
                self.body = Some(body);
                return Poll::Pending;
            };
            let chunks = &mut self.chunks;
            let aside = match frame {
                None => {
                    let declared = declared_length(headers).flatten();
                    let as_long = declared.is_none_or(|declared| declared == self.bytes);
                    let tag = as_long.then(|| rules.tag(headers, &*chunks));
                    return Poll::Ready((ETagBody::read(std::mem::take(chunks)), tag));
                }
                Some(Err(error)) => ETagBody::failed(std::mem::take(chunks), error, rest),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        self.bytes += data.len() as u64;
                        chunks.push_back(data);
                        if self.bytes <= rules.max_body as u64 && chunks.len() <= most_chunks(rules.max_body) {
                            continue;
                        }
                        ETagBody::begun(std::mem::take(chunks), body)
                    }
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => ETagBody::with_trailers(std::mem::take(chunks), trailers, body),
                        Err(_) => continue,
                    },
                },
            };
            return Poll::Ready((aside, None));
        }
    }
}

/// So that what holds the pieces does not cost more than they do.
const fn most_chunks(max_body: usize) -> usize {
    1024 + max_body / 256
}

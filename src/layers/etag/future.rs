use super::{ETagBody, question::Question, reading::Reading, rules::Rules};
use crate::semantics::precondition::Precondition;
use bytes::Bytes;
use http::{Response, StatusCode, header::ETAG, response::Parts};
use http_body::Body;
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

pin_project! {
    /// The answer of an [`ETagService`](super::ETagService), to come.
    ///
    /// The example of [`ETagService`](super::ETagService) awaits two.
    pub struct ETagFuture<F, B> {
        #[pin]
        state: State<F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, B> {
        // The inner service is answering. Without a question, it is left alone.
        Calling { #[pin] inner: F, question: Option<Question>, rules: Arc<Rules> },
        // The body is being read, for the tag.
        Reading { head: Option<Parts>, reading: Reading<B>, question: Question, rules: Arc<Rules> },
    }
}

impl<F, B> ETagFuture<F, B> {
    pub(super) fn new(inner: F, question: Option<Question>, rules: Arc<Rules>) -> Self {
        Self { state: State::Calling { inner, question, rules } }
    }
}

impl<F, B, E> Future for ETagFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body<Data = Bytes>,
{
    type Output = Result<Response<ETagBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Calling { inner, question, rules } => {
                    let response = ready!(inner.poll(cx))?;
                    let Some(question) = question.take().filter(|_| response.status() == StatusCode::OK) else {
                        return Poll::Ready(Ok(response.map(ETagBody::whole)));
                    };
                    let (mut head, body) = response.into_parts();
                    rules.add_last_modified(&mut head);
                    if head.headers.contains_key(ETAG) || !question.is_get() || !rules.wants(&head.headers, &body) {
                        return Poll::Ready(Ok(answer(&question, head, ETagBody::whole(body), rules)));
                    }
                    let (reading, rules) = (Reading::new(body), Arc::clone(rules));
                    state.set(State::Reading { head: Some(head), reading, question, rules });
                }
                StateProj::Reading { head, reading, question, rules } => {
                    let headers = &head.as_ref().expect("polled after completion").headers;
                    let (body, tag) = ready!(reading.poll(cx, rules, headers));
                    let mut head = head.take().expect("it was there a moment ago");
                    if let Some(tag) = tag {
                        head.headers.insert(ETAG, tag);
                    }
                    return Poll::Ready(Ok(answer(question, head, body, rules)));
                }
            }
        }
    }
}

/// The answer to a question whose 200 has this head and this body.
fn answer<B: Body>(question: &Question, mut head: Parts, body: ETagBody<B>, rules: &Rules) -> Response<ETagBody<B>> {
    if body.is_broken() {
        return Response::from_parts(head, body);
    }
    let body = match question.verdict(&mut head, rules) {
        Precondition::Proceed => body,
        Precondition::NotModified | Precondition::Failed => ETagBody::empty(),
    };
    Response::from_parts(head, body)
}

impl<F, B> fmt::Debug for ETagFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Calling { .. } => "calling",
            State::Reading { .. } => "reading",
        };
        f.debug_tuple("ETagFuture").field(&state).finish()
    }
}

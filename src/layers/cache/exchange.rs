//! Asking the inner service: alone, for others too, or after waiting for another.

use super::{
    ResponseBody,
    ask::{Ask, Next, Part, Served},
    content::{Content, RebuildBody},
    inner::{Inner, Storing},
    job::Job,
    refresh::refresh,
    timeout,
};
use crate::{
    cache::{Act, Filling, HandOver, nothing_stored},
    entry::Entry,
    outcome::Outcome,
    semantics::validator,
};
use http::{Method, Request, Response, StatusCode, header::RANGE, request::Parts};
use std::{
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};
use tower_service::Service;

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;
pub(super) type Answering<B, E> = Filling<Answer<B, E>>;

/// A future that asks. Apart from the call that makes it, or each hit would make room on the stack for all of it.
#[inline(never)]
pub(super) fn start<S, R, ReqBody, ResBody>(
    mut ask: Box<Ask>,
    part: Part,
    inner: S,
    parts: Parts,
    body: ReqBody,
    content: Content<R>,
) -> Answering<ResBody, S::Error>
where
    S: Inner<ReqBody, ResBody>,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Storing,
{
    let limits = timeout::Limits::of(&mut ask, &parts);
    let answering = match part {
        Part::Waits(wait, key) => Box::pin(async move {
            match ask.wait(wait, key, &parts).await {
                Next::Done(response) => Ok(response),
                Next::Ask(part) => lead(ask, part, inner, parts, body, content).await,
            }
        }),
        part => lead(ask, part, inner, parts, body, content),
    };
    match limits {
        None => answering,
        Some(limits) => Box::pin(limits.hold(answering)),
    }
}

/// Asks, so that it goes on without its client if others may want the answer.
fn lead<S, R, ReqBody, ResBody>(
    ask: Box<Ask>,
    part: Part,
    inner: S,
    parts: Parts,
    body: ReqBody,
    content: Content<R>,
) -> Answering<ResBody, S::Error>
where
    S: Inner<ReqBody, ResBody>,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Storing,
{
    let shared = Arc::clone(&ask.shared);
    let fill = shared.rules.fill;
    let answered = ask.answered.clone();
    let leads = matches!(part, Part::Leads(_));
    let job = Job::begin(ask, part, &parts);
    let flight = Arc::clone(&job.flight);
    let answering: Answering<_, _> = Box::pin(run(job, inner, parts, body, content));
    // What a soft timeout answers in place of goes on, whoever else may want it.
    if !leads && fill.soft_timeout.is_none() {
        return answering;
    }
    let handover = HandOver::new(answering, shared.cache.clone(), flight, |answer| {
        Box::pin(async move {
            if let Ok(response) = answer {
                response.into_body().record_to_end().await;
            }
        })
    });
    Box::pin(handover.abandon(fill.abandon_on_cancel).answered(answered))
}

/// Asks the inner service, and answers with what it says or with what is stored.
pub(super) async fn run<S, R, ReqBody, ResBody>(
    mut job: Job,
    inner: S,
    parts: Parts,
    body: ReqBody,
    content: Content<R>,
) -> Answer<ResBody, S::Error>
where
    S: Inner<ReqBody, ResBody>,
    R: RebuildBody<ReqBody>,
    ReqBody: Send + 'static,
    ResBody: Storing,
{
    // What few requests need is in boxes: this future is moved into one, and all of it takes room there.
    if job.has_stores_to_look_in()
        && let Some(Served { response, due }) = Box::pin(job.look_in_stores(&parts)).await
    {
        if let Some(entry) = due {
            job.end_for_refresh(&inner, parts, entry, content);
        }
        return Ok(response);
    }
    if job.ask.directives.as_ref().is_some_and(|said| said.only_if_cached) {
        job.ask.count(Outcome::Miss);
        job.ask.tell(|account| account.reason = Some("only-if-cached"));
        return Ok(nothing_stored().map(ResponseBody::stored));
    }
    if !job.find_room_at_once(&parts)
        && let Err(response) = Box::pin(job.wait_for_room(&parts)).await
    {
        return Ok(response);
    }
    let question = job.question(&parts);
    let head = parts.method == Method::HEAD;
    let validating = job.ask.act == Act::Validate && !head;
    let again = validating.then(|| inner.clone());
    let sent = if validating { job.conditional(question) } else { question };
    let answer = job.put(inner, Request::from_parts(sent, body)).await;
    match (answer, again) {
        (Ok(response), _) if head && !response.status().is_server_error() => Ok(job.take_head(&parts, response)),
        (Ok(response), Some(inner)) if response.status() == StatusCode::NOT_MODIFIED => {
            match job.take_not_modified(&parts, &response) {
                Ok(answered) => Ok(answered),
                Err(job) => Box::pin(job.refetch(inner, parts, content.body())).await,
            }
        }
        (answer, _) => job.finish(&parts, answer, &waker().await),
    }
}

impl Job {
    /// Ends, and has what it has found refreshed in another fill. Those who wait for this one find it in memory.
    fn end_for_refresh<S, R, ReqBody, ResBody>(self, inner: &S, parts: Parts, entry: Arc<Entry>, content: Content<R>)
    where
        S: Inner<ReqBody, ResBody>,
        R: RebuildBody<ReqBody>,
        ReqBody: Send + 'static,
        ResBody: Storing,
    {
        let Self { ask, lead, fill, .. } = self;
        // With the lease of this fill, which the refresh is to take.
        drop((lead, fill));
        let Ask { shared, key, facts, .. } = *ask;
        let now = shared.cache.now();
        refresh(&shared, inner, parts, entry, key, facts, now, content);
    }

    /// Asks again without conditions: the stored response and the inner service do not speak of the same thing.
    async fn refetch<S, ReqBody, ResBody>(
        mut self: Box<Self>,
        inner: S,
        parts: Parts,
        body: ReqBody,
    ) -> Answer<ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>>,
        ResBody: Storing,
    {
        self.fill.forget_handler(&self.ask.shared.rules);
        let mut question = self.question(&parts);
        validator::strip_conditionals(&mut question.headers);
        question.headers.remove(RANGE);
        let answer = self.put(inner, Request::from_parts(question, body)).await;
        self.finish(&parts, answer, &waker().await)
    }

    /// Answers with what the inner service has said, or with what is stored if it fails.
    fn finish<B, E>(mut self, parts: &Parts, answer: Result<Response<B>, E>, waker: &Waker) -> Answer<B, E>
    where
        B: Storing,
    {
        let response = match answer {
            Err(error) => return self.instead_of_failure(parts).ok_or(error),
            Ok(response) => response,
        };
        let stale = if response.status().is_server_error() { self.instead_of_trouble(parts) } else { None };
        match stale {
            Some(stale) => Ok(stale),
            None => Ok(self.conclude(parts, response, waker)),
        }
    }
}

/// Who is woken for the task that asks.
async fn waker() -> Waker {
    poll_fn(|cx| Poll::Ready(cx.waker().clone())).await
}

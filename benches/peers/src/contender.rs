//! What is compared: a service, and a loop that is compiled for it.

use crate::{load::Load, origin::Calls};
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use std::{fmt::Debug, future::poll_fn, hint::black_box, sync::Arc};
use tokio::{runtime::Runtime, task::yield_now};
use tower_service::Service;

/// Something that answers requests.
pub(crate) trait Contender: Send {
    /// What it is called in the tables.
    fn name(&self) -> &'static str;

    /// One more that shares everything with this one, for another thread.
    fn another(&self) -> Box<dyn Contender>;

    /// How often its handler was called. Nothing if it has none.
    fn calls(&self) -> Option<u64>;

    /// Makes so many requests, one after another, and reads the body of each response to its end.
    fn run(&mut self, runtime: &Runtime, load: &mut Load, count: usize);
}

/// A service, and the calls of its handler.
#[derive(Clone)]
struct Served<S> {
    name: &'static str,
    service: S,
    calls: Option<Arc<Calls>>,
}

/// Makes a contender of a service.
pub(crate) fn served<S, B>(name: &'static str, service: S, calls: Option<Arc<Calls>>) -> Box<dyn Contender>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: Debug,
{
    Box::new(Served { name, service, calls })
}

impl<S, B> Contender for Served<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Debug,
    B: http_body::Body<Data = Bytes>,
    B::Error: Debug,
{
    fn name(&self) -> &'static str {
        self.name
    }

    fn another(&self) -> Box<dyn Contender> {
        Box::new(self.clone())
    }

    fn calls(&self) -> Option<u64> {
        self.calls.as_ref().map(|calls| calls.made())
    }

    fn run(&mut self, runtime: &Runtime, load: &mut Load, count: usize) {
        runtime.block_on(async {
            for _ in 0..count {
                let request = load.next();
                poll_fn(|cx| self.service.poll_ready(cx)).await.expect("it is ready");
                let response = self.service.call(request).await.expect("a response");
                black_box(read(response).await);
            }
            // What it has spawned, such as writing to its store, is part of what it costs.
            for _ in 0..SPAWNED + count / SPAWNED {
                yield_now().await;
            }
        });
    }
}

/// Reads the body to its end, and tells its length.
async fn read<B>(response: Response<B>) -> usize
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Debug,
{
    let mut body = std::pin::pin!(response.into_body());
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        length += frame.expect("a frame").data_ref().map_or(0, Bytes::len);
    }
    length
}

/// Only makes the requests: what is part of everything else.
#[derive(Clone, Copy)]
pub(crate) struct RequestAlone;

impl Contender for RequestAlone {
    fn name(&self) -> &'static str {
        REQUEST_ALONE
    }

    fn another(&self) -> Box<dyn Contender> {
        Box::new(*self)
    }

    fn calls(&self) -> Option<u64> {
        None
    }

    fn run(&mut self, runtime: &Runtime, load: &mut Load, count: usize) {
        runtime.block_on(async {
            for _ in 0..count {
                black_box(&load.next());
            }
        });
    }
}

pub(crate) const REQUEST_ALONE: &str = "(making the request alone)";

/// A current-thread runtime takes at least so many tasks between two turns of the one that waits for them.
const SPAWNED: usize = 16;

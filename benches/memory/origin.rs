//! What is cached here: a service that makes each response anew, as one that reads from a database or from another server.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use larder_benches::{requests::NoBody, work::Prepared};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};
use tower_service::Service;

/// Answers with a body of this length and with these fields.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// Of the number that ends the path.
    pub(crate) length: fn(u64) -> usize,
    pub(crate) fields: Vec<(String, String)>,
}

impl Origin {
    /// A body, and no fields but those that the cache adds.
    pub(crate) fn of(length: fn(u64) -> usize) -> Self {
        Self { length, fields: Vec::new() }
    }

    fn respond(&self, uri: &Uri) -> Prepared {
        let body = vec![b'x'; (self.length)(number(uri))];
        let mut response = Response::new(Full::new(Bytes::from(body)));
        for (name, value) in &self.fields {
            // Parsed each time: names and values that were received share nothing with those of another response.
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a field name");
            response.headers_mut().append(name, HeaderValue::from_str(value).expect("a field value"));
        }
        response
    }
}

impl Service<Request<NoBody>> for Origin {
    type Response = Prepared;
    type Error = Infallible;
    type Future = Ready<Result<Prepared, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<NoBody>) -> Self::Future {
        ready(Ok(self.respond(request.uri())))
    }
}

/// What ends a path.
fn number(uri: &Uri) -> u64 {
    let (_, number) = uri.path().rsplit_once('/').unwrap_or_default();
    number.parse().expect("a number ends the path")
}

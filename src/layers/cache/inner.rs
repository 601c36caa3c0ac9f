//! What is asked of the service inside, and of its body, in one word each.

use crate::cache::BoxError;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

/// A service that can be asked in a future of its own.
pub(super) trait Inner<ReqBody, ResBody>:
    Service<Request<ReqBody>, Response = Response<ResBody>, Error: Send, Future: Send + 'static> + Clone + Send + 'static
{
}

impl<S, ReqBody, ResBody> Inner<ReqBody, ResBody> for S
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send,
{
}

/// A body that can be stored.
pub(super) trait Storing: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static {}

impl<B> Storing for B
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
}

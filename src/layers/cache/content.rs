//! The content of requests whose content is part of the key: read before the lookup, and given back whole.

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use std::{
    collections::VecDeque,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll},
};

/// The body of a request that was read, in part or as a whole, to make its key. It yields every frame of the original,
/// in order.
///
/// Made by the cache; turned into the body type of the application by the function given to
/// [`CacheLayer::rebuild_body`](super::CacheLayer::rebuild_body).
///
/// ```
/// # use larder::{Cache, CacheLayer, Policy, RequestBody};
/// # use std::time::Duration;
/// # let cache = Cache::in_memory(1 << 20);
/// use axum::body::Body;
/// use http::Method;
///
/// fn rebuilt(body: RequestBody<Body>) -> Body {
///     Body::new(body)
/// }
///
/// let search = Policy::fresh_for(Duration::from_secs(60)).key_body([Method::POST]);
/// let layer = CacheLayer::new(&cache, search).rebuild_body(rebuilt);
/// # let _ = layer;
/// ```
pub struct RequestBody<B: Body> {
    read: VecDeque<Frame<Bytes>>,
    rest: Rest<B>,
}

enum Rest<B: Body> {
    End,
    Unread(Pin<Box<B>>),
    Failed(Option<B::Error>),
}

/// How request bodies are made of content that was read. Implemented by [`NoRebuild`] and [`Rebuild`] only.
///
/// ```
/// # use larder::{CacheLayer, RebuildBody};
/// use axum::{Router, body::Body, routing::post};
///
/// // Takes layers that read content, and those that do not.
/// fn searches<R: RebuildBody<Body> + Sync>(layer: CacheLayer<R>) -> Router {
///     Router::new().route("/search", post(|| async { "found" })).layer(layer)
/// }
/// ```
pub trait RebuildBody<B>: private::RebuildBody<B> {}

/// Request bodies are not read: requests with content bypass the cache.
///
/// ```
/// # use larder::{Cache, CacheLayer, NoRebuild, Policy};
/// # let cache = Cache::in_memory(1 << 20);
/// let layer: CacheLayer<NoRebuild> = CacheLayer::new(&cache, Policy::from_response()); // every layer, to begin with
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRebuild(());

/// Request bodies are read and rebuilt by a function. Made by
/// [`CacheLayer::rebuild_body`](super::CacheLayer::rebuild_body).
///
/// ```
/// # use larder::{Cache, CacheLayer, Policy, Rebuild};
/// use axum::body::Body;
///
/// fn reads(cache: &Cache, policy: Policy) -> CacheLayer<Rebuild<Body>> {
///     CacheLayer::new(cache, policy).rebuild_body(Body::new)
/// }
/// ```
pub struct Rebuild<B: Body>(fn(RequestBody<B>) -> B);

impl<B: Default + Send + 'static> RebuildBody<B> for NoRebuild {}
impl<B: Body<Data = Bytes> + Default + Send + 'static> RebuildBody<B> for Rebuild<B> where B::Error: Send {}

mod private {
    use super::{Bytes, Future, Pin};

    pub trait RebuildBody<B>: Clone + Send + 'static {
        /// Whether bodies can be read at all.
        const READS: bool;

        /// Reads the content, or gives the body back if there is more than `limit`, or trailers, or a failure.
        fn read(&self, body: B, limit: usize) -> Reading<B>;

        /// A body with this content.
        fn body(&self, content: Bytes) -> B;
    }

    pub(in crate::layers::cache) type Reading<B> = Pin<Box<dyn Future<Output = Result<Bytes, B>> + Send>>;
}

pub(super) use private::RebuildBody as Rebuilds;

/// Content at hand, for as many requests as it takes.
#[derive(Clone, Debug)]
pub(super) struct Content<R> {
    pub(super) rebuild: R,
    pub(super) bytes: Bytes,
}

impl<R> Content<R> {
    pub(super) fn none(rebuild: R) -> Self {
        Self { rebuild, bytes: Bytes::new() }
    }

    pub(super) fn body<B>(&self) -> B
    where
        R: Rebuilds<B>,
    {
        self.rebuild.body(self.bytes.clone())
    }
}

impl<B: Default + Send + 'static> Rebuilds<B> for NoRebuild {
    const READS: bool = false;

    fn read(&self, body: B, _: usize) -> private::Reading<B> {
        Box::pin(std::future::ready(Err(body)))
    }

    fn body(&self, _: Bytes) -> B {
        B::default()
    }
}

impl<B> Rebuilds<B> for Rebuild<B>
where
    B: Body<Data = Bytes> + Default + Send + 'static,
    B::Error: Send,
{
    const READS: bool = true;

    fn read(&self, body: B, limit: usize) -> private::Reading<B> {
        let rebuild = self.0;
        Box::pin(async move { read(body, limit).await.map_err(rebuild) })
    }

    fn body(&self, content: Bytes) -> B {
        if content.is_empty() { B::default() } else { (self.0)(RequestBody::whole(content)) }
    }
}

impl<B: Body> Rebuild<B> {
    pub(super) fn by(rebuild: fn(RequestBody<B>) -> B) -> Self {
        Self(rebuild)
    }
}

impl<B: Body<Data = Bytes>> RequestBody<B> {
    fn whole(content: Bytes) -> Self {
        Self { read: VecDeque::from([Frame::data(content)]), rest: Rest::End }
    }
}

/// Reads to the end, or gives everything back.
async fn read<B: Body<Data = Bytes>>(body: B, limit: usize) -> Result<Bytes, RequestBody<B>> {
    let mut body = Box::pin(body);
    let mut frames = VecDeque::new();
    let mut length = 0usize;
    loop {
        match poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            None => return Ok(joined(&frames)),
            Some(Err(error)) => return Err(RequestBody { read: frames, rest: Rest::Failed(Some(error)) }),
            Some(Ok(frame)) => {
                length = length.saturating_add(frame.data_ref().map_or(usize::MAX, Bytes::len));
                frames.push_back(frame);
                if length > limit {
                    return Err(RequestBody { read: frames, rest: Rest::Unread(body) });
                }
            }
        }
    }
}

fn joined(frames: &VecDeque<Frame<Bytes>>) -> Bytes {
    let mut data = frames.iter().filter_map(Frame::data_ref);
    match (data.next(), frames.len()) {
        (Some(only), 1) => only.clone(),
        _ => frames.iter().filter_map(Frame::data_ref).fold(BytesMut::new(), joined_with).freeze(),
    }
}

fn joined_with(mut whole: BytesMut, data: &Bytes) -> BytesMut {
    whole.extend_from_slice(data);
    whole
}

impl<B: Body<Data = Bytes>> Body for RequestBody<B>
where
    B::Error: Unpin,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.read.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Rest::End => Poll::Ready(None),
            Rest::Unread(body) => body.as_mut().poll_frame(cx),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty()
            && match &self.rest {
                Rest::End | Rest::Failed(None) => true,
                Rest::Unread(body) => body.is_end_stream(),
                Rest::Failed(Some(_)) => false,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.read.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        match &self.rest {
            Rest::End => SizeHint::with_exact(read),
            Rest::Unread(body) => {
                let rest = body.size_hint();
                let mut hint = SizeHint::new();
                hint.set_lower(rest.lower().saturating_add(read));
                if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(read)) {
                    hint.set_upper(upper);
                }
                hint
            }
            Rest::Failed(_) => SizeHint::new(),
        }
    }
}

impl<B: Body> Clone for Rebuild<B> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl<B: Body> fmt::Debug for Rebuild<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rebuild")
    }
}

impl<B: Body> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("frames", &self.read.len()).finish_non_exhaustive()
    }
}

use super::{ETagService, LastModified, rules::Rules};
use http::response::Parts;
use std::{sync::Arc, time::SystemTime};
use tower_layer::Layer;

/// Gives responses an `ETag` and evaluates the conditions of requests: who has the response already gets a 304 without
/// it.
///
/// ```
/// use axum::{Router, routing::get};
/// use larder::ETagLayer;
///
/// let app: Router = Router::new().route("/report", get(|| async { "a long report" })).layer(ETagLayer::new());
/// ```
///
/// The tag is a hash of the body, its `Content-Type` and its `Content-Encoding`: the first 128 bits of their BLAKE3. It
/// is the same on every machine that answers with the same bytes.
///
/// # Which responses get a tag
///
/// A 200 to GET gets one if all of the following hold. It otherwise passes as it is.
///
/// 1. It has none. A handler's own `ETag` is used, also for HEAD.
/// 2. Its body is not longer than [`max_body`](Self::max_body), has the length that was declared, ends without an error,
///    has no trailers, and does not come in tiny pieces (over 1 024, of less than 256 bytes each).
/// 3. It is not `no-store`: nobody could ask for it again with the tag.
/// 4. It is no stream of events (`text/event-stream`, `application/x-ndjson`, `multipart/x-mixed-replace` and their like),
///    and does not ask to be passed on at once with `X-Accel-Buffering: no`.
///
/// To be hashed, a body is read to its end before its head is sent. One of unknown length is read up to the limit; if
/// there is more, what was read goes to the client, and then the rest as it comes. A response that trickles in waits for
/// its end: let it say `X-Accel-Buffering: no`.
///
/// # Which conditions are evaluated
///
/// For a 200 to GET or HEAD, `If-Match`, `If-Unmodified-Since`, `If-None-Match` and `If-Modified-Since`, in the order of
/// RFC 9110 §13.2.2, against `ETag` and `Last-Modified`. The answer is 304, with the fields of §15.4.5, or 412. Dates
/// count only if there is a `Last-Modified`, and `If-Match` only if there is a tag.
///
/// Those of other methods are left alone: after a PUT was carried out it is too late to ask whether it should have been.
/// A handler that knows its tags checks them itself.
///
/// # Ranges
///
/// The layer answers none. It adds no tag to a 206.
#[derive(Clone, Debug, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ETagLayer {
    rules: Arc<Rules>,
}

impl ETagLayer {
    /// A layer that makes strong tags of bodies up to 1 MiB.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes weak tags. For a layer inside of one that recodes bodies and leaves tags alone, such as compression: a
    /// strong tag would promise the same bytes to those who take another coding.
    pub fn weak(mut self) -> Self {
        self.rules_mut().weak = true;
        self
    }

    /// Longer bodies get no tag. Default: 1 MiB. So much memory may be held for each request under way.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.rules_mut().max_body = bytes;
        self
    }

    /// Takes `Last-Modified` from what the handler has put into the response's extensions. [`LastModified`] itself needs
    /// no configuration.
    ///
    /// ```
    /// use larder::{ETagLayer, LastModified};
    /// use std::time::SystemTime;
    ///
    /// #[derive(Clone)]
    /// struct Saved { at: SystemTime }
    ///
    /// impl From<&Saved> for LastModified {
    ///     fn from(saved: &Saved) -> Self {
    ///         LastModified(saved.at)
    ///     }
    /// }
    ///
    /// let layer = ETagLayer::new().last_modified_from::<Saved>();
    /// # let _ = layer;
    /// ```
    pub fn last_modified_from<T>(self) -> Self
    where
        T: Send + Sync + 'static,
        for<'a> LastModified: From<&'a T>,
    {
        self.last_modified_with(|response| response.extensions.get::<T>().map(|of| LastModified::from(of).0))
    }

    /// Takes `Last-Modified` from the head of the response. The closure is asked for each 200 to GET or HEAD that has
    /// neither the field nor a [`LastModified`]; without an answer, or if it panics, there is none.
    pub fn last_modified_with(mut self, of: impl Fn(&Parts) -> Option<SystemTime> + Send + Sync + 'static) -> Self {
        self.rules_mut().last_modified = Some(Arc::new(of));
        self
    }

    fn rules_mut(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl<S> Layer<S> for ETagLayer {
    type Service = ETagService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ETagService::new(inner, Arc::clone(&self.rules))
    }
}

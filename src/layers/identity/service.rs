use super::{IdentityFuture, layer::Derive};
use crate::{
    identity::{Identity, IdentityEstablished, IdentityUnknown},
    outcome::Bypass,
    request_stats::RequestStats,
    seldom::Seldom,
};
use http::{Extensions, Request, Response};
use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::LazyLock,
    task::{Context, Poll},
};
use tower_service::Service;

/// Derives the identity of each request. Made by [`IdentityLayer`](super::IdentityLayer).
///
/// ```
/// # use axum::body::Body;
/// # use http::{Request, Response};
/// # use larder::{Identity, IdentityLayer, IdentityService};
/// # use std::convert::Infallible;
/// # use tower::{Layer, Service, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// // What stands further in finds it in the extensions.
/// let service = service_fn(|request: Request<Body>| async move {
///     Ok::<_, Infallible>(Response::new(request.extensions().get::<Identity>().cloned()))
/// });
/// let layer = IdentityLayer::from_fn(|_| Some(Identity::new().with_user(42)));
/// let mut known: IdentityService<_> = layer.layer(service);
/// let response = known.ready().await?.call(Request::new(Body::empty())).await?;
/// assert_eq!(response.into_body(), Some(Identity::new().with_user(42)));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct IdentityService<S> {
    inner: S,
    derive: Derive,
}

impl<S> IdentityService<S> {
    pub(super) fn new(inner: S, derive: Derive) -> Self {
        Self { inner, derive }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for IdentityService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = IdentityFuture<S, ReqBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if let Some(identity) = warmed_for(request.extensions()) {
            return IdentityFuture::calling(self.inner.call(request), IdentityEstablished(Some(identity)));
        }
        let (parts, body) = request.into_parts();
        match &self.derive {
            Derive::Now(derive) => {
                let derived = catch_unwind(AssertUnwindSafe(|| derive(&parts))).unwrap_or(Err(PANICKED));
                let mut request = Request::from_parts(parts, body);
                let established = establish(&mut request, derived);
                IdentityFuture::calling(self.inner.call(request), established)
            }
            Derive::Later(derive) => match catch_unwind(AssertUnwindSafe(|| derive(&parts))) {
                Ok(deriving) => {
                    // The instance that is ready goes with the request, its clone stays.
                    let clone = self.inner.clone();
                    let ready = mem::replace(&mut self.inner, clone);
                    IdentityFuture::deriving(deriving, ready, Request::from_parts(parts, body))
                }
                Err(_) => {
                    let mut request = Request::from_parts(parts, body);
                    let established = establish(&mut request, Err(PANICKED));
                    IdentityFuture::calling(self.inner.call(request), established)
                }
            },
        }
    }
}

/// For whom a warmer asks: its requests bring no credentials that an identity could be derived from.
fn warmed_for(extensions: &Extensions) -> Option<Identity> {
    RequestStats::of(extensions)?.warm()?;
    extensions.get().cloned()
}

/// Puts what is known of the one who asks into the request, and gives it back for the response.
pub(super) fn establish<B>(
    request: &mut Request<B>,
    derived: Result<Option<Identity>, IdentityUnknown>,
) -> IdentityEstablished {
    match derived {
        Ok(identity) => {
            if let Some(identity) = &identity {
                request.extensions_mut().insert(identity.clone());
            }
            IdentityEstablished(identity)
        }
        Err(unknown) => {
            let reason = unknown.0.as_str();
            if UNKNOWN.is_time() {
                tracing::warn!(target: "larder::identity", reason, "nobody knows who asks; the request bypasses the cache");
            }
            request.extensions_mut().insert(unknown);
            IdentityEstablished(None)
        }
    }
}

/// When that was said: clients can bring it about.
static UNKNOWN: LazyLock<Seldom> = LazyLock::new(Seldom::default);

/// The closure that derives the identity has panicked.
pub(super) const PANICKED: IdentityUnknown = IdentityUnknown(Bypass::CallbackPanicked);

impl<S: fmt::Debug> fmt::Debug for IdentityService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

use super::IdentityService;
use crate::{
    identity::{Identity, IdentityUnknown},
    outcome::Bypass,
};
use http::{HeaderName, request::Parts};
use std::{borrow::Cow, fmt, future::Future, pin::Pin, sync::Arc};
use tower_layer::Layer;

/// Derives the [`Identity`] of each request and puts it into its extensions, for the cache further in.
///
/// It belongs inside of the layer that authenticates and outside of every [`CacheLayer`](crate::CacheLayer). In the wrong
/// order nothing is stored, and `identity-after-cache` is counted.
///
/// ```
/// use larder::{Identity, IdentityLayer};
///
/// #[derive(Clone)]
/// struct Claims { organisation: u64, subject: String }
///
/// let layer = IdentityLayer::from_fn(|request| {
///     let claims = request.extensions.get::<Claims>()?;
///     Some(Identity::new().with_tenant(claims.organisation).with_user(&claims.subject))
/// });
/// # let _ = layer;
/// ```
///
/// Without an identity (`None`) a request is anonymous. Where the closure panics, nobody knows who is asking: the
/// request is answered, and bypasses the cache.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct IdentityLayer {
    derive: Derive,
}

#[derive(Clone)]
pub(super) enum Derive {
    Now(Arc<DeriveNow>),
    Later(Arc<DeriveLater>),
}

type DeriveNow = dyn Fn(&Parts) -> Result<Option<Identity>, IdentityUnknown> + Send + Sync;
type DeriveLater = dyn Fn(&Parts) -> Deriving + Send + Sync;

pub(super) type Deriving = Pin<Box<dyn Future<Output = Option<Identity>> + Send>>;

impl IdentityLayer {
    /// By a closure over the request.
    pub fn from_fn(derive: impl Fn(&Parts) -> Option<Identity> + Send + Sync + 'static) -> Self {
        Self { derive: Derive::Now(Arc::new(move |parts| Ok(derive(parts)))) }
    }

    /// By a closure that has to wait, for a session store for example. It takes what it needs from the request, and
    /// returns a future that does not borrow it.
    ///
    /// ```
    /// # use larder::{Identity, IdentityLayer};
    /// let layer = IdentityLayer::from_async_fn(|request| {
    ///     let session = request.extensions.get::<u64>().copied();
    ///     async move { Some(Identity::new().with_user(session?)) }
    /// });
    /// # let _ = layer;
    /// ```
    pub fn from_async_fn<F>(derive: impl Fn(&Parts) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Option<Identity>> + Send + 'static,
    {
        Self { derive: Derive::Later(Arc::new(move |parts| Box::pin(derive(parts)))) }
    }

    /// From what authentication has put into the extensions.
    ///
    /// ```
    /// use larder::{Identity, IdentityLayer};
    ///
    /// #[derive(Clone)]
    /// struct Claims { tenant: u64, user: u64 }
    ///
    /// impl From<&Claims> for Identity {
    ///     fn from(claims: &Claims) -> Self {
    ///         Self::new().with_tenant(claims.tenant).with_user(claims.user)
    ///     }
    /// }
    ///
    /// let layer = IdentityLayer::from_extension::<Claims>();
    /// # let _ = layer;
    /// ```
    pub fn from_extension<T>() -> Self
    where
        T: Clone + Send + Sync + 'static,
        for<'a> Identity: From<&'a T>,
    {
        Self::from_fn(|parts| parts.extensions.get::<T>().map(Identity::from))
    }

    /// From fields that a proxy in front sets, and removes where clients send them: attribute name and field name. This
    /// trusts the fields: where clients reach the application without that proxy, anybody can be anybody.
    ///
    /// A field that is sent twice, or is not visible ASCII, leaves it unclear who asks: the request bypasses the cache
    /// (`identity-unclear`).
    ///
    /// ```
    /// # use larder::IdentityLayer;
    /// use http::HeaderName;
    /// let layer = IdentityLayer::from_trusted_headers([
    ///     ("tenant", HeaderName::from_static("x-auth-tenant")),
    ///     ("user", HeaderName::from_static("x-auth-user")),
    /// ]);
    /// # let _ = layer;
    /// ```
    pub fn from_trusted_headers<N>(fields: impl IntoIterator<Item = (N, HeaderName)>) -> Self
    where
        N: Into<Cow<'static, str>>,
    {
        let fields: Vec<_> = fields.into_iter().map(|(attribute, field)| (attribute.into(), field)).collect();
        let derive = move |parts: &Parts| {
            let mut identity = Identity::new();
            for (attribute, field) in &fields {
                let mut lines = parts.headers.get_all(field).iter();
                let Some(line) = lines.next() else { continue };
                // A handler that reads the field itself might take it for somebody.
                let value = line.to_str().ok().filter(|_| lines.next().is_none());
                let value = value.ok_or(IdentityUnknown(Bypass::IdentityUnclear))?;
                identity = identity.with(attribute.clone(), value);
            }
            Ok((!identity.is_empty()).then_some(identity))
        };
        Self { derive: Derive::Now(Arc::new(derive)) }
    }
}

impl<S> Layer<S> for IdentityLayer {
    type Service = IdentityService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        IdentityService::new(inner, self.derive.clone())
    }
}

impl fmt::Debug for IdentityLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityLayer").finish_non_exhaustive()
    }
}

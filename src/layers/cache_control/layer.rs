use super::{
    CacheControlService,
    media_range::MediaRange,
    rules::{Rules, Statuses, Value},
};
use crate::{CacheControl, clock::Clock};
use http::HeaderName;
use std::{fmt, sync::Arc};
use tower_layer::Layer;

/// Sets `Cache-Control` on the responses of the inner service, for browsers and CDNs.
///
/// ```
/// use http::StatusCode;
/// use larder::{CacheControl, CacheControlLayer};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let layer = CacheControlLayer::new(CacheControl::public(10 * minute))
///     .for_content_type("image/*", CacheControl::static_data())
///     .for_status(StatusCode::NOT_FOUND, CacheControl::private(minute))
///     .vary(["accept-language"]);
/// # let _ = layer;
/// ```
///
/// # Which value
///
/// The first of these that there is:
///
/// 1. The value for the status code ([`for_status`](Self::for_status)).
/// 2. For 2xx: the value for the content type, the exact one before `type/*` ([`for_content_type`](Self::for_content_type)).
/// 3. The value for the class of the status.
/// 4. The layer's own, but not for errors.
///
/// A 206 or 304 without a value of its own gets that of the 200 it stands for; where there are content types and a 304
/// does not tell its own, it gets none, and who asked keeps what the 200 said.
///
/// A value that lets anybody use a response again without asking goes only to the answers to GET, HEAD and QUERY.
/// `no-store` and `no-cache` go to the answers to all methods, and where they are the layer's own to errors too.
///
/// # What it leaves alone
///
/// A response with a `Cache-Control` or an `Expires` of its own is the handler's, unless the layer is to
/// [`overwrite`](Self::overwrite) it: no field that says how long is added to it either. Nothing that a request says is
/// ever repeated.
///
/// # What never becomes public
///
/// `public` turns into `private` and `s-maxage` goes, for caches on the way are shared, if
///
/// 1. the request had credentials: `Authorization`, `Proxy-Authorization`, `Cookie`, an API key, or
///    what a proxy tells of the user ([the names](crate::Policy::credential_headers)), a field named as one
///    ([`credential_headers`](Self::credential_headers)), or an [`Identity`](crate::Identity);
/// 2. the response has `Set-Cookie`;
/// 3. the response is an error (4xx, 5xx);
/// 4. an [`IdentityLayer`](crate::IdentityLayer) stands inside of this layer, which then cannot tell who asked;
/// 5. it overwrites what the handler has called `private` or `no-store`, or said in a way that cannot be read.
///
/// `CDN-Cache-Control` and `Surrogate-Control` are then left off, but for `private` and `no-store`.
///
/// # A cache further out
///
/// To a [`CacheLayer`](crate::CacheLayer) outside of this layer, lifetimes, `public` and `s-maxage` that this layer writes
/// say nothing: they are for browsers and CDNs, and the policy decides. A value that is `private`, `no-store` or
/// `no-cache` holds for that cache too, unless it is private only because of the one who asked. To keep such a response
/// for longer than browsers may, put this layer outside.
///
/// What is made public may be given to everybody, also to those who send credentials: a page that looks different to
/// users who are signed in needs a private value, or `.vary(["cookie"])`.
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CacheControlLayer {
    rules: Arc<Rules>,
}

impl CacheControlLayer {
    /// A layer that sets this value.
    pub fn new(value: CacheControl) -> Self {
        Self { rules: Arc::new(Rules::new(value)) }
    }

    /// Another value for a status or a class of them, errors included. Of two for the same statuses the later counts.
    pub fn for_status(mut self, statuses: impl Into<Statuses>, value: CacheControl) -> Self {
        self.rules_mut().statuses.insert(0, (statuses.into(), Value::new(value)));
        self
    }

    /// Another value for 2xx responses with a content type: `image/png`, or all that are `image/*`. Of two for the same
    /// type the later counts.
    ///
    /// # Panics
    ///
    /// If it is no such type.
    pub fn for_content_type(mut self, range: &str, value: CacheControl) -> Self {
        let Some(range) = MediaRange::parse(range) else {
            panic!("a content type is type/subtype or type/*, not {range:?}")
        };
        self.rules_mut().types.insert(0, (range, Value::new(value)));
        self
    }

    /// Adds these names to `Vary`, on every response. Put the layer inside of a [`CacheLayer`](crate::CacheLayer) then,
    /// so that the cache learns of them too.
    ///
    /// # Panics
    ///
    /// If one is no field name.
    pub fn vary<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.rules_mut().vary.extend(names.into_iter().map(|name| field_name(&name)));
        self
    }

    /// Adds `Expires`, for caches that know HTTP/1.0 only. Since these may be shared, what is not public has expired.
    pub fn expires(mut self) -> Self {
        self.rules_mut().expires = Some(Clock::system());
        self
    }

    /// Adds `CDN-Cache-Control` (RFC 9213), which CDNs obey in place of `Cache-Control`. It goes with the layer's own
    /// value, not with those for a status or content type.
    pub fn cdn(mut self, value: CacheControl) -> Self {
        self.rules_mut().cdn = Some(Value::new(value));
        self
    }

    /// Adds `Surrogate-Control`, which a surrogate in front obeys in place of `Cache-Control`, as [`cdn`](Self::cdn)
    /// does for CDNs.
    pub fn surrogate(mut self, value: CacheControl) -> Self {
        self.rules_mut().surrogate = Some(Value::new(value));
        self
    }

    /// In place of what the handler has set. What it called `private` or `no-store` does not become public by it.
    pub fn overwrite(mut self) -> Self {
        self.rules_mut().overwrite = true;
        self
    }

    /// Further request fields that are credentials, `x-session` for example.
    ///
    /// # Panics
    ///
    /// If one is no field name.
    pub fn credential_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.rules_mut().credentials.extend(names.into_iter().map(|name| field_name(&name)));
        self
    }

    fn rules_mut(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.rules)
    }
}

impl<S> Layer<S> for CacheControlLayer {
    type Service = CacheControlService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CacheControlService::new(inner, Arc::clone(&self.rules))
    }
}

fn field_name<N: TryInto<HeaderName> + fmt::Display + Clone>(name: &N) -> HeaderName {
    match name.clone().try_into() {
        Ok(name) => name,
        Err(_) => panic!("{name} is no field name"),
    }
}

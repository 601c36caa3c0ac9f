//! What a policy says of who shares, and of what the handler sees.

use super::{Cookies, Policy};
use crate::{
    identity::{Identity, Scope, TENANT, USER},
    semantics::storable::SetCookie,
};
use http::HeaderName;
use std::{borrow::Cow, fmt, sync::Arc};

/// Who shares. A policy that says nothing keys on the whole [`Identity`] of an identified request; requests without one
/// share. Where a scope is named and the request lacks it, the request bypasses the cache (`identity-missing`).
///
/// The tenant is part of every scope but [`shared`](Policy::shared), if the identity has one.
impl Policy {
    /// Everyone shares, whoever asks. The rules for cookies and credentials hold.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Identity, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, identity: Identity| {
    /// #     let parts = http::Request::get("/").extension(identity).body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let (ann, bob) = (Identity::new().with_tenant(1).with_user(1), Identity::new().with_tenant(1).with_user(2));
    /// let elsewhere = Identity::new().with_tenant(2).with_user(1);
    /// assert_eq!(key(minute.clone().shared(), ann), key(minute.shared(), elsewhere));
    /// # let _ = bob;
    /// ```
    pub fn shared(mut self) -> Self {
        self.scope = Scope::Shared;
        self
    }

    /// The users of a tenant share.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Identity, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, identity: Identity| {
    /// #     let parts = http::Request::get("/").extension(identity).body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let (ann, bob) = (Identity::new().with_tenant(1).with_user(1), Identity::new().with_tenant(1).with_user(2));
    /// assert_eq!(key(minute.clone().per_tenant(), ann), key(minute.per_tenant(), bob));
    /// ```
    pub fn per_tenant(self) -> Self {
        self.per([TENANT])
    }

    /// Each user, within the tenant, has their own.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Identity, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, identity: Identity| {
    /// #     let parts = http::Request::get("/").extension(identity).body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let (ann, bob) = (Identity::new().with_tenant(1).with_user(1), Identity::new().with_tenant(1).with_user(2));
    /// assert_ne!(key(minute.clone().per_user(), ann), key(minute.clone().per_user(), bob));
    /// assert_eq!(key(minute.per_user(), Identity::new()), None); // whose it is nobody knows: it passes by the cache
    /// ```
    pub fn per_user(self) -> Self {
        self.per([USER])
    }

    /// Those who have the same values of these attributes share, within their tenant.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let menu = Policy::fresh_for(Duration::from_secs(600)).per(["role", "language"]);
    /// # let _ = menu;
    /// ```
    pub fn per<N: Into<Cow<'static, str>>>(mut self, attributes: impl IntoIterator<Item = N>) -> Self {
        let mut names: Vec<_> = attributes.into_iter().map(Into::into).collect();
        names.sort();
        names.dedup();
        self.scope = Scope::Attributes(names);
        self
    }

    /// Those for whom the closure says the same share, within their tenant: users with the same entitlements, for
    /// example. `None` bypasses.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let menu = Policy::fresh_for(Duration::from_secs(600)).per_context(|identity| {
    ///     let permissions: Vec<_> = identity.values("permission").collect();
    ///     (!permissions.is_empty()).then(|| permissions.join("\n"))
    /// });
    /// # let _ = menu;
    /// ```
    pub fn per_context(mut self, context: impl Fn(&Identity) -> Option<String> + Send + Sync + 'static) -> Self {
        self.scope = Scope::Context(Arc::new(context));
        self
    }
}

/// What may be shared.
impl Policy {
    /// Requests with cookies are treated like those without: nothing that the handler answers depends on a cookie.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // Public pages: the cookies are those of analytics, and the handler reads none of them.
    /// let pages = Policy::fresh_for(Duration::from_secs(600)).shared().ignore_cookies().sealed(); // sealed: nor can it
    /// # let _ = pages;
    /// ```
    pub fn ignore_cookies(mut self) -> Self {
        self.cookies = Cookies::Ignore;
        self
    }

    /// Responses that set a cookie are stored without it. Default: they are not stored.
    pub fn strip_set_cookie(mut self) -> Self {
        self.store.set_cookie = SetCookie::Strip;
        self
    }

    /// Further request fields that say who asks, such as `x-session`: they count as `Authorization` does. So do the
    /// following without being named, unless the policy keys on them ([`key_headers`](Policy::key_headers); a
    /// [`key_part`](Policy::key_part) made of one does not count).
    ///
    /// * Keys and tokens: `X-Api-Key`, `Api-Key`, `Apikey`, `X-Auth-Token`, `X-Access-Token`, `X-Session-Token`,
    ///   `Private-Token`.
    /// * Certificates: `Client-Cert`, `X-Client-Cert`, `X-Ssl-Client-Cert`, `X-Ssl-Client-S-Dn`, `X-Ssl-Client-Verify`
    ///   (but for `NONE`).
    /// * What a proxy that authenticates tells of the user: `Remote-User`, `X-Remote-User`, `X-Webauth-User`,
    ///   `X-Auth-Request-User`, `-Email`, `-Preferred-Username` and `-Access-Token`, `X-Goog-Authenticated-User-Email` and
    ///   `-Id`, `X-Goog-Iap-Jwt-Assertion`, `X-Ms-Client-Principal`, `-Id` and `-Name`, `Cf-Access-Jwt-Assertion`,
    ///   `Cf-Access-Authenticated-User-Email`, `X-Amzn-Oidc-Data`, `-Identity` and `-Accesstoken`.
    ///
    /// `X-Forwarded-User`, `-Email`, `-Preferred-Username` and `-Access-Token` are always part of the key.
    pub fn credential_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.credential_headers = self.header_names("credential_headers", names);
        self
    }
}

/// What the handler sees.
impl Policy {
    /// The handler sees only the request fields that are part of the key, and those of
    /// [`allow_headers`](Policy::allow_headers), and only the part of the [`Identity`] that is: what is not keyed cannot
    /// shape a stored response. Recommended wherever responses are shared.
    ///
    /// Always visible: `Host`, `Accept-Encoding` in its normal form, ranges and conditions, `Traceparent`, `Tracestate`.
    /// Other things in the extensions of the request stay there.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let products = Policy::fresh_for(Duration::from_secs(600)).per_tenant().key_headers(["x-currency"]).sealed();
    /// # let _ = products;
    /// ```
    pub fn sealed(mut self) -> Self {
        self.sealed = true;
        self
    }

    /// Request fields that a handler sees although the request is [`sealed`](Policy::sealed). What it answers must not
    /// depend on them, unless it names them in `Vary`.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // What the handler writes into its log, and nowhere else.
    /// let products = Policy::fresh_for(Duration::from_secs(600)).per_tenant().sealed().allow_headers(["x-request-id"]);
    /// # let _ = products;
    /// ```
    pub fn allow_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.allowed_headers = self.header_names("allow_headers", names);
        self
    }

    pub(super) fn visible_headers(&self) -> Vec<HeaderName> {
        let mut visible: Vec<_> = ALWAYS_VISIBLE.into_iter().map(HeaderName::from_static).collect();
        visible.extend(self.allowed_headers.iter().chain(&self.key.headers).cloned());
        if !self.key.cookies.is_empty() {
            visible.push(http::header::COOKIE);
        }
        if !self.key.languages.is_empty() {
            visible.push(http::header::ACCEPT_LANGUAGE);
        }
        visible
    }
}

/// What a handler sees of a sealed request: what is keyed by nature, what asks for a part or a check of the same response,
/// and what tracing needs.
const ALWAYS_VISIBLE: [&str; 10] = [
    "host",
    "accept-encoding",
    "range",
    "if-range",
    "if-none-match",
    "if-modified-since",
    "if-match",
    "if-unmodified-since",
    "traceparent",
    "tracestate",
];

//! What a policy says of keys.

use super::{Cookies, Policy, PolicyError};
use crate::key::{CustomPart, QueryRule, UtcOffset};
use http::{HeaderName, Method, Uri, request::Parts};
use std::{borrow::Cow, fmt, sync::Arc};

/// What tells responses apart.
impl Policy {
    /// The version of what the route answers: another one starts empty.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// assert_ne!(key(minute.clone().version("2"), "/", &[]), key(minute, "/", &[]));
    /// ```
    pub fn version(mut self, version: impl Into<Cow<'static, str>>) -> Self {
        self.version = Some(version.into());
        self
    }

    /// The methods that are cached, of GET and HEAD. Default: both. HEAD is answered from stored responses to GET.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Requests with these methods are cached, and their content is part of the key: its bytes, its type and its coding.
    /// For methods that ask and change nothing, as the operator knows: QUERY, or a POST that searches.
    ///
    /// The layer needs [`rebuild_body`](crate::CacheLayer::rebuild_body). Longer content than
    /// [`max_content`](Policy::max_content) bypasses; the inner service gets every byte either way.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// use axum::{Router, body::Body, routing::post};
    /// use http::Method;
    ///
    /// let search = Policy::fresh_for(Duration::from_secs(60)).key_body([Method::POST]).max_content(16 << 10);
    /// let app: Router = Router::new()
    ///     .route("/search", post(|filter: String| async move { format!("what fits {filter}") }))
    ///     .layer(CacheLayer::new(&cache, search).rebuild_body(Body::new));
    /// ```
    pub fn key_body(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.content_methods = methods.into_iter().collect();
        self
    }

    /// Unary gRPC calls are cached: their message is part of the key, and only answers with `grpc-status: 0` are stored,
    /// trailers included. For calls that ask and change nothing.
    ///
    /// The layer needs [`rebuild_body`](crate::CacheLayer::rebuild_body). Not for routes with calls that stream messages
    /// to the server: those are read to their end before anybody answers.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # use axum::body::Body;
    /// # let cache = Cache::in_memory(1 << 20);
    /// // For `tonic::transport::Server::builder().layer(..)`, with tonic's body in place of axum's.
    /// let calls = Policy::fresh_for(Duration::from_secs(60)).grpc();
    /// let rates = CacheLayer::new(&cache, calls).rebuild_body::<Body>(Body::new);
    /// # let _ = rates;
    /// ```
    pub fn grpc(mut self) -> Self {
        self.grpc = true;
        self
    }

    /// Only these query parameters count. The others are no part of the key, and the handler does not see them.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let lists = Policy::fresh_for(Duration::from_secs(60)).query_only(["page", "sort"]); // and no `utm_source`
    /// # let _ = lists;
    /// ```
    pub fn query_only<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.query("query_only", QueryRule::Only(names))
    }

    /// All query parameters count but these, which the handler does not see.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let policy = minute.query_except(["utm_source", "utm_medium"]);
    /// assert_eq!(key(policy.clone(), "/?page=2&utm_source=mail", &[]), key(policy, "/?page=2", &[]));
    /// ```
    pub fn query_except<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.query("query_except", QueryRule::Except(names))
    }

    /// The query does not count, and the handler does not see it.
    pub fn ignore_query(self) -> Self {
        self.query("ignore_query", QueryRule::None)
    }

    /// The order of query parameters does not count. Values of one name stay in their order.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let policy = minute.sort_query();
    /// assert_eq!(key(policy.clone(), "/?sort=name&page=2", &[]), key(policy, "/?page=2&sort=name", &[]));
    /// ```
    pub fn sort_query(mut self) -> Self {
        self.key.sort_query = true;
        self
    }

    /// These request fields are part of the key, all lines in order.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let policy = minute.key_headers(["x-currency"]);
    /// assert_ne!(key(policy.clone(), "/", &[("x-currency", "EUR")]), key(policy, "/", &[("x-currency", "USD")]));
    /// ```
    pub fn key_headers<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.key.headers = self.header_names("key_headers", names);
        self.key.headers.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        self.key.headers.dedup();
        self
    }

    /// This query parameter has one of these values, or the request bypasses.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let trends = Policy::fresh_for(Duration::from_secs(900)).query_values("days", ["7", "30", "90", "365"]);
    /// # let _ = trends;
    /// ```
    pub fn query_values<V: Into<String>>(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let name = name.into();
        self.key.query_values.retain(|(of, _)| *of != name);
        self.key.query_values.push((name, values.into_iter().map(Into::into).collect()));
        self
    }

    /// These cookies are part of the key, and the only ones that the handler sees. A request with others does not
    /// bypass.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let policy = minute.key_cookies(["theme"]);
    /// let with = |cookies: &str| key(policy.clone(), "/", &[("cookie", cookies)]);
    /// assert_ne!(with("theme=dark"), with("theme=light"));
    /// assert_eq!(with("theme=dark; visits=7"), with("theme=dark")); // and the handler does not see the visits
    /// ```
    pub fn key_cookies<N: Into<String>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.key.cookies = names.into_iter().map(Into::into).collect();
        if self.key.cookies.is_empty() {
            let fault = "key_cookies([]) names no cookie: leave it out, or use ignore_cookies()";
            self.faults.push(PolicyError::new(fault));
        }
        self.cookies = Cookies::Ignore;
        self
    }

    /// The best of these languages for the client's `Accept-Language` is part of the key, and is what the handler sees
    /// there. The first is for clients that want none of them.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// # let minute = Policy::fresh_for(Duration::from_secs(60));
    /// # let key = |policy: Policy, uri: &str, fields: &[(&'static str, &str)]| {
    /// #     let mut request = http::Request::get(uri).header("host", "shop.example");
    /// #     for (name, value) in fields {
    /// #         request = request.header(*name, *value);
    /// #     }
    /// #     let parts = request.body(()).unwrap().into_parts().0;
    /// #     CacheLayer::new(&cache, policy).explain(&parts).key().map(str::to_owned)
    /// # };
    /// let policy = minute.key_language(["en", "de"]);
    /// let of = |accepts: &str| key(policy.clone(), "/", &[("accept-language", accepts)]);
    /// assert_eq!(of("de-AT,de;q=0.9"), of("de"));
    /// assert_eq!(of("fr"), of("en")); // the first is for those who want none of them
    /// ```
    pub fn key_language<L: Into<String>>(mut self, spoken: impl IntoIterator<Item = L>) -> Self {
        self.key.languages = spoken.into_iter().map(Into::into).collect();
        self
    }

    /// The content codings that the client accepts are part of the key, in their normal form. Needed only for handlers
    /// that compress and do not say `Vary: Accept-Encoding`; coded responses are kept apart anyway.
    pub fn key_encoding(mut self) -> Self {
        self.key.codings = true;
        self
    }

    /// The day is part of the key, by the calendar of this zone: what was stored yesterday is not served today.
    ///
    /// ```
    /// # use larder::{CacheLayer, Policy, UtcOffset, test_util};
    /// # use std::time::Duration;
    /// # let (cache, clock) = test_util::cache();
    /// # let (parts, ()) = http::Request::new(()).into_parts();
    /// let attendance = Policy::fresh_for(Duration::from_secs(3600)).key_date(UtcOffset::hours(1));
    /// let layer = CacheLayer::new(&cache, attendance);
    /// let key = || layer.explain(&parts).key().map(str::to_owned);
    /// let today = key();
    /// clock.advance(Duration::from_secs(24 * 3600));
    /// assert_ne!(key(), today);
    /// ```
    pub fn key_date(mut self, zone: UtcOffset) -> Self {
        self.key.date = Some(zone);
        self
    }

    /// What the closure makes of the request is part of the key, under this name; `None` differs from everything else.
    ///
    /// A panic in the closure costs that request the cache, nothing else.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let policy = Policy::fresh_for(Duration::from_secs(60)).key_part("preview", |request| {
    ///     request.headers.contains_key("x-preview").then(|| "yes".to_owned())
    /// });
    /// # let _ = policy;
    /// ```
    pub fn key_part(
        mut self,
        name: impl Into<Cow<'static, str>>,
        value: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.key.custom.push(CustomPart { name: name.into(), value: Arc::new(value) });
        self
    }

    /// These fields in the `Vary` of responses do not count: the operator knows that the response does not depend on
    /// them. Fields that say who asks cannot be ignored.
    pub fn ignore_vary<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.ignored_vary = self.header_names("ignore_vary", names);
        self
    }

    /// The target URI as the client sent it, for frameworks that rewrite it before this layer sees it. With the feature
    /// `axum`, paths inside `Router::nest` are known without this.
    ///
    /// A panic in the closure costs that request the cache, nothing else.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use http::Uri;
    /// # use std::time::Duration;
    /// #[derive(Clone)]
    /// struct Original(Uri); // what the gateway's own middleware leaves in the extensions
    ///
    /// let policy = Policy::fresh_for(Duration::from_secs(60))
    ///     .uri(|request| request.extensions.get::<Original>().map_or(request.uri.clone(), |Original(uri)| uri.clone()));
    /// # let _ = policy;
    /// ```
    pub fn uri(mut self, uri: impl Fn(&Parts) -> Uri + Send + Sync + 'static) -> Self {
        self.uri = Some(Arc::new(uri));
        self
    }

    fn query(mut self, method: &'static str, rule: QueryRule) -> Self {
        if self.key.query != QueryRule::All && self.key.query != rule {
            self.faults.push(PolicyError::new(format!(
                "{method} on a policy that already says which query parameters count: use one of query_only, \
                 query_except and ignore_query"
            )));
        }
        self.key.query = rule;
        self
    }

    pub(super) fn header_names<N>(
        &mut self,
        method: &'static str,
        names: impl IntoIterator<Item = N>,
    ) -> Vec<HeaderName>
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        let mut parsed = Vec::new();
        for name in names {
            match name.clone().try_into() {
                Ok(name) => parsed.push(name),
                Err(_) => {
                    let fault = format!("{method}: `{name}` is no field name: use letters, digits and hyphens");
                    self.faults.push(PolicyError::new(fault));
                }
            }
        }
        parsed
    }
}

//! What a policy says of keys.

use super::{Cookies, Policy, PolicyError};
use crate::key::{CustomPart, QueryRule, UtcOffset};
use http::{HeaderName, Method, Uri, request::Parts};
use std::{borrow::Cow, fmt, sync::Arc};

/// What tells responses apart.
impl Policy {
    /// The version of what the route answers: another one starts empty.
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
    pub fn key_body(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.content_methods = methods.into_iter().collect();
        self
    }

    /// Unary gRPC calls are cached: their message is part of the key, and only answers with `grpc-status: 0` are stored,
    /// trailers included. For calls that ask and change nothing.
    ///
    /// The layer needs [`rebuild_body`](crate::CacheLayer::rebuild_body). Not for routes with calls that stream messages
    /// to the server: those are read to their end before anybody answers.
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
    pub fn query_except<N: Into<String>>(self, names: impl IntoIterator<Item = N>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.query("query_except", QueryRule::Except(names))
    }

    /// The query does not count, and the handler does not see it.
    pub fn ignore_query(self) -> Self {
        self.query("ignore_query", QueryRule::None)
    }

    /// The order of query parameters does not count. Values of one name stay in their order.
    pub fn sort_query(mut self) -> Self {
        self.key.sort_query = true;
        self
    }

    /// These request fields are part of the key, all lines in order.
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

//! What a policy says of how responses are invalidated together.

use super::Policy;
use crate::{identity::Scope, invalidation::Tags};
use http::{HeaderName, request::Parts};
use std::{borrow::Cow, fmt, sync::Arc};

/// The names by which responses are invalidated together.
impl Policy {
    /// Tags of every response ([`Selector::tag`](crate::Selector::tag)), beside those of the handler
    /// ([`Tags`]). Called again it adds to them.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// use larder::Selector;
    ///
    /// let products = Policy::fresh_for(Duration::from_secs(600)).tags(["products", "lists"]);
    /// let ends_them = Selector::tag("lists"); // and the lists of every other policy
    /// # let _ = (products, ends_them);
    /// ```
    pub fn tags<T: Into<Cow<'static, str>>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = self.tags.and(tags);
        self
    }

    /// Tags that depend on the request and the head of its answer.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let minute = Duration::from_secs(60);
    /// let policy = Policy::fresh_for(minute).tag_with(|request, _| [format!("page:{}", request.uri.path())]);
    /// # let _ = policy;
    /// ```
    ///
    /// A closure that panics costs its own response alone: it is not stored.
    pub fn tag_with<I>(mut self, tags: impl Fn(&Parts, &http::response::Parts) -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Cow<'static, str>>,
    {
        self.tag_with = Some(Arc::new(move |request, answer| Tags::new(tags(request, answer))));
        self
    }

    /// The field of responses that lists tags, between commas or blanks, such as `Cache-Tag` or `Surrogate-Key`. It is
    /// taken off what clients get. Default: none; handlers in the same process use [`Tags`].
    pub fn tag_header<N>(mut self, name: N) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.tag_header = self.header_names("tag_header", [name]).pop();
        self
    }

    /// The names of what responses are made of, models for instance: [`Cache::changed`](crate::Cache::changed) with such a
    /// name invalidates them. Called again it adds to them.
    ///
    /// ```
    /// # use larder::{Cache, Policy};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// let dashboards = Policy::named("dashboard").fresh_for(Duration::from_secs(600)).depends_on(["People", "Asset"]);
    /// // When one of them has changed:
    /// cache.changed("People").tenant(1).id(17).await?;
    /// # let _ = dashboards;
    /// # Ok(()) }
    /// ```
    pub fn depends_on<N: Into<Cow<'static, str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        for name in names {
            let name = name.into();
            if !self.depends_on.contains(&name) {
                self.depends_on.push(name);
            }
        }
        self
    }

    pub(crate) fn depends_on_names(&self) -> Vec<String> {
        self.depends_on.iter().map(ToString::to_string).collect()
    }

    /// The fields that hold credentials, beside those that everybody knows.
    pub(crate) fn credential_names(&self) -> &[HeaderName] {
        &self.credential_headers
    }

    pub(crate) fn tag_names(&self) -> Vec<String> {
        self.tags.names().map(ToString::to_string).collect()
    }

    /// Whether the whole identity is a part of keys.
    pub(crate) fn keys_on_everybody(&self) -> bool {
        matches!(self.scope, Scope::Whole)
    }
}

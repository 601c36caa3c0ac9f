//! What a policy says of hits that are verified.

use super::Policy;
use http::HeaderName;
use std::fmt;

/// Verifying: whether hits are what the inner service would have answered.
impl Policy {
    /// Of so many fresh hits of GET, a fraction above 0 and at most 1, the inner service is asked too, in the background, and
    /// what it answers is compared with what was served; never stored. What differs is counted
    /// ([`Stats::mismatched`](crate::Stats::mismatched)) and told by [`Cache::mismatches`](crate::Cache::mismatches), with what
    /// the request has that is not in the key. Default: none.
    ///
    /// The inner service sees the request as the client sent it, cookies and identity included, also what it does not see of
    /// a request that fills. Ranges and conditions are left out. A handler that does something beside answering does it then too.
    /// Verifying takes the place of a fill in the background, under the same limits; where there is no place, it is left out.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let products = Policy::fresh_for(Duration::from_secs(600)).shared().verify(0.01);      // one of a hundred hits
    /// # let _ = products;
    /// ```
    pub fn verify(mut self, fraction: f64) -> Self {
        self.verify = Some(fraction);
        self
    }

    /// Further response fields that may differ when a hit is [verified](Policy::verify). Those that always may: `Age`,
    /// `Cache-Status`, `Content-Length` (the content is compared itself), `Date`, `Expires`, `Server-Timing`, `Set-Cookie`,
    /// `Traceparent`, `Tracestate`, ids of requests (`X-Request-Id` and its like), and times of answers (`X-Runtime`,
    /// `X-Response-Time`).
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// // Each process of the application signs what it answers.
    /// let products = Policy::fresh_for(Duration::from_secs(600)).verify(0.01).verify_ignoring(["x-served-by"]);
    /// # let _ = products;
    /// ```
    pub fn verify_ignoring<N>(mut self, names: impl IntoIterator<Item = N>) -> Self
    where
        N: TryInto<HeaderName> + fmt::Display + Clone,
    {
        self.verify_ignored = self.header_names("verify_ignoring", names);
        self
    }
}

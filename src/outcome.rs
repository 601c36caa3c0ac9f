//! What came of a request, in the words of RFC 9211, and every reason there is for it.

use crate::semantics::{storable::Refusal, target::Ambiguous};
use std::{fmt, sync::LazyLock};

/// What the cache did with a request.
///
/// ```
/// use larder::{Event, Observe, Outcome};
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
///
/// /// Counts the clients that got an old answer.
/// #[derive(Default)]
/// struct Old(AtomicU64);
///
/// impl Observe for Old {
///     fn observe(&self, event: &Event<'_>) {
///         if let Event::Request { outcome: Outcome::Stale, .. } = event {
///             self.0.fetch_add(1, Relaxed);
///         }
///     }
/// }
/// # use larder::{CacheLayer, Policy, test_util};
/// # use std::{sync::Arc, time::Duration};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let old = Arc::new(Old::default());
/// # let (cache, clock) = test_util::cache_with(larder::Cache::builder().observe(Arc::clone(&old))).unwrap();
/// # let minute = Duration::from_secs(60);
/// # let app = CacheLayer::new(&cache, Policy::fresh_for(minute).stale_while_revalidate(minute));
/// # let app = app.layer(service_fn(|_: http::Request<axum::body::Body>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
/// # }));
/// # for _ in 0..2 {
/// #     let response = app.clone().oneshot(http::Request::new(axum::body::Body::empty())).await.unwrap();
/// #     axum::body::to_bytes(axum::body::Body::new(response.into_body()), 1).await.unwrap();
/// #     clock.advance(minute);
/// # }
/// # assert_eq!(old.0.load(Relaxed), 1);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Served from the cache while fresh.
    Hit,
    /// Served from the cache although stale, as stale-while-revalidate, stale-if-error or the client allows.
    Stale,
    /// Served from the cache after the inner service said that it still holds.
    Revalidated,
    /// Answered with what the inner service said to another request, which was under way already.
    Collapsed,
    /// Answered by the inner service.
    Miss,
    /// Answered by the inner service, the cache took no part.
    Bypass,
}

/// Why a request neither reads nor fills the cache.
///
/// ```
/// use larder::Bypass;
/// # use larder::{Cache, CacheLayer, Policy};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # let policy = Policy::fresh_for(std::time::Duration::from_secs(60));
/// # let app = CacheLayer::new(&cache, policy).layer(service_fn(|_: http::Request<axum::body::Body>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
/// # }));
/// # let request = http::Request::get("/").header("cookie", "session=17").body(axum::body::Body::empty()).unwrap();
/// # app.oneshot(request).await.unwrap();
///
/// // A request with a cookie was here, and nobody has said whose it is.
/// let bypasses = cache.stats().bypasses;
/// assert_eq!(bypasses.get(Bypass::Cookie.as_str()), Some(&1));
/// assert_eq!(bypasses.get(Bypass::IdentityMissing.as_str()), None);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Bypass {
    /// A method that the policy does not cache.
    Method,
    /// An override of the method: `X-HTTP-Method-Override` and its like, or `_method` in the query.
    MethodOverride,
    /// The connection is to become another protocol.
    Upgrade,
    /// A GET or HEAD with content.
    Content,
    /// No policy of the table fits.
    NoPolicy,
    /// The path can be read in two ways, so it is not clear which policy of the table is meant.
    AmbiguousPath,
    /// The content is part of the key, and longer than the policy allows, or broken off, or has trailers.
    ContentTooLong,
    /// It is not clear which resource is meant.
    Ambiguous(Ambiguous),
    /// `X-Original-URL`, `X-Rewrite-URL` or `X-Rewrite-URI`: some frameworks serve another path than the one that was asked for.
    RewrittenUrl,
    /// A `Cookie`, in a policy that neither ignores nor keys on it.
    Cookie,
    /// `If-Match` or `If-Unmodified-Since`: only the inner service can tell.
    Precondition,
    /// The policy keys on a part of the identity that the request lacks.
    IdentityMissing,
    /// A trusted field that says who asks is sent twice, or cannot be read.
    IdentityUnclear,
    /// A query parameter has none of the values that the policy lists.
    QueryValue,
    /// A predicate of the policy said so.
    Policy,
    /// The key would be longer than the policy allows.
    KeyTooLong,
    /// Another value has its name, and is of another type or says something else of itself.
    ValueConflict,
    /// A closure of the application panicked.
    CallbackPanicked,
}

/// Why the answer of the inner service is not in the cache.
///
/// ```
/// use larder::{NotStored, semantics::storable::Refusal};
/// # use larder::{Cache, CacheLayer, Policy};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// # let policy = Policy::fresh_for(std::time::Duration::from_secs(60));
/// # let app = CacheLayer::new(&cache, policy).layer(service_fn(|_: http::Request<axum::body::Body>| async {
/// #     let answer = http::Response::builder().header("set-cookie", "seen=1").body(axum::body::Body::empty());
/// #     Ok::<_, std::convert::Infallible>(answer.unwrap())
/// # }));
/// # app.oneshot(http::Request::new(axum::body::Body::empty())).await.unwrap();
///
/// // A handler has set a cookie in what should be stored.
/// let not_stored = cache.stats().not_stored;
/// assert_eq!(not_stored.get(NotStored::Refused(Refusal::SetCookie).as_str()), Some(&1));
/// assert_eq!(not_stored.get(NotStored::TooLarge.as_str()), None);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotStored {
    /// Head of the response: see the reason.
    Refused(Refusal),
    /// The body is longer than the policy allows.
    TooLarge,
    /// The body broke off with an error.
    BodyFailed,
    /// The client went away before the body had ended.
    Abandoned,
    /// The body is not as long as was declared.
    WrongLength,
    /// It was invalidated while it was being made.
    Invalidated,
    /// A younger answer is stored already.
    Superseded,
    /// It does not fit into the memory tier.
    NoRoom,
    /// A predicate of the policy said so, or what it says of the lifetime has passed.
    Policy,
    /// A closure of the application panicked.
    CallbackPanicked,
    /// `Connection` in the request names a field of the response's `Vary`: the inner service has not seen it.
    Connection,
    /// A gRPC call that did not succeed.
    GrpcStatus,
    /// The handler put a policy into the extensions of its answer that cannot be followed: it names what tells requests
    /// apart, or contradicts itself.
    HandlerPolicy,
    /// A layer of the same cache further in, with another policy, has taken care of it.
    InnerPolicy,
    /// The resource has not been asked for as often as the policy wants.
    TooFewUses,
    /// It has more than 64 tags, or one of more than 256 bytes.
    TooManyTags,
    /// The policy only observes.
    ObserveOnly,
    /// The identity in the key has so many values that the response could be invalidated in over 1024 ways.
    IdentityTooLarge,
    /// An identity was established inside of the cache, too late to be part of the key: the identity layer belongs
    /// outside.
    IdentityAfterCache,
}

impl Outcome {
    /// The outcome as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
        }
    }
}

impl Bypass {
    pub(crate) const ALL: [Self; 21] = [
        Self::Method,
        Self::MethodOverride,
        Self::Upgrade,
        Self::Content,
        Self::ContentTooLong,
        Self::NoPolicy,
        Self::AmbiguousPath,
        Self::Ambiguous(Ambiguous::HostMismatch),
        Self::Ambiguous(Ambiguous::HostRepeated),
        Self::Ambiguous(Ambiguous::HostMalformed),
        Self::Ambiguous(Ambiguous::UserInfo),
        Self::RewrittenUrl,
        Self::Cookie,
        Self::Precondition,
        Self::IdentityMissing,
        Self::IdentityUnclear,
        Self::QueryValue,
        Self::Policy,
        Self::KeyTooLong,
        Self::ValueConflict,
        Self::CallbackPanicked,
    ];

    /// Where it stands among [all](Self::ALL).
    pub(crate) const fn place(self) -> usize {
        match self {
            Self::Method => 0,
            Self::MethodOverride => 1,
            Self::Upgrade => 2,
            Self::Content => 3,
            Self::ContentTooLong => 4,
            Self::NoPolicy => 5,
            Self::AmbiguousPath => 6,
            Self::Ambiguous(Ambiguous::HostMismatch) => 7,
            Self::Ambiguous(Ambiguous::HostRepeated) => 8,
            Self::Ambiguous(Ambiguous::HostMalformed) => 9,
            Self::Ambiguous(Ambiguous::UserInfo) => 10,
            Self::RewrittenUrl => 11,
            Self::Cookie => 12,
            Self::Precondition => 13,
            Self::IdentityMissing => 14,
            Self::IdentityUnclear => 15,
            Self::QueryValue => 16,
            Self::Policy => 17,
            Self::KeyTooLong => 18,
            Self::ValueConflict => 19,
            Self::CallbackPanicked => 20,
        }
    }

    /// The reason as one word, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::MethodOverride => "method-override",
            Self::Upgrade => "upgrade",
            Self::Content => "content",
            Self::ContentTooLong => "content-too-long",
            Self::NoPolicy => "no-policy",
            Self::AmbiguousPath => "ambiguous-path",
            Self::Ambiguous(reason) => reason.as_str(),
            Self::RewrittenUrl => "rewritten-url",
            Self::Cookie => "cookie",
            Self::Precondition => "precondition",
            Self::IdentityMissing => "identity-missing",
            Self::IdentityUnclear => "identity-unclear",
            Self::QueryValue => "query-value",
            Self::Policy => "policy",
            Self::KeyTooLong => "key-too-long",
            Self::ValueConflict => "value-conflict",
            Self::CallbackPanicked => "callback-panicked",
        }
    }
}

impl NotStored {
    /// The reason as one word, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused(reason) => reason.as_str(),
            Self::TooLarge => "too-large",
            Self::BodyFailed => "body-failed",
            Self::Abandoned => "abandoned",
            Self::WrongLength => "wrong-length",
            Self::Invalidated => "invalidated",
            Self::Superseded => "superseded",
            Self::NoRoom => "no-room",
            Self::Policy => "policy",
            Self::CallbackPanicked => "callback-panicked",
            Self::Connection => "request-connection",
            Self::GrpcStatus => "grpc-status",
            Self::HandlerPolicy => "handler-policy",
            Self::InnerPolicy => "inner-policy",
            Self::TooFewUses => "too-few-uses",
            Self::TooManyTags => "too-many-tags",
            Self::ObserveOnly => "observe-only",
            Self::IdentityTooLarge => "identity-too-large",
            Self::IdentityAfterCache => "identity-after-cache",
        }
    }

    /// Whether the next request for the same will meet it too, because it lies in the response. Requests with credentials
    /// are others than those without.
    pub(crate) fn lies_in_the_response(self) -> bool {
        match self {
            Self::Refused(Refusal::RequestNoStore) => false,
            Self::Refused(_) | Self::TooLarge | Self::NoRoom | Self::Policy | Self::GrpcStatus | Self::TooManyTags => {
                true
            }
            Self::HandlerPolicy | Self::InnerPolicy | Self::IdentityTooLarge | Self::IdentityAfterCache => true,
            Self::BodyFailed
            | Self::Abandoned
            | Self::WrongLength
            | Self::Invalidated
            | Self::Superseded
            | Self::CallbackPanicked
            | Self::Connection
            | Self::TooFewUses
            | Self::ObserveOnly => false,
        }
    }

    /// All reasons, in one order.
    pub(crate) fn every() -> &'static [Self] {
        static ALL: LazyLock<Box<[NotStored]>> = LazyLock::new(|| NotStored::all().collect());
        &ALL
    }

    fn all() -> impl Iterator<Item = Self> {
        let refused = Refusal::ALL.iter().copied().map(Self::Refused);
        refused.chain([
            Self::TooLarge,
            Self::BodyFailed,
            Self::Abandoned,
            Self::WrongLength,
            Self::Invalidated,
            Self::Superseded,
            Self::NoRoom,
            Self::Policy,
            Self::CallbackPanicked,
            Self::Connection,
            Self::GrpcStatus,
            Self::HandlerPolicy,
            Self::InnerPolicy,
            Self::TooFewUses,
            Self::TooManyTags,
            Self::ObserveOnly,
            Self::IdentityTooLarge,
            Self::IdentityAfterCache,
        ])
    }
}

macro_rules! display_as_str {
    ($($of:ty),*) => {$(
        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
display_as_str!(Outcome, Bypass, NotStored);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_word_of_its_own() {
        let bypasses: HashSet<_> = Bypass::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(bypasses.len(), Bypass::ALL.len());
        assert!(Bypass::ALL.iter().enumerate().all(|(place, reason)| reason.place() == place));
        let reasons: Vec<_> = NotStored::all().map(NotStored::as_str).collect();
        assert_eq!(reasons.iter().collect::<HashSet<_>>().len(), reasons.len());
    }
}

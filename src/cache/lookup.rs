//! What to do with a stored response that the request selects: one pure decision.

use crate::{
    entry::Entry,
    policy::Rules,
    semantics::{
        cache_control::RequestDirectives,
        date::Timestamp,
        reuse::{Reuse, Why},
        validator,
    },
};

/// What to do with a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Serve it: it is fresh.
    Serve,
    /// Serve it stale: the client accepts that, or the inner service has just failed.
    ServeStale,
    /// Serve it stale, and have it refreshed.
    ServeAndRefresh,
    /// Ask the inner service whether it still holds.
    Validate,
    /// Ask the inner service for another: there is nothing to compare.
    Fetch,
    /// As if there were none: it is not for requests with credentials.
    Ignore,
}

/// The decision. `request` is what the request's directives say, where the policy honours them.
pub(crate) fn decide(
    entry: &Entry,
    credentials: bool,
    request: Option<&RequestDirectives>,
    rules: &Rules,
    now: Timestamp,
) -> Act {
    if credentials && !entry.allows_credentials && !rules.share_with_credentials {
        return Act::Ignore;
    }
    match entry.lifespan().reuse(request, now) {
        Reuse::Fresh => Act::Serve,
        Reuse::StaleAccepted => Act::ServeStale,
        Reuse::WhileRevalidating => Act::ServeAndRefresh,
        // A failing service is left alone for a while.
        Reuse::Validate(Why::Stale) if entry.refresh.is_shut(now) && entry.lifespan().allows_error(request, now) => {
            Act::ServeStale
        }
        Reuse::Validate(_) if validator::has_validator(&entry.head) => Act::Validate,
        Reuse::Validate(_) => Act::Fetch,
    }
}

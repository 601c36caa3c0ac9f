//! What the log is told of a cache seldom, however often it happens.

use super::{Cache, log::Log};
use crate::{invalidation::InvalidateError, seldom::Seldom};
use std::error::Error;

/// When it was told last.
#[derive(Debug, Default)]
pub(super) struct Warned {
    value: Seldom,
    untold: Seldom,
    unselectable: Seldom,
}

impl Cache {
    /// Of what applications share, none has said which one it is.
    pub(super) fn warn_of_namespace(&self) {
        if self.0.namespace == DEFAULT_NAMESPACE && matches!(self.0.log, Log::Shared(_)) {
            tracing::warn!(
                target: "larder::store",
                "no namespace was given: another application on the same store that gives none shares what is stored; \
                 say `Cache::builder().namespace(..)`"
            );
        }
    }

    /// A value is not kept, since it contradicts another one of its name.
    pub(super) fn warn_of_value(&self, error: &InvalidateError) {
        if self.0.warned.value.is_time() {
            tracing::warn!(target: "larder::store", %error, "a value is not kept");
        }
    }

    /// Something was not invalidated as it should be. What it is may tell of a user.
    pub(crate) fn warn_of(&self, error: &InvalidateError) {
        let Warned { untold, unselectable, .. } = &self.0.warned;
        if !error.is_unconfirmed() {
            tracing::trace!(target: "larder::invalidate", %error);
            if unselectable.is_time() {
                tracing::warn!(
                    target: "larder::invalidate",
                    "what is to be invalidated cannot be selected; what it is, is told at trace level"
                );
            }
        } else if untold.is_time() {
            let cause = error.source().map(tracing::field::display);
            tracing::warn!(target: "larder::invalidate", %error, cause, "a change could not be told");
        }
    }
}

/// That of a cache which is told none.
pub(super) const DEFAULT_NAMESPACE: &str = "larder";

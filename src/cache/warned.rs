//! What the log is told of a cache seldom, however often it happens.

use super::Cache;
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

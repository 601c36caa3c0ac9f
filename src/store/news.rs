//! What a store tells of changes that others have made in it.

use super::StoreFuture;
use std::{fmt, sync::Arc};

/// A store that tells what has changed in it.
pub(crate) trait Teller: fmt::Debug + Send + Sync + 'static {
    /// Tells, for as long as it is polled, what changes under keys that begin like `prefix`. What it cannot tell, because it
    /// could not be reached, is everything. It does not end.
    fn tell(&self, prefix: String, listener: Arc<dyn Listener>) -> StoreFuture<'_, ()>;
}

/// Is told of changes, and must not take long over each.
pub(crate) trait Listener: Send + Sync + 'static {
    /// What is kept under this key has changed, or is gone.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "other stores are used by one process alone"))]
    fn changed(&self, key: &str);

    /// Anything may have changed.
    fn all_changed(&self);
}

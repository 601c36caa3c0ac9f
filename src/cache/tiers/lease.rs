//! One fill for all processes: a lease in the store that they share.

use super::digest;
use crate::{
    cache::Cache,
    random,
    store::{Store, StoreKey},
};
use http::HeaderMap;
use std::{fmt, sync::Arc, time::Duration};

/// The right to fill, given back when it is dropped.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    place: StoreKey,
    token: [u8; 16],
    /// Whether it is, or may be, ours.
    ours: bool,
}

/// What became of asking for a lease.
#[derive(Debug)]
pub(crate) enum Leased {
    /// It is ours.
    Here(Lease),
    /// Another process fills.
    Elsewhere,
    /// Nobody can tell: fill.
    Unknown,
}

impl Cache {
    /// Asks the farthest store for the right to fill what this request selects, for so long at most.
    pub(crate) async fn lease(&self, key: &[u8], request: &HeaderMap, ttl: Duration) -> Leased {
        let Some(tier) = self.0.tiers.all.last().filter(|tier| tier.store.is_available()) else {
            return Leased::Unknown;
        };
        let nominated = self.stored_by(key);
        let place = self.0.tiers.places.lease(key, &digest(&nominated, request));
        let token = random::bytes();
        // Made before the answer: if that is lost, what may have been taken is given back.
        let mut lease = Lease { store: Arc::clone(&tier.store), place: place.clone(), token, ours: true };
        match tier.store.lease(&place, &token, ttl).await {
            Ok(true) => Leased::Here(lease),
            Ok(false) => {
                lease.ours = false;
                Leased::Elsewhere
            }
            Err(error) => {
                tier.told.reason(error.as_str());
                Leased::Unknown
            }
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ours {
            return;
        }
        // Without a runtime it ends by itself.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (store, place, token) = (Arc::clone(&self.store), self.place.clone(), self.token);
        runtime.spawn(async move {
            let _ = store.release(&place, &token).await;
        });
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("place", &self.place).finish_non_exhaustive()
    }
}

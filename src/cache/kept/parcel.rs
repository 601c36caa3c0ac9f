//! What is kept, sealed as values are.

use super::Cache;
use crate::{
    invalidation::{Stamp, Tags},
    store::{Codec, Fault, Kind, Parcel, Sealed, StoreKey},
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::time::Duration;

/// The key of the history.
pub(super) const HISTORY: &str = "history";

/// The key of what was asked for most.
pub(super) const HOTTEST: &str = "hottest";

/// A day longer than what is kept goes back.
pub(super) const TTL: Duration = Duration::from_secs(8 * 24 * 3600);

impl Cache {
    /// What stands in this, if it is what it is to be. What is wrong is counted.
    pub(super) fn opened(&self, place: &StoreKey, key: &str, bytes: Option<Bytes>) -> Option<Bytes> {
        let opened = match self.codec().open(bytes?, place) {
            Ok(Sealed::Parcel(parcel)) if parcel.kind == Kind::Value && parcel.key == key.as_bytes() => Ok(parcel.body),
            Ok(_) => Err("other-key"),
            Err(fault) => Err(fault.as_str()),
        };
        self.understood(opened.and_then(|body| if body.len() > LARGEST { Err("too-large") } else { Ok(body) }))
    }

    pub(super) fn sealed(&self, place: &StoreKey, key: &'static str, body: Vec<u8>) -> Result<Bytes, &'static str> {
        let now = self.now();
        let parcel = Parcel {
            kind: Kind::Value,
            key: Bytes::from_static(key.as_bytes()),
            nominated: Vec::new(),
            selecting: Bytes::new(),
            status: StatusCode::OK,
            head: HeaderMap::new(),
            for_caches: None,
            body: body.into(),
            trailers: None,
            tags: Tags::default(),
            stamp: Stamp::default(),
            received: now,
            age: Duration::ZERO,
            lifetime: TTL,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            discard_at: now.saturating_add(TTL),
            fill_time: Duration::ZERO,
            adapted: None,
            credentials: false,
            own_policy: false,
            browser: None,
        };
        self.codec().seal(&Sealed::Parcel(Box::new(parcel)), place).map_err(Fault::as_str)
    }

    /// As for responses, but of a size that does not depend on how much memory there is: others have to read it.
    fn codec(&self) -> Codec {
        Codec { largest: LARGEST, ..self.0.tiers.codec.clone() }
    }
}

/// Nothing longer is written or read.
pub(super) const LARGEST: usize = 8 << 20;

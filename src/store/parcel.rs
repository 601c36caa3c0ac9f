//! A stored response as it leaves the process: what another node needs to judge it anew.

use crate::{
    invalidation::{Stamp, Tags},
    semantics::{
        cache_control_writer::{CacheControl, ForCaches},
        date::Timestamp,
    },
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use std::time::Duration;

/// Longer than this nothing out of a store is used, whatever it says of itself.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// What is kept under one key of a store.
#[derive(Clone, Debug)]
pub(crate) enum Sealed {
    Parcel(Box<Parcel>),
    Signpost(Signpost),
}

/// A response, or a value.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    pub(crate) kind: Kind,
    /// The whole key, to be compared.
    pub(crate) key: Bytes,
    /// The fields that select the variant, sorted, and their values in the request that was answered, encoded.
    pub(crate) nominated: Vec<HeaderName>,
    pub(crate) selecting: Bytes,
    pub(crate) status: StatusCode,
    /// As the inner service sent it, as far as it is kept.
    pub(crate) head: HeaderMap,
    pub(crate) for_caches: Option<ForCaches>,
    /// Of a value: its JSON.
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) tags: Tags,
    pub(crate) stamp: Stamp,
    pub(crate) received: Timestamp,
    /// Its age when it was received.
    pub(crate) age: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    /// Of no use to anyone after this moment.
    pub(crate) discard_at: Timestamp,
    pub(crate) fill_time: Duration,
    /// The lifetime that it got as an adaptive one.
    pub(crate) adapted: Option<Duration>,
    /// The request had credentials.
    pub(crate) credentials: bool,
    /// The handler said how it is to be stored, not the policy of the layer.
    pub(crate) own_policy: bool,
    /// What the handler's policy tells browsers; nothing if that is not known.
    pub(crate) browser: Option<Browser>,
}

/// What browsers are told by a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Browser {
    /// What the answer says itself.
    AsAnswered,
    Told(CacheControl),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Response,
    Value,
}

/// What is kept under the key of a resource that has variants: where these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signpost {
    pub(crate) key: Bytes,
    /// The fields that select a variant, sorted.
    pub(crate) nominated: Vec<HeaderName>,
    /// The digests of the selecting values of the variants, the youngest last.
    pub(crate) variants: Vec<[u8; 16]>,
}

//! Where responses are kept: the memory tier, and the stores behind it. They keep and give back; whether a response may be
//! stored or served, and in which store it is looked for, is not decided here.

mod codec;
mod contract;
#[cfg(feature = "disk")]
mod disk;
mod journal;
#[cfg_attr(not(feature = "encrypt"), path = "no_keyring.rs")]
mod keyring;
mod memory;
mod news;
mod parcel;
#[cfg(feature = "redis")]
mod redis;

#[cfg(fuzzing)]
pub(crate) use codec::fuzzing;
pub(crate) use codec::{Codec, Facts, Fault, Glimpse};
pub use contract::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats};
#[cfg(feature = "disk")]
pub use disk::Disk;
#[cfg(any(test, feature = "disk", feature = "redis"))]
pub(crate) use journal::Reading;
pub(crate) use journal::{Draft, Journal, Line, NodeId};
#[cfg(not(feature = "encrypt"))]
pub(crate) use keyring::KeyRing;
#[cfg(feature = "encrypt")]
pub use keyring::{KeyRing, KeyRingError};
#[cfg(feature = "admin")]
pub(crate) use memory::Variant;
pub(crate) use memory::{Found, Memory, Sizes};
pub(crate) use news::{Listener, Teller};
pub(crate) use parcel::{Browser, Kind, Parcel, Sealed, Signpost, YEAR};
#[cfg(feature = "redis")]
pub use redis::Redis;

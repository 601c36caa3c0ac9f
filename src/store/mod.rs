//! Where responses are kept: the memory tier, and the stores behind it.

mod codec;
mod contract;
#[cfg_attr(not(feature = "encrypt"), path = "no_keyring.rs")]
mod keyring;
mod memory;
mod parcel;
#[cfg(feature = "redis")]
mod redis;

#[cfg(fuzzing)]
pub(crate) use codec::fuzzing;
pub(crate) use codec::{Codec, Fault, Glimpse};
pub use contract::{Cursor, Page, Store, StoreError, StoreFuture, StoreKey, StoreStats};
#[cfg(not(feature = "encrypt"))]
pub(crate) use keyring::KeyRing;
#[cfg(feature = "encrypt")]
pub use keyring::{KeyRing, KeyRingError};
pub(crate) use memory::{Found, Memory, Sizes};
pub(crate) use parcel::{Kind, Parcel, Sealed, Signpost, YEAR};
#[cfg(feature = "redis")]
pub use redis::Redis;

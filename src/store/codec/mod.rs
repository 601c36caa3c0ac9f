//! The form in which what is stored leaves the process and comes back.
//!
//! ```text
//! 0   3  "LRD"
//! 3   1  version of the format: 1
//! 4   1  flags: 0 response, 1 value, 2 signpost; 4 the body is compressed; 8 what follows is encrypted
//! 5   4  length of the head
//! 9   8  length of the body
//! 17  8  checksum of the body
//! 25     head: fields, each a tag, a length (4) and so many bytes
//!     8  checksum of all before it
//!        body
//! ```
//!
//! Numbers are little endian, checksums are rapidhash v3 with the secrets of its reference implementation. The body comes last
//! and is not copied. What the fields are is in `head`, how an encrypted frame looks in `encrypting`.
//!
//! What comes from a store is not trusted: lengths and counts are compared with what is there before anything is allocated, and
//! whatever is wrong is a [`Fault`], so a miss. The key is given back as it is; whoever asked compares it with theirs.
#[cfg_attr(not(feature = "zstd"), path = "no_compressing.rs")]
mod compressing;
mod encrypting;
mod frame;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod head;
mod lines;
mod wire;
mod worth;

#[cfg(test)]
mod tests;

use super::{KeyRing, Kind, Sealed, StoreKey};
use crate::{
    invalidation::{Stamp, Tags},
    semantics::date::Timestamp,
};
use bytes::Bytes;
use frame::{Flags, Frame, PREFIX};
use head::Fields;
use http::StatusCode;
use std::time::Duration;
use wire::Writer;

/// Writes and reads what a store keeps.
#[derive(Clone, Debug)]
pub(crate) struct Codec {
    /// Bodies of so many bytes and more are compressed, with feature `zstd`.
    pub(crate) compress_from: Option<usize>,
    /// With it everything is encrypted, and nothing else is read.
    pub(crate) ring: Option<KeyRing>,
    /// No compressed body is longer than this, once it is read.
    pub(crate) largest: usize,
}

/// Why something cannot be read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is none of ours.
    Foreign,
    /// It has another version of the format.
    Version(u8),
    /// It has a flag or a field that only a newer version of this crate knows, and that must not be skipped.
    Newer(&'static str),
    /// Its end is missing.
    Truncated,
    /// A checksum is wrong.
    Checksum,
    /// This field is not as it has to be.
    Field(&'static str),
    /// Its body is longer than allowed; or, when it is written, a part of it is longer than can be.
    TooLarge,
    /// Its body cannot be decompressed, perhaps for want of the feature.
    Compression,
    /// It cannot be decrypted: it was changed, was put under another key of the store, or its key is not in the ring.
    Sealed,
    /// It is not encrypted, where everything has to be.
    Unsealed,
}

/// What can be told of something from its first bytes.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse {
    pub(crate) key: Bytes,
    pub(crate) tags: Tags,
    /// The length of the body as it is stored.
    pub(crate) stored: u64,
    /// The length of the body.
    pub(crate) size: u64,
    /// Of a response or value; a signpost has none.
    pub(crate) facts: Option<Facts>,
}

/// What is known of a response or value beside its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) kind: Kind,
    pub(crate) status: StatusCode,
    pub(crate) stamp: Stamp,
    pub(crate) received: Timestamp,
    pub(crate) discard_at: Timestamp,
    pub(crate) age: Duration,
    pub(crate) lifetime: Duration,
    pub(crate) stale_while_revalidate: Duration,
    pub(crate) stale_if_error: Duration,
    pub(crate) fill_time: Duration,
    pub(crate) credentials: bool,
    pub(crate) own_policy: bool,
}

impl Codec {
    /// The bytes of this, to be kept under `place`.
    pub(crate) fn seal(&self, what: &Sealed, place: &StoreKey) -> Result<Bytes, Fault> {
        let compressed = self.compress(what);
        let body: &[u8] = match (what, &compressed) {
            (_, Some(compressed)) => compressed,
            (Sealed::Parcel(parcel), None) => &parcel.body,
            (Sealed::Signpost(_), None) => &[],
        };
        let mut out = Writer(Vec::with_capacity(USUAL_HEAD + body.len()));
        let begun = self.ring.as_ref().map(|ring| encrypting::begin(ring, &mut out)).transpose()?;
        match what {
            Sealed::Parcel(parcel) => {
                let kind = match parcel.kind {
                    Kind::Response => Flags::RESPONSE,
                    Kind::Value => Flags::VALUE,
                };
                let flags = if compressed.is_some() { kind.compressed() } else { kind };
                let size = compressed.is_some().then_some(parcel.body.len() as u64);
                Frame::write(&mut out, flags, |out| head::write_parcel(out, parcel, size), body, encrypting::TAG)?;
            }
            Sealed::Signpost(signpost) => {
                let head = |out: &mut Writer| head::write_signpost(out, signpost);
                Frame::write(&mut out, Flags::SIGNPOST, head, body, encrypting::TAG)?;
            }
        }
        if let (Some(ring), Some(begun)) = (&self.ring, begun) {
            encrypting::end(ring, &mut out, begun, place)?;
        }
        Ok(out.0.into())
    }

    /// What was sealed as these bytes, found under `place`. Its body shares them.
    pub(crate) fn open(&self, bytes: Bytes, place: &StoreKey) -> Result<Sealed, Fault> {
        let bytes = self.decrypt(bytes, place)?;
        let frame = Frame::read(&bytes)?;
        let fields = Fields::read(&bytes[frame.head])?;
        let body = bytes.slice(frame.body);
        let Some(kind) = kind(frame.flags) else {
            let signpost = fields.signpost()?;
            let sound = body.is_empty() && !frame.flags.is_compressed();
            return if sound { Ok(Sealed::Signpost(signpost)) } else { Err(Fault::Field("body")) };
        };
        let body = match (frame.flags.is_compressed(), fields.size()?) {
            (false, None) => body,
            (true, Some(size)) => self.decompress(&body, size)?,
            _ => return Err(Fault::Field("size")),
        };
        Ok(Sealed::Parcel(Box::new(fields.parcel(kind, body)?)))
    }

    /// What can be told from the first bytes of what is kept under `place`, for counting and showing: without its end, the
    /// checksums are not compared. What is encrypted has to be whole.
    pub(crate) fn peek(&self, first: &[u8], place: &StoreKey) -> Result<Glimpse, Fault> {
        let decrypted;
        let mut first = first;
        if Flags::read(first)?.is_encrypted() || self.ring.is_some() {
            decrypted = self.decrypt(Bytes::copy_from_slice(first), place)?;
            first = &decrypted;
        }
        let (flags, head, whole, stored) = Frame::peek(first)?;
        let fields = if whole { Fields::read(head)? } else { Fields::peek(head)? };
        Ok(Glimpse {
            key: fields.key()?,
            tags: fields.tags()?,
            stored,
            size: fields.size()?.unwrap_or(stored),
            facts: kind(flags).map(|kind| fields.facts(kind)).transpose()?,
        })
    }

    /// The body compressed, where that saves enough.
    fn compress(&self, what: &Sealed) -> Option<Vec<u8>> {
        let Sealed::Parcel(parcel) = what else { return None };
        let length = parcel.body.len();
        let wanted = self.compress_from.is_some_and(|from| (from..=self.largest).contains(&length));
        let worth = wanted && worth::is_compressible(&parcel.head);
        // The last eighth of it has to be saved.
        worth.then(|| compressing::compress(&parcel.body, length - length.div_ceil(8))).flatten()
    }

    fn decompress(&self, body: &[u8], size: u64) -> Result<Bytes, Fault> {
        let size = usize::try_from(size).ok().filter(|size| *size <= self.largest).ok_or(Fault::TooLarge)?;
        compressing::decompress(body, size).map(Bytes::from).ok_or(Fault::Compression)
    }

    /// The frame within an encrypted one; the frame itself where nothing is encrypted. Where there is a ring, one that is not
    /// encrypted may be of anybody who can write to the store.
    fn decrypt(&self, bytes: Bytes, place: &StoreKey) -> Result<Bytes, Fault> {
        match (Flags::read(&bytes)?.is_encrypted(), &self.ring) {
            (true, Some(ring)) => encrypting::open(ring, bytes, place),
            (true, None) => Err(Fault::Sealed),
            (false, Some(_)) => Err(Fault::Unsealed),
            (false, None) => Ok(bytes),
        }
    }
}

impl Fault {
    /// Its name in statistics and logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Foreign => "foreign",
            Self::Version(_) | Self::Newer(_) => "version",
            Self::Truncated => "truncated",
            Self::Checksum => "checksum",
            Self::Field(_) => "field",
            Self::TooLarge => "too-large",
            Self::Compression => "compression",
            Self::Sealed => "sealed",
            Self::Unsealed => "unsealed",
        }
    }
}

/// Of a response or value.
fn kind(flags: Flags) -> Option<Kind> {
    match flags.kind() {
        Flags::RESPONSE => Some(Kind::Response),
        Flags::VALUE => Some(Kind::Value),
        _ => None,
    }
}

/// Room for all but the body, in most cases.
const USUAL_HEAD: usize = PREFIX + 1024;

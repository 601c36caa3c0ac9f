//! A frame within an encrypted one.
//!
//! ```text
//! 0   5  as every frame begins, with the flag for encrypted alone
//! 5   1  length of the key's name
//! 6      name of the key
//!     24 nonce
//!        a whole frame, encrypted
//!     16 tag
//! ```
//!
//! The tag also covers all before the frame, and the key under which it is stored: moved under another, it does not open.

use super::{
    Fault, Flags, StoreKey,
    frame::OPENING,
    wire::{Reader, Writer},
};
use crate::store::KeyRing;
use bytes::{Bytes, BytesMut};

/// Where the frame within begins.
pub(super) struct Begun(usize);

/// Writes what stands before the frame.
pub(super) fn begin(ring: &KeyRing, out: &mut Writer) -> Result<Begun, Fault> {
    Flags::ENCRYPTED.write(out);
    let name = ring.newest().name().as_bytes();
    out.u8(u8::try_from(name.len()).map_err(|_| Fault::TooLarge)?);
    out.raw(name);
    out.raw(&KeyRing::nonce().ok_or(Fault::Sealed)?);
    Ok(Begun(out.0.len()))
}

/// Encrypts the frame that was written meanwhile, where it is.
pub(super) fn end(ring: &KeyRing, out: &mut Writer, Begun(start): Begun, place: &StoreKey) -> Result<(), Fault> {
    let (open, frame) = out.0.split_at_mut(start);
    let (_, nonce) = open.split_last_chunk().ok_or(Fault::Sealed)?;
    let tag = ring.newest().encrypt(nonce, &covered(open, place), frame).ok_or(Fault::Sealed)?;
    out.raw(&tag);
    Ok(())
}

/// The frame within. It is decrypted where it is if nobody else holds these bytes.
pub(super) fn open(ring: &KeyRing, bytes: Bytes, place: &StoreKey) -> Result<Bytes, Fault> {
    let mut reader = Reader::new(&bytes);
    let mut open = || {
        reader.take(OPENING)?;
        let length = reader.u8()?;
        let name = reader.take(length.into())?;
        Some((name, reader.array::<NONCE>()?))
    };
    let (name, nonce) = open().ok_or(Fault::Sealed)?;
    let key = ring.find(name).ok_or(Fault::Sealed)?;
    let start = bytes.len() - reader.left();
    let end = reader.left().checked_sub(TAG).ok_or(Fault::Sealed)? + start;
    let covered = covered(&bytes[..start], place);
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&*shared));
    let (frame, tag) = bytes[start..].split_last_chunk_mut().ok_or(Fault::Sealed)?;
    key.decrypt(&nonce, &covered, frame, tag).ok_or(Fault::Sealed)?;
    Ok(bytes.freeze().slice(start..end))
}

/// What the tag covers beside the frame.
fn covered(open: &[u8], place: &StoreKey) -> Vec<u8> {
    [open, place.as_str().as_bytes()].concat()
}

pub(super) const TAG: usize = 16;

const NONCE: usize = 24;

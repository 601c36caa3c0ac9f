//! The frame around head and body: what it is, how long its parts are, and whether they are as they were written.

use super::{
    Fault,
    wire::{Reader, Writer},
};
use rapidhash::v3::rapidhash_v3;
use std::ops::Range;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    pub(super) const RESPONSE: Self = Self(0);
    pub(super) const VALUE: Self = Self(1);
    pub(super) const SIGNPOST: Self = Self(2);
    pub(super) const ENCRYPTED: Self = Self(8);

    pub(super) fn compressed(self) -> Self {
        Self(self.0 | COMPRESSED)
    }

    pub(super) fn kind(self) -> Self {
        Self(self.0 & KIND)
    }

    pub(super) fn is_compressed(self) -> bool {
        self.0 & COMPRESSED != 0
    }

    pub(super) fn is_encrypted(self) -> bool {
        self.0 & Self::ENCRYPTED.0 != 0
    }

    /// Reads the opening. What a newer version may mean by a flag that this one does not know is not guessed.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let magic = bytes.get(..MAGIC.len()).unwrap_or(bytes);
        if !MAGIC.starts_with(magic) {
            return Err(Fault::Foreign);
        }
        match bytes.get(MAGIC.len()..OPENING) {
            Some(&[VERSION, flags]) if flags & !KNOWN == 0 && flags & KIND != KIND => Ok(Self(flags)),
            Some(&[VERSION, _]) => Err(Fault::Newer("flags")),
            Some(&[version, _]) => Err(Fault::Version(version)),
            _ => Err(Fault::Truncated),
        }
    }

    pub(super) fn write(self, out: &mut Writer) {
        out.raw(MAGIC);
        out.u8(VERSION);
        out.u8(self.0);
    }
}

/// Where head and body are.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) flags: Flags,
    pub(super) head: Range<usize>,
    pub(super) body: Range<usize>,
}

impl Frame {
    /// The frame that these bytes are, once both checksums are right.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let prefix = Prefix::read(bytes)?;
        let (head, body) = prefix.places().ok_or(Fault::Truncated)?;
        match bytes.len() {
            there if there < body.end => return Err(Fault::Truncated),
            there if there > body.end => return Err(Fault::Field("length")),
            _ => {}
        }
        let sound = bytes[head.end..body.start] == rapidhash_v3(&bytes[..head.end]).to_le_bytes()
            && prefix.sum == rapidhash_v3(&bytes[body.clone()]);
        if sound { Ok(Self { flags: prefix.flags, head, body }) } else { Err(Fault::Checksum) }
    }

    /// From the first bytes of a frame: the flags, the head as far as it is there, whether that is all of it, and the length
    /// of the body. The checksum of the head counts if it is there.
    pub(super) fn peek(bytes: &[u8]) -> Result<(Flags, &[u8], bool, u64), Fault> {
        let prefix = Prefix::read(bytes)?;
        let (head, body) = prefix.places().ok_or(Fault::Truncated)?;
        match bytes.get(head.end..body.start) {
            Some(sum) if *sum != rapidhash_v3(&bytes[..head.end]).to_le_bytes() => return Err(Fault::Checksum),
            _ => {}
        }
        let there = &bytes[head.start..head.end.min(bytes.len())];
        Ok((prefix.flags, there, there.len() == head.len(), prefix.body))
    }

    /// Writes a frame at the end of what is written. `head` writes its head; `spare` is room to be left behind the body.
    pub(super) fn write(
        out: &mut Writer,
        flags: Flags,
        head: impl FnOnce(&mut Writer) -> Result<(), Fault>,
        body: &[u8],
        spare: usize,
    ) -> Result<(), Fault> {
        let start = out.0.len();
        flags.write(out);
        let lengths = out.0.len();
        out.u32(0);
        out.u64(u64::try_from(body.len()).map_err(|_| Fault::TooLarge)?);
        out.u64(rapidhash_v3(body));
        head(out)?;
        let length = u32::try_from(out.0.len() - start - PREFIX).map_err(|_| Fault::TooLarge)?;
        out.0[lengths..lengths + 4].copy_from_slice(&length.to_le_bytes());
        out.0.reserve_exact(SUM + body.len() + spare);
        out.u64(rapidhash_v3(&out.0[start..]));
        out.raw(body);
        Ok(())
    }
}

struct Prefix {
    flags: Flags,
    head: u32,
    body: u64,
    /// The checksum of the body.
    sum: u64,
}

impl Prefix {
    fn read(bytes: &[u8]) -> Result<Self, Fault> {
        let flags = Flags::read(bytes)?;
        if flags.is_encrypted() {
            // It was opened already.
            return Err(Fault::Field("flags"));
        }
        let mut reader = Reader::new(&bytes[OPENING..]);
        let mut lengths = || Some(Self { flags, head: reader.u32()?, body: reader.u64()?, sum: reader.u64()? });
        lengths().ok_or(Fault::Truncated)
    }

    /// Of head and body; nothing if they are longer than anything can be.
    fn places(&self) -> Option<(Range<usize>, Range<usize>)> {
        let head = PREFIX.checked_add(usize::try_from(self.head).ok()?)?;
        let start = head.checked_add(SUM)?;
        let end = start.checked_add(usize::try_from(self.body).ok()?)?;
        Some((PREFIX..head, start..end))
    }
}

const MAGIC: &[u8] = b"LRD";

/// Raised when a reader of the one before would misunderstand.
pub(super) const VERSION: u8 = 1;

/// Magic, version, flags.
pub(super) const OPENING: usize = MAGIC.len() + 2;

/// The opening, the lengths of head and body, the checksum of the body.
pub(super) const PREFIX: usize = OPENING + 4 + 8 + SUM;

pub(super) const SUM: usize = 8;

const KIND: u8 = 3;
const COMPRESSED: u8 = 4;
const KNOWN: u8 = KIND | COMPRESSED | Flags::ENCRYPTED.0;

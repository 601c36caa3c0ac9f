//! The fields of a head.
//!
//! Each is a tag, a length and so many bytes. Tags ascend, so no field comes twice, and what is looked at in passing comes
//! first. A field whose tag has its highest bit set may be skipped by those who do not know it; below that, one that is
//! not known is a miss. So a version that adds what others can do without gives it a tag from 128 on, and one that is
//! rolled back reads on; one that adds what changes the meaning takes a tag below.

use super::{
    Facts, Fault,
    lines::{read_for_caches, read_map, read_names, write_for_caches, write_map, write_names},
    wire::{Reader, Writer},
};
use crate::{
    invalidation::{Epoch, RecordId, Stamp, Tags},
    semantics::{cache_control_writer::CacheControl, date::Timestamp},
    store::{Browser, Kind, Parcel, Signpost},
};
use bytes::Bytes;
use http::StatusCode;
use std::time::Duration;

/// Writes the head of a response or value. `size` is the length of its body before it was compressed, if it was.
pub(super) fn write_parcel(out: &mut Writer, parcel: &Parcel, size: Option<u64>) -> Result<(), Fault> {
    if parcel.tags.are_too_many() {
        return Err(Fault::Field("tags"));
    }
    write_bytes(out, KEY, &parcel.key)?;
    if let Some(size) = size {
        write_bytes(out, SIZE, &size.to_le_bytes())?;
    }
    if parcel.tags.parts().len() > 0 {
        out.field(TAGS, |out| write_tags(out, &parcel.tags))?;
    }
    write_bytes(out, FACTS, &Facts::of(parcel).to_bytes())?;
    if let Some(adapted) = parcel.adapted {
        out.field(ADAPTED, |out| {
            out.duration(adapted);
            Ok(())
        })?;
    }
    if !parcel.nominated.is_empty() {
        out.field(NOMINATED, |out| write_names(out, &parcel.nominated))?;
    }
    if !parcel.selecting.is_empty() {
        write_bytes(out, SELECTING, &parcel.selecting)?;
    }
    if !parcel.head.is_empty() {
        out.field(HEAD, |out| write_map(out, &parcel.head))?;
    }
    if let Some(fields) = &parcel.for_caches {
        out.field(FOR_CACHES, |out| write_for_caches(out, fields))?;
    }
    if let Some(trailers) = &parcel.trailers {
        out.field(TRAILERS, |out| write_map(out, trailers))?;
    }
    match parcel.browser {
        None => Ok(()),
        Some(Browser::AsAnswered) => write_bytes(out, BROWSER, b""),
        Some(Browser::Told(control)) => write_bytes(out, BROWSER, control.to_header_value().as_bytes()),
    }
}

pub(super) fn write_signpost(out: &mut Writer, signpost: &Signpost) -> Result<(), Fault> {
    write_bytes(out, KEY, &signpost.key)?;
    if !signpost.nominated.is_empty() {
        out.field(NOMINATED, |out| write_names(out, &signpost.nominated))?;
    }
    write_bytes(out, VARIANTS, signpost.variants.as_flattened())
}

/// The fields that are there, by their tags.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    found: [Option<&'a [u8]>; FIELDS],
}

impl<'a> Fields<'a> {
    /// All of them.
    pub(super) fn read(head: &'a [u8]) -> Result<Self, Fault> {
        let (fields, _, complete) = Self::read_some(head)?;
        if complete { Ok(fields) } else { Err(Fault::Field("head")) }
    }

    /// Those that a glimpse needs, from the beginning of a head.
    pub(super) fn peek(head: &'a [u8]) -> Result<Self, Fault> {
        let (fields, last, _) = Self::read_some(head)?;
        if last > LAST_PEEKED { Ok(fields) } else { Err(Fault::Truncated) }
    }

    /// Those that are complete, the last tag that was seen, and whether its field is complete too.
    fn read_some(head: &'a [u8]) -> Result<(Self, u8, bool), Fault> {
        let mut fields = Self { found: [None; FIELDS] };
        let (mut reader, mut last) = (Reader::new(head), 0);
        while let Some(tag) = reader.u8() {
            if tag <= last {
                return Err(Fault::Field("order"));
            }
            last = tag;
            let Some(field) = reader.long() else { return Ok((fields, last, false)) };
            match place(tag).map(|place| &mut fields.found[place]) {
                Some(place) => *place = Some(field),
                None if tag >= OPTIONAL => {}
                None => return Err(Fault::Newer("field")),
            }
        }
        Ok((fields, last, true))
    }

    pub(super) fn key(&self) -> Result<Bytes, Fault> {
        self.find(KEY).map(Bytes::copy_from_slice).ok_or(Fault::Field("key"))
    }

    /// The length of the body before it was compressed.
    pub(super) fn size(&self) -> Result<Option<u64>, Fault> {
        self.map(SIZE, "size", |field| field.try_into().ok().map(u64::from_le_bytes))
    }

    pub(super) fn tags(&self) -> Result<Tags, Fault> {
        self.map(TAGS, "tags", read_tags).map(Option::unwrap_or_default)
    }

    pub(super) fn facts(&self, kind: Kind) -> Result<Facts, Fault> {
        let facts = self.find(FACTS).ok_or(Fault::Field("facts"))?;
        match Facts::read(kind, facts) {
            Some((facts, 0)) => Ok(facts),
            Some(_) => Err(Fault::Newer("facts")),
            None => Err(Fault::Field("facts")),
        }
    }

    pub(super) fn parcel(&self, kind: Kind, body: Bytes) -> Result<Parcel, Fault> {
        self.has_none_but(|tag| tag != VARIANTS)?;
        let facts = self.facts(kind)?;
        Ok(Parcel {
            kind,
            key: self.key()?,
            nominated: self.map(NOMINATED, "nominated", read_names)?.unwrap_or_default(),
            selecting: self.find(SELECTING).map(Bytes::copy_from_slice).unwrap_or_default(),
            status: facts.status,
            head: self.map(HEAD, "head", read_map)?.unwrap_or_default(),
            for_caches: self.map(FOR_CACHES, "for caches", read_for_caches)?,
            body,
            trailers: self.map(TRAILERS, "trailers", read_map)?,
            tags: self.tags()?,
            stamp: facts.stamp,
            received: facts.received,
            age: facts.age,
            lifetime: facts.lifetime,
            stale_while_revalidate: facts.stale_while_revalidate,
            stale_if_error: facts.stale_if_error,
            discard_at: facts.discard_at,
            fill_time: facts.fill_time,
            adapted: self.map(ADAPTED, "adapted", read_duration)?,
            credentials: facts.credentials,
            own_policy: facts.own_policy,
            browser: self.map(BROWSER, "browser", read_browser)?,
        })
    }

    pub(super) fn signpost(&self) -> Result<Signpost, Fault> {
        self.has_none_but(|tag| matches!(tag, KEY | NOMINATED | VARIANTS))?;
        let digests = |field: &[u8]| {
            let (digests, rest) = field.as_chunks();
            rest.is_empty().then(|| digests.to_vec())
        };
        Ok(Signpost {
            key: self.key()?,
            nominated: self.map(NOMINATED, "nominated", read_names)?.unwrap_or_default(),
            variants: self.map(VARIANTS, "variants", digests)?.ok_or(Fault::Field("variants"))?,
        })
    }

    /// A field that its kind does not have, and that must not be skipped, is as one that is not known.
    fn has_none_but(&self, known: impl Fn(u8) -> bool) -> Result<(), Fault> {
        let strange = (KEY..=VARIANTS).any(|tag| self.find(tag).is_some() && !known(tag));
        if strange { Err(Fault::Newer("field")) } else { Ok(()) }
    }

    fn find(&self, tag: u8) -> Option<&'a [u8]> {
        place(tag).and_then(|place| self.found[place])
    }

    fn map<T>(
        &self,
        tag: u8,
        name: &'static str,
        read: impl FnOnce(&'a [u8]) -> Option<T>,
    ) -> Result<Option<T>, Fault> {
        self.find(tag).map(|field| read(field).ok_or(Fault::Field(name))).transpose()
    }
}

impl Facts {
    fn of(parcel: &Parcel) -> Self {
        Self {
            kind: parcel.kind,
            status: parcel.status,
            stamp: parcel.stamp,
            received: parcel.received,
            discard_at: parcel.discard_at,
            age: parcel.age,
            lifetime: parcel.lifetime,
            stale_while_revalidate: parcel.stale_while_revalidate,
            stale_if_error: parcel.stale_if_error,
            fill_time: parcel.fill_time,
            credentials: parcel.credentials,
            own_policy: parcel.own_policy,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let mut out = Writer(Vec::with_capacity(FACTS_LENGTH));
        out.u16(self.status.as_u16());
        out.u8(u8::from(self.credentials) | u8::from(self.own_policy) << 1);
        out.raw(&self.stamp.epoch.0);
        out.u64(self.stamp.end.millis);
        out.u64(self.stamp.end.count);
        out.u64(self.received.as_unix_millis());
        out.u64(self.discard_at.as_unix_millis());
        for duration in [self.age, self.lifetime, self.stale_while_revalidate, self.stale_if_error, self.fill_time] {
            out.duration(duration);
        }
        out.0
    }

    /// The facts, and what is there beyond them: unknown bits, further bytes.
    fn read(kind: Kind, field: &[u8]) -> Option<(Self, usize)> {
        let mut reader = Reader::new(field);
        let status = StatusCode::from_u16(reader.u16()?).ok()?;
        let bits = reader.u8()?;
        let facts = Self {
            kind,
            status,
            stamp: Stamp {
                epoch: Epoch(reader.array()?),
                end: RecordId { millis: reader.u64()?, count: reader.u64()? },
            },
            received: Timestamp::from_unix_millis(reader.u64()?),
            discard_at: Timestamp::from_unix_millis(reader.u64()?),
            age: reader.duration()?,
            lifetime: reader.duration()?,
            stale_while_revalidate: reader.duration()?,
            stale_if_error: reader.duration()?,
            fill_time: reader.duration()?,
            credentials: bits & 1 != 0,
            own_policy: bits & 2 != 0,
        };
        Some((facts, usize::from(bits & !3) + reader.left()))
    }
}

fn write_bytes(out: &mut Writer, tag: u8, bytes: &[u8]) -> Result<(), Fault> {
    out.field(tag, |out| {
        out.raw(bytes);
        Ok(())
    })
}

/// Each the number of its kind, and its text.
fn write_tags(out: &mut Writer, tags: &Tags) -> Result<(), Fault> {
    tags.parts().try_for_each(|(kind, name)| {
        out.u8(kind);
        out.short(name.as_bytes())
    })
}

fn read_tags(field: &[u8]) -> Option<Tags> {
    let mut reader = Reader::new(field);
    let mut sound = true;
    let parts = std::iter::from_fn(|| {
        if reader.left() == 0 {
            return None;
        }
        let mut part = || Some((reader.u8()?, str::from_utf8(reader.short()?).ok()?.to_owned()));
        let part = part();
        sound &= part.is_some();
        part
    });
    Tags::from_parts(parts).filter(|_| sound)
}

fn read_browser(field: &[u8]) -> Option<Browser> {
    if field.is_empty() { Some(Browser::AsAnswered) } else { CacheControl::read(field).map(Browser::Told) }
}

/// Where what is known of a field is.
fn place(tag: u8) -> Option<usize> {
    match tag {
        BROWSER => Some(FIELDS - 1),
        tag => Some(usize::from(tag)).filter(|tag| *tag < FIELDS - 1),
    }
}

fn read_duration(field: &[u8]) -> Option<Duration> {
    let mut reader = Reader::new(field);
    reader.duration().filter(|_| reader.left() == 0)
}

const KEY: u8 = 1;
const SIZE: u8 = 2;
const TAGS: u8 = 3;
const FACTS: u8 = 4;
const ADAPTED: u8 = 5;
const NOMINATED: u8 = 6;
const SELECTING: u8 = 7;
const HEAD: u8 = 8;
const FOR_CACHES: u8 = 9;
const TRAILERS: u8 = 10;
const VARIANTS: u8 = 11;

/// What may be skipped.
const BROWSER: u8 = 128;

/// A place for each, and the first for none.
const FIELDS: usize = 13;

/// The last field that a glimpse needs.
const LAST_PEEKED: u8 = FACTS;

/// From here on a field may be skipped.
const OPTIONAL: u8 = 128;

const FACTS_LENGTH: usize = 2 + 1 + 16 + 4 * 8 + 5 * 12;

//! Header fields on the wire: names, values, and whole maps with repeated lines in their order.
//!
//! ```text
//! name  = u16 length, bytes
//! value = u32 length, whose highest bit says that the value is sensitive; bytes
//! lines = u16 count, then name and value each
//! ```

use super::{
    Fault,
    wire::{Reader, Writer},
};
use crate::semantics::cache_control_writer::ForCaches;
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) fn write_map(out: &mut Writer, map: &HeaderMap) -> Result<(), Fault> {
    write_count(out, map.len())?;
    for (name, value) in map {
        out.short(name.as_str().as_bytes())?;
        write_value(out, value)?;
    }
    Ok(())
}

pub(super) fn read_map(bytes: &[u8]) -> Option<HeaderMap> {
    let mut reader = Reader::new(bytes);
    let count = read_count(&mut reader, LEAST_LINE)?;
    let mut map = HeaderMap::try_with_capacity(count).ok()?;
    for _ in 0..count {
        let name = read_name(&mut reader)?;
        map.try_append(name, read_value(&mut reader)?).ok()?;
    }
    (reader.left() == 0).then_some(map)
}

pub(super) fn write_names(out: &mut Writer, names: &[HeaderName]) -> Result<(), Fault> {
    write_count(out, names.len())?;
    names.iter().try_for_each(|name| out.short(name.as_str().as_bytes()))
}

pub(super) fn read_names(bytes: &[u8]) -> Option<Vec<HeaderName>> {
    let mut reader = Reader::new(bytes);
    let count = read_count(&mut reader, LEAST_NAME)?;
    let names = (0..count).map(|_| read_name(&mut reader)).collect::<Option<Vec<_>>>()?;
    (reader.left() == 0).then_some(names)
}

/// Each field with its number of lines, then the line that was written, if one was.
pub(super) fn write_for_caches(out: &mut Writer, fields: &ForCaches) -> Result<(), Fault> {
    let fields = fields.parts();
    write_count(out, fields.len())?;
    for (name, counts, written) in fields {
        out.short(name.as_str().as_bytes())?;
        write_count(out, counts.len())?;
        counts.iter().try_for_each(|value| write_value(out, value))?;
        out.u8(written.is_some().into());
        written.map_or(Ok(()), |value| write_value(out, value))?;
    }
    Ok(())
}

pub(super) fn read_for_caches(bytes: &[u8]) -> Option<ForCaches> {
    let mut reader = Reader::new(bytes);
    let count = read_count(&mut reader, LEAST_NAME)?;
    let mut fields = Vec::with_capacity(count);
    for _ in 0..count {
        let name = read_name(&mut reader)?;
        let lines = read_count(&mut reader, LEAST_VALUE)?;
        let counts = (0..lines).map(|_| read_value(&mut reader)).collect::<Option<Vec<_>>>()?;
        let written = match reader.u8()? {
            0 => None,
            1 => Some(read_value(&mut reader)?),
            _ => return None,
        };
        fields.push((name, counts, written));
    }
    (reader.left() == 0).then(|| ForCaches::from_parts(fields))
}

fn write_count(out: &mut Writer, count: usize) -> Result<(), Fault> {
    let counted = u16::try_from(count).ok().filter(|count| *count <= MOST_LINES);
    out.u16(counted.ok_or(Fault::TooLarge)?);
    Ok(())
}

/// A count of things that take at least `least` bytes each, and so can be there.
fn read_count(reader: &mut Reader<'_>, least: usize) -> Option<usize> {
    let count = reader.u16().filter(|count| *count <= MOST_LINES).map(usize::from)?;
    (count * least <= reader.left()).then_some(count)
}

fn read_name(reader: &mut Reader<'_>) -> Option<HeaderName> {
    // Names are in lower case already, and one that is not is none of ours.
    HeaderName::from_lowercase(reader.short()?).ok()
}

fn write_value(out: &mut Writer, value: &HeaderValue) -> Result<(), Fault> {
    let length = u32::try_from(value.len()).ok().filter(|length| length & SENSITIVE == 0).ok_or(Fault::TooLarge)?;
    out.u32(if value.is_sensitive() { length | SENSITIVE } else { length });
    out.raw(value.as_bytes());
    Ok(())
}

/// A copy: a slice would keep the whole reply alive for a few bytes.
fn read_value(reader: &mut Reader<'_>) -> Option<HeaderValue> {
    let length = reader.u32()?;
    let bytes = reader.take(usize::try_from(length & !SENSITIVE).ok()?)?;
    let mut value = HeaderValue::from_bytes(bytes).ok()?;
    value.set_sensitive(length & SENSITIVE != 0);
    Some(value)
}

/// Of a value that is not to be shown.
const SENSITIVE: u32 = 1 << 31;

/// No more lines in one map: a line of a few bytes becomes a hundred of them in memory.
pub(super) const MOST_LINES: u16 = 1024;

/// A name of one character.
const LEAST_NAME: usize = 2 + 1;

/// An empty value.
const LEAST_VALUE: usize = 4;

const LEAST_LINE: usize = LEAST_NAME + LEAST_VALUE;

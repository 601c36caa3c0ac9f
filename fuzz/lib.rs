//! What the fuzz targets have in common: reading messages out of the fuzzer's bytes. Inputs are text, so that seeds and
//! findings can be read.

use http::{HeaderMap, HeaderName, HeaderValue};
use larder::semantics::date::Timestamp;

/// The moment of those that are handed one: 15 January 2027.
pub const NOW: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

/// The lines of an input, without their ends.
pub fn lines(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    input.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// The first line and the others.
pub fn first_line(input: &[u8]) -> (&[u8], &[u8]) {
    match input.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&input[..end], &input[end + 1..]),
        None => (input, &[]),
    }
}

/// What stands before the first empty line, and what behind it.
pub fn halves(input: &[u8]) -> (&[u8], &[u8]) {
    match input.windows(2).position(|two| two == b"\n\n") {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[]),
    }
}

/// `name: value` on each line. Lines that are no field are left out, as are those beyond the first hundred.
pub fn fields(input: &[u8]) -> HeaderMap {
    lines(input).filter_map(field).take(100).fold(HeaderMap::new(), |mut fields, (name, value)| {
        fields.append(name, value);
        fields
    })
}

/// `name: value`. As a server reads it, without white space around the value.
pub fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    Some((name, HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?))
}

/// All lines as the values of one field.
pub fn values(name: &HeaderName, input: &[u8]) -> HeaderMap {
    let values = lines(input).filter_map(|line| HeaderValue::from_bytes(line).ok());
    values.take(100).fold(HeaderMap::new(), |mut fields, value| {
        fields.append(name, value);
        fields
    })
}

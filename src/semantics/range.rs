//! Byte ranges: which parts of a representation a request asks for, and how they are written (RFC 9110 §14).
//!
//! ```text
//! Range        = "bytes" "=" 1#( first-pos "-" [ last-pos ] / "-" suffix-length )
//! ```
//!
//! A range is a favour and never a duty (§14.2): whatever is malformed, wasteful or in another unit is answered with
//! the whole representation. Ranges are of GET only, and only of what would be a 200; both are the caller's to know.

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "one part is a vector of one range")]
mod tests;

use super::validator::trim_ows;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::RANGE};
use std::ops::Range;

/// How much work a request for ranges may cause (RFC 9110 §17.15).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::RANGE};
/// use larder::semantics::range::{RangeAnswer, RangeLimits, evaluate};
///
/// let mut limits = RangeLimits::default();
/// limits.max_parts = 1;
/// let request = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-9, 20-29"))]);
/// assert_eq!(evaluate(&request, 100, &limits), RangeAnswer::Whole);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RangeLimits {
    /// The most parts a request may ask for, before overlapping ones are joined. A request for more gets the whole.
    pub max_parts: usize,
}

impl Default for RangeLimits {
    /// At most 16 parts.
    fn default() -> Self {
        Self { max_parts: 16 }
    }
}

/// How to answer a request's `Range` (RFC 9110 §14.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header::RANGE};
/// use larder::semantics::range::{RangeAnswer, RangeLimits, evaluate};
///
/// let request = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=1000-"))]);
/// let status = match evaluate(&request, 1000, &RangeLimits::default()) {
///     RangeAnswer::Whole => StatusCode::OK,
///     RangeAnswer::Parts(_) => StatusCode::PARTIAL_CONTENT,
///     RangeAnswer::Unsatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
/// };
/// assert_eq!(status, StatusCode::RANGE_NOT_SATISFIABLE);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use = "a part is sent otherwise than the whole"]
pub enum RangeAnswer {
    /// 200 with the whole representation: there is no `Range`, or it is to be ignored.
    Whole,
    /// 206 with these parts, as half-open byte ranges: one part as it is, several as [`Multipart`]. There is at least
    /// one; each has bytes and lies within the representation; none overlaps or touches another. The order is that of
    /// the request.
    Parts(Vec<Range<u64>>),
    /// 416 with [`unsatisfied_content_range`]: all ranges lie outside the representation.
    Unsatisfiable,
}

/// Which parts of a representation of this length a request asks for (RFC 9110 §14.1.2, §14.2).
///
/// Ranges outside the representation are left out. Those that overlap or touch are joined, in the place of the first of
/// them (§15.3.7.2). If they ask for more bytes than there are, or for any of an empty representation, the answer is
/// the whole.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::RANGE};
/// use larder::semantics::range::{RangeAnswer, RangeLimits, evaluate};
///
/// let answer = |asked| {
///     let request = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(asked))]);
///     evaluate(&request, 1000, &RangeLimits::default())
/// };
/// assert_eq!(answer("bytes=-10, 0-99, 50-149"), RangeAnswer::Parts(vec![990..1000, 0..150]));
/// assert_eq!(answer("lines=1-2"), RangeAnswer::Whole);
/// ```
pub fn evaluate(request: &HeaderMap, complete_length: u64, limits: &RangeLimits) -> RangeAnswer {
    let Some(set) = byte_range_set(request) else { return RangeAnswer::Whole };
    let mut parts = Vec::new();
    let mut asked = 0u128;
    let mut empty = true;
    for element in set.split(|byte| *byte == b',').map(trim_ows).filter(|element| !element.is_empty()) {
        let Some(spec) = Spec::parse(element) else { return RangeAnswer::Whole };
        empty = false;
        if let Some(part) = spec.within(complete_length) {
            if parts.len() >= limits.max_parts {
                return RangeAnswer::Whole;
            }
            asked = asked.saturating_add(u128::from(part.end.saturating_sub(part.start)));
            parts.push(part);
        }
    }
    // An empty representation has no part that could be named; clients that send a Range with everything are better
    // served by an empty 200 than by a 416.
    if empty || complete_length == 0 || asked > u128::from(complete_length) {
        RangeAnswer::Whole
    } else if parts.is_empty() {
        RangeAnswer::Unsatisfiable
    } else {
        RangeAnswer::Parts(joined(parts))
    }
}

/// The `Content-Range` of a part (RFC 9110 §14.4).
///
/// ```
/// use larder::semantics::range::content_range;
///
/// assert_eq!(content_range(&(0..500), 1234), "bytes 0-499/1234");
/// ```
pub fn content_range(part: &Range<u64>, complete_length: u64) -> HeaderValue {
    visible(content_range_text(part, complete_length))
}

/// The `Content-Range` of a 416 (RFC 9110 §14.4).
///
/// ```
/// use larder::semantics::range::unsatisfied_content_range;
///
/// assert_eq!(unsatisfied_content_range(1234), "bytes */1234");
/// ```
pub fn unsatisfied_content_range(complete_length: u64) -> HeaderValue {
    visible(format!("bytes */{complete_length}"))
}

/// Writes several parts of one representation as `multipart/byteranges` (RFC 9110 §14.6): for each part its head and its
/// bytes, then the closing.
///
/// ```
/// use http::HeaderValue;
/// use larder::semantics::range::Multipart;
///
/// let body = "the quick brown fox";
/// let multipart = Multipart::new(0x5eed, Some(&HeaderValue::from_static("text/plain")), body.len() as u64);
/// let mut content = Vec::new();
/// for part in [0..3, 10..15] {
///     content.extend(multipart.part_head(&part));
///     content.extend(&body.as_bytes()[part.start as usize..part.end as usize]);
/// }
/// content.extend(multipart.closing());
/// assert_eq!(content.len() as u64, multipart.total_length(&[0..3, 10..15]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Multipart {
    boundary: String,
    /// All of a part's head that is the same for each.
    opening: Vec<u8>,
    complete_length: u64,
}

impl Multipart {
    /// `boundary` is to be random, so that nobody can write a representation that contains it. `content_type` is the
    /// representation's.
    pub fn new(boundary: u64, content_type: Option<&HeaderValue>, complete_length: u64) -> Self {
        // A token without quotes, which some recipients cannot read.
        let boundary = format!("{boundary:016x}");
        let mut opening = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(content_type) = content_type {
            opening.extend_from_slice(b"Content-Type: ");
            opening.extend_from_slice(content_type.as_bytes());
            opening.extend_from_slice(b"\r\n");
        }
        opening.extend_from_slice(b"Content-Range: ");
        Self { boundary, opening, complete_length }
    }

    /// The `Content-Type` of the whole message.
    pub fn content_type_header(&self) -> HeaderValue {
        visible(format!("multipart/byteranges; boundary={}", self.boundary))
    }

    /// What comes before the bytes of a part: the line break that ends what was before, boundary and fields.
    pub fn part_head(&self, part: &Range<u64>) -> Bytes {
        Bytes::from([&self.opening, content_range_text(part, self.complete_length).as_bytes(), HEAD_END].concat())
    }

    /// What comes after the bytes of the last part.
    pub fn closing(&self) -> Bytes {
        Bytes::from(format!("\r\n--{}--\r\n", self.boundary))
    }

    /// The length of the content with these parts: all heads, all bytes and the closing.
    pub fn total_length(&self, parts: &[Range<u64>]) -> u64 {
        parts.iter().fold(self.closing().len() as u64, |total, part| {
            let range = content_range_text(part, self.complete_length);
            let head = self.opening.len() + range.len() + HEAD_END.len();
            total.saturating_add(head as u64).saturating_add(part.end.saturating_sub(part.start))
        })
    }
}

/// A range-spec of the unit `bytes` (RFC 9110 §14.1.2).
enum Spec {
    /// The first and the last position, counted from zero.
    Int(u64, Option<u64>),
    /// This many bytes at the end.
    Suffix(u64),
}

impl Spec {
    fn parse(spec: &[u8]) -> Option<Self> {
        let dash = spec.iter().position(|byte| *byte == b'-')?;
        let (first, last) = spec.split_at(dash);
        let last = last.strip_prefix(b"-")?;
        if first.is_empty() {
            return Some(Self::Suffix(number(last)?));
        }
        let first = number(first)?;
        let last = if last.is_empty() { None } else { Some(number(last)?) };
        last.is_none_or(|last| first <= last).then_some(Self::Int(first, last))
    }

    fn within(&self, length: u64) -> Option<Range<u64>> {
        let part = match *self {
            Self::Int(first, None) => first..length,
            Self::Int(first, Some(last)) => first..last.saturating_add(1).min(length),
            Self::Suffix(suffix) => length.saturating_sub(suffix)..length,
        };
        (part.start < part.end).then_some(part)
    }
}

/// What follows `bytes=` in the only `Range` field.
fn byte_range_set(request: &HeaderMap) -> Option<&[u8]> {
    let mut lines = request.get_all(RANGE).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let line = trim_ows(line.as_bytes());
    let (unit, set) = line.split_at(line.iter().position(|byte| *byte == b'=')?);
    if unit.eq_ignore_ascii_case(b"bytes") { set.strip_prefix(b"=") } else { None }
}

/// A decimal number of any length; one too large is as good as the largest (RFC 9110 §14.1.2).
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}

fn joined(parts: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut places: Vec<_> = parts.into_iter().enumerate().collect();
    places.sort_unstable_by_key(|(place, part)| (part.start, *place));
    let mut joined: Vec<(usize, Range<u64>)> = Vec::with_capacity(places.len());
    for (place, part) in places {
        match joined.last_mut() {
            Some((first, before)) if part.start <= before.end => {
                *first = place.min(*first);
                before.end = part.end.max(before.end);
            }
            _ => joined.push((place, part)),
        }
    }
    joined.sort_unstable_by_key(|(place, _)| *place);
    joined.into_iter().map(|(_, part)| part).collect()
}

fn content_range_text(part: &Range<u64>, complete_length: u64) -> String {
    format!("bytes {}-{}/{complete_length}", part.start, part.end.saturating_sub(1))
}

/// Text of visible characters is always a field value; the default, an empty one, never comes of it.
fn visible(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

const HEAD_END: &[u8] = b"\r\n\r\n";

//! The head of a stored response as hits send it.

use super::{CACHE_STATUS, common::Values};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AGE};
use smallvec::SmallVec;
use std::ops::Range;

/// A value of the head that is made.
enum Piece {
    Common(HeaderValue),
    /// Where it stands among those that are the response's own.
    Own(Range<usize>),
}

/// The head with its slots. Values are copied, those of a received message would keep its whole buffer alive: into one
/// buffer for all that are not [common](Values::common), so that an entry takes one allocation for them and hits count its users in one
/// place.
pub(super) fn served_head(headers: &HeaderMap, hit: Option<&HeaderValue>) -> HeaderMap {
    let served = || headers.iter().filter(|(name, _)| *name != AGE);
    let (mut own, mut values) = (Vec::new(), Values::new());
    let pieces: SmallVec<[Piece; 16]> = served()
        .map(|(name, value)| match values.common(name, value) {
            Some(value) => Piece::Common(value),
            None => {
                own.extend_from_slice(value.as_bytes());
                Piece::Own(own.len() - value.len()..own.len())
            }
        })
        .collect();
    drop(values);
    // With a byte to spare it is counted from the start, and need not become so in the first clone.
    own.shrink_to(own.len() + 1);
    own.reserve_exact(1);
    let own = Bytes::from(own);
    let mut head = HeaderMap::with_capacity(headers.len() + 2);
    head.insert(AGE, HeaderValue::from_static("0"));
    for ((name, value), piece) in served().zip(pieces) {
        let copy = match piece {
            Piece::Common(value) => value,
            Piece::Own(place) => slice(&own, place, value),
        };
        head.append(name, copy);
    }
    if let Some(hit) = hit {
        head.append(CACHE_STATUS, hit.clone());
    }
    // A clone has no room to spare.
    if head.capacity() > head.len() + head.len() / 4 { head.clone() } else { head }
}

fn slice(own: &Bytes, place: Range<usize>, value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_maybe_shared(own.slice(place)).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_TYPE, ETAG, SET_COOKIE};

    #[test]
    fn the_head_says_the_same_in_the_same_order() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.insert(AGE, HeaderValue::from_static("7"));
        headers.append(SET_COOKIE, HeaderValue::from_static("a=1"));
        headers.append(SET_COOKIE, HeaderValue::from_bytes(b"b=\xff").unwrap());
        headers.insert(ETAG, HeaderValue::from_static(""));
        headers.append(CACHE_STATUS, HeaderValue::from_static("cdn; hit"));
        headers.get_mut(SET_COOKIE).unwrap().set_sensitive(true);
        let head = served_head(&headers, Some(&HeaderValue::from_static("larder; hit")));
        let mut expected = headers.clone();
        expected.insert(AGE, HeaderValue::from_static("0"));
        expected.append(CACHE_STATUS, HeaderValue::from_static("larder; hit"));
        assert_eq!(head, expected);
        assert_eq!(head.keys().next(), Some(&AGE));
        assert!(head.get_all(SET_COOKIE).iter().map(HeaderValue::is_sensitive).eq([true, false]));
        assert_eq!(served_head(&HeaderMap::new(), None).len(), 1);
    }
}

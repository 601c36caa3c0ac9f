//! Head and body of a stored response as hits send them.

use super::{CACHE_STATUS, common::Values};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::AGE};
use smallvec::SmallVec;
use std::ops::Range;

/// The head with its slots, and the body. Values are copied, those of a received message would keep its whole buffer
/// alive: into one buffer for all that are not [common](Values::common), with a body that is short. So they take one
/// allocation, and hits count the users of all of it in one place, which has to be got from memory once.
pub(super) fn served(headers: &HeaderMap, hit: Option<&HeaderValue>, body: Bytes) -> (HeaderMap, Bytes) {
    let served = || headers.iter().filter(|(name, _)| *name != AGE);
    let (mut length, mut values) = (0, Values::new());
    let commons: SmallVec<[Option<HeaderValue>; 16]> = served()
        .map(|(name, value)| {
            let common = values.common(name, value);
            length += if common.is_none() { value.len() } else { 0 };
            common
        })
        .collect();
    drop(values);
    let end = length;
    let is_short = body.len() <= SHORT;
    // With a byte to spare it is counted from the start, and need not become so in the first clone.
    let mut own = Vec::with_capacity(end + 1 + if is_short { body.len() } else { 0 });
    let own_values = || served().zip(&commons).filter(|(_, common)| common.is_none());
    own_values().for_each(|((_, value), _)| own.extend_from_slice(value.as_bytes()));
    if is_short {
        own.extend_from_slice(&body);
    }
    let own = Bytes::from(own);
    let body = if is_short { own.slice(end..) } else { body };
    let mut head = HeaderMap::with_capacity(headers.len() + 2);
    head.insert(AGE, HeaderValue::from_static("0"));
    let mut start = 0;
    for ((name, value), common) in served().zip(commons) {
        let copy = common.unwrap_or_else(|| {
            start += value.len();
            slice(&own, start - value.len()..start, value)
        });
        head.append(name, copy);
    }
    if let Some(hit) = hit {
        head.append(CACHE_STATUS, hit.clone());
    }
    // A clone has no room to spare.
    (if head.capacity() > head.len() + head.len() / 4 { head.clone() } else { head }, body)
}

fn slice(own: &Bytes, place: Range<usize>, value: &HeaderValue) -> HeaderValue {
    let mut copy = HeaderValue::from_maybe_shared(own.slice(place)).unwrap_or_else(|_| value.clone());
    copy.set_sensitive(value.is_sensitive());
    copy
}

/// A body is short up to this length: most answers of an API, and what is copied in no time.
const SHORT: usize = 4096;

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
        let hit = HeaderValue::from_static("larder; hit");
        let (head, body) = served(&headers, Some(&hit), Bytes::from_static(b"body"));
        assert_eq!(body, "body");
        let mut expected = headers.clone();
        expected.insert(AGE, HeaderValue::from_static("0"));
        expected.append(CACHE_STATUS, HeaderValue::from_static("larder; hit"));
        assert_eq!(head, expected);
        assert_eq!(head.keys().next(), Some(&AGE));
        assert!(head.get_all(SET_COOKIE).iter().map(HeaderValue::is_sensitive).eq([true, false]));
        let (head, body) = served(&HeaderMap::new(), None, Bytes::new());
        assert_eq!((head.len(), body.len()), (1, 0));
    }

    #[test]
    fn short_bodies_lie_with_the_values_and_long_ones_where_they_were() {
        let headers: HeaderMap = [(ETAG, HeaderValue::from_static("\"a\""))].into_iter().collect();
        for length in [1, SHORT, SHORT + 1] {
            let body = Bytes::from(vec![b'x'; length]);
            let (head, kept) = served(&headers, None, body.clone());
            assert_eq!((&kept, head[ETAG].as_bytes()), (&body, &b"\"a\""[..]));
            assert_eq!(kept.as_ptr() == body.as_ptr(), length > SHORT);
            assert_eq!(head[ETAG].as_bytes().as_ptr_range().end == kept.as_ptr(), length <= SHORT);
        }
    }
}

//! Answers made from a stored response: whole, without content, in parts, or "not modified".

use super::{Facts, StatusLine};
use crate::{
    entry::{Entry, number, small},
    key::KeyBuf,
    semantics::{
        cache_control_writer::{CDN_CACHE_CONTROL, SURROGATE_CONTROL},
        date::Timestamp,
        fields::{CONTENT_DIGEST, CONTENT_MD5, REPR_DIGEST, remove_rare},
        precondition::{self, Precondition},
        range::{self, Multipart, RangeAnswer, RangeLimits},
    },
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        EXPIRES, LAST_MODIFIED,
    },
};
use http_body::{Body, Frame, SizeHint};
use std::{
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    mem,
    pin::Pin,
    task::{Context, Poll},
};

/// The body of an answer from the cache.
#[derive(Debug, Default)]
pub(crate) enum StoredBody {
    #[default]
    Empty,
    /// There is content, and it is not sent: to say that it has no length would be wrong (304).
    Unsent,
    Whole(Bytes),
    WithTrailers(Bytes, Option<Box<HeaderMap>>),
    Parts(std::vec::IntoIter<Bytes>),
}

/// The stored response as an answer to this request: RFC 9110 §13.2.2, §14.2.
pub(crate) fn answer(
    entry: &Entry,
    method: &Method,
    request: &HeaderMap,
    facts: Facts,
    now: Timestamp,
) -> Response<StoredBody> {
    let is_ok = entry.status == StatusCode::OK;
    if is_ok
        && facts.has(Facts::CONDITIONAL)
        && precondition::evaluate(method, request, &entry.head, now) == Precondition::NotModified
    {
        return not_modified(entry, now);
    }
    if *method == Method::HEAD {
        return headed(entry, now, || StoredBody::Unsent);
    }
    if is_ok
        && *method == Method::GET
        && facts.has(Facts::RANGE)
        && precondition::if_range_allows(request, &entry.head, now)
    {
        match range::evaluate(request, entry.body.len() as u64, &RangeLimits::default()) {
            RangeAnswer::Whole => {}
            RangeAnswer::Unsatisfiable => return unsatisfiable(entry, now),
            RangeAnswer::Parts(parts) => return partial(entry, now, &parts),
        }
    }
    whole(entry, now, |body| body)
}

/// Whether such a request is answered with the stored response as it is.
#[inline]
pub(crate) fn is_whole(method: &Method, facts: Facts) -> bool {
    *method != Method::HEAD && !facts.has(Facts::CONDITIONAL) && !facts.has(Facts::RANGE)
}

/// There is no stored response to use, and the client wants no other (`only-if-cached`, RFC 9111 §5.2.1.7).
pub(crate) fn nothing_stored() -> Response<StoredBody> {
    let mut response = Response::new(StoredBody::Empty);
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}

/// Says in debug mode how long the answer is still good, and under which key it is stored.
pub(crate) fn say_hit<B>(
    response: &mut Response<B>,
    status: &StatusLine,
    entry: &Entry,
    key: &KeyBuf,
    now: Timestamp,
    detail: Option<&str>,
) {
    status.say_hit(response.headers_mut(), key, entry.lifespan().ttl(now), detail);
}

/// The stored response, its body made into another kind. All is cloned first and put together last: what was just written
/// is slow to copy.
#[inline]
pub(crate) fn whole<B>(entry: &Entry, now: Timestamp, into: impl FnOnce(StoredBody) -> B) -> Response<B> {
    let body = entry.body.clone();
    headed(entry, now, || {
        into(match &entry.trailers {
            None => StoredBody::Whole(body),
            Some(trailers) => StoredBody::WithTrailers(body, Some(trailers.clone())),
        })
    })
}

/// The stored head with this body.
#[inline]
pub(crate) fn headed<B>(entry: &Entry, now: Timestamp, body: impl FnOnce() -> B) -> Response<B> {
    let mut response = Response::new(());
    *response.status_mut() = entry.status;
    let mut headers = cloned(&entry.head);
    set_age(&mut headers, entry, now);
    // What a new response has is empty and owns nothing: to drop it would be to look for what it owns.
    mem::forget(mem::replace(response.headers_mut(), headers));
    response.map(|()| body())
}

fn not_modified(entry: &Entry, now: Timestamp) -> Response<StoredBody> {
    let mut headers = head(entry, now);
    for name in [CONTENT_LENGTH, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        headers.remove(name);
    }
    remove_digests(&mut headers);
    respond(StatusCode::NOT_MODIFIED, headers, StoredBody::Unsent)
}

/// What is said of a representation, and of how long it may be kept: a failure is none.
static OF_THE_REPRESENTATION: [HeaderName; 12] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    ETAG,
    LAST_MODIFIED,
    CACHE_CONTROL,
    EXPIRES,
    CDN_CACHE_CONTROL,
    SURROGATE_CONTROL,
    CONTENT_DIGEST,
    CONTENT_MD5,
    REPR_DIGEST,
];

fn unsatisfiable(entry: &Entry, now: Timestamp) -> Response<StoredBody> {
    let mut headers = head(entry, now);
    for name in &OF_THE_REPRESENTATION {
        headers.remove(name);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    headers.insert(CONTENT_RANGE, range::unsatisfied_content_range(entry.body.len() as u64));
    respond(StatusCode::RANGE_NOT_SATISFIABLE, headers, StoredBody::Empty)
}

/// Removes what is said of the whole content. `Repr-Digest` holds of a part too, and where there is none.
fn remove_digests(headers: &mut HeaderMap) {
    static DIGESTS: [HeaderName; 2] = [CONTENT_DIGEST, CONTENT_MD5];
    remove_rare(headers, &DIGESTS);
}

fn partial(entry: &Entry, now: Timestamp, parts: &[std::ops::Range<u64>]) -> Response<StoredBody> {
    let mut headers = head(entry, now);
    remove_digests(&mut headers);
    let complete = entry.body.len() as u64;
    let (length, chunks) = if let [part] = parts {
        headers.insert(CONTENT_RANGE, range::content_range(part, complete));
        (part.end - part.start, vec![slice(&entry.body, part)])
    } else {
        let multipart = Multipart::new(boundary(), headers.get(CONTENT_TYPE), complete);
        headers.insert(CONTENT_TYPE, multipart.content_type_header());
        let mut chunks: Vec<_> =
            parts.iter().flat_map(|part| [multipart.part_head(part), slice(&entry.body, part)]).collect();
        chunks.push(multipart.closing());
        (multipart.total_length(parts), chunks)
    };
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    respond(StatusCode::PARTIAL_CONTENT, headers, StoredBody::Parts(chunks.into_iter()))
}

/// A clone, made where it stays: inlined it would be moved once more.
#[inline(never)]
fn cloned(headers: &HeaderMap) -> HeaderMap {
    headers.clone()
}

/// The stored head with its age.
fn head(entry: &Entry, now: Timestamp) -> HeaderMap {
    let mut headers = entry.head.clone();
    set_age(&mut headers, entry, now);
    headers
}

/// Sets the age, which stands first, so that it is found without a search.
#[inline]
fn set_age(headers: &mut HeaderMap, entry: &Entry, now: Timestamp) {
    let age = entry.lifespan().age(now);
    if let Some(browser) = entry.browser {
        headers.insert(CACHE_CONTROL, browser.aged(age).to_header_value());
    }
    let age = age.as_secs().min(1 << 31);
    // Each made where it stays: one that is made first and moved then is slow to copy.
    match (headers.iter_mut().next(), small(age)) {
        (Some((name, value)), Some(text)) if *name == AGE => *value = HeaderValue::from_static(text),
        (Some((name, value)), None) if *name == AGE => *value = number(age),
        _ => drop(headers.insert(AGE, number(age))),
    }
}

fn respond(status: StatusCode, headers: HeaderMap, body: StoredBody) -> Response<StoredBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn slice(body: &Bytes, part: &std::ops::Range<u64>) -> Bytes {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX).min(body.len());
    body.slice(at(part.start)..at(part.end))
}

/// A boundary that no content can foresee.
fn boundary() -> u64 {
    RandomState::new().hash_one(0)
}

impl Body for StoredBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match &mut *self {
            Self::Empty | Self::Unsent => None,
            Self::Whole(data) => {
                let data = mem::take(data);
                *self = Self::Empty;
                (!data.is_empty()).then(|| Frame::data(data))
            }
            Self::WithTrailers(data, trailers) => {
                if data.is_empty() {
                    trailers.take().map(|trailers| Frame::trailers(*trailers))
                } else {
                    Some(Frame::data(mem::take(data)))
                }
            }
            Self::Parts(chunks) => chunks.next().map(Frame::data),
        };
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Unsent => true,
            Self::Whole(data) => data.is_empty(),
            Self::WithTrailers(data, trailers) => data.is_empty() && trailers.is_none(),
            Self::Parts(chunks) => chunks.as_slice().is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Unsent => SizeHint::new(),
            Self::Whole(data) => SizeHint::with_exact(data.len() as u64),
            // An exact length would cost the trailers on HTTP/1.1.
            Self::WithTrailers(data, _) => {
                let mut hint = SizeHint::new();
                hint.set_lower(data.len() as u64);
                hint
            }
            Self::Parts(chunks) => SizeHint::with_exact(chunks.as_slice().iter().map(|chunk| chunk.len() as u64).sum()),
        }
    }
}

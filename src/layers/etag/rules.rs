use crate::{
    clock::Clock,
    semantics::{
        cache_control::ResponseDirectives,
        date::{Timestamp, http_date, parse_http_date},
    },
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, LAST_MODIFIED, TRAILER},
    response::Parts,
};
use http_body::Body;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// In the extensions of a response: when its content was last modified. An [`ETagLayer`](super::ETagLayer) writes it as
/// `Last-Modified`, if the handler has not, and compares it with `If-Modified-Since`.
///
/// A moment in the future is written as now (RFC 9110 §8.8.2.1).
///
/// ```
/// use http::Response;
/// use larder::LastModified;
/// use std::time::SystemTime;
///
/// let mut response = Response::new("report");
/// response.extensions_mut().insert(LastModified(SystemTime::UNIX_EPOCH)); // when the row was saved
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LastModified(pub SystemTime);

/// What a layer was told.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) weak: bool,
    pub(super) max_body: usize,
    pub(super) last_modified: Option<Arc<LastModifiedOf>>,
    clock: Clock,
}

type LastModifiedOf = dyn Fn(&Parts) -> Option<SystemTime> + Send + Sync;

impl Rules {
    /// Writes `Last-Modified`, if that is known and not there yet.
    pub(super) fn add_last_modified(&self, head: &mut Parts) {
        if head.headers.contains_key(LAST_MODIFIED) {
            return;
        }
        let told = head.extensions.get::<LastModified>().map(|at| at.0);
        let asked = || catch_unwind(AssertUnwindSafe(|| self.last_modified.as_ref()?(head))).ok().flatten();
        let Some(at) = told.or_else(asked) else { return };
        let Some(at) = at.duration_since(UNIX_EPOCH).ok().map(|since| Timestamp::default().saturating_add(since))
        else {
            return;
        };
        let now = self.now();
        let made = head.headers.get(DATE).and_then(|date| parse_http_date(date.as_bytes(), now)).unwrap_or(now);
        head.headers.insert(LAST_MODIFIED, http_date(at.min(made)));
    }

    /// Whether a body is to be read for a tag.
    pub(super) fn wants<B: Body>(&self, headers: &HeaderMap, body: &B) -> bool {
        let limit = self.max_body as u64;
        let hint = body.size_hint();
        hint.lower() <= limit
            && hint.upper().is_none_or(|upper| upper <= limit)
            && declared_length(headers).is_some_and(|length| length.is_none_or(|length| length <= limit))
            && !headers.contains_key(TRAILER)
            && !is_stream(headers)
            && !ResponseDirectives::parse(headers).no_store
    }

    /// The tag of a representation. Lengths stand before what they are of, so that nothing can pass for something else.
    pub(super) fn tag<'a>(&self, headers: &HeaderMap, content: impl IntoIterator<Item = &'a Bytes>) -> HeaderValue {
        let mut hasher = blake3::Hasher::new();
        for name in [CONTENT_TYPE, CONTENT_ENCODING] {
            let lines = headers.get_all(name);
            hasher.update(&(lines.iter().count() as u64).to_le_bytes());
            for line in lines {
                hasher.update(&(line.len() as u64).to_le_bytes());
                hasher.update(line.as_bytes());
            }
        }
        for chunk in content {
            hasher.update(chunk);
        }
        let hash = hasher.finalize().to_hex();
        let tag = format!("{}\"{}\"", if self.weak { "W/" } else { "" }, &hash[..TAG_DIGITS]);
        // Hexadecimal digits, so the second arm is never taken.
        HeaderValue::try_from(tag).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.adjust();
        self.clock.now()
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { weak: false, max_body: 1 << 20, last_modified: None, clock: Clock::system() }
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").field("weak", &self.weak).field("max_body", &self.max_body).finish_non_exhaustive()
    }
}

/// The length that a head declares, if it does; `None` if what it says is no length.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut lines = headers.get_all(CONTENT_LENGTH).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Some(None),
        (Some(line), None) => line.to_str().ok()?.parse().ok().map(Some),
        (Some(_), Some(_)) => None,
    }
}

/// Whether each piece of a response is meant to arrive as it is made.
fn is_stream(headers: &HeaderMap) -> bool {
    let at_once = headers.get(ACCEL_BUFFERING).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"no"));
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.as_bytes().split(|byte| *byte == b';').next());
    at_once
        || kind.is_some_and(|kind| STREAMS.iter().any(|name| kind.trim_ascii().eq_ignore_ascii_case(name.as_bytes())))
}

/// 128 bits.
const TAG_DIGITS: usize = 32;

/// By which an application tells nginx not to hold back a response.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const STREAMS: [&str; 7] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    "application/stream+json",
    "application/grpc",
    "multipart/x-mixed-replace",
];

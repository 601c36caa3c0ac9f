//! What the cache says of itself in `Cache-Status` (RFC 9211).

use crate::{
    entry::CACHE_STATUS,
    key::{Key, KeyBuf},
    semantics::cache_status::{CacheStatus, Forward},
};
use http::{HeaderMap, HeaderValue, StatusCode};

/// The name of this cache in `Cache-Status`.
pub(crate) const NAME: &str = "larder";

/// Whether responses say what the cache did, in `Cache-Status` (RFC 9211).
///
/// ```
/// use larder::{Cache, CacheLayer, CacheStatusHeader, Policy};
/// # use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::ConfigError> {
/// # let inner = service_fn(|_: http::Request<axum::body::Body>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
/// # });
/// # let policy = Policy::fresh_for(std::time::Duration::from_secs(60));
///
/// let cache = Cache::builder().cache_status(CacheStatusHeader::Off).build()?;
/// let app = CacheLayer::new(&cache, policy).layer(inner);
/// let response = app.oneshot(http::Request::new(axum::body::Body::empty())).await.expect("it cannot fail");
/// assert!(!response.headers().contains_key("cache-status"));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CacheStatusHeader {
    /// They do not.
    Off,
    /// `larder; hit`, or whether the request was forwarded and the answer stored.
    #[default]
    Brief,
    /// Also the key, the time to live and the reason. For development: it tells one user what others have asked for.
    Debug,
}

/// How much is said.
#[derive(Clone, Debug)]
pub(crate) struct StatusLine {
    mode: CacheStatusHeader,
    hit: HeaderValue,
}

/// What is known about a forwarded request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Forwarded<'a> {
    pub(crate) stored: bool,
    pub(crate) collapsed: bool,
    pub(crate) status: Option<StatusCode>,
    pub(crate) key: Option<&'a KeyBuf>,
    pub(crate) detail: Option<&'a str>,
}

impl StatusLine {
    pub(crate) fn new(mode: CacheStatusHeader) -> Self {
        Self { mode, hit: HeaderValue::from_static("larder; hit") }
    }

    /// What stored heads say from the start; nothing where it is off.
    pub(crate) fn hit(&self) -> Option<&HeaderValue> {
        (self.mode != CacheStatusHeader::Off).then_some(&self.hit)
    }

    pub(crate) fn is_debug(&self) -> bool {
        self.mode == CacheStatusHeader::Debug
    }

    /// Says of an answer made from the cache more than that it is a hit, in debug mode.
    pub(crate) fn say_hit(&self, headers: &mut HeaderMap, key: &KeyBuf, ttl: i64, detail: Option<&str>) {
        if self.is_debug() {
            let key = Key::from(key).to_string();
            let line = CacheStatus { hit: true, ttl: Some(ttl), key: Some(&key), detail, ..CacheStatus::new(NAME) };
            replace_last(headers, line.to_header_value());
        }
    }

    /// Says that the request was forwarded. `slot` tells that the head is a stored one, which says `hit` so far.
    pub(crate) fn say_forwarded(&self, headers: &mut HeaderMap, why: Forward, note: Forwarded<'_>, slot: bool) {
        let value = match self.mode {
            CacheStatusHeader::Off => return,
            CacheStatusHeader::Brief => brief(why, note),
            CacheStatusHeader::Debug => {
                let key = note.key.map(|key| Key::from(key).to_string());
                let line = CacheStatus {
                    fwd: Some(why),
                    fwd_status: note.status.map(|status| status.as_u16()),
                    stored: note.stored,
                    collapsed: note.collapsed,
                    key: key.as_deref(),
                    detail: note.detail,
                    ..CacheStatus::new(NAME)
                };
                line.to_header_value()
            }
        };
        if slot {
            replace_last(headers, value);
        } else {
            headers.append(CACHE_STATUS, value);
        }
    }
}

/// Three words are enough for users; the finer ones tell what others have asked for.
fn brief(why: Forward, note: Forwarded<'_>) -> HeaderValue {
    match (why, note.stored) {
        (Forward::Bypass | Forward::Method | Forward::Partial, _) => {
            const { HeaderValue::from_static("larder; fwd=bypass") }
        }
        (Forward::Stale | Forward::Request, _) if note.collapsed => {
            const { HeaderValue::from_static("larder; fwd=stale; collapsed") }
        }
        (_, _) if note.collapsed => const { HeaderValue::from_static("larder; fwd=miss; collapsed") },
        (Forward::Stale | Forward::Request, true) => const { HeaderValue::from_static("larder; fwd=stale; stored") },
        (Forward::Stale | Forward::Request, false) => const { HeaderValue::from_static("larder; fwd=stale") },
        (_, true) => const { HeaderValue::from_static("larder; fwd=miss; stored") },
        (_, false) => const { HeaderValue::from_static("larder; fwd=miss") },
    }
}

fn replace_last(headers: &mut HeaderMap, value: HeaderValue) {
    let mut lines: Vec<_> = headers.get_all(CACHE_STATUS).iter().cloned().collect();
    lines.pop();
    headers.remove(CACHE_STATUS);
    for line in lines.into_iter().chain([value]) {
        headers.append(CACHE_STATUS, line);
    }
}

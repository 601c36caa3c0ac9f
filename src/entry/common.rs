//! Field values that stored responses have in common, such as `text/html; charset=utf-8`: kept once for the whole process,
//! and for good. A clone of such a value costs nothing; one of a value of its own costs an atomic operation, and another
//! when it is dropped, which is most of what a hit does.

use super::number::small;
use http::{HeaderName, HeaderValue, header::CONTENT_LENGTH};
use std::{
    collections::HashSet,
    hash::BuildHasher,
    sync::{
        LazyLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What is kept, to be looked at for several values. Not to be held for long.
pub(super) struct Values {
    of: &'static Common,
    kept: Option<RwLockReadGuard<'static, Kept>>,
}

impl Values {
    pub(super) fn new() -> Self {
        static COMMON: LazyLock<Common> = LazyLock::new(Common::default);
        Self { of: &COMMON, kept: None }
    }

    /// The value as one that is kept for good, if it is worth that.
    pub(super) fn common(&mut self, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
        let is_length = *name == CONTENT_LENGTH;
        if value.is_sensitive() || !(is_length || is_usual(name.as_str())) {
            return None;
        }
        let text = value.to_str().ok()?;
        let kept = if is_length {
            small(text.parse().ok()?).filter(|kept| *kept == text)
        } else {
            // What has a nonce never comes again.
            Some(text).filter(|text| !text.contains("'nonce-")).and_then(|text| self.kept(text))
        };
        kept.map(HeaderValue::from_static)
    }

    fn kept(&mut self, value: &str) -> Option<&'static str> {
        let kept = self.kept.get_or_insert_with(|| self.of.read());
        match kept.values.get(value) {
            Some(kept) => Some(kept),
            None => {
                self.kept = None;
                self.of.keep(value)
            }
        }
    }
}

/// Whether such fields are chosen by the application, and few of their values are those of one response alone.
fn is_usual(name: &str) -> bool {
    matches!(
        name,
        "accept-ranges"
            | "access-control-allow-credentials"
            | "access-control-allow-headers"
            | "access-control-allow-methods"
            | "access-control-expose-headers"
            | "alt-svc"
            | "cache-control"
            | "cdn-cache-control"
            | "content-encoding"
            | "content-language"
            | "content-security-policy"
            | "content-type"
            | "cross-origin-embedder-policy"
            | "cross-origin-opener-policy"
            | "cross-origin-resource-policy"
            | "permissions-policy"
            | "referrer-policy"
            | "server"
            | "strict-transport-security"
            | "surrogate-control"
            | "vary"
            | "x-content-type-options"
            | "x-frame-options"
            | "x-powered-by"
            | "x-xss-protection"
    )
}

/// What is kept. Nothing leaves it, so it takes no more than [`MOST`] bytes.
#[derive(Debug)]
struct Common {
    kept: RwLock<Kept>,
    /// The hashes of what was seen last.
    seen: Box<[AtomicU64]>,
}

#[derive(Debug, Default)]
struct Kept {
    values: HashSet<&'static str, rapidhash::quality::RandomState>,
    bytes: usize,
}

impl Common {
    fn read(&self) -> RwLockReadGuard<'_, Kept> {
        self.kept.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a value that may not be kept yet.
    fn keep(&self, value: &str) -> Option<&'static str> {
        let kept = self.read();
        let bytes = kept.bytes + value.len();
        let hash = kept.values.hasher().hash_one(value);
        drop(kept);
        // The first ones at once. When it is half full, what comes once and never again has to leave room for others.
        if bytes > MOST || value.len() > LONGEST || (bytes > MOST / 2 && !self.was_seen(hash)) {
            return None;
        }
        self.kept.write().unwrap_or_else(PoisonError::into_inner).keep(value)
    }

    /// Whether it was seen before, not too many others ago.
    fn was_seen(&self, hash: u64) -> bool {
        let place = usize::try_from(hash % self.seen.len() as u64).unwrap_or(0);
        self.seen[place].swap(hash, Relaxed) == hash
    }
}

impl Default for Common {
    fn default() -> Self {
        Self { kept: RwLock::default(), seen: (0..SEEN).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Kept {
    fn keep(&mut self, value: &str) -> Option<&'static str> {
        if let Some(kept) = self.values.get(value) {
            return Some(kept);
        }
        if self.bytes + value.len() > MOST {
            return None;
        }
        let kept: &'static str = Box::leak(value.into());
        self.bytes += kept.len();
        self.values.insert(kept);
        Some(kept)
    }
}

/// The bytes of all values together.
const MOST: usize = 128 * 1024;

/// The longest one: a long `Content-Security-Policy`.
const LONGEST: usize = 2048;

const SEEN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG};

    #[test]
    fn what_is_kept_is_found_again_and_bounded() {
        let common = Common::default();
        let first = common.keep("text/html").unwrap();
        assert!(std::ptr::eq(first, common.keep(&String::from("text/html")).unwrap()));
        assert_eq!(common.keep(&"x".repeat(LONGEST + 1)), None);
        let mut kept = 0;
        for number in 0..10_000 {
            kept += usize::from(common.keep(&format!("{number:0>64}")).is_some());
        }
        assert_eq!(kept, (MOST / 2 - first.len()) / 64, "half of it for what comes once");
        let seen_again = "y".repeat(64);
        assert_eq!(common.keep(&seen_again), None);
        assert_eq!(common.keep(&seen_again), Some(&*seen_again));
        for number in 10_000..20_000 {
            common.keep(&format!("{number:0>64}"));
            common.keep(&format!("{number:0>64}"));
        }
        let kept = common.kept.read().unwrap();
        assert!(kept.bytes <= MOST && kept.bytes + 64 > MOST, "{}", kept.bytes);
        assert_eq!(kept.bytes, kept.values.iter().map(|value| value.len()).sum::<usize>());
    }

    #[test]
    fn what_is_secret_or_of_one_response_alone_is_not_kept() {
        let mut values = Values::new();
        let mut value = HeaderValue::from_static("a");
        assert_eq!(values.common(&ETAG, &value), None);
        assert_eq!(values.common(&CONTENT_TYPE, &value).as_ref(), Some(&value));
        assert_eq!(values.common(&CONTENT_LENGTH, &HeaderValue::from_static("17")).unwrap(), "17");
        assert_eq!(values.common(&CONTENT_LENGTH, &HeaderValue::from_static("017")), None);
        assert_eq!(values.common(&CONTENT_TYPE, &HeaderValue::from_bytes(b"caf\xe9").unwrap()), None);
        let nonce = HeaderValue::from_static("script-src 'nonce-c3VwZXI'");
        assert_eq!(values.common(&CONTENT_SECURITY_POLICY, &nonce), None);
        value.set_sensitive(true);
        assert_eq!(values.common(&CONTENT_TYPE, &value), None);
    }
}

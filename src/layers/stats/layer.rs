use super::StatsService;
use http::{HeaderMap, HeaderName};
use std::fmt;
use tower_layer::Layer;

/// Tells in debug mode what the caches did during a request, in fields of its response.
///
/// | field | what it says |
/// |---|---|
/// | `X-Cache` | `HIT`, `STALE`, `REVALIDATED`, `MISS` or `BYPASS`: what the outermost cache did that took part |
/// | `X-Cache-Hits` | how often something was found, in layers and by the handler |
/// | `X-Cache-Misses` | how often something was not |
/// | `X-Cache-Sets` | how often something was accepted for storage before the head was sent |
/// | `X-Cache-Key` | the key of the request |
/// | `X-Cache-Explain` | what the outermost cache did that took part, and why: one line, at most 512 bytes |
///
/// ```
/// use larder::StatsLayer;
///
/// let layer = StatsLayer::debug(cfg!(debug_assertions));
/// # let _ = layer;
/// ```
///
/// `X-Cache-Explain` begins with the outcome; then comes what there is to say of it:
///
/// ```text
/// hit; policy=dashboard; age=12; ttl=48
/// stale; reason=stale-while-revalidate; policy=dashboard; age=75; ttl=-15
/// miss; reason=uri-miss; policy=cart; stored=no; not-stored=set-cookie
/// bypass; reason=cookie
/// ```
///
/// `reason` is that of [`Bypass`](crate::Bypass), or of `fwd` in `Cache-Status`, or what a stale answer is owed to
/// (`stale-while-revalidate`, `stale-if-error`, `timeout`, `fill-limit`); `not-stored` that of
/// [`NotStored`](crate::NotStored). What a request would meet, before it is made, is told by
/// [`CacheLayer::explain`](crate::CacheLayer::explain).
///
/// A key tells much about other users: in production, keep it off, or on for requests
/// [with a secret](StatsLayer::with_secret). A cache in front of the application stores these fields as it does others.
///
/// In debug mode, fields of these names that the inner service sends are removed. Otherwise they are left alone.
///
/// The layer belongs outside of every [`CacheLayer`](crate::CacheLayer). Inside of one it says nothing, for what it says
/// of one request would be stored and told to all. A response counts as set once its head was found fit to be stored: its
/// body, which has yet to come, may still turn out too long. What a handler does in tasks that it spawns is not counted.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct StatsLayer {
    mode: Mode,
}

/// When the fields are written.
#[derive(Clone)]
pub(super) enum Mode {
    Off,
    On,
    /// For requests that have, in this field, a value with this hash. Without one there is no such value.
    Secret(HeaderName, Option<blake3::Hash>),
}

impl StatsLayer {
    /// Says and counts nothing.
    pub fn off() -> Self {
        Self { mode: Mode::Off }
    }

    /// Says all it knows to everybody.
    pub fn on() -> Self {
        Self { mode: Mode::On }
    }

    /// On or off.
    pub fn debug(on: bool) -> Self {
        if on { Self::on() } else { Self::off() }
    }

    /// Says all it knows to those who send this secret in this field. The handler never sees the field, right or wrong.
    /// The time that comparing takes tells nothing about the secret. An empty secret is nobody's.
    ///
    /// ```
    /// # use larder::StatsLayer;
    /// use http::HeaderName;
    ///
    /// let secret = std::env::var("CACHE_DEBUG_SECRET").unwrap_or_default();
    /// let layer = StatsLayer::with_secret(HeaderName::from_static("x-cache-debug"), secret);
    /// # let _ = layer;
    /// ```
    pub fn with_secret(field: HeaderName, secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        let hash = (!secret.is_empty()).then(|| blake3::hash(secret));
        Self { mode: Mode::Secret(field, hash) }
    }
}

impl Mode {
    /// Whether the fields are written for a request, which loses its secret by this.
    pub(super) fn take(&self, request: &mut HeaderMap) -> bool {
        match self {
            Self::Off => false,
            Self::On => true,
            Self::Secret(field, hash) => {
                let mut lines = request.get_all(field).iter();
                let given = match (lines.next(), lines.next()) {
                    (Some(given), None) => Some(blake3::hash(given.as_bytes())),
                    _ => None,
                };
                request.remove(field);
                // Two hashes are compared in constant time.
                given.is_some_and(|given| *hash == Some(given))
            }
        }
    }
}

impl<S> Layer<S> for StatsLayer {
    type Service = StatsService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StatsService::new(inner, self.mode.clone())
    }
}

/// Without the hash: what is short can be guessed from it.
impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("Off"),
            Self::On => f.write_str("On"),
            Self::Secret(field, _) => f.debug_tuple("Secret").field(field).finish_non_exhaustive(),
        }
    }
}

impl fmt::Debug for StatsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StatsLayer").field(&self.mode).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn the_secret_opens_and_is_taken() {
        const FIELD: HeaderName = HeaderName::from_static("x-debug");
        let given = |lines: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(FIELD, HeaderValue::from_bytes(line).unwrap());
            }
            headers
        };
        for (layer, lines, opens) in [
            (StatsLayer::with_secret(FIELD, "s3cret"), &[&b"s3cret"[..]][..], true),
            (StatsLayer::with_secret(FIELD, "s3cret"), &[b"s3cret "], false),
            (StatsLayer::with_secret(FIELD, "s3cret"), &[b"S3cret"], false),
            (StatsLayer::with_secret(FIELD, "s3cret"), &[b""], false),
            (StatsLayer::with_secret(FIELD, "s3cret"), &[], false),
            (StatsLayer::with_secret(FIELD, "s3cret"), &[b"s3cret", b"s3cret"], false),
            (StatsLayer::with_secret(FIELD, "s\u{e9}"), &["s\u{e9}".as_bytes()], true),
            (StatsLayer::with_secret(FIELD, ""), &[b""], false),
            (StatsLayer::with_secret(FIELD, ""), &[], false),
        ] {
            let mut headers = given(lines);
            assert_eq!(layer.mode.take(&mut headers), opens, "{layer:?} {lines:?}");
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn the_secret_does_not_show_in_logs() {
        let layer = StatsLayer::with_secret(HeaderName::from_static("x-debug"), "s3cret");
        let text = format!("{layer:?}");
        let hash = blake3::hash(b"s3cret").to_hex();
        assert!(!text.contains("s3cret") && !text.contains(&hash[..8]), "{text}");
    }
}

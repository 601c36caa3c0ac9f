//! The `Cache-Control` field of responses and requests (RFC 9111 §5.2; RFC 5861 §3 and §4).
//!
//! ```text
//! Cache-Control   = #( token [ "=" ( token / quoted-string ) ] )
//! delta-seconds   = 1*DIGIT
//! ```
//!
//! The value is read byte by byte, never as text, so that one odd byte cannot hide a prohibition. What does not follow
//! the grammar is swept for prohibitions, and nothing else in it counts.

mod parts;
#[cfg(test)]
mod tests;

pub(super) use parts::is_tchar;

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
use parts::{NameBuffer, Part, Parts, Value, lower_case, tokens};
use std::time::Duration;

/// What a response allows and forbids (RFC 9111 §5.2.2, RFC 5861).
///
/// Of duplicate lifetimes the smaller is kept (RFC 9111 §4.2.1). `no-cache` and `private` with a list of fields count
/// as without one, which RFC 9111 §5.2.2.4 and §5.2.2.7 allow. A directive that takes no value forbids with one as without,
/// and grants nothing with one.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::cache_control::ResponseDirectives;
/// use std::time::Duration;
///
/// let says = HeaderValue::from_static("max-age=600, max-age=60, private=\"set-cookie\"");
/// let directives = ResponseDirectives::parse(&HeaderMap::from_iter([(CACHE_CONTROL, says)]));
/// assert_eq!(directives.max_age, Some(Duration::from_secs(60)));
/// assert!(directives.private && !directives.malformed);
///
/// let broken = ResponseDirectives::from_lines([&b"max-age=soon, no-store"[..]]);
/// assert!(broken.malformed && broken.no_store);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ResponseDirectives {
    /// `max-age` (RFC 9111 §5.2.2.1).
    pub max_age: Option<Duration>,
    /// `s-maxage` (RFC 9111 §5.2.2.10).
    pub s_maxage: Option<Duration>,
    /// `stale-while-revalidate` (RFC 5861 §3).
    pub stale_while_revalidate: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// `no-store` (RFC 9111 §5.2.2.5).
    pub no_store: bool,
    /// `no-cache`, with or without field names (RFC 9111 §5.2.2.4).
    pub no_cache: bool,
    /// `private`, with or without field names (RFC 9111 §5.2.2.7).
    pub private: bool,
    /// `public` (RFC 9111 §5.2.2.9).
    pub public: bool,
    /// `must-revalidate` (RFC 9111 §5.2.2.2).
    pub must_revalidate: bool,
    /// `proxy-revalidate` (RFC 9111 §5.2.2.8).
    pub proxy_revalidate: bool,
    /// `must-understand` (RFC 9111 §5.2.2.3).
    pub must_understand: bool,
    /// `no-transform` (RFC 9111 §5.2.2.6).
    pub no_transform: bool,
    /// `immutable` (RFC 8246).
    pub immutable: bool,
    /// Some of it does not follow the grammar, or a lifetime is not in seconds.
    pub malformed: bool,
}

impl ResponseDirectives {
    /// Reads all `Cache-Control` field lines.
    pub fn parse(headers: &HeaderMap) -> Self {
        Self::from_lines(headers.get_all(CACHE_CONTROL).iter().map(HeaderValue::as_bytes))
    }

    /// Reads field lines, each for itself: a quote left open in one does not reach into the next.
    pub fn from_lines<'a>(lines: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut all = Self::default();
        for part in lines.into_iter().flat_map(Parts::of) {
            all.add(part);
        }
        all
    }

    fn add(&mut self, part: Part<'_>) {
        let mut buffer = NameBuffer::default();
        match part {
            Part::Directive(name, value) => {
                let name = lower_case(name, &mut buffer);
                if let Some(lifetime) = self.lifetime(name) {
                    match value.and_then(Value::delta_seconds) {
                        Some(seconds) => keep_smaller(lifetime, seconds),
                        None => self.malformed = true,
                    }
                } else if value.is_none() {
                    self.switch(name).into_iter().for_each(|switch| *switch = true);
                } else {
                    self.restrict(name);
                }
            }
            Part::Unparsed(text) => {
                self.malformed = true;
                for name in tokens(text) {
                    let name = lower_case(name, &mut buffer);
                    if is_prohibition(name)
                        && let Some(switch) = self.switch(name)
                    {
                        *switch = true;
                    }
                }
            }
        }
    }

    /// Obeys a directive that has a value that it should not have: it forbids what it forbids, and allows nothing. The name is in
    /// lower case.
    pub(super) fn restrict(&mut self, name: &[u8]) {
        // That one also allows to share what was asked for with credentials (RFC 9111 §3.5).
        let name = if name == b"must-revalidate" { b"proxy-revalidate" } else { name };
        if is_prohibition(name)
            && let Some(switch) = self.switch(name)
        {
            *switch = true;
        }
    }

    /// The place of a directive that gives a time in seconds. The name is in lower case.
    pub(super) fn lifetime(&mut self, name: &[u8]) -> Option<&mut Option<Duration>> {
        Some(match name {
            b"max-age" => &mut self.max_age,
            b"s-maxage" => &mut self.s_maxage,
            b"stale-while-revalidate" => &mut self.stale_while_revalidate,
            b"stale-if-error" => &mut self.stale_if_error,
            _ => return None,
        })
    }

    /// The place of a directive that is there or not. The name is in lower case.
    pub(super) fn switch(&mut self, name: &[u8]) -> Option<&mut bool> {
        Some(match name {
            b"no-store" => &mut self.no_store,
            b"no-cache" => &mut self.no_cache,
            b"private" => &mut self.private,
            b"public" => &mut self.public,
            b"must-revalidate" => &mut self.must_revalidate,
            b"proxy-revalidate" => &mut self.proxy_revalidate,
            b"must-understand" => &mut self.must_understand,
            b"no-transform" => &mut self.no_transform,
            b"immutable" => &mut self.immutable,
            _ => return None,
        })
    }
}

/// What a request asks of caches (RFC 9111 §5.2.1; RFC 5861 §4).
///
/// Whoever wrote it badly gets the careful reading: of conflicting values the stricter, for a `max-age` or `min-fresh`
/// that cannot be read `max-age=0`, and for such a `max-stale` nothing.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::cache_control::RequestDirectives;
/// use std::time::Duration;
///
/// let says = HeaderValue::from_static("only-if-cached, max-age=ten");
/// let asks = RequestDirectives::parse(&HeaderMap::from_iter([(CACHE_CONTROL, says)]));
/// assert!(asks.only_if_cached); // 504 where nothing is stored
/// assert_eq!(asks.max_age, Some(Duration::ZERO));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct RequestDirectives {
    /// `no-cache` (RFC 9111 §5.2.1.4).
    pub no_cache: bool,
    /// `no-store` (RFC 9111 §5.2.1.5).
    pub no_store: bool,
    /// `no-transform` (RFC 9111 §5.2.1.6).
    pub no_transform: bool,
    /// `only-if-cached` (RFC 9111 §5.2.1.7).
    pub only_if_cached: bool,
    /// `max-age` (RFC 9111 §5.2.1.1).
    pub max_age: Option<Duration>,
    /// `min-fresh` (RFC 9111 §5.2.1.3).
    pub min_fresh: Option<Duration>,
    /// `stale-if-error` (RFC 5861 §4).
    pub stale_if_error: Option<Duration>,
    /// `max-stale` (RFC 9111 §5.2.1.2).
    pub max_stale: Option<MaxStale>,
}

/// How stale a response a request accepts (RFC 9111 §5.2.1.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
/// use larder::semantics::cache_control::{MaxStale, RequestDirectives};
/// use std::time::Duration;
///
/// let accepts = |says| {
///     let fields = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(says))]);
///     RequestDirectives::parse(&fields).max_stale
/// };
/// assert_eq!(accepts("max-stale"), Some(MaxStale::Any));
/// assert_eq!(accepts("max-stale=30"), Some(MaxStale::Within(Duration::from_secs(30))));
/// assert_eq!(accepts("max-stale=long"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MaxStale {
    /// `max-stale` without a value: any age.
    Any,
    /// Stale for no longer than this.
    Within(Duration),
}

impl RequestDirectives {
    /// Reads all `Cache-Control` field lines.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut all = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for part in Parts::of(line.as_bytes()) {
                all.add(part);
            }
        }
        all
    }

    fn add(&mut self, part: Part<'_>) {
        let mut buffer = NameBuffer::default();
        match part {
            Part::Directive(name, value) => self.add_directive(lower_case(name, &mut buffer), value),
            Part::Unparsed(text) => {
                for name in tokens(text) {
                    match lower_case(name, &mut buffer) {
                        b"no-cache" => self.no_cache = true,
                        b"no-store" => self.no_store = true,
                        b"no-transform" => self.no_transform = true,
                        b"max-age" | b"min-fresh" => self.max_age = Some(Duration::ZERO),
                        _ => {}
                    }
                }
            }
        }
    }

    fn add_directive(&mut self, name: &[u8], value: Option<Value<'_>>) {
        let seconds = value.and_then(Value::delta_seconds);
        match (name, seconds) {
            (b"no-cache", _) => self.no_cache = true,
            (b"no-store", _) => self.no_store = true,
            (b"no-transform", _) => self.no_transform = true,
            (b"only-if-cached", _) => self.only_if_cached = true,
            (b"min-fresh", Some(seconds)) => self.min_fresh = self.min_fresh.max(Some(seconds)),
            (b"max-age" | b"min-fresh", _) => keep_smaller(&mut self.max_age, seconds.unwrap_or_default()),
            (b"stale-if-error", Some(seconds)) => keep_smaller(&mut self.stale_if_error, seconds),
            (b"max-stale", Some(seconds)) => {
                self.max_stale = Some(match self.max_stale {
                    Some(MaxStale::Within(limit)) => MaxStale::Within(limit.min(seconds)),
                    Some(MaxStale::Any) | None => MaxStale::Within(seconds),
                });
            }
            (b"max-stale", None) if value.is_none() => {
                self.max_stale.get_or_insert(MaxStale::Any);
            }
            _ => {}
        }
    }
}

/// The greatest lifetime, 2^31 seconds (RFC 9111 §1.2.2). More is read as this.
pub const MAX_DELTA: Duration = Duration::from_secs(1 << 31);

/// Whether a response directive only ever forbids, so that reading it where none was meant is safe. `must-understand`
/// is not such a one: it lifts `no-store` (RFC 9111 §5.2.2.3). The name is in lower case.
pub(super) const fn is_prohibition(name: &[u8]) -> bool {
    matches!(name, b"no-store" | b"no-cache" | b"private" | b"must-revalidate" | b"proxy-revalidate" | b"no-transform")
}

/// Of conflicting lifetimes the most restrictive counts (RFC 9111 §4.2.1).
pub(super) fn keep_smaller(lifetime: &mut Option<Duration>, other: Duration) {
    *lifetime = Some(lifetime.map_or(other, |known| known.min(other)));
}

//! Writing `Cache-Control` for browsers and CDNs (RFC 9111 §5.2.2, RFC 5861, RFC 8246).

use super::cache_control::{MAX_DELTA, ResponseDirectives};
use http::{HeaderMap, HeaderName, HeaderValue, header::CACHE_CONTROL};
use std::{borrow::Cow, fmt, time::Duration};

/// A `Cache-Control` for responses that does not contradict itself.
///
/// ```
/// use larder::CacheControl;
/// use std::time::Duration;
///
/// const LOGO: CacheControl = CacheControl::public(Duration::from_secs(3600)).immutable();
/// assert_eq!(LOGO.to_string(), "max-age=3600, public, immutable");
/// ```
///
/// Directives stand in this order: what may be kept at all, lifetimes, who may share, the rest. Times are in whole
/// seconds, rounded down, and at most 2^31.
///
/// A contradiction is a panic where the value is made: in a constant that is an error of the compiler.
///
/// ```compile_fail
/// # use larder::CacheControl;
/// const WRONG: CacheControl = CacheControl::no_store().immutable();
/// # let _ = WRONG;
/// ```
///
/// | refused | because |
/// |---|---|
/// | `no-store` with anything but `no-transform` | nothing is kept that it could speak of |
/// | `no-cache` with `immutable`, `s-maxage`, `stale-…` | it is never used without being asked about |
/// | `private` with `s-maxage` | that is a lifetime for those who must not keep it |
/// | `must-revalidate` with `stale-…` | it forbids what they allow |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use = "it says nothing until a response has it"]
pub struct CacheControl {
    keep: Keep,
    sharing: Sharing,
    s_maxage: Option<u32>,
    immutable: bool,
    must_revalidate: bool,
    stale_while_revalidate: Option<u32>,
    stale_if_error: Option<u32>,
    no_transform: bool,
}

/// For how long it may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Keep {
    /// Not at all.
    NoStore,
    /// It may be kept, and is asked about before each use.
    NoCache,
    /// It is fresh for this many seconds.
    MaxAge(u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sharing {
    Unsaid,
    Public,
    Private,
}

/// # From nothing
impl CacheControl {
    /// Any cache may keep it for so long: `max-age=…, public`.
    pub const fn public(lifetime: Duration) -> Self {
        Self::new(Keep::MaxAge(seconds(lifetime)), Sharing::Public)
    }

    /// The cache of the one who asked may keep it for so long, and no other: `max-age=…, private`.
    pub const fn private(lifetime: Duration) -> Self {
        Self::new(Keep::MaxAge(seconds(lifetime)), Sharing::Private)
    }

    /// No cache may keep it: `no-store`.
    pub const fn no_store() -> Self {
        Self::new(Keep::NoStore, Sharing::Unsaid)
    }

    /// Every cache must ask whether it still holds before it uses it: `no-cache`.
    pub const fn no_cache() -> Self {
        Self::new(Keep::NoCache, Sharing::Unsaid)
    }
}

/// # And more
///
/// # Panics
///
/// Each of these panics if the result would contradict itself, as the table above has it.
impl CacheControl {
    /// Shared caches may keep it for another time than browsers: `s-maxage=…`.
    ///
    /// A cache that follows RFC 9111 §5.2.2.10 serves nothing stale past it.
    pub const fn s_maxage(mut self, lifetime: Duration) -> Self {
        self.s_maxage = Some(seconds(lifetime));
        self.checked()
    }

    /// While it is fresh it does not change, not even when the user reloads: `immutable` (RFC 8246).
    pub const fn immutable(mut self) -> Self {
        self.immutable = true;
        self.checked()
    }

    /// Stale, it must not be used unasked, not even when the server is away: `must-revalidate`.
    pub const fn must_revalidate(mut self) -> Self {
        self.must_revalidate = true;
        self.checked()
    }

    /// For so long past its lifetime it may be used while a cache asks anew: `stale-while-revalidate=…` (RFC 5861 §3).
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(seconds(window));
        self.checked()
    }

    /// For so long past its lifetime it may be used when the server fails: `stale-if-error=…` (RFC 5861 §4).
    pub const fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(seconds(window));
        self.checked()
    }

    /// Nobody on the way may recode it: `no-transform`.
    pub const fn no_transform(mut self) -> Self {
        self.no_transform = true;
        self
    }

    /// As a field value.
    pub fn to_header_value(&self) -> HeaderValue {
        // Names and digits, so the second arm is never taken.
        HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static("no-store"))
    }

    /// What [`to_header_value`](Self::to_header_value) has written; nothing if it has not.
    pub(crate) fn read(written: &[u8]) -> Option<Self> {
        let said = ResponseDirectives::from_lines([written]);
        let keep = match said.max_age {
            Some(lifetime) => Keep::MaxAge(seconds(lifetime)),
            None if said.no_cache => Keep::NoCache,
            None => Keep::NoStore,
        };
        let sharing = match (said.public, said.private) {
            (false, false) => Sharing::Unsaid,
            (true, _) => Sharing::Public,
            (false, true) => Sharing::Private,
        };
        let control = Self {
            s_maxage: said.s_maxage.map(seconds),
            immutable: said.immutable,
            must_revalidate: said.must_revalidate,
            stale_while_revalidate: said.stale_while_revalidate.map(seconds),
            stale_if_error: said.stale_if_error.map(seconds),
            no_transform: said.no_transform,
            ..Self::new(keep, sharing)
        };
        (control.to_string().as_bytes() == written).then_some(control)
    }

    /// The same for the one who asked alone.
    pub(crate) const fn for_one(mut self) -> Self {
        if !self.forbids_storing() {
            self.sharing = Sharing::Private;
            self.s_maxage = None;
        }
        self
    }

    /// The same lifetimes from now on, for a response that is `age` old already: recipients count from its `Age`.
    pub(crate) fn aged(mut self, age: Duration) -> Self {
        let age = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
        let later = |seconds: u32| seconds.saturating_add(age).min(1 << 31);
        if let Keep::MaxAge(seconds) = &mut self.keep {
            *seconds = later(*seconds);
        }
        self.s_maxage = self.s_maxage.map(later);
        self
    }

    /// Whether it lets anybody use a stored response without asking.
    pub(crate) const fn grants_reuse(&self) -> bool {
        matches!(self.keep, Keep::MaxAge(_))
    }

    pub(crate) const fn forbids_storing(&self) -> bool {
        matches!(self.keep, Keep::NoStore)
    }

    pub(crate) const fn is_private(&self) -> bool {
        matches!(self.sharing, Sharing::Private)
    }

    /// What it forbids to caches, as a directive.
    const fn prohibition(&self) -> Option<&'static str> {
        match (self.keep, self.sharing) {
            (Keep::NoStore, _) => Some("no-store"),
            (Keep::NoCache, _) => Some("no-cache"),
            (Keep::MaxAge(_), Sharing::Private) => Some("private"),
            (Keep::MaxAge(_), _) => None,
        }
    }

    /// How long it is fresh in caches that know nothing of `Cache-Control` and may be shared.
    pub(crate) const fn lifetime_for_all(&self) -> Duration {
        match (self.keep, self.sharing) {
            (Keep::MaxAge(seconds), Sharing::Public) => Duration::from_secs(seconds as u64),
            _ => Duration::ZERO,
        }
    }

    const fn new(keep: Keep, sharing: Sharing) -> Self {
        Self {
            keep,
            sharing,
            s_maxage: None,
            immutable: false,
            must_revalidate: false,
            stale_while_revalidate: None,
            stale_if_error: None,
            no_transform: false,
        }
    }

    const fn checked(self) -> Self {
        let stale = self.stale_while_revalidate.is_some() || self.stale_if_error.is_some();
        match self.keep {
            Keep::NoStore => panic!("no-store: there is nothing else to say of what is not kept"),
            Keep::NoCache if self.immutable || self.s_maxage.is_some() || stale => {
                panic!("no-cache: it is never used unasked, so no lifetime or leave counts")
            }
            _ => {}
        }
        assert!(
            !(self.is_private() && self.s_maxage.is_some()),
            "private: shared caches must not keep it for any time"
        );
        assert!(!(self.must_revalidate && stale), "must-revalidate forbids what the stale directives allow");
        self
    }
}

impl fmt::Display for CacheControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.keep {
            Keep::NoStore => f.write_str("no-store")?,
            Keep::NoCache => f.write_str("no-cache")?,
            Keep::MaxAge(seconds) => write!(f, "max-age={seconds}")?,
        }
        if let Some(seconds) = self.s_maxage {
            write!(f, ", s-maxage={seconds}")?;
        }
        match self.sharing {
            Sharing::Unsaid => {}
            Sharing::Public => f.write_str(", public")?,
            Sharing::Private => f.write_str(", private")?,
        }
        if self.immutable {
            f.write_str(", immutable")?;
        }
        if self.must_revalidate {
            f.write_str(", must-revalidate")?;
        }
        if let Some(seconds) = self.stale_while_revalidate {
            write!(f, ", stale-while-revalidate={seconds}")?;
        }
        if let Some(seconds) = self.stale_if_error {
            write!(f, ", stale-if-error={seconds}")?;
        }
        if self.no_transform {
            f.write_str(", no-transform")?;
        }
        Ok(())
    }
}

impl From<CacheControl> for HeaderValue {
    fn from(value: CacheControl) -> Self {
        value.to_header_value()
    }
}

/// In the extensions of a response whose fields a layer wrote for browsers and CDNs: what in their place counts for a
/// cache further out. That is what the handler had said, and what the layer was told to forbid. The leave that the layer
/// gives is not the handler's: a page that CDNs may keep for those who are not signed in is not one for everybody.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForCaches(Vec<Rewritten>);

#[derive(Clone, Debug)]
struct Rewritten {
    name: HeaderName,
    counts: Vec<HeaderValue>,
    written: Option<HeaderValue>,
}

impl ForCaches {
    /// Writes `Cache-Control`. Of what it says, prohibitions count.
    pub(crate) fn write_control(&mut self, headers: &mut HeaderMap, control: CacheControl, written: HeaderValue) {
        self.write(headers, CACHE_CONTROL, Some(written));
        if let (Some(field), Some(prohibition)) = (self.0.last_mut(), control.prohibition()) {
            field.counts.push(HeaderValue::from_static(prohibition));
        }
    }

    /// Writes or removes a field. What was there before counts.
    pub(crate) fn write(&mut self, headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
        let known = self.0.iter().position(|field| field.name == name).map(|place| self.0.swap_remove(place));
        let counts = match known {
            Some(field) if field.stands(headers) => field.counts,
            _ => headers.get_all(&name).iter().cloned().collect(),
        };
        match &value {
            Some(value) => drop(headers.insert(name.clone(), value.clone())),
            None => drop(headers.remove(&name)),
        }
        self.0.push(Rewritten { name, counts, written: value });
    }

    /// Each field that was written, with the lines that count and the one that was written: for a store.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &[HeaderValue], Option<&HeaderValue>)> {
        self.0.iter().map(|field| (&field.name, field.counts.as_slice(), field.written.as_ref()))
    }

    /// What [`ForCaches::parts`] gave.
    pub(crate) fn from_parts(
        parts: impl IntoIterator<Item = (HeaderName, Vec<HeaderValue>, Option<HeaderValue>)>,
    ) -> Self {
        Self(parts.into_iter().map(|(name, counts, written)| Rewritten { name, counts, written }).collect())
    }

    /// The head that counts. What somebody else has written since counts as it is.
    pub(crate) fn head<'a>(&self, headers: &'a HeaderMap) -> Cow<'a, HeaderMap> {
        let mut head = Cow::Borrowed(headers);
        for field in self.0.iter().filter(|field| field.stands(headers)) {
            let head = head.to_mut();
            head.remove(&field.name);
            for line in &field.counts {
                head.append(&field.name, line.clone());
            }
        }
        head
    }
}

impl Rewritten {
    /// Whether the field is still as it was written.
    fn stands(&self, headers: &HeaderMap) -> bool {
        headers.get_all(&self.name).iter().eq(&self.written)
    }
}

/// For CDNs, in place of `Cache-Control` (RFC 9213 §3.1).
pub(crate) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// For surrogates, in place of `Cache-Control` (Edge Architecture Specification §2.1).
pub(crate) const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

const fn seconds(of: Duration) -> u32 {
    match of.as_secs() {
        seconds @ ..MOST => seconds as u32,
        _ => MOST as u32,
    }
}

const MOST: u64 = MAX_DELTA.as_secs();

#[cfg(test)]
mod tests;

//! From a request to the parts of its key.

use super::{
    KeyBuf, Part,
    forwarded::{is_forwarding, write_forwarded},
    search::{Searches, write_query},
};
use crate::{
    outcome::Bypass,
    semantics::{
        content_coding,
        date::Timestamp,
        language,
        target::{Asked, PLAIN_HOST, Target},
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, COOKIE, HOST},
    request::Parts,
    uri::PathAndQuery,
};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;
use std::{
    borrow::Cow,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// What of a request a policy puts into the key, beside the target URI.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyRules {
    pub(crate) query: QueryRule,
    pub(crate) sort_query: bool,
    pub(crate) headers: Vec<HeaderName>,
    /// The values that a parameter may have.
    pub(crate) query_values: Vec<(String, Vec<String>)>,
    pub(crate) cookies: Vec<String>,
    /// The languages that the service speaks.
    pub(crate) languages: Vec<String>,
    pub(crate) codings: bool,
    pub(crate) date: Option<UtcOffset>,
    pub(crate) custom: Vec<CustomPart>,
    /// What responses have said of their queries.
    pub(crate) searches: Arc<Searches>,
}

/// A part of the key that a closure of the policy makes of the request.
#[derive(Clone)]
pub(crate) struct CustomPart {
    pub(crate) name: Cow<'static, str>,
    pub(crate) value: Arc<CustomValue>,
}

type CustomValue = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// A time zone without daylight saving: so many minutes ahead of UTC.
///
/// ```
/// use larder::{Policy, UtcOffset};
/// let india = UtcOffset::minutes(5 * 60 + 30);
/// let today = Policy::preset(larder::Preset::Attendance).key_date(india);
/// assert_ne!(india, UtcOffset::hours(5));
/// # let _ = today;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UtcOffset(i32);

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);

    /// So many hours ahead of UTC, or behind it where negative.
    pub const fn hours(hours: i32) -> Self {
        Self::minutes(hours.saturating_mul(60))
    }

    /// So many minutes ahead of UTC, or behind it where negative.
    pub const fn minutes(minutes: i32) -> Self {
        Self(minutes)
    }

    /// The milliseconds that it is ahead of UTC.
    pub(crate) fn millis(self) -> i64 {
        i64::from(self.0) * 60_000
    }

    pub(crate) fn is_possible(self) -> bool {
        (-12 * 60..=14 * 60).contains(&self.0)
    }

    /// Days since the epoch, by the calendar of this zone.
    fn day(self, now: Timestamp) -> i64 {
        let seconds = i64::try_from(now.as_unix_secs()).unwrap_or(i64::MAX / 2);
        seconds.saturating_add(i64::from(self.0) * 60).div_euclid(24 * 3600)
    }
}

impl fmt::Debug for CustomPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Which query parameters count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum QueryRule {
    #[default]
    All,
    None,
    Only(Vec<String>),
    Except(Vec<String>),
}

impl KeyRules {
    /// These rules as text, where they are not the defaults. Part of the key: policies with other rules never share.
    pub(crate) fn shape(&self) -> Option<String> {
        let mut shape = Vec::new();
        match &self.query {
            QueryRule::All => {}
            QueryRule::None => shape.push("query=none".to_owned()),
            QueryRule::Only(names) => shape.push(format!("query={names:?}")),
            QueryRule::Except(names) => shape.push(format!("query-except={names:?}")),
        }
        if self.sort_query {
            shape.push("sorted".to_owned());
        }
        if !self.headers.is_empty() {
            let names: Vec<_> = self.headers.iter().map(HeaderName::as_str).collect();
            shape.push(format!("headers={names:?}"));
        }
        let lists = [("cookies", &self.cookies), ("languages", &self.languages)];
        shape.extend(lists.iter().filter(|(_, list)| !list.is_empty()).map(|(name, list)| format!("{name}={list:?}")));
        if !self.query_values.is_empty() {
            shape.push(format!("query-values={:?}", self.query_values));
        }
        if self.codings {
            shape.push("codings".to_owned());
        }
        if let Some(UtcOffset(minutes)) = self.date {
            shape.push(format!("date={minutes}"));
        }
        if !self.custom.is_empty() {
            shape.push(format!("custom={:?}", self.custom));
        }
        (!shape.is_empty()).then(|| shape.join(","))
    }

    /// Writes the target URI and what else tells responses apart. `forwarded` says that there are fields of
    /// [`is_forwarding`].
    pub(crate) fn write(
        &self,
        key: &mut KeyBuf,
        asked: Asked<'_>,
        parts: &Parts,
        forwarded: bool,
        now: &dyn Fn() -> Timestamp,
    ) -> Result<(), Bypass> {
        let uri = asked.uri;
        write_origin(key, asked)?;
        key.part(Part::Path, uri.path().as_bytes());
        if self.takes_any_query() && self.searches.is_empty() {
            if let Some(query) = uri.query() {
                key.part(Part::Query, query.as_bytes());
            }
        } else {
            let query = uri.query().and_then(|query| self.keyed_query(query));
            if query.as_deref().is_some_and(|query| !self.allows_values(query)) {
                return Err(Bypass::QueryValue);
            }
            write_query(key, query.as_deref(), self.searches.of(uri.path()).as_ref());
        }
        for name in &self.headers {
            write_lines(key, Part::Header, name, &parts.headers);
        }
        if forwarded {
            write_forwarded(key, &parts.headers);
        }
        if self.has_more() { self.write_more(key, parts, now) } else { Ok(()) }
    }

    /// What few policies use.
    fn write_more(&self, key: &mut KeyBuf, parts: &Parts, now: &dyn Fn() -> Timestamp) -> Result<(), Bypass> {
        for name in &self.cookies {
            let values: SmallVec<[&[u8]; 2]> = cookies(&parts.headers)
                .filter(|(found, _)| *found == name.as_bytes())
                .map(|(_, value)| value)
                .collect();
            if !values.is_empty() {
                key.part_named(Part::Cookie, name, values.into_iter());
            }
        }
        if let Some(language) = language::preferred(&parts.headers, &self.languages) {
            key.part(Part::Language, language.as_bytes());
        }
        if self.codings
            && let Some(codings) = content_coding::normal(&parts.headers)
        {
            key.part(Part::Codings, codings.to_header_value().as_bytes());
        }
        if let Some(zone) = self.date {
            key.part(Part::Date, zone.day(now()).to_string().as_bytes());
        }
        for part in &self.custom {
            let value = catch_unwind(AssertUnwindSafe(|| (part.value)(parts))).map_err(|_| Bypass::CallbackPanicked)?;
            if let Some(value) = value {
                key.part_named(Part::Custom, &part.name, std::iter::once(value.as_bytes()));
            }
        }
        Ok(())
    }

    /// Whether a request field of this name is part of the key, as a whole or in part.
    pub(crate) fn names(&self, name: &HeaderName) -> bool {
        *name == HOST
            || is_forwarding(name.as_str())
            || self.headers.contains(name)
            || (*name == COOKIE && !self.cookies.is_empty())
            || (*name == ACCEPT_LANGUAGE && !self.languages.is_empty())
            || (*name == ACCEPT_ENCODING && self.codings)
    }

    /// Whether the query is part of the key as it is.
    #[inline]
    fn takes_any_query(&self) -> bool {
        self.query == QueryRule::All && !self.sort_query && self.query_values.is_empty()
    }

    #[inline]
    fn has_more(&self) -> bool {
        self.codings
            || self.date.is_some()
            || !(self.cookies.is_empty() && self.languages.is_empty() && self.custom.is_empty())
    }

    /// Makes the request say no more than what is in the key, where the policy puts only a part of a field there: the
    /// named cookies, the language that was chosen.
    #[inline]
    pub(crate) fn narrow(&self, headers: &mut HeaderMap) {
        if self.has_more() {
            self.narrow_more(headers);
        }
    }

    fn narrow_more(&self, headers: &mut HeaderMap) {
        if let Some(language) = language::preferred(headers, &self.languages)
            && let Ok(value) = HeaderValue::from_str(language)
        {
            headers.insert(ACCEPT_LANGUAGE, value);
        }
        if !self.cookies.is_empty() && headers.contains_key(COOKIE) {
            let kept: Vec<Vec<u8>> = cookies(headers)
                .filter(|(name, _)| self.cookies.iter().any(|kept| kept.as_bytes() == *name))
                .map(|(name, value)| [name, b"=", value].concat())
                .collect();
            headers.remove(COOKIE);
            if let Some(value) = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok().filter(|value| !value.is_empty())
            {
                headers.insert(COOKIE, value);
            }
        }
    }

    /// Whether each parameter whose values are listed has one of them.
    fn allows_values(&self, query: &str) -> bool {
        self.query_values.is_empty()
            || query.split('&').all(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let listed = self.query_values.iter().find(|(listed, _)| listed == name);
                listed.is_none_or(|(_, values)| values.iter().any(|allowed| allowed == value))
            })
    }

    /// The query as it stands in the key; `None` if nothing of it counts.
    pub(crate) fn keyed_query<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let kept = self.query.kept(query)?;
        Some(if self.sort_query { Cow::Owned(sorted(&kept)) } else { kept })
    }
}

impl QueryRule {
    /// The query with the parameters that count, in the order of the client.
    pub(crate) fn kept<'q>(&self, query: &'q str) -> Option<Cow<'q, str>> {
        let counts = |pair: &&str| match self {
            Self::Only(names) => names.iter().any(|name| name == parameter_name(pair)),
            Self::Except(names) => names.iter().all(|name| name != parameter_name(pair)),
            Self::All | Self::None => true,
        };
        match self {
            Self::All => Some(Cow::Borrowed(query)),
            Self::None => None,
            Self::Only(_) | Self::Except(_) => {
                let kept: SmallVec<[&str; 8]> = query.split('&').filter(counts).collect();
                (!kept.is_empty()).then(|| Cow::Owned(kept.join("&")))
            }
        }
    }
}

/// The target without the parameters that do not count, if there were any: what the handler is to see, so that an
/// unkeyed parameter cannot shape a stored response.
pub(crate) fn keyed_uri(uri: &Uri, rules: &KeyRules) -> Option<Uri> {
    let query = uri.query()?;
    let kept = rules.query.kept(query);
    if kept.as_deref() == Some(query) {
        return None;
    }
    let target = match kept {
        Some(kept) => format!("{}?{kept}", uri.path()),
        None => uri.path().to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// Pairs sorted by name. Equal names stay in the order of the client, which may mean something.
fn sorted(query: &str) -> String {
    let mut pairs: SmallVec<[&str; 8]> = query.split('&').collect();
    // Two spellings of one name are one name to a handler, and keep their order.
    if query.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        pairs.sort_by_cached_key(|pair| {
            let name = parameter_name(pair).replace('+', " ");
            percent_decode_str(&name).collect::<Vec<_>>()
        });
    } else {
        pairs.sort_by_key(|pair| parameter_name(pair));
    }
    pairs.join("&")
}

/// The names of the cookies of a request.
pub(crate) fn cookie_names(headers: &HeaderMap) -> Vec<String> {
    cookies(headers).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The cookies of a request, name and value, in order.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = headers.get_all(COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(|pair| {
        match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (pair[..at].trim_ascii_end(), pair[at + 1..].trim_ascii_start()),
            None => (&b""[..], pair),
        }
    })
}

fn parameter_name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Writes scheme, host and port.
#[inline]
fn write_origin(key: &mut KeyBuf, asked: Asked<'_>) -> Result<(), Bypass> {
    if let Some(scheme) = asked.scheme() {
        key.part(Part::Scheme, scheme.as_bytes());
    }
    // Most are a name alone: then there is nothing to be understood in two ways.
    if asked.only_authority().is_some_and(|only| key.part_by(Part::Authority, only, &PLAIN_HOST)) {
        return Ok(());
    }
    let target = Target::at(asked).map_err(Bypass::Ambiguous)?;
    if let Some(authority) = target.normal_authority() {
        key.part_lowercase(Part::Authority, authority);
    }
    Ok(())
}

pub(crate) fn write_lines(key: &mut KeyBuf, part: Part, name: &HeaderName, headers: &HeaderMap) {
    let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes).peekable();
    if lines.peek().is_some() {
        key.part_named(part, name.as_str(), lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn keyed(rules: &KeyRules, query: &str) -> Option<String> {
        rules.keyed_query(query).map(Cow::into_owned)
    }

    #[test]
    fn query_rules() {
        let all = KeyRules::default();
        assert_eq!(keyed(&all, "b=1&a=2").as_deref(), Some("b=1&a=2"));
        let sorted = KeyRules { sort_query: true, ..KeyRules::default() };
        assert_eq!(keyed(&sorted, "b=1&a=2&b=0").as_deref(), Some("a=2&b=1&b=0"));
        for (query, expected) in [
            ("%61=1&a=2", "%61=1&a=2"),
            ("a=2&%61=1", "a=2&%61=1"),
            ("b=3&a=2&%61=1", "a=2&%61=1&b=3"),
            ("a+b=1&a%20b=2&A=0", "A=0&a+b=1&a%20b=2"),
            ("a%2Bb=1&a+b=2", "a+b=2&a%2Bb=1"),
        ] {
            assert_eq!(keyed(&sorted, query).as_deref(), Some(expected));
        }
        let only = KeyRules { query: QueryRule::Only(names(&["a"])), ..KeyRules::default() };
        assert_eq!(keyed(&only, "b=1&a=2&a=").as_deref(), Some("a=2&a="));
        assert_eq!(keyed(&only, "b=1"), None);
        let except = KeyRules { query: QueryRule::Except(names(&["utm"])), ..KeyRules::default() };
        assert_eq!(keyed(&except, "utm=1&a&utm").as_deref(), Some("a"));
        let none = KeyRules { query: QueryRule::None, ..KeyRules::default() };
        assert_eq!(keyed(&none, "a=1"), None);
    }

    #[test]
    fn a_request_says_no_more_than_its_key() {
        let rules =
            KeyRules { cookies: names(&["theme", "lang"]), languages: names(&["en", "de"]), ..KeyRules::default() };
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("sid=secret; theme=dark"));
        headers.append(COOKIE, HeaderValue::from_static("lang = de ;theme=light; odd"));
        headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("de-AT, fr;q=0.5"));
        rules.narrow(&mut headers);
        assert_eq!(headers[COOKIE], "theme=dark; lang=de; theme=light");
        assert_eq!(headers[ACCEPT_LANGUAGE], "de");
        headers.insert(COOKIE, HeaderValue::from_static("sid=secret"));
        rules.narrow(&mut headers);
        assert!(!headers.contains_key(COOKIE));
    }

    #[test]
    fn listed_values_are_the_only_ones() {
        let days = KeyRules { query_values: vec![("days".to_owned(), names(&["7", "30"]))], ..KeyRules::default() };
        for (query, allowed) in
            [("days=7", true), ("days=8", false), ("days", false), ("x=1", true), ("days=7&days=8", false)]
        {
            assert_eq!(days.allows_values(query), allowed, "{query}");
        }
    }

    #[test]
    fn the_day_is_that_of_the_zone() {
        let late = Timestamp::from_unix_secs(24 * 3600 - 60);
        assert_eq!([UtcOffset::UTC, UtcOffset::hours(1), UtcOffset::hours(-1)].map(|zone| zone.day(late)), [0, 1, 0]);
        assert_eq!(UtcOffset::hours(-5).day(Timestamp::from_unix_secs(60)), -1);
    }

    #[test]
    fn what_is_not_keyed_is_not_seen() {
        let only = KeyRules { query: QueryRule::Only(names(&["a"])), ..KeyRules::default() };
        let seen = |uri: &str| keyed_uri(&uri.parse().unwrap(), &only).map(|uri| uri.to_string());
        assert_eq!(seen("/x?b=1&a=2").as_deref(), Some("/x?a=2"));
        assert_eq!(seen("http://h/x?b=1").as_deref(), Some("http://h/x"));
        assert_eq!(seen("/x?a=2"), None);
        assert_eq!(seen("/x"), None);
    }
}

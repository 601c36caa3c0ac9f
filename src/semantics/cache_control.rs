//! The `Cache-Control` field of responses and requests (RFC 9111 §5.2; RFC 5861 §3 and §4).
//!
//! ```text
//! Cache-Control   = #( token [ "=" ( token / quoted-string ) ] )
//! delta-seconds   = 1*DIGIT
//! ```
//!
//! The value is read byte by byte, never as text, so that one odd byte cannot hide a prohibition. What does not follow
//! the grammar is swept for prohibitions, and nothing else in it counts.

use http::{HeaderMap, HeaderValue, header::CACHE_CONTROL};
use std::time::Duration;

/// What a response allows and forbids (RFC 9111 §5.2.2, RFC 5861).
///
/// Of duplicate lifetimes the smaller is kept (RFC 9111 §4.2.1). `no-cache` and `private` with a list of fields count
/// as without one, which RFC 9111 §5.2.2.4 and §5.2.2.7 allow. A value on a directive that takes none is ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
                } else if let Some(switch) = self.switch(name) {
                    *switch = true;
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// A piece of a field line.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// An element that follows the grammar.
    Directive(&'a [u8], Option<Value<'a>>),
    /// Text in which no element can be told for certain.
    Unparsed(&'a [u8]),
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Token(&'a [u8]),
    /// What stands between the quotes, quoted pairs as they are.
    Quoted(&'a [u8]),
}

impl Value<'_> {
    /// `1*DIGIT` (RFC 9111 §1.2.2), also in quotes (RFC 9111 §5.2), at most [`MAX_DELTA`].
    fn delta_seconds(self) -> Option<Duration> {
        let (Self::Token(bytes) | Self::Quoted(bytes)) = self;
        let quoted = matches!(self, Self::Quoted(_));
        let mut seconds = None;
        let mut escaped = false;
        for byte in bytes {
            escaped = quoted && !escaped && *byte == b'\\';
            if escaped {
                continue;
            }
            if !byte.is_ascii_digit() {
                return None;
            }
            let more = seconds.unwrap_or(0_u64) * 10 + u64::from(byte - b'0');
            seconds = Some(more.min(MAX_DELTA.as_secs()));
        }
        seconds.map(Duration::from_secs)
    }
}

/// The pieces of one field line. Empty elements are left out (RFC 9110 §5.6.1.2).
struct Parts<'a> {
    rest: &'a [u8],
    /// A quote in a broken element made it doubtful what is quoted, and all the rest has been handed out as unparsed.
    swept: bool,
}

impl<'a> Parts<'a> {
    fn of(line: &'a [u8]) -> Self {
        Self { rest: line, swept: false }
    }

    /// Steps over an element that does not follow the grammar, to the next comma outside quotes.
    fn step_over(&mut self) -> Part<'a> {
        let text = self.rest;
        let (mut quoted, mut escaped, mut doubtful) = (false, false, false);
        let comma = text.iter().position(|&byte| {
            doubtful |= byte == b'"';
            quoted ^= byte == b'"' && !escaped;
            escaped = quoted && !escaped && byte == b'\\';
            byte == b',' && !quoted
        });
        let (broken, rest) = comma.and_then(|at| text.split_at_checked(at)).unwrap_or((text, &[]));
        self.rest = rest;
        if !doubtful {
            return Part::Unparsed(broken);
        }
        // Once is enough, and keeps hostile lines from costing quadratic time.
        let all = if self.swept { &[] } else { text };
        self.swept = true;
        Part::Unparsed(all)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let start = self.rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b','))?;
        self.rest = self.rest.get(start..)?;
        let Some((name, value, rest)) = directive(self.rest) else {
            return Some(self.step_over());
        };
        self.rest = rest;
        Some(Part::Directive(name, value))
    }
}

type Directive<'a> = (&'a [u8], Option<Value<'a>>, &'a [u8]);

/// `token [ "=" ( token / quoted-string ) ] OWS`, and the rest from the comma on.
fn directive(text: &[u8]) -> Option<Directive<'_>> {
    let (name, rest) = token(text)?;
    let (value, rest) = match rest {
        [b'=', b'"', rest @ ..] => {
            let (content, rest) = quoted_string(rest)?;
            (Some(Value::Quoted(content)), rest)
        }
        [b'=', rest @ ..] => {
            let (value, rest) = token(rest)?;
            (Some(Value::Token(value)), rest)
        }
        rest => (None, rest),
    };
    let end = rest.iter().position(|byte| !matches!(byte, b' ' | b'\t')).unwrap_or(rest.len());
    let rest = rest.get(end..)?;
    matches!(rest, [] | [b',', ..]).then_some((name, value, rest))
}

fn token(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|&byte| !is_tchar(byte)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|(token, _)| !token.is_empty())
}

/// The content up to the closing quote (RFC 9110 §5.6.4), and what follows it. `text` begins after the opening quote.
fn quoted_string(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'"' if !escaped => return Some((text.get(..at)?, text.get(at + 1..)?)),
            byte if byte.is_ascii_control() && byte != b'\t' => return None,
            _ => escaped = !escaped && byte == b'\\',
        }
    }
    None
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| !is_tchar(byte)).filter(|token| !token.is_empty())
}

/// A character of a token (RFC 9110 §5.6.2).
pub(super) const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether a response directive only ever forbids, so that reading it where none was meant is safe. `must-understand`
/// is not such a one: it lifts `no-store` (RFC 9111 §5.2.2.3). The name is in lower case.
pub(super) const fn is_prohibition(name: &[u8]) -> bool {
    matches!(name, b"no-store" | b"no-cache" | b"private" | b"must-revalidate" | b"proxy-revalidate" | b"no-transform")
}

/// Of conflicting lifetimes the most restrictive counts (RFC 9111 §4.2.1).
pub(super) fn keep_smaller(lifetime: &mut Option<Duration>, other: Duration) {
    *lifetime = Some(lifetime.map_or(other, |known| known.min(other)));
}

/// As long as the longest directive known here, `stale-while-revalidate`.
type NameBuffer = [u8; 22];

/// The name in lower case; nothing for a name longer than any known here.
fn lower_case<'b>(name: &[u8], buffer: &'b mut NameBuffer) -> &'b [u8] {
    let Some(lower) = buffer.get_mut(..name.len()) else {
        return &[];
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(line: &str) -> ResponseDirectives {
        ResponseDirectives::from_lines([line.as_bytes()])
    }

    fn request(lines: &[&str]) -> RequestDirectives {
        let lines = lines.iter().map(|line| (CACHE_CONTROL, HeaderValue::from_bytes(line.as_bytes()).unwrap()));
        RequestDirectives::parse(&lines.collect())
    }

    fn seconds(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn reads_every_response_directive() {
        let all = response(
            "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4, no-store, no-cache, private, public, \
             must-revalidate, proxy-revalidate, must-understand, no-transform, immutable",
        );
        let expected = ResponseDirectives {
            max_age: seconds(1),
            s_maxage: seconds(2),
            stale_while_revalidate: seconds(3),
            stale_if_error: seconds(4),
            no_store: true,
            no_cache: true,
            private: true,
            public: true,
            must_revalidate: true,
            proxy_revalidate: true,
            must_understand: true,
            no_transform: true,
            immutable: true,
            malformed: false,
        };
        assert_eq!(all, expected);
    }

    #[test]
    fn names_in_any_case_over_all_lines() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_CONTROL, HeaderValue::from_static("MAX-AGE=60,\tPublic"));
        headers.append(CACHE_CONTROL, HeaderValue::from_static("No-Cache"));
        let all = ResponseDirectives::parse(&headers);
        let expected =
            ResponseDirectives { max_age: seconds(60), public: true, no_cache: true, ..ResponseDirectives::default() };
        assert_eq!(all, expected);
        assert_eq!(ResponseDirectives::parse(&HeaderMap::new()), ResponseDirectives::default());
    }

    #[test]
    fn empty_elements_are_fine() {
        for line in ["", " ", ",", " ,\t, ,"] {
            assert_eq!(response(line), ResponseDirectives::default(), "{line:?}");
        }
        let all = response(", ,no-store,, max-age=1 ,");
        assert!(all.no_store && !all.malformed);
        assert_eq!(all.max_age, seconds(1));
    }

    #[test]
    fn lifetimes_are_digits() {
        for (value, expected) in [
            ("60", 60),
            (r#""60""#, 60),
            (r#""6\0""#, 60),
            ("0060", 60),
            ("0", 0),
            ("2147483647", (1 << 31) - 1),
            ("2147483649", 1 << 31),
            ("99999999999999999999999999999999999999999", 1 << 31),
        ] {
            let all = response(&format!("max-age={value}, public"));
            assert_eq!((all.max_age, all.public, all.malformed), (seconds(expected), true, false), "{value}");
        }
        for value in
            ["-1", "+1", "60.5", "", r#""""#, r#"" 60""#, "6 0", r#""6\""#, "0x10", "60s", "\u{663}", "\"60", "60\""]
        {
            let all = response(&format!("max-age={value}"));
            assert_eq!((all.max_age, all.malformed), (None, true), "{value}");
        }
        for line in ["max-age", "max-age =60", "max-age= 60", "max-age=60;x", "max-age\t=60"] {
            let all = response(line);
            assert_eq!((all.max_age, all.malformed), (None, true), "{line}");
        }
    }

    #[test]
    fn the_smaller_of_duplicate_lifetimes_counts() {
        assert_eq!(response("max-age=60, max-age=600").max_age, seconds(60));
        assert_eq!(response("max-age=600, max-age=60").max_age, seconds(60));
        let all = response("max-age=600, max-age=x");
        assert_eq!((all.max_age, all.malformed), (seconds(600), true));
    }

    #[test]
    fn qualified_and_valued_directives_count() {
        let all = response(r#"no-cache="set-cookie, x", private="x", no-store=1, public=yes"#);
        assert!(all.no_cache && all.private && all.no_store && all.public && !all.malformed);
    }

    #[test]
    fn what_is_quoted_is_content() {
        for line in [
            r#"max-age=60, ext="a, no-store, b""#,
            r#"ext="no-store", max-age=60"#,
            r#"ext="a\", private, \\" , max-age=60"#,
            "ext=\"\u{e9}, no-store\", max-age=60",
            "ext=no-store, max-age=60",
            "x-no-store-hint, not-private, no-stores, no_store, max-age=60",
        ] {
            let expected = ResponseDirectives { max_age: seconds(60), ..ResponseDirectives::default() };
            assert_eq!(response(line), expected, "{line}");
        }
    }

    #[test]
    fn a_broken_element_hides_nothing() {
        for line in [
            "no-store, x=\u{e9}",
            "x=\u{e9}, no-store",
            "no-store\u{e9}",
            r#"ext="unterminated, no-store"#,
            r#"ext="unterminated, no-store, max-age=60"#,
            r#"ext="no-store"#,
            r#"ext="a" junk, no-store"#,
            r#"ext="a, no-store, b="c""#,
            r#""a, no-store"#,
            r#"a"b, no-store, c"d"#,
            "no store, no-store",
            "no-store;x",
            "no-store x",
            "x no-store",
            "x=, no-store=",
            "=1,no-store",
            "x = 1, no-store",
            "@, no-store",
            r#"ext="\", no-store"#,
            // If the first quote was none, the directive stands outside quotes.
            r#"a"b", ext=", no-store, ""#,
        ] {
            let all = response(line);
            assert!(all.no_store && all.malformed, "{line}");
            assert!(response(&line.replace("no-store", "Private")).private, "{line}");
        }
        let control = ResponseDirectives::from_lines([&b"ext=\"\x00\", no-store"[..]]);
        assert!(control.no_store && control.malformed);
    }

    #[test]
    fn a_broken_element_spares_the_others() {
        for line in [
            "x y, public, max-age=5",
            r#"x="a"b, public, max-age=5"#,
            r#"public,max-age=5,""#,
            r#"x="a"b,public,max-age=5,"b"#,
            r#"x="a\", b" y, public, max-age=5"#,
        ] {
            let all = response(line);
            assert_eq!((all.public, all.max_age, all.malformed), (true, seconds(5), true), "{line}");
            assert!(!all.no_store, "{line}");
        }
        let all = response(r#"x y, ext="no-store""#);
        assert!(all.malformed && !all.no_store);
    }

    #[test]
    fn nothing_is_allowed_by_broken_text() {
        let all = response(r#"ext="a, public, must-understand, immutable, max-age=60, s-maxage=60"#);
        assert_eq!(all, ResponseDirectives { malformed: true, ..ResponseDirectives::default() });
    }

    #[test]
    fn a_quote_left_open_ends_with_its_line() {
        let all = ResponseDirectives::from_lines([&b"ext=\"a"[..], b"public, x=\"b, no-store\""]);
        assert!(all.malformed && all.public && !all.no_store);
    }

    #[test]
    fn hostile_lines_are_read_in_linear_time() {
        // Quadratic time would take minutes for each of these.
        for piece in [r#""","#, r#"a"b","#, r#"x="a"b,"#, r#"x=""#, r#""\"#, " ,", "a b,"] {
            let line = piece.repeat(1 << 18) + ",no-store";
            assert!(response(&line).no_store, "{piece}");
        }
    }

    #[test]
    fn reads_every_request_directive() {
        let all = request(&[
            "No-Cache, no-store, no-transform",
            "only-if-cached, max-age=1, min-fresh=2, stale-if-error=\"3\", max-stale=4",
        ]);
        let expected = RequestDirectives {
            no_cache: true,
            no_store: true,
            no_transform: true,
            only_if_cached: true,
            max_age: seconds(1),
            min_fresh: seconds(2),
            stale_if_error: seconds(3),
            max_stale: Some(MaxStale::Within(Duration::from_secs(4))),
        };
        assert_eq!(all, expected);
        assert_eq!(request(&[]), RequestDirectives::default());
    }

    #[test]
    fn the_stricter_of_conflicting_requests_counts() {
        let max_stale = |line: &str| request(&[line]).max_stale;
        let within = |secs| Some(MaxStale::Within(Duration::from_secs(secs)));
        assert_eq!(max_stale("max-stale"), Some(MaxStale::Any));
        assert_eq!(max_stale("max-stale, max-stale=5"), within(5));
        assert_eq!(max_stale("max-stale=5, max-stale"), within(5));
        assert_eq!(max_stale("max-stale=9, max-stale=5, max-stale=7"), within(5));
        assert_eq!(max_stale("max-stale=99999999999999999999"), Some(MaxStale::Within(MAX_DELTA)));
        for invalid in
            ["max-stale=x", "max-stale=", "max-stale=-1", "max-stale =5", "max-stale=\"\"", "x=\"a, max-stale"]
        {
            assert_eq!(max_stale(invalid), None, "{invalid}");
        }
        assert_eq!(max_stale("max-stale=5, max-stale=x"), within(5));

        assert_eq!(request(&["max-age=9", "max-age=5"]).max_age, seconds(5));
        assert_eq!(request(&["min-fresh=5", "min-fresh=9"]).min_fresh, seconds(9));
        assert_eq!(request(&["stale-if-error=x"]).stale_if_error, None);
    }

    #[test]
    fn an_unreadable_wish_for_freshness_is_the_strictest() {
        for line in
            ["max-age=x", "max-age", "max-age=", "max-age =5", "max-age=-1", "min-fresh=x", "min-fresh", "min-fresh= 5"]
        {
            assert_eq!(request(&[line, "max-age=60"]).max_age, seconds(0), "{line}");
            assert_eq!(request(&["max-age=60", line]).max_age, seconds(0), "{line}");
        }
        assert!(request(&["x=\"open, no-store"]).no_store);
    }

    /// An element of the grammar, its name never that of a directive.
    const WELL_FORMED: &str = r#"[!a-z]{1,5}(=([a-z0-9]{1,5}|"([ !#-\[\]-~]|\\[ -~]){0,9}"))?[ \t]?"#;

    /// An element that leaves no quote open: a fine one, or a broken one without quotes.
    fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            "[a-z-]{1,8}(=[a-z0-9]{1,5})?".prop_map(String::into_bytes),
            r#"(max-age|s-maxage|private)="([ !#-\[\]-~]|\\[ -~]){0,12}""#.prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>().prop_filter("divides elements", |byte| !b",\"".contains(byte)), 0..8),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_read(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..3)) {
            ResponseDirectives::from_lines(lines.iter().map(Vec::as_slice));
        }

        #[test]
        fn anything_near_a_directive_is_read(line in r#"[nost\-re=," \\]{0,40}"#) {
            response(&line);
            request(&[&line]);
        }

        #[test]
        fn no_store_is_never_lost(
            before in prop::collection::vec(element(), 0..4),
            spelling in r#"[ \t]{0,2}[nN][oO]-[sS][tT][oO][rR][eE](=1|="x, y")?[ \t]{0,2}"#,
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut elements = before;
            elements.push(spelling.into_bytes());
            elements.push(after);
            let line = elements.join(&b',');
            prop_assert!(ResponseDirectives::from_lines([line.as_slice()]).no_store);
        }

        #[test]
        fn no_store_counts_or_is_quoted_content(
            before in r#"[a=", \\]{0,10}"#,
            after in r#"[a=", \\]{0,10}"#,
        ) {
            let all = response(&format!("{before},no-store,{after}"));
            prop_assert!(all.no_store || before.contains("=\"") && after.contains('"'));
        }

        #[test]
        fn well_formed_lines_are_not_malformed(
            elements in prop::collection::vec(WELL_FORMED, 0..6),
        ) {
            prop_assert_eq!(response(&elements.join(",")), ResponseDirectives::default());
        }
    }
}

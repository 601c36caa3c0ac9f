//! Targeted cache control fields such as `CDN-Cache-Control` (RFC 9213).
//!
//! Such a field is a Dictionary of Structured Fields (RFC 9651 §3.2), whose parsing is strict: one error, and the
//! whole field counts as absent (RFC 9213 §2.1).

use super::cache_control::{MAX_DELTA, ResponseDirectives, is_prohibition, is_tchar, keep_smaller};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::{borrow::Cow, time::Duration};

/// The directives of a targeted field; `None` if it is absent, empty or no valid dictionary (RFC 9213 §2.1).
///
/// What forbids counts whatever its value, and wherever it stands: `no-store=?0` still forbids, and of two lifetimes
/// the smaller is kept. Of other duplicates the last counts (RFC 9651 §3.2). A lifetime that is no non-negative Integer
/// makes the directives malformed. Parameters are ignored.
pub fn targeted(headers: &HeaderMap, field: &HeaderName) -> Option<ResponseDirectives> {
    let text = joined_lines(headers, field)?;
    let members = Parser::of(&text).dictionary()?;
    if members.is_empty() {
        return None;
    }
    let mut all = ResponseDirectives::default();
    for (name, value) in members {
        let name = name.as_bytes();
        if let Some(lifetime) = all.lifetime(name) {
            match seconds(&value) {
                Some(seconds) => keep_smaller(lifetime, seconds),
                None => all.malformed = true,
            }
        } else if let Some(switch) = all.switch(name) {
            *switch = is_prohibition(name) || value == Value::Boolean(true);
        }
    }
    Some(all)
}

/// The directives that count for a response, and whether they come from a targeted field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Governing {
    /// The directives.
    pub directives: ResponseDirectives,
    /// They come from a targeted field, so `Cache-Control` and `Expires` are to be ignored.
    pub targeted: bool,
}

/// The first valid field of `targets`, else `Cache-Control` (RFC 9213 §2.2).
pub fn governing(headers: &HeaderMap, targets: &[HeaderName]) -> Governing {
    match targets.iter().find_map(|field| targeted(headers, field)) {
        Some(directives) => Governing { directives, targeted: true },
        None => Governing { directives: ResponseDirectives::parse(headers), targeted: false },
    }
}

fn seconds(value: &Value<'_>) -> Option<Duration> {
    match value {
        Value::Integer(seconds) => Some(Duration::from_secs(u64::try_from(*seconds).ok()?).min(MAX_DELTA)),
        _ => None,
    }
}

/// All lines of a field, joined by commas (RFC 9651 §4.2).
pub(super) fn joined_lines<'h>(headers: &'h HeaderMap, field: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut lines = headers.get_all(field).iter().map(HeaderValue::as_bytes);
    let mut all = Cow::Borrowed(lines.next()?);
    for line in lines {
        let all = all.to_mut();
        all.extend_from_slice(b", ");
        all.extend_from_slice(line);
    }
    Some(all)
}

/// A value of Structured Fields, as far as anyone here reads it.
#[derive(Debug, PartialEq)]
pub(super) enum Value<'a> {
    Boolean(bool),
    Integer(i64),
    String(String),
    Token(&'a str),
    /// A Decimal, Byte Sequence, Date, Display String or Inner List.
    Other,
}

pub(super) type Named<'a> = (&'a str, Value<'a>);

/// Parses a field value of Structured Fields (RFC 9651 §4.2). `None` is a parsing error.
pub(super) struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// RFC 9651 §4.2.2, parameters left out. Of duplicate keys all members are given, in order.
    pub(super) fn dictionary(mut self) -> Option<Vec<Named<'a>>> {
        let mut members = Vec::new();
        self.members(|parser| {
            let key = parser.key()?;
            let value = if parser.eat(b'=') { parser.item_or_inner_list()?.0 } else { parser.flag()? };
            members.push((key, value));
            Some(())
        })?;
        Some(members)
    }

    /// RFC 9651 §4.2.1. Each member with its parameters.
    pub(super) fn list(mut self) -> Option<Vec<(Value<'a>, Vec<Named<'a>>)>> {
        let mut members = Vec::new();
        self.members(|parser| {
            members.push(parser.item_or_inner_list()?);
            Some(())
        })?;
        Some(members)
    }

    /// Members divided by commas, up to the end of the text. A comma at the end is an error.
    fn members(&mut self, mut member: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.take_while(|byte| byte == b' ');
        if self.rest.is_empty() {
            return Some(());
        }
        loop {
            member(self)?;
            self.take_while(is_ows);
            if self.rest.is_empty() {
                return Some(());
            }
            self.expect(b',')?;
            self.take_while(is_ows);
        }
    }

    fn item_or_inner_list(&mut self) -> Option<(Value<'a>, Vec<Named<'a>>)> {
        let value = if self.eat(b'(') { self.inner_list()? } else { self.bare_item()? };
        Some((value, self.parameters()?))
    }

    /// A dictionary member without a value is true, and may have parameters.
    fn flag(&mut self) -> Option<Value<'a>> {
        self.parameters()?;
        Some(Value::Boolean(true))
    }

    /// RFC 9651 §4.2.1.2, after the opening parenthesis.
    fn inner_list(&mut self) -> Option<Value<'a>> {
        loop {
            self.take_while(|byte| byte == b' ');
            if self.eat(b')') {
                return Some(Value::Other);
            }
            self.bare_item()?;
            self.parameters()?;
            if !matches!(self.rest, [b' ' | b')', ..]) {
                return None;
            }
        }
    }

    /// RFC 9651 §4.2.3.2.
    fn parameters(&mut self) -> Option<Vec<Named<'a>>> {
        let mut all = Vec::new();
        while self.eat(b';') {
            self.take_while(|byte| byte == b' ');
            let key = self.key()?;
            let value = if self.eat(b'=') { self.bare_item()? } else { Value::Boolean(true) };
            all.push((key, value));
        }
        Some(all)
    }

    /// RFC 9651 §4.2.3.3.
    fn key(&mut self) -> Option<&'a str> {
        if !matches!(self.rest, [b'a'..=b'z' | b'*', ..]) {
            return None;
        }
        let key = self.take_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*'));
        std::str::from_utf8(key).ok()
    }

    /// RFC 9651 §4.2.3.1.
    fn bare_item(&mut self) -> Option<Value<'a>> {
        match *self.rest.first()? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'*' | b'a'..=b'z' | b'A'..=b'Z' => {
                let token = self.take_while(is_token_char);
                Some(Value::Token(std::str::from_utf8(token).ok()?))
            }
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => None,
        }
    }

    /// RFC 9651 §4.2.4.
    fn number(&mut self) -> Option<Value<'a>> {
        let sign = if self.eat(b'-') { -1 } else { 1 };
        let digits = self.take_while(|byte| byte.is_ascii_digit());
        if self.eat(b'.') {
            let fraction = self.take_while(|byte| byte.is_ascii_digit());
            return ((1..=12).contains(&digits.len()) && (1..=3).contains(&fraction.len())).then_some(Value::Other);
        }
        if !(1..=15).contains(&digits.len()) {
            return None;
        }
        let number = digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        Some(Value::Integer(sign * number))
    }

    /// RFC 9651 §4.2.5.
    fn string(&mut self) -> Option<Value<'a>> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                b'"' => return Some(Value::String(text)),
                b'\\' => match self.next()? {
                    byte @ (b'"' | b'\\') => text.push(char::from(byte)),
                    _ => return None,
                },
                byte @ 0x20..=0x7e => text.push(char::from(byte)),
                _ => return None,
            }
        }
    }

    /// RFC 9651 §4.2.7. Padding may be missing.
    fn byte_sequence(&mut self) -> Option<Value<'a>> {
        self.expect(b':')?;
        let content = self.take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
        let padding = self.take_while(|byte| byte == b'=');
        self.expect(b':')?;
        let padded = padding.is_empty() || (content.len() + padding.len()).is_multiple_of(4);
        (content.len() % 4 != 1 && padding.len() <= 2 && padded).then_some(Value::Other)
    }

    /// RFC 9651 §4.2.8.
    fn boolean(&mut self) -> Option<Value<'a>> {
        self.expect(b'?')?;
        let value = self.eat(b'1');
        (value || self.eat(b'0')).then_some(Value::Boolean(value))
    }

    /// RFC 9651 §4.2.9: an Integer, never a Decimal.
    fn date(&mut self) -> Option<Value<'a>> {
        self.expect(b'@')?;
        matches!(self.number()?, Value::Integer(_)).then_some(Value::Other)
    }

    /// RFC 9651 §4.2.10.
    fn display_string(&mut self) -> Option<Value<'a>> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return std::str::from_utf8(&text).is_ok().then_some(Value::Other),
                b'%' => {
                    let (high, low) = (lower_hex_digit(self.next()?)?, lower_hex_digit(self.next()?)?);
                    text.push(high << 4 | low);
                }
                byte @ 0x20..=0x7e => text.push(byte),
                _ => return None,
            }
        }
    }

    fn next(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.rest.first() == Some(&byte);
        if there {
            self.next();
        }
        there
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.eat(byte).then_some(())
    }

    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !wanted(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        self.rest = rest;
        taken
    }
}

/// A character of a Token after its first (RFC 9651 §3.3.4).
pub(super) const fn is_token_char(byte: u8) -> bool {
    is_tchar(byte) || matches!(byte, b':' | b'/')
}

const fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

const fn lower_hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{CACHE_CONTROL, CDN_CACHE_CONTROL};
    use proptest::prelude::*;

    const OWN: HeaderName = HeaderName::from_static("larder-cache-control");

    fn response(lines: &[(HeaderName, &str)]) -> HeaderMap {
        lines.iter().map(|(name, line)| (name.clone(), HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    fn read(line: &str) -> Option<ResponseDirectives> {
        targeted(&response(&[(CDN_CACHE_CONTROL, line)]), &CDN_CACHE_CONTROL)
    }

    fn seconds(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn reads_directives() {
        let all = read("max-age=60, s-maxage=5;x=1, stale-if-error=7, must-revalidate, public, other=(1 2)").unwrap();
        let expected = ResponseDirectives {
            max_age: seconds(60),
            s_maxage: seconds(5),
            stale_if_error: seconds(7),
            must_revalidate: true,
            public: true,
            ..ResponseDirectives::default()
        };
        assert_eq!(all, expected);
        assert_eq!(read("none"), Some(ResponseDirectives::default()));
        assert_eq!(read("max-age=999999999999999").unwrap().max_age, Some(MAX_DELTA));
    }

    #[test]
    fn an_invalid_or_empty_field_is_absent() {
        for line in [
            "",
            "   ",
            "max-age=60,",
            ",max-age=60",
            "max-age=60,,no-store",
            "\tmax-age=60",
            "max-age = 60",
            "max-age= 60",
            "Max-Age=60",
            "max-age=60 no-store",
            "max-age=1000000000000000",
            "max-age=60.",
            "max-age=60.1234",
            "max-age=1234567890123.1",
            "max-age=-",
            "max-age=+60",
            "max-age=",
            "x=?2",
            "x=\"open",
            "x=\"a\\b\"",
            "x=\"\u{e9}\"",
            "x=:a:",
            "x=:ab=c:",
            "x=:abc==:",
            "x=:ab",
            "x=(1 2",
            "x=(1,2)",
            "x=(1\t2)",
            "x=@1.5",
            "x=%\"%C3%A9\"",
            "x=%\"%ff\"",
            "x;=1",
            "no-store;",
            "no-store ;x",
            "no-store\u{e9}",
            "'x'",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(targeted(&HeaderMap::new(), &CDN_CACHE_CONTROL), None);
    }

    #[test]
    fn reads_every_type_of_value() {
        for value in [
            "?0",
            "-12",
            "1.5",
            "-0.125",
            "123456789012.123",
            r#""a, \" \\ no-store""#,
            "*tok:en/x",
            "::",
            ":aGk=:",
            ":aGk:",
            "()",
            r#"( a  "b";q=1 )"#,
            "(1 2);p;q=?0",
            "@-99",
            r#"%"caf%c3%a9""#,
            "1; a;  b=c",
        ] {
            assert_eq!(read(&format!("x={value} \t,\t no-store  ")).map(|all| all.no_store), Some(true), "{value}");
            assert_eq!(read(&format!("x={value}")), Some(ResponseDirectives::default()), "{value}");
        }
    }

    #[test]
    fn prohibitions_count_whatever_their_value() {
        for line in ["no-store", "no-store=?0", "no-store=0", "no-store=(a)", "no-store=?1, no-store=?0"] {
            assert!(read(line).unwrap().no_store, "{line}");
        }
        let all = read("no-cache=\"set-cookie\", private=x").unwrap();
        assert!(all.no_cache && all.private && !all.malformed);
    }

    #[test]
    fn permissions_need_their_type_and_the_last_counts() {
        assert!(!read("public=?0").unwrap().public);
        assert!(!read("public=1").unwrap().public);
        assert!(!read("public, public=?0").unwrap().public);
        assert!(read("must-understand=?0, must-understand").unwrap().must_understand);
    }

    #[test]
    fn lifetimes_are_non_negative_integers() {
        for value in ["-1", "60.0", "\"60\"", "sixty", "?1", "(60)"] {
            let all = read(&format!("max-age={value}")).unwrap();
            assert!(all.malformed && all.max_age.is_none(), "{value}");
            assert!(read(&format!("max-age={value}, max-age=60")).unwrap().malformed, "{value}");
        }
        assert!(read("max-age").unwrap().malformed);
        assert_eq!(read("max-age=60, max-age=600").unwrap().max_age, seconds(60));
        assert_eq!(read("max-age=600, max-age=60").unwrap().max_age, seconds(60));
    }

    #[test]
    fn lines_are_joined() {
        let headers = response(&[(CDN_CACHE_CONTROL, "max-age=60"), (CDN_CACHE_CONTROL, "no-store")]);
        let all = targeted(&headers, &CDN_CACHE_CONTROL).unwrap();
        assert_eq!((all.max_age, all.no_store), (seconds(60), true));
        let headers = response(&[(CDN_CACHE_CONTROL, "max-age=60"), (CDN_CACHE_CONTROL, "=")]);
        assert_eq!(targeted(&headers, &CDN_CACHE_CONTROL), None);
    }

    #[test]
    fn the_first_valid_target_governs() {
        let targets = [OWN, CDN_CACHE_CONTROL];
        let read = |lines: &[(HeaderName, &str)]| governing(&response(lines), &targets);

        let both = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (CACHE_CONTROL, "no-store")]);
        assert!(both.targeted && !both.directives.no_store);
        assert_eq!(both.directives.max_age, seconds(600));

        let own_first = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (OWN, "no-store")]);
        assert_eq!((own_first.directives.max_age, own_first.directives.no_store), (None, true));

        let own_invalid = read(&[(CDN_CACHE_CONTROL, "max-age=600"), (OWN, "no-store,")]);
        assert_eq!((own_invalid.directives.max_age, own_invalid.directives.no_store), (seconds(600), false));

        let neither = read(&[(CDN_CACHE_CONTROL, ""), (CACHE_CONTROL, "max-age=1")]);
        assert!(!neither.targeted);
        assert_eq!(neither.directives.max_age, seconds(1));
        assert_eq!(governing(&HeaderMap::new(), &targets), Governing::default());
    }

    /// A valid member, its key never the name of a directive.
    const MEMBER: &str = r#"[a-z]{1,4}(=([0-9]{1,9}|"[ !#-\[\]-~]{0,9}"|\?[01]|[a-z]{1,4}))?(;[a-z]=[0-9]){0,2}"#;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_bytes_are_read(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Parser::of(&text).dictionary();
            let _ = Parser::of(&text).list();
        }

        #[test]
        fn anything_near_a_dictionary_is_read(
            text in r#"[a-c*]{1,2}(=[-?@%:("0-9a-c.;= )\\]{0,12})?(, ?[a-c]=[ -~]{0,8}){0,3}"#,
        ) {
            let _ = Parser::of(text.as_bytes()).dictionary();
            let _ = Parser::of(text.as_bytes()).list();
        }

        #[test]
        fn no_store_is_found_between_valid_members(
            before in prop::collection::vec(MEMBER, 0..4),
            value in r#"(=\?[01]|=[0-9]|="x")?"#,
            after in prop::collection::vec(r"no-store=\?0|[a-z]{1,4}", 0..3),
        ) {
            let mut members = before;
            members.push(format!("no-store{value}"));
            members.extend(after);
            prop_assert!(read(&members.join(" , ")).unwrap().no_store);
        }
    }
}

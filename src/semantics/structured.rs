//! Structured Fields (RFC 9651), as far as caching needs them. Parsing is strict: one error, and the whole field is absent.

use super::cache_control::is_tchar;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::borrow::Cow;

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
                    text.push(high * 16 + low);
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

//! The pieces of a field line, as far as they can be told.

use super::MAX_DELTA;
use std::time::Duration;

/// A piece of a field line.
#[derive(Clone, Copy)]
pub(super) enum Part<'a> {
    /// An element that follows the grammar.
    Directive(&'a [u8], Option<Value<'a>>),
    /// Text in which no element can be told for certain.
    Unparsed(&'a [u8]),
}

#[derive(Clone, Copy)]
pub(super) enum Value<'a> {
    Token(&'a [u8]),
    /// What stands between the quotes, quoted pairs as they are.
    Quoted(&'a [u8]),
}

impl Value<'_> {
    /// `1*DIGIT` (RFC 9111 §1.2.2), also in quotes (RFC 9111 §5.2), at most [`MAX_DELTA`].
    pub(super) fn delta_seconds(self) -> Option<Duration> {
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
pub(super) struct Parts<'a> {
    rest: &'a [u8],
    /// A quote in a broken element made it doubtful what is quoted, and all the rest has been handed out as unparsed.
    swept: bool,
}

impl<'a> Parts<'a> {
    pub(super) fn of(line: &'a [u8]) -> Self {
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

pub(super) fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| !is_tchar(byte)).filter(|token| !token.is_empty())
}

/// A character of a token (RFC 9110 §5.6.2).
pub(in super::super) const fn is_tchar(byte: u8) -> bool {
    TCHARS[byte as usize]
}

const TCHARS: [bool; 256] = {
    let mut all = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        all[byte as usize] = byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    all
};

/// As long as the longest directive known here, `stale-while-revalidate`.
pub(super) type NameBuffer = [u8; 22];

/// The name in lower case; nothing for a name longer than any known here.
pub(super) fn lower_case<'b>(name: &[u8], buffer: &'b mut NameBuffer) -> &'b [u8] {
    let Some(lower) = buffer.get_mut(..name.len()) else {
        return &[];
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    lower
}

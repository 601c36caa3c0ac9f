//! The readable text of a key, for people, logs and patterns:
//! `shop:v2026-11:tenant=1:user=42:dashboard:GET:https://host/x?days=30`.
//!
//! Made from the encoded parts, only on demand. What a request brought is escaped, so that it cannot fake a separator,
//! and what looks like a credential appears as a short digest.

use super::{Key, KeyRef, Part, split_value};
use crate::credentials;
use std::fmt::{self, Write};

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeyRef(self.as_bytes()).fmt(f)
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut has_uri = false;
        // The shape is for machines: it tells policies apart, not responses.
        for (part, value) in parts(self.0).filter(|(part, _)| *part != Part::Shape) {
            match part {
                Part::Scheme | Part::Authority | Part::Path if has_uri => {}
                Part::Query | Part::Search => f.write_char('?')?,
                _ if first => {}
                _ => f.write_char(':')?,
            }
            first = false;
            match part {
                Part::Version => write_structural(f, "v", value)?,
                Part::Namespace | Part::Policy | Part::PolicyVersion | Part::Shape | Part::Value => {
                    write_structural(f, "", value)?;
                }
                Part::Method => write_escaped(f, value, b"")?,
                Part::Scheme => {
                    has_uri = true;
                    write_escaped(f, value, b"")?;
                    f.write_str("://")?;
                }
                Part::Authority => {
                    if !has_uri {
                        f.write_str("//")?;
                    }
                    has_uri = true;
                    write_escaped(f, value, b":[]")?;
                }
                Part::Path => {
                    has_uri = true;
                    write_escaped(f, value, b"/%")?;
                }
                Part::Query => write_query(f, value)?,
                // Behind what was said stands the query in its normal form.
                Part::Search => {
                    let query = split_value(value).and_then(|(_, rest)| split_value(rest));
                    query.map_or(Ok(()), |(query, _)| write_query(f, query))?;
                }
                Part::Header | Part::Forwarded | Part::Identity | Part::Custom | Part::Parameter => {
                    write_field(f, value, false)?;
                }
                Part::Cookie => write_field(f, value, true)?,
                Part::Language => write_named(f, "language", value)?,
                Part::Codings => write_named(f, "codings", value)?,
                Part::Date => write_named(f, "date", value)?,
                Part::Body => {
                    f.write_str("body=")?;
                    value.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                }
                Part::Context => {
                    f.write_str("context=")?;
                    credentials::write_digest(f, value)?;
                }
            }
        }
        Ok(())
    }
}

/// The parts of an encoded key, in order. Ends at the first byte that is not a part: keys are made here, but the text
/// of a key that was not is still no panic.
pub(super) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = (Part, &[u8])> {
    std::iter::from_fn(move || {
        let (tag, rest) = bytes.split_first()?;
        let part = Part::from_tag(*tag)?;
        let (value, rest) = split_value(rest)?;
        bytes = rest;
        Some((part, value))
    })
}

fn write_structural(f: &mut fmt::Formatter<'_>, prefix: &str, value: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    write_escaped(f, value, b":=,")
}

fn write_named(f: &mut fmt::Formatter<'_>, name: &str, value: &[u8]) -> fmt::Result {
    write!(f, "{name}=")?;
    write_escaped(f, value, b",")
}

fn write_field(f: &mut fmt::Formatter<'_>, value: &[u8], secret: bool) -> fmt::Result {
    let Some((name, mut values)) = split_value(value) else { return Ok(()) };
    write_escaped(f, name, b"")?;
    f.write_char('=')?;
    let secret = secret || std::str::from_utf8(name).is_ok_and(credentials::is_credential_name);
    let mut first = true;
    while let Some((value, rest)) = split_value(values) {
        if !std::mem::take(&mut first) {
            f.write_char(',')?;
        }
        write_value(f, value, secret, b"")?;
        values = rest;
    }
    Ok(())
}

fn write_query(f: &mut fmt::Formatter<'_>, query: &[u8]) -> fmt::Result {
    for (index, pair) in query.split(|byte| *byte == b'&').enumerate() {
        if index > 0 {
            f.write_char('&')?;
        }
        let (name, value) = match pair.iter().position(|byte| *byte == b'=') {
            Some(at) => (&pair[..at], Some(&pair[at + 1..])),
            None => (pair, None),
        };
        write_escaped(f, name, b"%")?;
        let Some(value) = value else { continue };
        f.write_char('=')?;
        let secret = std::str::from_utf8(name).is_ok_and(credentials::is_credential_name);
        write_value(f, value, secret, b"%")?;
    }
    Ok(())
}

fn write_value(f: &mut fmt::Formatter<'_>, value: &[u8], secret: bool, also: &[u8]) -> fmt::Result {
    if secret { credentials::write_digest(f, value) } else { write_escaped(f, value, also) }
}

/// Unreserved characters and those given as they are, all else percent-encoded.
fn write_escaped(f: &mut fmt::Formatter<'_>, value: &[u8], also: &[u8]) -> fmt::Result {
    for &byte in value {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || also.contains(&byte) {
            f.write_char(char::from(byte))?;
        } else {
            write!(f, "%{byte:02X}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::KeyBuf;
    use super::*;

    #[test]
    fn a_key_reads_like_a_path_through_the_house() {
        let mut key = KeyBuf::default();
        key.part(Part::Namespace, b"shop");
        key.part(Part::Version, b"2026-11");
        key.part(Part::Policy, b"dashboard");
        key.part(Part::Method, b"GET");
        key.part(Part::Scheme, b"https");
        key.part_lowercase(Part::Authority, "Host:8443");
        key.part(Part::Path, b"/dash:board");
        key.part(Part::Query, b"days=30&token=s3cret&x=%20");
        key.part_named(Part::Header, "accept", [&b"a:b"[..], b"c"].into_iter());
        let text = Key::from(&key).to_string();
        let (before, after) = text.split_once("s3cret").unwrap_or((&text, ""));
        assert!(after.is_empty(), "{text}");
        assert!(
            before.starts_with("shop:v2026-11:dashboard:GET:https://host:8443/dash%3Aboard?days=30&token=#"),
            "{before}"
        );
        assert!(before.ends_with("&x=%20:accept=a%3Ab,c"), "{before}");
    }

    #[test]
    fn without_scheme_or_host_the_path_stands_alone() {
        let mut key = KeyBuf::default();
        key.part(Part::Method, b"GET");
        key.part(Part::Path, b"/x");
        assert_eq!(Key::from(&key).to_string(), "GET:/x");
    }
}

//! The readable text of a key, for people, logs and patterns:
//! `shop:v2026-11:tenant=1:user=42:dashboard:GET:https://host/x?days=30`.
//!
//! Made from the encoded parts, only on demand. What a request brought is escaped, so that it cannot fake a separator,
//! and what looks like a credential appears as a short digest.

use super::{Key, KeyRef, Part, TENANT, USER, split_value};
use crate::credentials;
use http::HeaderName;
use std::fmt::{self, Write};

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        KeyRef(self.as_bytes()).fmt(f)
    }
}

impl fmt::Display for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Readable { key: self.0, secret: &credentials::is_credential_name }.fmt(f)
    }
}

/// A key to be read, in which what has one of the `secret` names appears as a digest, as cookies always do.
#[derive(Clone, Copy)]
pub(crate) struct Readable<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) secret: &'a dyn Fn(&str) -> bool,
}

impl Readable<'_> {
    /// Its parts, each with its name, as the text has them.
    pub(crate) fn named(&self) -> Vec<(String, String)> {
        let all = parts(self.key).filter(|(part, _)| *part != Part::Shape);
        all.map(|(part, value)| (name_of(part, value), Value { part, value, secret: self.secret }.to_string()))
            .collect()
    }
}

/// The text of a key in which the values of these fields are digests too.
pub(crate) fn shown(key: &[u8], secrets: &[HeaderName]) -> String {
    let secret = |name: &str| credentials::is_credential_name(name) || secrets.iter().any(|secret| secret == name);
    Readable { key, secret: &secret }.to_string()
}

impl fmt::Display for Readable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        let mut has_uri = false;
        // The shape is for machines: it tells policies apart, not responses.
        for (part, value) in parts(self.key).filter(|(part, _)| *part != Part::Shape) {
            match part {
                Part::Scheme | Part::Authority | Part::Path if has_uri => {}
                Part::Query | Part::Search => f.write_char('?')?,
                _ if first => {}
                _ => f.write_char(':')?,
            }
            first = false;
            match part {
                Part::Version => f.write_char('v')?,
                Part::Authority if !has_uri => f.write_str("//")?,
                Part::Header | Part::Forwarded | Part::Identity | Part::Custom | Part::Parameter | Part::Cookie => {
                    let name = split_value(value).map_or(&b""[..], |(name, _)| name);
                    write_escaped(f, name, b"")?;
                    f.write_char('=')?;
                }
                Part::Language | Part::Codings | Part::Date | Part::Body | Part::Context => {
                    write!(f, "{}=", word_of(part))?;
                }
                _ => {}
            }
            Value { part, value, secret: self.secret }.fmt(f)?;
            if part == Part::Scheme {
                f.write_str("://")?;
            }
            has_uri |= matches!(part, Part::Scheme | Part::Authority | Part::Path);
        }
        Ok(())
    }
}

/// The value of a part, without its name.
#[derive(Clone, Copy)]
struct Value<'a> {
    part: Part,
    value: &'a [u8],
    secret: &'a dyn Fn(&str) -> bool,
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, value, secret } = *self;
        match part {
            Part::Namespace | Part::Version | Part::Policy | Part::PolicyVersion | Part::Shape | Part::Value => {
                write_escaped(f, value, b":=,")
            }
            Part::Method | Part::Scheme => write_escaped(f, value, b""),
            Part::Authority => write_escaped(f, value, b":[]"),
            Part::Path => write_escaped(f, value, b"/%"),
            Part::Query => write_query(f, value, secret),
            // Behind what was said stands the query in its normal form.
            Part::Search => {
                let query = split_value(value).and_then(|(_, rest)| split_value(rest));
                query.map_or(Ok(()), |(query, _)| write_query(f, query, secret))
            }
            Part::Header | Part::Forwarded | Part::Identity | Part::Custom | Part::Parameter => {
                write_field(f, value, secret)
            }
            Part::Cookie => write_field(f, value, &|_| true),
            Part::Language | Part::Codings | Part::Date => write_escaped(f, value, b","),
            Part::Body => value.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}")),
            Part::Context => credentials::write_digest(f, value),
        }
    }
}

/// What a part is called, with the name that it has in the request where there are several of its kind.
fn name_of(part: Part, value: &[u8]) -> String {
    let own = || split_value(value).map_or(String::new(), |(name, _)| String::from_utf8_lossy(name).into_owned());
    match part {
        Part::Identity => match own() {
            name if name == TENANT || name == USER => name,
            name => format!("{} {name}", word_of(part)),
        },
        Part::Header | Part::Forwarded | Part::Custom | Part::Parameter | Part::Cookie => {
            format!("{} {}", word_of(part), own())
        }
        _ => word_of(part).to_owned(),
    }
}

const fn word_of(part: Part) -> &'static str {
    match part {
        Part::Namespace => "namespace",
        Part::Version => "version",
        Part::Policy => "policy",
        Part::PolicyVersion => "policy-version",
        Part::Shape => "shape",
        Part::Method => "method",
        Part::Scheme => "scheme",
        Part::Authority => "authority",
        Part::Path => "path",
        Part::Query | Part::Search => "query",
        Part::Header | Part::Forwarded => "header",
        Part::Identity => "attribute",
        Part::Context => "context",
        Part::Cookie => "cookie",
        Part::Language => "language",
        Part::Codings => "codings",
        Part::Date => "date",
        Part::Custom => "part",
        Part::Body => "body",
        Part::Value => "value",
        Part::Parameter => "parameter",
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

fn write_field(f: &mut fmt::Formatter<'_>, value: &[u8], secret: &dyn Fn(&str) -> bool) -> fmt::Result {
    let Some((name, mut values)) = split_value(value) else { return Ok(()) };
    let secret = std::str::from_utf8(name).is_ok_and(secret);
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

fn write_query(f: &mut fmt::Formatter<'_>, query: &[u8], secret: &dyn Fn(&str) -> bool) -> fmt::Result {
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
        write_value(f, value, std::str::from_utf8(name).is_ok_and(secret), b"%")?;
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
    fn each_part_has_a_name_and_what_is_secret_a_digest() {
        let mut key = KeyBuf::default();
        key.part(Part::Namespace, b"shop");
        key.part_named(Part::Identity, "tenant", [&b"1"[..]].into_iter());
        key.part_named(Part::Identity, "role", [&b"a"[..], b"b"].into_iter());
        key.part(Part::Shape, b"codings");
        key.part(Part::Path, b"/x");
        key.part(Part::Query, b"a=1&b=2");
        key.part_named(Part::Header, "x-device", [&b"phone"[..]].into_iter());
        key.part_named(Part::Cookie, "theme", [&b"dark"[..]].into_iter());
        let secret = |name: &str| matches!(name, "b" | "x-device");
        let named = Readable { key: key.as_bytes(), secret: &secret }.named();
        let digest = |value: &str| value.strip_prefix('#').is_some_and(|digits| digits.len() == 8);
        let said: Vec<_> = named.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(said[..4], [("namespace", "shop"), ("tenant", "1"), ("attribute role", "a,b"), ("path", "/x")]);
        assert!(said[4].0 == "query" && said[4].1.strip_prefix("a=1&b=").is_some_and(digest), "{said:?}");
        assert!(said[5].0 == "header x-device" && digest(said[5].1), "{said:?}");
        assert!(said[6].0 == "cookie theme" && digest(said[6].1), "{said:?}");
    }

    #[test]
    fn fields_that_a_policy_calls_secret_are_so_beside_those_that_always_are() {
        let mut key = KeyBuf::default();
        for name in ["x-own", "authorization", "accept"] {
            key.part_named(Part::Header, name, [&b"said"[..]].into_iter());
        }
        let shows = |secrets: &[HeaderName]| {
            let text = shown(key.as_bytes(), secrets);
            ["x-own", "authorization", "accept"].map(|name| text.contains(&format!("{name}=said")))
        };
        assert_eq!(shows(&[HeaderName::from_static("x-own")]), [false, false, true]);
        assert_eq!(shows(&[]), [true, false, true]);
    }

    #[test]
    fn without_scheme_or_host_the_path_stands_alone() {
        let mut key = KeyBuf::default();
        key.part(Part::Method, b"GET");
        key.part(Part::Path, b"/x");
        assert_eq!(Key::from(&key).to_string(), "GET:/x");
        let mut key = KeyBuf::default();
        key.part(Part::Method, b"GET");
        key.part(Part::Authority, b"host");
        key.part(Part::Path, b"/x");
        key.part(Part::Language, b"de");
        key.part(Part::Date, b"20000");
        assert_eq!(Key::from(&key).to_string(), "GET://host/x:language=de:date=20000");
    }
}

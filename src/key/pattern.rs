//! Patterns over the readable text of keys.

use super::{KeyRef, Part, buf::HEAD, shown, text::parts};
use http::HeaderName;
use std::fmt;

/// A pattern: `*` stands for any text, separators included; `\` makes the next character literal. `=` and `:` are the same
/// between a name and its value, so `tenant=1:*` and `tenant:1:*` are one. One that begins with `/` is about the path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pattern {
    /// The literal pieces between the stars. One piece is a text without a star.
    pieces: Box<[Box<str>]>,
    text: Box<str>,
}

/// A pattern that says nothing, or breaks off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PatternError(&'static str);

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError("an empty pattern matches nothing; `*` matches everything"));
        }
        let (mut pieces, mut piece) = (Vec::new(), String::new());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '*' => pieces.push(std::mem::take(&mut piece).into_boxed_str()),
                '\\' => {
                    let literal =
                        letters.next().ok_or(PatternError("it ends with `\\`, which makes nothing literal"))?;
                    push_literal(&mut piece, literal);
                }
                letter => push_literal(&mut piece, letter),
            }
        }
        pieces.push(piece.into_boxed_str());
        Ok(Self { pieces: pieces.into(), text: text.into() })
    }

    /// Whether it matches the text of this key: all of it, or what follows namespace and version. One that begins with `/`
    /// is matched with the path, and with path and query.
    pub(crate) fn matches(&self, key: &[u8]) -> bool {
        self.matches_shown(key, &[])
    }

    /// The same with the text in which the values of these fields are digests.
    pub(crate) fn matches_shown(&self, key: &[u8], secrets: &[HeaderName]) -> bool {
        if self.text.starts_with('/') {
            let text = |part: &[u8]| -> String { KeyRef(part).to_string().chars().map(plain).collect() };
            return target(key).is_some_and(|(path, query)| {
                let either =
                    |path: &str, query: &str| self.matches_text(path) || self.matches_text(&format!("{path}{query}"));
                let (path, query) = (text(path), text(query));
                let is_escaped = path.contains('%') || query.contains('%');
                either(&path, &query) || (is_escaped && either(&as_sent(&path), &as_sent(&query)))
            });
        }
        let text: String = shown(key, secrets).chars().map(plain).collect();
        let unit = parts(key).take_while(|(part, _)| matches!(part, Part::Namespace | Part::Version));
        let length: usize = unit.map(|(_, value)| HEAD + value.len()).sum();
        let before = key.get(..length).map_or(0, |unit| KeyRef(unit).to_string().chars().count());
        let rest = text.char_indices().nth(before).map(|(at, _)| &text[at..]);
        let rest = rest.and_then(|rest| rest.strip_prefix(':')).filter(|_| length > 0);
        self.matches_text(&text) || rest.is_some_and(|rest| self.matches_text(rest))
    }

    fn matches_text(&self, text: &str) -> bool {
        let Some((first, rest)) = self.pieces.split_first() else { return false };
        let Some(mut text) = text.strip_prefix(&**first) else { return false };
        let Some((last, middle)) = rest.split_last() else { return text.is_empty() };
        for piece in middle {
            let Some(at) = text.find(&**piece) else { return false };
            text = &text[at + piece.len()..];
        }
        text.ends_with(&**last)
    }
}

/// Of an encoded key the path, and the query.
fn target(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut end, mut path) = (0, None);
    for (part, value) in parts(key) {
        let start = end;
        end += HEAD + value.len();
        match (part, path) {
            (Part::Path, _) => path = Some((start, end)),
            (Part::Query | Part::Search, Some(_)) => {}
            // What follows is neither.
            (_, Some((from, path))) => return Some((key.get(from..path)?, key.get(path..start)?)),
            _ => {}
        }
    }
    path.and_then(|(start, path)| Some((key.get(start..path)?, key.get(path..end)?)))
}

/// Path or query without the escapes that their text has for signs which mean something elsewhere in a key.
fn as_sent(text: &str) -> String {
    SHOWN_ESCAPED.iter().fold(text.to_owned(), |text, (escaped, sign)| text.replace(escaped, sign))
}

/// What patterns have as it is, and as it reads in a key. `=` is `:` in both.
const SHOWN_ESCAPED: [(&str, &str); 8] =
    [("%2C", ","), ("%2F", "/"), ("%3A", ":"), ("%3D", ":"), ("%3F", "?"), ("%26", "&"), ("%5B", "["), ("%5D", "]")];

/// As the text of a key has it: there all but a few signs is escaped.
fn push_literal(piece: &mut String, literal: char) {
    if literal.is_ascii_alphanumeric() || "-._~:=,/?&%#[]".contains(literal) {
        return piece.push(plain(literal));
    }
    for byte in literal.encode_utf8(&mut [0; 4]).bytes() {
        piece.push('%');
        piece.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
    }
}

/// The two signs between names and values are one.
fn plain(letter: char) -> char {
    if letter == '=' { ':' } else { letter }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Key, KeyBuf};
    use super::*;
    use proptest::prelude::*;

    fn key(tenant: &str, policy: &str, path: &str) -> KeyBuf {
        let mut key = KeyBuf::default();
        key.part(Part::Namespace, b"shop");
        key.part(Part::Version, b"7");
        key.part_named(Part::Identity, "tenant", [tenant.as_bytes()].into_iter());
        key.part(Part::Policy, policy.as_bytes());
        key.part(Part::Method, b"GET");
        key.part(Part::Path, path.as_bytes());
        key
    }

    fn matches(pattern: &str, key: &KeyBuf) -> bool {
        Pattern::parse(pattern).unwrap().matches(key.as_bytes())
    }

    #[test]
    fn both_spellings_and_any_text() {
        let key = key("1", "my-dashboard", "/d/x");
        for hit in [
            "*",
            "tenant=1:*",
            "tenant:1:*dashboard:*",
            "tenant=1:*dashboard*",
            "shop:v7:tenant=1:*",
            "*GET:/d/x",
            "tenant=1:my-dashboard:GET:/d/x",
            "*:my-dash*:*x",
        ] {
            assert!(matches(hit, &key), "{hit}");
        }
        for miss in ["tenant=1", "tenant=11:*", "tenant=2:*", "dashboard*", "*dashboard", "\\*", "tenant=1:*y", "v7:*"]
        {
            assert!(!matches(miss, &key), "{miss}");
        }
    }

    #[test]
    fn what_begins_with_a_slash_is_about_the_path() {
        let mut with_query = key("1", "p", "/products/7");
        with_query.part(Part::Query, b"page=2&token=s3cret");
        with_query.part_named(Part::Header, "accept", [&b"/products/9"[..]].into_iter());
        for hit in ["/products/7", "/products/*", "/*", "*/products/7?page=2*", "/products/7?page=2*", "/*7?*"] {
            assert!(matches(hit, &with_query), "{hit}");
        }
        for miss in ["/products", "/product", "/7", "/products/7?", "/products/9", "/*accept*", "/*s3cret*", "/\\*"] {
            assert!(!matches(miss, &with_query), "{miss}");
        }
        let mut value = KeyBuf::default();
        value.part(Part::Namespace, b"shop");
        value.part(Part::Value, b"/products/7");
        assert!(!matches("/products/7", &value) && matches("/*", &key("1", "p", "/")));
    }

    #[test]
    fn a_path_is_named_as_it_is_sent_or_as_it_is_shown() {
        for sign in "-._~!$&'()+,;=:@[]\u{e9}".chars() {
            let path = format!("/users{sign}/me");
            let key = key("1", "p", &path);
            assert!(matches(&path, &key) && matches(&format!("/users\\{sign}/*"), &key), "{path}");
            assert!(!matches("/users/me", &key) && !matches("/usersx/me", &key), "{path}");
            let text = Key::from(&key).to_string();
            let shown = &text[text.find('/').unwrap()..];
            assert!(matches(shown, &key), "{shown}");
        }
    }

    #[test]
    fn a_query_is_named_as_it_is_sent_or_as_it_is_shown() {
        for query in ["ids=1,2", "day=2026-11-22T10:00", "filter[a]=1", "next=/x?y", "a=b=c", "a=(1)&b=@"] {
            let mut key = key("1", "p", "/list");
            key.part(Part::Query, query.as_bytes());
            assert!(matches(&format!("/list?{query}"), &key) && matches(&format!("/*?{query}*"), &key), "{query}");
            assert!(!matches("/list?other*", &key), "{query}");
            let text = Key::from(&key).to_string();
            assert!(matches(&text[text.find("/list").unwrap()..], &key), "{text}");
        }
    }

    #[test]
    fn what_stands_behind_path_and_query_is_neither() {
        let mut key = key("1", "p", "/x");
        key.part(Part::Query, b"a=1");
        key.part(Part::Language, b"de");
        key.part(Part::Codings, b"br");
        assert!(matches("/x", &key) && matches("/x?a=1", &key));
        assert!(!matches("/x?a=1*de*", &key) && !matches("/x?a=1:*", &key));
    }

    #[test]
    fn what_follows_namespace_and_version_can_be_meant_alone() {
        let mut long = KeyBuf::default();
        long.part(Part::Namespace, b"a-namespace-of-some-length");
        long.part(Part::Version, b"2026-11-22");
        long.part(Part::Policy, b"p");
        assert!(matches("p", &long) && matches("a-namespace-of-some-length:v2026-11-22:p", &long));
        let mut without = KeyBuf::default();
        without.part(Part::Policy, b":p");
        assert!(matches(":p", &without) && !matches("p", &without), "nothing stands before it");
    }

    #[test]
    fn a_literal_sign_is_that_sign() {
        for (pattern, path) in [("/\\(x\\)", "/(x)"), ("/\\a\\-b", "/a-b"), ("/\\*", "/*"), ("/\\\u{e9}", "/\u{e9}")] {
            assert!(matches(pattern, &key("1", "p", path)), "{pattern}");
            assert!(!matches(pattern, &key("1", "p", "/")) && !matches(pattern, &key("1", "p", "/xx")), "{pattern}");
        }
        assert!(matches("\\tenant\\=1:*", &key("1", "p", "/")), "what needs no escape is itself");
    }

    #[test]
    fn a_pattern_and_what_is_wrong_with_one_can_be_shown() {
        assert_eq!(Pattern::parse("tenant=1:\\**").unwrap().to_string(), "tenant=1:\\**");
        assert!(Pattern::parse("").unwrap_err().to_string().contains("matches nothing"));
    }

    #[test]
    fn names_of_signs_are_names() {
        let names = ["*", "a*", "a?", "a[bc]", "a\\*", "abc", "ab", "a:b", "a=b"];
        for (at, name) in names.iter().enumerate() {
            let key = key(name, "p", "/x");
            let text = Key::from(&key).to_string();
            let tenant = text.split(':').nth(2).unwrap().to_owned();
            for (other, another) in names.iter().enumerate() {
                let pattern =
                    format!("{}:*", Key::from(&self::key(another, "p", "/x")).to_string().split(':').nth(2).unwrap());
                assert_eq!(matches(&pattern, &key), at == other, "{pattern} {tenant}");
            }
        }
    }

    #[test]
    fn what_says_nothing_is_an_error() {
        assert!(Pattern::parse("").is_err() && Pattern::parse("a\\").is_err() && Pattern::parse("a\\\\").is_ok());
    }

    proptest! {
        /// Against the textbook: a table of which prefix of the pattern matches which prefix of the text.
        #[test]
        fn agrees_with_a_table(pattern in "[ab*]{1,8}", text in "[ab]{0,10}") {
            let (p, t): (Vec<_>, Vec<_>) = (pattern.chars().collect(), text.chars().collect());
            let mut table = vec![vec![false; t.len() + 1]; p.len() + 1];
            table[0][0] = true;
            for i in 1..=p.len() {
                for j in 0..=t.len() {
                    table[i][j] = match p[i - 1] {
                        '*' => table[i - 1][j] || (j > 0 && table[i][j - 1]),
                        letter => j > 0 && table[i - 1][j - 1] && letter == t[j - 1],
                    };
                }
            }
            prop_assert_eq!(Pattern::parse(&pattern).unwrap().matches_text(&text), table[p.len()][t.len()]);
        }
    }
}

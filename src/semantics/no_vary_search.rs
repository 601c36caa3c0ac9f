//! Which parts of the query select a response: `No-Vary-Search` (draft-ietf-httpbis-no-vary-search).
//!
//! ```text
//! No-Vary-Search: key-order, params=("utm_source" "utm_medium")
//! No-Vary-Search: except=("productId")
//! ```
//!
//! A query is taken apart as `application/x-www-form-urlencoded` (WHATWG URL §5.1). Names and values are compared as
//! bytes. The draft compares them after a decoding that makes U+FFFD of whatever is no UTF-8, so that `%FE` and `%FF`
//! would be the same; here they differ. Two queries that are equivalent here are so by the draft; the reverse holds for
//! queries that are valid UTF-8.

use super::structured::{Parser, Value, joined_lines};
use http::{HeaderMap, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use std::borrow::Cow;

/// What `No-Vary-Search` says; `None` where every query is a resource of its own: without the field, with one that is
/// no valid dictionary or breaks the draft's rules, and with one that says just that (`params=()`).
///
/// `key-order` alone counts. The draft's algorithm turns it into the default, against the draft's own text and examples.
/// A name that is no UTF-8, or has U+FFFD in it, makes the field invalid: by the draft it would stand for every other name
/// that is no UTF-8.
///
/// ```
/// use http::HeaderMap;
/// use larder::semantics::no_vary_search::no_vary_search;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("no-vary-search", "key-order, params=(\"utm_source\")".parse()?);
/// let variance = no_vary_search(&headers).expect("it is valid");
/// assert_eq!(variance.normal_query(Some("b=2&utm_source=x&a=%31")).as_deref(), Some("a=1&b=2"));
/// assert_eq!(variance.normal_query(Some("utm_source=y")), variance.normal_query(None));
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
pub fn no_vary_search(headers: &HeaderMap) -> Option<SearchVariance> {
    let text = joined_lines(headers, &NO_VARY_SEARCH)?;
    let members = Parser::of(&text).dictionary()?;
    // Of duplicate keys the last counts (RFC 9651 §4.2.2).
    let last = |key: &str| members.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value);
    let key_order_matters = match last("key-order") {
        None => true,
        Some(Value::Boolean(ignored)) => !ignored,
        Some(_) => return None,
    };
    let counted = match (last("params"), last("except")) {
        (Some(_), Some(_)) => return None,
        (Some(_), None) => Counted::AllBut(names(&text, b"params")?),
        (None, Some(_)) => Counted::Only(names(&text, b"except")?),
        (None, None) => Counted::AllBut(Vec::new()),
    };
    Some(SearchVariance { key_order_matters, counted }).filter(|variance| !variance.is_default())
}

/// Which parts of the query select a response; the draft's URL variation config. The default is: all of it, byte by byte.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder::semantics::no_vary_search::{SearchVariance, no_vary_search};
///
/// let mut head = HeaderMap::new();
/// head.insert("no-vary-search", HeaderValue::from_static(r#"except=("id")"#));
/// let variance = no_vary_search(&head).unwrap_or_default();
/// assert!(variance.counts(b"id") && !variance.counts(b"utm_source"));
/// assert_eq!(variance.normal_query(Some("utm_source=x&id=17")).as_deref(), Some("id=17"));
/// assert_eq!(SearchVariance::default().normal_query(Some("b&a")).as_deref(), Some("b&a"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SearchVariance {
    key_order_matters: bool,
    counted: Counted,
}

/// Names are decoded, sorted, and each there once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    AllBut(Vec<Box<[u8]>>),
    Only(Vec<Box<[u8]>>),
}

impl SearchVariance {
    /// Whether queries with the same parameters in another order differ. Values of one name always stay in order.
    pub fn key_order_matters(&self) -> bool {
        self.key_order_matters
    }

    /// Whether a parameter of this name, decoded, counts.
    pub fn counts(&self, name: &[u8]) -> bool {
        let listed = |names: &[Box<[u8]>]| names.binary_search_by(|listed| (**listed).cmp(name)).is_ok();
        match &self.counted {
            Counted::AllBut(names) => !listed(names),
            Counted::Only(names) => listed(names),
        }
    }

    /// One spelling for all equivalent queries: two queries select the same response exactly if this gives the same for
    /// both. `None` means that nothing is left, as of a target without a query.
    ///
    /// The default gives back what it is given. All others give `name=value` pairs, all percent-encoded alike, so the
    /// normal form of a normal form is itself.
    pub fn normal_query(&self, query: Option<&str>) -> Option<String> {
        if self.is_default() {
            return query.map(str::to_owned);
        }
        let mut pairs: Vec<_> = pairs(query.unwrap_or_default()).filter(|(name, _)| self.counts(name)).collect();
        if !self.key_order_matters {
            // Stable: values of one name stay in order. Which order of names it is makes no difference.
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        let mut normal = String::new();
        for (name, value) in &pairs {
            if !normal.is_empty() {
                normal.push('&');
            }
            normal.extend(percent_encode(name, ENCODED));
            normal.push('=');
            normal.extend(percent_encode(value, ENCODED));
        }
        (!pairs.is_empty()).then_some(normal)
    }

    fn is_default(&self) -> bool {
        self.key_order_matters && matches!(&self.counted, Counted::AllBut(names) if names.is_empty())
    }
}

impl Default for SearchVariance {
    fn default() -> Self {
        Self { key_order_matters: true, counted: Counted::AllBut(Vec::new()) }
    }
}

/// The parameters that a member lists, if it is an inner list of nothing but strings. The text is a valid dictionary.
fn names(text: &[u8], key: &[u8]) -> Option<Vec<Box<[u8]>>> {
    // Within an inner list there is no comma outside of strings.
    let members = split(text, |byte, _| byte == b',');
    let of_key = |member: &&[u8]| member.split(|byte| matches!(byte, b'=' | b';')).next() == Some(key);
    let list = members.into_iter().map(<[u8]>::trim_ascii).rfind(of_key)?;
    let list = list.get(key.len()..)?.strip_prefix(b"=(")?;
    let items = split(list, |byte, _| byte == b')').into_iter().next()?;
    // A space behind a semicolon belongs to the parameters of an item.
    let items = split(items, |byte, before| byte == b' ' && before != b';').into_iter().filter(|item| !item.is_empty());
    let mut names = items.map(name).collect::<Option<Vec<_>>>()?;
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// The draft's "parse a key".
fn name(item: &[u8]) -> Option<Box<[u8]>> {
    let items = Parser::of(item).list()?;
    let [(Value::String(name), _)] = &*items else { return None };
    let name = decoded(name.as_bytes());
    let is_told_apart = std::str::from_utf8(&name).is_ok_and(|name| !name.contains(char::REPLACEMENT_CHARACTER));
    is_told_apart.then(|| name.into())
}

/// Splits a valid structured field at bytes outside of its strings. `at` is given the byte, and the last one before it
/// that is no space.
fn split(text: &[u8], mut at: impl FnMut(u8, u8) -> bool) -> Vec<&[u8]> {
    let (mut pieces, mut start) = (Vec::new(), 0);
    let (mut before, mut solid) = (b',', b',');
    // Display Strings (RFC 9651 §3.3.8) have no backslash escapes.
    let (mut quoted, mut escapes, mut escaped) = (false, false, false);
    for (index, &byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted && escapes => escaped = true,
            b'"' if quoted => quoted = false,
            _ if quoted => {}
            b'"' => (quoted, escapes) = (true, before != b'%'),
            _ if at(byte, solid) => {
                pieces.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
        before = byte;
        solid = if byte == b' ' { solid } else { byte };
    }
    pieces.push(&text[start..]);
    pieces
}

type Pair<'q> = (Cow<'q, [u8]>, Cow<'q, [u8]>);

/// The `application/x-www-form-urlencoded` parser, without its last step, which decodes what is no UTF-8 lossily.
fn pairs(query: &str) -> impl Iterator<Item = Pair<'_>> {
    let sequences = query.as_bytes().split(|byte| *byte == b'&').filter(|sequence| !sequence.is_empty());
    sequences.map(|sequence| match sequence.iter().position(|byte| *byte == b'=') {
        Some(at) => (decoded(&sequence[..at]), decoded(&sequence[at + 1..])),
        None => (decoded(sequence), Cow::Borrowed(&b""[..])),
    })
}

/// `+` is a space, `%` and two hexadecimal digits are a byte, any other `%` is itself.
fn decoded(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'+') {
        return percent_decode(text).into();
    }
    let spaced: Vec<u8> = text.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    Cow::Owned(percent_decode(&spaced).collect())
}

/// All but the `application/x-www-form-urlencoded` characters that stand for themselves. A space is `%20`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn read_lines(lines: &[&str]) -> Option<SearchVariance> {
        let value = |line: &&str| (NO_VARY_SEARCH, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        no_vary_search(&lines.iter().map(value).collect())
    }

    fn read(line: &str) -> Option<SearchVariance> {
        read_lines(&[line])
    }

    fn listed(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn variance(key_order_matters: bool, counted: Counted) -> Option<SearchVariance> {
        Some(SearchVariance { key_order_matters, counted })
    }

    fn all_but(names: &[&str]) -> Counted {
        Counted::AllBut(listed(names))
    }

    fn only(names: &[&str]) -> Counted {
        Counted::Only(listed(names))
    }

    #[test]
    fn the_examples_of_the_draft_are_read() {
        for (line, expected) in [
            ("key-order", variance(false, all_but(&[]))),
            ("key-order=?1", variance(false, all_but(&[]))),
            ("key-order=?0", None),
            (
                "params=(\"utm_source\" \"utm_medium\" \"utm_campaign\")",
                variance(true, all_but(&["utm_campaign", "utm_medium", "utm_source"])),
            ),
            ("except=(\"productId\")", variance(true, only(&["productId"]))),
            ("params=(\"a\")", variance(true, all_but(&["a"]))),
            ("except=(\"x\")", variance(true, only(&["x"]))),
            ("params=()", None),
            ("except=()", variance(true, only(&[]))),
            ("except=(\"x\"), key-order", variance(false, only(&["x"]))),
            ("params=(\"%C3%A9+%E6%B0%97\")", variance(true, all_but(&["é 気"]))),
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
    }

    #[test]
    fn what_the_draft_calls_invalid_is_the_default() {
        for line in [
            "key-order=\"not a boolean\"",
            "params=\"not an inner list\"",
            "params=(not-a-string)",
            "params=?0",
            "params=?1",
            "params=?1, except=(\"x\")",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "except=\"not an inner list\"",
            "except=(not-a-string)",
            "except=?1",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        assert_eq!(no_vary_search(&HeaderMap::new()), None);
    }

    #[test]
    fn what_is_no_dictionary_is_the_default() {
        for line in
            ["", "params=(\"a\"", "params=(\"a\"),", "params=(\"a\" \"b)", "key-order, é", "Key-Order", "params"]
        {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn lists_are_found_among_whatever_else_there_is() {
        let expected = variance(true, all_but(&["a", "b", "c\"\\,)("]));
        for line in [
            r#"params=("a" "b" "c\"\\,)(")"#,
            r#"params=("b"  "a" "b" "c\"\\,)(" )"#,
            r#"params=("a";x;y="a) b";  z=%"\" "b" "c\"\\,)(");p="(""#,
            r#"x="params=(", y=%"\", z=(a% "\"" "params=(("), params=("a" "b" "c\"\\,)("), xparams=("q")"#,
            r#"params=?1, params=("x"), params=("a" "b" "c\"\\,)(")"#,
            "x;params=?0 \t,\t params=(\"a\" \"b\" \"c\\\"\\\\,)(\")",
        ] {
            assert_eq!(read(line), expected, "{line}");
        }
        assert_eq!(read_lines(&["key-order", "params=(\"a\")"]), variance(false, all_but(&["a"])));
        assert_eq!(read_lines(&["key-order", "key-order=?0, except=(\"a\")"]), variance(true, only(&["a"])));
        assert_eq!(read("params=(\"a\"), params=(b)"), None, "the last counts");
        assert_eq!(read("params=(\"a\" %\"b\")"), None, "a Display String is no String");
    }

    #[test]
    fn a_name_that_would_stand_for_others_is_invalid() {
        for line in ["except=(\"%FF\")", "params=(\"a\" \"%f6\")", "except=(\"%EF%BF%BD\")"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn the_equivalences_of_the_draft_hold() {
        let order = read("key-order").unwrap();
        for (a, b) in [
            (None, Some("")),
            (Some("a=x"), Some("%61=%78")),
            (Some("a=é"), Some("a=%C3%A9")),
            (Some("a=x&&&&"), Some("a=x")),
            (Some("a="), Some("a")),
            (Some("a=%20"), Some("a= &")),
            (Some("a=+"), Some("a= &")),
        ] {
            assert_eq!(order.normal_query(a), order.normal_query(b), "{a:?} {b:?}");
            let default = SearchVariance::default();
            assert_ne!(default.normal_query(a), default.normal_query(b), "{a:?} {b:?}");
        }
        let params = read("params=(\"%C3%A9+%E6%B0%97\")").unwrap();
        for query in ["é 気=1", "é+気=2", "%C3%A9%20気=3", "%C3%A9+%E6%B0%97=4"] {
            assert_eq!(params.normal_query(Some(query)), None, "{query}");
        }
    }

    #[test]
    fn names_and_values_are_bytes() {
        let order = read("key-order").unwrap();
        let normal = |query| order.normal_query(Some(query)).unwrap();
        // By the draft both pairs are equal: this is the safe side of it.
        assert_ne!(normal("a=%f6"), normal("a=%ef%bf%bd"));
        assert_ne!(normal("%FF=1"), normal("%FE=1"));
        for (query, expected) in [
            ("b=2&a=1&b=1", "a=1&b=2&b=1"),
            ("a=%2B+%2b", "a=%2B%20%2B"),
            ("a=%", "a=%25"),
            ("a=%4&%zz", "%25zz=&a=%254"),
            ("=", "="),
            ("=&a", "=&a="),
            ("a=b=c", "a=b%3Dc"),
            ("a%26b=1%26", "a%26b=1%26"),
            ("~*-._=/", "%7E*-._=%2F"),
        ] {
            assert_eq!(normal(query), expected, "{query}");
        }
    }

    #[test]
    fn only_what_counts_is_left() {
        let except = read("except=(\"a\" \"c d\")").unwrap();
        assert_eq!(except.normal_query(Some("b=1&c+d=2&a=3&A=4")).as_deref(), Some("c%20d=2&a=3"));
        assert!(except.counts(b"c d") && !except.counts(b"c+d") && except.key_order_matters());
        assert!(!read("key-order").unwrap().key_order_matters());
        let none = read("except=()").unwrap();
        assert_eq!(none.normal_query(Some("a=1")), None);
        let params = read("params=(\"utm\")").unwrap();
        assert_eq!(params.normal_query(Some("b=1&utm=2&a=3")).as_deref(), Some("b=1&a=3"));
    }

    /// The draft's comparison, step by step, on bytes.
    fn equivalent(variance: &SearchVariance, a: Option<&str>, b: Option<&str>) -> bool {
        if *variance == SearchVariance::default() {
            return a == b;
        }
        let list = |query: Option<&str>| {
            let mut list: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
            for sequence in query.unwrap_or("").split('&').filter(|sequence| !sequence.is_empty()) {
                let (name, value) = sequence.split_once('=').unwrap_or((sequence, ""));
                let decode = |text: &str| {
                    let text = text.replace('+', " ").into_bytes();
                    let mut bytes = Vec::new();
                    let mut at = 0;
                    while at < text.len() {
                        let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
                        if let (b'%', Some(digits)) = (text[at], digits) {
                            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                            at += 3;
                        } else {
                            bytes.push(text[at]);
                            at += 1;
                        }
                    }
                    bytes
                };
                list.push((decode(name), decode(value)));
            }
            list.retain(|(name, _)| match &variance.counted {
                Counted::AllBut(names) => !names.iter().any(|listed| **listed == **name),
                Counted::Only(names) => names.iter().any(|listed| **listed == **name),
            });
            if !variance.key_order_matters {
                list.sort_by(|(a, _), (b, _)| a.cmp(b));
            }
            list
        };
        list(a) == list(b)
    }

    fn any_variance() -> impl Strategy<Value = SearchVariance> {
        let names = proptest::collection::btree_set(prop_oneof![Just("a"), Just("b"), Just(""), Just("é")], 0..3);
        (any::<bool>(), any::<bool>(), names).prop_map(|(key_order_matters, but, names)| {
            let mut names = listed(&names.into_iter().collect::<Vec<_>>());
            names.sort_unstable();
            let counted = if but { Counted::AllBut(names) } else { Counted::Only(names) };
            SearchVariance { key_order_matters, counted }
        })
    }

    /// Short, of few pieces, so that equivalent ones are frequent.
    fn any_query() -> impl Strategy<Value = Option<String>> {
        let piece = proptest::sample::select(vec![
            "a",
            "b",
            "a",
            "b",
            "=",
            "=",
            "&",
            "&",
            "%61",
            "%62",
            "+",
            "%20",
            " ",
            "%",
            "%2",
            "%FF",
            "%fe",
            "%C3%A9",
            "é",
            "%26",
            "%3D",
            "%EF%BF%BD",
        ]);
        proptest::option::of(proptest::collection::vec(piece, 0..7).prop_map(|pieces| pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn normal_forms_agree_exactly_if_the_queries_are_equivalent(
            variance in any_variance(), queries in proptest::collection::vec(any_query(), 2..6)
        ) {
            for a in &queries {
                for b in &queries {
                    let same = variance.normal_query(a.as_deref()) == variance.normal_query(b.as_deref());
                    prop_assert_eq!(same, equivalent(&variance, a.as_deref(), b.as_deref()), "{:?} {:?}", a, b);
                }
            }
        }

        #[test]
        fn the_normal_form_of_a_normal_form_is_itself(variance in any_variance(), query in any_query()) {
            let normal = variance.normal_query(query.as_deref());
            prop_assert_eq!(variance.normal_query(normal.as_deref()), normal);
        }

        #[test]
        fn every_query_is_equivalent_to_its_normal_form(variance in any_variance(), query in any_query()) {
            let normal = variance.normal_query(query.as_deref());
            prop_assert!(equivalent(&variance, query.as_deref(), normal.as_deref()));
        }

        #[test]
        fn the_default_leaves_queries_alone(query in proptest::option::of(".{0,20}")) {
            prop_assert_eq!(SearchVariance::default().normal_query(query.as_deref()), query);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(line in "[ -~\\t]{0,30}", tail in "(params|except)=[(][ -~]{0,20}[)][ -~]{0,5}") {
            let (_, variance) = (read(&line), read(&tail));
            if let Some(variance) = variance {
                prop_assert!(!variance.is_default());
                let _ = variance.normal_query(Some(&line));
            }
        }
    }
}

//! The fields of a request that select the response (RFC 9110 §12.5.5; RFC 9111 §4.1).
//!
//! ```text
//! Vary = #( "*" / field-name )
//! ```

use super::content_coding;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_ENCODING, ORIGIN, VARY},
};
use std::fmt;

/// The field names that all `Vary` lines nominate, sorted by name, each once. Without `Vary` there are none.
///
/// `*` anywhere wins over the other refusals. Empty elements are left out (RFC 9110 §5.6.1.2).
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::VARY};
/// use larder::semantics::vary::{VaryRefusal, nominated};
///
/// let mut head = HeaderMap::from_iter([(VARY, HeaderValue::from_static("Origin, accept-language, origin"))]);
/// assert_eq!(nominated(&head)?, ["accept-language", "origin"]);
/// head.append(VARY, HeaderValue::from_static("*"));
/// assert_eq!(nominated(&head), Err(VaryRefusal::Star));
/// # Ok::<(), VaryRefusal>(())
/// ```
///
/// # Errors
///
/// If there is a `*`, an element that is no field name, or more of them than are compared.
pub fn nominated(headers: &HeaderMap) -> Result<Vec<HeaderName>, VaryRefusal> {
    let lines = || headers.get_all(VARY).iter().map(HeaderValue::as_bytes);
    let elements = || lines().flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii);
    if elements().any(is_star) {
        return Err(VaryRefusal::Star);
    }
    if lines().map(<[u8]>::len).sum::<usize>() > MAX_BYTES {
        return Err(VaryRefusal::TooLarge);
    }
    let mut names = Vec::new();
    for element in elements().filter(|element| !element.is_empty()) {
        names.push(HeaderName::from_bytes(element).map_err(|_| VaryRefusal::Malformed)?);
    }
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    if names.len() > MAX_NAMES {
        return Err(VaryRefusal::TooLarge);
    }
    Ok(names)
}

/// Adds to the nominated names what a response varies with whether it says so or not: a coded one with `Accept-Encoding`,
/// one that is for one origin with `Origin` (Fetch, "CORS protocol and HTTP caches").
pub(crate) fn add_unsaid(nominated: &mut Vec<HeaderName>, headers: &HeaderMap) {
    let for_one_origin = || {
        let mut origins = headers.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter();
        origins.any(|value| value.as_bytes().trim_ascii() != b"*")
    };
    for (name, varies) in [(ACCEPT_ENCODING, headers.contains_key(CONTENT_ENCODING)), (ORIGIN, for_one_origin())] {
        if varies && let Err(place) = nominated.binary_search_by(|other| other.as_str().cmp(name.as_str())) {
            nominated.insert(place, name);
        }
    }
}

/// Why no later request can be matched to a response (RFC 9111 §4.1), or not with bounded work.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::VARY};
/// use larder::semantics::vary::{VaryRefusal, nominated};
///
/// let refusal = |says| nominated(&HeaderMap::from_iter([(VARY, HeaderValue::from_static(says))])).err();
/// assert_eq!(refusal("accept; q=1"), Some(VaryRefusal::Malformed));
/// assert_eq!(refusal("*").map(VaryRefusal::as_str), Some("vary-star"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VaryRefusal {
    /// `Vary: *`, also between names.
    Star,
    /// An element that is no field name.
    Malformed,
    /// More than 32 names, or values of more than 1 KiB.
    TooLarge,
}

impl VaryRefusal {
    /// The reason as one word, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Star => "vary-star",
            Self::Malformed => "vary-malformed",
            Self::TooLarge => "vary-too-large",
        }
    }
}

impl fmt::Display for VaryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::error::Error for VaryRefusal {}

/// Appends the values that the nominated fields have in a request. For one list of names, two requests give the same
/// bytes exactly if they match (RFC 9111 §4.1).
///
/// For each name: 0 if the field is absent; else 1, the number of its lines, and each line with its length before it,
/// numbers as 32 bits, little end first. White space around a line does not count, the order of lines does.
/// `Accept-Encoding` stands in its [normal form](content_coding::normal), all else as sent.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
/// use larder::semantics::vary::write_selecting_values;
///
/// let selecting = |language| {
///     let request = HeaderMap::from_iter([(ACCEPT_LANGUAGE, HeaderValue::from_static(language))]);
///     let mut values = Vec::new();
///     write_selecting_values(&[ACCEPT_LANGUAGE], &request, &mut values);
///     values
/// };
/// assert_eq!(selecting("de"), selecting(" de"));
/// assert_ne!(selecting("de"), selecting("en"));
/// ```
pub fn write_selecting_values(nominated: &[HeaderName], request: &HeaderMap, out: &mut impl Extend<u8>) {
    for name in nominated {
        if *name == ACCEPT_ENCODING {
            let codings = content_coding::normal(request).map(|codings| [codings.bits()]);
            write_lines(usize::from(codings.is_some()), codings.iter().map(<[u8; 1]>::as_slice), out);
        } else {
            let lines = request.get_all(name);
            let values = lines.iter().map(|line| line.as_bytes().trim_ascii());
            write_lines(lines.iter().count(), values, out);
        }
    }
}

fn write_lines<'a>(count: usize, lines: impl Iterator<Item = &'a [u8]>, out: &mut impl Extend<u8>) {
    out.extend([u8::from(count > 0)]);
    if count > 0 {
        write_number(count, out);
    }
    for line in lines {
        write_number(line.len(), out);
        out.extend(line.iter().copied());
    }
}

/// No header map holds 2^32 lines or a line of 4 GiB.
fn write_number(number: usize, out: &mut impl Extend<u8>) {
    out.extend(u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
}

/// `*`, also quoted or repeated: nobody who writes that means a field name, though `http` takes `**` for one.
fn is_star(element: &[u8]) -> bool {
    element.contains(&b'*') && element.iter().all(|byte| b"*\"' \t".contains(byte))
}

const MAX_NAMES: usize = 32;
const MAX_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn response(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (VARY, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    fn names(lines: &[&str]) -> Result<Vec<String>, VaryRefusal> {
        nominated(&response(lines)).map(|names| names.iter().map(|name| name.as_str().to_owned()).collect())
    }

    #[test]
    fn a_refusal_is_told_in_its_word() {
        assert_eq!(VaryRefusal::Star.to_string(), "vary-star");
        assert_eq!(VaryRefusal::TooLarge.to_string(), VaryRefusal::TooLarge.as_str());
    }

    #[test]
    fn names_are_sorted_and_deduplicated() {
        assert_eq!(names(&[]), Ok(vec![]));
        assert_eq!(names(&["", " , ,"]), Ok(vec![]));
        let expected = ["accept", "accept-encoding", "x-b"].map(String::from).to_vec();
        assert_eq!(
            names(&["X-B,Accept-Encoding", "ACCEPT ,\\taccept-encoding".replace("\\t", "\t").as_str()]),
            Ok(expected)
        );
    }

    #[test]
    fn star_in_any_spelling_wins() {
        for lines in [
            &["*"][..],
            &[" * "],
            &["*, Accept"],
            &["Accept, *,"],
            &["Accept,*"],
            &["Accept", "*"],
            &["a b", "*"],
            &["\"*\""],
            &["**"],
            &["*,*"],
        ] {
            assert_eq!(names(lines), Err(VaryRefusal::Star), "{lines:?}");
        }
        let long = "x".repeat(8192);
        assert_eq!(names(&[&long, "a b", "*"]), Err(VaryRefusal::Star));
    }

    #[test]
    fn what_is_no_name_is_malformed() {
        for line in
            ["a b", "Accept; q=1", "caf\u{e9}", "\"Accept\"", "a:", "(a)", "a, b c, d", "[a]", "a=b", "a/b", "a@b"]
        {
            assert_eq!(names(&[line]), Err(VaryRefusal::Malformed), "{line}");
        }
    }

    #[test]
    fn names_and_bytes_are_bounded() {
        let list = |count: usize| (0..count).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(names(&[&list(32)]).map(|names| names.len()), Ok(32));
        assert_eq!(names(&[&list(33)]), Err(VaryRefusal::TooLarge));
        assert_eq!(names(&[&list(300)]), Err(VaryRefusal::TooLarge));
        assert_eq!(names(&["origin"; 100]).map(|names| names.len()), Ok(1));
        assert_eq!(names(&[&"x".repeat(1024)]).map(|names| names.len()), Ok(1));
        assert_eq!(names(&[&"x".repeat(1024), "y"]), Err(VaryRefusal::TooLarge));
    }

    type Lines = Vec<(&'static str, Vec<u8>)>;

    fn encode(fields: &Lines) -> Vec<u8> {
        let request = fields
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()))
            .collect();
        let mut out = Vec::new();
        write_selecting_values(&["a", "b", "accept-encoding"].map(HeaderName::from_static), &request, &mut out);
        out
    }

    fn encode_strs(fields: &[(&'static str, &str)]) -> Vec<u8> {
        encode(&fields.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect())
    }

    #[test]
    fn absent_empty_and_joined_differ() {
        let different = [
            encode_strs(&[]),
            encode_strs(&[("a", "")]),
            encode_strs(&[("b", "")]),
            encode_strs(&[("a", ""), ("a", "")]),
            encode_strs(&[("a", "x,y")]),
            encode_strs(&[("a", "x"), ("a", "y")]),
            encode_strs(&[("a", "y"), ("a", "x")]),
            encode_strs(&[("a", "X"), ("a", "y")]),
            encode_strs(&[("a", "x"), ("b", "y")]),
            encode_strs(&[("accept-encoding", "")]),
            encode_strs(&[("accept-encoding", "gzip")]),
        ];
        for (at, one) in different.iter().enumerate() {
            assert!(!different[..at].contains(one), "{at}");
        }
        assert_eq!(encode_strs(&[]), [0, 0, 0]);
        assert_eq!(encode_strs(&[("a", "xy")]), [1, 1, 0, 0, 0, 2, 0, 0, 0, b'x', b'y', 0, 0]);
    }

    #[test]
    fn requests_that_match_are_the_same() {
        assert_eq!(encode_strs(&[("a", " x\t")]), encode_strs(&[("a", "x")]));
        assert_eq!(encode_strs(&[("a", "x"), ("c", "y")]), encode_strs(&[("a", "x")]));
        assert_eq!(
            encode_strs(&[("accept-encoding", "gzip, br;q=0.5, nonsense")]),
            encode_strs(&[("accept-encoding", "br"), ("accept-encoding", "x-gzip")]),
        );
    }

    /// Values made of what could be taken for a divider or a number of the encoding.
    fn fields() -> impl Strategy<Value = Lines> {
        let value = prop_oneof![
            prop::collection::vec(prop::sample::select(&b"x, \t;=\"\xff"[..]), 0..4),
            prop::collection::vec(value_byte(), 0..4),
        ];
        prop::collection::vec((prop::sample::select(vec!["a", "b"]), value), 0..4)
    }

    fn lines_of(fields: &Lines, name: &str) -> Vec<Vec<u8>> {
        fields.iter().filter(|(other, _)| *other == name).map(|(_, value)| value.trim_ascii().to_vec()).collect()
    }

    /// Any byte that `http` takes in a field value, but for the tab.
    fn value_byte() -> impl Strategy<Value = u8> {
        prop_oneof![32..=126_u8, 128..=255_u8]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_encoding_is_injective(one in fields(), other in fields()) {
            let same = ["a", "b"].iter().all(|name| lines_of(&one, name) == lines_of(&other, name));
            prop_assert_eq!(encode(&one) == encode(&other), same);
        }

        #[test]
        fn the_encoding_can_be_read_back(fields in fields()) {
            let encoded = encode(&fields);
            let mut rest = &encoded[..];
            let mut take = |count: usize| {
                let (taken, after) = rest.split_at(count);
                rest = after;
                taken.to_vec()
            };
            let number = |bytes: Vec<u8>| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
            for name in ["a", "b", "accept-encoding"] {
                let lines = match take(1)[0] {
                    0 => Vec::new(),
                    _ => {
                        let count = number(take(4));
                        (0..count).map(|_| { let length = number(take(4)); take(length) }).collect()
                    }
                };
                prop_assert_eq!(lines, lines_of(&fields, name));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_value_is_read(line in prop::collection::vec(value_byte(), 0..60)) {
            let headers = [(VARY, HeaderValue::from_bytes(&line).unwrap())].into_iter().collect();
            if let Ok(names) = nominated(&headers) {
                prop_assert!(names.is_sorted_by(|a, b| a.as_str() < b.as_str()));
            }
        }

        #[test]
        fn star_is_always_found(before in "[a-z ,\"]{0,9}", after in "[a-z ,\"]{0,9}") {
            prop_assert_eq!(names(&[&format!("{before},*,{after}")]), Err(VaryRefusal::Star));
        }
    }
}

//! Groups of responses (RFC 9875): `Cache-Groups` says which ones a response is in, `Cache-Group-Invalidation` which ones a
//! change has made invalid.

use super::structured::{Parser, Value, joined_lines};
use http::{HeaderMap, HeaderName};

const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// The groups that a response is in. None if the field is no list of strings.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder::semantics::cache_groups::cache_groups;
///
/// let mut head = HeaderMap::new();
/// head.insert("cache-groups", HeaderValue::from_static(r#""products", "sale""#));
/// assert_eq!(cache_groups(&head), ["products", "sale"]);
/// ```
pub fn cache_groups(headers: &HeaderMap) -> Vec<String> {
    strings(headers, &CACHE_GROUPS)
}

/// The groups that a response to an unsafe request has made invalid (§3). None if the field is no list of strings.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use larder::semantics::cache_groups::{cache_groups, invalidated_groups};
///
/// let (mut stored, mut answer) = (HeaderMap::new(), HeaderMap::new());
/// stored.insert("cache-groups", HeaderValue::from_static(r#""products", "sale""#));
/// answer.insert("cache-group-invalidation", HeaderValue::from_static(r#""sale""#));
/// let gone = invalidated_groups(&answer);
/// assert!(cache_groups(&stored).iter().any(|group| gone.contains(group)));
/// ```
pub fn invalidated_groups(headers: &HeaderMap) -> Vec<String> {
    strings(headers, &CACHE_GROUP_INVALIDATION)
}

/// The strings of a list; none at all if any member is something else (RFC 9651 §4.2).
fn strings(headers: &HeaderMap, field: &HeaderName) -> Vec<String> {
    let Some(text) = joined_lines(headers, field) else { return Vec::new() };
    let members = Parser::of(&text).list().unwrap_or_default();
    let string = |(value, _)| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    members.into_iter().map(string).collect::<Option<Vec<_>>>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn groups(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, HeaderValue::from_str(line).unwrap());
        }
        cache_groups(&headers)
    }

    #[test]
    fn lists_of_strings_are_read() {
        assert_eq!(groups(&["\"scripts\""]), ["scripts"]);
        assert_eq!(groups(&["\"a\", \"b, c\"", "\"d\\\"e\";x=1"]), ["a", "b, c", "d\"e"]);
        let many: Vec<String> = (0..40).map(|n| format!("{n:032}")).collect();
        let line = many.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        assert_eq!(groups(&[&line]), many);
    }

    #[test]
    fn one_wrong_member_makes_it_absent() {
        for bad in ["", "scripts", "\"a\", b", "\"a\" \"b\"", "(\"a\" \"b\")", "\"a\", 1", "\"unended", "\"a\","] {
            assert!(groups(&[bad]).is_empty(), "{bad}");
        }
        assert!(groups(&[]).is_empty());
    }

    #[test]
    fn a_change_says_of_which_groups_it_is() {
        let headers = HeaderMap::from_iter([
            (CACHE_GROUPS, HeaderValue::from_static("\"mine\"")),
            (CACHE_GROUP_INVALIDATION, HeaderValue::from_static("\"a\", \"b\"")),
        ]);
        assert_eq!(invalidated_groups(&headers), ["a", "b"]);
        assert_eq!(cache_groups(&headers), ["mine"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                cache_groups(&HeaderMap::from_iter([(CACHE_GROUPS, value)]));
            }
        }
    }
}

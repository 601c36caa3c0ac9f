//! Fields that tell of another host, scheme or path than the target URI: what of them is part of the key.

use super::{KeyBuf, Part, write_lines};
use http::{HeaderMap, HeaderName, HeaderValue, header::FORWARDED};
use smallvec::SmallVec;

/// Whether a field tells the handler of another host, scheme or path than the target URI: what a proxy in front sets,
/// and what anybody else can send.
pub(crate) fn is_forwarding(name: &str) -> bool {
    if let Some(rest) = name.strip_prefix("x-forwarded-") {
        return !matches!(rest, "for" | "by");
    }
    matches!(
        name,
        "cf-visitor"
            | "cloudfront-forwarded-proto"
            | "forwarded"
            | "front-end-https"
            | "x-envoy-original-host"
            | "x-envoy-original-path"
            | "x-host"
            | "x-http-host"
            | "x-http-host-override"
            | "x-ms-original-url"
            | "x-original-host"
            | "x-original-proto"
            | "x-original-uri"
            | "x-proto"
            | "x-scheme"
            | "x-url-scheme"
            | "x-waws-unencoded-url"
    )
}

pub(super) fn write_forwarded(key: &mut KeyBuf, headers: &HeaderMap) {
    // A header map has no order between names of its own: sort, so that equal requests have equal keys.
    let mut names: SmallVec<[&HeaderName; 4]> = headers.keys().filter(|name| is_forwarding(name.as_str())).collect();
    names.sort_unstable_by_key(|name| name.as_str());
    for name in names {
        if name == FORWARDED {
            let values: Vec<_> =
                headers.get_all(name).iter().flat_map(|line| forwarded_origin(line.as_bytes())).collect();
            key.part_named(Part::Forwarded, name.as_str(), values.iter().map(Vec::as_slice));
        } else {
            write_lines(key, Part::Forwarded, name, headers);
        }
    }
}

/// Of each element of `Forwarded` (RFC 7239) what it says of host and scheme: the client's address would give each client
/// its own copy. Where a quoted string holds a separator, or is never closed, another reader may see other elements: then
/// the whole line counts.
fn forwarded_origin(line: &[u8]) -> Vec<Vec<u8>> {
    if !is_plainly_quoted(line) {
        return vec![line.to_vec()];
    }
    let address = |pair: &&[u8]| {
        let name = pair.iter().position(|byte| *byte == b'=').map(|at| &pair[..at]);
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"for") || name.eq_ignore_ascii_case(b"by"))
    };
    line.split(|byte| *byte == b',')
        .map(|element| {
            let pairs = element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
            pairs.filter(|pair| !address(pair)).collect::<Vec<_>>().join(&b';')
        })
        .collect()
}

/// Leaves in `Forwarded` only what is part of the key.
pub(crate) fn narrow_forwarded(headers: &mut HeaderMap) {
    let lines: Vec<_> = headers.get_all(FORWARDED).iter().flat_map(|line| forwarded_origin(line.as_bytes())).collect();
    headers.remove(FORWARDED);
    for line in lines.into_iter().filter(|line| !line.is_empty()) {
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            headers.append(FORWARDED, line);
        }
    }
}

/// Whether every quote is closed, with nothing inside that separates elements or pairs.
fn is_plainly_quoted(line: &[u8]) -> bool {
    let mut pieces = line.split(|byte| *byte == b'"');
    let mut plain = true;
    // Every second piece stands in quotes.
    while let (Some(_outside), Some(inside)) = (pieces.next(), pieces.next()) {
        plain &= !inside.iter().any(|byte| b",;=\\".contains(byte));
    }
    plain && line.iter().filter(|byte| **byte == b'"').count() % 2 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwarded_counts_without_the_addresses() {
        let origin = |value: &str| {
            forwarded_origin(value.as_bytes()).into_iter().map(|v| String::from_utf8(v).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(origin("for=1.2.3.4;host=a;proto=https, For=\"[::1]:1\";by=x"), ["host=a;proto=https", ""]);
        for odd in ["host=\"a;b\\\",c\";for=x", "for=\"x;host=evil", "for=\"a;host=b\""] {
            assert_eq!(origin(odd), [odd]);
        }
        assert_eq!(origin("for = 1;host=a"), ["for = 1;host=a"]);
    }

    #[test]
    fn keys_do_not_depend_on_the_order_of_other_fields() {
        let key = |order: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for name in order {
                headers.append(*name, HeaderValue::from_static("v"));
            }
            let mut key = KeyBuf::default();
            write_forwarded(&mut key, &headers);
            key.as_bytes().to_vec()
        };
        assert_eq!(key(&["x-forwarded-host", "x-forwarded-proto"]), key(&["x-forwarded-proto", "x-forwarded-host"]));
    }
}

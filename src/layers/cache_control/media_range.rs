use http::{HeaderMap, header::CONTENT_TYPE};

/// A media type, or all of a kind (RFC 9110 §12.5.1): `image/png`, `image/*`. In lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MediaRange {
    kind: String,
    /// `None` is `*`.
    subtype: Option<String>,
}

impl MediaRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (kind, subtype) = text.split_once('/')?;
        let word = |word: &str| is_word(word.as_bytes()).then(|| word.to_ascii_lowercase());
        Some(Self { kind: word(kind)?, subtype: if subtype == "*" { None } else { Some(word(subtype)?) } })
    }

    /// Whether it names one type and no kind.
    pub(super) const fn is_exact(&self) -> bool {
        self.subtype.is_some()
    }

    /// Whether a response is of this type. Its parameters do not count.
    pub(super) fn matches(&self, headers: &HeaderMap) -> bool {
        let Some((kind, subtype)) = headers.get(CONTENT_TYPE).and_then(|value| essence(value.as_bytes())) else {
            return false;
        };
        kind.eq_ignore_ascii_case(self.kind.as_bytes())
            && self.subtype.as_ref().is_none_or(|own| subtype.eq_ignore_ascii_case(own.as_bytes()))
    }
}

/// Type and subtype of a media type.
fn essence(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let essence = value.split(|byte| *byte == b';').next()?.trim_ascii();
    let slash = essence.iter().position(|byte| *byte == b'/')?;
    let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
    (is_word(kind) && is_word(subtype)).then_some((kind, subtype))
}

/// A token (RFC 9110 §5.6.2), without the star that has a meaning here.
fn is_word(word: &[u8]) -> bool {
    let is_tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'+-.^_`|~".contains(byte);
    !word.is_empty() && word.iter().all(is_tchar)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn types_and_kinds() {
        for (range, value, matches) in [
            ("image/png", "image/png", true),
            ("image/PNG", "Image/png ; x=1", true),
            ("image/png", "image/png+x", false),
            ("image/png", "image", false),
            ("image/*", "image/svg+xml;charset=utf-8", true),
            ("image/*", "images/png", false),
            ("image/*", "image/", false),
            ("image/*", "", false),
            ("text/html", "\"text/html\"", false),
        ] {
            let headers = [(CONTENT_TYPE, HeaderValue::from_static(value))].into_iter().collect();
            assert_eq!(MediaRange::parse(range).unwrap().matches(&headers), matches, "{range} {value}");
        }
        for range in ["", "image", "/", "image/", "*/*", "*/png", "image/p*", "image/png;q=1", "a b/c"] {
            assert_eq!(MediaRange::parse(range), None, "{range}");
        }
    }
}

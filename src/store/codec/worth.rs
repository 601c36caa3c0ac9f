//! Whether a body is worth being compressed.

use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};

/// Whether a body with this head may get shorter: not if it has a content coding, or a type that is compressed already.
pub(super) fn is_compressible(head: &HeaderMap) -> bool {
    let coded = head.get_all(CONTENT_ENCODING).iter().any(|line| !line.as_bytes().eq_ignore_ascii_case(b"identity"));
    !coded && !head.get_all(CONTENT_TYPE).iter().any(|value| is_compressed(value.as_bytes()))
}

fn is_compressed(value: &[u8]) -> bool {
    let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let Some(slash) = essence.iter().position(|byte| *byte == b'/') else { return false };
    let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
    match kind {
        b"audio" | b"video" => true,
        b"image" => subtype != b"svg+xml",
        b"font" => matches!(subtype, b"woff" | b"woff2"),
        b"application" => {
            subtype.ends_with(b"+zip")
                || subtype.ends_with(b"+gzip")
                || subtype.starts_with(b"vnd.openxmlformats-officedocument")
                || COMPRESSED.contains(&subtype)
        }
        _ => false,
    }
}

/// Of `application/`.
const COMPRESSED: &[&[u8]] = &[
    b"font-woff",
    b"gzip",
    b"java-archive",
    b"pdf",
    b"vnd.rar",
    b"x-7z-compressed",
    b"x-bzip2",
    b"x-gzip",
    b"x-rar-compressed",
    b"x-xz",
    b"zip",
    b"zstd",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_already_is_left() {
        let head = |name, value: &str| HeaderMap::from_iter([(name, value.parse().unwrap())]);
        for value in
            ["text/html; charset=utf-8", "application/json", "image/svg+xml", "font/ttf", "nonsense", "", "IMAGE"]
        {
            assert!(is_compressible(&head(CONTENT_TYPE, value)), "{value}");
        }
        for value in ["image/png", "Image/JPEG; q=1", "video/mp4", "audio/ogg", "font/woff2", "application/zip ;x"] {
            assert!(!is_compressible(&head(CONTENT_TYPE, value)), "{value}");
        }
        assert!(!is_compressible(&head(CONTENT_TYPE, "application/epub+zip")));
        assert!(is_compressible(&head(CONTENT_ENCODING, "Identity")) && is_compressible(&HeaderMap::new()));
        assert!(
            !is_compressible(&head(CONTENT_ENCODING, "br"))
                && !is_compressible(&head(CONTENT_ENCODING, "identity, gzip"))
        );
    }
}

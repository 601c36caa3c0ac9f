//! URLs of assets that never change.

/// The URL of an asset with a digest of its content: other content, another URL. Whatever is stored of the old one, in
/// this cache, in a proxy or in a browser, is never asked for again, so the asset can be served as `immutable`.
///
/// ```
/// let logo = b"<svg/>";
/// assert_eq!(larder::bust("/logo.svg", logo), "/logo.svg?v=09a1d6ef9fbcf63a");
/// assert_eq!(larder::bust("/logo.svg?theme=dark#top", logo), "/logo.svg?theme=dark&v=09a1d6ef9fbcf63a#top");
/// ```
///
/// A query stays, a fragment comes last. The digest is the first 64 bits of the content's BLAKE3 hash in hexadecimal: the
/// same on every machine and in every version of this crate. It tells versions of an asset apart; it does not prove who
/// made them.
///
/// Compute it once for each asset, as when the application starts: it reads the whole content.
pub fn bust(path: &str, content: &[u8]) -> String {
    let (target, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
    let separator = match target.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    let digest = blake3::hash(content).to_hex();
    format!("{target}{separator}v={}{fragment}", &digest[..DIGITS])
}

/// 64 bits.
const DIGITS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_joins_what_is_there() {
        let digest = &blake3::hash(b"x").to_hex()[..16];
        for (path, expected) in [
            ("/a.css", format!("/a.css?v={digest}")),
            ("/a.css?", format!("/a.css?v={digest}")),
            ("/a.css?x=1", format!("/a.css?x=1&v={digest}")),
            ("/a.css?x=1&", format!("/a.css?x=1&v={digest}")),
            ("/a.css#top", format!("/a.css?v={digest}#top")),
            ("/a.css?x#a?b", format!("/a.css?x&v={digest}#a?b")),
            ("https://cdn.example/ä", format!("https://cdn.example/ä?v={digest}")),
            ("", format!("?v={digest}")),
        ] {
            assert_eq!(bust(path, b"x"), expected);
        }
    }

    #[test]
    fn other_content_has_another_url() {
        assert_ne!(bust("/a", b""), bust("/a", b"\0"));
        assert_eq!(bust("/a", b"same"), bust("/a", b"same"));
    }
}

//! A reader for XML sitemaps (sitemaps.org), which takes the pages and nothing else.
//!
//! It knows elements, comments, character data and the five named entities. Declarations (`<!DOCTYPE`, and with it entities
//! of its own), CDATA and sitemap indexes are refused: they would make it a reader of something else.

use std::fmt;

/// Why a text is no sitemap that can be used.
///
/// ```
/// use larder::WarmRequest;
///
/// let error = WarmRequest::sitemap("<html></html>").unwrap_err();
/// println!("{error}");
/// assert!(error.to_string().starts_with("no sitemap: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitemapError(&'static str);

impl fmt::Display for SitemapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no sitemap: {}", self.0)
    }
}

impl std::error::Error for SitemapError {}

/// The values of all `<url><loc>`, in order.
pub(super) fn locations(text: &str) -> Result<Vec<String>, SitemapError> {
    let wrong = |why| Err(SitemapError(why));
    if text.len() > LONGEST {
        return wrong("longer than 10 MiB");
    }
    let mut found = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut seen_root = false;
    while let Some((data, after)) = rest.split_once('<') {
        if open.is_empty() && !data.trim().is_empty() {
            return wrong("text outside of its elements");
        }
        if open == LOCATION {
            found.push(unescape(data.trim())?);
            if found.len() > MOST {
                return wrong("more than 50 000 pages");
            }
        }
        if let Some(comment) = after.strip_prefix("!--") {
            if open == LOCATION {
                return wrong("a comment in a location");
            }
            let Some((_, after)) = comment.split_once("-->") else { return wrong("a comment without an end") };
            rest = after;
            continue;
        }
        if after.starts_with('!') {
            return wrong("a declaration or CDATA");
        }
        let Some((tag, after)) = after.split_once('>') else { return wrong("a tag without an end") };
        rest = after;
        if tag.starts_with('?') {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            if open.pop() != Some(name.trim_end()) {
                return wrong("a tag is closed that is not open");
            }
            continue;
        }
        if open == LOCATION {
            return wrong("an element in a location");
        }
        let name = tag.trim_end_matches('/').split_ascii_whitespace().next().unwrap_or_default();
        if open.is_empty() && (seen_root || name != LOCATION[0]) {
            return wrong("its root is not one `urlset`");
        }
        seen_root = true;
        if !tag.ends_with('/') {
            open.push(name);
            if open.len() > DEEPEST {
                return wrong("elements in too many elements");
            }
        }
    }
    if !seen_root || !open.is_empty() || !rest.trim().is_empty() {
        return wrong("it breaks off");
    }
    Ok(found)
}

fn unescape(text: &str) -> Result<String, SitemapError> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        let (entity, after) = after.split_once(';').ok_or(SitemapError("an `&` that is not escaped"))?;
        plain.push_str(before);
        plain.push(match entity {
            "amp" => '&',
            "apos" => '\'',
            "quot" => '"',
            "lt" => '<',
            "gt" => '>',
            _ => return Err(SitemapError("an entity that is not one of the five")),
        });
        rest = after;
    }
    Ok(plain + rest)
}

const LOCATION: [&str; 3] = ["urlset", "url", "loc"];
const LONGEST: usize = 10 << 20;
const MOST: usize = 50_000;
const DEEPEST: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pages_are_read() {
        let text = "\u{feff}<?xml version=\"1.0\"?>\n<!-- made today -->\n<urlset xmlns=\"http://www.sitemaps.org/\">\n\
            <url>\n<loc>\n https://a.example/?a=1&amp;b=2 </loc><lastmod>2026-01-01</lastmod><empty/></url>\
            <url><image:image><image:loc>https://a.example/i.png</image:loc></image:image><loc>https://a.example/b</loc>\
            </url></urlset>\n";
        assert_eq!(locations(text).unwrap(), ["https://a.example/?a=1&b=2", "https://a.example/b"]);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "hello",
            "<urlset>",
            "<urlset></urlset><urlset></urlset>",
            "<sitemapindex><sitemap><loc>x</loc></sitemap></sitemapindex>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><urlset></urlset>",
            "<urlset><url><loc><![CDATA[x]]></loc></url></urlset>",
            "<urlset><url><loc>a&b</loc></url></urlset>",
            "<urlset><url><loc>a&#38;b</loc></url></urlset>",
            "<urlset><url><loc>a<b>c</b></loc></url></urlset>",
            "<urlset><url><loc>a</url></loc></urlset>",
            "<urlset><!-- </urlset>",
            "<urlset></urlset> trailing",
        ] {
            assert!(locations(text).is_err(), "{text}");
        }
        let many = format!("<urlset>{}</urlset>", "<url><loc>/</loc></url>".repeat(MOST + 1));
        assert!(locations(&many).is_err());
        assert!(locations(&"<a>".repeat(100)).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(<|</|>|&|;|!--|urlset|url|loc|/|\\?| |x|é){0,40}") {
            let _ = locations(&text);
        }
    }
}

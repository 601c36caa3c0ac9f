//! Which of the languages that a service speaks a client prefers (RFC 9110 §12.5.4, lookup of RFC 4647 §3.4).

use http::{HeaderMap, header::ACCEPT_LANGUAGE};

/// The best of the `spoken` languages for this request; the first where none fits or the client does not say.
///
/// Ranges are tried by falling weight, each as it is and then with its last subtags cut off: `de-AT` finds `de`.
/// Malformed elements do not count.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::ACCEPT_LANGUAGE};
/// use larder::semantics::language::preferred;
///
/// let wishes = HeaderValue::from_static("fr, de-AT;q=0.9, en;q=0.8");
/// let request = HeaderMap::from_iter([(ACCEPT_LANGUAGE, wishes)]);
/// let spoken = ["en".to_owned(), "de".to_owned()];
/// assert_eq!(preferred(&request, &spoken), Some("de"));
/// assert_eq!(preferred(&HeaderMap::new(), &spoken), Some("en"));
/// ```
pub fn preferred<'s>(request: &HeaderMap, spoken: &'s [String]) -> Option<&'s str> {
    if spoken.is_empty() {
        return None;
    }
    let mut ranges: Vec<(&str, u16)> = request
        .get_all(ACCEPT_LANGUAGE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(range)
        .filter(|(_, weight)| *weight > 0)
        .collect();
    // Stable: of equal weights the first counts.
    ranges.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let found = ranges.iter().find_map(|(range, _)| lookup(range, spoken));
    found.or(spoken.first()).map(String::as_str)
}

fn lookup<'s>(range: &str, spoken: &'s [String]) -> Option<&'s String> {
    if range == "*" {
        return spoken.first();
    }
    let mut range = range;
    loop {
        if let Some(language) = spoken.iter().find(|language| language.eq_ignore_ascii_case(range)) {
            return Some(language);
        }
        range = &range[..range.rfind('-')?];
    }
}

/// A language range with its weight in thousandths.
fn range(element: &str) -> Option<(&str, u16)> {
    let mut parts = element.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let tag = range.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'*');
    let weight = match parts.next() {
        None => 1000,
        Some(parameter) => weight(parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?)?,
    };
    (tag && parts.next().is_none()).then_some((range, weight))
}

/// RFC 9110 §12.4.2: `0` to `1` with up to three decimals.
fn weight(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn best(accepted: &str) -> String {
        let spoken = ["en", "de", "pt-BR"].map(str::to_owned);
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_str(accepted) {
            headers.insert(ACCEPT_LANGUAGE, value);
        }
        preferred(&headers, &spoken).unwrap().to_owned()
    }

    #[test]
    fn the_best_spoken_language_is_found() {
        for (accepted, expected) in [
            ("de", "de"),
            ("DE-at, en;q=0.9", "de"),
            ("fr, de;q=0.5, en;q=0.6", "en"),
            ("pt-br-x-y", "pt-BR"),
            ("pt", "en"),
            ("*", "en"),
            ("de;q=0, *;q=0.1", "en"),
            ("", "en"),
            ("de;q=2, ;;, de;q=0.1234, -;q", "en"),
            ("en;q=0.1, de;q=0.2;level=1", "en"),
            ("en;q=0.2, de;q=0.9", "de"),
            ("en;q=0.5, de;q=0.501", "de"),
            ("en;q=0.999, de;q=1.000", "de"),
            ("de, pt-BR", "de"),
            ("*, de;q=0.5", "en"),
            ("de;q=0", "en"),
            ("de;q=0.000, pt-BR;q=0.001", "pt-BR"),
            ("de;q=1.001, pt-BR;q=0.1", "pt-BR"),
            ("de;q=0.1x, pt-BR;q=0.1", "pt-BR"),
            ("d/e, de, pt-BR", "de"),
        ] {
            assert_eq!(best(accepted), expected, "{accepted}");
        }
        assert_eq!(preferred(&HeaderMap::new(), &[]), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read(accepted in "[ -~]{0,60}") {
            best(&accepted);
        }
    }
}

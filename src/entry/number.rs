//! Numbers as field values, the usual ones without allocating.

use http::HeaderValue;
use std::sync::LazyLock;

/// This number as a field value.
#[inline]
pub(crate) fn number(number: u64) -> HeaderValue {
    small(number).map_or_else(|| HeaderValue::from(number), HeaderValue::from_static)
}

/// The text of a small number, kept for good.
#[inline]
pub(crate) fn small(number: u64) -> Option<&'static str> {
    static TEXTS: LazyLock<Box<[&'static str]>> =
        LazyLock::new(|| (0..SMALL).map(|number| &*Box::leak(number.to_string().into_boxed_str())).collect());
    usize::try_from(number).ok().and_then(|number| TEXTS.get(number)).copied()
}

/// More seconds than an hour has, and the length of most answers of an API.
const SMALL: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_full() {
        for (of, text) in [(0, "0"), (4095, "4095"), (4096, "4096"), (u64::MAX, "18446744073709551615")] {
            assert_eq!(number(of), text);
            assert_eq!(small(of).is_some(), of < 4096);
        }
    }
}

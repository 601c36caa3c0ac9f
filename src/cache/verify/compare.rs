//! Two answers to one request: in what they differ.

use super::Difference;
use crate::{entry::Entry, semantics::fields::strip_connection_fields};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName,
    header::{CACHE_CONTROL, HeaderValue},
};
use std::collections::BTreeMap;

/// The fields in which an answer differs from a stored response, at most 14. `ignored` may differ, and `own` are not part of
/// what is served.
pub(crate) fn differing_fields(
    entry: &Entry,
    answer: &HeaderMap,
    ignored: &[HeaderName],
    own: &[HeaderName],
) -> Vec<Difference> {
    let mut answer = answer.clone();
    strip_connection_fields(&mut answer);
    let counts = |name: &&HeaderName| {
        // What browsers are told is the policy's.
        let told = entry.browser.is_some() && **name == CACHE_CONTROL;
        !told && !MAY_DIFFER.contains(&name.as_str()) && !ignored.contains(name) && !own.contains(name)
    };
    let mut names: BTreeMap<&str, &HeaderName> = BTreeMap::new();
    names.extend(entry.head.keys().chain(answer.keys()).filter(counts).map(|name| (name.as_str(), name)));
    let lines = |headers: &HeaderMap, name: &HeaderName| -> Vec<HeaderValue> {
        headers.get_all(name).iter().cloned().collect()
    };
    let differs = |name: &&HeaderName| lines(&entry.head, name) != lines(&answer, name);
    names.into_values().filter(differs).take(MOST_FIELDS).map(|name| Difference::Field(name.clone())).collect()
}

/// A body that is compared with a stored one as it comes.
#[derive(Debug)]
pub(crate) struct Compared {
    stored: Bytes,
    seen: u64,
    differs_at: Option<u64>,
}

impl Compared {
    pub(crate) fn with(stored: Bytes) -> Self {
        Self { stored, seen: 0, differs_at: None }
    }

    /// The next bytes. How many there have been.
    pub(crate) fn take(&mut self, data: &[u8]) -> u64 {
        if self.differs_at.is_none() {
            let from = usize::try_from(self.seen).unwrap_or(usize::MAX).min(self.stored.len());
            let rest = &self.stored[from..];
            let same = rest.iter().zip(data).take_while(|(one, other)| one == other).count();
            self.differs_at = (same < data.len()).then_some(self.seen + same as u64);
        }
        self.seen += data.len() as u64;
        self.seen
    }

    /// After the last bytes.
    pub(crate) fn end(self) -> Option<Difference> {
        let stored = self.stored.len() as u64;
        let at = self.differs_at.or_else(|| (self.seen < stored).then_some(self.seen))?;
        Some(Difference::Body { at, stored, answered: self.seen })
    }
}

/// Fields that are made for each answer, or for one client.
const MAY_DIFFER: [&str; 20] = [
    "age",
    "cache-status",
    "content-length",
    "correlation-id",
    "date",
    "expires",
    "request-id",
    "server-timing",
    "set-cookie",
    "traceparent",
    "tracestate",
    "x-amzn-requestid",
    "x-amzn-trace-id",
    "x-cloud-trace-context",
    "x-correlation-id",
    "x-request-id",
    "x-response-time",
    "x-runtime",
    "x-trace-id",
    "x-transaction-id",
];

const MOST_FIELDS: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compared(stored: &[u8], answer: &[&[u8]]) -> Option<Difference> {
        let mut compared = Compared::with(Bytes::copy_from_slice(stored));
        for data in answer {
            compared.take(data);
        }
        compared.end()
    }

    #[test]
    fn the_first_byte_that_differs_is_found_across_frames() {
        let body = |at, stored, answered| Some(Difference::Body { at, stored, answered });
        assert_eq!(compared(b"", &[]), None);
        assert_eq!(compared(b"abcd", &[b"ab", b"", b"cd"]), None);
        assert_eq!(compared(b"abcd", &[b"ab", b"xd", b"e"]), body(2, 4, 5));
        assert_eq!(compared(b"abcd", &[b"abc"]), body(3, 4, 3));
        assert_eq!(compared(b"abcd", &[b"abcd", b"e"]), body(4, 4, 5));
        assert_eq!(compared(b"", &[b"e"]), body(0, 0, 1));
    }

    proptest! {
        #[test]
        fn bodies_agree_if_their_bytes_do(
            stored in proptest::collection::vec(0..2_u8, 0..6), answer in proptest::collection::vec(0..2_u8, 0..6),
            cut in 0..6_usize,
        ) {
            let cut = cut.min(answer.len());
            let found = compared(&stored, &[&answer[..cut], &answer[cut..]]);
            prop_assert_eq!(found.is_none(), stored == answer);
            if let Some(Difference::Body { at, .. }) = found {
                let at = usize::try_from(at).unwrap();
                prop_assert_eq!(&stored[..at], &answer[..at]);
                prop_assert_ne!(stored.get(at), answer.get(at));
            }
        }
    }
}

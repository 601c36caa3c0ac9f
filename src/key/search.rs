//! What responses have said in `No-Vary-Search`: which parts of the query select them.
//!
//! A response says so only once it is there, so it is remembered by path, and the next request has its query put into the
//! key in the normal form of what was said. What was said is itself part of the key: a response is found only by requests
//! that are equivalent to its own by what it says itself. So is when it was first said: while it is forgotten, an
//! invalidation does not know the normal form, so what was stored before is not found again.

use super::{KeyBuf, Part, text::parts};
use crate::semantics::no_vary_search::SearchVariance;
use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What was said last, by path.
#[derive(Debug, Default)]
pub(crate) struct Searches {
    /// Raised with everything that is learnt; 0 as long as nothing was.
    learnt: AtomicU64,
    said: RwLock<HashMap<String, Said>>,
}

/// What was said, and as the how manieth thing that was learnt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) variance: SearchVariance,
    learnt: u64,
}

impl Searches {
    /// Nothing was ever said.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.learnt.load(Relaxed) == 0
    }

    pub(crate) fn of(&self, path: &str) -> Option<Said> {
        if self.is_empty() {
            return None;
        }
        self.said.read().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }

    /// Takes note of what an answer says, and tells as what it counts.
    pub(crate) fn learn(&self, path: &str, variance: Option<SearchVariance>) -> Option<Said> {
        let known = self.of(path);
        if known.as_ref().map(|said| &said.variance) == variance.as_ref() {
            return known;
        }
        let mut all = self.said.write().unwrap_or_else(PoisonError::into_inner);
        let Some(variance) = variance else {
            all.remove(path);
            return None;
        };
        // What is forgotten is learnt again with the next response.
        if all.len() >= MOST {
            all.clear();
        }
        let said = Said { variance, learnt: self.learnt.fetch_add(1, Relaxed) };
        all.insert(path.to_owned(), said.clone());
        Some(said)
    }
}

/// Writes the query as it counts.
pub(crate) fn write_query(key: &mut KeyBuf, query: Option<&str>, said: Option<&Said>) {
    match (said, query) {
        (None, None) => {}
        (None, Some(query)) => key.part(Part::Query, query.as_bytes()),
        (Some(said), query) => {
            let normal = said.variance.normal_query(query);
            key.part_named(Part::Search, &format!("{said:?}"), normal.iter().map(String::as_bytes));
        }
    }
}

impl KeyBuf {
    /// The same key, with the query as it counts by what the response has said.
    pub(crate) fn with_query(&self, query: Option<&str>, said: Option<&Said>) -> Cow<'_, Self> {
        // Mostly nothing was said, and nothing is.
        if said.is_none() && parts(self.as_bytes()).all(|(part, _)| part != Part::Search) {
            return Cow::Borrowed(self);
        }
        let mut key = Self::default();
        for (part, value) in parts(self.as_bytes()) {
            if !matches!(part, Part::Query | Part::Search) {
                key.part(part, value);
            }
            if part == Part::Path {
                write_query(&mut key, query, said);
            }
        }
        Cow::Owned(key)
    }
}

/// So many paths are remembered.
const MOST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::semantics::no_vary_search::no_vary_search;
    use http::{HeaderMap, HeaderValue};

    fn variance(value: &'static str) -> Option<SearchVariance> {
        no_vary_search(&HeaderMap::from_iter([("no-vary-search".parse().unwrap(), HeaderValue::from_static(value))]))
    }

    fn key(query: Option<&str>, said: Option<&Said>) -> KeyBuf {
        let mut key = KeyBuf::default();
        key.part(Part::Method, b"GET");
        key.part(Part::Path, b"/x");
        write_query(&mut key, query, said);
        key.part_named(Part::Header, "accept", std::iter::once(&b"a"[..]));
        key
    }

    #[test]
    fn a_key_can_be_made_anew() {
        let searches = Searches::default();
        let utm = searches.learn("/utm", variance("params=(\"utm\")"));
        let order = searches.learn("/order", variance("key-order"));
        for query in [None, Some(""), Some("b=1&utm=2"), Some("utm=3&b=1")] {
            for from in [None, utm.as_ref(), order.as_ref()] {
                for to in [None, utm.as_ref(), order.as_ref()] {
                    assert_eq!(key(query, from).with_query(query, to).as_bytes(), key(query, to).as_bytes());
                }
            }
        }
        assert_eq!(key(Some("b=1&utm=2"), utm.as_ref()).as_bytes(), key(Some("utm=3&b=1"), utm.as_ref()).as_bytes());
        assert_ne!(key(Some("b=1"), utm.as_ref()).as_bytes(), key(Some("b=1"), order.as_ref()).as_bytes());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_was_forgotten_is_new() {
        let (searches, utm) = (Searches::default(), variance("params=(\"utm\")"));
        assert!(searches.is_empty());
        let first = searches.learn("/x", utm.clone());
        assert!(!searches.is_empty());
        assert_eq!(searches.learn("/x", utm.clone()), first);
        let second = searches.learn("/y", utm.clone());
        assert_eq!((searches.of("/x"), searches.of("/y")), (first.clone(), second), "one path more is not too many");
        for path in 0..2 * MOST {
            searches.learn(&path.to_string(), utm.clone());
        }
        assert!(searches.said.read().unwrap().len() <= MOST);
        assert_eq!(searches.of("/x"), None);
        let again = searches.learn("/x", utm.clone());
        assert!(again.is_some() && again != first);
        assert_eq!(searches.learn("/x", None), None);
        assert_ne!(searches.learn("/x", utm), again);
    }
}

//! What an invalidation is about.

use super::{Ledger, Record};
use crate::semantics::target::Target;
use http::{HeaderMap, Uri};
use std::fmt;

/// What an invalidation is about.
///
/// ```
/// # use larder::{Cache, Selector};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// let cache = Cache::in_memory(1 << 20);
/// cache.invalidate(Selector::resource("/products/7")).await?;
/// cache.invalidate(Selector::everything()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a selector does nothing until it is given to `Cache::invalidate`"]
pub struct Selector(What);

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Everything,
    Resource(String),
}

/// What an invalidation did: it is in the log and applied here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {}

/// An invalidation that could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidateError(String);

impl Selector {
    /// Every response stored before now.
    pub fn everything() -> Self {
        Self(What::Everything)
    }

    /// All variants of one resource: an absolute URI (`https://shop.example/p?page=2`), or a path and query (`/p?page=2`)
    /// on every authority. The scheme does not count, nor the order of query parameters of different names.
    pub fn resource(uri: impl Into<String>) -> Self {
        Self(What::Resource(uri.into()))
    }

    pub(crate) fn record(&self, ledger: &Ledger) -> Result<Record, InvalidateError> {
        match &self.0 {
            What::Everything => Ok(Record::Everything),
            What::Resource(text) => {
                let wrong =
                    || InvalidateError(format!("`{}` is neither an absolute URI nor a path", text.escape_debug()));
                let uri: Uri = text.parse().map_err(|_| wrong())?;
                if !uri.path().starts_with('/') {
                    return Err(wrong());
                }
                let none = HeaderMap::new();
                let target = Target::of(&uri, &none, None)
                    .map_err(|why| InvalidateError(format!("`{}`: {why}", text.escape_debug())))?;
                let query = target.query.map(crate::key::sorted);
                let hash = match target.normal_authority() {
                    Some(authority) => ledger.hash_at(authority, target.path, query.as_deref()),
                    None => ledger.hash_anywhere(target.path, query.as_deref()),
                };
                Ok(Record::Resource(hash))
            }
        }
    }
}

impl fmt::Display for InvalidateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidateError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_resource_is_named() {
        let ledger = Ledger::new();
        for bad in ["", "products", "*", "http://user@host/x", "a b"] {
            let error = Selector::resource(bad).record(&ledger).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        for good in ["/", "/x?b=1&a=2", "https://Host:443/x"] {
            assert!(Selector::resource(good).record(&ledger).is_ok(), "{good}");
        }
    }

    #[test]
    fn spellings_of_one_resource_agree() {
        let ledger = Ledger::new();
        let record = |uri: &str| Selector::resource(uri).record(&ledger).unwrap();
        assert_eq!(record("https://Host:443/x?b=1&a=2"), record("http://host/x?a=2&b=1"));
        assert_ne!(record("https://host/x"), record("/x"));
        assert_ne!(record("/x"), record("/x?"));
    }
}

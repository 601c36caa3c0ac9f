//! What an invalidation is about.

use super::{Ledger, Record, ledger::Subject};
use crate::{
    identity::{TENANT, USER},
    key::{QueryRule, Searches},
    semantics::target::Target,
};
use http::{HeaderMap, Uri};
use std::fmt;

/// What an invalidation is about.
///
/// ```
/// # use larder::{Cache, Selector};
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), larder::InvalidateError> {
/// let cache = Cache::in_memory(1 << 20);
/// cache.invalidate(Selector::resource("/products/7")).await?;
/// cache.invalidate(Selector::user(42).within(1)).await?;      // of tenant 1
/// cache.invalidate(Selector::everything()).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a selector does nothing until it is given to `Cache::invalidate`"]
pub struct Selector {
    what: What,
    tenant: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Everything,
    Resource(String),
    Attribute(String, String),
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
        Self::of(What::Everything)
    }

    /// All variants of one resource: an absolute URI (`https://shop.example/p?page=2`), or a path and query (`/p?page=2`)
    /// on every authority. The scheme does not count, nor the order of query parameters of different names.
    pub fn resource(uri: impl Into<String>) -> Self {
        Self::of(What::Resource(uri.into()))
    }

    /// What is keyed on this tenant.
    pub fn tenant(tenant: impl fmt::Display) -> Self {
        Self::attribute(TENANT, tenant)
    }

    /// What is keyed on this user, in every tenant unless narrowed by [`within`](Selector::within).
    pub fn user(user: impl fmt::Display) -> Self {
        Self::attribute(USER, user)
    }

    /// What is keyed on this value of an attribute of the [`Identity`](crate::Identity).
    pub fn attribute(name: impl Into<String>, value: impl fmt::Display) -> Self {
        Self::of(What::Attribute(name.into(), value.to_string()))
    }

    /// Of what it selects, only what is keyed on this tenant.
    pub fn within(mut self, tenant: impl fmt::Display) -> Self {
        self.tenant = Some(tenant.to_string());
        self
    }

    fn of(what: What) -> Self {
        Self { what, tenant: None }
    }

    /// The records that say this. A resource is recorded under each of the query `rules` that are in use, as each names
    /// it by the parameters that count.
    pub(crate) fn records(
        &self,
        ledger: &Ledger,
        rules: &[QueryRule],
        searches: &Searches,
    ) -> Result<Vec<Record>, InvalidateError> {
        let tenant = self.tenant.as_deref();
        if let Some(blank) = tenant.filter(|tenant| tenant.trim().is_empty()) {
            return Err(InvalidateError(format!("`{blank}` is blank, and no tenant is")));
        }
        match (&self.what, tenant) {
            (What::Everything, None) => Ok(vec![Record::Everything]),
            (What::Everything, Some(tenant)) => {
                let subject = Subject::Attribute { name: TENANT, value: tenant };
                Ok(vec![Record::Row(ledger.row(subject, None))])
            }
            (What::Attribute(name, value), _) if value.trim().is_empty() => {
                Err(InvalidateError(format!("`{}` is no {name}: it is blank", value.escape_debug())))
            }
            (What::Attribute(name, value), tenant) => {
                Ok(vec![Record::Row(ledger.row(Subject::Attribute { name, value }, tenant))])
            }
            (What::Resource(text), tenant) => resource_records(ledger, text, tenant, rules, searches),
        }
    }
}

fn resource_records(
    ledger: &Ledger,
    text: &str,
    tenant: Option<&str>,
    rules: &[QueryRule],
    searches: &Searches,
) -> Result<Vec<Record>, InvalidateError> {
    let wrong = || InvalidateError(format!("`{}` is neither an absolute URI nor a path", text.escape_debug()));
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    if !uri.path().starts_with('/') {
        return Err(wrong());
    }
    let none = HeaderMap::new();
    let target =
        Target::of(&uri, &none, None).map_err(|why| InvalidateError(format!("`{}`: {why}", text.escape_debug())))?;
    Ok(records_of(ledger, &target, tenant, rules, searches))
}

/// The records about a resource: as a policy names it that counts every query parameter, and as each of these rules does,
/// each also in the normal form of what responses have said of their queries.
pub(crate) fn records_of(
    ledger: &Ledger,
    target: &Target<'_>,
    tenant: Option<&str>,
    rules: &[QueryRule],
    searches: &Searches,
) -> Vec<Record> {
    let (authority, path) = (target.normal_authority(), target.path);
    let row = |query: Option<&str>| Record::Row(ledger.row(Subject::Resource { authority, path, query }, tenant));
    let said = searches.of(path);
    let mut records = Vec::new();
    for rule in [&QueryRule::All].into_iter().chain(rules) {
        let kept = target.query.and_then(|query| rule.kept(query));
        let normal = said.as_ref().map(|said| row(said.variance.normal_query(kept.as_deref()).as_deref()));
        for record in [Some(row(kept.as_deref())), normal].into_iter().flatten() {
            if !records.contains(&record) {
                records.push(record);
            }
        }
    }
    records
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
    fn what_cannot_be_meant_is_named() {
        let ledger = Ledger::new();
        for bad in ["", "products", "*", "http://user@host/x", "a b"] {
            let error = Selector::resource(bad).records(&ledger, &[], &Searches::default()).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        for good in ["/", "/x?b=1&a=2", "https://Host:443/x"] {
            assert!(Selector::resource(good).records(&ledger, &[], &Searches::default()).is_ok(), "{good}");
        }
        assert!(Selector::user(" ").records(&ledger, &[], &Searches::default()).is_err());
        assert!(Selector::everything().within("").records(&ledger, &[], &Searches::default()).is_err());
    }

    #[test]
    fn spellings_of_one_resource_agree() {
        let ledger = Ledger::new();
        let record = |uri: &str| Selector::resource(uri).records(&ledger, &[], &Searches::default()).unwrap();
        assert_eq!(record("https://Host:443/x?b=1&a=2"), record("http://host/x?a=2&b=1"));
        assert_ne!(record("https://host/x"), record("/x"));
        assert_ne!(record("/x"), record("/x?"));
        assert_eq!(record("/caf%c3%a9?q=%7e"), record("/caf%C3%A9?%71=~"));
        let only = [QueryRule::Only(vec!["a".to_owned()])];
        let both = Selector::resource("/x?b=1&a=2").records(&ledger, &only, &Searches::default()).unwrap();
        assert_eq!(both, [record("/x?b=1&a=2"), record("/x?a=2")].concat());
        let tenant = Selector::tenant(1).records(&ledger, &[], &Searches::default());
        assert_eq!(Selector::everything().within(1).records(&ledger, &[], &Searches::default()), tenant);
    }
}

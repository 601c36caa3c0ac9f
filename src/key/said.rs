//! What a key says of what it is the key of: for those who have only the key.

use super::{Part, TENANT, split_value, text::parts};

/// What a key says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said<'a> {
    pub(crate) version: Option<&'a str>,
    pub(crate) policy: Option<&'a str>,
    pub(crate) value: Option<&'a str>,
    pub(crate) authority: Option<&'a str>,
    pub(crate) path: Option<&'a str>,
    pub(crate) query: Option<&'a str>,
    /// The attributes of the identity, each value of its own.
    pub(crate) identity: Vec<(&'a str, &'a str)>,
}

impl<'a> Said<'a> {
    /// What this key says, as far as it is text.
    pub(crate) fn of(key: &'a [u8]) -> Self {
        let mut said = Self::default();
        for (part, value) in parts(key) {
            let text = || std::str::from_utf8(value).ok();
            match part {
                Part::Version => said.version = text(),
                Part::Policy => said.policy = text(),
                Part::Value => said.value = text(),
                Part::Authority => said.authority = text(),
                Part::Path => said.path = text(),
                Part::Query => said.query = text(),
                Part::Identity => said.identity.extend(attribute(value)),
                _ => {}
            }
        }
        said
    }

    /// The tenant.
    pub(crate) fn tenant(&self) -> Option<&'a str> {
        self.identity.iter().find(|(name, _)| *name == TENANT).map(|(_, tenant)| *tenant)
    }
}

/// The names of the query parameters in a key.
pub(crate) fn query_names(key: &[u8]) -> Vec<&str> {
    let queries = parts(key).filter_map(|(part, value)| match part {
        Part::Query => Some(value),
        // Behind what was said stands the query in its normal form.
        Part::Search => split_value(value).and_then(|(_, rest)| split_value(rest)).map(|(query, _)| query),
        _ => None,
    });
    let pairs = queries.filter_map(|query| std::str::from_utf8(query).ok()).flat_map(|query| query.split('&'));
    pairs.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).collect()
}

/// The name of an attribute, with each of its values.
pub(super) fn attribute(value: &[u8]) -> Vec<(&str, &str)> {
    let Some((name, mut values)) = split_value(value) else { return Vec::new() };
    let Ok(name) = std::str::from_utf8(name) else { return Vec::new() };
    let mut all = Vec::new();
    while let Some((value, rest)) = split_value(values) {
        all.extend(std::str::from_utf8(value).map(|value| (name, value)));
        values = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::KeyBuf;

    #[test]
    fn a_key_says_what_was_written() {
        let mut key = KeyBuf::default();
        key.part_named(Part::Identity, "tenant", [&b"1"[..]].into_iter());
        key.part_named(Part::Identity, "role", [&b"a"[..], b"b"].into_iter());
        key.part(Part::Version, b"7");
        key.part(Part::Policy, b"dashboard");
        key.part(Part::Authority, b"host");
        key.part(Part::Path, b"/x");
        key.part(Part::Query, b"days=30");
        let said = Said::of(key.as_bytes());
        assert_eq!((said.version, said.policy, said.value), (Some("7"), Some("dashboard"), None));
        assert_eq!((said.authority, said.path, said.query), (Some("host"), Some("/x"), Some("days=30")));
        assert_eq!(said.identity, [("tenant", "1"), ("role", "a"), ("role", "b")]);
        assert_eq!((said.tenant(), Said::of(b"no key").tenant()), (Some("1"), None));
        assert_eq!(Said::of(b"no key"), Said::default());
        assert_eq!((query_names(key.as_bytes()), query_names(b"no key")), (vec!["days"], vec![]));
    }

    #[test]
    fn values_and_queries_that_were_put_in_order_have_names_too() {
        let mut value = KeyBuf::default();
        value.part_named(Part::Identity, "role", [&b"a"[..]].into_iter());
        value.part(Part::Value, b"Rates");
        assert_eq!((Said::of(value.as_bytes()).value, Said::of(value.as_bytes()).tenant()), (Some("Rates"), None));
        let mut ordered = KeyBuf::default();
        ordered.part_named(Part::Search, "what was said", [&b"a=1&b=2"[..]].into_iter());
        assert_eq!(query_names(ordered.as_bytes()), ["a", "b"]);
    }
}

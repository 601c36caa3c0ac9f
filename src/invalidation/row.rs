//! What can be invalidated, as hashes: a collision can only invalidate too much.

use crate::identity::TENANT;
use percent_encoding::percent_decode_str;
use smallvec::{SmallVec, smallvec};
use std::{borrow::Cow, hash::BuildHasher};

/// A row of the ledger: the hash of something that can be invalidated.
pub(crate) type Row = u64;

/// The rows that a stored response can be hit by.
pub(crate) type Footprint = SmallVec<[Row; 4]>;

/// Something that can be invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject<'a> {
    /// A resource; without an authority, wherever it is. Spellings that differ in percent-encoding, and in the order of
    /// query parameters of different names, are one.
    Resource { authority: Option<&'a str>, path: &'a str, query: Option<&'a str> },
    /// What is keyed on this attribute of the identity.
    Attribute { name: &'a str, value: &'a str },
    /// What has this tag.
    Tag(&'a str),
    /// What has this tag, whoever's it is.
    GlobalTag(&'a str),
    /// What has a tag that begins like this, up to a `:`.
    TagPrefix(&'a str),
    /// The same, whoever's it is.
    GlobalTagPrefix(&'a str),
    /// What is in this group (RFC 9875) of this origin; without one, of any.
    Group { authority: Option<&'a str>, name: &'a str },
    /// What was stored by the policy of this name.
    Policy(&'a str),
    /// What depends on what has this name.
    Name(&'a str),
    /// A value of this name.
    Value(&'a str),
    /// What has a key with this digest.
    Key(&'a [u8]),
    /// Whatever there is.
    Everything,
}

/// Whose it is, of what has a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Within<'a> {
    Anyone,
    Tenant(&'a str),
    /// What is keyed on no tenant.
    Nobody,
}

/// Makes rows, the same all through the life of a ledger. The fast hash takes short names for others, such as `ab` for
/// `a}b`, under one seed of thirty.
#[derive(Clone, Debug, Default)]
pub(crate) struct RowHasher(rapidhash::quality::RandomState);

impl RowHasher {
    /// The row of a subject.
    pub(crate) fn row(&self, subject: Subject<'_>, within: Within<'_>) -> Row {
        self.within(self.digest(subject), within)
    }

    /// What rows of a subject are made of.
    fn digest(&self, subject: Subject<'_>) -> u64 {
        match subject {
            Subject::Resource { authority, path, query } => self.resource(authority, self.target(path, query)),
            Subject::Attribute { name, value } => self.0.hash_one((2, name, value)),
            Subject::Tag(tag) => self.0.hash_one((3, tag)),
            Subject::GlobalTag(tag) => self.0.hash_one((4, tag)),
            Subject::Group { authority, name } => self.0.hash_one((5, authority.map(host), name)),
            Subject::Policy(name) => self.0.hash_one((6, name)),
            Subject::Name(name) => self.0.hash_one((7, name)),
            Subject::Value(name) => self.0.hash_one((8, name)),
            Subject::TagPrefix(prefix) => self.0.hash_one((10, prefix)),
            Subject::GlobalTagPrefix(prefix) => self.0.hash_one((11, prefix)),
            Subject::Key(key) => self.0.hash_one((12, key)),
            Subject::Everything => self.0.hash_one(9),
        }
    }

    fn resource(&self, authority: Option<&str>, target: u64) -> u64 {
        match authority {
            Some(authority) => self.0.hash_one((0, host(authority), target)),
            None => self.0.hash_one((1, target)),
        }
    }

    /// Handlers decode what they are asked for, so a resource is what it decodes to. Two that decode to the same are
    /// invalidated together.
    fn target(&self, path: &str, query: Option<&str>) -> u64 {
        let pairs = query.map(|query| {
            let mut pairs: SmallVec<[_; 8]> = query
                .split('&')
                .map(|pair| match pair.split_once('=') {
                    None => (decoded(pair), None),
                    Some((name, value)) => (decoded(name), Some(decoded(value))),
                })
                .collect();
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
            pairs
        });
        self.0.hash_one((decoded(path), pairs))
    }

    fn within(&self, digest: u64, within: Within<'_>) -> Row {
        self.0.hash_one((within, digest))
    }

    /// The row of what is keyed on this tenant.
    pub(crate) fn tenant(&self, tenant: &str) -> Row {
        self.row(Subject::Attribute { name: TENANT, value: tenant }, Within::Anyone)
    }

    /// The footprint of what these subjects apply to, keyed on these attributes of the identity. Each subject counts with
    /// and without the tenant.
    pub(crate) fn footprint<'a>(
        &self,
        subjects: impl IntoIterator<Item = Subject<'a>>,
        keyed: &[(&'a str, &'a str)],
    ) -> Footprint {
        let mut all: SmallVec<[u64; 8]> = smallvec![];
        for subject in subjects {
            match subject {
                Subject::Resource { authority: authority @ Some(_), path, query } => {
                    let target = self.target(path, query);
                    all.extend([self.resource(authority, target), self.resource(None, target)]);
                }
                Subject::Group { authority: Some(_), name } => {
                    all.extend([subject, Subject::Group { authority: None, name }].map(|group| self.digest(group)));
                }
                _ => all.push(self.digest(subject)),
            }
        }
        all.extend(keyed.iter().map(|(name, value)| self.digest(Subject::Attribute { name, value })));
        let tenants = keyed.iter().filter(|(name, _)| *name == TENANT).map(|(_, value)| Within::Tenant(value));
        let mut withins: SmallVec<[Within<'_>; 2]> = tenants.collect();
        if withins.is_empty() {
            withins.push(Within::Nobody);
            all.push(self.digest(Subject::Everything));
        }
        withins.push(Within::Anyone);
        let mut rows: Footprint = smallvec![];
        rows.reserve_exact(withins.len() * all.len());
        rows.extend(withins.iter().flat_map(|within| all.iter().map(|digest| self.within(*digest, *within))));
        // Tags often begin alike.
        rows.sort_unstable();
        rows.dedup();
        rows.shrink_to_fit();
        rows
    }
}

/// The scheme is not always known, so a port that is the default of one may be left out elsewhere.
fn host(authority: &str) -> Cow<'_, str> {
    let host = authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")).unwrap_or(authority);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) { host.to_ascii_lowercase().into() } else { host.into() }
}

fn decoded(text: &str) -> Cow<'_, [u8]> {
    percent_decode_str(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// A host is the same in any case, and with the port that is the default of a scheme.
    #[test]
    fn resources_and_groups_are_of_a_host() {
        let rows = RowHasher::default();
        let resource = |authority| rows.row(Subject::Resource { authority, path: "/x", query: None }, Within::Anyone);
        let group = |authority| rows.row(Subject::Group { authority, name: "x" }, Within::Anyone);
        for same in ["host", "HOST", "Host:80", "host:443"] {
            assert_eq!(resource(Some(same)), resource(Some("host")), "{same}");
            assert_eq!(group(Some(same)), group(Some("host")), "{same}");
        }
        for other in [None, Some("host:8080"), Some("hosts"), Some("")] {
            assert_ne!(resource(other), resource(Some("host")), "{other:?}");
            assert_ne!(group(other), group(Some("host")), "{other:?}");
        }
    }

    #[test]
    fn what_is_in_a_group_of_an_origin_is_in_one_of_any() {
        let rows = RowHasher::default();
        let footprint = rows.footprint([Subject::Group { authority: Some("host"), name: "x" }], &[]);
        let row = |authority| rows.row(Subject::Group { authority, name: "x" }, Within::Anyone);
        assert!(footprint.contains(&row(Some("host"))) && footprint.contains(&row(None)));
        assert!(!footprint.contains(&row(Some("other"))));
    }

    #[test]
    fn short_names_that_look_alike_have_rows_of_their_own() {
        let signs = ["", "a", "b", "}", "\"", "'", ":", "*", "\n"];
        let mut names = HashSet::from([String::new()]);
        for _ in 0..3 {
            names = names.iter().flat_map(|name| signs.map(|sign| format!("{name}{sign}"))).collect();
        }
        for _ in 0..300 {
            let rows = RowHasher::default();
            let within = names.iter().map(|name| rows.row(Subject::Name("People"), Within::Tenant(name)));
            let all: HashSet<Row> = within.chain(names.iter().map(|name| rows.tenant(name))).collect();
            assert_eq!(all.len(), 2 * names.len());
        }
    }
}

//! What can be invalidated, as hashes: a collision can only invalidate too much.

use crate::identity::TENANT;
use percent_encoding::percent_decode_str;
use smallvec::{SmallVec, smallvec};
use std::hash::{BuildHasher, Hash, Hasher};

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
        let mut hasher = self.0.build_hasher();
        within.hash(&mut hasher);
        match subject {
            Subject::Resource { authority: Some(authority), path, query } => {
                (0, host(authority)).hash(&mut hasher);
                hash_target(path, query, &mut hasher);
            }
            Subject::Resource { authority: None, path, query } => {
                1.hash(&mut hasher);
                hash_target(path, query, &mut hasher);
            }
            Subject::Attribute { name, value } => (2, name, value).hash(&mut hasher),
            Subject::Tag(tag) => (3, tag).hash(&mut hasher),
            Subject::GlobalTag(tag) => (4, tag).hash(&mut hasher),
            Subject::Group { authority, name } => (5, authority.map(host), name).hash(&mut hasher),
            Subject::Policy(name) => (6, name).hash(&mut hasher),
            Subject::Name(name) => (7, name).hash(&mut hasher),
            Subject::Value(name) => (8, name).hash(&mut hasher),
            Subject::TagPrefix(prefix) => (10, prefix).hash(&mut hasher),
            Subject::GlobalTagPrefix(prefix) => (11, prefix).hash(&mut hasher),
            Subject::Key(key) => (12, key).hash(&mut hasher),
            Subject::Everything => 9.hash(&mut hasher),
        }
        hasher.finish()
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
        let mut all: SmallVec<[Subject<'_>; 8]> = smallvec![];
        for subject in subjects {
            all.push(subject);
            match subject {
                Subject::Resource { authority: Some(_), path, query } => {
                    all.push(Subject::Resource { authority: None, path, query });
                }
                Subject::Group { authority: Some(_), name } => all.push(Subject::Group { authority: None, name }),
                _ => {}
            }
        }
        all.extend(keyed.iter().map(|(name, value)| Subject::Attribute { name, value }));
        let tenants = keyed.iter().filter(|(name, _)| *name == TENANT).map(|(_, value)| Within::Tenant(value));
        let mut withins: SmallVec<[Within<'_>; 2]> = tenants.collect();
        if withins.is_empty() {
            withins.push(Within::Nobody);
            all.push(Subject::Everything);
        }
        withins.push(Within::Anyone);
        let rows = withins.iter().flat_map(|within| all.iter().map(|subject| self.row(*subject, *within)));
        let mut rows: Footprint = rows.collect();
        // Tags often begin alike.
        rows.sort_unstable();
        rows.dedup();
        rows.shrink_to_fit();
        rows
    }
}

/// The scheme is not always known, so a port that is the default of one may be left out elsewhere.
fn host(authority: &str) -> String {
    let host = authority.strip_suffix(":80").or_else(|| authority.strip_suffix(":443")).unwrap_or(authority);
    host.to_ascii_lowercase()
}

/// Handlers decode what they are asked for, so a resource is what it decodes to. Two that decode to the same are
/// invalidated together.
fn hash_target(path: &str, query: Option<&str>, hasher: &mut impl Hasher) {
    let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
    decoded(path).hash(hasher);
    let pairs = query.map(|query| {
        let mut pairs: Vec<_> = query
            .split('&')
            .map(|pair| {
                pair.split_once('=')
                    .map_or((decoded(pair), None), |(name, value)| (decoded(name), Some(decoded(value))))
            })
            .collect();
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs
    });
    pairs.hash(hasher);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

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

//! Where a resource is, as far as that counts: what invalidation knows it by.

use super::admit::{client_uri, scheme, target_uri};
use crate::{
    identity::Identity,
    invalidation::{Footprint, RowHasher, Subject, Tags},
    policy::Rules,
    semantics::{no_vary_search::SearchVariance, target::Target},
};
use http::request::Parts;
use std::borrow::Cow;

/// The target of a request, with the query parameters that count.
#[derive(Debug)]
pub(crate) struct Place {
    authority: Option<String>,
    pub(super) path: String,
    pub(super) query: Option<String>,
}

impl Place {
    pub(crate) fn of(rules: &Rules, parts: &Parts) -> Self {
        let mut made = None;
        let uri = target_uri(rules, parts, &mut made).unwrap_or_else(|_| client_uri(parts));
        let target = Target::of(uri, &parts.headers, scheme(parts));
        let authority = target.ok().and_then(|target| target.normal_authority()).map(str::to_owned);
        let query = uri.query().and_then(|query| rules.key.keyed_query(query)).map(Cow::into_owned);
        Self { authority, path: uri.path().to_owned(), query }
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The resource, as it can be invalidated.
    pub(crate) fn resources(&self) -> impl Iterator<Item = Subject<'_>> {
        let Self { authority, path, query } = self;
        let authorities = authority.as_deref().map(Some).into_iter().chain([None]);
        authorities.map(|authority| Subject::Resource { authority, path, query: query.as_deref() })
    }

    /// The rows of the ledger that an answer can be hit by before anything is known of it: its resource as the client
    /// named it, its policy, and the parts of the identity in its key.
    pub(crate) fn footprint(&self, rows: &RowHasher, rules: &Rules, identity: Option<&Identity>) -> Footprint {
        self.footprint_with(rows, rules, identity, &Tags::default(), None, &[])
    }

    /// The same with what its head tells: its tags, its groups, and how `No-Vary-Search` lets its query count.
    pub(crate) fn footprint_with(
        &self,
        rows: &RowHasher,
        rules: &Rules,
        identity: Option<&Identity>,
        tags: &Tags,
        said: Option<&SearchVariance>,
        groups: &[String],
    ) -> Footprint {
        let keyed: Vec<_> = identity.into_iter().flat_map(|identity| rules.scope.keyed(identity)).collect();
        let Self { authority, path, query } = self;
        let (authority, path) = (authority.as_deref(), path.as_str());
        let normal = said.map(|said| said.normal_query(query.as_deref()));
        let queries = [Some(query.as_deref()), normal.as_ref().map(|query| query.as_deref())];
        let resources = queries.into_iter().flatten().map(|query| Subject::Resource { authority, path, query });
        let policy = rules.name.as_deref().map(Subject::Policy);
        let groups = groups.iter().map(|name| Subject::Group { authority, name });
        rows.footprint(resources.chain(policy).chain(groups).chain(tags.subjects()), &keyed)
    }
}

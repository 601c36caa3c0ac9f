//! Requests that change something: what is invalid when they have succeeded.

use super::{
    Cache,
    admit::{client_uri, scheme, target_uri},
};
use crate::{
    identity::{Identity, TENANT},
    invalidation::{Invalidates, Selector},
    policy::Rules,
    semantics::{cache_groups::invalidated_groups, invalidation::same_origin_targets, target::Target},
};
use http::{HeaderMap, request::Parts};

/// The target of a request that changes something, and whose it is, kept until it has succeeded.
#[derive(Debug)]
pub(crate) struct Change {
    scheme: Option<String>,
    authority: Option<String>,
    path: String,
    query: Option<String>,
    tenant: Option<String>,
}

impl Change {
    /// What a request is about to change. Where it is not clear which host is meant, every one is.
    pub(crate) fn of(rules: &Rules, parts: &Parts) -> Self {
        let mut place = None;
        let uri = target_uri(rules, parts, &mut place).unwrap_or_else(|_| client_uri(parts));
        let target = Target::of(uri, &parts.headers, scheme(parts));
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let identity = parts.extensions.get::<Identity>();
        let tenant = owned(identity.and_then(|identity| identity.get(TENANT)));
        match target {
            Ok(target) => Self {
                scheme: owned(target.scheme),
                authority: owned(target.normal_authority()),
                path: target.path.to_owned(),
                query: owned(target.query),
                tenant,
            },
            Err(_) => {
                Self { scheme: None, authority: None, path: uri.path().to_owned(), query: owned(uri.query()), tenant }
            }
        }
    }

    fn target(&self) -> Target<'_> {
        Target {
            scheme: self.scheme.as_deref(),
            authority: self.authority.as_deref(),
            path: &self.path,
            query: self.query.as_deref(),
        }
    }
}

impl Cache {
    /// A request that changes something has succeeded: its target, and what the answer says has changed with it, are
    /// invalid from now on (RFC 9111 §4.4, RFC 9875 §3).
    pub(crate) fn invalidate_changed(&self, change: &Change, answer: &HeaderMap, said: Option<&Invalidates>) {
        let base = change.target();
        let mut selectors = vec![Selector::target(&base)];
        for target in same_origin_targets(&base, answer) {
            let (path, query) = target.split_once('?').map_or((&*target, None), |(path, query)| (path, Some(query)));
            selectors.push(Selector::target(&Target { path, query, ..base }));
        }
        let groups = invalidated_groups(answer);
        let groups = groups.iter().map(|name| Selector::group_of(change.authority.as_deref(), name));
        let said = said.into_iter().flat_map(|said| said.0.iter().cloned());
        selectors.extend(groups.chain(said).flat_map(|selector| selector.narrowed_to(change.tenant.as_deref())));
        self.invalidate_now(&selectors);
    }
}

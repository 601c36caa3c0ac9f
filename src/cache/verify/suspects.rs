//! What a request has that is not in its key.

use super::Suspects;
use crate::{
    cache::target_uri,
    identity::Identity,
    key::{cookie_names, query_names},
    policy::Rules,
    semantics::fields::is_of_the_connection,
};
use http::{HeaderName, header::COOKIE, request::Parts};
use std::collections::BTreeSet;

/// What a request has that is not in its key, and selects no variant.
pub(crate) fn suspects(rules: &Rules, parts: &Parts, key: &[u8], nominated: &[HeaderName]) -> Suspects {
    let keyed = |name: &HeaderName| {
        rules.key.names(name)
            || nominated.contains(name)
            || is_of_the_connection(name)
            || NO_SUSPECTS.contains(&name.as_str())
    };
    let fields = parts.headers.keys().filter(|name| **name != COOKIE && !keyed(name)).map(HeaderName::as_str);
    let cookies = if nominated.contains(&COOKIE) { Vec::new() } else { cookie_names(&parts.headers) };
    let cookies = cookies.iter().filter(|name| !rules.key.cookies.contains(name)).map(String::as_str);
    let mut made = None;
    let query = target_uri(rules, parts, &mut made).ok().and_then(|uri| uri.query()).unwrap_or_default();
    let kept = query_names(key);
    let query = query.split('&').filter(|pair| !pair.is_empty());
    let query = query.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name));
    let query = query.filter(|name| !kept.iter().any(|kept| kept == name));
    let identity = parts.extensions.get::<Identity>();
    let identity = identity.into_iter().flat_map(Identity::names).filter(|name| !rules.scope.keys_on(name));
    let first = |name: &str| rules.is_secret(name);
    Suspects {
        fields: sorted(fields, first),
        cookies: sorted(cookies, first),
        query: sorted(query, first),
        identity: sorted(identity, |_| false),
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>, first: impl Fn(&str) -> bool) -> Vec<String> {
    let names: BTreeSet<(bool, &str)> = names.map(|name| (!first(name), name)).collect();
    names.into_iter().take(MOST).map(|(_, name)| name.chars().take(LONGEST).collect()).collect()
}

/// What is about the connection, or asks for a part or a check of the same response: that is not sent.
const NO_SUSPECTS: [&str; 7] =
    ["connection", "content-length", "if-match", "if-modified-since", "if-none-match", "if-range", "range"];

const MOST: usize = 32;

/// Longer names are cut.
const LONGEST: usize = 64;

//! The request as the inner service is to see it.

use super::{job::Job, service::Filling};
use crate::{
    cache::{Cache, scheme},
    identity::Identity,
    key::{is_forwarding, keyed_uri, narrow_forwarded},
    policy::Rules,
    semantics::{
        content_coding,
        fields::{is_of_the_connection, withdraw_nominations},
        target::normal_host,
        validation::make_conditional,
    },
};
use http::{
    HeaderName, HeaderValue, Uri,
    header::{ACCEPT_ENCODING, CONNECTION, HOST, RANGE},
    request::Parts,
    uri::Scheme,
};
use std::sync::Arc;

impl Job {
    /// The request as the inner service is to see it.
    pub(super) fn question(&self, parts: &Parts) -> Parts {
        let (cache, rules) = (&self.ask.shared.cache, &self.ask.shared.rules);
        let mut sent = parts.clone();
        mark(&mut sent, cache, rules);
        keep_keyed_query(&mut sent, rules);
        if let Some(visible) = &rules.sealed {
            self.seal(&mut sent, visible);
        }
        sent
    }

    /// Leaves only what is in the key, so that nothing else can shape what is stored.
    fn seal(&self, sent: &mut Parts, visible: &[HeaderName]) {
        let hidden: Vec<_> = sent
            .headers
            .keys()
            .filter(|name| !visible.contains(name) && !is_forwarding(name.as_str()))
            .cloned()
            .collect();
        for name in hidden {
            sent.headers.remove(name);
        }
        narrow_forwarded(&mut sent.headers);
        if let Some(identity) = sent.extensions.get::<Identity>() {
            let scope = &self.ask.shared.rules.scope;
            let narrowed = identity.narrowed(|name| scope.keys_on(name));
            sent.extensions.insert(narrowed);
        }
    }

    /// Asks whether the stored response still holds, and for the whole if it does not.
    pub(super) fn conditional(&self, mut question: Parts) -> Parts {
        if let Some(entry) = &self.ask.stored {
            make_conditional(&mut question.headers, &entry.head);
            question.headers.remove(RANGE);
        }
        question
    }
}

/// Makes a request one that is made for a cache: whatever it says, the inner service sees what it is stored or compared by.
pub(super) fn mark(sent: &mut Parts, cache: &Cache, rules: &Arc<Rules>) {
    Filling::mark(sent, cache, rules);
    // A client may name in `Connection` what is in the key, or who it is: a service that obeys must not miss that.
    if sent.headers.contains_key(CONNECTION) {
        // Which fields an identity was made of is not known.
        let known = sent.extensions.get::<Identity>().is_some();
        withdraw_nominations(&mut sent.headers, |name| {
            rules.tells_apart(name) || (known && !is_of_the_connection(name))
        });
    }
    // What is compared in a normal form is sent in it too.
    normalize_host(sent);
    if let Some(codings) = content_coding::normal(&sent.headers) {
        sent.headers.insert(ACCEPT_ENCODING, codings.to_header_value());
    }
}

/// A handler that tells `Shop.example` from `shop.example` would answer the one and be asked by the other.
fn normalize_host(sent: &mut Parts) {
    let scheme = scheme(sent).cloned();
    let scheme = scheme.as_ref();
    let host = sent.headers.get(HOST).and_then(|host| normal_host(host.to_str().ok()?, sent.uri.scheme().or(scheme)));
    if let Some(host) = host.and_then(|host| HeaderValue::try_from(host).ok()) {
        sent.headers.insert(HOST, host);
    }
    if let Some(uri) = with_normal_host(&sent.uri, scheme) {
        sent.uri = uri;
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = sent.extensions.get_mut()
        && let Some(normal) = with_normal_host(uri, scheme)
    {
        *uri = normal;
    }
}

fn with_normal_host(uri: &Uri, scheme: Option<&Scheme>) -> Option<Uri> {
    let host = normal_host(uri.authority()?.as_str(), uri.scheme().or(scheme))?;
    let mut parts = uri.clone().into_parts();
    parts.authority = Some(host.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Leaves only the query parameters that are part of the key.
pub(super) fn keep_keyed_query(parts: &mut Parts, rules: &Rules) {
    if let Some(uri) = keyed_uri(&parts.uri, &rules.key) {
        parts.uri = uri;
    }
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get_mut()
        && let Some(kept) = keyed_uri(uri, &rules.key)
    {
        *uri = kept;
    }
}

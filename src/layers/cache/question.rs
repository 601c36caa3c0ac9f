//! The request as the inner service is to see it.

use super::{job::Job, service::Filling};
use crate::{
    cache::Cache,
    identity::Identity,
    key::{is_forwarding, keyed_uri, narrow_forwarded},
    policy::Rules,
    semantics::{
        content_coding,
        fields::{is_of_the_connection, withdraw_nominations},
        validation::make_conditional,
    },
};
use http::{
    HeaderName,
    header::{ACCEPT_ENCODING, CONNECTION, RANGE},
    request::Parts,
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
    if let Some(codings) = content_coding::normal(&sent.headers) {
        sent.headers.insert(ACCEPT_ENCODING, codings.to_header_value());
    }
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

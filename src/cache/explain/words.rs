//! What stands in an explanation, in words.

use crate::{
    cache::Facts,
    entry::Entry,
    outcome::Bypass,
    policy::Rules,
    semantics::{
        date::Timestamp,
        freshness::LifetimeSource,
        storable::{SetCookie, StoreRequest, storable},
        target::Ambiguous,
    },
    store::Parcel,
};
use http::{HeaderName, HeaderValue, Method};
use std::{fmt, time::Duration};

/// Why a request neither reads nor fills.
pub(super) const fn bypass(reason: Bypass) -> &'static str {
    match reason {
        Bypass::Method => "the policy does not cache this method",
        Bypass::MethodOverride => "X-HTTP-Method-Override or its like, or _method in the query, means another method",
        Bypass::Upgrade => "the connection is to become another protocol",
        Bypass::Content => "it has content, which is not part of the key",
        Bypass::NoPolicy => "no policy of the table fits",
        Bypass::AmbiguousPath => "the path can be read in two ways, so it is not clear which policy is meant",
        Bypass::ContentTooLong => "its content is longer than max_content(..)",
        Bypass::Ambiguous(Ambiguous::HostMismatch) => "the target URI names another host than Host",
        Bypass::Ambiguous(Ambiguous::HostRepeated) => "Host is sent more than once",
        Bypass::Ambiguous(Ambiguous::HostMalformed) => "Host, or the authority of the target URI, is no host and port",
        Bypass::Ambiguous(Ambiguous::UserInfo) => "the target URI holds user information",
        Bypass::RewrittenUrl => {
            "X-Original-URL, X-Rewrite-URL or X-Rewrite-URI may make the handler serve another path"
        }
        Bypass::Cookie => "it has a Cookie, and the policy neither ignores cookies nor keys on them",
        Bypass::Precondition => "If-Match or If-Unmodified-Since: only the inner service can tell",
        Bypass::IdentityMissing => "it lacks a part of the identity that the policy keys on",
        Bypass::IdentityUnclear => "a trusted field that says who asks is sent twice, or cannot be read",
        Bypass::QueryValue => "a query parameter has none of the values that query_values(..) lists",
        Bypass::Policy => "bypass_if(..) of the policy says so",
        Bypass::KeyTooLong => "its key is longer than max_key(..)",
        Bypass::ValueConflict => "another value has this name",
        Bypass::CallbackPanicked => "a closure of the application panicked",
    }
}

/// Lifetime, age, and what is left; and what holds once nothing is.
pub(super) fn freshness(entry: &Entry, source: Option<&'static str>, now: Timestamp) -> String {
    let life = entry.lifespan();
    let lifetime = life.fresh_until.since(life.born);
    let source = source.map(|source| format!(" ({source})")).unwrap_or_default();
    let (lifetime, age) = (Secs(lifetime), Secs(life.age(now)));
    let mut text = match life.is_fresh(now) {
        true => format!("lifetime {lifetime}{source}, age {age}: fresh for {}", Secs(life.fresh_until.since(now))),
        false => format!("lifetime {lifetime}{source}, age {age}: stale for {}", Secs(now.since(life.fresh_until))),
    };
    if life.always_validate {
        text.push_str("; no-cache: never served without asking");
    } else if life.never_stale {
        text.push_str("; never served stale");
    } else {
        for (name, until) in [("stale-while-revalidate", life.revalidate_until), ("stale-if-error", life.error_until)] {
            let window = until.since(life.fresh_until);
            if !window.is_zero() {
                text.push_str(&format!("; {name} {}", Secs(window)));
            }
        }
    }
    if entry.is_to_be_compared(now) {
        text.push_str("; longer in memory than memory_ttl(..): looked for in the stores first");
    }
    text
}

/// What a store has.
pub(super) fn parcel(found: Result<Option<Parcel>, &'static str>, now: Timestamp) -> String {
    let parcel = match found {
        Ok(Some(parcel)) => parcel,
        Ok(None) => return "nothing".to_owned(),
        Err(reason) => return format!("nothing that can be used ({reason})"),
    };
    let until = parcel.received.saturating_sub(parcel.age).saturating_add(parcel.lifetime);
    let left = match now < until {
        true => format!("fresh for {}", Secs(until.since(now))),
        false => format!("stale for {}", Secs(now.since(until))),
    };
    format!("stored {} ago, {left}, unless the ledger says otherwise", Secs(now.since(parcel.received)))
}

/// Who gave an entry its lifetime, as far as its head still tells.
pub(super) fn source(entry: &Entry, rules: &Rules, hit: Option<&HeaderValue>) -> Option<&'static str> {
    if entry.adapted.is_some() {
        return Some("policy, adapted");
    }
    let rules = entry.handler.as_deref().unwrap_or(rules);
    let asked = StoreRequest { credentials: false, no_store: false, one_user: true };
    let mut head = entry.origin_head(hit);
    if let Some(counts) = &entry.for_caches {
        head = counts.head(&head).into_owned();
    }
    let said = storable(asked, entry.status, &head, &rules.store, entry.received(), Duration::ZERO).ok()?;
    Some(match said.source {
        LifetimeSource::SMaxage => "s-maxage",
        LifetimeSource::MaxAge => "max-age",
        LifetimeSource::Expires => "Expires",
        LifetimeSource::Heuristic => "a tenth of the time since Last-Modified",
        LifetimeSource::Policy if entry.handler.is_some() => "policy of the handler",
        LifetimeSource::Policy => "policy",
    })
}

/// What has to be so for the answer to be stored.
pub(super) fn storing(rules: &Rules, method: &Method, facts: Facts, uses: u32) -> String {
    if rules.observe_only {
        return "nothing is stored: the policy only observes".to_owned();
    }
    if *method == Method::HEAD {
        return "nothing is stored: an answer to HEAD has no content".to_owned();
    }
    let store = &rules.store;
    let mut text = match store.default_lifetime {
        None => "stored if the answer states a lifetime".to_owned(),
        Some(lifetime) if store.override_response => format!("stored for {}, whatever it states", Secs(lifetime)),
        Some(lifetime) => format!("stored for as long as it states, else {}", Secs(lifetime)),
    };
    if rules.fill.min_uses > 1 {
        let nth = uses.saturating_add(1);
        text.push_str(&format!("; from request {} for it on, this would be number {nth}", rules.fill.min_uses));
    }
    text.push_str("; not if it says no-store");
    if !facts.has(Facts::ONE_USER) {
        text.push_str(" or private");
    }
    if store.set_cookie == SetCookie::Refuse {
        text.push_str(", sets a cookie");
    }
    if facts.has(Facts::CREDENTIALS) {
        text.push_str(", does not say public, s-maxage or must-revalidate (the request has credentials)");
    }
    text.push_str(&format!(", or has more than {} bytes", rules.max_body));
    if rules.refuse_if.is_some() {
        text.push_str(", or refuse_storage_if(..) says so");
    }
    text
}

/// Names of fields, a few of them.
pub(super) fn fields(names: &[HeaderName]) -> String {
    listed(names.iter().map(HeaderName::as_str))
}

/// A few of them, and how many there are beside.
pub(super) fn listed<T: AsRef<str>>(all: impl Iterator<Item = T>) -> String {
    let all: Vec<_> = all.map(|one| plain(one.as_ref())).collect();
    let shown = all[..all.len().min(FEW)].join(", ");
    if all.len() > FEW { format!("{shown} and {} more", all.len() - FEW) } else { shown }
}

/// A text that stays on its line.
fn plain(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A span in seconds, as far as milliseconds.
pub(super) struct Secs(pub(super) Duration);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{} s", self.0.as_secs()),
            millis => write!(f, "{}.{} s", self.0.as_secs(), format!("{millis:03}").trim_end_matches('0')),
        }
    }
}

/// So many names are listed.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_on_one_line() {
        for reason in Bypass::ALL {
            let text = bypass(reason);
            assert!(text.len() < 120 && !text.contains('\n'), "{text}");
        }
        assert_eq!(listed(["a\n", "b"].iter()), "a\\n, b");
        assert!(listed((0..10).map(|n| n.to_string())).ends_with("7 and 2 more"));
        let secs = [0, 12_000, 12_500, 1, 60_010].map(|millis| Secs(Duration::from_millis(millis)).to_string());
        assert_eq!(secs, ["0 s", "12 s", "12.5 s", "0.001 s", "60.01 s"]);
    }
}

//! What makes a policy contradict itself.

use super::{Policy, UriOf};
use crate::{
    identity::Scope,
    key::QueryRule,
    semantics::{cache_control::MAX_DELTA, storable::answers_one_request},
};
use http::{HeaderName, Method};
use std::{fmt, time::Duration};

/// A policy that contradicts itself or its cache. The text names what was given and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyError(String);

impl PolicyError {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PolicyError {}

impl Policy {
    /// The first contradiction, if there is one. `largest` is the longest body that the memory tier can hold.
    pub(super) fn check(&self, largest: usize) -> Result<(), PolicyError> {
        match self.faults.first() {
            Some(fault) => return Err(fault.clone()),
            None => {
                check_word("named", self.name.as_deref())?;
                check_word("version", self.version.as_deref())?;
            }
        }
        self.check_lifetimes()?;
        self.check_methods()?;
        self.check_scope()?;
        self.check_key()?;
        self.check_limits(largest)
    }

    fn check_lifetimes(&self) -> Result<(), PolicyError> {
        let store = &self.store;
        if store.default_lifetime.is_some_and(|lifetime| lifetime.is_zero()) {
            return fault(
                "fresh_for(0 s) would store nothing that is ever fresh: give a lifetime, or use from_response() to store \
                 only what responses ask for",
            );
        }
        let spans = [
            ("fresh_for", store.default_lifetime),
            ("stale_while_revalidate", Some(store.stale_while_revalidate)),
            ("stale_if_error", Some(store.stale_if_error)),
            ("keep", self.keep),
        ];
        let statuses = store.status_lifetimes.iter().map(|(_, lifetime)| ("status_lifetime", Some(*lifetime)));
        for (method, span) in spans.into_iter().chain(statuses) {
            if span.is_some_and(|span| span > MAX_DELTA) {
                return fault(format!("{method}({}): at most {} are possible", Secs(span), Secs(Some(MAX_DELTA))));
            }
        }
        if store.override_response && store.default_lifetime.is_none() && store.status_lifetimes.is_empty() {
            return fault("override_response() without a lifetime has nothing to override with: add fresh_for(..)");
        }
        let named = store.default_statuses.iter().chain(store.status_lifetimes.iter().map(|(status, _)| status));
        for status in named {
            if status.is_informational() || answers_one_request(*status) {
                return fault(format!("status {} is no answer that others have a use for", status.as_u16()));
            }
        }
        if !store.default_statuses.is_empty() && store.default_lifetime.is_none() {
            return fault("statuses(..) without a lifetime to give them: add fresh_for(..)");
        }
        Ok(())
    }

    fn check_methods(&self) -> Result<(), PolicyError> {
        if let Some(method) = self.methods.iter().find(|method| !matches!(**method, Method::GET | Method::HEAD)) {
            return fault(format!("methods([{method}]): GET and HEAD; other methods need key_body([{method}])"));
        }
        let never =
            [Method::GET, Method::HEAD, Method::CONNECT, Method::TRACE, Method::OPTIONS, Method::PUT, Method::DELETE];
        if let Some(method) = self.content_methods.iter().find(|method| never.contains(method)) {
            return fault(format!(
                "key_body([{method}]): for methods that ask something by their content, as QUERY or POST"
            ));
        }
        if self.max_content == 0 {
            return fault("max_content(0) would read nothing: leave it out for the default of 64 KiB");
        }
        if !self.methods.contains(&Method::GET) {
            return fault("methods(..) without GET: only responses to GET are stored, HEAD is answered from them");
        }
        Ok(())
    }

    fn check_scope(&self) -> Result<(), PolicyError> {
        if self.browser.is_some_and(|browser| browser.grants_reuse() && !browser.is_private())
            && !matches!(self.scope, Scope::Shared)
        {
            return fault(
                "browser(..) with `public` or `s-maxage` lets every cache on the way share what this policy keeps apart: use \
                 CacheControl::private(..), or shared()",
            );
        }
        match &self.scope {
            Scope::Attributes(names) if names.is_empty() => {
                fault("per([]) names no attribute: use shared() if everyone is to share")
            }
            Scope::Attributes(names) => names.iter().try_for_each(|name| check_word("per", Some(name))),
            Scope::Whole | Scope::Shared | Scope::Context(_) => Ok(()),
        }
    }

    fn check_key(&self) -> Result<(), PolicyError> {
        if let QueryRule::Only(names) | QueryRule::Except(names) = &self.key.query {
            if names.is_empty() {
                return fault(
                    "an empty list of query parameters: use ignore_query(), or leave it out to count them all",
                );
            }
            if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(['&', '=', '#'])) {
                return fault(format!("`{name}` is no name of a query parameter"));
            }
        }
        if let Some((name, _)) = self.key.query_values.iter().find(|(_, values)| values.is_empty()) {
            return fault(format!(
                "query_values({name}, []): a parameter that may have no value at all bypasses always"
            ));
        }
        if self.key.cookies.iter().chain(&self.key.languages).any(String::is_empty) {
            return fault("key_cookies and key_language take names that are not empty");
        }
        if self.key.languages.iter().any(|tag| !tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')) {
            return fault(format!(
                "key_language({:?}): a language tag has letters, digits and hyphens",
                self.key.languages
            ));
        }
        if self.key.date.is_some_and(|zone| !zone.is_possible()) {
            return fault("key_date: a time zone is between 12 hours behind and 14 hours ahead of UTC");
        }
        self.check_names()?;
        match self.key.headers.iter().find_map(|name| never_in_a_key(name).map(|why| (name, why))) {
            Some((name, why)) => fault(format!("key_headers([{name}]): {why}")),
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<(), PolicyError> {
        self.key.custom.iter().try_for_each(|part| check_word("key_part", Some(&part.name)))?;
        let mut names: Vec<_> = self.key.custom.iter().map(|part| &part.name).collect();
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return fault(format!("key_part({}) twice: give each part a name of its own", pair[0]));
        }
        let credential = |name: &&HeaderName| {
            matches!(name.as_str(), "authorization" | "proxy-authorization" | "cookie")
                || self.credential_headers.contains(*name)
        };
        if let Some(name) = self.ignored_vary.iter().find(credential) {
            return fault(format!(
                "ignore_vary([{name}]): this field says who asks, so what varies with it is not for everyone; use \
                 per_user(), or shared() for responses that say `public`"
            ));
        }
        if !self.allowed_headers.is_empty() && !self.sealed {
            return fault("allow_headers(..) without sealed() has nothing to allow");
        }
        Ok(())
    }

    fn check_limits(&self, largest: usize) -> Result<(), PolicyError> {
        match self.max_body {
            Some(0) => return fault("max_body(0) would store no content: leave it out for the default of 8 MiB"),
            Some(bytes) if bytes > largest => {
                return fault(format!(
                    "max_body({bytes}): the memory tier holds bodies of at most {largest} bytes: make it larger, or \
                     raise its max_object(..)"
                ));
            }
            _ => {}
        }
        if !(64..=1024 * 1024).contains(&self.max_key) {
            return fault(format!("max_key({}): between 64 bytes and 1 MiB are possible", self.max_key));
        }
        if !(1..=1024).contains(&self.max_variants) {
            return fault(format!("max_variants({}): between 1 and 1024 are possible", self.max_variants));
        }
        Ok(())
    }

    pub(super) fn uri_of(&self) -> Option<UriOf> {
        self.uri.clone()
    }
}

/// Names and versions stand in keys, selectors and metrics.
pub(crate) fn check_word(method: &str, word: Option<&str>) -> Result<(), PolicyError> {
    let Some(word) = word else { return Ok(()) };
    if word.is_empty() || word.len() > 128 || !word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/".contains(c)) {
        return fault(format!(
            "{method}(`{}`): 1 to 128 letters, digits and any of `-_.:/` are possible",
            word.escape_default()
        ));
    }
    Ok(())
}

/// Fields that cannot tell responses apart, and why.
fn never_in_a_key(name: &HeaderName) -> Option<&'static str> {
    match name.as_str() {
        "cookie" => {
            Some("cookies hold more than what tells responses apart: ignore_cookies(), or leave them to bypass")
        }
        "authorization" | "proxy-authorization" => {
            Some("raw credentials do not say who asks until the application has checked them")
        }
        "range" | "if-range" | "if-match" | "if-none-match" | "if-modified-since" | "if-unmodified-since" => {
            Some("it asks for a part or a check of the same response")
        }
        "connection" | "te" | "upgrade" | "transfer-encoding" | "content-length" | "host" => {
            Some("it belongs to the connection, or is in the key already")
        }
        _ => None,
    }
}

fn fault<T>(text: impl Into<String>) -> Result<T, PolicyError> {
    Err(PolicyError::new(text))
}

struct Secs(Option<Duration>);

impl fmt::Display for Secs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.0.unwrap_or_default().as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::UtcOffset, semantics::cache_control_writer::CacheControl};
    use http::StatusCode;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn contradictions_are_named() {
        let minute = || Policy::fresh_for(MINUTE);
        for (policy, says) in [
            (Policy::fresh_for(Duration::ZERO), "from_response()"),
            (Policy::fresh_for(Duration::MAX), "at most 2147483648 s"),
            (minute().keep(Duration::MAX), "keep"),
            (Policy::from_response().override_response(), "add fresh_for"),
            (Policy::from_response().statuses([StatusCode::CREATED]), "add fresh_for"),
            (minute().statuses([StatusCode::NOT_MODIFIED]), "304"),
            (minute().status_lifetime(StatusCode::PARTIAL_CONTENT, MINUTE), "206"),
            (minute().methods([Method::POST]), "key_body([POST])"),
            (minute().key_body([Method::PUT]), "PUT"),
            (minute().max_content(0), "64 KiB"),
            (minute().methods([Method::HEAD]), "without GET"),
            (minute().query_only(Vec::<String>::new()), "ignore_query()"),
            (minute().query_only(["a&b"]), "a&b"),
            (minute().query_only(["a"]).ignore_query(), "one of"),
            (minute().key_headers(["Cookie"]), "cookie"),
            (minute().key_headers(["authorization"]), "credentials"),
            (minute().key_headers(["bad name"]), "bad name"),
            (minute().credential_headers([""]), "field name"),
            (minute().per(Vec::<String>::new()), "shared()"),
            (minute().per(["a b"]), "a b"),
            (minute().per_user().browser(CacheControl::public(MINUTE)), "shared()"),
            (minute().query_values("days", Vec::<String>::new()), "days"),
            (minute().key_cookies([""]), "key_cookies"),
            (minute().key_cookies(Vec::<String>::new()), "names no cookie"),
            (minute().key_language(["de_AT"]), "de_AT"),
            (minute().key_date(UtcOffset::hours(15)), "14 hours"),
            (minute().key_part("a", |_| None).key_part("a", |_| None), "twice"),
            (minute().ignore_vary(["Cookie"]), "cookie"),
            (minute().credential_headers(["x-key"]).ignore_vary(["x-key"]), "x-key"),
            (minute().allow_headers(["accept"]), "sealed()"),
            (minute().max_body(0), "8 MiB"),
            (minute().max_body(2_000_000), "1000000 bytes"),
            (minute().max_key(3), "64 bytes"),
            (minute().max_variants(0), "between 1"),
            (Policy::named("").fresh_for(MINUTE), "named"),
            (Policy::named("a b").fresh_for(MINUTE), "a b"),
            (minute().version("v\n"), "\\n"),
        ] {
            let text = policy.check(1_000_000).expect_err(says).to_string();
            assert!(text.contains(says), "{text:?} should say {says:?}");
        }
        assert_eq!(minute().query_only(["a"]).max_body(5).key_headers(["accept"]).check(10), Ok(()));
    }
}

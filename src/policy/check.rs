//! What makes a policy contradict itself.

use super::{FillRules, Objective, Policy, RefreshRules, UriOf, effective::Spelled};
use crate::{
    credentials::{STANDARD, is_api_key},
    identity::Scope,
    key::QueryRule,
    semantics::{cache_control::MAX_DELTA, storable::answers_one_request},
};
use http::{HeaderName, Method};
use std::{fmt, time::Duration};

/// A policy that contradicts itself or its cache. The text names what was given and what would be right.
///
/// ```
/// # use larder::{Cache, CacheLayer, Policy};
/// # use std::time::Duration;
/// # let cache = Cache::in_memory(1 << 20);
/// let minute = Policy::fresh_for(Duration::from_secs(60));
/// let error = CacheLayer::try_new(&cache, minute.key_headers(["cookie"])).unwrap_err();
/// assert!(error.to_string().starts_with("key_headers([cookie]): "));
/// ```
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
        self.check_fills()?;
        self.check_refresh()?;
        self.check_verify()?;
        self.check_methods()?;
        self.check_scope()?;
        self.check_key()?;
        self.objective.as_ref().map_or(Ok(()), Objective::check)?;
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
            ("wait_limit", Some(self.fill.wait_limit)),
            ("collapse_across", self.fill.lease),
            ("memory_ttl", self.memory_ttl),
            ("soft_timeout", self.fill.soft_timeout),
            ("hard_timeout", self.fill.hard_timeout),
            ("remember_uncacheable", Some(self.fill.remember_uncacheable)),
            ("adaptive_lifetime", self.refresh.adaptive.map(|(_, most)| most)),
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

    fn check_fills(&self) -> Result<(), PolicyError> {
        let FillRules { abandon_on_cancel, soft_timeout, hard_timeout, min_uses, .. } = self.fill;
        for (method, after) in [("soft_timeout", soft_timeout), ("hard_timeout", hard_timeout)] {
            if after.is_some_and(|after| after.is_zero()) {
                return fault(format!("{method}(0 s) would wait for no fill at all: give a time, or leave it out"));
            }
        }
        if let (Some(soft), Some(hard)) = (soft_timeout, hard_timeout)
            && hard <= soft
        {
            return fault(format!(
                "hard_timeout({}) would come before soft_timeout({}) can do anything: give hard_timeout the longer time, \
                 or leave one of them out",
                Spelled(hard),
                Spelled(soft)
            ));
        }
        if soft_timeout.is_some() && abandon_on_cancel {
            return fault(
                "soft_timeout(..) lets a fill go on in the background, where abandon_on_cancel() ends it: leave one of \
                 them out",
            );
        }
        if min_uses == 0 {
            return fault("min_uses(0): the first request is number 1: leave it out to store from the first one on");
        }
        Ok(())
    }

    fn check_refresh(&self) -> Result<(), PolicyError> {
        let RefreshRules { eager, xfetch, jitter, adaptive } = self.refresh;
        if let Some(fraction) = eager.filter(|fraction| !(*fraction > 0.0 && *fraction < 1.0)) {
            return fault(format!(
                "eager_refresh({fraction:?}): a fraction of the lifetime, more than 0 and less than 1, is possible: 0.8 \
                 is at 80 %"
            ));
        }
        if let Some(beta) = xfetch.filter(|beta| !(*beta > 0.0 && *beta <= 100.0)) {
            return fault(format!("xfetch({beta:?}): more than 0 and at most 100 is possible: 1.0 is the optimum"));
        }
        if let Some(fraction) = jitter.filter(|fraction| !(*fraction > 0.0 && *fraction <= 0.5)) {
            return fault(format!(
                "jitter({fraction:?}): a fraction of the lifetime, more than 0 and at most 0.5, is possible: 0.1 takes \
                 up to 10 % away"
            ));
        }
        adaptive.map_or(Ok(()), |bounds| self.check_adaptive(bounds))
    }

    fn check_adaptive(&self, (least, most): (Duration, Duration)) -> Result<(), PolicyError> {
        let bounds = format!("adaptive_lifetime({}..={})", Spelled(least), Spelled(most));
        if least > most {
            return fault(format!("{bounds} is empty: give the shorter lifetime first"));
        }
        if least.is_zero() {
            return fault(format!("{bounds} could halve a lifetime to nothing: begin with at least 1 s"));
        }
        let Some(lifetime) = self.store.default_lifetime else {
            return fault(format!(
                "{bounds} without a lifetime of the policy has nothing to adapt: add fresh_for(..) or lifetime(..)"
            ));
        };
        let statuses = self.store.status_lifetimes.iter().filter(|(_, lifetime)| !lifetime.is_zero());
        let statuses = statuses.map(|(status, lifetime)| (format!("of status {}", status.as_u16()), *lifetime));
        let mut lifetimes = std::iter::once(("of the policy".to_owned(), lifetime)).chain(statuses);
        match lifetimes.find(|(_, lifetime)| !(least..=most).contains(lifetime)) {
            Some((whose, lifetime)) => fault(format!(
                "{bounds}: the lifetime {whose}, {}, is not within these bounds: give bounds around it",
                Spelled(lifetime)
            )),
            None => Ok(()),
        }
    }

    fn check_verify(&self) -> Result<(), PolicyError> {
        if let Some(fraction) = self.verify.filter(|fraction| !(*fraction > 0.0 && *fraction <= 1.0)) {
            return fault(format!(
                "verify({fraction:?}): a fraction of the hits, more than 0 and at most 1, is possible: 0.01 is one of a hundred"
            ));
        }
        if !self.verify_ignored.is_empty() && self.verify.is_none() {
            return fault("verify_ignoring(..) without verify(..) has nothing to ignore");
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
            STANDARD.contains(*name)
                || (is_api_key(name.as_str()) && !self.key.headers.contains(*name))
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
            (minute().wait_limit(Duration::MAX), "wait_limit(18446744073709551615 s): at most"),
            (minute().soft_timeout(Duration::ZERO), "soft_timeout(0 s)"),
            (minute().hard_timeout(Duration::ZERO), "hard_timeout(0 s)"),
            (minute().hard_timeout(Duration::MAX), "hard_timeout(18446744073709551615 s): at most"),
            (minute().soft_timeout(MINUTE).hard_timeout(MINUTE), "hard_timeout(1m) would come before soft_timeout(1m)"),
            (minute().soft_timeout(MINUTE).hard_timeout(MINUTE / 2), "hard_timeout(30s)"),
            (minute().soft_timeout(MINUTE).abandon_on_cancel(), "leave one of them out"),
            (minute().remember_uncacheable(Duration::MAX), "remember_uncacheable("),
            (minute().min_uses(0), "min_uses(0)"),
            (minute().eager_refresh(0.0), "eager_refresh(0.0)"),
            (minute().eager_refresh(1.0), "0.8 is at 80 %"),
            (minute().eager_refresh(80.0), "eager_refresh(80.0)"),
            (minute().eager_refresh(f64::NAN), "eager_refresh(NaN)"),
            (minute().xfetch(0.0), "1.0 is the optimum"),
            (minute().xfetch(100.1), "xfetch(100.1)"),
            (minute().xfetch(f64::INFINITY), "xfetch(inf)"),
            (minute().xfetch(f64::NAN), "xfetch(NaN)"),
            (minute().jitter(0.0), "jitter(0.0)"),
            (minute().jitter(0.51), "jitter(0.51)"),
            (minute().jitter(f64::NAN), "jitter(NaN)"),
            (minute().verify(0.0), "verify(0.0)"),
            (minute().verify(1.01), "0.01 is one of a hundred"),
            (minute().verify(f64::NAN), "verify(NaN)"),
            (minute().verify_ignoring(["x-build"]), "without verify(..)"),
            (minute().verify(1.0).verify_ignoring(["b a d"]), "verify_ignoring: `b a d` is no field name"),
            (minute().adaptive_lifetime(MINUTE..=MINUTE / 2), "adaptive_lifetime(1m..=30s) is empty"),
            (minute().adaptive_lifetime(Duration::ZERO..=MINUTE), "at least 1 s"),
            (minute().adaptive_lifetime(2 * MINUTE..=3 * MINUTE), "lifetime of the policy, 1m, is not within"),
            (minute().adaptive_lifetime(MINUTE / 3..=MINUTE / 2), "lifetime of the policy, 1m, is not within"),
            (minute().adaptive_lifetime(MINUTE..=Duration::MAX), "adaptive_lifetime(18446744073709551615 s): at most"),
            (Policy::from_response().adaptive_lifetime(MINUTE..=MINUTE), "add fresh_for(..)"),
            (Policy::rfc9111().adaptive_lifetime(MINUTE..=MINUTE), "add fresh_for(..)"),
            (
                minute().status_lifetime(StatusCode::NOT_FOUND, MINUTE / 6).adaptive_lifetime(MINUTE / 2..=MINUTE),
                "lifetime of status 404, 10s, is not within",
            ),
        ] {
            let text = policy.check(1_000_000).expect_err(says).to_string();
            assert!(text.contains(says), "{text:?} should say {says:?}");
        }
        assert_eq!(minute().query_only(["a"]).max_body(5).key_headers(["accept"]).check(10), Ok(()));
    }

    #[test]
    fn borders_are_possible() {
        for policy in [
            Policy::fresh_for(MINUTE)
                .wait_limit(Duration::ZERO)
                .remember_uncacheable(Duration::ZERO)
                .min_uses(u32::MAX),
            Policy::fresh_for(MINUTE).soft_timeout(MINUTE).hard_timeout(MINUTE + Duration::from_millis(1)),
            Policy::fresh_for(MINUTE).hard_timeout(MINUTE).abandon_on_cancel(),
            Policy::from_response().verify(f64::MIN_POSITIVE),
            Policy::from_response().verify(1.0).verify_ignoring(["x-build"]),
            Policy::from_response().eager_refresh(f64::MIN_POSITIVE).xfetch(100.0).jitter(0.5),
            Policy::fresh_for(MINUTE).eager_refresh(0.999).xfetch(f64::MIN_POSITIVE).jitter(f64::MIN_POSITIVE),
            Policy::fresh_for(MINUTE).adaptive_lifetime(MINUTE..=MINUTE),
            Policy::rfc9111().lifetime(MINUTE).adaptive_lifetime(Duration::from_millis(1)..=MAX_DELTA),
            Policy::fresh_for(MINUTE)
                .status_lifetime(StatusCode::NOT_FOUND, Duration::ZERO)
                .adaptive_lifetime(MINUTE..=2 * MINUTE),
        ] {
            assert_eq!(policy.check(1_000_000), Ok(()), "{}", policy.effective());
        }
    }
}

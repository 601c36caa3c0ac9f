//! A policy with all its defaults spelled out, and what is doubtful about it: for people. What cannot be at all is
//! refused in `check`, and nothing here decides about a request.

mod value;

use super::{Cookies, FillRules, Objective, Policy, RefreshRules, RequestDirectives};
use crate::{
    identity::Scope,
    key::{KeyRules, QueryRule, UtcOffset},
    semantics::storable::{SetCookie, StoreRules, is_storable_by_default},
};
use http::StatusCode;
use std::{fmt, time::Duration};
pub(super) use value::Spelled;
use value::{Value, json_list, json_object, json_string};

/// A policy with all its defaults spelled out, for people ([`Display`](fmt::Display)) and for programs
/// ([`to_json`](Effective::to_json)). Made by [`Policy::effective`].
///
/// ```
/// # use larder::Policy;
/// # use std::time::Duration;
/// let policy = Policy::named("dashboard").fresh_for(Duration::from_secs(600)).per_tenant();
/// let text = policy.effective().to_string();
/// assert!(text.contains("lifetime:               10m\n"));
/// assert!(text.contains("max_body:               8 MiB  (default)\n"));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Effective(Vec<Setting>);

#[derive(Clone, Debug, PartialEq)]
struct Setting {
    /// That of the method which sets it, where there is one.
    name: &'static str,
    value: Value,
    is_default: bool,
}

impl Policy {
    /// This policy with all its defaults spelled out.
    pub fn effective(&self) -> Effective {
        let defaults = Self::from_response().settings();
        let settings = self.settings().into_iter().zip(defaults).map(|((name, value), (_, default))| {
            let is_default = value == default;
            Setting { name, value, is_default }
        });
        Effective(settings.collect())
    }

    /// What is doubtful about this policy although it can be obeyed: each text says what, why, and what to do.
    ///
    /// A lifetime over four hours is, as long as nothing but time ends it, and a
    /// [`soft_timeout`](Policy::soft_timeout) without a stale response that it could serve.
    ///
    /// ```
    /// # use larder::Policy;
    /// # use std::time::Duration;
    /// let days = Policy::named("reports").fresh_for(Duration::from_secs(3 * 24 * 3600));
    /// assert!(days.warnings()[0].starts_with("policy `reports`: the lifetime, 3d"));
    /// ```
    pub fn warnings(&self) -> Vec<String> {
        let name = self.name().map_or("a policy without a name".to_owned(), |name| format!("policy `{name}`"));
        let default = self.store.default_lifetime.map(|lifetime| ("the lifetime".to_owned(), lifetime));
        let statuses = self.store.status_lifetimes.iter();
        let statuses = statuses.map(|(status, span)| (format!("the lifetime of status {}", status.as_u16()), *span));
        let long = default.into_iter().chain(statuses).filter(|(_, lifetime)| *lifetime > LONG);
        let warning = |(what, lifetime)| {
            format!(
                "{name}: {what}, {}, is over {}: when the data changes, clients get the old answer for that long. Make it \
                 shorter, or call Cache::invalidate where the data changes",
                Spelled(lifetime),
                Spelled(LONG)
            )
        };
        let mut warnings: Vec<_> = long.map(warning).collect();
        if let (Some(after), Some(_)) = (self.fill.soft_timeout, self.store.default_lifetime)
            && self.store.stale_if_error.is_zero()
        {
            warnings.push(format!(
                "{name}: soft_timeout({}) has no stale response to serve, unless the response itself says \
                 stale-if-error: add stale_if_error(..)",
                Spelled(after)
            ));
        }
        warnings
    }

    /// Every field, in an order for readers. Whoever adds a field is stopped here by the compiler, to show it too.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        let Self {
            name,
            version,
            store,
            fill,
            refresh,
            key,
            methods,
            only_invalidates,
            max_body,
            max_key,
            content_methods,
            grpc,
            max_content,
            max_variants,
            cookies,
            credential_headers,
            share_with_credentials,
            scope,
            request_directives,
            keep,
            surrogate,
            uri,
            bypass_if,
            refetch_if,
            refuse_if,
            tags,
            tag_with,
            tag_header,
            depends_on,
            fresh_until,
            ignored_vary,
            sealed,
            allowed_headers,
            observe_only,
            memory_only,
            memory_ttl,
            verify,
            verify_ignored,
            browser,
            objective,
            place: _,
            faults,
        } = self;
        let (scope, per, per_context) = scope_settings(scope);
        let mut settings = vec![
            ("name", name.as_deref().map_or(Value::Nothing("none"), Value::text)),
            ("version", version.as_deref().map_or(Value::Nothing("none"), Value::text)),
        ];
        settings.extend(store_settings(store));
        settings.extend([
            ("keep", keep.map_or(Value::Nothing("1h if the response has a validator, else not at all"), Value::Span)),
            ("fresh_until", Value::Closure(fresh_until.is_some())),
            ("browser", browser.map_or(Value::Nothing("what the handler says"), |said| Value::Text(said.to_string()))),
            (
                "request_directives",
                Value::text(match request_directives {
                    RequestDirectives::Ignore => "ignore",
                    RequestDirectives::Honor => "honor",
                }),
            ),
            ("surrogate", Value::Flag(*surrogate)),
        ]);
        settings.extend(refresh_settings(*refresh));
        settings.extend(fill_settings(*fill));
        settings.extend([
            ("scope", scope),
            ("per", per),
            ("per_context", per_context),
            ("ignore_cookies", Value::Flag(*cookies == Cookies::Ignore)),
            ("credential_headers", Value::list(credential_headers)),
            ("share_with_credentials", Value::Flag(*share_with_credentials)),
            ("tags", Value::list(&tags.names().collect::<Vec<_>>())),
            ("tag_with", Value::Closure(tag_with.is_some())),
            ("tag_header", tag_header.as_ref().map_or(Value::Nothing("none"), |name| Value::text(name.as_str()))),
            ("depends_on", Value::list(depends_on)),
            ("sealed", Value::Flag(*sealed)),
            ("allow_headers", Value::list(allowed_headers)),
            ("bypass_if", Value::Closure(bypass_if.is_some())),
            ("refetch_if", Value::Closure(refetch_if.is_some())),
            ("refuse_storage_if", Value::Closure(refuse_if.is_some())),
            ("observe_only", Value::Flag(*observe_only)),
            ("memory_only", Value::Flag(*memory_only)),
            ("memory_ttl", memory_ttl.map_or(Value::Nothing("as long as it is fresh"), Value::Span)),
            ("verify", verify.map_or(Value::Nothing("none"), Value::Number)),
            ("verify_ignoring", Value::list(verify_ignored)),
            ("only_invalidates", Value::Flag(*only_invalidates)),
            ("methods", Value::list(methods)),
            ("key_body", Value::list(content_methods)),
            ("grpc", Value::Flag(*grpc)),
            (
                "objective",
                objective.map_or(Value::Nothing("none"), |Objective { lookup_hit_ratio, p95 }| {
                    Value::Text(format!("lookup hit ratio {lookup_hit_ratio}, p95 {}", Spelled(p95)))
                }),
            ),
        ]);
        settings.extend(key_settings(key));
        settings.extend([
            ("ignore_vary", Value::list(ignored_vary)),
            ("uri", Value::Closure(uri.is_some())),
            ("max_body", Value::Bytes(max_body.unwrap_or(DEFAULT_MAX_BODY))),
            ("max_key", Value::Bytes(*max_key)),
            ("max_content", Value::Bytes(*max_content)),
            ("max_variants", Value::Count(*max_variants)),
            ("contradictions", Value::list(faults)),
        ]);
        settings
    }
}

impl Effective {
    /// Each setting by its name, its value for people, and whether that is the default.
    #[cfg(feature = "admin")]
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&'static str, String, bool)> {
        self.0.iter().map(|setting| (setting.name, setting.value.to_string(), setting.is_default))
    }

    /// As one JSON object: `settings` has the values, durations in seconds and sizes in bytes, a closure as `"set"` or
    /// `"not set"`, what has no value as `null`; `defaults` lists the names of those that are the defaults.
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"settings\":");
        json_object(&mut json, self.0.iter().map(|setting| (setting.name, &setting.value)));
        json.push_str(",\"defaults\":");
        let defaults = self.0.iter().filter(|setting| setting.is_default).map(|setting| setting.name);
        json_list(&mut json, defaults, json_string);
        json.push('}');
        json
    }
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|setting| setting.name.len()).max().unwrap_or(0) + 1;
        for Setting { name, value, is_default } in &self.0 {
            let (name, note) = (format!("{name}:"), if *is_default { "  (default)" } else { "" });
            writeln!(f, "{name:width$} {value}{note}")?;
        }
        Ok(())
    }
}

fn store_settings(store: &StoreRules) -> [(&'static str, Value); 8] {
    // The targets are what `surrogate` says; they are filled in when the policy meets its cache.
    let StoreRules {
        default_lifetime,
        default_statuses,
        status_lifetimes,
        override_response,
        heuristic,
        targets: _,
        set_cookie,
        stale_while_revalidate,
        stale_if_error,
    } = store;
    let by_default =
        (100..1000).filter_map(|code| StatusCode::from_u16(code).ok()).filter(|code| is_storable_by_default(*code));
    let mut statuses: Vec<_> =
        by_default.chain(default_statuses.iter().copied()).map(|status| status.as_u16()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let lifetimes = status_lifetimes.iter().map(|(status, span)| (status.as_u16().to_string(), Value::Span(*span)));
    [
        ("lifetime", default_lifetime.map_or(Value::Nothing("only what the response states"), Value::Span)),
        ("statuses", Value::Numbers(statuses)),
        ("status_lifetime", Value::Map(lifetimes.collect())),
        ("override_response", Value::Flag(*override_response)),
        ("heuristic", Value::Flag(*heuristic)),
        (
            "set_cookie",
            Value::text(match set_cookie {
                SetCookie::Refuse => "refuse",
                SetCookie::Strip => "strip",
                SetCookie::Keep => "keep",
            }),
        ),
        ("stale_while_revalidate", Value::Span(*stale_while_revalidate)),
        ("stale_if_error", Value::Span(*stale_if_error)),
    ]
}

fn fill_settings(fill: FillRules) -> [(&'static str, Value); 7] {
    let FillRules { wait_limit, lease, abandon_on_cancel, soft_timeout, hard_timeout, remember_uncacheable, min_uses } =
        fill;
    [
        ("wait_limit", Value::Span(wait_limit)),
        ("collapse_across", lease.map_or(Value::Nothing("no"), Value::Span)),
        ("abandon_on_cancel", Value::Flag(abandon_on_cancel)),
        ("soft_timeout", soft_timeout.map_or(Value::Nothing("none"), Value::Span)),
        ("hard_timeout", hard_timeout.map_or(Value::Nothing("none"), Value::Span)),
        ("remember_uncacheable", Value::Span(remember_uncacheable)),
        ("min_uses", Value::Count(usize::try_from(min_uses).unwrap_or(usize::MAX))),
    ]
}

fn refresh_settings(refresh: RefreshRules) -> [(&'static str, Value); 4] {
    let RefreshRules { eager, xfetch, jitter, adaptive } = refresh;
    let number = |number: Option<f64>| number.map_or(Value::Nothing("none"), Value::Number);
    [
        ("eager_refresh", number(eager)),
        ("xfetch", number(xfetch)),
        ("jitter", number(jitter)),
        ("adaptive_lifetime", adaptive.map_or(Value::Nothing("none"), |(least, most)| Value::Range(least, most))),
    ]
}

fn key_settings(key: &KeyRules) -> [(&'static str, Value); 11] {
    let KeyRules { query, sort_query, headers, query_values, cookies, languages, codings, date, custom, searches: _ } =
        key;
    let (only, except) = match query {
        QueryRule::All | QueryRule::None => (&[][..], &[][..]),
        QueryRule::Only(names) => (&names[..], &[][..]),
        QueryRule::Except(names) => (&[][..], &names[..]),
    };
    let values = query_values.iter().map(|(name, values)| (name.clone(), Value::list(values)));
    let custom: Vec<_> = custom.iter().map(|part| &part.name).collect();
    [
        ("query_only", Value::list(only)),
        ("query_except", Value::list(except)),
        ("ignore_query", Value::Flag(*query == QueryRule::None)),
        ("sort_query", Value::Flag(*sort_query)),
        ("query_values", Value::Map(values.collect())),
        ("key_headers", Value::list(headers)),
        ("key_cookies", Value::list(cookies)),
        ("key_language", Value::list(languages)),
        ("key_encoding", Value::Flag(*codings)),
        ("key_date", date.map_or(Value::Nothing("no"), |zone| Value::Text(spelled_zone(zone)))),
        ("key_part", Value::list(&custom)),
    ]
}

fn scope_settings(scope: &Scope) -> (Value, Value, Value) {
    let (word, names) = match scope {
        Scope::Whole => ("whole identity", &[][..]),
        Scope::Shared => ("shared", &[][..]),
        Scope::Attributes(names) => ("attributes", &names[..]),
        Scope::Context(_) => ("context", &[][..]),
    };
    (Value::text(word), Value::list(names), Value::Closure(matches!(scope, Scope::Context(_))))
}

/// A time zone as policy files write it: `+02:00`.
fn spelled_zone(zone: UtcOffset) -> String {
    // A zone does not tell its minutes, but it can be compared.
    let minutes = (-12 * 60..=14 * 60_i32).find(|minutes| UtcOffset::minutes(*minutes) == zone);
    match minutes {
        None => "none that there is".to_owned(),
        Some(0) => "UTC".to_owned(),
        Some(minutes) => {
            let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.unsigned_abs());
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
    }
}

/// What the memory tier may make less.
const DEFAULT_MAX_BODY: usize = 8 * 1024 * 1024;

/// A longer lifetime is worth a warning.
const LONG: Duration = Duration::from_secs(4 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Rules, Unit};
    use http::Method;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn every_default_is_shown_as_one() {
        let effective = Policy::from_response().effective();
        assert!(effective.0.iter().all(|setting| setting.is_default));
        let text = effective.to_string();
        assert!(text.lines().all(|line| line.ends_with("  (default)")), "{text}");
        for line in [
            "lifetime:               only what the response states  (default)",
            "statuses:               200, 203, 204, 300, 301, 308, 404, 410  (default)",
            "stale_if_error:         0s  (default)",
            "keep:                   1h if the response has a validator, else not at all  (default)",
            "scope:                  whole identity  (default)",
            "methods:                GET, HEAD  (default)",
            "uri:                    not set  (default)",
            "max_body:               8 MiB  (default)",
            "max_content:            64 KiB  (default)",
            "wait_limit:             5s  (default)",
            "abandon_on_cancel:      no  (default)",
            "hard_timeout:           none  (default)",
            "remember_uncacheable:   2m  (default)",
            "min_uses:               1  (default)",
            "xfetch:                 none  (default)",
            "verify:                 none  (default)",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let searches = std::sync::Arc::default();
        let unit = Unit { searches: &searches, namespace: "x", version: None, largest_body: usize::MAX };
        assert_eq!(Rules::new(&Policy::from_response(), unit).unwrap().max_body, DEFAULT_MAX_BODY);
    }

    #[test]
    fn what_was_said_is_no_default() {
        let policy = Policy::named("a\nb")
            .fresh_for(90 * MINUTE + Duration::from_millis(1500))
            .status_lifetime(StatusCode::NOT_FOUND, MINUTE)
            .statuses([StatusCode::CREATED])
            .per(["user", "role"])
            .query_values("days", ["7", "30"])
            .query_except(["utm"])
            .key_date(UtcOffset::minutes(-330))
            .key_part("device", |_| None)
            .uri(|parts| parts.uri.clone())
            .key_body([Method::POST])
            .max_key(1000)
            .max_body(2048)
            .soft_timeout(Duration::from_millis(300))
            .min_uses(3)
            .jitter(0.1)
            .adaptive_lifetime(MINUTE..=60 * MINUTE)
            .key_headers(["b a d"]);
        let text = policy.effective().to_string();
        for line in [
            "name:                   a\\nb",
            "lifetime:               1h30m1s500ms",
            "status_lifetime:        404: 1m",
            "statuses:               200, 201, 203, 204, 300, 301, 308, 404, 410",
            "scope:                  attributes",
            "per:                    role, user",
            "per_context:            not set  (default)",
            "query_values:           days: 7, 30",
            "query_except:           utm",
            "key_date:               -05:30",
            "key_part:               device",
            "uri:                    set",
            "key_body:               POST",
            "max_key:                1000 B",
            "max_body:               2 KiB",
            "soft_timeout:           300ms",
            "min_uses:               3",
            "jitter:                 0.1",
            "adaptive_lifetime:      1m to 1h",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(text.contains("contradictions:         key_headers: `b a d` is no field name"), "{text}");
        let scope = |policy: Policy| policy.effective().to_string();
        assert!(scope(Policy::from_response().shared()).contains("scope:                  shared\n"));
        assert!(scope(Policy::from_response().per_context(|_| None)).contains("per_context:            set\n"));
    }

    #[test]
    fn programs_read_the_same() {
        let policy = Policy::named("x")
            .fresh_for(MINUTE)
            .stale_if_error(Duration::from_millis(1500))
            .status_lifetime(StatusCode::GONE, 2 * MINUTE)
            .query_values("d\"", ["7"])
            .max_variants(3)
            .eager_refresh(0.8)
            .adaptive_lifetime(MINUTE / 2..=60 * MINUTE);
        let json = policy.effective().to_json();
        for part in [
            r#"{"settings":{"name":"x","version":null,"lifetime":60,"#,
            r#""statuses":[200,203,204,300,301,308,404,410],"#,
            r#""status_lifetime":{"410":120},"override_response":false,"#,
            r#""stale_if_error":1.5,"#,
            r#""query_values":{"d\"":["7"]},"#,
            r#""methods":["GET","HEAD"],"#,
            r#""fresh_until":"not set","#,
            r#""max_body":8388608,"#,
            r#""max_variants":3,"#,
            r#""eager_refresh":0.8,"xfetch":null,"jitter":null,"adaptive_lifetime":[30,3600],"wait_limit":5,"#,
            r#""defaults":["version","statuses","override_response","#,
        ] {
            assert!(json.contains(part), "{part}\n{json}");
        }
        assert!(json.ends_with("\"contradictions\"]}"), "{json}");
    }

    #[test]
    fn long_lifetimes_are_doubtful() {
        let hours = |hours: u32| Policy::named("x").fresh_for(60 * hours * MINUTE);
        assert_eq!(hours(4).warnings(), [""; 0]);
        assert_eq!(Policy::from_response().warnings(), [""; 0]);
        let warnings = hours(26).status_lifetime(StatusCode::NOT_FOUND, 300 * MINUTE).warnings();
        assert!(warnings[0].starts_with("policy `x`: the lifetime, 1d2h, is over 4h: "), "{warnings:?}");
        assert!(warnings[1].starts_with("policy `x`: the lifetime of status 404, 5h, is over 4h: "), "{warnings:?}");
        assert!(Policy::fresh_for(Duration::MAX).warnings()[0].starts_with("a policy without a name: "));
    }

    #[test]
    fn a_soft_timeout_needs_something_stale_to_serve() {
        let soft = |policy: Policy| policy.soft_timeout(MINUTE / 40).warnings();
        let warnings = soft(Policy::named("x").fresh_for(MINUTE));
        assert_eq!(
            warnings,
            ["policy `x`: soft_timeout(1s500ms) has no stale response to serve, unless the response itself says \
              stale-if-error: add stale_if_error(..)"]
        );
        assert_eq!(soft(Policy::fresh_for(MINUTE).stale_if_error(MINUTE)), [""; 0]);
        assert_eq!(soft(Policy::from_response()), [""; 0]);
    }
}

//! One field for every method of [`Policy`] that a file can say.

use super::item::{Fields, Item};
use crate::{
    config_error::ConfigError,
    policy::{NamedPolicy, Policy, Preset, RequestDirectives, Rules, Unit},
    semantics::{cache_control::ResponseDirectives, cache_control_writer::CacheControl},
};
use http::{Method, StatusCode};
use std::{ops::RangeInclusive, sync::Arc, time::Duration};

/// A policy as it was written.
pub(super) struct Written<'a> {
    name: &'a str,
    table: Item<'a>,
    fields: Fields<'a>,
}

/// Where a policy begins; nothing where the field says no.
type Start = for<'i, 'a> fn(NamedPolicy, &'i Item<'a>) -> Result<Option<Policy>, ConfigError>;
/// A method that takes nothing.
type With = fn(Policy) -> Policy;
type Apply = for<'i, 'a> fn(Policy, &'i Item<'a>) -> Result<Policy, ConfigError>;

impl<'a> Written<'a> {
    /// The policy of this name, if it can be read and does not contradict itself.
    pub(super) fn read(name: &'a str, table: Item<'a>) -> Result<(Self, Policy), ConfigError> {
        let known: Vec<_> = keys().collect();
        let fields = table.fields(&known, NOT_IN_A_FILE)?;
        let written = Self { name, table, fields };
        written.check_choices()?;
        let policy = written.policy(None)?;
        written.check(
            &policy,
            Unit { searches: &Arc::default(), namespace: "larder", version: None, largest_body: usize::MAX },
            None,
        )?;
        Ok((written, policy))
    }

    /// Whether the policy fits the unit of this cache.
    pub(super) fn check(&self, policy: &Policy, unit: Unit<'_>, cache: Option<&str>) -> Result<(), ConfigError> {
        let wrong = |policy: &Policy| {
            let error = Rules::new(policy, unit).err()?;
            Some(cache.map_or(error.to_string(), |cache| format!("{error} (in cache `{cache}`)")))
        };
        let Some(error) = wrong(policy) else { return Ok(()) };
        let without = |key: &str| self.policy(Some(key)).ok().as_ref().and_then(wrong);
        Err(self.fields.blame(&self.table, &error, without))
    }

    /// Of the fields that exclude each other there is one, and one that the policy begins with.
    fn check_choices(&self) -> Result<(), ConfigError> {
        let mut starts = Vec::new();
        for (key, start) in STARTS {
            if let Some(item) = self.fields.get(key)
                && start(Policy::named(""), item)?.is_some()
            {
                starts.push((*key, item));
            }
        }
        match &starts[..] {
            [] => Err(self.table.error(
                "nothing says where lifetimes come from: add fresh_for = \"10m\", from_response = true, rfc9111 = true, or preset = \"dashboard\"",
            )),
            [("fresh_for", _)] => self.exclude("fresh_for", "lifetime"),
            [_] => Ok(()),
            [(first, _), (second, item), ..] => {
                Err(item.error(format_args!("{first} says already where lifetimes come from: drop {first} or {second}")))
            }
        }?;
        self.exclude("scope", "per")
    }

    fn exclude(&self, one: &str, other: &str) -> Result<(), ConfigError> {
        match (self.fields.get(one), self.fields.get(other)) {
            (Some(_), Some(item)) => Err(item.error(format_args!("{one} says so already: drop {one} or {other}"))),
            _ => Ok(()),
        }
    }

    /// The policy, with all fields but this one.
    fn policy(&self, without: Option<&str>) -> Result<Policy, ConfigError> {
        let field = |key: &str| self.fields.get(key).filter(|_| without != Some(key));
        let named = || Policy::named(self.name.to_owned());
        let mut policy = named().from_response();
        for (key, start) in STARTS {
            if let Some(started) = field(key).map(|item| start(named(), item)).transpose()?.flatten() {
                policy = started;
            }
        }
        for (key, apply) in FIELDS {
            if let Some(item) = field(key) {
                policy = apply(policy, item)?;
            }
        }
        Ok(policy)
    }
}

/// The keys of a policy's table.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    STARTS.iter().map(|(key, _)| *key).chain(FIELDS.iter().map(|(key, _)| *key))
}

fn if_true(policy: Policy, item: &Item<'_>, method: With) -> Result<Policy, ConfigError> {
    Ok(if item.flag()? { method(policy) } else { policy })
}

fn status(item: &Item<'_>, code: Option<usize>) -> Result<StatusCode, ConfigError> {
    let status = code.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
    status.ok_or_else(|| item.error("a status is a number from 100 to 999"))
}

/// A `Cache-Control` for browsers: who may keep it, for how long, and `immutable` or `must-revalidate`.
fn cache_control(item: &Item<'_>) -> Result<CacheControl, ConfigError> {
    let text = item.text()?;
    let said = ResponseDirectives::from_lines([text.as_bytes()]);
    let control = match (said.max_age, said.private, said.public) {
        (None, false, false) if said.no_store && !said.no_cache => CacheControl::no_store(),
        (None, false, false) if said.no_cache && !said.no_store => CacheControl::no_cache(),
        (Some(lifetime), true, false) => CacheControl::private(lifetime),
        (Some(lifetime), false, true) => CacheControl::public(lifetime),
        _ => return Err(item.error(BROWSER)),
    };
    let control = if said.immutable && said.max_age.is_some() { control.immutable() } else { control };
    let control = if said.must_revalidate && said.max_age.is_some() { control.must_revalidate() } else { control };
    // What is not in what is written was not understood.
    let again = ResponseDirectives::from_lines([control.to_string().as_bytes()]);
    if said == again { Ok(control) } else { Err(item.error(BROWSER)) }
}

/// Two durations, as a list.
fn durations(item: &Item<'_>) -> Result<RangeInclusive<Duration>, ConfigError> {
    let right = "two durations are expected, such as [\"10s\", \"1h\"]";
    match &item.elements(right)?[..] {
        [from, to] => Ok(from.duration()?..=to.duration()?),
        _ => Err(item.error(right)),
    }
}

const BROWSER: &str = "\"private, max-age=600\", \"public, max-age=600\", either with immutable or must-revalidate, \
                       \"no-cache\" or \"no-store\" is expected";

fn methods(item: &Item<'_>) -> Result<Vec<Method>, ConfigError> {
    let methods = item.elements("a list of methods is expected, such as [\"GET\"]")?;
    let method = |item: &Item<'_>| {
        let text = item.text()?;
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| !text.contains(|c: char| c.is_lowercase()));
        method.ok_or_else(|| item.error("a method in capital letters is expected, such as \"GET\" or \"QUERY\""))
    };
    methods.iter().map(method).collect()
}

/// What a policy may begin with: one of them.
const STARTS: &[(&str, Start)] = &[
    ("fresh_for", |named, item| Ok(Some(named.fresh_for(item.duration()?)))),
    ("from_response", |named, item| Ok(item.flag()?.then(|| named.from_response()))),
    ("rfc9111", |named, item| Ok(item.flag()?.then(|| named.rfc9111()))),
    ("preset", |named, item| {
        let text = item.text()?;
        let preset = Preset::ALL.iter().copied().find(|preset| preset.as_str() == text);
        let names = || Preset::ALL.iter().map(|preset| preset.as_str()).collect::<Vec<_>>().join(", ");
        preset
            .map(|preset| Some(named.preset(preset)))
            .ok_or_else(|| item.error(format_args!("a preset is one of {}", names())))
    }),
];

/// The other fields, in the order in which they are applied; each has the name of its method.
const FIELDS: &[(&str, Apply)] = &[
    ("lifetime", |policy, item| Ok(policy.lifetime(item.duration()?))),
    ("status_lifetime", |policy, item| {
        item.entries()?.iter().try_fold(policy, |policy, (code, item)| {
            Ok(policy.status_lifetime(status(item, code.parse().ok())?, item.duration()?))
        })
    }),
    ("statuses", |policy, item| {
        let list = item.elements("a list of statuses is expected, such as [201, 404]")?;
        let codes = list.iter().map(|item| status(item, Some(item.count()?)));
        Ok(policy.statuses(codes.collect::<Result<Vec<_>, _>>()?))
    }),
    ("override_response", |policy, item| if_true(policy, item, Policy::override_response)),
    ("heuristic", |policy, item| if_true(policy, item, Policy::heuristic)),
    ("stale_while_revalidate", |policy, item| Ok(policy.stale_while_revalidate(item.duration()?))),
    ("stale_if_error", |policy, item| Ok(policy.stale_if_error(item.duration()?))),
    ("keep", |policy, item| Ok(policy.keep(item.duration()?))),
    ("tags", |policy, item| Ok(policy.tags(item.words()?))),
    ("tag_header", |policy, item| Ok(policy.tag_header(item.word()?))),
    ("depends_on", |policy, item| Ok(policy.depends_on(item.words()?))),
    ("browser", |policy, item| Ok(policy.browser(cache_control(item)?))),
    ("request_directives", |policy, item| {
        let words = [("ignore", RequestDirectives::Ignore), ("honor", RequestDirectives::Honor)];
        Ok(policy.request_directives(item.one_of(&words)?))
    }),
    ("surrogate", |policy, item| if_true(policy, item, Policy::surrogate)),
    ("eager_refresh", |policy, item| Ok(policy.eager_refresh(item.number()?))),
    ("xfetch", |policy, item| Ok(policy.xfetch(item.number()?))),
    ("jitter", |policy, item| Ok(policy.jitter(item.number()?))),
    ("adaptive_lifetime", |policy, item| Ok(policy.adaptive_lifetime(durations(item)?))),
    ("wait_limit", |policy, item| Ok(policy.wait_limit(item.duration()?))),
    ("collapse_across", |policy, item| Ok(policy.collapse_across(item.duration()?))),
    ("abandon_on_cancel", |policy, item| if_true(policy, item, Policy::abandon_on_cancel)),
    ("soft_timeout", |policy, item| Ok(policy.soft_timeout(item.duration()?))),
    ("hard_timeout", |policy, item| Ok(policy.hard_timeout(item.duration()?))),
    ("remember_uncacheable", |policy, item| Ok(policy.remember_uncacheable(item.duration()?))),
    ("objective", |policy, item| {
        let fields = item.fields(&["lookup_hit_ratio", "p95"], &[])?;
        let (Some(lookup_hit_ratio), Some(p95)) = (fields.get("lookup_hit_ratio"), fields.get("p95")) else {
            return Err(item.error("both are expected, as in { lookup_hit_ratio = 0.8, p95 = \"500ms\" }"));
        };
        Ok(policy.objective(lookup_hit_ratio.number()?, p95.duration()?))
    }),
    ("min_uses", |policy, item| {
        let uses = u32::try_from(item.count()?);
        Ok(policy.min_uses(uses.map_err(|_| item.error(format_args!("at most {} is possible", u32::MAX)))?))
    }),
    ("scope", |policy, item| {
        let words: [(_, With); 3] =
            [("shared", Policy::shared), ("per-tenant", Policy::per_tenant), ("per-user", Policy::per_user)];
        Ok(item.one_of(&words)?(policy))
    }),
    ("per", |policy, item| Ok(policy.per(item.words()?))),
    ("observe_only", |policy, item| if_true(policy, item, Policy::observe_only)),
    ("memory_only", |policy, item| if_true(policy, item, Policy::memory_only)),
    ("memory_ttl", |policy, item| Ok(policy.memory_ttl(item.duration()?))),
    ("verify", |policy, item| Ok(policy.verify(item.number()?))),
    ("verify_ignoring", |policy, item| Ok(policy.verify_ignoring(item.words()?))),
    ("sealed", |policy, item| if_true(policy, item, Policy::sealed)),
    ("allow_headers", |policy, item| Ok(policy.allow_headers(item.words()?))),
    ("ignore_cookies", |policy, item| if_true(policy, item, Policy::ignore_cookies)),
    ("strip_set_cookie", |policy, item| if_true(policy, item, Policy::strip_set_cookie)),
    ("credential_headers", |policy, item| Ok(policy.credential_headers(item.words()?))),
    ("version", |policy, item| Ok(policy.version(item.word()?))),
    ("methods", |policy, item| Ok(policy.methods(methods(item)?))),
    ("query_only", |policy, item| Ok(policy.query_only(item.words()?))),
    ("query_except", |policy, item| Ok(policy.query_except(item.words()?))),
    ("ignore_query", |policy, item| if_true(policy, item, Policy::ignore_query)),
    ("sort_query", |policy, item| if_true(policy, item, Policy::sort_query)),
    ("query_values", |policy, item| {
        let entries = item.entries()?;
        entries.iter().try_fold(policy, |policy, (name, item)| Ok(policy.query_values(*name, item.words()?)))
    }),
    ("key_headers", |policy, item| Ok(policy.key_headers(item.words()?))),
    ("key_cookies", |policy, item| match item.words()? {
        // Cookies that are ignored and still seen by the handler: one user's answer would be everybody's.
        names if names.is_empty() => Err(item.error("it names no cookie: leave it out, or say ignore_cookies = true")),
        names => Ok(policy.key_cookies(names)),
    }),
    ("key_language", |policy, item| Ok(policy.key_language(item.words()?))),
    ("key_encoding", |policy, item| if_true(policy, item, Policy::key_encoding)),
    ("key_date", |policy, item| {
        let zone = super::text::offset(&item.text()?);
        let right = "a time zone is \"UTC\" or an offset from it, such as \"+02:00\" (daylight saving is not known)";
        Ok(policy.key_date(zone.ok_or_else(|| item.error(right))?))
    }),
    ("key_body", |policy, item| Ok(policy.key_body(methods(item)?))),
    // After key_headers and key_body, which would take the place of what this one adds to theirs.
    ("grpc", |policy, item| if_true(policy, item, Policy::grpc)),
    ("ignore_vary", |policy, item| Ok(policy.ignore_vary(item.words()?))),
    ("max_body", |policy, item| Ok(policy.max_body(item.size()?))),
    ("max_key", |policy, item| Ok(policy.max_key(item.size()?))),
    ("max_content", |policy, item| Ok(policy.max_content(item.size()?))),
    ("max_variants", |policy, item| Ok(policy.max_variants(item.count()?))),
];

/// Methods that are no field, and other keys that people try, with what to do instead.
const NOT_IN_A_FILE: &[(&str, &str)] = &[
    ("named", "the name of the table is the name of the policy"),
    ("name", "the name of the table is the name of the policy"),
    ("shared", "write scope = \"shared\""),
    ("per_tenant", "write scope = \"per-tenant\""),
    ("per_user", "write scope = \"per-user\""),
    ("uri", IN_CODE),
    ("fresh_until", IN_CODE),
    ("bypass_if", IN_CODE),
    ("refetch_if", IN_CODE),
    ("refuse_storage_if", IN_CODE),
    ("tag_with", IN_CODE),
    ("key_part", IN_CODE),
    ("per_context", IN_CODE),
    ("effective", "it tells what a policy says"),
    ("warnings", "it tells what is doubtful about a policy"),
    ("timeout", "write fresh_for = \"10m\""),
    ("ttl", "write fresh_for = \"10m\""),
    ("vary_on", "write key_headers = [\"x-name\"], or per = [\"attribute\"]"),
    ("path", "it belongs to a [[routes]] that names this policy"),
];

const IN_CODE: &str = "it takes a closure: take the policy with Config::policy(..) and add it in code";

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, fs, path::Path};

    /// The public methods in `impl` blocks of these types, in all of `src`.
    fn methods_of(types: &[&str]) -> BTreeSet<String> {
        fn read(folder: &Path, types: &[&str], found: &mut BTreeSet<String>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    read(&path, types, found);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap();
                let mut inside = false;
                for line in text.lines() {
                    if let Some(block) = line.strip_prefix("impl") {
                        inside = types.iter().any(|of| block.trim_end_matches(" {").trim() == *of);
                    } else if line.starts_with('}') {
                        inside = false;
                    }
                    let signature = line.strip_prefix("    pub ").filter(|_| inside).unwrap_or_default();
                    if let Some((_, name)) = signature.split_once("fn ") {
                        let end = name.find(['(', '<']).unwrap();
                        found.insert(name[..end].to_owned());
                    }
                }
            }
        }
        let mut found = BTreeSet::new();
        read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), types, &mut found);
        found
    }

    fn names(keys: impl Iterator<Item = &'static str>, hints: &[(&'static str, &str)]) -> BTreeSet<String> {
        keys.chain(hints.iter().map(|(key, _)| *key)).map(str::to_owned).collect()
    }

    #[test]
    fn a_file_can_say_whatever_a_policy_can() {
        let methods = methods_of(&["Policy", "NamedPolicy"]);
        assert!(
            methods.len() > 40 && methods.contains("fresh_for"),
            "the sources are read in the wrong way: {methods:?}"
        );
        let unsaid: Vec<_> = methods.difference(&names(keys(), NOT_IN_A_FILE)).cloned().collect();
        assert_eq!(
            unsaid, [""; 0],
            "a method of Policy without a field: add it to FIELDS, or to NOT_IN_A_FILE with a reason"
        );
        let extra: Vec<_> = keys().filter(|key| !methods.contains(*key) && *key != "scope").collect();
        assert_eq!(extra, [""; 0], "a field that is no method of Policy");
    }

    #[test]
    fn a_file_can_say_whatever_a_cache_can() {
        use crate::config::cache;
        let methods = methods_of(&["CacheBuilder"]);
        let known = names(cache::keys(), cache::NO_SUCH_OPTION);
        let unsaid: Vec<_> = methods.difference(&known).filter(|name| *name != "build").cloned().collect();
        assert!(methods.contains("namespace"));
        assert_eq!(unsaid, [""; 0], "a method of CacheBuilder without a field: add it to config/cache.rs");
    }

    #[test]
    fn no_key_is_both_there_and_not() {
        let hinted: BTreeSet<_> = NOT_IN_A_FILE.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys().filter(|key| hinted.contains(key)).count(), 0);
        assert_eq!(keys().collect::<BTreeSet<_>>().len(), keys().count());
        assert_eq!(hinted.len(), NOT_IN_A_FILE.len());
    }
}

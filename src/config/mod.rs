//! Caches, policies and routes from a TOML file. Each key is a method of a builder; what a method refuses, and what its
//! default is, is said there and not here.

mod cache;
#[cfg(feature = "disk")]
mod disk;
mod item;
mod policy;
#[cfg(feature = "redis")]
mod redis;
mod text;

use crate::{
    cache::Caches,
    config_error::ConfigError,
    layers::cache::CacheLayer,
    policy::{Policy, PolicyTable},
};
use cache::{Described, Policies, Route};
use item::{Item, Source, no_such};
use policy::Written;
use std::{collections::BTreeMap, path::Path};
use text::Env;
use toml::de::DeTable;

/// Caches, policies and routes, as a TOML file describes them.
///
/// ```
/// use larder::Config;
///
/// let config = Config::from_toml(
///     r#"
///     [caches.api]
///     namespace = "shop"
///     memory = "256 MiB"
///     policy = "standard"
///
///     [policies.standard]
///     fresh_for = "3m"
///
///     [policies.dashboard]
///     fresh_for = "10m"
///     stale_while_revalidate = "2m"
///     per = ["tenant"]
///
///     [[routes]]
///     cache = "api"
///     path = "/dashboard/{*rest}"
///     policy = "dashboard"
///
///     [[routes]]
///     cache = "api"
///     otherwise = true
///     policy = "standard"
///     "#,
/// )?;
/// let layer = config.layer("api")?;
/// # let _ = layer;
/// # Ok::<(), larder::ConfigError>(())
/// ```
///
/// | table | keys |
/// |---|---|
/// | `[caches.NAME]` | `namespace` (the keys have `-NAME` after it), `version`, `memory`, `memory_entries`, `tenant_share`, `max_object`, `fill_limit`, `background_limit`, `background_timeout`, `disk` (a path), `redis` and `shared_log` (a URL, or a table as below), `coherence_bound`, `isolation`, `compress_from`, `cache_status` (`"off"`, `"brief"`, `"debug"`): the methods of [`CacheBuilder`](crate::CacheBuilder); `policy`: the name of its default policy |
/// | `[caches.NAME.disk]`, in place of the path | `path`, `bytes`, `budget`: the methods of `Disk` |
/// | `[caches.NAME.redis]`, in place of the URL | `url`; or `cluster`, a list of URLs; or `sentinel`, a list of URLs, and `group`. Then `username`, `password`, `database`, `budget`, `connections`, `queue` (writes and bytes: `[1024, "64 MiB"]`), `breaker` (failures and time between probes: `[5, "1s"]`), `sample_every`, `client_tracking`: the methods of `Redis` |
/// | `[policies.NAME]` | `fresh_for`, `preset`, `from_response` or `rfc9111`, then any method of [`Policy`] that takes no closure; `true` for those that take nothing. `scope` is `"shared"`, `"per-tenant"` or `"per-user"` |
/// | `[[routes]]` | `cache`; `path`, in the syntax of axum, or `otherwise = true`; `policy` |
///
/// Durations are texts such as `"90s"`, `"10m"`, `"1h30m"`, `"1d"`, `"500ms"`; sizes are bytes, or texts such as
/// `"64 KiB"`. `${NAME}` in a text is what the environment says, `$$` is a dollar; such a text may also stand for a number
/// or for true and false. A key that nothing reads is an error.
///
/// Secrets belong into the environment: `password = "${REDIS_PASSWORD}"`, or `url = "rediss://app:${REDIS_PASSWORD}@cache.internal"`
/// with the password percent-encoded. No error shows them. Keys for encryption, and certificates, are given in code.
///
/// What takes a closure is added in code to the [`policy`](Config::policy) that the file describes.
#[derive(Clone, Debug)]
pub struct Config {
    file: Option<String>,
    caches: Caches,
    policies: BTreeMap<String, Policy>,
    tables: BTreeMap<String, PolicyTable>,
}

impl Config {
    /// What this file describes.
    ///
    /// # Errors
    ///
    /// If it cannot be read ([`is_absent`](ConfigError::is_absent): there is none), or is not right: the error names the
    /// file, the line, the key, what was given and what would be right. Every policy is checked against the caches that it
    /// is for.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let file = path.as_ref().display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::unreadable(&file, &error))?;
        Self::read(Some(&file), &text, &|name| std::env::var(name))
    }

    /// What this text describes.
    ///
    /// # Errors
    ///
    /// As [`Config::from_file`], without the name of a file.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::read(None, text, &|name| std::env::var(name))
    }

    /// The caches.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }

    /// The policy of this name.
    pub fn policy(&self, name: &str) -> Option<Policy> {
        self.policies.get(name).cloned()
    }

    /// All policies, by name.
    pub fn policies(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.policies.iter().map(|(name, policy)| (name.as_str(), policy))
    }

    /// A layer over the cache of this name, with the table of its routes; or, if it has none, with its default policy.
    /// A request that no route fits passes by the cache.
    ///
    /// # Errors
    ///
    /// If there is no cache of this name.
    pub fn layer(&self, cache: &str) -> Result<CacheLayer, ConfigError> {
        let file = self.file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default();
        let Some(found) = self.caches.get(cache) else {
            let near = no_such(cache, self.caches.iter().map(|(name, _)| name));
            return Err(ConfigError::new(format!("{file}no cache is named `{cache}`: {near}")));
        };
        let table = self.tables.get(cache).cloned().unwrap_or_else(|| found.policy().into());
        CacheLayer::try_new(found, table).map_err(|error| ConfigError::new(format!("{file}caches.{cache}: {error}")))
    }

    fn read(file: Option<&str>, text: &str, env: Env<'_>) -> Result<Self, ConfigError> {
        let source = Source { file, text, env };
        let parsed = DeTable::parse(text).map_err(|error| source.syntax(&error))?;
        let root = source.root(parsed.get_ref());
        let fields = root.fields(&["caches", "policies", "routes"], NO_SUCH_TABLE)?;

        let mut policies = Policies::new();
        for (name, table) in fields.get("policies").map(Item::entries).transpose()?.unwrap_or_default() {
            policies.insert(name, Written::read(name, table)?);
        }
        let described = fields.get("caches").map(Item::entries).transpose()?.unwrap_or_default();
        let described = described.into_iter().map(|(name, table)| Described::read(name, table, &policies));
        let described = described.collect::<Result<Vec<_>, _>>()?;
        if described.is_empty() {
            return Err(root.error("no cache is described: add [caches.NAME]"));
        }
        let right = "routes are written [[routes]], one by one";
        let routes = fields.get("routes").map(|routes| routes.elements(right)).transpose()?.unwrap_or_default();
        let routes = routes.into_iter().map(|table| Route::read(table, &described, &policies));
        let routes = routes.collect::<Result<Vec<_>, _>>()?;

        let caches = cache::caches(&described, &policies)?;
        let tables = cache::tables(&routes, &caches, &policies)?;
        let policies = policies.into_iter().map(|(name, (_, policy))| (name.to_owned(), policy)).collect();
        Ok(Self { file: file.map(str::to_owned), caches, policies, tables })
    }
}

/// Tables that people try, with what to do instead.
const NO_SUCH_TABLE: &[(&str, &str)] =
    &[("cache", "write [caches.NAME]"), ("policy", "write [policies.NAME]"), ("route", "write [[routes]]")];

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, env::VarError};

    /// What `effective` says of a policy with these fields.
    fn effective(fields: &str) -> String {
        let text = format!("[caches.c]\n[policies.p]\n{fields}");
        let config = Config::from_toml(&text).unwrap_or_else(|error| panic!("{error} in {text}"));
        config.policy("p").unwrap().effective().to_string()
    }

    #[test]
    fn each_field_does_what_its_method_does() {
        let samples = [
            ("fresh_for", "fresh_for = '1h30m'", "lifetime: 1h30m"),
            ("from_response", "from_response = true", "lifetime: only what the response states  (default)"),
            ("rfc9111", "rfc9111 = true", "set_cookie: keep"),
            ("lifetime", "rfc9111 = true\nlifetime = '2m'", "lifetime: 2m"),
            ("status_lifetime", "status_lifetime = { 404 = '30s', 410 = '1h' }", "status_lifetime: 404: 30s; 410: 1h"),
            ("statuses", "statuses = [201]", "statuses: 200, 201, 203, 204, 300, 301, 308, 404, 410"),
            ("override_response", "override_response = true", "override_response: yes"),
            ("heuristic", "heuristic = true", "heuristic: yes"),
            ("stale_while_revalidate", "stale_while_revalidate = '2m'", "stale_while_revalidate: 2m"),
            ("stale_if_error", "stale_if_error = '1d'", "stale_if_error: 1d"),
            ("keep", "keep = '500ms'", "keep: 500ms"),
            ("preset", "preset = 'dashboard'", "lifetime: 10m"),
            ("browser", "browser = 'private, max-age=60'", "browser: max-age=60, private"),
            ("request_directives", "request_directives = 'honor'", "request_directives: honor"),
            ("surrogate", "surrogate = true", "surrogate: yes"),
            ("eager_refresh", "eager_refresh = 0.8", "eager_refresh: 0.8"),
            ("xfetch", "xfetch = 1", "xfetch: 1.0"),
            ("jitter", "jitter = 1e-1", "jitter: 0.1"),
            ("adaptive_lifetime", "adaptive_lifetime = ['10s', '1h']", "adaptive_lifetime: 10s to 1h"),
            ("wait_limit", "wait_limit = '0s'", "wait_limit: 0s"),
            ("collapse_across", "collapse_across = '2s'", "collapse_across: 2s"),
            ("abandon_on_cancel", "abandon_on_cancel = true", "abandon_on_cancel: yes"),
            ("soft_timeout", "soft_timeout = '300ms'", "soft_timeout: 300ms"),
            ("hard_timeout", "hard_timeout = '10s'", "hard_timeout: 10s"),
            ("remember_uncacheable", "remember_uncacheable = '1m'", "remember_uncacheable: 1m"),
            ("min_uses", "min_uses = 2", "min_uses: 2"),
            (
                "objective",
                "objective = { lookup_hit_ratio = 0.8, p95 = '500ms' }",
                "objective: lookup hit ratio 0.8, p95 500ms",
            ),
            ("scope", "scope = 'per-user'", "per: user"),
            ("per", "per = ['tenant', 'role']", "per: role, tenant"),
            ("tags", "tags = ['a', 'b']", "tags: a, b"),
            ("tag_header", "tag_header = 'Cache-Tag'", "tag_header: cache-tag"),
            ("depends_on", "depends_on = ['People']", "depends_on: People"),
            ("observe_only", "observe_only = true", "observe_only: yes"),
            ("memory_only", "memory_only = true", "memory_only: yes"),
            ("memory_ttl", "memory_ttl = '30s'", "memory_ttl: 30s"),
            ("verify", "verify = 0.01", "verify: 0.01"),
            ("verify_ignoring", "verify = 1\nverify_ignoring = ['X-Build']", "verify_ignoring: x-build"),
            ("sealed", "sealed = true", "sealed: yes"),
            ("allow_headers", "sealed = true\nallow_headers = ['Accept']", "allow_headers: accept"),
            ("ignore_cookies", "ignore_cookies = true", "ignore_cookies: yes"),
            ("strip_set_cookie", "strip_set_cookie = true", "set_cookie: strip"),
            ("credential_headers", "credential_headers = ['X-Api-Key']", "credential_headers: x-api-key"),
            ("version", "version = 2", "version: 2"),
            ("methods", "methods = ['GET']", "methods: GET"),
            ("query_only", "query_only = ['page']", "query_only: page"),
            ("query_except", "query_except = ['utm']", "query_except: utm"),
            ("ignore_query", "ignore_query = true", "ignore_query: yes"),
            ("sort_query", "sort_query = true", "sort_query: yes"),
            ("query_values", "query_values = { days = [7, '30'] }", "query_values: days: 7, 30"),
            ("key_headers", "key_headers = ['x-b', 'x-a']", "key_headers: x-a, x-b"),
            ("key_cookies", "key_cookies = ['theme']", "key_cookies: theme"),
            ("key_language", "key_language = ['en', 'de']", "key_language: en, de"),
            ("key_encoding", "key_encoding = true", "key_encoding: yes"),
            ("key_date", "key_date = '-05:30'", "key_date: -05:30"),
            ("key_body", "key_body = ['QUERY', 'POST']", "key_body: QUERY, POST"),
            ("grpc", "grpc = true\nkey_headers = ['x-a']", "grpc: yes"),
            ("ignore_vary", "ignore_vary = ['User-Agent']", "ignore_vary: user-agent"),
            ("max_body", "max_body = '64 KiB'", "max_body: 64 KiB"),
            ("max_key", "max_key = 1000", "max_key: 1000 B"),
            ("max_content", "max_content = '1MiB'", "max_content: 1 MiB"),
            ("max_variants", "max_variants = 3", "max_variants: 3"),
        ];
        for (key, fields, says) in samples {
            let start =
                ["fresh_for", "from_response", "rfc9111", "preset"].iter().any(|start| fields.starts_with(start));
            let text = effective(&format!("{}{fields}", if start { "" } else { "fresh_for = '10m'\n" }));
            let (name, value) = says.split_once(": ").unwrap();
            let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or(&text);
            assert_eq!(line.split_once(": ").unwrap().1.trim_start(), value, "{key}");
        }
        let sampled: BTreeSet<_> = samples.iter().map(|(key, ..)| *key).collect();
        assert_eq!(sampled, policy::keys().collect(), "a field without a sample here");
    }

    #[test]
    fn what_is_false_is_as_if_it_were_left_out() {
        let shared = effective("fresh_for = '10m'\nscope = 'shared'");
        let nos = "fresh_for = '10m'\nfrom_response = false\nsealed = false\ngrpc = false\nscope = 'shared'";
        assert_eq!(effective(nos), shared);
        let tenants = effective("fresh_for = '1m'\nper = ['tenant']");
        assert_eq!(effective("fresh_for = '1m'\nscope = 'per-tenant'"), tenants);
    }

    #[test]
    fn the_environment_can_say_any_value() {
        let env = |name: &str| match name {
            "NAME" => Ok("shop".to_owned()),
            "YES" => Ok("true".to_owned()),
            "FEW" => Ok("3".to_owned()),
            "TTL" => Ok("10 minuts".to_owned()),
            _ => Err(VarError::NotPresent),
        };
        let read = |namespace: &str, fields: &str| {
            let text = format!("[caches.c]\nnamespace = '{namespace}'\n[policies.p]\nfresh_for = '1m'\n{fields}");
            Config::read(Some("a.toml"), &text, &env)
        };
        let fields = "sealed = '${YES}'\nmax_variants = '${FEW}'\nmax_key = '${FEW} KiB'\nstatuses = ['20${FEW}']";
        let text = read("${NAME}", fields).unwrap().policy("p").unwrap().effective().to_string();
        for says in ["sealed:                 yes\n", "max_variants:           3\n", "max_key:                3 KiB\n"]
        {
            assert!(text.contains(says), "{says}{text}");
        }
        for (fields, says) in [
            ("keep = '${TTL}'", "keep = '${TTL}' (`10 minuts`): a duration is "),
            ("keep = '${KEEP}'", "keep = '${KEEP}': the environment has no `KEEP`: set it"),
            ("sealed = '${FEW}'", "sealed = '${FEW}' (`3`): true or false, without quotes, is expected"),
            ("sealed = 'true'", "sealed = 'true': true or false, without quotes, is expected"),
            ("max_variants = '3'", "max_variants = '3': a whole number, without quotes, is expected"),
            ("per = ['$x']", "per[0] = '$x': `$` begins `${NAME}`"),
        ] {
            let error = read("x", fields).unwrap_err().to_string();
            let says = format!("a.toml:5: policies.p.{says}");
            assert!(error.starts_with(&says), "{error}\n{says}");
        }
        let error = read("${NAME}-$$", "").unwrap_err().to_string();
        let says = "a.toml:2: caches.c.namespace = '${NAME}-$$' (`shop-$`): namespace(`shop-$-c`): ";
        assert!(error.starts_with(says), "{error}");
    }
}

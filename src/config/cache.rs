//! One field for every option of a cache that a file can say, and the routes.

use super::{
    item::{Fields, Item, no_such},
    policy::Written,
};
use crate::{
    cache::{Cache, CacheBuilder, CacheStatusHeader, Caches},
    config_error::ConfigError,
    policy::{Policy, PolicyTable},
};
use std::collections::BTreeMap;

/// The policies of the file, by name.
pub(super) type Policies<'a> = BTreeMap<&'a str, (Written<'a>, Policy)>;

/// A cache as it was written.
pub(super) struct Described<'a> {
    name: &'a str,
    table: Item<'a>,
    fields: Fields<'a>,
    /// The name of its policy, if the file says one.
    policy: Option<String>,
}

/// A route as it was written.
pub(super) struct Route<'a> {
    table: Item<'a>,
    cache: String,
    policy: String,
    /// All other requests of the cache, if there is none.
    path: Option<(Item<'a>, String)>,
}

type Apply = for<'i, 'a> fn(CacheBuilder, &'i Item<'a>) -> Result<CacheBuilder, ConfigError>;

impl<'a> Described<'a> {
    pub(super) fn read(name: &'a str, table: Item<'a>, policies: &Policies<'_>) -> Result<Self, ConfigError> {
        let known: Vec<_> = keys().collect();
        // A URL may hold a password.
        let fields = table.fields(&known, NO_SUCH_OPTION)?.with_secret("redis").with_secret("shared_log");
        let policy = fields.get(POLICY).map(|item| known_policy(item, policies)).transpose()?;
        Ok(Self { name, table, fields, policy })
    }

    /// The cache without its policy, with all fields but this one.
    fn builder(&self, without: Option<&str>) -> Result<CacheBuilder, ConfigError> {
        let field = |key: &str| self.fields.get(key).filter(|_| without != Some(key));
        FIELDS.iter().try_fold(Cache::builder(), |builder, (key, apply)| match field(key) {
            Some(item) => apply(builder, item),
            None => Ok(builder),
        })
    }

    /// What is wrong with it, apart from its policy.
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |without: Option<&str>| {
            let caches = Caches::builder().cache(self.name, self.builder(without).ok()?).build();
            let error = caches.err()?.to_string();
            Some(error.strip_prefix(&format!("cache `{}`: ", self.name)).unwrap_or(&error).to_owned())
        };
        let Some(error) = wrong(None) else { return Ok(()) };
        Err(self.fields.blame(&self.table, &error, |key| wrong(Some(key))))
    }
}

impl<'a> Route<'a> {
    pub(super) fn read(
        table: Item<'a>,
        caches: &[Described<'_>],
        policies: &Policies<'_>,
    ) -> Result<Self, ConfigError> {
        let fields = table.fields(&["cache", "path", "otherwise", POLICY], NO_SUCH_ROUTE)?;
        let need = |key: &str| fields.get(key).ok_or_else(|| table.error(format_args!("`{key}` is missing")));
        let (cache, policy) = (need("cache")?, known_policy(need(POLICY)?, policies)?);
        let name = cache.text()?.into_owned();
        let names = caches.iter().map(|cache| cache.name);
        if !names.clone().any(|known| known == name) {
            return Err(cache.error(format!("[caches] has no such cache: {}", no_such(&name, names))));
        }
        let otherwise = fields.get("otherwise").map(Item::flag).transpose()?.unwrap_or(false);
        let path = match (fields.get("path"), otherwise) {
            (Some(path), false) => Some((path.clone(), path.text()?.into_owned())),
            (None, true) => None,
            (Some(path), true) => {
                return Err(path.error("otherwise = true is for all other paths: drop one of the two"));
            }
            (None, false) => return Err(table.error("`path` is missing, or otherwise = true for all other paths")),
        };
        Ok(Self { table, cache: name, policy, path })
    }

    /// Adds the route to those before it.
    fn add(&self, table: PolicyTable, policies: &Policies<'_>) -> PolicyTable {
        let policy = policies[&*self.policy].1.clone();
        match &self.path {
            Some((_, path)) => table.route(path, policy),
            None => table.otherwise(policy),
        }
    }
}

/// The caches, each with its policy.
pub(super) fn caches(described: &[Described<'_>], policies: &Policies<'_>) -> Result<Caches, ConfigError> {
    let build = |with_policies: bool| {
        let mut caches = Caches::builder();
        for cache in described {
            let builder = cache.builder(None)?;
            let policy = cache.policy.as_deref().filter(|_| with_policies).map(|name| policies[name].1.clone());
            caches = caches.cache(cache.name, policy.into_iter().fold(builder, CacheBuilder::default_policy));
        }
        caches.build()
    };
    build(true).or_else(|error| {
        described.iter().try_for_each(Described::check)?;
        let caches = build(false)?;
        for cache in described {
            if let Some(name) = &cache.policy {
                check_in(&caches, cache.name, name, policies)?;
            }
        }
        Err(error)
    })
}

/// The routes of each cache that has some.
pub(super) fn tables(
    routes: &[Route<'_>],
    caches: &Caches,
    policies: &Policies<'_>,
) -> Result<BTreeMap<String, PolicyTable>, ConfigError> {
    let mut by_cache = BTreeMap::<&str, Vec<&Route<'_>>>::new();
    for route in routes {
        check_in(caches, &route.cache, &route.policy, policies)?;
        let earlier = by_cache.entry(&route.cache).or_default();
        if route.path.is_none() && earlier.iter().any(|earlier| earlier.path.is_none()) {
            return Err(route.table.error(format_args!("cache `{}` has an otherwise = true already", route.cache)));
        }
        earlier.push(route);
    }
    let table = |routes: &[&Route<'_>]| {
        let table = routes.iter().fold(PolicyTable::new(), |table, route| route.add(table, policies));
        table.clone().compile(|_, _| Ok(())).map(|_| table)
    };
    let tables = by_cache.into_iter().map(|(cache, routes)| match table(&routes) {
        Ok(table) => Ok((cache.to_owned(), table)),
        Err(error) => {
            // The last of the fewest that do not go together.
            let ends: Vec<_> = (1..routes.len()).collect();
            let last = routes[ends.partition_point(|end| table(&routes[..*end]).is_ok())];
            Err(last.path.as_ref().map_or(&last.table, |(item, _)| item).error(error))
        }
    });
    tables.collect()
}

fn check_in(caches: &Caches, cache: &str, policy: &str, policies: &Policies<'_>) -> Result<(), ConfigError> {
    let (written, made) = &policies[policy];
    written.check(made, caches[cache].unit(), Some(cache))
}

/// The keys of a cache's table.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(key, _)| *key).chain([POLICY])
}

fn known_policy(item: &Item<'_>, policies: &Policies<'_>) -> Result<String, ConfigError> {
    let name = item.text()?;
    match policies.contains_key(&*name) {
        true => Ok(name.into_owned()),
        false => {
            let names = policies.keys().copied();
            Err(item.error(format_args!("[policies] has no such policy: {}", no_such(&name, names))))
        }
    }
}

/// The name of the policy that a cache or a route has.
const POLICY: &str = "policy";

const FIELDS: &[(&str, Apply)] = &[
    ("namespace", |builder, item| Ok(builder.namespace(item.text()?))),
    ("version", |builder, item| Ok(builder.version(item.word()?))),
    ("memory", |builder, item| Ok(builder.memory(item.size()?))),
    ("memory_entries", |builder, item| Ok(builder.memory_entries(item.count()?))),
    ("tenant_share", |builder, item| Ok(builder.tenant_share(item.size()?))),
    ("max_object", |builder, item| Ok(builder.max_object(item.size()?))),
    ("fill_limit", |builder, item| Ok(builder.fill_limit(item.count()?))),
    ("background_limit", |builder, item| Ok(builder.background_limit(item.count()?))),
    ("background_timeout", |builder, item| Ok(builder.background_timeout(item.duration()?))),
    ("disk", disk),
    ("redis", redis),
    ("shared_log", shared_log),
    ("coherence_bound", |builder, item| Ok(builder.coherence_bound(item.duration()?))),
    ("isolation", |builder, item| Ok(builder.isolation(item.duration()?))),
    ("compress_from", compress_from),
    ("cache_status", |builder, item| {
        use CacheStatusHeader::{Brief, Debug, Off};
        Ok(builder.cache_status(item.one_of(&[("off", Off), ("brief", Brief), ("debug", Debug)])?))
    }),
];

#[cfg(feature = "disk")]
fn disk(builder: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Ok(builder.disk(super::disk::read(item)?))
}

#[cfg(not(feature = "disk"))]
fn disk(_: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Err(item.error("this build has no disk store: turn on the feature `disk`"))
}

#[cfg(feature = "redis")]
fn redis(builder: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Ok(builder.redis(super::redis::read(item)?))
}

#[cfg(feature = "redis")]
fn shared_log(builder: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Ok(builder.shared_log(super::redis::read(item)?))
}

#[cfg(not(feature = "redis"))]
fn shared_log(builder: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    redis(builder, item)
}

#[cfg(not(feature = "redis"))]
fn redis(_: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Err(item.error("this build has no Redis: turn on the feature `redis`"))
}

#[cfg(feature = "zstd")]
fn compress_from(builder: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Ok(builder.compress_from(Some(item.size()?)))
}

#[cfg(not(feature = "zstd"))]
fn compress_from(_: CacheBuilder, item: &Item<'_>) -> Result<CacheBuilder, ConfigError> {
    Err(item.error("this build compresses nothing: turn on the feature `zstd`"))
}

/// Keys that people try in a cache's table, with what to do instead.
pub(super) const NO_SUCH_OPTION: &[(&str, &str)] = &[
    ("store", "a store is made in code: CacheBuilder::store"),
    ("observe", "an observer is made in code: CacheBuilder::observe"),
    ("encrypt", "keys do not belong into a file: CacheBuilder::encrypt"),
    ("redis_url", "write redis = \"redis://..\", or [caches.NAME.redis] with url = \"redis://..\""),
    ("redis_cluster", "write cluster = [\"redis://..\"] in [caches.NAME.redis]"),
    ("redis_sentinel", "write sentinel = [\"redis://..\"] and group = \"mymaster\" in [caches.NAME.redis]"),
    ("dependencies", "they are given in code: CacheBuilder::dependencies"),
    ("default_policy", "write policy = \"name\""),
    ("name", "the name of the table is the name of the cache"),
    ("key_prefix", "write namespace = \"name\""),
    ("max_entries", "write memory_entries = 1000, or memory = \"64 MiB\""),
    ("timeout", "a policy says how long: write policy = \"name\", and fresh_for in [policies.name]"),
    ("fresh_for", "a policy says how long: write policy = \"name\", and fresh_for in [policies.name]"),
];

const NO_SUCH_ROUTE: &[(&str, &str)] = &[
    ("when", "it takes a closure: add it in code with PolicyTable::when"),
    ("route", "write path = \"/..\""),
    ("fresh_for", "a policy says how long: write policy = \"name\", and fresh_for in [policies.name]"),
];

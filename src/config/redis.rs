//! Where Redis is and how it is used, as a URL or as a table.

use super::item::{Fields, Item};
use crate::{config_error::ConfigError, store::Redis};

type Apply = for<'i, 'a> fn(Redis, &'i Item<'a>) -> Result<Redis, ConfigError>;

/// `redis = "redis://.."`, or `[caches.NAME.redis]`.
pub(super) fn read(item: &Item<'_>) -> Result<Redis, ConfigError> {
    if !item.is_table() {
        let url = item.text_or("a URL in quotes, or a table with `url`, `cluster` or `sentinel`, is expected")?;
        return Redis::open(url).map_err(|error| item.error(error));
    }
    let known: Vec<_> = PLACES.iter().copied().chain([GROUP]).chain(FIELDS.iter().map(|(key, _)| *key)).collect();
    let fields = item.fields(&known, NO_SUCH_OPTION)?;
    FIELDS.iter().try_fold(place(item, &fields)?, |redis, (key, apply)| match fields.get(key) {
        Some(item) => {
            let item = if SECRETS.contains(key) { item.clone() } else { item.plain() };
            let redis = apply(redis, &item)?;
            // What cannot be is known at once, so that it is said of its own line.
            redis.link().map_err(|error| item.error(error))?;
            Ok(redis)
        }
        None => Ok(redis),
    })
}

/// One server, a cluster, or a group with sentinels.
fn place(table: &Item<'_>, fields: &Fields<'_>) -> Result<Redis, ConfigError> {
    let mut said = fields.iter().filter(|(key, _)| PLACES.contains(key));
    let Some((place, item)) = said.next() else {
        return Err(table.error(
            "nothing says where it is: add url = \"redis://..\", cluster = [\"redis://..\"], or sentinel = \
             [\"redis://..\"] with group = \"mymaster\"",
        ));
    };
    if let Some((_, other)) = said.next() {
        return Err(other.error(format_args!("{place} says already where it is: drop one of the two")));
    }
    let group = fields.get(GROUP).map(Item::plain);
    if let Some(group) = group.as_ref().filter(|_| *place != "sentinel") {
        return Err(group.error("a group is what sentinels watch: it goes with sentinel = [..]"));
    }
    let redis = match *place {
        "url" => Redis::open(item.text()?),
        "cluster" => Redis::cluster(urls(item)?),
        _ => {
            let Some(group) = group else {
                return Err(item.error("`group` is missing: the name that sentinels know it by, often \"mymaster\""));
            };
            let urls = urls(item)?;
            let name = group.text()?.into_owned();
            if name.is_empty() {
                return Err(group.error("the name that sentinels know it by is expected, often \"mymaster\""));
            }
            Redis::sentinel(urls, name)
        }
    };
    redis.map_err(|error| item.error(error))
}

fn urls(item: &Item<'_>) -> Result<Vec<String>, ConfigError> {
    let list = item.elements("a list of URLs is expected, such as [\"redis://one:6379\", \"redis://two:6379\"]")?;
    list.iter().map(|url| Ok(url.text()?.into_owned())).collect()
}

/// Two values that belong together.
fn two<'a>(item: &Item<'a>, right: &str) -> Result<[Item<'a>; 2], ConfigError> {
    item.elements(right)?.try_into().map_err(|_| item.error(right))
}

const PLACES: [&str; 3] = ["url", "cluster", "sentinel"];

/// What the sentinels watch.
const GROUP: &str = "group";

/// What no error shows.
const SECRETS: [&str; 2] = ["username", "password"];

const FIELDS: &[(&str, Apply)] = &[
    ("username", |redis, item| Ok(redis.username(item.text()?))),
    ("password", |redis, item| Ok(redis.password(item.text()?))),
    ("database", |redis, item| {
        let number = u32::try_from(item.count()?);
        Ok(redis.database(number.map_err(|_| item.error(format_args!("at most {} is possible", u32::MAX)))?))
    }),
    ("budget", |redis, item| Ok(redis.budget(item.duration()?))),
    ("connections", |redis, item| Ok(redis.connections(item.count()?))),
    ("queue", |redis, item| {
        let [writes, bytes] = two(item, "writes and bytes are expected, such as [1024, \"64 MiB\"]")?;
        Ok(redis.queue(writes.count()?, bytes.size()?))
    }),
    ("breaker", |redis, item| {
        let [failures, every] = two(item, "failures and the time between probes are expected, such as [5, \"1s\"]")?;
        let number = u32::try_from(failures.count()?);
        let number = number.map_err(|_| failures.error(format_args!("at most {} is possible", u32::MAX)))?;
        Ok(redis.breaker(number, every.duration()?))
    }),
    ("sample_every", |redis, item| Ok(redis.sample_every(item.duration()?))),
    ("client_tracking", |redis, item| Ok(redis.client_tracking(item.flag()?))),
];

/// Keys that people try in the table, with what to do instead.
const NO_SUCH_OPTION: &[(&str, &str)] = &[
    ("host", "write url = \"redis://host:6379\""),
    ("port", "write url = \"redis://host:6379\""),
    ("location", "write url = \"redis://host:6379\""),
    ("nodes", "write cluster = [\"redis://one:6379\", \"redis://two:6379\"]"),
    ("servers", "write url = \"redis://host:6379\", or cluster = [..] for the nodes of a cluster"),
    ("sentinels", "write sentinel = [\"redis://one:26379\"] and group = \"mymaster\""),
    ("master", "write group = \"mymaster\", beside sentinel = [..]"),
    ("user", "write username = \"name\""),
    ("db", "write database = 1"),
    ("tls", "write rediss:// in the URL"),
    ("ssl", "write rediss:// in the URL"),
    ("tls_ca", "certificates are given in code: Redis::tls_ca"),
    ("tls_client", "certificates are given in code: Redis::tls_client"),
    ("timeout", "write budget = \"50ms\": how long a request may wait for Redis"),
    ("socket_timeout", "write budget = \"50ms\": how long a request may wait for Redis"),
    ("connect_timeout", "nobody waits for a connection: write budget = \"50ms\""),
    ("max_connections", "write connections = 4: each carries many operations at once"),
    ("pool_size", "write connections = 4: each carries many operations at once"),
    ("namespace", "write it in [caches.NAME]"),
    ("key_prefix", "write namespace = \"name\" in [caches.NAME]"),
    ("ttl", "a policy says how long: write policy = \"name\" in [caches.NAME], and fresh_for in [policies.name]"),
];

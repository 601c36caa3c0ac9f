//! A folder on disk, as a path or as a table.

use super::item::Item;
use crate::{config_error::ConfigError, store::Disk};

type Apply = for<'i, 'a> fn(Disk, &'i Item<'a>) -> Result<Disk, ConfigError>;

/// `disk = "/var/cache/shop"`, or `[caches.NAME.disk]`.
pub(super) fn read(item: &Item<'_>) -> Result<Disk, ConfigError> {
    if !item.is_table() {
        let path = item.text_or("the path of a folder in quotes, or a table with `path`, is expected")?;
        return checked(Disk::open(&*path), item);
    }
    let known: Vec<_> = [PATH].into_iter().chain(FIELDS.iter().map(|(key, _)| *key)).collect();
    let fields = item.fields(&known, NO_SUCH_OPTION)?;
    let Some(path) = fields.get(PATH) else {
        return Err(item.error("nothing says where it is: add path = \"/var/cache/shop\""));
    };
    let disk = checked(Disk::open(&*path.text()?), path)?;
    FIELDS.iter().try_fold(disk, |disk, (key, apply)| match fields.get(key) {
        Some(item) => checked(apply(disk, item)?, item),
        None => Ok(disk),
    })
}

/// What cannot be is known at once, so that it is said of its own line.
fn checked(disk: Disk, item: &Item<'_>) -> Result<Disk, ConfigError> {
    disk.check().map_err(|error| item.error(error))?;
    Ok(disk)
}

const PATH: &str = "path";

const FIELDS: &[(&str, Apply)] = &[
    ("bytes", |disk, item| Ok(disk.bytes(item.size()? as u64))),
    ("budget", |disk, item| Ok(disk.budget(item.duration()?))),
];

/// Keys that people try in the table, with what to do instead.
const NO_SUCH_OPTION: &[(&str, &str)] = &[
    ("folder", "write path = \"/var/cache/shop\""),
    ("directory", "write path = \"/var/cache/shop\""),
    ("location", "write path = \"/var/cache/shop\""),
    ("capacity", "write bytes = \"4 GiB\""),
    ("size", "write bytes = \"4 GiB\""),
    ("max_size", "write bytes = \"4 GiB\""),
    ("timeout", "write budget = \"50ms\": how long a request may wait for it"),
    ("namespace", "write it in [caches.NAME]"),
    ("ttl", "a policy says how long: write policy = \"name\" in [caches.NAME], and fresh_for in [policies.name]"),
];

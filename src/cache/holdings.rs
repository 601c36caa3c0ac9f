//! What memory holds, by policy, tag, tenant and path.

use super::Cache;
use crate::{clock::Moment, entry::Entry, key::Said};
use std::{
    collections::{HashMap, HashSet},
    hash::BuildHasher,
    sync::{Arc, PoisonError},
    time::Duration,
};

/// A part of what memory holds.
///
/// ```
/// # use larder::{Cache, Value};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// # let cache = Cache::in_memory(1 << 20);
/// static RATE: Value<u32> = Value::named("rate").fresh_for(Duration::from_secs(60)).shared().tags(&["money"]);
/// cache.value(&RATE).put(2650);
///
/// let largest = &cache.metrics().tags[0];
/// assert_eq!((largest.name.as_str(), largest.entries), ("money", 1));
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holding {
    /// The tag, or the path with `*` for what looks like an id.
    pub name: String,
    /// Stored responses and values, each variant of its own.
    pub entries: u64,
    /// The bytes that they take, as weighed.
    pub bytes: u64,
}

/// What memory held when it was last looked through.
#[derive(Debug, Default)]
pub(super) struct Kept {
    shares: Arc<Holdings>,
    /// When that was, and how long it took.
    at: Option<(Moment, Duration)>,
}

/// What is held of a policy or a tenant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) resources: u64,
    /// Those that are kept apart by who asks, where others of the same resource are known; and of these, those that are like
    /// another.
    pub(super) alike: (u64, u64),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Holdings {
    pub(super) policies: HashMap<String, Part>,
    pub(super) values: HashMap<String, Part>,
    pub(super) tenants: HashMap<String, Part>,
    pub(super) tags: Vec<Holding>,
    pub(super) patterns: Vec<Holding>,
}

impl Cache {
    /// What memory holds. It is looked through at most every two seconds, and a twentieth of the time.
    pub(super) fn holdings(&self) -> Arc<Holdings> {
        let mut kept = self.0.book.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let due = kept.at.is_none_or(|(at, took)| at.elapsed() >= (took * 20).max(Duration::from_secs(2)));
        if due {
            let since = Moment::now();
            kept.shares = Arc::new(self.look_through());
            kept.at = Some((since, since.elapsed()));
        }
        Arc::clone(&kept.shares)
    }

    fn look_through(&self) -> Holdings {
        let mut held = Looked::default();
        let now = self.now();
        let pages = self.0.book.pages();
        let whole = |page: &&Arc<super::page::Page>| page.policy().is_some_and(|policy| policy.whole);
        let whole: HashSet<&str> = pages.iter().filter(whole).map(|page| page.name()).collect();
        let mut last = Vec::new();
        self.0.memory.each(|key, entry| {
            if entry.discard_at > now {
                // The variants of a resource follow one another.
                let first = last != key;
                if first {
                    last.clear();
                    last.extend_from_slice(key);
                }
                held.see(&Said::of(key), entry, first, whole.contains(entry.usage.policy()));
            }
        });
        held.told()
    }
}

#[derive(Default)]
struct Looked {
    policies: HashMap<String, Part>,
    values: HashMap<String, Part>,
    tenants: HashMap<String, Part>,
    tags: HashMap<String, Part>,
    patterns: HashMap<String, Part>,
    /// By resource, whoever asks: what the first answer looks like, and whether there was another.
    answers: HashMap<u64, (u64, bool)>,
    hashes: rapidhash::fast::RandomState,
}

impl Looked {
    fn see(&mut self, said: &Said<'_>, entry: &Entry, first: bool, whole: bool) {
        let bytes = entry.weight();
        let alike = if whole { self.compare(said, entry) } else { (0, 0) };
        // A value may be called like a policy.
        let parts = if entry.value.is_some() { &mut self.values } else { &mut self.policies };
        if let Some(part) = add(parts, entry.usage.policy(), bytes) {
            part.resources += u64::from(first);
            part.alike = (part.alike.0 + alike.0, part.alike.1 + alike.1);
        }
        if let Some(tenant) = said.tenant() {
            add(&mut self.tenants, tenant, bytes);
        }
        for tag in entry.tags.names() {
            add(&mut self.tags, tag, bytes);
        }
        if let Some(path) = said.path {
            add(&mut self.patterns, &pattern(path), bytes);
        }
    }

    /// How many answers to others there are to compare this one with, and how many of them are the same: by length and beginning.
    fn compare(&mut self, said: &Said<'_>, entry: &Entry) -> (u64, u64) {
        if said.identity.is_empty() || entry.value.is_some() {
            return (0, 0);
        }
        let resource = self.hashes.hash_one((said.policy, said.authority, said.path, said.query));
        let start = &entry.body[..entry.body.len().min(BEGINNING)];
        let look = self.hashes.hash_one((entry.body.len(), start));
        let room = self.answers.len() < MOST;
        match self.answers.get_mut(&resource) {
            Some((first, known)) => {
                let same = u64::from(*first == look);
                // The first counts too, once there is another.
                let news = u64::from(!std::mem::replace(known, true));
                (1 + news, same + news.min(same))
            }
            None if room => {
                self.answers.insert(resource, (look, false));
                (0, 0)
            }
            None => (0, 0),
        }
    }

    fn told(self) -> Holdings {
        let Self { policies, values, tenants, tags, patterns, .. } = self;
        Holdings { policies, values, tenants, tags: largest(tags), patterns: largest(patterns) }
    }
}

/// Adds one to the part of this name. What is beyond all measure is not told apart.
fn add<'a>(parts: &'a mut HashMap<String, Part>, name: &str, bytes: u64) -> Option<&'a mut Part> {
    if !parts.contains_key(name) {
        if parts.len() >= MOST {
            return None;
        }
        parts.insert(name.to_owned(), Part::default());
    }
    let part = parts.get_mut(name)?;
    part.entries += 1;
    part.bytes += bytes;
    Some(part)
}

fn largest(parts: HashMap<String, Part>) -> Vec<Holding> {
    let holding = |(name, Part { entries, bytes, .. })| Holding { name, entries, bytes };
    let mut holdings: Vec<_> = parts.into_iter().map(holding).collect();
    holdings.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    holdings.truncate(20);
    holdings
}

/// A path with `*` for each segment that looks like an id: digits, or long and with digits.
fn pattern(path: &str) -> String {
    let is_id = |segment: &str| {
        let digits = segment.bytes().filter(u8::is_ascii_digit).count();
        digits > 0 && (digits == segment.len() || (segment.len() >= 16 && digits >= 4))
    };
    let segments: Vec<_> = path.split('/').map(|segment| if is_id(segment) { "*" } else { segment }).collect();
    segments.join("/")
}

/// So many names of a kind are told apart.
const MOST: usize = 10_000;

/// Answers are compared by so many of their first bytes, and by their length.
const BEGINNING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_in_paths_are_one() {
        for (path, expected) in [
            ("/", "/"),
            ("/products/17", "/products/*"),
            ("/v2/products/17/image", "/v2/products/*/image"),
            ("/x/0b37c1f2-98aa-4c7e-9d0f-0123456789ab", "/x/*"),
            ("/reports/2024", "/reports/*"),
            ("/api/rest", "/api/rest"),
        ] {
            assert_eq!(pattern(path), expected);
        }
    }
}

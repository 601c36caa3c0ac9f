//! The caches that are administered, and their names.

use super::answer::Failure;
use crate::{Cache, Caches};
use std::sync::Arc;

/// The caches that are administered, by name: made of `&cache`, `[&a, &b]`, a set of [`Caches`], or pairs of a name and
/// a cache. Those without a name of their own have that of [`Cache::name`]; a second one of the same name gets a
/// number.
///
/// ```
/// use larder::{Cache, admin::AdminCaches};
///
/// let (pages, rates) = (Cache::in_memory(1 << 20), Cache::in_memory(1 << 20));
/// let caches = AdminCaches::from([("pages", &pages), ("rates", &rates)]);
/// # let _ = caches;
/// ```
#[derive(Clone, Debug)]
pub struct AdminCaches(Arc<[(String, Cache)]>);

impl AdminCaches {
    fn of<N: Into<String>>(caches: impl IntoIterator<Item = (N, Cache)>) -> Self {
        let mut all: Vec<(String, Cache)> = Vec::new();
        for (name, cache) in caches {
            let name = name.into();
            let others = all.iter().filter(|(other, _)| *other == name).count();
            let numbered = (others + 1..).map(|number| format!("{name}-{number}"));
            let free = |name: &String| all.iter().all(|(other, _)| other != name);
            let name = [name.clone()].into_iter().chain(numbered).find(free).unwrap_or(name);
            all.push((name, cache));
        }
        Self(all.into())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Cache)> {
        self.0.iter().map(|(name, cache)| (name.as_str(), cache))
    }

    /// The cache of this name, or the first one.
    pub(super) fn one(&self, name: Option<&str>) -> Result<(&str, &Cache), Failure> {
        let found = match name {
            Some(name) => self.iter().find(|(other, _)| *other == name),
            None => self.iter().next(),
        };
        found.ok_or_else(|| {
            let names: Vec<_> = self.iter().map(|(name, _)| format!("`{name}`")).collect();
            let there =
                if names.is_empty() { "there is none".to_owned() } else { format!("there are {}", names.join(", ")) };
            Failure::not_found(format!("no cache is named `{}`: {there}", name.unwrap_or_default().escape_debug()))
        })
    }

    /// The cache of this name, or all.
    pub(super) fn some(&self, name: Option<&str>) -> Result<Vec<(&str, &Cache)>, Failure> {
        match name {
            Some(_) => Ok(vec![self.one(name)?]),
            None => Ok(self.iter().collect()),
        }
    }
}

impl From<&Cache> for AdminCaches {
    fn from(cache: &Cache) -> Self {
        Self::from([cache])
    }
}

impl From<&Caches> for AdminCaches {
    fn from(caches: &Caches) -> Self {
        Self::of(caches.iter().map(|(name, cache)| (name, cache.clone())))
    }
}

impl<const N: usize> From<[&Cache; N]> for AdminCaches {
    fn from(caches: [&Cache; N]) -> Self {
        Self::of(caches.into_iter().map(|cache| (cache.name(), cache.clone())))
    }
}

impl<S: Into<String>, const N: usize> From<[(S, &Cache); N]> for AdminCaches {
    fn from(caches: [(S, &Cache); N]) -> Self {
        Self::of(caches.into_iter().map(|(name, cache)| (name, cache.clone())))
    }
}

impl<S: Into<String>> From<Vec<(S, Cache)>> for AdminCaches {
    fn from(caches: Vec<(S, Cache)>) -> Self {
        Self::of(caches)
    }
}

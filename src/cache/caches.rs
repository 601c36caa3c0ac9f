//! Several caches by name.

use super::{Cache, CacheBuilder};
use crate::config_error::ConfigError;
use crate::policy::check_word;
use std::{collections::BTreeMap, ops::Index, sync::Arc};

/// Several caches by name, each with its own size and default policy.
///
/// ```
/// # use larder::{Cache, CacheLayer, Caches, Policy};
/// # use std::time::Duration;
/// let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
/// let caches = Caches::builder()
///     .cache("query", Cache::builder().default_policy(Policy::fresh_for(minutes(15))))
///     .cache("api", Cache::builder().default_policy(Policy::fresh_for(minutes(3))))
///     .build()?;
/// let layer = CacheLayer::new(&caches["api"], caches["api"].policy());
/// # let _ = layer;
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Caches(Arc<BTreeMap<String, Cache>>);

/// Options of [`Caches`]. Made by [`Caches::builder`].
///
/// ```
/// # use larder::{Cache, Caches};
/// let caches = Caches::builder().cache("query", Cache::builder()).cache("api", Cache::builder()).build()?;
/// assert_eq!(caches.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["api", "query"]);
///
/// let error = Caches::builder().build().unwrap_err();
/// assert_eq!(error.to_string(), "no cache was described: add one with cache(name, Cache::builder())");
/// # Ok::<(), larder::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "call `build` to get the caches"]
pub struct CachesBuilder(Vec<(String, CacheBuilder)>);

impl Caches {
    /// Caches to be described one by one.
    pub fn builder() -> CachesBuilder {
        CachesBuilder::default()
    }

    /// The cache of this name.
    pub fn get(&self, name: &str) -> Option<&Cache> {
        self.0.get(name)
    }

    /// All caches, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Cache)> {
        self.0.iter().map(|(name, cache)| (name.as_str(), cache))
    }
}

impl Index<&str> for Caches {
    type Output = Cache;

    /// The cache of this name.
    ///
    /// # Panics
    ///
    /// If there is none; [`Caches::get`] returns an option.
    fn index(&self, name: &str) -> &Cache {
        self.get(name).unwrap_or_else(|| {
            let names: Vec<_> = self.0.keys().collect();
            panic!("no cache is named `{name}`: there are {names:?}")
        })
    }
}

impl CachesBuilder {
    /// Adds a cache. Its namespace is `{namespace}-{name}`, so that no two share keys.
    pub fn cache(mut self, name: impl Into<String>, cache: CacheBuilder) -> Self {
        self.0.push((name.into(), cache));
        self
    }

    /// The caches.
    ///
    /// # Errors
    ///
    /// If two have one name, or one cannot be built; the error says which.
    pub fn build(self) -> Result<Caches, ConfigError> {
        let mut caches = BTreeMap::new();
        for (name, mut builder) in self.0 {
            check_word("cache", Some(&name))?;
            builder.name.clone_from(&name);
            builder.namespace = format!("{}-{name}", builder.namespace);
            let cache = builder.build().map_err(|error| ConfigError::new(format!("cache `{name}`: {error}")))?;
            if caches.insert(name.clone(), cache).is_some() {
                return fault(format!("two caches are named `{name}`: give each a name of its own"));
            }
        }
        if caches.is_empty() {
            return fault("no cache was described: add one with cache(name, Cache::builder())".to_owned());
        }
        Ok(Caches(Arc::new(caches)))
    }
}

fn fault<T>(text: String) -> Result<T, ConfigError> {
    Err(ConfigError::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_caches_have_names_of_their_own() {
        let twice = Caches::builder().cache("api", Cache::builder()).cache("api", Cache::builder());
        assert!(twice.build().unwrap_err().to_string().contains("two caches are named `api`"));
        let bad = Caches::builder().cache("api", Cache::builder().memory(1));
        assert!(bad.build().unwrap_err().to_string().starts_with("cache `api`: memory(1)"));
        assert!(Caches::builder().build().is_err());
        let caches = Caches::builder().cache("api", Cache::builder()).cache("query", Cache::builder()).build().unwrap();
        assert_eq!(caches.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["api", "query"]);
        assert!(caches.get("other").is_none());
    }
}

use super::{Asked, Explanation, explain};
use crate::cache::Cache;
use http::request::Parts;
use std::sync::{PoisonError, Weak};

/// A layer, as the cache under it knows it.
pub(crate) trait Explains: Send + Sync {
    /// What the layer would do with a request.
    fn explain(&self, parts: &Parts) -> Explanation;
}

impl Cache {
    /// What the layers over this cache would do with a request that has no content, each of its own: which of them it comes to
    /// only the router knows. Those whose table has no policy for it are left out. As
    /// [`CacheLayer::explain`](crate::CacheLayer::explain) it changes nothing.
    ///
    /// ```
    /// use http::Request;
    /// use larder::{Cache, CacheLayer, Policy};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::in_memory(1 << 20);
    /// let layer = CacheLayer::new(&cache, Policy::named("shop").fresh_for(Duration::from_secs(60)));
    /// let (parts, ()) = Request::get("/products").body(()).unwrap().into_parts();
    /// let why = cache.explain(&parts);
    /// assert_eq!((why.len(), why[0].outcome().as_str()), (1, "miss"));
    /// # drop(layer);
    /// ```
    pub fn explain(&self, parts: &Parts) -> Vec<Explanation> {
        let layers = self.0.book.layers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let layers = layers.iter().filter_map(Weak::upgrade);
        let explained = layers.map(|layer| layer.explain(parts).in_cache(self.name()));
        explained.filter(|why| why.reason() != Some("no-policy")).collect()
    }

    /// What would become of a request under the policy of this name, or of the route of a table that has one without a name;
    /// nothing if no layer over this cache has it.
    ///
    /// ```
    /// # use larder::{Cache, CacheLayer, Policy};
    /// # use std::time::Duration;
    /// # let cache = Cache::in_memory(1 << 20);
    /// let layer = CacheLayer::new(&cache, Policy::named("shop").fresh_for(Duration::from_secs(60)));
    /// let (parts, ()) = http::Request::get("/products").body(()).unwrap().into_parts();
    /// assert_eq!(cache.explain_under("shop", &parts).map(|why| why.outcome().as_str()), Some("miss"));
    /// assert!(cache.explain_under("bank", &parts).is_none());
    /// # drop(layer);
    /// ```
    pub fn explain_under(&self, policy: &str, parts: &Parts) -> Option<Explanation> {
        let rules = self.0.book.rules(policy)?;
        let asked = Asked { parts, content: &[], passing: None, reads: true };
        Some(explain(self, &rules, asked).in_cache(self.name()))
    }

    /// Takes note of a layer over this cache.
    pub(crate) fn meet(&self, layer: Weak<dyn Explains>) {
        let mut layers = self.0.book.layers.lock().unwrap_or_else(PoisonError::into_inner);
        layers.retain(|layer| layer.strong_count() > 0);
        if layers.len() < LAYERS {
            layers.push(layer);
        }
    }
}

/// So many layers are known.
const LAYERS: usize = 1024;

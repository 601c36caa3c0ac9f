//! Many values of one kind, told apart by one parameter.

use super::call::ValueCall;
use serde::Serialize;
use std::{collections::HashMap, fmt, future::Future, hash::Hash, sync::Arc};

impl<T: Serialize + Send + Sync + 'static> ValueCall<'_, T> {
    /// Those that are kept and fresh, of these values of a parameter.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// static NAME: Value<String> = Value::named("name").fresh_for(Duration::from_secs(60)).shared();
    /// let cache = Cache::in_memory(1 << 20);
    /// cache.value(&NAME).put_many("id", [(1, "one".to_owned()), (2, "two".to_owned())]);
    /// let names = cache.value(&NAME).get_many("id", [1, 2, 3]);
    /// assert_eq!(names.len(), 2);
    /// ```
    pub fn get_many<K>(self, param: &'static str, ids: impl IntoIterator<Item = K>) -> HashMap<K, Arc<T>>
    where
        K: fmt::Display + Eq + Hash,
    {
        let found = ids.into_iter().filter_map(|id| Some((self.of(param, &id).get()?, id)));
        found.map(|(value, id)| (id, value)).collect()
    }

    /// Those that are kept, and the rest from one load of all that are missing. What the load does not bring is not there.
    ///
    /// # Errors
    ///
    /// That of loading.
    pub async fn load_many<K, E, F>(
        self,
        param: &'static str,
        ids: impl IntoIterator<Item = K>,
        load: impl FnOnce(Vec<K>) -> F,
    ) -> Result<HashMap<K, Arc<T>>, E>
    where
        K: fmt::Display + Eq + Hash + Clone,
        F: Future<Output = Result<HashMap<K, T>, E>>,
    {
        let (mut all, mut missing, mut began) = (HashMap::new(), Vec::new(), HashMap::new());
        for id in ids {
            let one = self.of(param, &id);
            let key = one.key().ok();
            match key.as_ref().and_then(|key| one.look(key)) {
                Some(value) => drop(all.insert(id, value)),
                None if !began.contains_key(&id) => {
                    // Stamped before the load, so that nothing invalidated meanwhile is kept.
                    let site = key.map(|key| one.site(key));
                    began.insert(id.clone(), site.map(|site| (site.begin(), site)));
                    missing.push(id);
                }
                None => {}
            }
        }
        if missing.is_empty() {
            return Ok(all);
        }
        for (id, value) in load(missing).await? {
            let value = Arc::new(value);
            if let Some(Some((began, site))) = began.get(&id) {
                self.value.kind.keep(site, *began, &value);
            }
            all.insert(id, value);
        }
        Ok(all)
    }

    /// Keeps many.
    pub fn put_many<K: fmt::Display>(self, param: &'static str, values: impl IntoIterator<Item = (K, T)>) {
        for (id, value) in values {
            self.of(param, &id).put(value);
        }
    }

    /// Ends the use of many.
    pub fn remove_many<K: fmt::Display>(self, param: &'static str, ids: impl IntoIterator<Item = K>) {
        for id in ids {
            self.of(param, &id).remove();
        }
    }
}

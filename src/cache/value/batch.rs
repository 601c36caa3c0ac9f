//! Many values of one kind, told apart by one parameter.

use super::{
    call::{Began, Site, ValueCall, find, fresh, held, use_of},
    load::may_stand_in,
};
use crate::{
    cache::Cache,
    entry::{BACK_OFF, Entry},
    key::KeyBuf,
    outcome::Outcome,
    timer,
};
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, fmt, future::Future, hash::Hash, sync::Arc};

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> ValueCall<'_, T> {
    /// Those that are kept and fresh, of these values of a parameter; also in the stores behind the memory tier.
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// static NAME: Value<String> = Value::named("name").fresh_for(Duration::from_secs(60)).shared();
    /// let cache = Cache::in_memory(1 << 20);
    /// cache.value(&NAME).put_many("id", [(1, "one".to_owned()), (2, "two".to_owned())]);
    /// let names = cache.value(&NAME).get_many("id", [1, 2, 3]).await;
    /// assert_eq!(names.len(), 2);
    /// # }
    /// ```
    pub async fn get_many<K>(self, param: &'static str, ids: impl IntoIterator<Item = K>) -> HashMap<K, Arc<T>>
    where
        K: fmt::Display + Eq + Hash,
    {
        self.find_many(param, ids, false).await.0
    }

    /// Those that are kept and fresh, and the rest in their order, each once, with where they are kept if they may be. To be
    /// `loaded`, those are left alone for which loading has failed a moment ago.
    async fn find_many<K>(
        &self,
        param: &'static str,
        ids: impl IntoIterator<Item = K>,
        loaded: bool,
    ) -> (HashMap<K, Arc<T>>, Vec<(K, Option<Site>)>)
    where
        K: fmt::Display + Eq + Hash,
    {
        let (mut all, mut rest) = (HashMap::new(), Vec::new());
        for id in ids {
            let one = self.of(param, &id);
            let key = one.key().ok();
            let stand_in = |key| stale(self.cache, key, |entry| loaded && may_stand_in(entry, self.cache.now()));
            let hit = key.as_ref().and_then(|key| fresh(self.cache, key)).map(|found| (Outcome::Hit, found));
            match hit.or_else(|| Some((Outcome::Stale, stand_in(key.as_ref()?)?))) {
                Some((outcome, (entry, value))) => {
                    use_of(&self.tally, &entry, outcome);
                    all.insert(id, value);
                }
                None if rest.iter().any(|(other, _)| *other == id) => drop(self.tally.count(Outcome::Miss)),
                None => rest.push((id, key.map(|key| one.site(key)))),
            }
        }
        let kind = self.value.kind;
        let look = async |site: &Option<Site>| kind.in_stores(site.as_ref()?).await;
        let mut found = Vec::new();
        // Not all at once, or each answer would have all of them looked at.
        for some in rest.chunks(64) {
            found.extend(timer::all(some.iter().map(|(_, site)| look(site))).await);
        }
        let mut missing = Vec::new();
        for ((id, site), found) in rest.into_iter().zip(found) {
            match found {
                Some((entry, value)) => {
                    use_of(&self.tally, &entry, Outcome::Hit);
                    all.insert(id, value);
                }
                None => {
                    match &site {
                        Some(site) => site.count(Outcome::Miss),
                        None => drop(self.tally.count(Outcome::Miss)),
                    }
                    missing.push((id, site));
                }
            }
        }
        (all, missing)
    }

    /// Those that are kept, and the rest from one load of all that are missing. What the load does not bring is not there.
    ///
    /// Unlike [`get_or_load`](Self::get_or_load), it shares no loads: who asks for the same at the same time loads it too. If
    /// this is dropped, so is its load. What is stale is loaded anew, also within the window of
    /// [`stale_while_revalidate`](crate::Value::stale_while_revalidate).
    ///
    /// ```
    /// # use larder::{Cache, Value};
    /// # use std::{collections::HashMap, time::Duration};
    /// static NAME: Value<String> = Value::named("name").fresh_for(Duration::from_secs(60)).shared();
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
    /// # let cache = Cache::in_memory(1 << 20);
    /// // One query for all that are missing.
    /// let query = async |ids: Vec<u32>| Ok::<_, std::io::Error>(HashMap::from_iter(ids.iter().map(|id| (*id, format!("{id}.")))));
    /// let names = cache.value(&NAME).load_many("id", [1, 2, 3], query).await?;
    /// assert_eq!(*names[&2], "2.");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// That of loading, unless [`stale_if_error`](crate::Value::stale_if_error) allows what is kept of all that are missing.
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
        let (mut all, missing) = self.find_many(param, ids, true).await;
        if missing.is_empty() {
            return Ok(all);
        }
        // Stamped before the load, so that nothing invalidated meanwhile is kept.
        let begin = |site: Site| (site.begin(), site);
        let (mut ids, mut began) = (Vec::new(), HashMap::new());
        for (id, site) in missing {
            ids.push(id.clone());
            began.insert(id, site.map(begin));
        }
        let loaded = match load(ids).await {
            Ok(loaded) => loaded,
            Err(error) => {
                all.extend(self.stand_ins(&began).ok_or(error)?);
                return Ok(all);
            }
        };
        for (id, value) in loaded {
            let value = Arc::new(value);
            if let Some(Some((began, site))) = began.get(&id) {
                self.value.kind.keep_loaded(site, *began, &value);
            }
            all.insert(id, value);
        }
        Ok(all)
    }

    /// What is kept of all of these, if it may be used where loading has failed.
    fn stand_ins<K>(&self, missing: &HashMap<K, Option<(Began, Site)>>) -> Option<Vec<(K, Arc<T>)>>
    where
        K: Eq + Hash + Clone,
    {
        let now = self.cache.now();
        let allows = |entry: &Entry| entry.lifespan().allows_error(None, now);
        let one = |(id, site): (&K, &Option<(Began, Site)>)| {
            let (entry, value) = stale(self.cache, &site.as_ref()?.1.key, allows)?;
            Some((entry, (id.clone(), value)))
        };
        let found: Vec<_> = missing.iter().map(one).collect::<Option<_>>()?;
        let stand_in = |(entry, found): (Arc<Entry>, _)| {
            entry.refresh.shut_if_idle(now.saturating_add(BACK_OFF));
            found
        };
        Some(found.into_iter().map(stand_in).collect())
    }

    /// Keeps many, each as [`put`](Self::put) does.
    pub fn put_many<K: fmt::Display>(self, param: &'static str, values: impl IntoIterator<Item = (K, T)>) {
        let put = |(id, value)| self.of(param, &id).put_unless_unkept(&Arc::new(value));
        let unkept: Vec<Site> = values.into_iter().filter_map(put).collect();
        self.invalidate(&unkept);
    }

    /// Ends the use of many.
    pub fn remove_many<K: fmt::Display>(self, param: &'static str, ids: impl IntoIterator<Item = K>) {
        let one = |id| {
            let call = self.of(param, &id);
            call.key().ok().map(|key| call.site(key))
        };
        let sites: Vec<Site> = ids.into_iter().filter_map(one).collect();
        self.invalidate(&sites);
    }

    fn invalidate(&self, sites: &[Site]) {
        // Not so many in one record that it would stand for everything.
        for sites in sites.chunks(500) {
            self.cache.invalidate_now(&sites.iter().map(Site::selector).collect::<Vec<_>>());
            sites.iter().for_each(Site::drop_from_memory);
        }
    }
}

/// What is kept in memory, if this allows its use.
fn stale<T: Send + Sync + 'static>(
    cache: &Cache,
    key: &KeyBuf,
    allows: impl Fn(&Entry) -> bool,
) -> Option<(Arc<Entry>, Arc<T>)> {
    let entry = find(cache, key).filter(|entry| allows(entry))?;
    let value = held(&entry)?;
    Some((entry, value))
}

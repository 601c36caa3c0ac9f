//! What all of these tests need.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheBuilder, CacheLayer, Disk, Policy, Store, StoreError, StoreKey};
use std::{
    convert::Infallible,
    fs,
    path::PathBuf,
    process,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt, service_fn};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A folder of its own, gone at the end.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("larder-disk-{}-{}", process::id(), COUNT.fetch_add(1, SeqCst));
        let path = std::env::temp_dir().join(name);
        drop(fs::remove_dir_all(&path));
        Self(path)
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk::open(&self.0).budget(MINUTE)
    }

    /// The store, open.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        self.store_of(self.disk()).await
    }

    pub(crate) async fn store_of(&self, disk: Disk) -> Arc<dyn Store> {
        let store = disk.store().unwrap();
        disk.ready(MINUTE).await.unwrap();
        store
    }

    /// A copy of all that is there, as a process that is killed leaves it.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(&copy.0).unwrap();
        for path in self.files("") {
            fs::copy(&path, copy.0.join(path.file_name().unwrap())).unwrap();
        }
        copy
    }

    /// The files whose names end like this, in their order.
    pub(crate) fn files(&self, ending: &str) -> Vec<PathBuf> {
        let all = fs::read_dir(&self.0).unwrap().map(|file| file.unwrap().path());
        let mut files: Vec<_> = all.filter(|path| path.to_str().unwrap().ends_with(ending)).collect();
        files.sort();
        files
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Waits until nobody in this process has the folder open, as after its end: nothing waits to be filed then.
pub(crate) async fn closed(scratch: &Scratch) {
    larder_redis_tests::until("the folder is closed", async || scratch.files("-wal").is_empty()).await;
}

pub(crate) fn key(name: &str) -> StoreKey {
    StoreKey::new(name).unwrap()
}

pub(crate) async fn get(store: &dyn Store, name: &str) -> Result<Option<Bytes>, StoreError> {
    store.get(&[key(name)]).await.map(|mut values| values.pop().unwrap())
}

pub(crate) async fn put(store: &dyn Store, name: &str, value: impl Into<Bytes>) -> Result<(), StoreError> {
    store.put(key(name), value.into(), MINUTE).await
}

/// A cache and an application whose answers are numbered; tagged with the first part of the path.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) cache: Cache,
    pub(crate) calls: Arc<AtomicUsize>,
}

impl App {
    pub(crate) async fn new(scratch: &Scratch) -> Self {
        Self::of(Cache::builder().disk(scratch.disk())).await
    }

    pub(crate) async fn of(builder: CacheBuilder) -> Self {
        // A dropped cache lets go of the folder when its log is looked at the next time.
        let cache = builder.coherence_bound(Duration::from_millis(100)).build().unwrap();
        assert!(cache.ready(MINUTE).await, "{:?}", cache.stats());
        Self { cache, calls: Arc::default() }
    }

    /// The answer to a request; `now` is what the application would say.
    pub(crate) async fn get(&self, path: &str, now: &str) -> String {
        let (calls, now) = (Arc::clone(&self.calls), now.to_owned());
        let service = service_fn(move |_: Request<Full<Bytes>>| {
            calls.fetch_add(1, SeqCst);
            std::future::ready(Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(now.clone())))))
        });
        let policy = Policy::fresh_for(60 * MINUTE)
            .stale_while_revalidate(60 * MINUTE)
            .tag_with(|request, _| request.uri.path().split('/').nth(1).map(str::to_owned));
        let layer = CacheLayer::new(&self.cache, policy);
        let request = Request::get(path).header("host", "shop").body(Full::default()).unwrap();
        let body = layer.layer(service).oneshot(request).await.unwrap().into_body();
        String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    /// Until everything is written that was stored.
    pub(crate) async fn written(&self) {
        larder_redis_tests::until("writes are done", async || self.cache.stats().writes_waiting == 0).await;
    }
}

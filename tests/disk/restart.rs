//! A cache over a folder, begun again.

use crate::support::{App, MINUTE, Scratch};
use larder::{Cache, Selector};
use std::{sync::atomic::Ordering::SeqCst, time::Duration};

#[tokio::test]
async fn a_restart_starts_warm() {
    let scratch = Scratch::new();
    let app = App::new(&scratch).await;
    for path in ["/a/1", "/a/2", "/b/1"] {
        app.get(path, "old").await;
    }
    app.cache.invalidate(Selector::tag("b")).await.unwrap();
    app.written().await;
    drop(app);
    let app = App::new(&scratch).await;
    for path in ["/a/1", "/a/2"] {
        assert_eq!(app.get(path, "new").await, "old", "{:?}", app.cache.stats());
    }
    assert_eq!(app.get("/b/1", "new").await, "new");
    assert_eq!((app.calls.load(SeqCst), app.cache.stats().stores["disk"].hits), (1, 2));
}

#[tokio::test]
async fn what_was_purged_stays_purged() {
    let purges = [
        ("tag", Selector::tag("a")),
        ("pattern", Selector::pattern("*/a/*")),
        ("resource", Selector::resource("http://shop/a/1")),
        ("everything", Selector::everything()),
        ("soft", Selector::tag("a").soft()),
    ];
    for (name, selector) in purges {
        let scratch = Scratch::new();
        let app = App::new(&scratch).await;
        app.get("/a/1", "old").await;
        app.get("/b/1", "old").await;
        app.written().await;
        app.cache.invalidate(selector).await.unwrap();
        drop(app);
        for round in 0..2 {
            let app = App::new(&scratch).await;
            let soft = name == "soft";
            let expected = if soft { "old" } else { "new" };
            assert_eq!(app.get("/a/1", "new").await, expected, "{name} {round}");
            if soft && round == 0 {
                larder_redis_tests::until("refreshed", async || app.get("/a/1", "new").await == "new").await;
                break;
            }
            if round == 0 && name != "everything" {
                assert_eq!(app.get("/b/1", "new").await, "old", "{name}");
            }
            app.written().await;
        }
    }
}

#[tokio::test]
async fn namespaces_share_a_folder_and_not_a_log() {
    let scratch = Scratch::new();
    let of = |name: &str| App::of(Cache::builder().namespace(name).disk(scratch.disk()));
    let (one, other) = (of("one").await, of("Other.1/x").await);
    for app in [&one, &other] {
        app.get("/a/1", "old").await;
        app.written().await;
    }
    one.cache.invalidate(Selector::everything()).await.unwrap();
    drop((one, other));
    let (one, other) = (of("one").await, of("Other.1/x").await);
    assert_eq!((one.get("/a/1", "new").await, other.get("/a/1", "new").await), ("new".into(), "old".into()));
}

/// Nobody else writes its log, so a log that cannot be read is no reason to throw away what this process has made.
#[tokio::test]
async fn a_folder_that_cannot_be_is_not_in_the_way() {
    let scratch = Scratch::new();
    std::fs::write(&scratch.0, "a file").unwrap();
    let cache = Cache::builder().disk(scratch.disk()).build().unwrap();
    assert!(!cache.ready(Duration::from_millis(50)).await);
    let app = App { cache, calls: std::sync::Arc::default() };
    assert_eq!((app.get("/a/1", "old").await, app.get("/a/1", "new").await), ("old".into(), "old".into()));
    let error = app.cache.invalidate(Selector::tag("a")).await.unwrap_err();
    assert!(error.is_unconfirmed(), "{error}");
    assert_eq!(app.get("/a/1", "new").await, "new");
    // Once it can be, it is used; and what was invalidated meanwhile comes into the log.
    std::fs::remove_file(&scratch.0).unwrap();
    assert!(app.cache.ready(MINUTE).await);
    larder_redis_tests::until("it is sent", async || app.cache.stats().log.unwrap().waiting == 0).await;
}

//! One client, used from runtimes that come and go, and its end.

use crate::support::{get, millis, patient, proxied, put, ready};
use larder::{Redis, StoreError};
use larder_redis_tests::until;

/// As with a cache in a `LazyLock` and many `#[tokio::test]`s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_outlives_the_runtime_that_connected_it() {
    let (_server, proxy) = proxied().await;
    let redis = patient(&proxy.url());
    for round in 0..4 {
        let redis = redis.clone();
        let many = round % 2 == 0;
        let one = std::thread::spawn(move || {
            let mut builder = if many {
                tokio::runtime::Builder::new_multi_thread()
            } else {
                tokio::runtime::Builder::new_current_thread()
            };
            builder.worker_threads(2).enable_all().build().unwrap().block_on(async {
                let store = ready(&redis).await;
                put(&*store, "a", "x").await.unwrap();
                assert!(get(&*store, "a").await.unwrap().is_some());
            });
        });
        tokio::task::spawn_blocking(|| one.join().unwrap()).await.unwrap();
        // Nothing is left of it.
        until("the end of its connections", async || proxy.counts().open == 0).await;
    }
    assert!(get(&*ready(&redis).await, "a").await.unwrap().is_some());
}

#[tokio::test]
async fn connections_end_with_the_last_handle() {
    let (_server, proxy) = proxied().await;
    let redis = patient(&proxy.url()).connections(3);
    let store = ready(&redis).await;
    until("three connections", async || proxy.counts().open == 3).await;
    drop(redis);
    assert!(get(&*store, "a").await.is_ok());
    drop(store);
    until("the end of its connections", async || proxy.counts().open == 0).await;
    assert_eq!(proxy.counts().ever, 3);
}

/// Also where none could be made.
#[tokio::test]
async fn tasks_end_with_the_last_handle() {
    let before = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let redis = Redis::open("redis://127.0.0.1:1").unwrap();
    assert_eq!(redis.ready(millis(200)).await, Err(StoreError::Unreachable));
    assert!(tokio::runtime::Handle::current().metrics().num_alive_tasks() > before);
    drop(redis);
    until("the end of its tasks", async || tokio::runtime::Handle::current().metrics().num_alive_tasks() == before)
        .await;
}

#[test]
fn without_a_runtime_nothing_is_waited_for() {
    let redis = Redis::open("redis://127.0.0.1:1").unwrap();
    let store = redis.store().unwrap();
    assert!(!store.is_available());
    let mut asked = std::pin::pin!(get(&*store, "a"));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(answer) = asked.as_mut().poll(&mut context) else { panic!("it waits") };
    assert_eq!(answer, Err(StoreError::Unreachable));
}

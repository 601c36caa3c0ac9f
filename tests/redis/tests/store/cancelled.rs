//! Operations that nobody waits for any more.

use crate::support::{key, millis, proxied, ready, secs};
use bytes::Bytes;
use larder::{Redis, StoreError};
use larder_redis_tests::{Fault, Way};
use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::time::timeout;

/// The replies to what was cancelled go nowhere: every value is that of its own key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_35_cancelled_commands_never_shift_replies() {
    let (_server, proxy) = proxied().await;
    // Two connections: many operations share each.
    let redis = Redis::open(proxy.url()).unwrap().budget(secs(20)).connections(2);
    let store = ready(&redis).await;
    for number in 0..KEYS {
        store.put(key(format!("k:{number}")), Bytes::from(format!("value {number}")), secs(600)).await.unwrap();
    }
    proxy.set(Fault::Delay { way: Way::ToClient, by: millis(5), jitter: millis(10), seed: 35 });
    let [right, wrong, cancelled, failed] = [(); 4].map(|()| Arc::new(AtomicUsize::new(0)));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let store = Arc::clone(&store);
            let counters = [&right, &wrong, &cancelled, &failed].map(Arc::clone);
            tokio::spawn(async move {
                let [right, wrong, cancelled, failed] = counters;
                for round in 0..GETS / TASKS {
                    let number = (task + round * TASKS) % KEYS;
                    let dice = RandomState::new().hash_one(round);
                    let keys = [key(format!("k:{number}")), key(format!("k:{}", (number + 1) % KEYS))];
                    // One, or two with one MGET.
                    let asked = &keys[..1 + (dice % 5 == 0) as usize];
                    // Three in ten are cancelled: some before they are sent, some on their way, some before their reply.
                    let limit = if dice % 10 < 3 { millis(dice >> 8 & 0xf) } else { secs(30) };
                    match timeout(limit, store.get(asked)).await {
                        Err(_) => cancelled.fetch_add(1, Ordering::Relaxed),
                        Ok(Err(_)) => failed.fetch_add(1, Ordering::Relaxed),
                        Ok(Ok(values)) => {
                            let is_right = asked.len() == values.len()
                                && asked.iter().zip(&values).all(|(key, value)| {
                                    let number = &key.as_str()["k:".len()..];
                                    *value == Some(Bytes::from(format!("value {number}")))
                                });
                            if is_right { &right } else { &wrong }.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let [right, wrong, cancelled, failed] =
        [right, wrong, cancelled, failed].map(|counter| counter.load(Ordering::Relaxed));
    assert_eq!((wrong, failed), (0, 0));
    assert_eq!(right + cancelled, GETS);
    assert!(cancelled > GETS / 10 && right > GETS / 2, "{right} right, {cancelled} cancelled");
}

#[tokio::test]
async fn what_is_cancelled_is_no_failure() {
    let (_server, proxy) = proxied().await;
    let redis = Redis::open(proxy.url()).unwrap().budget(secs(20)).breaker(1, secs(3600));
    let store = ready(&redis).await;
    proxy.set(Fault::delay(Way::ToClient, secs(3600)));
    for _ in 0..50 {
        let asked = [key("k")];
        assert!(timeout(millis(1), store.get(&asked)).await.is_err());
    }
    assert!(store.is_available());
    proxy.clear();
    assert_eq!(store.get(&[key("k")]).await, Ok::<_, StoreError>(vec![None]));
}

const GETS: usize = 100_000;
const KEYS: usize = 2000;
const TASKS: usize = 200;

//! Loads that are overtaken by an invalidation, and those who wait for them.

use crate::{
    Never, cache, idle,
    support::{MINUTE, settle, until},
};
use larder::{Cache, Selector, Value};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinHandle};

static RATE: Value<u32> = Value::named("rate").fresh_for(MINUTE).shared().tags(&["rates"]);

/// Loads that end when they are let go, one by one, and those who ask for them.
#[derive(Clone)]
struct Crowd {
    cache: Cache,
    loads: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
}

impl Crowd {
    fn new() -> Self {
        Self { cache: cache().0, loads: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn ask(&self, tags: &'static [&'static str]) -> JoinHandle<u32> {
        let all = self.clone();
        tokio::spawn(async move {
            let (loads, gate) = (Arc::clone(&all.loads), Arc::clone(&all.gate));
            let load = move || async move {
                let number = loads.fetch_add(1, SeqCst) + 1;
                gate.acquire().await.unwrap().forget();
                Never::Ok(number)
            };
            *all.cache.value(&RATE).tags(tags.iter().copied()).get_or_load(load).await.unwrap()
        })
    }

    async fn loads(&self, number: u32) {
        until("the load", || self.loads.load(SeqCst) == number).await;
        settle().await;
    }
}

/// Whoever asked before it was invalidated may have what was being loaded; those who came later share one load.
#[tokio::test]
async fn a_crowd_that_waits_while_it_is_invalidated_loads_twice_at_most() {
    for selector in
        [Selector::tag("rates"), Selector::value("rate"), Selector::pattern("*rate"), Selector::everything()]
    {
        let crowd = Crowd::new();
        let before: Vec<_> = (0..100).map(|_| crowd.ask(&[])).collect();
        crowd.loads(1).await;
        crowd.cache.invalidate(selector.clone()).await.unwrap();
        let after: Vec<_> = (0..100).map(|_| crowd.ask(&[])).collect();
        crowd.loads(2).await;
        crowd.gate.add_permits(1000);
        for one in before {
            assert_eq!(one.await.unwrap(), 1, "{selector:?}");
        }
        for one in after {
            assert_eq!(one.await.unwrap(), 2, "{selector:?}: not what was loaded before");
        }
        assert_eq!(crowd.loads.load(SeqCst), 2, "{selector:?}");
        assert_eq!(crowd.cache.value(&RATE).peek().as_deref(), Some(&2), "{selector:?}");
        idle(&crowd.cache);
    }
}

/// The first to ask has a tag that the others know nothing of: they cannot tell whether they came before, and load it
/// again, one for all.
#[tokio::test]
async fn invalidated_by_what_only_the_first_knows_it_is_loaded_once_more() {
    let crowd = Crowd::new();
    let first = crowd.ask(&["own"]);
    crowd.loads(1).await;
    crowd.cache.invalidate(Selector::tag("own")).await.unwrap();
    let rest: Vec<_> = (0..100).map(|_| crowd.ask(&[])).collect();
    settle().await;
    crowd.gate.add_permits(1);
    assert_eq!(first.await.unwrap(), 1);
    crowd.loads(2).await;
    crowd.gate.add_permits(1000);
    for one in rest {
        assert_eq!(one.await.unwrap(), 2);
    }
    assert_eq!(crowd.loads.load(SeqCst), 2);
    idle(&crowd.cache);
}

/// Loads that hang are not waited for for ever: two of them, as before.
#[tokio::test(start_paused = true)]
async fn who_waits_too_long_loads_alone_at_last() {
    static SLOW: Value<u32> = Value::named("slow").fresh_for(MINUTE).shared().wait_limit(Duration::from_secs(2));
    let crowd = Crowd::new();
    let ask = |number: u32| {
        let (cache, gate) = (crowd.cache.clone(), Arc::clone(&crowd.gate));
        let load = move || async move {
            if number < 2 {
                gate.acquire().await.unwrap().forget();
            }
            Never::Ok(number)
        };
        tokio::spawn(async move { *cache.value(&SLOW).get_or_load(load).await.unwrap() })
    };
    let first = ask(0);
    settle().await;
    let second = ask(1);
    settle().await;
    let third = ask(2);
    assert_eq!(third.await.unwrap(), 2);
    crowd.gate.add_permits(2);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (0, 1));
}

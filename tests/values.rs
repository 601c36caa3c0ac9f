//! Values of the application.

use larder::{Cache, Identity, Selector, Value, test_util};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);

static RATE: Value<u32> = Value::named("rate").fresh_for(MINUTE).tags(&["rates", "rate:gold"]).depends_on(&["Rate"]);
static SHARED: Value<String> = Value::named("shared").fresh_for(MINUTE).shared();
static PATIENT: Value<u32> =
    Value::named("patient").fresh_for(MINUTE).stale_while_revalidate(MINUTE).stale_if_error(MINUTE.saturating_mul(60));
static MAYBE: Value<Option<u32>> = Value::named("maybe").lifetime_of(|found: &Option<u32>| match found {
    Some(0) => None,
    Some(_) => Some(MINUTE),
    None => Some(Duration::from_secs(5)),
});

/// Counts how often something is loaded.
#[derive(Clone, Default)]
struct Loads(Arc<AtomicU32>);

impl Loads {
    async fn next(self) -> Result<u32, &'static str> {
        Ok(self.0.fetch_add(1, SeqCst) + 1)
    }

    fn count(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

fn who(tenant: u32, user: &str) -> Identity {
    Identity::new().with_tenant(tenant).with_user(user)
}

async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn at_rest(cache: &Cache) {
    let stats = cache.stats();
    assert_eq!((stats.fills, stats.background), (0, 0));
}

#[tokio::test]
async fn it_is_loaded_once_and_shared() {
    let (cache, clock) = test_util::cache();
    let loads = Loads::default();
    let ask = || {
        cache.value(&RATE).get_or_load({
            let loads = loads.clone();
            || loads.next()
        })
    };
    let first = ask().await.unwrap();
    let second = ask().await.unwrap();
    assert!(Arc::ptr_eq(&first, &second) && loads.count() == 1);
    clock.advance(MINUTE);
    assert_eq!(*ask().await.unwrap(), 2);
    let stats = cache.stats();
    assert_eq!((stats.hits, stats.misses, stats.stored), (1, 2, 2));
    assert!(stats.bytes > 0 && stats.resources == 1);
    at_rest(&cache);
}

#[tokio::test]
async fn it_is_that_of_who_asks_and_of_its_parameters() {
    let (cache, _) = test_util::cache();
    let one = |tenant, user, days: &str| {
        cache.value(&RATE).for_identity(&who(tenant, user)).param("days", days).param("kind", "x")
    };
    one(1, "a", "7").put(1);
    for (tenant, user, days, there) in [
        (1, "a", "7", true),
        (1, "b", "7", false),
        (2, "a", "7", false),
        (1, "a", "30", false),
        (1, "a", "7&kind=y", false),
    ] {
        assert_eq!(one(tenant, user, days).peek().is_some(), there, "{tenant} {user} {days}");
    }
    assert!(cache.value(&RATE).peek().is_none());
    // The order of parameters does not count; of one name the last does.
    let other = cache.value(&RATE).for_identity(&who(1, "a")).param("kind", "y").param("kind", "x").param("days", 7);
    assert_eq!(other.peek().as_deref(), Some(&1));
    assert_eq!(one(1, "a", "7").key_text().unwrap(), "larder:tenant=1:user=a:rate:days=7:kind=x");
    // What is everyone's is everyone's.
    cache.value(&SHARED).for_identity(&who(1, "a")).put("x".to_owned());
    assert!(cache.value(&SHARED).for_identity(&who(2, "b")).peek().is_some());
    assert!(cache.value(&SHARED).cache_if(false).get().await.is_none());
}

#[tokio::test]
async fn what_it_keys_on_has_to_be_there() {
    static MINE: Value<u32> = Value::named("mine").fresh_for(MINUTE).per_user();
    let (cache, _) = test_util::cache();
    let loads = Loads::default();
    for _ in 0..2 {
        let loads = loads.clone();
        cache.value(&MINE).get_or_load(|| loads.next()).await.unwrap();
    }
    assert_eq!((loads.count(), cache.stats().bypasses["identity-missing"]), (2, 2));
}

#[tokio::test]
async fn a_thousand_at_once_load_once() {
    let (cache, _) = test_util::cache();
    let (loads, gate) = (Loads::default(), Arc::new(Notify::new()));
    let asking: Vec<_> = (0..1000)
        .map(|_| {
            let (cache, loads, gate) = (cache.clone(), loads.clone(), Arc::clone(&gate));
            tokio::spawn(async move {
                let load = || async move {
                    gate.notified().await;
                    loads.next().await
                };
                cache.value(&RATE).get_or_load(load).await.map(|rate| *rate)
            })
        })
        .collect();
    settle().await;
    gate.notify_one();
    for one in asking {
        assert_eq!(one.await.unwrap(), Ok(1));
    }
    assert_eq!((loads.count(), cache.stats().collapsed), (1, 999));
    at_rest(&cache);
}

#[tokio::test]
async fn a_load_outlives_the_one_who_asked() {
    let (cache, _) = test_util::cache();
    let (loads, gate) = (Loads::default(), Arc::new(Notify::new()));
    let (also, held) = (loads.clone(), Arc::clone(&gate));
    let asking = tokio::spawn({
        let cache = cache.clone();
        async move {
            let load = || async move {
                held.notified().await;
                also.next().await
            };
            cache.value(&RATE).get_or_load(load).await
        }
    });
    settle().await;
    asking.abort();
    assert!(asking.await.is_err());
    gate.notify_one();
    settle().await;
    assert_eq!(cache.value(&RATE).get().await.as_deref(), Some(&1));
    assert_eq!(cache.stats().handed_over, 1);
    at_rest(&cache);
}

#[tokio::test]
async fn errors_are_returned_or_what_is_stale() {
    let (cache, clock) = test_util::cache();
    let fails = || async { Err::<u32, _>("down") };
    assert_eq!(cache.value(&PATIENT).get_or_load(fails).await, Err("down"));
    cache.value(&PATIENT).put(7);
    clock.advance(3 * MINUTE);
    let loads = Loads::default();
    for _ in 0..5 {
        let also = loads.clone();
        let load = || async move { also.next().await.and(Err("down")) };
        assert_eq!(cache.value(&PATIENT).get_or_load(load).await.as_deref(), Ok(&7));
    }
    assert_eq!(loads.count(), 1, "after a failure it is left alone for a while");
    clock.advance(60 * MINUTE);
    assert_eq!(cache.value(&PATIENT).get_or_load(fails).await, Err("down"));
    at_rest(&cache);
}

#[tokio::test]
async fn those_who_wait_for_a_failing_load_try_it_themselves() {
    let (cache, _) = test_util::cache();
    let loads = Loads::default();
    let asking: Vec<_> = (0..10)
        .map(|_| {
            let (cache, loads) = (cache.clone(), loads.clone());
            tokio::spawn(async move {
                let load = || async move {
                    let number = loads.next().await?;
                    tokio::task::yield_now().await;
                    if number == 1 { Err("down") } else { Ok(number) }
                };
                cache.value(&RATE).get_or_load(load).await.is_ok()
            })
        })
        .collect();
    let mut well = 0;
    for one in asking {
        well += u32::from(one.await.unwrap());
    }
    assert_eq!(well, 9);
    at_rest(&cache);
}

#[tokio::test]
async fn what_is_stale_is_served_and_loaded_once_in_the_background() {
    let (cache, clock) = test_util::cache();
    cache.value(&PATIENT).put(7);
    clock.advance(MINUTE);
    let loads = Loads::default();
    for _ in 0..10 {
        let loads = loads.clone();
        assert_eq!(cache.value(&PATIENT).get_or_load(|| loads.next()).await.as_deref(), Ok(&7));
    }
    settle().await;
    assert_eq!((cache.value(&PATIENT).get().await.as_deref(), loads.count()), (Some(&1), 1));
    let stats = cache.stats();
    assert_eq!((stats.stale, stats.refreshes, stats.failed_refreshes), (10, 1, 0));
    at_rest(&cache);
}

#[tokio::test]
async fn a_value_tells_how_long_it_lives() {
    let (cache, clock) = test_util::cache();
    let put = |number, value| cache.value(&MAYBE).param("n", number).put(value);
    let there = |number| cache.value(&MAYBE).param("n", number).peek().is_some();
    put(0, Some(0));
    put(1, Some(1));
    put(2, None);
    assert!(!there(0) && there(1) && there(2));
    clock.advance(Duration::from_secs(5));
    assert!(there(1) && !there(2));
}

#[tokio::test]
async fn it_is_invalidated_as_responses_are() {
    let (cache, _) = test_util::cache();
    let value = || cache.value(&RATE).for_identity(&who(1, "a")).tags(["mine"]);
    for selector in [
        Selector::tag("rates"),
        Selector::tag("rate:*"),
        Selector::all_of(["rates", "mine"]),
        Selector::tag("mine").within(1),
        Selector::tenant(1),
        Selector::user("a").within(1),
        Selector::value("rate"),
        Selector::pattern("tenant=1:*rate*"),
        Selector::everything(),
    ] {
        value().put(1);
        assert_eq!(cache.preview(&selector).await.unwrap().entries, 1, "{selector:?}");
        cache.invalidate(selector.clone()).await.unwrap();
        assert!(value().peek().is_none(), "{selector:?}");
    }
    for selector in [Selector::tag("mine").within(2), Selector::value("rates"), Selector::all_of(["rates", "others"])] {
        value().put(1);
        cache.invalidate(selector.clone()).await.unwrap();
        assert!(value().peek().is_some(), "{selector:?}");
    }
    cache.changed("Rate").tenant(1).await.unwrap();
    assert!(value().peek().is_none());
    value().put(1);
    value().remove();
    assert!(value().peek().is_none());
}

#[tokio::test]
async fn what_was_invalidated_while_it_was_loaded_is_not_kept() {
    let (cache, _) = test_util::cache();
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let asking = tokio::spawn({
        let cache = cache.clone();
        async move {
            let load = || async move {
                held.notified().await;
                Ok::<_, &str>(1)
            };
            cache.value(&RATE).get_or_load(load).await
        }
    });
    settle().await;
    cache.invalidate(Selector::tag("rates")).await.unwrap();
    // Who comes now does not get it either.
    let late = cache.value(&RATE).get_or_load(|| async { Ok::<_, &str>(2) }).await.unwrap();
    gate.notify_one();
    assert_eq!((*asking.await.unwrap().unwrap(), *late), (1, 2));
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&2));
    at_rest(&cache);
}

#[tokio::test]
async fn written_through_it_is_saved_first() {
    let (cache, _) = test_util::cache();
    cache.value(&RATE).put(1);
    let saved = cache.value(&RATE).write_through(2, async |_| Ok::<_, &str>(())).await;
    assert_eq!((saved.as_deref(), cache.value(&RATE).peek().as_deref()), (Ok(&2), Some(&2)));
    let failed = cache.value(&RATE).write_through(3, async |_| Err("full")).await;
    assert!(failed.is_err() && cache.value(&RATE).peek().is_none(), "nobody knows what was saved");
    cache.value(&RATE).put(1);
    let never = cache.value(&RATE).write_through(4, |_| std::future::pending::<Result<(), &str>>());
    assert!(tokio::time::timeout(Duration::ZERO, never).await.is_err());
    assert!(cache.value(&RATE).peek().is_none());
}

#[tokio::test]
async fn many_at_once() {
    let (cache, _) = test_util::cache();
    cache.value(&SHARED).put_many("id", [(1, "one".to_owned()), (2, "two".to_owned())]);
    let found = cache.value(&SHARED).get_many("id", [1, 2, 3]).await;
    assert_eq!(found.len(), 2);
    let load = async |missing: Vec<u32>| {
        assert_eq!(missing, [3, 4]);
        Ok::<_, &str>(HashMap::from([(3, "three".to_owned())]))
    };
    let all = cache.value(&SHARED).load_many("id", [1, 3, 4, 3], load).await.unwrap();
    assert_eq!((all.len(), &**all[&3]), (2, "three"));
    cache.value(&SHARED).remove_many("id", [1, 3]);
    assert_eq!(cache.value(&SHARED).get_many("id", [1, 2, 3]).await.len(), 1);
    let failed = cache.value(&SHARED).load_many("id", [9], async |_| Err("down")).await;
    assert!(failed.is_err());
}

#[tokio::test]
async fn a_name_has_one_meaning() {
    static OTHER: Value<String> = Value::named("rate").fresh_for(MINUTE);
    static LONGER: Value<u32> = Value::named("rate").fresh_for(MINUTE.saturating_mul(2));
    static BLANK: Value<u32> = Value::named(" ");
    let (cache, _) = test_util::cache();
    cache.declare(&RATE).unwrap();
    cache.declare(&RATE).unwrap();
    assert!(cache.declare(&OTHER).unwrap_err().to_string().contains("of another type"));
    assert!(cache.declare(&LONGER).unwrap_err().to_string().contains("120s"));
    assert!(cache.declare(&BLANK).is_err());
    // In use it is loaded each time, and never mistaken.
    cache.value(&RATE).put(1);
    let other = cache.value(&OTHER).get_or_load(|| async { Ok::<_, &str>("x".to_owned()) }).await.unwrap();
    assert_eq!((&**other, cache.stats().bypasses["value-conflict"]), ("x", 1));
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&1));
}

#[tokio::test]
async fn a_loader_that_panics_leaves_nothing_behind() {
    let (cache, _) = test_util::cache();
    let asking = tokio::spawn({
        let cache = cache.clone();
        async move { cache.value(&RATE).get_or_load(|| async { panic!("a loader") as Result<u32, &str> }).await }
    });
    assert!(asking.await.is_err());
    at_rest(&cache);
    assert_eq!(cache.value(&RATE).get_or_load(|| async { Ok::<_, &str>(1) }).await.as_deref(), Ok(&1));
}

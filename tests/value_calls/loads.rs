//! Loads: shared, cancelled, failing, in the background, and overtaken by what was saved or invalidated meanwhile.

use crate::{
    Loader, Never, SECOND, cache, idle,
    support::{HOUR, MINUTE, settle, until},
};
use larder::{Cache, Selector, Value, test_util};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

static RATE: Value<u32> = Value::named("rate").fresh_for(MINUTE).shared().tags(&["rates"]);

/// A load that ends when it is let go.
fn held(
    loads: &Arc<AtomicU32>,
    gate: &Arc<Notify>,
) -> impl FnOnce() -> crate::support::Later<Never<u32>> + Send + 'static {
    let (loads, gate) = (Arc::clone(loads), Arc::clone(gate));
    move || {
        Box::pin(async move {
            let number = loads.fetch_add(1, SeqCst) + 1;
            gate.notified().await;
            Ok(number)
        })
    }
}

#[tokio::test]
async fn a_thousand_at_once_load_once() {
    static UNKEPT: Value<u32> = Value::named("unkept").shared();
    for value in [&RATE, &UNKEPT] {
        let (cache, _) = cache();
        let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let all: Vec<_> = (0..1000)
            .map(|_| {
                let (cache, load) = (cache.clone(), held(&loads, &gate));
                tokio::spawn(async move { *cache.value(value).get_or_load(load).await.unwrap() })
            })
            .collect();
        until("the load", || loads.load(SeqCst) == 1).await;
        settle().await;
        gate.notify_waiters();
        for one in all {
            assert_eq!(one.await.unwrap(), 1);
        }
        assert_eq!(loads.load(SeqCst), 1, "{}", value.name());
        let stats = idle(&cache);
        assert_eq!((stats.misses, stats.collapsed, stats.hits), (1, 999, 0));
    }
}

/// What is not to be kept is loaded once all the same.
#[tokio::test]
async fn what_its_own_lifetime_refuses_is_shared_too() {
    static REFUSED: Value<u32> = Value::named("refused").shared().lifetime_of(|_| None);
    let (cache, _) = cache();
    let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let ask = || {
        let (cache, load) = (cache.clone(), held(&loads, &gate));
        tokio::spawn(async move { *cache.value(&REFUSED).get_or_load(load).await.unwrap() })
    };
    let all: Vec<_> = (0..100).map(|_| ask()).collect();
    until("the load", || loads.load(SeqCst) == 1).await;
    settle().await;
    gate.notify_waiters();
    settle().await;
    gate.notify_waiters();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(loads.load(SeqCst), 1);
}

#[tokio::test]
async fn whoever_asked_first_may_go() {
    for waiters in [0, 3] {
        let (cache, _) = cache();
        let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (cache, load) = (cache.clone(), held(&loads, &gate));
            tokio::spawn(async move { *cache.value(&RATE).get_or_load(load).await.unwrap() })
        };
        let first = ask();
        until("the load", || loads.load(SeqCst) == 1).await;
        let rest: Vec<_> = (0..waiters).map(|_| ask()).collect();
        settle().await;
        first.abort();
        settle().await;
        assert_eq!(cache.stats().handed_over, 1);
        gate.notify_one();
        for one in rest {
            assert_eq!(one.await.unwrap(), 1);
        }
        settle().await;
        assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&1));
        assert_eq!(loads.load(SeqCst), 1);
        idle(&cache);
    }
}

#[tokio::test]
async fn a_load_that_panics_or_fails_sticks_nowhere() {
    for panics in [true, false] {
        let (cache, _) = cache();
        let gate = Arc::new(Notify::new());
        let tries = Arc::new(AtomicU32::new(0));
        let ask = || {
            let (cache, gate, tries) = (cache.clone(), Arc::clone(&gate), Arc::clone(&tries));
            tokio::spawn(async move {
                let load = move || async move {
                    if tries.fetch_add(1, SeqCst) == 0 {
                        gate.notified().await;
                        assert!(!panics, "as the test wants");
                        return Err("down");
                    }
                    Ok(7)
                };
                cache.value(&RATE).get_or_load(load).await.map(|value| *value)
            })
        };
        let first = ask();
        until("the load", || tries.load(SeqCst) == 1).await;
        let rest: Vec<_> = (0..3).map(|_| ask()).collect();
        settle().await;
        gate.notify_one();
        match first.await {
            Err(error) => assert!(panics && error.is_panic()),
            Ok(result) => assert_eq!(result, Err("down")),
        }
        for one in rest {
            assert_eq!(one.await.unwrap(), Ok(7));
        }
        assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&7));
        idle(&cache);
    }
}

#[tokio::test]
async fn what_is_stale_stands_in_for_an_error() {
    static STRICT: Value<u32> = Value::named("strict").fresh_for(MINUTE).shared();
    static LENIENT: Value<u32> = Value::named("lenient").fresh_for(MINUTE).stale_if_error(MINUTE).shared();
    for (value, after, served) in
        [(&STRICT, 60, false), (&LENIENT, 60, true), (&LENIENT, 119, true), (&LENIENT, 120, false)]
    {
        let (cache, clock) = cache();
        cache.value(value).put(1);
        clock.advance(Duration::from_secs(after));
        let tries = Arc::new(AtomicU32::new(0));
        let ask = || {
            let tries = Arc::clone(&tries);
            cache.value(value).get_or_load(move || async move {
                tries.fetch_add(1, SeqCst);
                Err::<u32, _>("down")
            })
        };
        for _ in 0..3 {
            assert_eq!(
                ask().await.map(|value| *value),
                if served { Ok(1) } else { Err("down") },
                "{} {after}",
                value.name()
            );
        }
        assert_eq!(tries.load(SeqCst), if served { 1 } else { 3 }, "it is left alone for a while");
        clock.advance(31 * SECOND);
        let again = cache.value(value).get_or_load(|| async { Never::Ok(2) }).await;
        assert_eq!(again.map(|value| *value), Ok(2));
        idle(&cache);
    }
}

#[tokio::test]
async fn invalidated_it_stands_in_for_nothing() {
    static LENIENT: Value<u32> = Value::named("lenient")
        .fresh_for(MINUTE)
        .stale_if_error(HOUR)
        .stale_while_revalidate(HOUR)
        .shared()
        .tags(&["t"]);
    for at_once in [true, false] {
        let (cache, clock) = cache();
        cache.value(&LENIENT).put(1);
        if at_once {
            cache.invalidate(Selector::tag("t")).await.unwrap();
        } else {
            clock.advance(2 * HOUR - SECOND);
        }
        let within = cache.clone();
        let failed = cache.value(&LENIENT).get_or_load(move || async move {
            within.invalidate(Selector::tag("t")).await.unwrap();
            Err::<u32, _>("down")
        });
        assert_eq!(failed.await.unwrap_err(), "down", "{at_once}");
    }
    let (cache, _) = cache();
    cache.value(&LENIENT).put(1);
    cache.invalidate(Selector::tag("t").soft()).await.unwrap();
    let stale = cache.value(&LENIENT).get_or_load(|| async { Err::<u32, _>("down") }).await;
    assert_eq!(stale.map(|value| *value), Ok(1), "softly it does");
    assert!(cache.value(&LENIENT).get().await.is_none(), "but it is not fresh");
}

#[tokio::test]
async fn what_is_stale_is_loaded_once_in_the_background() {
    static SWR: Value<u32> = Value::named("swr").fresh_for(MINUTE).stale_while_revalidate(MINUTE).shared();
    let (cache, clock) = cache();
    cache.value(&SWR).put(0);
    clock.advance(MINUTE);
    let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    for _ in 0..100 {
        assert_eq!(*cache.value(&SWR).get_or_load(held(&loads, &gate)).await.unwrap(), 0);
    }
    until("the load", || loads.load(SeqCst) == 1).await;
    assert_eq!(cache.stats().background, 1);
    gate.notify_one();
    until("its end", || cache.stats().background == 0).await;
    assert_eq!(*cache.value(&SWR).get_or_load(held(&loads, &gate)).await.unwrap(), 1);
    assert_eq!(loads.load(SeqCst), 1);
    let stats = idle(&cache);
    assert_eq!((stats.stale, stats.refreshes, stats.failed_refreshes), (100, 1, 0));
    // One that fails or panics in the background is tried again after a while.
    clock.advance(MINUTE);
    let tries = Arc::new(AtomicU32::new(0));
    for (wait, tried) in [(0, 1), (29, 1), (1, 2)] {
        clock.advance(Duration::from_secs(wait));
        let count = Arc::clone(&tries);
        let load = move || async move {
            assert!(count.fetch_add(1, SeqCst) > 0, "as the test wants");
            Err::<u32, _>("down")
        };
        assert_eq!(*cache.value(&SWR).get_or_load(load).await.unwrap(), 1);
        settle().await;
        assert_eq!(tries.load(SeqCst), tried);
    }
    assert_eq!(idle(&cache).failed_refreshes, 2);
}

#[tokio::test]
async fn eagerly_before_the_end() {
    static EAGER: Value<u32> = Value::named("eager").fresh_for(MINUTE).eager_refresh(0.5).shared();
    let (cache, clock) = cache();
    let loader = Loader::default();
    for (wait, value, loads) in [(0, 1, 1), (29, 1, 1), (1, 1, 2), (0, 2, 2)] {
        clock.advance(Duration::from_secs(wait));
        assert_eq!(*cache.value(&EAGER).get_or_load(loader.load()).await.unwrap(), value);
        settle().await;
        assert_eq!(loader.loads(), loads);
    }
    assert_eq!(idle(&cache).misses, 1);
}

#[tokio::test]
async fn a_lifetime_by_the_value() {
    static FOUND: Value<Option<u32>> = Value::named("found").shared().lifetime_of(|found| match found {
        Some(0) => None,
        Some(1) => Some(Duration::ZERO),
        Some(2) => panic!("as the test wants"),
        Some(_) => Some(HOUR),
        None => Some(MINUTE),
    });
    for (value, lifetime) in [(Some(9), 3600), (None, 60), (Some(0), 0), (Some(1), 0), (Some(2), 0)] {
        let (cache, clock) = cache();
        let loaded = cache.value(&FOUND).get_or_load(move || async move { Never::Ok(value) }).await.unwrap();
        assert_eq!(*loaded, value);
        if lifetime > 0 {
            clock.advance(Duration::from_secs(lifetime - 1));
            assert_eq!(cache.value(&FOUND).get().await.as_deref(), Some(&value), "also that there is nothing");
            clock.advance(SECOND);
        }
        assert!(cache.value(&FOUND).get().await.is_none(), "{value:?}");
        idle(&cache);
    }
}

#[tokio::test]
async fn invalidated_while_it_is_loaded_it_is_not_kept() {
    type Event = fn(&Cache) -> crate::support::Later<()>;
    let events: [Event; 6] = [
        |cache| {
            let cache = cache.clone();
            Box::pin(async move {
                let _ = cache.invalidate(Selector::tag("rates")).await.unwrap();
            })
        },
        |cache| {
            let cache = cache.clone();
            Box::pin(async move {
                let _ = cache.invalidate(Selector::all_of(["rates"])).await.unwrap();
            })
        },
        |cache| {
            let cache = cache.clone();
            Box::pin(async move {
                let _ = cache.invalidate(Selector::pattern("*rate")).await.unwrap();
            })
        },
        |cache| {
            let cache = cache.clone();
            Box::pin(async move {
                let _ = cache.invalidate(Selector::value("rate")).await.unwrap();
            })
        },
        |cache| {
            cache.value(&RATE).remove();
            Box::pin(async {})
        },
        |cache| {
            let cache = cache.clone();
            Box::pin(async move {
                let _ = cache.bump_version().await;
            })
        },
    ];
    for (at, event) in events.into_iter().enumerate() {
        let (cache, _) = cache();
        let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (cache, load) = (cache.clone(), held(&loads, &gate));
            tokio::spawn(async move { *cache.value(&RATE).get_or_load(load).await.unwrap() })
        };
        let first = ask();
        until("the load", || loads.load(SeqCst) == 1).await;
        let beside = ask();
        settle().await;
        event(&cache).await;
        let later = ask();
        until("another", || loads.load(SeqCst) == 2).await;
        settle().await;
        gate.notify_waiters();
        settle().await;
        gate.notify_waiters();
        assert_eq!(first.await.unwrap(), 1, "{at}");
        assert_eq!(later.await.unwrap(), 2, "{at}: not what was loaded before");
        let _ = beside.await.unwrap();
        assert_ne!(cache.value(&RATE).peek().as_deref(), Some(&1), "{at}");
        idle(&cache);
    }
}

/// A put while it is loaded is younger than what the load has seen.
#[tokio::test]
async fn a_slow_load_does_not_overwrite_what_was_put_meanwhile() {
    let (cache, _) = cache();
    let within = cache.clone();
    let loaded = cache.value(&RATE).get_or_load(move || async move {
        within.value(&RATE).put(100);
        Never::Ok(1)
    });
    assert_eq!(*loaded.await.unwrap(), 1);
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&100));
}

#[tokio::test]
async fn write_through_saves_then_puts() {
    let (cache, _) = cache();
    cache.value(&RATE).put(1);
    let seen = cache.clone();
    let saved = cache.value(&RATE).write_through(2, move |value| async move {
        assert_eq!((*value, seen.value(&RATE).peek().as_deref()), (2, Some(&1)), "not before it is saved");
        Never::Ok(())
    });
    assert_eq!(*saved.await.unwrap(), 2);
    assert_eq!(cache.value(&RATE).get().await.as_deref(), Some(&2));
    let failed = cache.value(&RATE).write_through(3, |_| async { Err("down") }).await;
    assert_eq!(failed.unwrap_err(), "down");
    assert!(cache.value(&RATE).get().await.is_none(), "nobody knows what was saved");
    cache.value(&RATE).put(4);
    let (gate, cancelled) = (Arc::new(Notify::new()), cache.clone());
    let held = Arc::clone(&gate);
    let saving = tokio::spawn(async move {
        let save = move |_| async move {
            held.notified().await;
            Never::Ok(())
        };
        cancelled.value(&RATE).write_through(5, save).await
    });
    settle().await;
    saving.abort();
    assert!(saving.await.unwrap_err().is_cancelled());
    assert!(cache.value(&RATE).get().await.is_none(), "it may have been saved");
    idle(&cache);
}

/// A load that read before the value was saved, and ends after it, brings what is old.
#[tokio::test]
async fn a_load_from_before_a_write_is_not_kept() {
    let (cache, _) = cache();
    let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let loading = {
        let (cache, load) = (cache.clone(), held(&loads, &gate));
        tokio::spawn(async move { cache.value(&RATE).get_or_load(load).await })
    };
    until("the load", || loads.load(SeqCst) == 1).await;
    cache.value(&RATE).write_through(50, |_| async { Never::Ok(()) }).await.unwrap();
    gate.notify_one();
    loading.await.unwrap().unwrap();
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&50));
}

/// The first is saved first and ends last: what is kept is not what is saved.
#[tokio::test]
async fn two_writes_at_once_leave_what_was_saved_or_nothing() {
    let (cache, _) = cache();
    let database = Arc::new(Mutex::new(0));
    let gate = Arc::new(Notify::new());
    let (first, table, held) = (cache.clone(), Arc::clone(&database), Arc::clone(&gate));
    let slow = tokio::spawn(async move {
        let save = move |value: Arc<u32>| async move {
            *table.lock().unwrap() = *value;
            held.notified().await;
            Never::Ok(())
        };
        first.value(&RATE).write_through(1, save).await
    });
    until("the first is saved", || *database.lock().unwrap() == 1).await;
    let table = Arc::clone(&database);
    let save = move |value: Arc<u32>| async move {
        *table.lock().unwrap() = *value;
        Never::Ok(())
    };
    cache.value(&RATE).write_through(2, save).await.unwrap();
    gate.notify_one();
    slow.await.unwrap().unwrap();
    let kept = cache.value(&RATE).peek();
    assert!(kept.is_none() || kept.as_deref() == Some(&*database.lock().unwrap()), "{kept:?}");
}

/// A handler holds the only place for fills, and loads a value: both are of one request.
#[tokio::test(start_paused = true)]
async fn a_load_within_a_load_waits_for_no_place() {
    static PART: Value<u32> = Value::named("part").fresh_for(MINUTE).shared();
    let (cache, _) = test_util::cache_with(Cache::builder().memory(1 << 20).fill_limit(1)).unwrap();
    let within = cache.clone();
    let part = move || async move { within.value(&PART).get_or_load(|| async { Never::Ok(1) }).await };
    let load = move || async move { part().await.map(|part| *part + 1) };
    let loaded = tokio::time::timeout(SECOND, cache.value(&RATE).get_or_load(load)).await.expect("no wait");
    assert_eq!(*loaded.unwrap(), 2);
}

#[tokio::test]
async fn without_a_runtime_to_spawn_on_nothing_is_lost() {
    let stopped = Arc::new(AtomicBool::new(false));
    let (cache, _) = cache();
    cache.shutdown(SECOND).await;
    let gate = Arc::clone(&stopped);
    let load = move || async move {
        gate.store(true, SeqCst);
        Ok::<_, Infallible>(1)
    };
    assert_eq!(*cache.value(&RATE).get_or_load(load).await.unwrap(), 1);
    assert!(stopped.load(SeqCst) && cache.value(&RATE).get().await.is_some());
    idle(&cache);
}

/// Nor is it given to those who come after the ban has been swept.
#[tokio::test(start_paused = true)]
async fn nobody_gets_a_slow_load_from_before_a_swept_ban() {
    static SLOW: Value<u32> = Value::named("slow").fresh_for(MINUTE).wait_limit(HOUR).shared().tags(&["a", "b"]);
    for selector in [Selector::pattern("*slow"), Selector::all_of(["a", "b"])] {
        let (cache, _) = cache();
        cache.value(&RATE).put(1);
        let (loads, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let ask = || {
            let (cache, load) = (cache.clone(), held(&loads, &gate));
            tokio::spawn(async move { *cache.value(&SLOW).get_or_load(load).await.unwrap() })
        };
        let first = ask();
        until("the load", || loads.load(SeqCst) == 1).await;
        cache.invalidate(selector.clone()).await.unwrap();
        tokio::time::sleep(31 * SECOND).await;
        let later = ask();
        settle().await;
        gate.notify_waiters();
        settle().await;
        gate.notify_waiters();
        assert_eq!(first.await.unwrap(), 1);
        assert_eq!(later.await.unwrap(), 2, "{selector:?}");
        assert_eq!(cache.value(&SLOW).peek().as_deref(), Some(&2));
    }
}

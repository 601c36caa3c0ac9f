//! Invalidations that come by the clock.

use crate::{
    shop::{Answer, Shop},
    support::{HOUR, settle},
};
use larder::{Policy, Selector, UtcOffset, daily_at};
use std::{
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::{Duration, SystemTime},
};

const SECOND: Duration = Duration::from_secs(1);

async fn shop() -> Shop {
    let shop = Shop::new(Policy::fresh_for(1000 * HOUR).tags(["rate"]), |_, number| Answer::ok(format!("v{number}")));
    shop.get("/rate").await;
    shop
}

/// Lets both clocks go on, in small steps.
async fn pass(shop: &Shop, secs: u64) {
    for _ in 0..secs.div_ceil(10) {
        shop.advance(10);
        tokio::time::advance(10 * SECOND).await;
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn again_and_again_until_it_is_stopped() {
    let shop = shop().await;
    let schedule = shop.cache.invalidate_every(60 * SECOND, Selector::tag("rate")).unwrap();
    for round in 1..=3 {
        pass(&shop, 50).await;
        assert_eq!(shop.get("/rate").await.outcome(), "hit", "{round}");
        pass(&shop, 20).await;
        assert_eq!(shop.get("/rate").await.outcome(), "miss", "{round}");
        pass(&shop, 50).await;
        assert_eq!(shop.get("/rate").await.outcome(), "miss", "{round}");
    }
    schedule.stop();
    settle().await;
    let before = shop.cache.stats().invalidations;
    pass(&shop, 600).await;
    assert_eq!(shop.cache.stats().invalidations, before);
}

#[tokio::test(start_paused = true)]
async fn dropped_it_goes_on_and_a_shutdown_ends_it() {
    let shop = shop().await;
    drop(shop.cache.invalidate_every(60 * SECOND, Selector::everything()).unwrap());
    settle().await;
    pass(&shop, 120).await;
    assert_eq!(shop.cache.stats().invalidations, 2);
    assert_eq!(shop.cache.shutdown(SECOND).await.aborted, 0);
    pass(&shop, 600).await;
    assert_eq!(shop.cache.stats().invalidations, 2);
    drop(shop.cache.invalidate_every(60 * SECOND, Selector::everything()).unwrap());
    pass(&shop, 600).await;
    assert_eq!(shop.cache.stats().invalidations, 2, "none begins any more");
}

#[tokio::test(start_paused = true)]
async fn at_certain_moments_and_no_more() {
    let shop = shop().await;
    let start = SystemTime::from(shop.clock.now());
    let moments = [start + 100 * SECOND, start + 200 * SECOND];
    let next = move |after: SystemTime| moments.into_iter().find(|moment| *moment > after);
    let _schedule = shop.cache.invalidate_at(next, Selector::tag("rate")).unwrap();
    for (secs, outcome) in [(90, "hit"), (20, "miss"), (80, "hit"), (20, "miss"), (1000, "hit")] {
        pass(&shop, secs).await;
        assert_eq!(shop.get("/rate").await.outcome(), outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn every_day_at_half_past_nine() {
    let shop = shop().await;
    let opening = daily_at(9, 30, UtcOffset::hours(2));
    let left = opening(shop.clock.now().into()).duration_since(shop.clock.now().into()).unwrap().as_secs();
    let _schedule = shop.cache.invalidate_at(move |now| Some(opening(now)), Selector::tag("rate").soft()).unwrap();
    pass(&shop, left - 100).await;
    assert_eq!(shop.cache.stats().invalidations, 0);
    pass(&shop, 200).await;
    assert_eq!(shop.cache.stats().invalidations, 1);
}

#[tokio::test(start_paused = true)]
async fn the_cache_goes_when_only_a_schedule_is_left() {
    let shop = shop().await;
    let _schedule = shop.cache.invalidate_every(60 * SECOND, Selector::everything()).unwrap();
    settle().await;
    drop(shop);
    tokio::time::sleep(200 * SECOND).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}

#[tokio::test]
async fn what_cannot_be_meant_is_an_error() {
    let shop = shop().await;
    assert!(shop.cache.invalidate_every(Duration::ZERO, Selector::everything()).is_err());
    assert!(shop.cache.invalidate_every(SECOND, Selector::tag("")).is_err());
    assert!(shop.cache.invalidate_at(|_| None, Selector::pattern("")).is_err());
    drop(shop.cache.invalidate_at(|_| None, Selector::everything()).unwrap());
    drop(shop.cache.invalidate_at(|now| now.checked_sub(SECOND), Selector::everything()).unwrap());
    settle().await;
    assert_eq!(shop.cache.stats().invalidations, 0);
}

/// After a day asleep, or when the wall clock is set, once is enough.
#[tokio::test(start_paused = true)]
async fn missed_moments_count_once() {
    let shop = shop().await;
    let _schedule = shop.cache.invalidate_every(SECOND, Selector::tag("rate")).unwrap();
    settle().await;
    shop.advance(24 * 3600);
    tokio::time::advance(60 * SECOND).await;
    settle().await;
    let done = shop.cache.stats().invalidations;
    assert!((1..=60).contains(&done), "{done}");
}

/// Nobody knows the next moment then: each minute is one, until the closure tells again.
#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_does_not_end_it() {
    let shop = shop().await;
    let calls = AtomicU32::new(0);
    let next = move |after: SystemTime| {
        assert!(!(1..=2).contains(&calls.fetch_add(1, SeqCst)), "as the test wants");
        Some(after + 100 * SECOND)
    };
    let schedule = shop.cache.invalidate_at(next, Selector::tag("rate")).unwrap();
    for (secs, done) in [(90, 0), (20, 1), (40, 1), (20, 2), (60, 3), (80, 3), (30, 4)] {
        pass(&shop, secs).await;
        assert_eq!(shop.cache.stats().invalidations, done);
    }
    schedule.stop();
}

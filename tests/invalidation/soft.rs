//! Soft invalidations open the windows at that moment; hard ones leave nothing to open.

use crate::{
    shop::{Answer, Shop},
    support::{HOUR, MINUTE, settle, until},
};
use http::header::IF_NONE_MATCH;
use larder::{Policy, Selector};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};
use tokio::sync::Notify;

fn shop(policy: Policy, etag: bool) -> (Shop, Arc<AtomicBool>) {
    let down = Arc::new(AtomicBool::new(false));
    let is_down = Arc::clone(&down);
    let shop = Shop::new(policy.tags(["t"]), move |request, number| {
        if is_down.load(SeqCst) {
            return Answer::down();
        }
        match (etag, request.headers.contains_key(IF_NONE_MATCH)) {
            (true, true) => Answer::status(304, "").with("etag", "\"e\""),
            (true, false) => Answer::ok(format!("v{number}")).with("etag", "\"e\""),
            (false, conditional) => Answer::ok(format!("v{number} {conditional}")),
        }
    });
    (shop, down)
}

#[tokio::test]
async fn the_window_of_stale_while_revalidate_opens_then() {
    for (after, outcome) in [(0, "stale"), (59, "stale"), (60, "miss"), (1000, "miss")] {
        let (shop, _) = shop(Policy::fresh_for(HOUR).stale_while_revalidate(MINUTE), false);
        shop.get("/x").await;
        shop.advance(100);
        shop.invalidate(Selector::tag("t").soft()).await;
        shop.advance(after);
        let got = shop.get("/x").await;
        assert_eq!(got.outcome(), outcome, "{after}");
        if outcome == "stale" {
            assert!(got.text().starts_with("v1") && got.header("age") == (100 + after).to_string());
        }
        settle().await;
        let got = shop.get("/x").await;
        assert!(got.outcome() == "hit" && got.text().starts_with("v2"), "{after}");
        assert_eq!((shop.calls(), shop.cache.stats().background), (2, 0));
    }
}

#[tokio::test]
async fn the_window_of_stale_if_error_opens_then() {
    for (after, served) in [(0, true), (59, true), (60, false)] {
        let (shop, down) = shop(Policy::fresh_for(HOUR).stale_if_error(MINUTE), false);
        shop.get("/x").await;
        shop.invalidate(Selector::tag("t").soft()).await;
        down.store(true, SeqCst);
        shop.advance(after);
        let got = shop.try_send(&larder::Identity::new(), http::Request::get("/x")).await;
        assert_eq!(got.is_ok(), served, "{after}");
        assert!(got.is_err() || got.unwrap().outcome() == "stale");
    }
}

#[tokio::test]
async fn softly_it_may_be_validated_and_is_fresh_again() {
    let (shop, _) = shop(Policy::fresh_for(HOUR), true);
    shop.get("/x").await;
    for round in 0..3 {
        shop.invalidate(Selector::tag("t").soft()).await;
        let got = shop.get("/x").await;
        assert_eq!((got.outcome(), got.text()), ("revalidated", "v1"), "{round}");
        shop.advance(3599);
        assert_eq!(shop.get("/x").await.outcome(), "hit");
    }
    assert_eq!(shop.calls(), 4);
}

#[tokio::test]
async fn hard_is_never_validated_nor_served_for_want_of_better() {
    let policy = Policy::fresh_for(HOUR).stale_while_revalidate(HOUR).stale_if_error(HOUR);
    for softly_before in [false, true] {
        let (shop, down) = shop(policy.clone(), true);
        shop.get("/x").await;
        if softly_before {
            shop.invalidate(Selector::tag("t").soft()).await;
        }
        shop.invalidate(Selector::tag("t")).await;
        shop.invalidate(Selector::tag("t").soft()).await;
        down.store(true, SeqCst);
        assert!(shop.try_send(&larder::Identity::new(), http::Request::get("/x")).await.is_err());
        down.store(false, SeqCst);
        let got = shop.get("/x").await;
        assert_eq!((got.outcome(), got.text()), ("miss", "v3"), "asked without a condition");
    }
}

#[tokio::test]
async fn what_is_stale_already_lives_no_longer() {
    let (shop, _) = shop(Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE), false);
    shop.get("/x").await;
    shop.advance(110);
    shop.invalidate(Selector::tag("t").soft()).await;
    shop.advance(10);
    assert_eq!(shop.get("/x").await.outcome(), "miss");
}

async fn twice(asked: bool) {
    let (shop, down) = shop(Policy::fresh_for(HOUR).stale_while_revalidate(MINUTE), false);
    shop.get("/x").await;
    shop.invalidate(Selector::tag("t").soft()).await;
    if asked {
        down.store(true, SeqCst);
        assert_eq!(shop.get("/x").await.outcome(), "stale");
        settle().await;
        down.store(false, SeqCst);
    }
    shop.advance(61);
    // So many that they are not tried one by one.
    for other in 0..100 {
        shop.invalidate(Selector::tag(format!("other-{other}"))).await;
    }
    shop.invalidate(Selector::tag("t").soft()).await;
    assert_eq!(shop.get("/x").await.outcome(), "miss");
}

#[tokio::test]
async fn the_first_of_two_opens_the_window() {
    twice(true).await;
}

#[tokio::test]
async fn the_first_of_two_opens_the_window_also_if_nobody_asks_between() {
    twice(false).await;
}

/// As it does where its lifetime has ended by itself.
#[tokio::test]
async fn a_refetch_outlives_its_client() {
    let gate = Arc::new(Notify::new());
    for soft in [false, true] {
        let held = Arc::clone(&gate);
        let shop = Shop::new(Policy::fresh_for(MINUTE), move |_, number| match number {
            2 => Answer::ok("v2").gate(&held),
            number => Answer::ok(format!("v{number}")),
        });
        shop.get("/x").await;
        if soft {
            shop.invalidate(Selector::everything().soft()).await;
        } else {
            shop.advance(60);
        }
        let asking = shop.spawn("/x");
        until("the call", || shop.calls() == 2).await;
        settle().await;
        asking.abort();
        settle().await;
        gate.notify_one();
        settle().await;
        let got = shop.get("/x").await;
        assert_eq!((got.outcome(), got.text()), ("hit", "v2"), "soft: {soft}");
    }
}

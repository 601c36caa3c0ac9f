//! What was on its way when it was invalidated (O-21): not stored, and not given to those who came later.

use crate::{
    shop::{Answer, Shop},
    support::{HOUR, MINUTE, Script, settle, until},
};
use http::header::IF_NONE_MATCH;
use larder::{Policy, Selector, Tags};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// The first answer for `/x` is held, at its head or in its body. A declared length lets those who wait read along.
fn held(gate: &Arc<Notify>, in_body: bool, policy: Policy) -> Shop {
    let gate = Arc::clone(gate);
    Shop::new(policy, move |request, number| {
        let answer =
            Answer::ok(format!("v{number}")).saying(Tags::new(["item:5:name", "y"])).with("cache-groups", "\"g\"");
        match request.uri.path() {
            "/x" if number == 1 && in_body => answer.body(Script::new().data("v").wait(&gate).data("1").exact(2)),
            "/x" if number == 1 => answer.gate(&gate),
            _ => answer,
        }
    })
}

fn selectors() -> Vec<Selector> {
    vec![
        Selector::everything(),
        Selector::resource("/x"),
        Selector::tag("y"),
        Selector::tag("item:*"),
        Selector::tag("item:5:*"),
        Selector::all_of(["y", "item:5:name"]),
        Selector::all_of(["y", "item:*"]),
        Selector::group("g"),
        Selector::policy("p"),
        Selector::pattern("*/x"),
        Selector::pattern("p:GET:*"),
    ]
}

fn policy() -> Policy {
    Policy::named("p").fresh_for(HOUR)
}

#[tokio::test]
async fn o_21_later_ones_do_not_get_it_and_it_is_not_stored() {
    for selector in selectors() {
        for (in_body, soft) in [(false, false), (true, false), (false, true), (true, true)] {
            let gate = Arc::new(Notify::new());
            let shop = held(&gate, in_body, policy());
            let first = shop.spawn("/x");
            until("the flight", || shop.calls() == 1).await;
            settle().await;
            // Who was there before it may have what was on its way.
            let beside = shop.spawn("/x");
            settle().await;
            let selector = if soft { selector.clone().soft() } else { selector.clone() };
            shop.invalidate(selector.clone()).await;
            let later = [shop.spawn("/x"), shop.spawn("/x")];
            settle().await;
            gate.notify_one();
            let what = format!("{selector:?} in body: {in_body}");
            assert_eq!(first.await.unwrap().text(), "v1");
            beside.await.unwrap();
            for later in later {
                assert_ne!(later.await.unwrap().text(), "v1", "{what}");
            }
            settle().await;
            let last = shop.get("/x").await;
            assert!(last.outcome() == "hit" && last.text() != "v1", "{what} {}", last.text());
            assert!(shop.calls() <= 3, "{what}: {}", shop.calls());
            let stats = shop.cache.stats();
            assert_eq!((stats.fills, stats.background), (0, 0), "{what}");
        }
    }
}

/// One who waits for an answer that a tag had selected before it came, which is known only when the head is there.
#[tokio::test]
async fn everything_makes_nothing_forgotten() {
    for in_body in [false, true] {
        let gate = Arc::new(Notify::new());
        let shop = held(&gate, in_body, policy());
        let first = shop.spawn("/x");
        until("the flight", || shop.calls() == 1).await;
        settle().await;
        shop.invalidate(Selector::tag("y")).await;
        let later = shop.spawn("/x");
        settle().await;
        shop.invalidate(Selector::everything()).await;
        gate.notify_one();
        assert_eq!(first.await.unwrap().text(), "v1");
        assert_ne!(later.await.unwrap().text(), "v1", "in body: {in_body}");
    }
}

#[tokio::test]
async fn o_21_where_nobody_asks_it_leaves_nothing() {
    for selector in selectors() {
        for in_body in [false, true] {
            let gate = Arc::new(Notify::new());
            let shop = held(&gate, in_body, policy());
            let first = shop.spawn("/x");
            until("the flight", || shop.calls() == 1).await;
            settle().await;
            shop.invalidate(selector.clone()).await;
            gate.notify_one();
            assert_eq!(first.await.unwrap().text(), "v1");
            assert!(!shop.cache.contains("/x"), "{selector:?} {in_body}");
            assert_eq!(shop.not_stored("invalidated"), 1, "{selector:?} {in_body}");
        }
    }
}

#[tokio::test]
async fn a_304_on_its_way_revives_nothing() {
    for selector in selectors() {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let shop = Shop::new(Policy::named("p").fresh_for(MINUTE), move |request, number| {
            let answer = match request.headers.contains_key(IF_NONE_MATCH) {
                true => Answer::status(304, "").gate(&held),
                false => Answer::ok(format!("v{number}")),
            };
            let tags = Tags::new(["item:5:name", "y"]);
            answer.saying(tags).with("cache-groups", "\"g\"").with("etag", "\"e\"")
        });
        shop.get("/x").await;
        shop.advance(61);
        let validating = shop.spawn("/x");
        until("the validation", || shop.calls() == 2).await;
        shop.invalidate(selector.clone()).await;
        let later = shop.spawn("/x");
        settle().await;
        gate.notify_one();
        validating.await.unwrap();
        assert_eq!(later.await.unwrap().text(), "v3", "{selector:?}");
        let got = shop.get("/x").await;
        assert_eq!((got.outcome(), got.text()), ("hit", "v3"), "{selector:?}");
    }
}

/// Longer than the background takes between its rounds, in which it drops bans that have been tried on everything.
const ROUND: Duration = Duration::from_secs(31);

#[tokio::test(start_paused = true)]
async fn bans_that_are_swept_have_done_their_work() {
    for selector in [Selector::pattern("*GET*"), Selector::all_of(["y", "item:*"])] {
        let shop = Shop::new(policy(), |_, number| {
            Answer::ok(format!("v{number}")).saying(Tags::new(["item:5:name", "y"])).with("etag", "\"e\"")
        });
        let uris: Vec<String> = (0..50).map(|at| format!("/{at}")).collect();
        for uri in &uris {
            shop.get(uri).await;
        }
        assert_eq!(shop.cache.stats().resources, 50);
        shop.invalidate(selector.clone()).await;
        tokio::time::sleep(ROUND).await;
        assert_eq!(shop.cache.stats().resources, 0, "what it selects is dropped: {selector:?}");
        for uri in &uris {
            assert_eq!(shop.get(uri).await.outcome(), "miss");
            assert_eq!(shop.get(uri).await.outcome(), "hit");
        }
    }
}

/// A fill from before a ban, slower than the sweep that drops the ban, comes too late to be stored.
#[tokio::test(start_paused = true)]
async fn a_slow_fill_from_before_a_swept_ban_is_not_stored() {
    for selector in [Selector::pattern("*/x"), Selector::all_of(["y", "item:*"])] {
        for in_body in [false, true] {
            let gate = Arc::new(Notify::new());
            let shop = held(&gate, in_body, policy().wait_limit(HOUR));
            let first = shop.spawn("/x");
            until("the flight", || shop.calls() == 1).await;
            settle().await;
            shop.get("/other").await;
            shop.invalidate(selector.clone()).await;
            tokio::time::sleep(ROUND).await;
            gate.notify_one();
            assert_eq!(first.await.unwrap().text(), "v1");
            assert!(!shop.cache.contains("/x"), "{selector:?}");
            assert_ne!(shop.get("/x").await.text(), "v1");
        }
    }
}

async fn after_the_sweep(selector: Selector, joins_after: bool, in_body: bool) {
    let gate = Arc::new(Notify::new());
    let shop = held(&gate, in_body, policy().wait_limit(HOUR));
    let first = shop.spawn("/x");
    until("the flight", || shop.calls() == 1).await;
    settle().await;
    shop.get("/other").await;
    shop.invalidate(selector.clone()).await;
    let mut later = Vec::new();
    if !joins_after {
        later.push(shop.spawn("/x"));
        settle().await;
    }
    tokio::time::sleep(ROUND).await;
    later.push(shop.spawn("/x"));
    settle().await;
    gate.notify_one();
    first.await.unwrap();
    for later in later {
        assert_ne!(later.await.unwrap().text(), "v1", "{selector:?} {joins_after} {in_body}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_slow_fill_from_before_a_swept_pattern() {
    for joins_after in [true, false] {
        for in_body in [false, true] {
            after_the_sweep(Selector::pattern("*/x"), joins_after, in_body).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_a_slow_fill_from_before_swept_tags() {
    for joins_after in [true, false] {
        for in_body in [false, true] {
            after_the_sweep(Selector::all_of(["y", "item:*"]), joins_after, in_body).await;
        }
    }
}

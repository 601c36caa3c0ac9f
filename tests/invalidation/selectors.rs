//! Every selector against the same things: what it hits goes, what it does not hit stays.

use crate::{
    shop::{Answer, Shop, of},
    support::{HOUR, MINUTE, settle},
};
use http::{Request, request};
use larder::{Identity, Policy, Selector, Tags};

struct Thing {
    who: Identity,
    uri: &'static str,
    policy: &'static str,
}

fn nobody() -> Identity {
    Identity::new()
}

fn things() -> [Thing; 9] {
    let admin = of("2").with("role", "admin");
    [
        (nobody(), "/p"),
        (of("1"), "/p"),
        (of("1").with_user(7), "/p?a=1"),
        (of("2").with_user(7), "/p"),
        (admin, "/q"),
        (nobody(), "/g"),
        (of("2"), "/h"),
        (of("1"), "/items"),
        (of("1"), "/o"),
    ]
    .map(|(who, uri)| Thing { who, uri, policy: if uri == "/o" { "other" } else { "list" } })
}

fn answer(request: &request::Parts, number: usize) -> Answer {
    let identified = request.extensions.get::<Identity>().is_some_and(|who| who.user().is_some());
    let tags = match request.uri.path() {
        "/p" if identified => Tags::new(["x", "y"]),
        "/p" => Tags::new(["x", "x", ""]),
        "/q" => Tags::new(["item:5:name", "item:6"]),
        "/g" => Tags::default().global("x"),
        "/h" => Tags::new(["y"]).global("x"),
        "/items" => Tags::new(["item:7", "itemised"]),
        _ => Tags::default(),
    };
    let answer = Answer::ok(format!("v{number}")).saying(tags);
    if request.uri.path() == "/h" { answer.with("cache-groups", "\"scripts\"") } else { answer }
}

async fn filled() -> (Shop, Shop) {
    let policy = |name| Policy::named(name).fresh_for(HOUR).stale_while_revalidate(MINUTE);
    let list = Shop::new(policy("list"), answer);
    let other = list.beside(policy("other"));
    for thing in things() {
        let shop = if thing.policy == "list" { &list } else { &other };
        assert_eq!(shop.send(&thing.who, Request::get(thing.uri)).await.outcome(), "miss");
    }
    (list, other)
}

/// What each hits, by its place among the things.
fn cases() -> Vec<(Selector, Vec<usize>)> {
    let of_one = vec![1, 2, 7, 8];
    vec![
        (Selector::everything(), (0..9).collect()),
        (Selector::everything().within(1), of_one.clone()),
        (Selector::everything().within(3), vec![]),
        (Selector::tenant(1), of_one.clone()),
        (Selector::tenant(1).within(2), vec![]),
        (Selector::user(7), vec![2, 3]),
        (Selector::user(7).within(1), vec![2]),
        (Selector::attribute("role", "admin"), vec![4]),
        (Selector::attribute("role", "admin").within(1), vec![]),
        (Selector::resource("/p"), vec![0, 1, 3]),
        (Selector::resource("/p").within(2), vec![3]),
        (Selector::resource("/p?a=1"), vec![2]),
        (Selector::tag("x"), vec![0, 1, 2, 3, 5, 6]),
        (Selector::tag("x").within(1), vec![1, 2, 5, 6]),
        (Selector::tag("X"), vec![]),
        (Selector::tag("item:*"), vec![4, 7]),
        (Selector::tag("item:*").within(1), vec![7]),
        (Selector::tag("item:5:*"), vec![4]),
        (Selector::tag("item:5"), vec![]),
        (Selector::tag("item:7"), vec![7]),
        (Selector::tag("item*"), vec![]),
        (Selector::all_of(["x", "y"]), vec![2, 3, 6]),
        (Selector::all_of(["x", "y"]).within(1), vec![2]),
        (Selector::all_of(["item:5:*", "item:6"]), vec![4]),
        (Selector::all_of(["x", "absent"]), vec![]),
        (Selector::group("scripts"), vec![6]),
        (Selector::group("scripts").within(1), vec![]),
        (Selector::group("Scripts"), vec![]),
        (Selector::policy("list"), (0..8).collect()),
        (Selector::policy("list").within(2), vec![3, 4, 6]),
        (Selector::policy("other"), vec![8]),
        (Selector::pattern("*"), (0..9).collect()),
        (Selector::pattern("*").within(1), of_one.clone()),
        (Selector::pattern("tenant=1:*"), of_one.clone()),
        (Selector::pattern("tenant:1:*"), of_one),
        (Selector::pattern("tenant=1:user=7:*"), vec![2]),
        (Selector::pattern("*:other:*"), vec![8]),
        (Selector::pattern("*/p"), vec![0, 1, 3]),
        (Selector::pattern("*/p*"), vec![0, 1, 2, 3]),
        (Selector::pattern("*/p*").within(2), vec![3]),
        (Selector::pattern("/p"), vec![0, 1, 2, 3]),
        (Selector::pattern("/p?*"), vec![2]),
        (Selector::pattern("/p*").within(2), vec![3]),
        (Selector::pattern("/"), vec![]),
    ]
}

#[tokio::test]
async fn each_hits_what_it_says_and_nothing_else() {
    for (selector, hit) in cases() {
        for soft in [false, true] {
            let (list, other) = filled().await;
            let preview = list.cache.preview(&selector).await.unwrap();
            assert_eq!(preview.entries, hit.len() as u64, "{selector:?}");
            assert_eq!(preview.bytes > 0, !hit.is_empty());
            let counted = if soft { selector.clone().soft() } else { selector.clone() }.counted();
            let done = list.cache.invalidate(counted).await.unwrap();
            assert_eq!(done.entries(), Some(hit.len() as u64), "{selector:?}");
            assert_eq!(list.cache.invalidate(Selector::resource("/none")).await.unwrap().entries(), None);
            for (at, thing) in things().iter().enumerate() {
                let shop = if thing.policy == "list" { &list } else { &other };
                let got = shop.send(&thing.who, Request::get(thing.uri)).await;
                let expected = match (hit.contains(&at), soft) {
                    (false, _) => "hit",
                    (true, false) => "miss",
                    (true, true) => "stale",
                };
                assert_eq!(got.outcome(), expected, "{selector:?} {at} {}", thing.uri);
            }
            settle().await;
            // Whatever was filled since is good, and nothing runs any more.
            for thing in things() {
                let shop = if thing.policy == "list" { &list } else { &other };
                assert_eq!(shop.send(&thing.who, Request::get(thing.uri)).await.outcome(), "hit", "{selector:?}");
            }
            let stats = list.cache.stats();
            assert_eq!((stats.fills, stats.background), (0, 0));
        }
    }
}

/// `within` tells: only what is the tenant's, and what has a tag that is global. So it is for one tag.
#[tokio::test]
async fn all_of_one_tag_is_that_tag() {
    for selector in [Selector::all_of(["x"]), Selector::all_of(["x"]).within(1)] {
        let (list, _) = filled().await;
        let narrowed =
            if selector == Selector::all_of(["x"]) { Selector::tag("x") } else { Selector::tag("x").within(1) };
        let (all, one) = (list.cache.preview(&selector).await.unwrap(), list.cache.preview(&narrowed).await.unwrap());
        assert_eq!(all.entries, one.entries, "{selector:?}");
    }
}

#[tokio::test]
async fn many_are_one_record_and_one_fault_stops_all() {
    let (list, _) = filled().await;
    let before = list.cache.stats().invalidations;
    let many = [Selector::tag("item:7").counted(), Selector::resource("/q"), Selector::tag("item:6")];
    let done = list.cache.invalidate_many(many).await.unwrap();
    assert_eq!(done.entries(), Some(2), "what two of them hit counts once");
    assert_eq!(list.cache.stats().invalidations, before + 1);
    assert_eq!(list.send(&of("1"), Request::get("/items")).await.outcome(), "miss");
    let bad = [Selector::everything(), Selector::tag(" ")];
    assert!(list.cache.invalidate_many(bad).await.is_err());
    assert_eq!(list.get("/p").await.outcome(), "hit");
    assert_eq!(list.cache.invalidate_many([]).await.unwrap().entries(), None);
    assert_eq!(list.cache.stats().invalidations, before + 1);
    assert!(list.cache.preview(&Selector::pattern("x\\")).await.is_err());
}

#[tokio::test]
async fn hard_and_soft_in_one() {
    let (list, _) = filled().await;
    let before = list.cache.stats().invalidations;
    let both = [Selector::tag("x").soft(), Selector::resource("/g"), Selector::tag("y")];
    list.cache.invalidate_many(both).await.unwrap();
    assert_eq!(list.cache.stats().invalidations, before + 1, "one record");
    for (who, uri, outcome) in [
        (nobody(), "/p", "stale"),
        (nobody(), "/g", "miss"),
        (of("2"), "/h", "miss"),
        (of("1"), "/items", "hit"),
        (of("2").with_user(7), "/p", "miss"),
    ] {
        assert_eq!(list.send(&who, Request::get(uri)).await.outcome(), outcome, "{uri}");
    }
}

#[tokio::test]
async fn a_new_version_starts_empty() {
    let (list, other) = filled().await;
    list.cache.bump_version().await.unwrap();
    for thing in things() {
        let shop = if thing.policy == "list" { &list } else { &other };
        assert_eq!(shop.send(&thing.who, Request::get(thing.uri)).await.outcome(), "miss");
    }
}

/// An entry of several tenants' names, and one whose policy does not key on the tenant.
#[tokio::test]
async fn what_is_not_keyed_on_a_tenant_is_nobodys() {
    let shop = Shop::new(Policy::fresh_for(HOUR).shared().tags(["x"]), answer);
    shop.send(&of("1"), Request::get("/z")).await;
    for (selector, hits) in [
        (Selector::tag("x").within(1), 0),
        (Selector::tenant(1), 0),
        (Selector::everything().within(1), 0),
        (Selector::tag("x"), 1),
    ] {
        assert_eq!(shop.cache.preview(&selector).await.unwrap().entries, hits, "{selector:?}");
    }
}

//! Values over several nodes.

use crate::support::{HOUR, MINUTE, Node, Setup, tagged};
use larder::{Identity, Selector, Value};
use larder_redis_tests::{Server, until};
use std::{convert::Infallible, future::ready};

static RATE: Value<u32> = Value::named("rate").fresh_for(HOUR).tags(&["rates"]).depends_on(&["Rate"]);
static PATIENT: Value<u32> =
    Value::named("patient").fresh_for(MINUTE).stale_while_revalidate(HOUR).stale_if_error(HOUR).shared();
static TEXT: Value<String> = Value::named("text").fresh_for(HOUR).shared();
/// The same name with another type, as in the next version of the application.
static NUMBER: Value<Vec<u64>> = Value::named("text").fresh_for(HOUR).shared();

fn who(user: &str) -> Identity {
    Identity::new().with_tenant(1).with_user(user)
}

async fn load(node: &Node, user: &str, value: u32) -> u32 {
    let load = move || ready(Ok::<_, Infallible>(value));
    let loaded = *node.cache.value(&RATE).for_identity(&who(user)).param("id", 7).get_or_load(load).await.unwrap();
    node.written().await;
    loaded
}

/// Until another value is loaded.
async fn forgets(node: &Node, user: &str, old: u32, new: u32) {
    until("another value", async || load(node, user, new).await != old).await;
}

#[tokio::test]
async fn what_one_loads_the_other_finds() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    assert_eq!(load(&a, "anna", 1).await, 1);
    assert_eq!(load(&b, "anna", 2).await, 1);
    assert_eq!(b.tier().hits, 1);
    assert_eq!(load(&b, "ben", 3).await, 3, "somebody else's");
    assert_eq!(load(&a, "ben", 4).await, 3);
    let call = || b.cache.value(&RATE).for_identity(&who("anna"));
    assert!(call().param("id", 8).get().await.is_none(), "another parameter");
    assert_eq!(*call().param("id", 7).get().await.unwrap(), 1);
}

#[tokio::test]
async fn what_one_invalidates_the_other_loads_again() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    for (round, selector) in [
        Selector::tag("rates"),
        Selector::value("rate"),
        Selector::tenant(1),
        Selector::user("anna").within(1),
        Selector::everything(),
        Selector::pattern("*rate*"),
    ]
    .into_iter()
    .enumerate()
    {
        let round = 10 * u32::try_from(round).unwrap();
        assert_eq!(load(&a, "anna", round + 1).await, round + 1, "{selector:?}");
        assert_eq!(load(&b, "anna", round + 2).await, round + 1, "{selector:?}");
        a.cache.invalidate(selector.clone()).await.unwrap();
        forgets(&b, "anna", round + 1, round + 3).await;
        a.cache.invalidate(Selector::everything()).await.unwrap();
        until("nothing", async || b.cache.value(&RATE).for_identity(&who("anna")).param("id", 7).peek().is_none())
            .await;
    }
    load(&a, "anna", 100).await;
    load(&b, "anna", 101).await;
    a.cache.changed("Rate").await.unwrap();
    forgets(&b, "anna", 100, 102).await;
}

/// Saved, invalidated and put in one: the others load or find the new one, never the old.
#[tokio::test]
async fn written_through() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    let call = |node: &Node| node.cache.clone();
    let mut old = load(&a, "anna", 1).await;
    for new in 2..10 {
        assert_eq!(load(&b, "anna", old).await, old);
        let (a_cache, identity) = (call(&a), who("anna"));
        let through = a_cache.value(&RATE).for_identity(&identity).param("id", 7);
        through.write_through(new, |_| ready(Ok::<_, Infallible>(()))).await.unwrap();
        a.written().await;
        assert_eq!(load(&a, "anna", 1000).await, new, "its own write");
        until("the new one", async || load(&b, "anna", new).await == new).await;
        old = new;
    }
}

#[tokio::test]
async fn removed() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    load(&a, "anna", 1).await;
    load(&b, "anna", 1).await;
    a.cache.value(&RATE).for_identity(&who("anna")).param("id", 7).remove();
    assert_eq!(load(&a, "anna", 2).await, 2, "gone here at once");
    forgets(&b, "anna", 1, 3).await;
}

#[tokio::test]
async fn many_at_once() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    a.cache.value(&TEXT).put_many("id", (0..50).map(|id| (id, format!("text {id}"))));
    a.written().await;
    let found = b.cache.value(&TEXT).get_many("id", 0..60).await;
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(|(id, text)| **text == format!("text {id}")));
    a.cache.value(&TEXT).remove_many("id", 0..25);
    until("half of them", async || b.cache.value(&TEXT).get_many("id", 0..60).await.len() == 25).await;
}

/// A value of another type under the same name is no value of this one.
#[tokio::test]
async fn a_type_that_changed() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    a.cache.value(&TEXT).put("text".to_owned());
    a.written().await;
    assert!(b.cache.value(&NUMBER).get().await.is_none());
    let load = || ready(Ok::<_, Infallible>(vec![7]));
    assert_eq!(*b.cache.value(&NUMBER).get_or_load(load).await.unwrap(), [7]);
}

/// What came from Redis is stale, then refreshed.
#[tokio::test]
async fn o_28_stale_values_while_they_are_loaded() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).timed().two().await;
    a.cache.value(&PATIENT).put(1);
    a.written().await;
    b.advance(MINUTE.saturating_mul(2));
    let load = |value| move || ready(Ok::<_, &'static str>(value));
    assert_eq!(*b.cache.value(&PATIENT).get_or_load(load(2)).await.unwrap(), 1, "stale, and refreshed behind it");
    until("the refreshed one", async || *b.cache.value(&PATIENT).get_or_load(load(3)).await.unwrap() == 2).await;
}

/// It stands in when loading fails.
#[tokio::test]
async fn o_28_stale_values_if_loading_fails() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).timed().two().await;
    a.cache.value(&PATIENT).put(1);
    a.written().await;
    b.advance(MINUTE.saturating_mul(2));
    assert_eq!(*b.cache.value(&PATIENT).get_or_load(|| ready(Err::<u32, _>("down"))).await.unwrap(), 1);
}

/// Whoever asks without the tags that it was loaded with: they are still its own.
#[tokio::test]
async fn what_it_was_tagged_with_it_stays_tagged_with() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    let load = || ready(Ok::<_, Infallible>("old".to_owned()));
    a.cache.value(&TEXT).tags(["mine"]).get_or_load(load).await.unwrap();
    a.written().await;
    assert_eq!(**b.cache.value(&TEXT).get().await.unwrap(), *"old");
    a.cache.invalidate(Selector::tag("mine")).await.unwrap();
    assert!(a.cache.value(&TEXT).get().await.is_none());
    until("nothing is there", async || b.cache.value(&TEXT).get().await.is_none()).await;
}

/// Many at once are some records, not so many that the other nodes would hear of everything.
#[tokio::test]
async fn many_are_removed_and_nothing_else() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    let kept = b.store("/kept").await;
    let load = || ready(Ok::<_, Infallible>("old".to_owned()));
    a.cache.value(&TEXT).param("id", 11_999).get_or_load(load).await.unwrap();
    a.written().await;
    a.cache.value(&TEXT).remove_many("id", 0..12_000);
    until("it is removed", async || b.cache.value(&TEXT).param("id", 11_999).get().await.is_none()).await;
    until("all is sent", async || a.log().waiting == 0).await;
    a.cache.invalidate(Selector::tag("other")).await.unwrap();
    assert_eq!(b.get("/kept").await, kept);
}

/// A newer one that is not kept ends the one before, for all.
#[tokio::test]
async fn what_is_not_kept_ends_what_the_others_have() {
    static QUOTA: Value<Option<u32>> =
        Value::named("quota").shared().lifetime_of(|quota: &Option<u32>| quota.map(|_| HOUR));
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    a.cache.value(&QUOTA).put(Some(5));
    a.written().await;
    assert_eq!(b.cache.value(&QUOTA).get().await.as_deref(), Some(&Some(5)));
    a.cache.value(&QUOTA).put(None);
    assert!(a.cache.value(&QUOTA).get().await.is_none());
    until("it is gone", async || b.cache.value(&QUOTA).get().await.is_none()).await;
}

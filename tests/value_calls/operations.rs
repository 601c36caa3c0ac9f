//! Looking up, putting, removing, one by one and many at once; whose a value is; what it is called.

use crate::{
    Loader, Never, SECOND, cache, idle,
    support::{HOUR, MINUTE},
};
use axum::body::Body;
use http::{Request, Response};
use larder::{Cache, Identity, Selector, StatsLayer, Value};
use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};
use tower::{Layer, ServiceExt, service_fn};

static RATE: Value<u32> = Value::named("rate").fresh_for(MINUTE).shared();
static OWN: Value<String> = Value::named("own").fresh_for(MINUTE);
static OF_TENANT: Value<String> = Value::named("of-tenant").fresh_for(MINUTE).per_tenant();
static OF_USER: Value<String> = Value::named("of-user").fresh_for(MINUTE).per_user();
static OF_ROLE: Value<String> = Value::named("of-role").fresh_for(MINUTE).per(&["role"]);

#[tokio::test]
async fn get_put_peek_remove() {
    let (cache, clock) = cache();
    assert!(cache.value(&RATE).get().await.is_none() && cache.value(&RATE).peek().is_none());
    let put = cache.value(&RATE).put(7);
    let got = cache.value(&RATE).get().await.unwrap();
    assert!(Arc::ptr_eq(&put, &got), "shared, not copied");
    assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&7));
    cache.value(&RATE).put(8);
    assert_eq!(cache.value(&RATE).get().await.as_deref(), Some(&8));
    cache.value(&RATE).remove();
    assert!(cache.value(&RATE).get().await.is_none());
    cache.value(&RATE).put(9);
    assert_eq!(cache.value(&RATE).get().await.as_deref(), Some(&9), "put after it was removed");
    clock.advance(MINUTE);
    assert!(cache.value(&RATE).get().await.is_none());
    let stats = idle(&cache);
    assert_eq!((stats.hits, stats.misses, stats.stored), (3, 3, 3), "a peek counts as nothing");
    cache.value(&RATE).put(10);
    cache.clear();
    assert!(cache.value(&RATE).peek().is_none());
}

#[tokio::test]
async fn whose_it_is() {
    let who =
        |tenant: &str, user: &str, role: &str| Identity::new().with_tenant(tenant).with_user(user).with("role", role);
    let all = [
        who("1", "a", "x"),
        who("1", "a", "y"),
        who("1", "b", "x"),
        who("2", "a", "x"),
        who("2", "b", ""),
        who("", "a", "x"),
        who("3", "", ""),
        Identity::new(),
    ];
    // By each kind: with which of them each shares, the first of those. Every scope but `shared` keys on the tenant, too.
    for (value, shares) in
        [(&OWN, "01234567"), (&OF_TENANT, "00033-6-"), (&OF_USER, "002345--"), (&OF_ROLE, "0103-5--")]
    {
        let (cache, _) = cache();
        let mut bypassed = 0;
        for ((at, who), shares) in all.iter().enumerate().zip(shares.chars()) {
            let call = || cache.value(value).for_identity(who);
            let what = format!("{} {at}", value.name());
            let known = call().peek().map(|known| (*known).clone());
            let missing = shares == '-' || (value.name() == "of-tenant" && who.tenant().is_none());
            if missing {
                call().put("lost".to_owned());
                assert!(call().get().await.is_none() && call().key_text().is_none(), "{what}");
                let loaded = call().get_or_load(|| async { Never::Ok("loaded".to_owned()) }).await.unwrap();
                assert_eq!(*loaded, "loaded");
                bypassed += 1;
                assert_eq!(cache.stats().bypasses["identity-missing"], bypassed, "{what}");
                let written = call().write_through("w".to_owned(), |_| async { Never::Ok(()) }).await.unwrap();
                assert!(*written == "w" && call().peek().is_none());
                call().remove();
            } else if shares.to_string() == at.to_string() {
                assert_eq!(known, None, "{what}");
                call().put(at.to_string());
            } else {
                assert_eq!(known, Some(shares.to_string()), "{what}");
            }
        }
        assert_eq!(cache.value(&RATE).for_identity(&all[0]).peek(), None);
        cache.value(&RATE).for_identity(&all[0]).put(1);
        assert_eq!(cache.value(&RATE).peek().as_deref(), Some(&1), "shared by all, whoever asks");
    }
}

#[tokio::test]
async fn parameters_are_told_apart() {
    let (cache, _) = cache();
    let pieces = ["", "a", "b", ":", "=", "&", "a=b", "a:b", "\0", "%3A", ",", "days", "1", "ä", " "];
    let (mut seen, mut number) = (HashMap::new(), 0_u32);
    for name in pieces {
        for value in pieces {
            for second in [None, Some(("b", "1")), Some((":", "a"))] {
                let mut all = BTreeMap::from([(name, value)]);
                all.extend(second);
                let call = || all.iter().fold(cache.value(&RATE), |call, (name, value)| call.param(*name, value));
                number += 1;
                assert_eq!(call().peek().as_deref(), seen.get(&all), "{all:?}");
                call().put(number);
                seen.insert(all, number);
            }
        }
    }
    assert_eq!(cache.stats().resources, seen.len() as u64);
    let twice = || cache.value(&RATE).param("x", 1).param("days", 30);
    twice().put(7);
    assert_eq!(cache.value(&RATE).param("days", 30).param("x", 1).peek().as_deref(), Some(&7), "in any order");
    assert_eq!(cache.value(&RATE).param("days", 7).param("x", 1).param("days", 30).peek().as_deref(), Some(&7));
    assert_eq!(twice().key_text().unwrap(), format!("{}rate:days=30:x=1", prefix(&cache)));
    assert_eq!(cache.value(&RATE).param("token", "s3cret").key_text().unwrap().matches("s3cret").count(), 0);
}

fn prefix(cache: &Cache) -> String {
    cache.value(&RATE).key_text().unwrap().strip_suffix("rate").unwrap().to_owned()
}

#[tokio::test]
async fn many_at_once() {
    let (cache, _) = cache();
    let call = || cache.value(&RATE).param("kind", "gold");
    call().put_many("id", [(1, 10), (2, 20)]);
    assert_eq!(call().get_many("id", [1, 2, 3]).await, HashMap::from([(1, Arc::new(10)), (2, Arc::new(20))]));
    assert!(cache.value(&RATE).get_many("id", [1, 2]).await.is_empty(), "another parameter, another value");
    let load = |ids: Vec<i32>| async move {
        assert_eq!(ids, [3, 4, 5], "only what is missing, each once, in order");
        Never::Ok(HashMap::from([(3, 30), (4, 40), (99, 990)]))
    };
    let all = call().load_many("id", [1, 3, 4, 3, 5, 1], load).await.unwrap();
    let mut found: Vec<_> = all.iter().map(|(id, value)| (*id, **value)).collect();
    found.sort_unstable();
    assert_eq!(found, [(1, 10), (3, 30), (4, 40), (99, 990)]);
    let again = call().load_many("id", [1, 2, 3, 4], |_| async { panic!("nothing is missing") });
    assert_eq!(again.await.map(|all| all.len()), Never::Ok(4));
    assert!(call().param("id", 99).peek().is_none(), "nobody has asked for it");
    let failed = call().load_many("id", [1, 7], |_| async { Err::<HashMap<_, _>, _>("down") }).await;
    assert_eq!(failed.unwrap_err(), "down");
    call().remove_many("id", [1, 3, 77]);
    assert_eq!(call().get_many("id", 1..=4).await.len(), 2);
    let all = call()
        .cache_if(false)
        .load_many("id", [2, 4], |ids| async { Never::Ok(ids.into_iter().map(|id| (id, 0)).collect()) });
    assert_eq!(all.await.unwrap().values().map(|value| **value).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(call().param("id", 2).peek().as_deref(), Some(&20));
    idle(&cache);
}

#[tokio::test]
async fn many_that_were_invalidated_while_they_were_loaded_are_not_kept() {
    let (cache, _) = cache();
    let within = cache.clone();
    let load = move |ids: Vec<i32>| async move {
        within.value(&RATE).param("id", 1).remove();
        within.invalidate(Selector::tag("two")).await.unwrap();
        Never::Ok(ids.into_iter().map(|id| (id, 0)).collect::<HashMap<_, _>>())
    };
    assert_eq!(cache.value(&RATE).tags(["one"]).load_many("id", [1, 2], load).await.unwrap().len(), 2);
    assert!(cache.value(&RATE).param("id", 1).peek().is_none());
    assert!(cache.value(&RATE).param("id", 2).peek().is_some());
}

#[tokio::test]
async fn a_condition_and_what_is_not_kept() {
    static NOT_KEPT: Value<u32> = Value::named("not-kept").shared();
    let (cache, _) = cache();
    let loader = Loader::default();
    for round in 1..=2 {
        assert_eq!(*cache.value(&RATE).cache_if(false).get_or_load(loader.load()).await.unwrap(), round);
        assert!(cache.value(&RATE).peek().is_none());
    }
    cache.value(&RATE).cache_if(false).put(1);
    assert!(cache.value(&RATE).peek().is_none());
    assert_eq!(cache.stats().bypasses["policy"], 2);
    for round in 3..=4 {
        assert_eq!(*cache.value(&NOT_KEPT).get_or_load(loader.load()).await.unwrap(), round, "it has no lifetime");
    }
    // Over the limit of tags: not kept with a cut list.
    let many = || cache.value(&RATE).tags((0..65).map(|at| format!("t{at}")));
    many().put(1);
    assert!(many().get().await.is_none() && cache.value(&RATE).peek().is_none());
    assert_eq!(cache.stats().resources, 0);
}

#[tokio::test]
async fn selectors_hit_values_too() {
    static TAGGED: Value<u32> =
        Value::named("tagged").fresh_for(HOUR).per_user().tags(&["report", "item:5:x"]).depends_on(&["People"]);
    let users = ["1/a", "1/b", "2/a"];
    let identity = |user: &str| {
        let (tenant, user) = user.split_once('/').unwrap();
        Identity::new().with_tenant(tenant).with_user(user)
    };
    for (selector, gone) in [
        (Selector::value("tagged"), [true; 3]),
        (Selector::value("tagged").within(1), [true, true, false]),
        (Selector::value("tagge"), [false; 3]),
        (Selector::tag("report").within(2), [false, false, true]),
        (Selector::tag("item:5:*"), [true; 3]),
        (Selector::tag("of-call:a"), [true, false, true]),
        (Selector::all_of(["report", "of-call:a"]).within(1), [true, false, false]),
        (Selector::tenant(1), [true, true, false]),
        (Selector::user("a"), [true, false, true]),
        (Selector::pattern("*tagged:days=30"), [true; 3]),
        (Selector::pattern("tenant=1:*").within(1), [true, true, false]),
        (Selector::policy("tagged"), [false; 3]),
        (Selector::everything(), [true; 3]),
    ] {
        let (cache, _) = cache();
        let call = |user: &str| {
            let tag = format!("of-call:{}", &user[2..]);
            cache.value(&TAGGED).for_identity(&identity(user)).tags([tag]).param("days", 30)
        };
        for user in users {
            call(user).put(1);
        }
        let hits = gone.iter().filter(|gone| **gone).count() as u64;
        assert_eq!(cache.preview(&selector).await.unwrap().entries, hits, "{selector:?}");
        cache.invalidate(selector.clone()).await.unwrap();
        for (user, gone) in users.iter().zip(gone) {
            assert_eq!(call(user).peek().is_none(), gone, "{selector:?} {user}");
        }
        cache.changed("People").tenant(1).await.unwrap();
        assert!(call("1/a").peek().is_none() && call("1/b").peek().is_none());
    }
}

#[tokio::test]
async fn two_declarations_of_one_name() {
    static ONE: Value<u32> = Value::named("conflict").fresh_for(MINUTE).shared();
    static SAME: Value<u32> = Value::named("conflict").fresh_for(MINUTE).shared();
    static TYPE: Value<String> = Value::named("conflict").fresh_for(MINUTE).shared();
    static LIFETIME: Value<u32> = Value::named("conflict").fresh_for(HOUR).shared();
    static SCOPE: Value<u32> = Value::named("conflict").fresh_for(MINUTE);
    static TAGS: Value<u32> = Value::named("conflict").fresh_for(MINUTE).shared().tags(&["t"]);
    static BLANK: Value<u32> = Value::named(" ").fresh_for(MINUTE);
    let (cache, _) = cache();
    cache.declare(&ONE).unwrap();
    cache.declare(&SAME).unwrap();
    cache.value(&ONE).put(7);
    assert_eq!(cache.value(&SAME).get().await.as_deref(), Some(&7));
    for error in [cache.declare(&TYPE), cache.declare(&LIFETIME), cache.declare(&SCOPE), cache.declare(&TAGS)] {
        let error = error.unwrap_err().to_string();
        assert!(error.contains("`conflict`") && error.contains("twice"), "{error}");
    }
    assert!(cache.declare(&TYPE).unwrap_err().to_string().contains("another type"));
    assert!(cache.declare(&BLANK).is_err());
    // The one that comes later takes no part, and does no harm.
    cache.value(&TYPE).put("x".to_owned());
    cache.value(&LIFETIME).put(9);
    cache.value(&TYPE).remove();
    assert!(cache.value(&TYPE).get().await.is_none());
    let loaded = cache.value(&TYPE).get_or_load(|| async { Never::Ok("loaded".to_owned()) }).await.unwrap();
    assert_eq!(*loaded, "loaded");
    assert_eq!(cache.value(&ONE).get().await.as_deref(), Some(&7));
    assert_eq!(cache.stats().bypasses["value-conflict"], 1);
    // Another cache is another matter.
    let (other, _) = crate::cache();
    other.declare(&TYPE).unwrap();
    assert!(other.declare(&ONE).is_err());
    cache.declare(&ONE).unwrap();
    assert!(cache.declare(&TYPE).is_err());
}

#[tokio::test]
async fn a_version_starts_empty() {
    static TWO: Value<u32> = Value::named("versioned").version("2").fresh_for(MINUTE).shared();
    static THREE: Value<u32> = Value::named("versioned").version("3").fresh_for(MINUTE).shared();
    let (cache, _) = cache();
    cache.value(&TWO).put(2);
    assert!(cache.value(&THREE).get().await.is_none());
    let text = cache.value(&TWO).key_text().unwrap();
    assert!(text.ends_with("versioned:2"), "{text}");
}

#[tokio::test]
async fn what_a_request_does_with_values_is_told() {
    static COUNTED: Value<u32> = Value::named("counted").fresh_for(HOUR).shared();
    let (cache, _) = cache();
    let handler = cache.clone();
    let app = StatsLayer::on().layer(service_fn(move |request: Request<Body>| {
        let cache = handler.clone();
        async move {
            let call = || cache.value(&COUNTED);
            match request.uri().path() {
                "/load" => drop(call().get_or_load(|| async { Never::Ok(1) }).await),
                "/get" => drop(call().get().await),
                "/peek" => drop(call().peek()),
                "/put" => drop(call().put(2)),
                "/many" => {
                    call().put_many("id", [(1, 1), (2, 2)]);
                    call().get_many("id", 0..3).await;
                }
                "/write" => drop(call().write_through(3, |_| async { Never::Ok(()) }).await),
                "/off" => drop(call().cache_if(false).get_or_load(|| async { Never::Ok(1) }).await),
                _ => call().remove(),
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    }));
    for (path, counts) in [
        ("/load", ["0", "1", "1"]),
        ("/load", ["1", "0", "0"]),
        ("/get", ["1", "0", "0"]),
        ("/peek", ["0", "0", "0"]),
        ("/put", ["0", "0", "1"]),
        ("/many", ["2", "1", "2"]),
        ("/write", ["0", "0", "1"]),
        ("/off", ["0", "0", "0"]),
        ("/remove", ["0", "0", "0"]),
        ("/get", ["0", "1", "0"]),
    ] {
        let response = app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
        let told =
            ["x-cache-hits", "x-cache-misses", "x-cache-sets"].map(|name| response.headers()[name].to_str().unwrap());
        assert_eq!(told, counts, "{path}");
        assert!(!response.headers().contains_key("x-cache"), "no layer took part");
    }
}

/// All of those that cannot be loaded have to be there: one that is not would be taken for one that does not exist.
#[tokio::test]
async fn what_is_stale_stands_in_for_many_that_cannot_be_loaded() {
    static STRICT: Value<u32> = Value::named("strict").fresh_for(MINUTE).shared();
    static LENIENT: Value<u32> = Value::named("lenient").fresh_for(MINUTE).stale_if_error(MINUTE).shared();
    for (value, after, ids, served) in [
        (&LENIENT, MINUTE, vec![1, 2], true),
        (&LENIENT, MINUTE, vec![1, 2, 3], false),
        (&LENIENT, 2 * MINUTE, vec![1], false),
        (&STRICT, MINUTE, vec![1], false),
    ] {
        let (cache, clock) = cache();
        cache.value(value).put_many("id", [(1, 10), (2, 20)]);
        clock.advance(after);
        let tries = Arc::new(AtomicU32::new(0));
        let ask = || {
            cache.value(value).load_many("id", ids.clone(), |_| async {
                tries.fetch_add(1, SeqCst);
                Err::<HashMap<_, _>, _>("down")
            })
        };
        for _ in 0..3 {
            match ask().await {
                Ok(all) => assert!(served && *all[&1] == 10 && *all[&2] == 20 && all.len() == 2),
                Err(error) => assert!(!served && error == "down", "{ids:?}"),
            }
        }
        assert_eq!(tries.load(SeqCst), if served { 1 } else { 3 }, "they are left alone for a while");
        assert!(cache.value(value).get_many("id", ids.clone()).await.is_empty(), "they are not fresh");
        cache.value(value).remove_many("id", [1]);
        assert!(ask().await.is_err(), "what is removed stands in for nothing");
        clock.advance(31 * SECOND);
        let load = |ids: Vec<u32>| async { Never::Ok(ids.into_iter().map(|id| (id, 7)).collect()) };
        assert_eq!(*cache.value(value).load_many("id", ids.clone(), load).await.unwrap()[&1], 7);
        idle(&cache);
    }
}

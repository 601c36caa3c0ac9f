//! INVAL: what was invalidated is gone, also what was on its way (O-21, O-29, O-31).

use crate::support::{App, HOUR, Inner, MINUTE, Random, Reply, Script, head, plain, until};
use http::Request;
use larder::{Policy, Selector, assert_hit, assert_miss};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
};
use tokio::sync::Notify;

/// What ends a flight's right to be stored.
#[derive(Clone, Copy, Debug)]
enum Event {
    Purge,
    PurgeAt,
    Everything,
    Put,
    Post,
    Override,
}

const EVENTS: [Event; 6] = [Event::Purge, Event::PurgeAt, Event::Everything, Event::Put, Event::Post, Event::Override];

impl Event {
    async fn happens(self, app: &App) {
        let at = |request: http::request::Builder| request.header("host", "a.example");
        match self {
            Self::Purge => app.purge("/x").await,
            Self::PurgeAt => app.purge("http://A.example:80/x").await,
            Self::Everything => drop(app.cache.invalidate(Selector::everything()).await.unwrap()),
            Self::Put => drop(app.send(at(Request::put("/x"))).await),
            Self::Post => drop(app.send(at(Request::post("/other"))).await),
            Self::Override => drop(app.send(at(Request::get("/x").header("x-http-method-override", "PUT"))).await),
        }
    }
}

fn get() -> http::request::Builder {
    Request::get("/x").header("host", "a.example")
}

/// The first GET is held at its head or in its body; unsafe requests succeed, and POST says what else it changed.
fn held(gate: &Arc<Notify>, in_body: bool) -> Inner {
    let gate = Arc::clone(gate);
    Inner::by(move |call| {
        if call.method != "GET" || call.has("x-http-method-override") {
            return Reply::status(201, "").with("location", "/x");
        }
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        match call.number {
            1 if in_body => reply.body(Script::new().data("v").wait(&gate).data("1")),
            1 => reply.gate(&gate),
            _ => reply,
        }
    })
}

#[tokio::test]
async fn o_21_flight_fence_after_invalidation() {
    for event in EVENTS {
        for in_body in [false, true] {
            let gate = Arc::new(Notify::new());
            let app = App::new(Policy::rfc9111(), held(&gate, in_body));
            let first = tokio::spawn({
                let app = app.clone();
                async move { app.send(get()).await }
            });
            until("the flight", || app.calls() == 1).await;
            crate::support::settle().await;
            event.happens(&app).await;
            // t2: neither is answered by the flight.
            let second = app.send(get()).await;
            assert_miss!(second);
            let third = app.send(get().header("cache-control", "no-cache")).await;
            assert!(second.text() != "v1" && third.text() != "v1");
            gate.notify_one();
            let first = first.await.unwrap();
            assert_eq!(first.text(), "v1", "who asked before may have it");
            assert_eq!(app.not_stored("invalidated"), 1, "{event:?} {in_body}");
            let last = app.send(get()).await;
            assert_hit!(last);
            assert_eq!(last.text(), third.text(), "{event:?} {in_body}");
        }
    }
}

/// The same where nobody asked in between: the late answer leaves nothing.
#[tokio::test]
async fn o_21_a_late_answer_leaves_nothing() {
    for event in EVENTS {
        for in_body in [false, true] {
            let gate = Arc::new(Notify::new());
            let app = App::new(Policy::fresh_for(MINUTE), held(&gate, in_body));
            let first = tokio::spawn({
                let app = app.clone();
                async move { app.send(get()).await }
            });
            until("the flight", || app.calls() == 1).await;
            crate::support::settle().await;
            event.happens(&app).await;
            gate.notify_one();
            first.await.unwrap();
            assert!(!app.cache.contains("/x"));
            assert_ne!(app.send(get()).await.text(), "v1", "{event:?}");
        }
    }
}

/// A validation or a refresh that was on its way revives nothing either, and nothing hard-invalidated is served for want
/// of better.
#[tokio::test]
async fn o_21_a_validation_on_its_way_revives_nothing() {
    for refresh in [false, true] {
        for answer in ["304", "200", "500", "down"] {
            let gate = Arc::new(Notify::new());
            let held = Arc::clone(&gate);
            let inner = Inner::by(move |call| match (call.number, answer) {
                (1, _) => Reply::ok("old").cc("max-age=60").with("etag", "\"e\""),
                (2, "304") => Reply::status(304, "").with("etag", "\"e\"").cc("max-age=600").gate(&held),
                (2, "200") => Reply::ok("old too").cc("max-age=600").gate(&held),
                (2, "500") => Reply::status(500, "").cc("max-age=600").gate(&held),
                (2, _) => Reply::down().gate(&held),
                _ => Reply::ok("new").cc("max-age=60"),
            });
            let policy = Policy::from_response().stale_if_error(HOUR);
            let app = App::new(if refresh { policy.stale_while_revalidate(HOUR) } else { policy }, inner);
            app.get("/x").await;
            app.advance(61);
            let asking = tokio::spawn({
                let app = app.clone();
                async move { app.ask(plain(Request::get("/x"))).await }
            });
            until("the validation", || app.calls() == 2).await;
            crate::support::settle().await;
            app.purge("/x").await;
            gate.notify_one();
            let asked = asking.await.unwrap();
            assert!(refresh || answer == "304" || asked.is_err() || asked.unwrap().text() != "old", "{answer}");
            crate::support::settle().await;
            assert!(!app.cache.contains("/x"), "{answer}");
            let got = app.get("/x").await;
            assert_eq!(got.text(), "new", "{answer} {refresh}");
        }
    }
}

/// The invalidation comes between the lookup of a stale copy and the start of its validation. What a 304 then says of
/// the old copy does not bring it back: what was hard-invalidated is never validated.
#[tokio::test]
async fn o_21_an_invalidation_between_lookup_and_validation() {
    for refresh in [false, true] {
        let cache: Arc<Mutex<Option<larder::Cache>>> = Arc::default();
        let armed = Arc::new(AtomicUsize::new(0));
        let (seen, trigger) = (Arc::clone(&cache), Arc::clone(&armed));
        // The closure runs when the key is made and again when the fill begins: the second time is in between.
        let uri = move |parts: &http::request::Parts| {
            if trigger.load(SeqCst) > 0 && trigger.fetch_sub(1, SeqCst) == 1 {
                let cache = seen.lock().unwrap().clone().unwrap();
                let invalidation = std::pin::pin!(cache.invalidate(Selector::resource("/x")));
                let mut nobody = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(Future::poll(invalidation, &mut nobody).is_ready());
            }
            parts.uri.clone()
        };
        let inner = Inner::by(|call| match call.number {
            1 => Reply::ok("old").cc("max-age=60").with("etag", "\"e\""),
            2 if call.has("if-none-match") => Reply::status(304, "").with("etag", "\"e\"").cc("max-age=600"),
            _ => Reply::ok("new").cc("max-age=600"),
        });
        let policy = Policy::from_response().uri(uri);
        let app = App::new(if refresh { policy.stale_while_revalidate(HOUR) } else { policy }, inner);
        *cache.lock().unwrap() = Some(app.cache.clone());
        app.get("/x").await;
        app.advance(61);
        armed.store(2, SeqCst);
        app.get("/x").await;
        crate::support::settle().await;
        assert_eq!((app.stats().invalidations, armed.load(SeqCst)), (1, 0));
        assert_eq!(app.get("/x").await.text(), "new", "refresh: {refresh}");
    }
}

/// Random schedules: one writes a version and purges, others read. Nobody gets a version older than the one that was
/// there when the last purge before their request returned. Seeded; the schedules are made by gates that open in random
/// order, on several threads. `LARDER_SOAK=long` makes 100 000 of them.
#[test]
fn o_29_stale_set_race_on_one_node() {
    let long = std::env::var("LARDER_SOAK").is_ok_and(|length| length == "long");
    let each = if long { 25_000 } else { 2_500 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let running: Vec<_> = (0..4_u64)
            .map(|worker| {
                tokio::spawn(async move {
                    for run in 0..each {
                        schedule(worker * each + run).await;
                    }
                })
            })
            .collect();
        for worker in running {
            worker.await.unwrap();
        }
    });
}

async fn schedule(seed: u64) {
    let mut random = Random::seeded(seed + 1);
    let version = Arc::new(AtomicU64::new(1));
    // Answers wait here after they were made, so that they can come late.
    let gates: Arc<Vec<Arc<Notify>>> = Arc::new((0..3).map(|_| Arc::new(Notify::new())).collect());
    let open = Arc::new(AtomicBool::new(false));
    let inner = Inner::by({
        let (version, gates, open) = (Arc::clone(&version), Arc::clone(&gates), Arc::clone(&open));
        let in_body = random.below(2) == 0;
        move |call| {
            let now = version.load(SeqCst);
            let tag = format!("\"{now}\"");
            let known = call.header("if-none-match") == tag;
            let reply = if known { Reply::status(304, "") } else { Reply::ok(now.to_string()) };
            let reply = reply.cc("max-age=60").with("etag", tag);
            match gates.get(call.number - 1).filter(|_| !open.load(SeqCst)) {
                Some(gate) if in_body && !known => reply.body(Script::new().wait(gate).data(now.to_string())),
                Some(gate) => reply.gate(gate),
                None => reply,
            }
        }
    });
    let policy = Policy::from_response().stale_while_revalidate(HOUR).stale_if_error(HOUR);
    let app = App::new(policy, inner);
    if random.below(2) == 0 {
        // Begin with a stale copy.
        gates[0].notify_one();
        app.get("/x").await;
        app.advance(61);
    }
    let read = |app: &App, oldest: u64| {
        let app = app.clone();
        tokio::spawn(async move {
            let got = app.get("/x").await;
            let read: u64 = got.text().parse().unwrap();
            assert!(read >= oldest, "seed {seed}: read {read}, but {oldest} was there before");
        })
    };
    let mut oldest = 1;
    let mut readers = Vec::new();
    for _ in 0..2 + random.below(5) {
        match random.below(4) {
            0 => {
                version.fetch_add(1, SeqCst);
                app.purge("/x").await;
                oldest = version.load(SeqCst);
            }
            1 => gates[usize::try_from(random.below(3)).unwrap()].notify_one(),
            2 => readers.push(read(&app, oldest)),
            _ => tokio::task::yield_now().await,
        }
    }
    version.fetch_add(1, SeqCst);
    app.purge("/x").await;
    let last = version.load(SeqCst);
    open.store(true, SeqCst);
    readers.push(read(&app, last));
    for gate in gates.iter() {
        gate.notify_one();
    }
    for reader in readers {
        reader.await.unwrap();
    }
    // A refresh may still be on its way, now or after this.
    for _ in 0..2 {
        assert_eq!(app.get("/x").await.text(), last.to_string(), "seed {seed}");
        tokio::task::yield_now().await;
    }
}

/// `/x` in three variants at two hosts, and its neighbours, by how POST and its like are answered.
#[tokio::test]
async fn o_31_unsafe_methods_invalidate() {
    for method in ["POST", "PUT", "PATCH", "DELETE", "FOO", "get", "GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
        for status in [200, 201, 204, 299, 301, 303, 307, 304, 400, 404, 409, 500, 503] {
            let safe = matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "QUERY");
            let gone = !safe && status < 400;
            let inner = Inner::by(move |call| {
                if call.has("x-change") {
                    let reply =
                        Reply::status(status, "").with("location", "/new?a=1").with("location", "//b.example/other");
                    return reply.with("content-location", "http://a.example/x/part").cc("no-store");
                }
                Reply::ok(call.header("x-lang")).cc("max-age=60").with("vary", "x-lang")
            });
            let app = App::new(Policy::from_response().key_headers(["x-change"]), inner);
            let at =
                |uri: &str, lang: &str| Request::get(uri).header("host", "a.example").header("x-lang", lang.to_owned());
            let of_x = [("/x", "fr"), ("/x", "en"), ("/x", ""), ("/new?a=1", ""), ("/x/part", "")];
            let others = [("/x?a", ""), ("/X", ""), ("/x/", ""), ("/new", ""), ("/other", ""), ("/", "")];
            for (uri, lang) in of_x.iter().chain(&others) {
                app.send(at(uri, lang)).await;
            }
            let elsewhere = || Request::get("/x").header("host", "b.example");
            app.send(elsewhere()).await;
            let method = http::Method::from_bytes(method.as_bytes()).unwrap();
            let change =
                Request::builder().method(method.clone()).uri("/x").header("host", "a.example").header("x-change", "1");
            app.send(change).await;
            for (uri, lang) in of_x {
                let outcome = app.send(at(uri, lang)).await.outcome();
                assert_eq!(outcome == "miss", gone, "{method} {status}: {uri}");
            }
            for (uri, lang) in others {
                assert_hit!(app.send(at(uri, lang)).await);
            }
            assert_hit!(app.send(elsewhere()).await);
        }
    }
}

/// A change that got no answer, because the service failed or the client went away, may have been made.
#[tokio::test]
async fn o_31_changes_without_an_answer() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let inner = Inner::by(move |call| match call.header("x-do").as_str() {
        "fail" => Reply::down(),
        "wait" => Reply::ok("").gate(&held),
        _ => Reply::ok("x").cc("max-age=60"),
    });
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    app.get("/x").await;
    assert!(app.ask(plain(Request::post("/x").header("x-do", "fail"))).await.is_err());
    assert_miss!(app.get("/x").await);
    let mut asked = Box::pin(app.ask(plain(Request::post("/x").header("x-do", "wait"))));
    for _ in 0..3 {
        assert!(
            Future::poll(asked.as_mut(), &mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending()
        );
    }
    assert_hit!(app.get("/x").await);
    drop(asked);
    assert_miss!(app.get("/x").await);
}

/// Where it is not clear which host an unsafe request means, every host is meant.
#[tokio::test]
async fn o_31_unclear_hosts() {
    let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|_| Reply::ok("x").cc("max-age=60")));
    app.send(get()).await;
    app.get("/x").await;
    for unclear in [
        Request::post("/x").header("host", "a.example").header("host", "b.example"),
        Request::post("http://c.example/x").header("host", "b.example"),
        Request::post("/x").header("host", "user@a.example"),
        Request::post("/x").header("host", "a b"),
    ] {
        app.send(unclear).await;
        assert_miss!(app.send(get()).await);
        assert_miss!(app.get("/x").await);
    }
    app.send(Request::post("/x").header("host", "b.example")).await;
    assert_hit!(app.send(get()).await);
}

/// Invalidation reaches copies of every policy on the cache, and HEAD and ranges of them.
#[tokio::test]
async fn o_31_all_policies_of_the_cache() {
    let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|call| Reply::ok(call.number.to_string())));
    let beside = app.beside(Policy::named("other").fresh_for(HOUR).key_headers(["x-a"]));
    let sorted = app.beside(Policy::named("sorted").fresh_for(HOUR).sort_query());
    for app in [&app, &beside, &sorted] {
        app.get("/x?b=1&a=2").await;
    }
    for app in [&app, &beside, &sorted] {
        assert_hit!(app.send(head("/x?b=1&a=2")).await);
    }
    app.send(Request::delete("/x?b=1&a=2")).await;
    for app in [&app, &beside, &sorted] {
        assert_miss!(app.send(head("/x?b=1&a=2")).await);
        assert_miss!(app.send(Request::get("/x?b=1&a=2").header("range", "bytes=0-0")).await);
    }
}

/// What a client gets for a URI is gone when that URI is purged, also under policies that look at less of it.
#[tokio::test]
async fn o_31_purge_of_a_uri_that_has_more_than_counts() {
    for policy in [Policy::fresh_for(MINUTE).query_only(["a"]), Policy::fresh_for(MINUTE).query_except(["b"])] {
        for purged in ["/x?a=1&b=2", "/x?b=2&a=1", "http://a.example/x?a=1&b=2"] {
            let app = App::new(policy.clone(), Inner::by(|call| Reply::ok(call.number.to_string())));
            let ask = || Request::get("/x?a=1&b=2").header("host", "a.example");
            app.send(ask()).await;
            app.purge(purged).await;
            assert_miss!(app.send(ask()).await);
        }
    }
}

/// Spellings of one path (RFC 3986 §6.2.2) may be stored apart, but are invalidated together: handlers decode them.
#[tokio::test]
async fn o_31_spellings_of_one_path() {
    for (stored, changed) in [
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/caf%C3%A9", "/caf%c3%a9"),
        ("/%7Ea", "/~a"),
        ("/~a", "/%7ea"),
        ("/x?q=%7e", "/x?q=~"),
    ] {
        for purge in [false, true] {
            let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|call| Reply::ok(call.number.to_string())));
            app.get(stored).await;
            if purge {
                app.purge(changed).await;
            } else {
                app.send(Request::post(changed)).await;
            }
            assert_miss!(app.get(stored).await);
        }
    }
}

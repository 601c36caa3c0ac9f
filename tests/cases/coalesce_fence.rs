//! COALESCE: flights and invalidation (O-21, O-29), and flights that hang (O-22).

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, ms, pass, threads},
    support::{App, HOUR, Inner, MINUTE, Reply, Script, plain, settle, until},
};
use http::{Request, request::Builder};
use larder::{Identity, Policy, Selector, assert_hit, assert_miss};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Notify;

/// What ends a flight's right to be stored, and to be shared with those who come from now on.
#[derive(Clone, Copy, Debug)]
enum Event {
    Purge,
    PurgeAt,
    Everything,
    Put,
    Post,
    Override,
    User,
    Tenant,
    Attribute,
    TenantOnly,
    WithinTenant,
}

const EVENTS: [Event; 11] = [
    Event::Purge,
    Event::PurgeAt,
    Event::Everything,
    Event::Put,
    Event::Post,
    Event::Override,
    Event::User,
    Event::Tenant,
    Event::Attribute,
    Event::TenantOnly,
    Event::WithinTenant,
];

fn of(request: Builder) -> Builder {
    let identity = Identity::new().with_tenant("t").with_user("u").with("role", "r");
    request.header("host", "a.example").extension(identity)
}

fn get() -> Builder {
    of(Request::get("/x"))
}

impl Event {
    async fn happens(self, app: &App) {
        let selector = match self {
            Self::Purge => Selector::resource("/x"),
            Self::PurgeAt => Selector::resource("https://A.example:443/x"),
            Self::Everything => Selector::everything(),
            Self::User => Selector::user("u"),
            Self::Tenant => Selector::tenant("t"),
            Self::Attribute => Selector::attribute("role", "r"),
            Self::TenantOnly => Selector::everything().within("t"),
            Self::WithinTenant => Selector::resource("/x").within("t"),
            Self::Put => return drop(app.send(of(Request::put("/x"))).await),
            Self::Post => return drop(app.send(of(Request::post("/other"))).await),
            Self::Override => return drop(app.send(get().header("x-http-method-override", "PUT")).await),
        };
        app.cache.invalidate(selector).await.unwrap();
    }
}

/// Where the first flight is held.
#[derive(Clone, Copy, Debug)]
enum Held {
    Head,
    Body,
    DeclaredBody,
}

const HELD: [Held; 3] = [Held::Head, Held::Body, Held::DeclaredBody];

/// The first GET is held; later ones take 100 ms. Unsafe requests succeed, and POST says what else it changed.
fn held(gate: &Arc<Notify>, held: Held) -> Inner {
    let gate = Arc::clone(gate);
    Inner::by(move |call| {
        if call.method != "GET" || call.has("x-http-method-override") {
            return Reply::status(201, "").with("location", "/x");
        }
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        let body = Script::new().data("v").wait(&gate).data("1");
        match (call.number, held) {
            (1, Held::Head) => reply.gate(&gate),
            (1, Held::Body) => reply.body(body),
            (1, Held::DeclaredBody) => reply.body(body.exact(2)),
            _ => reply.after(ms(100)),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn o_21_the_fence_with_waiters() {
    for event in EVENTS {
        for at in HELD {
            for late in [false, true] {
                for leader_leaves in [false, true] {
                    let what = format!("{event:?} {at:?} {late} {leader_leaves}");
                    let gate = Arc::new(Notify::new());
                    let app = App::new(Policy::rfc9111(), held(&gate, at));
                    let before = Crowd::of(&app, 10, |_| get()).await;
                    pass(10).await;
                    if leader_leaves {
                        before.leaves(0);
                        settle().await;
                    }
                    assert_eq!(app.calls(), 1);
                    event.happens(&app).await;
                    let calls = app.calls();
                    // t2: none of them is answered by the flight, and those that may share another do.
                    let after = Crowd::of(&app, 10, |_| get()).await;
                    let own = Crowd::of(&app, 3, |_| get().header("cache-control", "no-cache")).await;
                    assert_eq!(app.calls(), calls + 1 + 3, "{what}");
                    if late {
                        pass(150).await;
                    }
                    gate.notify_one();
                    let texts: Vec<_> = before.survivors().await.into_iter().map(|got| got.unwrap().body).collect();
                    assert_eq!(texts.len(), if leader_leaves { 9 } else { 10 });
                    assert!(texts.iter().all(|text| text == "v1"), "who came before may have it: {what} {texts:?}");
                    let after = after.all().await;
                    assert!(after.iter().all(|got| got.text() != "v1" && got.text() == after[0].text()), "{what}");
                    let own = own.all().await;
                    assert!(own.iter().all(|got| got.text() != "v1" && got.text() != after[0].text()), "{what}");
                    settle().await;
                    assert_eq!(app.not_stored("invalidated"), 1, "{what}");
                    let last = app.send(get()).await;
                    assert_hit!(last);
                    assert_ne!(last.text(), "v1", "{what}");
                    let stats = app.stats();
                    assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0), "{what}");
                }
            }
        }
    }
}

/// The same where nobody asks in between: the late answer leaves nothing, and is for those who came before.
#[tokio::test(start_paused = true)]
async fn o_21_a_late_answer_leaves_nothing_behind() {
    for event in EVENTS {
        for at in HELD {
            let gate = Arc::new(Notify::new());
            let app = App::new(Policy::fresh_for(MINUTE), held(&gate, at));
            let before = Crowd::of(&app, 10, |_| get()).await;
            pass(10).await;
            event.happens(&app).await;
            gate.notify_one();
            assert!(before.all().await.iter().all(|got| got.text() == "v1"));
            assert!(!app.cache.contains("/x"), "{event:?} {at:?}");
            let after = app.send(get()).await;
            assert_miss!(after);
            assert_ne!(after.text(), "v1");
        }
    }
}

/// What is invalidated elsewhere, or not at all because the request failed, is no reason not to wait.
#[tokio::test(start_paused = true)]
async fn o_21_flights_that_are_not_meant() {
    for at in HELD {
        let gate = Arc::new(Notify::new());
        let inner = held(&gate, at);
        let app = App::new(Policy::rfc9111(), inner);
        let before = Crowd::of(&app, 5, |_| get()).await;
        pass(10).await;
        for selector in [
            Selector::resource("/y"),
            Selector::resource("/x?a"),
            Selector::resource("https://b.example/x"),
            Selector::user("v"),
            Selector::tenant("s"),
            Selector::resource("/x").within("s"),
            Selector::attribute("role", "x"),
        ] {
            app.cache.invalidate(selector).await.unwrap();
        }
        app.send(of(Request::options("/x"))).await;
        let calls = app.calls();
        let after = Crowd::of(&app, 5, |_| get()).await;
        assert_eq!(app.calls(), calls, "{at:?}");
        gate.notify_one();
        for got in before.all().await.iter().chain(&after.all().await) {
            assert_eq!(got.text(), "v1");
        }
        assert_hit!(app.send(get()).await);
    }
}

/// One invalidation after the other: each crowd has a flight of its own, and the last one is stored.
#[tokio::test(start_paused = true)]
async fn o_21_a_flight_for_each_state() {
    for streamed in [false, true] {
        let inner = Inner::by(move |call| {
            let reply = Reply::ok("").cc("max-age=60").after(ms(1000 - 100 * call.number as u64));
            let body = Script::new().data(format!("v{}", call.number));
            reply.body(if streamed { body.pause(ms(50)).data("!").exact(3) } else { body.data("!") })
        });
        let app = App::new(Policy::from_response(), inner);
        let mut crowds = Vec::new();
        for _ in 0..5 {
            crowds.push(Crowd::get(&app, 10, "/x").await);
            pass(10).await;
            app.purge("/x").await;
        }
        crowds.push(Crowd::get(&app, 10, "/x").await);
        for (n, crowd) in crowds.into_iter().enumerate() {
            assert!(crowd.all().await.iter().all(|got| got.text() == format!("v{}!", n + 1)), "{n}");
        }
        settle().await;
        assert_eq!((app.get("/x").await.text(), app.calls()), ("v6!", 6));
        at_rest(&app, 61);
    }
}

/// Those who have waited for another variant, or as long as they may, do not get what was invalidated before they came.
#[tokio::test(start_paused = true)]
async fn o_21_those_who_move_on_keep_their_place_in_time() {
    let version = Arc::new(AtomicU64::new(1));
    let seen = Arc::clone(&version);
    let inner = Inner::by(move |call| {
        let text = format!("{} v{}", call.header("accept-language"), seen.load(SeqCst));
        Reply::ok(text).cc("max-age=60").with("vary", "accept-language").after(ms(100))
    });
    let app = App::new(Policy::from_response(), inner);
    let in_language = |language: &'static str| move |_| Request::get("/x").header("accept-language", language);
    let french = Crowd::of(&app, 5, in_language("fr")).await;
    let english = Crowd::of(&app, 5, in_language("en")).await;
    pass(150).await;
    // The English flight has begun.
    version.store(2, SeqCst);
    app.purge("/x").await;
    let later = Crowd::of(&app, 5, in_language("en")).await;
    assert!(french.all().await.iter().all(|got| got.text() == "fr v1"));
    assert!(english.all().await.iter().all(|got| got.text() == "en v1"));
    assert!(later.all().await.iter().all(|got| got.text() == "en v2"));
    let last = app.send(Request::get("/x").header("accept-language", "en")).await;
    assert_hit!(last);
    assert_eq!(last.text(), "en v2");
}

/// T_lock is 1 s. The leader gets no answer, others get theirs in 50 ms.
#[tokio::test(start_paused = true)]
async fn o_22_hung_leader() {
    for at_body in [false, true] {
        let inner = Inner::by(move |call| {
            let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=600");
            match call.number {
                1 if at_body => reply.body(Script::new().data("v").pause(ms(60_000)).data("1")),
                1 => reply.after(ms(60_000)),
                _ => reply.after(ms(50)),
            }
        });
        let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
        let leading = Crowd::get(&app, 1, "/x").await;
        let crowd = Crowd::get(&app, 200, "/x").await;
        let watch = Stopwatch::start();
        let got = crowd.all().await;
        assert!(watch.millis() <= 1060, "{}", watch.millis());
        assert!(got.iter().all(|got| got.text() == "v2"), "one of them has asked for all");
        assert!(app.calls() == 2 && app.inner.busy().most() <= 2);
        assert_eq!((app.stats().waits_too_long, app.stats().collapsed), (200, 199));
        let hit = app.get("/x").await;
        assert_hit!(hit);
        // The late result does not overwrite the newer one.
        assert!(!leading.done());
        assert_eq!(leading.all().await[0].text(), "v1");
        assert_eq!((app.get("/x").await.text(), app.not_stored("superseded")), ("v2", 1));
        at_rest(&app, 203);
    }
}

/// The second flight hangs too: then each asks for itself, and nobody waits longer than twice the limit.
#[tokio::test(start_paused = true)]
async fn o_22_hung_twice() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=600");
        if call.number <= 2 { reply.after(ms(60_000)) } else { reply.after(ms(50)) }
    });
    let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
    let watch = Stopwatch::start();
    let crowd = Crowd::get(&app, 200, "/x").await;
    pass(2100).await;
    assert_eq!((crowd.waiting(), app.calls()), (2, 200));
    assert!(watch.millis() <= 2110);
    let newest = app.get("/x").await;
    assert_hit!(newest);
    crowd.all().await;
    assert_eq!(app.get("/x").await.text(), newest.text(), "what came late is older");
    at_rest(&app, 202);
}

/// Those who come while the second flight is under way join that one.
#[tokio::test(start_paused = true)]
async fn o_22_who_comes_later_joins_the_second_flight() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=600");
        reply.after(if call.number == 1 { Duration::from_secs(3600) } else { ms(500) })
    });
    let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
    let first = Crowd::get(&app, 10, "/x").await;
    pass(1200).await;
    let watch = Stopwatch::start();
    let got = Crowd::get(&app, 10, "/x").await.all().await;
    assert!(watch.millis() <= 310 && got.iter().all(|got| got.text() == "v2"));
    assert_eq!((app.calls(), first.waiting()), (2, 1));
    // The leader gives up.
    first.leaves(0);
    settle().await;
    assert_eq!(app.stats().background, 1, "it runs on, as nobody knows that it hangs");
}

/// A fill that hangs in the background is broken off in the end.
#[tokio::test(start_paused = true)]
async fn o_22_what_hangs_in_the_background_ends() {
    let inner = Inner::by(|_| Reply::ok("x").cc("max-age=60").after(Duration::from_secs(100_000)));
    let builder = larder::Cache::builder().background_timeout(Duration::from_secs(10));
    let app = App::with(builder, Policy::from_response(), inner);
    let crowd = Crowd::get(&app, 1, "/x").await;
    crowd.leaves(0);
    settle().await;
    assert_eq!((app.stats().background, app.stats().fills), (1, 1));
    pass(9_900).await;
    assert_eq!(app.inner.busy().now(), 1);
    pass(200).await;
    assert_eq!((app.stats().background, app.stats().fills, app.inner.busy().now()), (0, 0, 0));
}

/// One writes a version and purges, many read, on four threads: nobody reads an older version than was there when the
/// last purge before the request had returned.
#[test]
fn o_29_readers_that_wait_for_each_other() {
    threads().block_on(async {
        for (streamed, tagged) in [(false, false), (true, false), (false, true), (true, true)] {
            let (version, purged) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
            let seen = Arc::clone(&version);
            let inner = Inner::by(move |_| {
                let text = format!("{:06}", seen.load(SeqCst));
                let body = Script::new().data(text[..3].to_owned()).pause(ms(0)).data(text[3..].to_owned());
                Reply::ok("").cc("max-age=60").body(if streamed { body.exact(6) } else { body })
            });
            // What the answer is tagged with is known when its head is there.
            let app = App::new(Policy::from_response().tag_with(|_, _| ["page"]), inner);
            let selector = if tagged { Selector::tag("page") } else { Selector::resource("/x") };
            let readers: Vec<_> = (0..8)
                .map(|_| {
                    let (app, purged) = (app.clone(), Arc::clone(&purged));
                    tokio::spawn(async move {
                        for _ in 0..1000 {
                            let oldest = purged.load(SeqCst);
                            let got = app.get("/x").await;
                            assert!(got.text().parse::<u64>().unwrap() >= oldest, "{} < {oldest}", got.text());
                        }
                    })
                })
                .collect();
            while !readers.iter().all(tokio::task::JoinHandle::is_finished) {
                let now = version.fetch_add(1, SeqCst) + 1;
                app.cache.invalidate(selector.clone()).await.unwrap();
                purged.store(now, SeqCst);
                tokio::task::yield_now().await;
            }
            for reader in readers {
                reader.await.unwrap();
            }
            let stats = app.stats();
            assert!(stats.collapsed > 0, "{stats:?}");
            assert_eq!((stats.fills, stats.background), (0, 0));
            assert_eq!(
                app.ask(plain(Request::get("/x"))).await.unwrap().text(),
                format!("{:06}", version.load(SeqCst))
            );
            until("the end", || app.inner.busy().now() == 0).await;
        }
    });
}

#[tokio::test(start_paused = true)]
async fn o_22_a_hung_fill_does_not_keep_its_key_for_the_hard_timeout() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        reply.after(if call.number == 1 { Duration::from_secs(100_000) } else { ms(50) })
    });
    let app = App::new(Policy::from_response().hard_timeout(ms(2000)), inner);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(app.get("/x").await.status.as_u16());
        pass(1000).await;
    }
    assert_eq!(statuses[19], 200, "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn o_22_a_hung_fill_does_not_keep_its_key_stale_for_the_soft_timeout() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        reply.after(if call.number == 2 { Duration::from_secs(100_000) } else { ms(50) })
    });
    let app = App::new(Policy::from_response().stale_if_error(HOUR).soft_timeout(ms(300)), inner);
    app.get("/x").await;
    app.advance(61);
    for _ in 0..20 {
        app.get("/x").await;
        pass(1000).await;
    }
    assert_hit!(app.get("/x").await);
}

#[tokio::test(start_paused = true)]
async fn o_22_a_fill_that_lost_its_flight_is_not_stored() {
    for newer in ["no-store", "private", "max-age=10"] {
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("old").cc("max-age=600").gate(&held),
            _ => Reply::ok("new").cc(newer),
        });
        let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
        let crowd = Crowd::get(&app, 2, "/x").await;
        pass(1500).await;
        app.advance(20);
        gate.notify_one();
        assert_eq!(crowd.all().await[1].text(), "new");
        assert_eq!(app.get("/x").await.text(), "new", "{newer}");
    }
}

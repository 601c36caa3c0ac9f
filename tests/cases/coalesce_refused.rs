//! COALESCE: an answer that cannot be stored is for nobody else (O-20, the waiters of O-01).

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, collapsed, ms, pass},
    support::{App, Call, Inner, MINUTE, Reply, Script, head, plain},
};
use http::Request;
use http_body_util::BodyExt;
use larder::{CacheLayer, Identity, IdentityLayer, Policy, assert_hit, assert_miss};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt};

/// Made for the user who asks: the body begins with their name.
type Kind = (&'static str, fn(&str) -> Reply);

const LIMIT: usize = 1000;

fn padded(user: &str) -> String {
    format!("{user}{}", "x".repeat(2 * LIMIT))
}

const KINDS: [Kind; 14] = [
    ("private", |user| Reply::ok(user.to_owned()).cc("private, max-age=60")),
    ("Private=field", |user| Reply::ok(user.to_owned()).cc("max-age=60, Private=\"x-owner\"")),
    ("set-cookie", |user| Reply::ok(user.to_owned()).cc("max-age=60").with("set-cookie", format!("sid={user}"))),
    ("no-store", |user| Reply::ok(user.to_owned()).cc("no-store")),
    ("vary *", |user| Reply::ok(user.to_owned()).cc("max-age=60").with("vary", "*")),
    ("vary accept, *", |user| Reply::ok(user.to_owned()).cc("max-age=60").with("vary", "accept").with("vary", "*")),
    ("403", |user| Reply::status(403, user.to_owned())),
    ("401", |user| Reply::status(401, user.to_owned()).with("www-authenticate", "Basic")),
    ("302", |user| Reply::status(302, user.to_owned()).with("location", "/login")),
    ("CDN-Cache-Control", |user| {
        Reply::ok(user.to_owned()).cc("public, max-age=60").with("cdn-cache-control", "private")
    }),
    ("event stream", |user| Reply::ok(user.to_owned()).cc("max-age=60").with("content-type", "text/event-stream")),
    ("over the limit, Content-Length", |user| {
        let text = padded(user);
        Reply::ok("").cc("max-age=60").with("content-length", text.len().to_string()).body(Script::new().data(text))
    }),
    ("over the limit, by its size", |user| {
        let text = padded(user);
        let length = text.len() as u64;
        Reply::ok("").cc("max-age=60").body(Script::new().data(text).exact(length))
    }),
    ("over the limit, unknown", |user| {
        let text = padded(user);
        Reply::ok("").cc("max-age=60").body(Script::new().data(text[..LIMIT].to_owned()).data(text[LIMIT..].to_owned()))
    }),
];

/// Refuses until it is told that it has healed. Takes 100 ms.
fn refusing(policy: Policy, kind: fn(&str) -> Reply) -> (App, Arc<AtomicBool>) {
    let healed = Arc::new(AtomicBool::new(false));
    let good = Arc::clone(&healed);
    let answer = move |call: &Call| {
        let reply = if good.load(SeqCst) {
            Reply::ok("for all").cc("public, max-age=60")
        } else {
            kind(&call.header("x-user"))
        };
        reply.with("x-owner", call.header("x-user")).after(ms(100))
    };
    (App::new(policy.max_body(LIMIT), Inner::by(answer)), healed)
}

fn user(n: usize) -> String {
    format!("user-{n:03}.")
}

/// So many users ask at once; each gets their own. How long it took.
async fn each_their_own(app: &App, many: usize, with: impl Fn(usize) -> http::request::Builder) -> u128 {
    app.inner.busy().forget();
    let watch = Stopwatch::start();
    let crowd = Crowd::of(app, many, |n| with(n).header("x-user", user(n))).await;
    for (n, got) in crowd.all().await.iter().enumerate() {
        assert!(got.text().starts_with(&user(n)) && !got.broken, "{n} got {:.20}", got.text());
        assert!(got.header("x-owner") == user(n) && !collapsed(got));
        assert_eq!(got.shows("sid="), got.has("set-cookie") && got.header("set-cookie").ends_with(&user(n)));
    }
    watch.millis()
}

#[tokio::test(start_paused = true)]
async fn o_20_uncacheable_leader_response_is_not_shared() {
    for (kind, reply) in KINDS {
        for with_credentials in [false, true] {
            let asked = |n: usize| match with_credentials {
                true => Request::get("/x").header("authorization", format!("Bearer {n}")),
                false => Request::get("/x"),
            };
            let (app, healed) = refusing(Policy::fresh_for(MINUTE), reply);
            let took = each_their_own(&app, 51, asked).await;
            assert!(took <= 200, "{kind}: {took} ms");
            assert_eq!((app.inner.busy().most(), app.calls()), (50, 51), "{kind}: side by side");
            at_rest(&app, 51);
            assert_eq!((app.stats().resources, app.stats().collapsed), (0, 0));
            // Later requests do not wait for anybody, for a while.
            for _ in 0..2 {
                let took = each_their_own(&app, 50, asked).await;
                assert!(took <= 100 && app.inner.busy().most() == 50, "{kind}: {took} ms");
            }
            // Not for ever.
            app.advance(121);
            healed.store(true, SeqCst);
            let before = app.calls();
            let watch = Stopwatch::start();
            let got = Crowd::of(&app, 50, asked).await.all().await;
            assert!(got.iter().all(|got| got.text() == "for all") && watch.millis() <= 100, "{kind}");
            assert_eq!(app.calls(), before + 1, "{kind}");
            at_rest(&app, 201);
        }
    }
}

/// A cacheable answer ends it at once: what comes next is a hit, and the crowd after a purge is one call.
#[tokio::test(start_paused = true)]
async fn o_20_a_cacheable_answer_clears_it_at_once() {
    for (kind, reply) in KINDS {
        for refusals in [1, 3, 20] {
            let (app, healed) = refusing(Policy::fresh_for(MINUTE), reply);
            for n in 0..refusals {
                assert_miss!(app.send(Request::get("/x").header("x-user", user(n))).await);
            }
            healed.store(true, SeqCst);
            assert_eq!(app.get("/x").await.text(), "for all");
            // Where it was refused so often that answers are no longer considered, the first that could be stored tells.
            let second = app.get("/x").await;
            assert!(refusals >= 8 || second.outcome() == "hit", "{kind} {refusals}");
            assert_hit!(app.get("/x").await);
            app.purge("/x").await;
            let before = app.calls();
            Crowd::get(&app, 50, "/x").await.all().await;
            assert_eq!(app.calls(), before + 1, "{kind} {refusals}");
        }
    }
}

/// After many refusals the cache does no more than watch the heads. It still counts, says why, and notices a change.
#[tokio::test(start_paused = true)]
async fn o_20_after_many_refusals_it_only_watches() {
    for (kind, reply) in KINDS {
        let by_head = !kind.starts_with("over");
        let (app, healed) = refusing(Policy::fresh_for(MINUTE), reply);
        for n in 0..30 {
            let got = app.send(Request::get("/x").header("x-user", user(n))).await;
            assert_miss!(got);
            // The cheap path makes no text of the key.
            let cheap = !got.header("cache-status").contains("key=");
            assert_eq!(cheap, by_head && n >= 8, "{kind} {n}: {}", got.header("cache-status"));
            // Of a body nobody knows before that it will be too long.
            assert!(got.header("cache-status").contains("detail=") || kind.ends_with("unknown"), "{kind} {n}");
        }
        let took = each_their_own(&app, 50, |_| Request::get("/x")).await;
        assert!(took <= 100);
        at_rest(&app, 80);
        // Other requests for it are what they were.
        app.send(head("/x")).await;
        app.send(Request::get("/x").header("range", "bytes=0-0").header("x-user", user(1))).await;
        app.send(Request::post("/x")).await;
        healed.store(true, SeqCst);
        for _ in 0..2 {
            assert_eq!(app.get("/x").await.text(), "for all");
        }
        assert_hit!(app.get("/x").await);
    }
}

#[tokio::test(start_paused = true)]
async fn o_20_as_long_as_the_policy_says() {
    let (_, private) = KINDS[0];
    for (span, at, waits) in [(10, 9, false), (10, 11, true), (0, 0, true)] {
        let policy = Policy::fresh_for(MINUTE).remember_uncacheable(Duration::from_secs(span));
        let (app, _) = refusing(policy, private);
        each_their_own(&app, 1, |_| Request::get("/x")).await;
        app.advance(at);
        let took = each_their_own(&app, 50, |_| Request::get("/x")).await;
        assert_eq!(took > 110, waits, "{span} {at}: {took}");
    }
}

/// What one request brought about is not remembered of the resource: its credentials, its conditions, its wishes, a fill
/// that was invalidated, a body that broke off, a service in trouble.
#[tokio::test(start_paused = true)]
async fn o_20_only_what_lies_in_the_response_is_remembered() {
    let inner = Inner::by(|call| {
        let reply = match call.header("x-try").as_str() {
            "304" => Reply::status(304, ""),
            "412" => Reply::status(412, ""),
            "206" => Reply::status(206, "a").with("content-range", "bytes 0-0/3"),
            "416" => Reply::status(416, ""),
            "406" => Reply::status(406, ""),
            "500" => Reply::status(500, ""),
            "429" => Reply::status(429, ""),
            "broken" => Reply::ok("").body(Script::new().data("x").fail()),
            "short" => Reply::ok("abc").with("content-length", "9"),
            _ => Reply::ok("abc"),
        };
        reply.cc("max-age=60").with("vary", "x-lang").after(ms(100))
    });
    let app = App::new(Policy::rfc9111(), inner);
    let tries = ["304", "412", "206", "416", "406", "broken", "short", "credentials", "no-store", "connection", "head"];
    for (n, what) in tries.into_iter().enumerate() {
        let uri = format!("/{n}");
        for _ in 0..10 {
            let request = Request::get(&uri).header("x-try", what);
            drop(match what {
                "credentials" => app.send(request.header("authorization", "a")).await,
                "no-store" => app.send(request.header("cache-control", "no-store")).await,
                "connection" => app.send(request.header("connection", "x-lang").header("x-lang", "a")).await,
                "head" => app.send(request.method("HEAD")).await,
                _ => app.send(request).await,
            });
        }
        let before = app.calls();
        let got = Crowd::get(&app, 50, &uri).await.all().await;
        assert!(got.iter().all(|got| got.text() == "abc"));
        assert_eq!(app.calls(), before + 1, "{what}");
    }
    for what in ["500", "429"] {
        let app = App::new(
            Policy::from_response(),
            Inner::by(move |call| match call.number {
                1 if what == "500" => Reply::status(500, ""),
                1 => Reply::status(429, ""),
                _ => Reply::ok("abc").cc("max-age=60").after(ms(100)),
            }),
        );
        app.get("/x").await;
        Crowd::get(&app, 50, "/x").await.all().await;
        assert_eq!(app.calls(), 2, "{what}");
    }
}

/// It is remembered of one resource, not of its neighbours, nor of the same path under another policy or for other users.
#[tokio::test(start_paused = true)]
async fn o_20_neighbours_are_not_meant() {
    let inner = Inner::by(|call| {
        let private = call.uri == "/x" && call.header("x-user") == "a";
        Reply::ok("abc").cc(if private { "no-store" } else { "max-age=60" }).after(ms(100))
    });
    let app = App::new(Policy::from_response().per_user(), inner);
    let of =
        |user: &str, uri: &str| Request::get(uri).header("x-user", user).extension(Identity::new().with_user(user));
    for _ in 0..10 {
        app.send(of("a", "/x")).await;
    }
    for (user, uri) in [("b", "/x"), ("a", "/x?q"), ("a", "/y")] {
        let before = app.calls();
        Crowd::of(&app, 20, |_| of(user, uri)).await.all().await;
        assert_eq!(app.calls(), before + 1, "{user} {uri}");
    }
    let other = app.beside(Policy::named("other").from_response().per_user());
    let before = app.calls();
    let took = Stopwatch::start();
    Crowd::of(&other, 20, |_| of("a", "/x")).await.all().await;
    assert_eq!((app.calls() - before, took.millis()), (20, 200), "it finds out for itself");
}

/// O-01, R3: a client that comes while a response with a cookie is made, without and with leave to strip it.
#[tokio::test(start_paused = true)]
async fn o_01_a_cookie_is_not_for_those_who_wait() {
    for strip in [false, true] {
        for streamed in [false, true] {
            let inner = Inner::by(move |call| {
                let cookie = format!("sid={}", call.header("x-user"));
                let reply = Reply::ok("page").cc("public, max-age=60").with("set-cookie", cookie).after(ms(100));
                if streamed { reply.body(Script::new().data("pa").pause(ms(20)).data("ge").exact(4)) } else { reply }
            });
            let policy = Policy::from_response();
            let app = App::new(if strip { policy.strip_set_cookie() } else { policy }, inner);
            let crowd = Crowd::of(&app, 20, |n| Request::get("/p").header("x-user", user(n))).await;
            pass(50).await;
            let late = Crowd::of(&app, 20, |n| Request::get("/p").header("x-user", user(20 + n))).await;
            let got: Vec<_> = crowd.all().await.into_iter().chain(late.all().await).collect();
            for (n, got) in got.iter().enumerate() {
                assert_eq!(got.text(), "page");
                let own = !strip || n == 0;
                assert_eq!(got.header("set-cookie"), if own { format!("sid={}", user(n)) } else { String::new() });
            }
            assert_eq!((app.calls(), app.cache.contains("/p")), if strip { (1, true) } else { (40, false) });
            at_rest(&app, 40);
        }
    }
    // A cookie in the trailers of a shared body stays with the one who was answered.
    for announced in [false, true] {
        let inner = Inner::by(move |call| {
            let trailers: &[_] = if call.number == 1 { &[("set-cookie", "sid=A"), ("x-sum", "1")] } else { &[] };
            let reply = Reply::ok("").cc("max-age=60").after(ms(100));
            let reply = if announced { reply.with("trailer", "set-cookie") } else { reply };
            reply.body(Script::new().data("pa").pause(ms(20)).data("ge").trailers(trailers).exact(4))
        });
        let app = App::new(Policy::from_response(), inner);
        let got = Crowd::get(&app, 10, "/p").await.all().await;
        assert!(got[0].shows("sid=A") && !got[1..].iter().any(|got| got.shows("sid=")), "{announced}");
        assert!(got.iter().all(|got| got.text() == "page"));
        assert!(!app.get("/p").await.shows("sid="));
    }
}

/// An identity that is established inside of the cache comes too late for the key: nobody shares, waiting or not.
#[tokio::test(start_paused = true)]
async fn o_20_who_asks_is_known_too_late() {
    let (cache, _clock) = crate::behind::cache();
    let inner = Inner::by(|call| Reply::ok(call.header("x-user")).cc("max-age=60").after(ms(100)));
    let who = |parts: &http::request::Parts| {
        parts.headers.get("x-user").map(|user| Identity::new().with_user(user.to_str().unwrap()))
    };
    let service =
        CacheLayer::new(&cache, Policy::from_response()).layer(IdentityLayer::from_fn(who).layer(inner.clone()));
    for round in 0..3 {
        let asking: Vec<_> = (0..50)
            .map(|n| tokio::spawn(service.clone().oneshot(plain(Request::get("/x").header("x-user", user(n))))))
            .collect();
        for (n, asking) in asking.into_iter().enumerate() {
            let body = asking.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, user(n));
        }
        assert_eq!((inner.calls(), cache.stats().stored, cache.stats().fills), (50 * (round + 1), 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn o_20_nobody_waits_for_what_is_validated_each_time() {
    for directives in ["no-cache", "max-age=0"] {
        for validated in [false, true] {
            let inner = Inner::by(move |call| {
                let known = validated && call.has("if-none-match");
                let reply = if known { Reply::status(304, "") } else { Reply::ok("x") };
                reply.cc(directives).with("etag", "\"e\"").after(ms(100))
            });
            let app = App::new(Policy::from_response(), inner);
            let mut took = Vec::new();
            for _ in 0..3 {
                let watch = Stopwatch::start();
                Crowd::get(&app, 20, "/x").await.all().await;
                took.push(watch.millis());
            }
            assert!(took[1..].iter().all(|took| *took <= 110), "{directives}, {validated}: {took:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn o_20_what_is_refused_to_requests_with_credentials_is_remembered_for_them() {
    type Kind = (&'static str, fn() -> Reply);
    let kinds: [Kind; 5] = [
        ("max-age", || Reply::ok("x").cc("max-age=60")),
        ("vary *", || Reply::ok("x").cc("max-age=60").with("vary", "*")),
        ("403", || Reply::status(403, "x")),
        ("event stream", || Reply::ok("x").cc("max-age=60").with("content-type", "text/event-stream")),
        ("nothing said", || Reply::ok("x")),
    ];
    for (what, reply) in kinds {
        let app = App::new(Policy::from_response(), Inner::by(move |_| reply().after(ms(100))));
        let mut took = Vec::new();
        for _ in 0..3 {
            let watch = Stopwatch::start();
            let request = |n: usize| Request::get("/x").header("authorization", format!("Bearer {n}"));
            Crowd::of(&app, 20, request).await.all().await;
            took.push(watch.millis());
        }
        assert!(took[1..].iter().all(|took| *took <= 110), "{what}: {took:?}");
    }
}

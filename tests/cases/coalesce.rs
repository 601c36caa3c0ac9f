//! COALESCE: many requests for the same at once are one call, and each gets what it asked for.

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, collapsed, long, ms, pass},
    support::{App, Got, Inner, MINUTE, Reply, Script, head, plain, settle, until},
};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Identity, Policy, RequestBody, assert_hit, assert_miss};
use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt};

/// Each call takes 100 ms and tells its number.
fn numbered() -> Inner {
    Inner::by(|call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").after(ms(100)))
}

#[tokio::test(start_paused = true)]
async fn a_thousand_misses_of_one_key_are_one_call() {
    let text = Bytes::from(long(10_000, 1));
    let kinds: [fn(Script, u64) -> Script; 4] = [
        |body, _| body,
        |body, length| body.exact(length),
        |body, _| body.shy(),
        |body, _| body.pause(ms(10)).trailers(&[("x-end", "1")]),
    ];
    for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111()] {
        for kind in kinds {
            for pieces in [1, 10] {
                let whole = text.clone();
                let app = App::new(
                    policy.clone(),
                    Inner::by(move |_| {
                        let pieces = whole.chunks(whole.len() / pieces).map(|piece| whole.slice_ref(piece));
                        let body = pieces.fold(Script::new(), |body, piece| body.data(piece).pause(ms(1)));
                        let body = kind(body, whole.len() as u64);
                        Reply::ok("").cc("max-age=60").body(body).after(ms(100))
                    }),
                );
                let watch = Stopwatch::start();
                let got = Crowd::get(&app, 1000, "/x").await.all().await;
                assert!(watch.millis() <= 125, "{}", watch.millis());
                assert!(got.iter().all(|got| got.status == 200 && got.body == text && !got.broken));
                let stats = app.stats();
                assert_eq!((app.calls(), stats.misses, stats.collapsed, stats.stored), (1, 1, 999, 1));
                assert_eq!(got.iter().filter(|got| collapsed(got)).count(), 999);
                assert_eq!(got.iter().filter(|got| got.trailers.is_some()).count() % 1000, 0, "all or none");
                at_rest(&app, 1000);
                let hit = app.get("/x").await;
                assert_hit!(hit);
                assert_eq!(hit.body, text);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_call_when_threads_race() {
    for round in 0..100 {
        let inner = Inner::by(|call| {
            let body = (0..20).fold(Script::new(), |body, n| body.data(format!("{} {n},", call.number)).pause(ms(0)));
            Reply::ok("").cc("max-age=60").body(body)
        });
        let app = App::new(Policy::from_response(), inner);
        let got = Crowd::get(&app, 50, "/x").await.all().await;
        let whole: String = (0..20).map(|n| format!("1 {n},")).collect();
        assert!(got.iter().all(|got| got.text() == whole), "{round}");
        assert_eq!(app.calls(), 1, "{round}");
        at_rest(&app, 50);
    }
}

/// The words of RFC 9211, in brief too.
#[tokio::test(start_paused = true)]
async fn the_status_of_a_waiter() {
    let cache = Cache::in_memory(1 << 20);
    let inner = Inner::by(|call| Reply::ok(call.number.to_string()).cc("max-age=60").after(ms(100)));
    let service = CacheLayer::new(&cache, Policy::from_response()).layer(inner);
    let ask = || tokio::spawn(service.clone().oneshot(plain(Request::get("/x"))));
    let (first, second) = (ask(), ask());
    let said = |response: http::Response<_>| Got::read(response);
    let (first, second) = (said(first.await.unwrap().unwrap()).await, said(second.await.unwrap().unwrap()).await);
    assert_eq!(first.header("cache-status"), "larder; fwd=miss; stored");
    assert_eq!(second.header("cache-status"), "larder; fwd=miss; collapsed");
    assert_eq!((cache.stats().collapsed, cache.stats().misses), (1, 1));
    assert!((cache.stats().lookup_hit_ratio() - 0.0).abs() < 0.001, "collapsed is not a hit");
}

/// What a waiter gets is a stored response: with its age, without what was said to one client or of one connection.
#[tokio::test(start_paused = true)]
async fn what_a_waiter_gets_is_a_stored_response() {
    for streamed in [false, true] {
        let inner = Inner::by(move |_| {
            let reply =
                Reply::ok("abc").cc("max-age=60").with("age", "30").with("content-type", "text/x").after(ms(100));
            let reply = reply.with("connection", "x-hop, close").with("x-hop", "1").with("keep-alive", "timeout=5");
            let reply = reply.with("set-cookie", "sid=A").with("cache-status", "upstream; hit");
            if streamed { reply.body(Script::new().data("a").pause(ms(10)).data("bc").exact(3)) } else { reply }
        });
        let app = App::new(Policy::from_response().strip_set_cookie(), inner);
        let got = Crowd::get(&app, 3, "/x").await.all().await;
        assert_eq!((app.calls(), got[0].header("set-cookie").as_str()), (1, "sid=A"));
        for waiter in &got[1..] {
            assert!(collapsed(waiter), "{waiter:?}");
            assert_eq!((waiter.text(), waiter.header("age").as_str()), ("abc", "30"));
            assert_eq!((waiter.header("content-length"), waiter.header("content-type")), ("3".into(), "text/x".into()));
            assert!(waiter.header("cache-status").starts_with("upstream; hit, larder; fwd="));
            for gone in ["connection", "x-hop", "keep-alive", "set-cookie"] {
                assert!(!waiter.has(gone), "{gone}");
            }
        }
        at_rest(&app, 3);
    }
}

#[tokio::test(start_paused = true)]
async fn any_cacheable_status_is_shared() {
    for status in [200, 203, 204, 300, 301, 308, 404, 410] {
        let inner = Inner::by(move |_| Reply::status(status, "").with("location", "/y").after(ms(100)));
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let got = Crowd::get(&app, 20, "/x").await.all().await;
        assert!(got.iter().all(|got| got.status == status && got.header("location") == "/y"));
        assert_eq!((app.calls(), app.stats().collapsed), (1, 19), "{status}");
    }
}

/// Three languages, cold: nobody knows yet that they count. Three calls, and each gets its own.
#[tokio::test(start_paused = true)]
async fn each_variant_is_one_call() {
    for streamed in [false, true] {
        let inner = Inner::by(move |call| {
            let language = call.header("accept-language");
            let reply = Reply::ok("").cc("max-age=60").with("vary", "accept-language").after(ms(100));
            let body = Script::new().data(language.clone());
            reply.body(if streamed { body.pause(ms(20)).data("!").exact(3) } else { body.data("!") })
        });
        let app = App::new(Policy::from_response(), inner);
        let languages = ["fr", "en", "de"];
        let request = |n: usize| Request::get("/x").header("accept-language", languages[n % 3]);
        let watch = Stopwatch::start();
        let got = Crowd::of(&app, 300, request).await.all().await;
        assert!(watch.millis() <= 260, "two rounds: {}", watch.millis());
        for (n, got) in got.iter().enumerate() {
            assert_eq!(got.text(), format!("{}!", languages[n % 3]));
        }
        assert_eq!((app.calls(), app.stats().misses, app.stats().collapsed), (3, 3, 297));
        // Now it is known: a fourth language does not wait for the others, nor they for it.
        app.advance(61);
        let watch = Stopwatch::start();
        let all = ["fr", "en", "de", "it"];
        let request = |n: usize| Request::get("/x").header("accept-language", all[n % 4]);
        let got = Crowd::of(&app, 400, request).await.all().await;
        assert!(watch.millis() <= 125, "one round: {}", watch.millis());
        assert!(got.iter().enumerate().all(|(n, got)| got.text() == format!("{}!", all[n % 4])));
        assert_eq!(app.calls(), 7);
        at_rest(&app, 700);
    }
}

/// Variants that do not agree on what selects them.
#[tokio::test(start_paused = true)]
async fn variants_that_nominate_different_fields() {
    let inner = Inner::by(|call| {
        let (language, device) = (call.header("accept-language"), call.header("x-device"));
        let vary = if language == "fr" { "accept-language" } else { "accept-language, x-device" };
        let text = if language == "fr" { language } else { format!("{language} {device}") };
        Reply::ok(text).cc("max-age=60").with("vary", vary).after(ms(100))
    });
    for first in ["fr", "en"] {
        let app = App::new(Policy::from_response(), inner.clone());
        let combinations = [(first, "tv"), ("en", "tv"), ("en", "car"), ("fr", "car"), ("en", ""), ("fr", "tv")];
        let of = |n: usize| combinations[n % 6];
        let request = |n: usize| Request::get("/x").header("accept-language", of(n).0).header("x-device", of(n).1);
        for (n, got) in Crowd::of(&app, 60, request).await.all().await.iter().enumerate() {
            let (language, device) = of(n);
            let own = if language == "fr" { language.to_owned() } else { format!("{language} {device}") };
            assert_eq!(got.text(), own);
        }
        at_rest(&app, 60);
    }
}

/// Those who wait get their answers made of the shared response: 304, a part of it, or all.
#[tokio::test(start_paused = true)]
async fn conditional_and_range_requests_wait_too() {
    for declared in [false, true] {
        let inner = Inner::by(move |_| {
            let reply = Reply::ok("").cc("max-age=60").with("etag", "\"e\"").after(ms(100));
            let body = Script::new().data("01234").pause(ms(10)).data("56789");
            reply.body(if declared { body.exact(10) } else { body })
        });
        let app = App::new(Policy::from_response(), inner);
        let get = || Request::get("/x");
        let asked = [
            (get(), 200, "0123456789"),
            (get().header("if-none-match", "\"e\""), 304, ""),
            (get().header("if-none-match", "\"other\""), 200, "0123456789"),
            (get().header("range", "bytes=2-4"), 206, "234"),
            (get().header("range", "bytes=-1"), 206, "9"),
            (get().header("range", "bytes=10-"), 416, ""),
            (get().header("range", "bytes=0-0").header("if-range", "\"e\""), 206, "0"),
            (get().header("range", "bytes=0-0").header("if-range", "\"other\""), 200, "0123456789"),
            (get().header("if-none-match", "\"e\"").header("range", "bytes=0-0"), 304, ""),
            (get(), 200, "0123456789"),
        ];
        let answers: Vec<_> = asked.iter().map(|(_, status, text)| (*status, *text)).collect();
        let requests = std::sync::Mutex::new(asked.into_iter().map(|(request, ..)| request));
        let many = answers.len();
        let got = Crowd::of(&app, many, |_| requests.lock().unwrap().next().unwrap()).await.all().await;
        for (got, (status, text)) in got.iter().zip(answers) {
            assert_eq!((got.status.as_u16(), got.text()), (status, text));
        }
        assert_eq!((app.calls(), app.stats().collapsed), (1, many as u64 - 1));
        at_rest(&app, many);
    }
}

/// A conditional request that finds nothing stored asks for itself: its answer may be no more than "not modified".
#[tokio::test(start_paused = true)]
async fn nobody_waits_for_the_answer_to_a_condition_or_a_part() {
    let inner = Inner::by(|call| {
        let reply = match call {
            call if call.has("if-none-match") => Reply::status(304, ""),
            call if call.has("range") => Reply::status(206, "a").with("content-range", "bytes 0-0/3"),
            _ => Reply::ok("abc"),
        };
        reply.cc("max-age=60").with("etag", "\"e\"").after(ms(100))
    });
    for (name, value, status) in [("if-none-match", "\"e\"", 304), ("range", "bytes=0-0", 206)] {
        let app = App::new(Policy::from_response(), inner.clone());
        let before = app.calls();
        let ask = |n: usize| if n < 3 { Request::get("/x").header(name, value) } else { Request::get("/x") };
        let watch = Stopwatch::start();
        let got = Crowd::of(&app, 20, ask).await.all().await;
        assert!(watch.millis() <= 110);
        assert!(got[..3].iter().all(|got| got.status == status));
        assert!(got[3..].iter().all(|got| got.text() == "abc"));
        assert_eq!(app.calls() - before, 3 + 1);
        at_rest(&app, 20);
    }
}

/// HEAD fills nothing and waits for nothing, and says nothing wrong meanwhile.
#[tokio::test(start_paused = true)]
async fn head_requests_meanwhile() {
    let app = App::new(Policy::from_response(), numbered());
    let ask = |n: usize| if n % 5 == 1 { head("/x") } else { Request::get("/x") };
    let got = Crowd::of(&app, 20, ask).await.all().await;
    let whole = got.iter().enumerate().filter(|(n, _)| n % 5 != 1);
    assert!(whole.clone().all(|(_, got)| got.text() == "v1") && whole.count() == 16);
    assert_eq!((app.calls(), app.stats().collapsed), (5, 15));
    at_rest(&app, 20);
}

/// What tells requests apart tells their fills apart.
#[tokio::test(start_paused = true)]
async fn waiters_are_of_the_same_key() {
    // Users.
    let inner =
        || Inner::by(|call| Reply::ok(format!("for {}", call.header("x-user"))).cc("max-age=60").after(ms(100)));
    let app = App::new(Policy::from_response().per_user(), inner());
    let user = |n: usize| format!("user {}", n % 20);
    let request = |n: usize| {
        Request::get("/x").header("x-user", user(n)).extension(Identity::new().with_tenant("1").with_user(user(n)))
    };
    for (n, got) in Crowd::of(&app, 100, request).await.all().await.iter().enumerate() {
        assert_eq!(got.text(), format!("for {}", user(n)));
    }
    assert_eq!((app.calls(), app.stats().collapsed), (20, 80));
    // Who has no identity never waits for one who has.
    let request = |n: usize| {
        let request = Request::get("/y").header("x-user", n.to_string());
        if n.is_multiple_of(2) { request.extension(Identity::new().with_user("a")) } else { request }
    };
    let app = App::new(Policy::from_response(), inner());
    for (n, got) in Crowd::of(&app, 20, request).await.all().await.iter().enumerate() {
        assert_eq!(got.text(), format!("for {}", n % 2));
    }
    // Credentials: what anonymous requests get is not for those with credentials, unless it says so.
    for (directives, calls) in [("max-age=60", 1 + 10), ("public, max-age=60", 2)] {
        let count = Inner::by(move |_| Reply::ok("x").cc(directives).after(ms(100)));
        let app = App::new(Policy::from_response(), count);
        let request = |n: usize| match n % 2 {
            0 => Request::get("/x"),
            _ => Request::get("/x").header("authorization", n.to_string()),
        };
        Crowd::of(&app, 20, request).await.all().await;
        assert_eq!(app.calls(), calls, "{directives}");
        at_rest(&app, 20);
    }
    // Cookies bypass.
    let app = App::new(Policy::from_response(), numbered());
    let request = |n: usize| if n == 0 { Request::get("/x") } else { Request::get("/x").header("cookie", "a=1") };
    Crowd::of(&app, 5, request).await.all().await;
    assert_eq!((app.calls(), app.bypassed("cookie")), (5, 4));
    // Queries, hosts, policies.
    let beside = app.beside(Policy::named("other").from_response());
    let before = app.calls();
    let asked = [Request::get("/z"), Request::get("/z?"), Request::get("/z?a"), Request::get("/z").header("host", "b")];
    let asked = std::sync::Mutex::new(asked.into_iter());
    let one = Crowd::of(&app, 4, |_| asked.lock().unwrap().next().unwrap()).await;
    let two = Crowd::get(&beside, 4, "/z").await;
    one.all().await;
    two.all().await;
    assert_eq!(app.calls() - before, 5);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_where_nobody_is_to_wait() {
    let watch = Stopwatch::start();
    let app = App::new(Policy::from_response().wait_limit(Duration::ZERO), numbered());
    Crowd::get(&app, 20, "/x").await.all().await;
    assert_eq!((app.calls(), app.inner.busy().most()), (20, 20));
    // A request that wants an answer of its own, or none.
    let app = App::new(Policy::rfc9111(), numbered());
    let own = ["", "no-cache", "no-store", "only-if-cached"];
    let request = |n: usize| Request::get("/x").header("cache-control", own[n]);
    let got = Crowd::of(&app, 4, request).await.all().await;
    assert_eq!(got.iter().map(|got| got.status.as_u16()).collect::<Vec<_>>(), [200, 200, 200, 504]);
    let texts: std::collections::HashSet<_> = got[..3].iter().map(Got::text).collect();
    assert_eq!((texts.len(), app.calls()), (3, 3));
    at_rest(&app, 4);
    assert!(watch.millis() <= 220, "{}", watch.millis());
    // One that the shared answer does not suit: it is too old, or not good for long enough.
    let inner =
        Inner::by(|call| Reply::ok(format!("v{}", call.number)).cc("max-age=60").with("age", "30").after(ms(100)));
    let app = App::new(Policy::rfc9111(), inner);
    let own = ["", "max-age=20", "min-fresh=40", "max-age=40", "max-stale"];
    let request = |n: usize| Request::get("/x").header("cache-control", own[n]);
    let got = Crowd::of(&app, 5, request).await.all().await;
    assert_eq!(got.iter().map(collapsed).collect::<Vec<_>>(), [false, false, false, true, true]);
    assert_eq!(app.calls(), 3);
    at_rest(&app, 5);
}

/// A stale response is validated once for all who ask for it.
#[tokio::test(start_paused = true)]
async fn one_validation_for_all() {
    for mismatch in [false, true] {
        let inner = Inner::by(move |call| {
            let reply = match call.header("if-none-match").as_str() {
                "\"e\"" if mismatch => Reply::status(304, "").with("etag", "\"other\""),
                "\"e\"" => Reply::status(304, "").with("etag", "\"e\"").with("set-cookie", "sid=A"),
                _ => Reply::ok(format!("v{}", call.number)).with("etag", "\"e\""),
            };
            reply.cc("max-age=60").after(ms(100))
        });
        let app = App::new(Policy::from_response(), inner);
        app.get("/x").await;
        app.advance(61);
        let got = Crowd::get(&app, 100, "/x").await.all().await;
        let text = if mismatch { "v3" } else { "v1" };
        assert!(got.iter().all(|got| got.text() == text && ["", "0"].contains(&&*got.header("age"))), "{got:?}");
        assert_eq!(app.calls(), if mismatch { 3 } else { 2 });
        assert_eq!(
            got.iter().filter(|got| collapsed(got) && got.header("cache-status").contains("fwd=stale")).count(),
            99
        );
        assert_eq!(got.iter().filter(|got| got.has("set-cookie")).count(), usize::from(!mismatch));
        at_rest(&app, 101);
    }
}

/// The future of a leader that nobody polls is no reason to wait for ever.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_not_polled_costs_the_wait_limit() {
    for polls in 0..2 {
        let app = App::new(Policy::from_response().wait_limit(ms(1000)), numbered());
        let mut leading = pin!(app.call(plain(Request::get("/x"))));
        for _ in 0..polls {
            assert!(leading.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        let watch = Stopwatch::start();
        let crowd = Crowd::get(&app, 50, "/x").await;
        let got = crowd.all().await;
        assert!(watch.millis() <= 1110, "{}", watch.millis());
        assert!(got.iter().all(|got| got.text() == format!("v{}", 1 + polls)), "one of them has led");
        assert_eq!((app.calls(), app.stats().waits_too_long), (1 + polls, 50));
        let late = Got::read(leading.await.unwrap()).await;
        assert!(late.text().starts_with('v'));
        assert_eq!(app.get("/x").await.text(), format!("v{}", 1 + polls), "what began earlier does not displace it");
        at_rest(&app, 52);
    }
}

/// The content is part of the key: each content is one call, which gets every byte of it.
#[tokio::test(start_paused = true)]
async fn content_keyed_posts_are_shared_by_content() {
    fn rebuilt(body: RequestBody<Script>) -> Script {
        match pin!(body.collect()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(all)) => Script::new().data(all.to_bytes()),
            _ => Script::new().fail(),
        }
    }
    let (cache, _clock) = crate::behind::cache();
    let gate = Arc::new(Notify::new());
    let inner = Inner::by(|call| {
        let text = format!("{} {}", call.number, String::from_utf8_lossy(&call.body));
        Reply::ok(text).cc("max-age=60").after(ms(100))
    });
    let policy = Policy::from_response().key_body([Method::POST]);
    let service = CacheLayer::new(&cache, policy).rebuild_body(rebuilt).layer(inner.clone());
    let asking: Vec<_> = (0..60)
        .map(|n| {
            // Some contents come slowly.
            let (body, content) = (Script::new(), format!("what {}", n % 3));
            let body = if n % 2 == 0 {
                body.data(content)
            } else {
                body.data("what ").wait(&gate).data(content[5..].to_owned())
            };
            tokio::spawn(service.clone().oneshot(Request::post("/q").body(body).unwrap()))
        })
        .collect();
    settle().await;
    assert_eq!(inner.busy().now(), 3);
    for _ in 0..30 {
        gate.notify_one();
        settle().await;
    }
    until("all are waiting", || cache.stats().fills == 3).await;
    for (n, asking) in asking.into_iter().enumerate() {
        let got = Got::read(asking.await.unwrap().unwrap()).await;
        assert!(got.text().ends_with(&format!(" what {}", n % 3)), "{}", got.text());
    }
    assert_eq!((inner.calls(), cache.stats().collapsed, cache.stats().fills), (3, 57, 0));
    // The leader goes away: what it has read goes on to be asked.
    let leading = tokio::spawn(service.clone().oneshot(Request::post("/q").body(Script::new().data("other")).unwrap()));
    until("a call", || inner.calls() == 4).await;
    let waiting = tokio::spawn(service.clone().oneshot(Request::post("/q").body(Script::new().data("other")).unwrap()));
    settle().await;
    leading.abort();
    let got = Got::read(waiting.await.unwrap().unwrap()).await;
    assert_eq!((got.text(), inner.calls()), ("4 other", 4));
    pass(10).await;
    assert_eq!((cache.stats().fills, cache.stats().background), (0, 0));
}

/// Two layers of one cache, each with a policy of its own: the inner one decides, and what it shares is shared.
#[tokio::test(start_paused = true)]
async fn a_crowd_through_two_layers() {
    let (cache, _clock) = crate::behind::cache();
    let inner = numbered();
    let near = CacheLayer::new(&cache, Policy::named("near").from_response()).layer(inner.clone());
    let service = CacheLayer::new(&cache, Policy::named("far").from_response()).layer(near);
    for round in 0..3 {
        let uri = format!("/{round}");
        let asking: Vec<_> =
            (0..50).map(|_| tokio::spawn(service.clone().oneshot(plain(Request::get(&uri))))).collect();
        for asking in asking {
            let body = asking.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("v{}", round + 1));
        }
        assert_eq!((inner.calls(), cache.stats().fills), (round + 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn what_came_first_is_looked_at_again() {
    // A request that begins to lead just after another has stored finds that.
    let app = App::new(Policy::from_response(), numbered());
    for n in 0..50 {
        let uri = format!("/{n}");
        let first = Crowd::get(&app, 1, &uri).await;
        pass(100).await;
        let second = Crowd::get(&app, 2, &uri).await;
        first.all().await;
        second.all().await;
    }
    assert_eq!(app.calls(), 50);
    assert_miss!(app.get("/other").await);
    at_rest(&app, 151);
}

//! BODY: bodies that several read at once (O-23 and O-25 with waiters).

use crate::{
    crowd::{Crowd, at_rest, collapsed, ms, pass},
    streaming_endless::{CHUNK, LENGTHS, Length, download},
    support::{App, Got, Inner, MINUTE, Reply, Script, plain, settle, until},
};
use http::{Method, Request};
use http_body_util::BodyExt;
use larder::{Policy, assert_hit, assert_miss};
use std::sync::Arc;
use tokio::sync::Notify;

/// Three frames, then an error; or an end that comes too early, or a frame too many.
#[tokio::test(start_paused = true)]
async fn o_23_stream_error_half_way() {
    type Ending = (&'static str, fn(Script) -> Script);
    let endings: [Ending; 5] = [
        ("error", |body| body.pause(ms(10)).fail()),
        ("error after all", |body| body.data("three").pause(ms(10)).fail()),
        ("early end", |body| body),
        ("too long", |body| body.data("three").pause(ms(10)).data("!")),
        ("panic", |body| body.pause(ms(10)).panics()),
    ];
    for heals in [false, true] {
        for length in LENGTHS {
            // Without a declared length these two end as they should.
            for (what, ending) in endings.iter().filter(|(what, _)| length != Length::Unknown || what.contains("err")) {
                let ending = *ending;
                let inner = Inner::by(move |call| {
                    let begun = Script::new().data("one ").pause(ms(10)).data("two ").pause(ms(10));
                    let good = heals && call.number > 1;
                    let body = if good { begun.data("three") } else { ending(begun) };
                    length.say(body, 13).cc("max-age=60").after(ms(100))
                });
                let app = App::new(Policy::fresh_for(MINUTE), inner);
                let results = Crowd::get(&app, 11, "/x").await.survivors().await;
                let what = format!("{what}, {length:?}, heals: {heals}");
                let broken = results.iter().flatten().filter(|got| got.broken).count();
                for got in results.iter().flatten() {
                    // Who has asked gets what the service sent, too much or too little as it is.
                    let (own, whole) = (!collapsed(got), got.text() == "one two three");
                    let odd = length != Length::Unknown && (what.contains("early") || what.contains("long"));
                    assert!(got.broken || (own && odd) || (heals && whole), "{what}: {}", got.text());
                }
                if length == Length::Unknown && heals {
                    assert_eq!(broken, 1, "{what}: those who waited have read nothing, and ask for themselves");
                }
                settle().await;
                let stats = app.stats();
                assert_eq!((stats.fills, stats.background, app.inner.busy().now()), (0, 0, 0), "{what}");
                if !(heals && app.calls() > 1) {
                    assert!(!app.cache.contains("/x"), "{what}");
                    let before = app.calls();
                    assert!(
                        Crowd::get(&app, 1, "/x").await.survivors().await.iter().flatten().all(|got| !collapsed(got))
                    );
                    assert_eq!(app.calls(), before + 1, "{what}: the second GET asks");
                }
            }
        }
    }
}

/// Who follows a body that breaks off has read a part, and hears of it; it never ends cleanly before its length.
#[tokio::test(start_paused = true)]
async fn o_23_a_follower_hears_that_it_broke_off() {
    for (length, fails) in [(Length::Field, true), (Length::Hint, true), (Length::Field, false)] {
        let inner = Inner::by(move |_| {
            let body = Script::new().data("one ").pause(ms(1000)).data("two ").pause(ms(1000));
            length.say(if fails { body.fail() } else { body }, 13).cc("max-age=60")
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let leading = Crowd::get(&app, 1, "/x").await;
        pass(500).await;
        let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
        assert_eq!(response.headers()["content-length"], "13");
        let mut read = Vec::new();
        let end = loop {
            match response.body_mut().frame().await {
                Some(Ok(frame)) => read.extend(frame.into_data().unwrap()),
                end => break end,
            }
        };
        assert_eq!(read, b"one two ");
        assert!(matches!(end, Some(Err(_))), "{length:?}");
        assert!(response.body_mut().frame().await.is_none(), "told once");
        assert_eq!(leading.all().await[0].broken, fails);
        assert!(!app.cache.contains("/x"));
        at_rest(&app, 2);
    }
}

/// The first who reads gets all there was before the error, whoever has asked for it.
#[tokio::test(start_paused = true)]
async fn o_23_the_slow_first_reader_gets_all_there_was() {
    for length in [Length::Unknown, Length::Field] {
        let inner = Inner::by(move |_| {
            let body = (0..5).fold(Script::new(), |body, n| body.data(format!("{n} ")).pause(ms(1)));
            length.say(body.fail(), 99).cc("max-age=60")
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let response = app.head(plain(Request::get("/x"))).await.unwrap();
        let crowd = Crowd::get(&app, 10, "/x").await;
        crowd.all().await;
        let first = Got::read(response).await;
        assert_eq!((first.text(), first.broken), ("0 1 2 3 4 ", true), "{length:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn o_25_trailers_and_empty_frames_with_waiters() {
    for announced in [false, true] {
        for length in LENGTHS {
            for slow_first in [false, true] {
                let inner = Inner::by(move |_| {
                    let body =
                        Script::new().data("").data("one ").pause(ms(5)).data("").pause(ms(5)).data("two").data("");
                    let body = body.pause(ms(5)).trailers(&[("x-sum", "1"), ("x-sum", "2")]);
                    let reply = length.say(body, 7).cc("max-age=60").after(ms(100));
                    if announced { reply.with("trailer", "x-sum") } else { reply }
                });
                let app = App::new(Policy::fresh_for(MINUTE), inner);
                let first = app.head(plain(Request::get("/x"))).await.unwrap();
                let crowd = Crowd::get(&app, 20, "/x").await;
                let mut got = Vec::new();
                if slow_first {
                    got.extend(crowd.all().await);
                    got.push(Got::read(first).await);
                } else {
                    got.push(Got::read(first).await);
                    got.extend(crowd.all().await);
                }
                let hit = app.get("/x").await;
                assert_hit!(hit);
                got.push(hit);
                let what = format!("{announced} {length:?} {slow_first}");
                for got in got {
                    assert!(got.text() == "one two" && !got.broken, "{what}");
                    let sums: Vec<_> = got.trailers.expect(&what).get_all("x-sum").iter().cloned().collect();
                    assert_eq!(sums, ["1", "2"], "{what}");
                }
                assert_eq!(app.calls(), 1);
                at_rest(&app, 22);
            }
        }
    }
}

/// A HEAD or a purge in the middle of a shared body harms nobody.
#[tokio::test(start_paused = true)]
async fn o_25_others_in_the_middle_of_a_shared_body() {
    let (inner, _) = download(20, Length::Field);
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    let crowd = Crowd::get(&app, 10, "/x").await;
    pass(110).await;
    app.send(Request::builder().method(Method::HEAD).uri("/x")).await;
    app.purge("/x").await;
    app.cache.clear();
    assert!(crowd.all().await.iter().all(|got| got.body.len() == 20 * CHUNK && !got.broken));
    until("the end", || app.stats().fills == 0).await;
    assert!(!app.cache.contains("/x"));
    assert_miss!(app.get("/x").await);
}

#[tokio::test(start_paused = true)]
async fn one_call_for_all_where_a_body_outlives_its_freshness() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let inner = Inner::by(move |call| {
        let reply = Reply::ok("ab").cc("max-age=60").after(ms(100));
        if call.number == 1 { reply.body(Script::new().data("a").wait(&held).data("b").exact(2)) } else { reply }
    });
    let app = App::new(Policy::from_response(), inner);
    let first = Crowd::get(&app, 1, "/x").await;
    pass(200).await;
    app.advance(61);
    Crowd::get(&app, 20, "/x").await.all().await;
    gate.notify_one();
    first.all().await;
    assert_eq!(app.calls(), 2);
}

//! BODY: bodies that break off, do not end, or end with trailers (O-23 to O-25).

use crate::support::{App, Got, HOUR, Inner, MINUTE, Reply, Script, head, plain};
use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Policy, assert_bypass, assert_hit, assert_miss, assert_stale, test_util};
use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
};
use tokio::sync::Notify;
use tower::{Layer, ServiceExt, service_fn};

fn three() -> Script {
    Script::new().data("one ").data("two ").data("three")
}

#[tokio::test]
async fn o_23_stream_error_half_way() {
    for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111(), Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR)]
    {
        let bodies: [fn() -> Script; 6] = [
            || three().fail(),
            || Script::new().fail(),
            || three().fail().data("more"),
            || three().trailers(&[("x", "y")]).fail(),
            || three().exact(13).fail().shy(),
            || Script::new().data("").fail(),
        ];
        for broken in bodies {
            let inner = Inner::by(move |call| {
                let reply = Reply::ok("whole").cc("max-age=60").with("etag", "\"e\"");
                if call.number == 1 { reply.body(broken()) } else { reply }
            });
            let app = App::new(policy.clone(), inner);
            let first = app.get("/x").await;
            assert!(first.broken, "the client sees an error, not a clean end");
            assert_eq!((app.not_stored("body-failed"), app.stats().resources), (1, 0));
            let second = app.get("/x").await;
            assert_miss!(second);
            assert_eq!((second.text(), app.calls()), ("whole", 2));
            assert_hit!(app.get("/x").await);
        }
    }
}

/// A copy that is there stays while its successor breaks off, also in the background.
#[tokio::test]
async fn o_23_a_broken_successor_displaces_nothing() {
    for (policy, refreshed) in [
        (Policy::from_response().stale_if_error(HOUR), false),
        (Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(HOUR), true),
    ] {
        let inner = Inner::by(|call| match call.number {
            1 => Reply::ok("good").cc("max-age=60"),
            2 => Reply::ok("").cc("max-age=60").body(three().fail()),
            _ => Reply::down(),
        });
        let app = App::new(policy, inner);
        app.get("/x").await;
        app.advance(61);
        let second = app.get("/x").await;
        assert_eq!(second.broken, !refreshed);
        crate::support::settle().await;
        assert_eq!(app.calls(), 2);
        app.advance(31);
        let third = app.get("/x").await;
        assert_stale!(third);
        assert_eq!(third.text(), "good");
    }
}

/// A client that goes away half-way leaves no half.
#[tokio::test]
async fn o_23_an_abandoned_body_is_not_stored() {
    let bodies: [fn() -> Script; 4] =
        [three, || three().shy(), || three().exact(13), || three().exact(13).trailers(&[("x", "y")])];
    for body in bodies {
        for frames in 0..3 {
            let policy = Policy::fresh_for(MINUTE).abandon_on_cancel();
            let app = App::new(policy, Inner::by(move |_| Reply::ok("").body(body())));
            let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
            for _ in 0..frames {
                response.body_mut().frame().await.unwrap().unwrap();
            }
            drop(response);
            assert_eq!((app.not_stored("abandoned"), app.stats().resources), (1, 0), "{frames}");
            assert_miss!(app.get("/x").await);
        }
    }
}

#[tokio::test]
async fn o_24_event_streams_are_never_held_up_or_kept() {
    for (name, stored) in [
        ("text/event-stream", false),
        ("Text/Event-Stream; charset=utf-8", false),
        (" text/event-stream", false),
        ("text/plain", true),
    ] {
        for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111()] {
            let gates = [Arc::new(Notify::new()), Arc::new(Notify::new())];
            let held = gates.clone();
            let app = App::new(
                policy,
                Inner::by(move |_| {
                    let body = Script::new().wait(&held[0]).data("event 1").wait(&held[1]).data("event 2").shy();
                    Reply::ok("").cc("public, max-age=60").with("content-type", name).body(body)
                }),
            );
            let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
            assert!(matches!(poll(&mut response), Poll::Pending), "the head came before any event");
            gates[0].notify_one();
            assert_eq!(frame(&mut response).await, "event 1", "at once, the second is not there yet");
            assert!(matches!(poll(&mut response), Poll::Pending));
            gates[1].notify_one();
            assert_eq!(frame(&mut response).await, "event 2");
            assert!(response.body_mut().frame().await.is_none());
            assert_eq!(app.cache.contains("/x"), stored, "{name}");
            assert_eq!(app.not_stored("event-stream"), u64::from(!stored));
        }
    }
}

fn poll<B: http_body::Body + Unpin>(response: &mut http::Response<B>) -> Poll<()> {
    let frame = pin!(response.body_mut()).poll_frame(&mut Context::from_waker(Waker::noop()));
    frame.map(|_| ())
}

async fn frame<B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(
    response: &mut http::Response<B>,
) -> Bytes {
    response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap()
}

/// A body over the limit goes on streaming to its client, is not kept, and is not read ahead.
#[tokio::test]
async fn o_24_a_huge_body_streams_through() {
    let chunk = Bytes::from(vec![7; 64 * 1024]);
    for declared in [false, true] {
        let many = 1024;
        let data = chunk.clone();
        let body = move || {
            let body = (0..many).fold(Script::new(), |body, _| body.data(data.clone()));
            if declared { body.exact(many * 64 * 1024) } else { body }
        };
        let taken: Arc<std::sync::Mutex<Option<Arc<std::sync::atomic::AtomicUsize>>>> = Arc::default();
        let counter = Arc::clone(&taken);
        let app = App::new(
            Policy::fresh_for(MINUTE).max_body(1 << 20),
            Inner::by(move |_| {
                let body = body();
                *counter.lock().unwrap() = Some(body.taken());
                Reply::ok("").body(body)
            }),
        );
        let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
        let count = || taken.lock().unwrap().as_ref().unwrap().load(Ordering::SeqCst);
        assert_eq!(count(), 0, "nothing is read before the client asks");
        for n in 1..=many {
            assert_eq!(frame(&mut response).await, chunk);
            assert_eq!(count(), usize::try_from(n).unwrap(), "and no frame ahead");
            let refused = app.not_stored("too-large");
            assert_eq!(refused, u64::from(declared || n > 16), "{n}");
        }
        assert!(response.body_mut().frame().await.is_none());
        assert_eq!(app.stats().resources, 0);
        assert_miss!(app.get("/x").await);
    }
}

#[tokio::test]
async fn o_24_limits_are_exact() {
    for (length, stored) in [(0, true), (1, true), (99, true), (100, true), (101, false), (5000, false)] {
        for declared in [false, true] {
            let app = App::new(
                Policy::fresh_for(MINUTE).max_body(100),
                Inner::by(move |_| {
                    let reply = Reply::ok(vec![b'x'; length]);
                    if declared { reply.with("content-length", length.to_string()) } else { reply }
                }),
            );
            for _ in 0..2 {
                assert_eq!(app.get("/x").await.body.len(), length);
            }
            assert_eq!(app.calls() == 1, stored, "{length} {declared}");
            assert_eq!(app.not_stored("too-large"), if stored { 0 } else { 2 });
        }
    }
}

/// A stream that is no GET: gRPC and its like pass frame by frame, in both directions.
#[tokio::test]
async fn o_24_grpc_streams_pass() {
    let gate = Arc::new(Notify::new());
    let held = Arc::clone(&gate);
    let app = App::new(
        Policy::fresh_for(MINUTE),
        Inner::by(move |_| {
            let body = Script::new().data("message 1").wait(&held).trailers(&[("grpc-status", "0")]).shy();
            Reply::ok("").with("content-type", "application/grpc").body(body)
        }),
    );
    let request = Request::post("/s.S/M").header("te", "trailers").body(Script::new().data("ask")).unwrap();
    let mut response = app.head(request).await.unwrap();
    assert_eq!(frame(&mut response).await, "message 1");
    assert!(matches!(poll(&mut response), Poll::Pending));
    gate.notify_one();
    let got = Got::read(response).await;
    assert_bypass!(got);
    assert_eq!(got.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn o_25_trailers_and_empty_frames() {
    let bodies: [fn() -> Script; 8] = [
        || Script::new().data("ab").data("").data("cd").trailers(&[("x-sum", "1"), ("x-sum", "2"), ("x-b", "3")]),
        || Script::new().data("ab").data("").data("cd").trailers(&[("x-sum", "1"), ("x-sum", "2"), ("x-b", "3")]).shy(),
        || Script::new().data("").data("abcd").data("").trailers(&[("x-sum", "1"), ("x-sum", "2"), ("x-b", "3")]),
        || Script::new().data("abcd").trailers(&[("x-sum", "1"), ("x-sum", "2"), ("x-b", "3")]).exact(4),
        || Script::new().data("").data("").data("abcd").shy(),
        || Script::new().data("abcd").data("").data(""),
        || Script::new().data("").shy(),
        || Script::new().trailers(&[("x-sum", "1"), ("x-sum", "2"), ("x-b", "3")]),
    ];
    for (at, body) in bodies.into_iter().enumerate() {
        let app = App::new(Policy::fresh_for(MINUTE), Inner::by(move |_| Reply::ok("").body(body())));
        let miss = app.get("/x").await;
        assert_miss!(miss);
        let text = if at < 6 { "abcd" } else { "" };
        assert_eq!(miss.text(), text);
        for _ in 0..2 {
            let hit = app.get("/x").await;
            assert_hit!(hit);
            assert_eq!((hit.text(), &hit.trailers), (text, &miss.trailers), "{at}");
            assert_eq!(hit.has("content-length"), hit.trailers.is_none(), "a length would cost the trailers");
        }
        let bare = app.send(head("/x")).await;
        assert_hit!(bare);
        assert!(bare.body.is_empty() && bare.trailers.is_none());
        if at < 6 {
            let part = app.send(Request::get("/x").header("range", "bytes=1-2")).await;
            assert_eq!((part.status.as_u16(), part.text()), (206, "bc"));
        }
    }
}

/// An empty body, a body that says at once that it has ended, and one with no data at all are stored and end.
#[tokio::test]
async fn o_25_empty_bodies() {
    let bodies: [fn() -> Script; 4] =
        [Script::new, || Script::new().shy(), || Script::new().exact(0), || Script::new().data("").exact(0)];
    for body in bodies {
        let app = App::new(Policy::fresh_for(MINUTE), Inner::by(move |_| Reply::ok("").body(body())));
        let response = app.head(plain(Request::get("/x"))).await.unwrap();
        let ended = response.body().is_end_stream();
        let got = Got::read(response).await;
        assert!(got.body.is_empty());
        let hit = app.get("/x").await;
        assert_hit!(hit);
        assert_eq!((hit.text(), hit.header("content-length").as_str()), ("", "0"), "{ended}");
    }
}

/// A client that goes away between the last byte and the trailers: what is stored has them, or is not stored.
#[tokio::test]
async fn o_25_trailers_are_not_lost_to_a_client_that_goes_away() {
    for declared in [false, true] {
        let app = App::new(
            Policy::fresh_for(MINUTE),
            Inner::by(move |_| {
                let body = Script::new().data("abcd").trailers(&[("x-sum", "1")]);
                let reply = Reply::ok("").with("trailer", "x-sum");
                reply.body(if declared { body.exact(4) } else { body })
            }),
        );
        let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
        assert_eq!(frame(&mut response).await, "abcd");
        drop(response);
        let got = app.get("/x").await;
        assert_eq!(got.trailers.map(|trailers| trailers["x-sum"].clone()), Some("1".parse().unwrap()), "{declared}");
    }
}

/// A server that has sent the declared length does not ask for the end: it is stored all the same.
#[tokio::test]
async fn o_25_a_declared_length_that_was_reached_is_the_end() {
    let app = App::new(
        Policy::fresh_for(MINUTE),
        Inner::by(|_| Reply::ok("").with("content-length", "4").body(Script::new().data("ab").data("cd").shy())),
    );
    let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
    assert_eq!(frame(&mut response).await, "ab");
    assert_eq!(frame(&mut response).await, "cd");
    drop(response);
    let hit = app.get("/x").await;
    assert_hit!(hit);
    assert_eq!(hit.text(), "abcd");
}

/// The body type of the service is kept as it is: errors too, and it need not be `Sync` or `Unpin`.
#[tokio::test]
async fn o_25_any_body_fits() {
    type Boxed = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;
    let (cache, _clock): (Cache, _) = crate::behind::cache();
    let service = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(service_fn(|_: Request<String>| async {
        let body: Boxed = http_body_util::Full::from("abcd").map_err(|never| match never {}).boxed_unsync();
        Ok::<_, std::io::Error>(http::Response::new(body))
    }));
    for outcome in ["miss", "hit"] {
        let request = Request::get("/x").body(String::new()).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        assert_eq!(test_util::outcome(response.headers()), outcome);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "abcd");
    }
}

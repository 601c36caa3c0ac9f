//! Freshness and validation with what came from Redis: a promoted response is as one that was stored here.

use crate::support::{Answer, Body, HOUR, MINUTE, Node, Setup, full, header, replies, reply_with, secs, status};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use larder::{Policy, RequestDirectives};
use larder_redis_tests::{Server, until};
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering::SeqCst},
    },
};

/// A service that answers so until it is told to answer otherwise.
#[derive(Clone, Default)]
struct Says {
    fields: Arc<Mutex<Vec<(&'static str, String)>>>,
    /// Not 0: it answers with this status.
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Says {
    fn now(&self, status: u16, fields: &[(&'static str, &str)]) {
        *self.fields.lock().unwrap() = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        self.status.store(status, SeqCst);
    }

    fn answer(&self) -> Answer {
        let says = self.clone();
        replies(move |request, call| {
            says.seen.lock().unwrap().push(request.headers().clone());
            let fields = says.fields.lock().unwrap().clone();
            let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let mut reply = reply_with(call, &fields);
            *reply.status_mut() = StatusCode::from_u16(says.status.load(SeqCst).max(200)).unwrap();
            if reply.status() != 200 {
                *reply.body_mut() = full("");
            }
            reply
        })
    }

    fn last(&self, name: &str) -> String {
        let seen = self.seen.lock().unwrap();
        seen.last().unwrap().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    }
}

async fn nodes(server: &Server, policy: Policy) -> (Says, Node, Node) {
    let says = Says::default();
    let (a, b) = Setup::new(server.url(), policy).timed().answer(says.answer()).two().await;
    (says, a, b)
}

#[tokio::test]
async fn o_26_prohibitions_hold_for_what_was_promoted() {
    let server = Server::standalone().await;
    let policy = || {
        let policy = Policy::from_response().stale_while_revalidate(HOUR).stale_if_error(HOUR);
        policy.request_directives(RequestDirectives::Honor)
    };
    for (number, (control, stale)) in [
        ("max-age=60, must-revalidate", false),
        ("max-age=60, proxy-revalidate", false),
        ("s-maxage=60", false),
        ("max-age=60, no-cache", false),
        ("max-age=60", true),
    ]
    .into_iter()
    .enumerate()
    {
        let (says, a, b) = nodes(&server, policy()).await;
        let path = format!("/{number}");
        says.now(200, &[("cache-control", control)]);
        let first = a.store(&path).await;
        says.now(503, &[]);
        for node in [&a, &b] {
            node.advance(secs(90));
            for asked in ["max-stale", "max-stale=99999", "max-stale=1", ""] {
                let got = node.send(Request::get(&path).header("cache-control", asked)).await;
                // Half a minute is more than it accepts.
                let expected = stale && asked != "max-stale=1";
                assert_eq!(got.body == first, expected, "{control} {asked}: {got:?}");
            }
        }
    }
}

/// Stale and refreshed behind the answer, from a node that had none of it.
#[tokio::test]
async fn o_28_stale_while_revalidate() {
    let server = Server::standalone().await;
    let (says, a, b) = nodes(&server, Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE)).await;
    says.now(200, &[("etag", "\"v1\"")]);
    let first = a.store("/x").await;
    b.advance(secs(90));
    let request = || {
        let request =
            Request::get("/x").header("connection", "x-hop").header("x-hop", "1").header("range", "bytes=0-1");
        request.header("if-none-match", "\"mine\"")
    };
    let got = b.send(request()).await;
    assert_eq!((got.status.as_u16(), got.outcome()), (206, "stale"), "{got:?}");
    until("it is refreshed", async || b.calls() == 1 && b.cache.stats().background == 0).await;
    assert_eq!(
        (says.last("range"), says.last("x-hop"), says.last("if-none-match")),
        ("".into(), "".into(), "\"v1\"".into())
    );
    assert_ne!(b.get("/x").await, first);
    b.written().await;
    // The refreshed one is there for the others.
    let c = Setup::new(server.url(), Policy::fresh_for(MINUTE)).timed().start().await;
    c.advance(secs(100));
    assert_eq!(c.get("/x").await, b.get("/x").await);
    // After the window nothing stale is served, and failures keep what there is within it.
    says.now(500, &[]);
    b.advance(secs(61));
    assert_eq!(b.send(Request::get("/x")).await.outcome(), "stale");
    until("it was refreshed in vain", async || b.cache.stats().background == 0).await;
    b.advance(secs(60));
    assert_eq!(b.send(Request::get("/x")).await.status.as_u16(), 500);
}

#[tokio::test]
async fn o_28_stale_if_error() {
    let server = Server::standalone().await;
    let (says, a, b) = nodes(&server, Policy::fresh_for(MINUTE).stale_if_error(HOUR)).await;
    let first = a.store("/x").await;
    says.now(502, &[]);
    b.advance(secs(90));
    let got = b.send(Request::get("/x")).await;
    assert_eq!((got.body.as_str(), got.outcome()), (first.as_str(), "stale"), "{:?}", b.cache.stats());
    b.advance(HOUR);
    assert_eq!(b.send(Request::get("/x")).await.status.as_u16(), 502);
}

/// A 304 freshens what came from Redis, for all: none of the fields that it must not bring are kept, and its new lifetime counts.
#[tokio::test]
async fn o_27_what_a_304_brings() {
    let server = Server::standalone().await;
    let policy = || Policy::from_response().keep(HOUR);
    for (number, (fields, stays, shared)) in [
        (&[("etag", "\"a\""), ("set-cookie", "sid=B"), ("cache-control", "max-age=600")][..], true, true),
        (&[("etag", "\"a\""), ("content-length", "0"), ("cache-control", "max-age=600")], true, true),
        (&[("etag", "\"b\""), ("cache-control", "max-age=600")], false, false),
        (&[("etag", "\"a\""), ("vary", "x-kind"), ("cache-control", "max-age=600")], true, true),
        (&[("etag", "\"a\""), ("cache-control", "private")], true, false),
        (&[("etag", "\"a\""), ("cache-control", "no-store")], true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let (says, a, b) = nodes(&server, policy()).await;
        let path = format!("/{number}");
        says.now(200, &[("etag", "\"a\""), ("cache-control", "max-age=60")]);
        let first = a.store(&path).await;
        b.advance(secs(90));
        says.now(304, fields);
        let got = b.send(Request::get(&path)).await;
        assert_eq!(says.last("if-none-match"), if stays { "\"a\"" } else { "" }, "{fields:?}");
        if stays {
            assert_eq!((got.status.as_u16(), &got.body), (200, &first), "{fields:?}");
            assert!(["", &first.len().to_string()].contains(&got.header("content-length")));
        }
        b.written().await;
        // Somebody else, who has none of it.
        says.now(200, &[("cache-control", "no-store")]);
        let c = Setup::new(server.url(), policy()).timed().answer(says.answer()).start().await;
        c.advance(secs(400));
        let got = c.send(Request::get(&path)).await;
        assert_eq!(got.body == first, shared, "{fields:?}: {got:?} {:?}", c.cache.stats());
        assert_eq!(got.header("set-cookie"), "");
    }
}

/// A refresh that ends the stored response ends it in Redis as well.
#[tokio::test]
async fn o_28_what_a_refresh_has_ended_stays_ended() {
    let server = Server::standalone().await;
    let policy = || Policy::from_response().stale_while_revalidate(HOUR);
    for (number, (code, fields)) in
        [(200, &[("cache-control", "no-store")][..]), (404, &[]), (200, &[("cache-control", "private, max-age=60")])]
            .into_iter()
            .enumerate()
    {
        let (says, a, b) = nodes(&server, policy()).await;
        let path = format!("/{number}");
        says.now(200, &[("cache-control", "max-age=60")]);
        let first = a.store(&path).await;
        assert_eq!(b.get(&path).await, first);
        for node in [&a, &b] {
            node.advance(secs(90));
        }
        says.now(code, fields);
        assert_eq!(a.send(Request::get(&path)).await.outcome(), "stale");
        until("the refresh is over", async || a.calls() == 2 && a.cache.stats().background == 0).await;
        a.written().await;
        let got = a.send(Request::get(&path)).await;
        assert_ne!(got.body, first, "{code} {fields:?}: {got:?}");
    }
}

/// What a 304 forbids is not served any more, by nobody, also when the service fails.
#[tokio::test]
async fn o_27_prohibitions_end_sharing() {
    let server = Server::standalone().await;
    let policy = || Policy::from_response().stale_if_error(HOUR);
    for (number, control) in ["private", "no-store"].into_iter().enumerate() {
        let (says, a, b) = nodes(&server, policy()).await;
        let path = format!("/{number}");
        says.now(200, &[("etag", "\"a\""), ("cache-control", "max-age=60")]);
        let first = a.store(&path).await;
        a.advance(secs(90));
        b.advance(secs(90));
        says.now(304, &[("etag", "\"a\""), ("cache-control", control)]);
        assert_eq!(a.get(&path).await, first);
        a.written().await;
        says.now(503, &[]);
        assert_ne!(b.get(&path).await, first, "{control}");
    }
}

#[tokio::test]
async fn conditions_ranges_and_heads_of_what_was_promoted() {
    let server = Server::standalone().await;
    let (says, a, _) = nodes(&server, Policy::fresh_for(HOUR)).await;
    let date = "Sat, 01 Aug 2026 10:00:00 GMT";
    says.now(200, &[("etag", "\"v1\""), ("last-modified", date), ("x-other", "kept")]);
    let whole = a.store("/x").await;
    says.now(500, &[]);
    // Each from a node of its own, so that it is answered from what has just been promoted.
    let fresh = async || Setup::new(server.url(), Policy::fresh_for(HOUR)).timed().answer(says.answer()).start().await;
    let get = || Request::get("/x");
    for (request, code, body) in [
        (get(), 200, whole.as_str()),
        (get().header("if-none-match", "\"v1\""), 304, ""),
        (get().header("if-none-match", "W/\"v1\", \"other\""), 304, ""),
        (get().header("if-none-match", "\"other\""), 200, &whole),
        (get().header("if-modified-since", date), 304, ""),
        (get().header("if-modified-since", "Sat, 01 Aug 2020 10:00:00 GMT"), 200, &whole),
        (get().header("range", "bytes=1-3"), 206, &whole[1..4]),
        (get().header("range", "bytes=-2"), 206, &whole[whole.len() - 2..]),
        (get().header("range", "bytes=1-3").header("if-range", "\"v1\""), 206, &whole[1..4]),
        (get().header("range", "bytes=1-3").header("if-range", "\"v2\""), 200, &whole),
        (get().header("range", "bytes=9999-"), 416, ""),
        (Request::head("/x"), 200, ""),
    ] {
        let text = format!("{request:?}");
        let node = fresh().await;
        let got = node.send(request).await;
        assert_eq!((got.status.as_u16(), got.body.as_str()), (code, body), "{text}");
        assert_eq!((node.calls(), node.tier().hits), (0, 1), "{text}");
        if code == 200 {
            assert_eq!((got.header("etag"), got.header("x-other")), ("\"v1\"", "kept"), "{text}");
        }
    }
}

#[tokio::test]
async fn trailers() {
    let server = Server::standalone().await;
    let answer: Answer = Arc::new(|_, call| {
        Box::pin(async move {
            let mut trailers = HeaderMap::new();
            trailers.append("x-sum", format!("{call}").parse().unwrap());
            trailers.append("x-sum", "again".parse().unwrap());
            let frames = [Frame::data(Bytes::from(format!("answer {call}"))), Frame::trailers(trailers)];
            let frames = frames.map(Ok::<_, Infallible>);
            let body: Body = StreamBody::new(Frames(frames.into_iter().collect())).boxed();
            Response::builder().header("trailer", "x-sum").body(body).unwrap()
        })
    });
    let (a, b) = Setup::new(server.url(), Policy::fresh_for(HOUR)).answer(answer).two().await;
    let first = a.send(Request::get("/x")).await;
    a.written().await;
    let second = b.send(Request::get("/x")).await;
    assert_eq!((first.body, first.trailers.clone()), (second.body, second.trailers));
    assert_eq!(first.trailers.unwrap().get_all("x-sum").iter().count(), 2);
    assert_eq!(b.calls(), 0);
}

/// These, one after the other.
struct Frames(std::collections::VecDeque<Result<Frame<Bytes>, Infallible>>);

impl futures_core::Stream for Frames {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.pop_front())
    }
}

/// Fields in several lines, with bytes that are no text, and each status.
#[tokio::test]
async fn heads_are_as_they_were() {
    let server = Server::standalone().await;
    for code in [200, 203, 301, 308, 404, 410] {
        let answer = replies(move |request, call| {
            let mut reply =
                reply_with(call, &[("x-many", "one"), ("x-many", "two"), ("x-said", header(request, "host"))]);
            reply.headers_mut().append("x-bytes", http::HeaderValue::from_bytes(b"\xff\xfe z").unwrap());
            *reply.status_mut() = StatusCode::from_u16(code).unwrap();
            reply
        });
        let (a, b) = Setup::new(server.url(), Policy::fresh_for(HOUR)).answer(answer).two().await;
        let path = format!("/{code}");
        let first = a.send(Request::get(&path)).await;
        a.written().await;
        let second = b.send(Request::get(&path)).await;
        assert_eq!((b.calls(), second.status.as_u16(), &second.body), (0, code, &first.body));
        for name in ["x-many", "x-bytes", "x-said"] {
            let lines = |headers: &HeaderMap| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
            assert_eq!(lines(&first.headers), lines(&second.headers));
        }
    }
}

/// What may not be stored is not in Redis either.
#[tokio::test]
async fn o_02_what_may_not_be_stored_does_not_leave_the_process() {
    let server = Server::standalone().await;
    let (says, a, b) = nodes(&server, Policy::from_response()).await;
    for (code, fields) in [
        (200, &[("cache-control", "max-age=60, private")][..]),
        (200, &[("cache-control", "max-age=60, no-store")]),
        (200, &[("cache-control", "max-age=60"), ("set-cookie", "sid=1")]),
        (200, &[("cache-control", "max-age=60"), ("vary", "*")]),
        (206, &[("cache-control", "max-age=60")]),
        (500, &[]),
        (200, &[]),
    ] {
        says.now(code, fields);
        let first = a.store("/x").await;
        assert!(b.get("/x").await != first || first.is_empty(), "{code} {fields:?}");
    }
    assert_eq!(server.cli(&["KEYS", "larder:larder:1:*"]).await, "");
    assert_eq!(status(204).status().as_u16(), 204);
}

/// A client that wants nothing but what is stored gets what is in Redis, and nobody is asked for what is not.
#[tokio::test]
async fn only_if_cached() {
    let server = Server::standalone().await;
    let policy = Policy::fresh_for(HOUR).request_directives(RequestDirectives::Honor);
    let (_, a, b) = nodes(&server, policy).await;
    let first = a.store("/x").await;
    let ask = |path: &str| Request::get(path).header("cache-control", "only-if-cached");
    assert_eq!(b.send(ask("/x")).await.body, first);
    let none = b.send(ask("/y")).await;
    assert_eq!((none.status.as_u16(), b.calls()), (504, 0));
}

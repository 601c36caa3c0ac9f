//! BODY: bodies that several read at once (O-23 to O-25 with waiters).

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, collapsed, long, ms, pass},
    support::{App, Got, Inner, MINUTE, Reply, Script, plain, settle, until},
};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use larder::{CacheLayer, Policy, RequestBody, ResponseBody, assert_bypass, assert_hit, assert_miss, test_util};
use std::{
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower::{Layer, ServiceExt};

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Unknown,
    Field,
    Hint,
}

const LENGTHS: [Length; 3] = [Length::Unknown, Length::Field, Length::Hint];

impl Length {
    fn say(self, body: Script, length: usize) -> Reply {
        match self {
            Self::Unknown => Reply::ok("").body(body),
            Self::Field => Reply::ok("").body(body).with("content-length", length.to_string()),
            Self::Hint => Reply::ok("").body(body.exact(length as u64)),
        }
    }
}

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

/// When each of them has had its first frame, in milliseconds; and the bodies, to be read on.
async fn first_frames(app: &App, many: usize) -> Vec<(u128, Bytes, Response<ResponseBody<Script>>)> {
    let asking: Vec<_> = (0..many)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                let watch = Stopwatch::start();
                let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
                let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
                (watch.millis(), frame, response)
            })
        })
        .collect();
    let mut all = Vec::new();
    for asking in asking {
        all.push(asking.await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn o_24_event_streams_with_waiters() {
    let inner = Inner::by(|call| {
        let events = (0..3600)
            .fold(Script::new(), |body, n| body.data(format!("data: {} {n}\n\n", call.number)).pause(ms(1000)));
        Reply::ok("").cc("max-age=60").with("content-type", "text/event-stream").body(events).after(ms(100))
    });
    for policy in [Policy::fresh_for(MINUTE), Policy::rfc9111()] {
        let app = App::new(policy, inner.clone());
        let before = app.calls();
        let mut streams = first_frames(&app, 51).await;
        let own: std::collections::HashSet<_> = streams.iter().map(|(_, frame, _)| frame.clone()).collect();
        assert_eq!((own.len(), app.calls() - before), (51, 51), "each has a stream of its own");
        assert!(streams.iter().all(|(at, ..)| *at <= 200), "and its first event at once");
        assert!(streams.iter().all(|(.., response)| response.headers().get("age").is_none()));
        assert_eq!((app.stats().fills, app.stats().resources), (0, 0));
        // The others come one a second, each at its time.
        let watch = Stopwatch::start();
        for n in 1..5 {
            let (.., response) = &mut streams[50];
            let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
            assert!(frame.ends_with(format!(" {n}\n\n").as_bytes()));
        }
        assert!((3900..=4100).contains(&watch.millis()), "{}", watch.millis());
        // Who comes later does not wait.
        assert!(first_frames(&app, 20).await.iter().all(|(at, ..)| *at <= 100));
        drop(streams);
        settle().await;
        at_rest(&app, 71);
    }
}

/// gRPC bypasses, as every POST does, and streams; under a policy for it, its first message comes at once all the same.
#[tokio::test(start_paused = true)]
async fn o_24_grpc_streams_with_waiters() {
    fn rebuilt(body: RequestBody<Script>) -> Script {
        match pin!(body.collect()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(all)) => Script::new().data(all.to_bytes()),
            _ => Script::new().fail(),
        }
    }
    let (cache, _clock) = test_util::cache();
    let inner = Inner::by(|call| {
        let body = (0..600).fold(Script::new(), |body, n| body.data(format!("{} {n}.", call.number)).pause(ms(1000)));
        let body = body.trailers(&[("grpc-status", "0")]);
        Reply::ok("").with("content-type", "application/grpc").body(body).after(ms(100))
    });
    let call = || {
        let body = Script::new().data("message");
        Request::post("/s.S/Stream")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(body)
            .unwrap()
    };
    let app = App::new(Policy::fresh_for(MINUTE), inner.clone());
    let mut bypassing = Vec::new();
    for _ in 0..20 {
        bypassing.push(app.head(call()).await.unwrap());
    }
    let watch = Stopwatch::start();
    for response in &mut bypassing {
        assert_bypass!(*response);
        assert!(response.body_mut().frame().await.unwrap().unwrap().is_data());
    }
    assert!(watch.millis() == 0 && app.calls() == 20);
    let limit = Duration::from_secs(2);
    let service = CacheLayer::new(&cache, Policy::fresh_for(MINUTE).grpc().wait_limit(limit)).rebuild_body(rebuilt);
    let service = service.layer(inner.clone());
    let asking: Vec<_> = (0..51)
        .map(|_| {
            let service = service.clone();
            tokio::spawn(async move {
                let watch = Stopwatch::start();
                let mut response = service.oneshot(call()).await.unwrap();
                let frame = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
                assert!(frame.ends_with(b" 0."));
                (watch.millis(), response)
            })
        })
        .collect();
    let mut streams = Vec::new();
    for asking in asking {
        streams.push(asking.await.unwrap());
    }
    assert!(streams[0].0 <= 100, "the first waits for nothing");
    assert!(streams.iter().all(|(at, _)| *at <= 2 * 2000 + 100), "the others have streams of their own in the end");
    assert_eq!(inner.calls() - 20, 51);
    assert_eq!((cache.stats().stored, cache.stats().collapsed), (0, 0));
}

/// Chunks that tell when they are dropped.
#[derive(Clone)]
struct Chunks {
    alive: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

struct Chunk(Chunks, Vec<u8>);

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.1
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, SeqCst);
    }
}

const CHUNK: usize = 16 * 1024;

/// A download of so many chunks. The frames that were taken of each body are told.
fn download(chunks: usize, length: Length) -> (Inner, Arc<Mutex<Vec<Arc<AtomicUsize>>>>) {
    let taken: Arc<Mutex<Vec<_>>> = Arc::default();
    let bodies = Arc::clone(&taken);
    let chunk = Bytes::from(long(CHUNK, 5));
    let inner = Inner::by(move |_| {
        let body = (0..chunks).fold(Script::new(), |body, _| body.data(chunk.clone()).pause(ms(1)));
        bodies.lock().unwrap().push(body.taken());
        length.say(body, chunks * CHUNK).cc("max-age=60").after(ms(100))
    });
    (inner, taken)
}

/// Over the limit: each has a download of its own, none is read ahead but for what may be stored, and all come whole.
#[tokio::test(start_paused = true)]
async fn o_24_huge_downloads_with_waiters() {
    for length in LENGTHS {
        let (inner, taken) = download(640, length);
        let app = App::new(Policy::fresh_for(MINUTE).max_body(20 * CHUNK), inner);
        // The first does not read at all.
        let first = app.head(plain(Request::get("/x"))).await.unwrap();
        let waiting = first_frames(&app, 50).await;
        // At once where the head tells; else when the limit is reached.
        let most = if length == Length::Unknown { 100 + 25 } else { 100 };
        assert!(waiting.iter().all(|(at, ..)| *at <= most), "{length:?}");
        assert!(app.calls() == 51 && app.stats().fills <= 1, "one of them may find out anew whether it fits");
        pass(5000).await;
        let read: Vec<_> = taken.lock().unwrap().iter().map(|taken| taken.load(SeqCst)).collect();
        let ahead = if length == Length::Unknown { 21 } else { 1 };
        assert!(read.iter().all(|read| *read <= ahead), "{length:?}: {read:?}");
        for (_, frame, response) in waiting {
            assert_eq!(frame.len() + Got::read(response).await.body.len(), 640 * CHUNK);
        }
        let whole = Got::read(first).await;
        assert!(whole.body.chunks(CHUNK).all(|chunk| chunk == long(CHUNK, 5)) && whole.body.len() == 640 * CHUNK);
        assert_eq!(app.stats().resources, 0);
        at_rest(&app, 51);
        // Later ones do not wait for each other.
        app.inner.busy().forget();
        assert!(first_frames(&app, 20).await.iter().all(|(at, ..)| *at <= 100) && app.inner.busy().most() == 20);
    }
}

/// What the service sent is not kept alive by those who read along, however many and slow they are.
#[tokio::test(start_paused = true)]
async fn o_24_frames_are_let_go() {
    for length in [Length::Unknown, Length::Field] {
        let chunks = Chunks { alive: Arc::default(), most: Arc::default() };
        let made = chunks.clone();
        let inner = Inner::by(move |_| {
            // Made one by one, when they are asked for.
            let body = (0..64).fold(Script::new(), |body, _| {
                let chunks = made.clone();
                body.pause(ms(1)).lazy(move || {
                    let alive = chunks.alive.fetch_add(1, SeqCst) + 1;
                    chunks.most.fetch_max(alive, SeqCst);
                    Bytes::from_owner(Chunk(chunks.clone(), vec![7; CHUNK]))
                })
            });
            length.say(body, 64 * CHUNK).cc("max-age=60")
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let first = app.head(plain(Request::get("/x"))).await.unwrap();
        let stalled: Vec<_> = {
            let mut stalled = Vec::new();
            if length != Length::Unknown {
                for _ in 0..20 {
                    stalled.push(app.head(plain(Request::get("/x"))).await.unwrap());
                }
            }
            stalled
        };
        let crowd = Crowd::get(&app, 30, "/x").await;
        assert!(crowd.all().await.iter().all(|got| got.body.len() == 64 * CHUNK));
        assert!(chunks.most.load(SeqCst) <= 2, "{length:?}: {} at once", chunks.most.load(SeqCst));
        assert_eq!(chunks.alive.load(SeqCst), 0);
        for response in stalled.into_iter().chain([first]) {
            assert_eq!(Got::read(response).await.body.len(), 64 * CHUNK);
        }
        assert_eq!(app.calls(), 1);
    }
}

/// Nobody is slowed by another who reads slowly, or not at all.
#[tokio::test(start_paused = true)]
async fn o_24_slow_readers_slow_nobody() {
    for length in LENGTHS {
        for first_is_slow in [true, false] {
            let (inner, _) = download(50, length);
            let app = App::new(Policy::fresh_for(MINUTE), inner);
            let slow = |app: &App| {
                let app = app.clone();
                tokio::spawn(async move {
                    let mut response = app.head(plain(Request::get("/x"))).await.unwrap();
                    let mut read = 0;
                    while let Some(frame) = response.body_mut().frame().await {
                        read += frame.unwrap().into_data().unwrap().len();
                        pass(10_000).await;
                    }
                    read
                })
            };
            let watch = Stopwatch::start();
            let first = if first_is_slow {
                slow(&app)
            } else {
                tokio::spawn({
                    let app = app.clone();
                    async move { app.get("/x").await.body.len() }
                })
            };
            settle().await;
            let follower = slow(&app);
            let crowd = Crowd::get(&app, 20, "/x").await;
            assert!(crowd.all().await.iter().all(|got| got.body.len() == 50 * CHUNK));
            assert!(watch.millis() <= 160, "{length:?}: {}", watch.millis());
            if !first_is_slow {
                assert_eq!(first.await.unwrap(), 50 * CHUNK);
                assert!(watch.millis() <= 160);
            } else {
                assert!(!first.is_finished());
            }
            // It is stored, whoever is still reading.
            let hit = app.get("/x").await;
            assert_hit!(hit);
            assert_eq!((app.stats().fills, app.calls()), (0, 1));
            assert_eq!(follower.await.unwrap(), 50 * CHUNK);
        }
    }
}

/// What is declared is followed as it comes: the first byte of a long response is there at once for all.
#[tokio::test(start_paused = true)]
async fn o_24_followers_read_along() {
    for (length, along) in [(Length::Field, true), (Length::Hint, true), (Length::Unknown, false)] {
        let (inner, _) = download(100, length);
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let streams = first_frames(&app, 51).await;
        assert!(streams[0].0 <= 101);
        assert!(streams[1..].iter().all(|(at, ..)| (*at <= 101) == along), "{length:?}");
        assert_eq!(app.calls(), 1);
        for (_, first, response) in streams {
            assert_eq!(first.len() + Got::read(response).await.body.len(), 100 * CHUNK);
        }
        // Who comes in the middle gets all from the beginning.
        app.purge("/x").await;
        let first = Crowd::get(&app, 1, "/x").await;
        pass(150).await;
        let late = Crowd::get(&app, 10, "/x").await;
        assert!(late.all().await.iter().all(|got| got.body.len() == 100 * CHUNK && collapsed(got)));
        first.all().await;
        assert_eq!(app.calls(), 2);
        at_rest(&app, 62);
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

//! BODY: streams and downloads that several ask for at once (O-24 with waiters).

use crate::{
    crowd::{Crowd, Stopwatch, at_rest, collapsed, long, ms, pass, threads},
    support::{App, Got, Inner, MINUTE, Reply, Script, plain, settle},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{Cache, CacheLayer, Policy, RequestBody, ResponseBody, assert_bypass, assert_hit};
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
pub(crate) enum Length {
    Unknown,
    Field,
    Hint,
}

pub(crate) const LENGTHS: [Length; 3] = [Length::Unknown, Length::Field, Length::Hint];

impl Length {
    pub(crate) fn say(self, body: Script, length: usize) -> Reply {
        match self {
            Self::Unknown => Reply::ok("").body(body),
            Self::Field => Reply::ok("").body(body).with("content-length", length.to_string()),
            Self::Hint => Reply::ok("").body(body.exact(length as u64)),
        }
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
    let (cache, _clock) = crate::behind::cache();
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

pub(crate) const CHUNK: usize = 16 * 1024;

/// A download of so many chunks. The frames that were taken of each body are told.
pub(crate) fn download(chunks: usize, length: Length) -> (Inner, Arc<Mutex<Vec<Arc<AtomicUsize>>>>) {
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
        // One of those who know may look whether it is still too long.
        assert!(app.calls() == 51 && app.stats().fills <= u64::from(length == Length::Unknown), "{length:?}");
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

#[test]
fn o_24_a_body_over_the_limit_loses_no_frame() {
    threads().block_on(async {
        for round in 0..500 {
            let whole = |number: usize| (0..40).map(move |n| format!("{number:03} {n:03},"));
            let inner = Inner::by(move |call| {
                let body = whole(call.number).fold(Script::new(), Script::data);
                Reply::ok("").cc("max-age=60").body(body)
            });
            let app = App::new(Policy::fresh_for(MINUTE).max_body(200), inner);
            for got in Crowd::get(&app, 4, "/x").await.all().await {
                let number = got.text()[..3].parse().unwrap();
                assert!(!got.broken);
                assert_eq!(got.text(), whole(number).collect::<String>(), "round {round}");
            }
        }
    });
}

#[tokio::test(start_paused = true)]
async fn o_24_later_requests_do_not_wait_for_an_endless_body() {
    let inner = Inner::by(|_| {
        let body = (0..600).fold(Script::new(), |body, n| body.data(format!("line {n}\n")).pause(ms(1000)));
        Reply::ok("").cc("max-age=60").with("content-type", "application/x-ndjson").body(body)
    });
    let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
    let mut streams = Vec::new();
    let mut took = Vec::new();
    for _ in 0..10 {
        let watch = Stopwatch::start();
        streams.push(app.head(plain(Request::get("/x"))).await.unwrap());
        took.push(watch.millis());
        pass(3000).await;
    }
    assert!(took[5..].iter().all(|took| *took < 1000), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn o_24_what_nobody_can_join_ends_with_its_client() {
    let inner = Inner::by(|_| {
        let body = (0..600).fold(Script::new(), |body, _| body.data("line\n").pause(ms(1000)));
        Reply::ok("").cc("max-age=60").body(body)
    });
    let app = App::new(Policy::from_response().wait_limit(ms(100)), inner);
    let mut reading = Vec::new();
    for _ in 0..20 {
        let app = app.clone();
        reading.push(tokio::spawn(async move { app.head(plain(Request::get("/x"))).await.unwrap() }));
    }
    pass(300).await;
    let mut streams: Vec<Response<ResponseBody<Script>>> = Vec::new();
    for reading in reading {
        streams.push(reading.await.unwrap());
    }
    drop(streams);
    settle().await;
    // The two that have led may run on.
    let background = app.stats().background;
    assert!(background <= 2, "{background} streams are read in the background, of one resource");
}

/// The most memory that this process has had, in MiB.
#[cfg(target_os = "linux")]
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
#[ignore = "for a process of its own: another test runs it"]
async fn the_memory_of_downloads() {
    the_memory_of(1).await;
}

/// So slow that those who wait give up before the limit is reached.
#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
#[ignore = "for a process of its own: another test runs it"]
async fn the_memory_of_slow_downloads() {
    the_memory_of(100).await;
}

#[cfg(target_os = "linux")]
async fn the_memory_of(pause: u64) {
    static CHUNK: [u8; 64 * 1024] = [7; 64 * 1024];
    let inner = Inner::by(move |_| {
        let body = (0..160).fold(Script::new(), |body, _| body.data(Bytes::from_static(&CHUNK)).pause(ms(pause)));
        Reply::ok("").cc("max-age=60").body(body)
    });
    let app = App::with(Cache::builder(), Policy::from_response(), inner);
    let before = peak();
    let reading: Vec<_> = (0..51)
        .map(|_| {
            let app = app.clone();
            tokio::spawn(async move {
                let mut body = app.head(plain(Request::get("/x"))).await.unwrap().into_body();
                while let Some(frame) = body.frame().await {
                    frame.unwrap();
                }
            })
        })
        .collect();
    for reading in reading {
        reading.await.unwrap();
    }
    let grown = peak() - before;
    assert!(grown < 100, "{grown} MiB for 51 requests, where a body of up to 8 MiB is stored");
}

/// Those who download the same at once, of a length that nobody knows, take the memory of one body, not of all.
#[cfg(target_os = "linux")]
#[test]
fn o_24_downloads_of_unknown_length_take_the_memory_of_one() {
    alone("streaming_endless::the_memory_of_downloads");
}

/// Runs a test in a process of its own.
#[cfg(target_os = "linux")]
pub(crate) fn alone(test: &str) {
    let arguments = ["--exact", test, "--ignored"];
    let output = std::process::Command::new(std::env::current_exe().unwrap()).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

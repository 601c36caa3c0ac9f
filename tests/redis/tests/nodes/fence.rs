//! What is on its way while something is invalidated, here or elsewhere, is neither stored nor served to those who came
//! later.

use crate::support::{Answer, HOUR, Node, Setup, header, now, reply, reply_with, secs, tagged};
use bytes::Bytes;
use futures_core::Stream;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use larder::{Policy, Selector};
use larder_redis_tests::{Server, until};
use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};

/// Services that answer slow requests when they are let go.
#[derive(Clone)]
struct Gate {
    go: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

impl Gate {
    fn new() -> (Self, Answer) {
        let gate = Self { go: Arc::new(Semaphore::new(0)), waiting: Arc::default() };
        let held = gate.clone();
        let answer: Answer = Arc::new(move |request, call| {
            let (gate, slow) = (held.clone(), header(&request, "x-slow") == "yes");
            Box::pin(async move {
                if slow {
                    gate.waiting.fetch_add(1, SeqCst);
                    gate.go.acquire().await.unwrap().forget();
                }
                reply_with(call, &[("etag", &format!("\"{call}\""))])
            })
        });
        (gate, answer)
    }

    /// Asks, and waits until the service holds it.
    async fn hold(&self, node: &Node, path: &str) -> JoinHandle<String> {
        let (held, node, path) = (self.waiting.load(SeqCst), node.clone(), path.to_owned());
        let task = tokio::spawn(async move { node.send(Request::get(path).header("x-slow", "yes")).await.body });
        until("the service works on it", async || self.waiting.load(SeqCst) > held).await;
        task
    }

    async fn release(&self, task: JoinHandle<String>) -> String {
        self.go.add_permits(1);
        task.await.unwrap()
    }
}

#[tokio::test]
async fn o_21_a_fill_under_way_here_while_it_is_purged_here() {
    let server = Server::standalone().await;
    let (gate, answer) = Gate::new();
    let (a, b) = Setup::new(server.url(), tagged()).answer(answer).two().await;
    for selector in [Selector::tag("x"), Selector::resource("/x"), Selector::everything(), Selector::pattern("*/x")] {
        let slow = gate.hold(&a, "/x").await;
        a.cache.invalidate(selector.clone()).await.unwrap();
        let later = a.get("/x").await;
        let early = gate.release(slow).await;
        assert_ne!(later, early, "{selector:?}");
        a.written().await;
        assert_eq!(a.get("/x").await, later, "{selector:?}");
        b.forgets("/x", &early).await;
        a.cache.invalidate(Selector::everything()).await.unwrap();
    }
}

/// The purge comes from the other node, before and after it has been read here.
#[tokio::test]
async fn o_21_a_fill_under_way_here_while_it_is_purged_elsewhere() {
    let server = Server::standalone().await;
    let (gate, answer) = Gate::new();
    let (a, b) = Setup::new(server.url(), tagged()).answer(answer).two().await;
    for round in 0..10 {
        let slow = gate.hold(&a, "/x").await;
        let read = a.log().read;
        b.cache.invalidate(Selector::tag("x")).await.unwrap();
        if round % 2 == 0 {
            until("it is read", async || a.log().read > read).await;
        }
        let early = gate.release(slow).await;
        a.written().await;
        // Stored or not, nobody finds it: it is stamped with what was known when its fill began.
        assert_ne!(b.get("/x").await, early, "{round}: the one who has purged");
        a.forgets("/x", &early).await;
        let c = Setup::new(server.url(), tagged()).start().await;
        assert_ne!(c.get("/x").await, early, "{round}: one that starts now");
        a.cache.invalidate(Selector::everything()).await.unwrap();
        until("it is read", async || b.log().read >= a.log().sent + b.log().sent).await;
    }
}

/// A fill that hung while another node has made it anew, which was not invalidated, is stored nowhere.
#[tokio::test]
async fn o_22_a_late_answer_does_not_replace_a_younger_one_of_another_node() {
    let server = Server::standalone().await;
    let (gate, answer) = Gate::new();
    let setup = Setup::new(server.url(), tagged()).answer(answer).timed();
    for asks_meanwhile in [false, true] {
        let (a, b) = setup.two().await;
        let slow = gate.hold(&a, "/x").await;
        for node in [&a, &b] {
            node.advance(secs(30));
        }
        let younger = b.store("/x").await;
        if asks_meanwhile {
            // It waits for nobody, and has what is in Redis taken into memory.
            assert_eq!(a.send(Request::head("/x")).await.outcome(), "hit");
        }
        for node in [&a, &b] {
            node.advance(secs(30));
        }
        let late = gate.release(slow).await;
        assert_ne!(late, younger);
        a.written().await;
        if asks_meanwhile {
            assert_eq!(a.get("/x").await, younger);
        }
        let c = setup.start().await;
        c.advance(secs(60));
        assert_eq!((c.get("/x").await, c.calls()), (younger, 0));
        a.cache.invalidate(Selector::everything()).await.unwrap();
    }
}

/// A validation under way does not revive what was purged.
#[tokio::test]
async fn o_21_a_304_does_not_revive() {
    let server = Server::standalone().await;
    let (go, waiting) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (gone, held) = (Arc::clone(&go), Arc::clone(&waiting));
    let answer: Answer = Arc::new(move |request, call| {
        let (go, waiting) = (Arc::clone(&gone), Arc::clone(&held));
        let tag = header(&request, "if-none-match").to_owned();
        Box::pin(async move {
            if tag.is_empty() {
                return reply_with(
                    call,
                    &[("etag", "\"v\""), ("cache-control", "max-age=1, stale-while-revalidate=1000")],
                );
            }
            waiting.fetch_add(1, SeqCst);
            go.acquire().await.unwrap().forget();
            let mut reply = reply_with(call, &[("etag", "\"v\""), ("cache-control", "max-age=1000")]);
            *reply.status_mut() = http::StatusCode::NOT_MODIFIED;
            reply
        })
    });
    let setup = Setup::new(server.url(), Policy::from_response().tags(["x"])).answer(answer).timed();
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    b.advance(secs(5));
    a.advance(secs(5));
    // Found in Redis, stale, and refreshed behind the answer.
    for _ in 0..2 {
        assert_eq!(b.send(Request::get("/x")).await.outcome(), "stale");
    }
    until("it is asked", async || waiting.load(SeqCst) == 1).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    go.add_permits(1);
    until("the refresh is over", async || b.cache.stats().background == 0).await;
    b.written().await;
    b.forgets("/x", &first).await;
    assert_ne!(a.get("/x").await, first);
    let c = setup.start().await;
    c.advance(secs(5));
    assert_ne!(c.get("/x").await, first);
}

/// The body is still coming when the purge comes.
#[tokio::test]
async fn o_21_a_body_on_its_way() {
    let server = Server::standalone().await;
    let (sender, receiver) = mpsc::channel::<Bytes>(8);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let answer: Answer = Arc::new(move |_, call| {
        let slow = receiver.lock().unwrap().take();
        Box::pin(async move {
            let Some(slow) = slow else { return reply(call) };
            let frames = Received(Mutex::new(slow));
            Response::new(StreamBody::new(frames).boxed())
        })
    });
    let (a, b) = Setup::new(server.url(), tagged()).answer(answer).two().await;
    sender.send(Bytes::from_static(b"early ")).await.unwrap();
    let slow = tokio::spawn({
        let a = a.clone();
        async move { a.get("/x").await }
    });
    until("it is asked", async || a.calls() == 1).await;
    b.cache.invalidate(Selector::tag("x")).await.unwrap();
    a.reads(2).await;
    sender.send(Bytes::from_static(b"end")).await.unwrap();
    drop(sender);
    assert_eq!(slow.await.unwrap(), "early end");
    a.written().await;
    for node in [&a, &b] {
        assert!(node.get("/x").await.starts_with("answer "));
    }
}

/// What comes, as frames.
struct Received(Mutex<mpsc::Receiver<Bytes>>);

impl Stream for Received {
    type Item = Result<Frame<Bytes>, Infallible>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.lock().unwrap().poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Two nodes read a value that others write and purge: after a purge has returned, its node never reads older, and the other
/// one not for long. Neither memory nor Redis has an older one at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o_29_random_schedules() {
    let server = Server::standalone().await;
    let truth: [Arc<AtomicUsize>; 4] = Default::default();
    let served = truth.clone();
    // Reads the truth first, and is slow then.
    let answer: Answer = Arc::new(move |request, _| {
        let path = usize::from(request.uri().path().as_bytes()[1] - b'0');
        let value = served[path].load(SeqCst);
        Box::pin(async move {
            for _ in 0..value % 5 {
                tokio::task::yield_now().await;
            }
            Response::new(crate::support::full(value.to_string()))
        })
    });
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR).tag_with(|parts, _| [parts.uri.path().to_owned()]));
    let (a, b) = setup.clone().answer(Arc::clone(&answer)).two().await;
    let read = async |node: &Node, path: usize| node.get(&format!("/{path}")).await.parse::<usize>().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for reader in 0..4_usize {
        let (node, stop) = ([&a, &b][reader % 2].clone(), Arc::clone(&stop));
        tasks.push(tokio::spawn(async move {
            let mut round = reader;
            while !stop.load(SeqCst) {
                round += 1;
                node.get(&format!("/{}", round % 4)).await;
                tokio::task::yield_now().await;
            }
        }));
    }
    let start = now();
    let mut rounds = 0_usize;
    while now() - start < secs(4) {
        rounds += 1;
        let (node, path) = ([&a, &b][rounds % 3 % 2], rounds % 4);
        let value = truth[path].fetch_add(1, SeqCst) + 1;
        let selector = match rounds % 3 {
            0 => Selector::resource(format!("/{path}")),
            _ => Selector::tag(format!("/{path}")),
        };
        node.cache.invalidate(selector).await.unwrap();
        let got = read(node, path).await;
        assert!(got >= value, "{got} after {value} was written and the purge had returned");
    }
    stop.store(true, SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    assert!(rounds > 100, "{rounds}");
    for node in [&a, &b] {
        node.written().await;
        for (path, truth) in truth.iter().enumerate() {
            until("the last one", async || read(node, path).await == truth.load(SeqCst)).await;
        }
    }
    a.written().await;
    b.written().await;
    let c = setup.answer(answer).start().await;
    for (path, truth) in truth.iter().enumerate() {
        assert_eq!(read(&c, path).await, truth.load(SeqCst), "what Redis has");
    }
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
}

/// A fill that began before another, on another node, and ends after it: the younger one stays where it is.
#[tokio::test]
async fn o_22_a_late_answer() {
    let server = Server::standalone().await;
    let (gate, answer) = Gate::new();
    let (a, b) = Setup::new(server.url(), tagged()).answer(answer).two().await;
    let slow = gate.hold(&a, "/x").await;
    b.cache.invalidate(Selector::tag("x")).await.unwrap();
    let young = b.store("/x").await;
    let late = gate.release(slow).await;
    a.written().await;
    assert_ne!(late, young);
    assert_eq!(b.get("/x").await, young);
    a.forgets("/x", &late).await;
    assert_eq!(b.get("/x").await, young);
}

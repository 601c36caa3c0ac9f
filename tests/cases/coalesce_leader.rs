//! COALESCE: the one who asked goes away, those who wait get their answers (O-18).

use crate::{
    crowd::{Crowd, Door, Stopwatch, Way, at_rest, collapsed, long, ms, pass, threads},
    support::{App, Inner, MINUTE, Random, Reply, Script, plain, settle, until},
};
use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use larder::{Cache, Policy, assert_hit, assert_miss};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, atomic::AtomicUsize},
    task::Poll,
};
use tokio::sync::Notify;

/// Where the leader goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Its future was never polled.
    Start,
    /// The service is not ready.
    Door,
    /// The service works.
    Work,
    /// The head has come.
    Head,
    /// After so many frames.
    Body(usize),
}

const POINTS: [At; 7] = [At::Start, At::Door, At::Work, At::Head, At::Body(1), At::Body(9), At::Body(FRAMES)];
const FRAMES: usize = 16;
const FRAME: usize = 64 * 1024;
/// 200 ms until the head, then 1 MiB in frames, each after 10 ms.
const INNER: u128 = 200 + 10 * FRAMES as u128;

/// How the length of the body is declared.
#[derive(Clone, Copy, Debug)]
enum Length {
    Unknown,
    Field,
    Hint,
}

struct Scene {
    app: App,
    door: Arc<Door>,
    whole: Bytes,
    /// One for each body that was made; the body holds it too.
    bodies: Arc<Mutex<Vec<Arc<AtomicUsize>>>>,
}

impl Scene {
    fn new(policy: Policy, length: Length) -> Self {
        let whole = Bytes::from(long(FRAMES * FRAME, 3));
        let bodies: Arc<Mutex<Vec<_>>> = Arc::default();
        let (text, made) = (whole.clone(), Arc::clone(&bodies));
        let door = Door::new(Way::Open);
        let inner = Inner::by(move |_| {
            let frames = text.chunks(FRAME).map(|frame| text.slice_ref(frame));
            let body = frames.fold(Script::new(), |body, frame| body.pause(ms(10)).data(frame));
            made.lock().unwrap().push(body.taken());
            let reply = Reply::ok("").after(ms(200));
            match length {
                Length::Unknown => reply.body(body),
                Length::Field => reply.body(body).with("content-length", text.len().to_string()),
                Length::Hint => reply.body(body.exact(text.len() as u64)),
            }
        });
        let app = App::with(Cache::builder().memory(16 << 20), policy, inner.behind(&door));
        Self { app, door, whole, bodies }
    }

    /// A leader that goes away there; a crowd of so many comes before that, and is returned.
    async fn leader(&self, at: At, waiters: usize) -> Crowd {
        if at == At::Door {
            self.door.turn(Way::Shut);
        }
        let mut leading = Box::pin(self.app.call(plain(Request::get("/x"))));
        if at != At::Start {
            let polled = poll_fn(|cx| Poll::Ready(leading.as_mut().poll(cx).is_pending())).await;
            assert!(polled);
        }
        let crowd = Crowd::get(&self.app, waiters, "/x").await;
        match at {
            At::Start => {}
            At::Door | At::Work => pass(50).await,
            At::Head => drop((&mut leading).await.unwrap()),
            At::Body(frames) => {
                let mut body = (&mut leading).await.unwrap().into_body();
                for _ in 0..frames {
                    body.frame().await.unwrap().unwrap();
                }
            }
        }
        drop(leading);
        self.door.turn(Way::Open);
        crowd
    }

    /// Bodies that somebody still holds.
    fn bodies(&self) -> usize {
        self.bodies.lock().unwrap().iter().filter(|body| Arc::strong_count(body) > 1).count()
    }
}

#[tokio::test(start_paused = true)]
async fn o_18_leader_disconnects_waiters_survive() {
    for abandon in [false, true] {
        for length in [Length::Unknown, Length::Field, Length::Hint] {
            for at in POINTS {
                let policy = Policy::fresh_for(MINUTE);
                let scene = Scene::new(if abandon { policy.abandon_on_cancel() } else { policy }, length);
                let watch = Stopwatch::start();
                let crowd = scene.leader(at, 100).await;
                for got in crowd.all().await {
                    assert!(got.status == 200 && !got.broken && got.body == scene.whole, "{at:?} {length:?}");
                    assert!(collapsed(&got));
                }
                assert!(watch.millis() <= 2 * INNER + 100, "{at:?} {length:?}: {} ms", watch.millis());
                assert_eq!(scene.app.calls(), 1, "{at:?} {length:?}");
                settle().await;
                let hit = scene.app.get("/x").await;
                assert_hit!(hit);
                assert_eq!((hit.body.len(), scene.app.stats().stored, scene.bodies()), (FRAMES * FRAME, 1, 0));
                // The leader was counted too: its fill went on in its name.
                at_rest(&scene.app, 102);
            }
        }
    }
}

/// Nobody waits: the fill runs on, and is stored. Nothing begins in the name of one who has gone.
#[tokio::test(start_paused = true)]
async fn o_18_without_waiters_it_runs_on() {
    for length in [Length::Unknown, Length::Field, Length::Hint] {
        for at in POINTS {
            let scene = Scene::new(Policy::fresh_for(MINUTE), length);
            drop(scene.leader(at, 0).await);
            let asked = !matches!(at, At::Start | At::Door);
            assert_eq!(scene.app.stats().fills, u64::from(asked && at != At::Body(FRAMES)), "{at:?} {length:?}");
            pass(1000).await;
            assert_eq!((scene.app.calls(), scene.app.cache.contains("/x")), (usize::from(asked), asked), "{at:?}");
            assert_eq!((scene.app.stats().background, scene.app.stats().fills, scene.bodies()), (0, 0, 0));
            let got = scene.app.get("/x").await;
            assert_eq!((got.body.len(), scene.app.calls()), (FRAMES * FRAME, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn o_18_without_waiters_it_ends_if_abandoned() {
    for length in [Length::Unknown, Length::Field, Length::Hint] {
        for at in POINTS {
            let scene = Scene::new(Policy::fresh_for(MINUTE).abandon_on_cancel(), length);
            drop(scene.leader(at, 0).await);
            // All of it was read, where its length was known: it is complete.
            let complete = at == At::Body(FRAMES);
            assert_eq!((scene.app.inner.busy().now(), scene.bodies(), scene.app.stats().fills), (0, 0, 0), "{at:?}");
            assert_eq!(scene.app.stats().background, 0);
            assert_eq!(scene.app.cache.contains("/x"), complete, "{at:?} {length:?}");
            pass(1000).await;
            let calls = scene.app.calls();
            let got = scene.app.get("/x").await;
            assert_eq!((got.body.len(), scene.app.calls()), (FRAMES * FRAME, calls + usize::from(!complete)));
        }
    }
}

/// It goes on until the last who waits has gone.
#[tokio::test(start_paused = true)]
async fn o_18_abandoned_with_the_last_waiter() {
    for abandon in [false, true] {
        for length in [Length::Unknown, Length::Field] {
            for (at, later) in [(At::Work, 50), (At::Head, 40), (At::Body(1), 40), (At::Body(3), 40)] {
                let policy = Policy::fresh_for(MINUTE);
                let scene = Scene::new(if abandon { policy.abandon_on_cancel() } else { policy }, length);
                let crowd = scene.leader(at, 5).await;
                let working = || scene.app.inner.busy().now() + scene.bodies();
                for waiter in 0..5 {
                    assert!(working() > 0, "{at:?} {length:?}: {waiter} are still here");
                    pass(later / 5).await;
                    crowd.leaves(waiter);
                    settle().await;
                }
                assert_eq!(working() > 0, !abandon, "{at:?} {length:?}");
                pass(1000).await;
                assert_eq!((scene.app.stats().fills, scene.app.stats().background, working()), (0, 0, 0));
                assert_eq!((scene.app.cache.contains("/x"), scene.app.calls()), (!abandon, 1));
            }
        }
    }
}

/// Leader and waiters in any order, and one who comes late keeps it going.
#[tokio::test(start_paused = true)]
async fn o_18_who_comes_late_joins_what_runs_on() {
    for at in [At::Work, At::Head, At::Body(3)] {
        let scene = Scene::new(Policy::fresh_for(MINUTE), Length::Field);
        drop(scene.leader(at, 0).await);
        pass(20).await;
        let got = Crowd::get(&scene.app, 10, "/x").await.all().await;
        assert!(got.iter().all(|got| got.body == scene.whole && collapsed(got)), "{at:?}");
        assert_eq!(scene.app.calls(), 1);
        at_rest(&scene.app, 11);
    }
}

/// One leader after the other goes away, also of those that have taken the lead at the wait limit.
#[tokio::test(start_paused = true)]
async fn o_18_leaders_that_go_one_after_the_other() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(format!("v{}", call.number)).cc("max-age=60");
        if call.number <= 2 { reply.after(ms(60_000)) } else { reply.after(ms(100)) }
    });
    let app = App::new(Policy::from_response().wait_limit(ms(1000)), inner);
    let crowd = Crowd::get(&app, 50, "/x").await;
    crowd.leaves(0);
    pass(1100).await;
    assert_eq!((app.calls(), app.stats().handed_over), (2, 1));
    for waiter in 1..25 {
        crowd.leaves(waiter);
    }
    pass(1050).await;
    assert_eq!(crowd.waiting(), 0, "after a second limit each has asked for itself");
    assert_eq!(app.get("/x").await.outcome(), "hit");
    pass(60_000).await;
    assert!(app.get("/x").await.text() != "v1");
    assert_eq!((app.stats().fills, app.stats().background, app.inner.busy().now()), (0, 0, 0));
}

/// A leader that leaves in the middle of a panic that is not its own.
#[tokio::test(start_paused = true)]
async fn o_18_a_leader_dropped_by_a_panic() {
    let scene = Scene::new(Policy::fresh_for(MINUTE), Length::Unknown);
    let app = scene.app.clone();
    let leading = tokio::spawn(async move {
        let asking = app.get("/x");
        tokio::join!(asking, async {
            pass(50).await;
            panic!("the task panics, as it should in this test");
        })
    });
    settle().await;
    let crowd = Crowd::get(&scene.app, 20, "/x").await;
    assert!(leading.await.unwrap_err().is_panic());
    assert!(crowd.all().await.iter().all(|got| got.body == scene.whole));
    assert_eq!(scene.app.calls(), 1);
}

/// The runtime of the leader ends, and with it what was handed over to it: those who wait on another one go on.
#[test]
fn o_18_the_runtime_of_the_leader_ends() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    for dropped_before in [false, true] {
        let never = Arc::new(Notify::new());
        let inner = Inner::by(move |call| {
            let reply = Reply::ok(call.number.to_string()).cc("max-age=60");
            if call.number == 1 { reply.gate(&never) } else { reply }
        });
        let app = App::new(Policy::from_response(), inner);
        let (first, second) = (runtime(), runtime());
        let leading = {
            let app = app.clone();
            first.spawn(async move { app.get("/x").await })
        };
        first.block_on(until("a call", || app.calls() == 1));
        let crowd = second.block_on(Crowd::get(&app, 10, "/x"));
        if dropped_before {
            leading.abort();
            first.block_on(until("it is handed over", || app.stats().background == 1));
        }
        drop(first);
        let got = second.block_on(crowd.all());
        assert!(got.iter().all(|got| got.status == 200));
        assert_eq!((app.stats().fills, app.stats().background, app.inner.busy().now()), (0, 0, 0));
    }
}

/// Outside of any runtime nothing can be handed over; nobody is stuck for that.
#[tokio::test(start_paused = true)]
async fn o_18_a_leader_dropped_outside_of_a_runtime() {
    let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|call| Reply::ok(call.number.to_string()).after(ms(100))));
    let mut leading = Box::pin(app.call(plain(Request::get("/x"))));
    assert!(poll_fn(|cx| Poll::Ready(leading.as_mut().poll(cx).is_pending())).await);
    let crowd = Crowd::get(&app, 10, "/x").await;
    std::thread::spawn(move || drop(leading)).join().unwrap();
    let watch = Stopwatch::start();
    assert!(crowd.all().await.iter().all(|got| got.status == 200));
    assert!(watch.millis() <= 110);
    assert_hit!(app.get("/x").await);
    at_rest(&app, 11);
}

/// Clients that come and go as they like, on several threads: whoever stays gets the whole, and nothing is left. Seeded;
/// the threads take turns as they like.
#[test]
fn o_18_clients_come_and_go() {
    threads().block_on(async {
        let workers: Vec<_> =
            (0..4).map(|worker| tokio::spawn(coming_and_going(worker * 150..worker * 150 + 150))).collect();
        for worker in workers {
            worker.await.unwrap();
        }
    });
}

async fn coming_and_going(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let mut random = Random::seeded(seed + 1);
        let (declared, fails, abandon) = (random.below(2) == 0, random.below(4) == 0, random.below(3) == 0);
        let over = random.below(4) == 0;
        let gate = Arc::new(Notify::new());
        let held = Arc::clone(&gate);
        let piece = |number: usize, n: usize| format!("{number:03}-{n:03} ");
        let inner = Inner::by(move |call| {
            let number = call.number;
            let pieces = if fails && number == 1 { 0..9 } else { 0..30 };
            let body = pieces.fold(Script::new(), |body, n| {
                let body = body.data(piece(number, n));
                if n % 7 == 3 && number < 3 { body.wait(&held) } else { body }
            });
            let reply = Reply::ok("").cc("max-age=60").body(if fails && number == 1 { body.fail() } else { body });
            let reply = if declared { reply.with("content-length", "240") } else { reply };
            if number == 1 { reply.gate(&held) } else { reply }
        });
        let policy = Policy::from_response().max_body(if over { 100 } else { 1000 });
        let app = App::new(if abandon { policy.abandon_on_cancel() } else { policy }, inner);
        let opening = tokio::spawn(async move {
            loop {
                gate.notify_one();
                tokio::task::yield_now().await;
            }
        });
        let mut clients = Vec::new();
        for _ in 0..8 {
            let (app, patience) = (app.clone(), if random.below(3) == 0 { random.below(30) } else { u64::MAX });
            clients.push(tokio::spawn(async move {
                let mut asking = pin!(app.get("/x"));
                for _ in 0..patience {
                    if let Poll::Ready(got) = poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await {
                        return Some(got);
                    }
                    tokio::task::yield_now().await;
                }
                None
            }));
            for _ in 0..random.below(5) {
                tokio::task::yield_now().await;
            }
        }
        for client in clients {
            let Some(got) = client.await.unwrap() else { continue };
            assert!(!got.broken || fails, "seed {seed}");
            if !got.broken {
                let number = got.text()[..3].parse().unwrap();
                let whole: String = (0..30).map(|n| piece(number, n)).collect();
                assert_eq!(got.text(), whole, "seed {seed}, over the limit: {over}");
            }
        }
        for turn in 0.. {
            let stats = app.stats();
            if (stats.fills, stats.background, app.inner.busy().now()) == (0, 0, 0) {
                break;
            }
            assert!(turn < 1_000_000, "seed {seed}: {stats:?}");
            tokio::task::yield_now().await;
        }
        opening.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn o_18_a_leader_that_leaves_after_a_purge() {
    for at in [At::Work, At::Head, At::Body(3)] {
        let scene = Scene::new(Policy::fresh_for(MINUTE), Length::Field);
        let crowd = scene.leader(at, 10).await;
        scene.app.purge("/x").await;
        assert!(crowd.all().await.iter().all(|got| got.body == scene.whole), "who came before may have it");
        settle().await;
        assert!(!scene.app.cache.contains("/x"), "{at:?}");
        assert_miss!(scene.app.get("/x").await);
    }
}

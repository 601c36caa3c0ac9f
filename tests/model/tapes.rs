//! Who reads a body while it comes, and what they and the sink get of it.

use crate::{
    play::{Gate, all, any, below, caught, exhaust, explore, note, one_in, panic_as_staged, pause, waker_that, woken},
    tape::{BoxError, Fault, Limits, Reader, Recorded, Tape},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, SET_COOKIE},
};
use http_body::{Body, Frame, SizeHint};
use shuttle::{
    future::{JoinHandle, block_on, spawn},
    sync::Mutex as ModelMutex,
};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};

/// One thing that a body does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Data(usize),
    Trailers,
    /// Wakes whoever asks it, and has nothing yet.
    Nap,
    Fail,
    Panic,
}

/// What a body does, and what is known of it before.
#[derive(Clone, Debug)]
struct Play {
    steps: Vec<Step>,
    /// It says with the last frame that this was the last.
    says_last: bool,
    limits: Limits,
}

const OWN_ERROR: &str = "the body's own";

impl Play {
    /// What somebody who reads to the end gets.
    fn whole(&self) -> Vec<u8> {
        let length = self.steps.iter().map(|step| if let Step::Data(length) = step { *length } else { 0 }).sum();
        content(0, length)
    }

    fn has(&self, step: Step) -> bool {
        self.steps.contains(&step)
    }

    /// What comes of its recording if somebody reads to the end.
    fn verdict(&self) -> Result<Vec<u8>, Fault> {
        let mut length = 0;
        for step in &self.steps {
            match step {
                Step::Data(more) => length += more,
                Step::Trailers | Step::Nap => {}
                Step::Fail | Step::Panic => return Err(Fault::Failed),
            }
            if self.limits.declared.is_some_and(|declared| length as u64 > declared) {
                return Err(Fault::WrongLength);
            }
            if length > self.limits.limit {
                return Err(Fault::TooLarge);
            }
        }
        self.ended_at(length)
    }

    fn ended_at(&self, length: usize) -> Result<Vec<u8>, Fault> {
        if self.limits.declared.is_none_or(|declared| declared == length as u64) {
            Ok(content(0, length))
        } else {
            Err(Fault::WrongLength)
        }
    }

    /// What may come of it if everyone leaves somewhere.
    fn is_verdict_when_left(&self, result: &Result<Vec<u8>, Fault>) -> bool {
        let mut length = 0;
        let mut trailers = false;
        for step in self.steps.iter().map(Some).chain([None]) {
            let reached = self.limits.declared == Some(length as u64) && !self.limits.trailers_announced;
            if (reached || trailers) && self.ended_at(length) == *result {
                return true;
            }
            match step {
                Some(Step::Data(more)) => length += more,
                Some(Step::Trailers) => trailers = true,
                Some(Step::Nap) => {}
                Some(Step::Fail | Step::Panic) | None => break,
            }
        }
        false
    }
}

/// No two bytes of a body are the same.
fn content(from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| u8::try_from(at).unwrap()).collect()
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(ETAG, HeaderValue::from_static("\"1\""));
    trailers.insert(SET_COOKIE, HeaderValue::from_static("a=b"));
    trailers
}

/// What is seen of a recording from outside.
struct Scene {
    play: Play,
    feed: ModelMutex<Feed>,
    /// Open when those who do not stall have left.
    others: Gate,
    notes: Mutex<Notes>,
    drivers: Mutex<Vec<JoinHandle<()>>>,
}

/// How much of the body is there.
#[derive(Default)]
struct Feed {
    steps: usize,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Notes {
    /// How many bytes the first reader has got, while it is there.
    first: Option<usize>,
    sunk: Vec<Result<Recorded, Fault>>,
    sink_is_done: bool,
    keeper_asked: usize,
    kept: bool,
    /// What was wrong where an assertion would be caught.
    wrong: Vec<String>,
}

/// The body.
struct Acting {
    scene: Arc<Scene>,
    at: usize,
    given: usize,
    over: bool,
}

impl Acting {
    /// A tape holds at most the limit when it asks for a frame, or nothing that the first reader has not.
    fn check(&self) {
        let mut notes = note(&self.scene.notes);
        let Limits { limit, declared, .. } = self.scene.play.limits;
        if self.over {
            notes.wrong.push("asked after its end".into());
        }
        let given_up = self.given > limit || declared.is_some_and(|declared| self.given as u64 > declared);
        if given_up && notes.first != Some(self.given) {
            let wrong = format!("asked at {} for a first reader at {:?}", self.given, notes.first);
            notes.wrong.push(wrong);
        }
    }
}

impl Body for Acting {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.check();
        let scene = Arc::clone(&self.scene);
        let mut feed = scene.feed.lock().unwrap();
        if feed.steps <= self.at {
            feed.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        drop(feed);
        let step = scene.play.steps.get(self.at).copied();
        self.at += 1;
        self.over = step.is_none() || self.is_end_stream() || matches!(step, Some(Step::Fail | Step::Panic));
        match step {
            Some(Step::Data(length)) => {
                let data = content(self.given, self.given + length);
                self.given += length;
                Poll::Ready(Some(Ok(Frame::data(data.into()))))
            }
            Some(Step::Trailers) => Poll::Ready(Some(Ok(Frame::trailers(trailers())))),
            Some(Step::Nap) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Fail) => Poll::Ready(Some(Err(OWN_ERROR.into()))),
            Some(Step::Panic) => panic_as_staged(),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        let play = &self.scene.play;
        let last = matches!(play.steps.last(), None | Some(Step::Data(_) | Step::Trailers));
        play.says_last && last && self.at >= play.steps.len()
    }

    fn size_hint(&self) -> SizeHint {
        self.scene.play.limits.declared.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// What a reader does.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Before it asks for a reader.
    delay: usize,
    /// It reads for the sake of the recording.
    records: bool,
    /// Leaves after so many polls.
    leaves: Option<usize>,
    /// After so many polls it does nothing until the others have left.
    stalls: Option<usize>,
    /// Reading for the sake of the recording, it begins in another task.
    moves: bool,
}

/// What a reader has got.
#[derive(Debug)]
enum Got {
    /// There is no recording to read.
    NoReader,
    Left(Vec<u8>),
    Clean(Vec<u8>, Option<HeaderMap>),
    Broken(Vec<u8>, String),
    Panicked(Vec<u8>),
    /// The recording has ended.
    Concluded(bool),
}

impl Scene {
    fn start(play: Play, others: usize, keeps: bool, sink_panics: bool) -> (Arc<Self>, Arc<Tape>, Reader) {
        let limits = play.limits;
        let notes = Notes { first: Some(0), ..Notes::default() };
        let scene = Arc::new(Self {
            play,
            feed: ModelMutex::default(),
            others: Gate::new(others),
            notes: Mutex::new(notes),
            drivers: Mutex::default(),
        });
        let theirs = Arc::clone(&scene);
        let sink = move |recorded| {
            note(&theirs.notes).sunk.push(recorded);
            // It takes its time.
            drop(theirs.feed.lock().unwrap());
            note(&theirs.notes).sink_is_done = true;
            if sink_panics {
                panic_as_staged();
            }
        };
        let theirs = Arc::clone(&scene);
        let keeper = move |tape: &Arc<Tape>| {
            note(&theirs.notes).keeper_asked += 1;
            let Some(reader) = tape.reader().filter(|_| keeps) else { return false };
            note(&theirs.notes).kept = true;
            let driver = Arc::clone(&theirs);
            let driver = spawn(async move {
                let got = driver.record(reader, Plan::default()).await;
                driver.check_recorded(&got, sink_panics);
            });
            note(&theirs.drivers).push(driver);
            true
        };
        let body = Acting { scene: Arc::clone(&scene), at: 0, given: 0, over: false };
        let (tape, reader) = Tape::start(Box::pin(body), limits, Box::new(sink), Box::new(keeper));
        (scene, tape, reader)
    }

    /// Lets the body come.
    async fn feed(&self) {
        for _ in 0..=self.play.steps.len() {
            self.feed_one();
            pause(1).await;
        }
    }

    fn feed_one(&self) {
        let mut feed = self.feed.lock().unwrap();
        feed.steps += 1;
        let waker = feed.waker.take();
        drop(feed);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn play(&self, reader: Reader, plan: Plan, first: bool) -> Got {
        let got = if plan.records { self.record(reader, plan).await } else { self.read(reader, plan, first).await };
        if plan.stalls.is_none() {
            self.others.arrive();
        }
        got
    }

    async fn read(&self, mut reader: Reader, plan: Plan, first: bool) -> Got {
        let (mut got, mut end) = (Vec::new(), None);
        for polls in 1.. {
            self.stall(plan, polls - 1).await;
            if plan.leaves == Some(polls - 1) {
                return self.leave(reader, first, Got::Left(got));
            }
            let over = reader.is_end_stream();
            self.check_hint(&reader, got.len());
            let Ok(polled) = poll_fn(|cx| Poll::Ready(caught(|| reader.poll_frame(cx)))).await else {
                return self.leave(reader, first, Got::Panicked(got));
            };
            assert!(!over || matches!(polled, Poll::Ready(None)), "there was an end, and then {polled:?}");
            match polled {
                Poll::Pending if plan.leaves == Some(polls) || plan.stalls == Some(polls) => pause(1).await,
                Poll::Pending => woken().await,
                Poll::Ready(None) => return self.leave(reader, first, Got::Clean(got, end)),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        assert!(end.is_none(), "data after trailers");
                        got.extend_from_slice(&data);
                        if first {
                            note(&self.notes).first = Some(got.len());
                        }
                    }
                    Err(frame) => assert!(end.replace(frame.into_trailers().unwrap()).is_none(), "trailers twice"),
                },
                Poll::Ready(Some(Err(error))) => {
                    let after = poll_fn(|cx| Poll::Ready(reader.poll_frame(cx))).await;
                    assert!(matches!(after, Poll::Ready(None)), "after an error {after:?}");
                    return self.leave(reader, first, Got::Broken(got, error.to_string()));
                }
            }
        }
        unreachable!()
    }

    async fn record(&self, mut reader: Reader, plan: Plan) -> Got {
        if plan.moves {
            let before = spawn(async move {
                let polled = poll_fn(|cx| Poll::Ready(caught(|| reader.poll_end(cx)))).await;
                (reader, polled.is_err())
            });
            let (moved, panicked) = before.await.unwrap();
            if panicked {
                return self.leave(moved, false, Got::Panicked(Vec::new()));
            }
            reader = moved;
        }
        for polls in 1.. {
            self.stall(plan, polls - 1).await;
            if plan.leaves == Some(polls - 1) {
                return self.leave(reader, false, Got::Left(Vec::new()));
            }
            let Ok(polled) = poll_fn(|cx| Poll::Ready(caught(|| reader.poll_end(cx)))).await else {
                return self.leave(reader, false, Got::Panicked(Vec::new()));
            };
            match polled {
                Poll::Pending if plan.leaves == Some(polls) || plan.stalls == Some(polls) => pause(1).await,
                Poll::Pending => woken().await,
                Poll::Ready(complete) => {
                    assert!(note(&self.notes).sink_is_done, "the sink is not done");
                    return self.leave(reader, false, Got::Concluded(complete));
                }
            }
        }
        unreachable!()
    }

    async fn stall(&self, plan: Plan, polls: usize) {
        if plan.stalls == Some(polls) {
            self.others.passed().await;
        }
    }

    fn leave(&self, reader: Reader, first: bool, got: Got) -> Got {
        if first {
            note(&self.notes).first = None;
        }
        // The sink may panic.
        let _ = caught(|| drop(reader));
        got
    }

    fn check_hint(&self, reader: &Reader, got: usize) {
        let hint = reader.size_hint();
        let left = self.play.limits.declared.map(|declared| declared.saturating_sub(got as u64));
        assert_eq!((hint.lower(), hint.upper()), (left.unwrap_or(0), left));
    }

    fn sunk(&self) -> Option<Result<Vec<u8>, Fault>> {
        let notes = note(&self.notes);
        let sunk = notes.sunk.first()?;
        Some(sunk.as_ref().map(|recorded| recorded.body.to_vec()).map_err(|fault| *fault))
    }

    fn check_recorded(&self, got: &Got, sink_panics: bool) {
        let good = match got {
            Got::Concluded(complete) => self.sunk().is_some_and(|sunk| sunk.is_ok() == *complete),
            Got::Panicked(_) => sink_panics,
            _ => false,
        };
        assert!(good, "{got:?} and the sink {:?}", self.sunk());
    }

    /// What the first reader has got if it has stayed.
    fn check_first(&self, got: &Got, sink_panics: bool) {
        let whole = self.play.whole();
        let good = match got {
            Got::Clean(bytes, end) => {
                let faultless = !self.play.has(Step::Fail) && !self.play.has(Step::Panic);
                *bytes == whole && faultless && *end == self.play.has(Step::Trailers).then(trailers)
            }
            Got::Broken(bytes, error) => {
                let panicked = error.contains("panicked") && self.play.has(Step::Panic);
                *bytes == whole && (error == OWN_ERROR && self.play.has(Step::Fail) || panicked)
            }
            Got::Panicked(bytes) => {
                sink_panics && whole.starts_with(bytes) || self.play.has(Step::Panic) && *bytes == whole
            }
            _ => false,
        };
        assert!(good, "the first reader got {got:?} of {:?}", self.play);
    }

    /// What another reader has got if it has stayed.
    fn check_other(&self, got: &Got, sink_panics: bool) {
        let sunk = self.sunk().unwrap();
        let good = match (got, &sunk) {
            (Got::NoReader, sunk) => sunk.is_err(),
            (Got::Clean(bytes, end), Ok(whole)) => {
                let cookies = end.as_ref().is_some_and(|end| end.contains_key(SET_COOKIE));
                let recorded = note(&self.notes).sunk[0].as_ref().is_ok_and(|recorded| recorded.trailers.is_some());
                bytes == whole && end.is_some() == recorded && !cookies
            }
            (Got::Broken(bytes, _), Err(_)) => self.play.whole().starts_with(bytes),
            (Got::Panicked(bytes), _) => sink_panics && self.play.whole().starts_with(bytes),
            _ => false,
        };
        assert!(good, "a reader got {got:?} of {:?}, the sink {sunk:?}", self.play);
    }

    /// What holds at the end.
    fn check(&self, stayed: bool) {
        let notes = note(&self.notes);
        assert_eq!(notes.wrong, Vec::<String>::new());
        assert_eq!(notes.sunk.len(), 1, "words to the sink");
        assert!(notes.keeper_asked <= 1, "the keeper was asked {} times", notes.keeper_asked);
        let kept = notes.kept;
        drop(notes);
        let (sunk, verdict) = (self.sunk().unwrap(), self.play.verdict());
        let good = sunk == verdict
            || !stayed && (self.play.is_verdict_when_left(&sunk) || !kept && sunk == Err(Fault::Abandoned));
        assert!(good, "the sink got {sunk:?} instead of {verdict:?} of {:?}", self.play);
    }
}

fn some_play() -> Play {
    let mut steps = Vec::new();
    for _ in 0..below(4) {
        steps.push(if one_in(5) { Step::Nap } else { Step::Data(below(4)) });
    }
    let trailers = one_in(4);
    if trailers {
        steps.push(Step::Trailers);
    }
    match below(8) {
        0 | 1 => steps.push(Step::Fail),
        2 => steps.push(Step::Panic),
        _ => {}
    }
    let mut play = Play {
        steps,
        says_last: one_in(2),
        limits: Limits { limit: 64, declared: None, trailers_announced: trailers && one_in(2) },
    };
    let length = play.whole().len();
    match below(8) {
        0 | 1 => play.limits.limit = length.saturating_sub(1 + below(2)),
        2..=4 => play.limits.declared = Some(length as u64),
        5 => play.limits.declared = Some((length as u64 + 1).saturating_sub(2 * below(2) as u64)),
        _ => {}
    }
    play
}

fn some_plan() -> Plan {
    Plan {
        delay: below(4),
        records: one_in(3),
        leaves: one_in(3).then(|| below(4)),
        stalls: one_in(5).then(|| below(3)),
        moves: one_in(4),
    }
}

/// A first reader, others, and a body that comes meanwhile.
async fn act(play: Play, first: Plan, others: Vec<Plan>, keeps: bool, sink_panics: bool) {
    let stalling = [first].iter().chain(&others).filter(|plan| plan.stalls.is_some()).count();
    let (scene, tape, reader) = Scene::start(play, 1 + others.len() - stalling, keeps, sink_panics);
    // Some are there from the beginning.
    let early: Vec<_> = others.iter().map(|plan| (plan.delay == 0).then(|| tape.reader())).collect();
    let theirs = Arc::clone(&scene);
    let feeding = spawn(async move { theirs.feed().await });
    let theirs = Arc::clone(&scene);
    let first_task = spawn(async move { theirs.play(reader, first, true).await });
    let other_tasks = others.iter().zip(early).map(|(&plan, early)| {
        let (scene, tape) = (Arc::clone(&scene), Arc::clone(&tape));
        spawn(async move {
            pause(plan.delay).await;
            let reader = early.unwrap_or_else(|| tape.reader());
            drop(tape);
            match reader {
                Some(reader) => scene.play(reader, plan, false).await,
                None => {
                    if plan.stalls.is_none() {
                        scene.others.arrive();
                    }
                    Got::NoReader
                }
            }
        })
    });
    let other_tasks = other_tasks.collect();
    drop(tape);
    let got = first_task.await.unwrap();
    let others_got = all(other_tasks).await;
    feeding.await.unwrap();
    while let Some(driver) = { note(&scene.drivers).pop() } {
        driver.await.unwrap();
    }
    let mut stayed = false;
    match first {
        Plan { leaves: Some(_), .. } if matches!(got, Got::Left(_)) => {}
        Plan { records: true, .. } => {
            stayed = true;
            let own_panic = scene.play.has(Step::Panic) && matches!(got, Got::Panicked(_));
            scene.check_recorded(&got, sink_panics || own_panic);
        }
        _ => {
            stayed = true;
            scene.check_first(&got, sink_panics);
        }
    }
    for (plan, got) in others.iter().zip(&others_got) {
        match got {
            Got::Left(bytes) => assert!(scene.play.whole().starts_with(bytes)),
            Got::Concluded(_) => scene.check_recorded(got, false),
            Got::Panicked(_) if plan.records => assert!(sink_panics),
            _ => scene.check_other(got, sink_panics),
        }
        stayed |= plan.delay == 0 && !matches!(got, Got::Left(_));
    }
    scene.check(stayed);
}

#[test]
fn readers_get_all_of_it_or_an_error() {
    explore(36_000, || {
        let others = (0..1 + below(3)).map(|_| some_plan()).collect();
        block_on(act(some_play(), some_plan(), others, one_in(2), one_in(10)));
    });
}

#[test]
fn a_reader_who_stalls_stops_nobody() {
    explore(18_000, || {
        let mut plans = [Plan::default(); 3];
        plans[below(3)].stalls = Some(1 + below(2));
        plans[below(3)].records = one_in(3);
        let [first, others @ ..] = plans;
        block_on(act(some_play(), first, others.to_vec(), false, false));
    });
}

#[test]
fn a_reader_who_leaves_takes_nothing_along() {
    explore(18_000, || {
        let mut plans = [Plan::default(); 3];
        plans[below(3)].leaves = Some(below(4));
        plans[1 + below(2)].records = one_in(2);
        let [first, others @ ..] = plans;
        block_on(act(some_play(), first, others.to_vec(), false, false));
    });
}

#[test]
fn a_body_too_long_goes_on_for_the_first() {
    explore(18_000, || {
        let steps = vec![Step::Data(2), Step::Data(2), Step::Data(2), Step::Data(2)];
        let declared = any(&[None, None, Some(3)]);
        let limits = Limits { limit: 3, declared, trailers_announced: false };
        let play = Play { steps, says_last: one_in(2), limits };
        let others = (0..2).map(|_| Plan { records: one_in(2), delay: below(3), ..Plan::default() }).collect();
        block_on(act(play, Plan { stalls: one_in(2).then(|| below(3)), ..Plan::default() }, others, false, false));
    });
}

#[test]
fn somebody_reads_on_when_all_have_left() {
    explore(18_000, || {
        let plan = || Plan { leaves: Some(below(4)), delay: below(5), records: one_in(2), ..Plan::default() };
        block_on(act(some_play(), plan(), vec![plan(), plan()], !one_in(3), one_in(10)));
    });
}

#[test]
fn one_reader_hears_in_every_order() {
    let plans = [Plan::default(), Plan { records: true, ..Plan::default() }];
    for (plan, step) in plans.iter().flat_map(|&plan| [Step::Data(1), Step::Fail].map(|step| (plan, step))) {
        let orders = exhaust(move || {
            block_on(async {
                let (scene, _, reader) = Scene::start(small(step), 1, false, false);
                let theirs = Arc::clone(&scene);
                let reading = spawn(async move { theirs.play(reader, plan, true).await });
                scene.feed_one();
                let got = reading.await.unwrap();
                if plan.records {
                    scene.check_recorded(&got, false);
                } else {
                    scene.check_first(&got, false);
                }
                scene.check(true);
            });
        });
        assert!(orders > 100, "{orders} orders");
    }
}

#[test]
fn one_who_reads_on_hears_in_every_order() {
    for step in [Step::Data(1), Step::Fail] {
        let orders = exhaust(move || {
            block_on(async {
                let (scene, _, reader) = Scene::start(small(step), 1, true, false);
                drop(reader);
                let driver = note(&scene.drivers).pop().unwrap();
                scene.feed_one();
                driver.await.unwrap();
                scene.check(true);
            });
        });
        assert!(orders > 100, "{orders} orders");
    }
}

/// A body of one frame.
fn small(step: Step) -> Play {
    let limits = Limits { limit: 8, declared: None, trailers_announced: false };
    Play { steps: vec![step], says_last: true, limits }
}

#[test]
fn wakers_are_dropped_under_no_lock() {
    exhaust(|| {
        let (_scene, tape, mut reader) = Scene::start(small(Step::Fail), 1, false, false);
        let busy = || {
            let tape = Arc::clone(&tape);
            waker_that(move || drop(tape.reader()))
        };
        let mut other = tape.reader().unwrap();
        for _ in 0..2 {
            assert!(reader.poll_frame(&mut Context::from_waker(&busy())).is_pending());
            assert!(other.poll_end(&mut Context::from_waker(&busy())).is_pending());
        }
        drop(reader);
        drop(other);
    });
}

//! Runs the contenders by turns, on one thread or several.
//!
//! Machines are noisy and shared: each contender gets a few milliseconds, then the next one, round after round. What is
//! told is the median over all rounds, and for ratios the median of those of each round.

use crate::{contender::Contender, load::Load};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use std::{
    hint::spin_loop,
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::AcqRel, Ordering::Acquire},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{Scope, scope},
    time::{Duration, Instant},
};
use tokio::runtime::{Builder, Runtime};

/// Nanoseconds per request, of each round and each contender.
#[derive(Debug)]
pub(crate) struct Times(Vec<Vec<f64>>);

impl Times {
    /// Nanoseconds of a contender.
    pub(crate) fn ns(&self, contender: usize) -> f64 {
        median(self.0[contender].clone())
    }

    /// How many times as long as `other` it takes.
    pub(crate) fn ratio(&self, contender: usize, other: usize) -> f64 {
        median(self.0[contender].iter().zip(&self.0[other]).map(|(one, other)| one / other).collect())
    }

    /// The same without what is part of both.
    pub(crate) fn ratio_without(&self, part: usize, contender: usize, other: usize) -> f64 {
        let both = self.0[contender].iter().zip(&self.0[other]);
        median(both.zip(&self.0[part]).map(|((one, other), part)| (one - part) / (other - part)).collect())
    }
}

/// Runs them by turns for so long, a thread for each load. On several threads the time of a request is that of all
/// requests, from the first to the last, by their number: with twice the threads it is half, if nothing is in the way.
pub(crate) fn by_turns(contenders: &[Box<dyn Contender>], loads: Vec<Load>, time: Duration) -> Times {
    scope(|scope| {
        let team = Team::new(scope, contenders, loads);
        let counts: Vec<_> = (0..contenders.len()).map(|contender| team.calibrated(contender)).collect();
        let mut times = vec![Vec::new(); contenders.len()];
        let started = Instant::now();
        let mut place = 0;
        while times[0].len() < FEWEST || started.elapsed() < time {
            for (contender, count) in counts.iter().enumerate() {
                times[contender].push(team.run(contender, place, *count));
            }
            place += PLACES;
        }
        Times(times)
    })
}

/// Runs each of them so many times in each of so many rounds, on one thread: where each request costs memory.
pub(crate) fn by_count(contenders: &[Box<dyn Contender>], load: Load, count: usize, rounds: usize) -> Times {
    scope(|scope| {
        let team = Team::new(scope, contenders, vec![load]);
        let mut times = vec![Vec::new(); contenders.len()];
        for round in 0..rounds {
            for (contender, times) in times.iter_mut().enumerate() {
                times.push(team.run(contender, round * count, count));
            }
        }
        Times(times)
    })
}

/// A runtime as each thread has one.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().expect("a current-thread runtime")
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Threads that do the same at the same time.
struct Team {
    members: Vec<Sender<Turn>>,
    results: Receiver<(Instant, Instant)>,
}

/// What each thread is to do: requests of a contender, from a place in its load.
#[derive(Clone, Copy)]
struct Turn {
    contender: usize,
    place: usize,
    count: usize,
}

impl Team {
    fn new<'scope>(scope: &'scope Scope<'scope, '_>, contenders: &[Box<dyn Contender>], loads: Vec<Load>) -> Self {
        let start =
            Arc::new(Start { threads: loads.len(), asleep: Barrier::new(loads.len()), ready: AtomicUsize::new(0) });
        let (sender, results) = channel();
        let members = loads.into_iter().zip(processors()).map(|(mut load, processor)| {
            let (turns, receiver) = channel::<Turn>();
            let (start, results) = (Arc::clone(&start), sender.clone());
            let mut contenders: Vec<_> = contenders.iter().map(|contender| contender.another()).collect();
            scope.spawn(move || {
                if start.threads > 1 {
                    // Or the one that wakes the other may take it to its own.
                    sched_setaffinity(None, &processor).expect("a thread may choose among those of its process");
                }
                let runtime = runtime();
                for Turn { contender, place, count } in receiver {
                    load.go_to(place);
                    start.wait();
                    let begun = Instant::now();
                    contenders[contender].run(&runtime, &mut load, count);
                    if results.send((begun, Instant::now())).is_err() {
                        break;
                    }
                }
            });
            turns
        });
        Self { members: members.collect(), results }
    }

    /// Nanoseconds per request.
    fn run(&self, contender: usize, place: usize, count: usize) -> f64 {
        for member in &self.members {
            member.send(Turn { contender, place, count }).expect("its thread runs");
        }
        let spans: Vec<_> = self.members.iter().map(|_| self.results.recv().expect("its thread runs")).collect();
        let begun = spans.iter().map(|(begun, _)| *begun).min().expect("there is one");
        let ended = spans.iter().map(|(_, ended)| *ended).max().expect("there is one");
        (ended - begun).as_secs_f64() * 1e9 / (count * self.members.len()) as f64
    }

    /// How many requests fill a turn. The shortest of three tries counts: others may have had the processor.
    fn calibrated(&self, contender: usize) -> usize {
        let turn = TURN.as_nanos() as f64 / self.members.len() as f64;
        let mut count = 1;
        loop {
            let each = (0..3).map(|_| self.run(contender, 0, count)).fold(f64::INFINITY, f64::min);
            if each * count as f64 > turn / 4.0 {
                return (turn / each).ceil() as usize;
            }
            count *= 2;
        }
    }
}

/// Where threads wait for one another: asleep until all have come, as the processor may be needed elsewhere, and then
/// awake so that they begin together.
struct Start {
    threads: usize,
    asleep: Barrier,
    ready: AtomicUsize,
}

impl Start {
    fn wait(&self) {
        self.asleep.wait();
        let turn = self.ready.fetch_add(1, AcqRel) / self.threads;
        while self.ready.load(Acquire) < (turn + 1) * self.threads {
            spin_loop();
        }
    }
}

/// Each of the processors that this process may use, over and over.
fn processors() -> impl Iterator<Item = CpuSet> {
    let all = sched_getaffinity(None).expect("a process knows its processors");
    let each = (0..CpuSet::MAX_CPU).filter(move |number| all.is_set(*number)).map(|number| {
        let mut one = CpuSet::new();
        one.set(number);
        one
    });
    each.collect::<Vec<_>>().into_iter().cycle()
}

const TURN: Duration = Duration::from_millis(4);
/// Rounds, however long they take.
const FEWEST: usize = 5;
/// From the first request of a round to the first of the next.
const PLACES: usize = 7919;

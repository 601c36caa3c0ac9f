//! What the benches have in common: a small timing loop, and the work that is timed.
//!
//! Machines are noisy and shared. What is compared runs by turns in small batches, and what is printed is the median over
//! all rounds: of the times, and for ratios and differences of those of each round.
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]

pub mod random;
pub mod requests;
pub mod work;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

/// Something that is done over and over. What it uses up is made beforehand, outside the time that is measured.
pub trait Work {
    /// Makes what the next [`Work::run`] uses up.
    fn prepare(&mut self);

    /// Does it [`BATCH`] times.
    fn run(&mut self);
}

/// So many operations are timed together: enough for the clock, and few enough for what they use up to lie in the cache
/// of the processor, as a request does that has just been read.
pub const BATCH: usize = 16;

/// Work made of two closures.
struct Batch<I, M, F> {
    inputs: Vec<I>,
    make: M,
    each: F,
}

/// Does `each` with what `make` made.
pub fn work<I, O>(make: impl FnMut() -> I, each: impl FnMut(I) -> O) -> impl Work {
    Batch { inputs: Vec::with_capacity(BATCH), make, each }
}

impl<I, O, M: FnMut() -> I, F: FnMut(I) -> O> Work for Batch<I, M, F> {
    fn prepare(&mut self) {
        self.inputs.clear();
        self.inputs.extend(std::iter::repeat_with(&mut self.make).take(BATCH));
    }

    fn run(&mut self) {
        for input in self.inputs.drain(..) {
            // By reference: what is moved into the box is copied.
            black_box(&(self.each)(input));
        }
    }
}

/// The nanoseconds that one operation took, for each round and each kind of work.
#[derive(Debug)]
pub struct Times(Vec<Vec<f64>>);

/// Runs each kind of work by turns for this long.
pub fn by_turns(works: &mut [&mut dyn Work], time: Duration) -> Times {
    let mut times = vec![Vec::new(); works.len()];
    let started = Instant::now();
    let mut round = 0;
    while round < 5 || started.elapsed() < WARM_UP + time {
        for (work, times) in works.iter_mut().zip(&mut times) {
            work.prepare();
            let begun = Instant::now();
            work.run();
            times.push(begun.elapsed().as_secs_f64() * 1e9 / BATCH as f64);
        }
        round += 1;
        if started.elapsed() < WARM_UP {
            round = 0;
            times.iter_mut().for_each(Vec::clear);
        }
    }
    Times(times)
}

impl Times {
    /// Nanoseconds of one kind of work.
    pub fn ns(&self, work: usize) -> f64 {
        median(self.0[work].clone())
    }

    /// How many times as long as `other` this kind of work takes.
    pub fn ratio(&self, work: usize, other: usize) -> f64 {
        median(self.0[work].iter().zip(&self.0[other]).map(|(one, other)| one / other).collect())
    }

    /// How many nanoseconds longer than `other` this kind of work takes.
    pub fn more(&self, work: usize, other: usize) -> f64 {
        median(self.0[work].iter().zip(&self.0[other]).map(|(one, other)| one - other).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What the command line asks for: groups of measurements whose names contain one of the words, or all.
pub fn is_wanted(group: &str) -> bool {
    let mut words = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    words.peek().is_none() || words.any(|word| group.contains(&word))
}

/// A runtime to be entered: what is stored is swept by a task.
///
/// # Panics
///
/// If there can be none.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a current-thread runtime")
}

const WARM_UP: Duration = Duration::from_millis(50);

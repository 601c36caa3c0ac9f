//! Counts the allocations of what `hit` times, and is run by it.
#![allow(clippy::print_stdout, reason = "`hit` reads what it prints")]

use larder_benches::{BATCH, Work, work::pairs};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::alloc::System;

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    let runtime = larder_benches::runtime();
    let _entered = runtime.enter();
    for mut pair in pairs() {
        println!("{}\t{}\t{}", pair.name, count(&mut *pair.larder), count(&mut *pair.floor));
    }
}

/// Allocations of one operation, reallocations included.
fn count(work: &mut dyn Work) -> usize {
    // What is made once is made by then.
    for _ in 0..3 {
        work.prepare();
        work.run();
    }
    work.prepare();
    let before = COUNTING.stats();
    work.run();
    let made = COUNTING.stats() - before;
    (made.allocations + made.reallocations).div_ceil(BATCH)
}

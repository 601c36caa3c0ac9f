//! What a hit costs, in Larder's defaults, beside a service that clones a ready response.
//!
//! ```sh
//! cargo bench -p larder-benches --bench hit               # everything
//! cargo bench -p larder-benches --bench hit -- flat miss  # what has one of these words in its name
//! cargo bench -p larder-benches --bench hit -- --loop     # 100 000 hits and nothing else, for a profiler
//! cargo bench -p larder-benches --bench hit -- --floor    # as many clones of a ready response
//! cargo bench -p larder-benches --bench hit -- --loop=1600 miss  # so many of the first one with this in its name
//! ```
//!
//! Both sides get a request of their own and drop it, and drop the response.
#![allow(clippy::print_stdout, reason = "benches print what they measure")]

use larder_benches::{
    BATCH, Work, by_turns, is_wanted, runtime,
    work::{Filled, Pair, pairs, plain_map},
};
use std::{collections::HashMap, process::Command, time::Duration};

fn main() {
    let runtime = runtime();
    let _entered = runtime.enter();
    if let Some((is_floor, count)) = asked_for("--loop").or_else(|| asked_for("--floor"))
        && let Some(pair) = pairs().into_iter().find(|pair| is_wanted(pair.name))
    {
        return many_times(if is_floor { pair.floor } else { pair.larder }, count);
    }
    let counts = allocations();
    for pair in pairs() {
        if is_wanted(pair.name) {
            compare(pair, &counts);
        }
    }
    if is_wanted("flat") {
        flat();
    }
}

/// Whether this option is there and is that of the floor, and how often the work is to be done.
fn asked_for(option: &str) -> Option<(bool, usize)> {
    let said = std::env::args().find_map(|argument| argument.strip_prefix(option).map(str::to_owned))?;
    let count = said.strip_prefix('=').map_or(100_000, |count| count.parse().expect("a number"));
    Some((option == "--floor", count))
}

fn compare(pair: Pair, counts: &HashMap<String, [usize; 2]>) {
    let Pair { name, floor_name, mut larder, mut floor } = pair;
    let times = by_turns(&mut [&mut *larder, &mut *floor], TIME);
    let [allocations, floor_allocations] = counts[name].map(allocations_text);
    println!("ratio {name} larder:{floor_name} = {:.2} ({allocations})", times.ratio(0, 1));
    println!("      {name} larder {:.0} ns, {floor_name} {:.0} ns ({floor_allocations})", times.ns(0), times.ns(1));
    println!("added {name} = {:.0} ns", times.more(0, 1));
}

/// Hits must not cost more as the cache fills.
fn flat() {
    const SIZES: [(u64, &str); 3] = [(10, "10"), (10_000, "10 000"), (1_000_000, "1 000 000")];
    let caches = SIZES.map(|(entries, _)| Filled::with(entries));
    let mut hot = caches.each_ref().map(Filled::hot);
    let [few, some, many] = &mut hot;
    let times = by_turns(&mut [few, some, many], TIME);
    for (index, (_, entries)) in SIZES.iter().enumerate() {
        let ns = times.ns(index);
        println!("flat/hot     {entries:>9} entries: {ns:.0} ns, ratio to 10 = {:.2}", times.ratio(index, 0));
    }
    let mut uniform = caches.each_ref().map(Filled::uniform);
    let [few, some, many] = &mut uniform;
    let mut plain = SIZES.map(|(entries, _)| plain_map(entries));
    let [plain_few, plain_some, plain_many] = &mut plain;
    let times = by_turns(&mut [few, some, many, plain_few, plain_some, plain_many], TIME);
    for (index, (_, entries)) in SIZES.iter().enumerate() {
        let ns = times.ns(index);
        println!("flat/uniform {entries:>9} entries: {ns:.0} ns, ratio to 10 = {:.2}", times.ratio(index, 0));
    }
    for (index, (_, entries)) in SIZES.iter().enumerate() {
        let (ns, ratio) = (times.ns(index + 3), times.ratio(index + 3, 3));
        println!("flat/uniform {entries:>9} ready responses in a HashMap: {ns:.0} ns, ratio to 10 = {ratio:.2}");
    }
}

/// The allocations of each pair, through Larder and without it.
fn allocations() -> HashMap<String, [usize; 2]> {
    let output = Command::new(env!("CARGO_BIN_EXE_allocations")).output().expect("it is built with this bench");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines = text.lines().map(|line| {
        let mut words = line.split('\t');
        let name = words.next().unwrap_or_default().to_owned();
        let mut count = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        (name, [count(), count()])
    });
    lines.collect()
}

fn allocations_text(count: usize) -> String {
    if count == 1 { "1 allocation".to_owned() } else { format!("{count} allocations") }
}

/// For a profiler: `valgrind --tool=callgrind --toggle-collect=hit::run target/release/deps/hit-* --loop`.
fn many_times(mut work: Box<dyn Work>, count: usize) {
    for _ in 0..count.div_ceil(BATCH) {
        work.prepare();
        run(&mut *work);
    }
}

#[inline(never)]
fn run(work: &mut dyn Work) {
    work.run();
    // Not the last thing it does: the profiler would not see a jump there as part of this function.
    std::hint::black_box(());
}

const TIME: Duration = Duration::from_millis(1500);

//! How well the memory tier uses its bytes, and two threads.
//!
//! ```sh
//! cargo bench -p larder-benches --bench memory             # everything
//! cargo bench -p larder-benches --bench memory -- resident # one of `ratio`, `resident`, `threads`
//! cargo bench -p larder-benches --bench memory -- --quick  # a smoke test
//! ```
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "benches print what they measure")]

mod origin;
mod policies;
mod ratio;
mod resident;
mod threads;
mod traces;

use larder_benches::{is_wanted, runtime};

fn main() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut arguments = std::env::args().skip(1).skip_while(|argument| argument != resident::CHILD);
    if arguments.next().is_some() {
        return resident::child(arguments);
    }
    if is_wanted("threads") {
        threads::compare(if is_quick() { 3 } else { 25 });
    }
    if is_wanted("ratio") {
        ratio::compare(if is_quick() { 100_000 } else { 1_000_000 });
    }
    if is_wanted("resident") {
        resident::compare(if is_quick() { &[16] } else { &[64, 256] });
    }
}

/// A smoke test.
fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

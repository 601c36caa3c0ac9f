//! What a hit costs as there are more entries, policies, tags, invalidations and patterns; and plots of it.
//!
//! ```sh
//! cargo bench -p larder-benches --bench growth                      # everything, and docs/performance/*.svg anew
//! cargo bench -p larder-benches --bench growth -- policies patterns # what has one of these words in its name
//! cargo bench -p larder-benches --bench growth -- --quick           # a smoke test: small numbers, and no plots
//! ```
//!
//! The environment variable `MOST` says how many entries there are at most, 3 000 000 unless set: each takes about 2 KiB.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "benches print what they measure")]

mod plot;

use larder::{Cache, CacheLayer, Policy, PolicyTable, Selector};
use larder_benches::{
    BATCH, Work, by_turns, is_wanted,
    requests::Requests,
    runtime, work,
    work::{Application, Cached, Filled, call, item, plain_map, read},
};
use plot::{Line, Plot, grouped};
use std::{
    future::Future,
    path::Path,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tower_layer::Layer;

fn main() {
    let runtime = runtime();
    let _entered = runtime.enter();
    let sections: [(&str, fn()); 5] = [
        ("entries", entries),
        ("policies", policies),
        ("invalidations", invalidations),
        ("tags", tags),
        ("patterns", patterns),
    ];
    for (name, section) in sections {
        if is_wanted(name) {
            section();
        }
    }
}

/// One at a time is in memory, beside a small one that is the measure.
fn entries() {
    let most = std::env::var("MOST").map_or(3_000_000, |most| most.parse().expect("a number of entries"));
    let small = Filled::with(1000);
    let mut measure = small.hot();
    let mut lines = [Vec::new(), Vec::new(), Vec::new()];
    for count in counts(&[1000, 10_000, 100_000, 1_000_000, 3_000_000, 10_000_000], most, 10_000) {
        let filled = Filled::with(count);
        let (mut hot, mut any) = (filled.hot(), filled.uniform());
        let times = by_turns(&mut [&mut measure, &mut hot, &mut any], TIME);
        let ratios = [times.ratio(1, 0), times.ratio(2, 0)];
        drop((hot, any, filled));
        let mut plain = plain_map(count);
        let plain = by_turns(&mut [&mut measure, &mut plain], TIME);
        let all = [times.ns(1), times.ns(2), plain.ns(1)];
        println!(
            "entries/{:>10}: one of them {:>5.0} ns (ratio to the same of 1 000: {:.2}), all alike {:>5.0} ns ({:.2}), \
             ready responses in a HashMap, all alike {:>5.0} ns",
            grouped(count),
            all[0],
            ratios[0],
            all[1],
            ratios[1],
            all[2]
        );
        lines.iter_mut().zip(all).for_each(|(line, ns)| line.push((count, ns)));
    }
    let names = ["one entry", "all alike", "all alike, a HashMap of ready responses"];
    draw("entries", "A hit", "entries in the cache", &names, lines.into());
}

/// Routes of a table, each with a policy of its own.
fn policies() {
    let counts = counts(&[1, 10, 100, 1000], 1000, 100);
    let mut hits: Vec<_> = counts
        .iter()
        .map(|count| {
            let table = (0..*count)
                .fold(PolicyTable::new(), |table, number| table.route(format!("/section-{number}/{{id}}"), lasting()));
            let service = CacheLayer::new(&Cache::in_memory(64 << 20), table).layer(Application::new(1024));
            hits(service, format!("/section-{}/7", count - 1))
        })
        .collect();
    let line = measured("policies", &counts, &mut hits);
    draw("policies", "A hit", "routes in the table, each with its policy", &["a hit by the last route"], vec![line]);
}

/// Tags that were invalidated, none of which the entries have.
fn invalidations() {
    let counts = counts(&[0, 1000, 10_000, 100_000, 1_000_000], 1_000_000, 10_000);
    let tags: Vec<String> = (0..4).map(|tag| format!("tag:{tag}")).collect();
    let tagged: Vec<_> = counts.iter().map(|_| Tagged::with(&tags)).collect();
    for (tagged, count) in tagged.iter().zip(&counts) {
        (0..*count).for_each(|number| tagged.invalidate(Selector::tag(format!("other:{number}"))));
    }
    let lines = both("invalidations", &counts, &tagged);
    draw("invalidations", "A hit of an entry with four tags", "tags that were invalidated", &NAMES, lines);
}

/// Tags of the entry.
fn tags() {
    let counts = counts(&[0, 1, 4, 16, 64], 64, 64);
    let names = |count| (0..count).map(|tag| format!("tag:{tag}")).collect::<Vec<_>>();
    let tagged: Vec<_> = counts.iter().map(|count| Tagged::with(&names(*count))).collect();
    let lines = both("tags", &counts, &tagged);
    draw("tags", "A hit", "tags of the entry", &NAMES, lines);
}

/// Patterns that were invalidated and match nothing here.
fn patterns() {
    let counts = counts(&[0, 1, 10, 100, 1000], 1000, 100);
    let tagged: Vec<_> = counts.iter().map(|_| Tagged::with(&[])).collect();
    for (tagged, count) in tagged.iter().zip(&counts) {
        (0..*count).for_each(|number| tagged.invalidate(Selector::pattern(format!("*nothing-like-{number}*"))));
    }
    let lines = both("patterns", &counts, &tagged);
    draw("patterns", "A hit", "patterns that were invalidated", &NAMES, lines);
}

/// A cache with a few entries of these tags.
struct Tagged {
    cache: Cache,
    service: Cached,
}

impl Tagged {
    fn with(tags: &[String]) -> Self {
        let cache = Cache::in_memory(64 << 20);
        let service = CacheLayer::new(&cache, lasting().tags(tags.to_vec())).layer(Application::new(1024));
        Self { cache, service }
    }

    fn invalidate(&self, selector: Selector) {
        now(self.cache.invalidate(selector)).expect("a selector");
    }

    /// Hits of as many entries as are timed together, each the first one after many tags were invalidated that it has not.
    fn first_after(&self) -> impl Work {
        let (requests, mut service) = (Requests::of_a_browser(), self.service.clone());
        for number in 0..BATCH as u64 {
            read(call(&mut service, requests.get(item(number))).into_body());
        }
        let mut made = 0;
        let make = move || {
            if made % BATCH == 0 {
                (0..OTHERS).for_each(|other| self.invalidate(Selector::tag(format!("unrelated:{other}"))));
            }
            made += 1;
            requests.get(item((made % BATCH) as u64))
        };
        work(make, move |request| call(&mut service, request))
    }
}

/// Hits beside the first ones after other invalidations.
fn both(name: &str, counts: &[u64], tagged: &[Tagged]) -> Vec<Vec<(u64, f64)>> {
    let mut plain: Vec<_> = tagged.iter().map(|tagged| hits(tagged.service.clone(), item(7).to_string())).collect();
    let mut first: Vec<_> = tagged.iter().map(Tagged::first_after).collect();
    vec![measured(name, counts, &mut plain), measured(&format!("{name}, the first after others"), counts, &mut first)]
}

/// Hits of one entry.
fn hits(mut service: Cached, path: String) -> impl Work {
    let (requests, uri) = (Requests::of_a_browser(), http::Uri::from_maybe_shared(path).expect("a path"));
    read(call(&mut service, requests.get(uri.clone())).into_body());
    work(move || requests.get(uri.clone()), move |request| call(&mut service, request))
}

/// Runs them by turns, and prints each.
fn measured(name: &str, counts: &[u64], works: &mut [impl Work]) -> Vec<(u64, f64)> {
    let mut works: Vec<&mut dyn Work> = works.iter_mut().map(|work| work as &mut dyn Work).collect();
    let times = by_turns(&mut works, 2 * TIME);
    for (index, count) in counts.iter().enumerate() {
        let (ns, ratio) = (times.ns(index), times.ratio(index, 0));
        println!("{name}/{:>9}: {ns:>5.0} ns, ratio to {}: {ratio:.2}", grouped(*count), grouped(counts[0]));
    }
    counts.iter().enumerate().map(|(index, count)| (*count, times.ns(index))).collect()
}

fn draw(file: &str, title: &str, across: &str, names: &[&str], lines: Vec<Vec<(u64, f64)>>) {
    if !is_quick() {
        let lines = names.iter().zip(lines).map(|(name, points)| Line { name, points }).collect();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/performance");
        Plot { title, across, lines }.write(&folder.join(file).with_extension("svg"));
    }
}

/// Those of them that are to be measured.
fn counts(all: &[u64], most: u64, most_if_quick: u64) -> Vec<u64> {
    let most = if is_quick() { most_if_quick } else { most };
    all.iter().copied().filter(|count| *count <= most).collect()
}

fn lasting() -> Policy {
    Policy::fresh_for(Duration::from_secs(3600))
}

/// What a future comes to that never waits.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

/// More than are compared one by one: then each tag of the entry is looked up.
const OTHERS: usize = 100;

/// What [`both`] measures.
const NAMES: [&str; 2] = ["a hit", "the first after 100 other invalidations"];

const TIME: Duration = Duration::from_millis(1500);

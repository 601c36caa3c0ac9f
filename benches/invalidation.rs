//! What invalidation costs: the call itself, and hits beside it.
//!
//! ```sh
//! cargo bench -p larder-benches --bench invalidation               # everything
//! cargo bench -p larder-benches --bench invalidation -- purge hit  # what has one of these words in its name
//! ```
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "benches print what they measure")]

use http::Uri;
use larder::{Cache, CacheLayer, Policy, Selector};
use larder_benches::{
    BATCH, Work, by_turns, is_wanted,
    requests::Requests,
    runtime, work,
    work::{Application, Cached, call, item, read},
};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tower_layer::Layer;

fn main() {
    let runtime = runtime();
    let _entered = runtime.enter();
    // First, or it would get the memory that the others have given back.
    if is_wanted("memory") {
        memory();
    }
    if is_wanted("purge") {
        purge();
    }
    if is_wanted("hit") {
        hits();
    }
}

/// A tag that a million entries have.
fn purge() {
    let tagged = Tagged::with(1_000_000, &["all"]);
    let begun = Instant::now();
    invalidate(&tagged.cache, Selector::tag("all"));
    println!("purge/tag of 1 000 000 entries: {:.1} us (goal: under 1 ms)", begun.elapsed().as_secs_f64() * 1e6);
    let begun = Instant::now();
    invalidate(&tagged.cache, Selector::pattern("*products*"));
    println!("purge/pattern over as many: {:.1} us", begun.elapsed().as_secs_f64() * 1e6);
    let begun = Instant::now();
    let hit = now(tagged.cache.preview(&Selector::tag("all"))).expect("a selector").entries;
    println!("purge/preview over as many: {:.0} ms, {hit} left", begun.elapsed().as_secs_f64() * 1e3);
}

/// Hits of entries with many tags, beside many that were invalidated and many patterns.
fn hits() {
    let tags: Vec<String> = (0..32).map(|tag| format!("tag:{tag}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let (plain, tagged) = (Tagged::with(1000, &[]), Tagged::with(1000, &tags));
    for cache in [&plain.cache, &tagged.cache] {
        for tag in 0..10_000 {
            invalidate(cache, Selector::tag(format!("other:{tag}")));
        }
    }
    for ban in 0..100 {
        invalidate(&tagged.cache, Selector::pattern(format!("*nothing-like-this-{ban}*")));
    }
    let (mut untagged, mut checked) = (plain.hot(), tagged.hot());
    let mut unrelated =
        tagged.after_each(|cache, round| invalidate(cache, Selector::tag(format!("unrelated:{round}"))));
    let mut banned =
        tagged.after_each(|cache, round| invalidate(cache, Selector::pattern(format!("*nothing-{round}*"))));
    let times = by_turns(&mut [&mut untagged, &mut checked, &mut unrelated, &mut banned], TIME);
    println!("hit/untagged: {:.0} ns", times.ns(0));
    for (index, name, goal) in [
        (1, "32 tags, 10 000 tags invalidated, 100 patterns, once checked", " (goal: 1.2)"),
        (2, "the first after an unrelated tag was invalidated", " (goal: 2)"),
        (3, "the first after an unrelated pattern was banned", ""),
    ] {
        println!("hit/{name}: {:.0} ns, ratio {:.2}{goal}", times.ns(index), times.ratio(index, 0));
    }
}

/// Ten million tags, each invalidated once.
fn memory() {
    let cache = Cache::in_memory(64 << 20);
    let before = resident();
    let begun = Instant::now();
    for tag in 0..10_000_000 {
        invalidate(&cache, Selector::tag(format!("tag-{tag}")));
    }
    let each = begun.elapsed().as_secs_f64() * 1e9 / 1e7;
    let grown = resident().saturating_sub(before) >> 20;
    println!("memory/10 000 000 tags invalidated: {grown} MiB more, {each:.0} ns each");
}

/// A cache full of entries with the same tags.
struct Tagged {
    cache: Cache,
    service: Cached,
}

impl Tagged {
    fn with(entries: u64, tags: &[&str]) -> Self {
        let memory = usize::try_from(entries).expect("it fits") * 16 * 1024;
        let cache = Cache::in_memory(memory.max(64 << 20));
        let tags = tags.iter().map(|tag| (*tag).to_owned());
        let policy = Policy::fresh_for(Duration::from_secs(3600)).tags(tags);
        let mut service = CacheLayer::new(&cache, policy).layer(Application::new(1024));
        let requests = Requests::of_a_browser();
        for number in 0..entries {
            read(call(&mut service, requests.get(item(number))).into_body());
        }
        assert_eq!(cache.stats().resources, entries, "all of them fit");
        Self { cache, service }
    }

    fn hot(&self) -> impl Work + use<> {
        let uri = item(7);
        let (requests, mut service) = (Requests::of_a_browser(), self.service.clone());
        work(move || requests.get(uri.clone()), move |request| call(&mut service, request))
    }

    /// Hits of as many entries as are timed together, each the first one after `change`.
    fn after_each(&self, change: impl Fn(&Cache, usize)) -> impl Work {
        let uris: Vec<Uri> = (0..BATCH as u64).map(item).collect();
        let (cache, requests, mut service) = (self.cache.clone(), Requests::of_a_browser(), self.service.clone());
        let mut made = 0;
        let make = move || {
            if made % BATCH == 0 {
                change(&cache, made);
            }
            made += 1;
            requests.get(uris[made % BATCH].clone())
        };
        work(make, move |request| call(&mut service, request))
    }
}

fn invalidate(cache: &Cache, selector: Selector) {
    now(cache.invalidate(selector)).expect("a selector");
}

/// What a future comes to that never waits.
fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

/// The bytes of memory that this process takes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: usize| pages * 4096)
}

const TIME: Duration = Duration::from_millis(2000);

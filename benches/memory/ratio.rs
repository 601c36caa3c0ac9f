//! How many requests are hits, beside what other policies make of the same bytes.

use crate::{
    origin::Origin,
    policies::{AgeingLfu, Farthest, Keeps, Lru, S3Fifo, Sieve, TinyLfu},
    traces::{Trace, all},
};
use http::Uri;
use larder::{Cache, CacheLayer, CacheService, Policy};
use larder_benches::{
    requests::Requests,
    work::{call, read},
};
use std::time::Duration;
use tower_layer::Layer;

/// Prints a table of all traces, each with caches of three sizes.
pub(crate) fn compare(requests: u32) {
    println!("hits of 100 requests, after a first fifth of the trace; the cache holds a part of 100 000 things");
    let names = ["larder", "LRU", "ageing LFU", "SIEVE", "S3-FIFO", "W-TinyLFU", "farthest"];
    print!("{:<12} {:>5}", "trace", "part");
    println!("{}  larder - best of the others", names.map(|name| format!(" {name:>10}")).concat());
    for trace in all(requests) {
        let weights = weights(&trace);
        let all: u64 = weights[..trace.things as usize].iter().sum();
        for percent in [1, 5, 20] {
            let bytes = all * percent / 100;
            let mut keepers: [Box<dyn Keeps>; 7] = [
                Box::new(Larder::of(bytes, trace.length)),
                Box::new(Lru::of(bytes)),
                Box::new(AgeingLfu::of(bytes)),
                Box::new(Sieve::of(bytes)),
                Box::new(S3Fifo::of(bytes)),
                Box::new(TinyLfu::of(bytes)),
                Box::new(Farthest::of(bytes, &trace.requests)),
            ];
            let ratios = keepers.each_mut().map(|keeper| percentage(&mut **keeper, &trace, &weights));
            let best = ratios[1..6].iter().copied().fold(0.0, f64::max);
            print!("{:<12} {percent:>3} %", trace.name);
            println!("{} {:>+6.1}", ratios.map(|ratio| format!(" {ratio:>10.1}")).concat(), ratios[0] - best);
        }
    }
}

fn percentage(keeper: &mut dyn Keeps, trace: &Trace, weights: &[u64]) -> f64 {
    let warm = trace.requests.len() / 5;
    let (mut found, mut all) = (0, 0);
    for (time, thing) in trace.requests.iter().enumerate() {
        let weight = weights[*thing as usize];
        let hit = keeper.ask(*thing, weight);
        let counts = if trace.by_bytes { weight } else { 1 };
        if time >= warm {
            all += counts;
            found += if hit { counts } else { 0 };
        }
    }
    found as f64 * 100.0 / all as f64
}

/// What each thing weighs in the memory tier.
fn weights(trace: &Trace) -> Vec<u64> {
    let mut larder = Larder::of(64 << 20, |_| 0);
    larder.ask(0, 0);
    let empty = larder.cache.stats().bytes;
    let most = trace.requests.iter().max().map_or(0, |most| *most).max(trace.things);
    (0..=u64::from(most)).map(|thing| empty + (trace.length)(thing) as u64).collect()
}

struct Larder {
    cache: Cache,
    service: CacheService<Origin>,
    requests: Requests,
}

impl Larder {
    fn of(bytes: u64, length: fn(u64) -> usize) -> Self {
        let cache = Cache::in_memory(usize::try_from(bytes).expect("it fits"));
        let policy = Policy::fresh_for(Duration::from_secs(3600));
        let service = CacheLayer::new(&cache, policy).layer(Origin::of(length));
        Self { cache, service, requests: Requests::bare() }
    }
}

impl Keeps for Larder {
    fn ask(&mut self, thing: u32, _: u64) -> bool {
        // All paths are of one length, and so are all keys.
        let uri = Uri::from_maybe_shared(format!("/{thing:010}")).expect("a path");
        let response = call(&mut self.service, self.requests.get(uri));
        let said = response.headers().get("cache-status").map(|value| value.as_bytes() == b"larder; hit");
        read(response.into_body());
        said.expect("it is on")
    }
}

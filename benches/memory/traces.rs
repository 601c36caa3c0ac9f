//! Requests in the order in which they come, made from seeds.

use larder_benches::random::{Random, Zipf};

/// What is asked for, each time by the number of a thing.
pub(crate) struct Trace {
    pub(crate) name: &'static str,
    pub(crate) requests: Vec<u32>,
    /// The length of a body.
    pub(crate) length: fn(u64) -> usize,
    /// What the sizes of the caches are parts of: as many things.
    pub(crate) things: u32,
    /// Whether bytes are counted that are found, and not requests.
    pub(crate) by_bytes: bool,
}

/// All traces, of so many requests each.
pub(crate) fn all(requests: u32) -> Vec<Trace> {
    let even = |name, requests| Trace { name, requests, length: |_| 1024, things: THINGS, by_bytes: false };
    let mixed = |name, by_bytes| Trace { length: mixed, by_bytes, ..even(name, zipf(0.9, requests)) };
    vec![
        even("zipf 0.7", zipf(0.7, requests)),
        even("zipf 0.9", zipf(0.9, requests)),
        even("zipf 1.0", zipf(1.0, requests)),
        even("news", news(requests)),
        even("scans", scans(requests)),
        even("crawler", crawler(requests)),
        even("loop", (0..requests).map(|request| request % LOOP).collect()),
        mixed("mixed sizes", false),
        mixed("  by bytes", true),
    ]
}

/// The same popularity all the time.
fn zipf(exponent: f64, requests: u32) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(THINGS, exponent), Random::seeded(1));
    (0..requests).map(|_| draw(&zipf, &mut random)).collect()
}

/// Every 50 requests something new is asked for most, and all else a little less than before.
fn news(requests: u32) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(THINGS, 0.9), Random::seeded(2));
    (0..requests).map(|request| THINGS + request / 50 - draw(&zipf, &mut random)).collect()
}

/// Five times, 40 000 things are asked for in a row, once and never again, between requests as in `zipf 0.9`: the same number.
fn scans(requests: u32) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(THINGS, 0.9), Random::seeded(3));
    let mut scanned = THINGS;
    let mut once = || {
        scanned += 1;
        scanned
    };
    let (each, long) = (requests / 5, requests / 25);
    let is_scan = |request: u32| request % each < 2 * long && request.is_multiple_of(2);
    (0..requests).map(|request| if is_scan(request) { once() } else { draw(&zipf, &mut random) }).collect()
}

/// Each third request is for something that is never asked for again.
fn crawler(requests: u32) -> Vec<u32> {
    let (zipf, mut random) = (Zipf::new(THINGS, 0.9), Random::seeded(4));
    let next = |request: u32| if request.is_multiple_of(3) { THINGS + request } else { draw(&zipf, &mut random) };
    (0..requests).map(next).collect()
}

/// From 100 bytes to 100 KiB, small ones as often as large ones.
fn mixed(number: u64) -> usize {
    (100.0 * 1024_f64.powf(Random::seeded(number).part())) as usize
}

fn draw(zipf: &Zipf, random: &mut Random) -> u32 {
    u32::try_from(zipf.draw(random)).expect("there are not so many")
}

/// How many things are asked for again and again.
const THINGS: u32 = 100_000;

/// A little more than the largest cache holds.
const LOOP: u32 = 24_000;

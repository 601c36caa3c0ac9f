//! How much memory a process takes whose cache is full, beside what the cache was allowed.
//!
//! Each case runs in a process of its own: an allocator keeps what it was given back.

use crate::origin::Origin;
use http::Uri;
use larder::{Cache, CacheLayer, CacheService, Policy};
use larder_benches::{
    random::Random,
    requests::Requests,
    work::{call, read},
};
use std::{process::Command, time::Duration};
use tower_layer::Layer;

/// Runs each case in a child, with caches of so many MiB, and prints what it tells.
pub(crate) fn compare(sizes: &[usize]) {
    println!("memory of the process, more than before the cache was made, to what the cache may hold (goal: 1.5)");
    println!(
        "{:<14} {:>8} {:>9} {:>9} {:>7} {:>18}",
        "case", "allowed", "entries", "weighed", "full", "replaced 3 times"
    );
    let program = std::env::current_exe().expect("this program");
    for (case, _) in CASES {
        for mib in sizes {
            let output = Command::new(&program).args([CHILD, case, &mib.to_string()]).output().expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            print!("{}", String::from_utf8_lossy(&output.stdout));
        }
    }
}

/// What a child does: its arguments come behind [`CHILD`].
pub(crate) fn child(mut arguments: impl Iterator<Item = String>) {
    let case = arguments.next().expect("a case");
    let mib: usize = arguments.next().and_then(|mib| mib.parse().ok()).expect("a number of MiB");
    let (_, make) = CASES.into_iter().find(|(name, _)| *name == case).expect("one of the cases");
    let Case { origin, uri, policy, vary } = make();
    let before = resident();
    let cache = Cache::in_memory(mib << 20);
    let mut filling = Filling { service: CacheLayer::new(&cache, policy).layer(origin), uri, vary, next: 0 };
    while cache.stats().evictions == 0 || filling.next < cache.stats().resources * 3 / 2 {
        filling.more(64);
    }
    let stats = cache.stats();
    let full = resident() - before;
    filling.more(3 * stats.resources);
    let replaced = resident() - before;
    let ratio = |bytes: u64| bytes as f64 / (mib << 20) as f64;
    println!(
        "{case:<14} {mib:>4} MiB {:>9} {:>9.2} {:>7.2} {:>18.2}",
        stats.resources,
        ratio(stats.bytes),
        ratio(full),
        ratio(replaced)
    );
}

type Make = fn() -> Case;

struct Case {
    origin: Origin,
    uri: fn(u64) -> Uri,
    policy: Policy,
    /// The variants of each.
    vary: u64,
}

impl Case {
    fn of(origin: Origin) -> Self {
        Self { origin, uri: |number| uri(format!("/{number}")), policy: lasting(), vary: 1 }
    }
}

struct Filling {
    service: CacheService<Origin>,
    uri: fn(u64) -> Uri,
    vary: u64,
    next: u64,
}

impl Filling {
    /// So many resources that were not asked for before.
    fn more(&mut self, resources: u64) {
        for number in self.next..self.next + resources {
            for variant in 0..self.vary {
                let requests = Requests::of_a_browser().and("x-variant", &variant.to_string());
                read(call(&mut self.service, requests.get((self.uri)(number))).into_body());
            }
        }
        self.next += resources;
    }
}

fn lasting() -> Policy {
    Policy::fresh_for(Duration::from_secs(3600))
}

fn one_byte() -> Case {
    Case::of(Origin::of(|_| 1))
}

fn page() -> Case {
    let fields = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "max-age=3600"),
        ("etag", "\"5d8c72a5edda8d6a\""),
        ("x-content-type-options", "nosniff"),
    ];
    let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Case::of(Origin { fields, ..Origin::of(|_| 1024) })
}

fn sixty_fields() -> Case {
    let fields = (0..60).map(|number| (format!("x-field-{number}"), format!("value-{number}"))).collect();
    Case::of(Origin { fields, ..Origin::of(|_| 100) })
}

fn long_urls() -> Case {
    Case { uri: |number| uri(format!("/{}/{number}", "x".repeat(7_900))), ..Case::of(Origin::of(|_| 100)) }
}

fn large() -> Case {
    Case::of(Origin::of(|_| 100 * 1024))
}

/// From 100 bytes to 100 KiB, small ones as often as large ones.
fn mixed() -> Case {
    Case::of(Origin::of(|number| (100.0 * 1024_f64.powf(Random::seeded(number).part())) as usize))
}

fn tagged() -> Case {
    let tags: Vec<String> = (0..64).map(|tag| format!("tag:number:{tag}")).collect();
    Case { policy: lasting().tags(tags), ..Case::of(Origin::of(|_| 100)) }
}

fn variants() -> Case {
    let fields = vec![("vary".to_owned(), "x-variant".to_owned())];
    Case { vary: 8, ..Case::of(Origin { fields, ..Origin::of(|_| 100) }) }
}

fn uri(path: String) -> Uri {
    Uri::from_maybe_shared(path).expect("a path")
}

/// The bytes of memory that this process takes.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse().ok()).map_or(0, |pages: u64| pages * 4096)
}

/// The first argument of a child.
pub(crate) const CHILD: &str = "--resident";

const CASES: [(&str, Make); 8] = [
    ("1-byte bodies", one_byte),
    ("1 KiB pages", page),
    ("60 fields", sixty_fields),
    ("8 KiB URLs", long_urls),
    ("100 KiB bodies", large),
    ("mixed sizes", mixed),
    ("64 tags", tagged),
    ("8 variants", variants),
];

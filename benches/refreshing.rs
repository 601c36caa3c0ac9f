//! What the ways to refresh are good for: hours of requests through the cache, with each of them and without it.
//!
//! ```sh
//! cargo bench -p larder-benches --bench refreshing             # everything
//! cargo bench -p larder-benches --bench refreshing -- jitter   # what has one of these words in its name: eager, xfetch,
//!                                                              # jitter, adaptive, uses
//! ```
//!
//! Nothing waits. Requests, changes and the times that the handler takes are the same in each run; but the cache throws its
//! own dice, so that with `xfetch` and `jitter`, and when memory is full, the last digits differ.
#![allow(clippy::print_stdout, reason = "benches print what they measure")]

mod simulation;

use larder::Policy;
use larder_benches::is_wanted;
use simulation::{Plan, Report, simulate};
use std::time::Duration;

fn main() {
    let groups: [(&str, fn()); 5] =
        [("eager", eager), ("xfetch", xfetch), ("jitter", jitter), ("adaptive", adaptive), ("uses", uses)];
    for (_, group) in groups.iter().filter(|(name, _)| is_wanted(name)) {
        group();
    }
}

fn eager() {
    let minute = || Policy::fresh_for(MINUTE);
    let title = "eager_refresh: 2 000 resources, 100 requests/s, fresh for 60 s";
    table(
        title,
        &[ORIGIN, STALE, WAITED, AGE],
        &usual(),
        [
            ("nothing", minute()),
            ("`stale_while_revalidate(60 s)`", minute().stale_while_revalidate(MINUTE)),
            ("`eager_refresh(0.8)`", minute().eager_refresh(0.8)),
            ("both", minute().stale_while_revalidate(MINUTE).eager_refresh(0.8)),
        ],
    );
}

fn xfetch() {
    let minute = || Policy::fresh_for(MINUTE);
    let hot = Plan { resources: 50, rate: 200.0, length: 40 * MINUTE, ..usual() };
    table(
        "xfetch: 50 hot resources, 200 requests/s, fresh for 60 s",
        &[ORIGIN, STALE, WAITED, AGE],
        &hot,
        [
            ("nothing", minute()),
            ("`stale_while_revalidate(60 s)`", minute().stale_while_revalidate(MINUTE)),
            ("`xfetch(1.0)`", minute().xfetch(1.0)),
            ("`xfetch(4.0)`", minute().xfetch(4.0)),
            ("`eager_refresh(0.8)`", minute().eager_refresh(0.8)),
        ],
    );
    let title = "xfetch: 2 000 resources, 100 requests/s, fresh for 60 s";
    table(
        title,
        &[ORIGIN, STALE, WAITED, AGE],
        &usual(),
        [("nothing", minute()), ("`xfetch(1.0)`", minute().xfetch(1.0))],
    );
}

/// After a warm start, when everything is stored in the same second.
fn jitter() {
    let plan = Plan { rate: 500.0, length: 25 * MINUTE, warm_up: MINUTE, warm_start: true, ..usual() };
    let policy = || Policy::fresh_for(10 * MINUTE);
    let title = "jitter: 2 000 resources, all stored in the same second, then 500 requests/s, fresh for 10 min";
    table(
        title,
        &[PEAK, ORIGIN, WAITED, AGE],
        &plan,
        [
            ("nothing", policy()),
            ("`stale_while_revalidate(60 s)`", policy().stale_while_revalidate(MINUTE)),
            ("`jitter(0.1)`", policy().jitter(0.1)),
            ("`jitter(0.5)`", policy().jitter(0.5)),
        ],
    );
}

fn adaptive() {
    let plan = Plan { changes: Some((MINUTE / 2, 12 * HOUR)), length: 3 * HOUR, warm_up: HOUR, ..usual() };
    let secs = |secs| Policy::fresh_for(Duration::from_secs(secs));
    let columns = [ORIGIN, WAITED, AGE, OUTDATED, OUTDATED_THIRDS];
    let title = "adaptive_lifetime: 2 000 resources that change each 30 s to each 12 h, 100 requests/s";
    let adaptive = || secs(60).adaptive_lifetime(MINUTE / 6..=10 * MINUTE);
    table(
        title,
        &columns,
        &plan,
        [
            ("60 s", secs(60)),
            ("160 s", secs(160)),
            ("600 s", secs(600)),
            ("60 s, `adaptive_lifetime(10 s..=120 s)`", secs(60).adaptive_lifetime(MINUTE / 6..=2 * MINUTE)),
            ("60 s, `adaptive_lifetime(10 s..=600 s)`", adaptive()),
            ("60 s, `adaptive_lifetime(10 s..=3600 s)`", secs(60).adaptive_lifetime(MINUTE / 6..=HOUR)),
        ],
    );
    let title = "adaptive_lifetime: the same, and the responses have no `ETag`";
    table(
        title,
        &columns,
        &Plan { tags: false, ..plan },
        [
            ("60 s, `adaptive_lifetime(10 s..=600 s)`", adaptive()),
            ("60 s, `adaptive_lifetime(10 s..=600 s)`, `keep(1 h)`", adaptive().keep(HOUR)),
        ],
    );
}

fn uses() {
    let long_tail = Plan {
        resources: 50_000,
        exponent: 0.8,
        rate: 30.0,
        once: 0.3,
        length: 4 * HOUR,
        warm_up: 2 * HOUR,
        body: 2048,
        ..usual()
    };
    for (memory, room) in [(8 << 20, "8 MiB"), (512 << 20, "512 MiB")] {
        let title =
            format!("min_uses: 50 000 resources, 3 of 10 requests for what nobody asks for again, memory of {room}");
        table(
            &title,
            &[BYTES, RESOURCES, STORED, EVICTED, SERVED],
            &Plan { memory, ..long_tail.clone() },
            [("nothing", Policy::fresh_for(HOUR)), ("`min_uses(2)`", Policy::fresh_for(HOUR).min_uses(2))],
        );
    }
}

/// The usual load. The most popular resource is asked for 12 times in a second, half of them less than once in 80.
fn usual() -> Plan {
    Plan {
        resources: 2_000,
        exponent: 1.0,
        rate: 100.0,
        length: 70 * MINUTE,
        warm_up: 10 * MINUTE,
        warm_start: false,
        changes: None,
        tags: true,
        once: 0.0,
        body: 1024,
        memory: 64 << 20,
    }
}

/// One column of a table: what is above it, and what is in it.
type Column = (&'static str, fn(&Report) -> String);

const ORIGIN: Column = ("origin requests/s", |report| format!("{:.2}", report.origin_rate()));
const PEAK: Column = ("most in one second", |report| report.origin_peak().to_string());
const STALE: Column = ("served stale", |report| percent(report.stale()));
const WAITED: Column = ("waited", |report| percent(report.waited()));
const SERVED: Column = ("served from the cache", |report| percent(1.0 - report.waited()));
const AGE: Column = ("mean age", |report| format!("{:.0} s", report.mean_age()));
const OUTDATED: Column = ("outdated", |report| percent(report.outdated()));
const OUTDATED_THIRDS: Column =
    ("of the third that changes most / next / least", |report| report.outdated_thirds().map(percent).join(" / "));
const BYTES: Column = ("held at the end", |report| format!("{:.1} MiB", report.stats.bytes as f64 / MIB));
const RESOURCES: Column = ("resources", |report| report.stats.resources.to_string());
const STORED: Column = ("responses stored", |report| report.stats.stored.to_string());
const EVICTED: Column = ("evicted", |report| report.stats.evictions.to_string());

/// A table as in Markdown.
fn table<const N: usize>(title: &str, columns: &[Column], plan: &Plan, rows: [(&str, Policy); N]) {
    let mut lines = vec![[""].into_iter().chain(columns.iter().map(|(head, _)| *head)).map(str::to_owned).collect()];
    for (name, policy) in rows {
        let report = simulate(plan, policy);
        let cells: Vec<_> =
            [name.to_owned()].into_iter().chain(columns.iter().map(|(_, cell)| cell(&report))).collect();
        lines.push(cells);
    }
    println!("\n{title}\n");
    for (number, line) in lines.iter().enumerate() {
        println!("| {} |", line.join(" | "));
        if number == 0 {
            println!("|---|{}", "---:|".repeat(columns.len()));
        }
    }
}

fn percent(part: f64) -> String {
    let digits = if part < 0.01 { 2 } else { 1 };
    format!("{:.digits$} %", 100.0 * part)
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const MIB: f64 = 1024.0 * 1024.0;

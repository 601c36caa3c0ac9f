//! The table.

use crate::{machine::version, measure::Round, servers::Kind};
use std::{fmt::Write, process::Command};

/// What was measured of one server.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) kind: Kind,
    /// How many fields its response has.
    pub(crate) fields: usize,
    pub(crate) rounds: Vec<Round>,
    /// Per request.
    pub(crate) instructions: f64,
}

impl Row {
    fn cpu(&self) -> f64 {
        median(self.rounds.iter().map(|round| round.cpu))
    }

    /// To another, in the same rounds.
    fn cpu_to(&self, other: &Self) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(one, other)| one.cpu / other.cpu))
    }
}

/// All of it, with ratios to the first.
pub(crate) fn report(machine: &str, rows: &[Row]) -> String {
    let mut text = String::from("# A hit of 1 KiB over loopback\n\n");
    _ = writeln!(text, "{machine}  ");
    let versions = ["larder", "axum", "hyper", "tokio"].map(|name| format!("{name} {}", version(LOCK, name)));
    _ = writeln!(
        text,
        "{}, {}, {}\n\n{LEGEND}\n\n{HEAD}",
        versions.join(", "),
        said("nginx", "-v"),
        said("varnishd", "-V")
    );
    for row in rows {
        let (cpu, cpu_to) = (row.cpu(), row.cpu_to(&rows[0]));
        let rate = median(row.rounds.iter().map(|round| round.rate));
        let (instructions, to) = (row.instructions, row.instructions / rows[0].instructions);
        let (name, fields) = (row.kind.name(), row.fields);
        _ = writeln!(text, "| {name} | {fields} | {cpu:.2} | {cpu_to:.2} | {instructions:.0} | {to:.3} | {rate:.0} |");
    }
    text
}

/// The version that a program tells, without what else it tells.
fn said(program: &str, option: &str) -> String {
    let output = Command::new(program).arg(option).output().map(|output| output.stderr).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    let version = text.lines().next().unwrap_or_default().split(" revision").next().unwrap_or_default();
    version.replace("nginx version: nginx/", "nginx ").replace("varnishd (varnish-", "Varnish ")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

const LEGEND: &str = "\
The server has one processor, `wrk` with 16 connections the other. Processor time is that of the server in user and
kernel mode, with all its threads and processes; medians of rounds by turns. Instructions are those outside the kernel,
counted by callgrind over 16 connections that are kept. Ratios are to the first line.";

const HEAD: &str = "\
| | fields | CPU µs per request | ratio | instructions per request | ratio | requests per second |
|---|---|---|---|---|---|---|";

const LOCK: &str = include_str!("../Cargo.lock");

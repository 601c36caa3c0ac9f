//! The tables.

use crate::{
    cases::Case,
    contender::REQUEST_ALONE,
    machine,
    peers::{LARDER, NO_CACHE, PREBUILT},
};
use std::fmt::Write;

/// Where each contender stands in what was measured.
#[derive(Debug)]
pub(crate) struct Report {
    names: Vec<&'static str>,
    text: String,
    goals: String,
}

impl Report {
    /// An empty one, for contenders of these names.
    pub(crate) fn new(names: Vec<&'static str>) -> Self {
        let mut text = String::from("# Larder and its peers\n\n");
        _ = writeln!(text, "{}  ", machine::line());
        let versions = PACKAGES.map(|package| format!("{package} {}", machine::version(LOCK, package)));
        _ = writeln!(text, "{}\n\n{LEGEND}", versions.join(", "));
        Self { names, text, goals: String::new() }
    }

    /// Hits: nanoseconds, and how many times that of a ready response and of the fastest peer.
    pub(crate) fn hits(&mut self, size: &str, items: u32, cases: &[Case]) {
        let title = format!("Hits of {size}, {items} items");
        self.table(&title, "ns · to prebuilt · to the fastest peer", cases, PREBUILT);
        for case in cases {
            let others = self.peers(case).filter(|peer| *peer != self.place(CLOSEST));
            let other = others.min_by(|one, other| case.times.ns(*one).total_cmp(&case.times.ns(*other)));
            let (name, closest) = (&case.name, self.beside(case, Some(self.place(CLOSEST))));
            let other = self.beside(case, other);
            _ = writeln!(self.goals, "| {size}, {name} | {closest} | {other} |");
        }
    }

    /// Larder beside a peer, with and without making the request.
    fn beside(&self, case: &Case, peer: Option<usize>) -> String {
        let (larder, request) = (self.place(LARDER), self.place(REQUEST_ALONE));
        match peer {
            Some(peer) if case.unfit[larder].is_none() && case.unfit[peer].is_none() => {
                let (ratio, without) =
                    (case.times.ratio(larder, peer), case.times.ratio_without(request, larder, peer));
                format!("{ratio:.2} ({without:.2})")
            }
            _ => "not measured".to_owned(),
        }
    }

    /// What needs the handler: nanoseconds, and how many times that of the handler alone and of the fastest peer.
    pub(crate) fn handled(&mut self, title: &str, cases: &[Case]) {
        self.table(title, "ns · to no cache · to the fastest peer", cases, NO_CACHE);
    }

    fn table(&mut self, title: &str, what: &str, cases: &[Case], floor: &str) {
        let columns: Vec<_> = cases.iter().map(|case| case.name.as_str()).collect();
        _ = writeln!(self.text, "\n## {title}\n\n| {what} | {} |", columns.join(" | "));
        _ = writeln!(self.text, "|---|{}", "---|".repeat(columns.len()));
        for (place, name) in self.names.iter().enumerate() {
            let cells: Vec<_> = cases.iter().map(|case| self.cell(case, place, self.place(floor))).collect();
            _ = writeln!(self.text, "| {name} | {} |", cells.join(" | "));
        }
    }

    fn cell(&self, case: &Case, place: usize, floor: usize) -> String {
        if let Some(why) = &case.unfit[place] {
            return why.clone();
        }
        let (ns, to_floor) = (case.times.ns(place), case.times.ratio(place, floor));
        let fastest = self.peers(case).min_by(|one, other| case.times.ns(*one).total_cmp(&case.times.ns(*other)));
        match fastest {
            Some(peer) if place >= self.place(LARDER) => {
                format!("{ns:.0} · {to_floor:.2} · {:.2}", case.times.ratio(place, peer))
            }
            _ => format!("{ns:.0} · {to_floor:.2}"),
        }
    }

    /// Those that did what the case is about.
    fn peers<'a>(&'a self, case: &'a Case) -> impl Iterator<Item = usize> + use<'a> {
        (self.place(LARDER) + 1..self.names.len()).filter(|place| case.unfit[*place].is_none())
    }

    fn place(&self, name: &str) -> usize {
        self.names.iter().position(|own| *own == name).unwrap_or_default()
    }

    /// Bytes of memory for each entry.
    pub(crate) fn memory(&mut self, entries: u32, rows: &[(&str, u64)]) {
        _ = writeln!(self.text, "\n## Memory: {entries} entries of 1 KiB\n\n| | RSS bytes per entry |\n|---|---|");
        for (name, bytes) in rows {
            _ = writeln!(self.text, "| {name} | {bytes} |");
        }
    }

    /// All of it.
    pub(crate) fn text(&self) -> String {
        let mut text = self.text.clone();
        if !self.goals.is_empty() {
            _ = write!(text, "\n## A hit of Larder beside its peers\n\n{GOALS}{}", self.goals);
        }
        text
    }
}

const LEGEND: &str = "\
Nanoseconds of a request from making it to the end of its response's body, medians of interleaved rounds. Making the
request is in all of them, and has a row of its own. On two threads it is the time of all requests by their number: half
of that on one thread where nothing is in the way. Ratios are medians of those of each round; the lower the better. Of
100 KiB there are fewer items, as 100 000 would take 10 GB in each cache.";

const GOALS: &str = "\
In brackets: without making the request, which is the same for both.

| | to axum-response-cache | to the fastest of the others |
|---|---|---|
";

const CLOSEST: &str = "axum-response-cache";
const PACKAGES: [&str; 6] =
    ["larder", "axum-response-cache", "tower-http-cache", "http-cache-tower-server", "hitbox-tower", "moka"];
const LOCK: &str = include_str!("../Cargo.lock");

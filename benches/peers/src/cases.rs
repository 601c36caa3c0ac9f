//! The cases: what is measured, and whether it was what it should have been.

use crate::{
    contender::Contender,
    load::Load,
    peers::{Contents, caches, floors},
    turns::{Times, by_count, by_turns, runtime},
};
use http::Method;
use std::time::Duration;

/// What one case gave.
#[derive(Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) times: Times,
    /// For each contender, why its time is not one of this case.
    pub(crate) unfit: Vec<Option<String>>,
}

/// How long to measure, and how much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// For each case.
    pub(crate) time: Duration,
    /// Items of 1 KiB.
    pub(crate) items: u32,
    /// Rounds of [`MISSES`] misses.
    pub(crate) rounds: usize,
}

impl Effort {
    pub(crate) const FULL: Self = Self { time: Duration::from_secs(4), items: 100_000, rounds: 100 };
    pub(crate) const QUICK: Self = Self { time: Duration::from_millis(800), items: 20_000, rounds: 20 };
}

/// The names of the contenders in the order of all that is measured here.
pub(crate) fn names() -> Vec<&'static str> {
    let contents = Contents { body: 0, items: 1 };
    floors(contents).iter().chain(&caches(contents)).map(|contender| contender.name()).collect()
}

/// Hits: one item all the time, and all items by Zipf's law, on one thread and on two.
pub(crate) fn hits(contents: Contents, time: Duration) -> Vec<Case> {
    let mut contenders = floors(contents);
    let mut caches = caches(contents);
    let mut unfit: Vec<_> = contenders.iter().map(|_| None).collect();
    unfit.extend(caches.iter_mut().map(|cache| fill(&mut **cache, contents.items)));
    contenders.append(&mut caches);
    let mut cases = Vec::new();
    for threads in [1, 2] {
        let patterns: [(&str, MakeLoad); 2] = [("one item", |_, _| Load::hot()), ("Zipf", Load::zipf)];
        for (pattern, load) in patterns {
            let loads = (0..threads).map(|seed| load(contents.items, seed)).collect();
            let before = calls(&contenders);
            let times = by_turns(&contenders, loads, time);
            let unfit = unfit.iter().zip(before.iter().zip(calls(&contenders)));
            let unfit = unfit.map(|(unfit, (before, after))| {
                let asked = after.zip(*before).map_or(0, |(after, before)| after - before);
                unfit.clone().or_else(|| (asked > 0).then(|| format!("no hit {asked} times")))
            });
            let threads = if threads == 1 { "1 thread" } else { "2 threads" };
            cases.push(Case { name: format!("{pattern}, {threads}"), times, unfit: unfit.collect() });
        }
    }
    cases
}

/// Misses: each request is for what nobody has asked for before, 1 KiB that is stored.
pub(crate) fn misses(rounds: usize) -> Case {
    let contents = Contents { body: 1024, items: u32::try_from(MISSES * rounds).unwrap_or(u32::MAX) };
    let contenders = with_caches(contents);
    let times = by_count(&contenders, Load::in_turn(), MISSES, rounds);
    let unfit = calls(&contenders).into_iter().zip(&contenders).map(|(made, contender)| {
        let again = || fill(&mut *contender.another(), contents.items);
        match made? {
            made if made == (MISSES * rounds) as u64 => again(),
            made => Some(format!("only {made} misses")),
        }
    });
    Case { name: "miss".to_owned(), unfit: unfit.collect(), times }
}

/// What no cache may answer: a POST, and a GET that the handler answers with `no-store`.
pub(crate) fn pass_throughs(time: Duration) -> Vec<Case> {
    let kinds = [("POST", Method::POST, "/products/0"), ("GET answered with `no-store`", Method::GET, "/account/0")];
    let cases = kinds.map(|(name, method, target)| {
        let load = || Load::of(method.clone(), target);
        let contenders = with_caches(Contents { body: 1024, items: 1 });
        let runtime = runtime();
        let unfit = contenders.iter().map(|contender| {
            let mut probing = contender.another();
            (0..PROBES).for_each(|_| probing.run(&runtime, &mut load(), 1));
            (contender.calls()? != PROBES).then(|| "is stored".to_owned())
        });
        let unfit = unfit.collect();
        Case { name: name.to_owned(), unfit, times: by_turns(&contenders, vec![load()], time) }
    });
    cases.into()
}

fn with_caches(contents: Contents) -> Vec<Box<dyn Contender>> {
    let mut contenders = floors(contents);
    contenders.append(&mut caches(contents));
    contenders
}

fn calls(contenders: &[Box<dyn Contender>]) -> Vec<Option<u64>> {
    contenders.iter().map(|contender| contender.calls()).collect()
}

/// Asks for all items until all are there, and tells if they never are.
fn fill(cache: &mut dyn Contender, items: u32) -> Option<String> {
    let runtime = runtime();
    let mut missed = None;
    for _ in 0..3 {
        let before = cache.calls();
        cache.run(&runtime, &mut Load::in_turn(), items as usize);
        missed = cache.calls().zip(before).map(|(after, before)| after - before);
        if missed == Some(0) {
            return None;
        }
    }
    missed.map(|missed| format!("does not keep {missed} of {items}"))
}

type MakeLoad = fn(u32, u64) -> Load;

/// Misses in each turn.
const MISSES: usize = 500;
/// Requests by which it is seen whether something is stored.
const PROBES: u64 = 8;

//! Larder beside the other response caches for tower. README.md says what is compared, and how.
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]
#![allow(clippy::print_stdout, reason = "benches print what they measure")]

mod cases;
mod contender;
mod load;
mod machine;
mod memory;
mod origin;
mod peers;
mod report;
mod turns;

use cases::Effort;
use peers::Contents;
use report::Report;
use std::{env, error::Error, fs, process::ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let done = match &arguments[..] {
        [option, name, entries] if option == memory::OPTION => child(name, entries),
        _ => Options::parse(arguments).map_err(Into::into).and_then(|options| compare(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("larder-peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn child(name: &str, entries: &str) -> Result<(), Box<dyn Error>> {
    println!("{}", memory::measure(name, entries.parse()?)?);
    Ok(())
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    // Where caches run what they do in the background.
    let background = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let _entered = background.enter();
    let effort = options.effort;
    let mut report = Report::new(cases::names());
    if options.wants("hit") {
        let small = Contents { body: 1024, items: effort.items };
        report.hits("1 KiB", small.items, &cases::hits(small, effort.time));
        let large = Contents { body: 100 * 1024, items: 1000 };
        report.hits("100 KiB", large.items, &cases::hits(large, effort.time));
    }
    if options.wants("miss") {
        report.handled("Misses of 1 KiB", &[cases::misses(effort.rounds)]);
    }
    if options.wants("pass") {
        report.handled("Passing through, 1 KiB", &cases::pass_throughs(effort.time));
    }
    if options.wants("memory") {
        let entries = effort.items / 2;
        let names = [memory::PLAIN_MAP].into_iter().chain(peers::names());
        let rows =
            names.map(|name| Ok((name, memory::per_entry(name, entries)?))).collect::<Result<Vec<_>, Box<dyn Error>>>();
        report.memory(entries, &rows?);
    }
    print!("{}", report.text());
    if options.save {
        fs::write(RESULTS, report.text())?;
    }
    Ok(())
}

struct Options {
    effort: Effort,
    save: bool,
    /// Parts to measure; all if there are none.
    parts: Vec<String>,
}

impl Options {
    fn parse(arguments: Vec<String>) -> Result<Self, String> {
        let mut options = Self { effort: Effort::FULL, save: false, parts: Vec::new() };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => options.effort = Effort::QUICK,
                "--save" => options.save = true,
                part if PARTS.contains(&part) => options.parts.push(argument),
                _ => return Err(format!("unknown argument `{argument}`\n{USAGE}")),
            }
        }
        if options.save && !options.parts.is_empty() {
            return Err("--save writes all parts, and cannot be given with some".to_owned());
        }
        Ok(options)
    }

    fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|own| own == part)
    }
}

const PARTS: [&str; 4] = ["hit", "miss", "pass", "memory"];
const USAGE: &str = "\
usage: benches/peers/run [--quick] [--save] [PART...]

  --quick   a fifth of the time and of the items
  --save    also writes results.md
  PART      hit, miss, pass or memory instead of all";
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results.md");

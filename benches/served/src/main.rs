//! A hit over loopback, from Larder and from others. README.md says what is compared, and how.
#![allow(clippy::disallowed_methods, reason = "benches measure real time")]
#![allow(clippy::print_stdout, reason = "benches print what they measure")]

mod client;
#[path = "../../peers/src/machine.rs"]
mod machine;
mod measure;
mod process;
mod report;
mod servers;

use client::Client;
use measure::{Round, instructions, round};
use process::{CLIENT, Running};
use report::{Row, report};
use servers::{Kind, Server, free_address};
use std::{
    env,
    error::Error,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    thread::{available_parallelism, sleep},
    time::Duration,
};

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| compare(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("larder-served: {error}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    if available_parallelism()?.get() < 2 {
        return Err("it needs two processors: one for the server, and one for what asks it".into());
    }
    let machine = machine::line();
    let folder = Folder::new()?;
    let origin = Origin::start(&folder.0)?;
    let mut rows = rounds(options, &origin, &folder.0)?;
    for row in &mut rows {
        row.instructions = instructions(row.kind, origin.address, &folder.0)?;
    }
    let text = report(&machine, &rows);
    print!("{text}");
    if options.save {
        fs::write(RESULTS, text)?;
    }
    Ok(())
}

/// Puts load on each of them by turns.
fn rounds(options: &Options, origin: &Origin, folder: &Path) -> Result<Vec<Row>, Box<dyn Error>> {
    let start = |kind: &Kind| kind.start(&[], origin.address, folder);
    let servers = Kind::ALL.iter().map(start).collect::<Result<Vec<Server>, _>>()?;
    let before = origin.calls()?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); servers.len()];
    // The first of each is for warming up.
    for turn in 0..=options.rounds {
        for (server, rounds) in servers.iter().zip(&mut rounds) {
            let round = round(server, if turn == 0 { 1 } else { options.seconds })?;
            if turn > 0 {
                rounds.push(round);
            }
        }
    }
    let asked = origin.calls()? - before;
    if asked > 0 {
        return Err(format!("not all were hits: the origin was asked {asked} times").into());
    }
    let rows = servers.iter().zip(rounds).map(|(server, rounds)| {
        let fields = server.hit()?.fields.len();
        Ok(Row { kind: server.kind, fields, rounds, instructions: 0.0 })
    });
    rows.collect()
}

/// What the proxies ask.
struct Origin {
    address: SocketAddr,
    _process: Running,
}

impl Origin {
    fn start(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let (address, log) = (free_address()?, folder.join("origin"));
        let program = env::current_exe()?.with_file_name("larder-served-axum").display().to_string();
        let process = Running::start(CLIENT, &[&program, "origin", &address.to_string()], &log)?;
        let origin = Self { address, _process: process };
        for _ in 0..100 {
            if origin.calls().is_ok() {
                return Ok(origin);
            }
            sleep(Duration::from_millis(20));
        }
        Err(format!("the origin does not answer: {}", fs::read_to_string(log)?).into())
    }

    /// How often it was asked.
    fn calls(&self) -> Result<u64, Box<dyn Error>> {
        Ok(String::from_utf8(Client::to(self.address)?.get("/calls")?.body)?.parse()?)
    }
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Box<dyn Error>> {
        let folder = env::temp_dir().join(format!("larder-served-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("larder-served: cannot remove {}: {error}", self.0.display());
        }
    }
}

struct Options {
    rounds: usize,
    seconds: u64,
    save: bool,
}

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { rounds: 7, seconds: 2, save: false };
        for argument in arguments {
            match argument.as_str() {
                "--quick" => (options.rounds, options.seconds) = (3, 1),
                "--save" => options.save = true,
                _ => return Err(format!("unknown argument `{argument}`\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

const USAGE: &str = "\
usage: benches/served/run [--quick] [--save]

  --quick   fewer and shorter rounds
  --save    also writes results.md";
const RESULTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results.md");

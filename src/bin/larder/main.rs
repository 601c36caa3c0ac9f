//! `larder`: a command line for whoever operates an application that caches with this crate.
//!
//! It speaks to the admin API of a running application, and for a few things to Redis itself. What it does, command by
//! command, is in `docs/command-line.md`.

mod args;
mod ask;
mod client;
mod clock;
mod commands;
mod fault;
mod json;
mod out;
mod progress;
mod redis;
mod table;
mod tls;
mod units;
mod url;
mod wire;

use args::{Arguments, Command};
use clap::Parser;
use fault::Fault;
use out::Out;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refused(&error),
    };
    let out = Out::new(&arguments.global);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments, &out)),
        Err(error) => Err(Fault::failed(format!("the runtime cannot be started: {error}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => out.fault(&fault),
    }
}

async fn run(arguments: Arguments, out: &Out) -> Result<(), Fault> {
    let Arguments { global, command } = arguments;
    let Some(command) = command else {
        return match global.version {
            Some(_) => out.line(concat!("larder ", env!("CARGO_PKG_VERSION"))),
            None => {
                Err(Fault::usage("a command is missing: `larder --help` lists them, `larder status` is a good start"))
            }
        };
    };
    if let Command::Completions { shell } = command {
        return commands::completions(shell, out);
    }
    if global.redis.is_empty() {
        return commands::run(&global, command, out).await;
    }
    redis::run(&global, command, out).await
}

/// Arguments that are wrong, or that ask for help.
fn refused(error: &clap::Error) -> ExitCode {
    // It is not known yet what else was said.
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if error.use_stderr() && is_json {
        return out::json_fault(&Fault::usage(error.to_string().trim_start_matches("error: ").trim_end()));
    }
    // Where nobody reads it, there is nothing to be done.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

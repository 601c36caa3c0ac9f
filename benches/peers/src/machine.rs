//! On what machine, and with what, a table was made.

use std::{fs, process::Command, thread::available_parallelism};

/// The processor, how many of them, the compiler, and how much else is running.
pub(crate) fn line() -> String {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = available_parallelism().map_or(0, usize::from);
    let rustc = Command::new("rustc").arg("--version").output().ok();
    let rustc = rustc.and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    let rustc = rustc.split(" (").next().unwrap_or_default().trim();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let model = model.unwrap_or("an unknown processor").trim();
    format!("{model}, {cores} cores, load {load} before; {rustc}")
}

/// The version of a package in the text of a lock file.
pub(crate) fn version<'a>(lock: &'a str, package: &str) -> &'a str {
    let start = format!("name = \"{package}\"\nversion = \"");
    lock.split_once(&start).and_then(|(_, rest)| rest.split('"').next()).unwrap_or("of an unknown version")
}

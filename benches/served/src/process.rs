//! Processes that are started here, pinned to a processor, and end with this one.

use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

/// The processor of the servers.
pub(crate) const SERVER: u8 = 0;
/// That of what asks them.
pub(crate) const CLIENT: u8 = 1;

/// A process of a server.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts a command on a processor. What it writes goes to a file.
    pub(crate) fn start(processor: u8, command: &[&str], log: &Path) -> Result<Self, Box<dyn Error>> {
        let log = File::create(log)?;
        let mut pinned = pinned(processor, command);
        pinned.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self(pinned.spawn().map_err(|error| format!("cannot start taskset: {error}"))?))
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Result<Option<ExitStatus>, Box<dyn Error>> {
        Ok(self.0.try_wait()?)
    }

    /// Ends it in order, and waits until it has.
    pub(crate) fn end(&mut self) {
        let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) else {
            return;
        };
        if matches!(self.0.try_wait(), Ok(None)) && kill_process(pid, Signal::TERM).is_ok() {
            drop(self.0.wait());
        }
    }

    /// Ticks of processor time, in user and kernel mode, of the process with all threads and child processes.
    pub(crate) fn ticks(&self) -> Result<u64, Box<dyn Error>> {
        let mut parents: HashMap<u32, Vec<(u32, u64)>> = HashMap::new();
        let mut sum = 0;
        for entry in fs::read_dir("/proc")? {
            let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            // It may have ended meanwhile.
            let Some((parent, ticks)) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|s| parse(&s))
            else {
                continue;
            };
            parents.entry(parent).or_default().push((pid, ticks));
            if pid == self.0.id() {
                sum = ticks;
            }
        }
        let mut ancestors = vec![self.0.id()];
        while let Some(ancestor) = ancestors.pop() {
            for (pid, ticks) in parents.remove(&ancestor).unwrap_or_default() {
                sum += ticks;
                ancestors.push(pid);
            }
        }
        Ok(sum)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// A command on a processor.
pub(crate) fn pinned(processor: u8, command: &[&str]) -> Command {
    let mut pinned = Command::new("taskset");
    pinned.args(["-c", &processor.to_string()]).args(command);
    pinned
}

/// The parent and the ticks in a line of `stat`. The name, in brackets, may contain anything.
fn parse(stat: &str) -> Option<(u32, u64)> {
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some((fields.get(1)?.parse().ok()?, ticks))
}

/// Microseconds in a tick: `proc(5)` counts hundredths of a second on all that Linux runs on today but Alpha.
pub(crate) const TICK: f64 = 10_000.0;

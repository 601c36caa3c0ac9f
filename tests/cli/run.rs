//! Running the program.

use serde_json::Value;
use std::process::{Command, Output, Stdio};

/// What a run has left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Run {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Self { code: output.status.code().unwrap(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Its output, if it did what it was told.
    #[track_caller]
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Its output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts that it ended with this code, and said this on the standard error.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, says: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.err.contains(says), "{:?} should say {says:?}", self.err);
        if code != 2 {
            assert!(self.err.lines().all(|line| !line.ends_with('.')), "{:?}", self.err);
        }
    }
}

/// The program, with nothing of the environment that could mean something to it.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_larder"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["LARDER_URL", "LARDER_TOKEN", "REDIS_URL", "COLUMNS", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

pub(crate) fn larder(arguments: &[&str]) -> Run {
    Run::of(&command(arguments).output().unwrap())
}

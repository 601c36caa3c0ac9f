//! Where things are printed: results on the standard output, everything else on the other.

use crate::{
    args::Global,
    fault::Fault,
    table::{Table, clean, wrapped},
};
use serde_json::{Value, json};
use std::{
    cell::RefCell,
    env,
    io::{self, ErrorKind, IsTerminal, Write},
    process::{self, ExitCode},
};

/// How to print.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) json: bool,
    verbose: bool,
    colour: bool,
    width: Option<usize>,
    /// What must not be printed.
    secrets: RefCell<Vec<String>>,
}

/// How a word looks on a terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    Good,
    Bad,
    Doubtful,
    Title,
}

impl Out {
    pub(crate) fn new(global: &Global) -> Self {
        let terminal = io::stdout().is_terminal();
        let allowed = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|term| term != "dumb");
        let columns = env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let measured = || terminal.then(|| usize::from(console::Term::stdout().size().1));
        Self {
            json: global.json,
            verbose: global.verbose,
            colour: terminal && allowed,
            width: columns.or_else(measured).map(|width: usize| width.max(40)),
            secrets: RefCell::default(),
        }
    }

    /// Whether more is to be shown.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// This is printed nowhere from now on, whoever says it. Words as short as these are nobody's secret.
    pub(crate) fn hide(&self, secret: &str) {
        if secret.len() >= 4 {
            self.secrets.borrow_mut().push(secret.to_owned());
        }
    }

    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Fault> {
        self.write(&format!("{}\n", text.as_ref()))
    }

    /// A paragraph, indented, in lines as long as there is room for.
    pub(crate) fn paragraph(&self, indent: usize, text: &str) -> Result<(), Fault> {
        for line in wrapped(&clean(text), self.width.unwrap_or(100).saturating_sub(indent)) {
            self.line(format!("{:indent$}{line}", ""))?;
        }
        Ok(())
    }

    pub(crate) fn table(&self, table: &Table) -> Result<(), Fault> {
        for (number, line) in table.lines(self.width).into_iter().enumerate() {
            self.line(if number == 0 { self.look(Look::Title, &line) } else { line })?;
        }
        Ok(())
    }

    /// Names and values, one a line, below each other.
    pub(crate) fn pairs(&self, indent: usize, pairs: &[(&str, String)]) -> Result<(), Fault> {
        let longest = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        for (name, value) in pairs {
            let begin = format!("{:indent$}{name:longest$}  ", "");
            let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent + longest + 2));
            let mut lines = wrapped(&clean(value), room).into_iter();
            self.line(format!("{begin}{}", lines.next().unwrap_or_default()).trim_end())?;
            for line in lines {
                self.line(format!("{:1$}{line}", "", indent + longest + 2))?;
            }
        }
        Ok(())
    }

    /// An answer, as it is.
    pub(crate) fn json(&self, value: &Value) -> Result<(), Fault> {
        self.line(format!("{value:#}"))
    }

    /// Something that came from elsewhere and has its own form.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Fault> {
        self.write(text)
    }

    pub(crate) fn look(&self, look: Look, text: &str) -> String {
        let code = match look {
            Look::Good => "32",
            Look::Bad => "31",
            Look::Doubtful => "33",
            Look::Title => "1",
        };
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Something that is said beside the result.
    pub(crate) fn note(&self, text: &str) {
        // Where nobody reads it, there is nothing to be done.
        let _ = writeln!(io::stderr(), "{}", self.redacted(&clean(text)));
    }

    pub(crate) fn verbose(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.note(&text());
        }
    }

    pub(crate) fn fault(&self, fault: &Fault) -> ExitCode {
        let text = self.redacted(&fault.text);
        if self.json {
            return json_fault(&Fault::new(fault.kind, text));
        }
        if !text.is_empty() {
            for line in text.lines() {
                let _ = writeln!(io::stderr(), "larder: {}", clean(line));
            }
        }
        ExitCode::from(fault.kind.exit_code())
    }

    fn redacted(&self, text: &str) -> String {
        self.secrets.borrow().iter().fold(text.to_owned(), |text, secret| text.replace(secret.as_str(), "***"))
    }

    fn write(&self, text: &str) -> Result<(), Fault> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever reads it has enough, `head` for instance.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
            done => done.map_err(|error| Fault::failed(format!("the output cannot be written: {error}"))),
        }
    }
}

/// Tells a program what went wrong.
pub(crate) fn json_fault(fault: &Fault) -> ExitCode {
    if !fault.text.is_empty() {
        let code = fault.kind.exit_code();
        let text = json!({ "error": fault.text, "kind": fault.kind.as_str(), "exit_code": code });
        let _ = writeln!(io::stderr(), "{text}");
    }
    ExitCode::from(fault.kind.exit_code())
}

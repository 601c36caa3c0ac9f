//! What goes wrong, and the exit code that says so.

use std::fmt;

/// Why a command did not do what was asked. In lower case, without a full stop; it says what was given and what would
/// be right.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// Empty where all has been said already.
    pub(crate) text: String,
}

/// What a script may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed,
    Usage,
    Unreachable,
    Unauthorised,
    Unconfirmed,
    /// Ctrl-C.
    Interrupted,
}

impl Kind {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Unauthorised => 4,
            Self::Unconfirmed => 5,
            Self::Interrupted => 130,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::Unreachable => "unreachable",
            Self::Unauthorised => "unauthorised",
            Self::Unconfirmed => "unconfirmed",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Fault {
    pub(crate) fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::new(Kind::Failed, text)
    }

    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    pub(crate) fn unreachable(text: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, text)
    }

    /// What is to be told of several, each on a line; the first one says what kind it is.
    pub(crate) fn of_all(faults: Vec<Self>) -> Result<(), Self> {
        let Some(kind) = faults.first().map(|fault| fault.kind) else { return Ok(()) };
        let texts: Vec<_> = faults.into_iter().map(|fault| fault.text).collect();
        Err(Self::new(kind, texts.join("\n")))
    }

    /// The same of this cache.
    pub(crate) fn of_cache(self, cache: &str) -> Self {
        Self { text: format!("cache {cache}: {}", self.text), ..self }
    }

    /// One that what was printed tells already.
    pub(crate) fn told() -> Self {
        Self::new(Kind::Failed, "")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

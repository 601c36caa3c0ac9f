//! What the server's errors mean: for whoever asked, and for the connection.

use crate::store::StoreError;
use redis::{ErrorKind, RedisError, ServerError, Value};

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer in time.
    Timeout,
    /// There is no connection now.
    Unconnected,
    /// The server is left alone for a while.
    Resting,
    /// The connection broke off.
    Broken,
    /// A replica took none of our writes: another one is the primary now.
    Demoted,
    /// It is loading its data, or has none to show now.
    NotReady,
    /// A replica that has lost its primary, or a cluster that is not whole.
    NotWhole,
    /// Its memory is full.
    Full,
    /// It does not let us in: no password, or a wrong one.
    Stranger,
    /// This user may not do this.
    Denied,
    /// The slot is on another node of the cluster.
    Moved { to: Box<str>, ask: bool },
    /// What is kept under this key is of another type.
    OtherType,
    /// The server does not have this script.
    NoScript,
    /// Something that cannot be understood.
    Protocol,
}

/// Why a breaker opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It did not answer in time.
    Timeout,
    /// Connections broke off.
    Broken,
    /// It said that it has nothing to show now.
    NotReady,
    /// It said what cannot be understood.
    Protocol,
}

impl Fault {
    /// What the error of a transport or of a handshake means.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Stranger,
            ErrorKind::Io if error.is_timeout() => Self::Timeout,
            ErrorKind::Io => Self::Broken,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Protocol,
            _ => match error.code() {
                Some(code) => Self::of_code(code, error.detail().unwrap_or_default()),
                None => Self::Protocol,
            },
        }
    }

    /// What an answer that is an error means.
    pub(super) fn of_answer(error: &ServerError) -> Self {
        Self::of_code(error.code(), error.details().unwrap_or_default())
    }

    fn of_code(code: &str, detail: &str) -> Self {
        match code {
            "READONLY" => Self::Demoted,
            "LOADING" | "BUSY" => Self::NotReady,
            "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS" => Self::NotWhole,
            "OOM" | "MISCONF" => Self::Full,
            "NOAUTH" | "WRONGPASS" => Self::Stranger,
            "NOPERM" => Self::Denied,
            "MOVED" | "ASK" => match detail.split_ascii_whitespace().nth(1) {
                Some(to) => Self::Moved { to: to.into(), ask: code == "ASK" },
                None => Self::Protocol,
            },
            "WRONGTYPE" => Self::OtherType,
            "NOSCRIPT" => Self::NoScript,
            "ERR" => Self::of_script(detail),
            // `ERR max number of clients reached` closes the connection.
            _ => Self::Protocol,
        }
    }

    /// What a script ended with that is said in words only.
    fn of_script(detail: &str) -> Self {
        if NOT_PERMITTED.iter().any(|words| detail.contains(words)) {
            return Self::Denied;
        }
        // Before Redis 7 what ended it comes last: `Error running script (..): .. -READONLY You can't write ..`.
        match detail.strip_prefix("Error running script").and_then(|why| why.rsplit_once(": -")) {
            Some((_, why)) => Self::of_code(why.split(' ').next().unwrap_or_default(), ""),
            None => Self::Protocol,
        }
    }

    /// What a breaker makes of it; nothing if the server is well, or was not asked.
    pub(super) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Timeout => Some(Reason::Timeout),
            Self::Broken => Some(Reason::Broken),
            Self::NotReady | Self::NotWhole => Some(Reason::NotReady),
            Self::Protocol => Some(Reason::Protocol),
            Self::Unconnected | Self::Resting | Self::Demoted | Self::Full => None,
            Self::Stranger | Self::Denied | Self::Moved { .. } | Self::OtherType | Self::NoScript => None,
        }
    }

    /// Whether it is about the server, and not about what was asked.
    pub(super) fn is_of_server(&self) -> bool {
        matches!(self, Self::Demoted | Self::NotReady | Self::NotWhole)
    }

    /// Whether a read may find better luck on another connection to the same server.
    pub(super) fn is_of_connection(&self) -> bool {
        matches!(self, Self::Broken | Self::Unconnected)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Timeout => Self::Timeout,
            Fault::Unconnected | Fault::Broken | Fault::NotWhole | Fault::Moved { .. } => Self::Unreachable,
            Fault::Resting => Self::Resting,
            Fault::Demoted | Fault::NotReady | Fault::Full => Self::ReadOnly,
            Fault::Stranger | Fault::Denied => Self::Denied,
            Fault::OtherType | Fault::NoScript | Fault::Protocol => Self::Protocol,
        }
    }
}

impl Reason {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "it did not answer in time",
            Self::Broken => "connections broke off",
            Self::NotReady => "it has nothing to show now",
            Self::Protocol => "its answers cannot be understood",
        }
    }
}

/// How servers up to 7.0, and younger ones, say that the user of a script may not do what it does.
const NOT_PERMITTED: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

/// An answer, with errors told apart.
pub(super) fn answer(value: Value) -> Result<Value, Fault> {
    match value {
        Value::ServerError(error) => Err(Fault::of_answer(&error)),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_meaning() {
        for (code, detail, error) in [
            ("READONLY", "You can't write against a read only replica.", StoreError::ReadOnly),
            ("LOADING", "Redis is loading the dataset in memory", StoreError::ReadOnly),
            ("OOM", "command not allowed when used memory > 'maxmemory'.", StoreError::ReadOnly),
            ("MISCONF", "", StoreError::ReadOnly),
            ("MASTERDOWN", "Link with MASTER is down", StoreError::Unreachable),
            ("CLUSTERDOWN", "The cluster is down", StoreError::Unreachable),
            ("NOAUTH", "Authentication required.", StoreError::Denied),
            ("WRONGPASS", "invalid username-password pair", StoreError::Denied),
            ("NOPERM", "this user has no permissions", StoreError::Denied),
            ("MOVED", "3999 127.0.0.1:6381", StoreError::Unreachable),
            ("MOVED", "", StoreError::Protocol),
            ("ERR", "unknown command", StoreError::Protocol),
            (
                "ERR",
                "The user executing the script can't run this command or subcommand script: 1f, on @user_script:1.",
                StoreError::Denied,
            ),
            (
                "ERR",
                "ACL failure in script: User a has no permissions to access the 'k' key script: 1f, on @user_script:1.",
                StoreError::Denied,
            ),
            (
                "ERR",
                "Error running script (call to f_1f): @user_script:9: The user executing the script can't run this \
                 command or subcommand",
                StoreError::Denied,
            ),
            (
                "ERR",
                "Error running script (call to f_1f): @user_script:9: @user_script: 9: -READONLY You can't write \
                 against a read only replica.",
                StoreError::ReadOnly,
            ),
            ("ERR", "Error running script (call to f_1f): @user_script:9: -ERR", StoreError::Protocol),
            ("ERR", "Error running script (call to f_1f): attempt to index a nil value", StoreError::Protocol),
        ] {
            assert_eq!(StoreError::from(Fault::of_code(code, detail)), error, "{code} {detail}");
        }
        assert_eq!(Fault::of_code("ASK", "3999 [::1]:6381"), Fault::Moved { to: "[::1]:6381".into(), ask: true });
    }

    #[test]
    fn what_says_nothing_of_the_server_opens_no_breaker() {
        for code in ["OOM", "READONLY", "NOPERM", "WRONGTYPE", "NOSCRIPT", "MOVED"] {
            assert_eq!(Fault::of_code(code, "1 a:2").reason(), None, "{code}");
        }
        assert_eq!(Fault::of_code("LOADING", "").reason(), Some(Reason::NotReady));
    }
}

//! Where a server is, read from a URL.

use crate::config_error::ConfigError;
use percent_encoding::percent_decode_str;
use std::fmt;

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Address {
    Tcp { host: Box<str>, port: u16, tls: bool },
    Unix(Box<str>),
}

/// What a URL says.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) address: Address,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<u32>,
}

impl Url {
    /// Reads `redis://user:password@host:6379/1`, `rediss://..` (TLS) or `redis+unix:///path?db=1`.
    pub(super) fn parse(url: &str) -> Result<Self, ConfigError> {
        let fault = |says: &str| Err(ConfigError::new(format!("Redis URL `{}`: {says}", shown(url))));
        let Some((scheme, rest)) = url.split_once("://") else {
            return fault("redis://host:6379/0, rediss://host:6379/0 and redis+unix:///path are understood");
        };
        let tls = match scheme {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            "redis+unix" | "valkey+unix" | "unix" => return Self::parse_unix(url, rest),
            _ => return fault("the scheme must be redis, rediss or redis+unix"),
        };
        if tls && !cfg!(feature = "redis-tls") {
            return fault("TLS needs the feature `redis-tls` of larder");
        }
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (Some(credentials), rest),
            None => (None, rest),
        };
        if rest.contains(['?', '#']) {
            return fault("nothing may follow the database: set options on `Redis`; TLS always verifies");
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let Some((host, port)) = host_and_port(authority) else {
            return fault("after the host only `:port` may follow, 1 to 65535; percent-encode a password");
        };
        if host.is_empty() {
            return fault("the host is missing");
        }
        let database = match path.trim_end_matches('/') {
            "" => None,
            text => match text.parse() {
                Ok(database) => Some(database),
                Err(_) => return fault("after the host a database number may follow, such as /1"),
            },
        };
        let (username, password) = match credentials.map(|text| text.split_once(':').unwrap_or((text, ""))) {
            Some((username, password)) => match (decoded(username), decoded(password)) {
                (Some(username), Some(password)) => (username, password),
                _ => return fault("user and password must be percent-encoded UTF-8"),
            },
            None => (String::new(), String::new()),
        };
        Ok(Self {
            address: Address::Tcp { host: host.into(), port, tls },
            username: Some(username).filter(|text| !text.is_empty()),
            password: Some(password).filter(|text| !text.is_empty()),
            database,
        })
    }

    fn parse_unix(url: &str, rest: &str) -> Result<Self, ConfigError> {
        let fault = |says: &str| Err(ConfigError::new(format!("Redis URL `{}`: {says}", shown(url))));
        if !cfg!(unix) {
            return fault("this system has no such sockets");
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Some(path) = decoded(path).filter(|path| path.starts_with('/')) else {
            return fault("an absolute path must follow, such as redis+unix:///run/redis.sock");
        };
        let mut parsed = Self { address: Address::Unix(path.into()), username: None, password: None, database: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (name, decoded(value)) {
                ("db", Some(value)) if value.parse::<u32>().is_ok() => parsed.database = value.parse().ok(),
                ("user", Some(value)) => parsed.username = Some(value),
                ("pass", Some(value)) => parsed.password = Some(value),
                _ => return fault("after the path `?db=1&user=name&pass=word` is understood"),
            }
        }
        Ok(parsed)
    }
}

impl Address {
    /// Reads what a server says of another one: `host:port`.
    pub(super) fn of_node(text: &str, tls: bool) -> Option<Self> {
        // A cluster may add `,hostname`.
        let text = text.split(',').next()?.split('@').next()?;
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(Self::Tcp { host: host.trim_start_matches('[').trim_end_matches(']').into(), port, tls })
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Url").field("address", &self.address).finish_non_exhaustive()
    }
}

fn host_and_port(authority: &str) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    match port {
        None => Some((host, DEFAULT_PORT)),
        Some(port) => port.parse().ok().filter(|port| *port > 0).map(|port| (host, port)),
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// As much of a URL as can hold no secret.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // `redis:password` and the like.
        return url.split(':').next().unwrap_or_default().chars().take(16).chain(['…']).collect();
    };
    let unix = scheme.ends_with("unix");
    match rest.rsplit_once('@').filter(|_| !unix) {
        Some((_, host)) => format!("{scheme}://…@{host}"),
        None if unix => format!("{scheme}://{}", rest.split('?').next().unwrap_or_default()),
        // What looks like a port may be a password whose `@` was forgotten.
        None => match rest.split_once(':') {
            Some((host, port))
                if !port.split('/').next().is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit())) =>
            {
                format!("{scheme}://{host}:…")
            }
            _ => format!("{scheme}://{rest}"),
        },
    }
}

const DEFAULT_PORT: u16 = 6379;

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port, tls: false }
    }

    #[test]
    fn urls_are_read() {
        let url = Url::parse("redis://us%40er:p%2Fw%3A@example.org:7000/3").unwrap();
        assert_eq!(url.address, tcp("example.org", 7000));
        assert_eq!((url.username.as_deref(), url.password.as_deref()), (Some("us@er"), Some("p/w:")));
        assert_eq!(url.database, Some(3));
        let url = Url::parse("redis://:secret@[::1]").unwrap();
        assert_eq!((url.address, url.username, url.database), (tcp("::1", 6379), None, None));
        assert_eq!(url.password.as_deref(), Some("secret"));
        let url = Url::parse("redis+unix:///run/redis.sock?db=2&user=me&pass=it").unwrap();
        assert_eq!(url.address, Address::Unix("/run/redis.sock".into()));
        assert_eq!(url.database, Some(2));
        assert_eq!(Address::of_node("10.0.0.1:6379@16379,host", false), Some(tcp("10.0.0.1", 6379)));
        assert_eq!(Address::of_node("2001:db8::1:6379", false), Some(tcp("2001:db8::1", 6379)));
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not() {
        for (url, says) in [
            ("localhost:6379", "are understood"),
            ("http://localhost", "scheme"),
            ("redis://:hunter2@/1", "host is missing"),
            ("redis://me:hunter2@host:0/1", "port"),
            ("redis://me:hunter2@host:x/1", "port"),
            ("redis://me:hunter2@host/one", "database number"),
            ("redis://me:hunter2@host/1#insecure", "verifies"),
            ("redis://:hunter2", "port"),
            ("redis://:2hunter2", "port"),
            ("redis:hunter2", "are understood"),
            ("redis://me:hunter2%FF@host", "UTF-8"),
            ("redis+unix://run/redis.sock?pass=hunter2", "absolute"),
            ("redis+unix:///run/redis.sock?pass=hunter2&x=1", "db=1"),
        ] {
            let text = Url::parse(url).err().unwrap().to_string();
            assert!(text.contains(says), "{url}: {text}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}

//! The URLs that are given.

use crate::fault::Fault;
use http::Uri;

/// A server, and where on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As it stands in `Host`.
    pub(crate) authority: String,
    /// Without a slash at its end.
    pub(crate) path: String,
}

impl Place {
    /// Where an option says.
    pub(crate) fn parse(option: &str, text: &str) -> Result<Self, Fault> {
        // What is before an `@` is a secret that stands in the wrong place.
        let shown = match text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next() {
            Some(authority) if authority.contains('@') => {
                let text = format!(
                    "{option} must not have a user or a password in it: give a token by --token or LARDER_TOKEN"
                );
                return Err(Fault::usage(text));
            }
            _ => text,
        };
        let wrong = |right: &str| Fault::usage(format!("{option}: `{shown}` is no URL: {right}"));
        let example = "http://localhost:3000/admin/cache would be one";
        // `host:port/path` is what is mostly forgotten.
        let guess = format!("http://{text} may be meant");
        let right = if text.contains("://") || text.is_empty() || text.starts_with('/') { example } else { &guess };
        let uri: Uri = text.trim().parse().map_err(|_| wrong(right))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            Some(_) if text.contains("://") => return Err(wrong("it has to begin with http:// or https://")),
            _ => return Err(wrong(right)),
        };
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it ends with the path where the API is mounted, without `?` and `#`"));
        }
        let (Some(host), Some(authority)) = (uri.host().filter(|host| !host.is_empty()), uri.authority()) else {
            return Err(wrong("its host is missing"));
        };
        let port = match authority.port_u16() {
            Some(port) => port,
            // One that is too large is none to whoever parses it.
            None if authority.as_str().len() > host.len() + 1 => return Err(wrong("a port is a number up to 65535")),
            None if tls => 443,
            None => 80,
        };
        Ok(Self {
            tls,
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.origin(), self.path)
    }

    /// Without the path.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// A query, from names and values.
#[derive(Debug, Default)]
pub(crate) struct Query(String);

impl Query {
    pub(crate) fn with(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&escaped(value.as_ref()));
        self
    }

    pub(crate) fn maybe(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let place = Place::parse("--url", "http://localhost:3000/admin/cache/").unwrap();
        assert_eq!((place.host.as_str(), place.port, place.path.as_str()), ("localhost", 3000, "/admin/cache"));
        assert_eq!(place.text(), "http://localhost:3000/admin/cache");
        let place = Place::parse("--url", "https://[::1]").unwrap();
        assert_eq!((place.host.as_str(), place.port, place.path.as_str(), place.tls), ("::1", 443, "", true));
    }

    #[test]
    fn what_is_no_url_is_told_with_one() {
        for (text, says) in [
            ("", "would be one"),
            ("localhost:3000/admin/cache", "http://localhost:3000/admin/cache may be meant"),
            ("localhost:3000", "http://localhost:3000 may be meant"),
            ("/admin/cache", "would be one"),
            ("ftp://a/b", "http:// or https://"),
            ("http://a/b?c", "without `?`"),
            ("http://a:99999/", "up to 65535"),
            ("http://a:x/", "up to 65535"),
            ("http://user:hunter2@a/", "must not have a user"),
            ("http://hunter2@", "must not have a user"),
        ] {
            let fault = Place::parse("--url", text).unwrap_err();
            assert!(fault.text.contains(says), "{text}: {fault}");
            assert!(!fault.text.contains("hunter2"), "{fault}");
        }
    }

    #[test]
    fn queries() {
        let query = Query::default().with("a", "x y&z=ü").maybe("b", None::<&str>).with("uri", "/p?q");
        assert_eq!(query.as_str(), "?a=x%20y%26z%3D%C3%BC&uri=/p%3Fq");
    }
}

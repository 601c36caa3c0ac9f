//! Requests as servers get them.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Empty;
use larder::Identity;

/// The body of every request here: nothing, as a GET has.
pub type NoBody = Empty<Bytes>;

/// What Firefox sends for a page, but for the fields that a case adds.
pub const BROWSER: [(&str, &str); 9] = [
    ("host", "shop.example"),
    ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    ("accept-language", "en-GB,en;q=0.5"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("sec-fetch-dest", "document"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-site", "same-origin"),
    ("connection", "keep-alive"),
];

/// Makes requests that differ only in their target.
#[derive(Clone, Debug)]
pub struct Requests {
    names: Vec<HeaderName>,
    /// All values in a row, and where each ends.
    values: Vec<u8>,
    ends: Vec<usize>,
    identity: Option<Identity>,
}

impl Requests {
    /// With the fields of a browser.
    pub fn of_a_browser() -> Self {
        Self::with(&BROWSER)
    }

    /// Without any field.
    pub fn bare() -> Self {
        Self::with(&[])
    }

    /// With these fields.
    pub fn with(fields: &[(&str, &str)]) -> Self {
        let mut requests = Self { names: Vec::new(), values: Vec::new(), ends: Vec::new(), identity: None };
        for (name, value) in fields {
            requests.add(name, value);
        }
        requests
    }

    /// With one field more.
    #[must_use]
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.add(name, value);
        self
    }

    /// Of whom an `IdentityLayer` further out has found this.
    #[must_use]
    pub fn of(self, identity: Identity) -> Self {
        Self { identity: Some(identity), ..self }
    }

    fn add(&mut self, name: &str, value: &str) {
        self.names.push(name.parse().expect("a field name"));
        self.values.extend_from_slice(value.as_bytes());
        self.ends.push(self.values.len());
    }

    /// A GET of this target. As from hyper, all field values share the buffer that they were read into.
    pub fn get(&self, uri: Uri) -> Request<NoBody> {
        let buffer = Bytes::copy_from_slice(&self.values);
        let mut headers = HeaderMap::with_capacity(self.names.len());
        let mut start = 0;
        for (name, end) in self.names.iter().zip(&self.ends) {
            let value = HeaderValue::from_maybe_shared(buffer.slice(start..*end)).expect("a field value");
            headers.append(name, value);
            start = *end;
        }
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        if let Some(identity) = &self.identity {
            request.extensions_mut().insert(identity.clone());
        }
        request
    }
}

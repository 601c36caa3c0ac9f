//! The requests that a warmer makes.

use crate::identity::Identity;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::HOST,
    request::Parts,
    uri::{Authority, PathAndQuery},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;

/// A GET that a [`Warmer`](crate::Warmer) makes.
///
/// ```
/// use larder::{Identity, WarmRequest};
///
/// let request = WarmRequest::get("http://shop.example/dashboard?days=30")
///     .identity(Identity::new().with_tenant(1))
///     .header("accept-encoding", "gzip");
/// assert_eq!(request.target(), "/dashboard?days=30");
/// ```
///
/// What is stored for it is served to those whose requests have the same key, so it has to look like theirs: the same
/// host, and what else the policy keys on. It is made as HTTP/1.1 brings it: path and query as the target, and a `Host`.
/// What is wrong with it shows in the report as a failure.
#[derive(Clone)]
#[must_use = "nothing is asked until a `Warmer` has it"]
pub struct WarmRequest {
    target: String,
    made: Result<Parts, String>,
}

impl WarmRequest {
    /// Asks for this path and query, or this URI: then its host goes into `Host`.
    pub fn get(target: impl Into<String>) -> Self {
        let target = target.into();
        match parts(&target) {
            Ok(parts) => Self { target: parts.uri.to_string(), made: Ok(parts) },
            Err(why) => Self { target, made: Err(why) },
        }
    }

    /// On behalf of this tenant or user. An [`IdentityLayer`](crate::IdentityLayer) takes it as it is, in place of what it
    /// would derive.
    pub fn identity(self, identity: Identity) -> Self {
        self.extension(identity)
    }

    /// With a field. Authentication that the service does itself wants its `Authorization`.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let (name, value) = (name.as_ref(), value.as_ref());
        if let Ok(parts) = &mut self.made {
            match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                (Ok(name), Ok(value)) if name == HOST => drop(parts.headers.insert(name, value)),
                (Ok(name), Ok(value)) => drop(parts.headers.append(name, value)),
                _ => self.made = Err(format!("the field `{name}` cannot be sent like this")),
            }
        }
        self
    }

    /// With something in its extensions, such as the claims that authentication would have left there.
    pub fn extension<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        if let Ok(parts) = &mut self.made {
            parts.extensions.insert(value);
        }
        self
    }

    /// A request for each combination of values. What stands between braces is replaced, percent-encoded as far as need be.
    ///
    /// ```
    /// use larder::WarmRequest;
    ///
    /// let requests = WarmRequest::templates(
    ///     "/dashboard?days={days}&of={of}",
    ///     [("days", &["7", "30"]), ("of", &["sales", "new customers"])],
    /// );
    /// let targets: Vec<_> = requests.iter().map(WarmRequest::target).collect();
    /// assert_eq!(
    ///     targets,
    ///     [
    ///         "/dashboard?days=7&of=sales",
    ///         "/dashboard?days=7&of=new%20customers",
    ///         "/dashboard?days=30&of=sales",
    ///         "/dashboard?days=30&of=new%20customers",
    ///     ]
    /// );
    /// ```
    ///
    /// Names that do not fit the template, or more than 10 000 combinations, make one request that fails and says why.
    pub fn templates<const N: usize>(template: &str, values: [(&str, &[&str]); N]) -> Vec<Self> {
        let wrong = |why: String| vec![Self { target: template.to_owned(), made: Err(why) }];
        let combinations = values.iter().try_fold(1_usize, |all, (_, values)| all.checked_mul(values.len()));
        if combinations.is_none_or(|all| all > MOST_COMBINATIONS) {
            return wrong(format!("more than {MOST_COMBINATIONS} combinations"));
        }
        let mut targets = vec![String::new()];
        let mut used = [false; N];
        let mut rest = template;
        // The values chosen so far, with each target: a name may come twice.
        let mut chosen = vec![[None::<&str>; N]];
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return wrong("a brace is not closed".to_owned());
            };
            let Some(place) = values.iter().position(|(known, _)| *known == name) else {
                return wrong(format!("nothing is said of {{{name}}}"));
            };
            used[place] = true;
            let (mut longer, mut choices) = (Vec::new(), Vec::new());
            for (target, chosen) in targets.into_iter().zip(chosen) {
                let one = chosen[place].map(|value| vec![value]);
                for value in one.unwrap_or_else(|| values[place].1.to_vec()) {
                    let mut choice = chosen;
                    choice[place] = Some(value);
                    longer.push(format!("{target}{before}{}", utf8_percent_encode(value, RESERVED)));
                    choices.push(choice);
                }
            }
            (targets, chosen, rest) = (longer, choices, after);
        }
        if let Some(place) = used.iter().position(|used| !used) {
            return wrong(format!("it has no {{{}}}", values[place].0));
        }
        targets.into_iter().map(|target| Self::get(target + rest)).collect()
    }

    /// A request for each page that an XML sitemap names.
    ///
    /// ```
    /// use larder::WarmRequest;
    ///
    /// let sitemap = "<urlset><url><loc>https://shop.example/products?page=1&amp;all</loc></url></urlset>";
    /// let requests = WarmRequest::sitemap(sitemap).unwrap();
    /// assert_eq!(requests[0].target(), "/products?page=1&all");
    /// ```
    ///
    /// # Errors
    ///
    /// If it is longer than 10 MiB, names more than 50 000 pages, or is no `urlset` as sitemaps.org describes it.
    pub fn sitemap(text: &str) -> Result<Vec<Self>, super::SitemapError> {
        Ok(super::sitemap::locations(text)?.into_iter().map(Self::get).collect())
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// For whom it is.
    pub(super) fn whose(&self) -> Option<&Identity> {
        self.made.as_ref().ok()?.extensions.get()
    }

    pub(super) fn into_parts(self) -> Result<Parts, String> {
        self.made
    }

    pub(super) fn mistake(&self) -> Option<&str> {
        self.made.as_ref().err().map(String::as_str)
    }
}

fn parts(target: &str) -> Result<Parts, String> {
    let uri: Uri = target.parse().map_err(|error| format!("no target of a request: {error}"))?;
    let mut parts = Request::new(()).into_parts().0;
    match (uri.scheme_str(), uri.authority()) {
        (None, None) if uri.path().starts_with('/') => {}
        (Some("http" | "https"), Some(authority)) => drop(parts.headers.insert(HOST, host(authority)?)),
        _ => return Err("no target of a request: neither a path with its slash nor an HTTP URI".to_owned()),
    }
    let path = uri.into_parts().path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = path.into();
    Ok(parts)
}

fn host(authority: &Authority) -> Result<HeaderValue, String> {
    if authority.as_str().contains('@') {
        return Err("no target of a request: it has user information".to_owned());
    }
    HeaderValue::try_from(authority.as_str()).map_err(|error| error.to_string())
}

/// Shows neither fields nor values of the identity: both end up in logs.
impl fmt::Debug for WarmRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmRequest").field("target", &self.target).field("identity", &self.whose()).finish()
    }
}

/// All but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const MOST_COMBINATIONS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_path_or_a_uri() {
        for (target, path, host) in [
            ("/x?y=1", "/x?y=1", None),
            ("https://a.example:8443/x", "/x", Some("a.example:8443")),
            ("http://a.example", "/", Some("a.example")),
        ] {
            let parts = WarmRequest::get(target).into_parts().unwrap();
            assert_eq!(parts.uri, path);
            assert_eq!(parts.headers.get(HOST).map(|host| host.to_str().unwrap()), host, "{target}");
        }
        for target in ["", "x", "*", "a.example:80", "http://me@a.example/", "/a b", "ftp://a.example/"] {
            assert!(WarmRequest::get(target).header("x", "1").mistake().is_some(), "{target}");
        }
        assert!(WarmRequest::get("/x").header("a b", "1").mistake().is_some());
    }

    #[test]
    fn templates_tell_what_is_wrong() {
        let of = |template, values: [(&str, &[&str]); 1]| WarmRequest::templates(template, values);
        for template in ["/{a", "/{b}", "/x", "/{a}{b}"] {
            assert!(of(template, [("a", &["1"])])[0].mistake().is_some(), "{template}");
        }
        let twice = of("/{a}/{a}", [("a", &["1", "2/3"])]);
        assert_eq!(twice.iter().map(WarmRequest::target).collect::<Vec<_>>(), ["/1/1", "/2%2F3/2%2F3"]);
        assert!(of("/{a}", [("a", &[])]).is_empty());
        let many = ["x"; 101];
        assert!(WarmRequest::templates("/{a}{b}", [("a", &many), ("b", &many)])[0].mistake().is_some());
    }
}

//! Policies by path and by predicate.

use super::{Policy, PolicyError, RequestIs};
use crate::outcome::Bypass;
use http::request::Parts;
use matchit::Router;
use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// Policies for many routes in one layer: by predicate, by path, or for the rest.
///
/// ```
/// use larder::{Cache, CacheLayer, Policy, PolicyTable};
/// use std::time::Duration;
///
/// let minutes = |minutes: u64| Policy::fresh_for(Duration::from_secs(60 * minutes));
/// let table = PolicyTable::new()
///     .when(|request| request.headers.contains_key("x-preview"), Policy::from_response())
///     .route("/api/reports/{year}", minutes(60))
///     .route("/api/{*rest}", minutes(5));
/// let layer = CacheLayer::new(&Cache::in_memory(1 << 20), table);
/// # let _ = layer;
/// ```
///
/// Predicates are tried first, in order; then paths, in the syntax of axum, the most specific first, against the path as
/// the client sent it; then [`otherwise`](PolicyTable::otherwise). A request that nothing fits passes by the cache, as
/// does one whose path a router might read in another way (`..`, `%2F`, `;`, a backslash and the like).
#[derive(Clone, Debug, Default)]
#[must_use = "a table does nothing until a layer has it"]
pub struct PolicyTable {
    whens: Vec<(When, Policy)>,
    routes: Vec<(String, Policy)>,
    otherwise: Option<Policy>,
}

#[derive(Clone)]
pub(crate) struct When(RequestIs);

/// One of a kind for all requests, or one each by the table.
#[derive(Debug)]
pub(crate) enum Chosen<T> {
    One(T),
    Table(Compiled<T>),
}

/// A table, with something made of each of its policies.
#[derive(Debug)]
pub(crate) struct Compiled<T> {
    whens: Vec<(When, T)>,
    routes: Box<Router<Route<T>>>,
    otherwise: Option<T>,
    nothing: T,
}

/// What a path of the table leads to.
#[derive(Debug)]
pub(crate) struct Route<T> {
    path: String,
    made: T,
}

/// Where in a table something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spot<'a> {
    /// There is no table.
    Only,
    /// The predicate of this number, from 1.
    When(usize),
    Route(&'a str),
    Otherwise,
    Nothing,
}

/// What of a table fits a request.
#[derive(Debug)]
pub(crate) struct Pick<'a, T> {
    pub(crate) made: &'a T,
    pub(crate) spot: Spot<'a>,
    /// Why the request is not to be looked up, if it is not.
    pub(crate) passing: Option<Bypass>,
}

impl PolicyTable {
    /// A table of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests to paths like this one, such as `/users/{id}` or `/static/{*path}`.
    pub fn route(mut self, path: impl Into<String>, policy: Policy) -> Self {
        self.routes.push((path.into(), policy));
        self
    }

    /// Requests for which the closure says yes. A panic in it costs that request the cache, nothing else.
    ///
    /// ```
    /// # use larder::{Policy, PolicyTable};
    /// # use std::time::Duration;
    /// let table = PolicyTable::new()
    ///     .when(|request| request.uri.path().ends_with("/live"), Policy::fresh_for(Duration::from_secs(1)))
    ///     .otherwise(Policy::from_response());
    /// # let _ = table;
    /// ```
    pub fn when(mut self, request: impl Fn(&Parts) -> bool + Send + Sync + 'static, policy: Policy) -> Self {
        self.whens.push((When(Arc::new(request)), policy));
        self
    }

    /// All other requests.
    pub fn otherwise(mut self, policy: Policy) -> Self {
        self.otherwise = Some(policy);
        self
    }
}

impl From<Policy> for PolicyTable {
    fn from(policy: Policy) -> Self {
        Self::new().otherwise(policy)
    }
}

impl PolicyTable {
    /// Makes something of each policy.
    pub(crate) fn compile<T>(
        self,
        make: impl Fn(Option<&str>, &Policy) -> Result<T, PolicyError>,
    ) -> Result<Chosen<T>, PolicyError> {
        let otherwise = self.otherwise.as_ref().map(|policy| make(None, policy)).transpose()?;
        if self.whens.is_empty() && self.routes.is_empty() {
            return match otherwise {
                Some(one) => Ok(Chosen::One(one)),
                None => Err(PolicyError::new("an empty table: add route(..), when(..) or otherwise(..)")),
            };
        }
        let mut routes = Router::new();
        for (path, policy) in self.routes {
            let made =
                make(Some(&path), &policy).map_err(|error| PolicyError::new(format!("route(`{path}`): {error}")))?;
            let wrong = |error| PolicyError::new(format!("route(`{}`): {error}", path.escape_debug()));
            if !path.starts_with('/') {
                return Err(PolicyError::new(format!("route(`{}`): a path starts with `/`", path.escape_debug())));
            }
            routes.insert(&path, Route { path: path.clone(), made }).map_err(wrong)?;
        }
        let whens = self.whens.into_iter().enumerate().map(|(place, (when, policy))| {
            let policy = Policy { place: Some(place), ..policy };
            Ok((when, make(None, &policy)?))
        });
        let whens = whens.collect::<Result<_, PolicyError>>()?;
        let nothing = make(None, &Policy::invalidating())?;
        Ok(Chosen::Table(Compiled { whens, routes: Box::new(routes), otherwise, nothing }))
    }
}

impl<T> Chosen<T> {
    /// What fits a request. `path` is that which the client sent.
    #[inline]
    pub(crate) fn pick(&self, parts: &Parts, path: &str) -> Pick<'_, T> {
        match self {
            Self::One(made) => Pick { made, spot: Spot::Only, passing: None },
            Self::Table(table) => table.pick(parts, path),
        }
    }
}

impl<T> Compiled<T> {
    fn pick(&self, parts: &Parts, path: &str) -> Pick<'_, T> {
        let Self { whens, routes, otherwise, nothing } = self;
        let none = |reason| Pick { made: nothing, spot: Spot::Nothing, passing: Some(reason) };
        for (number, (when, made)) in (1..).zip(whens) {
            match catch_unwind(AssertUnwindSafe(|| (when.0)(parts))) {
                Ok(true) => return Pick { made, spot: Spot::When(number), passing: None },
                Ok(false) => {}
                Err(_) => return none(Bypass::CallbackPanicked),
            }
        }
        if is_ambiguous(path) {
            return none(Bypass::AmbiguousPath);
        }
        match (routes.at(path), otherwise) {
            (Ok(found), _) => Pick { made: &found.value.made, spot: Spot::Route(&found.value.path), passing: None },
            (Err(_), Some(made)) => Pick { made, spot: Spot::Otherwise, passing: None },
            (Err(_), None) => none(Bypass::NoPolicy),
        }
    }
}

/// Whether a router, or a handler behind it, might read this path as another one: dot segments, path parameters, empty
/// segments, and percent-encoded characters that mean something in a path.
fn is_ambiguous(path: &str) -> bool {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || b"\\;".contains(&byte);
    let encoded = path.as_bytes().windows(3).filter(|window| window[0] == b'%').any(|window| {
        let digits = std::str::from_utf8(&window[1..]).ok();
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        byte.is_none_or(|byte| odd(byte) && byte != b' ' || b"/?#%.-_~".contains(&byte) || byte.is_ascii_alphanumeric())
    });
    let cut = path.len() > 1 && path.as_bytes()[path.len() - 2..].contains(&b'%');
    let segments = || path.split('/').skip(1);
    encoded
        || cut
        || path.bytes().any(odd)
        || segments().any(|segment| segment == "." || segment == "..")
        || path.contains("//")
}

impl fmt::Debug for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn named(name: &'static str) -> Policy {
        Policy::named(name).fresh_for(Duration::from_secs(60))
    }

    fn name(_: Option<&str>, policy: &Policy) -> Result<String, PolicyError> {
        Ok(policy.name().unwrap_or("nothing").to_owned())
    }

    fn pick(table: &Chosen<String>, uri: &str) -> (String, Option<Bypass>) {
        let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
        let Pick { made, passing, .. } = table.pick(&parts, parts.uri.path());
        (made.clone(), passing)
    }

    #[test]
    fn predicates_then_paths_then_the_rest() {
        let table = PolicyTable::new()
            .route("/api/{*rest}", named("api"))
            .route("/api/users/{id}", named("user"))
            .when(|parts| parts.uri.query() == Some("preview"), named("preview"))
            .when(|parts| parts.uri.query().is_some_and(|query| panic!("{query}")), named("panics"));
        let with_rest = table.clone().otherwise(named("rest")).compile(name).unwrap();
        let without = table.compile(name).unwrap();
        for (uri, expected) in [
            ("/api/users/7", "user"),
            ("/api/users/7/x", "api"),
            ("/api/users/7?preview", "preview"),
            ("/other", "rest"),
        ] {
            assert_eq!(pick(&with_rest, uri), (expected.to_owned(), None), "{uri}");
        }
        assert_eq!(pick(&without, "/other"), ("nothing".to_owned(), Some(Bypass::NoPolicy)));
        assert_eq!(pick(&without, "/other?x"), ("nothing".to_owned(), Some(Bypass::CallbackPanicked)));
    }

    #[test]
    fn a_table_tells_where_it_has_found_something() {
        let spot = |table: &Chosen<String>, uri: &str| {
            let (parts, ()) = http::Request::get(uri).body(()).unwrap().into_parts();
            format!("{:?}", table.pick(&parts, parts.uri.path()).spot)
        };
        let only = PolicyTable::from(named("x")).compile(name).unwrap();
        assert_eq!(spot(&only, "/x"), "Only");
        let table = PolicyTable::new()
            .when(|_| false, named("a"))
            .when(|parts| parts.uri.query() == Some("preview"), named("b"))
            .route("/users/{id}", named("c"));
        let with_rest = table.clone().otherwise(named("d")).compile(name).unwrap();
        let table = table.compile(name).unwrap();
        for (uri, with, without) in [
            ("/users/7?preview", "When(2)", "When(2)"),
            ("/users/7", "Route(\"/users/{id}\")", "Route(\"/users/{id}\")"),
            ("/other", "Otherwise", "Nothing"),
            ("/users//7", "Nothing", "Nothing"),
        ] {
            assert_eq!((&*spot(&with_rest, uri), &*spot(&table, uri)), (with, without), "{uri}");
        }
    }

    #[test]
    fn paths_that_can_be_read_in_two_ways_have_no_policy() {
        let table = PolicyTable::new().route("/static/{*path}", named("static")).otherwise(named("rest"));
        let table = table.compile(name).unwrap();
        for path in [
            "/static/..%2faccount/me",
            "/account/me;x.css",
            "/account/me%00.css",
            "/account/me%23x.css",
            "/account/me%3fx.css",
            "/account/me%0ax.css",
            "/account/me%2f..%2f..%2fstatic/x.css",
            "/static/%5c..%5caccount",
            "/static/../account",
            "/static/%2e%2e/account",
            "/static/%252e",
            "/static//x",
            "/static/%zz",
            "/static/x%4",
        ] {
            assert!(is_ambiguous(path), "{path}");
            if path.parse::<http::Uri>().is_ok() {
                assert_eq!(pick(&table, path).1, Some(Bypass::AmbiguousPath), "{path}");
            }
        }
        for path in ["/", "/static/a.css", "/static/a%20b", "/static/%C3%A9", "/a/", "/x..y/.well-known"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }

    #[test]
    fn bad_tables_are_named() {
        for (table, says) in [
            (PolicyTable::new(), "empty table"),
            (PolicyTable::new().route("x", named("x")), "`x`"),
            (PolicyTable::new().route("/{a}{b}", named("x")), "/{a}{b}"),
            (PolicyTable::new().route("/x", named("x")).route("/x", named("y")), "/x"),
        ] {
            let error = table.compile(name).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let bad = PolicyTable::new().route("/x", Policy::fresh_for(Duration::ZERO));
        let check = |_: Option<&str>, policy: &Policy| policy.check(1000).map(|()| policy.clone());
        assert!(bad.compile(check).unwrap_err().to_string().starts_with("route(`/x`): fresh_for(0 s)"));
    }
}

//! Who may do what.

use crate::{hex::hex, random};
use http::{HeaderMap, header::AUTHORIZATION, request::Parts};
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// What somebody may see and do.
///
/// ```
/// use larder::admin::Access;
///
/// let operator = Access::full().named("alice");
/// let viewer = Access::read_only().tenant(7);
/// # let _ = (operator, viewer);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it lets nobody in until an `Authorize` gives it"]
pub struct Access {
    pub(super) manages: bool,
    pub(super) tenant: Option<String>,
    pub(super) bodies: bool,
    pub(super) name: Option<String>,
}

/// Decides who gets in. A closure from the head of a request to an [`Access`] is one; so is a [`Token`], or several.
///
/// ```
/// use larder::admin::{Access, Authorize, Decision};
/// use http::request::Parts;
///
/// struct Sessions;
///
/// impl Authorize for Sessions {
///     fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a> {
///         Decision::later(async move {
///             // A look into the database, say.
///             parts.headers.contains_key("cookie").then(Access::read_only)
///         })
///     }
/// }
/// ```
///
/// A panic lets nobody in.
pub trait Authorize: Send + Sync + 'static {
    /// What the one who sent a request with this head may do; nothing if that is nobody who may do anything.
    fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a>;
}

/// What an [`Authorize`] says, at once or later.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use larder::admin::{Access, Decision};
///
/// let known = Decision::now(Some(Access::read_only()));
/// assert_eq!(known.await, Some(Access::read_only()));
///
/// let looked_up = Decision::later(async { None }); // no such session
/// assert_eq!(looked_up.await, None);
/// # }
/// ```
#[must_use = "futures do nothing unless polled"]
pub struct Decision<'a>(State<'a>);

enum State<'a> {
    Now(Option<Access>),
    Later(Pin<Box<dyn Future<Output = Option<Access>> + Send + 'a>>),
}

/// Lets in who sends `Authorization: Bearer` with this secret. The time that comparing takes tells nothing about it. An
/// empty secret is nobody's.
///
/// ```
/// use larder::admin::{Access, Token};
///
/// let tokens = [
///     Token::new("0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
///     Token::new("a1b2c3d4e5f60718293a4b5c6d7e8f90").grants(Access::read_only().named("monitoring")),
/// ];
/// # let _ = tokens;
/// ```
#[derive(Clone)]
#[must_use = "it lets nobody in until a router has it"]
pub struct Token {
    /// Without one there is no such secret.
    hash: Option<blake3::Hash>,
    access: Access,
}

impl Access {
    /// To see everything, but for bodies, and to do everything.
    pub fn full() -> Self {
        Self { manages: true, tenant: None, bodies: false, name: None }
    }

    /// To see everything, but for bodies, and to do nothing.
    pub fn read_only() -> Self {
        Self { manages: false, ..Self::full() }
    }

    /// To see and to do only what concerns this tenant: entries that are keyed on it, its totals, actions narrowed to
    /// it. What concerns all tenants is refused.
    pub fn tenant(mut self, tenant: impl fmt::Display) -> Self {
        self.tenant = Some(tenant.to_string());
        self
    }

    /// To see the bodies of entries too, those of text up to 64 KiB.
    pub fn bodies(mut self) -> Self {
        self.bodies = true;
        self
    }

    /// Who it is, for the audit trail.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("unnamed")
    }
}

impl Token {
    /// One that gives [full](Access::full) access. An empty secret, as of a variable that is not set, is told to the
    /// log.
    pub fn new(secret: impl AsRef<[u8]>) -> Self {
        let secret = secret.as_ref();
        if secret.is_empty() {
            tracing::warn!(target: "larder::admin", "the secret of an admin token is empty: nobody gets in by it");
        }
        let hash = (!secret.is_empty()).then(|| blake3::hash(secret));
        Self { hash, access: Access::full().named("token") }
    }

    /// One with a secret that nobody can guess, and that secret: for a start without any configuration, which tells it to whoever
    /// reads its output. Another one each time.
    ///
    /// ```
    /// let (token, secret) = larder::admin::Token::random();
    /// assert_eq!(secret.len(), 32);
    /// # drop(token);
    /// ```
    pub fn random() -> (Self, String) {
        let secret = hex(&random::bytes::<16>());
        (Self::new(&secret), secret)
    }

    /// One that gives this access.
    ///
    /// ```
    /// use larder::admin::{Access, Token};
    ///
    /// let tokens = [Token::new("s3cret"), Token::new("0ther").grants(Access::read_only().named("monitoring"))];
    /// # let _ = tokens;
    /// ```
    pub fn grants(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    fn lets_in(&self, given: Option<blake3::Hash>) -> Option<Access> {
        // Two hashes are compared in constant time.
        given.filter(|given| self.hash == Some(*given)).map(|_| self.access.clone())
    }
}

impl Authorize for Token {
    fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a> {
        Decision::now(self.lets_in(given(&parts.headers)))
    }
}

impl<const N: usize> Authorize for [Token; N] {
    fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a> {
        Decision::now(first(self, &parts.headers))
    }
}

impl Authorize for Vec<Token> {
    fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a> {
        Decision::now(first(self, &parts.headers))
    }
}

impl<F: Fn(&Parts) -> Option<Access> + Send + Sync + 'static> Authorize for F {
    fn authorize<'a>(&'a self, parts: &'a Parts) -> Decision<'a> {
        Decision::now(self(parts))
    }
}

/// All are tried, so that time does not tell which one it was.
fn first(tokens: &[Token], headers: &HeaderMap) -> Option<Access> {
    let given = given(headers);
    tokens.iter().fold(None, |found, token| {
        let access = token.lets_in(given);
        found.or(access)
    })
}

/// The hash of the secret in a request.
fn given(headers: &HeaderMap) -> Option<blake3::Hash> {
    let mut lines = headers.get_all(AUTHORIZATION).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    let (scheme, secret) = line.as_bytes().split_first_chunk::<7>()?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| blake3::hash(secret.trim_ascii()))
}

impl<'a> Decision<'a> {
    /// What is known at once.
    pub fn now(access: Option<Access>) -> Self {
        Self(State::Now(access))
    }

    /// What has to be found out.
    pub fn later(access: impl Future<Output = Option<Access>> + Send + 'a) -> Self {
        Self(State::Later(Box::pin(access)))
    }
}

impl Future for Decision<'_> {
    type Output = Option<Access>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Access>> {
        match &mut self.0 {
            State::Now(access) => Poll::Ready(access.take()),
            State::Later(future) => {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
                polled.unwrap_or_else(|_| Poll::Ready(panicked()))
            }
        }
    }
}

/// What this authoriser says; a panic is no.
pub(super) async fn decide(authorise: &dyn Authorize, parts: &Parts) -> Option<Access> {
    match catch_unwind(AssertUnwindSafe(|| authorise.authorize(parts))) {
        Ok(decision) => decision.await,
        Err(_) => panicked(),
    }
}

fn panicked() -> Option<Access> {
    tracing::warn!(target: "larder::admin", "the authoriser panicked: nobody is let in");
    None
}

impl fmt::Debug for Decision<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Decision")
    }
}

/// Without the hash: what is short can be guessed from it.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("access", &self.access).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn opens(tokens: &[Token], lines: &[&[u8]]) -> bool {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(AUTHORIZATION, http::HeaderValue::from_bytes(line).unwrap());
        }
        first(tokens, &headers).is_some()
    }

    #[test]
    fn only_the_secret_opens() {
        let tokens = [Token::new("s3cret"), Token::new(""), Token::new("other")];
        for good in [&b"Bearer s3cret"[..], b"bearer s3cret", b"BEARER  s3cret ", b"Bearer other"] {
            assert!(opens(&tokens, &[good]), "{}", String::from_utf8_lossy(good));
        }
        for bad in [&b"Bearer "[..], b"Bearer", b"", b"s3cret", b"Basic s3cret", b"Bearer s3cre", b"Bearer S3cret"] {
            assert!(!opens(&tokens, &[bad]), "{}", String::from_utf8_lossy(bad));
        }
        assert!(!opens(&tokens, &[]) && !opens(&tokens, &[b"Bearer s3cret", b"Bearer s3cret"]));
        let text = format!("{tokens:?}");
        assert!(!text.contains("s3cret") && !text.contains(&blake3::hash(b"s3cret").to_hex()[..8]), "{text}");
    }

    #[test]
    fn a_panic_lets_nobody_in() {
        let parts = Request::new(()).into_parts().0;
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let closure = |_: &Parts| -> Option<Access> { panic!("a bug") };
        assert_eq!(std::pin::pin!(decide(&closure, &parts)).poll(&mut cx), Poll::Ready(None));
        let mut later = Decision::later(async { panic!("a bug") });
        assert_eq!(Pin::new(&mut later).poll(&mut cx), Poll::Ready(None));
    }
}

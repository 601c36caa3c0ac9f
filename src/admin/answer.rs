//! What is answered, and what every answer says.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, WWW_AUTHENTICATE,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};
use http_body::{Body, Frame, SizeHint};
use serde_json::{Value, json};
use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

/// The body of an answer: all of it at once.
///
/// ```
/// # use http_body_util::BodyExt;
/// # use larder::{Cache, admin};
/// # use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::convert::Infallible> {
/// # let cache = Cache::in_memory(1 << 20);
/// let response = admin::health([&cache]).oneshot(http::Request::new(())).await?;
/// let text = response.into_body().collect().await?.to_bytes();
/// assert!(text.starts_with(b"{"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct AdminBody(Option<Bytes>);

/// What is answered where all went well.
#[derive(Debug)]
pub(super) struct Answer {
    status: StatusCode,
    kind: &'static str,
    content: Bytes,
    /// What a browser may do with it.
    policy: Option<HeaderValue>,
}

/// What is answered where it did not.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// For people.
    pub(super) text: String,
    allow: Option<&'static str>,
}

pub(super) type Told = Result<Answer, Failure>;

impl Answer {
    pub(super) fn json(value: &Value) -> Self {
        Self::of("application/json", value.to_string())
    }

    /// What is not done yet, or not for sure.
    pub(super) fn accepted(value: &Value) -> Self {
        Self { status: StatusCode::ACCEPTED, ..Self::json(value) }
    }

    pub(super) fn unavailable(value: &Value) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, ..Self::json(value) }
    }

    pub(super) fn of(kind: &'static str, content: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, kind, content: content.into(), policy: None }
    }

    /// A page with this policy for its content.
    pub(super) fn page(html: String, policy: &str) -> Self {
        let policy = HeaderValue::try_from(policy).ok();
        Self { policy, ..Self::of("text/html; charset=utf-8", html) }
    }
}

impl Failure {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), allow: None }
    }

    pub(super) fn bad(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    pub(super) fn impossible(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, text)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "who are you? Send `Authorization: Bearer` with a token that is known here")
    }

    /// Something panicked.
    pub(super) fn broken() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "this has failed, and the log of the application tells why")
    }

    /// Whether that is why.
    pub(super) fn is_broken(&self) -> bool {
        self.status == StatusCode::INTERNAL_SERVER_ERROR
    }

    pub(super) fn method(method: &Method, allow: &'static str) -> Self {
        let text = format!("{method} is not for this path: {allow}");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }
}

/// The response to a request, which is a HEAD or not.
pub(super) fn respond(told: Told, head: bool) -> Response<AdminBody> {
    let (answer, failure) = match told {
        Ok(answer) => (answer, None),
        Err(failure) => {
            let content = json!({ "error": failure.text });
            (Answer { status: failure.status, ..Answer::json(&content) }, Some(failure))
        }
    };
    let mut response = Response::new(AdminBody((!head).then_some(answer.content.clone())));
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.kind));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(answer.content.len()));
    headers.insert(CONTENT_SECURITY_POLICY, answer.policy.unwrap_or(HeaderValue::from_static(NOTHING)));
    protect(headers);
    if let Some(failure) = failure {
        if failure.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(allow) = failure.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
    }
    response
}

fn protect(headers: &mut HeaderMap) {
    const SAME_ORIGIN: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (X_FRAME_OPTIONS, "DENY"),
        (SAME_ORIGIN, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// What is data may do nothing at all.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(self.0.take().filter(|content| !content.is_empty()).map(|content| Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |content| content.len() as u64))
    }
}

//! Whether a request means what it says: nothing that another site can have a browser send.

use super::answer::Failure;
use http::{
    HeaderMap, HeaderName, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST, ORIGIN},
    request::Parts,
};
use http_body::Body;
use std::{future::poll_fn, pin::pin, time::Duration};

/// Refuses what may come from another site.
pub(super) fn check(parts: &Parts) -> Result<(), Failure> {
    let headers = &parts.headers;
    let mut sites = headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        if !sites.all(|site| site == "same-origin") {
            return Err(Failure::forbidden("the request comes from another site: Sec-Fetch-Site is not `same-origin`"));
        }
    } else if headers.contains_key(ORIGIN) && !is_own_origin(parts) {
        return Err(Failure::forbidden("the request comes from another site: Origin is not that of Host"));
    }
    if only(headers, &LARDER_INTENT) != Some("manage") {
        return Err(Failure::forbidden("an action needs the field `Larder-Intent: manage`"));
    }
    let kind = only(headers, &CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        let text = "an action needs `Content-Type: application/json`";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    Ok(())
}

/// What was sent, if it is not too much.
pub(super) async fn content<B: Body>(body: B) -> Result<Vec<u8>, Failure> {
    let reading = async {
        let (mut body, mut content) = (pin!(body), Vec::new());
        let too_long = || {
            let text = format!("the content is longer than {} KiB", LONGEST / 1024);
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, text))
        };
        if body.size_hint().lower() > LONGEST as u64 {
            return too_long();
        }
        loop {
            let read = poll_fn(|cx| {
                body.as_mut().poll_frame(cx).map(|frame| {
                    Some(frame?.map(|frame| append(&mut content, frame.into_data().ok())).unwrap_or(Read::Failed))
                })
            });
            match read.await {
                None => return Ok(content),
                Some(Read::Some) => {}
                Some(Read::TooMuch) => return too_long(),
                Some(Read::Failed) => return Err(Failure::bad("the content broke off")),
            }
        }
    };
    let late = || Err(Failure::bad(format!("the content did not come within {} s", TIMEOUT.as_secs())));
    crate::timer::within(TIMEOUT, reading).await.unwrap_or_else(late)
}

enum Read {
    Some,
    TooMuch,
    Failed,
}

fn append(content: &mut Vec<u8>, data: Option<impl bytes::Buf>) -> Read {
    let Some(mut data) = data else { return Read::Some };
    if content.len() + data.remaining() > LONGEST {
        return Read::TooMuch;
    }
    while data.has_remaining() {
        let chunk = data.chunk();
        content.extend_from_slice(chunk);
        let length = chunk.len();
        data.advance(length);
    }
    Read::Some
}

/// The value of a field that has one line.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    line.to_str().ok()
}

/// Whether `Origin` names the host that is asked.
fn is_own_origin(parts: &Parts) -> bool {
    let Some(origin) = only(&parts.headers, &ORIGIN).and_then(|origin| origin.parse::<Uri>().ok()) else {
        return false;
    };
    let default = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let host = match parts.uri.authority() {
        Some(authority) => Some(authority.clone()),
        None => only(&parts.headers, &HOST).and_then(|host| host.parse().ok()),
    };
    let (Some(origin), Some(host)) = (origin.authority(), host) else { return false };
    let port = |authority: &http::uri::Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(origin) == port(&host)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const LARDER_INTENT: HeaderName = HeaderName::from_static("larder-intent");

/// So long an action may be, and so long it may take to come.
const LONGEST: usize = 64 * 1024;
const TIMEOUT: Duration = Duration::from_secs(30);

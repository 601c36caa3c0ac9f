use super::rules::Rules;
use crate::semantics::{
    cache_control_writer::{CDN_CACHE_CONTROL, SURROGATE_CONTROL},
    fields::{CONTENT_DIGEST, CONTENT_MD5, REPR_DIGEST},
    precondition::{self, Precondition},
    validator,
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
        LAST_MODIFIED, TRAILER, TRANSFER_ENCODING,
    },
    response::Parts,
};

/// What counts of a GET or HEAD.
#[derive(Debug)]
pub(super) struct Question {
    method: Method,
    /// Its conditions. Mostly there are none.
    conditions: HeaderMap,
}

impl Question {
    /// `None` for other methods.
    pub(super) fn of<B>(request: &Request<B>) -> Option<Self> {
        let method = request.method();
        (*method == Method::GET || *method == Method::HEAD)
            .then(|| Self { method: method.clone(), conditions: kept(request.headers(), CONDITIONS) })
    }

    pub(super) fn is_get(&self) -> bool {
        self.method == Method::GET
    }

    /// What to answer instead of the 200 with this head, which is made ready for that.
    pub(super) fn verdict(&self, head: &mut Parts, rules: &Rules) -> Precondition {
        if self.conditions.is_empty() {
            return Precondition::Proceed;
        }
        // Without a tag nobody can tell whether it matches.
        if self.conditions.contains_key(IF_MATCH) && validator::etag(&head.headers).is_none() {
            return Precondition::Proceed;
        }
        // RFC 9110 §13.1.3: without a modification date, If-Modified-Since is ignored. Date is for caches.
        let current = kept(&head.headers, [ETAG, LAST_MODIFIED]);
        let verdict = precondition::evaluate(&self.method, &self.conditions, &current, rules.now());
        match verdict {
            Precondition::Proceed => {}
            Precondition::NotModified => {
                head.status = StatusCode::NOT_MODIFIED;
                strip(&mut head.headers, &ABOUT_CONTENT);
            }
            Precondition::Failed => {
                head.status = StatusCode::PRECONDITION_FAILED;
                strip(&mut head.headers, &ABOUT_CONTENT);
                strip(&mut head.headers, &ABOUT_REPRESENTATION);
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        }
        verdict
    }
}

/// The fields of these names.
fn kept(headers: &HeaderMap, names: impl IntoIterator<Item = HeaderName>) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for name in names {
        for line in headers.get_all(&name) {
            kept.append(&name, line.clone());
        }
    }
    kept
}

fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    for name in names {
        headers.remove(name);
    }
}

const CONDITIONS: [HeaderName; 4] = [IF_MATCH, IF_UNMODIFIED_SINCE, IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// What is said of content that is not sent.
static ABOUT_CONTENT: [HeaderName; 9] = [
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    TRAILER,
    TRANSFER_ENCODING,
    CONTENT_DIGEST,
    CONTENT_MD5,
];

/// What is said of the representation, and of how long it may be kept: a failure is none.
static ABOUT_REPRESENTATION: [HeaderName; 9] = [
    ACCEPT_RANGES,
    CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    CONTENT_LOCATION,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    SURROGATE_CONTROL,
    REPR_DIGEST,
];

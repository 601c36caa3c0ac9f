//! The whole layer: a script of exchanges over a service that answers as the script says.
//!
//! ```text
//! minute swr vary              the policy: see `policy`
//! > GET /a?x=1                 a request; after its target `drop`: the client goes away after the first frame
//! host: a.example              its fields
//! < 200 pieces                 what the service answers from now on: see `Answer`
//! cache-control: max-age=5     its fields
//! + 30                         so many seconds pass
//! x                            everything is invalidated
//! ```
#![no_main]

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT_ENCODING, AGE, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, COOKIE, SET_COOKIE},
};
use http_body::{Body, Frame};
use larder::{
    Cache, CacheLayer, Policy, RequestDirectives, Selector,
    semantics::{
        cache_control::ResponseDirectives, content_coding, date::Timestamp, invalidation::is_safe,
        no_vary_search::no_vary_search, storable::allows_credentials, target::Target, targeted::governing,
        vary::nominated,
    },
    test_util,
};
use larder_fuzz::{field, first_line, lines};
use libfuzzer_sys::fuzz_target;
use std::{
    collections::VecDeque,
    future::{Ready, poll_fn, ready},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tower_layer::Layer;
use tower_service::Service;

fuzz_target!(|input: &[u8]| {
    let (words, script) = first_line(input);
    let words = String::from_utf8_lossy(words);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(play(&words, &steps(script)));
});

async fn play(words: &str, steps: &[Step]) {
    let (cache, clock) = test_util::cache_with(Cache::builder().memory(256 * 1024)).expect("a cache");
    let Ok(layer) = CacheLayer::try_new(&cache, policy(words)) else { return };
    let scripted = Scripted(Arc::new(Mutex::new(Seen { now: clock.now(), ..Seen::default() })));
    let service = layer.layer(scripted.clone());
    for step in steps {
        match step {
            Step::Pass(seconds) => {
                clock.advance(Duration::from_secs(*seconds));
                scripted.seen().now = clock.now();
            }
            Step::Invalidate => {
                cache.invalidate(Selector::everything()).await.expect("everything is a good selector");
                let mut seen = scripted.seen();
                seen.cleared = seen.asked.len();
            }
            Step::Exchange(asked, answer) => {
                let mut seen = scripted.seen();
                seen.asked.push(asked.clone());
                seen.answer = answer.clone().or(seen.answer.take());
                drop(seen);
                exchange(words, &scripted, service.clone(), asked).await;
                // Refreshes in the background.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn exchange<S, B>(words: &str, scripted: &Scripted, mut service: S, asked: &Asked)
where
    S: Service<Request<Empty>, Response = Response<B>, Error = Failure>,
    B: Body<Data = Bytes, Error = Box<dyn std::error::Error + Send + Sync>>,
{
    let mut request = Request::new(Empty);
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = asked.uri.clone();
    *request.headers_mut() = asked.fields.clone();
    poll_fn(|cx| service.poll_ready(cx)).await.expect("always ready");
    let answered = service.call(request).await;
    let Ok(response) = answered else {
        let seen = scripted.seen();
        assert!(seen.made.iter().any(|made| made.exchange == seen.now_asked() && made.failed), "an error of its own");
        return;
    };
    let (head, body) = response.into_parts();
    let mut body = pin!(body);
    let mut content = Vec::new();
    let mut failed = false;
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        match frame {
            Ok(frame) => content.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Err(_) => failed = true,
        }
        if failed || asked.drops {
            break;
        }
    }
    let whole = !asked.drops;
    let seen = scripted.seen();
    let serial = head.headers.get(SERIAL).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    for cookie in head.headers.get_all(SET_COOKIE) {
        let of = cookie.to_str().ok().and_then(|text| text.strip_prefix("made-for=")?.parse::<usize>().ok());
        assert!(words.contains("rfc") || of.is_none_or(|of| of == seen.now_asked()), "a cookie of another request");
    }
    let Some(made) = serial.map(|serial| &seen.made[serial]) else { return };
    if made.exchange < seen.now_asked() {
        assert!(!failed);
        stored(words, &seen, asked, made, &head.headers);
    } else {
        assert_eq!(failed, made.broken && (whole || made.frames == 1));
    }
    if asked.method == Method::HEAD {
        return assert!(content.is_empty());
    }
    match head.status {
        StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {}
        StatusCode::PARTIAL_CONTENT if made.exchange < seen.now_asked() && whole => part(made, &head.headers, &content),
        _ if whole && !failed => assert!(content == made.body, "not the bytes that were made"),
        _ => assert!(made.body.starts_with(&content)),
    }
}

/// What must hold for an answer from the store.
fn stored(words: &str, seen: &Seen, asked: &Asked, made: &Made, head: &HeaderMap) {
    let first = &seen.asked[made.exchange];
    // A client that has got the declared length may go before the rest is known to fail.
    assert!(!made.failed && (!made.broken || made.declared));
    // Asked by GET: for a client, or to refresh what a HEAD found stale.
    assert!(matches!(asked.method, Method::GET | Method::HEAD) && made.method == Method::GET);
    assert!(made.exchange >= seen.cleared, "invalidated before it was asked for");

    // The same resource, so far as the policy tells them apart.
    let (one, other) = (asked.target().expect("no hit is ambiguous"), first.target().expect("nor what filled it"));
    let host = |target: &Target<'_>| target.normal_authority().map(str::to_ascii_lowercase);
    assert_eq!((host(&one), one.scheme, one.path), (host(&other), other.scheme, other.path));
    // The answer to a validation or to HEAD may have brought another head since.
    let freshened = seen.made.iter().any(|later| later.serial > made.serial && later.freshens);
    match no_vary_search(&made.fields) {
        Some(said) if !freshened => assert_eq!(said.normal_query(one.query), said.normal_query(other.query)),
        None if !freshened && !words.contains("query") => assert_eq!(one.query, other.query),
        _ => {}
    }
    for name in ["x-forwarded-host", "x-forwarded-proto", "x-original-host", "x-host"].map(HeaderName::from_static) {
        assert_eq!(asked.values(&name), first.values(&name), "{name} may tell of another host");
    }
    let changed = |at: usize| {
        let change = &seen.asked[at];
        let same = change
            .target()
            .is_ok_and(|of| (host(&of), of.scheme, of.path, of.query) == (host(&one), one.scheme, one.path, one.query));
        let succeeded = |made: &Made| made.exchange == at && (made.status.is_success() || made.status.is_redirection());
        same && !is_safe(&change.method) && seen.made.iter().any(succeeded)
    };
    assert!(!(made.exchange + 1..seen.now_asked()).any(changed), "changed by an unsafe request since");

    if !freshened {
        let seconds = seen.now.since(made.at).as_secs();
        let age = head.get(AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok());
        assert!(age.is_some_and(|age| age >= seconds.min(1 << 31)), "older than it says");
        let names = nominated(&made.fields).expect("a readable Vary");
        for name in names.iter().filter(|name| **name != ACCEPT_ENCODING) {
            assert_eq!(asked.values(name), first.values(name), "{name} selects another");
        }
        if names.contains(&ACCEPT_ENCODING) {
            let codings = |asked: &Asked| content_coding::normal(&asked.fields).map(|codings| codings.bits());
            assert_eq!(codings(asked), codings(first));
        }
        let said = said(made);
        assert!(!said.private && !said.malformed && (!said.no_store || said.must_understand));
        let secret = [asked, first].iter().any(|asked| asked.fields.contains_key(AUTHORIZATION));
        assert!(
            !secret
                || allows_credentials(&said)
                || (words.contains("rfc") && !first.fields.contains_key(AUTHORIZATION))
        );
    }
    if !words.contains("rfc") && !words.contains("ignore-cookies") {
        assert!(!asked.fields.contains_key(COOKIE) && !first.fields.contains_key(COOKIE));
    }
    if !words.contains("rfc") {
        assert!(words.contains("strip") || !made.fields.contains_key(SET_COOKIE), "stored with a cookie");
    }
}

/// The directives that count for an answer.
fn said(made: &Made) -> ResponseDirectives {
    let targets = ["larder-cache-control", "cdn-cache-control"].map(HeaderName::from_static);
    governing(&made.fields, &targets).directives
}

/// One part of a stored response: just the bytes that it says.
fn part(made: &Made, head: &HeaderMap, content: &[u8]) {
    let length = head.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    assert_eq!(length, Some(content.len()));
    let Some(range) = head.get(CONTENT_RANGE) else { return };
    let text = range.to_str().ok().and_then(|text| text.strip_prefix("bytes "));
    let (range, complete) = text.and_then(|text| text.split_once('/')).expect("a content range");
    let (first, last) = range.split_once('-').expect("a range");
    let (first, last): (usize, usize) = (first.parse().expect("a number"), last.parse().expect("a number"));
    assert_eq!(complete.parse(), Ok(made.body.len()));
    assert_eq!(content, &made.body[first..=last]);
}

/// The policy of these words. What the words leave out is as in Larder's defaults.
fn policy(words: &str) -> Policy {
    let minute = Duration::from_secs(60);
    let mut policy = if words.contains("rfc") { Policy::rfc9111() } else { Policy::from_response() };
    for word in words.split_ascii_whitespace().take(20) {
        policy = match word {
            "minute" => policy.lifetime(minute),
            "override" => policy.lifetime(minute).override_response(),
            "heuristic" => policy.heuristic(),
            "swr" => policy.stale_while_revalidate(minute),
            "sie" => policy.stale_if_error(10 * minute),
            "keep" => policy.keep(minute),
            "honor" => policy.request_directives(RequestDirectives::Honor),
            "surrogate" => policy.surrogate(),
            "ignore-cookies" => policy.ignore_cookies(),
            "strip" => policy.strip_set_cookie(),
            "ignore-query" => policy.ignore_query(),
            "query-only" => policy.query_only(["x", "page"]),
            "query-except" => policy.query_except(["utm"]),
            "query-sorted" => policy.sort_query(),
            "header" => policy.key_headers(["x-a", "accept-language"]),
            "small" => policy.max_body(20),
            "short" => policy.max_key(64),
            "few" => policy.max_variants(1),
            "errors" => policy.statuses([StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FORBIDDEN]),
            _ => policy,
        };
    }
    policy
}

#[derive(Debug)]
enum Step {
    Pass(u64),
    Invalidate,
    /// Without an answer the last one stays.
    Exchange(Asked, Option<Answer>),
}

#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    uri: Uri,
    fields: HeaderMap,
    drops: bool,
}

/// What the service does: words behind the status.
#[derive(Clone, Debug, Default)]
struct Answer {
    status: StatusCode,
    fields: HeaderMap,
    /// `error`: it fails.
    fails: bool,
    /// `broken`: its body fails at the end.
    breaks: bool,
    /// `pieces`: its body comes in several frames.
    pieces: bool,
    /// `empty`: it has no body.
    empty: bool,
    /// `trailers`: after its body.
    trailers: bool,
    /// `cookie`: sets one that tells for which exchange it was made.
    cookie: bool,
}

impl Asked {
    fn target(&self) -> Result<Target<'_>, larder::semantics::target::Ambiguous> {
        Target::of(&self.uri, &self.fields, None)
    }

    fn values(&self, name: &HeaderName) -> Vec<&[u8]> {
        self.fields.get_all(name).iter().map(|line| line.as_bytes().trim_ascii()).collect()
    }
}

fn steps(script: &[u8]) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in lines(script) {
        if steps.len() >= 16 {
            break;
        }
        let text = std::str::from_utf8(line).unwrap_or_default();
        let mut words = text.split_ascii_whitespace();
        match words.next() {
            Some("+") => {
                let seconds = words.next().and_then(|word| word.parse::<u32>().ok()).unwrap_or(1);
                steps.push(Step::Pass(seconds.into()));
            }
            Some("x") => steps.push(Step::Invalidate),
            Some(">") => {
                let method = words.next().and_then(|word| word.parse().ok()).unwrap_or(Method::GET);
                let Some(uri) = words.next().and_then(|word| word.parse().ok()) else { continue };
                let drops = words.any(|word| word == "drop");
                steps.push(Step::Exchange(Asked { method, uri, fields: HeaderMap::new(), drops }, None));
            }
            Some("<") => {
                let Some(Step::Exchange(_, answer)) = steps.last_mut() else { continue };
                let status = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
                let has = |wanted| text.split_ascii_whitespace().any(|word| word == wanted);
                *answer = Some(Answer {
                    status,
                    fields: HeaderMap::new(),
                    fails: has("error"),
                    breaks: has("broken"),
                    pieces: has("pieces"),
                    empty: has("empty") || status == StatusCode::NOT_MODIFIED || status == StatusCode::NO_CONTENT,
                    trailers: has("trailers"),
                    cookie: has("cookie"),
                });
            }
            _ => {
                let Some((name, value)) = field(line).filter(|(name, _)| *name != SERIAL) else { continue };
                match steps.last_mut() {
                    Some(Step::Exchange(_, Some(answer))) => answer.fields.append(name, value),
                    Some(Step::Exchange(asked, None)) => asked.fields.append(name, value),
                    _ => continue,
                };
            }
        }
    }
    steps
}

/// Answers as the script says, and remembers what it made.
#[derive(Clone, Debug)]
struct Scripted(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    now: Timestamp,
    asked: Vec<Asked>,
    answer: Option<Answer>,
    made: Vec<Made>,
    /// The first exchange after the last invalidation.
    cleared: usize,
}

/// One answer of the service.
#[derive(Debug)]
struct Made {
    serial: usize,
    exchange: usize,
    at: Timestamp,
    method: Method,
    status: StatusCode,
    fields: HeaderMap,
    body: Vec<u8>,
    failed: bool,
    broken: bool,
    /// Its length is declared, so that a client can know the end without reading it.
    declared: bool,
    /// Who goes away after the only one has seen all.
    frames: usize,
    /// It has no bytes of its own, and may freshen the head of those that are stored.
    freshens: bool,
}

impl Scripted {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn now_asked(&self) -> usize {
        self.asked.len() - 1
    }
}

impl Service<Request<Empty>> for Scripted {
    type Response = Response<Pieces>;
    type Error = Failure;
    type Future = Ready<Result<Response<Pieces>, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Empty>) -> Self::Future {
        let mut seen = self.seen();
        let answer = seen.answer.clone().unwrap_or_default();
        let (serial, exchange, at) = (seen.made.len(), seen.now_asked(), seen.now);
        let freshens = answer.status == StatusCode::NOT_MODIFIED || request.method() == Method::HEAD;
        let empty = answer.empty || request.method() == Method::HEAD;
        let body = match empty {
            true => Vec::new(),
            false => format!("{serial} {} {exchange} ", request.uri()).repeat(1 + serial % 3).into_bytes(),
        };
        let mut fields = answer.fields.clone();
        if answer.cookie {
            fields.append(SET_COOKIE, HeaderValue::try_from(format!("made-for={exchange}")).expect("a field value"));
        }
        let mut frames = VecDeque::new();
        let size = if answer.pieces { 7 } else { body.len().max(1) };
        frames.extend(body.chunks(size).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))));
        if answer.trailers {
            frames.push_back(Ok(Frame::trailers(HeaderMap::from_iter([(AGE, HeaderValue::from_static("1"))]))));
        }
        if answer.breaks {
            frames.push_back(Err(Failure));
        }
        seen.made.push(Made {
            serial,
            exchange,
            at,
            method: request.method().clone(),
            status: answer.status,
            fields: fields.clone(),
            body,
            failed: answer.fails,
            broken: answer.breaks,
            declared: fields.contains_key(CONTENT_LENGTH),
            frames: frames.len(),
            freshens,
        });
        if answer.fails {
            return ready(Err(Failure));
        }
        // Which bytes are stored is not for an answer without any to say.
        if !freshens {
            fields.insert(SERIAL, HeaderValue::from(serial));
        }
        let mut response = Response::new(Pieces(frames));
        *response.status_mut() = answer.status;
        *response.headers_mut() = fields;
        ready(Ok(response))
    }
}

#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failure")
    }
}

impl std::error::Error for Failure {}

/// The body of every request.
#[derive(Debug, Default)]
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// The body of every answer.
#[derive(Debug)]
struct Pieces(VecDeque<Result<Frame<Bytes>, Failure>>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Poll::Ready(self.0.pop_front())
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which answer of the service this is.
const SERIAL: HeaderName = HeaderName::from_static("x-serial");

//! `ETagLayer`: tags, conditions, and bodies that arrive as they are.

use super::*;
use axum::Router;
use http::{HeaderName, HeaderValue, header::LAST_MODIFIED};
use http_body::Frame;
use larder::{ETagLayer, LastModified};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
    time::{SystemTime, UNIX_EPOCH},
};

fn tagged(layer: &ETagLayer, answer: impl Fn(&Request<Body>) -> Response<Body> + Clone + Send + Sync + 'static) -> App {
    boxed(layer.layer(handler(answer)))
}

async fn tag(layer: &ETagLayer, fields: Fields, body: &'static str) -> String {
    let app = tagged(layer, move |_| response(200, fields, body));
    let (head, sent) = get(&app, &[]).await;
    assert_eq!(sent, body);
    head.headers()[ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tag_is_a_hash_of_the_representation() {
    let html: Fields = &[("content-type", "text/html")];
    let first = tag(&ETagLayer::new(), html, "body").await;
    assert_eq!(first.len(), 34);
    assert!(first.starts_with('"') && first.ends_with('"'));
    assert_eq!(tag(&ETagLayer::new(), html, "body").await, first, "the same everywhere");
    assert_eq!(tag(&ETagLayer::new(), &[("content-type", "text/html"), ("x-other", "1")], "body").await, first);
    assert_eq!(tag(&ETagLayer::new().weak(), html, "body").await, format!("W/{first}"));
    let different: [(Fields, _); 7] = [
        (html, "Body"),
        (html, ""),
        (&[], "body"),
        (&[("content-type", "")], "body"),
        (&[("content-type", "text/plain")], "body"),
        (&[("content-type", "text/html"), ("content-encoding", "gzip")], "body"),
        (&[("content-encoding", "text/html")], "body"),
    ];
    let mut seen = vec![first];
    for (fields, body) in different {
        let tag = tag(&ETagLayer::new(), fields, body).await;
        assert!(!seen.contains(&tag), "{fields:?} {body}");
        seen.push(tag);
    }
}

#[tokio::test]
async fn which_responses_get_one() {
    for (method, status, fields, expected) in [
        (Method::GET, 200, &[][..], true),
        (Method::GET, 200, &[("cache-control", "no-transform, max-age=1")], true),
        (Method::GET, 200, &[("content-encoding", "gzip")], true),
        (Method::GET, 200, &[("content-length", "4")], true),
        (Method::GET, 200, &[("set-cookie", "a=b")], true),
        (Method::GET, 200, &[("cache-control", "no-store")], false),
        (Method::GET, 200, &[("content-type", "text/event-stream")], false),
        (Method::GET, 200, &[("content-type", "Text/Event-Stream; charset=utf-8")], false),
        (Method::GET, 200, &[("content-type", "application/x-ndjson")], false),
        (Method::GET, 200, &[("content-type", "multipart/x-mixed-replace;boundary=x")], false),
        (Method::GET, 200, &[("x-accel-buffering", "no")], false),
        (Method::GET, 200, &[("trailer", "x-sum")], false),
        (Method::GET, 200, &[("content-length", "5")], false),
        (Method::GET, 200, &[("content-length", "4"), ("content-length", "4")], false),
        (Method::GET, 200, &[("content-length", "four")], false),
        (Method::GET, 201, &[], false),
        (Method::GET, 204, &[], false),
        (Method::GET, 206, &[], false),
        (Method::GET, 301, &[], false),
        (Method::GET, 404, &[], false),
        (Method::GET, 500, &[], false),
        (Method::HEAD, 200, &[], false),
        (Method::POST, 200, &[], false),
        (Method::PUT, 200, &[], false),
        (Method::OPTIONS, 200, &[], false),
    ] {
        let app = tagged(&ETagLayer::new(), move |_| response(status, fields, "body"));
        let (head, body) = ask(&app, request(&method, "/x", &[])).await;
        assert_eq!(head.headers().contains_key(ETAG), expected, "{method} {status} {fields:?}");
        assert_eq!((head.status().as_u16(), body), (status, "body".to_owned()));
    }
}

#[tokio::test]
async fn the_limit() {
    for (length, limit, expected) in
        [(0, 0, true), (1, 0, false), (10, 10, true), (11, 10, false), (1 << 20, 1 << 20, true)]
    {
        for known in [true, false] {
            let layer = ETagLayer::new().max_body(limit);
            let app = tagged(&layer, move |_| {
                let text = vec![b'x'; length];
                let script = Script::new([Step::Data(text.into())]);
                Response::new(if known { Body::new(script.known()) } else { Body::new(script) })
            });
            let (head, body) = get(&app, &[]).await;
            assert_eq!(head.headers().contains_key(ETAG), expected, "{length} {limit} {known}");
            assert_eq!(body.len(), length);
        }
    }
    let app = tagged(&ETagLayer::new(), |_| response(200, &[], vec![b'x'; (1 << 20) + 1]));
    assert!(!get(&app, &[]).await.0.headers().contains_key(ETAG));
    let app = tagged(&ETagLayer::new(), |_| Response::new(Body::new(Script::new(vec![Step::Data("x".into()); 6000]))));
    let (head, body) = get(&app, &[]).await;
    assert!(!head.headers().contains_key(ETAG), "in tiny pieces");
    assert_eq!(body.len(), 6000);
}

const EARLY: &str = "Tue, 15 Nov 1994 12:45:25 GMT";
const MODIFIED: &str = "Tue, 15 Nov 1994 12:45:26 GMT";

#[tokio::test]
async fn conditions_are_evaluated_in_order() {
    let tag = tag(&ETagLayer::new(), &[], "body").await;
    let weak = format!("W/{tag}");
    let some = format!("\"a\", {tag}");
    let tag = tag.as_str();
    let none: Fields = &[];
    let dated: Fields = &[("last-modified", MODIFIED), ("date", MODIFIED)];
    let only_date: Fields = &[("date", MODIFIED)];
    let own: Fields = &[("etag", "\"own\"")];
    for (conditions, fields, expected) in [
        (&[][..], none, 200),
        (&[("if-none-match", tag)], none, 304),
        (&[("if-none-match", weak.as_str())], none, 304),
        (&[("if-none-match", some.as_str())], none, 304),
        (&[("if-none-match", "*")], none, 304),
        (&[("if-none-match", "\"b\"")], none, 200),
        (&[("if-match", tag)], none, 200),
        (&[("if-match", "*")], none, 200),
        (&[("if-match", weak.as_str())], none, 412),
        (&[("if-match", "\"b\"")], none, 412),
        (&[("if-match", "\"b\""), ("if-none-match", tag)], none, 412),
        (&[("if-match", tag), ("if-none-match", tag)], none, 304),
        (&[("if-match", tag), ("if-unmodified-since", EARLY)], dated, 200),
        (&[("if-unmodified-since", EARLY)], dated, 412),
        (&[("if-unmodified-since", MODIFIED)], dated, 200),
        (&[("if-modified-since", MODIFIED)], dated, 304),
        (&[("if-modified-since", EARLY)], dated, 200),
        (&[("if-none-match", "\"b\""), ("if-modified-since", MODIFIED)], dated, 200),
        (&[("if-none-match", tag), ("if-modified-since", EARLY)], dated, 304),
        // The day of the response is not the day of its content.
        (&[("if-modified-since", MODIFIED)], only_date, 200),
        (&[("if-modified-since", MODIFIED)], none, 200),
        (&[("if-unmodified-since", EARLY)], none, 200),
        (&[("if-none-match", "\"own\"")], own, 304),
        (&[("if-none-match", tag)], own, 200),
    ] {
        let app = tagged(&ETagLayer::new(), move |_| response(200, fields, "body"));
        let (head, body) = get(&app, conditions).await;
        assert_eq!(head.status().as_u16(), expected, "{conditions:?} {fields:?}");
        assert_eq!(body, if expected == 200 { "body" } else { "" });
    }
}

#[tokio::test]
async fn without_a_tag_if_match_is_not_for_us() {
    let dated: Fields = &[("cache-control", "no-store"), ("last-modified", MODIFIED)];
    for (conditions, expected) in [
        (&[("if-match", "\"a\"")][..], 200),
        (&[("if-none-match", "\"a\"")], 200),
        (&[("if-modified-since", MODIFIED)], 304),
        (&[("if-unmodified-since", EARLY)], 412),
    ] {
        let app = tagged(&ETagLayer::new(), move |_| response(200, dated, "body"));
        assert_eq!(get(&app, conditions).await.0.status().as_u16(), expected, "{conditions:?}");
    }
}

#[tokio::test]
async fn heads_use_the_tag_of_the_handler() {
    for (fields, conditions, expected) in [
        (&[("etag", "\"a\"")][..], &[("if-none-match", "\"a\"")][..], 304),
        (&[("etag", "\"a\"")], &[("if-match", "\"b\"")], 412),
        (&[("last-modified", MODIFIED)], &[("if-modified-since", MODIFIED)], 304),
        (&[], &[("if-none-match", "\"a\"")], 200),
    ] {
        let app = tagged(&ETagLayer::new(), move |_| response(200, fields, ""));
        let (head, _) = ask(&app, request(&Method::HEAD, "/x", conditions)).await;
        assert_eq!(head.status().as_u16(), expected, "{fields:?}");
    }
}

#[tokio::test]
async fn changes_and_failures_are_left_alone() {
    for (method, status) in [
        (Method::PUT, 200),
        (Method::POST, 200),
        (Method::DELETE, 200),
        (Method::PATCH, 204),
        (Method::GET, 404),
        (Method::GET, 206),
        (Method::GET, 500),
    ] {
        let app = tagged(&ETagLayer::new(), move |_| response(status, &[("etag", "\"a\"")], "body"));
        for conditions in [&[("if-match", "\"b\"")][..], &[("if-none-match", "\"a\"")], &[("if-none-match", "*")]] {
            let (head, body) = ask(&app, request(&method, "/x", conditions)).await;
            assert_eq!((head.status().as_u16(), body.as_str()), (status, "body"), "{method} {conditions:?}");
        }
    }
}

#[tokio::test]
async fn a_304_keeps_what_a_cache_needs_and_a_412_nothing() {
    let fields: Fields = &[
        ("cache-control", "max-age=60, public"),
        ("content-location", "/x.html"),
        ("date", MODIFIED),
        ("expires", MODIFIED),
        ("vary", "accept"),
        ("set-cookie", "a=b"),
        ("content-security-policy", "default-src 'self'"),
        ("etag", "\"a\""),
        ("last-modified", EARLY),
        ("cdn-cache-control", "max-age=60"),
        ("content-type", "text/html"),
        ("content-length", "4"),
        ("content-encoding", "identity"),
        ("content-language", "en"),
        ("content-digest", "sha-256=:x:"),
    ];
    let app = tagged(&ETagLayer::new(), move |_| response(200, fields, "body"));
    for (condition, status, expected) in
        [("if-none-match", StatusCode::NOT_MODIFIED, 10), ("if-match", StatusCode::PRECONDITION_FAILED, 5)]
    {
        let tag = if expected == 10 { "\"a\"" } else { "\"b\"" };
        let (head, _) = get(&app, &[(condition, tag)]).await;
        assert_eq!(head.status(), status);
        let left: Vec<_> = head.headers().keys().map(HeaderName::as_str).collect();
        if expected == 10 {
            assert_eq!(left, fields[..10].iter().map(|(name, _)| *name).collect::<Vec<_>>());
        } else {
            let mut left = left;
            left.sort_unstable();
            assert_eq!(left, ["content-length", "content-security-policy", "date", "set-cookie", "vary"]);
            assert_eq!(head.headers()["content-length"], "0");
        }
    }
}

/// axum declares the length of bodies, and a 304 has none of its own to declare.
#[tokio::test]
async fn a_304_through_a_router_declares_no_length() {
    let router = Router::new().route("/x", axum::routing::get(|| async { "body" })).layer(ETagLayer::new());
    let app = boxed(router);
    let (head, _) = get(&app, &[]).await;
    assert_eq!(head.headers()["content-length"], "4");
    let tag = head.headers()[ETAG].to_str().unwrap();
    let (head, _) = get(&app, &[("if-none-match", tag)]).await;
    assert_eq!(head.status(), StatusCode::NOT_MODIFIED);
    assert!(!head.headers().contains_key("content-length"));
    let (head, _) = get(&app, &[("if-match", "\"other\"")]).await;
    assert_eq!(head.status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!(head.headers()["content-length"], "0");
}

#[derive(Clone)]
struct Saved(u64);

impl From<&Saved> for LastModified {
    fn from(saved: &Saved) -> Self {
        Self(UNIX_EPOCH + Duration::from_secs(saved.0))
    }
}

#[tokio::test]
async fn last_modified_is_told_and_never_invented() {
    let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
    let with = |extend: fn(&mut http::Extensions), fields: Fields| {
        move |_: &Request<Body>| {
            let mut response = response(200, fields, "body");
            extend(response.extensions_mut());
            response
        }
    };
    let from_saved = || ETagLayer::new().last_modified_from::<Saved>();
    let from_head = || {
        ETagLayer::new().last_modified_with(|head| {
            let seconds = head.headers.get("x-saved")?.to_str().ok()?.parse().ok()?;
            Some(UNIX_EPOCH + Duration::from_secs(seconds))
        })
    };
    let nothing: fn(&mut http::Extensions) = |_| {};
    const DATE: &str = "Thu, 01 Jan 1970 00:16:40 GMT";
    for (layer, answer, expected) in [
        (ETagLayer::new(), with(nothing, &[]), None),
        (ETagLayer::new(), with(nothing, &[("date", DATE)]), None),
        (
            ETagLayer::new(),
            with(
                |all| {
                    all.insert(LastModified(UNIX_EPOCH + HOUR));
                },
                &[],
            ),
            Some("01:00:00"),
        ),
        (
            ETagLayer::new(),
            with(
                |all| {
                    all.insert(Saved(60));
                },
                &[],
            ),
            None,
        ),
        (
            from_saved(),
            with(
                |all| {
                    all.insert(Saved(60));
                },
                &[],
            ),
            Some("00:01:00"),
        ),
        (from_saved(), with(nothing, &[]), None),
        (from_head(), with(nothing, &[("x-saved", "120")]), Some("00:02:00")),
        (from_head(), with(nothing, &[]), None),
        (from_head(), with(nothing, &[("last-modified", DATE), ("x-saved", "120")]), Some("00:16:40")),
        (ETagLayer::new().last_modified_with(|_| panic!("as told")), with(nothing, &[]), None),
        (ETagLayer::new().last_modified_with(|_| Some(UNIX_EPOCH - HOUR)), with(nothing, &[]), None),
        // Later than the response itself.
        (
            from_saved(),
            with(
                |all| {
                    all.insert(Saved(5000));
                },
                &[("date", DATE)],
            ),
            Some("00:16:40"),
        ),
    ] {
        let app = tagged(&layer, answer);
        let (head, _) = get(&app, &[]).await;
        let told = head.headers().get(LAST_MODIFIED).map(|value| value.to_str().unwrap().to_owned());
        let expected = expected.map(|time| format!("Thu, 01 Jan 1970 {time} GMT"));
        assert_eq!(told, expected);
        if let Some(told) = told {
            let (head, body) = get(&app, &[("if-modified-since", &told)]).await;
            assert_eq!((head.status(), body.as_str()), (StatusCode::NOT_MODIFIED, ""));
            assert_eq!(head.headers()[LAST_MODIFIED], told);
        }
    }
    let future = tagged(&ETagLayer::new().last_modified_with(move |_| Some(at(1 << 40))), with(nothing, &[]));
    let (head, _) = get(&future, &[]).await;
    assert!(!head.headers()[LAST_MODIFIED].to_str().unwrap().contains("9999"), "no later than now");
    let long = tagged(
        &ETagLayer::new().max_body(1),
        with(
            |all| {
                all.insert(LastModified(SystemTime::UNIX_EPOCH));
            },
            &[],
        ),
    );
    let (head, _) = get(&long, &[]).await;
    assert!(head.headers().contains_key(LAST_MODIFIED) && !head.headers().contains_key(ETAG));
}

/// A body that does as it is told.
#[derive(Clone, Debug)]
struct Script {
    steps: VecDeque<Step>,
    known: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Data(Bytes),
    Trailers(u8),
    Fail,
    Wait,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), known: false }
    }

    /// Says how long it is.
    fn known(mut self) -> Self {
        self.known = true;
        self
    }
}

impl http_body::Body for Script {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(Some(match self.steps.pop_front() {
            None => return Poll::Ready(None),
            Some(Step::Data(data)) => Ok(Frame::data(data)),
            Some(Step::Trailers(number)) => Ok(Frame::trailers(
                [(HeaderName::from_static("x-sum"), u16::from(number).into())].into_iter().collect(),
            )),
            Some(Step::Fail) => Err(std::io::Error::other("as told")),
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.known && self.steps.is_empty()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        if !self.known {
            return http_body::SizeHint::new();
        }
        let length = |step: &Step| if let Step::Data(data) = step { data.len() as u64 } else { 0 };
        http_body::SizeHint::with_exact(self.steps.iter().map(length).sum())
    }
}

/// What arrives, and what was promised before each frame.
async fn read<B>(mut body: B) -> (Vec<Step>, Vec<u64>)
where
    B: http_body::Body<Data = Bytes, Error = std::io::Error> + Unpin,
{
    let (mut steps, mut promised) = (Vec::new(), Vec::new());
    loop {
        promised.extend(body.size_hint().exact());
        let ends = body.is_end_stream();
        let Some(frame) = body.frame().await else { return (steps, promised) };
        assert!(!ends, "it said that it was over");
        steps.push(match frame {
            Ok(frame) if frame.is_data() => Step::Data(frame.into_data().unwrap()),
            Ok(frame) => Step::Trailers(frame.into_trailers().unwrap()["x-sum"].to_str().unwrap().parse().unwrap()),
            Err(_) => {
                steps.push(Step::Fail);
                return (steps, promised);
            }
        });
    }
}

fn script() -> impl Strategy<Value = Script> {
    let data = prop::collection::vec(any::<u8>(), 0..6).prop_map(|bytes| Step::Data(bytes.into()));
    let steps = prop::collection::vec(prop_oneof![4 => data, 1 => Just(Step::Wait)], 0..8);
    let end = prop_oneof![
        Just(vec![]),
        any::<u8>().prop_map(|number| vec![Step::Trailers(number)]),
        Just(vec![Step::Wait, Step::Fail]),
    ];
    (steps, end, any::<bool>()).prop_map(|(mut steps, end, known)| {
        steps.extend(end);
        let script = Script::new(steps);
        if known { script.known() } else { script }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bodies_arrive_as_they_are(script in script(), limit in 0_usize..20, own in any::<bool>()) {
        let sent: Vec<_> = script.steps.iter().filter(|step| **step != Step::Wait).cloned().collect();
        let data = |steps: &[Step]| steps.iter().map(|step| if let Step::Data(data) = step { data.len() } else { 0 }).sum::<usize>();
        let whole = sent.iter().all(|step| matches!(step, Step::Data(_)));
        let promise = script.known.then(|| data(&sent) as u64);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let inner = service_fn(move |_: Request<Body>| {
                let mut response = Response::new(script.clone());
                if own {
                    response.headers_mut().insert(ETAG, HeaderValue::from_static("\"own\""));
                }
                std::future::ready(Ok::<_, Infallible>(response))
            });
            let service = ETagLayer::new().max_body(limit).layer(inner);
            let response = service.oneshot(request(&Method::GET, "/x", &[("if-none-match", "\"x\"")])).await.unwrap();
            assert_eq!(response.headers().contains_key(ETAG), own || (whole && data(&sent) <= limit));
            let (arrived, promised) = read(response.into_body()).await;
            assert_eq!(arrived, sent);
            if let Some(promise) = promise {
                assert_eq!(promised[0], promise);
            }
            let mut left = data(&sent) as u64;
            if promised.len() == sent.len() + 1 {
                for (step, promised) in sent.iter().zip(promised) {
                    assert_eq!(promised, left);
                    left -= data(std::slice::from_ref(step)) as u64;
                }
            }
        });
    }
}

#[tokio::test]
async fn a_broken_body_is_never_not_modified() {
    let inner = service_fn(|_: Request<Body>| {
        let broken = Script::new([Step::Data("half".into()), Step::Fail]);
        let response = Response::builder().header(LAST_MODIFIED, MODIFIED).body(broken).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let request = request(&Method::GET, "/x", &[("if-none-match", "*")]);
    let response = ETagLayer::new().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(read(response.into_body()).await.0, [Step::Data("half".into()), Step::Fail]);
}

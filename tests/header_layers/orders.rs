//! All orders of the layers around one handler.

use super::*;
use http::header::CONTENT_TYPE;
use http_body::Frame;
use larder::{CacheControl, CacheControlLayer, ETagLayer, Identity, IdentityLayer, StatsLayer};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Cache,
    CacheControl,
    ETag,
    Stats,
}

use Kind::{Cache as Store, CacheControl as Tell, ETag, Stats};

/// The lifetime of the preset.
const DASHBOARD: Duration = Duration::from_secs(600);

/// All orders, each from outside.
fn all() -> impl Iterator<Item = [Kind; 4]> {
    let kinds = [Store, Tell, ETag, Stats];
    (0..256)
        .map(move |n| [n % 4, n / 4 % 4, n / 16 % 4, n / 64].map(|place| kinds[place]))
        .filter(move |order| kinds.iter().all(|kind| order.contains(kind)))
}

fn stack(order: [Kind; 4], cache: &Cache, value: CacheControl, policy: &Policy, inner: App) -> App {
    order.into_iter().rev().fold(inner, |app, kind| match kind {
        Store => boxed(CacheLayer::new(cache, policy.clone()).layer(app)),
        Tell => boxed(CacheControlLayer::new(value).layer(app)),
        ETag => boxed(ETagLayer::new().layer(app)),
        Stats => boxed(StatsLayer::on().layer(app)),
    })
}

fn outside(order: [Kind; 4], one: Kind, other: Kind) -> bool {
    let place = |kind| order.iter().position(|of| *of == kind);
    place(one) < place(other)
}

/// Answers with the path and who asked, and counts.
fn teller(calls: &Arc<AtomicUsize>) -> App {
    let calls = Arc::clone(calls);
    handler(move |request| {
        calls.fetch_add(1, Ordering::SeqCst);
        let who = request.headers().get("authorization").or_else(|| request.headers().get("cookie"));
        let who = who.map_or("nobody", |value| value.to_str().unwrap());
        let path = request.uri().path();
        let fields: &[(&str, &str)] = match path {
            "/cookie" => &[("set-cookie", "sid=1")],
            "/own" => &[("cache-control", "no-store")],
            _ => &[("content-type", "text/plain")],
        };
        let status = if path == "/broken" { 500 } else { 200 };
        response(status, fields, format!("{path} for {who}"))
    })
}

fn is_public(response: &Response<()>) -> bool {
    let mut all = response.headers().iter().filter(|(name, _)| name.as_str().ends_with("-control"));
    all.any(|(_, value)| value.to_str().unwrap().contains("public"))
}

async fn get(app: &App, uri: &str, fields: &[(&str, &str)]) -> (Response<()>, String) {
    ask(app, request(&Method::GET, uri, fields)).await
}

#[test]
fn there_are_24() {
    assert_eq!(all().count(), 24);
}

#[tokio::test]
async fn a_second_request_is_a_hit_and_both_have_a_tag() {
    for order in all() {
        for value in [CacheControl::static_data(), CacheControl::dashboard(), CacheControl::no_store()] {
            let (cache, clock) = test_util::cache();
            let calls = Arc::default();
            let app = stack(order, &cache, value, &Policy::fresh_for(MINUTE), teller(&calls));
            let (first, body) = get(&app, "/x", &[]).await;
            assert_miss!(first);
            assert_eq!(body, "/x for nobody", "{order:?}");
            clock.advance(Duration::from_secs(9));
            let (second, body) = get(&app, "/x", &[]).await;
            assert_eq!(body, "/x for nobody", "{order:?}");
            assert_eq!(lines(second.headers(), "cache-control"), [value.to_string()], "{order:?}");
            // Inside of the cache, the layer forbids it what it was told to forbid.
            let hit = value == CacheControl::static_data() || outside(order, Tell, Store);
            assert_eq!(test_util::outcome(second.headers()), if hit { "hit" } else { "miss" }, "{order:?} {value}");
            assert_eq!(calls.load(Ordering::SeqCst), if hit { 1 } else { 2 });
            assert_eq!(second.headers().get("age").is_some_and(|age| age == "9"), hit, "{order:?}");
            // What nobody may keep needs no tag.
            if value != CacheControl::no_store() || outside(order, Tell, ETag) {
                assert_eq!(first.headers()[ETAG], second.headers()[ETAG], "{order:?}");
            }
            let told = second.headers().get("x-cache").map(|value| value.to_str().unwrap());
            let word = if hit { "HIT" } else { "MISS" };
            assert_eq!(told, outside(order, Stats, Store).then_some(word), "{order:?}");
            let (head, _) = ask(&app, request(&Method::HEAD, "/x", &[])).await;
            assert_eq!(lines(head.headers(), "cache-control"), [value.to_string()], "{order:?}");
        }
    }
}

#[tokio::test]
async fn a_dashboard_is_a_hit_for_its_user() {
    for order in all() {
        let (cache, clock) = test_util::cache();
        let calls = Arc::default();
        let policy = Policy::fresh_for(2 * DASHBOARD).per_user();
        let app = stack(order, &cache, CacheControl::dashboard(), &policy, teller(&calls));
        let who = IdentityLayer::from_fn(|request| {
            Some(Identity::new().with_user(request.headers.get("authorization")?.to_str().ok()?))
        });
        let app = boxed(who.layer(app));
        for user in ["Alice", "Bob"] {
            let asked = &[("authorization", user)];
            assert_miss!(get(&app, "/x", asked).await.0);
            // The policy says for how long, not what is written for browsers.
            clock.advance(DASHBOARD + MINUTE);
            let (head, body) = get(&app, "/x", asked).await;
            assert_hit!(head);
            assert_eq!(body, format!("/x for {user}"), "{order:?}");
            assert_eq!(lines(head.headers(), "cache-control"), ["max-age=600, private"], "{order:?}");
        }
    }
}

#[tokio::test]
async fn who_has_it_gets_a_304() {
    for order in all() {
        let (cache, _) = test_util::cache();
        let calls = Arc::default();
        let value = CacheControl::static_data();
        let app = stack(order, &cache, value, &Policy::fresh_for(MINUTE), teller(&calls));
        let (first, _) = get(&app, "/x", &[]).await;
        let tag = first.headers()[ETAG].to_str().unwrap().to_owned();
        for _ in 0..2 {
            let (head, body) = get(&app, "/x", &[("if-none-match", &tag)]).await;
            assert_eq!((head.status(), body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{order:?}");
            assert_hit!(head);
            assert_eq!(head.headers()[ETAG], tag);
            assert_eq!(lines(head.headers(), "cache-control"), [value.to_string()], "{order:?}");
            assert!(!head.headers().contains_key(CONTENT_TYPE));
        }
        for (field, status) in [("if-none-match", StatusCode::OK), ("if-match", StatusCode::PRECONDITION_FAILED)] {
            let (head, body) = get(&app, "/x", &[(field, "\"other\"")]).await;
            assert_eq!(head.status(), status, "{order:?}");
            assert_eq!(body, if status == StatusCode::OK { "/x for nobody" } else { "" });
            assert!(status == StatusCode::OK || !is_public(&head), "{order:?}");
        }
        assert_eq!(get(&app, "/x", &[]).await.1, "/x for nobody", "{order:?}");
    }
}

/// The first to ask has it already: nothing that anybody gets later is a 304 or empty.
#[tokio::test]
async fn a_conditional_miss_harms_nobody() {
    for order in all() {
        let calls = Arc::default();
        let value = CacheControl::static_data();
        let stack = |cache: &Cache| stack(order, cache, value, &Policy::fresh_for(MINUTE), teller(&calls));
        let (first, _) = get(&stack(&test_util::cache().0), "/x", &[]).await;
        let tag = first.headers()[ETAG].to_str().unwrap();
        let app = stack(&test_util::cache().0);
        let (head, body) = get(&app, "/x", &[("if-none-match", tag)]).await;
        assert_eq!((head.status(), body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{order:?}");
        for _ in 0..2 {
            let (head, body) = get(&app, "/x", &[]).await;
            assert_eq!((head.status(), body.as_str()), (StatusCode::OK, "/x for nobody"), "{order:?}");
        }
    }
}

#[tokio::test]
async fn stale_responses_are_validated() {
    for order in all() {
        let (cache, clock) = test_util::cache();
        let calls = Arc::default();
        let app = stack(order, &cache, CacheControl::static_data(), &Policy::fresh_for(MINUTE), teller(&calls));
        let (first, _) = get(&app, "/x", &[]).await;
        clock.advance(2 * MINUTE);
        let (second, body) = get(&app, "/x", &[]).await;
        assert_eq!(body, "/x for nobody", "{order:?}");
        assert_eq!(first.headers()[ETAG], second.headers()[ETAG]);
        // Only a tag that is stored can be asked about.
        let expected = if outside(order, Store, ETag) { "revalidated" } else { "miss" };
        assert_eq!(test_util::outcome(second.headers()), expected, "{order:?}");
        let (third, body) = get(&app, "/x", &[]).await;
        assert_hit!(third);
        assert_eq!(body, "/x for nobody", "{order:?}");
        assert_eq!(lines(third.headers(), "cache-control"), [CacheControl::static_data().to_string()], "{order:?}");
    }
}

#[tokio::test]
async fn nobody_gets_what_is_for_another() {
    for order in all() {
        let (cache, _) = test_util::cache();
        let calls = Arc::default();
        let app = stack(order, &cache, CacheControl::static_data(), &Policy::fresh_for(MINUTE), teller(&calls));
        for _ in 0..2 {
            for (fields, who) in [
                (&[][..], "nobody"),
                (&[("authorization", "Alice")], "Alice"),
                (&[("authorization", "Bob")], "Bob"),
                (&[("cookie", "Carol")], "Carol"),
            ] {
                let (head, body) = get(&app, "/x", fields).await;
                assert_eq!(body, format!("/x for {who}"), "{order:?}");
                assert_eq!(is_public(&head), who == "nobody", "{order:?} {who} {head:?}");
            }
        }
        for uri in ["/cookie", "/broken", "/own"] {
            for _ in 0..2 {
                let (head, body) = get(&app, uri, &[]).await;
                assert_miss!(head);
                assert_eq!(body, format!("{uri} for nobody"), "{order:?}");
                assert!(!is_public(&head), "{order:?} {uri}");
            }
        }
    }
}

/// What is written for browsers does not become the lifetime of the stored response by a validation.
#[tokio::test]
async fn a_validation_does_not_mistake_who_said_what() {
    let html: &[(&str, &str)] = &[("etag", "\"a\""), ("content-type", "text/html")];
    let brief: &[(&str, &str)] = &[("etag", "\"a\""), ("cache-control", "max-age=5")];
    let hour = CacheControl::public(60 * MINUTE);
    for (layer, first) in [
        // Its 304 gets no line, and the stored one stays.
        (CacheControlLayer::new(CacheControl::no_cache()).for_content_type("text/html", hour), html),
        // Only its 304 gets a line.
        (CacheControlLayer::new(hour), brief),
    ] {
        let (cache, clock) = test_util::cache();
        let inner = handler(move |request| match request.headers().get("if-none-match") {
            Some(_) => response(304, &[("etag", "\"a\"")], ""),
            None => response(200, first, "body"),
        });
        let app = boxed(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(layer.layer(inner)));
        assert_miss!(get(&app, "/x", &[]).await.0);
        for _ in 0..3 {
            clock.advance(2 * MINUTE);
            assert_eq!(test_util::outcome(get(&app, "/x", &[]).await.0.headers()), "revalidated");
            clock.advance(MINUTE / 2);
            assert_hit!(get(&app, "/x", &[]).await.0);
        }
    }
}

/// Whoever asks for whatever, with whichever tag: the body is theirs, and a 304 is about a body that they had.
#[test]
fn bodies_and_tags_never_get_mixed_up() {
    let step = (0..24_usize, prop::collection::vec((0..3_u8, 0..2_u8, any::<prop::sample::Index>(), 0..4_u8), 1..40));
    let config = ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((order, steps) in step)| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let order = all().nth(order).unwrap();
            let (cache, clock) = test_util::cache();
            let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE);
            // Every body is another one, so that a tag tells which it is of.
            let calls = Arc::new(AtomicUsize::new(0));
            let inner = handler(move |request| {
                let who = request.headers().get("authorization").map_or("nobody", |value| value.to_str().unwrap());
                let version = calls.fetch_add(1, Ordering::SeqCst) / 3;
                response(200, &[], format!("{} for {who}, {version}", request.uri().path()))
            });
            let app = stack(order, &cache, CacheControl::static_data(), &policy, inner);
            let mut seen: Vec<(String, String)> = vec![("\"none\"".to_owned(), String::new())];
            for (who, path, tag, then) in steps {
                let (tag, of) = seen[tag.index(seen.len())].clone();
                let (who, path) = (["nobody", "Alice", "Bob"][usize::from(who)], ["/x", "/y"][usize::from(path)]);
                let mut fields = vec![("if-none-match", tag.as_str())];
                if who != "nobody" {
                    fields.push(("authorization", who));
                }
                let (head, body) = get(&app, path, &fields).await;
                let expected = format!("{path} for {who}, ");
                if head.status() == StatusCode::NOT_MODIFIED {
                    assert!(of.starts_with(&expected) && body.is_empty(), "{order:?} {of} {expected}");
                    assert_eq!(head.headers()[ETAG], tag);
                } else {
                    assert!(head.status() == StatusCode::OK && body.starts_with(&expected), "{order:?} {body}");
                    seen.push((head.headers()[ETAG].to_str().unwrap().to_owned(), body));
                }
                match then {
                    0 => drop(cache.invalidate(larder::Selector::resource(path)).await),
                    1 => clock.advance(MINUTE + Duration::from_secs(1)),
                    2 => clock.advance(3 * MINUTE),
                    _ => tokio::task::yield_now().await,
                }
            }
        });
    });
}

/// Long bodies and streams pass through all of them.
#[tokio::test]
async fn long_bodies_arrive_whole() {
    let text = "0123456789abcdef".repeat(100_000);
    for order in all() {
        let (cache, _) = test_util::cache();
        let expected = text.clone();
        let inner = handler(move |_| {
            let chunks: Vec<_> = expected.as_bytes().chunks(70_000).map(Bytes::copy_from_slice).collect();
            Response::new(Body::new(Chunks(chunks.into())))
        });
        let app = stack(order, &cache, CacheControl::static_data(), &Policy::fresh_for(MINUTE), inner);
        for _ in 0..2 {
            let (head, body) = get(&app, "/x", &[]).await;
            assert!(body == text, "{order:?}");
            assert!(!head.headers().contains_key(ETAG));
        }
    }
}

/// A body of unknown length.
struct Chunks(VecDeque<Bytes>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
    }
}

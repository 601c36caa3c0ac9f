//! Hits that are verified: what the key lacks is found, and nothing else changes.

use super::support::{App, Inner, MINUTE, SECOND, get, minute, request, settle};
use axum::body::Body;
use http::{HeaderName, Request, Response, StatusCode};
use larder::{Cache, CacheLayer, Difference, Identity, Policy, Selector, test_util};
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, ServiceExt};

fn user(request: Request<Body>, user: u64) -> Request<Body> {
    let mut request = request;
    request.extensions_mut().insert(Identity::new().with_tenant(1).with_user(user));
    request
}

fn answer(body: impl Into<Body>) -> Response<Body> {
    Response::new(body.into())
}

fn shared() -> Policy {
    minute().shared().verify(1.0)
}

#[tokio::test]
async fn a_field_that_is_not_in_the_key_is_a_suspect() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::new(|_, request| {
        let theme = request.headers().get("x-theme").map_or("plain", |theme| theme.to_str().unwrap());
        answer(format!("a page in {theme}"))
    });
    let app = App::new(&cache, shared(), &inner);
    app.ask(get("/x?page=1", &[("x-theme", "dark"), ("accept", "*/*")])).await;
    assert_eq!((cache.stats().verified, inner.calls()), (0, 1), "what fills is not verified");
    clock.advance(7 * SECOND);
    let (_, body) = app.ask(get("/x?page=1", &[("x-theme", "light"), ("accept", "*/*")])).await;
    assert_eq!(body, "a page in dark");
    assert_eq!((cache.stats().verified, cache.stats().mismatched, inner.calls()), (1, 1, 2));
    let all = cache.mismatches();
    let found = &all[0];
    assert_eq!((found.policy.as_deref(), found.age, found.at), (Some("shop"), 7 * SECOND, clock.now()));
    assert!(found.key.ends_with("GET:/x?page=1"), "{}", found.key);
    assert_eq!(found.differences, [Difference::Body { at: 10, stored: 14, answered: 15 }]);
    assert_eq!(found.suspects.fields, ["accept", "x-theme"]);
    assert!(found.suspects.cookies.is_empty() && found.suspects.query.is_empty() && found.suspects.identity.is_empty());
    assert_eq!(found.to_string(), "body at byte 10 (14 and 15 bytes); not in the key: fields accept, x-theme");
}

#[tokio::test]
async fn an_answer_for_one_user_that_all_share_is_found() {
    let (cache, _) = test_util::cache();
    let inner = Inner::new(|_, request| {
        let user = request.extensions().get::<Identity>().and_then(Identity::user).unwrap_or("nobody");
        let cookie = request.headers().contains_key("cookie");
        let status = if user == "9" { StatusCode::FORBIDDEN } else { StatusCode::OK };
        Response::builder()
            .status(status)
            .header("x-cookie", cookie.to_string())
            .body(format!("I am {user}").into())
            .unwrap()
    });
    let app = App::new(&cache, shared().ignore_cookies().query_except(["utm"]), &inner);
    app.ask(user(get("/me", &[]), 1)).await;
    app.ask(user(get("/me", &[]), 1)).await;
    assert_eq!((cache.stats().verified, cache.stats().mismatched), (1, 0), "their own answer is right");
    let fields = [("cookie", "sid=s3cret; theme=dark"), ("x-b", "1"), ("authorization", "Bearer s3cret")];
    let (_, body) = app.ask(user(get("/me?utm=s3cret", &fields[..2]), 2)).await;
    assert_eq!(body, "I am 1", "this is what there is to be found");
    let all = cache.mismatches();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].suspects.cookies, ["sid", "theme"]);
    assert_eq!(
        (&all[0].suspects.query[..], &all[0].suspects.fields[..]),
        (&["utm".to_owned()][..], &["x-b".to_owned()][..])
    );
    assert_eq!(all[0].suspects.identity, ["tenant", "user"]);
    assert_eq!(
        all[0].differences,
        [Difference::Field(HeaderName::from_static("x-cookie")), Difference::Body { at: 5, stored: 6, answered: 6 }]
    );
    app.ask(user(get("/me", &[]), 9)).await;
    let status = Difference::Status { stored: StatusCode::OK, answered: StatusCode::FORBIDDEN };
    assert_eq!(cache.mismatches()[1].differences[0], status);
    assert!(!format!("{:?}", cache.mismatches()).contains("s3cret"));
}

#[tokio::test]
async fn credentials_are_the_first_suspects() {
    let (cache, _) = test_util::cache();
    let inner = Inner::new(|_, request| {
        let who = request.headers().get("authorization").map_or("nobody", |who| who.to_str().unwrap());
        Response::builder().header("cache-control", "public").body(Body::from(who.to_owned())).unwrap()
    });
    let app = App::new(&cache, shared().credential_headers(["x-who"]), &inner);
    app.ask(get("/x", &[])).await;
    app.ask(get("/x", &[("accept", "a"), ("x-who", "b"), ("authorization", "c"), ("x-api-key", "d")])).await;
    assert_eq!(cache.mismatches()[0].suspects.fields, ["authorization", "x-api-key", "x-who", "accept"]);
}

#[tokio::test]
async fn an_honest_service_is_never_blamed() {
    let (cache, clock) = test_util::cache();
    let now = clock.clone();
    let inner = Inner::new(move |call, request| {
        let language = request.headers().get("accept-language").map_or("en", |tag| tag.to_str().unwrap());
        let query = request.uri().query().unwrap_or_default();
        Response::builder()
            .header("date", larder::semantics::date::http_date(now.now()))
            .header("x-request-id", call.to_string())
            .header("x-build", call.to_string())
            .header("etag", format!("\"{query}\""))
            .header("vary", "accept-language")
            .header("connection", "x-hop")
            .header("x-hop", call.to_string())
            .body(Body::from(format!("{language} {query}")))
            .unwrap()
    });
    let app = App::new(&cache, shared().verify_ignoring(["x-build"]), &inner);
    for round in 0..30_u32 {
        let language = ["de", "en"][(round % 2) as usize];
        let fields = [("accept-language", language), ("if-none-match", "\"a=1\""), ("range", "bytes=0-0")];
        app.ask(get("/x?a=1", &fields[..1 + (round % 3) as usize])).await;
        app.ask(request("HEAD", "/x?a=1", &[("accept-language", language)])).await;
        clock.advance(SECOND);
    }
    assert_eq!(cache.mismatches(), []);
    assert!(cache.stats().verified >= 25, "{:?}", cache.stats());
}

#[tokio::test]
async fn nothing_is_stored_or_counted_as_a_request() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = App::new(&cache, shared(), &inner);
    let (_, first) = app.ask(get("/x", &[])).await;
    let before = cache.stats();
    for _ in 0..20 {
        let (response, body) = app.ask(get("/x", &[])).await;
        assert_eq!(body, first);
        assert_eq!(response.headers()["x-cache-misses"], "0");
    }
    let after = cache.stats();
    assert_eq!((after.verified, after.mismatched, inner.calls()), (20, 20, 21));
    let mut same = before;
    (same.verified, same.mismatched, same.hits) = (20, 20, after.hits);
    assert_eq!(after, same);
}

#[tokio::test]
async fn only_fresh_hits_of_get_are_verified() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::with(&[]);
    let app = App::new(&cache, shared().stale_while_revalidate(MINUTE).key_body(["POST".parse().unwrap()]), &inner);
    app.ask(get("/x", &[])).await;
    app.ask(request("HEAD", "/x", &[])).await;
    app.ask(request("POST", "/other", &[])).await;
    assert_eq!((cache.stats().verified, inner.calls()), (0, 2));
    clock.advance(MINUTE);
    app.ask(get("/x", &[])).await;
    assert_eq!((cache.stats().verified, cache.stats().refreshes), (0, 1));
    let app = App::new(&cache, minute(), &inner);
    app.ask(get("/y", &[])).await;
    app.ask(get("/y", &[])).await;
    assert_eq!(cache.stats().verified, 0, "it is off unless it is asked for");
}

#[tokio::test]
async fn a_fraction_is_a_fraction() {
    let (cache, _) = test_util::cache();
    let inner = Inner::new(|_, _| answer("same"));
    let app = App::new(&cache, minute().verify(0.25), &inner);
    for _ in 0..2001 {
        app.ask(get("/x", &[])).await;
    }
    let verified = cache.stats().verified;
    assert!((300..700).contains(&verified), "{verified}");
    assert_eq!((cache.stats().mismatched, inner.calls() as u64), (0, 1 + verified));
}

#[tokio::test]
async fn failures_and_what_was_invalidated_meanwhile_tell_nothing() {
    let (cache, _) = test_util::cache();
    let inner = Inner::new(|call, _| match call {
        1 => answer("first"),
        2 => Response::builder().status(503).body(Body::empty()).unwrap(),
        3 => Response::builder().status(429).body(Body::empty()).unwrap(),
        _ => answer("new"),
    });
    let app = App::new(&cache, shared().tags(["t"]), &inner);
    for _ in 0..3 {
        app.ask(get("/x", &[])).await;
    }
    assert_eq!((inner.calls(), cache.stats().verified), (3, 0));
    // The hit begins its verification, which runs once this task lets it.
    let _hit = app.service.clone().oneshot(get("/x", &[])).await.unwrap();
    cache.invalidate(Selector::tag("t").soft()).await.unwrap();
    settle().await;
    assert_eq!((inner.calls(), cache.stats().verified, cache.mismatches().len()), (4, 0, 0));
}

#[tokio::test]
async fn long_answers_are_not_read_to_their_end() {
    let (cache, _) = test_util::cache();
    let inner = Inner::new(|call, _| answer(vec![b'x'; if call == 1 { 10 } else { 1 << 20 }]));
    let app = App::new(&cache, shared().max_body(1000), &inner);
    app.ask(get("/x", &[])).await;
    app.ask(get("/x", &[])).await;
    assert!(matches!(
        cache.mismatches()[0].differences[..],
        [Difference::Body { at: 10, stored: 10, answered: 1001.. }]
    ));
}

/// A handler that answers its first request, and keeps the others waiting for a permit.
struct Slow {
    calls: Arc<AtomicUsize>,
    gate: Arc<tokio::sync::Semaphore>,
}

impl Slow {
    fn new() -> Self {
        Self { calls: Arc::default(), gate: Arc::new(tokio::sync::Semaphore::new(0)) }
    }

    async fn hits(&self, cache: &Cache, policy: Policy, hits: usize) -> usize {
        let (calls, gate) = (Arc::clone(&self.calls), Arc::clone(&self.gate));
        let handler = tower::service_fn(move |request: Request<Body>| {
            let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
            async move {
                if calls.fetch_add(1, SeqCst) > 0 && request.uri().path() == "/x" {
                    gate.acquire().await.unwrap().forget();
                }
                Ok::<_, Infallible>(answer("same"))
            }
        });
        let service = CacheLayer::new(cache, policy).layer(handler);
        for _ in 0..=hits {
            let response = service.clone().oneshot(get("/x", &[])).await.unwrap();
            axum::body::to_bytes(Body::new(response.into_body()), 100).await.unwrap();
            settle().await;
        }
        self.calls.load(SeqCst) - 1
    }
}

#[tokio::test(start_paused = true)]
async fn the_limits_of_the_background_hold() {
    let build = |builder: larder::CacheBuilder| test_util::cache_with(builder).unwrap().0;
    let slow = Slow::new();
    let cache = build(Cache::builder().background_limit(8).background_timeout(Duration::from_secs(60)));
    assert_eq!(slow.hits(&cache, shared(), 50).await, 6, "a quarter of the places is for refreshes");
    assert_eq!(cache.stats().background, 6);
    slow.gate.add_permits(2);
    settle().await;
    assert_eq!((cache.stats().background, cache.stats().verified), (4, 2));
    tokio::time::advance(Duration::from_secs(61)).await;
    settle().await;
    assert_eq!((cache.stats().background, cache.stats().verified), (0, 2), "what takes too long ends");

    let slow = Slow::new();
    let cache = build(Cache::builder().fill_limit(2));
    assert_eq!(slow.hits(&cache, shared(), 50).await, 2, "a verification takes the place of a fill");
    slow.gate.add_permits(2);
    settle().await;
    assert_eq!((cache.stats().verified, cache.stats().fills_limited), (2, 0));

    let slow = Slow::new();
    let cache = build(Cache::builder());
    slow.hits(&cache, shared(), 1).await;
    assert_eq!(cache.shutdown(Duration::from_secs(1)).await.aborted, 1);
    assert_eq!(slow.hits(&cache, shared(), 5).await, 1, "none begins after that");
}

#[tokio::test]
async fn layers_of_the_same_cache_further_in_take_no_part() {
    let (cache, _) = test_util::cache();
    let inner = Inner::with(&[]);
    let layer = CacheLayer::new(&cache, shared());
    let service = layer.layer(layer.layer(inner.clone()));
    for _ in 0..2 {
        let response = service.clone().oneshot(get("/x", &[])).await.unwrap();
        axum::body::to_bytes(Body::new(response.into_body()), 100).await.unwrap();
        settle().await;
    }
    assert_eq!((inner.calls(), cache.stats().mismatched), (2, 1));
}

//! What policies say, seen from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use larder::{
    CacheControl, CacheLayer, Identity, Policy, PolicyTable, Selector, UtcOffset, assert_bypass, assert_hit,
    assert_miss, test_util,
};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, service_fn};

const MINUTE: Duration = Duration::from_secs(60);

type Seen = Arc<Mutex<Vec<http::request::Parts>>>;

/// A service that remembers what it saw.
fn seeing(
    seen: &Seen,
    fields: &'static [(&'static str, &'static str)],
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + use<>
{
    let seen = seen.clone();
    service_fn(move |request: Request<Body>| {
        seen.lock().unwrap().push(request.into_parts().0);
        let mut response = Response::new(Body::from("ok"));
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        std::future::ready(Ok(response))
    })
}

fn request(uri: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn ask<S, B>(app: &S, request: Request<Body>) -> Response<()>
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: BodyExt<Data = bytes::Bytes>,
    B::Error: std::fmt::Debug,
{
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    body.collect().await.unwrap();
    Response::from_parts(head, ())
}

#[tokio::test]
async fn cookies_languages_and_codings_can_be_part_of_the_key() {
    let (cache, _) = test_util::cache();
    let seen = Seen::default();
    let policy = Policy::fresh_for(MINUTE).key_cookies(["theme"]).key_language(["en", "de"]).key_encoding();
    let app = CacheLayer::new(&cache, policy).layer(seeing(&seen, &[("vary", "cookie, accept-language")]));
    let dark = |language, sid| {
        let cookie = format!("sid={sid}; theme=dark");
        request("/x", &[("cookie", &cookie), ("accept-language", language), ("accept-encoding", "gzip, br")])
    };
    assert_miss!(ask(&app, dark("de-AT", 1)).await);
    assert_hit!(ask(&app, dark("fr, de;q=0.1", 2)).await);
    assert_miss!(ask(&app, dark("fr", 2)).await);
    let first = &seen.lock().unwrap()[0].headers;
    assert_eq!(first["cookie"], "theme=dark");
    assert_eq!(first["accept-language"], "de");
    assert_eq!(first["accept-encoding"], "br, gzip");
}

#[tokio::test]
async fn listed_values_and_custom_parts() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE).query_values("days", ["7", "30"]).key_part("device", |parts| {
        let agent = parts.headers.get("user-agent")?.to_str().ok()?;
        assert!(agent != "panic");
        Some(if agent.contains("Mobile") { "phone" } else { "desk" }.to_owned())
    });
    let app = CacheLayer::new(&cache, policy).layer(seeing(&Seen::default(), &[]));
    assert_miss!(ask(&app, request("/x?days=7", &[("user-agent", "A Mobile")])).await);
    assert_hit!(ask(&app, request("/x?days=7", &[("user-agent", "B Mobile")])).await);
    assert_miss!(ask(&app, request("/x?days=7", &[("user-agent", "B")])).await);
    assert_miss!(ask(&app, request("/x?days=7", &[])).await);
    assert_bypass!(ask(&app, request("/x?days=8", &[])).await);
    assert_bypass!(ask(&app, request("/x?days=7", &[("user-agent", "panic")])).await);
    assert_eq!(cache.stats().bypasses["query-value"], 1);
    assert_eq!(cache.stats().bypasses["callback-panicked"], 1);
}

#[tokio::test]
async fn a_new_day_starts_empty() {
    let (cache, clock) = test_util::cache();
    let policy = Policy::fresh_for(48 * 60 * MINUTE).key_date(UtcOffset::hours(2));
    let app = CacheLayer::new(&cache, policy).layer(seeing(&Seen::default(), &[]));
    ask(&app, request("/x", &[])).await;
    assert_hit!(ask(&app, request("/x", &[])).await);
    clock.advance(24 * 60 * MINUTE);
    assert_miss!(ask(&app, request("/x", &[])).await);
}

#[tokio::test]
async fn predicates_bypass_refetch_and_refuse() {
    let (cache, _) = test_util::cache();
    let has = |name: &'static str| move |parts: &http::request::Parts| parts.headers.contains_key(name);
    let policy = Policy::fresh_for(MINUTE)
        .bypass_if(has("x-bypass"))
        .refetch_if(has("x-refetch"))
        .refuse_storage_if(|request, _| request.headers.contains_key("x-refuse"));
    let seen = Seen::default();
    let app = CacheLayer::new(&cache, policy).layer(seeing(&seen, &[]));
    assert_miss!(ask(&app, request("/x", &[("x-refuse", "1")])).await);
    assert_miss!(ask(&app, request("/x", &[])).await);
    assert_bypass!(ask(&app, request("/x", &[("x-bypass", "1")])).await);
    assert_miss!(ask(&app, request("/x", &[("x-refetch", "1")])).await);
    assert_hit!(ask(&app, request("/x", &[("x-refuse", "1")])).await);
    assert_eq!(seen.lock().unwrap().len(), 4);
    assert_eq!((cache.stats().bypasses["policy"], cache.stats().not_stored["policy"]), (1, 1));
}

#[tokio::test]
async fn a_sealed_handler_sees_the_key_and_no_more() {
    let (cache, _) = test_util::cache();
    let seen = Seen::default();
    let policy = Policy::fresh_for(MINUTE).per_tenant().key_headers(["x-keyed"]).sealed().allow_headers(["x-allowed"]);
    let app = CacheLayer::new(&cache, policy).layer(seeing(&seen, &[]));
    let fields = ["host", "x-keyed", "x-allowed", "x-other", "accept", "cookie", "authorization", "x-forwarded-host"];
    let mut request = request("/x", &fields.map(|name| (name, "v")));
    request.extensions_mut().insert(Identity::new().with_tenant(1).with_user(2));
    ask(&app, request).await;
    let seen = seen.lock().unwrap();
    let mut names: Vec<_> = seen[0].headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["host", "x-allowed", "x-forwarded-host", "x-keyed"]);
    let identity = seen[0].extensions.get::<Identity>().unwrap();
    assert_eq!(identity.names().collect::<Vec<_>>(), ["tenant"]);
}

#[tokio::test]
async fn observing_counts_and_stores_nothing() {
    let (cache, clock) = test_util::cache();
    let seen = Seen::default();
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE).observe_only()).layer(seeing(&seen, &[]));
    for _ in 0..3 {
        assert_miss!(ask(&app, request("/x", &[])).await);
    }
    clock.advance(MINUTE);
    assert_miss!(ask(&app, request("/x", &[])).await);
    let stats = cache.stats();
    assert_eq!((stats.would_hits, stats.resources, seen.lock().unwrap().len()), (2, 0, 4));
}

#[tokio::test]
async fn nothing_is_fresh_after_the_moment_that_the_policy_names() {
    let (cache, clock) = test_util::cache();
    let evening = std::time::SystemTime::from(clock.now()) + MINUTE;
    let policy = Policy::fresh_for(60 * MINUTE).fresh_until(move |_| evening);
    let app = CacheLayer::new(&cache, policy).layer(seeing(&Seen::default(), &[]));
    ask(&app, request("/x", &[])).await;
    clock.advance(MINUTE - Duration::from_secs(1));
    assert_hit!(ask(&app, request("/x", &[])).await);
    clock.advance(Duration::from_secs(1));
    assert_miss!(ask(&app, request("/x", &[])).await);
    assert_eq!(cache.stats().not_stored["policy"], 1);
}

#[tokio::test]
async fn a_vary_that_does_not_matter_can_be_ignored() {
    let (cache, _) = test_util::cache();
    let policy = Policy::fresh_for(MINUTE).ignore_vary(["user-agent"]);
    let app = CacheLayer::new(&cache, policy).layer(seeing(&Seen::default(), &[("vary", "user-agent, accept")]));
    ask(&app, request("/x", &[("user-agent", "a"), ("accept", "b")])).await;
    assert_hit!(ask(&app, request("/x", &[("user-agent", "c"), ("accept", "b")])).await);
    assert_miss!(ask(&app, request("/x", &[("user-agent", "a"), ("accept", "c")])).await);
}

#[tokio::test]
async fn a_handler_can_say_how_its_answer_is_stored() {
    let (cache, clock) = test_util::cache();
    let inner = service_fn(|request: Request<Body>| async move {
        let mut response = Response::new(Body::from("ok"));
        let policy = match request.uri().path() {
            "/short" => Policy::fresh_for(MINUTE / 6),
            "/never" => Policy::from_response(),
            "/scope" => Policy::fresh_for(MINUTE).per_user(),
            "/broken" => Policy::fresh_for(Duration::ZERO),
            _ => return Ok::<_, Infallible>(response),
        };
        response.extensions_mut().insert(policy);
        Ok(response)
    });
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(inner);
    for path in ["/short", "/never", "/scope", "/broken", "/own"] {
        ask(&app, request(path, &[])).await;
    }
    clock.advance(MINUTE / 6 - Duration::from_millis(1));
    assert_hit!(ask(&app, request("/short", &[])).await);
    clock.advance(Duration::from_millis(1));
    for path in ["/short", "/never", "/scope", "/broken"] {
        assert_miss!(ask(&app, request(path, &[])).await);
    }
    assert_hit!(ask(&app, request("/own", &[])).await);
    assert_eq!(cache.stats().not_stored["handler-policy"], 4);
}

#[tokio::test]
async fn a_table_has_a_policy_for_each_path() {
    let (cache, clock) = test_util::cache();
    let table = PolicyTable::new()
        .route("/fast/{*rest}", Policy::fresh_for(MINUTE / 2))
        .when(|parts| parts.headers.contains_key("x-slow"), Policy::fresh_for(2 * MINUTE));
    let app = CacheLayer::new(&cache, table).layer(seeing(&Seen::default(), &[]));
    let slow = || request("/any", &[("x-slow", "1")]);
    ask(&app, request("/fast/x", &[])).await;
    ask(&app, slow()).await;
    clock.advance(MINUTE);
    assert_miss!(ask(&app, request("/fast/x", &[])).await);
    assert_hit!(ask(&app, slow()).await);
    assert_bypass!(ask(&app, request("/other", &[])).await);
    assert_bypass!(ask(&app, request("/fast/a%2fb", &[])).await);
    let mut change = request("/fast/x", &[]);
    *change.method_mut() = http::Method::POST;
    assert_hit!(ask(&app, request("/fast/x", &[])).await);
    assert_bypass!(ask(&app, change).await);
    assert_miss!(ask(&app, request("/fast/x", &[])).await);
}

#[test]
fn what_contradicts_itself_is_refused_when_it_meets_a_cache() {
    let (cache, _) = test_util::cache();
    let minute = || Policy::fresh_for(MINUTE);
    for (policy, says) in [
        (minute().soft_timeout(MINUTE).abandon_on_cancel(), "abandon_on_cancel()"),
        (minute().soft_timeout(MINUTE).hard_timeout(MINUTE), "hard_timeout(1m)"),
        (minute().eager_refresh(1.0), "eager_refresh(1.0)"),
        (minute().adaptive_lifetime(2 * MINUTE..=3 * MINUTE), "adaptive_lifetime(2m..=3m)"),
        (minute().min_uses(0), "min_uses(0)"),
    ] {
        let error = CacheLayer::try_new(&cache, policy).map(|_| ()).expect_err(says).to_string();
        assert!(error.contains(says), "{error}");
    }
    let all = minute()
        .stale_if_error(MINUTE)
        .wait_limit(MINUTE)
        .soft_timeout(MINUTE)
        .hard_timeout(2 * MINUTE)
        .remember_uncacheable(MINUTE)
        .min_uses(2)
        .eager_refresh(0.8)
        .xfetch(1.0)
        .jitter(0.1)
        .adaptive_lifetime(MINUTE..=60 * MINUTE);
    assert_eq!(all.warnings(), [""; 0]);
    assert!(CacheLayer::try_new(&cache, all).is_ok());
}

#[tokio::test]
async fn browsers_are_told_a_lifetime_of_their_own() {
    let (cache, clock) = test_util::cache();
    let policy = Policy::from_response().browser(CacheControl::private(MINUTE));
    let fields = &[("cache-control", "max-age=600"), ("expires", "0"), ("etag", "\"a\"")];
    let app = CacheLayer::new(&cache, policy).layer(seeing(&Seen::default(), fields));
    for age in [0, 90, 599] {
        let response = ask(&app, request("/x", &[])).await;
        assert_eq!(response.headers()["cache-control"], format!("max-age={}, private", 60 + age));
        assert!(!response.headers().contains_key("expires"));
        clock.advance(Duration::from_secs(if age == 0 { 90 } else { 509 }));
    }
    let refused = CacheLayer::new(&cache, Policy::from_response().browser(CacheControl::private(MINUTE)))
        .layer(seeing(&Seen::default(), &[("cache-control", "no-store")]));
    assert_eq!(ask(&refused, request("/y", &[])).await.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn responses_say_which_parts_of_the_query_count() {
    let (cache, _) = test_util::cache();
    let fields = &[("no-vary-search", "key-order, params=(\"utm\")")];
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(seeing(&Seen::default(), fields));
    assert_miss!(ask(&app, request("/x?a=1&b=2&utm=3", &[])).await);
    for same in ["/x?a=1&b=2&utm=3", "/x?b=2&utm=9&a=1", "/x?utm&a=%31&b=2"] {
        assert_hit!(ask(&app, request(same, &[])).await);
    }
    assert_miss!(ask(&app, request("/x?a=1&b=3", &[])).await);
    assert_miss!(ask(&app, request("/y?b=2&a=1", &[])).await);
    cache.invalidate(Selector::resource("/x?utm=0&b=2&a=1")).await.unwrap();
    assert_miss!(ask(&app, request("/x?a=1&b=2&utm=3", &[])).await);
    assert_hit!(ask(&app, request("/x?a=1&b=3&utm=4", &[])).await);
}

#[tokio::test]
async fn what_one_response_says_of_queries_is_not_true_of_another() {
    let (cache, _) = test_util::cache();
    let inner = service_fn(|request: Request<Body>| async move {
        let uri = request.uri().to_string();
        let mut response = Response::new(Body::from(uri.clone()));
        let said = match uri.as_str() {
            _ if uri.contains("id=1") => "params=(\"id\")",
            _ if uri.contains("id=2") => "params=(\"page\")",
            _ => return Ok::<_, Infallible>(response),
        };
        response.headers_mut().insert("no-vary-search", said.parse().unwrap());
        Ok(response)
    });
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(inner);
    for round in 0..3 {
        for (uri, equivalent) in [
            ("/x?id=3&page=1", &["/x?id=3&page=1"][..]),
            ("/x?id=2&page=1", &["/x?id=2&page=1", "/x?id=2&page=2"]),
            ("/x?page=1", &["/x?page=1"]),
            ("/x?id=3&page=2", &["/x?id=3&page=2"]),
            ("/x", &["/x"]),
        ] {
            let response = app.clone().oneshot(request(uri, &[])).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(equivalent.contains(&std::str::from_utf8(&body).unwrap()), "{uri} got {body:?} in round {round}");
        }
    }
}

//! Who shares with whom.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use axum::body::Body;
use http::{HeaderName, Request, Response};
use larder::{
    CacheLayer, Identity, IdentityLayer, Policy, Selector, assert_bypass, assert_hit, assert_miss, test_util,
};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, Service, ServiceExt, service_fn, util::BoxCloneSyncService};

const MINUTE: Duration = Duration::from_secs(60);

type App<B> = BoxCloneSyncService<Request<Body>, Response<B>, Infallible>;

/// Writes who asked into the body.
fn owner() -> App<Body> {
    BoxCloneSyncService::new(service_fn(|request: Request<Body>| async move {
        let who =
            |name| request.headers().get(name).map_or("nobody", |value: &http::HeaderValue| value.to_str().unwrap());
        Ok(Response::new(Body::from(format!("{}/{}", who("x-tenant"), who("x-user")))))
    }))
}

fn trusted() -> IdentityLayer {
    IdentityLayer::from_trusted_headers([
        ("tenant", HeaderName::from_static("x-tenant")),
        ("user", HeaderName::from_static("x-user")),
        ("role", HeaderName::from_static("x-role")),
    ])
}

fn request(fields: &[(&str, &str)]) -> Request<Body> {
    let mut request = Request::builder().uri("/x");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

async fn ask<S, B>(app: &S, request: Request<Body>) -> (Response<()>, String)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body_util::BodyExt<Data = bytes::Bytes> + Send + 'static,
    B::Error: std::fmt::Debug,
{
    let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn an_unscoped_policy_keys_on_the_whole_identity() {
    let (cache, _) = test_util::cache();
    let app = trusted().layer(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(owner()));
    for (tenant, user) in [("1", "7"), ("2", "7"), ("1", "8"), ("01", "7"), ("1", "7 ")] {
        let who = [("x-tenant", tenant), ("x-user", user), ("cookie", "sid=1"), ("authorization", "Bearer x")];
        assert_miss!(ask(&app, request(&who)).await.0);
        let (response, body) = ask(&app, request(&who)).await;
        assert_hit!(response);
        assert_eq!(body, format!("{tenant}/{user}"));
    }
    assert_miss!(ask(&app, request(&[])).await.0);
    assert_bypass!(ask(&app, request(&[("cookie", "sid=1")])).await.0);
}

#[tokio::test]
async fn scopes_share_as_they_say() {
    for (policy, expected) in [
        // user 8 of tenant 1, user 7 of tenant 2, nobody; after user 7 of tenant 1 has filled
        (Policy::fresh_for(MINUTE).per_user(), ["miss", "miss", "bypass"]),
        (Policy::fresh_for(MINUTE).per_tenant(), ["hit", "miss", "bypass"]),
        (Policy::fresh_for(MINUTE).shared(), ["hit", "hit", "hit"]),
        (Policy::fresh_for(MINUTE).per(["role"]), ["hit", "miss", "bypass"]),
        (
            Policy::fresh_for(MINUTE).per_context(|identity| identity.get("role").map(str::to_owned)),
            ["hit", "miss", "bypass"],
        ),
        (Policy::fresh_for(MINUTE).per(["client"]), ["bypass", "bypass", "bypass"]),
    ] {
        let (cache, _) = test_util::cache();
        let app = trusted().layer(CacheLayer::new(&cache, policy.clone()).layer(owner()));
        ask(&app, request(&[("x-tenant", "1"), ("x-user", "7"), ("x-role", "buyer")])).await;
        for (who, expected) in [
            &[("x-tenant", "1"), ("x-user", "8"), ("x-role", "buyer")][..],
            &[("x-tenant", "2"), ("x-user", "7"), ("x-role", "buyer")],
            &[],
        ]
        .into_iter()
        .zip(expected)
        {
            let (response, _) = ask(&app, request(who)).await;
            assert_eq!(test_util::outcome(response.headers()), expected, "{policy:?} {who:?}");
        }
    }
}

#[tokio::test]
async fn private_is_for_one_user_and_no_group() {
    for (policy, second) in [
        (Policy::from_response().per_user(), "hit"),
        (Policy::from_response(), "hit"),
        (Policy::from_response().per_tenant(), "miss"),
        (Policy::from_response().shared(), "miss"),
    ] {
        let (cache, _) = test_util::cache();
        let inner = service_fn(|_: Request<Body>| async {
            let response = Response::builder().header("cache-control", "private, max-age=60");
            Ok::<_, Infallible>(response.body(Body::from("mine")).unwrap())
        });
        let app = trusted().layer(CacheLayer::new(&cache, policy.clone()).layer(inner));
        let who = || request(&[("x-tenant", "1"), ("x-user", "7")]);
        ask(&app, who()).await;
        let (response, _) = ask(&app, who()).await;
        assert_eq!(test_util::outcome(response.headers()), second, "{policy:?}");
    }
}

#[tokio::test]
async fn the_wrong_order_is_noticed() {
    let (cache, _) = test_util::cache();
    let app = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(trusted().layer(owner()));
    for user in ["7", "8"] {
        let (response, body) = ask(&app, request(&[("x-user", user)])).await;
        assert_miss!(response);
        assert_eq!(body, format!("nobody/{user}"));
    }
    assert_eq!(cache.stats().not_stored["identity-after-cache"], 2);
}

#[tokio::test]
async fn a_panic_in_the_closure_costs_only_the_cache() {
    let (cache, _) = test_util::cache();
    let cached = CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(owner());
    let now = IdentityLayer::from_fn(|_| panic!("as told")).layer(cached.clone());
    let starting =
        IdentityLayer::from_async_fn(|_| -> std::future::Ready<_> { panic!("as told") }).layer(cached.clone());
    let later = IdentityLayer::from_async_fn(|_| async { panic!("as told") }).layer(cached);
    assert_bypass!(ask(&now, request(&[])).await.0);
    assert_bypass!(ask(&starting, request(&[])).await.0);
    assert_bypass!(ask(&later, request(&[])).await.0);
    assert_eq!(cache.stats().bypasses["callback-panicked"], 3);
}

#[tokio::test]
async fn the_identity_can_come_from_the_extensions_or_take_its_time() {
    #[derive(Clone)]
    struct Claims(u64);
    impl From<&Claims> for Identity {
        fn from(claims: &Claims) -> Self {
            Self::new().with_user(claims.0)
        }
    }
    let (cache, _) = test_util::cache();
    let cached = CacheLayer::new(&cache, Policy::fresh_for(MINUTE).per_user()).layer(owner());
    let now = IdentityLayer::from_extension::<Claims>().layer(cached.clone());
    let later = IdentityLayer::from_async_fn(|parts| {
        let claims = parts.extensions.get::<Claims>().cloned();
        async move {
            tokio::task::yield_now().await;
            claims.as_ref().map(Identity::from)
        }
    })
    .layer(cached);
    let claimed = |user| {
        let mut request = request(&[]);
        request.extensions_mut().insert(Claims(user));
        request
    };
    assert_miss!(ask(&now, claimed(1)).await.0);
    assert_hit!(ask(&later, claimed(1)).await.0);
    assert_miss!(ask(&later, claimed(2)).await.0);
    assert_bypass!(ask(&now, request(&[])).await.0);
}

#[tokio::test]
async fn a_part_of_the_identity_can_be_invalidated() {
    let (cache, _) = test_util::cache();
    let app = trusted().layer(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(owner()));
    let everyone = [("1", "7"), ("1", "8"), ("2", "7")];
    for (selector, gone) in [
        (Selector::user(7).within(1), [true, false, false]),
        (Selector::user(7), [true, false, true]),
        (Selector::tenant(1), [true, true, false]),
        (Selector::resource("/x").within(2), [false, false, true]),
        (Selector::attribute("role", "buyer"), [false, false, false]),
    ] {
        for (tenant, user) in everyone {
            ask(&app, request(&[("x-tenant", tenant), ("x-user", user)])).await;
        }
        cache.invalidate(selector.clone()).await.unwrap();
        for ((tenant, user), gone) in everyone.into_iter().zip(gone) {
            let (response, _) = ask(&app, request(&[("x-tenant", tenant), ("x-user", user)])).await;
            assert_eq!(test_util::outcome(response.headers()) == "miss", gone, "{selector:?} {tenant}/{user}");
        }
    }
}

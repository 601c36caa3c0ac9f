//! Authentication outside of the cache, or inside; and what happens when it is taken back.

use crate::{App, MINUTE, answering, ask, boxed, by, cached, get, outcome};
use axum::body::Body;
use http::{Request, Response, StatusCode};
use larder::{
    CacheLayer, Identity, IdentityLayer, Policy, Selector, assert_bypass, assert_hit, assert_miss, test_util,
};
use std::{
    collections::BTreeSet,
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower::{Layer, ServiceExt, service_fn};

/// Tokens that are good, and whose they are: `token-7` is user 7 of tenant 1.
type Grants = Arc<Mutex<BTreeSet<&'static str>>>;

#[derive(Clone)]
struct Claims(String);

/// Lets only those in who have a good token, and says who they are.
fn auth(grants: &Grants, inner: App) -> App {
    let grants = grants.clone();
    boxed(service_fn(move |mut request: Request<Body>| {
        let credentials = request.headers().get("authorization").or(request.headers().get("x-api-key"));
        let cookie = || request.headers().get("cookie").and_then(|cookie| cookie.to_str().ok()?.strip_prefix("sid="));
        let token = credentials.and_then(|token| token.to_str().ok()).or_else(cookie).map(str::to_owned);
        let inner = inner.clone();
        let good = token.filter(|token| grants.lock().unwrap().contains(token.as_str()));
        async move {
            let Some(token) = good else {
                let denied = Response::builder().status(StatusCode::UNAUTHORIZED);
                return Ok::<_, Infallible>(denied.body(Body::from("denied")).unwrap());
            };
            let user = token.trim_start_matches("token-").to_owned();
            request.extensions_mut().insert(Claims(user));
            inner.oneshot(request).await
        }
    }))
}

fn grants() -> Grants {
    Arc::new(Mutex::new(BTreeSet::from(["token-7", "token-8"])))
}

fn identified(inner: App) -> App {
    let layer = IdentityLayer::from_fn(|parts| {
        parts.extensions.get::<Claims>().map(|Claims(user)| Identity::new().with_tenant(1).with_user(user))
    });
    boxed(layer.layer(inner))
}

/// Says whose document it is.
fn document(fields: &'static [(&'static str, &'static str)]) -> App {
    answering(move |request| {
        let user = request.extensions().get::<Claims>().map_or("nobody", |Claims(user)| user);
        let mut response = Response::new(Body::from(format!("document of {user}")));
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    })
}

const AS_7: (&str, &str) = ("authorization", "token-7");
const AS_8: (&str, &str) = ("authorization", "token-8");
const WRONG: (&str, &str) = ("authorization", "token-9");

#[tokio::test]
async fn o_17_authentication_outside_guards_every_hit() {
    for policy in [Policy::fresh_for(MINUTE), Policy::fresh_for(MINUTE).per_user()] {
        let (cache, clock) = crate::behind::cache();
        let grants = grants();
        let policy = policy.stale_if_error(60 * MINUTE).stale_while_revalidate(60 * MINUTE);
        let app = auth(&grants, identified(cached(&cache, policy, &document(&[]))));
        for (who, body) in [(AS_7, "document of 7"), (AS_8, "document of 8")] {
            assert_eq!(ask(&app, get("/doc", &[who])).await.1, body);
            let (response, again) = ask(&app, get("/doc", &[who])).await;
            assert_hit!(response);
            assert_eq!(again, body);
        }
        for fields in [&[][..], &[WRONG], &[("authorization", "token-7 ")], &[("cookie", "sid=no")]] {
            let (response, body) = ask(&app, get("/doc", fields)).await;
            assert_eq!((response.status(), &*body), (StatusCode::UNAUTHORIZED, "denied"));
        }
        // The grant is taken back: no request gets in, and nothing that was stored for it is there when it is given
        // again, not even stale.
        grants.lock().unwrap().remove("token-7");
        cache.invalidate(Selector::user(7).within(1)).await.unwrap();
        clock.advance(2 * MINUTE);
        assert_eq!(ask(&app, get("/doc", &[AS_7])).await.0.status(), StatusCode::UNAUTHORIZED);
        grants.lock().unwrap().insert("token-7");
        assert_miss!(ask(&app, get("/doc", &[AS_7])).await.0);
        assert_eq!(outcome(&app, get("/doc", &[AS_8])).await, "stale");
    }
}

/// The cache does not know who asks: what needs credentials passes it by, each time.
#[tokio::test]
async fn o_17_authentication_inside_is_asked_each_time() {
    for (policy, wrong_order) in [
        (Policy::fresh_for(MINUTE), false),
        (Policy::fresh_for(MINUTE).shared(), false),
        (Policy::fresh_for(MINUTE), true),
        (Policy::fresh_for(MINUTE).shared(), true),
        (Policy::fresh_for(MINUTE).per_user(), true),
        (Policy::fresh_for(MINUTE).per_tenant(), true),
    ] {
        let (cache, _) = crate::behind::cache();
        let (grants, policy) = (grants(), policy.credential_headers(["x-api-key"]));
        let inner = document(&[]);
        let inner = if wrong_order { identified(inner) } else { inner };
        let app = cached(&cache, policy.clone(), &auth(&grants, inner));
        for name in ["authorization", "x-api-key", "cookie"] {
            let sid = if name == "cookie" { "sid=" } else { "" };
            let as_user = |user: &str| get("/doc", &[(name, &format!("{sid}token-{user}"))]);
            for _ in 0..2 {
                for user in ["7", "8"] {
                    let (response, body) = ask(&app, as_user(user)).await;
                    assert_ne!(test_util::outcome(response.headers()), "hit", "{policy:?} {name}");
                    assert_eq!(body, format!("document of {user}"), "{policy:?} {name}");
                }
                for request in [get("/doc", &[]), as_user("9")] {
                    assert_eq!(ask(&app, request).await.0.status(), StatusCode::UNAUTHORIZED, "{policy:?} {name}");
                }
            }
            grants.lock().unwrap().remove("token-7");
            assert_eq!(ask(&app, as_user("7")).await.0.status(), StatusCode::UNAUTHORIZED, "{policy:?} {name}");
            grants.lock().unwrap().insert("token-7");
        }
        assert_eq!(cache.stats().stored, 0, "{policy:?}");
    }
}

#[tokio::test]
async fn o_17_the_wrong_order_is_told() {
    let (cache, _) = crate::behind::cache();
    let app = cached(&cache, Policy::fresh_for(MINUTE), &identified(document(&[])));
    let (response, _) = ask(&app, get("/doc", &[])).await;
    let said = response.headers()["cache-status"].to_str().unwrap();
    assert!(said.contains("identity-after-cache"), "{said}");
    assert_eq!(cache.stats().not_stored["identity-after-cache"], 1);
    // A scope that nobody fills bypasses, each time.
    let app = cached(&cache, Policy::fresh_for(MINUTE).per_user(), &identified(document(&[])));
    assert_bypass!(ask(&app, get("/doc", &[AS_7])).await.0);
    assert_eq!(cache.stats().bypasses["identity-missing"], 1);
}

#[tokio::test]
async fn o_17_a_scope_is_never_a_raw_credential() {
    let (cache, _) = crate::behind::cache();
    for name in ["authorization", "proxy-authorization", "cookie"] {
        let policy = Policy::fresh_for(MINUTE).key_headers([name]);
        assert!(CacheLayer::try_new(&cache, policy).is_err(), "{name}");
    }
}

/// What a request with `Authorization` has filled, without an identity, is for others only if the response says so.
#[tokio::test]
async fn o_03_credentials_without_an_identity_share_nothing() {
    let scopes = || [Policy::fresh_for(MINUTE), Policy::fresh_for(MINUTE).shared()];
    for (fields, shares) in [
        (&[][..], false),
        (&[("cache-control", "max-age=600")], false),
        (&[("cache-control", "max-age=600, private")], false),
        // The verdict is about the request: what the response sends under that name says nothing.
        (&[("authorization", "x"), ("cache-control", "max-age=600")], false),
        (&[("cache-control", "max-age=600, public")], true),
        (&[("cache-control", "s-maxage=600")], true),
        (&[("cache-control", "max-age=600, must-revalidate")], true),
    ] {
        for policy in scopes() {
            for first in ["authorization", "proxy-authorization"] {
                let (cache, _) = crate::behind::cache();
                let app = cached(&cache, policy.clone(), &answering_with(fields));
                let requests = [get("/me", &[(first, "A")]), get("/me", &[(first, "B")]), get("/me", &[])];
                let mut bodies = Vec::new();
                for request in requests {
                    bodies.push(ask(&app, request).await.1);
                }
                let expected = if shares { ["A"; 3] } else { ["A", "B", "-"] };
                assert_eq!(bodies, expected, "{fields:?} {policy:?}");
            }
        }
    }
}

/// Named scopes stand for the credentials: each reads only within its own.
#[tokio::test]
async fn o_03_credentials_with_an_identity_share_within_the_scope() {
    for (policy, bodies) in [
        (Policy::fresh_for(MINUTE), ["A", "B", "C", "-"]),
        (Policy::fresh_for(MINUTE).per_user(), ["A", "B", "C", "-"]),
        (Policy::fresh_for(MINUTE).per_tenant(), ["A", "A", "C", "-"]),
        (Policy::fresh_for(MINUTE).per(["role"]), ["A", "B", "C", "-"]),
        (Policy::fresh_for(MINUTE).shared(), ["A", "B", "C", "-"]),
    ] {
        let (cache, _) = crate::behind::cache();
        let app = cached(&cache, policy.clone(), &answering_with(&[]));
        let requests =
            [("1", "a", "x", "A"), ("1", "b", "y", "B"), ("2", "a", "x", "C")].map(|(tenant, user, role, token)| {
                let identity = Identity::new().with_tenant(tenant).with_user(user).with("role", role);
                by(identity, get("/me", &[("authorization", token), ("cookie", "sid=1")]))
            });
        let mut got = Vec::new();
        for request in requests.into_iter().chain([get("/me", &[])]) {
            got.push(ask(&app, request).await.1);
        }
        assert_eq!(got, bodies, "{policy:?}");
    }
}

/// Nobody has said that the users of a tenant share, and the identity does not tell them apart.
#[tokio::test]
async fn o_03_an_identity_without_a_user_leaves_it_to_the_credentials() {
    for name in ["authorization", "cookie"] {
        for (policy, bodies) in
            [(Policy::fresh_for(MINUTE), ["A", "B", "A"]), (Policy::fresh_for(MINUTE).per_tenant(), ["A", "A", "A"])]
        {
            let (cache, _) = crate::behind::cache();
            let inner =
                answering(move |request| Response::new(Body::from(request.headers()[name].as_bytes().to_vec())));
            let app = cached(&cache, policy.clone(), &inner);
            let mut got = Vec::new();
            for user in ["A", "B", "A"] {
                got.push(ask(&app, by(Identity::new().with_tenant(1), get("/me", &[(name, user)]))).await.1);
            }
            assert_eq!(got, bodies, "{policy:?} {name}");
        }
    }
}

/// The cache knows the tenant only, and the user is found out further in.
#[tokio::test]
async fn o_17_an_identity_that_is_known_better_inside_is_told() {
    let (cache, _) = crate::behind::cache();
    let by_host = IdentityLayer::from_fn(|_| Some(Identity::new().with_tenant(1)));
    let cached = cached(&cache, Policy::fresh_for(MINUTE).per_tenant(), &identified(document(&[])));
    let app = auth(&grants(), boxed(by_host.layer(cached)));
    for (who, body) in [(AS_7, "document of 7"), (AS_8, "document of 8")] {
        let (response, got) = ask(&app, get("/doc", &[who])).await;
        assert_miss!(response);
        assert_eq!(got, body);
    }
    assert_eq!(cache.stats().not_stored["identity-after-cache"], 2);
}

/// A default for all routes outside, and what one route needs inside.
#[tokio::test]
async fn o_17_of_two_policies_that_of_the_route_counts() {
    let (cache, _) = crate::behind::cache();
    let inner = cached(&cache, Policy::fresh_for(MINUTE).per_user(), &document(&[]));
    let app = auth(&grants(), identified(cached(&cache, Policy::fresh_for(MINUTE).per_tenant(), &inner)));
    for _ in 0..2 {
        for (who, body) in [(AS_7, "document of 7"), (AS_8, "document of 8")] {
            assert_eq!(ask(&app, get("/doc", &[who])).await.1, body);
        }
    }
    let stats = cache.stats();
    assert_eq!((stats.stored, stats.hits, stats.not_stored["inner-policy"]), (2, 2, 4));
}

/// Answers with the credentials it was sent.
fn answering_with(fields: &'static [(&'static str, &'static str)]) -> App {
    answering(move |request| {
        let sent = request.headers().get("authorization").or(request.headers().get("proxy-authorization"));
        let mut response = Response::new(Body::from(sent.map_or(b"-".to_vec(), |sent| sent.as_bytes().to_vec())));
        for (name, value) in fields {
            response.headers_mut().append(*name, value.parse().unwrap());
        }
        response
    })
}

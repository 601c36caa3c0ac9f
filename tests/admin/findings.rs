//! What verification finds is told where problems are looked for.

use super::*;
use serde_json::json;

/// An application that answers each user otherwise, and keys on nobody.
async fn leaking() -> Shop {
    let (cache, clock) = test_util::cache();
    let leak = Policy::named("leak").fresh_for(60 * 24 * 2 * MINUTE).shared().verify(1.0);
    let inner = service_fn(|request: Request<Body>| {
        let user = request.extensions().get::<Identity>().and_then(Identity::user).unwrap_or("nobody").to_owned();
        std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(format!("I am {user}")))))
    });
    let app = IdentityLayer::from_fn(|parts| {
        let user = parts.headers.get("x-user")?.to_str().ok()?;
        Some(Identity::new().with_tenant(1).with_user(user))
    })
    .layer(CacheLayer::new(&cache, leak).layer(inner));
    let admin = admin::router([&cache], tokens());
    Shop { app: boxed(app), admin, cache, clock }
}

async fn problems(shop: &Shop, token: &str) -> (Value, Value) {
    let told = shop.look_as(token, "api/status").await.ok();
    (told["caches"][0]["health"].clone(), told["caches"][0]["problems"].clone())
}

#[tokio::test(start_paused = true)]
async fn hits_that_were_found_wrong_are_problems_for_a_day() {
    let shop = leaking().await;
    assert_eq!(problems(&shop, FULL).await, (json!("healthy"), json!([])));
    for user in ["ann", "bob", "eve"] {
        shop.get("/me", &[("x-user", user)]).await;
        // Verification is done in the background.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(shop.cache.stats().mismatched, 2);
    let (health, told) = problems(&shop, FULL).await;
    let text = told[0].as_str().unwrap();
    assert!(
        text.starts_with("policy leak: within a day 2 hits were not what the handler says; the last: body"),
        "{text}"
    );
    assert!(text.contains("identity") && text.contains("user") && !text.contains("eve"), "{text}");
    // No balancer is to turn away from what the stores have nothing to do with.
    assert_eq!((health, told.as_array().unwrap().len()), (json!("healthy"), 1));
    assert_eq!(shop.look_as("", "health?strict").await.status, 200);
    // It is about all tenants.
    assert_eq!(problems(&shop, TENANT).await.1, json!([]));
    shop.clock.advance(24 * 60 * MINUTE);
    assert_eq!(problems(&shop, FULL).await.1, json!([]));
}

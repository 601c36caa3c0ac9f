//! Warming on demand.

use super::*;
use larder::{WarmRequest, WarmSource, Warmer};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A shop whose requests wait for a permit, and its warmer.
fn shop() -> (Shop, Arc<Semaphore>) {
    let mut shop = Shop::open();
    let permits = Arc::new(Semaphore::new(0));
    let (gate, app) = (Arc::clone(&permits), shop.app.clone());
    let gated = boxed(service_fn(move |request: Request<Body>| {
        let (gate, app) = (Arc::clone(&gate), app.clone());
        async move {
            gate.acquire().await.unwrap().forget();
            app.oneshot(request).await
        }
    }));
    let dashboards = WarmSource::from([WarmRequest::get("/dashboard")])
        .for_each_identity([1, 2].map(|tenant| Identity::new().with_tenant(tenant)));
    let warmer = Warmer::new()
        .host("shop.example")
        .concurrency(1)
        .category("products", 1, WarmRequest::templates("/products/{id}", [("id", &["1", "2", "3"])]))
        .category("dashboards", 5, dashboards);
    shop.admin = shop.admin.warmer::<Body>(&warmer, gated);
    (shop, permits)
}

async fn job(shop: &Shop, token: &str, number: &str) -> Told {
    shop.look_as(token, &format!("api/manage/warm?cache=default&job={number}")).await
}

/// Waits until the job says this of itself.
async fn until(shop: &Shop, number: &str, is: impl Fn(&Value) -> bool) -> Value {
    for _ in 0..100_000 {
        let told = job(shop, FULL, number).await.ok();
        if is(&told) {
            return told;
        }
        tokio::task::yield_now().await;
    }
    panic!("{}", job(shop, FULL, number).await.text)
}

#[tokio::test]
async fn a_dry_run_tells_what_it_would_do() {
    let (shop, _permits) = shop();
    let warm = |body: Value| {
        let shop = &shop;
        async move { shop.act("api/manage/warm", &body).await.ok() }
    };
    let told = warm(json!({ "cache": "default", "categories": ["dashboards", "products"], "dry_run": true })).await;
    let would = json!([{ "category": "dashboards", "requests": 2 }, { "category": "products", "requests": 3 }]);
    assert_eq!(told, json!({ "dry_run": true, "would": would, "of": 5 }));
    let of_one = json!({ "categories": ["dashboards"], "tenant": "2", "force": true, "dry_run": true });
    assert_eq!(warm(of_one).await["of"], 1);
    assert_eq!(warm(json!({ "dry_run": true, "categories": null, "tenant": null })).await["of"], 5);
    // Those of a tenant warm for it alone.
    let told = shop.act_as(TENANT, "api/manage/warm", &json!({ "dry_run": true })).await.ok();
    assert_eq!((&told["of"], &told["would"]), (&json!(1), &json!([{ "category": "dashboards", "requests": 1 }])));
    assert_eq!(shop.look("api/audit").await.ok()["actions"], json!([]));
}

#[tokio::test]
async fn a_job_goes_on_in_the_background() {
    let (shop, permits) = shop();
    let told =
        shop.act("api/manage/warm", &json!({ "cache": "default", "categories": ["dashboards", "products"] })).await;
    assert_eq!((told.status.as_u16(), told.json()), (202, json!({ "job": "1" })));
    let told = until(&shop, "1", |told| told["of"] == 5).await;
    members(
        &told,
        &["job", "state", "category", "done", "of", "warmed", "skipped", "not_stored", "failed", "failures"],
    );
    assert_eq!((&told["state"], &told["done"], &told["job"]), (&json!("running"), &json!(0), &json!("1")));
    permits.add_permits(2);
    until(&shop, "1", |told| told["done"] == 2 && told["category"] == "products").await;
    // One at a time, and everybody can see it.
    let error = shop.act("api/manage/warm", &json!({ "categories": ["products"] })).await.error(409);
    assert_eq!(error, "job 1 is running: one at a time is possible");
    let warmer = shop.look("api/status").await.ok()["caches"][0]["warmer"].clone();
    let categories = json!([
        { "name": "dashboards", "priority": 5, "targets": null },
        { "name": "products", "priority": 1, "targets": null },
    ]);
    let running = json!({ "job": "1", "category": "products", "done": 2, "of": 5 });
    assert_eq!(warmer, json!({ "categories": categories, "running": running }));
    permits.add_permits(3);
    let told = until(&shop, "1", |told| told["state"] == "done").await;
    assert_eq!((&told["warmed"], &told["done"], &told["failures"]), (&json!(5), &json!(5), &json!([])));
    assert_eq!(shop.look("api/status").await.ok()["caches"][0]["warmer"]["running"], Value::Null);
    assert!(shop.is_hit("/products/3", &[]).await && shop.is_hit("/dashboard", &[("x-tenant", "2")]).await);
    // What is young is skipped, unless it is forced.
    permits.add_permits(100);
    for (force, warmed, number) in [(false, 0, "2"), (true, 3, "3")] {
        let body = json!({ "categories": ["products"], "force": force });
        assert_eq!(shop.act("api/manage/warm", &body).await.json()["job"], number);
        let told = until(&shop, number, |told| told["state"] == "done").await;
        assert_eq!((&told["warmed"], &told["skipped"]), (&json!(warmed), &json!(3 - warmed)));
    }
    let actions = shop.look("api/audit").await.ok()["actions"].clone();
    assert_eq!((&actions[0]["what"], &actions[0]["outcome"]), (&json!("products, force"), &json!("ok")));
    assert!(actions[2]["outcome"].as_str().unwrap().starts_with("refused: job 1 is running"));
    job(&shop, FULL, "4").await.error(404);
}

#[tokio::test]
async fn a_tenant_sees_its_own_jobs() {
    let (shop, permits) = shop();
    shop.act("api/manage/warm", &json!({})).await;
    job(&shop, TENANT, "1").await.error(404);
    assert_eq!(shop.look_as(TENANT, "api/status").await.ok()["caches"][0]["warmer"]["running"], Value::Null);
    permits.add_permits(100);
    until(&shop, "1", |told| told["state"] == "done").await;
    shop.act_as(TENANT, "api/manage/warm", &json!({ "tenant": "2" })).await.error(403);
    assert_eq!(shop.act_as(TENANT, "api/manage/warm", &json!({ "force": true })).await.json()["job"], "2");
    let told = until(&shop, "2", |told| told["state"] == "done").await;
    assert_eq!((&told["of"], &told["warmed"]), (&json!(1), &json!(1)));
    assert_eq!(job(&shop, TENANT, "2").await.ok()["warmed"], 1);
}

#[tokio::test]
async fn what_cannot_be_warmed_is_refused() {
    let (shop, _permits) = shop();
    for (body, status, said) in [
        (json!({ "categories": ["dashboard"] }), 400, "there is no `dashboard`, but `dashboards`, `products`"),
        (json!({ "categories": "dashboards" }), 400, "a list of texts"),
        (json!({ "categories": [1] }), 400, "a list of texts"),
        (json!({ "category": "dashboards" }), 400, "`category` is not known here"),
        (json!({ "force": 1 }), 400, "force: true or false"),
        (json!({ "tenant": 1 }), 400, "tenant: a text"),
        (json!({ "cache": "other" }), 404, "no cache is named `other`"),
    ] {
        let error = shop.act("api/manage/warm", &body).await.error(status);
        assert!(error.contains(said), "{error}");
    }
    let without = Shop::open();
    assert!(without.act("api/manage/warm", &json!({ "dry_run": true })).await.error(404).contains("gave no warmer"));
}

#[tokio::test]
async fn a_job_ends_with_its_cache() {
    let (shop, _permits) = shop();
    shop.act("api/manage/warm", &json!({ "categories": ["products"] })).await;
    until(&shop, "1", |told| told["of"] == 3).await;
    shop.cache.shutdown(Duration::ZERO).await;
    until(&shop, "1", |told| told["state"] == "failed").await;
}

//! Access that is limited to a tenant: nothing of the others can be seen, or changed.

use super::*;
use serde_json::json;

async fn two() -> Shop {
    let shop = Shop::open();
    for (tenant, times) in [("1", 2), ("2", 5)] {
        for _ in 0..times {
            shop.get("/dashboard", &[("x-tenant", tenant)]).await;
            shop.get("/other?of=two", &[("x-tenant", tenant)]).await;
        }
    }
    shop.get("/products/7", &[]).await;
    shop
}

#[tokio::test]
async fn o_44_a_tenant_sees_its_own_alone() {
    let shop = two().await;
    let told = shop.look_as(TENANT, "api/explore").await.ok();
    assert_eq!((&told["total"], &told["matching"]), (&json!(2), &json!(2)));
    assert!(told["entries"].as_array().unwrap().iter().all(|row| row["tenant"] == "1"));
    assert_eq!(shop.look_as(TENANT, "api/explore?tenant=1").await.ok()["total"], 2);
    let error = shop.look_as(TENANT, "api/explore?tenant=2").await.error(403);
    assert_eq!(error, "access is limited to tenant `1`: what was asked concerns `2`");

    // The entries of others are not there.
    let all = shop.look("api/explore").await.ok();
    for row in all["entries"].as_array().unwrap() {
        let told = shop.look_as(TENANT, &format!("api/entry?id={}", row["id"].as_str().unwrap())).await;
        assert_eq!(told.status, if row["tenant"] == "1" { 200 } else { 404 });
    }

    let told = shop.look_as(TENANT, "api/metrics").await.ok();
    let cache = &told["caches"][0];
    members(cache, &["name", "total", "windows", "policies", "tenants", "tags", "patterns", "uncacheable"]);
    assert_eq!((&cache["total"]["hits"], &cache["windows"]["1h"]["hits"]), (&json!(2), &json!(2)));
    assert_eq!(cache["tenants"].as_array().unwrap().iter().map(|row| row["name"].clone()).collect::<Vec<_>>(), ["1"]);
    for all in ["policies", "tags", "patterns", "uncacheable"] {
        assert_eq!(cache[all], json!([]), "{all}");
    }

    let told = shop.look_as(TENANT, "api/status").await.ok();
    assert_eq!(told["access"], json!({ "level": "full", "tenant": "1", "name": "of one" }));
    let own: u64 = shop.look_as(TENANT, "api/explore").await.ok()["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["size_bytes"].as_u64().unwrap())
        .sum();
    let memory = json!({ "used_bytes": own, "limit_bytes": null, "resources": 2, "evictions": null });
    assert_eq!(told["caches"][0]["memory"], memory);
    assert_eq!((&told["caches"][0]["stores"], &told["caches"][0]["fills"]), (&json!([]), &Value::Null));
}

#[tokio::test]
async fn what_concerns_all_is_refused() {
    let shop = two().await;
    for path in [
        "api/history",
        "api/policies",
        "api/dependencies",
        "api/advice",
        "api/report",
        "api/metrics?format=prometheus",
        "api/explain?uri=/dashboard&tenant=2",
    ] {
        let error = shop.look_as(TENANT, path).await.error(403);
        assert!(error.starts_with("access is limited to tenant `1`"), "{path}: {error}");
    }
    // Nor whether somebody else has asked for what all share.
    assert_eq!(shop.look("api/explain?uri=/products/7").await.ok()["explanations"][0]["outcome"], "hit");
    let error = shop.look_as(TENANT, "api/explain?uri=/products/7").await.error(403);
    assert!(error.ends_with("is not keyed on it"), "{error}");
    let error = shop.act_as(TENANT, "api/manage/clear", &json!({ "confirm": "default" })).await.error(403);
    assert!(error.contains("concerns all"), "{error}");
    assert_eq!(shop.cache.stats().resources, 5);
}

#[tokio::test]
async fn o_44_actions_are_narrowed() {
    for (selector, entries) in [
        (json!({ "everything": true }), 2),
        (json!({ "policy": "dashboard" }), 1),
        (json!({ "tag": "dashboard" }), 1),
        (json!({ "tags": ["dashboard"] }), 1),
        (json!({ "pattern": "*" }), 2),
        (json!({ "pattern": "*tenant=2*" }), 0),
        (json!({ "resource": "/other?of=two" }), 1),
        (json!({ "resource": "/products/7" }), 0),
        (json!({ "tag": "products" }), 0),
        (json!({ "changed": "People" }), 1),
        (json!({ "tenant": "1" }), 2),
        (json!({ "user": "7" }), 0),
        (json!({ "everything": true, "tenant": "1" }), 2),
    ] {
        let shop = two().await;
        for preview in [true, false] {
            let body = json!({ "selector": selector, "preview": preview });
            let told = shop.act_as(TENANT, "api/manage/invalidate", &body).await.ok();
            assert_eq!(told["entries"], entries, "{selector}");
        }
        assert!(shop.is_hit("/dashboard", &[("x-tenant", "2")]).await, "{selector}");
        assert!(shop.is_hit("/other?of=two", &[("x-tenant", "2")]).await, "{selector}");
        assert!(shop.is_hit("/products/7", &[]).await, "{selector}");
        assert_eq!(shop.look("api/explore?tenant=1").await.ok()["total"], 2 - entries, "{selector}");
    }
    let shop = two().await;
    for selector in [
        json!({ "tenant": "2" }),
        json!({ "tag": "dashboard", "tenant": "2" }),
        json!({ "changed": "People", "tenant": 2 }),
    ] {
        shop.act_as(TENANT, "api/manage/invalidate", &json!({ "selector": selector })).await.error(403);
    }
    assert!(shop.is_hit("/dashboard", &[("x-tenant", "2")]).await);
}

#[tokio::test]
async fn a_closure_of_the_dependencies_does_not_reach_others() {
    let dependencies = Dependencies::new().selectors("Rule", |_| async {
        vec![
            larder::Selector::tag("dashboard"),
            larder::Selector::tenant(2),
            larder::Selector::policy("dashboard").within(2),
        ]
    });
    let shop = Shop::with(Cache::builder().dependencies(dependencies));
    for tenant in ["1", "2"] {
        shop.get("/dashboard", &[("x-tenant", tenant)]).await;
    }
    let body = json!({ "selector": { "changed": "Rule" } });
    assert_eq!(shop.act_as(TENANT, "api/manage/invalidate", &body).await.ok()["entries"], 1);
    assert!(shop.is_hit("/dashboard", &[("x-tenant", "2")]).await);
    assert!(!shop.is_hit("/dashboard", &[("x-tenant", "1")]).await);
}

#[tokio::test]
async fn the_trail_is_that_of_the_tenant() {
    let shop = two().await;
    shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "of all" } })).await.ok();
    shop.act_as(TENANT, "api/manage/invalidate", &json!({ "selector": { "tag": "of one" } })).await.ok();
    let told = shop.look_as(TENANT, "api/audit").await.ok();
    assert_eq!(told["actions"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&told["actions"][0]["what"], &told["actions"][0]["by"]),
        (&json!("tag of one, tenant 1"), &json!("of one"))
    );
    assert_eq!(shop.look("api/audit").await.ok()["actions"].as_array().unwrap().len(), 2);
}

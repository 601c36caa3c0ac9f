//! What each path answers, by its shape and by what it says.

use super::*;
use larder::Value as Kept;
use serde_json::json;

const TALLY: [&str; 21] = [
    "hits",
    "stale",
    "revalidated",
    "misses",
    "collapsed",
    "bypasses",
    "stored",
    "not_stored",
    "refreshes",
    "failed_refreshes",
    "timeouts",
    "invalidations",
    "evictions",
    "lookup_hit_ratio",
    "hit_ratio",
    "saved_seconds",
    "saved_bytes",
    "hit_latency",
    "miss_latency",
    "bypass_reasons",
    "not_stored_reasons",
];

fn counted(row: &Value) {
    members(&row["total"], &TALLY);
    members(&row["windows"], &["1m", "5m", "1h"]);
    for window in ["1m", "5m", "1h"] {
        members(&row["windows"][window], &TALLY);
    }
}

static RATE: Kept<u32> = Kept::named("gold_rate").fresh_for(MINUTE).shared().tags(&["rates"]).depends_on(&["Rate"]);

async fn busy() -> Shop {
    let shop = Shop::open();
    shop.cache.declare(&RATE).unwrap();
    shop.cache.value(&RATE).put(2650);
    for _ in 0..4 {
        shop.get("/products/7", &[]).await;
        shop.get("/dashboard", &[("x-tenant", "1")]).await;
        shop.get("/cart", &[]).await;
    }
    shop.get("/dashboard", &[("x-tenant", "2")]).await;
    shop.cache.invalidate(larder::Selector::tag("nothing")).await.unwrap();
    shop
}

#[tokio::test]
async fn status_tells_what_is_there() {
    let shop = busy().await;
    shop.clock.advance(Duration::from_millis(1500));
    let told = shop.look("api/status").await.ok();
    members(&told, &["larder", "now", "uptime_seconds", "access", "caches"]);
    assert_eq!(told["larder"], env!("CARGO_PKG_VERSION"));
    assert_eq!((told["now"].as_f64(), told["uptime_seconds"].as_f64()), (Some(1_800_000_001.5), Some(1.5)));
    assert_eq!(told["access"], json!({ "level": "full", "tenant": null, "name": "token" }));
    let cache = &told["caches"][0];
    members(
        cache,
        &[
            "name",
            "namespace",
            "version",
            "health",
            "problems",
            "memory",
            "fills",
            "background",
            "writes_waiting",
            "stores",
            "log",
            "values",
            "warmer",
        ],
    );
    assert_eq!(
        (&cache["name"], &cache["namespace"], &cache["version"]),
        (&json!("default"), &json!("shop"), &json!("7"))
    );
    assert_eq!((&cache["health"], &cache["problems"]), (&json!("healthy"), &json!([])));
    members(&cache["memory"], &["used_bytes", "limit_bytes", "resources", "evictions"]);
    assert_eq!((&cache["memory"]["resources"], &cache["memory"]["limit_bytes"]), (&json!(4), &json!(64 << 20)));
    assert_eq!((&cache["stores"], &cache["log"]), (&json!([]), &json!({ "kind": "local" })));
    assert_eq!((&cache["values"], &cache["warmer"]), (&json!(["gold_rate"]), &Value::Null));
}

#[tokio::test]
async fn metrics_tell_what_was_counted() {
    let shop = busy().await;
    let told = shop.look("api/metrics?cache=default").await.ok();
    members(&told, &["caches"]);
    let cache = &told["caches"][0];
    members(cache, &["name", "total", "windows", "policies", "tenants", "tags", "patterns", "uncacheable"]);
    counted(cache);
    assert_eq!((&cache["total"]["hits"], &cache["total"]["invalidations"]), (&json!(6), &json!(1)));
    assert_eq!(cache["total"]["not_stored_reasons"], json!({ "set-cookie": 4 }));
    members(&cache["total"]["miss_latency"], &["count", "p50_seconds", "p95_seconds", "p99_seconds"]);
    let named = |list: &str, name: &str| {
        let list = cache[list].as_array().unwrap();
        list.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {list:?}")).clone()
    };
    let dashboard = named("policies", "dashboard");
    members(&dashboard, &["name", "kind", "route", "objective", "total", "windows", "entries", "entry_bytes"]);
    counted(&dashboard);
    assert_eq!((&dashboard["kind"], &dashboard["route"]), (&json!("response"), &json!("/dashboard")));
    assert_eq!(dashboard["objective"], json!({ "lookup_hit_ratio": 0.8, "p95_seconds": 0.5, "met": null }));
    assert_eq!((&dashboard["entries"], &dashboard["total"]["hits"]), (&json!(2), &json!(3)));
    assert_eq!(named("policies", "/products/{id}")["objective"], Value::Null);
    let rate = named("policies", "gold_rate");
    assert_eq!(
        (&rate["kind"], &rate["route"], &rate["total"]["hit_latency"]),
        (&json!("value"), &json!(null), &json!(null))
    );
    let tenant = named("tenants", "1");
    counted(&tenant);
    assert_eq!(tenant["total"]["hits"], 3);
    // What is counted of the whole cache alone is not known of its parts.
    for row in [&dashboard, &rate, &tenant] {
        for tally in [&row["total"], &row["windows"]["1h"]] {
            assert_eq!((&tally["evictions"], &tally["invalidations"]), (&Value::Null, &Value::Null));
        }
    }
    for (list, name) in [("tags", "dashboard"), ("patterns", "/products/*")] {
        members(&named(list, name), &["name", "entries", "entry_bytes"]);
    }
    let cart = &cache["uncacheable"][0];
    members(cart, &["route", "policy", "reason", "count", "advice"]);
    assert_eq!(
        (&cart["route"], &cart["policy"], &cart["reason"], &cart["count"]),
        (&json!("/cart"), &json!("cart"), &json!("set-cookie"), &json!(4))
    );
    assert!(cart["advice"].as_str().unwrap().contains("cookie"));
}

#[tokio::test]
async fn metrics_are_text_for_prometheus() {
    let shop = busy().await;
    let told = shop.look("api/metrics?format=prometheus").await;
    assert_eq!(told.status, 200);
    assert!(told.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
    assert!(told.text.contains("{cache=\"default\"}"), "{}", told.text);
    assert_eq!(shop.look("api/metrics?format=json").await.ok()["caches"][0]["name"], "default");
}

#[tokio::test]
async fn history_tells_of_each_step() {
    let shop = busy().await;
    for (span, step) in [("", 10), ("&span=1h", 10), ("&span=24h", 60), ("&span=7d", 600)] {
        shop.clock.advance(Duration::from_secs(600));
        let told = shop.look(&format!("api/history?cache=default{span}")).await.ok();
        members(&told, &["cache", "step_seconds", "samples"]);
        assert_eq!((&told["cache"], &told["step_seconds"]), (&json!("default"), &json!(step)));
        let samples = told["samples"].as_array().unwrap();
        assert!(!samples.is_empty(), "{span}");
        members(
            &samples[0],
            &[
                "at",
                "hits",
                "stale",
                "revalidated",
                "misses",
                "collapsed",
                "bypasses",
                "stored",
                "invalidations",
                "evictions",
                "used_bytes",
                "hit_p50_seconds",
                "hit_p95_seconds",
                "miss_p50_seconds",
                "miss_p95_seconds",
                "log_lag_seconds",
            ],
        );
        assert_eq!((&samples[0]["hits"], &samples[0]["log_lag_seconds"]), (&json!(6), &Value::Null));
        assert!(samples[0]["at"].as_f64().unwrap() > 1_800_000_000.0);
    }
    // What was evicted and invalidated stands in the windows of the whole cache.
    let told = shop.look("api/metrics").await.ok();
    assert_eq!(told["caches"][0]["windows"]["1h"]["invalidations"], 1);
}

#[tokio::test]
async fn policies_tell_what_is_in_force() {
    let shop = busy().await;
    let told = shop.look("api/policies").await.ok();
    members(&told, &["caches"]);
    let cache = &told["caches"][0];
    members(cache, &["name", "policies"]);
    for policy in cache["policies"].as_array().unwrap() {
        members(policy, &["name", "kind", "route", "settings", "depends_on", "tags", "objective", "warnings"]);
        for setting in policy["settings"].as_array().unwrap() {
            members(setting, &["name", "value", "default"]);
        }
    }
    let named = |name: &str| {
        let all = cache["policies"].as_array().unwrap();
        all.iter().find(|row| row["name"] == name).unwrap().clone()
    };
    let dashboard = named("dashboard");
    assert_eq!((&dashboard["depends_on"], &dashboard["tags"]), (&json!(["People"]), &json!(["dashboard"])));
    assert_eq!(dashboard["objective"], json!({ "lookup_hit_ratio": 0.8, "p95_seconds": 0.5 }));
    let lifetime = json!({ "name": "lifetime", "value": "1m", "default": false });
    assert!(dashboard["settings"].as_array().unwrap().contains(&lifetime), "{dashboard}");
    // A layer made anew says what is in force.
    let anew = Policy::named("dashboard").fresh_for(2 * MINUTE).per_tenant().objective(0.9, MINUTE);
    let _layer = CacheLayer::new(&shop.cache, anew);
    let told = shop.look("api/policies").await.ok();
    let all = told["caches"][0]["policies"].as_array().unwrap();
    let same: Vec<_> = all.iter().filter(|row| row["name"] == "dashboard").collect();
    assert_eq!((same.len(), &same[0]["depends_on"], &same[0]["route"]), (1, &json!([]), &Value::Null));
    assert_eq!(same[0]["objective"], json!({ "lookup_hit_ratio": 0.9, "p95_seconds": 60.0 }));
    assert!(
        same[0]["settings"]
            .as_array()
            .unwrap()
            .contains(&json!({ "name": "lifetime", "value": "2m", "default": false }))
    );
    let rate = named("gold_rate");
    assert_eq!(
        (&rate["kind"], &rate["depends_on"], &rate["tags"]),
        (&json!("value"), &json!(["Rate"]), &json!(["rates"]))
    );
}

#[tokio::test]
async fn the_graph_has_nodes_for_all_that_depends() {
    let shop = busy().await;
    let told = shop.look("api/dependencies").await.ok();
    members(&told, &["cache", "nodes", "edges"]);
    let nodes = told["nodes"].as_array().unwrap();
    let ids: Vec<_> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    for id in
        ["name:Rule", "name:People", "name:Rate", "tag:rule:{id}", "policy:dashboard", "value:gold_rate", "policy:cart"]
    {
        assert!(ids.contains(&id), "{id} in {ids:?}");
    }
    let edges = told["edges"].as_array().unwrap();
    for (from, to) in [
        ("name:Rule", "tag:rules"),
        ("name:Rule", "name:People"),
        ("name:People", "policy:dashboard"),
        ("tag:dashboard", "policy:dashboard"),
        ("name:Rate", "value:gold_rate"),
        ("tag:rates", "value:gold_rate"),
    ] {
        assert!(edges.iter().any(|edge| edge["from"] == from && edge["to"] == to), "{from} {to}");
    }
    nodes.iter().for_each(|node| members(node, &["id", "label", "kind"]));
    for edge in edges {
        members(edge, &["from", "to", "label"]);
        assert!(ids.contains(&edge["from"].as_str().unwrap()) && ids.contains(&edge["to"].as_str().unwrap()));
    }
}

#[tokio::test]
async fn several_caches_have_names() {
    let (one, other) = (Cache::in_memory(1 << 20), Cache::in_memory(1 << 20));
    let names = |told: &Told| -> Vec<String> {
        let all = told.ok()["caches"].as_array().unwrap().clone();
        all.iter().map(|cache| cache["name"].as_str().unwrap().to_owned()).collect()
    };
    let look = |path: &str| request(&Method::GET, path, FULL, &[], "");
    let admin = admin::router([("pages", &one), ("rates", &other)], Token::new(FULL));
    assert_eq!(names(&send(&admin, look("api/status")).await), ["pages", "rates"]);
    assert_eq!(names(&send(&admin, look("api/metrics?cache=rates")).await), ["rates"]);
    assert_eq!(send(&admin, look("api/explore")).await.ok()["cache"], "pages");
    assert_eq!(send(&admin, look("api/explore?cache=rates")).await.ok()["cache"], "rates");
    let error = send(&admin, look("api/explore?cache=r%3Cb%3E")).await.error(404);
    assert_eq!(error, "no cache is named `r<b>`: there are `pages`, `rates`");
    let admin = admin::router([&one, &other], Token::new(FULL));
    assert_eq!(names(&send(&admin, look("api/status")).await), ["default", "default-2"]);
    let caches = larder::Caches::builder().cache("a", Cache::builder()).cache("b", Cache::builder()).build().unwrap();
    let admin = admin::router(&caches, Token::new(FULL));
    assert_eq!(names(&send(&admin, look("api/policies")).await), ["a", "b"]);
    let none: [&Cache; 0] = [];
    let admin = admin::router(none, Token::new(FULL));
    assert!(names(&send(&admin, look("api/status")).await).is_empty());
    assert!(send(&admin, look("api/explore")).await.error(404).contains("there is none"));
}

#[tokio::test]
async fn a_report_names_its_cache_as_everything_else_here_does() {
    let (one, other) = (Cache::in_memory(1 << 20), Cache::in_memory(1 << 20));
    let admin = admin::router([&one, &other], Token::new(FULL));
    let look = || send(&admin, request(&Method::GET, "api/report?cache=default-2", FULL, &[], ""));
    assert!(look().await.error(404).contains("there is no report yet"));
    other.report();
    let told = look().await.ok();
    members(
        &told,
        &["cache", "at", "since", "text", "coverage", "effectiveness", "bottlenecks", "regressions", "advice"],
    );
    members(&told["effectiveness"], &TALLY);
    assert_eq!((&told["cache"], &told["effectiveness"]["evictions"]), (&json!("default-2"), &Value::Null));
    assert!(told["text"].as_str().unwrap().starts_with("cache default-2, the last 0 s: 0 requests"), "{told}");
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let shop = busy().await;
    for (path, status, said) in [
        ("api/history?span=2h", 400, "span=`2h`: possible is `1h`, `24h`, `7d`"),
        ("api/metrics?format=xml", 400, "format=`xml`: possible is `json`, `prometheus`"),
        ("api/explore?limit=0", 400, "limit=`0`: possible is a number from 1 to 1000"),
        ("api/explore?limit=1001", 400, "a number from 1 to 1000"),
        ("api/explore?limit=many", 400, "limit=`many`"),
        ("api/explore?sort=name", 400, "sort=`name`: possible is `size`, `age`, `hits`, `ttl`, `key`"),
        ("api/explore?order=up", 400, "order=`up`"),
        ("api/explore?cursor=zz", 400, "cursor=`zz`"),
        ("api/explore?pattern=x%5C", 400, "pattern=`x\\\\`"),
        ("api/explore?tenant=1&tenant=2", 400, "`tenant` is there twice"),
        ("api/explore?tenant=%FF", 400, "is not UTF-8"),
        ("api/entry", 400, "id=``"),
        ("api/entry?id=xyz", 400, "id=`xyz`"),
        ("api/entry?id=00000000000000000000000000000000", 404, "there is no such entry"),
        ("api/audit?limit=-1", 400, "limit=`-1`: possible is a number from 1 to 1000"),
        ("api/status?cache=other", 404, "no cache is named `other`: there are `default`"),
        ("api/nothing", 404, "nothing at this path"),
        ("api/manage/warm?job=1", 404, "gave no warmer"),
    ] {
        let error = shop.look(path).await.error(status);
        assert!(error.contains(said), "{path}: {error}");
    }
    // What is empty is as if it were not there.
    shop.look("api/explore?cache=&pattern=&tenant=&policy=&tag=&sort=&order=&limit=&cursor=").await.ok();
}

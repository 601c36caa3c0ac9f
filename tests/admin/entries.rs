//! What memory holds: lists, pages of them, and single entries.

use super::*;
use serde_json::json;
use std::collections::BTreeSet;

const ROW: [&str; 16] = [
    "id",
    "key",
    "kind",
    "policy",
    "tenant",
    "status",
    "size_bytes",
    "age_seconds",
    "ttl_seconds",
    "stale",
    "hits",
    "tags",
    "variants",
    "validators",
    "stored_at",
    "expires_at",
];

fn rows(told: &Value) -> &Vec<Value> {
    told["entries"].as_array().unwrap()
}

fn keys(told: &Value) -> Vec<String> {
    rows(told).iter().map(|row| row["key"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_tells_of_each_entry() {
    let shop = Shop::open();
    shop.get("/products/7?page=2", &[]).await;
    shop.get("/products/7?page=2", &[]).await;
    shop.get("/dashboard", &[("x-tenant", "1")]).await;
    shop.clock.advance(Duration::from_millis(12_500));
    let told = shop.look("api/explore?sort=key").await.ok();
    members(&told, &["cache", "total", "matching", "complete", "cursor", "entries"]);
    assert_eq!((&told["total"], &told["matching"], &told["complete"]), (&json!(2), &json!(2), &json!(true)));
    assert_eq!((&told["cache"], &told["cursor"]), (&json!("default"), &Value::Null));
    rows(&told).iter().for_each(|row| members(row, &ROW));
    let product = rows(&told).iter().find(|row| row["policy"] == "/products/{id}").unwrap();
    assert_eq!(product["key"], "shop:v7:GET://shop.example/products/7?page=2");
    assert_eq!(
        (&product["kind"], &product["tenant"], &product["status"]),
        (&json!("response"), &json!(null), &json!(200))
    );
    assert_eq!((&product["age_seconds"], &product["ttl_seconds"]), (&json!(12.5), &json!(47.5)));
    assert_eq!((&product["stale"], &product["hits"], &product["variants"]), (&json!(false), &json!(1), &json!(1)));
    assert_eq!((&product["tags"], &product["validators"]), (&json!(["products"]), &json!(["etag"])));
    assert_eq!(product["expires_at"], json!(1_800_000_060.0));
    shop.clock.advance(MINUTE);
    let told = shop.look("api/explore?policy=/products/%7Bid%7D").await.ok();
    let product = &rows(&told)[0];
    assert_eq!(
        (&product["ttl_seconds"], &product["stale"], &told["matching"]),
        (&json!(-12.5), &json!(true), &json!(1))
    );
}

#[tokio::test]
async fn lists_are_narrowed_and_put_in_order() {
    let shop = Shop::open();
    for id in 1..=9 {
        shop.get(&format!("/products/{id}"), &[]).await;
        for _ in 0..id {
            shop.get(&format!("/products/{id}"), &[]).await;
        }
        shop.clock.advance(Duration::from_secs(1));
    }
    for tenant in ["1", "2", "11"] {
        shop.get("/dashboard", &[("x-tenant", tenant)]).await;
    }
    let ids = |told: &Value| -> String {
        let last = |key: String| key.chars().next_back().unwrap();
        keys(told).into_iter().map(last).collect()
    };
    for (query, expected) in [
        ("policy=/products/%7Bid%7D&sort=key", "123456789"),
        ("policy=/products/%7Bid%7D&sort=key&order=desc", "987654321"),
        ("tag=products&sort=hits", "987654321"),
        ("tag=products&sort=hits&order=asc&limit=3", "123"),
        ("tag=products&sort=age", "123456789"),
        ("tag=products&sort=age&order=asc", "987654321"),
        ("tag=products&sort=ttl&limit=2", "98"),
        ("pattern=/products/*&sort=key&order=asc", "123456789"),
        ("pattern=*products/7", "7"),
        ("pattern=/products/7", "7"),
        ("pattern=tenant:1:*&sort=key", "d"),
        ("tenant=1&sort=key", "d"),
        ("tenant=3", ""),
        ("tag=nothing", ""),
        ("pattern=*&tenant=11&policy=dashboard&tag=dashboard", "d"),
    ] {
        let told = shop.look(&format!("api/explore?{query}")).await.ok();
        assert_eq!(ids(&told), expected, "{query}");
    }
    let told = shop.look("api/explore?tag=products&limit=3").await.ok();
    assert_eq!((&told["total"], &told["matching"]), (&json!(12), &json!(9)));
    assert!(told["cursor"].is_string());
}

#[tokio::test]
async fn variants_are_entries_of_their_own() {
    let (cache, _clock) = test_util::cache();
    let answer = service_fn(|request: Request<Body>| {
        let body = request.headers().get("accept-language").map_or(Vec::new(), |value| value.as_bytes().to_vec());
        let response = Response::builder().header("vary", "accept-language").body(Body::from(body)).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let app = boxed(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(answer));
    let admin = admin::router(&cache, Token::new(FULL).grants(Access::read_only().bodies()));
    let shop = Shop { app, admin, cache, clock: test_util::cache().1 };
    for language in ["en", "de", "fr"] {
        shop.get("/", &[("accept-language", language)]).await;
    }
    let told = shop.look("api/explore").await.ok();
    let ids: BTreeSet<_> = rows(&told).iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), &rows(&told)[0]["variants"]), (3, &json!(3)));
    for id in ids {
        let entry = shop.look(&format!("api/entry?id={id}")).await.ok();
        assert_eq!((&entry["nominated"], &entry["body_bytes"]), (&json!(["accept-language"]), &json!(2)));
    }
}

#[tokio::test]
async fn o_44_credentials_are_digests_or_left_out() {
    let shop = Shop::open();
    let fields = [("x-api-key", "s3cret"), ("x-client", "s3cret-too")];
    shop.get("/secret?token=s3cret&page=1&sid=s3cret", &fields).await;
    shop.get("/secret?token=other&page=1&sid=s3cret", &fields).await;
    let told = shop.look("api/explore?sort=key").await;
    assert!(!told.text.contains("s3cret") && told.text.contains("page=1"), "{}", told.text);
    let told = told.ok();
    assert_eq!(rows(&told).len(), 2);
    assert!(keys(&told).iter().all(|key| key.contains("x-api-key=#") && key.contains("x-client=#")), "{told}");
    // Nor can they be guessed, sign by sign.
    for guess in ["*s3cret*", "*token=s*", "*x-client=s3*", "*x-client:s3cret-too*", "*x-api-key:s3*"] {
        let told = shop.look(&format!("api/explore?pattern={}", query(guess))).await.ok();
        assert_eq!(told["matching"], 0, "{guess}");
    }
    let id = rows(&told)[0]["id"].as_str().unwrap();
    let told = shop.look(&format!("api/entry?id={id}")).await;
    assert!(!told.text.contains("s3cret"), "{}", told.text);
    let entry = told.ok();
    let more = [
        "cache",
        "head",
        "stale_while_revalidate_seconds",
        "stale_if_error_seconds",
        "fill_seconds",
        "body",
        "body_bytes",
        "nominated",
    ];
    members(&entry, &[&ROW[..], &more].concat());
    let head = entry["head"].as_array().unwrap();
    assert!(head.contains(&json!(["content-type", "text/html; charset=utf-8"])));
    assert!(head.contains(&json!(["content-location", "/elsewhere?…"])), "{head:?}");
    assert_eq!((&entry["body"], &entry["body_bytes"]), (&Value::Null, &json!("<p>/secret</p>".len())));
}

#[tokio::test]
async fn bodies_are_for_those_who_may_see_them() {
    let (cache, clock) = test_util::cache();
    let answer = service_fn(|request: Request<Body>| {
        let (kind, body) = match request.uri().path() {
            "/text" => ("text/plain", b"h\xc3\xa4llo".to_vec()),
            "/json" => ("application/vnd.x+json", b"{}".to_vec()),
            "/binary" => ("application/octet-stream", b"hallo".to_vec()),
            "/latin" => ("text/plain", b"h\xe4llo".to_vec()),
            "/longest" => ("text/plain", vec![b'x'; 64 * 1024]),
            _ => ("text/plain", vec![b'x'; 64 * 1024 + 1]),
        };
        let coding = if request.uri().query().is_some() { "gzip" } else { "" };
        let mut response = Response::builder().header("content-type", kind);
        if !coding.is_empty() {
            response = response.header("content-encoding", coding);
        }
        std::future::ready(Ok::<_, Infallible>(response.body(Body::from(body)).unwrap()))
    });
    let app = boxed(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(answer));
    let grants = [Token::new(FULL), Token::new(READ).grants(Access::read_only().bodies())];
    let admin = admin::router(&cache, grants);
    let shop = Shop { app, admin, cache, clock };
    for (path, body) in [
        ("/text", Some("hällo".to_owned())),
        ("/text?coded", None),
        ("/json", Some("{}".to_owned())),
        ("/binary", None),
        ("/latin", None),
        ("/longest", Some("x".repeat(64 * 1024))),
        ("/longer", None),
    ] {
        shop.get(path, &[]).await;
        let told = shop.look("api/explore?pattern=/*&sort=age&order=asc").await.ok();
        let row = rows(&told).iter().find(|row| row["key"].as_str().unwrap().ends_with(path)).unwrap();
        let id = row["id"].as_str().unwrap();
        assert_eq!(shop.look_as(FULL, &format!("api/entry?id={id}")).await.ok()["body"], Value::Null, "{path}");
        assert_eq!(shop.look_as(READ, &format!("api/entry?id={id}")).await.ok()["body"], json!(body), "{path}");
    }
}

/// Time stands still, so that no page is broken off on a machine that is busy.
#[tokio::test(start_paused = true)]
async fn o_44_a_hundred_thousand_entries_come_in_pages() {
    const ALL: u64 = 100_000;
    static NUMBER: larder::Value<u64> = larder::Value::named("number").fresh_for(MINUTE).shared();
    let shop = Shop::with(Cache::builder().memory(512 << 20));
    for number in 0..ALL {
        shop.cache.value(&NUMBER).param("of", number).put(number);
        if number == ALL / 2 {
            shop.clock.advance(Duration::from_secs(1));
        }
    }
    for (sort, order) in [("age", "desc"), ("hits", "asc")] {
        let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
        loop {
            let path = format!("api/explore?sort={sort}&order={order}&limit=1000&cursor={cursor}&tenant=");
            let told = shop.look(&path).await.ok();
            assert!(rows(&told).len() <= 1000);
            assert_eq!((&told["total"], &told["matching"]), (&json!(ALL), &json!(ALL)));
            assert_eq!(told["complete"], true);
            seen.extend(rows(&told).iter().map(|row| row["id"].as_str().unwrap().to_owned()));
            pages += 1;
            // Every page looks through everything: a few of them are enough.
            let Some(next) = told["cursor"].as_str().filter(|_| pages < 3) else { break };
            next.clone_into(&mut cursor);
        }
        assert_eq!((seen.len(), pages), (3000, 3), "{sort}");
    }
    // To the end, of what is narrowed. A question mark is no wildcard.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    assert_eq!(shop.look("api/explore?pattern=*of:99???").await.ok()["matching"], 0);
    loop {
        let told = shop.look(&format!("api/explore?pattern=*of:999*&sort=key&limit=50&cursor={cursor}")).await.ok();
        seen.extend(keys(&told));
        let Some(next) = told["cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    let expected: BTreeSet<_> =
        (0..ALL).map(|number| format!("of={number}")).filter(|of| of.starts_with("of=999")).collect();
    let found: BTreeSet<_> = seen.iter().map(|key| key.rsplit(':').next().unwrap().to_owned()).collect();
    assert_eq!((found, seen.len()), (expected, 111));
    assert!(seen.is_sorted());
}

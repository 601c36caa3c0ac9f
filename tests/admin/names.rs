//! Names of all signs: nothing is a wildcard that was not meant as one, and nothing gets out of its place.

use super::*;
use serde_json::json;

const NAMES: [&str; 16] = [
    "*",
    "a*",
    "a?",
    "a[bc]",
    "a\\*",
    "abc",
    "ab",
    "a:b",
    "a=b",
    "a\nb",
    "a}b",
    "a\"b",
    "a'b",
    "{a}",
    "<script>alert(1)</script>",
    "\u{202e}evil\u{2066}",
];

async fn named() -> Shop {
    let shop = Shop::open();
    for name in NAMES {
        let tenant: String = query(name);
        shop.get("/dashboard", &[("x-tenant", &tenant)]).await;
    }
    shop
}

async fn left(shop: &Shop) -> Vec<&'static str> {
    let mut left = Vec::new();
    for name in NAMES {
        let found = shop.look(&format!("api/explore?tenant={}", query(name))).await.ok();
        if found["total"] == 1 {
            assert_eq!(found["entries"][0]["tenant"], name);
            left.push(name);
        }
    }
    left
}

#[tokio::test]
async fn o_43_a_tenant_is_that_tenant_alone() {
    for name in NAMES {
        for selector in [
            json!({ "tenant": name }),
            json!({ "everything": true, "tenant": name }),
            json!({ "policy": "dashboard", "tenant": name }),
            json!({ "pattern": "*", "tenant": name }),
            json!({ "pattern": "/dash*", "tenant": name }),
            json!({ "changed": "People", "tenant": name }),
        ] {
            let shop = named().await;
            let told = shop.act("api/manage/invalidate", &json!({ "selector": selector })).await.ok();
            assert_eq!(told["entries"], 1, "{selector}");
            let expected: Vec<_> = NAMES.into_iter().filter(|other| *other != name).collect();
            assert_eq!(left(&shop).await, expected, "{selector}");
        }
    }
}

#[tokio::test]
async fn o_43_only_literal_patterns_match() {
    let shop = named().await;
    // As the list shows the key, so it is found; stars of names are escaped there.
    for name in NAMES {
        let told = shop.look(&format!("api/explore?tenant={}", query(name))).await.ok();
        let key = told["entries"][0]["key"].as_str().unwrap().to_owned();
        for found in [
            format!("api/explore?pattern={}", query(&key)),
            format!("api/explore?pattern={}", query(&key.replace("shop:v7:", ""))),
        ] {
            assert_eq!(shop.look(&found).await.ok()["matching"], 1, "{key}");
        }
        let preview = json!({ "selector": { "pattern": key }, "preview": true });
        assert_eq!(shop.act("api/manage/invalidate", &preview).await.ok()["entries"], 1, "{key}");
    }
    for (pattern, matching) in [
        ("tenant=a?:*", 0),
        ("tenant=a[bc]:*", 0),
        ("tenant=a:*", 0),
        ("tenant=\\*:*", 1),
        ("tenant=a\\*:*", 1),
        ("tenant=ab:*", 1),
        ("tenant=ab*:*", 2),
        ("tenant=*:*", 16),
        ("/dashboard", 16),
        ("/dashboar?", 0),
        ("/dash\\*", 0),
    ] {
        let told = shop.look(&format!("api/explore?pattern={}", query(pattern))).await.ok();
        assert_eq!(told["matching"], matching, "{pattern}");
        let preview = json!({ "selector": { "pattern": pattern }, "preview": true });
        assert_eq!(shop.act("api/manage/invalidate", &preview).await.ok()["entries"], matching, "{pattern}");
    }
}

#[tokio::test]
async fn o_43_tags_are_literal() {
    let (cache, clock) = test_util::cache();
    let answer = service_fn(|request: Request<Body>| {
        let mut response = Response::new(Body::from("x"));
        let tag = percent(request.uri().query().unwrap());
        response.extensions_mut().insert(larder::Tags::new([tag]));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let app = boxed(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(answer));
    let admin = admin::router(&cache, Token::new(FULL));
    let shop = Shop { app, admin, cache, clock };
    let tags: Vec<_> =
        NAMES.into_iter().chain(["a:*", "item:7", "item:8", "EVAL \"return 1\" 0", "}{", "\r\nFLUSHALL\r\n"]).collect();
    for tag in &tags {
        shop.get(&format!("/x?{}", query(tag)), &[]).await;
    }
    for tag in &tags {
        let told = shop.look(&format!("api/explore?tag={}", query(tag))).await.ok();
        assert_eq!((&told["matching"], &told["entries"][0]["tags"]), (&json!(1), &json!([tag])), "{tag:?}");
    }
    let mut left = tags.len();
    for tag in tags.iter().filter(|tag| !tag.ends_with(":*")) {
        let told = shop.act("api/manage/invalidate", &json!({ "selector": { "tag": tag } })).await.ok();
        left -= 1;
        assert_eq!(told["entries"], 1, "{tag:?}");
        assert_eq!(shop.look("api/explore").await.ok()["total"], left, "{tag:?}");
    }
    // A star after a colon is the only one that means more.
    assert_eq!(shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "a:*" } })).await.ok()["entries"], 1);
}

#[tokio::test]
async fn o_44_hostile_keys_stay_in_their_place() {
    let shop = named().await;
    let long = "x".repeat(3000);
    for path in ["/%3Cscript%3E", "/%E2%80%AEevil", "/a%0Ab", "/%22onload=%22x", &format!("/{long}")] {
        shop.get(path, &[]).await;
    }
    let told = shop.look("api/explore?limit=1000").await;
    assert_eq!(told.headers["content-type"], "application/json");
    for bad in ["\u{202e}evil\u{2066}:", "\n", "\r"] {
        assert!(!told.text.contains(bad), "{bad:?}");
    }
    for row in told.ok()["entries"].as_array().unwrap() {
        let key = row["key"].as_str().unwrap();
        assert!(
            key.chars().all(|sign| sign.is_ascii_graphic() && !"<>\"'\\*{}".contains(sign) || sign == '…'),
            "{key}"
        );
        assert!(key.chars().count() <= 2049, "{}", key.len());
        let entry = shop.look(&format!("api/entry?id={}", row["id"].as_str().unwrap())).await.ok();
        let whole = entry["key"].as_str().unwrap();
        assert!(whole.starts_with(key.trim_end_matches('…')) && !whole.contains('…'));
    }
    // Nor do texts of the one who asks.
    for (path, status) in [
        ("api/explore?cache=%3Cscript%3E%0A", 404),
        ("api/explore?limit=%0D%0ASet-Cookie:x", 400),
        ("api/explore?sort=%E2%80%AE", 400),
    ] {
        let error = shop.look(path).await.error(status);
        assert!(!error.contains('\n') && !error.contains('\r') && !error.contains('\u{202e}'), "{error:?}");
    }
    let error = shop.look(&format!("api/explore?sort={}", "x".repeat(8000))).await.error(400);
    assert!(error.len() < 300, "{}", error.len());
}

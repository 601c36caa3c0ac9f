//! Who gets in, and what a request has to bring to be meant.

use super::*;

const LOOKS: [&str; 11] = [
    "api/status",
    "api/metrics",
    "api/history",
    "api/policies",
    "api/explore",
    "api/entry?id=00",
    "api/dependencies",
    "api/audit",
    "api/explain?uri=/",
    "api/advice",
    "api/report",
];
const ACTIONS: [&str; 3] = ["api/manage/warm", "api/manage/invalidate", "api/manage/clear"];

#[tokio::test]
async fn o_44_nobody_gets_in_without_a_token() {
    let shop = Shop::open();
    let authorizations: [&[&str]; 8] = [
        &[],
        &["Bearer wrong"],
        &["Bearer "],
        &["Bearer"],
        &["Basic dGhlLWZ1bGwtdG9rZW4="],
        &["the-full-token"],
        &["Bearer the-full-token-"],
        &["Bearer the-full-token", "Bearer the-full-token"],
    ];
    for path in LOOKS.iter().chain(&ACTIONS).chain(&["api/nothing", "nothing", "api/explore?cache=nothing&limit=x"]) {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            for lines in authorizations {
                let fields: Vec<_> = lines.iter().map(|line| ("authorization", *line)).chain(MEANT).collect();
                let told = send(&shop.admin, request(&method, path, "", &fields, "{}")).await;
                assert_eq!(told.status, 401, "{method} {path} {lines:?}");
                assert_eq!(told.headers["www-authenticate"], "Bearer");
                // The same whatever was asked for.
                let expected = told.text.is_empty() || told.error(401).starts_with("who are you?");
                assert!(expected && !told.headers.contains_key("allow"), "{told:?}");
            }
        }
    }
    assert_eq!(
        shop.look("api/audit").await.ok()["actions"],
        Value::Array(vec![]),
        "nothing that could flood the trail"
    );
}

#[tokio::test]
async fn what_is_public_has_no_data() {
    let shop = Shop::open();
    shop.get("/products/7", &[]).await;
    for path in ["", "health", "health?strict"] {
        let told = send(&shop.admin, request(&Method::GET, path, "", &[], "")).await;
        assert_eq!(told.status, 200, "{path}");
        assert!(!told.text.contains("shop") && !told.text.contains("/products/7"), "{path}");
        for method in [Method::POST, Method::OPTIONS] {
            let told = send(&shop.admin, request(&method, path, "", &MEANT, "{}")).await;
            assert_eq!(
                (told.error(405).as_str(), &told.headers["allow"]),
                (
                    format!("{method} is not for this path: GET, HEAD").as_str(),
                    &http::HeaderValue::from_static("GET, HEAD")
                )
            );
        }
    }
}

#[tokio::test]
async fn an_empty_token_is_nobodys() {
    let shop = Shop::open();
    let admin = admin::router([&shop.cache], Token::new(""));
    for line in ["Bearer ", "Bearer", ""] {
        let told = send(&admin, request(&Method::GET, "api/status", "", &[("authorization", line)], "")).await;
        assert_eq!(told.status, 401, "{line:?}");
    }
}

#[tokio::test]
async fn closures_and_futures_decide_too() {
    #[derive(Clone)]
    struct Administrator(&'static str);
    struct Later;
    impl admin::Authorize for Later {
        fn authorize<'a>(&'a self, parts: &'a http::request::Parts) -> admin::Decision<'a> {
            admin::Decision::later(async {
                tokio::task::yield_now().await;
                assert!(!parts.headers.contains_key("x-panic"));
                parts.headers.contains_key("x-let-me-in").then(Access::read_only)
            })
        }
    }
    let shop = Shop::open();
    let by_claims = admin::router(&shop.cache, |parts: &http::request::Parts| {
        let Administrator(name) = parts.extensions.get()?;
        Some(Access::full().named(*name))
    });
    let mut claimed = request(&Method::GET, "api/status", "", &[], "");
    claimed.extensions_mut().insert(Administrator("alice"));
    assert_eq!(send(&by_claims, claimed).await.ok()["access"]["name"], "alice");
    assert_eq!(send(&by_claims, request(&Method::GET, "api/status", FULL, &[], "")).await.status, 401);
    let later = admin::router(&shop.cache, Later);
    let told = send(&later, request(&Method::GET, "api/status", "", &[("x-let-me-in", "1")], "")).await.ok();
    assert_eq!((&told["access"]["level"], &told["access"]["name"]), (&Value::from("read"), &Value::from("unnamed")));
    for fields in [&[][..], &[("x-let-me-in", "1"), ("x-panic", "1")]] {
        assert_eq!(send(&later, request(&Method::GET, "api/status", "", fields, "")).await.status, 401);
    }
}

#[tokio::test]
async fn those_who_only_read_do_nothing() {
    let shop = Shop::open();
    shop.get("/products/7", &[]).await;
    for path in ACTIONS {
        assert_eq!(shop.act_as(READ, path, &serde_json::json!({})).await.error(403), "access is read-only");
    }
    assert!(shop.is_hit("/products/7", &[]).await);
    assert_eq!(shop.look_as(READ, "api/status").await.ok()["access"]["level"], "read");
    // It is recorded that they tried.
    let actions = shop.look("api/audit").await.ok()["actions"].clone();
    assert_eq!(actions.as_array().unwrap().len(), 3);
    assert_eq!(actions[0]["outcome"], "refused: access is read-only");
    assert_eq!((&actions[0]["by"], &actions[0]["action"]), (&Value::from("monitoring"), &Value::from("clear")));
}

#[tokio::test]
async fn o_44_an_action_needs_a_proof_of_intent() {
    let shop = Shop::open();
    shop.get("/products/7", &[]).await;
    let everything = r#"{"selector":{"everything":true}}"#;
    let json = ("content-type", "application/json");
    let meant = ("larder-intent", "manage");
    let cases: [(&[(&str, &str)], u16); 22] = [
        // What a form, or a script of another site without a preflight, can send.
        (&[("content-type", "text/plain")], 403),
        (&[("content-type", "application/x-www-form-urlencoded")], 403),
        (&[("content-type", "multipart/form-data")], 403),
        (&[], 403),
        (&[json], 403),
        (&[json, ("larder-intent", "")], 403),
        (&[json, ("larder-intent", "other")], 403),
        (&[json, meant, meant], 403),
        (&[meant], 415),
        (&[meant, ("content-type", "text/plain")], 415),
        (&[meant, ("content-type", "application/jsonp")], 415),
        // What a browser says of where it comes from.
        (&[json, meant, ("sec-fetch-site", "cross-site")], 403),
        (&[json, meant, ("sec-fetch-site", "same-site")], 403),
        (&[json, meant, ("sec-fetch-site", "none")], 403),
        (&[json, meant, ("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], 403),
        (&[json, meant, ("origin", "https://evil.example")], 403),
        (&[json, meant, ("origin", "null")], 403),
        (&[json, meant, ("origin", "https://shop.example:8443")], 403),
        (&[json, meant, ("origin", "https://shop.example.evil.example")], 403),
        (&[json, meant, ("origin", "https://shop.example"), ("origin", "https://evil.example")], 403),
        (&[json, meant, ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], 403),
        (&[json, meant, ("origin", "file://shop.example")], 403),
    ];
    for (fields, status) in cases {
        let told = send(&shop.admin, request(&Method::POST, "api/manage/invalidate", FULL, fields, everything)).await;
        told.error(status);
        assert!(shop.is_hit("/products/7", &[]).await, "{fields:?}");
    }
    let fine: [&[(&str, &str)]; 6] = [
        &[json, meant],
        &[("content-type", "Application/JSON; charset=utf-8"), meant],
        &[json, meant, ("sec-fetch-site", "same-origin"), ("origin", "https://elsewhere.example")],
        &[json, meant, ("origin", "https://shop.example")],
        &[json, meant, ("origin", "http://SHOP.example:80")],
        &[json, meant, ("origin", "https://shop.example:443")],
    ];
    for fields in fine {
        shop.get("/products/7", &[]).await;
        send(&shop.admin, request(&Method::POST, "api/manage/invalidate", FULL, fields, everything)).await.ok();
        assert!(!shop.is_hit("/products/7", &[]).await, "{fields:?}");
    }
}

#[tokio::test]
async fn o_44_what_only_looks_changes_nothing() {
    let shop = Shop::open();
    shop.get("/products/7", &[]).await;
    shop.get("/dashboard", &[("x-tenant", "1")]).await;
    let before = shop.cache.stats();
    for path in LOOKS.iter().chain(&["api/metrics?format=prometheus", "api/manage/warm?job=1", ""]) {
        for method in [Method::GET, Method::HEAD] {
            // A body that would be an action.
            let body = r#"{"selector":{"everything":true},"confirm":"default"}"#;
            let told = send(&shop.admin, request(&method, path, FULL, &MEANT, body)).await;
            assert!(told.status != 401 && told.status != 405, "{path}");
        }
    }
    for path in ["api/manage/invalidate", "api/manage/clear"] {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
            let body = r#"{"selector":{"everything":true},"confirm":"default"}"#;
            let told = send(&shop.admin, request(&method, path, FULL, &MEANT, body)).await;
            assert_eq!((told.status.as_u16(), &told.headers["allow"]), (405, &http::HeaderValue::from_static("POST")));
        }
    }
    assert_eq!(shop.cache.stats(), before);
    assert!(shop.is_hit("/products/7", &[]).await && shop.is_hit("/dashboard", &[("x-tenant", "1")]).await);
}

#[tokio::test]
async fn other_origins_learn_nothing() {
    let shop = Shop::open();
    let fields = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    for (method, token) in [(Method::OPTIONS, ""), (Method::OPTIONS, FULL), (Method::GET, FULL)] {
        let told = send(&shop.admin, request(&method, "api/status", token, &fields, "")).await;
        assert!(told.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{told:?}");
        assert_eq!(told.headers["cross-origin-resource-policy"], "same-origin");
    }
}

#[tokio::test]
async fn every_answer_is_private() {
    let shop = Shop::open();
    let paths = LOOKS.iter().chain(&["", "health", "api/nothing", "nothing", "api/metrics?format=prometheus"]);
    for path in paths {
        for token in ["", FULL] {
            let [get, head] = [Method::GET, Method::HEAD].map(|method| request(&method, path, token, &[], ""));
            let (get, head) = (send(&shop.admin, get).await, send(&shop.admin, head).await);
            for (name, value) in [
                ("cache-control", "no-store"),
                ("x-content-type-options", "nosniff"),
                ("referrer-policy", "no-referrer"),
                ("x-frame-options", "DENY"),
            ] {
                assert_eq!(
                    (&get.headers[name], &head.headers[name]),
                    (&value.parse().unwrap(), &value.parse().unwrap())
                );
            }
            assert_eq!((get.status, head.text.as_str()), (head.status, ""), "{path}");
            assert_eq!(get.headers["content-type"], head.headers["content-type"], "{path}");
            assert_eq!(get.headers["content-length"], get.text.len().to_string().as_str(), "{path}");
            assert!(get.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
        }
    }
}

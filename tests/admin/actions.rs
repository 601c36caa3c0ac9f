//! Invalidating, clearing, and the trail of what was done.

use super::*;
use serde_json::json;

async fn filled() -> Shop {
    let shop = Shop::open();
    for uri in ["/products/1", "/products/2", "/products/2?page=2"] {
        shop.get(uri, &[]).await;
    }
    for tenant in ["1", "2"] {
        shop.get("/dashboard", &[("x-tenant", tenant)]).await;
    }
    shop
}

/// Which of all that is kept still is.
async fn kept(shop: &Shop) -> String {
    let mut kept = Vec::new();
    for uri in ["/products/1", "/products/2", "/products/2?page=2"] {
        kept.push(if shop.is_hit(uri, &[("cache-control", "only-if-cached")]).await { '+' } else { '-' });
    }
    for tenant in ["1", "2"] {
        kept.push(if shop.is_hit("/dashboard", &[("x-tenant", tenant)]).await { '+' } else { '-' });
    }
    kept.into_iter().collect()
}

#[tokio::test]
async fn each_selector_hits_what_it_says() {
    for (selector, entries, expected) in [
        (json!({ "tag": "products" }), 3, "---++"),
        (json!({ "tags": ["products", "dashboard"] }), 0, "+++++"),
        (json!({ "tags": ["dashboard"] }), 2, "+++--"),
        (json!({ "resource": "/products/2" }), 1, "+-+++"),
        (json!({ "resource": "http://shop.example/products/2?page=2" }), 1, "++-++"),
        (json!({ "pattern": "/products/*" }), 3, "---++"),
        (json!({ "pattern": "/products/2" }), 2, "+--++"),
        (json!({ "pattern": "*tenant=1:*" }), 1, "+++-+"),
        (json!({ "pattern": "/*", "tenant": "2" }), 1, "++++-"),
        (json!({ "policy": "dashboard" }), 2, "+++--"),
        (json!({ "policy": "dashboard", "tenant": "1" }), 1, "+++-+"),
        (json!({ "tenant": "1" }), 1, "+++-+"),
        (json!({ "tenant": 2 }), 1, "++++-"),
        (json!({ "user": "7", "tenant": "1" }), 0, "+++++"),
        (json!({ "changed": "People" }), 2, "+++--"),
        (json!({ "changed": "People", "id": "17", "tenant": "1" }), 1, "+++-+"),
        (json!({ "changed": "Rule", "id": 3, "tenant": null }), 2, "+++--"),
        (json!({ "everything": true }), 5, "-----"),
        (json!({ "everything": true, "tenant": "1" }), 1, "+++-+"),
    ] {
        let shop = filled().await;
        let body =
            |preview: bool| json!({ "cache": "default", "selector": selector, "soft": false, "preview": preview });
        let preview = shop.act("api/manage/invalidate", &body(true)).await.ok();
        members(&preview, &["cache", "preview", "entries", "bytes", "stored_entries", "stored_bytes", "complete"]);
        assert_eq!((&preview["entries"], &preview["complete"]), (&json!(entries), &json!(true)), "{selector}");
        assert_eq!(preview["bytes"].as_u64().unwrap() > 0, entries > 0);
        let done = shop.act("api/manage/invalidate", &body(false)).await.ok();
        let expected_answer = json!({ "cache": "default", "invalidated": true, "confirmed": true, "entries": entries });
        assert_eq!(done, expected_answer, "{selector}");
        assert_eq!(kept(&shop).await, expected, "{selector}");
    }
}

#[tokio::test]
async fn a_preview_changes_nothing_and_is_not_recorded() {
    let shop = filled().await;
    let before = shop.cache.stats();
    shop.act("api/manage/invalidate", &json!({ "selector": { "everything": true }, "preview": true })).await.ok();
    assert_eq!(shop.cache.stats(), before);
    assert_eq!(shop.look("api/audit").await.ok()["actions"], json!([]));
    assert_eq!(kept(&shop).await, "+++++");
}

#[tokio::test]
async fn softly_means_stale() {
    let shop = filled().await;
    shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "products" }, "soft": true })).await.ok();
    let told = shop.look("api/explore?tag=products").await.ok();
    assert_eq!((&told["matching"], &told["entries"][0]["stale"]), (&json!(3), &json!(true)));
    assert_eq!(test_util::outcome(shop.get("/products/1", &[]).await.headers()), "stale");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused() {
    let shop = filled().await;
    let (invalidate, clear) = ("api/manage/invalidate", "api/manage/clear");
    for (path, body, status, said) in [
        (invalidate, json!({}), 422, "selector: an object is needed, one of `tag`"),
        (invalidate, json!({ "selector": "everything" }), 422, "an object is needed"),
        (invalidate, json!({ "selector": {} }), 422, "exactly one of"),
        (invalidate, json!({ "selector": { "tag": "a", "policy": "b" } }), 422, "there is policy, tag"),
        (invalidate, json!({ "selector": { "tennant": "1" } }), 422, "`tennant` is none of"),
        (invalidate, json!({ "selector": { "tag": "a", "tennant": "1" } }), 422, "there is tag, tennant"),
        (invalidate, json!({ "selector": { "everything": false } }), 422, "`everything` is `true`"),
        (invalidate, json!({ "selector": { "everything": "yes" } }), 422, "`everything` is `true`"),
        (invalidate, json!({ "selector": { "tag": "" } }), 422, "`` is no tag"),
        (invalidate, json!({ "selector": { "tag": ["a"] } }), 422, "`tag` is a text"),
        (invalidate, json!({ "selector": { "tags": [] } }), 422, "names no tag"),
        (invalidate, json!({ "selector": { "tags": "a" } }), 422, "a list of texts"),
        (invalidate, json!({ "selector": { "tag": "a", "id": "1" } }), 422, "`id` belongs to `changed`"),
        (invalidate, json!({ "selector": { "tag": "a", "tenant": "" } }), 422, "`` is no tenant"),
        (invalidate, json!({ "selector": { "tenant": " " } }), 422, "` ` is no tenant"),
        (invalidate, json!({ "selector": { "pattern": "" } }), 422, "an empty pattern"),
        (invalidate, json!({ "selector": { "pattern": "a\\" } }), 422, "ends with"),
        (invalidate, json!({ "selector": { "resource": "products/1" } }), 422, "neither an absolute URI nor a path"),
        (invalidate, json!({ "selector": { "changed": "" } }), 422, "`` is no name"),
        (invalidate, json!({ "selector": { "tag": "a" }, "sofft": true }), 400, "`sofft` is not known here"),
        (invalidate, json!({ "selector": { "tag": "a" }, "soft": "no" }), 400, "soft: true or false is possible"),
        (invalidate, json!({ "selector": { "tag": "a" }, "cache": 7 }), 400, "cache: a text is possible"),
        (invalidate, json!({ "selector": { "tag": "a" }, "cache": "other" }), 404, "no cache is named `other`"),
        (invalidate, json!(["everything"]), 400, "no JSON object"),
        (clear, json!({}), 422, "confirm: to clear this cache it has to be its name, `default`"),
        (clear, json!({ "confirm": "Default" }), 422, "`default`"),
        (clear, json!({ "cache": "default", "confirm": true }), 400, "confirm: a text is possible"),
    ] {
        let error = shop.act(path, &body).await.error(status);
        assert!(error.contains(said), "{body}: {error}");
    }
    for (content, status, said) in [
        (String::new(), 400, "no JSON"),
        ("{".to_owned(), 400, "no JSON"),
        (format!("{{\"selector\":{{\"tag\":\"{}\"}}}}", "x".repeat(64 * 1024)), 413, "64 KiB"),
        ("[".repeat(60_000), 400, "no JSON"),
    ] {
        let error = send(&shop.admin, action(invalidate, FULL, &content)).await.error(status);
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(kept(&shop).await, "+++++");
    // Each of them is in the trail.
    let actions = shop.look("api/audit?limit=1000").await.ok()["actions"].clone();
    let actions = actions.as_array().unwrap();
    assert_eq!(actions.len(), 31);
    assert!(actions.iter().all(|action| action["outcome"].as_str().unwrap().starts_with("refused: ")));
}

#[tokio::test]
async fn clearing_empties_memory_and_invalidates_everything() {
    let shop = filled().await;
    let told = shop.act("api/manage/clear", &json!({ "cache": "default", "confirm": "default" })).await.ok();
    assert_eq!(told, json!({ "cache": "default", "cleared": true, "confirmed": true, "entries": 5 }));
    assert_eq!((shop.cache.stats().resources, shop.cache.stats().invalidations), (0, 1));
    assert_eq!(kept(&shop).await, "-----");
}

#[tokio::test]
async fn the_trail_tells_what_was_done() {
    let shop = filled().await;
    shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "products", "tenant": "1" } })).await.ok();
    shop.clock.advance(Duration::from_secs(1));
    shop.act("api/manage/invalidate", &json!({ "selector": { "everything": true }, "soft": true })).await.ok();
    shop.act("api/manage/clear", &json!({ "confirm": "x" })).await.error(422);
    let told = shop.look("api/audit").await.ok();
    members(&told, &["actions"]);
    let actions = told["actions"].as_array().unwrap();
    actions.iter().for_each(|action| members(action, &["at", "by", "action", "cache", "what", "outcome", "hits"]));
    let column = |name: &str| actions.iter().map(|action| action[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("action"), ["clear", "invalidate", "invalidate"]);
    assert_eq!(column("by"), ["token"; 3]);
    assert_eq!(column("what"), ["", "everything, soft", "tag products, tenant 1"]);
    assert_eq!(column("hits"), [json!(null), json!(5), json!(0)]);
    assert_eq!(column("at"), [json!(1_800_000_001.0), json!(1_800_000_001.0), json!(1_800_000_000.0)]);
    assert_eq!((&column("outcome")[1..], &column("cache")[1]), (&[json!("ok"), json!("ok")][..], &json!("default")));
    assert_eq!(shop.look("api/audit?limit=1").await.ok()["actions"].as_array().unwrap().len(), 1);
    // It does not grow for ever, nor does what one action says of itself.
    for _ in 0..1100 {
        shop.act("api/manage/invalidate", &json!({ "selector": { "tag": "x".repeat(10_000) } })).await;
    }
    let told = shop.look("api/audit?limit=1000").await;
    assert_eq!(told.ok()["actions"].as_array().unwrap().len(), 1000);
    assert!(told.text.len() < 1_000_000, "{}", told.text.len());
}

#[tokio::test]
async fn an_action_goes_on_although_its_client_has_gone() {
    let shop = filled().await;
    let body = json!({ "selector": { "everything": true } }).to_string();
    {
        let mut answer = Box::pin(shop.admin.clone().oneshot(action("api/manage/invalidate", FULL, &body)));
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(answer.as_mut().poll(&mut cx).is_pending());
    }
    for _ in 0..10_000 {
        if shop.look("api/audit").await.ok()["actions"] != json!([]) {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(shop.look("api/audit").await.ok()["actions"][0]["outcome"], "ok");
    assert_eq!(kept(&shop).await, "-----");
}

/// What is told by `tracing`.
#[derive(Clone, Default)]
struct Logged(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl tracing_core::Subscriber for Logged {
    fn enabled(&self, metadata: &tracing_core::Metadata<'_>) -> bool {
        metadata.target() == "larder::admin"
    }

    fn new_span(&self, _: &tracing_core::span::Attributes<'_>) -> tracing_core::span::Id {
        tracing_core::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing_core::span::Id, _: &tracing_core::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing_core::span::Id, _: &tracing_core::span::Id) {}

    fn event(&self, event: &tracing_core::Event<'_>) {
        struct Line(String);
        impl tracing_core::field::Visit for Line {
            fn record_debug(&mut self, field: &tracing_core::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{field}={value:?} "));
            }
        }
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &tracing_core::span::Id) {}

    fn exit(&self, _: &tracing_core::span::Id) {}
}

#[test]
fn a_token_without_a_secret_is_told() {
    let logged = Logged::default();
    let [listener, _other] = [(); 2].map(|()| tracing_core::Dispatch::new(logged.clone()));
    let _guard = tracing_core::dispatcher::set_default(&listener);
    let _ = (Token::new("s3cret"), Token::new(""));
    let lines = logged.0.lock().unwrap();
    assert!(matches!(&lines[..], [line] if line.starts_with("WARN") && line.contains("empty")), "{lines:?}");
}

#[tokio::test]
async fn o_44_logs_name_nobody_unless_they_are_to() {
    // There are two: with one alone, `tracing` asks the thread that comes first whether anybody listens.
    let logged = Logged::default();
    let [listener, _other] = [(); 2].map(|()| tracing_core::Dispatch::new(logged.clone()));
    let _guard = tracing_core::dispatcher::set_default(&listener);
    for details in [false, true] {
        let shop = filled().await;
        let shop = Shop { admin: shop.admin.clone().log_details(details), ..shop };
        let secret = json!({ "tag": "of\nalice", "tenant": "acme" });
        shop.act("api/manage/invalidate", &json!({ "selector": secret })).await.ok();
        shop.act("api/manage/invalidate", &json!({ "cache": "acme", "selector": secret })).await.error(404);
        shop.act_as(TENANT, "api/manage/invalidate", &json!({ "selector": secret })).await.error(403);
        let mut lines = std::mem::take(&mut *logged.0.lock().unwrap());
        lines.retain(|line| line.contains("INFO"));
        assert_eq!(lines.len(), 3, "{lines:?}");
        let named = lines.iter().any(|line| ["alice", "acme", "of one"].iter().any(|name| line.contains(name)));
        assert_eq!(named, details, "{lines:?}");
        assert!(lines[0].contains("action=\"invalidate\"") && lines[1].contains("refused"), "{lines:?}");
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
    }
}

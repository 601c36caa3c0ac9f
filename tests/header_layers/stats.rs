//! `StatsLayer`: what is told, and to whom.

use super::*;
use http::HeaderName;
use larder::StatsLayer;

const FIELDS: [&str; 6] =
    ["x-cache", "x-cache-hits", "x-cache-misses", "x-cache-sets", "x-cache-key", "x-cache-explain"];

fn told(headers: &HeaderMap) -> [Option<&str>; 4] {
    [0, 1, 2, 3].map(|field| headers.get(FIELDS[field]).map(|value| value.to_str().unwrap()))
}

#[tokio::test]
async fn every_outcome_is_told() {
    let (cache, clock) = test_util::cache();
    let inner = handler(|request| {
        let status = if request.headers().contains_key("if-none-match") { 304 } else { 200 };
        response(status, &[("etag", "\"a\"")], if status == 200 { "body" } else { "" })
    });
    let policy = Policy::fresh_for(MINUTE).stale_while_revalidate(MINUTE);
    let app = boxed(StatsLayer::on().layer(CacheLayer::new(&cache, policy).layer(inner)));
    let some = |[word, hits, misses, sets]: [&'static str; 4]| [Some(word), Some(hits), Some(misses), Some(sets)];
    let (head, _) = get(&app, &[]).await;
    assert_eq!(told(head.headers()), some(["MISS", "0", "1", "1"]));
    let key = head.headers()["x-cache-key"].clone();
    assert!(key.to_str().unwrap().contains("/x"), "{key:?}");
    let (head, _) = get(&app, &[]).await;
    assert_eq!(told(head.headers()), some(["HIT", "1", "0", "0"]));
    assert_eq!(head.headers()["x-cache-key"], key);
    assert_eq!(head.headers()["x-cache-explain"], "hit; age=0; ttl=60");
    let (head, _) = get(&app, &[("cookie", "a=b")]).await;
    assert_eq!(told(head.headers()), some(["BYPASS", "0", "0", "0"]));
    assert!(!head.headers().contains_key("x-cache-key"));
    assert_eq!(head.headers()["x-cache-explain"], "bypass; reason=cookie");
    clock.advance(90 * Duration::from_secs(1));
    let (head, _) = get(&app, &[]).await;
    assert_eq!(told(head.headers()), some(["STALE", "1", "0", "0"]), "the refresh counts for nobody");
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    clock.advance(3 * MINUTE);
    let (head, _) = get(&app, &[]).await;
    assert_eq!(told(head.headers()), some(["REVALIDATED", "1", "0", "1"]));
    let (head, _) = ask(&app, request(&Method::POST, "/x", &[])).await;
    assert_eq!(told(head.headers()), some(["BYPASS", "0", "0", "0"]));
}

#[tokio::test]
async fn several_caches_are_counted_together() {
    let ((outer, _), (inner, _)) = (test_util::cache(), test_util::cache());
    let layer = |cache: &Cache| CacheLayer::new(cache, Policy::fresh_for(MINUTE));
    let answer = handler(|_| Response::new(Body::from("body")));
    let app = boxed(StatsLayer::on().layer(layer(&outer).layer(boxed(layer(&inner).layer(answer)))));
    assert_eq!(told(get(&app, &[]).await.0.headers()), [Some("MISS"), Some("0"), Some("2"), Some("2")]);
    assert_eq!(told(get(&app, &[]).await.0.headers()), [Some("HIT"), Some("1"), Some("0"), Some("0")]);
    outer.invalidate(larder::Selector::everything()).await.unwrap();
    let (head, _) = get(&app, &[]).await;
    assert_eq!(told(head.headers()), [Some("MISS"), Some("1"), Some("1"), Some("1")]);
    assert_eq!(head.headers()["x-cache-explain"], "miss; reason=uri-miss; stored=yes", "that of the outermost");
}

#[tokio::test]
async fn on_off_or_for_those_who_know() {
    const SECRET: HeaderName = HeaderName::from_static("x-debug");
    let inner = handler(|request| {
        let seen = if request.headers().contains_key(SECRET) { "seen" } else { "unseen" };
        let spoof = ["x-cache", "x-cache-key", "x-cache-explain"].map(|name| (name, "spoof"));
        response(200, &[spoof[0], spoof[1], spoof[2], ("x-cache-other", "1")], seen)
    });
    let with_secret = || StatsLayer::with_secret(SECRET, "open sesame");
    for (layer, fields, told, expected) in [
        (StatsLayer::off(), &[][..], false, "unseen"),
        (StatsLayer::debug(false), &[("x-debug", "open sesame")], false, "seen"),
        (StatsLayer::on(), &[], true, "unseen"),
        (StatsLayer::debug(true), &[], true, "unseen"),
        (with_secret(), &[], false, "unseen"),
        (with_secret(), &[("x-debug", "open")], false, "unseen"),
        (with_secret(), &[("x-debug", "open sesame!")], false, "unseen"),
        (with_secret(), &[("x-debug", "open sesame"), ("x-debug", "open sesame")], false, "unseen"),
        (with_secret(), &[("x-debug", "open sesame")], true, "unseen"),
        (StatsLayer::with_secret(SECRET, ""), &[("x-debug", "")], false, "unseen"),
    ] {
        let app = boxed(layer.layer(inner.clone()));
        let (head, body) = get(&app, fields).await;
        assert_eq!(body, expected, "{layer:?}");
        assert_eq!(head.headers()["x-cache-other"], "1");
        if told {
            assert_eq!(stats::told(head.headers()), [None, Some("0"), Some("0"), Some("0")], "{layer:?}");
            assert!(!head.headers().contains_key("x-cache-key") && !head.headers().contains_key("x-cache-explain"));
        } else {
            assert_eq!(stats::told(head.headers()), [Some("spoof"), None, None, None], "{layer:?}");
            assert_eq!((&head.headers()["x-cache-key"], &head.headers()["x-cache-explain"]), (&spoof(), &spoof()));
        }
    }
}

#[tokio::test]
async fn what_is_said_of_one_request_is_not_stored() {
    let (cache, _) = test_util::cache();
    let secret = StatsLayer::with_secret(HeaderName::from_static("x-debug"), "s");
    let inner = secret.layer(handler(|_| Response::new(Body::from("body"))));
    let app = boxed(CacheLayer::new(&cache, Policy::fresh_for(MINUTE)).layer(inner));
    assert_miss!(get(&app, &[("x-debug", "s")]).await.0);
    let (head, _) = get(&app, &[]).await;
    assert_hit!(head);
    assert!(FIELDS.iter().all(|name| !head.headers().contains_key(*name)), "{head:?}");
}

fn spoof() -> http::HeaderValue {
    http::HeaderValue::from_static("spoof")
}

//! Lookups, explained: what there is, how fresh it is, and what follows.

use super::support::{App, Inner, MINUTE, SECOND, get, minute, request, settle, step, verdict};
use axum::body::Body;
use http::Response;
use larder::{Cache, Identity, Policy, RequestDirectives, Selector, test_util};
use serde_json::Value;
use tower::ServiceExt;

fn tenant(tenant: u64) -> Identity {
    Identity::new().with_tenant(tenant)
}

#[tokio::test]
async fn a_miss_a_hit_and_what_is_stale_are_told_apart() {
    let (cache, clock) = test_util::cache();
    let policy = minute().stale_while_revalidate(30 * SECOND).stale_if_error(5 * MINUTE);
    let inner = Inner::with(&[]);
    let app = App::new(&cache, policy, &inner);

    let why = app.explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
    assert_eq!((step(&why, "memory"), step(&why, "ledger")), ("nothing", ""));
    assert_eq!(step(&why, "decision"), "the inner service is asked");
    let storing = step(&why, "storing");
    assert!(
        storing.starts_with("stored for as long as it states, else 60 s; not if it says no-store or private"),
        "{storing}"
    );
    assert!(storing.contains("sets a cookie"), "{storing}");
    assert_eq!(app.told(get("/x", &[])).await, "miss; reason=uri-miss; policy=shop; stored=yes");

    clock.advance(12 * SECOND);
    let why = app.explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("hit", None));
    let steps: Vec<_> = why.steps().collect();
    assert_eq!(
        steps,
        [
            ("policy", "shop"),
            ("admission", "GET without content"),
            ("memory", "found, stored 12 s ago: 200, 8 bytes"),
            ("ledger", "nothing newer selects it"),
            (
                "freshness",
                "lifetime 60 s (policy), age 12 s: fresh for 48 s; stale-while-revalidate 30 s; stale-if-error 300 s"
            ),
            ("decision", "served"),
        ]
    );
    assert_eq!(app.told(get("/x", &[])).await, "hit; policy=shop; age=12; ttl=48");
    assert_eq!(app.told(get("/x", &[("range", "bytes=0-1")])).await, "hit; policy=shop; age=12; ttl=48");

    clock.advance(63 * SECOND);
    let why = app.explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("stale", Some("stale-while-revalidate")));
    assert!(step(&why, "freshness").starts_with("lifetime 60 s (policy), age 75 s: stale for 15 s"), "{why}");
    let told = app.told(get("/x", &[])).await;
    assert_eq!(told, "stale; reason=stale-while-revalidate; policy=shop; age=75; ttl=-15");

    clock.advance(91 * SECOND);
    let why = app.explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("miss", Some("stale")));
    assert!(step(&why, "decision").ends_with("the stale response stands in if that fails"), "{why}");
}

#[tokio::test]
async fn who_gave_the_lifetime_is_told() {
    for (field, says) in [
        (("cache-control", "max-age=10"), "lifetime 10 s (max-age)"),
        (("cache-control", "s-maxage=20, max-age=10"), "lifetime 20 s (s-maxage)"),
        (("x", "y"), "lifetime 60 s (policy)"),
    ] {
        let (cache, _) = test_util::cache();
        let fields = Box::leak(Box::new([field]));
        let app = App::new(&cache, minute(), &Inner::with(fields));
        app.told(get("/x", &[])).await;
        let why = app.explain(get("/x", &[]));
        assert!(step(&why, "freshness").starts_with(says), "{why}");
    }
}

#[tokio::test]
async fn variants_validation_and_requests_are_explained() {
    let (cache, clock) = test_util::cache();
    let inner = Inner::new(|_, request| {
        let conditional = request.headers().contains_key("if-none-match");
        let status = if conditional { 304 } else { 200 };
        let response = Response::builder().status(status).header("etag", "\"a\"").header("vary", "accept");
        response.body(if conditional { Body::empty() } else { Body::from("body") }).unwrap()
    });
    let app = App::new(&cache, minute().request_directives(RequestDirectives::Honor), &inner);
    app.told(get("/x", &[("accept", "a")])).await;

    let why = app.explain(get("/x", &[("accept", "b")]));
    assert_eq!(verdict(&why), ("miss", Some("vary-miss")));
    assert_eq!(step(&why, "memory"), "other variants than this request selects by accept");
    let why = app.explain(get("/x", &[("accept", "a")]));
    assert!(step(&why, "memory").ends_with("selected by accept"), "{why}");
    let why = app.explain(request("HEAD", "/x", &[("accept", "a")]));
    assert_eq!(verdict(&why), ("hit", None));

    let fields = [("accept", "a"), ("cache-control", "no-cache")];
    let why = app.explain(get("/x", &fields));
    assert_eq!(verdict(&why), ("revalidated", Some("request")));
    assert!(step(&why, "decision").starts_with("the request does not take it as it is"), "{why}");
    assert_eq!(app.told(get("/x", &fields)).await, "revalidated; reason=request; policy=shop; stored=yes");
    clock.advance(2 * MINUTE);
    let why = app.explain(get("/x", &[("accept", "a")]));
    assert_eq!(verdict(&why), ("revalidated", Some("stale")));
    let why = app.explain(request("HEAD", "/x", &[("accept", "a")]));
    assert_eq!(verdict(&why), ("miss", Some("stale")));
    assert_eq!(step(&why, "storing"), "nothing is stored: an answer to HEAD has no content");
    let why = app.explain(get("/x", &[("accept", "a"), ("cache-control", "max-stale")]));
    assert_eq!(verdict(&why), ("stale", Some("stale")));
    let only = [("accept", "c"), ("cache-control", "only-if-cached")];
    assert_eq!(verdict(&app.explain(get("/x", &only))), ("miss", Some("only-if-cached")));
    assert_eq!(app.told(get("/x", &only)).await, "miss; reason=only-if-cached; policy=shop");
}

#[tokio::test]
async fn what_invalidated_it_is_named() {
    let policy = || minute().per_tenant().tags(["menu"]).depends_on(["People"]);
    let asked = || {
        let mut request = get("/x?a=1", &[("host", "a.test")]);
        request.extensions_mut().insert(tenant(1));
        request
    };
    let cases: Vec<(Selector, &str)> = vec![
        (Selector::tag("menu"), "tag menu"),
        (Selector::tag("menu").within(1), "tag menu"),
        (Selector::resource("/x?a=1"), "its resource"),
        (Selector::policy("shop"), "policy shop"),
        (Selector::tenant(1), "its tenant"),
        (Selector::everything(), "everything"),
        (Selector::pattern("*shop*"), "a pattern, or several tags at once"),
    ];
    for (selector, culprit) in cases {
        for soft in [false, true] {
            let (cache, clock) = test_util::cache();
            let app = App::new(&cache, policy(), &Inner::with(&[]));
            app.told(asked()).await;
            clock.advance(5 * SECOND);
            let selector = if soft { selector.clone().soft() } else { selector.clone() };
            cache.invalidate(selector).await.unwrap();
            clock.advance(2 * SECOND);
            let why = app.explain(asked());
            let (says, reason) = match soft {
                false => (format!("invalidated since by {culprit}"), "uri-miss"),
                true => (format!("stale for 2 s by an invalidation of {culprit}"), "stale"),
            };
            assert_eq!((step(&why, "ledger"), why.reason()), (&*says, Some(reason)), "{why}");
            let told = app.told(asked()).await;
            assert!(told.starts_with(&format!("miss; reason={reason}; ")), "{told}");
        }
    }
}

#[tokio::test]
async fn what_gives_nothing_to_store_is_remembered() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute(), &Inner::with(&[("set-cookie", "a=1")]));
    for round in 0..10 {
        let why = app.explain(get("/x", &[]));
        assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
        let remembered = step(&why, "remembered");
        let says = "known for 120 s more to give nothing that can be stored: set-cookie";
        assert_eq!(remembered, if round == 0 { "" } else { says }, "{round}");
        assert_eq!(step(&why, "decision").contains("only watches"), round >= 8, "{why}");
        let told = app.told(get("/x", &[])).await;
        assert_eq!(told, "miss; reason=uri-miss; policy=shop; stored=no; not-stored=set-cookie");
    }
}

#[tokio::test]
async fn credentials_and_one_user_are_explained() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute(), &Inner::with(&[]));
    let why = app.explain(get("/x", &[("authorization", "Bearer s3cret")]));
    assert!(step(&why, "admission").ends_with("only what says public, s-maxage or must-revalidate"), "{why}");
    assert!(step(&why, "storing").contains("does not say public"), "{why}");
    assert!(!why.to_string().contains("s3cret") && !why.to_json().contains("s3cret"));
    app.told(get("/x", &[])).await;
    let why = app.explain(get("/x", &[("authorization", "Bearer s3cret")]));
    assert_eq!(verdict(&why), ("miss", Some("miss")), "{why}");
    assert!(step(&why, "decision").starts_with("what is stored is not for requests with credentials"), "{why}");
    let mut mine = get("/x", &[("cookie", "sid=1")]);
    mine.extensions_mut().insert(tenant(1).with_user(7));
    assert!(!step(&app.explain(mine), "storing").contains("private"));
}

#[tokio::test(start_paused = true)]
async fn a_fill_under_way_is_seen() {
    let (cache, _) = test_util::cache();
    let (go, wait) = tokio::sync::watch::channel(false);
    let handler = tower::service_fn(move |_: http::Request<Body>| {
        let mut wait = wait.clone();
        async move {
            wait.wait_for(|go| *go).await.unwrap();
            Ok::<_, std::convert::Infallible>(Response::new(Body::from("slow")))
        }
    });
    let layer = larder::CacheLayer::new(&cache, minute());
    let service = tower::Layer::layer(&layer, handler);
    let explain = |request: http::Request<Body>| layer.explain(&request.into_parts().0);
    assert_eq!(verdict(&explain(get("/x", &[]))).0, "miss");
    let first = tokio::spawn(service.oneshot(get("/x", &[])));
    settle().await;
    let why = explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("collapsed", Some("uri-miss")), "{why}");
    assert_eq!(verdict(&explain(request("HEAD", "/x", &[]))).0, "miss");
    assert_eq!(cache.stats().collapsed, 0);
    tokio::time::advance(6 * SECOND).await;
    assert_eq!(verdict(&explain(get("/x", &[]))).0, "miss", "it has kept others waiting for too long");
    go.send(true).unwrap();
    first.await.unwrap().unwrap();
}

#[tokio::test]
async fn policies_that_only_observe_or_want_another_answer() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute().observe_only(), &Inner::with(&[]));
    let why = app.explain(get("/x", &[]));
    assert_eq!(verdict(&why), ("miss", Some("uri-miss")));
    assert_eq!(step(&why, "storing"), "nothing is stored: the policy only observes");
    assert!(app.told(get("/x", &[])).await.ends_with("stored=no; not-stored=observe-only"));

    let app = App::new(&cache, minute().refetch_if(|parts| parts.uri.query().is_some()), &Inner::with(&[]));
    app.told(get("/y?x", &[])).await;
    let why = app.explain(get("/y?x", &[]));
    assert_eq!(verdict(&why), ("miss", Some("request")), "{why}");
    assert_eq!(step(&why, "decision"), "another answer is wanted; the inner service is asked");
}

#[tokio::test]
async fn json_has_the_members_that_readers_expect() {
    let (cache, clock) = test_util::cache();
    let app = App::new(&cache, minute(), &Inner::with(&[]));
    let json = |why: &larder::Explanation| serde_json::from_str::<Value>(&why.to_json()).unwrap();
    app.told(get("/dashboard?days=7", &[])).await;
    clock.advance(12 * SECOND);
    let why = app.explain(get("/dashboard?days=7", &[])).in_cache("default");
    let value = json(&why);
    let members: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["cache", "key", "key_parts", "outcome", "policy", "reason", "steps"]);
    assert_eq!(
        (&value["cache"], &value["policy"], &value["outcome"]),
        (&"default".into(), &"shop".into(), &"hit".into())
    );
    assert!(value["reason"].is_null());
    assert_eq!(value["key"], "larder:shop:GET:/dashboard?days=7");
    let part = |name: &str, value: &str| serde_json::json!({"name": name, "value": value});
    assert_eq!(
        value["key_parts"],
        Value::Array(vec![
            part("namespace", "larder"),
            part("policy", "shop"),
            part("method", "GET"),
            part("path", "/dashboard"),
            part("query", "days=7"),
        ])
    );
    assert_eq!(value["steps"][0], serde_json::json!({"name": "policy", "text": "shop"}));
    let bypass = json(&app.explain(request("POST", "/x", &[])));
    assert_eq!((&bypass["reason"], &bypass["key"], &bypass["cache"]), (&"method".into(), &Value::Null, &Value::Null));
    assert_eq!(bypass["key_parts"], Value::Array(Vec::new()));
}

#[tokio::test]
async fn people_read_a_line_for_each_step() {
    let cache = Cache::in_memory(1 << 20);
    let app = App::new(&cache, minute(), &Inner::with(&[]));
    let text = app.explain(get("/x", &[])).to_string();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..5],
        [
            "miss (uri-miss)",
            "key:       larder:shop:GET:/x",
            "policy:    shop",
            "admission: GET without content",
            "memory:    nothing",
        ]
    );
}

#[tokio::test]
async fn secrets_are_digests_and_nothing_breaks_a_line() {
    let (cache, _) = test_util::cache();
    let policy = Policy::named("x")
        .fresh_for(MINUTE)
        .credential_headers(["x-device"])
        .key_headers(["x-device", "x-api-key", "accept"])
        .key_cookies(["theme"])
        .per_context(|_| Some("s3cret-context".to_owned()));
    let app = App::new(&cache, policy, &Inner::with(&[]));
    let mut request = get(
        "/x?token=s3cret-token&a=%0a",
        &[
            ("x-device", "s3cret-device"),
            ("x-api-key", "s3cret-key"),
            ("cookie", "theme=s3cret-theme; sid=s3cret-sid"),
            ("authorization", "s3cret-auth"),
            ("accept", "text/html"),
        ],
    );
    request.extensions_mut().insert(tenant(1).with("session_id", "s3cret-session"));
    let why = app.explain(request);
    let all = format!("{why}{}", why.to_json());
    assert!(!all.contains("s3cret"), "{all}");
    for name in ["header x-device", "header x-api-key", "cookie theme", "context", "header accept", "tenant"] {
        assert!(why.key_parts().any(|(found, _)| found == name), "{name}: {why}");
    }
    assert!(why.steps().all(|(_, text)| !text.contains('\n')));
}

//! Every reason to bypass is explained as it is then met.

use super::support::{App, Inner, MINUTE, get, minute, request, step, verdict};
use axum::body::Body;
use http::{Request, uri::Scheme};
use larder::{CacheLayer, Identity, IdentityLayer, Policy, PolicyTable, test_util};
use tower::{Layer, ServiceExt};

fn other(fields: &[(&str, &str)]) -> Request<Body> {
    get("/x", fields)
}

#[tokio::test]
async fn what_bypasses_says_so_before_and_after() {
    let shop = minute;
    let table = || PolicyTable::new().route("/products/{id}", minute());
    let cases: Vec<(PolicyTable, Request<Body>, &str)> = vec![
        (shop().into(), request("POST", "/x", &[]), "method"),
        (shop().methods(["GET".parse().unwrap()]).into(), request("HEAD", "/x", &[]), "method"),
        (shop().into(), other(&[("x-http-method-override", "DELETE")]), "method-override"),
        (shop().into(), get("/x?_method=PUT", &[]), "method-override"),
        (shop().into(), other(&[("upgrade", "websocket"), ("connection", "upgrade")]), "upgrade"),
        (shop().into(), other(&[("content-length", "3")]), "content"),
        (shop().into(), other(&[("transfer-encoding", "chunked")]), "content"),
        (shop().key_body(["QUERY".parse().unwrap()]).into(), request("QUERY", "/x", &[]), "content"),
        (table(), get("/other", &[]), "no-policy"),
        (table(), get("/products/..%2fx", &[]), "ambiguous-path"),
        (table().when(|_| panic!("as told"), shop()), other(&[]), "callback-panicked"),
        (shop().into(), get("http://a.test/x", &[("host", "b.test")]), "host-mismatch"),
        (shop().into(), other(&[("host", "a.test"), ("host", "a.test")]), "host-repeated"),
        (shop().into(), other(&[("host", "a b")]), "host-malformed"),
        (shop().into(), get("http://u:p@a.test/x", &[]), "user-info"),
        (shop().into(), other(&[("x-original-url", "/y")]), "rewritten-url"),
        (shop().into(), other(&[("cookie", "sid=1")]), "cookie"),
        (shop().into(), other(&[("if-match", "\"a\"")]), "precondition"),
        (shop().per_user().into(), other(&[]), "identity-missing"),
        (shop().query_values("days", ["7"]).into(), get("/x?days=8", &[]), "query-value"),
        (shop().bypass_if(|_| true).into(), other(&[]), "policy"),
        (shop().max_key(64).into(), get(&format!("/{}", "x".repeat(100)), &[]), "key-too-long"),
        (shop().bypass_if(|_| panic!("as told")).into(), other(&[]), "callback-panicked"),
        (shop().key_part("x", |_| panic!("as told")).into(), other(&[]), "callback-panicked"),
    ];
    for (policy, request, reason) in cases {
        let (cache, _) = test_util::cache();
        let inner = Inner::with(&[]);
        let app = App::new(&cache, policy, &inner);
        let why = app.layer.explain(&request_parts(&request));
        assert_eq!(verdict(&why), ("bypass", Some(reason)), "{why}");
        assert_eq!(why.key(), None, "{why}");
        let words = step(&why, "admission");
        assert!(words.len() > 15 && words != reason, "{why}");
        assert!(step(&why, "decision").starts_with("passed on"), "{why}");
        let told = app.told(request).await;
        assert!(told.starts_with(&format!("bypass; reason={reason}")), "{told}");
        assert_eq!((cache.stats().bypasses[reason], inner.calls()), (1, 1));
    }
}

fn request_parts(request: &Request<Body>) -> http::request::Parts {
    let mut copy = Request::new(());
    (*copy.method_mut(), *copy.uri_mut()) = (request.method().clone(), request.uri().clone());
    (*copy.headers_mut(), *copy.extensions_mut()) = (request.headers().clone(), request.extensions().clone());
    copy.into_parts().0
}

#[tokio::test]
async fn an_identity_that_is_unclear_is_explained() {
    let (cache, _) = test_util::cache();
    let layer = CacheLayer::new(&cache, minute());
    let identity = IdentityLayer::from_fn(|_| panic!("as told"));
    let explaining = layer.clone();
    let service = identity.layer(tower::service_fn(move |request: Request<Body>| {
        let why = explaining.explain(&request.into_parts().0);
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(why.to_json())))
    }));
    let json = service.oneshot(other(&[])).await.unwrap().into_body();
    assert!(json.contains("\"reason\":\"callback-panicked\""), "{json}");
}

#[tokio::test]
async fn content_in_the_key_is_explained_with_it() {
    let (cache, _) = test_util::cache();
    let policy = || minute().key_body(["QUERY".parse().unwrap()]).max_content(10);
    let layer = CacheLayer::new(&cache, policy()).rebuild_body(Body::new);
    let parts = request_parts(&request("QUERY", "/x", &[]));
    let why = layer.explain_with_content(&parts, b"question");
    assert_eq!(verdict(&why), ("miss", Some("uri-miss")), "{why}");
    assert_eq!(step(&why, "admission"), "QUERY with 8 bytes of content");
    assert!(why.key_parts().any(|(name, value)| name == "body" && value.len() == 8), "{why}");
    let long = layer.explain_with_content(&parts, b"a long question");
    assert_eq!(verdict(&long), ("bypass", Some("content-too-long")), "{long}");
    assert_eq!(CacheLayer::new(&cache, policy()).explain_with_content(&parts, b"x").reason(), Some("content"));
    let get = request_parts(&get("/x", &[]));
    assert_eq!(layer.explain_with_content(&get, b"x").reason(), Some("content"));
}

#[tokio::test]
async fn a_table_says_where_the_policy_stands() {
    let (cache, _) = test_util::cache();
    let table = PolicyTable::new()
        .when(|parts| parts.uri.query() == Some("preview"), Policy::named("preview").fresh_for(MINUTE))
        .route("/products/{id}", minute())
        .otherwise(Policy::fresh_for(MINUTE));
    let app = App::new(&cache, table, &Inner::with(&[]));
    for (uri, policy, says) in [
        ("/products/1", Some("shop"), "route /products/{id}: shop"),
        ("/products/1?preview", Some("preview"), "predicate 1: preview"),
        ("/other", None, "what nothing else fits: one without a name"),
    ] {
        let why = app.explain(get(uri, &[]));
        assert_eq!((why.policy(), step(&why, "policy")), (policy, says));
    }
    let why = app.explain(get("/products/%2e%2e", &[]));
    assert_eq!(step(&why, "policy"), "none of the table");
}

#[tokio::test]
async fn what_a_change_invalidates_is_announced() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute(), &Inner::with(&[]));
    let says = |method: &str| step(&app.explain(request(method, "/x", &[])), "decision").to_owned();
    assert!(says("PUT").contains("invalidated"), "{}", says("PUT"));
    assert!(!says("OPTIONS").contains("invalidated"), "{}", says("OPTIONS"));
}

#[tokio::test]
async fn the_scheme_and_the_identity_of_the_extensions_count() {
    let (cache, _) = test_util::cache();
    let app = App::new(&cache, minute().per_tenant(), &Inner::with(&[]));
    let mut request = get("/x", &[("host", "a.test")]);
    request.extensions_mut().insert(Scheme::HTTPS);
    request.extensions_mut().insert(Identity::new().with_tenant(7).with_user("secret"));
    let why = app.explain(request);
    assert!(why.key().unwrap().contains("tenant=7:shop:GET:https://a.test/x"), "{why}");
}

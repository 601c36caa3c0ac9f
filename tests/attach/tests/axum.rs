//! The layer in axum: around a router, its routes, one method router, and inside nests.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use axum::{
    Router,
    extract::{OriginalUri, Path},
    routing::{MethodRouter, get, post},
};
use http::{Method, StatusCode, header::CACHE_CONTROL};
use larder::{Cache, CacheLayer, Policy};
use larder_attach::{Answer, Calls, Client, listen, until};
use std::{net::SocketAddr, time::Duration};
use tower::Layer;

#[tokio::test]
async fn router_layer() {
    let calls = Calls::default();
    let app = Router::new().route("/x", counted(&calls)).layer(layer(&cache()));
    let mut client = Client::http1(serve(app).await).await;

    client.get("/x").await.assert_stored();
    let second = client.get("/x").await;
    second.assert_hit();
    assert_eq!(second.text(), "/x: call 1");
    // The router's 404 is inside the layer too, and is a status with a default lifetime.
    client.get("/none").await.assert_stored();
    let none = client.get("/none").await;
    none.assert_hit();
    assert_eq!((none.status, calls.count()), (StatusCode::NOT_FOUND, 1));
}

#[tokio::test]
async fn route_layer() {
    let (calls, outside) = (Calls::default(), Calls::default());
    let app = Router::new()
        .route("/x/{id}", counted(&calls))
        .route_layer(layer(&cache()))
        .route("/outside", counted(&outside));
    let mut client = Client::http1(serve(app).await).await;

    client.get("/x/1").await.assert_stored();
    client.get("/x/1").await.assert_hit();
    client.get("/x/2").await.assert_stored();
    assert_eq!(client.get("/x/2").await.text(), "/x/2: call 2");
    assert_eq!(calls.count(), 2);
    for path in ["/outside", "/outside", "/none", "/none"] {
        assert!(client.get(path).await.cache_status().is_empty(), "{path}");
    }
    assert_eq!(outside.count(), 2);
}

#[tokio::test]
async fn method_router_layer() {
    let (calls, changes) = (Calls::default(), Calls::default());
    let change = {
        let changes = changes.clone();
        post(move || {
            let text = format!("change {}", changes.next());
            async { text }
        })
    };
    let app = Router::new().route("/x", counted(&calls).merge(change).layer(layer(&cache())));
    let mut client = Client::http1(serve(app).await).await;

    client.get("/x").await.assert_stored();
    client.get("/x").await.assert_hit();
    let changed = Answer::of(client.send(Method::POST, "/x", &[], "news").await).await;
    changed.assert_bypass();
    assert_eq!(changed.text(), "change 1");
    // The POST has made the stored answer invalid.
    let after = client.get("/x").await;
    after.assert_stored();
    assert_eq!(after.text(), "/x: call 2");
    client.get("/x").await.assert_hit();
    assert_eq!((calls.count(), changes.count()), (2, 1));
}

#[tokio::test]
async fn around_the_whole_router() {
    let calls = Calls::default();
    let app = Router::new().nest("/a", Router::new().route("/x", counted(&calls)));
    let mut client = Client::http1(larder_attach::serve(layer(&cache()).layer(app)).await).await;

    client.get("/a/x").await.assert_stored();
    client.get("/a/x").await.assert_hit();
    assert_eq!(calls.count(), 1);
}

/// All layers have the same cache and the same policy, and inside their nests all handlers have the same path.
#[tokio::test]
async fn nests_with_the_same_inner_paths_stay_apart() {
    let layer = layer(&cache());
    let calls = [(); 5].map(|()| Calls::default());
    let nested = |calls: &Calls| Router::new().route("/x", counted(calls)).layer(layer.clone());
    let app = Router::new()
        .nest("/a", nested(&calls[0]))
        .nest("/b", nested(&calls[1]))
        .nest("/c", Router::new().nest("/a", nested(&calls[2])).nest("/b", nested(&calls[3])))
        .nest_service("/s", nested(&calls[4]));
    let mut client = Client::http1(serve(app).await).await;

    let paths = ["/a/x", "/b/x", "/c/a/x", "/c/b/x", "/s/x"];
    for path in paths {
        let first = client.get(path).await;
        first.assert_stored();
        assert_eq!(first.text(), format!("{path}: call 1"));
    }
    for path in paths {
        let second = client.get(path).await;
        second.assert_hit();
        assert_eq!(second.text(), format!("{path}: call 1"));
    }
    assert!(calls.iter().all(|calls| calls.count() == 1), "{calls:?}");
}

#[tokio::test]
async fn layers_at_every_depth_agree_on_the_key() {
    let (cache, calls) = (cache(), Calls::default());
    let inner = Router::new().route("/x", counted(&calls)).layer(layer(&cache));
    let middle = Router::new().nest("/inner", inner).layer(layer(&cache));
    let mut client = Client::http1(serve(Router::new().nest("/outer", middle).layer(layer(&cache))).await).await;

    client.get("/outer/inner/x").await.assert_stored();
    client.get("/outer/inner/x").await.assert_hit();
    assert_eq!((calls.count(), cache.stats().resources, cache.stats().stored), (1, 1, 1));
}

#[tokio::test]
async fn fallbacks_of_nests_stay_apart() {
    let layer = layer(&cache());
    let calls = [(); 3].map(|()| Calls::default());
    let nested = |calls: &Calls| Router::new().fallback_service(counted(calls)).layer(layer.clone());
    let app =
        Router::new().nest("/a", nested(&calls[0])).nest("/b", nested(&calls[1])).fallback_service(nested(&calls[2]));
    let mut client = Client::http1(serve(app).await).await;

    for (path, calls) in ["/a/y", "/b/y", "/y"].into_iter().zip(&calls) {
        client.get(path).await.assert_stored();
        let second = client.get(path).await;
        second.assert_hit();
        assert_eq!((second.text(), calls.count()), (&*format!("{path}: call 1"), 1));
    }
}

/// A POST inside a nest makes invalid what is stored for its own path, and nothing of the other nest.
#[tokio::test]
async fn a_change_inside_a_nest_is_one_of_its_full_path() {
    let layer = layer(&cache());
    let calls = [(); 2].map(|()| Calls::default());
    let nested =
        |calls: &Calls| Router::new().route("/x", counted(calls).post(async || "changed")).route_layer(layer.clone());
    let app = Router::new().nest("/a", nested(&calls[0])).nest("/b", nested(&calls[1]));
    let mut client = Client::http1(serve(app).await).await;

    for path in ["/a/x", "/b/x"] {
        client.get(path).await.assert_stored();
    }
    client.send(Method::POST, "/a/x", &[], "").await;
    client.get("/b/x").await.assert_hit();
    client.get("/a/x").await.assert_stored();
    assert_eq!(calls.map(|calls| calls.count()), [2, 1]);
}

/// The request that refreshes in the background finds its way through the nest.
#[tokio::test]
async fn stale_while_revalidate_inside_a_nest() {
    let (cache, calls) = (cache(), Calls::default());
    let policy = Policy::from_response();
    let stating = {
        let calls = calls.clone();
        get(move |OriginalUri(uri): OriginalUri, Path(id): Path<u32>| {
            let text = format!("{uri}: product {id}, call {}", calls.next());
            async { ([(CACHE_CONTROL, "max-age=0, stale-while-revalidate=3600")], text) }
        })
    };
    let shop = Router::new().route("/products/{id}", stating).layer(CacheLayer::new(&cache, policy));
    let mut client = Client::http1(serve(Router::new().nest("/shop", shop)).await).await;

    client.get("/shop/products/7").await.assert_stored();
    let second = client.get("/shop/products/7").await;
    second.assert_hit();
    assert_eq!(second.text(), "/shop/products/7: product 7, call 1");
    until(|| cache.stats().refreshes == 1).await;
    assert_eq!(client.get("/shop/products/7").await.text(), "/shop/products/7: product 7, call 2");
    assert_eq!(cache.stats().resources, 1);
}

#[tokio::test]
async fn head_is_answered_from_a_stored_get() {
    let calls = Calls::default();
    let app = Router::new().route("/x", counted(&calls)).layer(layer(&cache()));
    let mut client = Client::http1(serve(app).await).await;

    // HEAD alone fills nothing.
    Answer::of(client.send(Method::HEAD, "/x", &[], "").await).await;
    let get = client.get("/x").await;
    get.assert_stored();
    let head = Answer::of(client.send(Method::HEAD, "/x", &[], "").await).await;
    head.assert_hit();
    assert_eq!(head.field("content-length"), Some(&*get.body.len().to_string()));
    assert!(head.body.is_empty());
    // The connection is still in step.
    client.get("/x").await.assert_hit();
    assert_eq!(calls.count(), 2);
}

fn cache() -> Cache {
    Cache::in_memory(1 << 20)
}

fn layer(cache: &Cache) -> CacheLayer {
    CacheLayer::new(cache, Policy::fresh_for(Duration::from_secs(3600)))
}

/// Answers with the path that the client sent and the number of the call.
fn counted(calls: &Calls) -> MethodRouter {
    let calls = calls.clone();
    get(move |OriginalUri(uri): OriginalUri| {
        let text = format!("{uri}: call {}", calls.next());
        async { text }
    })
}

async fn serve(app: Router) -> SocketAddr {
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, app).into_future());
    address
}

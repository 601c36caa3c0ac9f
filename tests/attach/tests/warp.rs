//! The layer around `warp::service`.

use larder::{Cache, CacheLayer, Policy};
use larder_attach::{Calls, Client, serve};
use std::time::Duration;
use tower::ServiceBuilder;
use warp::Filter;

#[tokio::test]
async fn around_a_filter() {
    let calls = Calls::default();
    let hello = {
        let calls = calls.clone();
        warp::path!("hello" / String).map(move |name| format!("Hello, {name}: call {}", calls.next()))
    };
    let service = ServiceBuilder::new()
        .layer(CacheLayer::new(&Cache::in_memory(1 << 20), Policy::fresh_for(Duration::from_secs(3600))))
        .service(warp::service(hello));
    let address = serve(service).await;

    let mut clients = [Client::http1(address).await, Client::http2(address).await];
    for (client, path) in clients.iter_mut().zip(["/hello/one", "/hello/two"]) {
        client.get(path).await.assert_stored();
        let second = client.get(path).await;
        second.assert_hit();
        assert!(second.text().starts_with("Hello, "), "{second:?}");
    }
    assert_eq!(calls.count(), 2);
}

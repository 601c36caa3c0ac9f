//! The layer around all services of a tonic server.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use axum::{Router, routing::get};
use http::{Method, StatusCode};
use larder::{Cache, CacheLayer, Policy};
use larder_attach::{Answer, Calls, Client, listen};
use std::{net::SocketAddr, time::Duration};
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::ServingStatus;

#[tokio::test]
async fn a_get_route_beside_grpc_is_cached() {
    let (calls, cache) = (Calls::default(), Cache::in_memory(1 << 20));
    let address = serve(&cache, &calls).await;

    let mut client = Client::http2(address).await;
    client.get("/prices").await.assert_stored();
    let second = client.get("/prices").await;
    second.assert_hit();
    assert_eq!((second.text(), calls.count()), ("call 1", 1));

    let mut client = Client::http1(address).await;
    client.get("/prices").await;
    client.get("/prices").await.assert_hit();
}

#[tokio::test]
async fn calls_pass_with_their_trailers() {
    let (calls, cache) = (Calls::default(), Cache::in_memory(1 << 20));
    let mut client = Client::http2(serve(&cache, &calls).await).await;

    for _ in 0..2 {
        let answer = check_health(&mut client, "shop.Prices").await;
        answer.assert_bypass();
        assert_eq!(answer.field("content-type"), Some("application/grpc"));
        // Not compressed, 2 bytes long: field 1 is 1, SERVING.
        assert_eq!(&answer.body[..], [0, 0, 0, 0, 2, 8, 1]);
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    }
    // A call that fails has its status in the head alone.
    let unknown = check_health(&mut client, "none").await;
    assert_eq!((unknown.status, unknown.field("grpc-status")), (StatusCode::OK, Some("5")));
    let stats = cache.stats();
    assert_eq!((stats.bypasses["method"], stats.stored), (3, 0));
}

/// `grpc.health.v1.Health/Check`, written out: a frame of one message with a string as its field 1.
async fn check_health(client: &mut Client, service: &str) -> Answer {
    let length = u8::try_from(service.len()).unwrap();
    let frame = [&[0, 0, 0, 0, length + 2, 10, length], service.as_bytes()].concat();
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let frame = String::from_utf8(frame).unwrap();
    Answer::of(client.send(Method::POST, "/grpc.health.v1.Health/Check", &fields, &frame).await).await
}

async fn serve(cache: &Cache, calls: &Calls) -> SocketAddr {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status("shop.Prices", ServingStatus::Serving).await;
    let calls = calls.clone();
    let prices = get(move || {
        let text = format!("call {}", calls.next());
        async { text }
    });
    let listener = listen().await;
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .accept_http1(true)
        .layer(CacheLayer::new(cache, Policy::fresh_for(Duration::from_secs(3600))))
        .add_routes(Routes::from(Router::new().route("/prices", prices)).add_service(health_service))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    address
}

//! Unary gRPC calls, cached: a real tonic client, a real tonic server, a real socket.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use http::{Request, Response, uri::PathAndQuery};
use larder::{Cache, CacheLayer, Policy};
use larder_attach::Calls;
use std::{
    convert::Infallible,
    future::Ready,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};
use tonic::{
    Status,
    body::Body,
    client::Grpc as GrpcClient,
    codec::CompressionEncoding,
    server::{Grpc as GrpcServer, NamedService, UnaryService},
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;

const PATH: &str = "/shop.Prices/Of";

#[tokio::test]
async fn a_call_that_succeeds_is_answered_from_the_cache() {
    let (calls, cache) = (Calls::default(), Cache::in_memory(1 << 20));
    let channel = connect(serve(&cache, &calls).await).await;
    assert_eq!(ask(&channel, "gold", None).await.unwrap(), ("gold costs 1".to_owned(), false));
    assert_eq!(ask(&channel, "gold", None).await.unwrap(), ("gold costs 1".to_owned(), true));
    assert_eq!(ask(&channel, "silver", None).await.unwrap(), ("silver costs 2".to_owned(), false));
    assert_eq!(calls.count(), 2);
}

#[tokio::test]
async fn a_call_that_fails_is_not() {
    let (calls, cache) = (Calls::default(), Cache::in_memory(1 << 20));
    let channel = connect(serve(&cache, &calls).await).await;
    for call in 1..=3 {
        let status = ask(&channel, "nothing", None).await.unwrap_err();
        assert_eq!((status.code(), calls.count()), (tonic::Code::NotFound, call));
    }
    assert_eq!(cache.stats().stored, 0);
}

#[tokio::test]
async fn compressed_messages_are_kept_apart_from_plain_ones() {
    let (calls, cache) = (Calls::default(), Cache::in_memory(1 << 20));
    let channel = connect(serve(&cache, &calls).await).await;
    let gzip = Some(CompressionEncoding::Gzip);
    let long = "gold".repeat(200);
    let (first, _) = ask(&channel, &long, gzip).await.unwrap();
    assert_eq!(ask(&channel, &long, gzip).await.unwrap(), (first.clone(), true));
    let (plain, hit) = ask(&channel, &long, None).await.unwrap();
    assert!(!hit && plain != first, "another call");
    assert_eq!(ask(&channel, &long, None).await.unwrap(), (plain, true));
    assert_eq!(calls.count(), 2);
}

/// The answer to a call, and whether it came from the cache.
async fn ask(channel: &Channel, what: &str, coding: Option<CompressionEncoding>) -> Result<(String, bool), Status> {
    let mut client = GrpcClient::new(channel.clone());
    if let Some(coding) = coding {
        client = client.send_compressed(coding).accept_compressed(coding);
    }
    client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = ProstCodec::<String, String>::default();
    let call = tonic::Request::new(what.to_owned());
    let answer = client.unary(call, PathAndQuery::from_static(PATH), codec).await?;
    let hit = answer.metadata().get("cache-status").is_some_and(|status| status == "larder; hit");
    Ok((answer.into_inner(), hit))
}

async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

async fn serve(cache: &Cache, calls: &Calls) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let policy = Policy::named("prices").fresh_for(Duration::from_secs(60)).grpc();
    let server = Server::builder()
        .layer(CacheLayer::new(cache, policy).rebuild_body(Body::new))
        .add_service(Prices(calls.clone()))
        .serve_with_incoming(TcpIncoming::from(listener));
    tokio::spawn(server);
    address
}

/// What `tonic-build` would generate for a service with one unary method of two strings.
#[derive(Clone)]
struct Prices(Calls);

impl UnaryService<String> for Prices {
    type Response = String;
    type Future = Ready<Result<tonic::Response<String>, Status>>;

    fn call(&mut self, request: tonic::Request<String>) -> Self::Future {
        let call = self.0.next();
        let what = request.into_inner();
        std::future::ready(match what.as_str() {
            "nothing" => Err(Status::not_found("no such thing")),
            _ => Ok(tonic::Response::new(format!("{what} costs {call}"))),
        })
    }
}

impl NamedService for Prices {
    const NAME: &'static str = "shop.Prices";
}

impl tower_service::Service<Request<Body>> for Prices {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            let mut grpc = GrpcServer::new(ProstCodec::<String, String>::default())
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip);
            Ok(grpc.unary(service, request).await)
        })
    }
}

//! Servers with TLS.

use crate::server::patient;
use larder_redis_tests::{Certificates, Cluster, Sentinel, Server};
use redis::{ClientTlsConfig, TlsCertificates};
use std::{fs, path::Path};
use tokio::process::Command;

/// What the redis crate is answered when it trusts these, and maybe shows who it is.
async fn ping(url: &str, certificates: &Certificates, shown: bool) -> redis::RedisResult<String> {
    // An error tells that another test was first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let read = |path: &Path| fs::read(path).unwrap();
    let shown = shown.then(|| ClientTlsConfig {
        client_cert: read(&certificates.client()),
        client_key: read(&certificates.client_key()),
    });
    let trusted = TlsCertificates { client_tls: shown, root_cert: Some(read(&certificates.ca())) };
    let client = redis::Client::build_with_tls(url, trusted)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient()).await?;
    redis::cmd("PING").query_async(&mut connection).await
}

#[tokio::test]
async fn a_server_with_tls_is_trusted_by_those_who_trust_its_authority() {
    let certificates = Certificates::new();
    let server = Server::options().tls(&certificates).start().await;
    assert!(server.url().starts_with("rediss://"));
    assert_eq!(server.cli(&["PING"]).await, "PONG");
    let by_hand = Command::new("redis-cli")
        .args(["-h", "localhost", "-p", &server.port().to_string(), "--tls", "--cacert"])
        .arg(certificates.ca())
        .arg("PING")
        .output();
    assert_eq!(by_hand.await.unwrap().stdout, b"PONG\n");

    assert_eq!(ping(&server.url(), &certificates, false).await.unwrap(), "PONG");
    let by_name = server.url().replace("127.0.0.1", "localhost");
    assert_eq!(ping(&by_name, &certificates, false).await.unwrap(), "PONG");
    assert!(ping(&server.url(), &Certificates::new(), false).await.is_err());
    let plain = server.url().replace("rediss:", "redis:");
    assert!(ping(&plain, &certificates, false).await.is_err());
}

#[tokio::test]
async fn a_server_can_ask_for_the_certificate_of_the_client() {
    let certificates = Certificates::new();
    let server = Server::options().mutual_tls(&certificates).password("top").start().await;
    assert_eq!(ping(&server.url(), &certificates, true).await.unwrap(), "PONG");
    assert!(ping(&server.url(), &certificates, false).await.is_err());
}

#[tokio::test]
async fn servers_reach_each_other_by_tls() {
    let certificates = Certificates::new();
    let mut cluster = Cluster::with(Server::options().mutual_tls(&certificates), true).await;
    assert_eq!(ping(&cluster.nodes()[2], &certificates, true).await.unwrap(), "PONG");
    cluster.promote(0).await;
    let slot = cluster.slot_of("a").await;
    cluster.master(cluster.owner(slot).await).cli(&["SET", "a", "1"]).await;
    let to = (cluster.owner(slot).await + 1) % 3;
    cluster.move_slot(slot, to).await;
    assert_eq!(cluster.master(to).cli(&["GET", "a"]).await, "1");

    let mut sentinel = Sentinel::with(Server::options().mutual_tls(&certificates)).await;
    assert_eq!(ping(&sentinel.urls()[0], &certificates, true).await.unwrap(), "PONG");
    sentinel.failover().await;
    assert_eq!(ping(&sentinel.master().url(), &certificates, true).await.unwrap(), "PONG");
}

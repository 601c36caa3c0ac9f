//! Getting in: users, databases, TLS, sockets.

use crate::support::{get, key, millis, patient, put, ready, secs};
use larder::{Redis, StoreError};
use larder_redis_tests::{Certificates, Server};
use std::fs;

#[tokio::test]
async fn databases_are_apart() {
    let server = Server::standalone().await;
    let (one, two) =
        (patient(&format!("{}/1", server.url().trim_end_matches('/'))), patient(&server.url()).database(2));
    let (one, two) = (ready(&one).await, ready(&two).await);
    put(&*one, "a", "one").await.unwrap();
    put(&*two, "a", "two").await.unwrap();
    assert_eq!(server.cli(&["-n", "1", "GET", "a"]).await, "one");
    assert_eq!(server.cli(&["-n", "2", "GET", "a"]).await, "two");
}

#[tokio::test]
async fn passwords_are_asked_for() {
    let server = Server::options().password("p/w@:").start().await;
    let url = format!("redis://127.0.0.1:{}", server.port());
    let open = patient(&format!("redis://:p%2Fw%40%3A@127.0.0.1:{}", server.port()));
    put(&*ready(&open).await, "a", "x").await.unwrap();
    let set = patient(&url).password("p/w@:");
    assert!(get(&*ready(&set).await, "a").await.unwrap().is_some());
    for refused in [patient(&url), patient(&url).password("wrong")] {
        assert_eq!(refused.ready(millis(300)).await, Err(StoreError::Denied));
        assert_eq!(get(&*refused.store().unwrap(), "a").await, Err(StoreError::Denied));
    }
}

/// With the permissions that the documentation names, and with none of another command or key.
#[tokio::test]
async fn a_user_with_few_rights_will_do() {
    let rules = "on >secret ~larder:* +get +mget +set +unlink +scan +getrange +ping +info +dbsize";
    let server = Server::options().user("app", rules).start().await;
    let redis = patient(&server.url_as("app", "secret"));
    let store = ready(&redis).await;
    larder_redis_tests::contract::check(&*store, "larder:v1:").await;
    store.stats().await.unwrap();
    assert_eq!(get(&*store, "other:key").await, Err(StoreError::Denied));
    // That is no reason to leave the server alone.
    for _ in 0..20 {
        assert_eq!(put(&*store, "other:key", "x").await, Err(StoreError::Denied));
    }
    assert!(store.is_available());
    // Without INFO and PING it works as well.
    let rules = "on >secret ~larder:* +get +set";
    let server = Server::options().user("app", rules).start().await;
    let redis = patient(&server.url()).username("app").password("secret");
    let store = ready(&redis).await;
    put(&*store, "larder:a", "x").await.unwrap();
    assert_eq!(store.remove(&[key("larder:a")]).await, Err(StoreError::Denied));
    assert_eq!(store.stats().await.unwrap().entries, None);
}

#[tokio::test]
async fn tls_verifies() {
    let certificates = Certificates::new();
    let ca = fs::read(certificates.ca()).unwrap();
    let server = Server::options().tls(&certificates).start().await;
    let redis = patient(&server.url()).tls_ca(&ca);
    let store = ready(&redis).await;
    larder_redis_tests::contract::check(&*store, "larder:v1:").await;
    // By name as well.
    let redis = patient(&server.url().replace("127.0.0.1", "localhost")).tls_ca(&ca);
    put(&*ready(&redis).await, "a", "x").await.unwrap();
    // Another authority, the system's, and a name that the certificate does not have.
    let other = fs::read(Certificates::new().ca()).unwrap();
    let url = server.url();
    for stranger in [
        patient(&url).tls_ca(&other),
        patient(&url),
        patient(&url.replace("127.0.0.1", "127.0.0.2")).tls_ca(&ca),
        // Plain text to a port that speaks TLS.
        patient(&url.replace("rediss:", "redis:")),
    ] {
        assert!(stranger.ready(millis(500)).await.is_err(), "{stranger:?}");
    }
}

#[tokio::test]
async fn servers_may_want_a_certificate() {
    let certificates = Certificates::new();
    let [ca, certificate, key] =
        [certificates.ca(), certificates.client(), certificates.client_key()].map(|path| fs::read(path).unwrap());
    let server = Server::options().mutual_tls(&certificates).start().await;
    let redis = patient(&server.url()).tls_ca(&ca).tls_client(&certificate, &key);
    put(&*ready(&redis).await, "a", "x").await.unwrap();
    assert!(patient(&server.url()).tls_ca(&ca).ready(millis(500)).await.is_err());
    let other = fs::read(Certificates::new().client_key()).unwrap();
    let text = patient(&server.url()).tls_ca(&ca).tls_client(&certificate, &other).store().unwrap_err().to_string();
    assert!(text.starts_with("tls_client"), "{text}");
}

#[tokio::test]
async fn sockets_of_the_file_system() {
    let path = std::env::temp_dir().join(format!("larder-redis-{}.sock", std::process::id()));
    let server = Server::options().set("unixsocket", path.to_str().unwrap()).start().await;
    let redis = patient(&format!("redis+unix://{}?db=3", path.display()));
    put(&*ready(&redis).await, "a", "x").await.unwrap();
    assert_eq!(server.cli(&["-n", "3", "GET", "a"]).await, "x");
    drop(server);
    drop(fs::remove_file(path));
}

#[tokio::test]
async fn a_full_server_takes_no_writes_and_answers_reads() {
    let server = Server::standalone().await;
    let redis = patient(&server.url());
    let store = ready(&redis).await;
    put(&*store, "a", "x").await.unwrap();
    server.config_set("maxmemory", "1").await;
    for _ in 0..10 {
        assert_eq!(put(&*store, "b", "x").await, Err(StoreError::ReadOnly));
    }
    assert!(store.is_available());
    assert!(get(&*store, "a").await.unwrap().is_some());
    server.config_set("maxmemory", "0").await;
    put(&*store, "b", "x").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_is_told_by_what_uses_it() {
    let redis = Redis::open("redis://localhost").unwrap().connections(0);
    assert!(redis.store().unwrap_err().to_string().contains("connections(0)"));
    assert_eq!(redis.ready(secs(1)).await, Err(StoreError::Denied));
}

//! A single server.

use crate::raw::Raw;
use larder_redis_tests::{Options, Server, until};
use redis::AsyncConnectionConfig;
use std::path::Path;
use tokio::net::TcpStream;

/// What the redis crate gets from this URL.
pub(crate) async fn value(url: &str, args: &[&str]) -> redis::RedisResult<Option<String>> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection_with_config(&patient()).await?;
    redis::cmd(args[0]).arg(&args[1..]).query_async(&mut connection).await
}

/// No limit of its own: a machine with much to do is no failure.
pub(crate) fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

#[tokio::test]
async fn a_server_answers() {
    let server = Server::standalone().await;
    assert_eq!(server.cli(&["PING"]).await, "PONG");
    assert_eq!(value(&server.url(), &["SET", "a", "1"]).await.unwrap().as_deref(), Some("OK"));
    assert_eq!(server.cli(&["GET", "a"]).await, "1");
    assert!(server.try_cli(&["GET"]).await.unwrap_err().contains("wrong number of arguments"));
    assert_eq!(server.cli(&["CONFIG", "GET", "save"]).await.lines().nth(1).unwrap_or_default(), "");
    assert_eq!(server.role().await.as_deref(), Some("master"));
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_port_and_is_empty() {
    let mut server = Server::standalone().await;
    server.cli(&["SET", "a", "1"]).await;
    server.stop();
    assert!(TcpStream::connect(server.address()).await.is_err());
    assert!(server.try_cli(&["PING"]).await.is_err());
    let port = server.port();
    server.start().await;
    assert_eq!(server.port(), port);
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn what_was_saved_comes_back_once() {
    let mut server = Server::standalone().await;
    server.cli(&["SET", "a", "1"]).await;
    server.save().await;
    server.cli(&["SET", "b", "1"]).await;
    server.stop();
    server.start().await;
    assert_eq!(server.cli(&["KEYS", "*"]).await, "a");
    server.stop();
    server.start().await;
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn a_paused_server_accepts_and_answers_nothing() {
    let server = Server::standalone().await;
    server.pause().await;
    let mut client = Raw::connect(server.address()).await;
    client.send(&["PING"]).await;
    assert!(client.is_silent().await);
    server.resume().await;
    client.expect("+PONG\r\n").await;
}

#[tokio::test]
async fn a_paused_server_can_be_killed() {
    let mut server = Server::standalone().await;
    server.pause().await;
    server.stop();
    server.start().await;
    assert_eq!(server.cli(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn users_may_do_what_their_rules_say() {
    let options = Server::options().password("top").user("app", "on >secret ~larder:* +get +set +ping");
    let server = options.start().await;
    assert_eq!(server.cli(&["SET", "other", "1"]).await, "OK");
    assert_eq!(value(&server.url(), &["GET", "other"]).await.unwrap().as_deref(), Some("1"));
    let anonymous = format!("redis://127.0.0.1:{}/", server.port());
    assert_eq!(value(&anonymous, &["GET", "other"]).await.unwrap_err().code(), Some("NOAUTH"));

    let app = server.url_as("app", "secret");
    assert_eq!(value(&app, &["SET", "larder:a", "1"]).await.unwrap().as_deref(), Some("OK"));
    assert_eq!(value(&app, &["GET", "other"]).await.unwrap_err().code(), Some("NOPERM"));
    assert_eq!(value(&app, &["DEL", "larder:a"]).await.unwrap_err().code(), Some("NOPERM"));
    assert!(value(&server.url_as("app", "wrong"), &["PING"]).await.is_err());
    assert_eq!(server.try_cli_as("app", "secret", &["GET", "larder:a"]).await.as_deref(), Ok("1"));
    assert!(server.try_cli_as("app", "secret", &["DBSIZE"]).await.unwrap_err().contains("NOPERM"));
    assert!(server.try_cli_as("app", "wrong", &["PING"]).await.unwrap_err().contains("WRONGPASS"));
}

#[tokio::test]
async fn a_server_without_rights_for_strangers_can_still_be_asked_by_the_kit() {
    let server = Server::options().user("default", "off").start().await;
    assert!(value(&server.url(), &["PING"]).await.is_err());
    assert_eq!(server.cli(&["PING"]).await, "PONG");
}

#[tokio::test]
async fn options_take_effect() {
    let server = Server::options().maxmemory("3mb", "allkeys-lru").databases(3).set("timeout", "77").start().await;
    for (name, value) in [("maxmemory", "3145728"), ("maxmemory-policy", "allkeys-lru"), ("timeout", "77")] {
        assert_eq!(server.cli(&["CONFIG", "GET", name]).await, format!("{name}\n{value}"));
    }
    assert!(server.try_cli(&["SELECT", "3"]).await.unwrap_err().contains("out of range"));
    server.cli(&["DEBUG", "POPULATE", "4000", "key", "1000"]).await;
    server.cli(&["SET", "one", "more"]).await;
    until("evictions", async || server.info("evicted_keys").await.is_some_and(|keys| keys != "0")).await;
    server.config_set("timeout", "0").await;
    assert_eq!(server.cli(&["CONFIG", "GET", "timeout"]).await, "timeout\n0");
}

#[tokio::test]
async fn a_replica_follows_its_master() {
    let master = Server::options().password("top").start().await;
    master.cli(&["SET", "a", "1"]).await;
    let replica = Server::options().replica_of(&master).start().await;
    replica.in_sync().await;
    assert_eq!(replica.cli(&["GET", "a"]).await, "1");
    assert_eq!(replica.role().await.as_deref(), Some("slave"));
    assert!(replica.try_cli(&["SET", "a", "2"]).await.unwrap_err().contains("READONLY"));
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_log() {
    let start = tokio::spawn(Server::options().set("no-such-directive", "1").start());
    let panic = start.await.unwrap_err().into_panic();
    let message = panic.downcast::<String>().unwrap();
    assert!(message.contains("no-such-directive"), "{message}");
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let server = Server::standalone().await;
    let process = format!("/proc/{}", server.process_id().unwrap());
    let directory = server.directory().to_owned();
    assert!(Path::new(&process).exists() && directory.exists());
    drop(server);
    assert!(!Path::new(&process).exists() && !directory.exists());
}

#[tokio::test]
async fn many_servers_at_once_have_ports_of_their_own() {
    let tasks = Vec::from_iter((0..8).map(|_| tokio::spawn(Options::default().start())));
    let mut servers = Vec::new();
    for task in tasks {
        servers.push(task.await.unwrap());
    }
    for (number, server) in servers.iter().enumerate() {
        server.cli(&["SET", "number", &number.to_string()]).await;
    }
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(server.cli(&["GET", "number"]).await, number.to_string());
    }
}

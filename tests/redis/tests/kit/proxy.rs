//! Each fault of the proxy.

use crate::{raw::Raw, server::value};
use larder_redis_tests::{Close, Damage, Fault, Proxy, Server, Way, until};
use std::{io::ErrorKind, time::Duration};
use tokio::{net::TcpStream, time::Instant};

/// A server with `a` = `hello`, and a proxy with a client before it.
async fn proxied() -> (Server, Proxy, Raw) {
    let server = Server::standalone().await;
    server.cli(&["SET", "a", "hello"]).await;
    let proxy = Proxy::to(server.address());
    let client = Raw::connect(proxy.address()).await;
    (server, proxy, client)
}

#[expect(clippy::disallowed_methods, reason = "a delay is one of real time, and only has a lower bound here")]
fn now() -> Instant {
    Instant::now()
}

const HELLO: &str = "$5\r\nhello\r\n";

#[tokio::test]
async fn without_faults_all_passes_and_is_counted() {
    let (server, proxy, mut client) = proxied().await;
    client.ask(&["GET", "a"], HELLO).await;
    let counts = proxy.counts();
    assert_eq!((counts.open, counts.ever, counts.damaged), (1, 1, 0));
    assert_eq!((counts.to_server, counts.to_client), (20, 11));
    assert_eq!(value(&proxy.url(), &["GET", "a"]).await.unwrap().as_deref(), Some("hello"));
    assert_eq!(value(&server.url_via(&proxy), &["GET", "a"]).await.unwrap().as_deref(), Some("hello"));
    drop(client);
    until("the end of all connections", async || proxy.counts().open == 0).await;
    assert_eq!(proxy.counts().ever, 3);

    let large = "x".repeat(3_000_000);
    let mut client = Raw::connect(proxy.address()).await;
    client.ask(&["SET", "large", &large], "+OK\r\n").await;
    client.ask(&["GET", "large"], &format!("$3000000\r\n{large}\r\n")).await;
}

#[tokio::test]
async fn delayed_bytes_come_later_and_in_order() {
    let (_server, proxy, mut client) = proxied().await;
    for way in [Way::ToServer, Way::ToClient] {
        let by = Duration::from_millis(80);
        proxy.set(Fault::Delay { way, by, jitter: Duration::from_millis(20), seed: 7 });
        let start = now();
        for number in 0..20 {
            client.send(&["ECHO", &format!("{number:02}")]).await;
        }
        for number in 0..20 {
            client.expect(&format!("$2\r\n{number:02}\r\n")).await;
        }
        assert!(now() - start >= by);
        proxy.clear();
    }
}

#[tokio::test]
async fn what_is_delayed_comes_when_the_delay_is_cleared() {
    let (server, proxy, mut client) = proxied().await;
    proxy.set(Fault::delay(Way::ToClient, Duration::from_secs(3600)));
    client.send(&["INCR", "n"]).await;
    until("a command at the server", async || server.cli(&["GET", "n"]).await == "1").await;
    assert!(client.is_silent().await);
    proxy.clear();
    client.expect(":1\r\n").await;
}

#[tokio::test]
async fn throttled_bytes_take_their_time() {
    let (server, proxy, mut client) = proxied().await;
    let value = "x".repeat(20_000);
    server.cli(&["SET", "b", &value]).await;
    proxy.set(Fault::Throttle { way: Way::ToClient, bytes_per_second: 100_000 });
    let start = now();
    client.ask(&["GET", "b"], &format!("$20000\r\n{value}\r\n")).await;
    assert!(now() - start >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_black_hole_swallows_and_does_not_close() {
    let (mut server, proxy, mut client) = proxied().await;
    let mut other = Raw::connect(proxy.address()).await;
    other.ask(&["PING"], "+PONG\r\n").await;
    proxy.set(Fault::BlackHole { way: Way::ToClient });
    client.send(&["INCR", "n"]).await;
    until("a command at the server", async || server.cli(&["GET", "n"]).await == "1").await;
    assert!(client.is_silent().await);
    let mut new = Raw::connect(proxy.address()).await;
    new.send(&["PING"]).await;
    assert!(new.is_silent().await);

    // A stream with a hole stays silent; one without goes on.
    proxy.clear();
    client.send(&["INCR", "n"]).await;
    until("a command at the server", async || server.cli(&["GET", "n"]).await == "2").await;
    assert!(client.is_silent().await);
    other.ask(&["PING"], "+PONG\r\n").await;

    // Not even the server's death is seen.
    proxy.set(Fault::BlackHole { way: Way::ToClient });
    server.stop();
    assert!(other.is_silent().await && client.is_silent().await);
    drop((client, other, new));
    until("the end of all connections", async || proxy.counts().open == 0).await;
}

#[tokio::test]
async fn a_black_hole_for_commands_keeps_them_from_the_server() {
    let (server, proxy, mut client) = proxied().await;
    client.ask(&["PING"], "+PONG\r\n").await;
    proxy.set(Fault::BlackHole { way: Way::ToServer });
    client.send(&["INCR", "n"]).await;
    assert!(client.is_silent().await);
    proxy.clear();
    client.send(&["INCR", "n"]).await;
    assert!(client.is_silent().await);
    assert_eq!(server.cli(&["EXISTS", "n"]).await, "0");
    Raw::connect(proxy.address()).await.ask(&["INCR", "n"], ":1\r\n").await;
}

#[tokio::test]
async fn cut_connections_end_or_are_reset() {
    let (_server, proxy, mut client) = proxied().await;
    client.ask(&["PING"], "+PONG\r\n").await;
    proxy.cut(Close::Fin).await;
    assert_eq!(proxy.counts().open, 0);
    assert!(client.rest().await.1.is_ok());

    let mut client = Raw::connect(proxy.address()).await;
    client.ask(&["PING"], "+PONG\r\n").await;
    proxy.cut(Close::Rst).await;
    assert_eq!(proxy.counts().open, 0);
    assert_eq!(client.rest().await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    Raw::connect(proxy.address()).await.ask(&["PING"], "+PONG\r\n").await;
}

#[tokio::test]
async fn connections_are_refused() {
    let (_server, proxy, mut client) = proxied().await;
    client.ask(&["PING"], "+PONG\r\n").await;
    proxy.set(Fault::Refuse);
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.ask(&["PING"], "+PONG\r\n").await;
    proxy.clear();
    Raw::connect(proxy.address()).await.ask(&["PING"], "+PONG\r\n").await;
}

#[tokio::test]
async fn without_a_server_connections_are_reset() {
    let (mut server, proxy, mut client) = proxied().await;
    client.ask(&["PING"], "+PONG\r\n").await;
    server.stop();
    client.rest().await.1.unwrap();
    assert_eq!(Raw::connect(proxy.address()).await.rest().await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    server.start().await;
    Raw::connect(proxy.address()).await.ask(&["PING"], "+PONG\r\n").await;
}

#[tokio::test]
async fn a_reply_is_cut_in_its_middle() {
    let (_server, proxy, mut client) = proxied().await;
    proxy.set(Fault::reply("GET", Damage::Cut { after: 6, how: Close::Fin }));
    client.ask(&["PING"], "+PONG\r\n").await;
    client.send(&["GET", "a"]).await;
    let (rest, end) = client.rest().await;
    assert_eq!(rest, "$5\r\nhe");
    assert!(end.is_ok());

    // Once, as was said.
    let mut client = Raw::connect(proxy.address()).await;
    client.ask(&["GET", "a"], HELLO).await;
    proxy.set(Fault::reply("GET", Damage::Cut { after: 0, how: Close::Rst }));
    client.send(&["GET", "a"]).await;
    assert_eq!(client.rest().await.1.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(proxy.counts().damaged, 2);
}

#[tokio::test]
async fn a_reply_comes_twice() {
    let (_server, proxy, mut client) = proxied().await;
    proxy.set(Fault::Reply { of: b"GET".to_vec(), damage: Damage::Duplicate, times: 2 });
    for args in [&["ECHO", "1"], &["GET", "a"], &["ECHO", "2"], &["GET", "b"], &["GET", "a"]] {
        client.send(args).await;
    }
    client.expect("$1\r\n1\r\n").await;
    client.expect(&[HELLO, HELLO].concat()).await;
    client.expect("$1\r\n2\r\n").await;
    client.expect("$-1\r\n$-1\r\n").await;
    client.expect(HELLO).await;
    assert_eq!(proxy.counts().damaged, 2);
}

#[tokio::test]
async fn a_reply_is_dropped() {
    let (server, proxy, mut client) = proxied().await;
    proxy.set(Fault::reply("INCR", Damage::Drop));
    for args in [&["ECHO", "1"][..], &["INCR", "n"], &["ECHO", "2"], &["INCR", "n"]] {
        client.send(args).await;
    }
    client.expect("$1\r\n1\r\n$1\r\n2\r\n:2\r\n").await;
    assert_eq!(server.cli(&["GET", "n"]).await, "2");
}

#[tokio::test]
async fn a_reply_is_lost_and_all_after_it() {
    let (server, proxy, mut client) = proxied().await;
    proxy.set(Fault::reply("INCR", Damage::Silence));
    for args in [&["ECHO", "1"][..], &["INCR", "n"], &["INCR", "n"]] {
        client.send(args).await;
    }
    client.expect("$1\r\n1\r\n").await;
    until("commands at the server", async || server.cli(&["GET", "n"]).await == "2").await;
    assert!(client.is_silent().await);
    Raw::connect(proxy.address()).await.ask(&["INCR", "n"], ":3\r\n").await;
}

#[tokio::test]
async fn a_bit_of_a_reply_is_wrong() {
    let (_server, proxy, mut client) = proxied().await;
    proxy.set(Fault::reply("", Damage::Flip { at: 4 }));
    client.ask(&["GET", "a"], "$5\r\niello\r\n").await;
    client.ask(&["GET", "a"], HELLO).await;
    // Too short: nothing happens.
    proxy.set(Fault::reply("PING", Damage::Flip { at: 100 }));
    client.ask(&["PING"], "+PONG\r\n").await;
    assert_eq!(proxy.counts().damaged, 1);
}

#[tokio::test]
async fn pushes_are_no_replies() {
    let (server, proxy, mut client) = proxied().await;
    client.send(&["HELLO", "3"]).await;
    until("a reply", async || proxy.counts().to_client > 0).await;
    client.send(&["CLIENT", "TRACKING", "on"]).await;
    client.send(&["GET", "a"]).await;
    client.send(&["SUBSCRIBE", "news"]).await;
    client.send(&["ECHO", "end of the greeting"]).await;
    // The greeting has ids and versions in it.
    client.skip_to("$19\r\nend of the greeting\r\n").await;
    proxy.set(Fault::reply("GET", Damage::Flip { at: 4 }));
    server.cli(&["SET", "a", "hello"]).await;
    client.expect(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\na\r\n").await;
    server.cli(&["PUBLISH", "news", "x"]).await;
    client.expect(">3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$1\r\nx\r\n").await;
    client.ask(&["GET", "a"], "$5\r\niello\r\n").await;
}

#[tokio::test]
async fn connections_end_with_the_proxy() {
    let (server, proxy, mut client) = proxied().await;
    client.ask(&["PING"], "+PONG\r\n").await;
    drop(proxy);
    assert!(client.rest().await.1.is_ok());
    until("the end of the other side", async || server.info("connected_clients").await.as_deref() == Some("1")).await;
}

//! Ways in: TLS, users with few rights, databases.

use crate::support::{Node, Setup, patient, tagged};
use larder::{Redis, Selector};
use larder_redis_tests::{Certificates, Cluster, Sentinel, Server, until};
use std::{error::Error, fs};

/// What a user of its own may do, and no more. Each of these is needed by something below.
const RIGHTS: &str = "resetchannels -@all +get +mget +set +unlink +scan +getrange +ping +info +dbsize \
                      +evalsha +eval +xread +xadd +xrevrange +pexpire";

/// What one stores the other finds, what one invalidates the other does not serve, and a preview looks into the store.
async fn works(setup: &Setup) {
    let (a, b) = setup.two().await;
    coherent(&a, &b).await;
    let preview = a.cache.preview(&Selector::everything()).await.unwrap();
    assert!(preview.complete && preview.stored_entries > 0, "{preview:?}");
    for node in [&a, &b] {
        let tier = node.tier();
        // What was purged before it was written is not written.
        assert!(tier.reasons.keys().all(|reason| *reason == "invalidated"), "{tier:?}");
        // At first it is read before there is a connection.
        assert!(node.log().failures < 10 && node.log().gaps == 0, "{:?}", node.log());
    }
}

async fn coherent(a: &Node, b: &Node) {
    for (one, other) in [(a, b), (b, a)] {
        let first = one.share(other, "/x").await;
        other.cache.invalidate(Selector::tag("x")).await.unwrap();
        let second = other.store("/x").await;
        assert_eq!(one.forgets("/x", &first).await, second);
        one.cache.invalidate(Selector::tag("x")).await.unwrap();
        other.forgets("/x", &second).await;
    }
    a.store("/y").await;
}

#[tokio::test]
async fn o_36_tls() {
    let certificates = Certificates::new();
    let ca = fs::read(certificates.ca()).unwrap();
    let server = Server::options().tls(&certificates).start().await;
    works(&Setup::over(patient(server.url()).tls_ca(&ca), tagged())).await;
    let stranger = Setup::over(patient(server.url()), tagged()).absent();
    assert!(!stranger.cache.ready(std::time::Duration::from_millis(500)).await);
    assert!(stranger.cache.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
}

#[tokio::test]
async fn another_database() {
    let server = Server::standalone().await;
    works(&Setup::over(patient(server.url()).database(3), tagged())).await;
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
    assert_ne!(server.cli(&["-n", "3", "DBSIZE"]).await, "0");
}

#[tokio::test]
async fn a_user_with_few_rights_will_do() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS}");
    let server = Server::options().user("app", &rules).start().await;
    works(&Setup::new(server.url_as("app", "secret"), tagged())).await;
    let denied = server.cli(&["ACL", "LOG"]).await;
    assert_eq!(denied, "", "nothing was tried that is not allowed");
}

#[tokio::test]
async fn a_user_with_few_rights_and_a_database() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS} +select");
    let server = Server::options().user("app", &rules).start().await;
    let redis = patient(server.url_as("app", "secret")).database(2);
    works(&Setup::over(redis, tagged())).await;
    assert_eq!(server.cli(&["ACL", "LOG"]).await, "");
}

#[tokio::test]
async fn a_user_with_few_rights_in_a_cluster() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS} +cluster|slots +asking");
    let cluster = Cluster::with(Server::options().user("app", &rules), false).await;
    let urls: Vec<_> = (0..3).map(|shard| cluster.master(shard).url_as("app", "secret")).collect();
    let redis = Redis::cluster(urls).unwrap().budget(std::time::Duration::from_secs(2));
    works(&Setup::over(redis, tagged())).await;
    for shard in 0..3 {
        assert_eq!(cluster.master(shard).cli(&["ACL", "LOG"]).await, "");
    }
}

#[tokio::test]
async fn a_user_with_few_rights_and_sentinels() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS} +role");
    let group = Sentinel::with(Server::options().user("app", &rules)).await;
    let redis = Redis::sentinel(group.urls(), Sentinel::NAME).unwrap().username("app").password("secret");
    works(&Setup::over(redis.budget(std::time::Duration::from_secs(2)), tagged())).await;
    assert_eq!(group.master().cli(&["ACL", "LOG"]).await, "");
}

/// Without any one of them something does not work: the list is not longer than it has to be.
#[tokio::test]
async fn each_of_these_rights_is_needed() {
    let server = Server::options().user("app", "on >secret ~larder:larder:*").start().await;
    for right in ["+evalsha", "+eval", "+xread", "+xadd", "+xrevrange", "+pexpire"] {
        server.cli(&["SCRIPT", "FLUSH"]).await;
        server.cli(&["FLUSHALL"]).await;
        let rights = RIGHTS.replace(&format!("{right} "), "");
        let rights = rights.strip_suffix(right).unwrap_or(&rights);
        let mut command = vec!["ACL", "SETUSER", "app", "reset", "on", ">secret", "~larder:larder:*"];
        command.extend(rights.split_whitespace());
        server.cli(&command).await;
        let node = Setup::new(server.url_as("app", "secret"), tagged()).absent();
        let ready = node.cache.ready(std::time::Duration::from_millis(400)).await;
        assert!(!ready || node.cache.invalidate(Selector::tag("x")).await.is_err(), "not needed: {right}");
    }
}

/// May read and write entries, but not the log: what is stored is of no use to others, and nobody is misled.
#[tokio::test]
async fn a_user_without_the_log() {
    let rules = "on >secret ~larder:larder:* +get +mget +set +unlink +scan +getrange +ping +info +dbsize";
    let server = Server::options().user("app", rules).start().await;
    let node = Setup::new(server.url_as("app", "secret"), tagged()).absent();
    let first = node.get("/x").await;
    assert_eq!(node.get("/x").await, first);
    assert!(node.cache.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
    assert_ne!(node.get("/x").await, first);
    assert_eq!(server.cli(&["KEYS", "*"]).await, "");
}

/// What a script may not do is said as it is, and says nothing of the server: entries are read and written as before.
#[tokio::test]
async fn a_right_that_a_script_lacks() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS}");
    let server = Server::options().user("app", &rules).start().await;
    let (a, b) = Setup::new(server.url_as("app", "secret"), tagged()).two().await;
    coherent(&a, &b).await;
    server.cli(&["ACL", "SETUSER", "app", "-xadd"]).await;
    for _ in 0..8 {
        let error = a.cache.invalidate(Selector::tag("other")).await.unwrap_err();
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(cause.contains("does not permit"), "{error}: {cause}");
    }
    let first = b.store("/z").await;
    b.cache.clear();
    assert_eq!(b.get("/z").await, first);
    for node in [&a, &b] {
        let reasons = node.tier().reasons;
        assert!(!reasons.contains_key("resting") && !reasons.contains_key("protocol"), "{reasons:?}");
    }
}

/// Rights that are taken away and given back while it runs.
#[tokio::test]
async fn rights_that_come_and_go() {
    let rules = format!("on >secret ~larder:larder:* {RIGHTS}");
    let server = Server::options().user("app", &rules).start().await;
    let (a, b) = Setup::new(server.url_as("app", "secret"), tagged()).two().await;
    coherent(&a, &b).await;
    server.cli(&["ACL", "SETUSER", "app", "-xadd", "-set"]).await;
    let first = a.get("/z").await;
    assert!(a.cache.invalidate(Selector::tag("z")).await.unwrap_err().is_unconfirmed());
    assert_ne!(a.get("/z").await, first);
    server.cli(&["ACL", "SETUSER", "app", "+xadd", "+set"]).await;
    until("it is sent", async || a.log().waiting == 0).await;
    coherent(&a, &b).await;
}

//! Redis tells of what somebody else has changed in it, and nothing else is looked for again.

use crate::support::{HOUR, MINUTE, Node, Setup, header, patient, replies, reply_with, secs, tagged};
use http::Request;
use larder::{Identity, Policy, Redis, Value};
use larder_redis_tests::{Cluster, Server, until};
use std::convert::Infallible;

static RATE: Value<usize> = Value::named("rate").fresh_for(HOUR).shared();

fn setup(server: &Server, policy: Policy) -> Setup {
    Setup::over(patient(server.url()).client_tracking(true), policy)
}

/// A node that is told.
async fn listening(setup: &Setup, server: &Server) -> Node {
    let before = listeners(server).await;
    let node = setup.start().await;
    until("it listens", async || listeners(server).await > before).await;
    node
}

async fn listeners(server: &Server) -> usize {
    server.cli(&["CLIENT", "LIST"]).await.matches("flags=tB").count()
}

/// Deletes what is kept, by hand.
async fn delete(server: &Server) {
    for key in server.cli(&["--scan", "--pattern", "larder:larder:1:*"]).await.lines() {
        server.cli(&["DEL", key]).await;
    }
}

#[tokio::test]
async fn what_is_deleted_by_hand_is_not_served() {
    let server = Server::standalone().await;
    let setup = setup(&server, tagged());
    let (a, b) = (listening(&setup, &server).await, listening(&setup, &server).await);
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    delete(&server).await;
    let second = a.forgets("/x", &first).await;
    a.written().await;
    // The other one finds what the first one has made.
    assert_eq!(b.forgets("/x", &first).await, second);
    assert_eq!(b.calls(), 0);
}

/// Without it nobody hears of that.
#[tokio::test]
async fn it_is_off_by_default() {
    let server = Server::standalone().await;
    let node = Setup::new(server.url(), tagged()).start().await;
    let first = node.store("/x").await;
    delete(&server).await;
    assert_eq!((node.get("/x").await, listeners(&server).await), (first, 0));
}

/// What the process has written itself is compared once, and is served from memory after that.
#[tokio::test]
async fn what_it_writes_itself_stays() {
    let server = Server::standalone().await;
    let node = listening(&setup(&server, tagged()), &server).await;
    let mut texts = Vec::new();
    for n in 0..20 {
        texts.push(node.store(&format!("/{n}")).await);
    }
    let looks = || node.tier().hits + node.tier().misses;
    let before = looks();
    for _ in 0..5 {
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(node.get(&format!("/{n}")).await, *text);
        }
    }
    assert_eq!(node.calls(), 20);
    assert!(looks() - before <= 20, "{:?}", node.tier());
}

/// What another node has made anew is served by all.
#[tokio::test]
async fn what_another_node_has_written_is_taken() {
    let server = Server::standalone().await;
    let setup = setup(&server, Policy::fresh_for(HOUR)).timed();
    let (a, b) = (listening(&setup, &server).await, listening(&setup, &server).await);
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    // What it makes is younger, by the clocks of both.
    for node in [&a, &b] {
        node.advance(secs(5));
    }
    b.cache.clear();
    delete(&server).await;
    let third = b.store("/x").await;
    assert_ne!(third, first);
    assert_eq!(a.forgets("/x", &first).await, third);
    assert_eq!(a.calls(), 1);
}

#[tokio::test]
async fn a_server_that_is_emptied() {
    let (server, events) = (Server::standalone().await, Server::standalone().await);
    let setup = setup(&server, tagged()).builder(|builder| builder.shared_log(patient(events.url())));
    let node = listening(&setup, &server).await;
    let (one, two) = (node.store("/one").await, node.store("/two").await);
    server.cli(&["FLUSHALL"]).await;
    node.forgets("/one", &one).await;
    node.forgets("/two", &two).await;
    assert_eq!(node.log().gaps, 0);
}

/// What changes while it cannot be told is compared as soon as it can.
#[tokio::test]
async fn connections_that_break_off() {
    let server = Server::standalone().await;
    let node = listening(&setup(&server, tagged()), &server).await;
    for n in 0..5 {
        let path = format!("/{n}");
        let first = node.store(&path).await;
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        delete(&server).await;
        let second = node.forgets(&path, &first).await;
        node.written().await;
        assert_eq!(node.get(&path).await, second);
        until("it listens again", async || listeners(&server).await == 1).await;
    }
}

/// Redis is away: what is in memory is served, and nothing is asked for again and again.
#[tokio::test]
async fn without_redis() {
    let mut server = Server::standalone().await;
    let node = listening(&setup(&server, tagged()), &server).await;
    let first = node.store("/x").await;
    delete(&server).await;
    server.stop();
    for _ in 0..100 {
        assert_eq!(node.get("/x").await, first);
    }
    assert_eq!(node.calls(), 1);
}

#[tokio::test]
async fn variants_and_identities() {
    let server = Server::standalone().await;
    let setup = setup(&server, Policy::fresh_for(HOUR).per_tenant()).replies(|request, call| {
        let language = header(request, "accept-language").to_owned();
        let mut reply = reply_with(call, &[("vary", "accept-language"), ("x-said", &language)]);
        reply.headers_mut().insert("cache-control", "max-age=3600".parse().unwrap());
        reply
    });
    let node = listening(&setup, &server).await;
    let ask = async |tenant: u32, language: &'static str| {
        let request = Request::get("/x").header("accept-language", language);
        node.send(request.extension(Identity::new().with_tenant(tenant))).await.body
    };
    let mut texts = Vec::new();
    for tenant in [1, 2] {
        for language in ["de", "fr"] {
            texts.push((tenant, language, ask(tenant, language).await));
        }
    }
    node.written().await;
    for (tenant, language, text) in &texts {
        assert_eq!(ask(*tenant, language).await, *text);
    }
    delete(&server).await;
    for (tenant, language, text) in &texts {
        until("it is made anew", async || ask(*tenant, language).await != *text).await;
    }
}

#[tokio::test]
async fn values() {
    let server = Server::standalone().await;
    let node = listening(&setup(&server, tagged()), &server).await;
    node.cache.value(&RATE).put(1);
    node.written().await;
    let get = async || node.cache.value(&RATE).get().await.map(|rate| *rate);
    assert_eq!(get().await, Some(1));
    delete(&server).await;
    until("it is gone", async || get().await.is_none()).await;
    let load =
        async |number| *node.cache.value(&RATE).get_or_load(async move || Ok::<_, Infallible>(number)).await.unwrap();
    assert_eq!(load(2).await, 2);
    node.written().await;
    for _ in 0..3 {
        assert_eq!(load(3).await, 2);
    }
}

/// One connection to each primary.
#[tokio::test]
async fn in_a_cluster() {
    let cluster = Cluster::start().await;
    let urls: Vec<_> = (0..3).map(|shard| cluster.master(shard).url()).collect();
    let redis = Redis::cluster(urls).unwrap().budget(secs(2)).client_tracking(true);
    let node = Setup::over(redis, tagged()).start().await;
    for shard in 0..3 {
        until("it listens", async || listeners(cluster.master(shard)).await == 1).await;
    }
    let mut texts = Vec::new();
    for n in 0..30 {
        texts.push(node.store(&format!("/{n}")).await);
    }
    for shard in 0..3 {
        delete(cluster.master(shard)).await;
    }
    for (n, text) in texts.iter().enumerate() {
        node.forgets(&format!("/{n}"), text).await;
    }
}

/// A user who may not listen has what there is without it.
#[tokio::test]
async fn a_right_more() {
    let few = "resetchannels -@all +get +mget +set +unlink +scan +getrange +ping +info +dbsize +evalsha +eval +xread \
               +xadd +xrevrange +pexpire";
    let server = Server::options().user("app", &format!("on >secret ~larder:larder:* {few}")).start().await;
    let setup = Setup::over(patient(server.url_as("app", "secret")).client_tracking(true), tagged());
    let node = setup.start().await;
    let first = node.store("/x").await;
    until("it was not let", async || server.cli(&["ACL", "LOG"]).await.contains("client|tracking")).await;
    assert_eq!(node.get("/x").await, first);
    server.cli(&["ACL", "SETUSER", "app", "+client|tracking"]).await;
    until("it listens", async || listeners(&server).await == 1).await;
    server.cli(&["ACL", "LOG", "RESET"]).await;
    delete(&server).await;
    node.forgets("/x", &first).await;
    assert_eq!(server.cli(&["ACL", "LOG"]).await, "");
}

/// What is stale and gone does not stand in for an answer, nor is it compared with one.
#[tokio::test]
async fn what_is_gone_is_not_validated() {
    let server = Server::standalone().await;
    let setup = setup(&server, Policy::fresh_for(MINUTE).stale_while_revalidate(HOUR).stale_if_error(HOUR))
        .timed()
        .answer(replies(|request, call| match header(request, "if-none-match") {
            "" => reply_with(call, &[("etag", "\"e\"")]),
            _ => crate::support::status(304),
        }));
    let node = listening(&setup, &server).await;
    let first = node.store("/x").await;
    node.advance(secs(90));
    delete(&server).await;
    let mut last = None;
    until("it is made anew", async || {
        let got = node.send(Request::get("/x")).await;
        let anew = got.body != first;
        last = Some(got);
        anew
    })
    .await;
    assert_eq!(last.unwrap().outcome(), "miss");
}

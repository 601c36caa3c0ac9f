//! The commands that do without a running application.

use crate::run::{Run, command, larder};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use larder::{Cache, CacheLayer, Identity, KeyRing, Policy, Redis, test_util};
use larder_redis_tests::{Server, until};
use serde_json::{Value, json};
use std::{convert::Infallible, time::Duration};
use tower::{Layer, ServiceExt, service_fn};

/// A process of the application: a cache of its own.
struct Node {
    cache: Cache,
    policy: Policy,
}

impl Node {
    async fn new(server: &Server, version: &str) -> Self {
        let redis = Redis::open(server.url()).unwrap().budget(Duration::from_secs(10));
        let cache = Cache::builder().namespace("shop").version(version).redis(redis).build().unwrap();
        assert!(cache.ready(Duration::from_secs(20)).await);
        let policy = Policy::named("dashboard")
            .fresh_for(Duration::from_secs(600))
            .stale_while_revalidate(Duration::from_secs(600))
            .per_tenant()
            .tags(["board"])
            .depends_on(["People"]);
        Self { cache, policy }
    }

    /// What a tenant gets: `hit` or not.
    async fn get(&self, tenant: u64, path: &str) -> &'static str {
        self.ask(tenant, path, "en").await
    }

    async fn ask(&self, tenant: u64, path: &str, language: &str) -> &'static str {
        let service = service_fn(|_: Request<Full<Bytes>>| async {
            let body = Full::new(Bytes::from(vec![b'x'; 1000]));
            Ok::<_, Infallible>(Response::builder().header("vary", "accept-language").body(body).unwrap())
        });
        let request = Request::get(format!("http://shop.example{path}")).header("accept-language", language);
        let mut request = request.body(Full::default()).unwrap();
        request.extensions_mut().insert(Identity::new().with_tenant(tenant));
        let layer = CacheLayer::new(&self.cache, self.policy.clone());
        let (head, body) = layer.layer(service).oneshot(request).await.unwrap().into_parts();
        body.collect().await.unwrap();
        test_util::outcome(&head.headers)
    }

    /// Waits until Redis has so many.
    async fn written(&self, count: u64) {
        until("what is written", async || self.cache.stats().stores["redis"].writes >= count).await;
    }
}

fn with(server: &Server, arguments: &[&str]) -> Run {
    larder(&[&["--redis", &server.url(), "--namespace", "shop"], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_status_from_redis_alone() {
    let server = Server::standalone().await;
    let (old, new) = (Node::new(&server, "1").await, Node::new(&server, "2").await);
    old.get(1, "/a").await;
    new.get(1, "/a").await;
    new.get(2, "/b?days=30").await;
    old.written(1).await;
    new.written(2).await;
    let all = with(&server, &["keys", "--json", "--sort", "key"]).json();
    assert_eq!((&all["matching"], &all["complete"], &all["namespace"]), (&json!(3), &json!(true), &json!("shop")));
    let first = &all["entries"][0];
    assert_eq!(
        (&first["version"], &first["tenant"], &first["policy"]),
        (&json!("1"), &json!("1"), &json!("dashboard"))
    );
    assert_eq!(
        (&first["state"], &first["tags"], &first["size_bytes"]),
        (&json!("fresh"), &json!(["board"]), &json!(1000))
    );
    assert!(first["ttl_seconds"].as_f64().unwrap() > 500.0);
    let count =
        |arguments: &[&str]| with(&server, &[&["keys", "--json"], arguments].concat()).json()["matching"].clone();
    assert_eq!(count(&["--version", "2"]), 2);
    assert_eq!(count(&["*days=30*"]), 1);
    assert_eq!(count(&["--tenant", "1", "--tag", "board", "--policy", "dashboard"]), 2);
    assert_eq!(count(&["--tag", "other"]), 0);
    // Two of three, in no order: the walk ends there.
    assert_eq!(with(&server, &["keys", "--limit", "2", "--json"]).json()["entries"].as_array().unwrap().len(), 2);
    let table = with(&server, &["keys", "--sort", "size", "--ids", "-v"]);
    assert!(
        table.out.contains("larder:shop:1:{") && table.out.contains("TAGS") && table.out.contains("fresh"),
        "{table:?}"
    );
    with(&server, &["keys", "--sort", "hits"]).refused(2, "takes the application");
    with(&server, &["keys", "\\"]).refused(1, "pattern");

    let status = with(&server, &["status", "--json"]).json();
    assert_eq!(
        (&status["up"], &status["entries"], &status["states"]),
        (&json!(true), &json!(3), &json!({ "fresh": 3 }))
    );
    assert_eq!(status["versions"]["2"]["entries"], 2);
    assert!(status["log"]["last_record"].as_f64().is_some() && status["used_bytes"].as_u64().unwrap() > 0);
    assert_eq!(with(&server, &["status", "--json", "--version", "1"]).json()["entries"], 1);
    let shown = with(&server, &["status"]).done();
    assert!(shown.contains("shop: 3 entries") && shown.contains("last record"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variants_are_keys_and_what_is_encrypted_is_counted() {
    let server = Server::standalone().await;
    let plain = Node::new(&server, "1").await;
    plain.ask(1, "/a", "en").await;
    plain.ask(1, "/a", "de").await;
    // With the list of both, and without the right to fill them, which is no key.
    plain.written(2).await;
    server.cli(&["SET", "larder:shop:1:{00}:lease:00", "token"]).await;
    server.cli(&["SET", "larder:shop:1:{11}", "somebody else's"]).await;
    let ring = KeyRing::new("a", [7; 32]).unwrap();
    let redis = Redis::open(server.url()).unwrap();
    let secret = Cache::builder().namespace("shop").redis(redis).encrypt(ring).build().unwrap();
    assert!(secret.ready(Duration::from_secs(20)).await);
    let secret = Node { cache: secret, ..plain };
    secret.get(1, "/secret").await;
    secret.written(1).await;
    let found = with(&server, &["keys", "--json"]).json();
    assert_eq!(found["matching"], 2, "{found}");
    assert_eq!(found["unreadable"]["foreign"], 1, "{found}");
    assert!(found["unreadable"]["sealed"].as_u64().unwrap() >= 1, "{found}");
    assert!(with(&server, &["keys"]).err.contains("could not be read: sealed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_invalidated_here_is_invalidated_there() {
    let server = Server::standalone().await;
    let node = Node::new(&server, "1").await;
    for (arguments, hits) in [
        (&["--tag", "board"][..], [true, true]),
        (&["--changed", "People", "--tenant", "1"], [true, false]),
        (&["--resource", "http://shop.example/a"], [true, true]),
        (&["--pattern", "tenant=2:*"], [false, true]),
        (&["--policy", "dashboard", "--tenant", "2"], [false, true]),
        (&["--tenant", "2"], [false, true]),
        (&["--tag", "board", "--tag", "nothing"], [false, false]),
        (&["--all", "--force"], [true, true]),
    ] {
        for tenant in [1, 2] {
            node.get(tenant, "/a").await;
            assert_eq!(node.get(tenant, "/a").await, "hit", "{arguments:?}");
        }
        let read = node.cache.stats().log.unwrap().read;
        let said = with(&server, &[&["invalidate"], arguments].concat()).done();
        assert_eq!(said, "namespace shop: invalidated\n");
        until("the record", async || node.cache.stats().log.unwrap().read > read).await;
        let gone = [node.get(1, "/a").await != "hit", node.get(2, "/a").await != "hit"];
        assert_eq!(gone, hits, "{arguments:?}");
    }
    // Soft: it may be served once more.
    let said = with(&server, &["invalidate", "--tag", "board", "--soft", "--json"]).json();
    assert_eq!(said, json!({ "caches": [{ "cache": "shop", "invalidated": true, "confirmed": true }] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn previews_count_what_redis_has() {
    let server = Server::standalone().await;
    let node = Node::new(&server, "1").await;
    node.get(1, "/a").await;
    node.get(2, "/a").await;
    node.written(2).await;
    let preview = with(&server, &["invalidate", "--all", "--dry-run", "--json"]).json();
    assert_eq!((&preview["caches"][0]["stored_entries"], &preview["caches"][0]["complete"]), (&json!(2), &json!(true)));
    let said = with(&server, &["invalidate", "--tag", "board", "--tenant", "1", "--dry-run"]).done();
    assert!(said.starts_with("namespace shop: would invalidate 1 entry (1000 B) in redis"), "{said}");
    // What is invalidated stays until it expires, and is told apart.
    with(&server, &["invalidate", "--tenant", "1"]).done();
    let states = with(&server, &["status", "--json"]).json()["states"].clone();
    assert_eq!(states, json!({ "fresh": 1, "invalidated": 1 }));
    with(&server, &["invalidate", "--tenant", "2", "--soft"]).done();
    assert_eq!(with(&server, &["status", "--json"]).json()["states"], json!({ "stale": 1, "invalidated": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_nobody_uses_is_noticed() {
    let server = Server::standalone().await;
    let of = |arguments: &[&str]| with(&server, arguments);
    of(&["invalidate", "--tag", "x"]).refused(1, "there is no log of invalidations for namespace shop");
    of(&["invalidate", "--tag", "x", "--dry-run"]).refused(1, "there is no log");
    assert!(of(&["status"]).done().contains("none: no cache of namespace shop has been here"));
    of(&["keys"]).refused(0, "there is no log");
    // Nothing has been written so far.
    assert_eq!(server.cli(&["DBSIZE"]).await, "0");
    of(&["invalidate", "--tag", "x", "--force"]).refused(0, "one is begun");
    of(&["invalidate", "--tag", "x"]).done();
    // The namespaces of `Caches` have the name behind them.
    assert!(of(&["status", "--cache", "api"]).done().contains("namespace shop-api"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_does_not_answer_or_let_us_in() {
    let mut server = Server::options().password("hunter2hunter2").start().await;
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port());
    let status = |url: &str| larder(&["--redis", url, "--namespace", "shop", "status", "--timeout", "400ms"]);
    for wrong in ["", ":wr0ngwr0ng@"] {
        let said = status(&url(wrong));
        said.refused(4, "does not let us");
        assert!(!said.err.contains("wr0ng"), "{said:?}");
    }
    status(&url(":hunter2hunter2@")).done();
    let from = command(&["--redis", "env", "--namespace", "shop", "status", "-v"])
        .env("REDIS_URL", url(":hunter2hunter2@"))
        .output()
        .unwrap();
    let from = Run::of(&from);
    assert!(from.code == 0 && !from.err.contains("hunter2") && !from.out.contains("hunter2"), "{from:?}");
    let url = url(":hunter2hunter2@");
    server.stop();
    let said = status(&url);
    said.refused(3, "cannot be asked within 400 ms");
    assert!(!said.err.contains("hunter2"));
    let said = larder(&["--redis", &url, "--namespace", "shop", "status", "--timeout", "200ms", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said.err).unwrap()["kind"], "unreachable");
}

#[test]
fn what_takes_the_application() {
    let of =
        |arguments: &[&str]| larder(&[&["--redis", "redis://127.0.0.1:1", "--namespace", "shop"], arguments].concat());
    of(&["warm"]).refused(2, "--redis goes with `status`, `keys` and `invalidate`");
    of(&["invalidate", "--changed", "People", "--id", "7"]).refused(2, "--changed with --id takes the application");
    of(&["invalidate", "--changed", "People", "--dry-run"]).refused(2, "--changed with --dry-run");
    of(&["invalidate", "--tag", "x", "--version", "7"]).refused(2, "the log is that of all versions");
    of(&["invalidate"]).refused(2, "one of --tag");
    larder(&["--redis", "redis://127.0.0.1:1", "status"]).refused(2, "--namespace");
    larder(&["--redis", "http://x", "--namespace", "a", "status"]).refused(2, "--redis: ");
    larder(&["--redis", "env", "--namespace", "a", "status"]).refused(2, "REDIS_URL is not set");
    larder(&["--redis", "redis://a,redis://b", "--namespace", "a", "status"])
        .refused(2, "--cluster or --sentinel GROUP");
    larder(&["--redis", "redis://a", "--namespace", "a b", "status"]).refused(2, "namespace");
}

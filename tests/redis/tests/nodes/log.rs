//! What becomes of the stream in which invalidations are: trimmed, deleted, evicted, and written by others.

use crate::support::{HOUR, Node, Setup, millis, now, patient, secs, tagged};
use larder::{Cache, Policy, Selector, Value};
use larder_redis_tests::{Close, Fault, Proxy, Server, until};

static TEXT: Value<String> = Value::named("text").fresh_for(HOUR).shared();

const LOG: &str = "larder:larder:log";

/// Two nodes that have `/x` in memory; its text.
async fn shared(server: &Server) -> (Node, Node, String) {
    let (a, b) = Setup::new(server.url(), tagged()).two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    (a, b, first)
}

/// The log works: what one stores the other finds, and what one invalidates the other does not serve.
async fn works(a: &Node, b: &Node) {
    for (one, other) in [(a, b), (b, a)] {
        let first = one.share(other, "/x").await;
        one.cache.invalidate(Selector::tag("x")).await.unwrap();
        other.forgets("/x", &first).await;
    }
}

#[tokio::test]
async fn a_log_that_is_deleted() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    a.cache.invalidate(Selector::tag("other")).await.unwrap();
    b.reads(2).await;
    server.cli(&["DEL", LOG]).await;
    // Within the bound both know, and neither uses what was stored in the epoch before.
    let start = now();
    for node in [&a, &b] {
        node.forgets("/x", &first).await;
    }
    assert!(now() - start < secs(6));
    works(&a, &b).await;
}

/// A purge comes right after the deletion: nobody has read that the log is gone.
#[tokio::test]
async fn a_purge_into_a_log_that_was_deleted() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    server.cli(&["DEL", LOG]).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    assert_ne!(a.get("/x").await, first);
    let start = now();
    b.forgets("/x", &first).await;
    assert!(now() - start < secs(5));
    works(&a, &b).await;
}

#[tokio::test]
async fn a_log_that_is_flushed_away_with_all_else() {
    let server = Server::standalone().await;
    for command in ["FLUSHDB", "FLUSHALL"] {
        let (a, b, _) = shared(&server).await;
        a.cache.invalidate(Selector::tag("other")).await.unwrap();
        server.cli(&[command]).await;
        works(&a, &b).await;
        works(&b, &a).await;
    }
}

/// Where memory is short and the log goes, nothing that was purged comes back.
#[tokio::test]
async fn a_log_that_is_evicted() {
    let server = Server::options().maxmemory("4mb", "allkeys-random").start().await;
    let (a, b, first) = shared(&server).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &first).await;
    let value = "x".repeat(100_000);
    let mut number = 0;
    until("the log is gone", async || {
        number += 1;
        drop(server.try_cli(&["SET", &format!("filler:{number}"), &value]).await);
        let records = server.try_cli(&["XLEN", LOG]).await.unwrap_or_default();
        records.parse::<u64>().is_ok_and(|records| records < 2)
    })
    .await;
    for node in [&a, &b] {
        assert_ne!(node.get("/x").await, first);
    }
    let fresh = Setup::new(server.url(), tagged()).start().await;
    assert_ne!(fresh.get("/x").await, first);
    server.config_set("maxmemory", "0").await;
    works(&a, &b).await;
}

/// What both have applied is trimmed: that costs nobody anything.
#[tokio::test]
async fn trimming_what_was_read_raises_nothing() {
    let server = Server::standalone().await;
    let (a, b, _) = shared(&server).await;
    for _ in 0..10 {
        a.cache.invalidate(Selector::tag("other")).await.unwrap();
    }
    until("all of it", async || a.log().read >= 10 && b.log().read >= 10).await;
    let kept = a.store("/kept").await;
    server.cli(&["XTRIM", LOG, "MAXLEN", "1"]).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    until("the next", async || b.log().read >= 11).await;
    assert_eq!((a.get("/kept").await, b.get("/kept").await), (kept.clone(), kept));
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
    works(&a, &b).await;
}

/// What one has not read is trimmed: it knows that there was something, and uses nothing that was stored before.
#[tokio::test]
async fn trimming_what_was_not_read_is_noticed() {
    let server = Server::standalone().await;
    let proxy = Proxy::to(server.address());
    let a = Setup::new(server.url(), tagged()).start().await;
    let b = Setup::new(proxy.url(), tagged()).start().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    proxy.set(Fault::Refuse);
    proxy.cut(Close::Rst).await;
    for tag in ["x", "other", "another"] {
        a.cache.invalidate(Selector::tag(tag)).await.unwrap();
    }
    server.cli(&["XTRIM", LOG, "MAXLEN", "1"]).await;
    proxy.clear();
    let start = now();
    b.forgets("/x", &first).await;
    assert!(now() - start < secs(5));
    assert_eq!(b.log().gaps, 1);
    works(&a, &b).await;
    // One that starts after it knows nothing of the entries from before the trimmed part either.
    let c = Setup::new(server.url(), tagged()).start().await;
    assert_ne!(c.get("/x").await, first);
}

/// All of it is trimmed: there is a stream, and nothing in it.
#[tokio::test]
async fn a_log_that_is_trimmed_to_nothing() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    a.cache.invalidate(Selector::tag("other")).await.unwrap();
    b.reads(2).await;
    server.cli(&["XTRIM", LOG, "MAXLEN", "0"]).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &first).await;
    works(&a, &b).await;
}

#[tokio::test]
async fn o_30_what_others_have_put_there() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    for fields in [
        &["hello", "world"][..],
        &["larder", "1"],
        &["larder", "1", "epoch", "short", "previous", "0-0"],
        &["larder", "1", "epoch", "0102030405060708090a0b0c0d0e0f10"],
        &["epoch", "0102030405060708090a0b0c0d0e0f10", "previous", "0-0"],
        &["\u{ff}", ""],
    ] {
        let mut command = vec!["XADD", LOG, "*"];
        command.extend(fields);
        server.cli(&command).await;
    }
    until("all of it was seen", async || a.log().foreign >= 6 && b.log().foreign >= 6).await;
    assert_eq!((a.get("/x").await, b.get("/x").await), (first.clone(), first), "ignored");
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
    works(&a, &b).await;
}

/// They are read once, and not again and again.
#[tokio::test]
async fn what_others_have_put_there_is_read_once() {
    let server = Server::standalone().await;
    let (a, _b, first) = shared(&server).await;
    server.cli(&["XADD", LOG, "*", "hello", "world"]).await;
    until("it was seen", async || a.log().foreign > 0).await;
    let reads = async || {
        let stats = server.cli(&["INFO", "commandstats"]).await;
        let calls = stats.split("cmdstat_xread:calls=").nth(1).unwrap().split(',').next().unwrap();
        calls.parse::<u64>().unwrap()
    };
    let before = reads().await;
    let start = now();
    until("some time passes", async || now() - start > millis(500)).await;
    let read = reads().await - before;
    assert!(read < 20, "{read} reads in half a second");
    assert_eq!((a.get("/x").await, a.log().foreign), (first, 1));
}

/// More of them than are read at once.
#[tokio::test]
async fn many_things_that_others_have_put_there() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    let script = "for i = 1, 1500 do redis.call('XADD', KEYS[1], '*', 'hello', 'world') end";
    server.cli(&["EVAL", script, "1", LOG]).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &first).await;
    works(&a, &b).await;
}

/// A record of a version that is not known yet stands for everything.
#[tokio::test]
async fn o_39_a_record_of_a_newer_version() {
    let server = Server::standalone().await;
    let (a, b, _) = shared(&server).await;
    for (newer, text) in [("2", r#"[{"galaxy":"x"}]"#), ("1", r#"[{"galaxy":"x"}]"#), ("1", "{"), ("1", "\u{7f}")] {
        let first = a.share(&b, "/x").await;
        let last = server.cli(&["XREVRANGE", LOG, "+", "-", "COUNT", "1"]).await;
        let lines: Vec<_> = last.lines().collect();
        let epoch = lines[lines.iter().position(|line| *line == "epoch").unwrap() + 1];
        let node = "0123456789abcdef";
        let record = ["XADD", LOG, "*", "larder", newer, "epoch", epoch, "previous", lines[0], "node", node];
        server.cli(&[&record[..], &["number", "1", "selects", text]].concat()).await;
        for node in [&a, &b] {
            node.forgets("/x", &first).await;
        }
    }
    assert_eq!((a.log().unreadable, b.log().unreadable), (4, 4));
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
    works(&a, &b).await;
}

/// A copy of an old record, with a new id, and one whose predecessor is wrong: never is anything older served.
#[tokio::test]
async fn o_30_records_that_come_twice_or_in_another_order() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &first).await;
    a.share(&b, "/x").await;
    let row = server.cli(&["XREVRANGE", LOG, "+", "-", "COUNT", "1"]).await;
    let lines: Vec<_> = row.lines().collect();
    server.cli(&[&["XADD", LOG, "*"][..], &lines[1..]].concat()).await;
    for node in [&a, &b] {
        until("it is seen", async || node.log().gaps > 0).await;
        assert_ne!(node.get("/x").await, first);
    }
    works(&a, &b).await;
}

/// The key is something else altogether.
#[tokio::test]
async fn a_log_that_is_no_stream() {
    let server = Server::standalone().await;
    let (a, b, first) = shared(&server).await;
    server.cli(&["SET", LOG, "text"]).await;
    until("it cannot be read", async || a.log().failures > 0 && b.log().failures > 0).await;
    let error = a.cache.invalidate(Selector::tag("x")).await.unwrap_err();
    assert!(error.is_unconfirmed());
    assert_ne!(a.get("/x").await, first);
    server.cli(&["DEL", LOG]).await;
    b.forgets("/x", &first).await;
    until("what waited is sent", async || a.log().waiting == 0).await;
    works(&a, &b).await;
}

/// Other applications' keys, and other namespaces.
#[tokio::test]
async fn others_are_left_alone() {
    let server = Server::standalone().await;
    let setup = |name: &'static str| Setup::new(server.url(), tagged()).builder(|builder| builder.namespace(name));
    let (shop, bank) = (setup("shop").start().await, setup("bank").start().await);
    for (key, value) in [("session:1", "s"), ("larder:other", "o"), ("larder:shop", "p"), ("larder:shop:2:{x}", "q")] {
        server.cli(&["SET", key, value]).await;
    }
    let (ours, theirs) = (shop.store("/x").await, bank.store("/x").await);
    assert_ne!(ours, theirs);
    shop.cache.invalidate_many([Selector::everything(), Selector::pattern("*")]).await.unwrap();
    shop.cache.preview(&Selector::everything()).await.unwrap();
    shop.store("/x").await;
    assert_ne!(shop.get("/x").await, ours);
    assert_eq!(bank.get("/x").await, theirs);
    assert_eq!(setup("bank").start().await.get("/x").await, theirs);
    for (key, value) in [("session:1", "s"), ("larder:other", "o"), ("larder:shop", "p"), ("larder:shop:2:{x}", "q")] {
        assert_eq!(server.cli(&["GET", key]).await, value);
    }
}

/// Two versions of the application side by side: each has its own responses, and a purge is for both.
#[tokio::test]
async fn o_39_two_versions_side_by_side() {
    let server = Server::standalone().await;
    let setup = |version: &'static str| Setup::new(server.url(), tagged()).builder(|builder| builder.version(version));
    let (old, new) = (setup("1").start().await, setup("2").start().await);
    let (one, two) = (old.store("/x").await, new.store("/x").await);
    assert_ne!(one, two, "no key of one is a key of the other");
    assert_eq!((old.get("/x").await, new.get("/x").await), (one.clone(), two.clone()));
    old.cache.invalidate(Selector::tag("x")).await.unwrap();
    let two = new.forgets("/x", &two).await;
    new.written().await;
    let one = old.store("/x").await;
    new.cache.invalidate(Selector::resource("/x")).await.unwrap();
    old.forgets("/x", &one).await;
    // Back to the old one, which boots with what the other has said meanwhile.
    let again = setup("1").start().await;
    assert_ne!(again.get("/x").await, one);
    assert_ne!(setup("2").start().await.get("/x").await, two);
}

/// A rule that was not known when a record was read: what the record was about may have another name by it.
#[tokio::test]
async fn a_layer_that_is_made_late_takes_nothing_that_is_older() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR).query_only(["a"]));
    let a = setup.start().await;
    let old = a.store("/x?a=1&b=1").await;
    a.cache.invalidate(Selector::resource("/x?a=1&b=2")).await.unwrap();
    let b = setup.clone().policy(|_| Policy::fresh_for(HOUR)).start().await;
    let late = b.beside(Policy::fresh_for(HOUR).query_only(["a"]));
    assert_ne!(late.get("/x?a=1&b=3").await, old);
    // What is stored from then on is shared as ever.
    let new = late.store("/x?a=2&b=1").await;
    assert_eq!(a.get("/x?a=2&b=9").await, new);
}

/// The log can be elsewhere than the responses, and also be all that is shared.
#[tokio::test]
async fn the_log_is_on_another_server() {
    let (server, other) = (Server::standalone().await, Server::standalone().await);
    let setup = Setup::new(server.url(), tagged()).builder(|builder| builder.shared_log(patient(other.url())));
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    assert_eq!((server.cli(&["EXISTS", LOG]).await, other.cli(&["DBSIZE"]).await), ("0".to_owned(), "1".to_owned()));
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &first).await;

    let alone = || Cache::builder().namespace("alone").shared_log(patient(other.url())).build().unwrap();
    let (a, b) = (alone(), alone());
    for cache in [&a, &b] {
        assert!(cache.ready(secs(20)).await);
        cache.value(&TEXT).tags(["mine"]).put("old".to_owned());
    }
    a.invalidate(Selector::tag("mine")).await.unwrap();
    until("both have lost it", async || a.value(&TEXT).peek().is_none() && b.value(&TEXT).peek().is_none()).await;
}

//! Somebody else writes into Redis: other bytes under a key are a miss, never an answer.

use crate::support::{HOUR, Node, Setup, full, header, patient, replies};
use bytes::Bytes;
use http::{Request, Response};
use larder::{Policy, Store, StoreKey};
use larder_redis_tests::Server;
use std::{sync::Arc, time::Duration};

/// A server, the store alone, and a setup whose service names what was asked for.
async fn start() -> (Server, Arc<dyn Store>, Setup) {
    let server = Server::standalone().await;
    let answer = replies(|request, call| {
        let vary = if request.uri().path().starts_with("/vary") { "accept-language" } else { "accept-encoding" };
        let text = format!("{} {} {call}", request.uri().path(), header(request, "accept-language"));
        Response::builder().header("vary", vary).body(full(text)).unwrap()
    });
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR)).answer(answer);
    let redis = patient(server.url());
    redis.ready(Duration::from_secs(20)).await.unwrap();
    let store = redis.store().unwrap();
    (server, store, setup)
}

async fn ask(node: &Node, path: &str, language: &str) -> String {
    let got = node.send(Request::get(path).header("accept-language", language)).await;
    let own = if path.starts_with("/vary") { format!("{path} {language} ") } else { format!("{path} ") };
    assert!(got.body.starts_with(&own), "asked for {own}: {got:?}");
    node.written().await;
    got.body
}

fn key(name: &str) -> StoreKey {
    StoreKey::new(name.to_owned()).unwrap()
}

async fn read(store: &dyn Store, name: &str) -> Bytes {
    store.get(&[key(name)]).await.unwrap().pop().unwrap().unwrap()
}

async fn write(store: &dyn Store, name: &str, bytes: impl Into<Bytes>) {
    store.put(key(name), bytes.into(), HOUR).await.unwrap();
}

async fn keys(server: &Server) -> Vec<String> {
    server.cli(&["--scan", "--pattern", "larder:larder:1:*"]).await.lines().map(str::to_owned).collect()
}

/// The bytes of each key under each other key: entries, variants, signposts.
#[tokio::test]
async fn o_38_anothers_bytes() {
    let (server, store, setup) = start().await;
    let node = setup.start().await;
    let asked = [("/a", ""), ("/b", ""), ("/vary", "de"), ("/vary", "en"), ("/vary/2", "de")];
    for (path, language) in asked {
        ask(&node, path, language).await;
    }
    let names = keys(&server).await;
    let mut values = Vec::new();
    for name in &names {
        values.push(read(&*store, name).await);
    }
    for shift in 1..names.len() {
        for (number, name) in names.iter().enumerate() {
            write(&*store, name, values[(number + shift) % names.len()].clone()).await;
        }
        let reader = setup.start().await;
        for (path, language) in asked {
            ask(&reader, path, language).await;
        }
        let after = setup.start().await;
        for (path, language) in asked {
            ask(&after, path, language).await;
        }
        for (name, value) in names.iter().zip(&values) {
            write(&*store, name, value.clone()).await;
        }
    }
    assert_eq!(keys(&server).await.len(), names.len());
}

/// Cut off at each length, each byte changed, and what is no entry at all.
#[tokio::test]
async fn o_38_damaged_bytes() {
    let (server, store, setup) = start().await;
    let node = setup.start().await;
    let first = ask(&node, "/a", "").await;
    let names = keys(&server).await;
    let whole = Vec::from({
        let mut longest = Bytes::new();
        for name in &names {
            let value = read(&*store, name).await;
            if value.len() > longest.len() {
                longest = value;
            }
        }
        longest
    });
    let mut name = String::new();
    for candidate in &names {
        if read(&*store, candidate).await == whole {
            name = candidate.clone();
        }
    }
    // As fast as it can be: one node, whose memory is emptied.
    let reader = setup.start().await;
    let mut damaged = Vec::new();
    damaged.extend((0..whole.len()).step_by(7).map(|length| whole[..length].to_vec()));
    damaged.extend((0..whole.len()).step_by(5).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        bytes
    }));
    damaged.extend([vec![], b"text".to_vec(), vec![255; 10_000], [&whole[..], b"more"].concat(), whole.repeat(2)]);
    for bytes in damaged {
        write(&*store, &name, bytes.clone()).await;
        reader.cache.clear();
        let got = reader.send(Request::get("/a")).await;
        assert_ne!(got.body, first, "{} bytes", bytes.len());
        assert!(got.body.starts_with("/a "), "{got:?}");
        reader.written().await;
    }
    let reasons = reader.tier().reasons;
    assert!(reasons.values().sum::<u64>() > 10, "{reasons:?}");
    write(&*store, &name, whole).await;
    reader.cache.clear();
    assert_eq!(reader.get("/a").await, first, "the same bytes again are the same answer");
}

/// Keys of another type.
#[tokio::test]
async fn o_38_keys_that_are_no_strings() {
    let (server, _, setup) = start().await;
    let node = setup.start().await;
    ask(&node, "/a", "").await;
    ask(&node, "/vary", "de").await;
    for name in keys(&server).await {
        server.cli(&["DEL", &name]).await;
        server.cli(&["LPUSH", &name, "x"]).await;
    }
    let reader = setup.start().await;
    for _ in 0..2 {
        ask(&reader, "/a", "").await;
        ask(&reader, "/vary", "de").await;
    }
    assert_eq!(reader.tier().hits, 0);
}

/// An old entry is put back after the purge of it: still a miss.
#[tokio::test]
async fn o_38_what_was_purged_is_put_back() {
    let (server, store, setup) = start().await;
    let (a, b) = setup.two().await;
    let first = ask(&a, "/a", "").await;
    let mut kept = Vec::new();
    for name in keys(&server).await {
        kept.push((name.clone(), read(&*store, &name).await));
    }
    a.cache.invalidate(larder::Selector::resource("/a")).await.unwrap();
    for (name, value) in kept {
        write(&*store, &name, value).await;
    }
    assert_ne!(ask(&a, "/a", "").await, first);
    b.forgets("/a", &first).await;
    assert_ne!(ask(&setup.start().await, "/a", "").await, first);
}

/// Everything that Redis has is deleted behind its back, in part or all: at worst a miss.
#[tokio::test]
async fn what_is_deleted() {
    let (server, _, setup) = start().await;
    let node = setup.start().await;
    for language in ["de", "en"] {
        ask(&node, "/vary", language).await;
    }
    for name in keys(&server).await {
        server.cli(&["DEL", &name]).await;
        let reader = setup.start().await;
        for language in ["de", "en"] {
            ask(&reader, "/vary", language).await;
        }
    }
}

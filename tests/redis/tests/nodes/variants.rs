//! `Vary` over several nodes: variants, the fields that are nominated, and how many there may be.

use crate::support::{Got, HOUR, Node, Setup, header, now, reply_with, secs, tagged};
use http::Request;
use larder::{Policy, RequestDirectives, Selector};
use larder_redis_tests::{Server, until};

/// Varies by the language, and under `/growing` also by the colour if the language is German.
fn setup(server: &Server) -> Setup {
    Setup::new(server.url(), tagged()).replies(|request, call| {
        let growing = request.uri().path() == "/growing" && header(request, "accept-language") == "de";
        let vary = if growing { "Accept-Language, X-Colour" } else { "Accept-Language" };
        reply_with(
            call,
            &[("vary", vary), ("x-said", header(request, "accept-language")), ("x-shown", header(request, "x-colour"))],
        )
    })
}

async fn ask(node: &Node, path: &str, language: &str, colour: &str) -> Got {
    let got = node.send(Request::get(path).header("accept-language", language).header("x-colour", colour)).await;
    assert_eq!(got.header("x-said"), language, "another's: {got:?}");
    got
}

/// Asks for something new, and waits until it is in Redis.
async fn store(node: &Node, path: &str, language: &str, colour: &str) -> String {
    let got = ask(node, path, language, colour).await;
    node.written().await;
    got.body
}

#[tokio::test]
async fn o_09_variants_are_found_by_other_nodes() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let texts = [store(&a, "/x", "de", "").await, store(&a, "/x", "en", "").await, store(&a, "/x", "fr", "").await];
    for round in 0..2 {
        for (language, text) in ["de", "en", "fr"].iter().zip(&texts) {
            assert_eq!(ask(&b, "/x", language, "").await.body, *text, "{round} {language} {:?}", b.cache.stats());
        }
    }
    // The first needs a signpost, and what is asked for afterwards does not.
    assert_eq!((b.calls(), b.tier().hits), (0, 3));
    let unknown = ask(&b, "/x", "it", "").await;
    assert_eq!(unknown.outcome(), "miss");
    // What the second one adds the first one finds as well.
    b.written().await;
    assert_eq!(ask(&a, "/x", "it", "").await.body, unknown.body);
}

#[tokio::test]
async fn o_10_the_nominated_fields_grow() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let english = store(&a, "/growing", "en", "red").await;
    assert_eq!(ask(&b, "/growing", "en", "blue").await.body, english, "one field is nominated");
    let german = store(&a, "/growing", "de", "red").await;
    // What other colours there are is asked for, by both.
    for node in [&b, &a] {
        let got = ask(node, "/growing", "de", "blue").await;
        assert_eq!(got.header("x-shown"), "blue", "{:?}", node.cache.stats());
    }
    assert_eq!(ask(&b, "/growing", "de", "red").await.body, german);
    // One that starts now knows that English had one field, and German two.
    let c = setup(&server).start().await;
    assert_eq!(ask(&c, "/growing", "de", "red").await.body, german);
    assert_eq!(ask(&c, "/growing", "de", "blue").await.header("x-shown"), "blue");
}

/// One that knows what varied before learns that more does, although what it would guess is still there.
#[tokio::test]
async fn o_10_what_was_stored_under_fewer_fields_is_not_used_any_more() {
    let server = Server::standalone().await;
    let policy = tagged().request_directives(RequestDirectives::Honor);
    let setup = Setup::new(server.url(), policy).replies(|request, call| {
        let grows = header(request, "cache-control") == "no-cache";
        let vary = if grows { "Accept-Language, X-Colour" } else { "Accept-Language" };
        reply_with(
            call,
            &[("vary", vary), ("x-said", header(request, "accept-language")), ("x-shown", header(request, "x-colour"))],
        )
    });
    let (a, b) = setup.two().await;
    let old = store(&b, "/x", "de", "red").await;
    let anew = Request::get("/x").header("accept-language", "de").header("x-colour", "blue");
    let new = a.send(anew.header("cache-control", "no-cache")).await;
    a.written().await;
    assert_ne!(new.body, old);
    b.cache.clear();
    for (colour, shown) in [("blue", "blue"), ("green", "green"), ("red", "red")] {
        let got = ask(&b, "/x", "de", colour).await;
        assert_eq!(got.header("x-shown"), shown, "{:?}", b.cache.stats());
        assert_ne!(got.body, old);
    }
}

/// Both write at the same time, and neither's variant is another's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variants_that_several_write_at_once() {
    let server = Server::standalone().await;
    let nodes = [setup(&server).start().await, setup(&server).start().await, setup(&server).start().await];
    for round in 0..20 {
        let path = format!("/{round}");
        let mut tasks = Vec::new();
        for number in 0..12 {
            let (node, path, language) = (nodes[number % 3].clone(), path.clone(), format!("l{}", number % 7));
            tasks.push(tokio::spawn(async move { drop(ask(&node, &path, &language, "").await) }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        for node in &nodes {
            node.written().await;
        }
        for node in &nodes {
            for language in 0..7 {
                // The right one, or a new one: that it is the language's own is looked at by who asks.
                ask(node, &path, &format!("l{language}"), "").await;
            }
        }
    }
}

#[tokio::test]
async fn there_are_only_so_many_variants() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).policy(|policy| policy.max_variants(3)).two().await;
    let mut texts = Vec::new();
    for number in 0..10 {
        texts.push(store(&a, "/x", &format!("l{number}"), "").await);
    }
    // The signpost, and the last three.
    let keys = server.cli(&["--scan", "--pattern", "larder:larder:1:*"]).await;
    assert_eq!(keys.lines().count(), 4, "{keys}");
    for (number, text) in texts.iter().enumerate().rev() {
        let got = ask(&b, "/x", &format!("l{number}"), "").await;
        assert_eq!(got.body == *text, number >= 7, "{number}");
    }
    let ttls = async || {
        let mut ttls = Vec::new();
        for key in server.cli(&["--scan"]).await.lines() {
            ttls.push((key.to_owned(), server.cli(&["PTTL", key]).await.parse::<i64>().unwrap()));
        }
        ttls
    };
    for (key, ttl) in ttls().await {
        // One that has just been taken away has none either.
        assert_ne!(ttl, -1, "{key} has no end");
    }
}

/// A purge is for all variants, on all nodes, whichever made them.
#[tokio::test]
async fn a_purge_is_for_all_variants() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let languages = ["de", "en", "fr"];
    let mut texts = Vec::new();
    for (number, language) in languages.iter().enumerate() {
        texts.push(store([&a, &b][number % 2], "/x", language, "").await);
    }
    for node in [&a, &b] {
        for (language, text) in languages.iter().zip(&texts) {
            assert_eq!(ask(node, "/x", language, "").await.body, *text);
        }
    }
    a.cache.invalidate(Selector::resource("/x")).await.unwrap();
    let start = now();
    for (language, text) in languages.iter().zip(&texts) {
        assert_ne!(ask(&a, "/x", language, "").await.body, *text);
        until("another", async || ask(&b, "/x", language, "").await.body != *text).await;
    }
    assert!(now() - start < secs(5));
}

/// The service takes its `Vary` back: what was stored under it is not found for those who differ.
#[tokio::test]
async fn a_resource_that_no_longer_varies() {
    let server = Server::standalone().await;
    let varies =
        Setup::new(server.url(), Policy::fresh_for(HOUR)).replies(|request, call| match header(request, "x-mode") {
            "plain" => reply_with(call, &[]),
            _ => reply_with(call, &[("vary", "x-mode"), ("x-said", header(request, "x-mode"))]),
        });
    let (a, b) = varies.two().await;
    let get = async |node: &Node, mode: &str| node.send(Request::get("/x").header("x-mode", mode)).await;
    let one = get(&a, "one").await;
    a.written().await;
    assert_eq!(get(&b, "one").await.body, one.body);
    get(&a, "plain").await;
    a.written().await;
    for node in [&a, &b] {
        for mode in ["one", "two"] {
            let got = get(node, mode).await;
            assert!(["", mode].contains(&got.header("x-said")), "{mode}: {got:?}");
        }
    }
}

/// One answer names no field: those that others have named count all the same.
#[tokio::test]
async fn o_10_an_answer_that_names_no_field() {
    let server = Server::standalone().await;
    let names = |request: &Request<http_body_util::Full<bytes::Bytes>>, call: usize| {
        let said = header(request, "accept-language").to_owned();
        let vary: &[_] = if said == "fr" { &[("vary", "accept-language")] } else { &[] };
        reply_with(call, &[vary, &[("x-said", &said)]].concat())
    };
    let setup = Setup::new(server.url(), tagged()).replies(names);
    let a = setup.start().await;
    let french = store(&a, "/x", "fr", "").await;
    store(&a, "/x", "en", "").await;
    assert_eq!(ask(&a, "/x", "fr", "").await.body, french, "the one that has both");
    assert_eq!(ask(&setup.start().await, "/x", "fr", "").await.body, french, "another one");
}

//! Every way of saying what has changed, on one node, and seen on another.

use crate::support::{HOUR, MINUTE, Node, Reply, Setup, header, millis, now, reply_with, secs, status};
use http::Request;
use larder::{Dependencies, Identity, Invalidates, Policy, Selector, Tags};
use larder_redis_tests::{Server, until};

const PATHS: [&str; 4] = ["/a", "/b?x=1", "/c", "/d"];

/// Answers of every kind: with tags, groups and dependencies, told by the path.
fn answer(request: &Request<http_body_util::Full<bytes::Bytes>>, call: usize) -> Reply {
    let path = request.uri().path();
    if request.method() != "GET" && request.method() != "HEAD" && request.method() != "OPTIONS" {
        let wanted = header(request, "x-status").parse().unwrap_or(204);
        let mut reply = status(wanted);
        for name in ["location", "content-location", "cache-group-invalidation"] {
            if let Some(value) = request.headers().get(format!("x-{name}")) {
                reply.headers_mut().insert(http::HeaderName::try_from(name).unwrap(), value.clone());
            }
        }
        if path == "/tells" {
            reply.extensions_mut().insert(Invalidates::new([Selector::tag("letter")]));
        }
        return reply;
    }
    let mut reply = reply_with(call, &[("cache-groups", "\"letters\"")]);
    reply.extensions_mut().insert(Tags::new(["letter".to_owned(), format!("one:{path}")]).global("stock"));
    reply
}

fn setup(server: &Server) -> Setup {
    let policy = Policy::named("letters").fresh_for(HOUR).depends_on(["Letter"]).shared();
    Setup::new(server.url(), policy)
        .replies(answer)
        .builder(|builder| builder.dependencies(Dependencies::new().tags("Stamp", ["stock"]).names("Post", ["Stamp"])))
}

/// All that one has stored is found by the other.
async fn fill(a: &Node, b: &Node) -> Vec<String> {
    let mut texts = Vec::new();
    for path in PATHS {
        texts.push(a.share(b, path).await);
    }
    texts
}

/// Which of them have changed here.
async fn changed(node: &Node, texts: &[String]) -> [bool; 4] {
    let mut changed = [false; 4];
    for ((path, text), changed) in PATHS.iter().zip(texts).zip(&mut changed) {
        *changed = node.get(path).await != *text;
    }
    changed
}

/// After something was done on the first, these have changed on both, within the bound, and no others.
async fn holds(a: &Node, b: &Node, texts: &[String], expected: [bool; 4], what: &str) {
    assert_eq!(changed(a, texts).await, expected, "{what}: where it was said");
    let sent = a.log().sent;
    until("all of it is read", async || a.log().sent >= sent && a.log().waiting == 0).await;
    let start = now();
    // As long as anything is expected that has not come.
    until("what was said", async || {
        let found = changed(b, texts).await;
        found == expected || now() - start > secs(5)
    })
    .await;
    // By a second record, of which it is known that it comes after: nothing else has come meanwhile.
    let marker = b.store("/marker").await;
    a.cache.invalidate(Selector::resource("/marker")).await.unwrap();
    b.forgets("/marker", &marker).await;
    assert_eq!(changed(b, texts).await, expected, "{what}: elsewhere");
}

#[tokio::test]
async fn selectors() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let all = [true; 4];
    for (selector, expected) in [
        (Selector::tag("letter"), all),
        (Selector::tag("stock"), all),
        (Selector::tag("one:/a"), [true, false, false, false]),
        (Selector::all_of(["letter", "one:/c"]), [false, false, true, false]),
        (Selector::all_of(["one:/a", "one:/c"]), [false; 4]),
        (Selector::resource("/b?x=1"), [false, true, false, false]),
        (Selector::resource("http://shop/d"), [false, false, false, true]),
        (Selector::resource("http://elsewhere/d"), [false; 4]),
        (Selector::policy("letters"), all),
        (Selector::policy("numbers"), [false; 4]),
        (Selector::pattern("*letters*/c"), [false, false, true, false]),
        (Selector::pattern("*x=1"), [false, true, false, false]),
        (Selector::everything(), all),
        (Selector::tenant("1"), [false; 4]),
    ] {
        let texts = fill(&a, &b).await;
        a.cache.invalidate(selector.clone()).await.unwrap();
        holds(&a, &b, &texts, expected, &format!("{selector:?}")).await;
    }
    assert_eq!((a.log().unreadable, b.log().unreadable), (0, 0));
    assert_eq!((a.log().gaps, b.log().gaps), (0, 0));
}

#[tokio::test]
async fn groups() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let texts = fill(&a, &b).await;
    a.cache.invalidate(Selector::group("letters")).await.unwrap();
    holds(&a, &b, &texts, [true; 4], "group").await;
    let texts = fill(&a, &b).await;
    a.send(Request::post("/other").header("x-cache-group-invalidation", "\"letters\"")).await;
    holds(&a, &b, &texts, [true; 4], "Cache-Group-Invalidation").await;
}

#[tokio::test]
async fn names_and_what_depends_on_them() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    for (name, expected) in [("Letter", [true; 4]), ("Stamp", [true; 4]), ("Post", [true; 4]), ("None", [false; 4])] {
        let texts = fill(&a, &b).await;
        a.cache.changed(name).await.unwrap();
        holds(&a, &b, &texts, expected, name).await;
    }
    let texts = fill(&a, &b).await;
    let mut changes = a.cache.changes();
    changes.changed("Letter");
    drop(changes);
    holds(&a, &b, &texts, [false; 4], "rolled back").await;
    let texts = fill(&a, &b).await;
    let mut changes = a.cache.changes();
    changes.changed("Letter");
    changes.commit().await.unwrap();
    holds(&a, &b, &texts, [true; 4], "committed").await;
}

#[tokio::test]
async fn what_a_response_invalidates() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    let texts = fill(&a, &b).await;
    a.send(Request::post("/tells")).await;
    holds(&a, &b, &texts, [true; 4], "Invalidates").await;
}

#[tokio::test]
async fn o_31_unsafe_methods() {
    let server = Server::standalone().await;
    let (a, b) = setup(&server).two().await;
    for (method, code, expected) in [
        ("POST", 200, true),
        ("PUT", 204, true),
        ("PATCH", 201, true),
        ("DELETE", 303, true),
        ("FOO", 200, true),
        ("POST", 404, false),
        ("PUT", 500, false),
        ("OPTIONS", 200, false),
    ] {
        let texts = fill(&a, &b).await;
        let request = |path: &str| Request::builder().method(method).uri(path).header("x-status", code);
        a.send(request("/a")).await;
        let both = request("/other").header("x-location", "/b?x=1").header("x-content-location", "http://shop/c");
        a.send(both).await;
        a.send(request("/other").header("x-location", "http://elsewhere/d")).await;
        holds(&a, &b, &texts, [expected, expected, expected, false], &format!("{method} {code}")).await;
    }
}

/// On both nodes it is stale, and served once more while it is refreshed.
#[tokio::test]
async fn soft() {
    let server = Server::standalone().await;
    let policy = Policy::fresh_for(HOUR).stale_while_revalidate(MINUTE).tags(["x"]);
    let (a, b) = Setup::new(server.url(), policy).two().await;
    let first = a.store("/x").await;
    assert_eq!(b.get("/x").await, first);
    a.cache.invalidate(Selector::tag("x").soft()).await.unwrap();
    let got = a.send(Request::get("/x")).await;
    assert_eq!((got.body.as_str(), got.outcome()), (first.as_str(), "stale"));
    let mut got = b.send(Request::get("/x")).await;
    until("it is stale there too", async || {
        if got.outcome() == "hit" && got.body == first {
            got = b.send(Request::get("/x")).await;
        }
        got.outcome() != "hit" || got.body != first
    })
    .await;
    assert!(got.outcome() == "stale" || got.body != first, "{got:?}");
    let (second, third) = (a.forgets("/x", &first).await, b.forgets("/x", &first).await);
    assert!(second != first && third != first);
    // A hard one after it ends that.
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    assert_eq!(a.send(Request::get("/x")).await.outcome(), "miss");
}

/// One that comes after a soft purge finds it stale, not fresh.
#[tokio::test]
async fn soft_and_then_started() {
    let server = Server::standalone().await;
    let policy = Policy::fresh_for(HOUR).stale_while_revalidate(MINUTE).tags(["x"]);
    let setup = Setup::new(server.url(), policy);
    let a = setup.start().await;
    let first = a.store("/x").await;
    a.cache.invalidate(Selector::tag("x").soft()).await.unwrap();
    let b = setup.start().await;
    let got = b.send(Request::get("/x")).await;
    assert_eq!((got.body.as_str(), got.outcome()), (first.as_str(), "stale"), "{:?}", b.cache.stats());
}

/// Tenants, users and attributes: what is one's is not another's, and a purge of one is not of another.
#[tokio::test]
async fn o_15_identities() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), Policy::fresh_for(HOUR).per_user().tags(["list"])).two().await;
    let people = [(1, "anna"), (1, "ben"), (2, "anna")];
    let ask = async |node: &Node, (tenant, user): (u32, &str)| {
        let identity = Identity::new().with_tenant(tenant).with_user(user);
        let text = node.send(Request::get("/me").extension(identity)).await.body;
        node.written().await;
        text
    };
    for (selector, expected) in [
        (Selector::tenant(1), [true, true, false]),
        (Selector::user("anna").within(1), [true, false, false]),
        (Selector::user("anna"), [true, false, true]),
        (Selector::tag("list").within(2), [false, false, true]),
        (Selector::tag("list"), [true, true, true]),
        (Selector::tenant(3), [false, false, false]),
    ] {
        let mut texts = Vec::new();
        for person in people {
            texts.push(ask(&a, person).await);
        }
        for (person, text) in people.iter().zip(&texts) {
            until("the same", async || ask(&b, *person).await == *text).await;
        }
        a.cache.invalidate(selector.clone()).await.unwrap();
        let found = async |node: &Node| {
            let mut changed = [false; 3];
            for (number, person) in people.iter().enumerate() {
                changed[number] = ask(node, *person).await != texts[number];
            }
            changed
        };
        until("the record", async || b.log().read >= a.log().sent).await;
        let start = now();
        until("what was said", async || found(&b).await == expected || now() - start > millis(500)).await;
        assert_eq!((found(&a).await, found(&b).await), (expected, expected), "{selector:?}");
        a.cache.invalidate(Selector::everything()).await.unwrap();
        for (person, text) in people.iter().zip(&texts) {
            until("the end", async || ask(&b, *person).await != *text).await;
        }
    }
}

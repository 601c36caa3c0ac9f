//! What is kept in Redis, how, for how long, and for whom.

use crate::support::{Answer, HOUR, MINUTE, Node, Setup, full, header, now, replies, secs, tagged};
use http::{Request, Response};
use larder::{CacheControl, Identity, KeyRing, Policy, Selector, Tags, Value};
use larder_redis_tests::{Server, until};

static SECRET: Value<String> = Value::named("secret").fresh_for(HOUR).shared();

const SECRET_TEXT: &str = "only for those who have the key";

fn secret() -> Answer {
    let text = format!("{SECRET_TEXT} {}", "and again ".repeat(2000));
    replies(move |_, call| {
        let mut reply = Response::new(full(format!("answer {call} {text}")));
        reply.headers_mut().insert("x-secret", SECRET_TEXT.parse().unwrap());
        reply
    })
}

/// All that Redis has of entries, as `redis-cli` shows it.
async fn all_that_is_kept(server: &Server) -> String {
    let mut text = String::new();
    for key in server.cli(&["--scan", "--pattern", "larder:*:1:*"]).await.lines() {
        text += &server.cli(&["--no-raw", "GET", key]).await;
    }
    text
}

#[tokio::test]
async fn memory_only_does_not_leave_the_process() {
    let server = Server::standalone().await;
    let (a, b) = Setup::new(server.url(), tagged().memory_only()).two().await;
    let first = a.store("/x").await;
    assert_eq!(a.get("/x").await, first);
    let other = b.get("/x").await;
    assert_ne!(other, first);
    assert_eq!(server.cli(&["KEYS", "larder:larder:1:*"]).await, "");
    assert_eq!((a.tier().writes, b.tier().misses), (0, 0), "not even asked");
    // A purge is for both all the same.
    a.cache.invalidate(Selector::tag("x")).await.unwrap();
    b.forgets("/x", &other).await;
}

#[tokio::test]
async fn memory_ttl() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), tagged().memory_ttl(secs(10))).timed();
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    let looks = || b.tier().hits + b.tier().misses;
    for _ in 0..3 {
        b.advance(secs(11));
        let before = looks();
        assert_eq!(b.get("/x").await, first, "{:?}", b.cache.stats());
        assert_eq!(looks(), before + 1, "looked for in Redis again");
        assert_eq!(b.get("/x").await, first);
        assert_eq!(looks(), before + 1, "from memory");
    }
    assert_eq!(b.calls(), 0);
    b.advance(HOUR);
    assert_ne!(b.get("/x").await, first);
}

/// What is to be looked for in Redis again does not stand in for what those with credentials are answered, if it is not
/// for them.
#[tokio::test]
async fn memory_ttl_and_credentials() {
    let server = Server::standalone().await;
    let policy = Policy::fresh_for(MINUTE).stale_if_error(HOUR).memory_ttl(secs(10));
    let setup = Setup::new(server.url(), policy).timed().replies(|request, call| {
        let anonymous = header(request, "authorization").is_empty() && call > 0;
        if anonymous { crate::support::reply(call) } else { crate::support::status(500) }
    });
    let node = setup.start().await;
    let first = node.store("/x").await;
    for after in [11, 60] {
        node.advance(secs(after));
        let got = node.send(Request::get("/x").header("authorization", "Bearer x")).await;
        assert_eq!((got.status.as_u16(), &*got.body), (500, ""), "{first} after {after}");
    }
}

/// The handler's own word on lifetime and tags is that of the entry, wherever it is read.
#[tokio::test]
async fn the_handlers_own_policy() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR)).timed().replies(|_, call| {
        let mut reply = crate::support::reply(call);
        reply.extensions_mut().insert(Policy::fresh_for(MINUTE).stale_if_error(MINUTE));
        reply.extensions_mut().insert(Tags::new(["handler"]));
        reply
    });
    let (a, b) = setup.two().await;
    let first = a.store("/x").await;
    b.advance(secs(59));
    assert_eq!(b.get("/x").await, first);
    b.advance(secs(2));
    assert_ne!(b.get("/x").await, first, "a minute, not an hour");
    let c = setup.start().await;
    let second = a.share(&c, "/y").await;
    a.cache.invalidate(Selector::tag("handler")).await.unwrap();
    c.forgets("/y", &second).await;
    // Longer than the layer's is the handler's as well.
    let long = Setup::new(server.url(), Policy::fresh_for(secs(10))).timed().replies(|_, call| {
        let mut reply = crate::support::reply(call);
        reply.extensions_mut().insert(Policy::fresh_for(HOUR));
        reply
    });
    let (a, b) = long.two().await;
    let third = a.store("/z").await;
    b.advance(secs(600));
    assert_eq!(b.get("/z").await, third);
}

/// What the handler has browsers told is told by every node, and what it leaves to the answer is what the answer says.
#[tokio::test]
async fn what_the_handlers_own_policy_tells_browsers() {
    let server = Server::standalone().await;
    let told = CacheControl::private(secs(30));
    for (layer, own, said) in [
        (None, Some(told), "max-age=30, private"),
        (Some(CacheControl::public(HOUR)), Some(told), "max-age=30, private"),
        (Some(CacheControl::public(HOUR)), None, "max-age=600"),
    ] {
        let with = |browser: Option<CacheControl>| {
            let policy = Policy::fresh_for(HOUR);
            browser.map_or(policy.clone(), |control| policy.browser(control))
        };
        let own = with(own);
        let setup = Setup::new(server.url(), with(layer).shared()).replies(move |_, call| {
            let mut reply = crate::support::reply_with(call, &[("cache-control", "max-age=600"), ("etag", "\"e\"")]);
            reply.extensions_mut().insert(own.clone());
            reply
        });
        let (a, b) = setup.two().await;
        a.cache.invalidate(Selector::everything()).await.unwrap();
        assert_eq!(a.send(Request::get("/x")).await.header("cache-control"), said, "{layer:?}");
        a.written().await;
        // Answered by what was promoted, and then by what is in memory.
        for _ in 0..2 {
            assert_eq!(b.send(Request::get("/x")).await.header("cache-control"), said, "{layer:?}");
        }
        assert_eq!(b.calls(), 0, "{layer:?}");
    }
}

#[tokio::test]
async fn encrypted() {
    let server = Server::standalone().await;
    let ring = |name, key| KeyRing::new(name, [key; 32]).unwrap();
    let with =
        |ring: KeyRing| Setup::new(server.url(), tagged()).answer(secret()).builder(|builder| builder.encrypt(ring));
    let (a, b) = with(ring("new", 7)).two().await;
    let first = a.store("/x").await;
    a.cache.value(&SECRET).put(SECRET_TEXT.to_owned());
    a.written().await;
    assert!(!all_that_is_kept(&server).await.contains(&SECRET_TEXT[..10]));
    assert_eq!(b.get("/x").await, first);
    assert_eq!(*b.cache.value(&SECRET).get().await.unwrap(), SECRET_TEXT);
    // Another key, no key, and an old key beside a new one.
    for (number, other) in
        [with(ring("new", 8)), with(ring("other", 7)), Setup::new(server.url(), tagged()).answer(secret())]
            .into_iter()
            .enumerate()
    {
        let node = other.start().await;
        assert_ne!(node.get("/x").await, first, "{number}");
        assert_eq!(node.tier().hits, 0);
        a.share(&b, "/x").await;
    }
    let old = a.share(&b, "/y").await;
    let rotated = with(ring("newer", 9).and_old("new", [7; 32]).unwrap()).start().await;
    assert_eq!(rotated.get("/y").await, old);
}

/// What is not encrypted is not taken, whoever put it there.
#[tokio::test]
async fn plain_entries_are_not_taken_for_encrypted_ones() {
    let server = Server::standalone().await;
    let plain = Setup::new(server.url(), tagged()).start().await;
    let first = plain.store("/x").await;
    let ring = KeyRing::new("new", [7; 32]).unwrap();
    let node = Setup::new(server.url(), tagged()).builder(|builder| builder.encrypt(ring)).start().await;
    assert_ne!(node.get("/x").await, first);
    assert_eq!(node.tier().hits, 0);
}

#[tokio::test]
async fn compressed() {
    let server = Server::standalone().await;
    let setup = |from| {
        let setup = Setup::new(server.url(), tagged()).answer(secret());
        setup.builder(|builder| builder.compress_from(from))
    };
    let (plain, small) = (setup(None).start().await, setup(Some(1000)).start().await);
    let texts = [plain.store("/plain").await, small.store("/small").await];
    // Each reads what the other has written.
    assert_eq!([small.get("/plain").await, plain.get("/small").await], texts);
    assert_eq!((plain.calls(), small.calls()), (1, 1));
    let mut lengths = Vec::new();
    for key in server.cli(&["--scan", "--pattern", "larder:larder:1:*"]).await.lines() {
        lengths.push(server.cli(&["STRLEN", key]).await.parse::<usize>().unwrap());
    }
    lengths.sort_unstable();
    assert!(lengths[0] * 5 < lengths[1], "{lengths:?}");
}

/// One Redis for all tenants and users: each finds their own.
#[tokio::test]
async fn o_16_everybody_finds_their_own() {
    let server = Server::standalone().await;
    let answer = replies(|request, call| {
        let who = request.extensions().get::<Identity>().map(|who| format!("{:?} {:?}", who.tenant(), who.user()));
        Response::new(full(format!("{} {call}", who.unwrap_or_default())))
    });
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR).per_user()).answer(answer);
    let nodes = [setup.start().await, setup.start().await, setup.start().await];
    for round in 0..3 {
        for tenant in 0..6 {
            for user in ["a", "b", "a:b", "1", ""] {
                for (number, node) in nodes.iter().enumerate() {
                    let identity = Identity::new().with_tenant(tenant).with_user(user);
                    let got = node.send(Request::get(format!("/{number}")).extension(identity)).await;
                    let own = format!("{:?} {:?} ", Some(tenant.to_string()), Some(user));
                    assert!(got.body.starts_with(&own) || user.is_empty(), "{round} {own} {}", got.body);
                }
            }
        }
        for node in &nodes {
            node.written().await;
        }
    }
}

/// A shared policy, and one for each user, over one path: neither finds the other's.
#[tokio::test]
async fn scopes_do_not_mix() {
    let server = Server::standalone().await;
    let shared = Setup::new(server.url(), Policy::fresh_for(HOUR).shared()).start().await;
    let own = shared.beside(Policy::fresh_for(HOUR).per_user());
    let ask = async |node: &Node, user: &str| {
        let identity = Identity::new().with_tenant(1).with_user(user);
        let text = node.send(Request::get("/x").extension(identity)).await.body;
        node.written().await;
        text
    };
    let (all, anna, ben) = (ask(&shared, "anna").await, ask(&own, "anna").await, ask(&own, "ben").await);
    assert!(all != anna && anna != ben && all != ben);
    let other = Setup::new(server.url(), Policy::fresh_for(HOUR).shared()).start().await;
    let other_own = other.beside(Policy::fresh_for(HOUR).per_user());
    assert_eq!(ask(&other, "ben").await, all);
    assert_eq!((ask(&other_own, "anna").await, ask(&other_own, "ben").await), (anna, ben));
}

/// Credentials: what was answered to somebody with them is not for somebody else, also by way of Redis.
#[tokio::test]
async fn o_03_credentials() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(HOUR)).replies(|request, call| {
        let said = header(request, "authorization").to_owned() + header(request, "cookie");
        Response::new(full(format!("{said} {call}")))
    });
    let (a, b) = setup.two().await;
    for (name, value) in [("authorization", "Bearer anna"), ("cookie", "sid=anna")] {
        let first = a.send(Request::get("/x").header(name, value)).await;
        a.written().await;
        assert_ne!(b.get("/x").await, first.body);
        let other = b.send(Request::get("/x").header(name, "another")).await;
        assert!(other.body.starts_with("another"), "{other:?}");
        b.written().await;
        let own = a.send(Request::get("/x").header(name, value)).await;
        assert!(own.body.starts_with(value), "{own:?}");
    }
}

/// Every key in Redis has an end.
#[tokio::test]
async fn everything_expires() {
    let server = Server::standalone().await;
    let setup = Setup::new(server.url(), Policy::fresh_for(secs(2)).tags(["x"])).replies(|request, call| {
        let vary = if request.uri().path() == "/vary" { "accept-language" } else { "accept-encoding" };
        crate::support::reply_with(call, &[("vary", vary)])
    });
    let node = setup.start().await;
    for path in ["/x", "/vary", "/y"] {
        node.store(path).await;
    }
    node.cache.value(&SECRET).put("x".to_owned());
    node.cache.invalidate(Selector::tag("x")).await.unwrap();
    node.written().await;
    let keys = server.cli(&["KEYS", "*"]).await;
    assert!(keys.lines().count() >= 5, "{keys}");
    for key in keys.lines() {
        let ttl: i64 = server.cli(&["PTTL", key]).await.parse().unwrap();
        assert!(ttl > 0, "{key}: {ttl}");
    }
    let start = now();
    until("what was fresh for two seconds is gone", async || {
        let left = server.cli(&["--scan", "--pattern", "larder:larder:1:*:*"]).await;
        left.is_empty()
    })
    .await;
    assert!(now() - start < secs(10));
}

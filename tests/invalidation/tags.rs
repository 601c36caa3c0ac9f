//! What a response is tagged with, and the limits (O-42).

use crate::{
    shop::{Answer, Shop, of},
    support::{HOUR, Script, settle},
};
use http::{Method, Request, header::IF_NONE_MATCH, request};
use larder::{Identity, Policy, Selector, Tags};

fn number(request: &request::Parts) -> usize {
    request.uri.path()[1..].parse().unwrap()
}

fn many(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|at| format!("t{at}"))
}

#[tokio::test]
async fn o_42_over_the_limit_nothing_is_stored() {
    type Case = (fn() -> Tags, bool);
    let cases: Vec<Case> = vec![
        (|| Tags::new(many(64)), true),
        (|| Tags::new(many(65)), false),
        (|| Tags::new(many(200)), false),
        (|| Tags::new(many(10_000)), false),
        (|| many(63).fold(Tags::default(), Tags::global).and(["one"]), true),
        (|| many(65).fold(Tags::default(), Tags::global), false),
        (|| Tags::new((0..10_000).map(|_| "same")), true),
        (|| Tags::new((0..10_000).map(|_| " ")), true),
        (|| Tags::new(["x".repeat(256)]), true),
        (|| Tags::new(["x".repeat(257)]), false),
        (|| Tags::new(["x".repeat(5 << 10)]), false),
        (|| Tags::new(["ä".repeat(128)]), true),
    ];
    for (at, (tags, stored)) in cases.into_iter().enumerate() {
        for by in ["handler", "policy", "closure", "handler's policy", "header"] {
            let policy = match by {
                "policy" => {
                    let names = tags().to_string();
                    if names.contains('ä') || names.is_empty() || at == 4 || at == 5 {
                        continue;
                    }
                    Policy::fresh_for(HOUR).tags(names.split(' ').map(str::to_owned).collect::<Vec<_>>())
                }
                "closure" => Policy::fresh_for(HOUR)
                    .tag_with(move |_, _| tags().to_string().split(' ').map(str::to_owned).collect::<Vec<_>>()),
                "header" => Policy::fresh_for(HOUR).tag_header("cache-tag"),
                _ => Policy::fresh_for(HOUR),
            };
            let answered = move |_: &request::Parts, _| match by {
                "handler" => Answer::ok("x").saying(tags()),
                "handler's policy" => Answer::ok("x").saying(
                    Policy::fresh_for(HOUR).tags(tags().to_string().split(' ').map(str::to_owned).collect::<Vec<_>>()),
                ),
                "header" => Answer::ok("x").with("cache-tag", tags().to_string()),
                _ => Answer::ok("x"),
            };
            let shop = Shop::new(policy, answered);
            for _ in 0..2 {
                let got = shop.get("/x").await;
                assert!(got.status == 200 && !got.has("cache-tag") && got.text() == "x");
            }
            let outcome = shop.get("/x").await.outcome();
            // Global tags have no other way in than the handler: there the local ones of that name count.
            assert_eq!(outcome, if stored { "hit" } else { "miss" }, "{at} by {by}");
            assert_eq!(shop.not_stored("too-many-tags") > 0, !stored, "{at} by {by}");
        }
    }
}

#[tokio::test]
async fn o_42_a_header_of_256_kib() {
    let shop = Shop::new(Policy::fresh_for(HOUR).tag_header("Cache-Tag"), |_, _| {
        let line = many(40_000).collect::<Vec<_>>().join(",");
        assert!(line.len() > 256 << 10);
        Answer::ok("x").with("cache-tag", line).with("cache-tag", "more")
    });
    for _ in 0..2 {
        let got = shop.get("/x").await;
        assert_eq!((got.outcome(), got.has("cache-tag")), ("miss", false));
    }
    assert_eq!(shop.cache.stats().resources, 0);
}

/// The field goes on every way out, and only that field.
#[tokio::test]
async fn o_42_the_field_is_not_sent_to_clients() {
    let shop = Shop::new(
        Policy::fresh_for(HOUR).stale_while_revalidate(HOUR).tag_header("cache-tag").wait_limit(HOUR),
        |request, _| {
            let answer = match request.uri.path() {
                "/500" => Answer::status(500, "x"),
                "/private" => Answer::ok("x").with("cache-control", "private"),
                "/long" => Answer::ok("x").body(Script::new().data(vec![b'x'; 5 << 20])),
                _ if request.headers.contains_key(IF_NONE_MATCH) => Answer::status(304, ""),
                _ => Answer::ok("x").with("etag", "\"e\""),
            };
            answer.with("cache-tag", "a, b").with("cache-tag", "c").with("x-other", "1")
        },
    );
    let mut seen = Vec::new();
    for (method, uri, field) in [
        (Method::GET, "/x", None),
        (Method::GET, "/x", None),
        (Method::HEAD, "/x", None),
        (Method::HEAD, "/y", None),
        (Method::POST, "/y", None),
        (Method::OPTIONS, "/y", None),
        (Method::GET, "/z", Some(("cookie", "a=b"))),
        (Method::GET, "/z", Some(("range", "bytes=0-0"))),
        (Method::GET, "/x", Some(("range", "bytes=0-0"))),
        (Method::GET, "/x", Some(("if-none-match", "\"e\""))),
        (Method::GET, "/x", Some(("if-match", "\"e\""))),
        (Method::GET, "/500", None),
        (Method::GET, "/private", None),
        (Method::GET, "/private", None),
        (Method::GET, "/long", None),
        (Method::GET, "/long", None),
    ] {
        let request = Request::builder().method(&method).uri(uri);
        let request =
            field.map_or(request, |(name, value)| Request::builder().method(&method).uri(uri).header(name, value));
        let got = shop.send(&Identity::new(), request).await;
        assert!(!got.has("cache-tag"), "{method} {uri} {field:?} {}", got.outcome());
        seen.push(got.outcome());
    }
    shop.invalidate(Selector::tag("c").soft()).await;
    assert_eq!(shop.get("/x").await.outcome(), "stale", "the second line counts");
    settle().await;
    shop.advance(3 * 3600);
    let got = shop.get("/x").await;
    assert!(got.outcome() == "revalidated" && !got.has("cache-tag"), "{}", got.outcome());
    assert!(!shop.get("/x").await.has("cache-tag"));
    for outcome in ["hit", "miss", "bypass"] {
        assert!(seen.contains(&outcome), "{seen:?}");
    }
}

#[tokio::test]
async fn tags_come_from_everywhere_at_once() {
    let policy = Policy::fresh_for(HOUR)
        .tags(["policy"])
        .tags(["again"])
        .depends_on(["Model"])
        .tag_header("surrogate-key")
        .tag_with(|request, answer| [format!("path:{}", request.uri.path()), format!("status:{}", answer.status)]);
    for selector in [
        Selector::tag("policy"),
        Selector::tag("again"),
        Selector::tag("path:/x"),
        Selector::tag("status:*"),
        Selector::tag("handler"),
        Selector::tag("one"),
        Selector::tag("two"),
        Selector::tag("of-the-handlers-policy"),
        Selector::all_of(["policy", "path:/x", "handler", "two", "of-the-handlers-policy"]),
    ] {
        let shop = Shop::new(policy.clone(), |_, _| {
            Answer::ok("x")
                .saying(Tags::new(["handler"]))
                .saying(Policy::fresh_for(HOUR).tags(["of-the-handlers-policy"]))
                .with("surrogate-key", "one \t two")
        });
        shop.get("/x").await;
        assert_eq!(shop.get("/x").await.outcome(), "hit");
        shop.invalidate(selector.clone()).await;
        assert_eq!(shop.get("/x").await.outcome(), "miss", "{selector:?}");
    }
}

#[tokio::test]
async fn a_closure_that_panics_costs_its_own_response() {
    let policy = Policy::fresh_for(HOUR).tag_with(|request, _| {
        assert!(request.uri.path() != "/bad", "as the test wants");
        ["t"]
    });
    let shop = Shop::new(policy, |_, _| Answer::ok("x"));
    for _ in 0..2 {
        assert_eq!(shop.get("/bad").await.outcome(), "miss");
        shop.get("/good").await;
    }
    assert_eq!(shop.get("/good").await.outcome(), "hit");
    assert_eq!(shop.not_stored("callback-panicked"), 2);
}

/// A response is known by the tags it had, and by those that a 304 brings.
#[tokio::test]
async fn a_304_brings_tags_and_takes_none() {
    for tag in ["old", "new"] {
        let shop = Shop::new(Policy::fresh_for(HOUR), |request, _| {
            match request.headers.contains_key(IF_NONE_MATCH) {
                true => Answer::status(304, "").saying(Tags::new(["new"])),
                false => Answer::ok("x").saying(Tags::new(["old"])),
            }
            .with("etag", "\"e\"")
        });
        shop.get("/x").await;
        shop.advance(3600);
        assert_eq!(shop.get("/x").await.outcome(), "revalidated");
        shop.invalidate(Selector::tag(tag)).await;
        assert_eq!(shop.get("/x").await.outcome(), "miss", "{tag}");
    }
}

/// Each 304 brings other tags. What cannot be invalidated by all of them is not stored.
#[tokio::test]
async fn o_42_tags_that_add_up_are_not_cut() {
    let shop = Shop::new(Policy::fresh_for(HOUR), |request, round| {
        let tags = Tags::new((0..64).map(|at| format!("t{round}-{at}")));
        match request.headers.contains_key(IF_NONE_MATCH) {
            true => Answer::status(304, ""),
            false => Answer::ok(format!("v{round}")),
        }
        .saying(tags)
        .with("etag", "\"e\"")
    });
    for _ in 0..4 {
        shop.get("/x").await;
        shop.advance(3600);
    }
    shop.get("/x").await;
    // Its bytes are those of the first answer, if they are still there.
    let got = shop.get("/x").await;
    if got.outcome() == "hit" && got.text() == "v1" {
        shop.invalidate(Selector::tag("t1-63")).await;
        let after = shop.get("/x").await;
        assert_ne!(after.text(), "v1", "a tag it was stored with");
    }
}

#[tokio::test]
async fn a_global_tag_is_hit_from_every_tenant() {
    for (selector, gone) in [
        (Selector::tag("gold").within(3), [false, true]),
        (Selector::tag("gold").within(1), [true, true]),
        (Selector::tag("gold"), [true, true]),
        (Selector::tag("rate:*").within(3), [false, true]),
        (Selector::tag("rate:gold").within(3), [false, true]),
    ] {
        let shop = Shop::new(Policy::fresh_for(HOUR), |request, _| {
            Answer::ok("x").saying(match number(request) {
                0 => Tags::new(["gold", "rate:gold"]),
                _ => Tags::default().global("gold").global("rate:gold"),
            })
        });
        for uri in ["/0", "/1"] {
            shop.send(&of("1"), Request::get(uri)).await;
        }
        shop.invalidate(selector.clone()).await;
        for (uri, gone) in ["/0", "/1"].into_iter().zip(gone) {
            let outcome = shop.send(&of("1"), Request::get(uri)).await.outcome();
            assert_eq!(outcome, if gone { "miss" } else { "hit" }, "{selector:?} {uri}");
        }
    }
}

#[tokio::test]
async fn a_star_follows_one_of_the_first_four() {
    let shop = Shop::new(Policy::fresh_for(HOUR).tags(["a:b:c:d:e:f"]), |_, _| Answer::ok("x"));
    for prefix in ["a:*", "a:b:*", "a:b:c:*", "a:b:c:d:*"] {
        shop.get("/x").await;
        shop.invalidate(Selector::tag(prefix)).await;
        assert_eq!(shop.get("/x").await.outcome(), "miss", "{prefix}");
    }
    let error = shop.cache.invalidate(Selector::tag("a:b:c:d:e:*")).await.unwrap_err().to_string();
    assert!(error.contains("first four"), "{error}");
}

//! VARY: which request fields select a response (O-09, O-10).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, head, plain, value};
use http::Request;
use larder::{Policy, assert_hit, assert_miss, assert_revalidated, assert_stale};

fn policies() -> [Policy; 3] {
    [
        Policy::fresh_for(MINUTE),
        Policy::rfc9111(),
        Policy::fresh_for(MINUTE).stale_if_error(HOUR).stale_while_revalidate(HOUR),
    ]
}

#[tokio::test]
async fn o_09_star_in_every_spelling_is_never_reused() {
    for lines in [
        &["*"][..],
        &[" * "],
        &["*, Accept"],
        &["Accept, *,"],
        &["Accept,*"],
        &["Accept", "*"],
        &["*", "Accept"],
        &["*,*"],
        &["**"],
        &["\"*\""],
        &["'*'"],
        &[",\t*"],
        &["", "*"],
        &["Accept; *"],
        &["a b", "*"],
        &["*\u{e9}"],
    ] {
        for policy in policies() {
            let inner = Inner::by(move |call| {
                let reply = Reply::ok(call.number.to_string()).cc("public, max-age=60").with("etag", "\"e\"");
                lines.iter().fold(reply, |reply, line| reply.with("vary", line))
            });
            let app = App::new(policy, inner);
            for calls in 1..=3 {
                assert_eq!(app.get("/x").await.text(), calls.to_string(), "{lines:?}");
            }
            assert!(!app.cache.contains("/x"));
            assert_eq!(app.not_stored("vary-star") + app.not_stored("vary-malformed"), 3);
        }
    }
}

#[tokio::test]
async fn o_09_hostile_vary_is_not_stored() {
    let names = (0..300).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(", ");
    let long = "x".repeat(8192);
    let lines: Vec<_> = (0..100).map(|n| format!("x-{n}")).collect();
    let split: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (lines, reason) in [
        (vec![names.as_str()], "vary-too-large"),
        (vec![&long], "vary-too-large"),
        (split, "vary-too-large"),
        (vec!["a b"], "vary-malformed"),
        (vec!["caf\u{e9}"], "vary-malformed"),
        (vec!["Accept", "a b"], "vary-malformed"),
        (vec!["Accept;q=1"], "vary-malformed"),
        (vec!["Accept: x"], "vary-malformed"),
        (vec!["(Accept)"], "vary-malformed"),
        (vec!["Accept/Language"], "vary-malformed"),
        (vec!["\"Accept\""], "vary-malformed"),
        (vec!["Accept Accept-Language"], "vary-malformed"),
    ] {
        let owned: Vec<_> = lines.iter().map(|line| (*line).to_owned()).collect();
        let inner = Inner::by(move |_| {
            owned.iter().fold(Reply::ok("x").cc("max-age=60"), |reply, line| reply.with("vary", line))
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        app.get("/x").await;
        app.get("/x").await;
        assert_eq!((app.calls(), app.not_stored(reason)), (2, 2), "{reason}");
    }
    // Empty ones nominate nothing.
    for lines in [&[""][..], &[" , ,"], &["", ""]] {
        let inner = Inner::by(move |_| lines.iter().fold(Reply::ok("x"), |reply, line| reply.with("vary", line)));
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        app.get("/x").await;
        assert_hit!(app.get("/x").await);
    }
}

/// Answers by language, with this `Vary`.
fn by_language(vary: &'static str) -> Inner {
    Inner::by(move |call| {
        let body = format!("[{}] {}", call.header("accept-language"), call.number);
        Reply::ok(body).cc("max-age=60").with("etag", "\"e\"").with("vary", vary)
    })
}

#[tokio::test]
async fn o_09_all_lines_of_a_nominated_field_count() {
    let values: [&[&str]; 9] =
        [&[], &[""], &["fr"], &["FR"], &["fr", "en"], &["en", "fr"], &["fr,en"], &["fr, en"], &["fr", ""]];
    for vary in ["Accept-Language", "accept-language", " ,ACCEPT-LANGUAGE, ", "Accept-Language, accept-language"] {
        let app = App::new(Policy::fresh_for(MINUTE), by_language(vary));
        let ask = |lines: &[&str]| {
            lines.iter().fold(Request::get("/x"), |request, line| request.header("accept-language", *line))
        };
        let mut bodies = Vec::new();
        for lines in values {
            let got = app.send(ask(lines)).await;
            assert_miss!(got);
            bodies.push(got.body);
        }
        for (lines, body) in values.iter().zip(&bodies) {
            let got = app.send(ask(lines)).await;
            assert_hit!(got);
            assert_eq!(got.body, body);
        }
        // Also to HEAD, in parts, and as a 304.
        for request in [head("/x"), Request::get("/x").header("range", "bytes=0-0")] {
            assert_miss!(app.send(request.header("accept-language", "de")).await);
        }
        assert_miss!(
            app.send(Request::get("/x").header("if-none-match", "\"e\"").header("accept-language", "it")).await
        );
    }
}

#[tokio::test]
async fn o_10_vary_changes_between_responses() {
    let inner = Inner::by(|call| {
        let lang = call.header("accept-language");
        let reply = Reply::ok(lang.clone()).cc("max-age=60");
        if call.number == 1 { reply.with("vary", "Accept-Language") } else { reply }
    });
    let app = App::new(Policy::fresh_for(MINUTE), inner);
    let ask = |lang: &str| Request::get("/x").header("accept-language", lang);
    assert_eq!(app.send(ask("fr")).await.text(), "fr");
    assert_eq!(app.send(ask("en")).await.text(), "en");
    assert_eq!(app.send(ask("fr")).await.text(), "fr");
    assert_eq!(app.send(ask("en")).await.text(), "en");
    assert_eq!(app.send(ask("de")).await.text(), "de");
    app.purge("/x").await;
    assert!(!app.cache.contains("/x"));
    assert_miss!(app.send(ask("fr")).await);
}

/// From few nominated fields to more, and to others: nobody gets what was chosen by less than counts now.
#[tokio::test]
async fn o_10_the_union_of_nominated_fields_counts() {
    let varies = ["", "x-a", "x-b", "x-a, x-b", "x-c", ""];
    for start in 0..varies.len() {
        for next in 0..varies.len() {
            let inner = Inner::by(move |call| {
                let vary = if call.number == 1 { varies[start] } else { varies[next] };
                let body = format!("{}{}{}", call.header("x-a"), call.header("x-b"), call.header("x-c"));
                Reply::ok(body).cc("max-age=60").with("vary", vary)
            });
            let app = App::new(Policy::fresh_for(MINUTE), inner);
            let ask = |n: usize| {
                let bit = |of: usize| ((n >> of) & 1).to_string();
                Request::get("/x").header("x-a", bit(0)).header("x-b", bit(1)).header("x-c", bit(2))
            };
            // The second response is there from the second call on.
            app.send(ask(0)).await;
            let second = app.send(ask(7)).await;
            let known = if second.outcome() == "miss" {
                format!("{},{}", varies[start], varies[next])
            } else {
                varies[start].to_owned()
            };
            for n in 0..8 {
                let got = app.send(ask(n)).await;
                for (at, name) in ["x-a", "x-b", "x-c"].into_iter().enumerate() {
                    let differs = got.text().as_bytes()[at] != b'0' + u8::try_from((n >> at) & 1).unwrap();
                    assert!(!(differs && known.contains(name)), "{known}: asked {n:03b}, got {}", got.text());
                }
            }
        }
    }
}

/// t4: a 304 adds a nominated field.
#[tokio::test]
async fn o_10_a_304_adds_a_nominated_field() {
    let inner = Inner::by(|call| match call.number {
        1 => Reply::ok(call.header("cookie")).cc("max-age=60").with("etag", "\"e\""),
        2 => Reply::status(304, "").with("vary", "Cookie").with("etag", "\"e\""),
        _ => Reply::ok(call.header("cookie")).cc("max-age=60").with("vary", "Cookie").with("etag", "\"f\""),
    });
    let app = App::new(Policy::from_response().ignore_cookies(), inner);
    let ask = |who: &str| Request::get("/x").header("cookie", who);
    app.send(ask("A")).await;
    app.advance(61);
    assert_revalidated!(app.send(ask("A")).await);
    assert_eq!(app.send(ask("A")).await.text(), "A");
    let other = app.send(ask("B")).await;
    assert_miss!(other);
    assert_eq!(other.text(), "B");
    assert_eq!(app.get("/x").await.text(), "");
    for (who, what) in [("A", "A"), ("B", "B")] {
        let got = app.send(ask(who)).await;
        assert_hit!(got);
        assert_eq!(got.text(), what);
    }
    app.purge("/x").await;
    for who in ["A", "B", ""] {
        assert_miss!(app.send(ask(who)).await);
    }
}

/// A HEAD answer may bring `Vary` too.
#[tokio::test]
async fn o_10_a_head_answer_adds_a_nominated_field() {
    let inner = Inner::by(|call| {
        let reply = Reply::ok(if call.method == "HEAD" { String::new() } else { call.header("x-a") });
        let reply = reply.cc("max-age=60").with("etag", "\"e\"");
        if call.number == 1 { reply } else { reply.with("vary", "x-a") }
    });
    let app = App::new(Policy::from_response(), inner);
    app.send(Request::get("/x").header("x-a", "A")).await;
    app.advance(61);
    app.send(head("/x").header("x-a", "A")).await;
    assert_eq!(app.send(Request::get("/x").header("x-a", "B")).await.text(), "B");
    assert_eq!(app.send(Request::get("/x").header("x-a", "A")).await.text(), "A");
}

/// Every variant goes with its resource, those of old dimensions too, by purge and by an unsafe method.
#[tokio::test]
async fn o_10_purge_removes_every_variant() {
    for unsafely in [false, true] {
        let inner = Inner::by(|call| {
            let vary = ["x-a", "x-b", "x-a, x-b", ""][(call.number - 1) % 4];
            Reply::ok(call.number.to_string()).cc("max-age=60").with("vary", vary)
        });
        let app = App::new(Policy::fresh_for(MINUTE), inner);
        let ask =
            |n: usize| Request::get("/x").header("x-a", value((n % 3).to_string())).header("x-b", (n / 3).to_string());
        for n in 0..9 {
            app.send(ask(n)).await;
        }
        let before = app.calls();
        if unsafely {
            app.send(Request::post("/x")).await;
        } else {
            app.purge("/x").await;
        }
        assert!(!app.cache.contains("/x"));
        for n in 0..9 {
            let body: usize = app.send(ask(n)).await.text().parse().unwrap();
            assert!(body > before, "a variant survived");
        }
    }
}

/// Variants per resource are capped, and those left are right.
#[tokio::test]
async fn o_10_variants_are_capped() {
    let app = App::new(Policy::fresh_for(MINUTE).max_variants(4), by_language("Accept-Language"));
    for round in 0..3 {
        for lang in 0..20 {
            let lang = format!("l{lang}");
            let got = app.send(Request::get("/x").header("accept-language", &lang)).await;
            assert!(got.text().starts_with(&format!("[{lang}]")), "{round}");
        }
    }
    assert_eq!(app.stats().resources, 1);
    assert_hit!(app.send(Request::get("/x").header("accept-language", "l19")).await);
}

/// Stale variants are for those whom they were selected for.
#[tokio::test]
async fn o_10_stale_variants_keep_apart() {
    let inner = Inner::by(|call| {
        let lang = call.header("accept-language");
        if call.number <= 2 { Reply::ok(lang).cc("max-age=60").with("vary", "Accept-Language") } else { Reply::down() }
    });
    let app = App::new(Policy::fresh_for(MINUTE).stale_if_error(HOUR), inner);
    let ask = |lang: &str| plain(Request::get("/x").header("accept-language", lang));
    for lang in ["fr", "en"] {
        app.ask(ask(lang)).await.unwrap();
    }
    app.advance(61);
    for lang in ["fr", "en"] {
        let got = app.ask(ask(lang)).await.unwrap();
        assert_stale!(got);
        assert_eq!(got.text(), lang);
    }
    assert!(app.ask(ask("de")).await.is_err() && app.ask(plain(Request::get("/x"))).await.is_err());
}

//! STORE: what must not be kept (O-01 to O-03).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, Script, head, value};
use http::Request;
use larder::{Policy, assert_hit, assert_miss, assert_stale};

fn policies() -> Vec<Policy> {
    vec![
        Policy::from_response(),
        Policy::fresh_for(MINUTE),
        Policy::fresh_for(MINUTE).override_response(),
        Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(MINUTE),
        Policy::from_response().ignore_cookies(),
    ]
}

#[tokio::test]
async fn o_01_set_cookie_is_not_stored() {
    for policy in policies() {
        for cookies in [&["sid=A"][..], &["sid=A", "other=A; Path=/"], &[""], &["\u{e9}=A"]] {
            let cookies: Vec<_> = cookies.iter().map(|cookie| (*cookie).to_owned()).collect();
            let app = App::new(
                policy.clone(),
                Inner::by(move |call| {
                    let reply =
                        Reply::ok(format!("body {}", call.number)).cc("public, max-age=60").with("etag", "\"e\"");
                    let mine = if call.number == 1 { &cookies[..] } else { &[] };
                    mine.iter().fold(reply, |reply, cookie| reply.with("Set-Cookie", cookie))
                }),
            );
            let first = app.get("/p").await;
            assert!(first.has("set-cookie"), "it is for the one who asked");
            assert_eq!(app.not_stored("set-cookie"), 1);
            assert!(!app.cache.contains("/p"));
            let second = app.get("/p").await;
            assert_miss!(second);
            assert!(!second.has("set-cookie") && second.text() == "body 2");
            assert_hit!(app.send(head("/p")).await);
        }
    }
}

/// R4: the inner service is down, and what set a cookie is no copy to fall back on.
#[tokio::test]
async fn o_01_set_cookie_is_no_stale_copy() {
    let policy = Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(HOUR);
    let inner = Inner::by(|call| match call.number {
        1 => Reply::ok("A").cc("public, max-age=60").with("set-cookie", "sid=A"),
        _ => Reply::down(),
    });
    let app = App::new(policy, inner);
    app.get("/p").await;
    for wait in [0, 61] {
        app.advance(wait);
        assert!(app.ask(crate::support::plain(Request::get("/p"))).await.is_err());
        assert!(app.ask(crate::support::plain(head("/p"))).await.is_err());
    }
    assert_eq!(app.calls(), 5);
}

#[tokio::test]
async fn o_01_strip_opt_in_keeps_no_cookie_on_any_path() {
    let policy = Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(MINUTE).strip_set_cookie();
    let inner = Inner::by(|call| match call.number {
        1 => Reply::ok("0123456789")
            .cc("public, max-age=60")
            .with("etag", "\"e\"")
            .with("set-cookie", "sid=A")
            .with("Set-Cookie", "sid=A2"),
        _ => Reply::down(),
    });
    let app = App::new(policy, inner);
    assert_eq!(app.get("/p").await.header("set-cookie"), "sid=A, sid=A2");
    let asked = || {
        [
            Request::get("/p"),
            head("/p"),
            Request::get("/p").header("range", "bytes=1-2"),
            Request::get("/p").header("range", "bytes=0-0,-1"),
            Request::get("/p").header("if-none-match", "\"e\""),
            Request::get("/p").header("range", "bytes=90-"),
        ]
    };
    for (wait, status) in [(0, "hit"), (61, "stale"), (100, "stale")] {
        app.advance(wait);
        for request in asked() {
            let got = app.send(request).await;
            assert_eq!(got.outcome(), status, "{got:?}");
            assert!(!got.shows("sid="), "{got:?}");
        }
    }
}

/// A cookie in the trailers is a cookie of one client too.
#[tokio::test]
async fn o_01_set_cookie_in_trailers() {
    for policy in [Policy::from_response(), Policy::from_response().strip_set_cookie()] {
        let app = App::new(
            policy,
            Inner::by(|call| {
                let body = Script::new().data("body");
                let body = if call.number == 1 { body.trailers(&[("set-cookie", "sid=A")]) } else { body };
                Reply::ok("").cc("public, max-age=60").body(body)
            }),
        );
        assert!(app.get("/p").await.shows("sid=A"));
        assert!(!app.get("/p").await.shows("sid=A"));
        assert!(!app.send(head("/p")).await.shows("sid=A"));
    }
}

/// Whether a response with these `Cache-Control` lines is stored, and by a policy with a default lifetime.
async fn stored(lines: &[&[u8]]) -> (bool, bool) {
    let mut stored = [false; 2];
    for (stored, policy) in stored.iter_mut().zip([Policy::from_response(), Policy::fresh_for(MINUTE)]) {
        let lines: Vec<_> = lines.iter().map(|line| line.to_vec()).collect();
        let app = App::new(
            policy,
            Inner::by(move |_| lines.iter().fold(Reply::ok("x"), |reply, line| reply.with("cache-control", line))),
        );
        let first = app.get("/x").await;
        assert_eq!(first.text(), "x");
        app.get("/x").await;
        *stored = app.calls() == 1;
    }
    (stored[0], stored[1])
}

#[tokio::test]
async fn o_02_prohibitions_are_never_missed() {
    let long = [b"max-age=60, x=\"".as_slice(), &b"y".repeat(64 * 1024), b"\", no-store"].concat();
    let many = [b"max-age=60".as_slice(), &b",x".repeat(32 * 1024), b",no-store"].concat();
    for lines in [
        &[b"no-store".as_slice()][..],
        &[b"max-age=60, NO-STORE"],
        &[b"max-age=60,no-store"],
        &[b"max-age=60 , \tno-store\t"],
        &[b"max-age=60", b"no-store"],
        &[b"no-store", b"public, max-age=60"],
        &[b",, ,no-store,,max-age=60"],
        &[b"no-store, x=\xe9, max-age=60"],
        &[b"x=\xe9, no-store, max-age=60"],
        &[b"\xe9no-store\xe9, max-age=60"],
        &[b"max-age=60", b"\xff, no-store"],
        &[b"no-store=1, max-age=60"],
        &[b"no-store=\"x\", max-age=60"],
        &[b"max-age=60, no-store=\xe9"],
        &[b"max-age=60; no-store"],
        &[b"max-age=60 no-store"],
        &[b"private, max-age=60"],
        &[b"Private=\"set-cookie\", max-age=60"],
        &[b"private=set-cookie, max-age=60"],
        &[b"ext=\"unterminated, private", b"max-age=60"],
        &[b"max-age=60, ext=\"unterminated, no-store"],
        &[b"max-age=60, ext=\"a\\\", no-store"],
        &[b"max-age=60, ext='a, no-store, b'"],
        &[b"ext=\"a\"b, no-store, max-age=60"],
        &[b"=, no-store, max-age=60"],
        &[&long],
        &[&many],
    ] {
        let shown: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(&line[..line.len().min(60)])).collect();
        assert_eq!(stored(lines).await, (false, false), "{shown:?}");
    }
}

#[tokio::test]
async fn o_02_what_only_looks_like_a_prohibition_forbids_nothing() {
    for lines in [
        &[b"max-age=60, ext=\"a, no-store, b\"".as_slice()][..],
        &[b"x-no-store-hint, not-private, max-age=60"],
        &[b"no-store-please, max-age=60"],
        &[b"max-age=60, xno-store, no-storex, private-ish, no_store, nostore"],
        &[b"max-age=60, ext=no-store"],
        &[b"max-age=60, ext=\"\\\"no-store, private\""],
        &[b"MAX-AGE=60"],
        &[b"max-age=\"60\""],
        &[b"public", b"s-maxage=60"],
        &[b"max-age=060"],
        &[b",,max-age=60,,"],
    ] {
        assert_eq!(stored(lines).await, (true, true), "{:?}", lines.iter().map(|line| String::from_utf8_lossy(line)));
    }
}

#[tokio::test]
async fn o_02_lifetimes_that_cannot_be_read_store_nothing() {
    for line in [
        "max-age=-1",
        "max-age=60.5",
        "max-age=",
        "max-age",
        "max-age=\"\"",
        "max-age=6 0",
        "max-age=+60",
        "max-age=60s",
    ] {
        assert_eq!(stored(&[line.as_bytes()]).await, (false, false), "{line}");
    }
    assert_eq!(stored(&[b"max-age=\xd9\xa1"]).await, (false, false), "digits of another script");
    assert_eq!(stored(&[b"max-age=0"]).await, (false, false));
}

/// Overflow is clamped and never wraps, and of duplicates the smaller counts.
#[tokio::test]
async fn o_02_lifetimes_are_clamped_and_the_smaller_counts() {
    for (line, fresh, stale) in [
        ("max-age=99999999999999999999", 1 << 30, 1 << 31),
        ("max-age=4294967296", 1 << 30, 1 << 31),
        ("max-age=18446744073709551616", 1 << 30, 1 << 31),
        ("max-age=2147483648", 1 << 30, 1 << 31),
        ("max-age=60, max-age=600", 59, 60),
        ("max-age=600, max-age=60", 59, 60),
        ("s-maxage=600, max-age=9, s-maxage=60", 59, 60),
    ] {
        let app = App::new(Policy::from_response(), Inner::by(move |_| Reply::ok("x").cc(line)));
        app.get("/x").await;
        app.advance(fresh);
        assert_hit!(app.get("/x").await);
        app.advance(stale - fresh);
        assert_miss!(app.get("/x").await);
    }
    let app = App::new(
        Policy::from_response(),
        Inner::by(|_| Reply::ok("x").cc("max-age=600").cc("max-age=60").with("age", "99999999999999999999")),
    );
    app.get("/x").await;
    assert_miss!(app.get("/x").await);
}

#[tokio::test]
async fn o_03_authorization_without_leave_is_not_shared() {
    let plain = |path: &str| Request::get(path.to_owned());
    let with = |name: &str, who: &str| Request::get("/me").header(name, value(who));
    for policy in [
        Policy::from_response(),
        Policy::fresh_for(MINUTE).override_response(),
        Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(HOUR),
        Policy::from_response().credential_headers(["X-Api-Key"]),
        Policy::rfc9111(),
    ] {
        let listed = format!("{policy:?}").is_empty();
        assert!(!listed);
        for name in ["authorization", "Proxy-Authorization", "AUTHORIZATION"] {
            for line in ["max-age=600", "max-age=600, proxy-revalidate", "max-age=600, immutable"] {
                let app = App::new(
                    policy.clone(),
                    Inner::by(move |call| {
                        let who = call.header(&name.to_ascii_lowercase());
                        // Not the response's own field decides.
                        Reply::ok(format!("for [{who}]")).cc(line).with("authorization", "echo").with("etag", "\"e\"")
                    }),
                );
                assert_eq!(app.send(with(name, "A")).await.text(), "for [A]");
                assert_eq!(app.not_stored("credentials"), 1, "{name}");
                assert!(!app.cache.contains("/me"));
                assert_eq!(app.send(with(name, "B")).await.text(), "for [B]");
                assert_eq!(app.send(head("/me")).await.outcome(), "miss");
                let anonymous = app.send(plain("/me")).await;
                assert_miss!(anonymous);
                assert_eq!(anonymous.text(), "for []");
                app.advance(3600);
                assert_ne!(app.send(plain("/me")).await.text(), "for [A]");
                // Also an empty credential is one.
                assert_ne!(app.send(with(name, "")).await.text(), "for [A]");
            }
        }
    }
}

/// What was stored for the anonymous is not for those with credentials, unless it says so; the verdict looks at the
/// request. What they get does not displace it either.
#[tokio::test]
async fn o_03_the_anonymous_copy_is_not_for_credentials() {
    let app = App::new(
        Policy::from_response().stale_if_error(HOUR).credential_headers(["x-api-key"]),
        Inner::by(|call| {
            let who = call.header("authorization") + &call.header("x-api-key");
            Reply::ok(format!("for [{who}]")).cc("max-age=60").with("etag", "\"e\"")
        }),
    );
    app.get("/me").await;
    for wait in [0, 61] {
        app.advance(wait);
        for name in ["authorization", "x-api-key", "proxy-authorization"] {
            let got = app.send(Request::get("/me").header(name, "B").header("if-none-match", "\"e\"")).await;
            assert_eq!((got.outcome(), got.status.as_u16()), ("miss", 200));
            assert_eq!(
                app.send(Request::get("/me").header(name, "B").header("range", "bytes=0-0")).await.outcome(),
                "miss"
            );
            assert_eq!(app.send(head("/me").header(name, "B")).await.outcome(), "miss");
        }
        if wait == 0 {
            assert_hit!(app.get("/me").await);
        }
    }
    assert!(app.cache.contains("/me"));
}

/// What all share stays, whatever one user is answered: refused, personal, or gone for them.
#[tokio::test]
async fn o_03_what_one_user_gets_ends_nothing() {
    let answers: [fn() -> Reply; 9] = [
        || Reply::ok("mine").cc("private"),
        || Reply::ok("mine").cc("no-store"),
        || Reply::ok("mine").cc("max-age=60").with("set-cookie", "sid=B"),
        || Reply::ok("mine").cc("max-age=60"),
        || Reply::status(404, "none of yours"),
        || Reply::status(401, "who").cc("no-store"),
        || Reply::ok("mine").cc("max-age=60").with("vary", "*"),
        || Reply::status(304, "").cc("private").with("etag", "\"e\""),
        || Reply::status(304, "").cc("no-store").with("etag", "\"e\""),
    ];
    for said in ["max-age=60", "max-age=60, public"] {
        for policy in [Policy::from_response(), Policy::rfc9111()] {
            for answer in answers {
                let inner = Inner::by(move |call| match call.number {
                    1 => Reply::ok("for all").cc(said).with("etag", "\"e\""),
                    2 => answer(),
                    _ => Reply::down(),
                });
                let app = App::new(policy.clone().stale_if_error(HOUR), inner);
                app.get("/x").await;
                app.advance(61);
                app.send(Request::get("/x").header("authorization", "B")).await;
                assert_eq!(app.calls(), 2);
                app.advance(31);
                assert_eq!(app.get("/x").await.text(), "for all", "{said}");
            }
        }
    }
}

/// What they are answered and is for all ends it, as it would without credentials.
#[tokio::test]
async fn o_03_what_is_for_all_ends_what_all_share() {
    let answers: [fn() -> Reply; 3] = [
        || Reply::ok("no more").cc("public, no-store"),
        || Reply::ok("of all kinds").cc("public, max-age=60").with("vary", "*"),
        || Reply::status(304, "").cc("public, no-store").with("etag", "\"e\""),
    ];
    for answer in answers {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("for all").cc("public, max-age=60").with("etag", "\"e\""),
            _ => answer(),
        });
        let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        app.send(Request::get("/x").header("authorization", "B")).await;
        assert!(!app.cache.contains("/x"));
    }
}

/// Nor does what they are told by HEAD, unless it is for all.
#[tokio::test]
async fn o_03_what_one_user_is_told_by_head_ends_nothing() {
    for (says, ends) in [("max-age=60", false), ("private", false), ("max-age=60, public", true)] {
        let inner = Inner::by(move |call| match call.number {
            1 => Reply::ok("for all").cc("public, max-age=60").with("etag", "\"e\""),
            2 => Reply::ok("").cc(says).with("etag", "\"mine\""),
            _ => Reply::down(),
        });
        let app = App::new(Policy::from_response().stale_if_error(HOUR), inner);
        app.get("/x").await;
        app.advance(61);
        app.send(head("/x").header("authorization", "B")).await;
        assert_eq!((app.calls(), app.cache.contains("/x")), (2, !ends), "{says}");
    }
}

#[tokio::test]
async fn o_03_explicit_leave_shares() {
    for line in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate", "PUBLIC, max-age=60"] {
        let app = App::new(Policy::from_response(), Inner::by(move |_| Reply::ok("all").cc(line)));
        app.send(Request::get("/x").header("authorization", "A")).await;
        assert_hit!(app.send(Request::get("/x").header("authorization", "B")).await);
        assert_hit!(app.get("/x").await);
    }
    // A directive that only looks like leave is none.
    for line in ["max-age=60, publicly", "max-age=60, ext=\"public\"", "max-age=60, s-maxage=x", "max-age=60, x=public"]
    {
        let app = App::new(Policy::from_response(), Inner::by(move |_| Reply::ok("one").cc(line)));
        app.send(Request::get("/x").header("authorization", "A")).await;
        assert_miss!(app.get("/x").await);
    }
}

/// The stale copy of a shared answer is still not for one who may not have it.
#[tokio::test]
async fn o_03_stale_copies_keep_to_it() {
    let inner =
        Inner::by(|call| if call.number == 1 { Reply::ok("anonymous").cc("max-age=60") } else { Reply::down() });
    let app = App::new(Policy::from_response().stale_if_error(HOUR).stale_while_revalidate(HOUR), inner);
    app.get("/me").await;
    app.advance(61);
    let request = crate::support::plain(Request::get("/me").header("authorization", "B"));
    assert!(app.ask(request).await.is_err());
    assert_stale!(app.get("/me").await);
}

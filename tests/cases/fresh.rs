//! FRESH: stale responses and prohibitions (O-26).

use crate::support::{App, HOUR, Inner, MINUTE, Reply, head, plain};
use http::Request;
use larder::{Policy, RequestDirectives, assert_stale};
use std::time::Duration;

const PROHIBITIONS: [&str; 8] = [
    "max-age=60, must-revalidate",
    "max-age=60, proxy-revalidate",
    "s-maxage=60",
    "max-age=60, no-cache",
    "max-age=60, no-cache=\"x\"",
    "max-age=60, MUST-REVALIDATE",
    "max-age=60, s-maxage=60, stale-while-revalidate=9999, stale-if-error=9999",
    "max-age=60, must-revalidate, stale-if-error=9999, stale-while-revalidate=9999",
];

/// Policies that go as far as they can to serve what is stale.
fn lenient() -> Vec<Policy> {
    let ways = |policy: Policy| policy.stale_if_error(HOUR).stale_while_revalidate(HOUR);
    vec![
        ways(Policy::fresh_for(MINUTE)),
        ways(Policy::fresh_for(MINUTE).request_directives(RequestDirectives::Honor)),
        ways(Policy::rfc9111()),
        ways(Policy::rfc9111()).keep(24 * HOUR),
        ways(Policy::fresh_for(MINUTE).override_response().request_directives(RequestDirectives::Honor)),
    ]
}

/// Answers once, then the service is down in one way or another.
fn then(status: u16, directives: &'static str, validator: bool) -> Inner {
    Inner::by(move |call| match call.number {
        1 => {
            let reply = Reply::ok("old").cc(directives);
            if validator { reply.with("etag", "\"e\"") } else { reply }
        }
        _ if status == 0 => Reply::down(),
        _ => Reply::status(status, "trouble"),
    })
}

#[tokio::test]
async fn o_26_max_stale_never_overrides_prohibitions() {
    let asked = [
        "",
        "max-stale",
        "max-stale=1",
        "max-stale=99999",
        "max-stale=99999999999999999999",
        "max-stale=\"99999\"",
        "MAX-STALE, max-age=99999",
        "max-stale, only-if-cached",
        "stale-if-error=99999",
        "max-stale, stale-if-error=99999",
        "max-stale, min-fresh=0",
    ];
    for policy in lenient() {
        for directives in PROHIBITIONS {
            for status in [0, 500, 503] {
                let app = App::new(policy.clone(), then(status, directives, true));
                app.get("/x").await;
                for wait in [61, 31] {
                    app.advance(wait);
                    for asking in asked {
                        for request in [Request::get("/x"), head("/x"), Request::get("/x").header("range", "bytes=0-0")]
                        {
                            let got = app.ask(plain(request.header("cache-control", asking))).await;
                            if let Ok(got) = got {
                                assert!(!got.shows("old"), "{directives} / {asking}: {got:?}");
                                let status = got.status.as_u16();
                                assert!(status >= 500, "{directives} / {asking}: {status}");
                            }
                        }
                        let conditional =
                            Request::get("/x").header("if-none-match", "\"e\"").header("cache-control", asking);
                        if let Ok(got) = app.ask(plain(conditional)).await {
                            assert_ne!(got.status.as_u16(), 304, "{directives} / {asking}");
                        }
                    }
                }
            }
        }
    }
}

/// Without prohibitions: what is staler than N is not served to `max-stale=N`, also not for want of better.
#[tokio::test]
async fn o_26_max_stale_is_a_limit() {
    for (policy, knows_windows) in [
        (Policy::rfc9111(), false),
        (Policy::rfc9111().stale_if_error(HOUR), true),
        (Policy::rfc9111().stale_while_revalidate(HOUR), true),
        (Policy::rfc9111().stale_if_error(HOUR).stale_while_revalidate(HOUR), true),
        (Policy::fresh_for(MINUTE).stale_if_error(HOUR).request_directives(RequestDirectives::Honor), true),
    ] {
        for status in [0, 503] {
            for (staleness, asking, served) in [
                (0, "max-stale=0", true),
                (1, "max-stale=0", false),
                (10, "max-stale=10", true),
                (11, "max-stale=10", false),
                (10, "max-stale=1", false),
                (100, "max-stale=99999, max-stale=5", false),
                (100, "max-stale, max-stale=5", false),
                (100, "max-stale=5, max-age=99999", false),
                (100, "max-stale=100", true),
                (3000, "max-stale", true),
            ] {
                let app = App::new(policy.clone(), then(status, "max-age=60", true));
                app.get("/x").await;
                app.advance(60 + staleness);
                // Twice: the second request finds the service to be left alone for a while.
                for round in 0..2 {
                    let got = app.ask(plain(Request::get("/x").header("cache-control", asking))).await;
                    let shown = got.is_ok_and(|got| got.shows("old"));
                    assert_eq!(shown, served, "{asking} at {staleness} s, {knows_windows}, {status}, round {round}");
                }
            }
        }
    }
}

/// By default what requests say of freshness does nothing, neither to serve more nor less.
#[tokio::test]
async fn o_26_by_default_requests_change_nothing() {
    for asking in
        ["no-cache", "no-store", "max-age=0", "min-fresh=999", "max-stale", "only-if-cached", "\u{e9}, no-cache"]
    {
        let app = App::new(Policy::fresh_for(MINUTE), Inner::by(|call| Reply::ok(call.number.to_string())));
        let ask =
            || Request::get("/x").header("cache-control", crate::support::value(asking)).header("pragma", "no-cache");
        assert_eq!(app.send(ask()).await.text(), "1", "{asking}");
        assert_eq!(app.send(ask()).await.outcome(), "hit", "{asking}");
        app.advance(60);
        assert_eq!(app.send(ask()).await.text(), "2", "{asking}");
    }
}

/// The windows end when they say, to the second, in favour of the one that the response states.
#[tokio::test]
async fn o_26_windows_end_to_the_second() {
    let secs = Duration::from_secs;
    for (policy, directives, until) in [
        (Policy::from_response().stale_if_error(secs(10)), "max-age=60", 70),
        (Policy::from_response().stale_if_error(secs(10)), "max-age=60, stale-if-error=20", 80),
        (Policy::from_response().stale_if_error(secs(10)), "max-age=60, stale-if-error=0", 60),
        (Policy::from_response().stale_while_revalidate(secs(10)), "max-age=60", 70),
        (Policy::from_response(), "max-age=60, stale-while-revalidate=5", 65),
        (Policy::from_response(), "max-age=60, stale-if-error=5", 65),
        (Policy::from_response(), "max-age=60", 60),
        (Policy::fresh_for(MINUTE).override_response().stale_if_error(secs(10)), "max-age=600, stale-if-error=99", 70),
    ] {
        for (at, served) in [(until - 1, true), (until, false)] {
            let app = App::new(policy.clone(), then(0, directives, false));
            app.get("/x").await;
            app.advance(at);
            let got = app.ask(plain(Request::get("/x"))).await;
            crate::support::settle().await;
            assert_eq!(got.is_ok(), served, "{directives} at {at}");
        }
    }
}

/// `Age` on what is stale is right.
#[tokio::test]
async fn o_26_stale_responses_tell_their_age() {
    let inner =
        Inner::by(
            |call| if call.number == 1 { Reply::ok("old").cc("max-age=60").with("age", "7") } else { Reply::down() },
        );
    let app = App::new(Policy::from_response().stale_if_error(24 * HOUR), inner);
    app.get("/x").await;
    for (wait, age) in [(60, "67"), (3600, "3667"), (3600, "7267")] {
        app.advance(wait);
        let got = app.get("/x").await;
        assert_stale!(got);
        assert_eq!(got.header("age"), age);
    }
}

//! `larder test`.

use crate::mock::{Answer, Mock, TOKEN};
use serde_json::json;

fn says(status: &'static str) -> Answer {
    Answer::of(200, "text/plain", "page").with("cache-status", status)
}

#[test]
fn hits_and_misses_are_told_apart() {
    let mock = Mock::playing(|asked, before| {
        (asked.path == "/x").then(|| says(if before == 0 { "larder; fwd=miss; stored" } else { "larder; hit" }))
    });
    let said = mock.larder(&["test", "--path", "/x?y=1", "--requests", "5", "--header", "Cookie: a=b"]).done();
    assert!(said.starts_with(&format!("GET http://{}/x?y=1: 200 × 5\n", mock.address())), "{said}");
    assert!(said.lines().any(|line| line.starts_with("  hit          4  ")), "{said}");
    assert!(said.lines().any(|line| line.starts_with("  miss         1  ")), "{said}");
    let asked = mock.asked();
    assert_eq!(asked.len(), 5);
    // The token is for the admin API.
    assert!(asked.iter().all(|asked| asked.field("authorization").is_empty() && asked.field("cookie") == "a=b"));
}

#[test]
fn misses_are_made_where_they_are_wanted() {
    let mock = Mock::playing(|asked, _| (asked.path == "/app/x").then(|| says("larder; hit")));
    let base = format!("http://{}/app", mock.address());
    let said =
        mock.larder(&["test", "--base", &base, "--path", "/x", "--misses", "2", "--requests", "3", "--json"]).json();
    assert_eq!((&said["outcomes"]["hit"]["count"], &said["ever_hit"]), (&json!(5), &json!(true)));
    assert!(said["outcomes"]["hit"]["p95_seconds"].as_f64().unwrap() > 0.0);
    let posted = mock.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!(posted[0].1["selector"], json!({ "resource": "/app/x" }));
    assert!(
        mock.asked()
            .iter()
            .filter(|asked| asked.path == "/app/x")
            .all(|asked| !asked.fields.values().any(|value| value.contains(TOKEN)))
    );
}

#[test]
fn what_is_never_a_hit_is_told() {
    for (status, says_so) in [
        (
            Some("larder; fwd=bypass; detail=cookie"),
            "never a hit: `Cache-Status: larder; fwd=bypass; detail=cookie`; `larder explain",
        ),
        (
            None,
            "never a hit: the answers have no Cache-Status, no X-Cache and no Age; is there a CacheLayer around this route?",
        ),
    ] {
        let mock = Mock::playing(move |_, _| {
            let page = Answer::of(200, "text/plain", "page");
            Some(match status {
                Some(status) => page.with("cache-status", status),
                None => page,
            })
        });
        mock.larder(&["test", "--requests", "3"]).refused(1, says_so);
        let said = mock.larder(&["test", "--requests", "3", "--json"]);
        assert_eq!((said.code, &said.json()["ever_hit"]), (1, &json!(false)));
    }
}

#[test]
fn redirects_are_not_measured() {
    let mock = Mock::playing(|_, _| Some(Answer::of(302, "text/plain", "").with("location", "/login")));
    mock.larder(&["test"]).refused(1, "to /login: measure that one");
}

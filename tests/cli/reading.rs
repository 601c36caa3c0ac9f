//! The commands that only look.

use crate::{
    mock::{Answer, Mock, TOKEN},
    samples,
};
use serde_json::Value;

/// Each command that answers with one answer of the API, what it asks for, and what its output tells.
const LOOKING: &[(&[&str], &str, &[&str])] = &[
    (
        &["status"],
        "api/status",
        &[
            "larder 0.1.0, up 20 min 35 s, access: full",
            "cache default  healthy  (namespace shop, version 2026-11)",
            "120.6 KiB of 64.0 MiB (0.2 %), 321 resources, 4 evicted",
            "up, 10 hits, 3 misses, 9 writes, 0 dropped, 976.6 KiB, p50 100 µs",
            "failures: timeout 1",
            "shared, read 4 ms ago, 7 read, 2 sent, 0 waiting, 1 gap",
            "gold_rate",
            "dashboard, dropdown",
        ],
    ),
    (&["health"], "health", &["healthy: Cache is working properly"]),
    (
        &["metrics"],
        "api/metrics",
        &[
            "1 MIN",
            "  hits                    915",
            "hit ratio            90.4 %",
            "lookup hit ratio     91.5 %",
            "invalidations             2",
            "LOOKUP HIT RATIO",
            "915          5      80            91.5 %",
            "891.0 KiB",
            "1.1 µs",
            "80 ms",
            "bypassed: cookie 12",
            "missed: ≥ 99.0 %",
            "met",
            "TENANT",
            "/cart",
        ],
    ),
    (
        &["list-policies"],
        "api/policies",
        &["dashboard  (response)  /dashboard", "fresh_for", "10 min", "no scope is named"],
    ),
    (
        &["list-dependencies"],
        "api/dependencies",
        &["name People    tag dashboard", "tag dashboard  policy dashboard  tags"],
    ),
    (
        &["advice"],
        "api/advice",
        &["never-cacheable  policy cart, /cart", "33 responses", "→ Policy::strip_set_cookie()"],
    ),
    (&["audit"], "api/audit?limit=100", &["2026-11-21 16:53:20Z  token  invalidate", "tag dashboard, tenant 1", "12"]),
    (&["entry", "4f2a"], "api/entry?id=4f2a", &["content-type: text/html", "2026-11-21 16:54:08Z", "accept-language"]),
    (&["keys"], "api/explore?limit=100", &["1.2 KiB", "12 s", "48 s", "33", "dashboard", "days=30"]),
    (
        &[
            "explain",
            "/x?y=1",
            "--tenant",
            "1",
            "--header",
            "Accept: text/html",
            "--header",
            "a:b",
            "--policy",
            "p",
            "--user",
            "7",
        ],
        "api/explain?method=GET&uri=/x%3Fy%3D1&header=accept%3A%20text/html&header=a%3A%20b&policy=p&tenant=1&user=7",
        &["policy dashboard: hit\n", "tenant 1", "lifetime 60 s, age 12 s: fresh for 48 s"],
    ),
];

#[test]
fn what_is_asked_and_shown() {
    let mock = Mock::new();
    for (arguments, asks, shows) in LOOKING {
        let shown = mock.larder(arguments).done();
        assert_eq!(mock.lines(), [format!("GET {asks}")], "{arguments:?}");
        for text in *shows {
            assert!(shown.contains(text), "{arguments:?} should show {text:?}:\n{shown}");
        }
        // Nobody asked for colours.
        assert!(!shown.contains('\x1b'), "{shown}");
    }
}

#[test]
fn scripts_get_the_answer_of_the_api() {
    let mock = Mock::new();
    for (arguments, asks, _) in LOOKING {
        let (path, query) = asks.split_once('?').unwrap_or((asks, ""));
        let said = mock.larder(&[&["--json"], *arguments].concat());
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{arguments:?}");
        if let Some(sample) = samples::of(path, query) {
            assert_eq!(said.json(), serde_json::from_str::<Value>(&sample).unwrap(), "{arguments:?}");
        }
    }
    let said = mock.larder(&["list-categories", "--json"]).json();
    assert_eq!(said["caches"][0]["categories"][1]["name"], "dropdown");
    let said = mock.larder(&["list-patterns", "--json"]).json();
    assert_eq!(said["caches"][0]["patterns"][0]["name"], "/products/*");
}

#[test]
fn a_cache_is_named() {
    let mock = Mock::new();
    mock.larder(&["advice", "--cache", "api"]).done();
    mock.larder(&["--cache", "a b", "list-policies"]).done();
    assert_eq!(mock.lines(), ["GET api/advice?cache=api", "GET api/policies?cache=a%20b"]);
    // Of a status, the cache is chosen here.
    let two = Mock::playing(|_, _| Some(Answer::json(samples::TWO_CACHES)));
    let shown = two.larder(&["status", "--cache", "query"]).done();
    assert!(shown.contains("cache query  degraded") && shown.contains("redis is away") && !shown.contains("cache api"));
    two.larder(&["status", "--cache", "other"]).refused(1, "no cache is named `other`: there is `api`, `query`");
}

#[test]
fn keys_come_in_pages() {
    let mock = Mock::playing(|asked, _| {
        let query = &asked.query;
        let page = match () {
            () if query.contains("cursor=a%2Fb") || query.contains("cursor=a/b") => {
                samples::page(&["3", "4"], 5, Some("c"))
            }
            () if query.contains("cursor=c") => samples::page(&["5"], 5, None),
            () => samples::page(&["1", "2"], 5, Some("a/b")),
        };
        Some(Answer::json(page))
    });
    let all =
        mock.larder(&["keys", "--json", "--limit", "0", "*dash*", "--tag", "t", "--sort", "hits", "--tenant", "1"]);
    let ids: Vec<_> = all.json()["entries"].as_array().unwrap().iter().map(|entry| entry["id"].clone()).collect();
    assert_eq!(ids, ["1", "2", "3", "4", "5"]);
    assert_eq!(all.json()["cursor"], Value::Null);
    let asked = mock.lines();
    assert_eq!(asked[0], "GET api/explore?pattern=%2Adash%2A&tenant=1&tag=t&sort=hits&order=desc&limit=1000");
    assert_eq!(asked[2], "GET api/explore?pattern=%2Adash%2A&tenant=1&tag=t&sort=hits&order=desc&limit=1000&cursor=c");
    // No more than is wanted.
    let some = mock.larder(&["keys", "--limit", "3", "--ids", "--sort", "key"]);
    assert!(some.err.contains("3 of 5 that match, of 1234 in memory: --limit 0 shows all"), "{some:?}");
    assert_eq!(
        mock.lines(),
        ["GET api/explore?sort=key&order=asc&limit=3", "GET api/explore?sort=key&order=asc&limit=1&cursor=a/b"]
    );
    assert_eq!(some.out.lines().map(|line| &line[..1]).collect::<Vec<_>>(), ["I", "1", "2", "3"]);
    // A cursor that leads nowhere ends it.
    let stuck = Mock::playing(|_, _| Some(Answer::json(samples::page(&["1"], 9, Some("same")))));
    let stuck = stuck.larder(&["keys", "--limit", "0", "--json"]);
    assert_eq!(stuck.json()["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn what_moves_between_pages_is_shown_once() {
    let mock = Mock::playing(|asked, _| {
        let next = asked.query.contains("cursor=");
        Some(Answer::json(if next {
            samples::page(&["2", "3"], 3, None)
        } else {
            samples::page(&["1", "2"], 3, Some("c"))
        }))
    });
    let said = mock.larder(&["keys", "--limit", "0", "--sort", "hits", "--ids"]);
    assert_eq!(said.out.lines().map(|line| &line[..1]).collect::<Vec<_>>(), ["I", "1", "2", "3"]);
    assert!(said.err.contains("with --sort age, ttl or key each keeps its place"), "{}", said.err);
}

#[test]
fn a_request_that_may_come_to_several_policies_is_explained_under_each() {
    let mock = Mock::playing(|_, _| Some(Answer::json(samples::EXPLAIN_TWO)));
    let said = mock.larder(&["explain", "/"]);
    assert!(said.out.starts_with("only the router knows which policy this request comes to."), "{}", said.out);
    assert!(said.out.contains("\npolicy lists: miss, uri-miss\n"), "{}", said.out);
    assert!(said.out.contains("\npolicy own: bypass, identity-missing\n"), "{}", said.out);
    said.refused(0, "--tenant and --user give it");
    said.refused(0, "1 policy left out");
}

#[test]
fn what_is_not_known_is_a_dash() {
    let mock = Mock::new();
    let row = |arguments: &[&str], name: &str| {
        let shown = mock.larder(arguments).done();
        let line = shown.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["invalidations", "evictions"] {
        assert_eq!(row(&["metrics", "--tenant", "1"], name), ["-"; 4]);
    }
    assert_eq!(row(&["metrics"], "evictions"), ["1"; 4]);
    assert_eq!(row(&["metrics", "--tenant", "1"], "timeouts"), ["0"; 4]);
}

#[test]
fn one_is_no_plural() {
    let of_one = |sample: &str| sample.replace("\"hits\":10,\"misses\":3", "\"hits\":1,\"misses\":1");
    let mock = Mock::playing(move |asked, _| {
        let status = samples::of("api/status", "")?.replace("\"failures\":0", "\"failures\":1");
        let status =
            of_one(&status).replace("\"fills\":0", "\"fills\":1").replace("\"resources\":321", "\"resources\":1");
        asked.path.ends_with("status").then(|| Answer::json(status))
    });
    let shown = mock.larder(&["status"]).done();
    for text in
        ["1 resource, 4 evicted", "1 fill, 0 in the background, 0 writes", "1 hit, 1 miss, 9 writes", "1 failure"]
    {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert!(!shown.contains("1 failures"), "{shown}");
}

#[test]
fn tables_fit_where_there_is_a_width() {
    let mock = Mock::new();
    let narrow = mock.command(&["keys"]).env("COLUMNS", "60").output().unwrap();
    let narrow = String::from_utf8(narrow.stdout).unwrap();
    assert!(narrow.lines().all(|line| line.chars().count() <= 60) && narrow.contains('…'), "{narrow}");
}

#[test]
fn metrics_of_one_policy_or_tenant_or_for_prometheus() {
    let mock = Mock::new();
    let shown = mock.larder(&["metrics", "--policy", "dashboard"]).done();
    assert!(shown.contains("miss p95") && !shown.contains("POLICY"), "{shown}");
    let only = mock.larder(&["metrics", "--tenant", "1", "--json"]).json();
    assert_eq!(only["caches"][0]["tenants"].as_array().unwrap().len(), 1);
    mock.larder(&["metrics", "--policy", "other"])
        .refused(1, "no policy is named `other` in the metrics: known there: dashboard, gold_rate");
    mock.larder(&["metrics", "--prometheus", "--json"]).refused(2, "cannot be used with");
    mock.lines();
    assert!(mock.larder(&["metrics", "--prometheus"]).done().starts_with("# TYPE http_cache_requests_total"));
    assert_eq!(mock.lines(), ["GET api/metrics?format=prometheus"]);
}

#[test]
fn the_last_days_beside_the_report() {
    let mock = Mock::new();
    let shown = mock.larder(&["report"]).done();
    assert_eq!(mock.lines(), ["GET api/report", "GET api/history?span=24h"]);
    for text in [
        "report of 2026-11-21 16:53:20Z",
        "all is well",
        "bottleneck  x: misses take 2 s",
        "915 hits, 80 misses, 5 collapsed, 12 bypasses; hit ratio 90.4 %, lookup hit ratio 91.5 %",
        "the last day",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    // 90 + 1 + 10 of 111; the sample of three days before does not count.
    assert!(shown.contains("2026-11-21   101          0       9         1     91.0 %    200 ms"), "{shown}");
    let week = mock.larder(&["report", "--days", "7", "--json"]).json();
    assert_eq!(mock.lines()[1], "GET api/history?span=7d");
    assert_eq!(week["history"]["samples"].as_array().unwrap().len(), 3);
    assert_eq!(week["report"]["text"], "all is well");
    mock.larder(&["report", "--days", "30"]).refused(2, "1..=7");
    let none =
        Mock::playing(|asked, _| asked.path.ends_with("report").then(|| Answer::error(404, "there is no report yet")));
    assert!(none.larder(&["report"]).done().contains("no report has been made yet"));
    assert_eq!(none.larder(&["report", "--json"]).json()["report"], Value::Null);
}

#[test]
fn health_needs_no_token_and_can_be_strict() {
    let degraded = Mock::playing(|asked, _| {
        let status = if asked.query == "strict" { 503 } else { 200 };
        let body = r#"{"status":"degraded","message":"redis is away"}"#;
        asked.path.ends_with("health").then(|| Answer::of(status, "application/json", body))
    });
    let run = |arguments: &[&str]| degraded.command(arguments).env_remove("LARDER_TOKEN").output().unwrap();
    assert_eq!(run(&["health"]).status.code(), Some(0));
    let strict = run(&["health", "--strict"]);
    assert_eq!((strict.status.code(), &*strict.stdout), (Some(1), &b"degraded: redis is away\n"[..]));
    assert!(strict.stderr.is_empty());
    let strict = degraded.larder(&["health", "--strict", "--json"]);
    assert_eq!((strict.code, strict.json()["status"].as_str()), (1, Some("degraded")));
    Mock::new().larder(&["health", "--strict"]).done();
}

#[test]
fn what_others_wrote_does_not_reach_the_terminal() {
    let mock = Mock::new();
    assert!(mock.larder(&["entry", "4f2a"]).done().contains("x-odd: a\\u{1b}[2Jb"));
    let odd = Mock::playing(|_, _| Some(Answer::error(400, "no such \u{1b}[31mcache")));
    odd.larder(&["advice"]).refused(1, "no such \\u{1b}[31mcache");
}

#[test]
fn what_is_asked_can_be_shown_without_the_token() {
    let mock = Mock::new();
    let shown = mock.larder(&["-v", "advice"]);
    shown.refused(0, &format!("> GET {}/api/advice, with a token", mock.url()));
    assert!(shown.err.contains("< 200") && !shown.err.contains(TOKEN), "{}", shown.err);
    // A token is a token wherever it stands.
    let echo = Mock::playing(|asked, _| Some(Answer::error(400, asked.field("authorization"))));
    let said = echo.larder(&["advice"]);
    said.refused(1, "Bearer ***");
    assert!(!said.err.contains(TOKEN));
}

#[test]
fn completions_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = crate::run::larder(&["completions", shell]).done();
        assert!(script.contains("list-dependencies"), "{shell}");
    }
    let version = crate::run::larder(&["--version"]).done();
    assert_eq!(version, format!("larder {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(crate::run::larder(&["-V"]).done(), version);
}

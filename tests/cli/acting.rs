//! The commands that change something.

use crate::{
    mock::{Answer, Asked, Mock},
    run::Run,
    samples,
};
use serde_json::{Value, json};
use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
};

#[test]
fn what_is_invalidated() {
    let mock = Mock::new();
    for (arguments, selector) in [
        (&["--tag", "x"][..], json!({ "tag": "x" })),
        (&["--tag", "x", "--tag", "y"], json!({ "tags": ["x", "y"] })),
        (&["--resource", "/p?page=2"], json!({ "resource": "/p?page=2" })),
        (&["--pattern", "/products/*", "--tenant-id", "1"], json!({ "pattern": "/products/*", "tenant": "1" })),
        (&["--policy", "dashboard"], json!({ "policy": "dashboard" })),
        (&["--tenant", "1"], json!({ "tenant": "1" })),
        (&["--user", "7", "--tenant", "1"], json!({ "user": "7", "tenant": "1" })),
        (&["--changed", "People", "--id", "17"], json!({ "changed": "People", "id": "17" })),
        (&["--model", "People"], json!({ "changed": "People" })),
        (&["--all", "--force"], json!({ "everything": true })),
    ] {
        let said = mock.larder(&[&["invalidate", "--cache", "api"], arguments].concat()).done();
        assert_eq!(said, "cache api: invalidated, 12 entries hit\n");
        let body = json!({ "cache": "api", "selector": selector, "soft": false, "preview": false });
        assert_eq!(mock.posted(), [("invalidate".to_owned(), body)], "{arguments:?}");
        mock.lines();
    }
}

#[test]
fn exactly_one_thing_is_invalidated() {
    let mock = Mock::new();
    mock.larder(&["invalidate"]).refused(2, "one of --tag, --resource");
    mock.larder(&["invalidate", "--tag", "x", "--all"]).refused(2, "cannot be used with");
    mock.larder(&["invalidate", "--user", "7"]).refused(2, "--tenant");
    mock.larder(&["invalidate", "--id", "7"]).refused(2, "--changed");
    assert!(mock.asked().is_empty());
}

#[test]
fn every_cache_unless_one_is_named() {
    let two = Mock::playing(|asked, _| asked.path.ends_with("status").then(|| Answer::json(samples::TWO_CACHES)));
    let said = two.larder(&["invalidate", "--changed", "People", "--soft", "--json"]).json();
    assert_eq!(said["caches"][1], json!({ "cache": "query", "invalidated": true, "confirmed": true, "entries": 12 }));
    let posted = two.posted();
    assert_eq!(posted.iter().map(|(_, body)| body["cache"].as_str().unwrap()).collect::<Vec<_>>(), ["api", "query"]);
    assert!(posted.iter().all(|(_, body)| body["soft"] == true));
    two.larder(&["clear", "--force"]).refused(2, "say which to clear, --cache api or --cache query");
}

#[test]
fn a_preview_changes_nothing() {
    let mock = Mock::new();
    let said = mock.larder(&["invalidate", "--all", "--dry-run"]).done();
    assert_eq!(said, "cache default: would invalidate 12 entries (3.4 KiB) in memory, 3 entries (1.0 KiB) in stores\n");
    assert!(mock.posted().iter().all(|(_, body)| body["preview"] == true));
    assert_eq!(mock.larder(&["invalidate", "--tag", "x", "--dry-run", "--json"]).json()["caches"][0]["entries"], 12);
}

#[test]
fn an_invalidation_that_is_not_confirmed_is_told() {
    let mock = Mock::playing(|asked, _| {
        let body = r#"{"invalidated":true,"confirmed":false,"message":"the store cannot be reached"}"#;
        (asked.method == "POST").then(|| Answer::of(202, "application/json", body))
    });
    let said = mock.larder(&["invalidate", "--tag", "x"]);
    said.refused(5, "not confirmed: the store cannot be reached");
    assert_eq!(said.out, "cache default: invalidated, not confirmed\n");
    let said = mock.larder(&["invalidate", "--tag", "x", "--json"]);
    assert_eq!((said.code, &said.json()["caches"][0]["confirmed"]), (5, &Value::Bool(false)));
    assert_eq!(serde_json::from_str::<Value>(&said.err).unwrap()["kind"], "unconfirmed");
    // One that is refused is worse.
    let worse = Mock::playing(|asked, _| match (asked.method.as_str(), asked.body.contains("query")) {
        ("POST", true) => Some(Answer::error(403, "access is read-only")),
        ("POST", false) => Some(Answer::of(202, "application/json", r#"{"invalidated":true,"confirmed":false}"#)),
        _ => Some(Answer::json(samples::TWO_CACHES)),
    });
    let said = worse.larder(&["invalidate", "--tag", "x"]);
    said.refused(4, "larder: cache query: not allowed: access is read-only\nlarder: cache api: invalidated where");
    // Nothing that went wrong is left out.
    let all = Mock::playing(|asked, _| match (asked.method.as_str(), asked.body.contains("query")) {
        ("POST", other) => Some(Answer::error(400, if other { "no good" } else { "no better" })),
        _ => Some(Answer::json(samples::TWO_CACHES)),
    });
    let said = all.larder(&["invalidate", "--tag", "x"]);
    said.refused(1, "larder: cache api: no better\nlarder: cache query: no good\n");
    let said = all.larder(&["invalidate", "--tag", "x", "--json"]);
    assert_eq!(
        serde_json::from_str::<Value>(&said.err).unwrap()["error"],
        "cache api: no better\ncache query: no good"
    );
}

#[test]
fn what_asks_is_refused_without_a_terminal() {
    let mock = Mock::new();
    mock.larder(&["invalidate", "--all"]).refused(1, "--all asks first, and this is no terminal: give --force");
    mock.larder(&["clear"]).refused(1, "clear asks first");
    assert!(mock.posted().is_empty());
    assert_eq!(mock.larder(&["clear", "--force"]).done(), "cache default: cleared, 123 entries dropped\n");
    assert_eq!(mock.posted(), [("clear".to_owned(), json!({ "cache": "default", "confirm": "default" }))]);
    assert_eq!(mock.larder(&["clear", "--force", "--json"]).json(), json!({ "cleared": true, "entries": 123 }));
}

/// Two answers that it is under way, then that it is done.
fn warming(last: &'static str) -> Mock {
    let polls = std::sync::atomic::AtomicUsize::new(0);
    Mock::playing(move |asked: &Asked, _| {
        if asked.method != "GET" || !asked.path.ends_with("manage/warm") {
            return None;
        }
        let number = polls.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let running = json!({ "job": "3", "state": "running", "category": "dashboard", "done": number * 4, "of": 12 });
        Some(Answer::json(if number < 2 { running.to_string() } else { last.to_owned() }))
    })
}

#[test]
fn warming_is_waited_for() {
    let mock = warming(samples::WARMED);
    let said = mock.larder(&["warm", "--category", "dashboard,dropdown", "--tenant", "1", "--force"]).done();
    assert_eq!(said, "cache default: warmed 11, skipped 1, failed 0, of 12\n");
    let posted = &mock.posted()[0].1;
    assert_eq!(
        *posted,
        json!({ "cache": "default", "categories": ["dashboard", "dropdown"], "tenant": "1", "force": true, "dry_run": false })
    );
    let poll = "GET api/manage/warm?cache=default&job=3";
    assert_eq!(mock.lines(), ["GET api/status", "POST api/manage/warm", poll, poll, poll]);
    let said = warming(samples::WARMED).larder(&["warm", "--json"]).json();
    assert_eq!((&said["caches"][0]["warmed"], &said["caches"][0]["cache"]), (&json!(11), &json!("default")));
}

#[test]
fn warming_that_fails_says_what_failed() {
    let failed =
        r#"{"job":"3","state":"done","done":12,"of":12,"warmed":10,"skipped":1,"failed":1,"failures":["GET /x: 500"]}"#;
    let said = warming(failed).larder(&["warm"]);
    said.refused(1, "warming failed: 1 of 12");
    assert!(said.out.contains("GET /x: 500"), "{}", said.out);
}

#[test]
fn warming_in_other_ways() {
    let mock = Mock::new();
    let said = mock.larder(&["warm", "--dry-run", "--categories", "all"]).done();
    assert!(said.starts_with("cache default: would ask 40 times\n"), "{said}");
    let posted = &mock.posted()[0].1;
    assert_eq!((&posted["dry_run"], &posted["categories"]), (&json!(true), &json!(["dashboard", "dropdown"])));
    mock.lines();
    assert_eq!(mock.larder(&["warm", "--no-wait"]).done(), "cache default: warming has begun, as job 3\n");
    assert_eq!(mock.lines(), ["GET api/status", "POST api/manage/warm"]);
    mock.larder(&["warm", "--job", "3"]).done();
    assert_eq!(mock.lines(), ["GET api/manage/warm?job=3"]);
    mock.larder(&["warm", "--category", "forms"])
        .refused(1, "no category is named `forms`: there is dashboard, dropdown");
    // Each cache is tried, and told of.
    let two = samples::TWO_CACHES.replace("\"warmer\":null", "\"warmer\":{\"categories\":[{\"name\":\"rates\"}]}");
    let both = Mock::playing(move |asked, _| match (asked.method.as_str(), asked.body.contains("query")) {
        ("POST", other) => Some(Answer::error(409, if other { "job 3 is running" } else { "job 2 is running" })),
        _ => Some(Answer::json(two.clone())),
    });
    both.larder(&["warm"]).refused(1, "larder: cache api: job 2 is running\nlarder: cache query: job 3 is running\n");
    let busy = Mock::playing(|asked, _| (asked.method == "POST").then(|| Answer::error(409, "job 2 is running")));
    busy.larder(&["warm"]).refused(1, "job 2 is running");
    let two = Mock::playing(|asked, _| asked.path.ends_with("status").then(|| Answer::json(samples::TWO_CACHES)));
    two.larder(&["warm", "--cache", "query"]).refused(1, "no warmer");
    two.larder(&["warm"]).done();
    assert_eq!(two.posted().len(), 1);
}

#[test]
fn who_has_waited_enough_leaves_the_job_alone() {
    let (send, polled) = mpsc::channel();
    let mock = Mock::playing(move |asked, _| {
        let poll = asked.method == "GET" && asked.path.ends_with("manage/warm");
        poll.then(|| {
            let _ = send.send(());
            Answer::json(r#"{"job":"3","state":"running","category":"dashboard","done":1,"of":12}"#)
        })
    });
    let mut child = mock.command(&["warm"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // After the first answer it listens to Ctrl-C.
    polled.recv().unwrap();
    polled.recv().unwrap();
    assert!(
        Command::new("sh")
            .args(["-c", "kill -INT \"$1\"", "kill", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let code = child.wait().unwrap().code().unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    Run { code, out, err }.refused(130, "the application goes on warming: `larder warm --job 3` waits for it");
    assert_eq!(mock.posted().len(), 1);
}

//! Other processes: one that is killed while it writes, one that has the folder, one whose disk is full.
#![cfg(unix)]

use crate::support::{App, MINUTE, Scratch};
use larder::{Cache, Disk, Selector};
use std::{
    env,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A process that runs one of the tests below over a folder.
fn child(test: &str, scratch: &Scratch, before: &str) -> Child {
    let shell = format!("{before} exec \"$0\" \"$@\"");
    Command::new("sh")
        .args(["-c", &shell])
        .arg(env::current_exe().unwrap())
        .args([test, "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, &scratch.0)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it says, line by line.
fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    lines.filter_map(|line| line.split_once("says: ").map(|(_, said)| said.to_owned()))
}

fn say(what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "says: {what}").unwrap();
    out.flush().unwrap();
}

fn folder() -> Disk {
    Disk::open(env::var_os(FOLDER).unwrap()).budget(MINUTE).bytes(64 << 20)
}

#[tokio::test]
#[ignore = "is run by others in a process of its own"]
async fn writes_and_purges_until_it_is_killed() {
    let app = App::of(Cache::builder().disk(folder())).await;
    let writer = app.clone();
    tokio::spawn(async move {
        for number in 0_u64.. {
            writer.get(&format!("/more/{number}"), &noise(number)).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    for number in 0_u64.. {
        for kind in ["tag", "path", "stays"] {
            app.get(&format!("/{kind}{number}/x"), "old").await;
        }
        app.written().await;
        app.cache.invalidate(Selector::tag(format!("tag{number}"))).await.unwrap();
        app.cache.invalidate(Selector::pattern(format!("*/path{number}/*"))).await.unwrap();
        say(&number.to_string());
    }
}

#[tokio::test]
async fn what_was_purged_stays_purged_when_the_process_is_killed() {
    for round in 0..5 {
        let scratch = Scratch::new();
        let mut child = child("child::writes_and_purges_until_it_is_killed", &scratch, "");
        let mut said = lines(&mut child);
        let mut last = said.by_ref().take(3 + 4 * round).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        last = said.last().unwrap_or(last);
        let last: u64 = last.parse().unwrap();
        let app = App::of(Cache::builder().disk(scratch.disk().bytes(64 << 20))).await;
        let mut kept = 0;
        for number in 0..=last {
            for kind in ["tag", "path"] {
                assert_eq!(app.get(&format!("/{kind}{number}/x"), "new").await, "new", "{kind}{number}");
            }
            kept += u64::from(app.get(&format!("/stays{number}/x"), "new").await == "old");
        }
        assert!(kept > last / 2, "{kept} of {last}: {:?}", app.cache.stats());
    }
}

#[tokio::test]
#[ignore = "is run by others in a process of its own"]
async fn has_the_folder() {
    let disk = folder();
    let _store = disk.store().unwrap();
    match disk.ready(MINUTE).await {
        Ok(()) => say("open"),
        Err(error) => say(&error.to_string()),
    }
    tokio::time::sleep(MINUTE).await;
}

#[tokio::test]
async fn two_processes_cannot_use_one_folder() {
    let scratch = Scratch::new();
    let mut first = child("child::has_the_folder", &scratch, "");
    assert_eq!(lines(&mut first).next().unwrap(), "open");
    let mut second = child("child::has_the_folder", &scratch, "");
    let expected = format!("Disk::open({:?}): another process uses this folder: each needs its own", scratch.0);
    assert_eq!(lines(&mut second).next().unwrap(), expected);
    // A cache works without it, and takes it over when it can.
    let cache = Cache::builder().disk(scratch.disk()).build().unwrap();
    assert!(!cache.ready(Duration::from_millis(1500)).await);
    let app = App { cache: cache.clone(), calls: std::sync::Arc::default() };
    assert_eq!((app.get("/a/1", "old").await, app.get("/a/1", "new").await), ("old".into(), "old".into()));
    app.written().await;
    assert!(cache.stats().stores["disk"].reasons["locked"] > 0, "{:?}", cache.stats());
    assert!(cache.invalidate(Selector::tag("b")).await.unwrap_err().is_unconfirmed());
    for mut child in [second, first] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(cache.ready(MINUTE).await);
}

#[tokio::test]
#[ignore = "is run by others in a process of its own"]
async fn fills_the_disk() {
    let app = App::of(Cache::builder().disk(folder())).await;
    app.get("/a/1", "old").await;
    app.written().await;
    // No file may grow beyond 1 MiB.
    for number in 0..400 {
        app.get(&format!("/more/{number}"), &noise(number)).await;
        app.written().await;
    }
    let failed = app.cache.stats().stores["disk"].reasons.get("io").copied().unwrap_or(0);
    assert!(failed > 0, "{:?}", app.cache.stats());
    let long = "x".repeat(200);
    let mut refused = 0;
    for number in 0..500 {
        let result = app.cache.invalidate(Selector::tag(format!("{long}{number}"))).await;
        refused += u64::from(result.is_err_and(|error| error.is_unconfirmed()));
        if refused == 3 {
            break;
        }
    }
    assert_eq!(refused, 3);
    // What is there can be read.
    app.cache.clear();
    assert_eq!(app.get("/a/1", "new").await, "old");
    let _ = app.cache.invalidate(Selector::tag("a")).await;
    assert_eq!(app.get("/a/1", "new").await, "new", "invalidated here, whatever the disk does");
    say("done");
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_no_panic() {
    let scratch = Scratch::new();
    // In blocks of 512 bytes.
    let mut child = child("child::fills_the_disk", &scratch, "trap '' XFSZ; ulimit -f 2048;");
    assert_eq!(lines(&mut child).last().as_deref(), Some("done"));
    assert!(child.wait().unwrap().success());
    // And what was written before is sound.
    let app = App::new(&scratch).await;
    assert!(app.cache.stats().log.unwrap().read > 10);
}

/// A text that cannot be compressed much.
fn noise(mut number: u64) -> String {
    let next = |_| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((number >> 33) % 90).unwrap())
    };
    (0..10_000).map(next).collect()
}

const FOLDER: &str = "LARDER_TEST_FOLDER";

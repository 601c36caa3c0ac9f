//! What is damaged, lost, of another version, or of somebody else.

use crate::support::{App, Scratch, closed, get, put};
use larder::{Selector, StoreError};
use std::{
    fs,
    path::{Path, PathBuf},
};

const LOG: &str = "larder-log.sqlite";
const VALUES: &str = "larder-values.sqlite";

/// A folder in which `/a/1` was purged and `/b/1` was not; left as at the end of a process, or as by one that was
/// killed.
async fn folder(killed: bool) -> Scratch {
    let scratch = Scratch::new();
    let app = App::new(&scratch).await;
    app.get("/a/1", "old").await;
    app.get("/b/1", "old").await;
    app.written().await;
    app.cache.invalidate(Selector::tag("a")).await.unwrap();
    if killed {
        return scratch.copied();
    }
    drop(app);
    closed(&scratch).await;
    scratch
}

/// What is purged stays so; what is not may be lost.
async fn check(scratch: &Scratch, what: &str) {
    let app = App::new(scratch).await;
    assert_eq!(app.get("/a/1", "new").await, "new", "{what}");
    let other = app.get("/b/1", "new").await;
    assert!(["old", "new"].contains(&&*other), "{what}");
    // It goes on, whatever there was.
    app.written().await;
    app.cache.invalidate(Selector::tag("c")).await.unwrap();
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Each file in turn is changed in each of these ways.
async fn each(killed: bool, changes: impl Fn(&Path) -> Vec<Change>) {
    let sound = folder(killed).await;
    for path in sound.files("") {
        for (what, by) in changes(&path) {
            let copy = sound.copied();
            let name = path.file_name().unwrap();
            change(&copy.0.join(name), by);
            check(&copy, &format!("{name:?} {what}")).await;
        }
    }
    // Sound, it is warm.
    assert_eq!(App::new(&sound).await.get("/b/1", "new").await, "old");
}

type Change = (String, Box<dyn FnOnce(&mut Vec<u8>)>);

fn flips(path: &Path) -> Vec<Change> {
    let bytes = fs::read(path).unwrap();
    let used: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let some = used.iter().copied().step_by((used.len() / 30).max(1));
    some.map(|at| {
        let flip = move |bytes: &mut Vec<u8>| bytes[at] ^= 1 << (at % 8);
        (format!("flipped at {at}"), Box::new(flip) as Box<_>)
    })
    .collect()
}

fn cuts(path: &Path) -> Vec<Change> {
    let length = fs::read(path).unwrap().len();
    let lengths = [0, 1, 100, 4096, length / 2, length.saturating_sub(4096), length.saturating_sub(1)];
    let lengths = lengths.into_iter().filter(|cut| *cut < length);
    lengths
        .map(|cut| (format!("cut to {cut}"), Box::new(move |bytes: &mut Vec<u8>| bytes.truncate(cut)) as Box<_>))
        .collect()
}

#[tokio::test]
async fn no_bit_that_flips_brings_back_what_was_purged() {
    each(false, flips).await;
}

#[tokio::test]
async fn nor_does_one_in_what_a_killed_process_has_left() {
    each(true, flips).await;
}

#[tokio::test]
async fn nothing_that_is_cut_off_brings_back_what_was_purged() {
    each(false, cuts).await;
    each(true, cuts).await;
}

#[tokio::test]
async fn a_log_that_is_lost_or_older_than_the_values_ends_what_is_there() {
    let sound = folder(true).await;
    for gone in [&["-wal"][..], &["-wal", ""]] {
        let copy = sound.copied();
        gone.iter().for_each(|ending| fs::remove_file(copy.0.join(format!("{LOG}{ending}"))).unwrap());
        let app = App::new(&copy).await;
        assert_eq!((app.get("/a/1", "new").await, app.get("/b/1", "new").await), ("new".into(), "new".into()));
        app.written().await;
        drop(app);
        closed(&copy).await;
        // The new one is as good as any.
        assert_eq!(App::new(&copy).await.get("/b/1", "newer").await, "new");
    }
    // One of an hour ago.
    let scratch = Scratch::new();
    let app = App::new(&scratch).await;
    app.get("/a/1", "old").await;
    app.written().await;
    app.cache.invalidate(Selector::tag("b")).await.unwrap();
    let before = scratch.copied();
    app.cache.invalidate(Selector::tag("a")).await.unwrap();
    let after = scratch.copied();
    drop(app);
    for ending in ["", "-wal"] {
        let name = format!("{LOG}{ending}");
        fs::copy(before.0.join(&name), after.0.join(&name)).unwrap();
    }
    assert_eq!(App::new(&after).await.get("/a/1", "new").await, "new");
}

#[tokio::test]
async fn a_file_of_another_kind_or_version_is_set_aside() {
    let foreign: PathBuf = "notes.txt".into();
    for name in [VALUES, LOG] {
        let scratch = folder(false).await;
        fs::write(scratch.0.join(&foreign), "mine").unwrap();
        // The version, in the header of SQLite.
        change(&scratch.0.join(name), |bytes| bytes[63] += 1);
        let kept = fs::read(scratch.0.join(name)).unwrap();
        check(&scratch, name).await;
        assert_eq!(fs::read(scratch.0.join(format!("{name}.set-aside"))).unwrap(), kept);

        let scratch = Scratch::new();
        fs::create_dir(&scratch.0).unwrap();
        let text = "this is no database, but somebody may need it ".repeat(100);
        fs::write(scratch.0.join(name), &text).unwrap();
        fs::write(scratch.0.join(&foreign), "mine").unwrap();
        check(&scratch, name).await;
        assert_eq!(fs::read_to_string(scratch.0.join(format!("{name}.set-aside"))).unwrap(), text);
        assert_eq!(fs::read_to_string(scratch.0.join(&foreign)).unwrap(), "mine");
    }
}

/// While it is open: it is a miss, counted, and then there is another file.
#[tokio::test]
async fn what_is_damaged_while_it_is_used_is_begun_anew() {
    let scratch = Scratch::new();
    let store = scratch.store().await;
    for number in 0..300 {
        put(&*store, &format!("key:{number}"), vec![7; 5000]).await.unwrap();
    }
    drop(store);
    closed(&scratch).await;
    let store = scratch.store().await;
    put(&*store, "new", "x").await.unwrap();
    // All but the first pages.
    change(&scratch.0.join(VALUES), |bytes| bytes[8192..].fill(0xa5));
    let mut damaged = 0;
    for number in 0..300 {
        match get(&*store, &format!("key:{number}")).await {
            Ok(found) => assert!(found.is_none() || found.unwrap() == vec![7; 5000]),
            Err(error) => {
                assert_eq!(error, StoreError::Damaged);
                damaged += 1;
            }
        }
    }
    assert_eq!(damaged, 1);
    put(&*store, "key:1", "x").await.unwrap();
    assert_eq!(get(&*store, "key:1").await.unwrap().unwrap(), "x");
    assert_eq!(store.stats().await.unwrap().entries, Some(1));
}

//! The log in its file.

use super::{
    database::Fault,
    records::{KEPT, Records},
};
use crate::{
    invalidation::RecordId,
    store::{Draft, Line, NodeId},
};
use std::{fs, path::PathBuf};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("larder-records-{}-{name}", std::process::id()));
        drop(fs::remove_dir_all(&path));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Records {
        let records = Records::open(self.0.join("log")).unwrap();
        records.look_through(SHOP, None, 1000).unwrap();
        records
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn drafts(count: u64) -> Vec<Draft> {
    (0..count).map(|own| Draft { own, text: format!(r#"[{{"tag":"{own}"}}]"#) }).collect()
}

fn all(records: &Records, mut after: Option<RecordId>) -> Vec<Line> {
    let mut found = Vec::new();
    loop {
        let reading = records.read(SHOP, after).unwrap();
        let Some(last) = reading.last else { return found };
        after = Some(last);
        found.extend(reading.lines);
    }
}

#[test]
fn records_come_back_in_one_chain() {
    let scratch = Scratch::new("chain");
    let records = scratch.open();
    let ids = records.append(SHOP, NODE, &drafts(3), 2000).unwrap().1;
    let earlier = records.append(SHOP, NODE, &drafts(1), 500).unwrap().1;
    assert!(ids.is_sorted() && earlier[0] > ids[2], "whatever the clock says");
    let epoch = all(&records, None)[0].heading.epoch;
    drop(records);
    let records = scratch.open();
    let lines = all(&records, None);
    assert_eq!((lines.len(), lines[0].text.as_deref(), lines[0].heading.previous), (5, None, RecordId::default()));
    assert!(lines.windows(2).all(|pair| pair[1].heading.previous == pair[0].heading.id));
    assert!(lines.iter().all(|line| line.heading.epoch == epoch));
    let Line { heading, node, own, text } = &lines[2];
    assert_eq!((heading.id, *node, *own, text.as_deref()), (ids[1], NODE, 1, Some(r#"[{"tag":"1"}]"#)));
    assert_eq!(all(&records, Some(ids[1])), lines[3..]);
    assert_eq!(records.read(SHOP, Some(earlier[0])).unwrap().end, Some(earlier[0]));
    // One that this log never had is followed by all of it.
    assert_eq!(all(&records, Some(RecordId { millis: 999, count: 3 })).len(), 5);
}

#[test]
fn an_epoch_ends_once() {
    let scratch = Scratch::new("epoch");
    let records = scratch.open();
    let first = records.append(SHOP, NODE, &drafts(1), 2000).unwrap().0.epoch;
    let second = records.renew(SHOP, first, 2000).unwrap().epoch;
    assert_ne!(first, second);
    assert_eq!(records.renew(SHOP, first, 2000).unwrap().epoch, second);
    let end = records.append(SHOP, NODE, &drafts(1), 2000).unwrap().0;
    assert_eq!((end.epoch, all(&records, None).len()), (second, 4));
    drop(records);
    // What was noted elsewhere is of another epoch, or comes after its end.
    for witness in [(first, end.id), (second, RecordId { millis: 2000, count: 9 })] {
        let records = Records::open(scratch.0.join("log")).unwrap();
        assert_ne!(records.look_through(SHOP, Some(witness), 3000).unwrap().0.epoch, second);
    }
}

#[test]
fn old_records_go_and_the_chain_begins_later() {
    let scratch = Scratch::new("old");
    let records = scratch.open();
    let ids = records.append(SHOP, NODE, &drafts(KEPT + 10), 2000).unwrap().1;
    drop(records);
    let records = scratch.open();
    let lines = all(&records, None);
    assert_eq!((lines.len() as u64, lines[0].heading.id), (KEPT, ids[10]));
    assert_eq!(lines[0].heading.previous, ids[9]);
}

#[test]
fn what_was_changed_or_is_missing_is_damage() {
    let changes = [
        "UPDATE records SET text = '[]' WHERE count = 3",
        "UPDATE records SET own = 7 WHERE count = 2",
        "DELETE FROM records WHERE count = 3",
        "DELETE FROM records WHERE count = 5",
        "DELETE FROM records",
        "DELETE FROM ends",
        "UPDATE records SET seal = zeroblob(16) WHERE count = 5",
        "DROP TABLE ends",
    ];
    for (number, change) in changes.iter().enumerate() {
        let scratch = Scratch::new(&format!("changed-{number}"));
        let records = scratch.open();
        records.append(SHOP, NODE, &drafts(4), 2000).unwrap();
        drop(records);
        rusqlite::Connection::open(scratch.0.join("log")).unwrap().execute_batch(change).unwrap();
        let records = Records::open(scratch.0.join("log")).unwrap();
        let found = records.look_through(SHOP, None, 3000);
        assert!(matches!(found, Err(Fault::Damaged(_))), "{change}: {found:?}");
        records.look_through(SHOP, None, 3000).unwrap();
        assert_eq!(all(&records, None).len(), 1, "another one has begun");
    }
}

const SHOP: &str = "shop";
const NODE: NodeId = NodeId([7; 8]);

/// A lock of a file is that of the process: to close the file anywhere in it gives it up.
#[cfg(target_os = "linux")]
#[test]
fn who_finds_it_locked_leaves_it_locked() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("lock");
    let path = scratch.0.join("lock");
    let locked = || {
        let inode = format!(":{} ", fs::metadata(&path).unwrap().ino());
        fs::read_to_string("/proc/locks").unwrap().lines().filter(|line| line.contains(&inode)).count()
    };
    let held = super::database::lock(&path).unwrap();
    let before = locked();
    assert!(before > 0);
    assert!(matches!(super::database::lock(&path), Err(Fault::Locked)));
    assert_eq!(locked(), before);
    drop(held);
    assert!(super::database::lock(&path).is_ok());
}

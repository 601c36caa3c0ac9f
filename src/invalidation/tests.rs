//! What the ledger says of entries, one step at a time.

use super::{
    Batch, Checked, Claim, Culprits, Footprint, Force, Ledger, Limits, Seq, Standing, Subject, ban::What,
    ledger::Record, row::Row, row::Within,
};
use crate::{key::Pattern, semantics::date::Timestamp};
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

const T0: Timestamp = Timestamp::from_unix_secs(1_800_000_000);

fn ledger() -> Ledger {
    Ledger::new(Limits::default())
}

fn standing(ledger: &Ledger, stamp: Seq, footprint: &[Row]) -> Standing {
    ledger.standing(Claim { stamp, footprint, key: b"" }, &Checked::default())
}

fn good(ledger: &Ledger, stamp: Seq, footprint: &[Row]) -> bool {
    standing(ledger, stamp, footprint) == Standing::Good
}

fn row(row: Row) -> Record {
    Record::Row { row, owner: None }
}

fn all_of(rows: [Row; 2]) -> Record {
    Record::Ban(Arc::new(What::AllOf { rows: rows.into(), owner: None }))
}

fn append(ledger: &Ledger, record: Record, force: Force, now: Timestamp) -> Seq {
    ledger.append(Batch::of([record], force), now)
}

fn at<'a>(authority: Option<&'a str>, path: &'a str) -> Subject<'a> {
    Subject::Resource { authority, path, query: None }
}

fn footprint(ledger: &Ledger, subject: Subject<'_>, keyed: &[(&str, &str)]) -> Footprint {
    ledger.rows().footprint([subject], keyed)
}

#[test]
fn a_record_selects_what_was_filled_before_it() {
    let ledger = ledger();
    let x = footprint(&ledger, at(Some("Host"), "/x"), &[]);
    let y = footprint(&ledger, at(Some("host"), "/y"), &[]);
    let before = ledger.applied();
    append(&ledger, row(ledger.rows().row(at(Some("host:443"), "/x"), Within::Anyone)), Force::Hard, T0);
    assert!(!good(&ledger, before, &x));
    assert!(good(&ledger, before, &y));
    assert!(good(&ledger, ledger.applied(), &x), "filled afterwards");
    append(&ledger, Record::Everything, Force::Hard, T0);
    assert!(!good(&ledger, before, &y));
}

#[test]
fn a_bare_path_is_meant_anywhere() {
    let ledger = ledger();
    let stamp = ledger.applied();
    append(&ledger, row(ledger.rows().row(at(None, "/x"), Within::Anyone)), Force::Hard, T0);
    assert!(!good(&ledger, stamp, &footprint(&ledger, at(Some("a"), "/x"), &[])));
    assert!(!good(&ledger, stamp, &footprint(&ledger, at(None, "/x"), &[])));
    assert!(good(&ledger, stamp, &footprint(&ledger, at(Some("a"), "/y"), &[])));
}

#[test]
fn subjects_select_within_a_tenant_in_all_or_where_there_is_none() {
    let user = Subject::Attribute { name: "user", value: "7" };
    let tenant = Subject::Attribute { name: "tenant", value: "1" };
    for (subject, within, hits) in [
        (user, Within::Anyone, [true, true, false, false]),
        (user, Within::Tenant("1"), [true, false, false, false]),
        (tenant, Within::Anyone, [true, false, true, false]),
        (at(None, "/x"), Within::Tenant("1"), [true, false, true, false]),
        (at(None, "/x"), Within::Anyone, [true; 4]),
        (at(None, "/x"), Within::Nobody, [false, false, false, true]),
        (Subject::Everything, Within::Nobody, [false, false, false, true]),
    ] {
        let ledger = ledger();
        let stamp = ledger.applied();
        let keyed: [&[(&str, &str)]; 4] =
            [&[("tenant", "1"), ("user", "7")], &[("tenant", "2"), ("user", "7")], &[("tenant", "1")], &[]];
        let footprints = keyed.map(|keyed| footprint(&ledger, at(Some("h"), "/x"), keyed));
        append(&ledger, row(ledger.rows().row(subject, within)), Force::Hard, T0);
        let gone = footprints.each_ref().map(|footprint| !good(&ledger, stamp, footprint));
        assert_eq!(gone, hits, "{subject:?} in {within:?}");
    }
}

#[test]
fn soft_records_end_freshness_and_hard_ones_use() {
    let ledger = ledger();
    let checked = Checked::default();
    let claim = Claim { stamp: ledger.applied(), footprint: &[1], key: b"" };
    append(&ledger, row(1), Force::Soft, T0);
    assert_eq!(ledger.standing(claim, &checked), Standing::Ended(T0));
    let later = T0.saturating_add(Duration::from_secs(9));
    let second = append(&ledger, row(1), Force::Soft, later);
    assert_eq!(ledger.standing(claim, &checked), Standing::Ended(T0), "the first one counts");
    append(&ledger, row(1), Force::Hard, later);
    assert_eq!(ledger.standing(claim, &checked), Standing::Gone);
    assert_eq!(ledger.standing(claim, &checked), Standing::Gone);
    let younger = Claim { stamp: second, ..claim };
    assert_eq!(ledger.standing(younger, &Checked::default()), Standing::Gone);
    assert_eq!(ledger.standing(Claim { stamp: ledger.applied(), ..claim }, &Checked::default()), Standing::Good);
}

/// Whoever has been told of one part before knows the other, and so does who asks for the first time.
#[test]
fn hard_and_soft_records_of_a_batch_are_one_change() {
    let ledger = ledger();
    let (known, before) = ([Checked::default(), Checked::default()], ledger.applied());
    let claim = |row: &'static [Row]| Claim { stamp: before, footprint: row, key: b"" };
    let rows: [&[Row]; 4] = [&[1], &[2], &[1, 2], &[3]];
    assert!(rows[..2].iter().zip(&known).all(|(row, known)| ledger.standing(claim(row), known) == Standing::Good));
    let mut batch = Batch::of([row(1)], Force::Hard);
    batch.add([row(2)], Force::Soft);
    let seq = ledger.append(batch, T0);
    assert_eq!(ledger.applied(), seq);
    assert_eq!(ledger.standing(claim(rows[0]), &known[0]), Standing::Gone);
    assert_eq!(ledger.standing(claim(rows[1]), &known[1]), Standing::Ended(T0));
    let stands = rows.map(|row| standing(&ledger, before, row));
    assert_eq!(stands, [Standing::Gone, Standing::Ended(T0), Standing::Gone, Standing::Good]);
}

/// What one batch says twice of a row hides nothing that the row has heard before.
#[test]
fn a_soft_record_twice_in_a_batch_is_one() {
    let ledger = ledger();
    let stamp = ledger.applied();
    append(&ledger, row(1), Force::Soft, T0);
    ledger.append(Batch::of([row(1), row(1)], Force::Soft), T0.saturating_add(Duration::from_secs(9)));
    assert_eq!(standing(&ledger, stamp, &[1]), Standing::Ended(T0));
}

#[test]
fn bans_are_tried_once_and_what_they_found_stays() {
    let ledger = ledger();
    let pattern = |text: &str| {
        let pattern = Pattern::parse(text).unwrap();
        Record::Ban(Arc::new(What::Pattern { pattern, within: None }))
    };
    let mut key = crate::key::KeyBuf::default();
    key.part(crate::key::Part::Path, b"/x");
    let claim = Claim { stamp: ledger.applied(), footprint: &[1], key: key.as_bytes() };
    let (first, second) = (Checked::default(), Checked::default());
    append(&ledger, pattern("/y"), Force::Hard, T0);
    assert_eq!(ledger.standing(claim, &first), Standing::Good);
    assert!(!first.is_gone());
    append(&ledger, pattern("/x*"), Force::Hard, T0);
    assert_eq!(ledger.standing(claim, &first), Standing::Gone);
    assert!(first.is_gone());
    let all = ledger.pending_bans().unwrap();
    assert_eq!(ledger.standing(claim, &second), Standing::Gone);
    ledger.drop_bans(all);
    assert_eq!(ledger.size(), (0, 0));
    assert_eq!((ledger.standing(claim, &first), ledger.standing(claim, &second)), (Standing::Gone, Standing::Gone));
    assert!(!ledger.admits(claim, &Checked::default()), "the ban that would tell is not there any more");
    assert!(ledger.admits(Claim { stamp: ledger.applied(), ..claim }, &Checked::default()));
}

#[test]
fn several_tags_select_what_has_them_all() {
    let ledger = ledger();
    let stamp = ledger.applied();
    let ban = What::AllOf { rows: [1, 2].into(), owner: None };
    append(&ledger, Record::Ban(Arc::new(ban)), Force::Hard, T0);
    assert!(!good(&ledger, stamp, &[3, 2, 1]) && good(&ledger, stamp, &[1, 3]));
    let claim = Claim { stamp, footprint: &[1, 2], key: b"" };
    assert!(!ledger.is_untouched_beside(claim, &[1, 2]), "together they were not known");
}

#[test]
fn what_was_known_before_was_checked_before() {
    let ledger = ledger();
    let stamp = ledger.applied();
    append(&ledger, row(1), Force::Hard, T0);
    let claim = Claim { stamp, footprint: &[1, 2], key: b"" };
    assert!(ledger.is_untouched_beside(claim, &[1]) && !ledger.is_untouched_beside(claim, &[2]));
}

/// A busy tenant fills the ledger: its rows fold into its own, and other tenants keep what they have.
#[test]
fn rows_fold_into_their_tenant() {
    let ledger = Ledger::new(Limits { rows: 1000, bans: 10, recent: 16 });
    ledger.keep_for(Duration::from_secs(3600));
    let busy = Some(1_000_001);
    let (quiet, mine, shared) = ([2_000_001, 7], [1_000_001, 8], [9]);
    let before = ledger.applied();
    for n in 0..10_000 {
        append(&ledger, Record::Row { row: 10_000 + n, owner: busy }, Force::Hard, T0);
    }
    assert!(ledger.size().0 <= 1000, "{:?}", ledger.size());
    assert!(good(&ledger, before, &quiet) && good(&ledger, before, &shared) && !good(&ledger, before, &mine));
    for n in 0..10_000 {
        assert!(!good(&ledger, before, &[10_000 + n, 1_000_001]), "{n}");
    }
    // Of no tenant: everything older goes.
    for n in 0..2000 {
        append(&ledger, row(50_000 + n), Force::Hard, T0);
    }
    assert!(ledger.size().0 <= 1000 && !good(&ledger, before, &quiet));
    assert!(good(&ledger, ledger.applied(), &quiet));
}

#[test]
fn rows_that_select_nothing_any_more_are_dropped() {
    let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
    ledger.keep_for(Duration::from_secs(60));
    let before = ledger.applied();
    for n in 0..100 {
        append(&ledger, row(n), Force::Hard, T0);
    }
    let later = T0.saturating_add(Duration::from_secs(61));
    append(&ledger, row(1000), Force::Hard, later);
    assert_eq!(ledger.size().0, 1);
    assert!(!ledger.admits(Claim { stamp: before, footprint: &[5], key: b"" }, &Checked::default()));
}

#[test]
fn a_batch_tells_what_it_has() {
    assert_eq!(Seq::at(7).number(), 7);
    let claim = Claim { stamp: Seq::at(0), footprint: &[1], key: b"" };
    let batch = Batch::of([row(2), row(1)], Force::Hard);
    assert!(batch.selects(claim) && Batch::everything().selects(claim));
    assert!(!Batch::of([row(2)], Force::Hard).selects(claim));
    assert!(!batch.is_empty() && Batch::default().is_empty());
}

#[test]
fn the_longest_use_counts() {
    let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
    ledger.keep_for(Duration::from_secs(60));
    ledger.keep_for(Duration::from_secs(30));
    let after = |secs| T0.saturating_add(Duration::from_secs(secs));
    let ban = || Record::Ban(Arc::new(What::AllOf { rows: [1, 2].into(), owner: None }));
    append(&ledger, ban(), Force::Hard, T0);
    let first = ledger.pending_bans();
    append(&ledger, ban(), Force::Hard, after(10));
    assert_eq!(ledger.bans_outlived(after(60)), None);
    assert_eq!(ledger.bans_outlived(after(61)), first);
    assert_eq!(ledger.bans_outlived(after(71)), ledger.pending_bans());
    for n in 0..100 {
        append(&ledger, row(n), Force::Hard, T0);
    }
    append(&ledger, row(1000), Force::Hard, after(60));
    assert!(ledger.size().0 > 1, "nothing has outlived its use");
}

#[test]
fn culprits_are_named() {
    let ledger = ledger();
    let claim = Claim { stamp: ledger.applied(), footprint: &[1, 2, 3], key: b"" };
    let now = || Claim { stamp: ledger.applied(), ..claim };
    append(&ledger, row(2), Force::Hard, T0);
    assert_eq!(ledger.culprits(claim, &[1, 2, 3]), Culprits { rows: vec![1], ..Culprits::default() });
    let tried = now();
    append(&ledger, Record::Ban(Arc::new(What::AllOf { rows: [4].into(), owner: None })), Force::Hard, T0);
    append(&ledger, Record::Ban(Arc::new(What::AllOf { rows: [1, 3].into(), owner: None })), Force::Hard, T0);
    assert_eq!(ledger.culprits(tried, &[1, 2, 3]), Culprits { ban: true, ..Culprits::default() });
    let tried = now();
    append(&ledger, Record::Everything, Force::Soft, T0);
    assert_eq!(ledger.culprits(tried, &[1, 2, 3]), Culprits { everything: true, ..Culprits::default() });
    assert_eq!(ledger.culprits(now(), &[1, 2, 3]), Culprits::default());
}

#[test]
fn bans_fold_too() {
    let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
    let before = ledger.applied();
    let ban = |tag| Record::Ban(Arc::new(What::AllOf { rows: [tag].into(), owner: Some(77) }));
    for tag in 0..20 {
        append(&ledger, ban(tag), Force::Hard, T0);
    }
    assert_eq!(ledger.size(), (1, 10));
    assert!((0..20).all(|tag| !good(&ledger, before, &[tag, 77])) && good(&ledger, before, &[500]));
}

/// A dropped ban cannot be tried any more: it counts against what was on its way, and not against what was tried.
#[test]
fn a_dropped_ban_is_held_against_what_was_not_tried_on_it() {
    let ledger = ledger();
    let claim = |stamp| Claim { stamp, footprint: &[1], key: b"" };
    let before = ledger.applied();
    let seq = append(&ledger, all_of([7, 8]), Force::Hard, T0);
    let (tried, tried_later, untried) = (Checked::default(), Checked::default(), Checked::default());
    assert_eq!(ledger.standing(claim(before), &tried), Standing::Good);
    let ban = ledger.pending_bans().unwrap();
    append(&ledger, row(100), Force::Hard, T0);
    assert_eq!(ledger.standing(claim(before), &tried_later), Standing::Good);
    ledger.drop_bans(ban);
    append(&ledger, row(101), Force::Hard, T0);
    for checked in [&tried, &tried_later] {
        assert_eq!(ledger.standing(claim(before), checked), Standing::Good);
    }
    assert_eq!(ledger.standing(claim(before), &untried), Standing::Gone);
    assert_eq!(ledger.standing(claim(seq), &Checked::default()), Standing::Good, "filled after the ban");
    let later = append(&ledger, row(102), Force::Hard, T0);
    assert_eq!(ledger.standing(claim(later), &Checked::default()), Standing::Good);
}

/// What was known beside is the key and the rows one by one: a ban counts only where it needs several rows.
#[test]
fn beside_what_was_known_only_several_rows_at_once_count() {
    let ledger = ledger();
    let mut key = crate::key::KeyBuf::default();
    key.part(crate::key::Part::Path, b"/x");
    let claim = |stamp| Claim { stamp, footprint: &[1, 2], key: key.as_bytes() };
    let before = ledger.applied();
    append(&ledger, all_of([2, 3]), Force::Hard, T0);
    let pattern = Pattern::parse("/x").unwrap();
    append(&ledger, Record::Ban(Arc::new(What::Pattern { pattern, within: None })), Force::Hard, T0);
    assert!(ledger.is_untouched_beside(claim(before), &[1, 2]), "not all of its rows, and a pattern");
    let seq = append(&ledger, all_of([1, 2]), Force::Hard, T0);
    append(&ledger, row(100), Force::Hard, T0);
    assert!(!ledger.is_untouched_beside(claim(before), &[1, 2]));
    assert!(ledger.is_untouched_beside(claim(seq), &[1, 2]), "filled after it");
}

#[test]
fn a_check_that_ends_late_does_not_bring_back_what_is_gone() {
    let checked = Checked::default();
    checked.be_gone();
    assert_eq!(checked.pass(7, Some(T0)), Standing::Gone);
    assert!(checked.is_gone());
}

/// An entry that was made good again counts from then on, whenever it was last checked.
#[test]
fn what_is_stamped_anew_is_younger_than_the_record() {
    let ledger = ledger();
    let checked = Checked::default();
    let old = Claim { stamp: ledger.applied(), footprint: &[1], key: b"" };
    assert_eq!(ledger.standing(old, &checked), Standing::Good);
    let seq = append(&ledger, row(1), Force::Hard, T0);
    assert_eq!(ledger.standing(Claim { stamp: seq, ..old }, &checked), Standing::Good);
}

#[test]
fn the_newest_changes_are_bounded_by_number_and_by_records() {
    let ledger = Ledger::new(Limits { rows: 1000, bans: 10, recent: 3 });
    let change = |records: u64| ledger.append(Batch::of((0..records).map(row), Force::Soft), T0);
    for (records, held) in [
        (1, (1, 1)),
        (16, (2, 17)),
        (16, (3, 33)),
        (16, (3, 48)),
        (1, (3, 33)),
        (17, (3, 34)),
        (31, (2, 48)),
        (48, (1, 48)),
        (49, (0, 0)),
        (2, (1, 2)),
    ] {
        change(records);
        assert_eq!(ledger.recent(), held, "after a change with {records} records");
    }
}

/// The limit itself is no excess. Beyond it the older half goes, so that there is room for long.
#[test]
fn the_older_half_folds_beyond_the_limit() {
    let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
    ledger.keep_for(Duration::from_secs(3600));
    let before = ledger.applied();
    let stamps: Vec<Seq> = (0..100).map(|n| append(&ledger, row(n), Force::Hard, T0)).collect();
    assert_eq!(ledger.size().0, 100);
    assert!(good(&ledger, before, &[5000]));
    append(&ledger, row(100), Force::Hard, T0);
    assert_eq!(ledger.size().0, 50);
    assert!(!good(&ledger, stamps[49], &[5000]) && good(&ledger, stamps[50], &[5000]), "as old as what folded");
    assert!((51..=100).all(|n| !good(&ledger, stamps[50], &[n])));
}

/// The rows of tenants stay as long as they are few.
#[test]
fn tenants_are_bounded_too() {
    let limits = Limits { rows: 100, bans: 10, recent: 16 };
    let tenant = |n| Record::Row { row: n, owner: Some(n) };
    for (tenants, stay) in [(25, true), (26, false)] {
        let ledger = Ledger::new(limits);
        ledger.keep_for(Duration::from_secs(3600));
        let before = ledger.applied();
        for record in (0..tenants).map(tenant).chain((1000..1101 - tenants).map(row)) {
            append(&ledger, record, Force::Hard, T0);
        }
        assert_eq!(ledger.size().0, if stay { 75 } else { 50 }, "{tenants}");
        assert!((0..tenants).all(|n| !good(&ledger, before, &[n])));
    }
}

/// What has outlived its use goes first; if that makes room for as many again, nothing folds.
#[test]
fn only_what_is_still_of_use_folds() {
    let later = T0.saturating_add(Duration::from_secs(61));
    for (old, held) in [(51, 50), (50, 25)] {
        let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
        ledger.keep_for(Duration::from_secs(60));
        let seq = (0..old).map(|n| append(&ledger, row(n), Force::Hard, T0)).last().unwrap();
        for n in old..101 {
            append(&ledger, row(n), Force::Hard, later);
        }
        assert_eq!(ledger.size().0, held, "{old}");
        let admits = |stamp| ledger.admits(Claim { stamp, footprint: &[5000], key: b"" }, &Checked::default());
        assert!(!admits(Seq::at(seq.number() - 1)), "a row that might have selected it is gone");
        assert_eq!(admits(seq), held == 50, "nothing that might have selected it is gone");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Fill(Row, Row),
    Invalidate(Row, Force),
    /// The first hard, the second soft.
    Mixed(Row, Row),
    Several(Row, Row),
    Everything(Force),
    Ask,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let force = || prop_oneof![Just(Force::Hard), Just(Force::Soft)];
    let event = prop_oneof![
        4 => (0u64..6, 0u64..6).prop_map(|(a, b)| Event::Fill(a, b)),
        4 => (0u64..6, force()).prop_map(|(row, force)| Event::Invalidate(row, force)),
        2 => (0u64..6, 0u64..6).prop_map(|(a, b)| Event::Mixed(a, b)),
        1 => (0u64..6, 0u64..6).prop_map(|(a, b)| Event::Several(a, b)),
        1 => force().prop_map(Event::Everything),
        2 => Just(Event::Ask),
    ];
    proptest::collection::vec(event, 0..80)
}

proptest! {
    /// Against a list of everything that ever happened, asked now and then. Where limits are tight, more may be gone,
    /// and never less.
    #[test]
    fn agrees_with_a_naive_reference(events in events(), tight in any::<bool>()) {
        let limits = if tight { Limits { rows: 4, bans: 1, recent: 2 } } else { Limits::default() };
        let ledger = Ledger::new(limits);
        ledger.keep_for(Duration::from_secs(1 << 30));
        let mut log: Vec<(Event, Force)> = Vec::new();
        let mut fills: Vec<(Seq, [Row; 2], usize, Checked)> = Vec::new();
        for event in events {
            match &event {
                Event::Fill(a, b) => fills.push((ledger.applied(), [*a, *b], log.len(), Checked::default())),
                Event::Invalidate(one, force) => {
                    append(&ledger, row(*one), *force, T0);
                    log.push((event.clone(), *force));
                }
                Event::Mixed(hard, soft) => {
                    let mut batch = Batch::of([row(*hard)], Force::Hard);
                    batch.add([row(*soft)], Force::Soft);
                    ledger.append(batch, T0);
                    log.push((Event::Invalidate(*hard, Force::Hard), Force::Hard));
                    log.push((Event::Invalidate(*soft, Force::Soft), Force::Soft));
                }
                Event::Several(a, b) => {
                    let what = What::AllOf { rows: [*a, *b].into(), owner: None };
                    append(&ledger, Record::Ban(Arc::new(what)), Force::Hard, T0);
                    log.push((event.clone(), Force::Hard));
                }
                Event::Everything(force) => {
                    append(&ledger, Record::Everything, *force, T0);
                    log.push((event.clone(), *force));
                }
                Event::Ask => {}
            }
            if !matches!(event, Event::Ask | Event::Fill(..)) {
                continue;
            }
            for (stamp, rows, at, checked) in &fills {
                let selects = |event: &Event| match event {
                    Event::Invalidate(row, _) => rows.contains(row),
                    Event::Several(a, b) => rows.contains(a) && rows.contains(b),
                    _ => true,
                };
                let hit = |force| log[*at..].iter().any(|(event, other)| *other == force && selects(event));
                let expected = match (hit(Force::Hard), hit(Force::Soft)) {
                    (true, _) => Standing::Gone,
                    (false, true) => Standing::Ended(T0),
                    (false, false) => Standing::Good,
                };
                let found = ledger.standing(Claim { stamp: *stamp, footprint: rows, key: b"" }, checked);
                let rank = |standing| match standing {
                    Standing::Good => 0,
                    Standing::Ended(_) => 1,
                    Standing::Gone => 2,
                };
                if tight {
                    prop_assert!(rank(found) >= rank(expected), "{:?} is less than {:?}", found, expected);
                } else {
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}

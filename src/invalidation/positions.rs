//! Where this node is in a shared log, and how positions there and here answer each other.
//!
//! The ledger numbers records in the order in which it hears of them; the log that nodes share numbers them in its own. A
//! stored response leaves this node stamped with a position in the log, and one that comes back gets a position of
//! the ledger. Both directions err to the safe side: too old a stamp is at worst a miss.
//!
//! What this node invalidates itself it hears of at once, before it knows the place in the log: such a record is pending
//! until it is read there.

use super::stamp::{Epoch, RecordId, Stamp};
use std::collections::{BTreeMap, VecDeque};

/// Where this node is in a shared log.
#[derive(Debug)]
pub(crate) struct Positions {
    known: Option<Known>,
    /// An epoch that has lost records. What is read of it is no ground to stand on.
    lost: Option<Epoch>,
    /// Own records that have not been read from the log.
    pending: BTreeMap<u64, Pending>,
    /// Own records are numbered from 1.
    own: u64,
    limit: usize,
}

/// What was read of the log, without a gap.
#[derive(Debug)]
struct Known {
    epoch: Epoch,
    /// From the floor on, at least one.
    marks: VecDeque<Mark>,
}

/// An own record that has not been read from the log.
#[derive(Clone, Copy, Debug)]
struct Pending {
    /// Where the ledger has it.
    at: u64,
    /// Where it is in the log, once that is known.
    id: Option<RecordId>,
}

/// A record that was read, and the ledger's positions for it.
#[derive(Clone, Copy, Debug)]
struct Mark {
    id: RecordId,
    /// All later records come after this one.
    before_later: u64,
    /// This record and all earlier ones come up to this one.
    after_all: u64,
}

/// What a record says of its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heading {
    pub(crate) id: RecordId,
    pub(crate) epoch: Epoch,
    /// The record before it.
    pub(crate) previous: RecordId,
    /// Its number among the records of this node, if it is one of them.
    pub(crate) own: Option<u64>,
}

/// What a record is to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next one: apply it.
    Next,
    /// The next one. It was applied when it was made here.
    Own,
    /// It was read before.
    Seen,
    /// Others are missing before it, or this is the first contact: whatever was filled before is unknown. Then apply it.
    Gap,
    /// The log has lost records that this node has read. It needs a new epoch, and until then nothing is known.
    Lost,
    /// Of an epoch that has lost records: apply it, but it gives no position.
    Loose,
}

impl Positions {
    /// Nothing is known. So many records are told apart.
    pub(crate) fn new(limit: usize) -> Self {
        Self { known: None, lost: None, pending: BTreeMap::new(), own: 0, limit: limit.max(1) }
    }

    /// What a record is to this node.
    pub(crate) fn step(&self, heading: &Heading) -> Step {
        if self.lost == Some(heading.epoch) {
            return Step::Loose;
        }
        let Some(known) = &self.known else { return Step::Gap };
        if heading.epoch != known.epoch {
            return Step::Gap;
        }
        let applied = known.applied();
        if heading.id <= applied {
            return Step::Seen;
        }
        // One of its own was in the log, and is not there now.
        let vanished = |pending: &Pending| pending.id.is_some_and(|id| id < heading.id);
        if heading.previous < applied || self.pending.values().any(vanished) {
            return Step::Lost;
        }
        if heading.previous > applied {
            return Step::Gap;
        }
        match heading.own {
            Some(own) if own <= self.own => Step::Own,
            _ => Step::Next,
        }
    }

    /// Begins anew at the record before this one: the ledger has just heard, at `end`, that everything is invalid.
    pub(crate) fn begin(&mut self, heading: &Heading, end: u64) {
        self.settle(heading.previous);
        let mark = self.mark(heading.previous, end);
        self.known = Some(Known { epoch: heading.epoch, marks: VecDeque::from([mark]) });
    }

    /// A record was read, and the ledger ends at `end` with it.
    pub(crate) fn read(&mut self, heading: &Heading, end: u64) {
        if let Some(own) = heading.own {
            self.pending.remove(&own);
        }
        self.settle(heading.id);
        let mark = self.mark(heading.id, end);
        if let Some(known) = &mut self.known {
            known.marks.push_back(mark);
            while known.marks.len() > self.limit {
                known.marks.pop_front();
            }
        }
    }

    /// This epoch has lost records: nothing is known until another begins.
    pub(crate) fn lose(&mut self, epoch: Epoch) {
        self.known = None;
        self.lost = Some(epoch);
    }

    /// The number of a record of this node, which the ledger has just heard of at this position.
    pub(crate) fn own(&mut self, at: u64) -> u64 {
        self.own += 1;
        self.pending.insert(self.own, Pending { at, id: None });
        self.own
    }

    /// An own record is in the log. It may have been read there already. False if the log was read further, and it was not
    /// there.
    pub(crate) fn sent(&mut self, own: u64, id: RecordId) -> bool {
        let Some(pending) = self.pending.get_mut(&own) else { return true };
        pending.id = Some(id);
        self.known.as_ref().is_none_or(|known| known.applied() < id)
    }

    /// The epoch that has lost records, as long as there is no other.
    pub(crate) fn lost(&self) -> Option<Epoch> {
        self.lost.filter(|_| self.known.is_none())
    }

    /// It will never be in the log, and is in one that selects all that it does.
    pub(crate) fn give_up(&mut self, own: u64) {
        self.pending.remove(&own);
    }

    /// The last own record that is in the log, as far as it is known, and was not read there.
    pub(crate) fn last_sent(&self) -> Option<RecordId> {
        self.pending.values().filter_map(|pending| pending.id).max()
    }

    /// Whether all own records up to this position of the ledger have been read in the log: then what is stamped there is good for
    /// others too.
    pub(crate) fn is_settled(&self, stamp: u64) -> bool {
        self.pending.values().all(|pending| pending.at > stamp)
    }

    /// The end of what was read without a gap.
    pub(crate) fn applied(&self) -> Option<(Epoch, RecordId)> {
        self.known.as_ref().map(|known| (known.epoch, known.applied()))
    }

    /// How what was stamped by the ledger is stamped in the log.
    pub(crate) fn outward(&self, stamp: u64) -> Option<Stamp> {
        let known = self.known.as_ref()?;
        let place = known.marks.partition_point(|mark| mark.after_all <= stamp);
        let mark = known.marks.get(place.checked_sub(1)?)?;
        Some(Stamp { epoch: known.epoch, end: mark.id })
    }

    /// How what was stamped in the log is stamped by the ledger.
    pub(crate) fn inward(&self, stamp: Stamp) -> Option<u64> {
        let known = self.known.as_ref().filter(|known| known.epoch == stamp.epoch)?;
        let place = known.marks.partition_point(|mark| mark.id <= stamp.end);
        Some(known.marks.get(place.checked_sub(1)?)?.before_later)
    }

    /// The log was read up to here: own records that were before are not to come, whatever became of them.
    fn settle(&mut self, read: RecordId) {
        self.pending.retain(|_, pending| pending.id.is_none_or(|id| id > read));
    }

    fn mark(&self, id: RecordId, end: u64) -> Mark {
        let pending = self.pending.values().map(|pending| pending.at.saturating_sub(1)).min();
        Mark { id, before_later: pending.map_or(end, |at| at.min(end)), after_all: end }
    }
}

impl Known {
    fn applied(&self) -> RecordId {
        self.marks.back().map_or_else(RecordId::default, |mark| mark.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIRST: Epoch = Epoch([1; 16]);
    const SECOND: Epoch = Epoch([2; 16]);

    fn id(count: u64) -> RecordId {
        RecordId { millis: 7, count }
    }

    fn heading(count: u64, previous: u64) -> Heading {
        Heading { id: id(count), epoch: FIRST, previous: id(previous), own: None }
    }

    fn at(count: u64) -> Stamp {
        Stamp { epoch: FIRST, end: id(count) }
    }

    /// Read up to the third record. The ledger heard of everything at 1.
    fn read() -> Positions {
        let mut positions = Positions::new(100);
        assert_eq!(positions.step(&heading(1, 0)), Step::Gap, "the first contact");
        positions.begin(&heading(1, 0), 1);
        for count in 1..=3 {
            assert_eq!(positions.step(&heading(count, count - 1)), Step::Next);
            positions.read(&heading(count, count - 1), 1 + count);
        }
        positions
    }

    #[test]
    fn positions_answer_each_other() {
        let positions = read();
        for count in 0..=3 {
            assert_eq!(positions.outward(1 + count), Some(at(count)));
            assert_eq!(positions.inward(at(count)), Some(1 + count));
        }
        assert_eq!(positions.outward(0), None, "before the first contact");
        assert_eq!(positions.outward(99), Some(at(3)));
        assert_eq!(positions.inward(at(99)), Some(4), "of a node that is ahead");
        assert_eq!(positions.inward(Stamp { epoch: SECOND, end: id(2) }), None);
        assert_eq!(Positions::new(9).inward(at(0)), None);
    }

    #[test]
    fn what_is_missing_or_lost_is_noticed() {
        let mut positions = read();
        assert_eq!(positions.step(&heading(2, 1)), Step::Seen);
        assert_eq!(positions.step(&heading(9, 2)), Step::Lost);
        assert_eq!(positions.step(&heading(9, 8)), Step::Gap);
        assert_eq!(positions.step(&Heading { epoch: SECOND, ..heading(4, 3) }), Step::Gap);
        positions.begin(&heading(9, 8), 5);
        positions.read(&heading(9, 8), 6);
        assert_eq!(positions.inward(at(7)), None, "below the floor");
        assert_eq!((positions.inward(at(8)), positions.inward(at(9))), (Some(5), Some(6)));
        assert_eq!(positions.outward(4), None, "filled before the gap");
    }

    #[test]
    fn an_own_record_selects_what_is_older_than_its_place_in_the_log() {
        let mut positions = read();
        let own = positions.own(5);
        // Another record comes before it in the log, and after it here.
        positions.read(&heading(4, 3), 6);
        assert_eq!(positions.inward(at(4)), Some(4), "the own record comes later in the log: it must select this");
        assert_eq!(positions.outward(5), Some(at(3)), "begun before the other one was heard of");
        assert_eq!(positions.outward(6), Some(at(4)));
        let place = Heading { own: Some(own), ..heading(5, 4) };
        assert_eq!(positions.step(&place), Step::Own);
        positions.read(&place, 6);
        assert_eq!((positions.inward(at(5)), positions.outward(6)), (Some(6), Some(at(5))));
    }

    #[test]
    fn an_own_record_that_has_vanished_is_missed() {
        let mut positions = read();
        let own = positions.own(5);
        assert!(positions.sent(own, id(5)));
        assert_eq!(positions.step(&heading(4, 3)), Step::Next, "it comes later");
        assert_eq!(positions.step(&Heading { own: Some(own), ..heading(5, 3) }), Step::Own);
        assert_eq!(positions.step(&heading(6, 3)), Step::Lost, "a replica that had not got it took over");
        positions.read(&heading(6, 3), 6);
        let own = positions.own(7);
        assert!(!positions.sent(own, id(5)), "read past it before it was known where it was");
        positions.lose(FIRST);
        assert_eq!((positions.lost(), positions.inward(at(3))), (Some(FIRST), None));
        assert_eq!(positions.step(&heading(7, 6)), Step::Loose);
        let next = Heading { epoch: SECOND, ..heading(8, 7) };
        assert_eq!(positions.step(&next), Step::Gap);
        positions.begin(&next, 9);
        assert_eq!((positions.lost(), positions.inward(Stamp { epoch: SECOND, end: id(7) })), (None, Some(9)));
    }

    /// A number that was never given away is of another life of this node: nobody has applied that record here.
    #[test]
    fn a_record_is_its_own_only_if_it_was_made_here() {
        let mut positions = read();
        let own = positions.own(5);
        let numbered = |own| positions.step(&Heading { own: Some(own), ..heading(4, 3) });
        assert_eq!((numbered(own), numbered(own + 1)), (Step::Own, Step::Next));
    }

    /// What others get is stamped with a position of theirs: they must have every record up to it.
    #[test]
    fn what_others_get_waits_until_own_records_are_read() {
        let mut positions = read();
        assert_eq!(positions.applied(), Some((FIRST, id(3))));
        assert!(positions.is_settled(4) && positions.last_sent().is_none());
        let (first, second) = (positions.own(5), positions.own(6));
        assert!(positions.is_settled(4) && !positions.is_settled(5) && !positions.is_settled(6));
        assert!(positions.sent(first, id(5)));
        assert_eq!(positions.last_sent(), Some(id(5)));
        positions.read(&heading(4, 3), 7);
        assert_eq!(positions.last_sent(), Some(id(5)), "it comes later");
        positions.read(&Heading { own: Some(first), ..heading(5, 4) }, 7);
        assert!(positions.last_sent().is_none() && positions.is_settled(5) && !positions.is_settled(6));
        positions.give_up(second);
        assert!(positions.is_settled(6));
        assert_eq!(positions.applied(), Some((FIRST, id(5))));
        assert_eq!(Positions::new(9).applied(), None);
    }

    /// Beginning anew passes over what was before, own records among it.
    #[test]
    fn an_own_record_that_was_passed_over_is_not_waited_for() {
        let mut positions = read();
        let (told, untold) = (positions.own(5), positions.own(6));
        assert!(positions.sent(told, id(8)));
        positions.begin(&heading(10, 9), 7);
        assert!(positions.last_sent().is_none(), "it was before");
        assert!(!positions.sent(untold, id(9)), "nobody knows what was read at its place");
        let mut positions = read();
        let told = positions.own(5);
        assert!(positions.sent(told, id(9)));
        positions.begin(&heading(10, 9), 7);
        assert!(positions.last_sent().is_none() && positions.is_settled(5));
    }

    #[test]
    fn marks_are_bounded() {
        let mut positions = Positions::new(10);
        positions.begin(&heading(1, 0), 0);
        for count in 1..1000 {
            positions.read(&heading(count, count - 1), count);
        }
        assert_eq!(positions.known.as_ref().unwrap().marks.len(), 10);
        assert_eq!((positions.inward(at(900)), positions.inward(at(995))), (None, Some(995)));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// Another node appends.
        Other,
        /// This node applies one of its own, and appends it later.
        Own,
        Append,
        /// This node reads one.
        Read,
        Fill,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            1 => Just(Event::Other),
            1 => Just(Event::Own),
            1 => Just(Event::Append),
            3 => Just(Event::Read),
            2 => Just(Event::Fill)
        ];
        proptest::collection::vec(event, 0..80)
    }

    proptest! {
        /// Whatever the interleaving: what leaves had heard of each record up to its stamp before it began, and each record
        /// after the stamp of what comes in has a later place in the ledger.
        #[test]
        fn both_ways_err_to_the_safe_side(events in events()) {
            let mut positions = Positions::new(1000);
            positions.begin(&heading(1, 0), 0);
            let (mut end, mut read, mut log) = (0_u64, 0_u64, Vec::<Option<u64>>::new());
            let (mut unsent, mut ledger) = (VecDeque::new(), BTreeMap::<u64, u64>::new());
            let mut own_at = BTreeMap::new();
            let mut fills: Vec<u64> = Vec::new();
            for event in events {
                match event {
                    Event::Other => log.push(None),
                    Event::Own => {
                        end += 1;
                        let own = positions.own(end);
                        own_at.insert(own, end);
                        unsent.push_back(own);
                    }
                    Event::Append => log.extend(unsent.pop_front().map(Some)),
                    Event::Read => {
                        let Some(own) = usize::try_from(read).ok().and_then(|read| log.get(read).copied()) else { continue };
                        read += 1;
                        let heading = Heading { own, ..heading(read, read - 1) };
                        match positions.step(&heading) {
                            Step::Next => {
                                end += 1;
                                ledger.insert(read, end);
                            }
                            Step::Own => {
                                ledger.insert(read, own_at[&own.unwrap()]);
                            }
                            step => panic!("{step:?}"),
                        }
                        positions.read(&heading, end);
                    }
                    Event::Fill => fills.push(end),
                }
                for stamp in &fills {
                    let out = positions.outward(*stamp).unwrap();
                    prop_assert!(ledger.range(..=out.end.count).all(|(_, place)| place <= stamp));
                    prop_assert!(out.end.count <= read);
                }
                // What comes in is selected by each record after its stamp: those that were read, and the own ones to come.
                for count in 0..=log.len() as u64 {
                    let inward = positions.inward(at(count)).unwrap();
                    for (_, place) in ledger.range(count + 1..) {
                        prop_assert!(*place > inward);
                    }
                    for (number, own) in log.iter().enumerate().filter_map(|(n, own)| own.map(|own| (n as u64 + 1, own))) {
                        prop_assert!(number <= count || own_at[&own] > inward);
                    }
                    for own in &unsent {
                        prop_assert!(own_at[own] > inward);
                    }
                }
            }
        }
    }
}

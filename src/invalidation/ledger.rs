//! What has been invalidated, and since when: checked on every read and before every put.
//!
//! The local log is a counter. Each row says which record was the youngest to select something, hard and soft apart; what
//! is no row, a pattern or several tags at once, is a ban, tried once on each older entry. This file is compiled by
//! `tests/model` too, over a model checker.

use super::{
    ban::{Ban, What},
    row::{Row, RowHasher},
};
use crate::{
    semantics::date::Timestamp,
    sync::{AtomicU64, Ordering, RwLock},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, PoisonError},
    time::Duration,
};

/// A position in the invalidation log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(u64);

/// An invalidation, as the log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    Everything,
    /// What has this row in its footprint. `owner` is the row of the tenant that it is narrowed to.
    Row {
        row: Row,
        owner: Option<Row>,
    },
    Ban(Arc<What>),
}

impl Record {
    /// Whether it selects an entry, whenever that was filled.
    pub(crate) fn selects(&self, claim: Claim<'_>) -> bool {
        match self {
            Self::Everything => true,
            Self::Row { row, .. } => claim.footprint.contains(row),
            Self::Ban(what) => what.selects(claim.footprint, claim.key),
        }
    }
}

/// What a record does to what it selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Force {
    /// It is never used again.
    #[default]
    Hard,
    /// It is stale from then on.
    Soft,
}

/// How an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Good,
    /// Stale since then.
    Ended(Timestamp),
    Gone,
}

/// What of an entry decides how it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    /// The end of the log before its fill began.
    pub(crate) stamp: Seq,
    pub(crate) footprint: &'a [Row],
    /// Its key, for patterns.
    pub(crate) key: &'a [u8],
}

/// The generation of the ledger at which an entry was last found good, and when it went stale by a record: as long as the
/// generation is the same, two atomic loads are the whole check.
#[derive(Debug)]
pub(crate) struct Checked {
    generation: AtomicU64,
    /// In milliseconds. It only falls, so that of two checks at once neither undoes the other.
    ended: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct Ledger {
    /// The end of the log: what fills are stamped with.
    applied: AtomicU64,
    /// Raised after each change of the state. Starts at 1, so that an entry never checked is checked.
    generation: AtomicU64,
    state: RwLock<State>,
    hasher: RowHasher,
    /// The longest time, in milliseconds, for which anything that was stored could still be used.
    longest: AtomicU64,
    limits: Limits,
}

/// So many rows and bans are told apart; beyond that the oldest fold into their tenant's row, or into that of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) rows: usize,
    pub(crate) bans: usize,
    /// The newest changes, which are tried one by one.
    pub(crate) recent: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rows: 262_144, bans: 1000, recent: 1024 }
    }
}

#[derive(Debug, Default)]
struct State {
    rows: HashMap<Row, Position>,
    everything: Position,
    /// In the order of generations.
    bans: VecDeque<Ban>,
    /// The changes of the last generations, the newest last.
    recent: VecDeque<Change>,
    /// How many records these have.
    recent_records: usize,
    /// Nothing stamped before this is stored any more: records that would select it may have been dropped.
    horizon: u64,
    /// The position of the youngest ban that was dropped, and the generation at which all entries had been tried. What was
    /// stamped before, and has not been tried since, was on its way then.
    swept: (u64, u64),
}

/// The youngest records of each force.
#[derive(Clone, Copy, Debug, Default)]
struct Position {
    hard: u64,
    soft: u64,
    soft_at: Timestamp,
    /// The soft one before: what is older than both went stale with it.
    soft_before: (u64, Timestamp),
    /// When the youngest of them came.
    heard: Timestamp,
    owner: Option<Row>,
}

#[derive(Clone, Debug)]
struct Change {
    generation: u64,
    seq: u64,
    force: Force,
    at: Timestamp,
    records: Box<[Record]>,
}

impl Ledger {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            applied: AtomicU64::new(0),
            generation: AtomicU64::new(1),
            state: RwLock::new(State::default()),
            hasher: RowHasher::default(),
            longest: AtomicU64::new(0),
            limits,
        }
    }

    pub(crate) fn rows(&self) -> &RowHasher {
        &self.hasher
    }

    /// The end of the log. Read it before the inner service is called.
    pub(crate) fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::Acquire))
    }

    /// Appends to the log, as one record, and applies it here.
    pub(crate) fn append(&self, records: Vec<Record>, force: Force, now: Timestamp) -> Seq {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let seq = self.applied.load(Ordering::Relaxed) + 1;
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let change = Change { generation, seq, force, at: now, records: records.into() };
        state.apply(&change);
        state.remember(change, self.limits.recent);
        state.bound(self.limits, now, Duration::from_millis(self.longest.load(Ordering::Relaxed)));
        // A fill that starts from here on is stamped with this record; one that started before is not, and the rows
        // have it already. The generation comes last: who sees the new one sees the rows.
        self.applied.store(seq, Ordering::Release);
        self.generation.store(generation, Ordering::Release);
        Seq(seq)
    }

    /// How an entry stands.
    #[inline]
    pub(crate) fn standing(&self, claim: Claim<'_>, checked: &Checked) -> Standing {
        let generation = self.generation.load(Ordering::Acquire);
        if checked.generation.load(Ordering::Acquire) == generation {
            checked.standing()
        } else {
            self.check(claim, checked)
        }
    }

    /// Whether no record younger than the stamp selects an entry by what was not `known` of it before it was there: the
    /// other rows of its footprint, and several of its rows at once.
    pub(crate) fn is_untouched_beside(&self, claim: Claim<'_>, known: &[Row]) -> bool {
        if self.applied() == claim.stamp {
            return true;
        }
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if claim.stamp.0 < state.horizon {
            return false;
        }
        let news = claim.footprint.iter().filter(|row| !known.contains(row));
        let newest = news.filter_map(|row| state.rows.get(row)).map(Position::newest).max();
        let together =
            |ban: &Ban| matches!(*ban.what, What::AllOf { .. }) && ban.what.selects(claim.footprint, claim.key);
        newest.is_none_or(|newest| newest <= claim.stamp.0)
            && !state.bans.iter().any(|ban| ban.seq > claim.stamp.0 && together(ban))
    }

    /// Whether an entry may still be stored: its records are all at hand, and none is a hard one that selects it.
    pub(crate) fn admits(&self, claim: Claim<'_>, checked: &Checked) -> bool {
        let horizon = self.state.read().unwrap_or_else(PoisonError::into_inner).horizon;
        claim.stamp.0 >= horizon && self.standing(claim, checked) != Standing::Gone
    }

    /// What is stored now can be used for so long.
    pub(crate) fn keep_for(&self, span: Duration) {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        if self.longest.load(Ordering::Relaxed) < millis {
            self.longest.fetch_max(millis, Ordering::Relaxed);
        }
    }

    /// Tells of the bans that every entry has to be tried on before they can be dropped: the newest generation of them.
    pub(crate) fn pending_bans(&self) -> Option<u64> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.bans.back().map(|ban| ban.generation)
    }

    /// Every entry has been tried: bans up to this generation are not needed any more.
    pub(crate) fn drop_bans(&self, generation: u64) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        while state.bans.front().is_some_and(|ban| ban.generation <= generation) {
            let seq = state.bans.pop_front().map_or(0, |ban| ban.seq);
            state.horizon = state.horizon.max(seq);
            state.swept = (state.swept.0.max(seq), generation);
        }
    }

    #[cold]
    fn check(&self, claim: Claim<'_>, checked: &Checked) -> Standing {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.load(Ordering::Acquire);
        let before = checked.generation.load(Ordering::Acquire);
        if before == GONE {
            return Standing::Gone;
        }
        if claim.stamp.0 < state.swept.0 && before < state.swept.1 {
            checked.generation.store(GONE, Ordering::Release);
            return Standing::Gone;
        }
        let touch = state.changes_since(before, generation, claim).unwrap_or_else(|| state.newest_of(claim, before));
        drop(state);
        match touch {
            Touch { hard: true, .. } => {
                // For good: the record may be dropped before this is asked again.
                checked.generation.store(GONE, Ordering::Release);
                return Standing::Gone;
            }
            Touch { soft: Some(at), .. } => {
                checked.ended.fetch_min(at.as_unix_millis(), Ordering::Relaxed);
            }
            Touch { .. } => {}
        }
        // Another check at the same time may have found it gone by a younger record.
        let _ = checked
            .generation
            .fetch_update(Ordering::Release, Ordering::Acquire, |other| (other != GONE).then_some(generation));
        if checked.is_gone() { Standing::Gone } else { checked.standing() }
    }

    /// How many rows and bans are held.
    #[cfg(test)]
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.rows.len(), state.bans.len())
    }
}

/// What records do to an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Touch {
    hard: bool,
    soft: Option<Timestamp>,
}

impl Touch {
    fn and(self, other: Self) -> Self {
        let soft = self.soft.into_iter().chain(other.soft).min();
        Self { hard: self.hard || other.hard, soft }
    }

    fn by(mut self, force: Force, at: Timestamp) -> Self {
        match force {
            Force::Hard => self.hard = true,
            Force::Soft => self.soft = Some(self.soft.map_or(at, |other| other.min(at))),
        }
        self
    }
}

impl State {
    fn apply(&mut self, change: &Change) {
        for record in &change.records {
            match record {
                Record::Everything => {
                    self.everything.hear(change);
                    if change.force == Force::Hard {
                        self.rows.clear();
                        self.bans.clear();
                    }
                }
                Record::Row { row, owner } => {
                    let position = self.rows.entry(*row).or_default();
                    position.hear(change);
                    position.owner = *owner;
                }
                Record::Ban(what) => {
                    let Change { generation, seq, force, at, .. } = *change;
                    self.bans.push_back(Ban { what: Arc::clone(what), generation, seq, force, at });
                }
            }
        }
    }

    fn remember(&mut self, change: Change, most: usize) {
        self.recent_records += change.records.len();
        self.recent.push_back(change);
        while self.recent.len() > most || self.recent_records > 16 * most {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_records -= oldest.records.len();
        }
    }

    /// By all rows, and by the bans that are younger than the last check.
    fn newest_of(&self, claim: Claim<'_>, before: u64) -> Touch {
        let rows = claim.footprint.iter().filter_map(|row| self.rows.get(row)).chain([&self.everything]);
        let touches = rows.filter_map(|position| position.is_after(claim.stamp.0));
        let touch = touches.fold(Touch::default(), Touch::and);
        let bans = self.bans.iter().rev().take_while(|ban| ban.generation > before);
        let bans = bans.filter(|ban| ban.seq > claim.stamp.0 && ban.what.selects(claim.footprint, claim.key));
        bans.fold(touch, |touch, ban| touch.by(ban.force, ban.at))
    }

    /// By the changes since the last check, if they are fewer than there are rows to look up.
    fn changes_since(&self, before: u64, now: u64, claim: Claim<'_>) -> Option<Touch> {
        let since = usize::try_from(now.checked_sub(before)?).ok()?;
        if before == 0 || since > self.recent.len() || since > claim.footprint.len().max(4) {
            return None;
        }
        let mut touch = Touch::default();
        let mut tried = 0;
        for change in self.recent.iter().rev().take(since) {
            tried += change.records.len();
            if tried > 4 * claim.footprint.len().max(4) {
                return None;
            }
            if change.seq > claim.stamp.0 && change.records.iter().any(|record| record.selects(claim)) {
                touch = touch.by(change.force, change.at);
            }
        }
        Some(touch)
    }

    /// Keeps rows and bans bounded. What folds selects more than before, never less.
    fn bound(&mut self, limits: Limits, now: Timestamp, longest: Duration) {
        while self.bans.len() > limits.bans {
            let Some(ban) = self.bans.pop_front() else { break };
            let owner = ban.what.within();
            let position = Position::of(&ban);
            self.fold_into(owner, position);
        }
        if self.rows.len() <= limits.rows {
            return;
        }
        // Whatever such a row could select has expired everywhere.
        let mut horizon = self.horizon;
        self.rows.retain(|_, position| {
            let needed = now.since(position.heard) <= longest;
            if !needed {
                horizon = horizon.max(position.hard).max(position.soft);
            }
            needed
        });
        self.horizon = horizon;
        if self.rows.len() <= limits.rows / 2 {
            return;
        }
        let mut heard: Vec<u64> = self.rows.values().map(Position::newest).collect();
        let middle = heard.len() / 2;
        let (_, &mut median, _) = heard.select_nth_unstable(middle);
        let mut folded = Vec::new();
        // The rows of tenants stay, so that a busy tenant hurts only itself.
        let tenants = self.rows.iter().filter(|(row, position)| position.owner == Some(**row)).count();
        let spare = tenants <= limits.rows / 4;
        self.rows.retain(|row, position| {
            let stays = position.newest() > median || (spare && position.owner == Some(*row));
            if !stays {
                let owner = position.owner.filter(|owner| owner != row);
                folded.push(Position { owner, ..*position });
            }
            stays
        });
        for position in folded {
            self.fold_into(position.owner, position);
        }
    }

    fn fold_into(&mut self, owner: Option<Row>, position: Position) {
        let place = match owner {
            Some(owner) => self.rows.entry(owner).or_default(),
            None => &mut self.everything,
        };
        *place = Position { owner, ..place.with(&position) };
    }
}

impl Position {
    fn of(ban: &Ban) -> Self {
        let mut position = Self { heard: ban.at, ..Self::default() };
        match ban.force {
            Force::Hard => position.hard = ban.seq,
            Force::Soft => (position.soft, position.soft_at) = (ban.seq, ban.at),
        }
        position
    }

    fn hear(&mut self, change: &Change) {
        match change.force {
            Force::Hard => self.hard = change.seq,
            Force::Soft => {
                self.soft_before = (self.soft, self.soft_at);
                (self.soft, self.soft_at) = (change.seq, change.at);
            }
        }
        self.heard = change.at;
    }

    fn with(self, other: &Self) -> Self {
        let mut softs = [(self.soft, self.soft_at), self.soft_before, (other.soft, other.soft_at), other.soft_before];
        softs.sort_unstable();
        let [.., soft_before, (soft, soft_at)] = softs;
        let (hard, heard) = (self.hard.max(other.hard), self.heard.max(other.heard));
        Self { hard, soft, soft_at, soft_before, heard, owner: self.owner }
    }

    fn newest(&self) -> u64 {
        self.hard.max(self.soft)
    }

    fn is_after(&self, stamp: u64) -> Option<Touch> {
        let softs = [self.soft_before, (self.soft, self.soft_at)];
        let soft = softs.into_iter().find(|(seq, _)| *seq > stamp).map(|(_, at)| at);
        let touch = Touch { hard: self.hard > stamp, soft };
        (touch != Touch::default()).then_some(touch)
    }
}

impl Checked {
    /// Whether a hard record has been found to select it.
    pub(crate) fn is_gone(&self) -> bool {
        self.generation.load(Ordering::Acquire) == GONE
    }

    /// When a soft record made it stale, as far as is known.
    #[inline]
    pub(crate) fn ended(&self) -> Option<Timestamp> {
        match self.ended.load(Ordering::Relaxed) {
            u64::MAX => None,
            ended => Some(Timestamp::from_unix_millis(ended)),
        }
    }

    #[inline]
    fn standing(&self) -> Standing {
        self.ended().map_or(Standing::Good, Standing::Ended)
    }
}

/// The generation of what has been found gone.
const GONE: u64 = u64::MAX;

impl Default for Checked {
    fn default() -> Self {
        Self { generation: AtomicU64::new(0), ended: AtomicU64::new(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Footprint, Subject, Within};
    use super::*;
    use crate::key::Pattern;
    use proptest::prelude::*;

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

    fn row(row: Row) -> Vec<Record> {
        vec![Record::Row { row, owner: None }]
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
        ledger.append(row(ledger.rows().row(at(Some("host:443"), "/x"), Within::Anyone)), Force::Hard, T0);
        assert!(!good(&ledger, before, &x));
        assert!(good(&ledger, before, &y));
        assert!(good(&ledger, ledger.applied(), &x), "filled afterwards");
        ledger.append(vec![Record::Everything], Force::Hard, T0);
        assert!(!good(&ledger, before, &y));
    }

    #[test]
    fn a_bare_path_is_meant_anywhere() {
        let ledger = ledger();
        let stamp = ledger.applied();
        ledger.append(row(ledger.rows().row(at(None, "/x"), Within::Anyone)), Force::Hard, T0);
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
            ledger.append(row(ledger.rows().row(subject, within)), Force::Hard, T0);
            let gone = footprints.each_ref().map(|footprint| !good(&ledger, stamp, footprint));
            assert_eq!(gone, hits, "{subject:?} in {within:?}");
        }
    }

    #[test]
    fn soft_records_end_freshness_and_hard_ones_use() {
        let ledger = ledger();
        let checked = Checked::default();
        let claim = Claim { stamp: ledger.applied(), footprint: &[1], key: b"" };
        ledger.append(row(1), Force::Soft, T0);
        assert_eq!(ledger.standing(claim, &checked), Standing::Ended(T0));
        let later = T0.saturating_add(Duration::from_secs(9));
        ledger.append(row(1), Force::Soft, later);
        assert_eq!(ledger.standing(claim, &checked), Standing::Ended(T0), "the first one counts");
        ledger.append(row(1), Force::Hard, later);
        assert_eq!(ledger.standing(claim, &checked), Standing::Gone);
        assert_eq!(ledger.standing(claim, &checked), Standing::Gone);
        let younger = Claim { stamp: Seq(2), ..claim };
        assert_eq!(ledger.standing(younger, &Checked::default()), Standing::Gone);
        assert_eq!(ledger.standing(Claim { stamp: Seq(3), ..claim }, &Checked::default()), Standing::Good);
    }

    #[test]
    fn bans_are_tried_once_and_what_they_found_stays() {
        let ledger = ledger();
        let pattern = |text: &str| {
            let pattern = Pattern::parse(text).unwrap();
            vec![Record::Ban(Arc::new(What::Pattern { pattern, within: None }))]
        };
        let mut key = crate::key::KeyBuf::default();
        key.part(crate::key::Part::Path, b"/x");
        let claim = Claim { stamp: ledger.applied(), footprint: &[1], key: key.as_bytes() };
        let (first, second) = (Checked::default(), Checked::default());
        ledger.append(pattern("/y"), Force::Hard, T0);
        assert_eq!(ledger.standing(claim, &first), Standing::Good);
        ledger.append(pattern("/x*"), Force::Hard, T0);
        assert_eq!(ledger.standing(claim, &first), Standing::Gone);
        assert!(!first.is_gone() || ledger.standing(claim, &first) == Standing::Gone);
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
        ledger.append(vec![Record::Ban(Arc::new(ban))], Force::Hard, T0);
        assert!(!good(&ledger, stamp, &[3, 2, 1]) && good(&ledger, stamp, &[1, 3]));
        let claim = Claim { stamp, footprint: &[1, 2], key: b"" };
        assert!(!ledger.is_untouched_beside(claim, &[1, 2]), "together they were not known");
    }

    #[test]
    fn what_was_known_before_was_checked_before() {
        let ledger = ledger();
        let stamp = ledger.applied();
        ledger.append(row(1), Force::Hard, T0);
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
            ledger.append(vec![Record::Row { row: 10_000 + n, owner: busy }], Force::Hard, T0);
        }
        assert!(ledger.size().0 <= 1000, "{:?}", ledger.size());
        assert!(good(&ledger, before, &quiet) && good(&ledger, before, &shared) && !good(&ledger, before, &mine));
        for n in 0..10_000 {
            assert!(!good(&ledger, before, &[10_000 + n, 1_000_001]), "{n}");
        }
        // Of no tenant: everything older goes.
        for n in 0..2000 {
            ledger.append(row(50_000 + n), Force::Hard, T0);
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
            ledger.append(row(n), Force::Hard, T0);
        }
        let later = T0.saturating_add(Duration::from_secs(61));
        ledger.append(row(1000), Force::Hard, later);
        assert_eq!(ledger.size().0, 1);
        assert!(!ledger.admits(Claim { stamp: before, footprint: &[5], key: b"" }, &Checked::default()));
    }

    #[test]
    fn bans_fold_too() {
        let ledger = Ledger::new(Limits { rows: 100, bans: 10, recent: 16 });
        let before = ledger.applied();
        let ban = |tag| Record::Ban(Arc::new(What::AllOf { rows: [tag].into(), owner: Some(77) }));
        for tag in 0..20 {
            ledger.append(vec![ban(tag)], Force::Hard, T0);
        }
        assert_eq!(ledger.size(), (1, 10));
        assert!((0..20).all(|tag| !good(&ledger, before, &[tag, 77])) && good(&ledger, before, &[500]));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Fill(Row, Row),
        Invalidate(Row, Force),
        Several(Row, Row),
        Everything(Force),
        Ask,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let force = || prop_oneof![Just(Force::Hard), Just(Force::Soft)];
        let event = prop_oneof![
            4 => (0u64..6, 0u64..6).prop_map(|(a, b)| Event::Fill(a, b)),
            4 => (0u64..6, force()).prop_map(|(row, force)| Event::Invalidate(row, force)),
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
                        ledger.append(row(*one), *force, T0);
                        log.push((event.clone(), *force));
                    }
                    Event::Several(a, b) => {
                        let what = What::AllOf { rows: [*a, *b].into(), owner: None };
                        ledger.append(vec![Record::Ban(Arc::new(what))], Force::Hard, T0);
                        log.push((event.clone(), Force::Hard));
                    }
                    Event::Everything(force) => {
                        ledger.append(vec![Record::Everything], *force, T0);
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
}

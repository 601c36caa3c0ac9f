//! What the ledger holds under its lock: rows, bans, the newest changes, and how all of that is kept bounded.

use super::{
    super::{
        ban::{Ban, What},
        row::Row,
    },
    Culprits, Limits,
    position::Position,
    record::{Change, Claim, Record},
    touch::Touch,
};
use crate::semantics::date::Timestamp;
use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    time::Duration,
};

/// What has been invalidated.
#[derive(Debug, Default)]
pub(super) struct State {
    rows: HashMap<Row, Position, BuildHasherDefault<Itself>>,
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

impl State {
    /// Applies a change, the youngest there is, and makes room for it.
    pub(super) fn add(&mut self, change: Change, limits: Limits, longest: Duration) {
        let now = change.at;
        self.apply(&change);
        self.remember(change, limits.recent);
        self.bound(limits, now, longest);
    }

    /// Drops the bans up to this generation: every entry has been tried on them.
    pub(super) fn drop_bans(&mut self, generation: u64) {
        while self.bans.front().is_some_and(|ban| ban.generation <= generation) {
            let seq = self.bans.pop_front().map_or(0, |ban| ban.seq);
            self.horizon = self.horizon.max(seq);
            self.swept = (self.swept.0.max(seq), generation);
        }
    }

    /// Whether all records are at hand that could select what was stamped so.
    pub(super) fn covers(&self, stamp: u64) -> bool {
        stamp >= self.horizon
    }

    /// The generation of the youngest ban that is older than this.
    pub(super) fn youngest_ban_outlived(&self, now: Timestamp, longest: Duration) -> Option<u64> {
        self.bans.iter().take_while(|ban| now.since(ban.at) > longest).last().map(|ban| ban.generation)
    }

    /// The generation of the youngest ban.
    pub(super) fn youngest_ban(&self) -> Option<u64> {
        self.bans.back().map(|ban| ban.generation)
    }

    /// What its records do to an entry that was last checked at the generation `before`; it is `now` another.
    pub(super) fn touch(&self, claim: Claim<'_>, before: u64, now: u64) -> Touch {
        if claim.stamp.0 < self.swept.0 && before < self.swept.1 {
            return Touch { hard: true, soft: None };
        }
        self.changes_since(before, now, claim).unwrap_or_else(|| self.newest_of(claim, before))
    }

    /// Whether no record younger than the stamp selects it by a row that is not `known`, or by several rows at once.
    pub(super) fn is_untouched_beside(&self, claim: Claim<'_>, known: &[Row]) -> bool {
        let stamp = claim.stamp.0;
        let mut news = claim.footprint.iter().filter(|row| !known.contains(row)).filter_map(|row| self.rows.get(row));
        let together =
            |ban: &Ban| matches!(*ban.what, What::AllOf { .. }) && ban.what.selects(claim.footprint, claim.key);
        news.all(|position| position.newest() <= stamp) && !self.bans.iter().any(|ban| ban.seq > stamp && together(ban))
    }

    /// What records younger than its stamp select it, as far as that can still be told.
    pub(super) fn culprits(&self, claim: Claim<'_>, rows: &[Row]) -> Culprits {
        let stamp = claim.stamp.0;
        let hit = |row: &Row| self.rows.get(row).is_some_and(|position| position.newest() > stamp);
        let banned = |ban: &Ban| ban.seq > stamp && ban.what.selects(claim.footprint, claim.key);
        Culprits {
            rows: rows.iter().enumerate().filter(|(_, row)| hit(row)).map(|(place, _)| place).collect(),
            ban: self.bans.iter().any(banned),
            everything: self.everything.newest() > stamp,
        }
    }

    /// How many rows and bans are held.
    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.bans.len())
    }

    /// How many changes are at hand, and how many records these have.
    #[cfg(test)]
    pub(super) fn recent(&self) -> (usize, usize) {
        (self.recent.len(), self.recent.iter().map(|change| change.batch.iter().count()).sum())
    }

    fn apply(&mut self, change: &Change) {
        let (seq, at) = (change.seq, change.at);
        for (record, force) in change.batch.iter() {
            match record {
                // Rows and bans stay: what is on its way is tried on them apart.
                Record::Everything => self.everything.hear(seq, force, at),
                Record::Row { row, owner } => {
                    let position = self.rows.entry(*row).or_default();
                    position.hear(seq, force, at);
                    position.owner = *owner;
                }
                Record::Ban(what) => self.bans.push_back(change.ban(what, force)),
            }
        }
    }

    fn remember(&mut self, change: Change, most: usize) {
        self.recent_records += change.batch.len();
        self.recent.push_back(change);
        while self.recent.len() > most || self.recent_records > 16 * most {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_records -= oldest.batch.len();
        }
    }

    /// By all rows, and by the bans that are younger than the last check.
    fn newest_of(&self, claim: Claim<'_>, before: u64) -> Touch {
        let rows = claim.footprint.iter().filter_map(|row| self.rows.get(row)).chain([&self.everything]);
        let rows = rows.map(|position| position.since(claim.stamp.0));
        let bans = self.bans.iter().rev().take_while(|ban| ban.generation > before);
        let bans = bans.filter(|ban| ban.seq > claim.stamp.0 && ban.what.selects(claim.footprint, claim.key));
        rows.chain(bans.map(|ban| Touch::by(ban.force, ban.at))).fold(Touch::default(), Touch::and)
    }

    /// By the changes since the last check, if they are fewer than there are rows to look up.
    fn changes_since(&self, before: u64, now: u64, claim: Claim<'_>) -> Option<Touch> {
        let since = usize::try_from(now.checked_sub(before)?).ok()?;
        // Each change is compared with every row: of many rows that takes longer than to look them up.
        let worth = claim.footprint.len().clamp(4, 16);
        if since > worth {
            return None;
        }
        // Of an entry that was never checked there are more: generations start at 1.
        let first = self.recent.len().checked_sub(since)?;
        let mut touch = Touch::default();
        let mut tried = 0;
        for change in self.recent.range(first..) {
            tried += change.batch.len();
            if tried > 4 * worth {
                return None;
            }
            if claim.stamp.0 < change.seq {
                let hits = change.batch.iter().filter(|(record, _)| record.selects(claim));
                touch = hits.map(|(_, force)| Touch::by(force, change.at)).fold(touch, Touch::and);
            }
        }
        Some(touch)
    }

    /// Keeps rows and bans bounded. What folds selects more than before, never less.
    fn bound(&mut self, limits: Limits, now: Timestamp, longest: Duration) {
        while self.bans.len() > limits.bans {
            let Some(ban) = self.bans.pop_front() else { break };
            self.fold_into(ban.what.within(), &Position::of(&ban));
        }
        if self.rows.len() <= limits.rows {
            return;
        }
        // Whatever such a row could select has expired everywhere.
        let mut horizon = self.horizon;
        self.rows.retain(|_, position| {
            let needed = now.since(position.heard()) <= longest;
            if !needed {
                horizon = horizon.max(position.newest());
            }
            needed
        });
        self.horizon = horizon;
        if self.rows.len() > limits.rows / 2 {
            self.fold_older_half(limits);
        }
    }

    fn fold_older_half(&mut self, limits: Limits) {
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
                folded.push((position.owner.filter(|owner| owner != row), *position));
            }
            stays
        });
        for (owner, position) in folded {
            self.fold_into(owner, &position);
        }
    }

    fn fold_into(&mut self, owner: Option<Row>, position: &Position) {
        let place = match owner {
            Some(owner) => self.rows.entry(owner).or_default(),
            None => &mut self.everything,
        };
        *place = place.with(position);
        place.owner = owner;
    }
}

/// A row is a hash, under a seed that nobody knows: it need not be hashed again.
#[derive(Debug, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, row: u64) {
        self.0 = row;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
}

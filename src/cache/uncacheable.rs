//! Resources that give nothing that can be stored: hit-for-miss, as Varnish calls it. Requests for them do not wait for each
//! other.

use super::table::Table;
use crate::{entry::Entry, outcome::NotStored, policy::Rules, semantics::date::Timestamp};

/// What is remembered, by the hash of the key: a collision costs no more than a fill that is not shared.
#[derive(Debug, Default)]
pub(crate) struct Uncacheable(Table<Known, MOST>);

/// Why nothing can be stored, and until when that is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) why: NotStored,
    /// The head of an answer tells whether it still holds.
    by_head: bool,
    /// How many answers in a row have said so.
    times: u32,
    until: Timestamp,
}

impl Known {
    /// It was found so often that the cache takes no part any more but to watch the heads of answers.
    fn is_certain(&self) -> bool {
        self.by_head && self.times >= CERTAIN
    }

    /// Whether the cache takes no part in a request for it.
    pub(crate) fn is_left_alone(&self, stored: Option<&Entry>, rules: &Rules) -> bool {
        self.is_certain()
            && stored.is_none()
            && rules.sealed.is_none()
            && rules.fill.hard_timeout.is_none()
            && !rules.observe_only
    }

    /// Until when it is remembered.
    pub(crate) fn until(&self) -> Timestamp {
        self.until
    }
}

impl Uncacheable {
    pub(crate) fn remember(&self, hash: u64, why: NotStored, by_head: bool, until: Timestamp) {
        let times = self.0.get(hash).filter(|known| known.by_head).map_or(0, |known| known.times);
        self.0.insert(hash, Known { why, by_head, times: times.saturating_add(1), until });
    }

    pub(crate) fn recall(&self, hash: u64, now: Timestamp) -> Option<Known> {
        self.0.get(hash).filter(|known| now < known.until)
    }

    /// The same, for those who only look: it does not count as a use.
    pub(crate) fn peek(&self, hash: u64, now: Timestamp) -> Option<Known> {
        self.0.peek(hash).filter(|known| now < known.until)
    }

    /// A cacheable answer has come.
    pub(crate) fn forget(&self, hash: u64) {
        self.0.remove(hash);
    }

    /// Nothing at all is remembered: the common case.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_unused()
    }

    /// What a resource is remembered by. What requests with credentials get says nothing of the others.
    pub(crate) fn hash(&self, key: &[u8], credentials: bool) -> u64 {
        self.0.hash((key, credentials))
    }
}

/// After so many answers the next are not even considered for storage, until one could be stored.
const CERTAIN: u32 = 8;

/// So many resources are remembered.
const MOST: usize = 10_000;

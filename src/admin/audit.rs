//! What was done, and by whom.

use super::{
    answer::{Answer, Told},
    metrics::seconds,
    service::Asked,
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// The last actions, those that were refused included.
#[derive(Debug, Default)]
pub(super) struct Trail(Mutex<VecDeque<Action>>);

/// Something that was done, or was to be done.
#[derive(Clone, Debug, Default)]
pub(super) struct Action {
    pub(super) at_millis: u64,
    pub(super) by: String,
    pub(super) action: &'static str,
    pub(super) cache: String,
    pub(super) what: String,
    pub(super) outcome: String,
    pub(super) hits: Option<u64>,
    /// The tenant that the access was limited to.
    pub(super) tenant: Option<String>,
}

impl Trail {
    pub(super) fn record(&self, mut action: Action, log_details: bool) {
        for text in [&mut action.what, &mut action.outcome, &mut action.by] {
            if let Some((at, _)) = text.char_indices().nth(LONGEST) {
                text.truncate(at);
                text.push('…');
            }
        }
        action.tell(log_details);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            // Nobody can wash away what was done with what was refused.
            let refused = |action: &Action| action.outcome.starts_with("refused");
            let many = all.iter().filter(|action| refused(action)).count() > MOST / 2;
            let oldest = if many { all.iter().position(refused) } else { None };
            all.remove(oldest.unwrap_or(0));
        }
        all.push_back(action);
    }

    /// The youngest first.
    pub(super) fn told(&self, asked: &Asked<'_>) -> Told {
        let limit = asked.query.number("limit", 100, 1..=MOST)?;
        let own = |action: &&Action| asked.access.tenant.is_none() || action.tenant == asked.access.tenant;
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let actions: Vec<_> = all.iter().rev().filter(own).take(limit).map(Action::json).collect();
        drop(all);
        Ok(Answer::json(&json!({ "actions": actions })))
    }
}

impl Action {
    fn json(&self) -> Value {
        json!({
            "at": seconds(self.at_millis),
            "by": self.by,
            "action": self.action,
            "cache": self.cache,
            "what": self.what,
            "outcome": self.outcome,
            "hits": self.hits,
        })
    }

    fn tell(&self, details: bool) {
        let Self { action, hits, .. } = self;
        // Why it was refused may name what it was about.
        let outcome = self.outcome.split(':').next().unwrap_or_default();
        if details {
            let (by, what) = (self.by.escape_debug(), self.what.escape_debug());
            let (cache, outcome) = (self.cache.escape_debug(), self.outcome.escape_debug());
            tracing::info!(target: "larder::admin", action, %by, %cache, %what, %outcome, hits, "an action");
        } else {
            tracing::info!(target: "larder::admin", action, outcome, hits, "an action");
        }
    }
}

/// So many are kept.
const MOST: usize = 1000;

/// So many signs a text has at most.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_stays_when_much_is_refused() {
        let trail = Trail::default();
        let record = |outcome: &str| {
            trail.record(Action { outcome: outcome.to_owned(), ..Action::default() }, false);
        };
        (0..400).for_each(|_| record("ok"));
        (0..3000).for_each(|_| record("refused: access is read-only"));
        let of = |outcome: &str| trail.0.lock().unwrap().iter().filter(|action| action.outcome == outcome).count();
        assert_eq!((of("ok"), of("refused: access is read-only")), (400, 600));
        (0..3000).for_each(|_| record("ok"));
        assert_eq!((of("ok"), of("refused: access is read-only")), (1000, 0));
    }
}

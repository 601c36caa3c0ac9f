//! Looking through memory for what is asked for most.

use super::{Cache, aside, hot};
use crate::{entry::Entry, key::Wanted, semantics::date::Timestamp};
use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

/// The requests that were answered most, with how often, and whether they are for memory alone.
#[derive(Default)]
struct Busiest(BinaryHeap<Reverse<(u64, bool, Wanted)>>);

impl Cache {
    /// Counts what was asked for since the last look, unless that was less than so long ago. By whoever has the turn.
    pub(super) async fn look(&self, pause: Duration) {
        let since = self.0.past.state().looked;
        let now = self.now();
        if now.since(since) < pause {
            return;
        }
        let cache = self.clone();
        aside(move || cache.look_since(since, now)).await;
    }

    fn look_since(&self, since: Timestamp, now: Timestamp) {
        let span = now.since(since);
        let mut busiest = Busiest::default();
        self.0.memory.each(|key, entry| busiest.see(key, entry, now, span));
        // As if all of it had been in the middle of this time.
        let at = now.saturating_sub(span / 2);
        let found = busiest.0.into_iter().map(|Reverse(found)| found);
        let private = |memory_only: bool| memory_only || !self.has_stores();
        let (here, news): (Vec<_>, Vec<_>) = found.partition(|(_, memory_only, _)| private(*memory_only));
        let counted = |found: Vec<(u64, bool, Wanted)>| found.into_iter().map(|(count, _, wanted)| (wanted, count));
        let mut state = self.0.past.state();
        state.looked = now;
        state.here.count(at, counted(here));
        state.news.count(at, counted(news));
    }
}

impl Busiest {
    fn see(&mut self, key: &[u8], entry: &Entry, now: Timestamp, span: Duration) {
        if entry.value.is_some() || entry.status.is_client_error() || entry.status.is_server_error() {
            return;
        }
        let news = entry.usage.news();
        if news == 0 {
            return;
        }
        let count = estimated(news, now.since(entry.received()), span);
        if self.0.len() >= MOST && self.0.peek().is_some_and(|Reverse((least, ..))| *least >= count) {
            return;
        }
        let Some(wanted) = Wanted::of(key) else { return };
        self.0.push(Reverse((count, entry.usage.is_memory_only(), wanted)));
        if self.0.len() > MOST {
            self.0.pop();
        }
    }
}

/// How often something was asked for in this time, by how often it was since it was made: those before it are gone.
fn estimated(uses: u32, age: Duration, span: Duration) -> u64 {
    let (age, span) = (age.max(SHORTEST).as_millis(), span.as_millis());
    let times = u128::from(uses);
    u64::try_from(if span > age { times * span / age } else { times }).unwrap_or(u64::MAX)
}

/// Twice as many as are kept: the variants of one resource are one.
const MOST: usize = 2 * hot::MOST;

/// Less tells nothing of how often.
const SHORTEST: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_anew_often_is_not_thought_less_of() {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        assert_eq!(estimated(100, minutes(60), minutes(10)), 100);
        assert_eq!(estimated(100, minutes(5), minutes(10)), 200);
        assert_eq!(estimated(1, Duration::ZERO, minutes(10)), 10);
        assert_eq!(estimated(1, Duration::ZERO, Duration::ZERO), 1);
        assert_eq!(estimated(u32::MAX, minutes(1), Duration::MAX), u64::MAX);
    }
}

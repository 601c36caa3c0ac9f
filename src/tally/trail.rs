//! What was counted when: what a tally read at intervals, as differences.

use crate::semantics::date::Timestamp;
use std::{collections::VecDeque, iter, time::Duration};

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Minute,
    FiveMinutes,
    Hour,
}

impl Window {
    pub(crate) const fn span(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::FiveMinutes => 300,
            Self::Hour => 3600,
        })
    }
}

/// What was read, of the last five minutes closely, of the last hour coarsely. Only what differs is kept.
#[derive(Debug)]
pub(crate) struct Trail {
    last: Vec<u64>,
    at: Timestamp,
    fine: VecDeque<Step>,
    coarse: VecDeque<Step>,
}

#[derive(Debug)]
struct Step {
    until: Timestamp,
    since: Timestamp,
    more: Vec<(u16, u64)>,
}

impl Trail {
    /// From now on, with nothing counted so far.
    pub(crate) fn begin(now: Timestamp) -> Self {
        Self::after(now, Vec::new())
    }

    /// From now on, with so much counted before.
    pub(crate) fn after(now: Timestamp, last: Vec<u64>) -> Self {
        Self { last, at: now, fine: VecDeque::new(), coarse: VecDeque::new() }
    }

    /// Takes in a reading. One that comes sooner than 10 s after another is not needed.
    pub(crate) fn sample(&mut self, now: Timestamp, reading: Vec<u64>) {
        let since = self.at;
        if now.since(since) < EVERY {
            return;
        }
        let more = difference(&reading, &self.last);
        self.fine.push_back(Step { until: now, since, more });
        (self.at, self.last) = (now, reading);
        while let Some(old) = self.fine.front().filter(|step| now.since(step.since) > CLOSE) {
            let joins = self.coarse.back().is_some_and(|last| old.until.since(last.since) <= CLOSE);
            let Some(old) = self.fine.pop_front() else { break };
            match self.coarse.back_mut().filter(|_| joins) {
                Some(last) => {
                    last.more = sum(&last.more, &old.more);
                    last.until = old.until;
                }
                None => self.coarse.push_back(old),
            }
        }
        while self.coarse.front().is_some_and(|step| now.since(step.since) > Window::Hour.span() + CLOSE) {
            self.coarse.pop_front();
        }
    }

    /// What was counted within a window that ends with this reading; a step that began before it counts as a whole.
    pub(crate) fn within(&self, window: Window, now: Timestamp, reading: &[u64]) -> Vec<u64> {
        let last = self.last.iter().copied().chain(iter::repeat(0));
        let mut all: Vec<u64> = reading.iter().zip(last).map(|(now, last)| now.saturating_sub(last)).collect();
        let span = window.span() + SLACK;
        for step in self.fine.iter().chain(&self.coarse).filter(|step| now.since(step.until) < span) {
            // Of a coarse step that began long before, only as much as lies within.
            let length = step.until.since(step.since).as_millis().max(1);
            let inside = span.saturating_sub(now.since(step.until)).as_millis().min(length);
            for (place, count) in &step.more {
                if let Some(sum) = all.get_mut(usize::from(*place)) {
                    let part = if inside == length { u128::from(*count) } else { u128::from(*count) * inside / length };
                    *sum += u64::try_from(part).unwrap_or(u64::MAX);
                }
            }
        }
        all
    }
}

fn difference(now: &[u64], before: &[u64]) -> Vec<(u16, u64)> {
    let before = before.iter().copied().chain(iter::repeat(0));
    let more = now.iter().zip(before).map(|(now, before)| now.saturating_sub(before)).enumerate();
    more.filter(|(_, more)| *more > 0).filter_map(|(place, more)| Some((u16::try_from(place).ok()?, more))).collect()
}

fn sum(one: &[(u16, u64)], other: &[(u16, u64)]) -> Vec<(u16, u64)> {
    let mut all: std::collections::BTreeMap<u16, u64> = one.iter().copied().collect();
    for (place, count) in other {
        *all.entry(*place).or_default() += count;
    }
    all.into_iter().collect()
}

/// Readings are taken so often.
pub(crate) const EVERY: Duration = Duration::from_secs(10);

/// A reading may come this late.
const SLACK: Duration = Duration::from_secs(5);

/// So long steps are kept as they are; then they are joined to steps of this length.
const CLOSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_see_what_lies_in_them() {
        let at = |seconds: u64| Timestamp::from_unix_secs(1_000_000 + seconds);
        let mut trail = Trail::begin(at(0));
        // One a second.
        for seconds in (0..7200).step_by(10) {
            trail.sample(at(seconds), vec![seconds, 7]);
        }
        let counted = |window| trail.within(window, at(7195), &[7195, 7])[0];
        assert!((60..=75).contains(&counted(Window::Minute)), "{}", counted(Window::Minute));
        assert!((300..=315).contains(&counted(Window::FiveMinutes)), "{}", counted(Window::FiveMinutes));
        assert!((3590..=3620).contains(&counted(Window::Hour)), "{}", counted(Window::Hour));
        assert!(trail.fine.len() <= 31 && trail.coarse.len() <= 15, "{} {}", trail.fine.len(), trail.coarse.len());
        assert_eq!(trail.within(Window::Minute, at(9000), &[7200, 7])[0], 10, "what came since the last reading");
    }

    #[test]
    fn what_was_counted_before_the_first_reading_is_not_lost() {
        let at = |seconds: u64| Timestamp::from_unix_secs(1_000_000 + seconds);
        let mut trail = Trail::begin(at(0));
        assert_eq!(trail.within(Window::Minute, at(5), &[5]), [5]);
        trail.sample(at(10), vec![6]);
        assert_eq!(trail.within(Window::Minute, at(11), &[8]), [8]);
        assert_eq!(trail.within(Window::Minute, at(100), &[8]), [2]);
        let trail = Trail::after(at(0), vec![5]);
        assert_eq!(trail.within(Window::Hour, at(5), &[7]), [2]);
    }
}

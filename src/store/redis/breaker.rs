//! When a server is left alone. A pure state machine: the moment is passed in, as the time since some start.

use super::fault::Reason;
use std::time::Duration;

/// Opens after some failures in a row. While it is open nobody waits for the server: a probe in the background finds out
/// whether it is back. After a probe that worked, one more failure opens it again, until something has succeeded.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    limits: Limits,
    state: State,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many failures in a row open it.
    pub(super) failures: u32,
    /// So long after it opened, or after a probe, the next one is due.
    pub(super) probe_every: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failed: u32 },
    Open { reason: Reason, probe_at: Duration },
    Probing { reason: Reason, probe_at: Duration },
}

/// Whether an operation may go to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// It may.
    Pass,
    /// It may not.
    Rest,
    /// It may not, and whoever asked is to start a probe.
    Probe,
}

/// What an event has done to the breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Closed(Reason),
    Opened(Reason),
}

impl Breaker {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: State::Closed { failed: 0 } }
    }

    /// Before each operation.
    pub(super) fn admit(&mut self, now: Duration) -> Admit {
        match self.state {
            State::Closed { .. } => Admit::Pass,
            // A probe that was lost with its runtime is one that failed.
            State::Open { reason, probe_at } | State::Probing { reason, probe_at } if now >= probe_at => {
                self.state = State::Probing { reason, probe_at: now.saturating_add(self.limits.probe_every) };
                Admit::Probe
            }
            State::Open { .. } | State::Probing { .. } => Admit::Rest,
        }
    }

    /// An operation that was let pass has succeeded. One that began before the breaker opened does not close it.
    pub(super) fn succeeded(&mut self) {
        if let State::Closed { failed } = &mut self.state {
            *failed = 0;
        }
    }

    /// An operation that was let pass has failed.
    pub(super) fn failed(&mut self, reason: Reason, now: Duration) -> Option<Turn> {
        let State::Closed { failed } = self.state else { return None };
        let failed = failed.saturating_add(1);
        if failed < self.limits.failures {
            self.state = State::Closed { failed };
            return None;
        }
        self.state = State::Open { reason, probe_at: now.saturating_add(self.limits.probe_every) };
        Some(Turn::Opened(reason))
    }

    /// A probe has succeeded, or a new connection has been made.
    pub(super) fn answered(&mut self) -> Option<Turn> {
        let (State::Open { reason, .. } | State::Probing { reason, .. }) = self.state else { return None };
        self.state = State::Closed { failed: self.limits.failures - 1 };
        Some(Turn::Closed(reason))
    }

    /// An operation that was not let pass has succeeded all the same: as good as the probe that is under way, if one is.
    pub(super) fn answered_in_passing(&mut self) -> Option<Turn> {
        if matches!(self.state, State::Probing { .. }) { self.answered() } else { None }
    }

    /// A probe has failed.
    pub(super) fn unanswered(&mut self, reason: Reason, now: Duration) {
        if let State::Probing { .. } = self.state {
            self.state = State::Open { reason, probe_at: now.saturating_add(self.limits.probe_every) };
        }
    }

    #[cfg(test)]
    fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVERY: Duration = Duration::from_secs(1);

    fn breaker(failures: u32) -> Breaker {
        Breaker::new(Limits { failures, probe_every: EVERY })
    }

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = breaker(3);
        for _ in 0..2 {
            assert_eq!(breaker.failed(Reason::Timeout, at(0)), None);
            assert_eq!(breaker.failed(Reason::Timeout, at(0)), None);
            breaker.succeeded();
        }
        breaker.failed(Reason::Broken, at(1));
        breaker.failed(Reason::Timeout, at(2));
        assert_eq!(breaker.failed(Reason::Broken, at(3)), Some(Turn::Opened(Reason::Broken)));
        assert_eq!(breaker.admit(at(4)), Admit::Rest);
    }

    #[test]
    fn one_probe_each_time_and_nobody_else_meanwhile() {
        let mut breaker = breaker(1);
        breaker.failed(Reason::Timeout, at(0));
        assert_eq!(breaker.admit(at(999)), Admit::Rest);
        assert_eq!(breaker.admit(at(1000)), Admit::Probe);
        assert_eq!(breaker.admit(at(1000)), Admit::Rest);
        breaker.unanswered(Reason::Timeout, at(1100));
        assert_eq!(breaker.admit(at(2099)), Admit::Rest);
        assert_eq!(breaker.admit(at(2100)), Admit::Probe);
        assert_eq!(breaker.answered(), Some(Turn::Closed(Reason::Timeout)));
        assert_eq!(breaker.admit(at(2101)), Admit::Pass);
    }

    #[test]
    fn a_probe_that_never_came_back_is_repeated() {
        let mut breaker = breaker(1);
        breaker.failed(Reason::Broken, at(0));
        assert_eq!(breaker.admit(at(1000)), Admit::Probe);
        assert_eq!(breaker.admit(at(1999)), Admit::Rest);
        assert_eq!(breaker.admit(at(2000)), Admit::Probe);
    }

    #[test]
    fn after_a_probe_one_failure_opens_and_a_success_forgives() {
        let mut breaker = breaker(5);
        for _ in 0..5 {
            breaker.failed(Reason::Timeout, at(0));
        }
        breaker.answered();
        assert_eq!(breaker.failed(Reason::Timeout, at(5)), Some(Turn::Opened(Reason::Timeout)));
        breaker.answered();
        breaker.succeeded();
        assert_eq!(breaker.failed(Reason::Timeout, at(6)), None);
        assert!(breaker.is_closed());
    }

    #[test]
    fn what_began_before_it_opened_changes_nothing() {
        let mut breaker = breaker(1);
        breaker.failed(Reason::Timeout, at(0));
        breaker.succeeded();
        assert_eq!(breaker.failed(Reason::Broken, at(900)), None);
        assert_eq!(breaker.admit(at(999)), Admit::Rest);
        assert_eq!(breaker.admit(at(1000)), Admit::Probe);
    }

    proptest! {
        /// Whatever happens in whatever order: it opens only after that many failures without a success between, probes
        /// are never closer than their interval, and an open one never lets anybody pass.
        #[test]
        fn whatever_happens(failures in 1_u32..6, events in prop::collection::vec((0_u8..6, 0_u64..700), 1..200)) {
            let mut breaker = breaker(failures);
            let mut now = Duration::ZERO;
            let (mut row, mut last_probe, mut trial) = (0, None::<Duration>, false);
            for (event, step) in events {
                now += at(step);
                let closed = breaker.is_closed();
                match event {
                    0 | 1 => match breaker.admit(now) {
                        Admit::Pass => prop_assert!(closed),
                        Admit::Rest => prop_assert!(!closed),
                        Admit::Probe => {
                            prop_assert!(!closed);
                            if let Some(last) = last_probe {
                                prop_assert!(now - last >= EVERY);
                            }
                            last_probe = Some(now);
                        }
                    },
                    2 => {
                        breaker.succeeded();
                        if closed {
                            (row, trial) = (0, false);
                        }
                        prop_assert_eq!(breaker.is_closed(), closed);
                    }
                    3 => {
                        let turn = breaker.failed(Reason::Timeout, now);
                        if closed {
                            row += 1;
                            let opens = trial || row >= failures;
                            prop_assert_eq!(turn.is_some(), opens);
                            prop_assert_eq!(breaker.is_closed(), !opens);
                            if opens {
                                last_probe = Some(now);
                            }
                        } else {
                            prop_assert_eq!(turn, None);
                        }
                    }
                    4 => {
                        let turn = breaker.answered();
                        prop_assert_eq!(turn.is_some(), !closed);
                        prop_assert!(breaker.is_closed());
                        if !closed {
                            (row, trial) = (failures - 1, true);
                        }
                    }
                    _ => {
                        let probing = matches!(breaker.state, State::Probing { .. });
                        breaker.unanswered(Reason::Broken, now);
                        if probing {
                            last_probe = Some(now);
                        }
                        prop_assert_eq!(breaker.is_closed(), closed);
                    }
                }
            }
        }
    }
}

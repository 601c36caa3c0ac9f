//! One server: some connections to it, and a breaker.

use super::{
    Setup,
    address::Address,
    breaker::{Admit, Breaker, Turn},
    dial::{CONNECT_LIMIT, Dialer, Driver, Pushes, Refusal},
    fault::{Fault, Reason, answer},
    info::Sample,
    line::{Ask, Line, Live, keep},
    run::{Deadline, Stop},
    sentinel::Sentinels,
};
use crate::{clock::Moment, seldom::Seldom};
use redis::{Value, aio::MultiplexedConnection};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, sync::watch, time::timeout};

/// A server, or whichever is the primary of a group now.
pub(super) struct Node {
    target: Target,
    setup: Arc<Setup>,
    lines: Box<[Line]>,
    /// So many lines are looked after.
    kept: AtomicUsize,
    turn: AtomicUsize,
    breaker: Mutex<Breaker>,
    since: Moment,
    stopped: watch::Receiver<bool>,
    /// A task that looked after a line has panicked.
    panicked: AtomicBool,
    state: Mutex<State>,
    /// Raised when a line has been connected, or was refused.
    news: watch::Sender<u64>,
    warned: Warned,
}

/// How to find the server.
#[derive(Debug)]
pub(super) enum Target {
    Fixed(Address),
    Master(Sentinels),
}

#[derive(Default)]
struct State {
    sample: Option<Sample>,
    /// The last trial to connect failed for this.
    refused: Option<Fault>,
    /// When the lines were last sent elsewhere.
    misled: Option<Duration>,
}

#[derive(Default)]
struct Warned {
    refused: Seldom,
    breaker: Seldom,
    panicked: Seldom,
    slow: Seldom,
    policy: Seldom,
}

impl Node {
    pub(super) fn new(target: Target, setup: &Arc<Setup>) -> (Arc<Self>, Stop) {
        let (stop, stopped) = Stop::new();
        let node = Self {
            target,
            setup: Arc::clone(setup),
            lines: (0..setup.connections).map(|_| Line::default()).collect(),
            kept: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            breaker: Mutex::new(Breaker::new(setup.breaker)),
            since: Moment::now(),
            stopped,
            panicked: AtomicBool::new(false),
            state: Mutex::default(),
            news: watch::Sender::new(0),
            warned: Warned::default(),
        };
        (Arc::new(node), stop)
    }

    /// Asks, and waits until the deadline. Never waits for a connection. A read whose connection breaks off is asked once
    /// more on another one. What insists is asked of a server that is left alone too; answered in the time that
    /// requests have while a probe is due, it stands for the probe.
    pub(super) async fn ask(
        self: &Arc<Self>,
        ask: Ask<'_>,
        deadline: Deadline,
        is_read: bool,
    ) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let admitted = self.admit();
        if let (Err(fault), false) = (&admitted, deadline.insists()) {
            return Err(fault.clone());
        }
        let began = deadline.gone();
        let mut live = self.pick(None).ok_or_else(|| self.unconnected())?;
        let mut result = self.ask_on(&live, ask, deadline).await;
        if is_read
            && result.as_ref().is_err_and(Fault::is_of_connection)
            && let Some(other) = self.pick(Some(&live))
        {
            live = other;
            result = self.ask_on(&live, ask, deadline).await;
        }
        let took = deadline.gone().saturating_sub(began);
        self.note(&result, admitted.is_err(), took <= self.setup.budget);
        self.took(took);
        result
    }

    /// Whether it is worth asking now. Starts what it takes to find out.
    pub(super) fn is_available(self: &Arc<Self>) -> bool {
        self.admit().is_ok() && self.lines.iter().any(|line| line.live().is_some())
    }

    /// Starts to connect, if nobody does yet.
    pub(super) fn start(self: &Arc<Self>) {
        if self.kept.load(Ordering::Acquire) == self.lines.len() || self.is_stopped() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        // A runtime without IO: not again with each request.
        if self.panicked.load(Ordering::Relaxed) && !self.warned.panicked.is_time() {
            return;
        }
        for (index, line) in self.lines.iter().enumerate() {
            if line.claim() {
                self.kept.fetch_add(1, Ordering::AcqRel);
                runtime.spawn(keep(Arc::clone(self), index, self.stopped.clone()));
            }
        }
    }

    /// Waits until it can be asked, or for as long.
    pub(super) async fn ready(self: &Arc<Self>, deadline: Deadline) -> Result<(), Fault> {
        let mut news = self.news.subscribe();
        loop {
            self.start();
            if self.is_available() {
                return Ok(());
            }
            let left = deadline.left().min(self.setup.breaker.probe_every);
            if deadline.left().is_zero() || self.is_stopped() {
                return Err(self.unconnected());
            }
            let _ = timeout(left, news.changed()).await;
        }
    }

    /// A connection to it that nobody else uses.
    pub(super) async fn dial(&self) -> Result<(MultiplexedConnection, Driver), Refusal> {
        self.dial_by(&self.setup.dialer).await
    }

    /// The same, for what it says unasked.
    pub(super) async fn dial_for(&self, pushes: Pushes) -> Result<(MultiplexedConnection, Driver), Refusal> {
        self.dial_by(&Dialer { pushes: Some(pushes), ..self.setup.dialer.clone() }).await
    }

    async fn dial_by(&self, dialer: &Dialer) -> Result<(MultiplexedConnection, Driver), Refusal> {
        let trial = async {
            match &self.target {
                Target::Fixed(address) => dialer.dial(address).await,
                Target::Master(sentinels) => sentinels.dial_master(dialer).await,
            }
        };
        match timeout(CONNECT_LIMIT, trial).await {
            Ok(result) => result,
            Err(_) => Err(Refusal::new(Fault::Timeout, format!("no connection within {CONNECT_LIMIT:?}"))),
        }
    }

    /// What it is called in logs.
    pub(super) fn name(&self) -> String {
        match &self.target {
            Target::Fixed(address) => address.to_string(),
            Target::Master(sentinels) => sentinels.name().to_owned(),
        }
    }

    pub(super) fn sample(&self) -> Option<Sample> {
        self.state().sample.clone()
    }

    pub(super) fn sample_every(&self) -> Duration {
        self.setup.sample_every
    }

    /// How long a connection under suspicion may take to answer a PING.
    pub(super) fn patience(&self) -> Duration {
        PATIENCE.max(self.setup.budget * 2)
    }

    pub(super) fn line(&self, index: usize) -> &Line {
        &self.lines[index]
    }

    /// A line has been connected, and answered after this time.
    pub(super) fn connected(&self, after: Duration) {
        self.state().refused = None;
        self.answered(after);
        self.news.send_modify(|news| *news += 1);
    }

    /// A line was not connected.
    pub(super) fn refused(&self, refusal: Refusal) {
        if self.warned.refused.is_time() {
            tracing::warn!(
                target: "larder::store",
                server = %self.name(),
                "Redis cannot be reached, and is tried again: {}", refusal.text
            );
        }
        self.state().refused = Some(refusal.fault);
        self.news.send_modify(|news| *news += 1);
    }

    /// A connection answered a PING after this time.
    pub(super) fn answered(&self, after: Duration) {
        if after <= self.setup.budget {
            let turn = self.breaker().answered();
            self.tell(turn);
        }
    }

    /// A server has told about itself, perhaps.
    pub(super) fn sampled(&self, info: &Value) {
        let Some(sample) = Sample::read(info) else { return };
        if let Some(unfit) = sample.unfit() {
            let before = self.state().sample.as_ref().and_then(Sample::unfit);
            if before != Some(unfit) && self.warned.policy.is_time() {
                tracing::warn!(
                    target: "larder::store",
                    server = %self.name(),
                    "maxmemory-policy {}: {unfit}", sample.policy
                );
            }
        }
        self.state().sample = Some(sample);
    }

    /// The task of a line has ended.
    pub(super) fn left(&self, index: usize) {
        if std::thread::panicking() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.lines[index].leave();
        self.kept.fetch_sub(1, Ordering::AcqRel);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow() || self.stopped.has_changed().is_err()
    }

    fn admit(self: &Arc<Self>) -> Result<(), Fault> {
        let Ok(runtime) = Handle::try_current() else { return Err(Fault::Unconnected) };
        self.start();
        let now = self.now();
        match self.breaker().admit(now) {
            Admit::Pass => return Ok(()),
            Admit::Rest => {}
            Admit::Probe => {
                runtime.spawn(Arc::clone(self).probe());
            }
        }
        Err(Fault::Resting)
    }

    /// Finds out whether a server that is left alone is back.
    async fn probe(self: Arc<Self>) {
        let result = match self.pick(None) {
            Some(live) => live.ping(&redis::cmd("PING"), self.setup.budget).await.map(drop),
            None => Err(Fault::Unconnected),
        };
        match result {
            Ok(()) => {
                let turn = self.breaker().answered();
                self.is_back(turn);
            }
            Err(fault) => {
                let now = self.now();
                self.breaker().unanswered(fault.reason().unwrap_or(Reason::Broken), now);
            }
        }
    }

    fn is_back(&self, turn: Option<Turn>) {
        if turn.is_some() {
            self.tell(turn);
            self.news.send_modify(|news| *news += 1);
        }
    }

    async fn ask_on(&self, live: &Live, ask: Ask<'_>, deadline: Deadline) -> Result<Vec<Result<Value, Fault>>, Fault> {
        let left = deadline.left();
        if left.is_zero() {
            return Err(Fault::Timeout);
        }
        match timeout(left, live.ask(ask)).await {
            Ok(result) => Ok(result?.into_iter().map(answer).collect()),
            Err(_) => {
                live.suspect();
                Err(Fault::Timeout)
            }
        }
    }

    /// A connection, by turns; one under suspicion only if there is no other.
    fn pick(&self, not: Option<&Arc<Live>>) -> Option<Arc<Live>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.lines.len();
        let mut last_resort = None;
        for step in 0..count {
            let Some(live) = self.lines[(turn.wrapping_add(step)) % count].live() else { continue };
            if not.is_some_and(|not| Arc::ptr_eq(not, &live)) {
                continue;
            }
            if !live.is_suspect() {
                return Some(live);
            }
            last_resort = Some(live);
        }
        last_resort
    }

    fn note(&self, result: &Result<Vec<Result<Value, Fault>>, Fault>, left_alone: bool, in_time: bool) {
        let faults = match result {
            Ok(answers) => answers.iter().filter_map(|answer| answer.as_ref().err()).find(|fault| fault.is_of_server()),
            Err(fault) => Some(fault),
        };
        if faults == Some(&Fault::Demoted) {
            self.mislead();
        }
        match faults.and_then(Fault::reason) {
            None if result.is_ok() && in_time && left_alone => {
                let turn = self.breaker().answered_in_passing();
                self.is_back(turn);
            }
            None if result.is_ok() && in_time => self.breaker().succeeded(),
            None => {}
            Some(reason) => {
                let now = self.now();
                let turn = self.breaker().failed(reason, now);
                self.tell(turn);
            }
        }
    }

    /// Sends all lines to wherever the primary is now; not all the time, if that is what it is.
    fn mislead(&self) {
        let now = self.now();
        {
            let mut state = self.state();
            if state.misled.is_some_and(|last| now.saturating_sub(last) < MISLED_EVERY) {
                return;
            }
            state.misled = Some(now);
        }
        for line in &self.lines {
            if let Some(live) = line.live() {
                live.mislead();
            }
        }
    }

    fn took(&self, time: Duration) {
        if time > SLOW && self.warned.slow.is_time() {
            tracing::warn!(target: "larder::store", server = %self.name(), "an operation took {time:?}");
        }
    }

    fn tell(&self, turn: Option<Turn>) {
        match turn {
            Some(Turn::Opened(reason)) if self.warned.breaker.is_time() => tracing::warn!(
                target: "larder::store",
                server = %self.name(),
                "Redis is left alone, and asked in the background whether it is back: {}", reason.as_str()
            ),
            Some(turn) => tracing::debug!(target: "larder::store", server = %self.name(), ?turn, "breaker"),
            None => {}
        }
    }

    fn unconnected(&self) -> Fault {
        match &self.state().refused {
            Some(Fault::Stranger | Fault::Denied) => Fault::Denied,
            _ => Fault::Unconnected,
        }
    }

    fn now(&self) -> Duration {
        self.since.elapsed()
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// With the time to connect, this is how soon a dead connection is replaced.
const PATIENCE: Duration = Duration::from_millis(500);

/// A replica that was given as the server stays one.
const MISLED_EVERY: Duration = Duration::from_secs(2);

const SLOW: Duration = Duration::from_millis(100);

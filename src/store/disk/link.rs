//! Opening a folder when it is first used, and working in it on threads that may block.

use super::{database::Fault, engine::Engine, shelf::READERS};
use crate::{
    clock::Clock,
    store::StoreError,
    sync::{AtomicU64, Mutex, MutexGuard, Ordering::Relaxed},
    timer,
};
use std::{
    mem,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, atomic::AtomicU32},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    task::spawn_blocking,
};

/// A folder, open or to be opened. All in one process who use it share this.
#[derive(Debug)]
pub(super) struct Link {
    folder: PathBuf,
    /// How many bytes the values may take.
    pub(super) limit: Arc<AtomicU64>,
    stage: Mutex<Stage>,
    /// Raised when the stage changes.
    changed: watch::Sender<u64>,
    clock: Clock,
    /// So many read, and write, at once.
    reading: Arc<Semaphore>,
    writing: Arc<Semaphore>,
    /// Lookups that failed, one after the other.
    failures: AtomicU32,
    rests_until: AtomicU64,
    sweep_at: AtomicU64,
}

#[derive(Debug)]
enum Stage {
    Closed,
    /// With what was wrong the last time.
    Opening(Option<Refused>),
    Open(Arc<Engine>),
    /// It is tried again after this moment.
    Failed(Refused, u64),
}

/// Why a folder could not be opened.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    pub(super) kind: StoreError,
    pub(super) text: String,
}

/// What work in a folder does with the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Reads,
    Writes,
}

impl Link {
    pub(super) fn new(folder: PathBuf, limit: u64) -> Self {
        Self {
            folder,
            limit: Arc::new(AtomicU64::new(limit)),
            stage: Mutex::new(Stage::Closed),
            changed: watch::Sender::new(0),
            clock: Clock::system(),
            reading: Arc::new(Semaphore::new(READERS)),
            writing: Arc::new(Semaphore::new(1)),
            failures: AtomicU32::new(0),
            rests_until: AtomicU64::new(0),
            sweep_at: AtomicU64::new(0),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The moment, in milliseconds.
    pub(super) fn now(&self) -> u64 {
        self.clock.now().as_unix_millis()
    }

    /// The folder if it is open. To ask is enough to have it opened.
    pub(super) fn engine(self: &Arc<Self>) -> Option<Arc<Engine>> {
        let mut stage = self.stage();
        let last = match &*stage {
            Stage::Open(engine) => return Some(Arc::clone(engine)),
            Stage::Opening(_) => return None,
            Stage::Failed(_, until) if *until > self.now() => return None,
            Stage::Failed(refused, _) => Some(refused.clone()),
            Stage::Closed => None,
        };
        let runtime = Handle::try_current().ok()?;
        *stage = Stage::Opening(last.clone());
        drop(stage);
        self.clock.adjust();
        let opening = Opening(Arc::clone(self));
        runtime.spawn(async move {
            let link = &opening.0;
            let stage = match link.open(last.is_none()).await {
                Ok(engine) => Stage::Open(Arc::new(engine)),
                Err(refused) => {
                    if last.is_none_or(|last| last.kind != refused.kind) {
                        let (path, error) = (link.folder.display(), &refused.text);
                        tracing::warn!(target: "larder::store", %path, error, "the disk store cannot be opened");
                    }
                    Stage::Failed(refused, link.now() + PAUSE)
                }
            };
            link.turn(stage);
        });
        None
    }

    /// The folder, once it is open or cannot be opened.
    pub(super) async fn opened(self: &Arc<Self>) -> Result<Arc<Engine>, Refused> {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(engine) = self.engine() {
                return Ok(engine);
            }
            match &*self.stage() {
                Stage::Failed(refused, _) => return Err(refused.clone()),
                Stage::Closed => return Err(Refused::unreachable("it takes a tokio runtime")),
                Stage::Opening(_) | Stage::Open(_) => {}
            }
            // The sender lives as long as this does.
            let _ = changed.changed().await;
        }
    }

    /// Does something in the folder, within this time. What has begun is done to its end. What fails again and again
    /// is left alone for a while.
    pub(super) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        work: Work,
        within: Duration,
        act: impl FnOnce(&Engine, i64) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let engine = self.engine().ok_or_else(|| self.trouble())?;
        Handle::try_current().map_err(|_| StoreError::Unreachable)?;
        let now = i64::try_from(self.now()).unwrap_or(i64::MAX);
        self.sweep_now_and_then(&engine, now);
        let places = if work == Work::Reads { &self.reading } else { &self.writing };
        let places = Arc::clone(places);
        let done = async {
            let place = places.acquire_owned().await.map_err(|_| StoreError::Unreachable)?;
            let done = spawn_blocking(move || {
                let _place = place;
                act(&engine, now)
            });
            done.await.map_err(|_| StoreError::Io)?.map_err(|fault| StoreError::from(&fault))
        };
        let result = timer::within(within, done).await.unwrap_or(Err(StoreError::Timeout));
        if work == Work::Reads {
            self.learn(result.as_ref().err());
        }
        result
    }

    /// What came of a lookup.
    fn learn(&self, error: Option<&StoreError>) {
        let failed = matches!(error, Some(StoreError::Timeout | StoreError::Io));
        if !failed {
            self.failures.store(0, Relaxed);
        } else if self.failures.fetch_add(1, Relaxed) + 1 >= FAILURES {
            self.rests_until.store(self.now() + PAUSE, Relaxed);
        }
    }

    /// Whether it is open, and has not failed again and again.
    pub(super) fn is_available(self: &Arc<Self>) -> bool {
        self.engine().is_some() && !self.rests()
    }

    /// Why it is not available.
    pub(super) fn trouble(&self) -> StoreError {
        match &*self.stage() {
            Stage::Failed(refused, _) | Stage::Opening(Some(refused)) => refused.kind,
            Stage::Closed | Stage::Opening(None) => StoreError::Unreachable,
            Stage::Open(_) => StoreError::Resting,
        }
    }

    fn rests(&self) -> bool {
        self.failures.load(Relaxed) >= FAILURES && self.rests_until.load(Relaxed) > self.now()
    }

    fn sweep_now_and_then(&self, engine: &Arc<Engine>, now: i64) {
        let (at, next) = (self.sweep_at.load(Relaxed), now.unsigned_abs());
        if at > next || self.sweep_at.swap(next + SWEEP_EVERY, Relaxed) > next {
            return;
        }
        self.clock.adjust();
        let engine = Arc::clone(engine);
        // In steps, so that others write in between.
        spawn_blocking(move || while engine.shelf.sweep(now).unwrap_or(false) {});
    }

    /// One that is just ending has it a moment longer: at the `first` trial that is waited for.
    async fn open(&self, first: bool) -> Result<Engine, Refused> {
        let mut trials = if first { TRIALS } else { 0 };
        loop {
            let (folder, limit) = (self.folder.clone(), Arc::clone(&self.limit));
            let opened = spawn_blocking(move || Engine::open(&folder, limit)).await;
            match opened.unwrap_or_else(|error| Err(Fault::Io(error.to_string()))) {
                Err(Fault::Locked) if trials > 0 => timer::after(Duration::from_millis(50)).await,
                opened => return opened.map_err(|fault| Refused::by(&fault)),
            }
            trials -= 1;
        }
    }

    fn turn(&self, stage: Stage) {
        *self.stage() = stage;
        self.changed.send_modify(|changes| *changes += 1);
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Refused {
    fn by(fault: &Fault) -> Self {
        Self { kind: fault.into(), text: fault.to_string() }
    }

    fn unreachable(text: &str) -> Self {
        Self { kind: StoreError::Unreachable, text: text.to_owned() }
    }
}

/// Closing writes to the disk: not on a thread that others wait for.
impl Drop for Link {
    fn drop(&mut self) {
        let stage = mem::replace(&mut *self.stage(), Stage::Closed);
        if let (Stage::Open(engine), Ok(runtime)) = (stage, Handle::try_current()) {
            runtime.spawn_blocking(move || drop(engine));
        }
    }
}

/// Lets another runtime open the folder when the one that did has gone.
struct Opening(Arc<Link>);

impl Drop for Opening {
    fn drop(&mut self) {
        if matches!(*self.0.stage(), Stage::Opening(_)) {
            self.0.turn(Stage::Closed);
        }
    }
}

/// After so many lookups that failed it is left alone.
const FAILURES: u32 = 5;

/// For so long, in milliseconds.
const PAUSE: u64 = 1000;

/// How often a folder that is in use is tried, before that is an error.
const TRIALS: u32 = 20;

/// How often what has expired is dropped, in milliseconds.
const SWEEP_EVERY: u64 = 60_000;

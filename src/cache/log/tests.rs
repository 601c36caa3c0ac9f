//! Several caches that share a log, over a journal in memory that can lose, refuse and repeat.

use super::*;
use crate::{
    Cache, Selector,
    clock::Clock,
    invalidation::Heading,
    store::{Reading, StoreFuture},
};
use std::sync::atomic::AtomicU64;

/// A log in memory. Readers wait for a turn of the runtime instead of a time.
#[derive(Debug, Default)]
struct Fake {
    lines: Mutex<Vec<Line>>,
    next: AtomicU64,
    epochs: AtomicU64,
    /// Says that it cannot be reached.
    away: AtomicBool,
    /// Appends, and says that it cannot be reached.
    deaf: AtomicBool,
    appended: Notify,
}

impl Fake {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap()
    }

    fn push(&self, node: NodeId, own: u64, text: Option<String>, epoch: Option<Epoch>) -> RecordId {
        let mut lines = self.lines();
        let last = lines.last().map(|line| (line.heading.id, line.heading.epoch));
        let id = RecordId { millis: 1, count: self.next.fetch_add(1, Relaxed) + 1 };
        let epoch = epoch.or(last.map(|(_, epoch)| epoch)).unwrap();
        let previous = last.map(|(id, _)| id).unwrap_or_default();
        lines.push(Line { heading: Heading { id, epoch, previous, own: None }, node, own, text });
        id
    }

    fn begin(&self) {
        let epoch = Epoch([u8::try_from(self.epochs.fetch_add(1, Relaxed) + 1).unwrap(); 16]);
        self.push(NodeId([0; 8]), 0, None, Some(epoch));
    }

    /// A replica that lacks the last records takes over.
    fn lose(&self, count: usize) {
        let mut lines = self.lines();
        let left = lines.len().saturating_sub(count);
        lines.truncate(left);
    }
}

impl Journal for Fake {
    fn append<'a>(&'a self, node: NodeId, drafts: &'a [Draft]) -> StoreFuture<'a, Vec<RecordId>> {
        if self.away.load(Relaxed) {
            return StoreFuture::ready(Err(StoreError::Unreachable));
        }
        if self.lines().is_empty() {
            self.begin();
        }
        let ids = drafts.iter().map(|draft| self.push(node, draft.own, Some(draft.text.clone()), None)).collect();
        self.appended.notify_waiters();
        StoreFuture::ready(if self.deaf.load(Relaxed) { Err(StoreError::Timeout) } else { Ok(ids) })
    }

    fn read(&self, after: Option<RecordId>, wait: Duration) -> StoreFuture<'_, Reading> {
        StoreFuture::boxed(async move {
            let appended = self.appended.notified();
            if self.away.load(Relaxed) {
                return Err(StoreError::Unreachable);
            }
            if self.lines().is_empty() {
                self.begin();
            }
            let reading = || {
                let lines: Vec<_> = self
                    .lines()
                    .iter()
                    .filter(|line| after.is_none_or(|after| line.heading.id > after))
                    .cloned()
                    .collect();
                let last = lines.last().map(|line| line.heading.id);
                Reading { lines, last, end: self.lines().last().map(|line| line.heading.id), foreign: 0 }
            };
            if reading().lines.is_empty() && !wait.is_zero() {
                timer::within(wait, appended).await;
            }
            Ok(reading())
        })
    }

    fn renew(&self, lost: Epoch) -> StoreFuture<'_, ()> {
        if self.lines().last().is_some_and(|line| line.heading.epoch == lost) {
            self.begin();
            self.appended.notify_waiters();
        }
        StoreFuture::ready(Ok(()))
    }
}

struct Nodes {
    log: Arc<Fake>,
    clock: Clock,
}

impl Nodes {
    fn new() -> Self {
        Self { log: Arc::default(), clock: Clock::manual(Timestamp::from_unix_secs(1_000_000)) }
    }

    async fn node(&self) -> Cache {
        let cache = Cache::builder().journal(self.log.clone()).clock(self.clock.clone()).build().unwrap();
        assert!(cache.ready(Duration::from_secs(1)).await);
        cache
    }

    /// What a fill that begins now is stamped with, in the log.
    fn stamp(cache: &Cache) -> Stamp {
        cache.0.log.outward(cache.0.ledger.applied()).unwrap()
    }

    /// Whether what carries this stamp and tag would be used.
    fn good(cache: &Cache, stamp: Stamp, tag: &str) -> bool {
        let Some(stamp) = cache.0.log.inward(stamp) else { return false };
        let rows = cache.0.ledger.rows();
        let footprint = rows.footprint([crate::invalidation::Subject::Tag(tag)], &[]);
        let claim = crate::invalidation::Claim { stamp, footprint: &footprint, key: b"" };
        cache.0.ledger.admits(claim, &crate::invalidation::Checked::default())
    }
}

fn shared(cache: &Cache) -> &SharedLog {
    let Log::Shared(log) = &cache.0.log else { panic!("no shared log") };
    log
}

/// Until the tasks have done what there is to do.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_invalidates_the_others_do_not_use() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    let stamp = Nodes::stamp(&a);
    assert!(Nodes::good(&a, stamp, "x") && Nodes::good(&b, stamp, "x"));
    a.invalidate(Selector::tag("x")).await.unwrap();
    assert!(!Nodes::good(&a, stamp, "x") && Nodes::good(&a, stamp, "y"));
    settle().await;
    assert!(!Nodes::good(&b, stamp, "x") && Nodes::good(&b, stamp, "y"));
    for cache in [&a, &b] {
        let later = Nodes::stamp(cache);
        assert!(Nodes::good(&a, later, "x") && Nodes::good(&b, later, "x"));
    }
    // One that starts later knows too.
    let c = nodes.node().await;
    assert!(!Nodes::good(&c, stamp, "x") && Nodes::good(&c, stamp, "y"));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_says_so_and_makes_up_for_it() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    let stamp = Nodes::stamp(&a);
    nodes.log.away.store(true, Relaxed);
    let error = a.invalidate(Selector::tag("x")).await.unwrap_err();
    assert!(error.is_unconfirmed() && error.to_string().contains("repeat it"), "{error}");
    let cause = std::error::Error::source(&error).and_then(|cause| cause.downcast_ref());
    assert_eq!(cause, Some(&StoreError::Unreachable));
    assert!(!Nodes::good(&a, stamp, "x"), "applied here");
    settle().await;
    assert!(Nodes::good(&b, stamp, "x"), "it cannot know");
    nodes.log.away.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!Nodes::good(&b, stamp, "x") && Nodes::good(&b, stamp, "y"));
    assert_eq!(shared(&a).waiting(), 0);
    a.invalidate(Selector::tag("y")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_sent_twice_is_applied_once_here() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    nodes.log.deaf.store(true, Relaxed);
    assert!(a.invalidate(Selector::tag("x")).await.unwrap_err().is_unconfirmed());
    nodes.log.deaf.store(false, Relaxed);
    let stamp = Nodes::stamp(&a);
    tokio::time::sleep(Duration::from_secs(4)).await;
    let sent = nodes.log.lines().iter().filter(|line| line.text.is_some()).count();
    assert!(sent >= 2, "{sent}");
    assert!(Nodes::good(&a, Nodes::stamp(&a), "x") && Nodes::good(&b, Nodes::stamp(&b), "x"));
    assert!(Nodes::good(&a, stamp, "x"));
}

#[tokio::test(start_paused = true)]
async fn records_that_are_missing_end_the_use_of_what_is_older() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    let stamp = Nodes::stamp(&a);
    // B is cut off while so much happens that the log is trimmed.
    shared(&b).running.store(true, Relaxed);
    nodes.log.away.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(10)).await;
    for n in 0..10 {
        let text = wire::write(&[Selector::tag(format!("t{n}"))]);
        nodes.log.push(NodeId([9; 8]), n, Some(text), None);
    }
    nodes.log.lines().drain(..8);
    let floor = nodes.log.lines()[0].heading.previous;
    nodes.log.away.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    for cache in [&a, &b] {
        assert!(!Nodes::good(cache, stamp, "y"), "nobody knows what was missed");
        assert!(Nodes::good(cache, Stamp { end: floor, ..stamp }, "y"));
        assert!(!Nodes::good(cache, Stamp { end: floor, ..stamp }, "t9"));
        assert_eq!(shared(cache).told.gaps.load(Relaxed), 1);
    }
}

/// The log is on a server whose replica takes over without the last records: nobody trusts what was stamped with them.
#[tokio::test(start_paused = true)]
async fn a_log_that_lost_records_begins_a_new_epoch() {
    for records_after in [false, true] {
        let nodes = Nodes::new();
        let (a, b) = (nodes.node().await, nodes.node().await);
        let old = Nodes::stamp(&a);
        a.invalidate(Selector::tag("x")).await.unwrap();
        settle().await;
        let lost = Nodes::stamp(&b);
        assert!(lost.end > old.end);
        nodes.log.lose(1);
        if records_after {
            nodes.log.push(NodeId([9; 8]), 1, Some(wire::write(&[Selector::tag("z")])), None);
            nodes.log.appended.notify_waiters();
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        for cache in [&a, &b] {
            assert!(!Nodes::good(cache, old, "y") && !Nodes::good(cache, lost, "y"), "of an epoch that has ended");
            let new = Nodes::stamp(cache);
            assert_ne!(new.epoch, old.epoch);
            assert!(Nodes::good(&a, new, "x") && Nodes::good(&b, new, "x"));
        }
        assert_eq!(nodes.log.epochs.load(Relaxed), 2, "one of them begins it");
    }
}

/// The server that had confirmed the record is gone, and so is the record, before anyone has read it.
async fn lost_before_it_was_read(records_after: bool) {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    let old = Nodes::stamp(&a);
    {
        // Lost in the same moment as it is confirmed.
        let receipt = a.publish(a.batch(&[Selector::tag("x")]).0, &[Selector::tag("x")]);
        let own = shared(&a).queue().pop_front().unwrap().draft.own;
        let id = nodes.log.push(shared(&a).node, own, None, None);
        nodes.log.lose(1);
        assert!(shared(&a).positions().sent(own, id));
        drop(receipt);
    }
    if records_after {
        nodes.log.push(NodeId([9; 8]), 1, Some(wire::write(&[Selector::tag("z")])), None);
        nodes.log.appended.notify_waiters();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    for cache in [&a, &b] {
        assert!(!Nodes::good(cache, old, "x") && !Nodes::good(cache, old, "y"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_confirmed_record_that_nobody_has_read_is_not_lost_in_silence() {
    lost_before_it_was_read(true).await;
    lost_before_it_was_read(false).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_stands_for_everything() {
    let nodes = Nodes::new();
    let a = nodes.node().await;
    let stamp = Nodes::stamp(&a);
    nodes.log.push(NodeId([9; 8]), 1, Some(r#"[{"colour":"red"}]"#.to_owned()), None);
    nodes.log.appended.notify_waiters();
    settle().await;
    assert!(!Nodes::good(&a, stamp, "y"));
    assert_eq!(shared(&a).told.unreadable.load(Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_becomes_one_record_of_everything() {
    let nodes = Nodes::new();
    let (a, b) = (nodes.node().await, nodes.node().await);
    let stamp = Nodes::stamp(&b);
    nodes.log.away.store(true, Relaxed);
    for n in 0..LONGEST_QUEUE + 10 {
        drop(a.publish(a.batch(&[Selector::tag(format!("t{n}"))]).0, &[Selector::tag(format!("t{n}"))]));
    }
    assert!(shared(&a).waiting() <= 11);
    nodes.log.away.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!Nodes::good(&b, stamp, "unheard of"));
    let (new, other) = (Nodes::stamp(&a), Nodes::stamp(&b));
    assert!(Nodes::good(&b, new, "t1") && Nodes::good(&a, other, "t1"));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_contact_nothing_of_others_is_used() {
    let nodes = Nodes::new();
    let stamp = Nodes::stamp(&nodes.node().await);
    nodes.log.away.store(true, Relaxed);
    let cache = Cache::builder().journal(nodes.log.clone()).clock(nodes.clock.clone()).build().unwrap();
    assert!(!cache.ready(Duration::from_secs(3)).await);
    assert!(!Nodes::good(&cache, stamp, "y") && cache.0.log.outward(cache.0.ledger.applied()).is_none());
    let before = cache.0.ledger.applied();
    nodes.log.away.store(false, Relaxed);
    assert!(cache.ready(Duration::from_secs(3)).await);
    assert!(Nodes::good(&cache, stamp, "y"));
    assert!(cache.0.log.outward(before).is_none(), "filled before the first contact");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_cut_off_uses_each_fill_for_a_while_only() {
    let nodes = Nodes::new();
    let cache = nodes.node().await;
    let isolated = |began| cache.0.log.is_isolated(|| began, || nodes.clock.now());
    let before = nodes.clock.now();
    nodes.clock.advance(Duration::from_secs(60));
    shared(&cache).contact.store(nodes.clock.now().as_unix_millis(), Relaxed);
    nodes.log.away.store(true, Relaxed);
    nodes.clock.advance(Duration::from_secs(30));
    assert!(!isolated(before), "since the last contact");
    nodes.clock.advance(Duration::from_millis(1));
    assert!(isolated(before) && !isolated(nodes.clock.now()));
    nodes.log.away.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!isolated(before));
}

/// How often it was told that the log cannot be read, and that it can.
#[derive(Clone, Default)]
struct Heard(Arc<[AtomicU64; 2]>);

impl tracing_core::Subscriber for Heard {
    fn enabled(&self, metadata: &tracing_core::Metadata<'_>) -> bool {
        metadata.target() == "larder::invalidate"
    }

    fn new_span(&self, _: &tracing_core::span::Attributes<'_>) -> tracing_core::span::Id {
        tracing_core::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing_core::span::Id, _: &tracing_core::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing_core::span::Id, _: &tracing_core::span::Id) {}

    fn event(&self, event: &tracing_core::Event<'_>) {
        let levels = [tracing_core::Level::WARN, tracing_core::Level::INFO];
        if let Some(at) = levels.iter().position(|level| level == event.metadata().level()) {
            self.0[at].fetch_add(1, Relaxed);
        }
    }

    fn enter(&self, _: &tracing_core::span::Id) {}

    fn exit(&self, _: &tracing_core::span::Id) {}
}

impl Heard {
    fn so_far(&self) -> (u64, u64) {
        (self.0[0].load(Relaxed), self.0[1].load(Relaxed))
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_before_the_connection_is_nothing_to_warn_of() {
    // There are two: with one alone, `tracing` asks the thread that comes first whether anybody listens.
    let heard = Heard::default();
    let [listener, _other] = [(); 2].map(|()| tracing_core::Dispatch::new(heard.clone()));
    let _guard = tracing_core::dispatcher::set_default(&listener);
    let nodes = Nodes::new();
    nodes.log.away.store(true, Relaxed);
    let open = || Cache::builder().journal(nodes.log.clone()).clock(nodes.clock.clone()).build().unwrap();

    let soon = open();
    assert!(!soon.ready(Duration::from_millis(200)).await);
    nodes.log.away.store(false, Relaxed);
    assert!(soon.ready(Duration::from_secs(1)).await);
    assert_eq!(heard.so_far(), (0, 0));

    // What is lost is told at once, and once.
    nodes.log.away.store(true, Relaxed);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(heard.so_far(), (1, 0));
    nodes.log.away.store(false, Relaxed);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(heard.so_far(), (1, 1));
    drop(soon);

    // And so is what is not there for longer than a connection takes.
    nodes.log.away.store(true, Relaxed);
    let late = open();
    assert!(!late.ready(Duration::from_secs(9)).await);
    assert_eq!(heard.so_far(), (2, 1));
}
